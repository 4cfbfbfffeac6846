//! An isolated page allocator.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hint::cold_path;

use memmap::Broken;
use policy::{NodeSpec, Topology, TopologyError, ZoneRef};
use units::{CpuId, GfpFlags, Ledger, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{BadFree, PerCpuPages, Zone};

use crate::allocation::{Allocation, Attempted, NoBlock};
use crate::context::{Context, ContextError, PageRequest};
use crate::deferral::CompactState;
use crate::event::PageEvent;
use crate::fail::FailPages;
use crate::fast_path;
use crate::growth::Growth;
use crate::guard::Guards;
use crate::kswapd::NodeState;
use crate::pages::PageWatch;
use crate::quick::{self, Quick};
use crate::rules::{Counters, Cpusets, Rules};
use crate::tick::LastTick;
use crate::unmapped::Bank;
use crate::zones::{Cookie, ListSize, ZoneCounts, ZoneMemory, ZoneParts, ZoneSlot, Zones};

/// All that a page allocator is, as one value: no other instance knows of it, and what is done to it twice has the same end twice.
#[derive(Clone, Debug)]
pub struct PageAllocator {
    pub(crate) topology: Topology,
    pub(crate) rules: Rules,
    /// By node and kind.
    pub(crate) slots: Vec<Option<Slot>>,
    nodes: Vec<NodeState>,
    /// The node of each processor.
    pub(crate) cpus: Vec<NodeId>,
    pub(crate) cpu: usize,
    cookie: Cookie,
    pub(crate) events: Option<Vec<PageEvent>>,
    pub(crate) watch: Option<Box<PageWatch>>,
    /// Which requests fail.
    pub(crate) fail: Option<FailPages>,
    /// What is known beforehand of requests without special wishes.
    pub(crate) quick: Quick,
}

/// One zone and what belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) zone: Zone,
    /// By processor.
    pub(crate) lists: Vec<PerCpuPages>,
    pub(crate) growth: Growth,
    pub(crate) bank: Bank,
    compact: CompactState,
    pub(crate) guards: Guards,
    pub(crate) counts: ZoneCounts,
    /// By processor.
    pub(crate) last_ticks: Vec<LastTick>,
}

impl Slot {
    fn new(zone: Zone, cpus: usize, pageblock: Order) -> Self {
        Self {
            zone,
            lists: (0..cpus).map(|_| PerCpuPages::new(pageblock, PcpTuning::BOOT)).collect(),
            growth: Growth::default(),
            bank: Bank::default(),
            compact: CompactState::default(),
            guards: Guards::default(),
            counts: ZoneCounts::default(),
            last_ticks: Vec::new(),
        }
    }
}

/// An instance cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocatorError {
    /// Nobody could allocate.
    #[error("an instance needs at least one processor")]
    NoCpus,
    /// A zone or a processor of a node that is not there.
    #[error("the machine has no {0}")]
    NoSuchNode(NodeId),
    /// A processor that is not there.
    #[error("the instance has no {0}")]
    NoSuchCpu(CpuId),
    /// Two zones for one place.
    #[error("{0} has two zones {1}")]
    TwoZones(NodeId, ZoneKind),
    /// A zone whose blocks are not those that requests are checked against.
    #[error("the zone {1} of {0} has blocks up to {2}, and requests may ask for up to {3}")]
    Orders(NodeId, ZoneKind, Order, Order),
}

impl PageAllocator {
    /// The instance of these zones, with processors on these nodes. Zones keep the marks that they have, and no processor keeps pages.
    ///
    /// # Errors
    /// Parts that do not fit.
    pub fn new(
        topology: Topology,
        rules: Rules,
        cpus: &[NodeId],
        zones: impl IntoIterator<Item = Zone>,
    ) -> Result<Self, AllocatorError> {
        if cpus.is_empty() {
            return Err(AllocatorError::NoCpus);
        }
        let known =
            |node: NodeId| if topology.node(node).is_some() { Ok(()) } else { Err(AllocatorError::NoSuchNode(node)) };
        cpus.iter().try_for_each(|&node| known(node))?;
        let count = topology.states().possible.iter().map(|node| node.index() + 1).max().unwrap_or(0);
        let mut slots: Vec<Option<Slot>> = Vec::new();
        slots.resize_with(count * ZoneKind::COUNT, || None);
        for mut zone in zones {
            let (node, kind, largest) = (zone.node(), zone.layout().kind, zone.largest());
            known(node)?;
            if largest != rules.largest || zone.layout().pageblock != rules.pageblock {
                return Err(AllocatorError::Orders(node, kind, largest, rules.largest));
            }
            zone.set_grouping(rules.grouping);
            let slot = &mut slots[index(ZoneRef { node, kind })];
            if slot.is_some() {
                return Err(AllocatorError::TwoZones(node, kind));
            }
            *slot = Some(Slot::new(zone, cpus.len(), rules.pageblock));
        }
        let (nodes, cpus) = (alloc::vec![NodeState::default(); count], cpus.to_vec());
        let (cookie, quick) = (Cookie::default(), Quick::new(&topology, &rules, true));
        Ok(Self { topology, rules, slots, nodes, cpus, cpu: 0, cookie, events: None, watch: None, fail: None, quick })
    }

    /// Takes a block at once, or says what else is to be tried.
    ///
    /// # Errors
    /// The request contradicts itself.
    #[doc(alias("__alloc_pages", "__alloc_frozen_pages_context_noprof"))]
    #[inline]
    pub fn alloc(&mut self, request: &PageRequest) -> Result<Attempted, ContextError> {
        match quick::ready(self, request) {
            Some(block) => Ok(Attempted::Done(block)),
            None => self.alloc_by_lists(request),
        }
    }

    /// The same for a request that is not known to be ordinary.
    #[inline(never)]
    fn alloc_by_lists(&mut self, request: &PageRequest) -> Result<Attempted, ContextError> {
        let context = match Context::new(request, &self.rules, &self.topology) {
            Ok(context) => context,
            Err(error) => return Err(self.refuse(request, error)),
        };
        if let Some(fail) = &mut self.fail
            && fail.hits(&context)
        {
            let (order, free) = (context.order, PageCount::ZERO);
            return Ok(Attempted::Failed(NoBlock { order, zones: 0, free, refused_by: Ledger::Watermark }));
        }
        Ok(match fast_path::first(self, &context) {
            Some(block) => {
                let Context { order, migratetype, .. } = context;
                let gfp = context.first_gfp(&self.rules);
                self.emit_page(|| PageEvent::Allocated { pfn: Some(block.pfn), order, gfp, migratetype });
                Attempted::Done(block)
            }
            None => Attempted::Slow(Allocation::new(context, self.rules)),
        })
    }

    #[cold]
    fn refuse(&mut self, request: &PageRequest, error: ContextError) -> ContextError {
        let (order, gfp) = (request.order, request.gfp);
        if matches!(error, ContextError::OrderTooLarge { .. }) && !gfp.contains(GfpFlags::NOWARN) {
            self.emit_page(|| PageEvent::Warned { order, gfp });
        }
        error
    }

    /// The owner of a block says that he can move it.
    pub fn mark_movable(&mut self, zone: ZoneRef, pfn: Pfn, order: Order) {
        let _ = self.with_zone(zone, |parts| parts.zone.mark_movable(pfn, order));
    }

    /// Gives a block of a zone back.
    ///
    /// # Errors
    /// It is not what was handed out, and nothing was done.
    #[inline]
    pub fn free(&mut self, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        if self.frees_quietly()
            && let Some(Some(slot)) = self.slots.get_mut(index(zone))
            && slot.bank.is_empty()
            && let Some(lists) = slot.lists.get_mut(self.cpu)
        {
            return slot.zone.put_cached(lists, pfn, order);
        }
        fast_path::free(self, zone, pfn, order)
    }

    /// Takes the zones and the nodes' states out, so that each can be guarded by itself. No processor keeps anything of them then; requests
    /// find nothing until they are back.
    pub fn take_apart(&mut self) -> (Vec<Option<ZoneSlot>>, Vec<NodeState>) {
        self.drain_everything();
        let apart = |slot: &mut Option<Slot>| {
            let Slot { zone, lists, growth, bank, compact, guards, counts, .. } = slot.take()?;
            let tuning = lists.first().map_or(PcpTuning::BOOT, |lists| *lists.tuning());
            Some(ZoneSlot { zone, growth, bank, compact, guards, counts, tuning, version: 0, drained: 0 })
        };
        (self.slots.iter_mut().map(apart).collect(), core::mem::take(&mut self.nodes))
    }

    /// Puts back what [`PageAllocator::take_apart`] took out.
    pub fn put_together(&mut self, zones: Vec<Option<ZoneSlot>>, nodes: Vec<NodeState>) {
        let cpus = self.cpus.len();
        let whole = |slot: Option<ZoneSlot>| {
            let slot = slot?;
            let lists = (0..cpus).map(|_| slot.new_lists().lists).collect();
            let ZoneSlot { zone, growth, bank, compact, guards, counts, .. } = slot;
            Some(Slot { zone, lists, growth, bank, compact, guards, counts, last_ticks: Vec::new() })
        };
        self.slots = zones.into_iter().map(whole).collect();
        self.nodes = nodes;
    }

    /// What a zone remembers beside its pages.
    #[must_use]
    pub fn memory_of(&self, zone: ZoneRef) -> Option<ZoneMemory> {
        let slot = self.slots.get(index(zone))?.as_ref()?;
        Some(ZoneMemory { counts: slot.counts, compact: slot.compact.clone() })
    }

    /// Makes a zone remember that.
    pub fn remember(&mut self, zone: ZoneRef, memory: ZoneMemory) {
        if let Some(Some(slot)) = self.slots.get_mut(index(zone)) {
            (slot.counts, slot.compact) = (memory.counts, memory.compact);
        }
    }

    /// What a node is at.
    #[must_use]
    pub fn node_state(&self, node: NodeId) -> NodeState {
        self.nodes.get(node.index()).copied().unwrap_or_default()
    }

    /// The processor at hand.
    #[must_use]
    pub fn cpu(&self) -> CpuId {
        CpuId::new(u32::try_from(self.cpu).unwrap_or(u32::MAX))
    }

    /// Every zone, and what processors keep of it.
    pub fn zones(&self) -> impl Iterator<Item = (&Zone, &[PerCpuPages])> {
        self.slots().map(|slot| (&slot.zone, slot.lists.as_slice()))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    /// Puts a zone in the place of another one, of which no processor keeps anything; or takes it out.
    pub(crate) fn replace(&mut self, at: ZoneRef, zone: Option<Zone>) {
        let (cpus, pageblock) = (self.cpus.len(), self.rules.pageblock);
        let Some(place) = self.slots.get_mut(index(at)) else { return };
        match (place.as_mut(), zone) {
            (Some(slot), Some(zone)) => slot.zone = zone,
            (None, Some(zone)) => *place = Some(Slot::new(zone, cpus, pageblock)),
            (_, None) => *place = None,
        }
    }

    /// The processor that allocates from now on.
    ///
    /// # Errors
    /// No such processor.
    pub fn run_on(&mut self, cpu: CpuId) -> Result<(), AllocatorError> {
        let index = usize::try_from(cpu.get()).ok().filter(|&n| n < self.cpus.len());
        self.cpu = index.ok_or(AllocatorError::NoSuchCpu(cpu))?;
        Ok(())
    }

    /// Changes what holds for all requests.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = Rules { largest: self.rules.largest, pageblock: self.rules.pageblock, ..rules };
        for slot in self.slots.iter_mut().flatten() {
            slot.zone.set_grouping(rules.grouping);
            if rules.counters == Counters::Exact {
                slot.growth.drift.hand_in_all();
            }
        }
        self.settle();
    }

    /// Changes what a node has, and makes all zone lists again. Requests that are under way notice.
    ///
    /// # Errors
    /// As [`Topology::set_node`].
    pub fn set_node(&mut self, node: NodeId, spec: NodeSpec) -> Result<(), TopologyError> {
        self.topology.set_node(node, spec)?;
        self.cookie.lists += 1;
        self.settle();
        Ok(())
    }

    /// The cpuset of a task was changed. Requests of it that are under way notice, and ask for its nodes again.
    pub const fn note_cpuset_change(&mut self) {
        self.cookie.cpuset += 1;
    }

    /// A zone.
    #[must_use]
    pub fn zone(&self, zone: ZoneRef) -> Option<&Zone> {
        Some(&self.slots.get(index(zone))?.as_ref()?.zone)
    }

    /// The parts of a zone.
    pub fn parts(&mut self, zone: ZoneRef) -> Option<ZoneParts<'_>> {
        let slot = self.slots.get_mut(index(zone))?.as_mut()?;
        let lists = slot.lists.get_mut(self.cpu)?;
        let Slot { zone, growth, bank, compact, guards, counts, .. } = slot;
        Some(ZoneParts { zone, lists, growth, bank, compact, guards, counts })
    }

    /// What a zone has counted.
    #[must_use]
    pub fn counts(&self, zone: ZoneRef) -> Option<ZoneCounts> {
        Some(self.slots.get(index(zone))?.as_ref()?.counts)
    }

    /// Starts (again) to keep events from now on, those of zones too.
    pub fn record_events(&mut self) {
        self.events = Some(Vec::new());
        self.slots.iter_mut().flatten().for_each(|slot| slot.zone.record_events());
        self.settle();
    }

    /// The events since the last call, if they are being kept.
    pub fn take_events(&mut self) -> Vec<PageEvent> {
        self.events.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Recounts every zone and every list.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        for slot in self.slots.iter().flatten() {
            slot.zone.validate()?;
            slot.lists.iter().try_for_each(|lists| slot.zone.validate_lists(lists))?;
            slot.bank.validate()?;
        }
        Ok(())
    }
}

impl fmt::Display for PageAllocator {
    /// One line for each zone: what is free of it, and in which blocks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in self.slots.iter().flatten() {
            write!(f, "{} {}:", slot.zone.node(), slot.zone.layout().kind)?;
            slot.zone.free_blocks().try_for_each(|blocks| write!(f, " {blocks}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The place of a zone in a table of all.
#[must_use]
#[inline]
pub const fn index(zone: ZoneRef) -> usize {
    zone.node.index() * ZoneKind::COUNT + zone.kind as usize
}

impl Zones for PageAllocator {
    #[inline]
    fn topology(&self) -> &Topology {
        &self.topology
    }

    #[inline]
    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn cookie(&self) -> Cookie {
        // Who cannot be confined to nodes need not look whether that changed.
        let cpuset = if self.rules.cpusets == Cpusets::Off { 0 } else { self.cookie.cpuset };
        Cookie { cpuset, ..self.cookie }
    }

    #[inline]
    fn cpu_node(&self) -> NodeId {
        self.cpus[self.cpu]
    }

    #[inline]
    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        if self.rules.counters == Counters::ByProcessor {
            cold_path();
            return self.with_counted(zone, f);
        }
        self.parts(zone).map(f)
    }

    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R {
        match self.nodes.get_mut(node.index()) {
            Some(state) => f(state),
            None => f(&mut NodeState::default()),
        }
    }

    fn cpu_nodes(&self) -> &[NodeId] {
        &self.cpus
    }

    #[inline]
    fn quick(&self) -> &Quick {
        &self.quick
    }

    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize> {
        let Some(Some(slot)) = self.slots.get(index(zone)) else { return Vec::new() };
        let numbered = (0..).map(CpuId::new).zip(&slot.lists);
        numbered.map(|(cpu, lists)| ListSize::of(cpu, lists)).collect()
    }

    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning) {
        let Some(Some(slot)) = self.slots.get_mut(index(zone)) else { return };
        slot.lists.iter_mut().for_each(|lists| lists.set_tuning(tuning));
    }

    fn drain_all(&mut self, zone: ZoneRef) {
        let Some(Some(slot)) = self.slots.get_mut(index(zone)) else { return };
        for lists in &mut slot.lists {
            slot.zone.drain(lists);
        }
    }

    #[inline]
    fn watch(&mut self) -> Option<&mut PageWatch> {
        self.watch.as_deref_mut()
    }

    #[inline]
    fn emit_page(&mut self, event: impl FnOnce() -> PageEvent) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }
}
