//! States that a running system reaches once a year: each is built as it stands, one step is run, and everything is looked at.

use units::{Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::watermark::{BoostFactor, Protection, Watermarks};
use zone::{
    AllocFlags, Grouping, IsolateRefusal, Level, MarkCheck, Ownership, Unreserve, Want, Zone, ZoneEvent, ZoneLayout,
    ZoneState,
};

use Migratetype::{Cma, HighAtomic, Isolate, Movable, Reclaimable, Unmovable};

/// Pages of a pageblock.
const BLOCK: u64 = 512;

fn state_of(start: u64, end: u64) -> ZoneState {
    ZoneState::allocated(ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(start), Pfn::new(end))],
        largest: Order::new(10),
        pageblock: Order::new(9),
    })
}

/// So many pageblocks, all allocated.
fn blocks(count: u64) -> ZoneState {
    state_of(0, count * BLOCK)
}

fn pfns(frames: &[u64]) -> Vec<Pfn> {
    frames.iter().copied().map(Pfn::new).collect()
}

fn free(state: ZoneState, order: u8, migratetype: Migratetype, frames: &[u64]) -> ZoneState {
    state.with_free(Order::new(order), migratetype, &pfns(frames))
}

/// `pages` frames from `start` on lie on a list of pages in use.
fn in_use(mut state: ZoneState, start: u64, pages: u64) -> ZoneState {
    let end = start + pages;
    let mut at = start;
    while at < end {
        let order = (0..=9u8).rev().find(|&o| at.is_multiple_of(1 << o) && at + (1 << o) <= end).unwrap_or(0);
        state.movable.push((Pfn::new(at), Order::new(order)));
        at += 1 << order;
    }
    state
}

fn build(state: &ZoneState) -> Zone {
    let mut zone = Zone::from_state(state).unwrap_or_else(|error| panic!("{error}"));
    zone.record_events();
    zone
}

fn with_high(mut state: ZoneState, high: u64) -> ZoneState {
    state.marks = Watermarks { high: PageCount::new(high), ..Watermarks::default() };
    state
}

/// One attempt, with a recount after it.
fn take(zone: &mut Zone, order: u8, migratetype: Migratetype, flags: AllocFlags) -> Option<u64> {
    let taken = zone.take(Want { order: Order::new(order), migratetype, flags });
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    taken.map(Pfn::get)
}

fn put(zone: &mut Zone, frame: u64, order: u8) {
    zone.put(Pfn::new(frame), Order::new(order)).unwrap_or_else(|error| panic!("{error}"));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
}

fn list(zone: &Zone, order: u8, migratetype: Migratetype) -> Vec<u64> {
    zone.free_list(Order::new(order), migratetype).into_iter().map(Pfn::get).collect()
}

fn fallback(pfn: u64, orders: (u8, u8), types: (Migratetype, Migratetype), ownership: Ownership) -> ZoneEvent {
    ZoneEvent::Fallback {
        pfn: Pfn::new(pfn),
        order: Order::new(orders.0),
        fallback_order: Order::new(orders.1),
        migratetype: types.0,
        fallback: types.1,
        ownership,
    }
}

fn type_at(zone: &Zone, frame: u64) -> Migratetype {
    zone.migratetype(Pfn::new(frame))
}

const NONE: AllocFlags = AllocFlags::NONE;

#[test]
fn nasty_grouping_is_off_and_comes_back() {
    let mut zone = build(&ZoneState { grouping: Grouping::Off, ..free(blocks(4), 10, Movable, &[0, 1024]) });
    assert_eq!(take(&mut zone, 0, Movable, NONE), Some(0), "a movable request counts as unmovable");
    assert_eq!(zone.take_events(), [fallback(0, (0, 10), (Unmovable, Movable), Ownership::Changed)]);
    assert_eq!((type_at(&zone, 0), type_at(&zone, 512), type_at(&zone, 1024)), (Unmovable, Unmovable, Movable));
    zone.set_grouping(Grouping::ByMobility);
    assert_eq!(take(&mut zone, 0, Movable, NONE), Some(1024), "its own type has blocks");
    assert_eq!(type_at(&zone, 0), Unmovable, "old blocks keep their types");
}

#[test]
fn nasty_grouping_is_off_and_a_full_block_is_claimed_for_one_page() {
    let state = in_use(free(blocks(4), 0, Movable, &[0]), 1, BLOCK - 1);
    let mut zone = build(&ZoneState { grouping: Grouping::Off, ..state });
    assert_eq!(take(&mut zone, 0, Unmovable, NONE), Some(0));
    assert_eq!((type_at(&zone, 0), zone.free().get()), (Unmovable, 0));
}

/// Without grouping a block that becomes movable is noted as unmovable: its free pages lay on one list and its type said another.
#[test]
fn nasty_regression_what_becomes_movable_without_grouping_is_unmovable() {
    let off = |state| ZoneState { grouping: Grouping::Off, ..state };
    let kept = blocks(200).with_type(Pfn::new(0), HighAtomic).with_type(Pfn::new(512), HighAtomic);
    for (order, frame) in [(2, 4), (9, 512)] {
        let mut zone = build(&off(free(kept.clone(), order, HighAtomic, &[frame])));
        assert!(zone.unreserve_highatomic(Unreserve::Everything, Movable));
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!((type_at(&zone, frame), list(&zone, order, Unmovable)), (Unmovable, vec![frame]));
        assert_eq!((zone.free().get(), zone.free_highatomic()), (1 << order, PageCount::ZERO));
    }
    // The same with a block that was movable from the start and merges with one that was claimed.
    let mut zone = build(&off(free(blocks(2).with_type(Pfn::new(0), Unmovable), 9, Unmovable, &[0])));
    put(&mut zone, 512, 9);
    assert_eq!((list(&zone, 10, Unmovable), type_at(&zone, 0), type_at(&zone, 512)), (vec![0], Unmovable, Unmovable));
    let mut zone = build(&off(free(blocks(2), 9, Movable, &[0])));
    put(&mut zone, 512, 9);
    assert_eq!((list(&zone, 10, Movable), type_at(&zone, 0)), (vec![0], Movable), "what nobody used is what it was");
}

#[test]
fn nasty_only_single_pages_in_movable_blocks() {
    let mut state = free(with_high(blocks(4), 20_000), 0, Movable, &[512, 0, 1024]);
    for block in 0..4 {
        let first = if block == 3 { 0 } else { 1 };
        state = in_use(state, block * BLOCK + first, BLOCK - first);
    }
    let mut zone = build(&state);
    assert_eq!(take(&mut zone, 0, Unmovable, AllocFlags::KSWAPD), Some(512), "the head of the list");
    assert_eq!(zone.boost().get(), BLOCK, "the claim failed, and raised the marks nevertheless");
    assert!(zone.take_boosted() && !zone.take_boosted(), "whoever may wake background reclaim does so once");
    assert_eq!(type_at(&zone, 512), Movable, "its block is what it was");
    assert_eq!(zone.take_events(), [fallback(512, (0, 0), (Unmovable, Movable), Ownership::Kept)]);
    assert_eq!(list(&zone, 0, Movable), [0, 1024]);
}

#[test]
fn nasty_each_order_tried_boosts_up_to_the_limit() {
    let state_with_high = |high| {
        let mut state = with_high(blocks(8), high);
        for order in 0..4u8 {
            let start = u64::from(order) * BLOCK;
            state = in_use(free(state, order, Movable, &[start]), start + (1 << order), BLOCK - (1 << order));
        }
        state
    };
    for (high, boost) in [(20_000, 4 * BLOCK), (1000, 1500), (10, BLOCK), (0, 0)] {
        let mut zone = build(&state_with_high(high));
        assert_eq!(take(&mut zone, 0, Unmovable, NONE), Some(0), "the smallest block that fits");
        assert_eq!(zone.boost().get(), boost, "with a high mark of {high}");
        assert!(!zone.take_boosted(), "nobody may wake background reclaim");
    }
}

#[test]
fn nasty_a_movable_request_claims_no_small_block() {
    let unmovable = blocks(4).with_type(Pfn::new(0), Unmovable).with_type(Pfn::new(512), Unmovable);
    let mut zone = build(&free(free(with_high(unmovable, 20_000), 3, Unmovable, &[0]), 0, Unmovable, &[512]));
    assert_eq!(take(&mut zone, 0, Movable, NONE), Some(512), "the smallest one is stolen");
    assert_eq!((zone.boost().get(), type_at(&zone, 512)), (0, Unmovable));
    assert_eq!(zone.take_events(), [fallback(512, (0, 0), (Movable, Unmovable), Ownership::Kept)]);
}

#[test]
fn nasty_half_of_a_block_is_enough_and_one_page_less_is_not() {
    // One page free. Of the others some can move; the rest is like an unmovable request.
    for (movable, ownership, kind) in [(256, Ownership::Changed, Unmovable), (257, Ownership::Kept, Movable)] {
        let mut zone = build(&in_use(free(blocks(4), 0, Movable, &[0]), 1, movable));
        assert_eq!(take(&mut zone, 0, Unmovable, NONE), Some(0));
        assert_eq!(type_at(&zone, 0), kind, "{movable} pages can move");
        let last = zone.take_events().pop();
        assert_eq!(last, Some(fallback(0, (0, 0), (Unmovable, Movable), ownership)));
    }
    // In a reclaimable block nothing that is allocated counts as alike.
    let reclaimable = || blocks(4).with_type(Pfn::new(0), Reclaimable);
    let mut zone = build(&free(reclaimable(), 8, Reclaimable, &[0]));
    assert_eq!((take(&mut zone, 0, Unmovable, NONE), type_at(&zone, 0)), (Some(0), Unmovable));
    let mut less = reclaimable();
    for order in 0..8u8 {
        less = free(less, order, Reclaimable, &[1 << order]);
    }
    let mut zone = build(&less);
    assert_eq!((take(&mut zone, 0, Unmovable, NONE), type_at(&zone, 0)), (Some(1), Reclaimable));
}

#[test]
fn nasty_a_claim_moves_all_free_pages_of_the_block_and_merges_none() {
    let mut zone = build(&free(free(blocks(4), 2, Movable, &[8, 600]), 0, Movable, &[3, 1]));
    assert_eq!(take(&mut zone, 2, Unmovable, NONE), Some(8));
    assert_eq!((type_at(&zone, 0), type_at(&zone, 600)), (Unmovable, Movable));
    assert_eq!(list(&zone, 0, Unmovable), [1, 3], "in the order of frames");
    assert_eq!(list(&zone, 2, Movable), [600]);
}

#[test]
fn nasty_blocks_that_reach_over_an_end_never_change_their_type() {
    let (first, past) = (256, 102_400 + 256);
    for frame in [first, past - 1] {
        let mut zone = build(&free(with_high(state_of(first, past), 20_000), 0, Movable, &[frame]));
        assert_eq!(zone.isolate(Pfn::new(frame)), Err(IsolateRefusal::Straddles(Pfn::new(frame / BLOCK * BLOCK))));
        assert_eq!(take(&mut zone, 0, Unmovable, NONE), Some(frame), "it is stolen");
        assert_eq!((type_at(&zone, frame), zone.boost().get()), (Movable, BLOCK));
        zone.reserve_highatomic(Pfn::new(frame), Order::ZERO);
        assert_eq!((type_at(&zone, frame), zone.reserved_highatomic()), (Movable, PageCount::ZERO));
        put(&mut zone, frame, 0);
    }
}

#[test]
fn nasty_a_block_of_two_pageblocks_is_claimed_whole() {
    let mut zone = build(&free(with_high(blocks(4), 20_000), 10, Movable, &[1024]));
    assert_eq!(take(&mut zone, 0, Unmovable, AllocFlags::NOFRAGMENT), Some(1024));
    assert_eq!((type_at(&zone, 1024), type_at(&zone, 1536), zone.boost().get()), (Unmovable, Unmovable, 0));
    assert_eq!(zone.take_events(), [fallback(1024, (0, 10), (Unmovable, Movable), Ownership::Changed)]);
}

#[test]
fn nasty_neighbours_of_mergeable_types_merge_and_the_freed_one_decides() {
    let mut zone = build(&free(blocks(2).with_type(Pfn::new(0), Unmovable), 9, Movable, &[512]));
    put(&mut zone, 0, 9);
    assert_eq!((list(&zone, 10, Unmovable), type_at(&zone, 512)), (vec![0], Unmovable));
}

#[test]
fn nasty_neighbours_of_special_types_stay_apart() {
    for special in [Cma, HighAtomic, Isolate] {
        let mut state = blocks(2);
        if special == Isolate {
            state.isolated.push(Pfn::new(512));
        } else {
            state = state.with_type(Pfn::new(512), special);
        }
        let mut zone = build(&free(state, 9, special, &[512]));
        put(&mut zone, 0, 9);
        assert_eq!((list(&zone, 9, Movable), list(&zone, 9, special)), (vec![0], vec![512]));
    }
}

/// Giving a reserve up moves a block to another list and merges nothing; the next free of the neighbour does.
#[test]
fn nasty_an_unreserved_block_merges_with_the_next_free() {
    let mut zone = build(&free(blocks(2).with_type(Pfn::new(512), HighAtomic), 9, HighAtomic, &[512]));
    assert!(zone.unreserve_highatomic(Unreserve::Everything, Movable));
    assert_eq!((list(&zone, 9, Movable), zone.free_highatomic()), (vec![512], PageCount::ZERO));
    put(&mut zone, 0, 9);
    assert_eq!(list(&zone, 10, Movable), [0]);
}

#[test]
fn nasty_the_reserve_ends_at_its_limit() {
    let mut zone = build(&blocks(200));
    for (n, kept) in [(0, 512), (1, 1024), (2, 1024)] {
        zone.reserve_highatomic(Pfn::new(n * BLOCK), Order::new(1));
        assert_eq!(zone.reserved_highatomic().get(), kept);
    }
    assert_eq!(type_at(&zone, 1024), Movable);
    let mut small = build(&blocks(99));
    small.reserve_highatomic(Pfn::new(0), Order::new(1));
    assert_eq!(small.reserved_highatomic(), PageCount::ZERO, "a hundredth is less than a block");
}

#[test]
fn nasty_one_block_of_the_reserve_stays_unless_all_must_go() {
    let mut zone = build(&free(blocks(200).with_type(Pfn::new(0), HighAtomic), 2, HighAtomic, &[4]));
    assert!(!zone.unreserve_highatomic(Unreserve::AllButOne, Movable));
    assert!(zone.unreserve_highatomic(Unreserve::Everything, Unmovable));
    assert_eq!((type_at(&zone, 0), list(&zone, 2, Unmovable)), (Unmovable, vec![4]));
    assert_eq!(zone.reserved_highatomic(), PageCount::ZERO);
    let mut full = build(&blocks(200).with_type(Pfn::new(0), HighAtomic));
    assert!(!full.unreserve_highatomic(Unreserve::Everything, Movable), "nothing of it is free");
    assert_eq!(full.reserved_highatomic().get(), BLOCK);
}

#[test]
fn nasty_who_may_use_the_reserve() {
    let state = free(blocks(200).with_type(Pfn::new(0), HighAtomic), 1, HighAtomic, &[4]);
    for (flags, order, taken) in [
        (NONE, 0, None),
        (AllocFlags::MIN_RESERVE, 0, None),
        (AllocFlags::NON_BLOCK, 0, Some(4)),
        (AllocFlags::OOM, 1, Some(4)),
        (AllocFlags::HIGHATOMIC, 1, Some(4)),
    ] {
        let mut zone = build(&state);
        assert_eq!(take(&mut zone, order, Unmovable, flags), taken, "{flags:?}");
        assert_eq!(zone.free_highatomic().get(), 2 - taken.map_or(0, |_| 1 << order));
    }
}

fn check(order: u8, level: Level, flags: AllocFlags) -> MarkCheck {
    MarkCheck { order: Order::new(order), level, highest: ZoneKind::Normal, flags }
}

fn both(zone: &Zone, check: MarkCheck) -> bool {
    let slow = zone.is_above(check);
    assert!(zone.is_above_fast(check) >= slow, "the fast look sees no less: {check:?}");
    slow
}

/// All free pages are lent or kept, and more than the rest of the block asked for: the difference is below zero.
#[test]
fn nasty_less_free_than_nothing() {
    let types = blocks(200).with_type(Pfn::new(0), Cma).with_type(Pfn::new(512), HighAtomic);
    let zone = build(&free(free(types, 3, Cma, &[0]), 2, HighAtomic, &[512]));
    for order in 0..=10 {
        for level in [Level::Min, Level::Low, Level::High] {
            assert!(!both(&zone, check(order, level, NONE)) && !zone.is_above_fast(check(order, level, NONE)));
        }
    }
    assert!(both(&zone, check(3, Level::Min, AllocFlags::CMA)), "with lent pages there is one of order 3");
    assert!(!both(&zone, check(4, Level::Min, AllocFlags::CMA)));
    let lent = build(&free(blocks(4).with_type(Pfn::new(0), Cma), 3, Cma, &[0]));
    assert!(!both(&lent, check(1, Level::Min, NONE)));
}

#[test]
fn nasty_lent_pages_come_first_from_just_above_half() {
    let state = |own: &[u64]| free(free(blocks(4).with_type(Pfn::new(512), Cma), 0, Cma, &[512, 514]), 0, Movable, own);
    let mut even = build(&state(&[0, 2]));
    assert_eq!(take(&mut even, 0, Movable, AllocFlags::CMA), Some(0), "two of four are no more than half");
    assert_eq!(take(&mut even, 0, Movable, AllocFlags::CMA), Some(512), "two of three are");
    assert_eq!(take(&mut even, 0, Movable, NONE), Some(2), "who may not, does not");
    assert_eq!(take(&mut even, 0, Movable, NONE), None);
    assert_eq!(take(&mut even, 0, Movable, AllocFlags::CMA), Some(514));
}

fn marked(min: u64, free_pages: u64, reserve: u64) -> Zone {
    let frames: Vec<u64> = (0..free_pages).map(|n| 2 * n).collect();
    let mut state = free(blocks(8), 0, Movable, &frames);
    state.marks.min = PageCount::new(min);
    let kept = |kind| if kind == ZoneKind::Normal { reserve } else { 0 };
    state.protection = Protection::from_fn(|kind| PageCount::new(kept(kind)));
    build(&state)
}

#[test]
fn nasty_every_right_at_every_boundary() {
    let (high, wait, oom) = (AllocFlags::MIN_RESERVE, AllocFlags::NON_BLOCK, AllocFlags::OOM);
    for (min, shares) in [(1000, [1000, 500, 375, 500, 188]), (1001, [1001, 501, 376, 501, 188]), (7, [7, 4, 3, 4, 2])]
    {
        let rights = [wait, high, high.with(wait), oom, high.with(wait).with(oom)];
        for (flags, share) in rights.into_iter().zip(shares) {
            assert_eq!(flags.lowered(PageCount::new(min)).get(), share, "{flags:?} of {min}");
            for reserve in [0, 9] {
                for (free_pages, above) in [(share + reserve, false), (share + reserve + 1, true)] {
                    let zone = marked(min, free_pages, reserve);
                    assert_eq!(both(&zone, check(0, Level::Min, flags)), above, "{flags:?}, {free_pages} free");
                    assert_eq!(zone.is_above_fast(check(0, Level::Min, flags)), above);
                    assert!(!both(&zone, check(1, Level::Min, flags)), "there is no pair");
                }
            }
        }
    }
}

#[test]
fn nasty_a_block_of_any_type_of_request_satisfies_the_mark() {
    for (migratetype, above) in [(Unmovable, true), (Reclaimable, true), (HighAtomic, false), (Cma, false)] {
        let zone = build(&free(blocks(200).with_type(Pfn::new(0), migratetype), 4, migratetype, &[0]));
        assert_eq!(both(&zone, check(4, Level::Min, NONE)), above, "{migratetype}");
        assert_eq!(both(&zone, check(4, Level::Min, AllocFlags::HIGHATOMIC)), migratetype != Cma);
        // To wait is not possible, and yet the reserve does not count as a block.
        assert_eq!(both(&zone, check(4, Level::Min, AllocFlags::NON_BLOCK)), above);
    }
}

#[test]
fn nasty_boosts_that_are_none() {
    let tiny = |count, high, factor| {
        let mut state = with_high(blocks(count), high);
        state.boost_factor = BoostFactor(factor);
        let mut zone = build(&in_use(free(state, 0, Movable, &[0]), 1, BLOCK - 1));
        assert_eq!(take(&mut zone, 0, Unmovable, NONE), Some(0));
        zone.boost().get()
    };
    assert_eq!(tiny(3, 1000, 15_000), 0, "less than four blocks");
    assert_eq!(tiny(4, 1000, 15_000), BLOCK);
    assert_eq!(tiny(4, 0, 15_000), 0, "no mark yet");
    assert_eq!(tiny(4, 1000, 0), 0, "switched off");
}

#[test]
fn nasty_an_urgent_page_ignores_the_boost() {
    let mut state = marked(10, 20, 0).state();
    state.boost = PageCount::new(100);
    let zone = build(&state);
    let urgent = AllocFlags::MIN_RESERVE;
    assert!(!zone.is_above_fast(check(0, Level::Min, NONE)) && zone.is_above_fast(check(0, Level::Min, urgent)));
    assert!(!zone.is_above(check(0, Level::Min, urgent)), "only the fast look has the exemption");
    assert!(!zone.is_above_fast(check(0, Level::Low, urgent)), "and only at the minimum");
}

#[test]
fn nasty_marks_recomputed_during_a_boost() {
    let mut state = marked(10, 20, 0).state();
    state.boost = PageCount::new(700);
    let mut zone = build(&state);
    zone.lower_boost(PageCount::new(900));
    assert_eq!(zone.boost(), PageCount::ZERO, "background reclaim takes back what it saw, and never more");
    let mut zone = build(&state);
    let marks = *zone.marks();
    zone.set_marks(marks);
    assert_eq!((zone.boost(), zone.mark(Level::Min).get()), (PageCount::ZERO, 10));
}

/// The size of the reserve was subtracted from what is free, though all of it was in use: processes were killed with memory left.
#[test]
fn nasty_regression_a_used_up_reserve_takes_nothing_from_what_is_free() {
    let mut state = free(blocks(200).with_type(Pfn::new(0), HighAtomic), 0, Movable, &[512, 514, 516]);
    state.marks.min = PageCount::new(2);
    let zone = build(&state);
    assert_eq!((zone.reserved_highatomic().get(), zone.free_highatomic().get()), (BLOCK, 0));
    assert!(both(&zone, check(0, Level::Min, NONE)));
}

/// A block of two pageblocks was reserved as one, so that its halves had different types and the count was off by one block.
#[test]
fn nasty_regression_a_reserve_of_two_pageblocks() {
    let mut zone = build(&blocks(200));
    zone.reserve_highatomic(Pfn::new(1024), Order::new(10));
    assert_eq!((type_at(&zone, 1024), type_at(&zone, 1536)), (HighAtomic, HighAtomic));
    assert_eq!(zone.reserved_highatomic().get(), 1024);
    put(&mut zone, 1024, 10);
    assert_eq!(list(&zone, 10, HighAtomic), [1024]);
    assert!(zone.unreserve_highatomic(Unreserve::AllButOne, Movable));
    assert_eq!((zone.reserved_highatomic(), list(&zone, 10, Movable)), (PageCount::ZERO, vec![1024]));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
}

/// Pages were stolen one by one from the largest block there was, until no large block was left.
#[test]
fn nasty_regression_a_stolen_page_comes_from_the_smallest_block() {
    let types = blocks(8).with_type(Pfn::new(0), Unmovable).with_type(Pfn::new(512), Unmovable);
    let mut zone = build(&free(free(types, 3, Unmovable, &[0]), 1, Unmovable, &[512]));
    assert_eq!(take(&mut zone, 0, Movable, NONE), Some(512));
    assert_eq!((list(&zone, 3, Unmovable), list(&zone, 0, Unmovable)), (vec![0], vec![513]));
}

/// Isolating a half of a large free block left the other half on the list of the wrong type.
#[test]
fn nasty_regression_a_free_block_is_isolated_by_halves() {
    let mut zone = build(&free(blocks(4), 10, Movable, &[0, 1024]));
    assert_eq!(zone.isolate(Pfn::new(512)), Ok(()));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!((list(&zone, 9, Movable), list(&zone, 9, Isolate)), (vec![0], vec![512]));
    assert_eq!((zone.free().get(), zone.isolated_blocks(), zone.free_blocks().sum::<u64>()), (1536, 1, 3));
    assert_eq!(zone.isolate(Pfn::new(600)), Err(IsolateRefusal::Isolated(Pfn::new(512))));
    assert_eq!(zone.isolate(Pfn::new(0)), Ok(()));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    for pfn in [0, 512] {
        zone.unisolate(Pfn::new(pfn));
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    assert_eq!((list(&zone, 10, Movable), zone.free().get()), (vec![1024, 0], 2048), "whole again, at the tail");
}

/// Pageblocks that are the largest blocks went to the head of their list when they were isolated, and when that ended; what moves from
/// list to list waits at the tail.
#[test]
fn nasty_regression_isolated_blocks_wait_at_the_tail() {
    let mut layout = blocks(4).layout;
    layout.largest = Order::new(9);
    let mut zone = build(&free(ZoneState::allocated(layout), 9, Movable, &[0, 512, 1024]));
    for pfn in [512, 0] {
        assert_eq!(zone.isolate(Pfn::new(pfn)), Ok(()));
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    assert_eq!((list(&zone, 9, Isolate), list(&zone, 9, Movable)), (vec![512, 0], vec![1024]));
    assert_eq!((zone.free().get(), zone.free_isolated().get(), zone.isolated_blocks()), (512, 1024, 2));
    for pfn in [512, 0] {
        zone.unisolate(Pfn::new(pfn));
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    assert_eq!((list(&zone, 9, Movable), zone.free().get()), (vec![1024, 512, 0], 1536));
}

/// What was freed while its block was isolated was handed out again from there.
#[test]
fn nasty_regression_frees_during_isolation_are_not_handed_out() {
    let mut zone = build(&free(blocks(2), 0, Movable, &[0]));
    assert_eq!(zone.isolate(Pfn::new(0)), Ok(()));
    put(&mut zone, 1, 0);
    put(&mut zone, 2, 1);
    assert_eq!((list(&zone, 2, Isolate), zone.free().get(), zone.free_isolated().get()), (vec![0], 0, 4));
    let every = AllocFlags::OOM.with(AllocFlags::CMA).with(AllocFlags::NON_BLOCK).with(AllocFlags::HIGHATOMIC);
    assert_eq!(take(&mut zone, 0, Movable, every), None);
    zone.unisolate(Pfn::new(0));
    assert_eq!((list(&zone, 2, Movable), zone.free().get()), (vec![0], 4));
}

/// Undoing an isolation made every block movable, whatever it had been.
#[test]
fn nasty_regression_isolation_undone_leaves_the_type() {
    for migratetype in [Unmovable, Movable, Reclaimable, Cma, HighAtomic] {
        let mut zone = build(&free(blocks(200).with_type(Pfn::new(0), migratetype), 5, migratetype, &[64]));
        let before = zone.state();
        assert_eq!(zone.isolate(Pfn::new(0)), Ok(()), "{migratetype}");
        assert_eq!((type_at(&zone, 0), zone.free().get()), (Isolate, 0));
        zone.unisolate(Pfn::new(0));
        assert_eq!(zone.state(), before);
    }
}
