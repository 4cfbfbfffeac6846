//! The files of control groups, as cgroup v2 has them.

use std::fmt;
use std::str::FromStr;

use hugetlb::boot::memparse;
use thiserror::Error;
use units::{Bytes, HugeSize, NodeId};

use super::knob::{Access, CgroupCoreFile, CgroupFile};
use super::line::{excerpt, number};
use super::write::{WriteError, Written, blanks, invalid, length};

/// Where the groups are mounted.
const ROOT: &str = "/sys/fs/cgroup/";

/// Which file of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupFileName {
    /// About the pages of one size.
    Pool {
        /// The size.
        size: HugeSize,
        /// The file.
        file: CgroupFile,
    },
    /// About the group itself.
    Core(CgroupCoreFile),
}

/// A file of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath {
    /// The group's path from the root on, such as `g0/c0`; empty for the root.
    pub group: String,
    /// The file.
    pub file: CgroupFileName,
}

/// A path names no file of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CgroupPathError {
    /// It lies elsewhere.
    #[error("`{0}` is not a file of a control group: use /sys/fs/cgroup/GROUP/FILE")]
    Elsewhere(String),
    /// The group has no such file.
    #[error(
        "`{0}`: a control group has cgroup.controllers, cgroup.subtree_control and hugetlb.SIZE.FILE with SIZE as 64KB, 2MB or \
         1GB and FILE one of current, events, events.local, max, numa_stat, rsvd.current, rsvd.max"
    )]
    UnknownFile(String),
}

impl CgroupPath {
    /// Does the path lie where control groups are?
    #[must_use]
    pub fn is_below_root(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// Reads an absolute path, as [`fmt::Display`] prints it.
    ///
    /// # Errors
    /// The path names no file of a control group.
    pub fn parse(path: &str) -> Result<Self, CgroupPathError> {
        let below = path.strip_prefix(ROOT).ok_or_else(|| CgroupPathError::Elsewhere(excerpt(path)))?;
        let (group, name) = below.rsplit_once('/').unwrap_or(("", below));
        let file = CgroupFileName::named(name).ok_or_else(|| CgroupPathError::UnknownFile(excerpt(path)))?;
        Ok(Self { group: group.to_owned(), file })
    }
}

impl CgroupFileName {
    /// The file of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let Some(rest) = name.strip_prefix("hugetlb.") else {
            return CgroupCoreFile::named(name).map(Self::Core);
        };
        let (size, file) = rest.split_once('.')?;
        Some(Self::Pool { size: size_named(size)?, file: CgroupFile::named(file)? })
    }

    /// Who may open it for what.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::Pool { file, .. } => file.access(),
            Self::Core(file) => file.access(),
        }
    }
}

/// `2MB`: the largest of the three units of which the size is a whole number.
fn size_named(text: &str) -> Option<HugeSize> {
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let (digits, shift) = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    let bytes = number(digits).filter(|_| !digits.starts_with('0'))?.checked_mul(1 << shift)?;
    HugeSize::from_bytes(Bytes::new(bytes)).filter(|size| size_name(*size) == text)
}

fn size_name(size: HugeSize) -> String {
    let kib = size.kib();
    match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    }
}

impl FromStr for CgroupPath {
    type Err = CgroupPathError;

    fn from_str(path: &str) -> Result<Self, CgroupPathError> {
        Self::parse(path)
    }
}

impl fmt::Display for CgroupFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool { size, file } => write!(f, "hugetlb.{}.{}", size_name(*size), file.name()),
            Self::Core(file) => f.write_str(file.name()),
        }
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        write!(f, "{ROOT}{}{slash}{}", self.group, self.file)
    }
}

/// What a file of a control group shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupValue {
    /// A number of bytes, or a limit that is a number.
    Bytes(Bytes),
    /// No limit.
    Max,
    /// Refused charges.
    Events(u64),
    /// Bytes in use, and where.
    NumaStat {
        /// In all.
        total: Bytes,
        /// On each node with memory.
        nodes: Vec<(NodeId, Bytes)>,
    },
    /// The controller is there.
    Controller,
    /// It is not.
    NoController,
}

impl fmt::Display for CgroupValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => writeln!(f, "{}", bytes.get()),
            Self::Max => writeln!(f, "max"),
            Self::Events(count) => writeln!(f, "max {count}"),
            Self::NumaStat { total, nodes } => {
                write!(f, "total={}", total.get())?;
                nodes.iter().try_for_each(|(node, bytes)| write!(f, " N{}={}", node.get(), bytes.get()))?;
                writeln!(f)
            }
            Self::Controller => writeln!(f, "hugetlb"),
            Self::NoController => Ok(()),
        }
    }
}

/// A limit as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupLimit {
    /// `max`.
    Max,
    /// So many bytes, not yet rounded.
    Bytes(Bytes),
}

/// Reads what is written to a limit; nothing for an empty write, which changes nothing. Blanks around it are skipped. A number
/// may have a base (`0x`, `0`) and one suffix `K M G T P E`; one beyond 64 bits is wrapped, and no digit at all is 0.
///
/// # Errors
/// Anything else, such as a sign.
#[doc(alias = "page_counter_memparse")]
pub fn cgroup_limit(text: &[u8]) -> Result<Option<Written<CgroupLimit>>, WriteError> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || invalid(text, "`max` or a number of bytes with at most one suffix of K M G T P E");
    let word = std::str::from_utf8(stripped(text)).map_err(|_| refuse())?;
    let value = match (word, memparse(word)) {
        ("max", _) => CgroupLimit::Max,
        (_, Some(parsed)) if parsed.rest.is_empty() => CgroupLimit::Bytes(Bytes::new(parsed.value)),
        ("" | "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" | "p" | "P" | "e" | "E", None) => {
            CgroupLimit::Bytes(Bytes::ZERO)
        }
        _ => return Err(refuse()),
    };
    Ok(Some(Written { value, consumed: length(text) }))
}

/// What is written to `cgroup.subtree_control`, as far as the one controller goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerWrite {
    /// `+hugetlb`.
    Enable,
    /// `-hugetlb`.
    Disable,
    /// No word.
    Leave,
}

/// Reads words `+hugetlb` and `-hugetlb`, of which the last counts.
///
/// # Errors
/// Any other word.
#[doc(alias = "cgroup_subtree_control_write")]
pub fn subtree_control(text: &[u8]) -> Result<Written<ControllerWrite>, WriteError> {
    let refuse = || invalid(text, "`+hugetlb` or `-hugetlb`");
    let words = std::str::from_utf8(stripped(text)).map_err(|_| refuse())?;
    let mut value = ControllerWrite::Leave;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        value = match word {
            "+hugetlb" => ControllerWrite::Enable,
            "-hugetlb" => ControllerWrite::Disable,
            _ => return Err(refuse()),
        };
    }
    Ok(Written { value, consumed: length(text) })
}

/// The text up to its first NUL, without blanks around it; 0xa0 is one to the kernel.
fn stripped(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let mut word = &text[..end];
    let blank = |b: u8| b == 0xa0 || blanks(&[b]) == 1;
    while let [first, rest @ ..] = word
        && blank(*first)
    {
        word = rest;
    }
    while let [rest @ .., last] = word
        && blank(*last)
    {
        word = rest;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Linux 6.18.44 took them.
    #[test]
    fn limits_are_read_as_the_kernel_reads_them() {
        let read = |text: &str| cgroup_limit(text.as_bytes()).ok().map(|written| written.map(|w| w.value));
        let bytes = |n: u64| Some(Some(CgroupLimit::Bytes(Bytes::new(n))));
        for text in ["max", "max\n", " max ", "max\0junk"] {
            assert_eq!(read(text), Some(Some(CgroupLimit::Max)), "{text:?}");
        }
        for (text, n) in [
            ("4M\n\n", 4 << 20),
            ("\t\x0b4m\r\n", 4 << 20),
            ("0x200000", 2 << 20),
            ("010000000", 2 << 20),
            ("K", 0),
            ("\n", 0),
            ("16E", 0),
            ("18446744073709551616", 0),
            ("99999999999999999999", 7_766_279_631_452_241_919),
        ] {
            assert_eq!(read(text), bytes(n), "{text:?}");
        }
        for text in ["-1", "-0", "+4M", "4 M", "4MB", "4MM", "08", "0x", "0xK", "MAX", "maxx", "4M\nx", "1_0", "abc"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(""), Some(None));
    }

    #[test]
    fn the_last_word_decides_who_hands_the_controller_on() {
        let read = |text: &str| subtree_control(text.as_bytes()).ok().map(|written| written.value);
        assert_eq!(read("+hugetlb -hugetlb\n"), Some(ControllerWrite::Disable));
        assert_eq!(read("\n"), Some(ControllerWrite::Leave));
        assert_eq!(read("hugetlb"), None);
    }

    #[test]
    fn a_path_reads_as_it_prints() {
        for path in [
            "/sys/fs/cgroup/g0/c0/hugetlb.2MB.rsvd.max",
            "/sys/fs/cgroup/g0/hugetlb.64KB.events.local",
            "/sys/fs/cgroup/cgroup.subtree_control",
            "/sys/fs/cgroup/hugetlb.16GB.current",
        ] {
            assert_eq!(CgroupPath::parse(path).unwrap().to_string(), path);
        }
        for path in ["/sys/fs/cgroup/g0/hugetlb.2048KB.max", "/sys/fs/cgroup/g0/hugetlb.02MB.max", "/sys/fs/cgroup/g0"]
        {
            assert!(CgroupPath::parse(path).is_err(), "{path}");
        }
    }
}
