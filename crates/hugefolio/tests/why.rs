//! What stands in the way of a range, compared with a count frame by frame.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::boot::Arch;
use hugefolio::pages::{PageRequest, Zones};
use hugefolio::why::{Candidate, Holder, Mend, Verdict, Wanted, of_pages};
use hugefolio::{
    Admin, BlockId, Bytes, Calls, GfpFlags, Held, HugeCount, HugeSize, Machine, MapCall, NodeId, Nodemask, Order,
    PageCount, PageShift, Pages, Pfn, ResizeNodes, Share, Zone, ZoneRef,
};

const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);

fn node(n: u8) -> NodeId {
    NodeId::new(n)
}

/// A small generator of numbers; the same seed gives the same ones.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// What a frame is a part of, and whether that leaves by itself.
type Naive = BTreeMap<u64, (Pfn, Order, Mend)>;

fn zone_at(machine: &Machine, pfn: Pfn) -> Option<&Zone> {
    let has = |zone: &&Zone| zone.layout().spans.iter().any(|&(start, end)| start <= pfn && pfn < end);
    machine.pages().zones().map(|(zone, _)| zone).find(has)
}

/// Every frame that is not free.
fn naive(machine: &mut Machine, blocks: &[BlockId]) -> Naive {
    let mut pins = BTreeMap::new();
    for &id in blocks {
        let block = machine.block(id).unwrap();
        pins.insert(block.pfn, block.pins);
    }
    let mut free_huge = BTreeSet::new();
    let mut reserved = BTreeMap::new();
    for hstate in machine.hstates().iter().collect::<Vec<_>>() {
        let pool = machine.pool(hstate.size).unwrap();
        reserved.insert(hstate.order, pool.free == pool.resv);
        for n in machine.topology().nodes().iter() {
            free_huge.extend(machine.shelf(hstate.id, n).unwrap().iter().map(|folio| folio.pfn));
        }
    }
    let mut all = Naive::new();
    let spans: Vec<(Pfn, Pfn)> = machine.pages().zones().flat_map(|(zone, _)| zone.layout().spans.clone()).collect();
    for (start, end) in spans {
        for frame in start.get()..end.get() {
            let found = zone_at(machine, Pfn::new(frame)).unwrap().find(Pfn::new(frame)).unwrap();
            let mend = match (found.held, pins.get(&found.pfn)) {
                (Held::Free, _) => continue,
                (Held::Cached, _) => Mend::Drain,
                (Held::Reserved, _) => Mend::Nothing,
                (_, Some(&pins)) if pins > 0 => Mend::Unpin { pins },
                (Held::Movable, _) => Mend::Move,
                (_, Some(_)) => Mend::FreeBlock,
                (_, None) if found.order == Order::ZERO => Mend::FreeBlock,
                (_, None) if !free_huge.contains(&found.pfn) => Mend::LetGo,
                (_, None) if reserved[&found.order] => Mend::DropReservation,
                (_, None) => Mend::ShrinkPool,
            };
            all.insert(frame, (found.pfn, found.order, mend));
        }
    }
    all
}

/// Blocks of a window from below.
fn expected(machine: &Machine, naive: &Naive, zone: ZoneRef, start: Pfn, order: Order) -> Vec<(Pfn, Order, Mend)> {
    let end = start.offset(order.pages());
    let of_zone = |pfn| zone_at(machine, pfn).is_some_and(|of| (of.node(), of.layout().kind) == (zone.node, zone.kind));
    let mut blocks: Vec<(Pfn, Order, Mend)> = Vec::new();
    for frame in start.get()..end.get() {
        match naive.get(&frame) {
            _ if !of_zone(Pfn::new(frame)) => blocks.push((Pfn::new(frame), Order::ZERO, Mend::Online)),
            Some(&block) if blocks.last() != Some(&block) => blocks.push(block),
            _ => (),
        }
    }
    blocks
}

/// Holes, and what boot kept, are told of in larger blocks than frame by frame.
fn without_holes(blocks: &[(Pfn, Order, Mend)]) -> (u64, Vec<(Pfn, Order, Mend)>) {
    let frames = |(_, _, mend): &&(Pfn, Order, Mend)| matches!(mend, Mend::Online | Mend::Nothing);
    let missing = blocks.iter().filter(frames).map(|(_, order, _)| order.pages().get()).sum();
    (missing, blocks.iter().filter(|block| !frames(block)).copied().collect())
}

fn check(machine: &mut Machine, blocks: &[BlockId], order: Order) {
    let naive = naive(machine, blocks);
    let why = machine.why(&Wanted { order, nodes: Nodemask::ALL, candidates: usize::MAX });
    assert_eq!(why.candidates.len() as u64, why.windows);
    let (mut free, mut movable) = (0, 0);
    let mut last = None;
    for Candidate { window, obstacles, verdict } in &why.candidates {
        let mine = expected(machine, &naive, window.zone, window.start, order);
        let theirs: Vec<(Pfn, Order, Mend)> = obstacles.iter().map(|o| (o.pfn, o.order, o.mend)).collect();
        assert_eq!(without_holes(&theirs), without_holes(&mine), "{window:?}");
        let stays = mine.iter().filter(|(_, _, mend)| !mend.is_automatic()).count() as u64;
        let moving = || mine.iter().filter(|(_, _, mend)| *mend == Mend::Move);
        let pages: PageCount = moving().map(|(_, order, _)| order.pages()).sum();
        match *verdict {
            Verdict::Free => assert_eq!((stays, pages), (0, PageCount::ZERO)),
            Verdict::ByMoving { blocks, pages: p } => {
                assert_eq!((stays, p, blocks), (0, pages, moving().count() as u64));
            }
            Verdict::NoRoom { pages: p, room } => assert!(stays == 0 && p == pages && room < p),
            Verdict::Stays { .. } => assert!(stays > 0),
        }
        free += u64::from(*verdict == Verdict::Free);
        movable += u64::from(stays == 0);
        let whole = without_holes(&mine).0 == 0;
        if whole && window.order > machine.pages().rules().pageblock {
            // The best comes first: fewer blocks that stay, then fewer pages that move.
            let key = (stays, pages.get().min(order.pages().get()));
            assert!(last <= Some(key), "{last:?} before {key:?}");
            last = Some(key);
        }
        let range = machine.why_range(window.start, order);
        assert_eq!(range.as_ref().map(|of| (&of.obstacles, of.verdict)), Some((obstacles, *verdict)));
    }
    assert_eq!((why.free, why.movable), (free, movable));
}

/// Random machines: blocks of all kinds, pinned ones, huge pages that are free, reserved and mapped.
fn random_machine(seed: u64) -> (Machine, Vec<BlockId>) {
    let mut random = Random(seed);
    let mut builder = Machine::builder().node(node(0), Bytes::mib(40));
    if random.below(2) == 0 {
        builder = builder.node(node(1), Bytes::mib(18)).cmdline("kernelcore=30M");
    }
    let mut machine = builder.build().unwrap();
    let mut blocks = Vec::new();
    let pid = machine.spawn();
    for _ in 0..random.below(120) {
        let gfp = if random.below(3) == 0 { GfpFlags::KERNEL } else { GfpFlags::HIGHUSER_MOVABLE };
        let order = Order::new(u8::try_from(random.below(5) * random.below(3)).unwrap());
        match random.below(10) {
            0..=5 => blocks.extend(machine.alloc_pages(&PageRequest::new(order, gfp, node(0)))),
            6 if !blocks.is_empty() => {
                let at = usize::try_from(random.below(blocks.len() as u64)).unwrap();
                let _ = machine.pin_pages(blocks[at]);
            }
            7 | 8 if !blocks.is_empty() => {
                let at = usize::try_from(random.below(blocks.len() as u64)).unwrap();
                if machine.free_pages(blocks[at]).is_ok() {
                    blocks.swap_remove(at);
                }
            }
            _ => {
                let count = HugeCount::new(random.below(6));
                machine.set_nr_hugepages(HugeSize::M2, count, ALL).unwrap();
                if let Ok(at) = machine.mmap(pid, &MapCall::anonymous(Bytes::mib(2), Share::Private))
                    && random.below(2) == 0
                {
                    machine.write_byte(pid, at, 1).unwrap();
                }
            }
        }
    }
    machine.validate().unwrap();
    (machine, blocks)
}

#[test]
fn what_is_in_the_way_is_what_a_count_frame_by_frame_finds() {
    let rounds = std::env::var("HUGEFOLIO_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for seed in 0..rounds {
        let (mut machine, blocks) = random_machine(seed);
        for order in [1, 4, 9, 10, 12] {
            check(&mut machine, &blocks, Order::new(order));
        }
    }
}

/// An allocator by itself says of each window what the machine says of it, but for pins and pools, which it does not know.
#[test]
fn an_allocator_alone_counts_the_same_windows() {
    for seed in 20..32 {
        let (machine, blocks) = random_machine(seed);
        if blocks.iter().any(|&id| machine.blocks().get(id).unwrap().pins > 0) {
            continue;
        }
        let wanted = Wanted { order: Order::new(10), nodes: Nodemask::ALL, candidates: 100 };
        let (all, alone) = (machine.why(&wanted), of_pages(machine.pages(), &wanted));
        assert_eq!((all.windows, all.free, all.movable), (alone.windows, alone.free, alone.movable));
        let windows =
            |why: &hugefolio::why::Why| why.candidates.iter().map(|c| (c.window, c.verdict)).collect::<Vec<_>>();
        assert_eq!(windows(&all), windows(&alone));
        let unknown = |o: &hugefolio::why::Obstacle| {
            matches!(o.holder, Holder::Unknown | Holder::Processor | Holder::Nowhere | Holder::Boot)
        };
        assert!(alone.candidates.iter().flat_map(|c| &c.obstacles).all(unknown));
    }
}

/// A machine with windows of 32 MiB, so that a gigantic page is a small matter.
fn gigantic(nodes: u8, cmdline: &str) -> Machine {
    let arm64 = Machine::builder().arch(Arch::Arm64(PageShift::K4)).cmdline(cmdline);
    (0..nodes).fold(arm64, |builder, n| builder.node(node(n), Bytes::mib(160))).build().unwrap()
}

/// Where the answer is that a window can be had, the next gigantic page is had; where it is not, it is not.
#[test]
fn the_answer_is_what_a_request_finds() {
    let order = Order::new(13);
    let (mut had, mut refused) = (0, 0);
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut machine = gigantic(1, "");
        let mut blocks = Vec::new();
        for _ in 0..random.below(2400) {
            let gfp = if random.below(20) == 0 { GfpFlags::KERNEL } else { GfpFlags::HIGHUSER_MOVABLE };
            let order = Order::new(u8::try_from(random.below(7)).unwrap());
            blocks.extend(machine.alloc_pages(&PageRequest::new(order, gfp, node(0))));
        }
        for at in (0..blocks.len()).rev() {
            if random.below(3) > 0 {
                machine.free_pages(blocks.swap_remove(at)).unwrap();
            }
        }
        for &block in blocks.iter().filter(|_| random.below(60) == 0) {
            machine.pin_pages(block).unwrap();
        }
        let why = machine.why(&Wanted::of(order));
        let possible = why.best().is_some_and(|best| best.verdict.is_possible());
        machine.set_nr_hugepages(HugeSize::M32, HugeCount::new(1), ALL).unwrap();
        let got = machine.pool(HugeSize::M32).unwrap().nr == HugeCount::new(1);
        // Room is a sum: what is to be moved may need larger blocks than are free.
        assert!(got || !possible || blocks.len() > 100, "seed {seed}: {why}");
        assert!(!got || why.movable > 0, "seed {seed}: {why}");
        had += u32::from(got && possible);
        refused += u32::from(!got && !possible);
        machine.validate().unwrap();
    }
    assert!(had > 5, "{had} had, {refused} refused");
}

#[test]
fn areas_alone_and_parts_of_areas() {
    let order = HugeSize::G1.order(PageShift::K4).unwrap();
    let build = |cmdline: &str| {
        let machine = Machine::builder().node(node(0), Bytes::gib(8)).cmdline(cmdline);
        machine.build().unwrap()
    };
    let mut machine = build("hugetlb_cma=2G hugetlb_cma_only=on");
    let wanted = Wanted { candidates: 16, ..Wanted::of(order) };
    let why = machine.why(&wanted);
    assert_eq!((why.free, why.movable), (2, 2));
    machine.set_nr_hugepages(HugeSize::G1, HugeCount::new(2), ALL).unwrap();
    let why = machine.why(&wanted);
    assert_eq!((why.free, why.movable), (0, 0));
    let pools = |c: &Candidate| matches!(c.obstacles[..], [hugefolio::why::Obstacle { mend: Mend::ShrinkPool, .. }]);
    assert_eq!(why.candidates.iter().filter(|c| pools(c)).count(), 2, "{why}");
    let outside = |c: &Candidate| c.obstacles.iter().any(|o| o.holder == Holder::NotLent);
    assert!(why.candidates.iter().filter(|c| !pools(c)).all(outside), "{why}");
    assert!(why.to_string().contains("only lent memory is taken"));
}

#[test]
fn nodes_that_may_not_be_used_are_left_out() {
    let machine = gigantic(2, "");
    let of = |n: u8| machine.why(&Wanted { nodes: Nodemask::of(node(n)), ..Wanted::of(Order::new(13)) });
    assert_eq!((of(0).free, of(1).free), (5, 5));
    assert_eq!(of(1).best().unwrap().window.zone.node, node(1));
    let nowhere = machine.why(&Wanted { nodes: Nodemask::EMPTY, ..Wanted::of(Order::new(13)) });
    assert!(nowhere.best().is_none() && nowhere.to_string().contains("no zone"));
}
