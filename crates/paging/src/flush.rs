//! What is owed before memory that was mapped may be used for something else.

use units::{Bytes, PageCount, VaddrRange};

use crate::arch::Arch;
use crate::memory::Tlb;

/// Entries over a range have changed, and processors may still use the old ones. What was mapped is not to be given to anybody, and rights that
/// were taken away are not gone, before [`FlushOwed::settle`].
#[doc(alias("mmu_gather", "tlb_finish_mmu"))]
#[derive(Debug, Default)]
#[must_use = "until the flush is paid, processors use entries that are there no more"]
pub struct FlushOwed(Option<VaddrRange>);

impl FlushOwed {
    /// Nothing owed.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// The range to be flushed.
    #[must_use]
    pub const fn range(&self) -> Option<VaddrRange> {
        self.0
    }

    /// One debt instead of two.
    pub fn and(mut self, other: Self) -> Self {
        if let Some(range) = other.0 {
            self.add(range);
        }
        self
    }

    /// Pays.
    pub fn settle(self, tlb: &mut impl Tlb) {
        if let Some(range) = self.0 {
            tlb.flush(range);
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, range: VaddrRange) {
        self.0 = Some(match self.0 {
            Some(old) => VaddrRange::new(old.start.min(range.start), old.end.max(range.end)),
            None => range,
        });
    }
}

/// Base pages of an architecture in so many bytes.
#[inline]
pub(crate) fn pages<A: Arch>(size: Bytes) -> PageCount {
    A::PAGE.pages_floor(size)
}
