//! Huge pages in the way of a range of frames that somebody needs.

use policy::Placement;
use units::{Blame, Event, GfpFlags, HugeSize, Ledger, Nodemask, Pfn};

use crate::free::look_again;
use crate::pool::Condition;
use crate::shelf::Swapped;
use crate::surplus::{asked_by, destroy_folio, destroy_restored, new_folio};
use crate::{Env, HugeFolio};

/// Why a huge page was not replaced where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// Somebody uses it: it can be moved at best.
    #[error("the page at {0} is in use")]
    InUse(Pfn),
    /// Its memory is broken.
    #[error("the page at {0} has broken memory")]
    Poisoned(Pfn),
    /// No contiguous range is made for the sake of another one.
    #[error("pages of {0} are too large to be replaced")]
    Gigantic(HugeSize),
    /// There is no memory for all its descriptors.
    #[error(transparent)]
    NoMetadata(#[from] vmemmap::NoMetadata),
    /// Its node has no memory for another one.
    #[error(transparent)]
    NoPages(#[from] page_alloc::NoPages),
}

impl Blame for ReplaceError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::InUse(_) | Self::Poisoned(_) => Some(Ledger::PinnedFolio),
            Self::Gigantic(_) => Some(Ledger::Contiguity),
            Self::NoMetadata(lacking) => lacking.ledger(),
            Self::NoPages(refusal) => refusal.ledger(),
        }
    }
}

/// Puts another page of the same node in the place of a free one, which becomes ordinary memory. No counter of the pool changes, not even
/// for a moment.
///
/// # Errors
/// Somebody uses it, or there is no other one; nothing is changed.
#[doc(alias("isolate_or_dissolve_huge_folio", "alloc_and_dissolve_hugetlb_folio"))]
pub fn replace<P: Env>(p: &mut P, old: HugeFolio) -> Result<(), ReplaceError> {
    let h = p.hstate(old.hstate);
    if h.gigantic {
        return Err(ReplaceError::Gigantic(h.size));
    }
    if p.with_memmap(old.pfn, |map| map.get(old.pfn).is_none_or(|record| record.refs() > 0)) {
        return Err(ReplaceError::InUse(old.pfn));
    }
    if p.with_records(old.at(), |records| records.is_poisoned(old.at())) {
        return Err(ReplaceError::Poisoned(old.pfn));
    }
    // As ordinary memory it has all its descriptors; should it stay after all, it keeps them.
    vmemmap::restore(p, old.pfn)?;
    let slot = p.with_pool(h.id, |pool| pool.new_slot());
    let task = asked_by(Nodemask::ALL, page_alloc::Pin::Short);
    let here = GfpFlags::THISNODE | GfpFlags::RETRY_MAYFAIL;
    let new = new_folio(p, h, slot, Placement::local(old.node), task, here)?;
    // The ledger counts as many as before, so whoever has a claim finds a page all the while.
    let swapped = p.with_shelf(h.id, old.node, |shelf| match shelf.swap_sound(old, new) {
        Swapped::Done => Ok(()),
        Swapped::Broken => Err((new, ReplaceError::Poisoned(old.pfn))),
        Swapped::Gone => Err((new, ReplaceError::InUse(old.pfn))),
    });
    match swapped {
        Err((spare, refusal)) => {
            let _ = destroy_folio(p, h, spare);
            Err(refusal)
        }
        Ok(()) => {
            look_again(p, new, Condition::Sound);
            destroy_restored(p, h, old);
            p.emit(|| Event::Replaced { hstate: h.id, from: old.pfn, to: new.pfn });
            Ok(())
        }
    }
}
