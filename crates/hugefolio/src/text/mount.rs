//! The options of a hugetlbfs mount, as `mount -o` hands them over.
//!
//! Options stand between commas, and empty ones do not count. Of an option given twice the last one holds. A number ends where
//! it ends: what follows it, a per cent sign apart, is not looked at. A number beyond 64 bits wraps. That is how Linux reads
//! them, so a script with a slip in it gets here what it gets there.

use hugetlb::boot::memparse;
use hugetlbfs::{FileMode, Gid, Uid};
use thiserror::Error;
use units::{Bytes, HugeCount, HugeSize};

use super::line::excerpt;

/// A limit of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountSize {
    /// So many bytes.
    Bytes(Bytes),
    /// So many hundredths of the pool's persistent pages at the time of the mount.
    Percent(u64),
}

impl MountSize {
    /// The limit in whole pages of a pool that has so many persistent ones; rounded down.
    #[must_use]
    pub fn count_floor(self, page: HugeSize, persistent: HugeCount) -> HugeCount {
        match self {
            Self::Bytes(bytes) => page.count_floor(bytes),
            // The kernel multiplies in 64 bits, whatever comes of it.
            Self::Percent(percent) => {
                let bytes = page.total(HugeCount::new(percent)).get().wrapping_mul(persistent.get());
                page.count_floor(Bytes::new(bytes / 100))
            }
        }
    }
}

/// The options of a mount that were given.
#[doc(alias("hugetlbfs_fs_context", "hugetlb_fs_parameters"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountText {
    /// The size of its pages (`pagesize=`); whether there is such a pool is not known here.
    pub page_size: Option<HugeSize>,
    /// The most that its files may hold or reserve (`size=`).
    pub size: Option<MountSize>,
    /// What is reserved for it from the start (`min_size=`).
    pub min_size: Option<MountSize>,
    /// The most inodes, the root included (`nr_inodes=`).
    pub nr_inodes: Option<u64>,
    /// The owner of its root (`uid=`).
    pub uid: Option<Uid>,
    /// The group of its root (`gid=`).
    pub gid: Option<Gid>,
    /// The permission bits of its root (`mode=`).
    pub mode: Option<FileMode>,
}

/// An option that a mount does not take. Linux says `EINVAL` to each.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountTextError {
    /// There is no such option.
    #[error("`{0}` is no option of hugetlbfs: use pagesize=, size=, min_size=, nr_inodes=, uid=, gid= or mode=")]
    Unknown(String),
    /// The option has to say how much.
    #[error("`{option}` needs a value: write {option}={example}")]
    NoValue {
        /// The option.
        option: &'static str,
        /// A value that it takes.
        example: &'static str,
    },
    /// The value is not what the option takes.
    #[error("`{option}={found}`: the value is not {expected}; write for example {option}={example}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// What was written.
        found: String,
        /// What it takes.
        expected: &'static str,
        /// A value that it takes.
        example: &'static str,
    },
    /// A mount that can only be read.
    #[error("a mount that can only be read (`ro`) is not modelled: mount it with `rw`")]
    ReadOnly,
}

/// Flags of every file system, which change nothing about huge pages.
const PLAIN_FLAGS: &[&str] =
    &["rw", "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "silent", "loud"];

struct Rule {
    option: &'static str,
    expected: &'static str,
    example: &'static str,
    set: fn(&mut MountText, &str) -> Option<()>,
}

const RULES: &[Rule] = &[
    Rule {
        option: "pagesize",
        expected: "the size of a pool's pages",
        example: "2M",
        set: |text, value| {
            let size = memparse(value).and_then(|n| HugeSize::from_bytes(Bytes::new(n.value)));
            size.map(|size| text.page_size = Some(size))
        },
    },
    Rule {
        option: "size",
        expected: "a number of bytes, or of hundredths of the pool",
        example: "8M",
        set: |text, value| limit(value).map(|limit| text.size = Some(limit)),
    },
    Rule {
        option: "min_size",
        expected: "a number of bytes, or of hundredths of the pool",
        example: "4M",
        set: |text, value| limit(value).map(|limit| text.min_size = Some(limit)),
    },
    Rule {
        option: "nr_inodes",
        expected: "a number",
        example: "16",
        // The highest number says that there is no limit.
        set: |text, value| memparse(value).map(|n| text.nr_inodes = Some(n.value).filter(|&n| n != u64::MAX)),
    },
    Rule {
        option: "uid",
        expected: "a user's number",
        example: "0",
        set: |text, value| identity(value).map(|id| text.uid = Some(Uid(id))),
    },
    Rule {
        option: "gid",
        expected: "a group's number",
        example: "0",
        set: |text, value| identity(value).map(|id| text.gid = Some(Gid(id))),
    },
    Rule {
        option: "mode",
        expected: "permission bits in octal digits",
        example: "755",
        set: |text, value| mode(value).map(|mode| text.mode = Some(mode)),
    },
];

impl MountText {
    /// Reads the options.
    ///
    /// # Errors
    /// The first option that a mount does not take, and what to write instead.
    #[doc(alias = "hugetlbfs_parse_param")]
    pub fn parse(text: &str) -> Result<Self, MountTextError> {
        let mut options = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            if value.is_none() && name == "ro" {
                return Err(MountTextError::ReadOnly);
            }
            if value.is_none() && PLAIN_FLAGS.contains(&name) {
                continue;
            }
            let rule = RULES.iter().find(|rule| rule.option == name);
            let &Rule { option, expected, example, set } =
                rule.ok_or_else(|| MountTextError::Unknown(excerpt(word)))?;
            let value = value.ok_or(MountTextError::NoValue { option, example })?;
            let bad = || MountTextError::BadValue { option, found: excerpt(value), expected, example };
            set(&mut options, value).ok_or_else(bad)?;
        }
        Ok(options)
    }
}

/// A number with its suffix, and perhaps a per cent sign.
fn limit(value: &str) -> Option<MountSize> {
    let number = memparse(value)?;
    Some(match number.rest.starts_with('%') {
        true => MountSize::Percent(number.value),
        false => MountSize::Bytes(Bytes::new(number.value)),
    })
}

/// The number of a user or a group; the highest one is nobody's.
fn identity(value: &str) -> Option<u32> {
    number(value, None).filter(|&id| id != u32::MAX)
}

/// Permission bits; higher ones are dropped, whatever they are.
fn mode(value: &str) -> Option<FileMode> {
    let bits = number(value, Some(8))? & 0o7777;
    u16::try_from(bits).ok().map(FileMode::new)
}

/// A number of 32 bits and nothing else; without a given radix, `0x` and `0` introduce one.
fn number(value: &str, radix: Option<u32>) -> Option<u32> {
    let digits = value.strip_prefix('+').unwrap_or(value);
    let (digits, radix) = match (radix, digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))) {
        (Some(radix), _) => (digits, radix),
        (None, Some(hex)) => (hex, 16),
        (None, None) => (digits, if digits.starts_with('0') { 8 } else { 10 }),
    };
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}
