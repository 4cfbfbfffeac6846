//! One walk along a zone list.

use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, Pfn};
use zone::{AllocFlags, BadFree, BelowHigh, Held, Level, MarkCheck, Want};

use crate::context::{Attempt, Context, Nodes, Preferred};
use crate::event::PageEvent;
use crate::kswapd::{self, Dirty, NEAR, NearReclaim};
use crate::rules::{Defrag, NearReclaimMode, ReserveAfter};
use crate::unmapped::Mapping;
use crate::zones::{ZoneParts, Zones};

/// A block that somebody got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its order.
    pub order: Order,
    /// Where it comes from.
    pub zone: ZoneRef,
    /// What it was asked for as.
    pub migratetype: Migratetype,
    /// Whose need it is for.
    pub purpose: Purpose,
}

/// What a block may be used for.
#[doc(alias = "page_is_pfmemalloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Anything.
    Any,
    /// Only to free memory: no mark was looked at.
    FreeMemory,
}

/// One walk: where it starts, and what it may do.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) attempt: Attempt,
    pub(crate) preferred: Preferred,
    pub(crate) mask: Option<units::Nodemask>,
    pub(crate) gfp: GfpFlags,
    pub(crate) spread: Spread,
}

/// Whether pages that will be written avoid nodes with too many of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    Yes,
    No,
}

/// What a zone had.
enum Tried {
    Got(Pfn),
    /// It is below the mark, or has no block.
    Nothing,
}

/// The first look for every request: all that most of them need.
#[doc(alias = "__alloc_frozen_pages_noprof")]
#[inline]
pub(crate) fn first<P: Zones>(p: &mut P, context: &Context) -> Option<Block> {
    let (rules, topology) = (p.rules(), p.topology());
    let (mask, cpuset) = context.first_nodes(rules);
    let preferred = context.preferred(topology, mask)?;
    let flags = context.first_flags(preferred.zone, rules, topology).with(context.lent).with(cpuset);
    let gfp = context.first_gfp(rules);
    let spread = if context.gfp.contains(GfpFlags::WRITE) { Spread::Yes } else { Spread::No };
    let attempt = Attempt { level: Level::Low, flags, nodes: Nodes::Asked };
    take(p, context, Walk { attempt, preferred, mask, gfp, spread })
}

/// Looks at every zone that the request may use, from the preferred one on.
#[doc(alias = "get_page_from_freelist")]
#[inline]
pub(crate) fn take<P: Zones>(p: &mut P, context: &Context, walk: Walk) -> Option<Block> {
    let mut flags = walk.attempt.flags;
    loop {
        let mixing = flags.contains(AllocFlags::NOFRAGMENT);
        if let Some(block) = pass(p, context, &walk, flags) {
            return Some(block);
        }
        let defrag = p.rules().defrag == Defrag::On;
        if !mixing || defrag {
            return None;
        }
        flags = flags.without(AllocFlags::NOFRAGMENT);
    }
}

/// One pass over the list; it ends early where another node would be used while blocks of the first could still be mixed.
#[inline]
fn pass<P: Zones>(p: &mut P, context: &Context, walk: &Walk, flags: AllocFlags) -> Option<Block> {
    let home = walk.preferred.zone.node;
    let mut at = walk.preferred;
    let mut over = None;
    loop {
        let zone = at.zone;
        let skip = flags.contains(AllocFlags::CPUSET) && !context.allows(zone.node, walk.gfp, p.rules())
            || walk.spread == Spread::Yes && is_over(p, zone, &mut over);
        if !skip {
            let keeps = flags.contains(AllocFlags::NOFRAGMENT) && p.rules().defrag == Defrag::Off;
            if keeps && zone.node != home && p.topology().states().online.len() > 1 {
                return None;
            }
            while let Tried::Got(pfn) = try_zone(p, context, walk, zone, flags) {
                if !admit(p, pfn, context) {
                    continue;
                }
                let purpose =
                    if flags.contains(AllocFlags::NO_WATERMARKS) { Purpose::FreeMemory } else { Purpose::Any };
                let Context { order, migratetype, .. } = *context;
                return Some(Block { pfn, order, zone, migratetype, purpose });
            }
        }
        at = context.next_zone(p.topology(), walk.mask, at.place + 1)?;
    }
}

/// Prepares a block for its owner. A bad one is nobody's from now on, and another one is taken.
#[inline]
fn admit<P: Zones>(p: &mut P, pfn: Pfn, context: &Context) -> bool {
    let Some(watch) = p.watch() else { return true };
    if !watch.admits(pfn, context.order) {
        return false;
    }
    watch.handed_out(pfn, context.order, context.gfp);
    true
}

/// Has the zone's node too many pages to write back? Asked once for each node in a row.
fn is_over<P: Zones>(p: &mut P, zone: ZoneRef, last: &mut Option<ZoneRef>) -> bool {
    if last.is_some_and(|last| last.node == zone.node) {
        return true;
    }
    let over = p.with_node(zone.node, |state| state.dirty == Dirty::Over);
    if over {
        *last = Some(zone);
    }
    over
}

/// Takes a block of a zone, if the zone is above its mark.
#[inline]
fn try_zone<P: Zones>(p: &mut P, context: &Context, walk: &Walk, zone: ZoneRef, flags: AllocFlags) -> Tried {
    let Context { order, migratetype, highest, .. } = *context;
    let check = MarkCheck { order, level: walk.attempt.level, highest, flags };
    let near = near_reclaim(p, zone, walk.preferred.zone);
    let (cpu_node, home) = (p.cpu_node(), walk.preferred.zone.node);
    let only_zone = p.rules().reserve == ReserveAfter::BlocksOfTheZone;
    let taken = p.with_zone(zone, |mut parts| {
        if !may_take(&mut parts, check, near) {
            return (None, false);
        }
        let want = Want { order, migratetype, flags };
        let pfn = match context.mapping() {
            Mapping::Mapped => take_or_grow(&mut parts, want),
            Mapping::Unmapped => parts.take_unmapped(order),
        };
        let woken = flags.contains(AllocFlags::KSWAPD) && parts.zone.take_boosted();
        if let Some(pfn) = pfn {
            let listed = only_zone && parts.lists.takes(order);
            if flags.contains(AllocFlags::HIGHATOMIC) && !listed {
                parts.zone.reserve_highatomic(pfn, order);
            }
            let counts = parts.counts;
            counts.allocated += order.pages().get();
            *(if zone.node == home { &mut counts.hit } else { &mut counts.miss }) += 1;
            *(if zone.node == cpu_node { &mut counts.local } else { &mut counts.other }) += 1;
        }
        (pfn, woken)
    });
    let (pfn, woken) = taken.unwrap_or((None, false));
    if woken {
        kswapd::wake(p, zone, GfpFlags::empty(), Order::ZERO, zone.kind);
    }
    match pfn {
        Some(pfn) => {
            if zone.node != home {
                let _ = p.with_zone(walk.preferred.zone, |parts| parts.counts.foreign += 1);
            }
            Tried::Got(pfn)
        }
        None => Tried::Nothing,
    }
}

/// What reclaim of the zone's own node would bring, where requests may wait for that.
#[inline]
fn near_reclaim<P: Zones>(p: &mut P, zone: ZoneRef, preferred: ZoneRef) -> Option<NearReclaim> {
    if p.rules().near_reclaim == NearReclaimMode::Off {
        return None;
    }
    let distance = p.topology().distance(preferred.node, zone.node).unwrap_or(u8::MAX);
    (distance <= NEAR).then(|| p.with_node(zone.node, |state| state.near_reclaim))
}

/// Is the zone above its mark, or may it be used all the same? A zone seen above its high mark needs no second look.
#[inline]
fn may_take(parts: &mut ZoneParts<'_>, check: MarkCheck, near: Option<NearReclaim>) -> bool {
    let accepted = !parts.growth.unaccepted.is_empty() && parts.growth.accept(parts.zone, check.order, check.flags);
    let pressure = parts.zone.pressure();
    if pressure.below_high == BelowHigh::No {
        if parts.growth.is_above_fast(parts.zone, MarkCheck { level: Level::High, ..check }) {
            return true;
        }
        parts.zone.set_pressure(zone::ZonePressure { below_high: BelowHigh::Yes, ..pressure });
    }
    parts.growth.is_above_fast(parts.zone, check) || below(parts, check, near) || accepted
}

/// A zone below its mark: more of it may become free on demand.
#[cold]
fn below(parts: &mut ZoneParts<'_>, check: MarkCheck, near: Option<NearReclaim>) -> bool {
    if parts.growth.accept(parts.zone, check.order, check.flags) || parts.growth.grow(parts.zone) {
        return true;
    }
    if check.flags.contains(AllocFlags::NO_WATERMARKS) {
        return true;
    }
    near == Some(NearReclaim::Some) && parts.growth.is_above(parts.zone, check)
}

/// Takes a block, and as long as there is none, whatever more of the zone can become free.
#[inline]
fn take_or_grow(parts: &mut ZoneParts<'_>, want: Want) -> Option<Pfn> {
    loop {
        let ZoneParts { zone, lists, guards, .. } = parts;
        let taken = if guards.is_on() { guards.take(zone, want) } else { zone.take_cached(lists, want) };
        if taken.is_some() {
            return taken;
        }
        let ZoneParts { zone, growth, .. } = parts;
        if !growth.accept_one(zone) && !growth.grow(zone) {
            return None;
        }
    }
}

/// Gives a block back, or nothing if it is not what was handed out.
#[doc(alias("__free_pages", "free_unref_page"))]
#[inline]
pub(crate) fn free<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<(), BadFree> {
    if p.watch().is_some() && !take_back(p, zone, pfn, order)? {
        return Ok(());
    }
    let freed = p.with_zone(zone, |mut parts| parts.put(pfn, order));
    freed.unwrap_or(Err(BadFree::Outside { pfn, order }))?;
    p.emit_page(|| PageEvent::Freed { pfn, order });
    Ok(())
}

/// Looks at a block that comes back; whether it goes on to the lists.
#[cold]
fn take_back<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<bool, BadFree> {
    // What was not handed out is refused before anything is done to it.
    let used = p.with_zone(zone, |parts| parts.zone.find(pfn).map(|found| found.held));
    if matches!(used, Some(Some(Held::Used | Held::Movable))) {
        return Ok(p.watch().is_none_or(|watch| watch.taken_back(pfn, order)));
    }
    Ok(true)
}
