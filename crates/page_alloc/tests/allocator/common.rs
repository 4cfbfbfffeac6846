//! Machines of a few pageblocks, built as they stand.

use std::collections::BTreeMap;

use page_alloc::{Attempted, Block, PageAllocator, PageRequest, Rules};
use policy::{NodeSpec, Topology, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::watermark::Watermarks;
use zone::{Zone, ZoneLayout, ZoneState};

/// Pages of a pageblock.
pub(crate) const BLOCK: u64 = 512;

pub(crate) const fn node(n: u8) -> NodeId {
    NodeId::new(n)
}

pub(crate) const fn at(n: u8, kind: ZoneKind) -> ZoneRef {
    ZoneRef { node: node(n), kind }
}

/// The first frame of a zone: far enough apart for every test.
pub(crate) fn start_of(zone: ZoneRef) -> u64 {
    u64::from(zone.node.get()) << 20 | (zone.kind as u64) << 16
}

/// A zone of so many pageblocks, all allocated.
pub(crate) fn full(zone: ZoneRef, blocks: u64) -> ZoneState {
    let start = start_of(zone);
    ZoneState::allocated(ZoneLayout {
        node: zone.node,
        kind: zone.kind,
        spans: vec![(Pfn::new(start), Pfn::new(start + blocks * BLOCK))],
        largest: Order::new(10),
        pageblock: Order::new(9),
    })
}

/// The same with free blocks at these frames, counted from the start of the zone.
pub(crate) fn free(state: ZoneState, order: u8, migratetype: Migratetype, frames: &[u64]) -> ZoneState {
    let start = state.layout.spans[0].0.get();
    let pfns: Vec<Pfn> = frames.iter().map(|&frame| Pfn::new(start + frame)).collect();
    state.with_free(Order::new(order), migratetype, &pfns)
}

/// The same with a pageblock of another type.
pub(crate) fn typed(state: ZoneState, frame: u64, migratetype: Migratetype) -> ZoneState {
    let start = state.layout.spans[0].0.get();
    state.with_type(Pfn::new(start + frame), migratetype)
}

pub(crate) fn marked(mut state: ZoneState, min: u64, low: u64, high: u64) -> ZoneState {
    let pages = PageCount::new;
    state.marks = Watermarks { min: pages(min), low: pages(low), high: pages(high), promo: pages(2 * high - low) };
    state
}

/// Single pages, one in two, so that they do not merge.
pub(crate) fn singles(state: ZoneState, migratetype: Migratetype, count: u64) -> ZoneState {
    let frames: Vec<u64> = (0..count).map(|n| 2 * n).collect();
    free(state, 0, migratetype, &frames)
}

/// A machine of these zones, with a processor on each node and `more` nodes without memory behind.
pub(crate) fn machine_with(zones: Vec<ZoneState>, rules: Rules, more: u8) -> PageAllocator {
    let mut nodes: BTreeMap<NodeId, NodeSpec> = BTreeMap::new();
    let empty = || NodeSpec::normal(PageCount::ZERO);
    for state in &zones {
        let present: u64 = state.layout.spans.iter().map(|(start, end)| end.get() - start.get()).sum();
        let spec = nodes.entry(state.layout.node).or_insert_with(empty);
        spec.present[state.layout.kind] = PageCount::new(present);
    }
    let known = u8::try_from(nodes.len()).expect("few nodes");
    for n in 0..known + more {
        nodes.entry(node(n)).or_insert_with(empty);
    }
    let cpus: Vec<NodeId> = nodes.keys().copied().collect();
    let distance = |a: NodeId, b: NodeId| if a == b { 10 } else { 20 };
    let topology = Topology::of(nodes, distance).expect("a machine");
    let zones: Vec<Zone> =
        zones.iter().map(|state| Zone::from_state(state).unwrap_or_else(|error| panic!("{error}"))).collect();
    let mut instance = PageAllocator::new(topology, rules, &cpus, zones).expect("an instance");
    instance.record_events();
    checked(&instance);
    instance
}

pub(crate) fn machine(zones: Vec<ZoneState>) -> PageAllocator {
    machine_with(zones, Rules::default(), 0)
}

pub(crate) fn checked(instance: &PageAllocator) {
    instance.validate().unwrap_or_else(|broken| panic!("{broken}"));
}

pub(crate) fn request(order: u8, gfp: GfpFlags) -> PageRequest {
    PageRequest::new(Order::new(order), gfp, node(0))
}

/// One attempt, with a recount after it.
pub(crate) fn first(instance: &mut PageAllocator, request: &PageRequest) -> Option<Block> {
    let attempted = instance.alloc(request).unwrap_or_else(|error| panic!("{error}"));
    checked(instance);
    match attempted {
        Attempted::Done(block) => Some(block),
        Attempted::Slow(_) | Attempted::Failed(_) => None,
    }
}

/// Where a block came from, counted from the start of its zone.
pub(crate) fn place(block: Option<Block>) -> Option<(ZoneRef, u64)> {
    block.map(|block| (block.zone, block.pfn.get() - start_of(block.zone)))
}

/// Numbers without a pattern, the same for every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).expect("few sides")]
    }

    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}
