//! Requests without special wishes, on a machine without special rules.
//!
//! Most requests are for a block that the processor at hand keeps of the first zone of their list, and that zone is above its high mark.
//! All that the path would find for these is known beforehand; whatever is not so goes the whole way.

use alloc::vec::Vec;

use policy::{Reach, Topology, ZoneRef};
use units::{GfpFlags, NodeId, Nodemask, ZoneKind};
use zone::{BelowHigh, Level, MarkCheck};

use crate::allocator::{PageAllocator, index};
use crate::context::{Access, PageRequest};
use crate::fast_path::{Block, Purpose};
use crate::gfp;
use crate::kswapd;
use crate::rules::{Counters, Cpusets, Defrag, NearReclaimMode, Rules};
use crate::task::{IoScope, Pin};
use crate::zones::Zones;

/// Wishes that need a closer look.
const RARE: u32 = {
    let rare = GfpFlags::THISNODE.union(GfpFlags::WRITE).union(GfpFlags::NORETRY);
    let rare = rare.union(GfpFlags::RETRY_MAYFAIL).union(GfpFlags::NOFAIL);
    rare.bits() | !GfpFlags::all().bits()
};

/// What is known beforehand.
#[derive(Clone, Debug, Default)]
pub struct Quick {
    /// Is there no rule that needs a closer look, and does nobody look on?
    calm: bool,
    /// For each node and highest zone, the first zone of the list.
    first: Vec<Option<ZoneRef>>,
}

impl Quick {
    pub(crate) fn new(topology: &Topology, rules: &Rules, unwatched: bool) -> Self {
        let calm = unwatched
            && rules.granted == GfpFlags::all()
            && rules.counters == Counters::Exact
            && rules.cpusets != Cpusets::Insane
            && rules.defrag == Defrag::Off
            && rules.near_reclaim == NearReclaimMode::Off;
        let nodes = topology.states().possible.iter().map(|node| node.index() + 1).max().unwrap_or(0);
        let mut first = Vec::new();
        first.resize(nodes * ZoneKind::COUNT, None);
        for node in topology.states().possible.iter() {
            let zones = topology.zones(node, Reach::Everywhere);
            for kind in ZoneKind::ALL {
                let zone = zones.iter().find(|zone| zone.kind <= kind);
                first[index(ZoneRef { node, kind })] = zone.copied();
            }
        }
        Self { calm, first }
    }

    /// Is there no rule that needs a closer look, and does nobody look on?
    pub(crate) const fn is_calm(&self) -> bool {
        self.calm
    }

    /// The first zone of the list of a node for requests up to that kind.
    pub(crate) fn first(&self, node: NodeId, kind: ZoneKind) -> Option<ZoneRef> {
        self.first.get(index(ZoneRef { node, kind })).copied().flatten()
    }

    /// The first zone of a request, and the highest that it may use, if all of it is ordinary.
    #[inline(always)]
    pub(crate) fn zone(&self, request: &PageRequest, rules: &Rules) -> Option<(ZoneRef, ZoneKind)> {
        let PageRequest { order, gfp, node, nodemask, access, task } = *request;
        let ordinary = self.calm
            && order <= rules.largest
            && access == Access::NONE
            && task.scope == IoScope::All
            && task.pin == Pin::Short;
        if !ordinary || node.get() >= Nodemask::CAPACITY {
            return None;
        }
        let kind = gfp::highest_zone(gfp)?;
        let zone = self.first.get(index(ZoneRef { node, kind })).copied().flatten()?;
        let unbound = gfp.bits() & RARE == 0 && nodemask.is_none();
        let there = task.allowed.contains(zone.node) && (unbound || is_bound_to(zone.node, request));
        there.then_some((zone, kind))
    }
}

/// Is the first zone's node one that a request with restrictions may use, and are its other wishes such as matter to who finds nothing
/// alone?
#[inline]
fn is_bound_to(node: NodeId, request: &PageRequest) -> bool {
    let PageRequest { gfp, node: home, nodemask, .. } = *request;
    let effort = gfp.intersection(GfpFlags::NORETRY.union(GfpFlags::RETRY_MAYFAIL));
    let harmless = effort.union(GfpFlags::THISNODE);
    gfp.bits() & RARE & !harmless.bits() == 0
        && effort.bits().count_ones() < 2
        && (!gfp.contains(GfpFlags::THISNODE) || node == home)
        && nodemask.is_none_or(|mask| mask.contains(node))
}

/// A block that the processor at hand keeps of the first zone; nothing if that needs a closer look, and then nothing was done.
#[inline(always)]
pub(crate) fn ready<P: Zones>(p: &mut P, request: &PageRequest) -> Option<Block> {
    let (zone, highest) = p.quick().zone(request, p.rules())?;
    let migratetype = gfp::migratetype(request.gfp)?;
    let order = request.order;
    let flags = gfp::cma(migratetype, p.rules().grouping);
    let check = MarkCheck { order, level: Level::High, highest, flags };
    let local = p.cpu_node() == zone.node;
    let wakes = request.gfp.contains(GfpFlags::KSWAPD_RECLAIM);
    let taken = p.with_zone(zone, move |parts| {
        let below = parts.zone.pressure().below_high == BelowHigh::Yes;
        if below || !parts.growth.is_nothing() || !parts.zone.is_above_fast(check) {
            return None;
        }
        let pfn = parts.zone.take_ready(parts.lists, order, migratetype)?;
        let counts = parts.counts;
        counts.allocated += order.pages().get();
        counts.hit += 1;
        *(if local { &mut counts.local } else { &mut counts.other }) += 1;
        Some((pfn, wakes && parts.zone.take_boosted()))
    });
    let (pfn, boosted) = taken??;
    if boosted {
        kswapd::wake(p, zone, GfpFlags::empty(), units::Order::ZERO, zone.kind);
    }
    Some(Block { pfn, order, zone, migratetype, purpose: Purpose::Any })
}

impl PageAllocator {
    /// Looks again at what is known beforehand: rules, lists or onlookers have changed.
    pub(crate) fn settle(&mut self) {
        let guarded = self.slots().any(|slot| slot.guards.is_on());
        let unwatched = self.events.is_none() && self.watch.is_none() && self.fail.is_none() && !guarded;
        self.quick = Quick::new(&self.topology, &self.rules, unwatched);
    }

    /// Does nobody look at blocks that come back, and are all of the zone's mapped?
    #[inline(always)]
    pub(crate) fn frees_quietly(&self) -> bool {
        self.quick.calm
    }
}
