//! What the path needs of the machine that it runs on.

use alloc::vec::Vec;

use policy::{Topology, ZoneRef};
use units::{CpuId, NodeId, Order, PageCount, Pfn};
use zone::tuning::PcpTuning;
use zone::{BadFree, PerCpuPages, Zone};

use crate::deferral::CompactState;
use crate::event::PageEvent;
use crate::growth::Growth;
use crate::guard::Guards;
use crate::kswapd::NodeState;
use crate::pages::PageWatch;
use crate::quick::Quick;
use crate::rules::Rules;
use crate::unmapped::Bank;

/// One zone and what belongs to it, but for the lists of processors, which each processor has to itself.
#[derive(Clone, Debug)]
pub struct ZoneSlot {
    /// Its free lists.
    pub zone: Zone,
    /// Pages that are counted as free and are not on its lists yet.
    pub growth: Growth,
    /// Its pages that the kernel has no mapping of.
    pub bank: Bank,
    /// What it remembers of compaction.
    pub compact: CompactState,
    /// Its blocks that nobody gets.
    pub guards: Guards,
    /// What is counted of it.
    pub counts: ZoneCounts,
    /// How large the lists of processors are.
    pub(crate) tuning: PcpTuning,
    /// Goes up with whatever is asked of processors.
    pub(crate) version: u64,
    /// Who has seen no more than this gives his lists back.
    pub(crate) drained: u64,
}

/// What one processor has of a zone: its lists, and up to where it did what was asked of it.
#[derive(Clone, Debug)]
pub struct OwnLists {
    /// The lists.
    pub lists: PerCpuPages,
    seen: u64,
}

impl ZoneSlot {
    /// Lists for a processor that comes.
    #[must_use]
    pub fn new_lists(&self) -> OwnLists {
        OwnLists { lists: PerCpuPages::new(self.zone.layout().pageblock, self.tuning), seen: self.version }
    }

    /// The parts, with the lists of the processor at hand, which does first what was asked of it since it was last here.
    #[inline]
    pub fn parts<'a>(&'a mut self, own: &'a mut OwnLists) -> ZoneParts<'a> {
        if own.seen != self.version {
            self.catch_up(own);
        }
        let Self { zone, growth, bank, compact, guards, counts, .. } = self;
        ZoneParts { zone, lists: &mut own.lists, growth, bank, compact, guards, counts }
    }

    #[cold]
    fn catch_up(&mut self, own: &mut OwnLists) {
        if own.seen < self.drained {
            self.zone.drain(&mut own.lists);
        }
        own.lists.set_tuning(self.tuning);
        own.seen = self.version;
    }

    /// Lists have another size from now on.
    pub const fn retune(&mut self, tuning: PcpTuning) {
        self.tuning = tuning;
        self.version += 1;
    }

    /// Every processor gives its lists back when it next comes here. Nobody waits for that.
    #[doc(alias = "drain_all_pages")]
    pub const fn ask_to_drain(&mut self) {
        self.version += 1;
        self.drained = self.version;
    }
}

/// One zone and what belongs to it, as a section hands it out.
pub struct ZoneParts<'a> {
    /// Its free lists.
    pub zone: &'a mut Zone,
    /// What this processor keeps of it.
    pub lists: &'a mut PerCpuPages,
    /// Pages that are counted as free and are not on its lists yet.
    pub growth: &'a mut Growth,
    /// Its pages that the kernel has no mapping of.
    pub bank: &'a mut Bank,
    /// What it remembers of compaction.
    pub compact: &'a mut CompactState,
    /// Its blocks that nobody gets.
    pub guards: &'a mut Guards,
    /// What is counted of it.
    pub counts: &'a mut ZoneCounts,
}

impl ZoneParts<'_> {
    /// Takes a block without a mapping.
    pub(crate) fn take_unmapped(&mut self, order: Order) -> Option<Pfn> {
        let pfn = self.bank.take(order);
        self.growth.elsewhere = self.bank.free();
        pfn
    }

    /// Gives a block back to where it belongs by its mapping.
    #[inline]
    pub(crate) fn put(&mut self, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        if self.bank.is_empty() || !self.bank.holds(pfn) {
            if self.guards.is_on() {
                return self.guards.put(self.zone, pfn, order);
            }
            return self.zone.put_cached(self.lists, pfn, order);
        }
        self.bank.put(pfn, order)?;
        self.growth.elsewhere = self.bank.free();
        Ok(())
    }

    /// A block that was allocated has no mapping any more: it joins the bank as free.
    pub(crate) fn add_unmapped(&mut self, pfn: Pfn, order: Order) {
        let whole = self.zone.layout().pageblock;
        let split = self.zone.split_used(pfn, order, whole);
        debug_assert_eq!(split, Ok(()), "the block was taken for this");
        self.bank.add(self.zone, pfn, order);
        self.growth.elsewhere = self.bank.free();
    }

    /// Takes a whole free pageblock out of the bank, to be mapped again.
    pub(crate) fn take_unmapped_block(&mut self) -> Option<(Pfn, Order)> {
        let block = self.bank.take_block();
        self.growth.elsewhere = self.bank.free();
        block
    }
}

/// The lists that one processor has of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSize {
    /// The processor.
    pub cpu: CpuId,
    /// Pages on its lists.
    pub count: PageCount,
    /// How many there may be now.
    pub high: PageCount,
    /// What that moves between.
    pub tuning: PcpTuning,
}

impl ListSize {
    /// Those of a processor.
    #[must_use]
    pub const fn of(cpu: CpuId, lists: &PerCpuPages) -> Self {
        Self { cpu, count: lists.count(), high: lists.high(), tuning: *lists.tuning() }
    }
}

/// What is counted of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneCounts {
    /// Pages allocated.
    #[doc(alias = "PGALLOC")]
    pub allocated: u64,
    /// Blocks of the node that was asked for.
    #[doc(alias = "NUMA_HIT")]
    pub hit: u64,
    /// Blocks of this zone for requests that had rather gone elsewhere.
    #[doc(alias = "NUMA_MISS")]
    pub miss: u64,
    /// Blocks of other nodes for requests that had rather come here.
    #[doc(alias = "NUMA_FOREIGN")]
    pub foreign: u64,
    /// Blocks for processors of this node.
    #[doc(alias = "NUMA_LOCAL")]
    pub local: u64,
    /// Blocks for processors of other nodes.
    #[doc(alias = "NUMA_OTHER")]
    pub other: u64,
    /// Pages in use that reclaim could free.
    #[doc(alias = "zone_reclaimable_pages")]
    pub reclaimable: PageCount,
}

/// What a zone remembers beside its pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ZoneMemory {
    /// What is counted of it.
    pub counts: ZoneCounts,
    /// Where compaction of it stands.
    pub compact: CompactState,
}

/// Has something changed that a request looked at? Two equal cookies say no.
#[doc(alias("cpuset_mems_cookie", "zonelist_iter_begin"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// Rebuilds of the zone lists.
    pub lists: u64,
    /// Changes of the cpuset that the task is in.
    pub cpuset: u64,
}

/// The parts that the path looks at, one at a time. [`crate::PageAllocator`] has them for a single owner.
pub trait Zones {
    /// Nodes, zones and lists.
    fn topology(&self) -> &Topology;
    /// What holds for all requests.
    fn rules(&self) -> &Rules;
    /// What has changed so far.
    fn cookie(&self) -> Cookie;
    /// The node of the processor that allocates.
    fn cpu_node(&self) -> NodeId;
    /// The node of each processor that is online.
    fn cpu_nodes(&self) -> &[NodeId];
    /// What is known beforehand of requests without special wishes.
    fn quick(&self) -> &Quick;
    /// The section of a zone; nothing where there is none.
    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R>;
    /// The section of a node.
    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R;
    /// The lists of a zone that every processor within reach has.
    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize>;
    /// Says how large the lists of a zone are from now on.
    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning);
    /// Gives back what every processor within reach keeps of a zone.
    #[doc(alias = "drain_all_pages")]
    fn drain_all(&mut self, zone: ZoneRef);
    /// Publishes an event, which is built only where somebody listens.
    fn emit_page(&mut self, event: impl FnOnce() -> PageEvent);
    /// What is known of single pages, where anybody looks at them.
    #[inline]
    fn watch(&mut self) -> Option<&mut PageWatch> {
        None
    }
}
