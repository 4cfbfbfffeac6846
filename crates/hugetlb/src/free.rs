//! The way back: references dropped, folios returned to their pool.

use charge::{Counter, Receipt};
use memmap::{FolioKind, HugeSlot, Last};
use units::{Context, Event, MountReturn, Pfn};

use crate::deferred::destroy_in;
use crate::poison::{readmit, set_aside};
use crate::pool::{Condition, Fate, ONE, Pool};
use crate::record::Record;
use crate::restore::restore_owed;
use crate::restructure::piece_released;
use crate::subpool::{Return, begin_return, end_return, put_pages};
use crate::surplus::{Gone, take_claimed};
use crate::{Env, HugeFolio};

/// Drops `refs` references of a folio of any kind and sends it home if they were the last. Whoever does it may wait.
#[doc(alias("free_huge_folio", "folio_put"))]
#[inline]
pub fn put_folio<P: Env>(p: &mut P, pfn: Pfn, refs: u64) {
    put_folio_in(p, pfn, refs, Context::Sleepable);
}

/// As [`put_folio`], where perhaps nobody may wait: what cannot be done there is put off until somebody calls [`crate::quiesce`].
#[inline]
pub fn put_folio_in<P: Env>(p: &mut P, pfn: Pfn, refs: u64, context: Context) {
    match p.with_memmap(pfn, |map| map.put_refs(pfn, refs)) {
        None | Some(Last(FolioKind::Poisoned)) => (),
        Some(Last(FolioKind::Page)) => free_page(p, pfn),
        Some(Last(FolioKind::Huge(at))) => free_huge(p, at, context),
        Some(Last(FolioKind::Piece(of))) => piece_released(p, of, pfn, context),
        Some(Last(kind)) => debug_assert!(false, "{pfn} is of a kind nobody frees: {kind:?}"),
    }
}

/// The only place where huge pages come back: the subpool may keep the page as its reservation, the charges end, and the ledger
/// decides whether the page stays.
pub(crate) fn free_huge<P: Env>(p: &mut P, at: HugeSlot, context: Context) {
    let hstate = at.hstate;
    let (folio, old, condition) = p.with_records(at, |records| {
        let folio = records.folio(hstate, at.slot);
        let fresh = Record::new(folio);
        (folio, core::mem::replace(records.record(folio), fresh), records.condition(folio))
    });
    // Owed still: no mapping was the last to keep it, but a pin, or somebody who was to move it.
    let owed = old.owed_to.is_some_and(|(map, index)| restore_owed(p, folio, map, index));
    let mut restored = old.restore_reserve || owed;
    if let Some(subpool) = old.subpool {
        begin_return(p, subpool);
    }
    if let Some(subpool) = old.subpool.filter(|_| !restored) {
        let back = Return { pages: ONE, held: ONE, why: MountReturn::Done };
        restored = put_pages(p, hstate, subpool, back).is_some_and(|released| released.is_zero());
    }
    uncharge(p, folio, &old);
    p.emit(|| Event::Freed { hstate, folio: folio.pfn, restored });
    if old.temporary {
        // It was the administrator's when it was made. A smaller pool may have called it surplus since.
        p.with_pool(hstate, |pool| pool.remove_page(folio.node, pool.leaves_as(folio.node)));
        let h = p.hstate(hstate);
        let _ = destroy_in(p, h, folio, context);
    } else {
        come_back(p, folio, restored, condition, context);
    }
    if let Some(subpool) = old.subpool {
        end_return(p, hstate, subpool);
    }
}

/// The page lies on its shelf again, and stays there or leaves the pool.
#[inline]
fn come_back<P: Env>(p: &mut P, folio: HugeFolio, restored: bool, condition: Condition, context: Context) {
    let hstate = folio.hstate;
    lay(p, folio, condition);
    let fate = p.with_pool(hstate, |pool| pool.settle_freed(folio.node, restored, condition));
    let leaving = if fate == Fate::Destroyed && condition == Condition::Poisoned {
        // Nobody counts it as broken, so that it is this one that leaves.
        p.with_shelf(hstate, folio.node, |shelf| shelf.take_arriving(folio))
    } else {
        laid(p, folio, condition);
        let h = p.hstate(hstate);
        (fate == Fate::Destroyed).then(|| take_claimed(p, h, folio.node, condition)).flatten()
    };
    if fate == Fate::KeptForReservation {
        p.emit(|| Event::KeptForReservation { hstate, folio: folio.pfn });
    }
    if let Some(folio) = leaving {
        let h = p.hstate(hstate);
        if destroy_in(p, h, folio, context) == Gone::Yes {
            p.emit(|| Event::PoolShrank { hstate, node: folio.node });
        }
    }
}

/// Lays a folio that nobody has on its shelf, and then has the ledger count it: what it counts can be taken.
#[inline]
pub(crate) fn shelve<P: Env>(p: &mut P, folio: HugeFolio, condition: Condition, count: impl FnOnce(&mut Pool)) {
    lay(p, folio, condition);
    p.with_pool(folio.hstate, count);
    laid(p, folio, condition);
}

#[inline]
fn lay<P: Env>(p: &mut P, folio: HugeFolio, condition: Condition) {
    p.with_shelf(folio.hstate, folio.node, |shelf| match condition {
        Condition::Sound => shelf.put(folio),
        Condition::Poisoned => shelf.put_broken(folio),
    });
}

/// The ledger counts the folio. Memory may break, or be trusted again, between the look at it and the shelf, where who writes that down does not find the
/// folio; so it is looked at once more.
#[inline]
fn laid<P: Env>(p: &mut P, folio: HugeFolio, condition: Condition) {
    if condition == Condition::Poisoned {
        p.with_shelf(folio.hstate, folio.node, |shelf| shelf.arrived(folio));
    }
    look_again(p, folio, condition);
}

/// What lies on its shelf in some condition may not be in it any more, and may change once more before its shelf says so.
#[inline]
pub(crate) fn look_again<P: Env>(p: &mut P, folio: HugeFolio, mut condition: Condition) {
    while let Some(now) = p.with_records(folio.at(), |records| records.holds(folio).then(|| records.condition(folio))) {
        match (condition, now) {
            (Condition::Sound, Condition::Poisoned) => _ = set_aside(p, folio),
            (Condition::Poisoned, Condition::Sound) => readmit(p, folio),
            _ => return,
        }
        condition = now;
    }
}

/// An ordinary block goes back to the page allocator.
fn free_page<P: Env>(p: &mut P, pfn: Pfn) {
    let order = p.with_memmap(pfn, |map| {
        let order = map.get(pfn).map(|folio| folio.order);
        map.release(pfn);
        order
    });
    let (Some(order), Some(zone)) = (order, page_alloc::zone_of(p, pfn)) else { return };
    let freed = page_alloc::free(p, zone, pfn, order);
    debug_assert_eq!(freed, Ok(()), "a block with references is what was handed out");
}

/// Whoever paid for the folio does so no longer.
fn uncharge<P: Env>(p: &mut P, folio: HugeFolio, old: &Record) {
    let hstate = folio.hstate;
    if let Some(owner) = old.usage_owner {
        p.with_charges(|c| {
            c.displace(owner, hstate, folio.node);
            c.uncharge(Receipt { owner: Some(owner), counter: Counter::Usage(hstate), pages: ONE });
        });
    }
    if let Some(owner) = old.rsvd_owner {
        let counter = Counter::Rsvd(hstate);
        p.with_charges(|c| c.uncharge(Receipt { owner: Some(owner), counter, pages: ONE }));
    }
    if let Some(owner) = old.memory_owner {
        let pages = p.hstate(hstate).order.pages();
        p.with_charges(|c| c.uncharge_memory(owner, pages));
    }
}

/// The huge folio that a frame is a part of.
#[doc(alias("page_folio", "folio_test_hugetlb"))]
pub fn folio_of<P: Env>(p: &mut P, pfn: Pfn) -> Option<HugeFolio> {
    let start = p.with_memmap(pfn, |map| map.find(pfn).map(|(start, _)| start))?;
    folio_at(p, start)
}

/// The huge folio that starts at `pfn`, if one does.
pub fn folio_at<P: Env>(p: &mut P, pfn: Pfn) -> Option<HugeFolio> {
    let at = slot_at(p, pfn)?;
    // Its slot may be another folio's by now.
    Some(p.with_records(at, |records| records.folio(at.hstate, at.slot))).filter(|folio| folio.pfn == pfn)
}

/// Where the data of the huge folio that starts at `pfn` are kept, if one does.
pub fn slot_at<P: Env>(p: &mut P, pfn: Pfn) -> Option<HugeSlot> {
    match p.with_memmap(pfn, |map| map.get(pfn).map(|folio| folio.kind)) {
        Some(FolioKind::Huge(at)) => Some(at),
        _ => None,
    }
}
