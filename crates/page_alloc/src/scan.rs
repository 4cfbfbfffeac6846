//! Which zones a request looks at, in which order.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use policy::{NodeSpec, Topology, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{Zone, ZoneLayout, ZoneState};

use crate::allocator::PageAllocator;
use crate::context::{Context, PageRequest};
use crate::event::PageEvent;
use crate::fast_path::{self, Block};
use crate::kswapd::NodeState;
use crate::quick::Quick;
use crate::rules::{Defrag, Rules};
use crate::zones::{Cookie, ListSize, ZoneParts, Zones};

use ZoneKind::{Dma32, Movable, Normal};

/// An allocator that writes down each zone that somebody enters.
struct Watched {
    machine: PageAllocator,
    entered: Vec<ZoneRef>,
}

impl Zones for Watched {
    fn topology(&self) -> &Topology {
        self.machine.topology()
    }

    fn rules(&self) -> &Rules {
        self.machine.rules()
    }

    fn cookie(&self) -> Cookie {
        self.machine.cookie()
    }

    fn cpu_node(&self) -> NodeId {
        self.machine.cpu_node()
    }

    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        self.entered.push(zone);
        self.machine.with_zone(zone, f)
    }

    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R {
        self.machine.with_node(node, f)
    }

    fn drain_all(&mut self, zone: ZoneRef) {
        self.machine.drain_all(zone);
    }

    fn emit_page(&mut self, event: impl FnOnce() -> PageEvent) {
        self.machine.emit_page(event);
    }

    fn cpu_nodes(&self) -> &[NodeId] {
        self.machine.cpu_nodes()
    }

    fn quick(&self) -> &Quick {
        self.machine.quick()
    }

    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize> {
        self.machine.list_sizes(zone)
    }

    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning) {
        self.machine.retune(zone, tuning);
    }
}

/// What a zone has free.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Free {
    Nothing,
    /// A page in a block of another type than is asked for.
    Other(Migratetype),
}

const fn at(node: u8, kind: ZoneKind) -> ZoneRef {
    ZoneRef { node: NodeId::new(node), kind }
}

fn machine(zones: &[ZoneRef], free: Free, rules: Rules) -> Watched {
    let mut nodes: BTreeMap<NodeId, NodeSpec> = BTreeMap::new();
    let build = |zone: &ZoneRef| {
        let start = (zone.node.index() as u64) << 20 | (zone.kind as u64) << 16;
        let state = ZoneState::allocated(ZoneLayout {
            node: zone.node,
            kind: zone.kind,
            spans: vec![(Pfn::new(start), Pfn::new(start + 2048))],
            largest: Order::new(10),
            pageblock: Order::new(9),
        });
        let state = match free {
            Free::Nothing => state,
            Free::Other(kind) => {
                state.with_type(Pfn::new(start), kind).with_free(Order::ZERO, kind, &[Pfn::new(start)])
            }
        };
        Zone::from_state(&state).unwrap_or_else(|error| panic!("{error}"))
    };
    for zone in zones {
        let spec = nodes.entry(zone.node).or_insert_with(|| NodeSpec::normal(PageCount::ZERO));
        spec.present[zone.kind] = PageCount::new(2048);
    }
    let distance = |a: NodeId, b: NodeId| if a == b { 10 } else { 20 };
    let topology = Topology::of(nodes, distance).expect("a machine");
    let built: Vec<Zone> = zones.iter().map(build).collect();
    let machine = PageAllocator::new(topology, rules, &[NodeId::new(0)], built).expect("an instance");
    Watched { machine, entered: Vec::new() }
}

/// The zones that a request for a page looks at, and what it gets.
fn looks(watched: &mut Watched, gfp: GfpFlags) -> (Vec<ZoneRef>, Option<ZoneRef>) {
    let request = PageRequest::new(Order::ZERO, gfp, NodeId::new(0));
    let context = Context::new(&request, watched.rules(), watched.topology()).expect("no contradiction");
    let got: Option<Block> = fast_path::first(watched, &context);
    watched.machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    (core::mem::take(&mut watched.entered), got.map(|block| block.zone))
}

const KERNEL: GfpFlags = GfpFlags::KERNEL.difference(GfpFlags::KSWAPD_RECLAIM);
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE.difference(GfpFlags::KSWAPD_RECLAIM);
const LOW: GfpFlags = KERNEL.union(GfpFlags::DMA32);

/// Every zone has a page, of the wrong type: who would rather not mix goes through the zones of the node and begins again, once.
#[test]
fn nasty_how_often_zones_are_looked_at_before_blocks_are_mixed() {
    let (normal, low, movable) = (at(0, Normal), at(0, Dma32), at(0, Movable));
    let (far, far_low) = (at(1, Normal), at(1, Dma32));
    for (zones, gfp, looked) in [
        (vec![normal], KERNEL, vec![normal, normal]),
        (vec![normal, low], KERNEL, vec![normal, low, normal]),
        (vec![normal, low, far, far_low], KERNEL, vec![normal, low, normal]),
        // The far node has a zone below, and that is no reason: what counts is the node that is preferred.
        (vec![normal, far, far_low], KERNEL, vec![normal]),
        (vec![movable, normal, low], USER, vec![movable]),
        (vec![movable, normal, low, far], USER, vec![movable]),
        (vec![normal, low], LOW, vec![low]),
        (vec![normal, low, far, far_low], LOW, vec![low]),
    ] {
        let other = if gfp == USER { Migratetype::Unmovable } else { Migratetype::Movable };
        let mut watched = machine(&zones, Free::Other(other), Rules::default());
        let got = looked.last().copied();
        assert_eq!(looks(&mut watched, gfp), (looked, got), "{gfp} of {zones:?}");
    }
}

/// Nothing is free: every zone is looked at, and once more where the first time nothing was to be mixed.
#[test]
fn nasty_a_request_begins_again_once_at_most() {
    let (normal, low, movable) = (at(0, Normal), at(0, Dma32), at(0, Movable));
    let (far, far_low) = (at(1, Normal), at(1, Dma32));
    for (zones, gfp, looked) in [
        (vec![normal], KERNEL, vec![normal, normal]),
        (vec![normal, low], KERNEL, vec![normal, low, normal, low]),
        (vec![normal, low, far, far_low], KERNEL, vec![normal, low, normal, low, far, far_low]),
        (vec![normal, far, far_low], KERNEL, vec![normal, far, far_low]),
        (vec![movable, normal, low, far], USER, vec![movable, normal, low, far]),
        (vec![normal, low, far, far_low], LOW, vec![low, far_low]),
    ] {
        let mut watched = machine(&zones, Free::Nothing, Rules::default());
        assert_eq!(looks(&mut watched, gfp), (looked, None), "{gfp} of {zones:?}");
    }
    // Where blocks are kept whole at all costs, the list is gone through once, far nodes too.
    let rules = Rules { defrag: Defrag::On, ..Rules::default() };
    let mut watched = machine(&[normal, low, far], Free::Other(Migratetype::Movable), rules);
    assert_eq!(looks(&mut watched, KERNEL), (vec![normal, low, far], None));
}
