//! Memory that goes and comes, with whatever lies in it.

use hugetlb::DissolveError;
use page_alloc::{HotplugError, MoveReason, OfflineQuestion, Plug};
use units::{Blame, Ledger, PageCount, Pfn};

use crate::Machine;

/// How often what is busy is tried. Linux tries until a signal comes.
const TRIES: u32 = 5;

/// Memory stayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// The range cannot go, or something other than huge pages is in it.
    #[error(transparent)]
    Range(#[from] HotplugError),
    /// Something in it stays, however often it is tried.
    #[error("the page at {0} stays")]
    Busy(Pfn),
    /// A free huge page in it stays one.
    #[error(transparent)]
    Huge(#[from] DissolveError),
}

impl Blame for OfflineError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Range(_) => None,
            Self::Busy(_) => Some(Ledger::PinnedFolio),
            Self::Huge(error) => error.ledger(),
        }
    }
}

impl Machine {
    /// Takes memory out. Huge pages in it that are free become ordinary memory, which lowers their pools; those in use are moved to other nodes, or else
    /// on their own; blocks that can be moved are moved. What was dissolved stays so, whether or not the memory goes in the end.
    ///
    /// # Errors
    /// Frames that are no whole blocks of a zone, or something that stays.
    #[doc(alias("offline_pages", "memory_block_offline"))]
    pub fn offline_memory(&mut self, start: Pfn, pages: PageCount) -> Result<(), OfflineError> {
        let zone = page_alloc::zone_of(self, start).ok_or(HotplugError::Hole(start))?;
        let end = start.offset(pages);
        let mut offline = self.pages.offline(Plug { zone, start, pages })?;
        let mut stays = OfflineError::Busy(start);
        for _ in 0..TRIES {
            let huge = page_alloc::huge_in(self, zone, start, end);
            offline = offline.with_huge(huge);
            let knobs = self.sysctls.pages;
            let mut question = offline.begin(&mut self.pages, &knobs);
            let busy = loop {
                let moved = match question {
                    OfflineQuestion::Move(block) => page_alloc::relocate(self, &block),
                    OfflineQuestion::Leave(found) => mm::vacate(self, found.pfn, MoveReason::Hotplug),
                    OfflineQuestion::Busy(pfn) => break pfn,
                    OfflineQuestion::Failed(error) => return Err(error.into()),
                    _ => return Ok(()),
                };
                question = offline.answer(&mut self.pages, &knobs, moved);
            };
            // Pages that were moved came back to their pools, and lie there still.
            stays = match hugetlb::dissolve_range(self, start, end, self.smallest_page()) {
                Err(error) => error.into(),
                Ok(()) => OfflineError::Busy(busy),
            };
        }
        offline.cancel(&mut self.pages);
        Err(stays)
    }

    /// Memory comes: it is free and movable.
    ///
    /// # Errors
    /// Frames that are no whole blocks, or are there.
    #[doc(alias("online_pages", "memory_block_online"))]
    pub fn online_memory(&mut self, plug: Plug) -> Result<(), HotplugError> {
        let knobs = self.sysctls.pages;
        self.pages.online(plug, &knobs)
    }

    fn smallest_page(&self) -> PageCount {
        let orders = self.config.hstates.iter().map(|hstate| hstate.order.pages());
        orders.min().unwrap_or(PageCount::new(1))
    }
}
