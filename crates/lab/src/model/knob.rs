//! Knobs: the numbers that set_nr, sysctl_nr and set_overcommit write.

use super::{Fail, NaiveMachine, Outcome, no_1g};
use crate::op::{SetNr, SetOvercommit, SysctlNr};
use crate::target::Answer;

/// A number as sysfs reads it: decimal, one `+` before it and one newline behind it allowed; an empty write does nothing.
fn sysfs_number(text: &str) -> Result<Option<u64>, Fail> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fail::Errno("EINVAL"));
    }
    digits.parse().map(Some).map_err(|_| Fail::Errno("ERANGE"))
}

/// A number as sysctl reads it: blanks before it, `0x` and octal allowed, what stands behind a blank is ignored.
fn sysctl_number(text: &str) -> Result<Option<u64>, Fail> {
    if text.is_empty() {
        return Ok(None);
    }
    let word = text.split_ascii_whitespace().next().unwrap_or("");
    let (digits, radix) = if let Some(hex) = word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        (hex, 16)
    } else if word.len() > 1 && word.starts_with('0') {
        (&word[1..], 8)
    } else {
        (word, 10)
    };
    if digits.starts_with('+') {
        return Err(Fail::Errno("EINVAL"));
    }
    u64::from_str_radix(digits, radix).map(Some).map_err(|_| Fail::Errno("EINVAL"))
}

impl NaiveMachine {
    /// There is node 0 alone, so a node's file is the same as the global one.
    pub(super) fn set_nr(&mut self, op: &SetNr) -> Outcome {
        if op.node.is_some_and(|node| node.get() != 0) {
            return Err(Fail::Errno("ENOENT"));
        }
        let target = sysfs_number(&op.value.bytes())?;
        no_1g(Some(op.size))?;
        if let Some(target) = target {
            self.pool.resize(target);
        }
        Ok(Answer::ok())
    }

    pub(super) fn sysctl_nr(&mut self, op: &SysctlNr) -> Outcome {
        if let Some(target) = sysctl_number(&op.value.bytes())? {
            self.pool.resize(target);
        }
        Ok(Answer::ok())
    }

    pub(super) fn set_overcommit(&mut self, op: &SetOvercommit) -> Outcome {
        // 1 GiB pages have no surplus.
        no_1g(Some(op.size)).map_err(|_| Fail::Errno("EINVAL"))?;
        if let Some(limit) = sysfs_number(&op.value.bytes())? {
            self.pool.overcommit = limit;
        }
        Ok(Answer::ok())
    }
}
