//! Pieces that nobody needs any more.

use memmap::HugeSlot;
use units::{Context, Event, PageCount, Pfn};

use super::page_of;
use crate::surplus::optimise;
use crate::{Deferred, Env, HugeFolio, free};

/// Drops one reference for each base page of a range of pieces. Those that nobody else holds wait for their siblings, and with the last
/// of these the huge page goes home.
pub fn release_pieces<P: Env>(p: &mut P, first: Pfn, pages: PageCount) {
    let found =
        p.with_memmap(first, |map| map.split_around(first).map(|(.., slot)| (slot, map.put_pieces(first, pages))));
    debug_assert!(found.is_some(), "{first} is no piece of a folio");
    if let Some((slot, released)) = found {
        wait(p, slot, released, Context::Sleepable);
    }
}

/// The last reference to a piece went.
#[cold]
pub(crate) fn piece_released<P: Env>(p: &mut P, slot: HugeSlot, pfn: Pfn, context: Context) {
    let pages = p.with_memmap(pfn, |map| map.get(pfn).map(|piece| piece.order.pages()));
    wait(p, slot, pages.unwrap_or(PageCount::ZERO), context);
}

/// So many more pages wait. All of them have come when nobody refers to any.
fn wait<P: Env>(p: &mut P, slot: HugeSlot, released: PageCount, context: Context) {
    if released.is_zero() {
        return;
    }
    let page = page_of(p, slot);
    let whole = p.hstate(slot.hstate).order.pages();
    let complete = p.with_records(slot, |records| {
        let waiting = &mut records.record(page).waiting;
        *waiting += released;
        *waiting == whole
    });
    match (complete, context) {
        (false, _) => (),
        (true, Context::Sleepable) => gather(p, page),
        // Putting a page together asks for memory, if it can be had.
        (true, Context::Atomic) => {
            p.with_deferred(|deferred| deferred.put(Deferred::Gather(page)));
            p.emit(|| Event::PutOff { hstate: page.hstate, folio: page.pfn });
        }
    }
}

/// A page all of whose pieces wait is one again, and goes home.
pub(crate) fn gather<P: Env>(p: &mut P, page: HugeFolio) {
    let whole = p.hstate(page.hstate).order;
    let poisoned = p.with_records(page.at(), |records| {
        records.record(page).waiting = PageCount::ZERO;
        records.is_poisoned(page.at())
    });
    if !poisoned {
        optimise(p, page.pfn, whole, page.zone_ref());
    }
    p.with_memmap(page.pfn, |map| map.gather(page.pfn));
    p.emit(|| Event::Merged { hstate: page.hstate, folio: page.pfn, to: whole });
    free::free_huge(p, page.at(), Context::Sleepable);
    // Its sound pages are of use to others. Where a reservation needs it, it stays in its pool, aside.
    if poisoned {
        let _ = crate::dissolve(p, page.pfn);
    }
}
