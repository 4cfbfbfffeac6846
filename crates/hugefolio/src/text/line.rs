//! Lines of the form `Label:   value`.

use thiserror::Error;
use units::{Bytes, HugeCount};

/// A report of the kernel could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A line is not there.
    #[error("there is no line `{label}`: is this the right file, of a kernel with huge pages?")]
    Missing {
        /// What the line starts with.
        label: String,
    },
    /// A line is there more than once.
    #[error("the line `{label}` is there twice: give one report at a time")]
    Twice {
        /// What the line starts with.
        label: String,
    },
    /// A value is not a number of 64 bits, or its unit is missing.
    #[error("`{label}` is followed by `{found}` where {expected} was expected")]
    BadValue {
        /// What the line starts with.
        label: String,
        /// What follows.
        found: String,
        /// What should follow.
        expected: &'static str,
    },
}

/// At most the first 60 characters of `text`, for messages.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What follows `label` in the one line that starts with it.
pub(super) fn after<'a>(text: &'a str, label: &str) -> Result<&'a str, ReportError> {
    let mut found = text.lines().filter_map(|line| line.strip_prefix(label));
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value.trim()),
        (None, _) => Err(ReportError::Missing { label: label.to_owned() }),
        (Some(_), Some(_)) => Err(ReportError::Twice { label: label.to_owned() }),
    }
}

/// The count after `label`.
pub(super) fn count(text: &str, label: &str) -> Result<HugeCount, ReportError> {
    let value = after(text, label)?;
    number(value).map(HugeCount::new).ok_or_else(|| bad(label, value, "a number"))
}

/// The size after `label`, written in kB.
pub(super) fn kib(text: &str, label: &str) -> Result<Bytes, ReportError> {
    let value = after(text, label)?;
    let kib = value.strip_suffix("kB").and_then(|n| number(n.trim_end()));
    kib.and_then(|n| n.checked_mul(1024)).map(Bytes::new).ok_or_else(|| bad(label, value, "a number of kB"))
}

/// Decimal digits and nothing else, below 2^64.
pub(crate) fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

pub(super) fn bad(label: &str, found: &str, expected: &'static str) -> ReportError {
    ReportError::BadValue { label: label.to_owned(), found: excerpt(found), expected }
}
