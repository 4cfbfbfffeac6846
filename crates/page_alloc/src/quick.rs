//! Requests without special wishes, on a machine without special rules.
//!
//! Most requests are for a block that the processor at hand keeps of the first zone of their list, and that zone is above its high mark.
//! All that the path would find for these is known beforehand; whatever is not so goes the whole way.

use alloc::vec::Vec;

use policy::{Reach, Topology, ZoneRef};
use units::{GfpFlags, Nodemask, ZoneKind};
use zone::{BelowHigh, Level, MarkCheck};

use crate::allocator::{PageAllocator, index};
use crate::context::{Access, PageRequest};
use crate::fast_path::{Block, Purpose};
use crate::gfp;
use crate::kswapd;
use crate::rules::{Counters, Cpusets, Defrag, NearReclaimMode, Rules};
use crate::task::{IoScope, Pin};

/// Wishes that need a closer look.
const RARE: u32 = {
    let rare = GfpFlags::THISNODE.union(GfpFlags::WRITE).union(GfpFlags::NORETRY);
    let rare = rare.union(GfpFlags::RETRY_MAYFAIL).union(GfpFlags::NOFAIL);
    rare.bits() | !GfpFlags::all().bits()
};

/// What is known beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quick {
    /// Is there no rule that needs a closer look, and does nobody look on?
    calm: bool,
    /// For each node and highest zone, the first zone of the list and its place.
    first: Vec<Option<(ZoneRef, usize)>>,
}

impl Quick {
    pub(crate) fn new(topology: &Topology, rules: &Rules, unwatched: bool) -> Self {
        let calm = unwatched
            && rules.granted == GfpFlags::all()
            && rules.counters == Counters::Exact
            && rules.cpusets == Cpusets::Off
            && rules.defrag == Defrag::Off
            && rules.near_reclaim == NearReclaimMode::Off;
        let nodes = topology.states().possible.iter().map(|node| node.index() + 1).max().unwrap_or(0);
        let mut first = Vec::new();
        first.resize(nodes * ZoneKind::COUNT, None);
        for node in topology.states().possible.iter() {
            let zones = topology.zones(node, Reach::Everywhere);
            for kind in ZoneKind::ALL {
                let zone = zones.iter().find(|zone| zone.kind <= kind);
                first[index(ZoneRef { node, kind })] = zone.map(|&zone| (zone, index(zone)));
            }
        }
        Self { calm, first }
    }

    /// The first zone of a request, if all of it is ordinary.
    #[inline(always)]
    fn zone(&self, request: &PageRequest, rules: &Rules) -> Option<(ZoneRef, usize)> {
        let PageRequest { order, gfp, node, nodemask, access, task } = *request;
        let ordinary = self.calm
            && gfp.bits() & RARE == 0
            && order <= rules.largest
            && nodemask.is_none()
            && access == Access::NONE
            && task.scope == IoScope::All
            && task.pin == Pin::Short;
        if !ordinary || node.get() >= Nodemask::CAPACITY {
            return None;
        }
        let kind = gfp::highest_zone(gfp)?;
        self.first.get(index(ZoneRef { node, kind })).copied().flatten()
    }
}

impl PageAllocator {
    /// A block that the processor at hand keeps of the first zone; nothing if that needs a closer look, and then nothing was done.
    #[inline(always)]
    pub(crate) fn ready(&mut self, request: &PageRequest) -> Option<Block> {
        let (zone, place) = self.quick.zone(request, &self.rules)?;
        let (highest, migratetype) = (gfp::highest_zone(request.gfp)?, gfp::migratetype(request.gfp)?);
        let order = request.order;
        let slot = self.slots.get_mut(place)?.as_mut()?;
        let lists = slot.lists.get_mut(self.cpu)?;
        let flags = gfp::cma(migratetype, self.rules.grouping);
        let check = MarkCheck { order, level: Level::High, highest, flags };
        let below = slot.zone.pressure().below_high == BelowHigh::Yes;
        if below || !slot.growth.is_nothing() || !slot.zone.is_above_fast(check) {
            return None;
        }
        let pfn = slot.zone.take_ready(lists, order, migratetype)?;
        slot.counts.allocated += order.pages().get();
        slot.counts.hit += 1;
        *(if self.cpus[self.cpu] == zone.node { &mut slot.counts.local } else { &mut slot.counts.other }) += 1;
        if request.gfp.contains(GfpFlags::KSWAPD_RECLAIM) && slot.zone.take_boosted() {
            kswapd::wake(self, zone, GfpFlags::empty(), units::Order::ZERO, zone.kind);
        }
        Some(Block { pfn, order, zone, migratetype, purpose: Purpose::Any })
    }

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
