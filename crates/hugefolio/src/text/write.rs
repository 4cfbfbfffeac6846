//! What is written to the files of the pools, and what they show.
//!
//! The two folders read numbers differently. sysfs takes decimal digits and no blank but one line end; a number beyond 64
//! bits is out of range. `/proc/sys` skips blanks, understands `0x` and octal numbers, reads one value and leaves the rest
//! of the line, and calls everything that it cannot read invalid, numbers beyond the range included.

use std::fmt;

use hugetlb::boot::memparse;
use thiserror::Error;
use units::{Bytes, HugeCount, HugeSize};

use super::knob::{Access, KnobPath, NodeKnob, PoolKnob, SysctlKnob};
use super::line::excerpt;

/// Text that a file does not take.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Not what the file expects (`EINVAL`).
    #[error("`{found}` is not {expected}")]
    Invalid {
        /// What was written.
        found: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A number beyond 64 bits (`ERANGE`).
    #[error("`{found}` does not fit into 64 bits: write a smaller number")]
    OutOfRange {
        /// What was written.
        found: String,
    },
    /// The file cannot be opened for writing (`EACCES`).
    #[error("{0} can only be read")]
    ReadOnly(KnobPath),
}

/// A value that was read, and how much of the text it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// What `write` returns. sysfs takes the whole text; `/proc/sys` stops before a second value.
    pub consumed: Bytes,
}

/// The group of `hugetlb_shm_group`, signed as the file shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ShmGroup(pub i32);

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Switch {
    /// Written as 0.
    Off,
    /// Written as any other number, shown as 1.
    On,
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnobWrite {
    /// So many huge pages.
    Count(HugeCount),
    /// This group.
    Group(ShmGroup),
    /// On or off.
    Switch(Switch),
    /// Demote to this size; whether there is such a pool is not known here.
    Size(HugeSize),
}

/// What a file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnobValue {
    /// A number of huge pages.
    Count(HugeCount),
    /// A group.
    Group(ShmGroup),
    /// On or off.
    Switch(Switch),
    /// The size that pages are demoted to.
    Size(HugeSize),
}

impl fmt::Display for KnobValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => writeln!(f, "{}", count.get()),
            Self::Group(group) => writeln!(f, "{}", group.0),
            Self::Switch(switch) => writeln!(f, "{}", u8::from(*switch == Switch::On)),
            Self::Size(size) => writeln!(f, "{}kB", size.kib()),
        }
    }
}

impl KnobPath {
    /// What writing `text` to this file asks for; nothing at all where the text is empty.
    ///
    /// # Errors
    /// The file is read only, or the text is not what it takes.
    pub fn read_write(self, text: &[u8]) -> Result<Option<Written<KnobWrite>>, WriteError> {
        if self.access() == Access::ReadOnly {
            return Err(WriteError::ReadOnly(self));
        }
        Ok(match self {
            Self::Sysctl(SysctlKnob::HugetlbShmGroup) => {
                sysctl_int(text)?.map(|w| w.map(|n| KnobWrite::Group(ShmGroup(n))))
            }
            Self::Sysctl(SysctlKnob::HugetlbOptimizeVmemmap) => {
                sysctl_int(text)?.map(|w| w.map(|n| KnobWrite::Switch(if n == 0 { Switch::Off } else { Switch::On })))
            }
            Self::Sysctl(_) => sysctl_count(text)?.map(|w| w.map(KnobWrite::Count)),
            Self::Pool { knob: PoolKnob::DemoteSize, .. } | Self::Node { knob: NodeKnob::DemoteSize, .. } => {
                demote_size(text)?.map(|w| w.map(KnobWrite::Size))
            }
            Self::Pool { .. } | Self::Node { .. } => sysfs_count(text)?.map(|w| w.map(KnobWrite::Count)),
        })
    }
}

impl<T> Written<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Written<U> {
        Written { value: f(self.value), consumed: self.consumed }
    }
}

/// A count written to sysfs: decimal digits with an optional `+` before and one optional line end behind, up to the first
/// NUL. An empty text does not reach the file.
///
/// # Errors
/// The text is no such number.
pub fn sysfs_count(text: &[u8]) -> Result<Option<Written<HugeCount>>, WriteError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || invalid(text, "a decimal number");
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let number = text[..end].strip_prefix(b"+").unwrap_or(&text[..end]);
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return Err(invalid());
    }
    // The kernel notices that a number is too big before it looks at what follows.
    let value = fold(&number[..digits], 10).ok_or_else(|| WriteError::OutOfRange { found: shown(text) })?;
    match &number[digits..] {
        b"" | b"\n" => Ok(Some(Written { value: HugeCount::new(value), consumed: length(text) })),
        _ => Err(invalid()),
    }
}

/// A count written to `/proc/sys`: one number of at most 20 characters after blanks, decimal, octal (`0`) or hexadecimal
/// (`0x`), followed by a blank or nothing. An empty text does not reach the file.
///
/// # Errors
/// The text is no such number.
pub fn sysctl_count(text: &[u8]) -> Result<Option<Written<HugeCount>>, WriteError> {
    let Some(found) = sysctl_number(text)? else {
        return Ok(None);
    };
    if found.value.negative {
        return Err(invalid(text, SYSCTL_COUNT));
    }
    Ok(Some(found.map(|n| HugeCount::new(n.magnitude))))
}

/// A size written to `demote_size`: digits and a suffix, with anything behind them. A number beyond 64 bits wraps.
///
/// # Errors
/// The text is no power of two from 4 KiB on. (The kernel says the same of a size without a pool.)
pub fn demote_size(text: &[u8]) -> Result<Option<Written<HugeSize>>, WriteError> {
    if text.is_empty() {
        return Ok(None);
    }
    // The number and its suffix are ASCII; what follows does not matter.
    let ascii = text.iter().position(|b| !b.is_ascii()).unwrap_or(text.len());
    let number = std::str::from_utf8(&text[..ascii]).ok().and_then(memparse);
    let size = number.and_then(|n| HugeSize::from_bytes(Bytes::new(n.value)));
    let value = size.ok_or_else(|| invalid(text, "the size of a smaller pool, such as 2M"))?;
    Ok(Some(Written { value, consumed: length(text) }))
}

const SYSCTL_COUNT: &str = "one number from 0 to 2^64 - 1";

struct Number {
    negative: bool,
    magnitude: u64,
}

fn sysctl_int(text: &[u8]) -> Result<Option<Written<i32>>, WriteError> {
    let Some(found) = sysctl_number(text)? else {
        return Ok(None);
    };
    let Number { negative, magnitude } = found.value;
    let magnitude = i64::try_from(magnitude).ok();
    let signed = magnitude.map(|n| if negative { -n } else { n }).and_then(|n| i32::try_from(n).ok());
    let value = signed.ok_or_else(|| invalid(text, "one number of 32 bits"))?;
    Ok(Some(Written { value, consumed: found.consumed }))
}

/// The numbers that a file of several takes, up to the first that is none.
pub(super) fn sysctl_numbers(text: &[u8]) -> impl Iterator<Item = i64> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let found = sysctl_number(rest).ok().flatten()?;
        rest = rest.get(usize::try_from(found.consumed.get()).ok()?..)?;
        let magnitude = i64::try_from(found.value.magnitude).ok()?;
        Some(if found.value.negative { -magnitude } else { magnitude })
    })
}

/// The longest number that `/proc/sys` reads, sign and base included.
const SYSCTL_NUMBER_MAX: usize = 20;

fn sysctl_number(text: &[u8]) -> Result<Option<Written<Number>>, WriteError> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || invalid(text, SYSCTL_COUNT);
    let start = blanks(text);
    let word = &text[start..];
    let unsigned = word.strip_prefix(b"-").unwrap_or(word);
    let (radix, number) = base(unsigned);
    let digits = number.iter().take_while(|&&b| char::from(b).is_digit(radix)).count();
    let end = word.len() - number.len() + digits;
    let separated = matches!(word.get(end), None | Some(b' ' | b'\t' | b'\n'));
    if digits == 0 || end > SYSCTL_NUMBER_MAX || !separated {
        return Err(invalid());
    }
    let magnitude = fold(&number[..digits], radix).ok_or_else(invalid)?;
    let consumed = start + end + blanks(&word[end..]);
    Ok(Some(Written {
        value: Number { negative: unsigned.len() < word.len(), magnitude },
        consumed: length(&text[..consumed]),
    }))
}

pub(super) fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|b| matches!(b, b' ' | b'\t'..=b'\r')).count()
}

/// The base that a number announces, and its digits.
fn base(text: &[u8]) -> (u32, &[u8]) {
    match text {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, text),
        _ => (10, text),
    }
}

fn fold(digits: &[u8], radix: u32) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &b| {
        let digit = char::from(b).to_digit(radix)?;
        value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

pub(crate) fn length(text: &[u8]) -> Bytes {
    Bytes::new(u64::try_from(text.len()).expect("no text is longer than 2^64 bytes"))
}

pub(super) fn invalid(text: &[u8], expected: &'static str) -> WriteError {
    WriteError::Invalid { found: shown(text), expected }
}

/// The beginning of the text with everything unprintable escaped.
fn shown(text: &[u8]) -> String {
    excerpt(&text[..text.len().min(61)].escape_ascii().to_string())
}
