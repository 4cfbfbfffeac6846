//! A zone against a list of single frames.

use std::collections::BTreeSet;

use proptest::prelude::*;
use units::{NodeId, Order, Pfn};
use zone::Zone;

/// What is free, frame by frame.
#[derive(Clone)]
struct Frames {
    free: BTreeSet<u64>,
    taken: Vec<(Pfn, Order)>,
}

impl Frames {
    fn range(pfn: Pfn, order: Order) -> std::ops::Range<u64> {
        pfn.get()..pfn.get() + order.pages().get()
    }

    /// Could a block of `order` be taken: are all frames of some aligned block free?
    fn fits(&self, order: Order) -> bool {
        let size = order.pages().get();
        self.free.iter().filter(|&&n| n % size == 0).any(|&n| (n..n + size).all(|frame| self.free.contains(&frame)))
    }
}

fn step(zone: &mut Zone, frames: &mut Frames, take: Option<Order>, which: usize) {
    match take {
        Some(order) => match zone.take(order) {
            Some(pfn) => {
                assert!(pfn.is_aligned(order));
                for frame in Frames::range(pfn, order) {
                    assert!(frames.free.remove(&frame), "{pfn} of {order} was not free");
                }
                frames.taken.push((pfn, order));
            }
            None => assert!(!frames.fits(order), "a block of {order} was free and was not found"),
        },
        None if frames.taken.is_empty() => (),
        None => {
            let (pfn, order) = frames.taken.swap_remove(which % frames.taken.len());
            zone.put(pfn, order);
            frames.free.extend(Frames::range(pfn, order));
        }
    }
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(zone.free().get(), frames.free.len() as u64);
}

fn new(spans: &[(u64, u64)], largest: u8) -> (Zone, Frames) {
    let list = spans.iter().map(|&(start, end)| (Pfn::new(start), Pfn::new(end))).collect();
    let zone = Zone::new(NodeId::new(0), list, Order::new(largest)).unwrap_or_else(|error| panic!("{error}"));
    let free = spans.iter().flat_map(|&(start, end)| start..end).collect();
    (zone, Frames { free, taken: Vec::new() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_zone_is_a_set_of_frames(ops in prop::collection::vec((prop::option::of(0..6u8), any::<usize>()), 1..120)) {
        let (mut zone, mut frames) = new(&[(3, 37), (40, 112)], 3);
        for (take, which) in ops {
            step(&mut zone, &mut frames, take.map(Order::new), which);
        }
    }
}

/// Every sequence of six operations on eight frames.
#[test]
fn all_short_sequences() {
    fn go(zone: &Zone, frames: &Frames, left: u32, seen: &mut u64) {
        *seen += 1;
        if left == 0 {
            return;
        }
        let takes = (0..4).map(|order| (Some(Order::new(order)), 0));
        let puts = (0..frames.taken.len()).map(|which| (None, which));
        for (take, which) in takes.chain(puts) {
            let (mut zone, mut frames) = (zone.clone(), frames.clone());
            step(&mut zone, &mut frames, take, which);
            go(&zone, &frames, left - 1, seen);
        }
    }
    let (zone, frames) = new(&[(0, 8)], 3);
    let mut seen = 0;
    go(&zone, &frames, 6, &mut seen);
    assert!(seen > 10_000, "only {seen} states");
}
