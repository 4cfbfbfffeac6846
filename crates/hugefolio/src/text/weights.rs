//! The files that say how many pages each node gets in a row under a weighted policy.

use std::fmt;
use std::str::FromStr;

use units::{NodeId, Nodemask};

use super::write::{WriteError, invalid};

const FOLDER: &str = "/sys/kernel/mm/mempolicy/weighted_interleave/node";

/// The weight of a node: `nodeN` in `/sys/kernel/mm/mempolicy/weighted_interleave`.
#[doc(alias = "weighted_interleave")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightFile(pub NodeId);

/// Not one of these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file about weights of nodes")]
pub struct NoWeightFile;

impl WeightFile {
    /// What is written to it: a weight.
    ///
    /// # Errors
    /// The text is no weight.
    pub fn read_write(self, text: &[u8]) -> Result<u8, WriteError> {
        let word = std::str::from_utf8(text).unwrap_or("");
        let word = word.strip_suffix('\n').unwrap_or(word);
        let weight = number(word).filter(|&weight| weight > 0);
        weight.ok_or_else(|| invalid(text, "a weight from 1 to 255"))
    }
}

/// A number as C has it: decimal, octal or hexadecimal.
#[doc(alias = "kstrtou8")]
fn number(word: &str) -> Option<u8> {
    let word = word.strip_prefix('+').unwrap_or(word);
    let digits = |digits: &str, radix| {
        let plain = !digits.starts_with(['+', '-']);
        u8::from_str_radix(digits, radix).ok().filter(|_| plain)
    };
    if let Some(hexadecimal) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        digits(hexadecimal, 16)
    } else if word.len() > 1 && word.starts_with('0') {
        digits(word, 8)
    } else {
        digits(word, 10)
    }
}

impl FromStr for WeightFile {
    type Err = NoWeightFile;

    fn from_str(path: &str) -> Result<Self, NoWeightFile> {
        let digits = path.strip_prefix(FOLDER).ok_or(NoWeightFile)?;
        let number: u8 = digits.parse().map_err(|_| NoWeightFile)?;
        let canonical = number < Nodemask::CAPACITY && digits == number.to_string();
        canonical.then_some(Self(NodeId::new(number))).ok_or(NoWeightFile)
    }
}

impl fmt::Display for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FOLDER}{}", self.0.get())
    }
}
