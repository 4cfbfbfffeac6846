//! What a processor keeps: sizes, order, and where pages go when they are too many.

use proptest::prelude::*;
use units::{Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{
    AllocFlags, BelowHigh, CacheSlice, LastFree, PerCpuPages, PerCpuState, Reclaim, Want, Zone, ZoneEvent, ZoneLayout,
    ZonePressure, ZoneState,
};

use Migratetype::{Cma, HighAtomic, Isolate, Movable, Reclaimable, Unmovable};

const HUGE: Order = Order::new(9);
const BLOCK: u64 = 512;

fn layout(blocks: u64) -> ZoneLayout {
    ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), Pfn::new(blocks * BLOCK))],
        largest: Order::new(10),
        pageblock: HUGE,
    }
}

/// 8 GiB, all free.
fn roomy() -> Zone {
    Zone::new(layout(4096)).unwrap_or_else(|error| panic!("{error}"))
}

fn build(state: &ZoneState) -> Zone {
    let mut zone = Zone::from_state(state).unwrap_or_else(|error| panic!("{error}"));
    zone.record_events();
    zone
}

const fn tuning(batch: u64, high_min: u64, high_max: u64) -> PcpTuning {
    PcpTuning { batch: PageCount::new(batch), high_min: PageCount::new(high_min), high_max: PageCount::new(high_max) }
}

fn want(order: u8, migratetype: Migratetype) -> Want {
    Want { order: Order::new(order), migratetype, flags: AllocFlags::NONE }
}

fn lists_of(zone: &mut Zone, tuning: PcpTuning, state: &PerCpuState) -> PerCpuPages {
    zone.lists(HUGE, tuning, state).unwrap_or_else(|error| panic!("{error}"))
}

fn check(zone: &Zone, lists: &PerCpuPages) {
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    zone.validate_lists(lists).unwrap_or_else(|broken| panic!("{broken}"));
}

fn take(zone: &mut Zone, lists: &mut PerCpuPages, want: Want) -> Pfn {
    let pfn = zone.take_cached(lists, want).expect("pages are free");
    check(zone, lists);
    pfn
}

fn put(zone: &mut Zone, lists: &mut PerCpuPages, pfn: u64, order: u8) {
    zone.put_cached(lists, Pfn::new(pfn), Order::new(order)).unwrap_or_else(|error| panic!("{error}"));
    check(zone, lists);
}

#[test]
fn what_is_freed_last_is_taken_first_and_given_back_last() {
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let mut lists = PerCpuPages::new(HUGE, tuning(1, 3, 3));
    for pfn in [7, 20, 41] {
        put(&mut zone, &mut lists, pfn, 0);
    }
    let coldest = ZoneEvent::Drained { pfn: Pfn::new(7), order: Order::ZERO, migratetype: Movable };
    assert_eq!(zone.take_events()[0], coldest);
    assert_eq!(take(&mut zone, &mut lists, want(0, Movable)), Pfn::new(41));
}

/// Who only allocates gets ever larger batches.
#[test]
fn nasty_batches_double_five_times() {
    let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, tuning(63, 10_000, 100_000)));
    for fetched in [63, 126, 252, 504, 1008, 2016, 2016] {
        take(&mut zone, &mut lists, want(0, Movable));
        assert_eq!(lists.count().get(), fetched - 1);
        while !lists.count().is_zero() {
            zone.take_cached(&mut lists, want(0, Movable)).expect("the list has some");
        }
    }
    let high = 10_000 + 63 + 126 + 252 + 504 + 1008 + 2016 + 2016;
    assert_eq!((lists.high().get(), lists.alloc_factor()), (high, 5));
    let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, tuning(63, 100, 100)));
    for _ in 0..3 {
        take(&mut zone, &mut lists, want(0, Movable));
        assert_eq!((lists.count().get(), lists.alloc_factor()), (62, 1), "no more than the lists may hold");
        while !lists.count().is_zero() {
            zone.take_cached(&mut lists, want(0, Movable)).expect("the list has some");
        }
    }
}

#[test]
fn a_batch_of_blocks_is_as_many_pages() {
    for (order, blocks) in [(1, 31), (2, 15), (3, 7), (9, 2)] {
        let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, tuning(63, 10_000, 100_000)));
        take(&mut zone, &mut lists, want(order, Movable));
        assert_eq!(lists.count().get(), (blocks - 1) << order, "order {order}");
    }
    let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, tuning(63, 10_000, 100_000)));
    take(&mut zone, &mut lists, want(4, Movable));
    assert_eq!(lists.count(), PageCount::ZERO, "this order has no list");
}

#[test]
fn pages_are_handed_out_in_the_order_in_which_they_were_fetched() {
    let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, tuning(63, 10_000, 100_000)));
    let taken: Vec<u64> = (0..63).map(|_| take(&mut zone, &mut lists, want(0, Movable)).get()).collect();
    assert_eq!(taken, (0..63).collect::<Vec<_>>());
}

#[test]
fn nasty_lists_that_are_switched_off_hold_nothing() {
    let (mut zone, mut lists) = (roomy(), PerCpuPages::new(HUGE, PcpTuning::BOOT));
    let pfn = take(&mut zone, &mut lists, want(0, Movable));
    assert_eq!(lists.count(), PageCount::ZERO);
    put(&mut zone, &mut lists, pfn.get(), 0);
    assert_eq!((lists.count(), zone.free()), (PageCount::ZERO, zone.managed()));
}

#[test]
fn nasty_the_lists_are_full_at_exactly_their_size() {
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let mut lists = PerCpuPages::new(HUGE, tuning(63, 252, 252));
    for pfn in 0..251 {
        put(&mut zone, &mut lists, 2 * pfn, 0);
    }
    assert_eq!((lists.count().get(), zone.free().get()), (251, 0));
    put(&mut zone, &mut lists, 600, 0);
    assert_eq!((lists.count().get(), zone.free().get()), (63, 189), "all but a batch");
    assert_eq!(lists.free_count().get(), 252);
}

#[test]
fn nasty_a_block_is_given_back_whole() {
    let mut zone = build(&ZoneState::allocated(layout(8)));
    let mut lists = PerCpuPages::new(HUGE, tuning(63, 252, 252));
    for n in 0..31 {
        put(&mut zone, &mut lists, 16 * n, 3);
        put(&mut zone, &mut lists, 16 * n + 8, 0);
    }
    // 28 of each make 252 pages, of which 189 are to go: the 28 single ones, whose list was the last to grow, and then 21 blocks
    // of 8, which are 7 pages too many.
    assert_eq!((lists.count().get(), zone.free().get()), (252 - 196 + 3 * 9, 28 + 168));
}

/// Blocks of a few pages, freed one after another: somebody else waits for them.
#[test]
fn nasty_a_chain_of_freed_blocks_goes_back_early() {
    for cache in [CacheSlice::Small, CacheSlice::Large] {
        let mut zone = build(&ZoneState::allocated(layout(8)));
        let state = PerCpuState { high: PageCount::new(252), cache, ..PerCpuState::default() };
        let mut lists = lists_of(&mut zone, tuning(63, 252, 100_000), &state);
        for n in 0..24 {
            put(&mut zone, &mut lists, 16 * n, 3);
            assert_eq!(zone.free(), PageCount::ZERO);
        }
        put(&mut zone, &mut lists, 1000, 3);
        assert_eq!((lists.count().get(), zone.free().get()), (0, 200), "{cache:?}");
    }
    // A chain begins with the second block; and where the cache has room, a batch is kept for the next allocation.
    let state = PerCpuState { high: PageCount::new(252), free_count: PageCount::new(300), ..PerCpuState::default() };
    for (last_free, cache, kept) in [
        (LastFree::Single, CacheSlice::Small, 8),
        (LastFree::Block, CacheSlice::Small, 0),
        (LastFree::Block, CacheSlice::Large, 8),
    ] {
        let mut zone = build(&ZoneState::allocated(layout(8)));
        let state = PerCpuState { last_free, cache, ..state.clone() };
        let mut lists = lists_of(&mut zone, tuning(63, 252, 252), &state);
        put(&mut zone, &mut lists, 0, 3);
        assert_eq!(lists.count().get(), kept, "{last_free:?} {cache:?}");
    }
}

#[test]
fn nasty_lists_that_grew_shrink_by_an_eighth_each_second() {
    let state = PerCpuState { high: PageCount::new(174_081), ..PerCpuState::default() };
    let mut zone = roomy();
    let mut lists = lists_of(&mut zone, tuning(63, 1000, 174_081), &state);
    for high in [152_321, 133_281, 116_621] {
        zone.decay(&mut lists);
        assert_eq!(lists.high().get(), high);
    }
}

/// A surplus was given back in one go, with the zone held for all of it.
#[test]
fn nasty_regression_a_surplus_decays_to_what_fits() {
    let mut zone = build(&ZoneState::allocated(layout(16)));
    let pages: Vec<_> = (0..4000).map(|n| (Pfn::new(2 * n), Order::ZERO, Movable)).collect();
    let state = PerCpuState { pages, high: PageCount::new(100), ..PerCpuState::default() };
    let mut lists = lists_of(&mut zone, tuning(63, 100, 100), &state);
    zone.decay(&mut lists);
    check(&zone, &lists);
    assert_eq!((lists.count().get(), zone.free().get()), (100, 3900));
    // Above the least size a second gives back as much as five doubled batches, and no more.
    let pages: Vec<_> = (0..4000).map(|n| (Pfn::new(2 * n), Order::ZERO, Movable)).collect();
    let state = PerCpuState { pages, high: PageCount::new(200), ..PerCpuState::default() };
    let mut zone = build(&ZoneState::allocated(layout(16)));
    let mut lists = lists_of(&mut zone, tuning(63, 100, 10_000), &state);
    zone.decay(&mut lists);
    assert_eq!((lists.high().get(), lists.count().get()), (4000 - 2016, 4000 - 2016));
}

#[test]
fn nasty_scarce_pages_shorten_the_lists() {
    let pages: Vec<_> = (0..300).map(|n| (Pfn::new(2 * n), Order::ZERO, Movable)).collect();
    let state = PerCpuState { pages, high: PageCount::new(5000), ..PerCpuState::default() };
    let active = ZonePressure { reclaim: Reclaim::Active, ..ZonePressure::default() };
    let low = ZonePressure { below_high: BelowHigh::Yes, ..ZonePressure::default() };
    for (pressure, high, count) in [(ZonePressure::default(), 5000, 301), (active, 4937, 238), (low, 4937, 238)] {
        let mut zone = build(&ZoneState::allocated(layout(8)));
        zone.set_pressure(pressure);
        let mut lists = lists_of(&mut zone, tuning(63, 100, 100_000), &state);
        put(&mut zone, &mut lists, 1001, 0);
        assert_eq!((lists.high().get(), lists.count().get()), (high, count), "{pressure:?}");
        assert_eq!(zone.pressure().below_high, BelowHigh::No, "63 pages are above a mark of zero");
    }
}

/// Bounds from two different sizes: the most was below the least.
#[test]
fn nasty_bounds_that_contradict_each_other() {
    let mut zone = build(&ZoneState::allocated(layout(8)));
    let mut lists = PerCpuPages::new(HUGE, tuning(63, 400, 100));
    for n in 0..99 {
        put(&mut zone, &mut lists, 2 * n, 0);
    }
    assert_eq!((lists.count().get(), lists.high().get()), (99, 100));
    put(&mut zone, &mut lists, 1000, 0);
    assert_eq!(lists.count().get(), 63, "at most what is above a batch");
}

#[test]
fn nasty_huge_pages_of_two_types_share_a_list() {
    let state = ZoneState::allocated(layout(8)).with_type(Pfn::new(512), Reclaimable);
    let (mut zone, mut lists) = (build(&state), PerCpuPages::new(HUGE, tuning(63, 2000, 4000)));
    put(&mut zone, &mut lists, 512, 9);
    assert_eq!(take(&mut zone, &mut lists, want(9, Unmovable)), Pfn::new(512));
    assert_eq!(zone.migratetype(Pfn::new(512)), Reclaimable, "the block is what it was");
}

/// Pages that lay on a processor's list while their block was isolated were handed out again.
#[test]
fn nasty_regression_pages_go_back_to_the_type_that_their_block_has_now() {
    let (mut zone, mut lists) = (build(&ZoneState::allocated(layout(4))), PerCpuPages::new(HUGE, tuning(63, 252, 252)));
    put(&mut zone, &mut lists, 5, 0);
    assert_eq!(zone.isolate(Pfn::new(0)), Ok(()));
    put(&mut zone, &mut lists, 8, 0);
    assert_eq!((lists.count().get(), zone.free_isolated().get()), (1, 1), "freed later, it goes straight back");
    assert_eq!(zone.free_in_pageblock(Pfn::new(0)).get(), 1, "one page is missing until the lists are drained");
    zone.drain(&mut lists);
    check(&zone, &lists);
    assert_eq!((zone.free(), zone.free_isolated().get()), (PageCount::ZERO, 2));
    let drained = ZoneEvent::Drained { pfn: Pfn::new(5), order: Order::ZERO, migratetype: Isolate };
    assert_eq!(zone.take_events(), [drained]);
}

/// Single pages on a processor's list kept a huge page from being whole.
#[test]
fn nasty_regression_a_drain_makes_a_block_whole() {
    let mut state = ZoneState::allocated(layout(4));
    for order in 0..9u8 {
        state = state.with_free(Order::new(order), Movable, &[Pfn::new(1 << order)]);
    }
    let (mut zone, mut lists) = (build(&state), PerCpuPages::new(HUGE, tuning(63, 252, 252)));
    put(&mut zone, &mut lists, 0, 0);
    assert_eq!(zone.take(want(9, Movable)), None);
    zone.drain(&mut lists);
    assert_eq!(zone.take(want(9, Movable)), Some(Pfn::new(0)));
}

/// A series of pages begins each time where the one before was found: lent pages, then a block claimed, then its own again.
#[test]
fn nasty_one_series_of_pages_from_three_sources() {
    let types = ZoneState::allocated(layout(4)).with_type(Pfn::new(0), Cma).with_type(Pfn::new(512), Unmovable);
    let lent = [9, 3, 6].map(Pfn::new);
    let state = types.with_free(Order::ZERO, Cma, &lent).with_free(HUGE, Unmovable, &[Pfn::new(512)]);
    let (mut zone, mut lists) = (build(&state), PerCpuPages::new(HUGE, tuning(7, 100, 100)));
    let want = Want { flags: AllocFlags::CMA, ..want(0, Movable) };
    let taken: Vec<u64> = (0..7).map(|_| take(&mut zone, &mut lists, want).get()).collect();
    assert_eq!(taken, [9, 3, 6, 512, 513, 514, 515]);
    assert_eq!((zone.migratetype(Pfn::new(512)), zone.free_cma()), (Movable, PageCount::ZERO));
}

/// A state with single pages on the list, every second frame from `from` on: the first one is the hottest.
fn holding(from: u64, pages: u64, state: &PerCpuState) -> PerCpuState {
    PerCpuState { pages: (0..pages).map(|n| (Pfn::new(from + 2 * n), Order::ZERO, Movable)).collect(), ..state.clone() }
}

fn drained(zone: &mut Zone) -> Vec<(u64, Migratetype)> {
    let of = |event: ZoneEvent| match event {
        ZoneEvent::Drained { pfn, migratetype, .. } => (pfn.get(), migratetype),
        other => panic!("{other:?}"),
    };
    zone.take_events().into_iter().map(of).collect()
}

/// Much was freed lately: the lists may hold more from now on, and this time still give back what is above the old size.
#[test]
fn nasty_lists_that_grow_give_back_by_their_old_size() {
    let state = PerCpuState { high: PageCount::new(28), free_count: PageCount::new(60), ..PerCpuState::default() };
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let mut lists = lists_of(&mut zone, tuning(7, 28, 1000), &holding(0, 27, &state));
    put(&mut zone, &mut lists, 1001, 0);
    assert_eq!((lists.high().get(), lists.free_count().get()), (61 + 7, 61));
    assert_eq!((lists.count().get(), zone.free().get()), (7, 21), "all of 28 but a batch");
    let coldest: Vec<_> = (6..27).rev().map(|n| (2 * n, Movable)).collect();
    assert_eq!(drained(&mut zone), coldest);
    // From the new size on nothing is too much.
    put(&mut zone, &mut lists, 1003, 0);
    assert_eq!((lists.count().get(), lists.high().get(), drained(&mut zone)), (8, 68, vec![]));
}

/// Blocks freed in a row go back early, as many pages as five doubled batches, and the lists may hold as many less.
#[test]
fn nasty_a_chain_takes_the_size_down() {
    let state = PerCpuState {
        high: PageCount::new(300),
        free_count: PageCount::new(9),
        last_free: LastFree::Block,
        ..PerCpuState::default()
    };
    for (free_count, high, count) in [(9, 300 - 96, 202 - 96), (8, 300, 202)] {
        let mut zone = build(&ZoneState::allocated(layout(4)));
        let state = PerCpuState { free_count: PageCount::new(free_count), ..state.clone() };
        let mut lists = lists_of(&mut zone, tuning(3, 12, 400), &holding(0, 200, &state));
        put(&mut zone, &mut lists, 1000, 1);
        assert_eq!((lists.high().get(), lists.count().get()), (high, count), "{free_count} were freed before");
        let first = drained(&mut zone).first().copied();
        assert_eq!(first, (free_count == 9).then_some((1000, Movable)), "the list that grew comes first");
    }
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let low = PerCpuState { high: PageCount::new(90), ..state };
    let mut lists = lists_of(&mut zone, tuning(3, 12, 400), &holding(0, 50, &low));
    put(&mut zone, &mut lists, 1000, 1);
    assert_eq!((lists.high().get(), lists.count().get()), (12, 0), "never below the least");
}

/// Who fetches pages may hold more from then on, unless the zone was seen below its high mark.
#[test]
fn nasty_lists_of_a_zone_below_its_high_mark_do_not_grow() {
    for (below_high, high) in [(BelowHigh::No, 28 + 7), (BelowHigh::Yes, 28)] {
        let mut zone = roomy();
        zone.set_pressure(ZonePressure { below_high, ..ZonePressure::default() });
        let state = PerCpuState { high: PageCount::new(28), ..PerCpuState::default() };
        let mut lists = lists_of(&mut zone, tuning(7, 28, 400), &state);
        take(&mut zone, &mut lists, want(0, Movable));
        assert_eq!((lists.high().get(), lists.count().get()), (high, 6), "{below_high:?}");
        assert_eq!(zone.pressure().below_high, below_high, "only what is freed lifts it");
    }
}

#[test]
fn nasty_what_is_remembered_of_the_past_halves() {
    let state = PerCpuState {
        high: PageCount::new(400),
        alloc_factor: 5,
        free_count: PageCount::new(101),
        ..PerCpuState::default()
    };
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let mut lists = lists_of(&mut zone, tuning(7, 28, 400), &holding(0, 9, &state));
    let mut seen = Vec::new();
    for _ in 0..3 {
        take(&mut zone, &mut lists, want(0, Movable));
        seen.push((lists.alloc_factor(), lists.free_count().get()));
    }
    assert_eq!(seen, [(5, 50), (5, 25), (5, 12)], "an allocation halves what was freed");
    seen.clear();
    for pfn in [101, 103, 105] {
        put(&mut zone, &mut lists, pfn, 0);
        seen.push((lists.alloc_factor(), lists.free_count().get()));
    }
    assert_eq!(seen, [(2, 13), (1, 14), (0, 15)], "and a free the doublings");
    // What is freed counts up to five doubled batches: the last block may go beyond.
    let full = PerCpuState { free_count: PageCount::new((7 << 5) - 1), ..state };
    let mut lists = lists_of(&mut zone, tuning(7, 28, 4000), &full);
    put(&mut zone, &mut lists, 512, 9);
    put(&mut zone, &mut lists, 1024, 9);
    assert_eq!(lists.free_count().get(), (7 << 5) - 1 + 512);
}

/// A few pages too many, and a huge page goes: twice, since the first one was not enough.
#[test]
fn nasty_a_huge_page_is_given_back_for_a_few_pages() {
    let state = PerCpuState { high: PageCount::new(600), free_count: PageCount::new(100), ..PerCpuState::default() };
    let mut zone = build(&ZoneState::allocated(layout(8)));
    let mut state = holding(0, 50, &state);
    state.pages.push((Pfn::new(1024), HUGE, Movable));
    let mut lists = lists_of(&mut zone, tuning(63, 600, 600), &state);
    put(&mut zone, &mut lists, 1536, 9);
    // 537 were to go, and 1024 went.
    assert_eq!((lists.count().get(), zone.free().get()), (50, 1024));
    assert_eq!(drained(&mut zone), [(1024, Movable), (1536, Movable)], "the coldest first");
    assert_eq!(zone.free_list(Order::new(10), Movable), [Pfn::new(1024)]);
}

/// Lists that are smaller than a batch move single pages.
#[test]
fn nasty_lists_smaller_than_a_batch() {
    let mut zone = roomy();
    zone.record_events();
    let mut lists = PerCpuPages::new(HUGE, tuning(7, 3, 3));
    assert_eq!(take(&mut zone, &mut lists, want(0, Movable)), Pfn::new(0));
    assert_eq!(lists.count(), PageCount::ZERO, "one was fetched");
    zone.take_events();
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let state = PerCpuState { high: PageCount::new(3), ..PerCpuState::default() };
    let mut lists = lists_of(&mut zone, tuning(7, 3, 3), &holding(0, 2, &state));
    put(&mut zone, &mut lists, 101, 0);
    assert_eq!((lists.count().get(), drained(&mut zone)), (2, vec![(2, Movable)]), "and one goes");
}

/// The pages of a list go where their pageblock belongs now, whatever it was when they were freed.
#[test]
fn nasty_a_pageblock_changed_its_type_while_pages_were_on_a_list() {
    for kind in [Cma, HighAtomic, Unmovable, Reclaimable] {
        let mut zone = build(&ZoneState::allocated(layout(200)).with_type(Pfn::new(0), kind));
        let mut lists = lists_of(&mut zone, tuning(7, 28, 28), &holding(0, 2, &PerCpuState::default()));
        assert_eq!(zone.cached(&lists, Order::ZERO, Movable).len(), 2, "they came when it was movable");
        zone.drain(&mut lists);
        check(&zone, &lists);
        assert_eq!(drained(&mut zone), [(2, kind), (0, kind)]);
        assert_eq!(zone.free_list(Order::ZERO, kind), [Pfn::new(0), Pfn::new(2)]);
        let lent = if kind == Cma { 2 } else { 0 };
        let kept = if kind == HighAtomic { 2 } else { 0 };
        let free = (zone.free().get(), zone.free_cma().get(), zone.free_highatomic().get());
        assert_eq!(free, (2, lent, kept), "{kind}");
    }
    // What is freed in a lent or reserved block waits among the movable pages.
    for kind in [Cma, HighAtomic] {
        let mut zone = build(&ZoneState::allocated(layout(200)).with_type(Pfn::new(0), kind));
        let mut lists = PerCpuPages::new(HUGE, tuning(7, 28, 28));
        put(&mut zone, &mut lists, 6, 1);
        assert_eq!(zone.cached(&lists, Order::new(1), Movable), [Pfn::new(6)]);
        assert_eq!(take(&mut zone, &mut lists, want(1, Movable)), Pfn::new(6), "and is handed out from there");
    }
}

/// The zone is held for a batch at a time: where blocks are larger than a batch, each batch gives a whole one.
#[test]
fn nasty_a_surplus_goes_batch_by_batch() {
    let pages = (0..10).map(|n| (Pfn::new(16 * n), Order::new(3), Movable)).collect();
    let state = PerCpuState { pages, high: PageCount::new(50), ..PerCpuState::default() };
    let mut zone = build(&ZoneState::allocated(layout(4)));
    let mut lists = lists_of(&mut zone, tuning(7, 50, 50), &state);
    zone.decay(&mut lists);
    check(&zone, &lists);
    // Thirty pages in batches of 7, 7, 7, 7 and 2 are five blocks; at once they would be four.
    assert_eq!((lists.count().get(), zone.free().get()), (40, 40));
    assert_eq!(drained(&mut zone).iter().map(|&(pfn, _)| pfn).collect::<Vec<_>>(), [144, 128, 112, 96, 80]);
}

/// Once a page of a series was stolen, the next ones are stolen too, though a pageblock could be claimed by now.
#[test]
fn nasty_a_series_that_stole_a_page_claims_nothing() {
    // Two single pages: everything else of the first pageblock can move, of the second one nothing.
    let mut state = ZoneState::allocated(layout(4)).with_free(Order::ZERO, Movable, &[Pfn::new(0), Pfn::new(512)]);
    state.movable = (1..9).map(|o| (Pfn::new(1 << o), Order::new(o))).collect();
    let fetched = |state: &ZoneState, tuning: PcpTuning, count: usize| {
        let (mut zone, mut lists) = (build(state), PerCpuPages::new(HUGE, tuning));
        let taken: Vec<u64> = (0..count).map(|_| take(&mut zone, &mut lists, want(0, Unmovable)).get()).collect();
        let kept = |e: &ZoneEvent| matches!(e, ZoneEvent::Fallback { ownership: zone::Ownership::Kept, .. });
        let kept = zone.take_events().iter().filter(|event| kept(event)).count();
        (taken, zone.migratetype(Pfn::new(512)), kept)
    };
    assert_eq!(fetched(&state, tuning(7, 28, 28), 2), (vec![0, 512], Movable, 2), "one series");
    assert_eq!(fetched(&state, PcpTuning::BOOT, 2), (vec![0, 512], Unmovable, 1), "two series of one page");
}

/// An interrupt came while its processor was at its lists, and both changed them. It goes past them: what it takes and gives back is the
/// zone's, and the lists stay what they were.
#[test]
fn nasty_regression_an_interrupt_goes_past_lists_in_use() {
    let state = ZoneState::allocated(layout(4)).with_free(Order::new(3), Movable, &[Pfn::new(512)]);
    let mut zone = build(&state);
    let mut lists = lists_of(&mut zone, tuning(7, 28, 28), &holding(0, 9, &PerCpuState::default()));
    let before = lists.clone();
    let pfn = zone.take(want(0, Movable)).expect("a page of the zone");
    assert_eq!((pfn, zone.put(Pfn::new(99), Order::ZERO)), (Pfn::new(512), Ok(())));
    check(&zone, &lists);
    assert_eq!((&lists, zone.free().get()), (&before, 8));
    // What is on the lists is not its to give back.
    let kept = Pfn::new(4);
    assert_eq!(zone.put(kept, Order::ZERO), Err(zone::BadFree::Free { pfn: kept, block: kept }));
    zone.drain(&mut lists);
    check(&zone, &lists);
    assert_eq!(zone.free().get(), 17);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(u8, Migratetype),
    Put(usize),
    Decay,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    let types = prop::sample::select(Migratetype::OF_REQUESTS.to_vec());
    let orders = prop::sample::select(vec![0u8, 0, 0, 1, 3, 4, 9, 10]);
    prop_oneof![
        8 => (orders, types).prop_map(|(order, migratetype)| Op::Take(order, migratetype)),
        8 => any::<usize>().prop_map(Op::Put),
        1 => Just(Op::Decay),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every page is free, kept or allocated, once; and what was drained merges to what was there at first.
    #[test]
    fn no_page_is_lost_and_none_is_twice(
        ops in prop::collection::vec(op(), 1..200),
        bounds in prop::sample::select(vec![(1, 0, 0), (7, 28, 28), (7, 28, 400), (63, 252, 2000), (15, 90, 60)]),
    ) {
        let mut zone = Zone::new(layout(10)).unwrap_or_else(|error| panic!("{error}"));
        let mut lists = PerCpuPages::new(HUGE, tuning(bounds.0, bounds.1, bounds.2));
        let mut taken: Vec<(u64, u8)> = Vec::new();
        for op in ops {
            match op {
                Op::Take(order, migratetype) => {
                    if let Some(pfn) = zone.take_cached(&mut lists, want(order, migratetype)) {
                        let (start, end) = (pfn.get(), pfn.get() + (1 << order));
                        prop_assert!(taken.iter().all(|&(at, o)| end <= at || at + (1 << o) <= start), "{pfn} twice");
                        taken.push((start, order));
                    }
                }
                Op::Put(which) if !taken.is_empty() => {
                    let (pfn, order) = taken.swap_remove(which % taken.len());
                    zone.put_cached(&mut lists, Pfn::new(pfn), Order::new(order)).unwrap_or_else(|error| panic!("{error}"));
                }
                Op::Put(_) => (),
                Op::Decay => zone.decay(&mut lists),
                Op::Drain => zone.drain(&mut lists),
            }
            check(&zone, &lists);
            let allocated: u64 = taken.iter().map(|&(_, order)| 1u64 << order).sum();
            prop_assert_eq!(zone.free().get() + lists.count().get() + allocated, zone.managed().get());
        }
        for (pfn, order) in taken.drain(..) {
            zone.put_cached(&mut lists, Pfn::new(pfn), Order::new(order)).unwrap_or_else(|error| panic!("{error}"));
        }
        zone.drain(&mut lists);
        check(&zone, &lists);
        prop_assert_eq!(zone.free(), zone.managed());
        let small: u64 = zone.free_blocks().take(9).sum();
        prop_assert_eq!(small, 0, "every pageblock is whole");
    }
}
