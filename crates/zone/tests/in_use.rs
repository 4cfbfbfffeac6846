//! What is not free, told by pageblocks, is what looking at every frame finds.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use units::{Migratetype, NodeId, Order, Pfn, ZoneKind};
use zone::{AllocFlags, Found, FreeBlocks, Held, Want, Zone, ZoneLayout, ZoneState};

/// A zone with a hole, of which only some is known: the rest was in use, or kept by boot, before it was described.
fn described(seed: u64) -> Zone {
    let layout = ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(64), Pfn::new(300)), (Pfn::new(320), Pfn::new(700))],
        largest: Order::new(6),
        pageblock: Order::new(4),
    };
    let mut state = ZoneState::allocated(layout);
    state.reserved = vec![(Pfn::new(70), Pfn::new(91)), (Pfn::new(600), Pfn::new(601))];
    let free = [(3, 96), (6, 128), (6, 192), (0, 321), (4, 336), (5, 352), (2, 388), (6, 448), (1, 514)];
    for (order, pfn) in free {
        let runs = vec![(Pfn::new(pfn), Pfn::new(pfn))];
        state.free.push(FreeBlocks { order: Order::new(order), migratetype: Migratetype::Movable, runs });
    }
    state.used.push((Pfn::new(640), Order::new(5)));
    state.movable.push((Pfn::new(544), Order::new(3)));
    let mut zone = Zone::from_state(&state).unwrap();
    let mut at = seed;
    for n in 0..seed % 9 {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
        let order = Order::new(u8::try_from((at >> 40) % 6).unwrap());
        let want = Want { order, migratetype: Migratetype::Movable, flags: AllocFlags::NONE };
        if let Some(pfn) = zone.take(want).filter(|_| at.is_multiple_of(2)) {
            zone.mark_movable(pfn, order);
        }
    }
    zone.validate().unwrap();
    zone
}

/// Every frame that is not free with what has it.
fn frames(found: &[Found], start: u64, end: u64) -> Vec<(u64, Held)> {
    let of = |found: &Found| {
        let held = found.held;
        (found.pfn.get()..found.pfn.offset(found.order.pages()).get()).map(move |at| (at, held))
    };
    found.iter().flat_map(of).filter(|&(at, _)| start <= at && at < end).collect()
}

#[test]
fn every_frame_that_is_not_free_is_told_of_once() {
    for seed in 0..60 {
        let zone = described(seed);
        for (start, end) in [(0, 800), (64, 128), (100, 101), (129, 131), (300, 340), (333, 700), (650, 660), (10, 20)]
        {
            let found = zone.in_use(Pfn::new(start), Pfn::new(end));
            let naive = (start..end).filter_map(|at| Some((at, zone.find(Pfn::new(at))?.held)));
            let naive: Vec<(u64, Held)> = naive.filter(|&(_, held)| held != Held::Free).collect();
            assert_eq!(frames(&found, start, end), naive, "seed {seed}, {start}..{end}");
            // What is known keeps its size.
            for block in found.iter().filter(|block| block.held == Held::Movable) {
                assert_eq!(zone.find(block.pfn), Some(*block));
            }
        }
    }
}

/// Memory is lent as a whole, and only while nobody has used it.
#[test]
fn free_memory_is_lent() {
    let layout = ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), Pfn::new(512))],
        largest: Order::new(6),
        pageblock: Order::new(4),
    };
    let mut zone = Zone::new(layout).unwrap();
    zone.lend(Pfn::new(128), Pfn::new(384)).unwrap();
    zone.validate().unwrap();
    assert_eq!((zone.free_cma().get(), zone.free().get()), (256, 512));
    assert_eq!(zone.migratetype(Pfn::new(128)), Migratetype::Cma);
    assert_eq!(zone.migratetype(Pfn::new(384)), Migratetype::Movable);
    assert!(zone.lend(Pfn::new(128), Pfn::new(192)).is_err(), "it is lent already");
    assert!(zone.lend(Pfn::new(400), Pfn::new(464)).is_err(), "not whole blocks");
    let want = Want { order: Order::ZERO, migratetype: Migratetype::Unmovable, flags: AllocFlags::NONE };
    let mut taken = Vec::new();
    while let Some(pfn) = zone.take(want) {
        assert!(!(128..384).contains(&pfn.get()), "{pfn} is lent to pages that can move");
        taken.push(pfn);
    }
    assert_eq!(taken.len(), 256);
    assert!(zone.lend(Pfn::new(0), Pfn::new(64)).is_err(), "it is in use");
    zone.validate().unwrap();
}
