//! Pages made and unmade: the seam to the page allocator.

use memmap::FolioKind;
use page_alloc::{Block, NoPages, PageRequest, Pin, Source, Task};
use policy::{Mode, Placement, ZoneRef};
use units::{Blame, GfpFlags, HugeCount, Ledger, NodeId, Nodemask, Order, Pfn};

use crate::free::shelve;
use crate::poison::keep_poisoned;
use crate::pool::{Condition, Joins, ONE, Pool};
use crate::{Env, Hstate, HugeFolio};

/// No surplus page could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SurplusRefusal {
    /// Gigantic pages are never surplus.
    #[error("pages of this size are never surplus")]
    Gigantic,
    /// The administrator's cap.
    #[error("{} are surplus already, and at most {} may be", .surplus.get(), .limit.get())]
    Overcommit {
        /// Surplus pages now.
        surplus: HugeCount,
        /// The cap.
        limit: HugeCount,
    },
    /// The page allocator had none.
    #[error(transparent)]
    NoPages(#[from] NoPages),
}

impl Blame for SurplusRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Gigantic => Some(Ledger::Pool),
            // A cap of zero is a pool without overcommit: the pool is what ran out.
            Self::Overcommit { limit, .. } if limit.is_zero() => Some(Ledger::Pool),
            Self::Overcommit { .. } => Some(Ledger::SurplusCap),
            Self::NoPages(refusal) => refusal.ledger(),
        }
    }
}

/// Pages that can be moved come from wherever movable pages may. Those too large for that must not be in the way of unplugging.
#[doc(alias = "htlb_alloc_mask")]
#[inline]
pub(crate) const fn gfp_of(hstate: Hstate) -> GfpFlags {
    if hstate.gigantic { GfpFlags::HIGHUSER } else { GfpFlags::HIGHUSER_MOVABLE }
}

/// Who asks for memory: his cpuset, and how long he keeps the page where it is.
#[inline]
pub(crate) fn asked_by(allowed: Nodemask, pin: Pin) -> Task {
    Task { allowed, walled: allowed, pin, ..Task::default() }
}

/// Memory for one huge page, recorded but not counted by the pool yet. Its data are in `slot`, which is vacant again if there
/// is none.
#[inline]
pub(crate) fn new_folio<P: Env>(
    p: &mut P,
    hstate: Hstate,
    slot: u32,
    placement: Placement,
    task: Task,
    effort: GfpFlags,
) -> Result<HugeFolio, NoPages> {
    let gfp = gfp_of(hstate) | GfpFlags::COMP | GfpFlags::NOWARN | effort;
    let request = PageRequest { task, ..PageRequest::new(hstate.order, gfp, placement.nid) };
    let found = if hstate.gigantic {
        page_alloc::alloc_gigantic(p, &request, &placement)
    } else {
        page_alloc::alloc_placed(p, &request, &placement).map(|block| (block, Source::Ordinary))
    };
    match found {
        Ok((Block { pfn, zone, .. }, source)) => {
            note(p, hstate, &placement, Some(zone.node));
            let folio = HugeFolio { pfn, hstate: hstate.id, node: zone.node, zone: zone.kind, source, slot };
            // Before anybody can find it by its frames.
            p.with_records(folio.at(), |records| records.place(folio));
            p.with_memmap(pfn, |map| map.claim(pfn, hstate.order, FolioKind::Huge(folio.at())));
            optimise(p, pfn, hstate.order, zone);
            Ok(folio)
        }
        Err(refusal) => {
            note(p, hstate, &placement, None);
            p.with_pool(hstate.id, |pool| pool.drop_slot(slot));
            Err(refusal)
        }
    }
}

/// Counts the tries that led to a block of `node`, or to none. Ranges of gigantic pages are not counted.
#[inline]
fn note<P: Env>(p: &mut P, hstate: Hstate, placement: &Placement, node: Option<NodeId>) {
    if hstate.gigantic {
        return;
    }
    // What lies outside the nodes that a policy would rather have was found by its second try.
    let twice = placement.mode == Mode::PreferredMany
        && placement.nodemask.is_some_and(|mask| node.is_none_or(|node| !mask.contains(node)));
    p.with_pool(hstate.id, |pool| {
        pool.tries.failures += u64::from(twice) + u64::from(node.is_none());
        pool.tries.successes += u64::from(node.is_some());
    });
}

/// A huge page gives its redundant descriptors back, if it is to and can. If not, it is as good as any other.
#[inline]
pub(crate) fn optimise<P: Env>(p: &mut P, pfn: Pfn, order: Order, zone: ZoneRef) {
    let (vmemmap::Outcome::Optimised(_) | vmemmap::Outcome::Left(_)) =
        vmemmap::optimise(p, vmemmap::HugeBlock { pfn, order, zone });
}

/// Gives the memory of a folio back that its pool does not count any more. Without memory for all its descriptors it stays a huge page: surplus,
/// whatever the cap, and free. Whether it is gone.
#[inline]
pub(crate) fn destroy_folio<P: Env>(p: &mut P, hstate: Hstate, folio: HugeFolio) -> Gone {
    if vmemmap::restore(p, folio.pfn).is_err() {
        keep_as_surplus(p, folio);
        return Gone::No;
    }
    destroy_restored(p, hstate, folio);
    Gone::Yes
}

/// Did a page leave its pool?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Yes.
    Yes,
    /// No: its descriptors lack memory.
    No,
}

#[cold]
fn keep_as_surplus<P: Env>(p: &mut P, folio: HugeFolio) {
    let condition = p.with_records(folio.at(), |records| {
        records.place(folio);
        records.condition(folio)
    });
    shelve(p, folio, condition, |pool| pool.take_back_as_surplus(folio.node, condition));
    p.emit(|| units::Event::KeptForDescriptors { hstate: folio.hstate, folio: folio.pfn });
}

/// The same for a folio that has all its descriptors.
#[inline]
pub(crate) fn destroy_restored<P: Env>(p: &mut P, hstate: Hstate, folio: HugeFolio) {
    p.with_memmap(folio.pfn, |map| map.release(folio.pfn));
    let poison = p.with_records(folio.at(), |records| records.leave(folio));
    // Last of all: from here on the slot may be another page's.
    p.with_pool(hstate.id, |pool| pool.drop_slot(folio.slot));
    if let Some(poison) = poison {
        keep_poisoned(p, folio, hstate.order, &poison);
    } else {
        let freed = page_alloc::free(p, folio.zone_ref(), folio.pfn, hstate.order);
        debug_assert_eq!(freed, Ok(()), "a folio of a pool is what the page allocator handed out");
    }
    if folio.source == Source::Cma {
        page_alloc::release_to_area(p, folio.pfn, hstate.order.pages());
    }
}

/// A surplus page, counted and frozen. The cap is checked before the allocation and again after it.
pub(crate) fn alloc_surplus<P: Env>(
    p: &mut P,
    hstate: Hstate,
    placement: Placement,
    task: Task,
) -> Result<HugeFolio, SurplusRefusal> {
    if hstate.gigantic {
        return Err(SurplusRefusal::Gigantic);
    }
    let slot = p.with_pool(hstate.id, Pool::slot_below_cap)?;
    let folio = new_folio(p, hstate, slot, placement, task, GfpFlags::RETRY_MAYFAIL)?;
    let counted = p.with_pool(hstate.id, |pool| {
        pool.balance().surplus_room()?;
        pool.add_page(folio.node, Joins::Surplus);
        Ok(())
    });
    if let Err(refusal) = counted {
        let _ = destroy_folio(p, hstate, folio);
        return Err(refusal);
    }
    Ok(folio)
}

/// Takes a page off the shelf after the ledger let it go, and destroys it.
#[inline]
pub(crate) fn destroy_claimed<P: Env>(p: &mut P, hstate: Hstate, node: NodeId, condition: Condition) {
    let Some(folio) = take_claimed(p, hstate, node, condition) else { return };
    if destroy_folio(p, hstate, folio) == Gone::Yes {
        p.emit(|| units::Event::PoolShrank { hstate: hstate.id, node });
    }
}

/// Takes a page off the shelf after the ledger let it go.
#[inline]
pub(crate) fn take_claimed<P: Env>(p: &mut P, hstate: Hstate, node: NodeId, condition: Condition) -> Option<HugeFolio> {
    let taken = p.with_shelf(hstate.id, node, |shelf| match condition {
        Condition::Sound => Some(shelf.take_claimed()),
        Condition::Poisoned => shelf.take_poisoned(),
    });
    debug_assert!(taken.is_some(), "what the ledger counts as broken lies on the shelf");
    taken
}

impl Pool {
    /// A page that was to leave is back, as surplus and free.
    fn take_back_as_surplus(&mut self, node: NodeId, condition: Condition) {
        self.add_page(node, Joins::Surplus);
        self.add_free(node);
        if condition == Condition::Poisoned {
            self.nodes[node.index()].poisoned += ONE;
        }
    }

    /// A slot for one more surplus page, if the cap permits one.
    fn slot_below_cap(&mut self) -> Result<u32, SurplusRefusal> {
        self.balance().surplus_room()?;
        Ok(self.new_slot())
    }
}
