//! Promises that return: unmapping, and allocations that came to nothing.
//!
//! When an owner lets an anonymous page go, its reservation should return so that it can touch the place again. It may return
//! only together with the page itself. While a forked child still maps the page the map remembers that the page is *owed*; the
//! last mapping to go, whoever drops it, then restores the reservation. (Restoring at once would promise a page that does not
//! exist.)

use units::{Event, HugeIndex, InodeId, OwnerPage, ResvMapId, SubpoolId, VmaId};

use crate::resv_map::{Holder, end, give, needs, take_away};
use crate::{Env, HugeFolio};

/// The page is in a page cache or gets its first mapping: the reservation that it came with is spent, and from here on it can be moved.
#[doc(alias("folio_clear_hugetlb_restore_reserve", "folio_set_hugetlb_migratable"))]
pub fn installed<P: Env>(p: &mut P, folio: HugeFolio, inode: InodeId, index: HugeIndex) {
    p.with_records(folio.at(), |records| {
        let record = records.record(folio);
        record.restore_reserve = false;
        record.home = Some((inode, index));
    });
}

/// Whose mount's limits the page counts against.
#[doc(alias = "hugetlb_set_folio_subpool")]
pub fn count_against<P: Env>(p: &mut P, folio: HugeFolio, subpool: Option<SubpoolId>) {
    p.with_records(folio.at(), |records| records.record(folio).subpool = subpool);
}

/// The owner's area `vma` dropped its mapping of an anonymous folio that others still map, or keep in another way.
#[doc(alias = "__unmap_hugepage_range")]
pub fn still_mapped<P: Env>(p: &mut P, folio: HugeFolio, map: ResvMapId, index: HugeIndex, vma: VmaId) {
    let surplus = p.surplus_pages(folio.hstate);
    let page = OwnerPage { hstate: folio.hstate, map, index };
    p.emit(|| Event::OwnerLetGo { page, folio: folio.pfn, surplus, vma });
    if !surplus.is_zero() {
        return;
    }
    let owed = p.with_resv_map(map, |m| {
        let consumed = m.regions.contains(index);
        if consumed {
            m.owed.insert(index, folio.pfn);
        }
        consumed
    });
    if owed == Some(true) {
        p.with_records(folio.at(), |records| records.record(folio).owed_to = Some((map, index)));
    }
}

/// The last mapping of an anonymous folio is gone. `dropped_by` is what the area that dropped it could draw on. If the owner's
/// place is to be promised again, freeing the folio gives the reservation back.
#[doc(alias("folio_set_hugetlb_restore_reserve", "__unmap_hugepage_range"))]
pub fn last_unmap<P: Env>(p: &mut P, folio: HugeFolio, dropped_by: Holder, index: HugeIndex) {
    let owed = p.with_records(folio.at(), |records| records.record(folio).owed_to.take());
    let restored = match (dropped_by, owed) {
        (Holder::Owner(map), _) => {
            let surplus = p.surplus_pages(folio.hstate);
            let restored = surplus.is_zero() && un_consume(p, Holder::Owner(map), index);
            if restored {
                p.emit(|| Event::OwnerRestored(OwnerPage { hstate: folio.hstate, map, index }));
            }
            restored
        }
        (_, Some((map, index))) => restore_owed(p, folio, map, index),
        _ => false,
    };
    if restored {
        p.with_records(folio.at(), |records| records.record(folio).restore_reserve = true);
    }
}

/// Nobody is left to keep a page that an owner waits for: says whether its place is promised again.
pub(crate) fn restore_owed<P: Env>(p: &mut P, folio: HugeFolio, map: ResvMapId, index: HugeIndex) -> bool {
    let mine = p.with_resv_map(map, |m| m.owed.get(&index) == Some(&folio.pfn)) == Some(true);
    mine && un_consume(p, Holder::Owner(map), index)
}

/// The owner has an anonymous page at `index` again: whatever was owed there is not any more.
pub fn owner_installed<P: Env>(p: &mut P, map: ResvMapId, index: HugeIndex) {
    p.with_resv_map(map, |m| m.owed.remove(&index));
}

/// A page was allocated for `index` and then not used. Makes the map say what it said before, or gives the reservation back
/// with the page. Never for a folio that was in a page cache.
pub fn restore_reserve_on_error<P: Env>(p: &mut P, folio: HugeFolio, holder: Holder, index: HugeIndex) {
    let came_reserved = p.with_records(folio.at(), |records| records.record(folio).restore_reserve);
    let set = |p: &mut P, on: bool| p.with_records(folio.at(), |records| records.record(folio).restore_reserve = on);
    match (came_reserved, needs(p, holder, index)) {
        (true, Err(_)) => set(p, false),
        (true, Ok(ticket)) if !ticket.reserved() => give(p, ticket),
        (false, Ok(ticket)) if ticket.reserved() => {
            if take_away(p, ticket).is_err() {
                set(p, true);
            }
        }
        (_, Ok(ticket)) => end(p, ticket),
        (false, Err(_)) => {
            if let Holder::Owner(_) = holder {
                set(p, true);
            }
        }
    }
}

/// Marks the owner's place as not consumed; says whether it was.
fn un_consume<P: Env>(p: &mut P, holder: Holder, index: HugeIndex) -> bool {
    match needs(p, holder, index) {
        Ok(ticket) if !ticket.reserved() => {
            give(p, ticket);
            true
        }
        Ok(ticket) => {
            end(p, ticket);
            false
        }
        Err(_) => false,
    }
}
