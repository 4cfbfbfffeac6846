//! Many base pages for one owner, as few blocks.

use policy::ZoneRef;
use units::{GfpFlags, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::{AllocFlags, BadFree, BelowHigh, Level, MarkCheck, Want};

use crate::context::PageRequest;
use crate::fast_path;
use crate::gfp;
use crate::kswapd;
use crate::path::zone_of;
use crate::zones::{ZoneParts, Zones};

/// Takes so many base pages in the largest blocks that there are, of the zone that comes first, where that stays above its high mark without them: there,
/// single pages would be had as well, and as many. How many it took; each block is told as it comes, large ones first. Nothing is taken where single pages
/// are looked at, or are scarce: whoever wants the rest asks for it page by page. No fault plan is asked.
///
/// Of these pages, `instead` are for others that the caller gives back at once. They are not counted as allocated.
pub fn alloc_many<P: Zones>(
    p: &mut P,
    request: &PageRequest,
    pages: PageCount,
    instead: PageCount,
    mut told: impl FnMut(Pfn, Order),
) -> PageCount {
    let Some((zone, highest)) = p.quick().zone(request, p.rules()) else { return PageCount::ZERO };
    let Some(migratetype) = gfp::migratetype(request.gfp) else { return PageCount::ZERO };
    let want = Want { order: Order::ZERO, migratetype, flags: AllocFlags::NONE };
    let check = MarkCheck { order: Order::ZERO, level: Level::High, highest, flags: AllocFlags::NONE };
    let local = p.cpu_node() == zone.node;
    let wakes = request.gfp.contains(GfpFlags::KSWAPD_RECLAIM);
    let taken = p.with_zone(zone, |parts| {
        if !has_plenty(&parts, check, pages) {
            return (PageCount::ZERO, false);
        }
        let taken = parts.zone.take_many(parts.lists, want, pages, &mut told);
        let (counts, counted) = (parts.counts, taken.saturating_sub(instead).get());
        counts.allocated += counted;
        counts.hit += counted;
        *(if local { &mut counts.local } else { &mut counts.other }) += counted;
        (taken, wakes && parts.zone.take_boosted())
    });
    let (taken, boosted) = taken.unwrap_or_default();
    if boosted {
        kswapd::wake(p, zone, GfpFlags::empty(), Order::ZERO, zone.kind);
    }
    taken
}

/// Does the zone stay above its high mark, and is all of it like any other?
#[inline]
fn has_plenty(parts: &ZoneParts<'_>, check: MarkCheck, pages: PageCount) -> bool {
    parts.zone.pressure().below_high == BelowHigh::No
        && parts.growth.is_nothing()
        && parts.bank.is_empty()
        && parts.zone.is_above_without(check, pages)
}

/// Gives back frames that follow each other and were handed out in whatever blocks, most likely on `near`. A block of which only a part is among them is
/// split, and the rest of it stays somebody's.
///
/// # Errors
/// Something of it was not handed out. What comes before that has gone back.
pub fn free_many<P: Zones>(p: &mut P, near: NodeId, start: Pfn, pages: PageCount) -> Result<(), BadFree> {
    let end = start.offset(pages);
    let mut at = start;
    // Mostly all of them are of the zone that the kernel takes memory of for itself on that node.
    if p.quick().is_calm()
        && let Some(first) = p.quick().first(near, ZoneKind::Normal)
    {
        at = p.with_zone(first, |parts| put_quietly(parts, at, end)).flatten().unwrap_or(Ok(at))?;
    }
    if at < end { free_rest(p, at, end) } else { Ok(()) }
}

/// Gives back as many as are of that zone; nothing where they are not, or not like any other.
#[inline]
fn put_quietly(parts: ZoneParts<'_>, start: Pfn, end: Pfn) -> Option<Result<Pfn, BadFree>> {
    let ZoneParts { zone, lists, bank, .. } = parts;
    if !bank.is_empty() {
        return None;
    }
    // Mostly they are one block of this zone.
    if zone.put_one(lists, start, PageCount::new(end.get() - start.get())) {
        return Some(Ok(end));
    }
    let has = zone.layout().spans.iter().any(|&(a, b)| a <= start && start < b);
    has.then(|| zone.put_many(lists, start, end))
}

#[inline(never)]
fn free_rest<P: Zones>(p: &mut P, start: Pfn, end: Pfn) -> Result<(), BadFree> {
    let mut at = start;
    while at < end {
        let zone = zone_of(p, at).ok_or(BadFree::Outside { pfn: at, order: Order::ZERO })?;
        at = free_in_zone(p, zone, at, end)?;
    }
    Ok(())
}

/// Up to where they are of this zone.
fn free_in_zone<P: Zones>(p: &mut P, zone: ZoneRef, start: Pfn, end: Pfn) -> Result<Pfn, BadFree> {
    if p.quick().is_calm()
        && let Some(freed) = p.with_zone(zone, |parts| put_quietly(parts, start, end)).flatten()
    {
        return freed;
    }
    let outside = BadFree::Outside { pfn: start, order: Order::ZERO };
    let order = p.with_zone(zone, |parts| parts.zone.next_to_put(start, end)).unwrap_or(Err(outside))?;
    fast_path::free(p, zone, start, order)?;
    Ok(start.offset(order.pages()))
}
