//! How much of its host's memory a script may take, whatever is in it.

use std::fmt;

use hugefolio::{Bytes, MachineLimits, PageCount};

use crate::op::{Size, Value};
use crate::{input, machine_state};

/// What is read, and how large a machine may become. What goes beyond is refused with the limit and with what was found; nothing else is bounded by the
/// host alone: an operation adds at most a few records besides those that are counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a scenario or script.
    pub bytes: u64,
    /// Its lines, and with them its operations.
    pub lines: usize,
    /// Bytes of a saved machine.
    pub state: usize,
    /// Memory of a machine, all nodes together.
    pub memory: Bytes,
    /// Records of allocated memory: of huge pages in and outside of pools, blocks of ordinary pages, and pages of guests.
    pub folios: u64,
}

/// A text that sets no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLimit {
    /// The text.
    pub text: String,
}

impl fmt::Display for BadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Limits::NAMES.map(|(name, what)| format!("{name} ({what})")).join(", ");
        write!(f, "`{}` sets no limit; write NAME=SIZE, such as memory=1T, with one of {names}", self.text)
    }
}

impl std::error::Error for BadLimit {}

impl Default for Limits {
    /// 16 MiB of text in 100000 lines, 64 MiB of a saved machine, 64 TiB of memory, and four million records, which take about 1 GiB.
    fn default() -> Self {
        let machine_state::Limits { bytes: state, .. } = machine_state::Limits::default();
        Self {
            bytes: input::BYTES_LIMIT,
            lines: input::LINES_LIMIT,
            state,
            memory: Bytes::gib(64 << 10),
            folios: 4 << 20,
        }
    }
}

impl Limits {
    /// For tries that have to be short.
    pub const SMALL: Self =
        Self { bytes: 1 << 20, lines: 1000, state: 4 << 20, memory: Bytes::gib(64), folios: 20_000 };

    /// What can be set, with what it is.
    pub const NAMES: [(&str, &str); 5] = [
        ("bytes", "bytes of a scenario or script"),
        ("lines", "its lines"),
        ("state", "bytes of a saved machine"),
        ("memory", "memory of a machine"),
        ("folios", "records of allocated memory"),
    ];

    /// The same with one limit set, such as `memory=1T` or `folios=100000`.
    ///
    /// # Errors
    /// What can be set is said.
    pub fn with(mut self, text: &str) -> Result<Self, BadLimit> {
        let bad = || BadLimit { text: text.chars().take(60).collect() };
        let (name, value) = text.split_once('=').ok_or_else(bad)?;
        let size = <Size as Value>::from_text(value).ok().filter(|size| size.signed() >= 0).ok_or_else(bad)?;
        let number = size.unsigned();
        let small = || usize::try_from(number).map_err(|_| bad());
        match name {
            "bytes" => self.bytes = number,
            "lines" => self.lines = small()?,
            "state" => self.state = small()?,
            "memory" => self.memory = Bytes::new(number),
            "folios" => self.folios = number,
            _ => return Err(bad()),
        }
        Ok(self)
    }

    /// Those of machines.
    #[must_use]
    pub const fn of_machines(self) -> MachineLimits {
        MachineLimits { memory: self.memory, folios: self.folios }
    }

    /// Those of saved machines.
    #[must_use]
    pub const fn of_states(self) -> machine_state::Limits {
        // Descriptors lie behind the memory that they describe, and take a sixty-fourth of it at the most.
        let frames = self.memory.get() / 4096;
        machine_state::Limits { bytes: self.state, frames: PageCount::new(frames + frames / 32 + 4096) }
    }
}
