//! A zone against a naive one that has frames and lists and nothing else.

mod naive;

use std::collections::BTreeMap;

use naive::{Naive, order};
use proptest::prelude::*;
use units::{Migratetype, Pfn};
use zone::{AllocFlags, Want, Zone};

/// A zone, its model, and what is allocated: first frames and orders, oldest first.
#[derive(Clone)]
struct Pair {
    zone: Zone,
    naive: Naive,
    taken: Vec<(u64, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take { order: usize, migratetype: Migratetype, flags: AllocFlags, movable: Movable },
    Put { which: usize },
}

/// Does the owner say that it can move the block?
#[derive(Clone, Copy, Debug, PartialEq)]
enum Movable {
    Said,
    Unsaid,
}

impl Pair {
    fn new(naive: Naive) -> Self {
        Self { zone: naive.zone(), naive, taken: Vec::new() }
    }

    /// One operation; the zone goes on as one that was saved and loaded.
    fn step(&mut self, op: Op) {
        match op {
            Op::Take { order: o, migratetype, flags, movable } => {
                let want = Want { order: order(o), migratetype, flags };
                let ours = self.zone.take(want);
                if o <= self.naive.top {
                    assert_eq!(ours.map(Pfn::get), self.naive.take(want), "{want:?}");
                }
                let Some(pfn) = ours else { return };
                self.taken.push((pfn.get(), o));
                if movable == Movable::Said && o <= self.naive.pageblock {
                    self.zone.mark_movable(pfn, order(o));
                    self.naive.movable.insert(pfn.get(), o);
                }
            }
            Op::Put { .. } if self.taken.is_empty() => (),
            Op::Put { which } => {
                let (frame, o) = self.taken.remove(which % self.taken.len());
                self.zone.put(Pfn::new(frame), order(o)).unwrap_or_else(|error| panic!("{error}"));
                self.naive.put(frame, o);
            }
        }
        self.naive.compare(&self.zone);
        let state = self.zone.state();
        self.zone = Zone::from_state(&state).unwrap_or_else(|error| panic!("{error}: {state:?}"));
        assert_eq!(self.zone.state(), state, "loaded");
    }
}

fn op() -> impl Strategy<Value = Op> {
    let types = prop::sample::select(Migratetype::OF_REQUESTS.to_vec());
    let flags = prop::sample::select(vec![
        AllocFlags::NONE,
        AllocFlags::NOFRAGMENT,
        AllocFlags::CMA,
        AllocFlags::NON_BLOCK,
        AllocFlags::HIGHATOMIC.with(AllocFlags::NON_BLOCK),
    ]);
    let movable = prop::sample::select(vec![Movable::Said, Movable::Unsaid]);
    let take = (0..=4usize, types, flags, movable).prop_map(|(order, migratetype, flags, movable)| Op::Take {
        order,
        migratetype,
        flags,
        movable,
    });
    prop_oneof![3 => take, 2 => any::<usize>().prop_map(|which| Op::Put { which })]
}

fn run(mut pair: Pair, ops: Vec<Op>) {
    pair.naive.compare(&pair.zone);
    for op in ops {
        pair.step(op);
    }
    for _ in 0..pair.taken.len() {
        pair.step(Op::Put { which: 0 });
    }
    assert_eq!(pair.zone.free(), pair.zone.managed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Pageblocks of half the largest block, ends that no pageblock ends at, and a hole.
    #[test]
    fn a_zone_with_a_hole_and_ragged_ends(ops in prop::collection::vec(op(), 1..120)) {
        run(Pair::new(Naive::new(&[(3, 37), (40, 110)], 4, 3)), ops);
    }

    /// Two orders above that of a pageblock, as buddies of different types need them.
    #[test]
    fn a_zone_with_small_pageblocks(ops in prop::collection::vec(op(), 1..120)) {
        run(Pair::new(Naive::new(&[(32, 96)], 4, 2)), ops);
    }

    /// Pageblocks that are the largest blocks.
    #[test]
    fn a_zone_with_large_pageblocks(ops in prop::collection::vec(op(), 1..120)) {
        run(Pair::new(Naive::new(&[(16, 90)], 4, 4)), ops);
    }

    /// Too little memory to group by mobility.
    #[test]
    fn a_zone_without_grouping(ops in prop::collection::vec(op(), 1..120)) {
        let naive = Naive { ungrouped: true, ..Naive::new(&[(0, 64)], 4, 3) };
        run(Pair::new(naive), ops);
    }
}

/// Which of the allocated blocks is freed.
const WHICH: [fn(usize) -> usize; 3] = [|_| 0, |len| len - 1, |len| len / 2];

/// Every sequence of six operations on two pageblocks of eight frames; a state that was seen with as many steps left is not visited
/// again.
#[test]
fn all_short_sequences() {
    type State = (Naive, Vec<(u64, usize)>);
    fn go(pair: &Pair, left: u32, seen: &mut BTreeMap<State, u32>) {
        let state = (pair.naive.clone(), pair.taken.clone());
        if seen.get(&state).is_some_and(|&before| before >= left) {
            return;
        }
        seen.insert(state, left);
        if left == 0 {
            return;
        }
        for order in [0, 1, 3] {
            for migratetype in [Migratetype::Unmovable, Migratetype::Movable] {
                let mut next = pair.clone();
                next.step(Op::Take { order, migratetype, flags: AllocFlags::NONE, movable: Movable::Unsaid });
                go(&next, left - 1, seen);
            }
        }
        for which in WHICH.iter().filter(|_| !pair.taken.is_empty()) {
            let mut next = pair.clone();
            next.step(Op::Put { which: which(pair.taken.len()) });
            go(&next, left - 1, seen);
        }
    }
    for top in [3, 4] {
        let mut seen = BTreeMap::new();
        go(&Pair::new(Naive::new(&[(0, 16)], top, 3)), 6, &mut seen);
        assert!(seen.len() > 10_000, "only {} states", seen.len());
    }
}
