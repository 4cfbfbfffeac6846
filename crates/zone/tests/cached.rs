//! What moves between a zone and a processor's lists, many blocks at a time, against the same done block by block.

mod naive;

use naive::{Naive, order};
use proptest::prelude::*;
use units::{Migratetype, Order, PageCount, Pfn};
use zone::tuning::PcpTuning;
use zone::{AllocFlags, BadFree, PerCpuPages, PerCpuState, Want, Zone, ZoneEvent, ZoneState};

const HUGE: Order = Order::new(5);

/// A zone with its lists. One that keeps its events fetches block by block.
#[derive(Clone)]
struct Cached {
    zone: Zone,
    lists: PerCpuPages,
}

impl Cached {
    fn new(naive: &Naive, tuning: PcpTuning) -> Self {
        Self { zone: naive.zone(), lists: PerCpuPages::new(HUGE, tuning) }
    }

    fn take(&mut self, want: Want) -> Option<u64> {
        let pfn = self.zone.take_cached(&mut self.lists, want);
        self.check();
        pfn.map(Pfn::get)
    }

    fn put(&mut self, frame: u64, o: usize) {
        let put = self.zone.put_cached(&mut self.lists, Pfn::new(frame), order(o));
        assert_eq!(put, Ok(()));
        self.check();
    }

    fn check(&self) {
        self.zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
        self.zone.validate_lists(&self.lists).unwrap_or_else(|broken| panic!("{broken}"));
    }

    fn observe(&self) -> (ZoneState, PerCpuPages) {
        (self.zone.state(), self.lists.clone())
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(usize, Migratetype),
    Put(usize),
    Decay,
    Drain,
}

fn op(types: &'static [Migratetype]) -> impl Strategy<Value = Op> {
    let orders = prop::sample::select(vec![0, 0, 0, 1, 2, 5]);
    prop_oneof![
        10 => (orders, prop::sample::select(types)).prop_map(|(order, migratetype)| Op::Take(order, migratetype)),
        9 => any::<usize>().prop_map(Op::Put),
        1 => Just(Op::Decay),
        1 => Just(Op::Drain),
    ]
}

fn tuning() -> impl Strategy<Value = PcpTuning> {
    let bounds = vec![(1, 0, 0), (7, 28, 28), (7, 28, 400), (31, 64, 200), (15, 90, 60)];
    prop::sample::select(bounds).prop_map(|(batch, high_min, high_max)| PcpTuning {
        batch: PageCount::new(batch),
        high_min: PageCount::new(high_min),
        high_max: PageCount::new(high_max),
    })
}

const fn want(o: usize, migratetype: Migratetype) -> Want {
    #[expect(clippy::cast_possible_truncation, reason = "orders up to 6")]
    Want { order: Order::new(o as u8), migratetype, flags: AllocFlags::NONE }
}

/// The spans, the largest order and that of pageblocks.
type Shape = (&'static [(u64, u64)], usize, usize);
const SHAPES: [Shape; 3] = [(&[(0, 512)], 6, 5), (&[(3, 200), (201, 470)], 6, 5), (&[(64, 512)], 6, 6)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Fetching many pieces of one block leaves what fetching them one by one leaves.
    #[test]
    fn fetching_at_once_is_fetching_one_by_one(
        ops in prop::collection::vec(op(&Migratetype::OF_REQUESTS), 1..150),
        tuning in tuning(),
        shape in prop::sample::select(&SHAPES[..]),
    ) {
        let naive = Naive::new(shape.0, shape.1, shape.2);
        let (mut single, mut many) = (Cached::new(&naive, tuning), Cached::new(&naive, tuning));
        single.zone.record_events();
        let mut taken = Vec::new();
        for op in ops {
            match op {
                Op::Take(o, migratetype) => {
                    let got = single.take(want(o, migratetype));
                    prop_assert_eq!(got, many.take(want(o, migratetype)));
                    taken.extend(got.map(|frame| (frame, o)));
                }
                Op::Put(_) if taken.is_empty() => (),
                Op::Put(which) => {
                    let (frame, o) = taken.swap_remove(which % taken.len());
                    single.put(frame, o);
                    many.put(frame, o);
                }
                Op::Decay => [&mut single, &mut many].into_iter().for_each(|c| c.zone.decay(&mut c.lists)),
                Op::Drain => [&mut single, &mut many].into_iter().for_each(|c| c.zone.drain(&mut c.lists)),
            }
            prop_assert_eq!(single.observe(), many.observe());
        }
    }

    /// Blocks that are given back together leave what they leave when each is merged by itself, in the order of the events.
    #[test]
    fn giving_back_at_once_is_giving_back_one_by_one(
        ops in prop::collection::vec(op(&[Migratetype::Movable]), 1..150),
        tuning in tuning(),
        shape in prop::sample::select(&SHAPES[..]),
    ) {
        let mut naive = Naive::new(shape.0, shape.1, shape.2);
        let mut cached = Cached::new(&naive, tuning);
        cached.zone.record_events();
        let mut taken = Vec::new();
        for op in ops {
            match op {
                Op::Take(o, migratetype) => {
                    let kept = cached.zone.cached(&cached.lists, order(o), migratetype);
                    let got = cached.take(want(o, migratetype));
                    taken.extend(got.map(|frame| (frame, o)));
                    if kept.is_empty() {
                        let rest = cached.zone.cached(&cached.lists, order(o), migratetype);
                        for frame in got.into_iter().chain(rest.into_iter().map(Pfn::get)) {
                            prop_assert_eq!(naive.take(want(o, migratetype)), Some(frame));
                        }
                    }
                }
                Op::Put(_) if taken.is_empty() => (),
                Op::Put(which) => {
                    let (frame, o) = taken.swap_remove(which % taken.len());
                    cached.put(frame, o);
                }
                Op::Decay => cached.zone.decay(&mut cached.lists),
                Op::Drain => cached.zone.drain(&mut cached.lists),
            }
            for event in cached.zone.take_events() {
                if let ZoneEvent::Drained { pfn, order, .. } = event {
                    naive.put(pfn.get(), order.get().into());
                }
            }
            naive.compare(&cached.zone);
        }
    }
}

fn lists() -> PerCpuPages {
    let tuning = PcpTuning { batch: PageCount::new(7), high_min: PageCount::new(28), high_max: PageCount::new(28) };
    PerCpuPages::new(HUGE, tuning)
}

/// A page given back twice came to two owners: once it was on the lists, nothing told it from an allocated one.
#[test]
fn nasty_regression_a_page_given_back_twice_is_refused() {
    let (mut zone, mut lists) = (Naive::new(&[(0, 512)], 6, 5).zone(), lists());
    let pfn = zone.take_cached(&mut lists, want(0, Migratetype::Movable)).expect("pages are free");
    assert_eq!(zone.put_cached(&mut lists, pfn, order(0)), Ok(()));
    let again = BadFree::Free { pfn, block: pfn };
    assert_eq!(zone.put_cached(&mut lists, pfn, order(0)), Err(again));
    assert_eq!(zone.put(pfn, order(0)), Err(again));
    zone.drain(&mut lists);
    let block = Pfn::new(pfn.get() & !63);
    assert_eq!(zone.put(pfn, order(0)), Err(BadFree::Free { pfn, block }), "it is a part of a free block");
    assert_eq!(zone.free(), zone.managed());
}

/// Lists that could not be made left blocks behind as allocated for good, though their owners could move them, and what nobody had known
/// of as known.
#[test]
fn nasty_regression_lists_that_cannot_be_leave_no_trace() {
    let state = |pages: &[(u64, usize)]| PerCpuState {
        pages: pages.iter().map(|&(frame, o)| (Pfn::new(frame), order(o), Migratetype::Movable)).collect(),
        ..PerCpuState::default()
    };
    let mut naive = Naive::new(&[(0, 512)], 6, 5);
    naive.lists.clear();
    naive.put(64, 3);
    let mut free = ZoneState::allocated(naive.zone().layout().clone());
    free.movable = vec![(Pfn::new(0), order(0)), (Pfn::new(32), order(5))];
    free.used = vec![(Pfn::new(2), order(1))];
    free = free.with_free(order(3), Migratetype::Movable, &[Pfn::new(64)]);
    let mut zone = Zone::from_state(&free).unwrap_or_else(|error| panic!("{error}"));
    let before = zone.state();
    let tuning = *lists().tuning();
    for bad in [(64, 0), (0, 0), (5, 4), (7, 1)] {
        // From tail to head: what cannot be comes last.
        let made = zone.lists(HUGE, tuning, &state(&[bad, (0, 0), (2, 1), (32, 5), (9, 0)]));
        assert!(made.is_err(), "{bad:?}");
        assert_eq!(zone.state(), before, "{bad:?}");
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    }
    let made = zone.lists(HUGE, tuning, &state(&[(0, 0), (2, 1), (32, 5), (9, 0)]));
    assert_eq!(made.map(|lists| lists.count().get()), Ok(1 + 2 + 32 + 1));
}

#[test]
fn nasty_what_was_never_handed_out_is_refused() {
    let mut zone = Naive::new(&[(64, 200), (256, 512)], 6, 5).zone();
    let (pfn, far) = (zone.take(want(3, Migratetype::Movable)).expect("pages are free"), Pfn::new(u64::MAX));
    let wrong = |pfn: Pfn, o: usize| (zone.clone().put(pfn, order(o)), pfn, order(o));
    let size = |pfn, o| BadFree::Size { pfn, order: order(o), block: Pfn::new(192), was: order(3) };
    assert_eq!(pfn, Pfn::new(192), "the smallest block that fits");
    for (was, pfn, o) in [wrong(pfn, 2), wrong(Pfn::new(196), 2), wrong(Pfn::new(192), 4)] {
        let expected = if o == order(4) { BadFree::Outside { pfn, order: o } } else { size(pfn, 2) };
        assert_eq!(was, Err(expected));
    }
    for (was, pfn, order) in [wrong(Pfn::new(193), 1), wrong(far, 3)] {
        assert_eq!(was, Err(BadFree::Misaligned { pfn, order }));
    }
    for (was, pfn, order) in [wrong(Pfn::new(0), 0), wrong(Pfn::new(224), 0), wrong(Pfn::new(512), 5), wrong(far, 0)] {
        assert_eq!(was, Err(BadFree::Outside { pfn, order }));
    }
    let (was, pfn, _) = wrong(Pfn::new(256), 6);
    assert_eq!(was, Err(BadFree::Free { pfn, block: pfn }));
}

/// A page of 1 GiB whose pieces go back one by one.
#[test]
fn nasty_a_split_range_goes_back_in_pieces() {
    let mut zone = Naive::new(&[(0, 512)], 6, 5).zone();
    let whole = zone.take(want(8, Migratetype::Movable)).expect("all is free");
    assert!(matches!(zone.put(whole, order(5)), Err(BadFree::Size { .. })), "nobody split it");
    assert_eq!(zone.split_used(whole, order(8), order(5)), Ok(()));
    let third = Pfn::new(whole.get() + 64);
    assert_eq!(zone.split_used(third, order(5), order(0)), Ok(()));
    assert!(matches!(zone.split_used(third, order(5), order(0)), Err(BadFree::Size { .. })), "it was split already");
    for piece in (0..8).filter(|&n| n != 2) {
        assert_eq!(zone.put(Pfn::new(whole.get() + 32 * piece), order(5)), Ok(()));
    }
    for page in 0..32 {
        assert_eq!(zone.put(Pfn::new(third.get() + page), order(0)), Ok(()));
    }
    assert_eq!(zone.free(), zone.managed());
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
}
