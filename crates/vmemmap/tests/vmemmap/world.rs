//! A small machine: two zones of node 0, one of node 1, and descriptors in what boot kept.

use std::collections::VecDeque;

use memmap::{Broken, Contents, MemMap};
use page_alloc::{
    Blocks, CmaAreas, Cookie, ListSize, NodeState, PageAllocator, PageEvent, PageRequest, Quick, Rules, ZoneParts,
    Zones,
};
use policy::{NodeSpec, Topology, ZoneRef};
use units::{Event, GfpFlags, NodeId, Order, PageCount, PerZone, Pfn, Scope, Scopes, Site, ZoneKind};
use vmemmap::{FrameSource, Geometry, HugeBlock, Optimising, TailLife, Vmemmap};
use zone::tuning::PcpTuning;
use zone::{BootMemory, ZoneLayout};

pub(crate) const NODE0: NodeId = NodeId::new(0);
pub(crate) const NODE1: NodeId = NodeId::new(1);
pub(crate) const NORMAL: ZoneRef = ZoneRef { node: NODE0, kind: ZoneKind::Normal };
pub(crate) const MOVABLE: ZoneRef = ZoneRef { node: NODE0, kind: ZoneKind::Movable };
pub(crate) const OTHER: ZoneRef = ZoneRef { node: NODE1, kind: ZoneKind::Normal };

/// Frames of each zone.
pub(crate) const ZONE: u64 = 8192;

/// What to do in the middle of somebody else's way: when the page allocator is entered for the n-th time from now.
type Meanwhile = Box<dyn FnOnce(&mut World)>;

pub(crate) struct World {
    pub(crate) pages: PageAllocator,
    pub(crate) vmemmap: Vmemmap,
    memmap: MemMap,
    contents: Contents,
    blocks: Blocks,
    /// For each attempt to come: is it refused?
    pub(crate) plan: VecDeque<bool>,
    meanwhile: Option<(u32, Meanwhile)>,
    /// Pages are taken one by one.
    pub(crate) singly: bool,
    held: Vec<(ZoneRef, Pfn)>,
}

impl World {
    pub(crate) fn new(life: TailLife) -> Self {
        let zones = [(NORMAL, 0), (MOVABLE, 1), (OTHER, 2)];
        let mut vmemmap = Vmemmap::new(Geometry::X86_64, life);
        vmemmap.optimising = Optimising::On;
        let mut boot = BootMemory::new();
        boot.add(Pfn::new(0), Pfn::new(3 * ZONE));
        for (zone, n) in zones {
            let (start, end) = (Pfn::new(n * ZONE), Pfn::new((n + 1) * ZONE));
            let pages = Geometry::X86_64.pages_ceil(PageCount::new(ZONE));
            // Nothing that stays lies in movable memory.
            let first = if zone == OTHER { 2 * ZONE } else { n * pages.get() };
            boot.reserve(Pfn::new(first), Pfn::new(first).offset(pages));
            vmemmap.describe(start, end, Pfn::new(first), FrameSource::Boot);
        }
        let zones = zones.map(|(zone, n)| boot.zone(layout(zone, n)).expect("a zone"));
        let specs = [(NODE0, [ZoneKind::Normal, ZoneKind::Movable].as_slice()), (NODE1, &[ZoneKind::Normal])];
        let specs = specs.map(|(node, kinds)| {
            let mut present = PerZone::default();
            kinds.iter().for_each(|&kind| present[kind] = PageCount::new(ZONE));
            (node, NodeSpec { present, cpus: 1, initiator: false, online: true })
        });
        let topology = Topology::of(specs.into(), |a, b| if a == b { 10 } else { 20 }).expect("two nodes");
        let pages = PageAllocator::new(topology, Rules::default(), &[NODE0, NODE1], zones).expect("parts that fit");
        Self {
            pages,
            vmemmap,
            memmap: MemMap::new(),
            contents: Contents::new(units::PageShift::K4),
            blocks: Blocks::new(),
            plan: VecDeque::new(),
            meanwhile: None,
            singly: false,
            held: Vec::new(),
        }
    }

    /// A huge page of that zone, off every list.
    pub(crate) fn block(&mut self, zone: ZoneRef, order: Order) -> HugeBlock {
        let movable = if zone.kind == ZoneKind::Movable { GfpFlags::HIGHUSER_MOVABLE } else { GfpFlags::KERNEL };
        let request = PageRequest::new(order, movable | GfpFlags::THISNODE, zone.node);
        let block = page_alloc::alloc(self, &request).expect("memory is free");
        assert_eq!(block.zone, zone);
        HugeBlock { pfn: block.pfn, order, zone }
    }

    /// Free pages of all zones, on processors' lists too.
    pub(crate) fn free(&mut self) -> PageCount {
        let slots = [NORMAL, MOVABLE, OTHER].map(|zone| {
            let listed: PageCount = self.pages.list_sizes(zone).iter().map(|list| list.count).sum();
            self.pages.zone(zone).expect("a zone").free() + listed
        });
        slots.into_iter().sum()
    }

    /// Takes what is free of base pages but for `left`.
    pub(crate) fn take_all_but(&mut self, left: u64) {
        for node in [NODE1, NODE0] {
            let request = PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::THISNODE | GfpFlags::NOWARN, node);
            while let Ok(block) = page_alloc::alloc(self, &request) {
                self.held.push((block.zone, block.pfn));
            }
        }
        self.give_back(left);
    }

    /// Gives so many of them back.
    pub(crate) fn give_back(&mut self, pages: u64) {
        for _ in 0..pages {
            let (zone, pfn) = self.held.pop().expect("as many are held");
            page_alloc::free(self, zone, pfn, Order::ZERO).expect("it was handed out");
        }
    }

    /// Takes so many base pages of node 0, or what there is.
    pub(crate) fn take_some(&mut self, pages: u64) {
        let plan = std::mem::take(&mut self.plan);
        let request = PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::THISNODE | GfpFlags::NOWARN, NODE0);
        for _ in 0..pages {
            let Ok(block) = page_alloc::alloc(self, &request) else { break };
            self.held.push((block.zone, block.pfn));
        }
        self.plan = plan;
    }

    /// Pages that somebody else has.
    pub(crate) fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Gives so many of them back, or all.
    pub(crate) fn give_back_some(&mut self, pages: u64) {
        let pages = pages.min(self.held.len() as u64);
        self.give_back(pages);
    }

    /// Runs `f` before the n-th attempt from now.
    pub(crate) fn meanwhile(&mut self, n: u32, f: impl FnOnce(&mut Self) + 'static) {
        self.meanwhile = Some((n, Box::new(f)));
    }

    pub(crate) fn validate(&self) -> Result<(), Broken> {
        self.vmemmap.validate()?;
        self.pages.validate()
    }
}

fn layout(zone: ZoneRef, n: u64) -> ZoneLayout {
    ZoneLayout {
        node: zone.node,
        kind: zone.kind,
        spans: vec![(Pfn::new(n * ZONE), Pfn::new((n + 1) * ZONE))],
        largest: Order::new(10),
        pageblock: Order::new(9),
    }
}

impl Scopes for World {
    fn scope<R>(&mut self, _: Scope, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }

    fn refused(&mut self, site: Site) -> bool {
        if site != Site::VmemmapPage {
            return false;
        }
        if let Some((n, f)) = self.meanwhile.take() {
            if n == 0 {
                f(self);
            } else {
                self.meanwhile = Some((n - 1, f));
            }
        }
        self.plan.pop_front().unwrap_or(false)
    }

    fn may_refuse(&self) -> bool {
        self.singly || self.meanwhile.is_some() || self.plan.iter().any(|&refused| refused)
    }

    fn emit(&mut self, _: impl FnOnce() -> Event) {}
}

impl memmap::Env for World {
    fn with_memmap<R>(&mut self, _: Pfn, f: impl FnOnce(&mut MemMap) -> R) -> R {
        f(&mut self.memmap)
    }

    fn with_contents<R>(&mut self, _: Pfn, f: impl FnOnce(&mut Contents) -> R) -> R {
        f(&mut self.contents)
    }
}

impl policy::Env for World {
    fn with_topology<R>(&mut self, f: impl FnOnce(&Topology) -> R) -> R {
        f(self.pages.topology())
    }
}

impl Zones for World {
    fn topology(&self) -> &Topology {
        self.pages.topology()
    }

    fn rules(&self) -> &Rules {
        self.pages.rules()
    }

    fn cookie(&self) -> Cookie {
        self.pages.cookie()
    }

    fn cpu_node(&self) -> NodeId {
        self.pages.cpu_node()
    }

    fn cpu_nodes(&self) -> &[NodeId] {
        self.pages.cpu_nodes()
    }

    fn quick(&self) -> &Quick {
        self.pages.quick()
    }

    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        self.pages.with_zone(zone, f)
    }

    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R {
        self.pages.with_node(node, f)
    }

    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize> {
        self.pages.list_sizes(zone)
    }

    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning) {
        self.pages.retune(zone, tuning);
    }

    fn drain_all(&mut self, zone: ZoneRef) {
        self.pages.drain_all(zone);
    }

    fn emit_page(&mut self, event: impl FnOnce() -> PageEvent) {
        self.pages.emit_page(event);
    }
}

impl page_alloc::Env for World {
    fn with_blocks<R>(&mut self, f: impl FnOnce(&mut Blocks) -> R) -> R {
        f(&mut self.blocks)
    }

    fn with_cma<R>(&mut self, f: impl FnOnce(&mut CmaAreas) -> R) -> R {
        f(&mut CmaAreas::default())
    }

    fn vacate(&mut self, _: Pfn, _: page_alloc::MoveReason) -> page_alloc::Moved {
        page_alloc::Moved::Busy
    }
}

impl vmemmap::Env for World {
    fn with_vmemmap<R>(&mut self, f: impl FnOnce(&mut Vmemmap) -> R) -> R {
        f(&mut self.vmemmap)
    }

    fn release_boot_frames(&mut self, start: Pfn, pages: PageCount) {
        let zone = page_alloc::zone_of(self, start).expect("descriptors lie in memory");
        let released = self.with_zone(zone, |parts| parts.zone.release(start, pages));
        assert_eq!(released, Some(Ok(())));
    }
}
