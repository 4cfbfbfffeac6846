//! Many single pages at once.

use units::{GfpFlags, Order, PageCount};
use zone::{Level, MarkCheck, Want};

use crate::allocation::Allocation;
use crate::allocator::PageAllocator;
use crate::context::{Context, ContextError, PageRequest, Preferred};
use crate::fast_path::{self, Block, Purpose};
use crate::rules::{BulkMark, Rules};
use crate::task::{IoScope, Pin, Task};
use crate::zones::Zones;

/// What came of a request for many pages.
#[expect(clippy::large_enum_variant, reason = "the path takes no memory of its own; what is slow may be large")]
#[derive(Clone, Debug)]
pub enum Bulk {
    /// So many slots are filled, those that were filled before among them. It may be fewer than all: whoever needs all asks again.
    Filled(usize),
    /// No more than one page is to be had, and that the slow way: its block belongs into this slot.
    One {
        /// The slot.
        slot: usize,
        /// The request.
        allocation: Allocation,
    },
}

/// How a series of pages ends.
enum Series {
    /// As many as there were.
    Got(usize),
    /// Not a single one; an ordinary request is to be made for one.
    Single,
}

/// Fills the empty slots with single pages, as many as the near zones have to spare.
#[doc(alias = "alloc_pages_bulk_noprof")]
pub(crate) fn alloc<P: Zones>(
    p: &mut P,
    request: &PageRequest,
    slots: &mut [Option<Block>],
) -> Result<Bulk, ContextError> {
    let rules = *p.rules();
    let single = PageRequest { order: Order::ZERO, ..*request };
    // The checks come before everything, as nothing is partial in a contradiction.
    let ordinary = Context::new(&single, &rules, p.topology())?;
    let first = slots.iter().position(Option::is_none).unwrap_or(slots.len());
    let left = slots.len() - first;
    if left == 0 {
        return Ok(Bulk::Filled(slots.len()));
    }
    // A series is charged to nobody, has no way to change mappings, and nobody looks at its pages.
    let special = request.gfp.contains(GfpFlags::ACCOUNT) || request.access.unmapped || p.watch().is_some();
    let alone = left == 1 || special;
    if !alone {
        // What the task runs in takes no wishes back from a series.
        let task = Task { scope: IoScope::All, pin: Pin::Short, ..request.task };
        let context = Context::new(&PageRequest { task, ..single }, &rules, p.topology())?;
        if let Series::Got(filled) = series(p, &context, &rules, slots, first) {
            return Ok(Bulk::Filled(filled));
        }
    }
    match fast_path::first(p, &ordinary) {
        Some(block) => {
            slots[first] = Some(block);
            Ok(Bulk::Filled(first + 1))
        }
        None => Ok(Bulk::One { slot: first, allocation: Allocation::new(ordinary, rules) }),
    }
}

fn series<P: Zones>(p: &mut P, context: &Context, rules: &Rules, slots: &mut [Option<Block>], first: usize) -> Series {
    let wanted = match rules.bulk_mark {
        BulkMark::Asked => slots.len(),
        BulkMark::Left => slots.len() - first,
    };
    let Some((found, home)) = zone_with(p, context, rules, wanted) else { return Series::Single };
    let zone = found.zone;
    let want = Want { order: Order::ZERO, migratetype: context.migratetype, flags: context.lent };
    let cpu_node = p.cpu_node();
    let taken = p.with_zone(zone, |parts| {
        if parts.guards.is_on() {
            return None;
        }
        let (mut got, mut filled) = (0, first);
        for slot in &mut slots[first..] {
            if slot.is_none() {
                let Some(pfn) = parts.zone.take_cached(parts.lists, want) else { break };
                let Context { order, migratetype, .. } = *context;
                *slot = Some(Block { pfn, order, zone, migratetype, purpose: Purpose::Any });
                got += 1;
            }
            filled += 1;
        }
        let counts = parts.counts;
        counts.allocated += got;
        *(if zone.node == home.zone.node { &mut counts.hit } else { &mut counts.miss }) += got;
        *(if zone.node == cpu_node { &mut counts.local } else { &mut counts.other }) += got;
        (got > 0).then_some(filled)
    });
    taken.flatten().map_or(Series::Single, Series::Got)
}

/// The first zone of the node that stays above its low mark without all these pages, and where the search began. Zones below pay
/// what they keep from the preferred zone, not from the highest one that the request could use.
fn zone_with<P: Zones>(p: &mut P, context: &Context, rules: &Rules, wanted: usize) -> Option<(Preferred, Preferred)> {
    let (mask, cpuset) = context.first_nodes(rules);
    let home = context.preferred(p.topology(), mask)?;
    let gfp = context.first_gfp(rules);
    let flags = context.lent.with(cpuset);
    let check = MarkCheck { order: Order::ZERO, level: Level::Low, highest: home.zone.kind, flags };
    let more = PageCount::new(u64::try_from(wanted).unwrap_or(u64::MAX));
    let mut at = home;
    loop {
        let zone = at.zone;
        let allowed = !flags.contains(zone::AllocFlags::CPUSET) || context.allows(zone.node, gfp, rules);
        if allowed {
            if zone.node != home.zone.node && p.topology().states().online.len() > 1 {
                return None;
            }
            let above = p.with_zone(zone, |parts| {
                let mark = parts.zone.mark(Level::Low).saturating_add(more);
                parts.zone.is_above_with(check, mark, parts.growth.free(parts.zone))
            });
            if above == Some(true) {
                return Some((at, home));
            }
        }
        at = context.next_zone(p.topology(), mask, at.place + 1)?;
    }
}

impl PageAllocator {
    /// Fills the empty slots with single pages, as many as are at hand: perhaps not all, perhaps one that must be waited for.
    ///
    /// # Errors
    /// The request contradicts itself; nothing was taken.
    pub fn alloc_bulk(&mut self, request: &PageRequest, slots: &mut [Option<Block>]) -> Result<Bulk, ContextError> {
        alloc(self, request, slots)
    }
}
