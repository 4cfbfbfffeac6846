//! Allocators of frames, to be measured and tried by the same means.

use buddy_system_allocator::LockedFrameAllocator;
use page_alloc::{Attempted, Knobs, PageAllocator, PageRequest, Rules};
use policy::{NodeSpec, Topology, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Order, PageCount, PageShift, Pfn, ZoneKind};
use zone::tuning::{HighFraction, PcpInputs, PcpTuning};
use zone::watermark::{MarkInputs, ReserveRatios, ScaleFactor, Watermarks};
use zone::{AllocFlags, Level, MarkCheck, PerCpuPages, Want, Zone, ZoneLayout};

use crate::setup::NODE;

/// Whatever hands out aligned blocks of frames.
pub trait Frames {
    /// Adds free frames, from the first one up to the one behind the last.
    fn add(&mut self, start: Pfn, end: Pfn);
    /// Takes a block.
    fn alloc(&mut self, order: Order) -> Option<Pfn>;
    /// Gives a block back.
    fn free(&mut self, pfn: Pfn, order: Order);
}

/// One zone, and what a processor keeps of it: each block for a request that heeds the low mark.
#[derive(Clone, Debug)]
pub struct OneZone {
    /// The zone.
    pub zone: Zone,
    /// The lists of its processor.
    pub lists: PerCpuPages,
}

/// The largest order of a buddy, and that of a pageblock.
pub const ORDERS: (Order, Order) = (Order::new(10), Order::new(9));

/// A zone of so many pages with the marks that a machine with no other zone has.
#[must_use]
pub fn marked_zone(pages: PageCount) -> Zone {
    let layout = ZoneLayout {
        node: NODE,
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), Pfn::new(0).offset(pages))],
        largest: ORDERS.0,
        pageblock: ORDERS.1,
    };
    let mut zone = Zone::new(layout).expect("one span");
    let (knobs, kind) = (knobs(), ZoneKind::Normal);
    let inputs = MarkInputs { min_free: knobs.min_free, scale: knobs.scale, lowmem: pages, shift: knobs.shift };
    zone.set_marks(Watermarks::new(kind, pages, &inputs));
    zone
}

/// The lists of one of two processors.
#[must_use]
pub fn lists_of(zone: &Zone) -> PerCpuPages {
    let inputs = PcpInputs {
        managed: zone.managed(),
        low: zone.mark(Level::Low),
        fraction: HighFraction::default(),
        node_cpus: 2,
        online_cpus: 2,
        shift: PageShift::K4,
    };
    PerCpuPages::new(ORDERS.1, PcpTuning::new(&inputs))
}

fn knobs() -> Knobs {
    Knobs {
        min_free: units::Bytes::mib(64),
        scale: ScaleFactor::default(),
        ratios: ReserveRatios::default(),
        fraction: HighFraction::default(),
        shift: PageShift::K4,
    }
}

impl OneZone {
    /// A zone of so many pages, all of them free.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        let zone = marked_zone(pages);
        let lists = lists_of(&zone);
        Self { zone, lists }
    }
}

impl Frames for OneZone {
    fn add(&mut self, start: Pfn, end: Pfn) {
        assert!(start == Pfn::new(0), "a zone has one span");
        *self = Self::new(PageCount::new(end.get()));
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let flags = AllocFlags::NONE;
        let check = MarkCheck { order, level: Level::Low, highest: ZoneKind::Normal, flags };
        if !self.zone.is_above_fast(check) {
            return None;
        }
        self.zone.take_cached(&mut self.lists, Want { order, migratetype: Migratetype::Movable, flags })
    }

    #[inline(always)]
    fn free(&mut self, pfn: Pfn, order: Order) {
        self.zone.put_cached(&mut self.lists, pfn, order).expect("it was handed out");
    }
}

/// One zone without its lists: ranges above the largest order, which are made regardless of marks and kept by no processor.
#[derive(Clone, Debug)]
pub struct Ranges(pub Zone);

impl Frames for Ranges {
    fn add(&mut self, start: Pfn, end: Pfn) {
        assert!(start == Pfn::new(0), "a zone has one span");
        self.0 = marked_zone(PageCount::new(end.get()));
    }

    #[inline]
    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.0.take(Want { order, migratetype: Migratetype::Movable, flags: AllocFlags::NONE })
    }

    #[inline]
    fn free(&mut self, pfn: Pfn, order: Order) {
        self.0.put(pfn, order).expect("it was handed out");
    }
}

/// A machine of one node and zone, through the whole path: request, context, zone list, marks.
#[derive(Debug)]
pub struct Instance(pub PageAllocator);

impl Instance {
    /// A machine of so many pages, all of them free.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        let topology = Topology::of([(NODE, NodeSpec::normal(pages))].into(), |_, _| 10).expect("one node");
        let cpus = [NODE, NODE];
        let mut machine =
            PageAllocator::new(topology, Rules::default(), &cpus, [marked_zone(pages)]).expect("parts that fit");
        machine.recompute(&knobs());
        Self(machine)
    }
}

impl Frames for Instance {
    fn add(&mut self, start: Pfn, end: Pfn) {
        assert!(start == Pfn::new(0), "a zone has one span");
        *self = Self::new(PageCount::new(end.get()));
    }

    #[inline]
    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let request = PageRequest::new(order, GfpFlags::HIGHUSER_MOVABLE, NODE);
        match self.0.alloc(&request) {
            Ok(Attempted::Done(block)) => Some(block.pfn),
            _ => None,
        }
    }

    #[inline]
    fn free(&mut self, pfn: Pfn, order: Order) {
        let zone = ZoneRef { node: NodeId::new(0), kind: ZoneKind::Normal };
        self.0.free(zone, pfn, order).expect("it was handed out");
    }
}

/// The crate `buddy_system_allocator` behind its lock: no types, marks or processors.
#[derive(Default)]
pub struct BuddySystem(LockedFrameAllocator<33>);

impl BuddySystem {
    /// So many pages, all of them free.
    #[must_use]
    pub fn new(pages: PageCount) -> Self {
        let mut frames = Self::default();
        frames.add(Pfn::new(0), Pfn::new(0).offset(pages));
        frames
    }
}

fn number(n: u64) -> usize {
    usize::try_from(n).expect("a frame number fits")
}

impl Frames for BuddySystem {
    fn add(&mut self, start: Pfn, end: Pfn) {
        self.0.lock().add_frame(number(start.get()), number(end.get()));
    }

    #[inline]
    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.0.lock().alloc(number(order.pages().get())).map(|frame| Pfn::new(frame as u64))
    }

    #[inline]
    fn free(&mut self, pfn: Pfn, order: Order) {
        self.0.lock().dealloc(number(pfn.get()), number(order.pages().get()));
    }
}
