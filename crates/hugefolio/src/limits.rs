//! How large a machine may become.

use units::{Bytes, Site};

use crate::Machine;

/// What a machine may need of its host's memory, whoever asks for it. Nothing is bounded unless said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineLimits {
    /// Its memory, all nodes together. A machine with more is not built.
    pub memory: Bytes,
    /// Records of allocated memory: one for each huge page, block of ordinary pages and page of a guest. Where there are so many, the next attempt at a
    /// block of frames fails as if there were none. Threads that share a machine do not look at it.
    pub folios: u64,
}

impl MachineLimits {
    /// As much as its host gives.
    pub const NONE: Self = Self { memory: Bytes::new(u64::MAX), folios: u64::MAX };
}

impl Default for MachineLimits {
    fn default() -> Self {
        Self::NONE
    }
}

impl Machine {
    /// How many records of allocated memory there are.
    #[must_use]
    pub const fn folios(&self) -> u64 {
        self.memmap.records() as u64
    }

    /// From now on the machine takes no more of its host's memory; what it has it keeps.
    pub const fn limit(&mut self, limits: MachineLimits) {
        self.config.limits = limits;
    }

    /// What it may take.
    #[must_use]
    pub const fn host_limits(&self) -> MachineLimits {
        self.config.limits
    }

    #[inline]
    pub(crate) fn is_full(&self, site: Site) -> bool {
        site == Site::Frame && self.folios() >= self.config.limits.folios
    }
}
