//! Of which free blocks the host was told: a naive zone beside, with a list of what is known.

mod naive;

use std::collections::BTreeSet;

use naive::{Naive, order};
use proptest::prelude::*;
use units::{Migratetype, Pfn};
use zone::{AllocFlags, BadFree, Told, Want, Zone};

use Migratetype::Movable;

/// Order, type and first frame of each block that the host knows of.
type Known = BTreeSet<(usize, Migratetype, u64)>;

struct Pair {
    zone: Zone,
    naive: Naive,
    known: Known,
    taken: Vec<(u64, usize)>,
}

#[derive(Clone, Debug)]
enum Op {
    Take(usize, Migratetype),
    Put(usize),
    /// So many blocks of a list, and what happens before the host answers.
    Report {
        order: usize,
        kind: Migratetype,
        most: usize,
        told: bool,
        meanwhile: Vec<usize>,
    },
}

fn listed(naive: &Naive) -> Known {
    let blocks = naive.lists.iter().flat_map(|(&(o, kind), list)| list.iter().map(move |&frame| (o, kind, frame)));
    blocks.collect()
}

impl Pair {
    /// What leaves its list is not known any more.
    fn change<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = listed(&self.naive);
        let answer = f(self);
        let after = listed(&self.naive);
        self.known.retain(|block| before.contains(block) && after.contains(block));
        answer
    }

    fn put(&mut self, which: usize) {
        if self.taken.is_empty() {
            return;
        }
        let (frame, o) = self.taken.swap_remove(which % self.taken.len());
        self.change(|pair| {
            assert_eq!(pair.zone.put(Pfn::new(frame), order(o)), Ok(()));
            pair.naive.put(frame, o);
        });
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Take(o, migratetype) => self.change(|pair| {
                let want = Want { order: order(o), migratetype, flags: AllocFlags::NONE };
                let got = pair.zone.take(want).map(Pfn::get);
                assert_eq!(got, pair.naive.take(want));
                pair.taken.extend(got.map(|frame| (frame, o)));
            }),
            Op::Put(which) => self.put(which),
            Op::Report { order: o, kind, most, told, meanwhile } => self.report(o, kind, most, told, meanwhile),
        }
        self.compare();
    }

    fn report(&mut self, o: usize, kind: Migratetype, most: usize, told: bool, meanwhile: Vec<usize>) {
        let unknown = |frame: &&u64| !self.known.contains(&(o, kind, **frame));
        let expected: Vec<u64> = self.naive.of(o, kind).iter().filter(unknown).take(most).copied().collect();
        let taken = self.zone.take_unreported(order(o), kind, most);
        assert_eq!(taken.iter().map(|pfn| pfn.get()).collect::<Vec<_>>(), expected);
        expected.iter().for_each(|&frame| self.naive.unlist((frame, o), kind));
        self.compare();
        meanwhile.into_iter().for_each(|which| self.put(which));
        for pfn in taken {
            let told = if told { Told::Yes } else { Told::No };
            self.change(|pair| {
                assert_eq!(pair.zone.put_told(pfn, order(o), told), Ok(()));
                let kind = pair.naive.type_of(pfn.get());
                let (frame, merged) = pair.naive.merge(pfn.get(), o, kind);
                pair.naive.list(merged, kind).push(frame);
            });
            let kind = self.naive.type_of(pfn.get());
            if told == Told::Yes && self.naive.find((pfn.get(), o)).is_some() {
                self.known.insert((o, kind, pfn.get()));
            }
            assert!(matches!(self.zone.put_told(pfn, order(o), told), Err(BadFree::Free { .. })), "it is back");
        }
    }

    fn compare(&self) {
        self.naive.compare(&self.zone);
        for o in 0..=self.naive.top {
            for kind in Migratetype::ALL {
                let unknown = |frame: &&u64| !self.known.contains(&(o, kind, **frame));
                let expected: Vec<u64> = self.naive.of(o, kind).iter().filter(unknown).copied().collect();
                let theirs: Vec<u64> = self.zone.unreported(order(o), kind).map(Pfn::get).collect();
                assert_eq!(theirs, expected, "{kind} blocks of order {o}");
            }
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let kinds = || prop::sample::select(Migratetype::OF_REQUESTS.to_vec());
    let report = (0..=4usize, kinds(), 1..6usize, any::<bool>(), prop::collection::vec(any::<usize>(), 0..3));
    prop_oneof![
        4 => (0..=4usize, kinds()).prop_map(|(o, kind)| Op::Take(o, kind)),
        4 => any::<usize>().prop_map(Op::Put),
        3 => report.prop_map(|(order, kind, most, told, meanwhile)| {
            // Most of what is free is in the largest blocks.
            let order = if most.is_multiple_of(2) { 4 } else { order };
            Op::Report { order, kind, most, told, meanwhile }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_the_host_knows_is_what_stayed_on_its_list(
        ops in prop::collection::vec(op(), 1..80),
        shape in prop::sample::select(vec![(3, 4), (4, 4), (2, 4)]),
    ) {
        let naive = Naive::new(&[(3, 230)], shape.1, shape.0);
        let mut pair = Pair { zone: naive.zone(), naive, known: Known::new(), taken: Vec::new() };
        for op in ops {
            pair.step(op);
        }
    }
}

/// A block that the host may use, and its buddy that it may not: together they are a block that it was not told of.
#[test]
fn nasty_a_known_block_merges_with_one_that_is_not() {
    let mut naive = Naive::new(&[(0, 64)], 4, 3);
    let mut zone = naive.zone();
    let want = Want { order: order(3), migratetype: Movable, flags: AllocFlags::NONE };
    let half = zone.take(want).expect("all is free");
    assert_eq!(naive.take(want), Some(half.get()));
    assert_eq!(zone.take_unreported(order(3), Movable, 9), [Pfn::new(8)]);
    assert_eq!(zone.free().get(), 48, "nobody has it meanwhile");
    assert_eq!(zone.put_told(Pfn::new(8), order(3), Told::Yes), Ok(()));
    assert_eq!(zone.unreported(order(3), Movable).count(), 0);
    assert_eq!(zone.put(half, order(3)), Ok(()));
    zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(zone.unreported(order(4), Movable).next(), Some(Pfn::new(0)));
    // The whole is told, taken, and given back: whoever had it touched it.
    assert_eq!(zone.take_unreported(order(4), Movable, 1), [Pfn::new(0)]);
    assert_eq!(zone.put_told(Pfn::new(0), order(4), Told::Yes), Ok(()));
    assert_eq!(zone.free_list(order(4), Movable).last(), Some(&Pfn::new(0)), "it is taken last");
    assert_eq!(zone.unreported(order(4), Movable).count(), 3);
    let all: Vec<Pfn> = (0..4).filter_map(|_| zone.take(Want { order: order(4), ..want })).collect();
    all.into_iter().for_each(|pfn| assert_eq!(zone.put(pfn, order(4)), Ok(())));
    assert_eq!(zone.unreported(order(4), Movable).count(), 4);
}
