//! Memory before there are zones, against a map of single frames; and what zones get of it.

use proptest::prelude::*;
use units::{Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::{AllocFlags, BadFree, BootMemory, Found, Held, StateError, Want, Zone, ZoneLayout, ZoneState};

use Migratetype::{Movable, Unmovable};

const FRAMES: u64 = 200;
const COUNT: usize = 200;

/// Every frame by itself.
#[derive(Clone, Debug)]
struct Frames {
    there: [bool; COUNT],
    reserved: [bool; COUNT],
    unmapped: [bool; COUNT],
}

impl Frames {
    fn is_free(&self, frame: u64) -> bool {
        let at = usize::try_from(frame).expect("few frames");
        self.there[at] && !self.reserved[at] && !self.unmapped[at]
    }

    fn runs(&self, is: impl Fn(u64) -> bool) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for frame in (0..FRAMES).filter(|&frame| is(frame)) {
            match runs.last_mut() {
                Some(run) if run.1 == frame => run.1 += 1,
                _ => runs.push((frame, frame + 1)),
            }
        }
        runs
    }

    fn highest(&self, pages: u64, align: u8, within: (u64, u64)) -> Option<u64> {
        let fits = |start: u64| {
            start.is_multiple_of(1 << align)
                && start >= within.0
                && start + pages <= within.1.min(FRAMES)
                && (start..start + pages).all(|frame| self.is_free(frame))
        };
        (0..FRAMES).rev().find(|&start| fits(start))
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(u64, u64),
    Reserve(u64, u64),
    Free(u64, u64),
    LeaveUnmapped(u64, u64),
    Alloc { pages: u64, align: u8, within: (u64, u64) },
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..FRAMES, 0..60u64).prop_map(|(start, len)| (start, (start + len).min(FRAMES)))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => range().prop_map(|(start, end)| Op::Add(start, end)),
        3 => range().prop_map(|(start, end)| Op::Reserve(start, end)),
        2 => range().prop_map(|(start, end)| Op::Free(start, end)),
        1 => range().prop_map(|(start, end)| Op::LeaveUnmapped(start, end)),
        3 => (1..20u64, 0..5u8, range()).prop_map(|(pages, align, within)| Op::Alloc { pages, align, within }),
    ]
}

const fn order(n: usize) -> Order {
    #[expect(clippy::cast_possible_truncation, reason = "orders up to 4")]
    Order::new(n as u8)
}

/// The blocks of an order that ranges are handed over in, as long as the largest has order 4.
fn handed_over(ranges: &[(u64, u64)], of: usize) -> Vec<u64> {
    let mut blocks = Vec::new();
    for &(start, end) in ranges {
        let mut at = start;
        while at < end {
            let fits = |o: &usize| at.is_multiple_of(1 << o) && at + (1 << o) <= end;
            let o = (0..=4).rev().find(fits).expect("a page always fits");
            blocks.extend((o == of).then_some(at));
            at += 1 << o;
        }
    }
    blocks
}

fn layout(spans: &[(u64, u64)], largest: u8, pageblock: u8) -> ZoneLayout {
    ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: spans.iter().map(|&(start, end)| (Pfn::new(start), Pfn::new(end))).collect(),
        largest: Order::new(largest),
        pageblock: Order::new(pageblock),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_free_before_there_are_zones(ops in prop::collection::vec(op(), 1..40), spans in range()) {
        let mut boot = BootMemory::new();
        let none = [false; COUNT];
        let mut frames = Frames { there: none, reserved: none, unmapped: none };
        for op in ops {
            let all = |(start, end): (u64, u64)| usize::try_from(start).expect("few")..usize::try_from(end).expect("few");
            let pfn = Pfn::new;
            match op {
                Op::Add(start, end) => {
                    boot.add(pfn(start), pfn(end));
                    frames.there[all((start, end))].fill(true);
                }
                Op::Reserve(start, end) => {
                    boot.reserve(pfn(start), pfn(end));
                    frames.reserved[all((start, end))].fill(true);
                }
                Op::Free(start, end) => {
                    boot.free(pfn(start), pfn(end));
                    frames.reserved[all((start, end))].fill(false);
                }
                Op::LeaveUnmapped(start, end) => {
                    boot.leave_unmapped(pfn(start), pfn(end));
                    frames.unmapped[all((start, end))].fill(true);
                }
                Op::Alloc { pages, align, within } => {
                    let got = boot.alloc(PageCount::new(pages), Order::new(align), (pfn(within.0), pfn(within.1)));
                    let expected = frames.highest(pages, align, within);
                    prop_assert_eq!(got.map(Pfn::get), expected);
                    if let Some(start) = expected {
                        frames.reserved[all((start, start + pages))].fill(true);
                    }
                }
            }
            let free: Vec<(u64, u64)> = boot.free_ranges().iter().map(|(s, e)| (s.get(), e.get())).collect();
            prop_assert_eq!(free, frames.runs(|frame| frames.is_free(frame)));
        }
        let inside = |frame: u64| (spans.0..spans.1).contains(&frame);
        let at = |frame: u64| usize::try_from(frame).expect("few");
        let present = frames.runs(|frame| inside(frame) && frames.there[at(frame)]);
        let free = frames.runs(|frame| inside(frame) && frames.is_free(frame));
        let zone = boot.zone(layout(&[spans], 4, 3)).map_err(|error| error.to_string());
        // A zone of no frames is none, and so is a range that ends where it begins.
        let Ok(mut zone) = zone else { return Ok(()) };
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
        for o in 0..=4 {
            let list: Vec<u64> = zone.free_list(order(o), Movable).into_iter().map(Pfn::get).collect();
            prop_assert_eq!(list, handed_over(&free, o), "blocks of order {}", o);
        }
        if free == present {
            let always = Zone::new(zone.layout().clone()).expect("the same spans");
            prop_assert_eq!(zone.state(), always.state(), "as if nothing had been before");
        }
        prop_assert_eq!(zone.managed(), zone.free());
        let seen: Vec<(u64, u64)> = zone.layout().spans.iter().map(|(s, e)| (s.get(), e.get())).collect();
        prop_assert_eq!(seen, present.clone());
        let state = zone.state();
        prop_assert_eq!(Zone::from_state(&state).map(|zone| zone.state()), Ok(state));
        // What is present and not free is nobody's: it is found as that, and not taken back.
        for frame in present.iter().flat_map(|&(start, end)| start..end) {
            let kept = !frames.is_free(frame);
            let pfn = Pfn::new(frame);
            prop_assert_eq!(zone.find(pfn).map(|found| found.held == Held::Reserved), Some(kept));
            if kept {
                prop_assert_eq!(zone.put(pfn, order(0)), Err(BadFree::Reserved { pfn, kept: pfn }));
            }
        }
        let free_pages: u64 = free.iter().map(|(start, end)| end - start).sum();
        let taken = std::iter::from_fn(|| zone.take(Want { order: order(0), migratetype: Movable, flags: AllocFlags::NONE }));
        let mut taken: Vec<u64> = taken.map(Pfn::get).collect();
        prop_assert_eq!(taken.len() as u64, free_pages);
        taken.sort_unstable();
        prop_assert!(taken.iter().all(|&frame| frames.is_free(frame)), "each is free");
    }
}

/// The largest aligned blocks, upwards: the lowest of each size is at the head of its list, and taken first.
#[test]
fn nasty_what_boot_hands_over_is_taken_from_the_lowest_up() {
    let mut boot = BootMemory::new();
    boot.add(Pfn::new(0), Pfn::new(8 * 512));
    boot.reserve(Pfn::new(0), Pfn::new(3));
    boot.reserve(Pfn::new(1536), Pfn::new(1540));
    let mut zone = boot.zone(layout(&[(0, 8 * 512)], 10, 9)).expect("a zone");
    zone.record_events();
    let list =
        |zone: &Zone, o: u8| -> Vec<u64> { zone.free_list(Order::new(o), Movable).into_iter().map(Pfn::get).collect() };
    assert_eq!((list(&zone, 0), list(&zone, 2), list(&zone, 9)), (vec![3], vec![4, 1540], vec![512, 1024]));
    assert_eq!(list(&zone, 10), [2048, 3072]);
    assert_eq!((zone.managed().get(), zone.free().get()), (4096 - 7, 4096 - 7));
    let mut take = |o: u8| {
        let want = Want { order: Order::new(o), migratetype: Movable, flags: AllocFlags::NONE };
        let taken = zone.take(want).map(Pfn::get);
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
        taken
    };
    assert_eq!([take(0), take(9), take(10), take(10), take(2)], [3, 512, 2048, 3072, 4].map(Some));
    assert_eq!(zone.take_events().len(), 5);
}

/// The first and the last pageblock have frames that boot kept, and are whole all the same: they may change their type.
#[test]
fn nasty_a_pageblock_with_frames_that_boot_kept_is_whole() {
    let mut boot = BootMemory::new();
    boot.add(Pfn::new(0), Pfn::new(2 * 512));
    boot.reserve(Pfn::new(0), Pfn::new(256));
    boot.reserve(Pfn::new(1023), Pfn::new(1024));
    let mut zone = boot.zone(layout(&[(0, 1024)], 10, 9)).expect("a zone");
    let want = Want { order: Order::ZERO, migratetype: Unmovable, flags: AllocFlags::NONE };
    assert_eq!(zone.take(want), Some(Pfn::new(256)));
    assert_eq!((zone.migratetype(Pfn::new(0)), zone.migratetype(Pfn::new(512))), (Unmovable, Movable));
    assert_eq!(zone.isolate(Pfn::new(1000)), Ok(()));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let kept = Found { pfn: Pfn::new(1023), order: Order::ZERO, held: Held::Reserved };
    assert_eq!((zone.find(Pfn::new(1023)), zone.free_isolated().get()), (Some(kept), 511));
}

#[test]
fn states_with_frames_that_boot_kept() {
    let state = |reserved: &[(u64, u64)]| ZoneState {
        reserved: reserved.iter().map(|&(start, end)| (Pfn::new(start), Pfn::new(end))).collect(),
        ..ZoneState::allocated(layout(&[(0, 512), (1024, 2048)], 10, 9))
    };
    let error = |state: &ZoneState| Zone::from_state(state).err();
    assert_eq!(Zone::from_state(&state(&[(3, 9), (1024, 2048)])).map(|zone| zone.managed().get()), Ok(506));
    assert_eq!(error(&state(&[(500, 1030)])), Some(StateError::Outside(Pfn::new(500))));
    assert_eq!(error(&state(&[(3, 3)])), Some(StateError::Outside(Pfn::new(3))));
    assert_eq!(error(&state(&[(3, 9), (8, 10)])), Some(StateError::Twice(Pfn::new(8))));
    let free = state(&[(3, 4)]).with_free(Order::new(2), Movable, &[Pfn::new(0)]);
    assert!(matches!(error(&free), Some(StateError::Broken(_))), "free and reserved");
    let mut used = state(&[(3, 4)]);
    used.used = vec![(Pfn::new(2), Order::new(1))];
    assert_eq!(error(&used), Some(StateError::Twice(Pfn::new(2))));
}
