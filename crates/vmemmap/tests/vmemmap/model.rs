//! Random histories, compared with one record for each page of descriptors.

use std::collections::BTreeMap;

use crate::world::{MOVABLE, NORMAL, OTHER, World, ZONE};
use proptest::prelude::*;
use units::{Order, PageCount, Pfn};
use vmemmap::{
    Descriptor, HugeBlock, Left, Outcome, Restored, TailKey, TailLife, Vmemmap, drop_unused_tails, optimise, restore,
};

/// What a page of descriptors is, said of each one by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Own,
    Reads(usize),
}

struct Naive {
    pages: Vec<Page>,
    optimised: BTreeMap<Pfn, (usize, Order)>,
    /// Readers of the tail of each zone and size.
    readers: BTreeMap<(usize, Order), u64>,
    life: TailLife,
}

fn at(n: u64) -> usize {
    usize::try_from(n).expect("a small number")
}

impl Naive {
    /// The pages of a block behind its first.
    fn behind(&mut self, block: HugeBlock, page: Page) -> u64 {
        let (first, all) = (block.pfn.get() / 64, block.order.pages().get() / 64);
        self.pages[at(first + 1)..at(first + all)].fill(page);
        all - 1
    }

    fn tails(&self) -> u64 {
        self.readers.values().filter(|&&readers| readers > 0 || self.life == TailLife::Kept).count() as u64
    }

    /// Pages free beyond those at the start.
    fn saved(&self) -> i64 {
        let shared = self.pages.iter().filter(|page| **page != Page::Own).count();
        shared as i64 - self.tails() as i64
    }

    /// Attempts that optimising makes, and so what the n-th refusal of them means.
    fn optimise(&mut self, zone: usize, block: HugeBlock, refused: Option<usize>) -> Option<u64> {
        let behind = (block.order.pages().get() / 64).saturating_sub(1);
        if behind == 0 || self.optimised.contains_key(&block.pfn) {
            return None;
        }
        let key = (zone, block.order);
        let tail_is_there = match self.readers.get(&key) {
            Some(&readers) => readers > 0 || self.life == TailLife::Kept,
            None => false,
        };
        let attempts = if tail_is_there { 1 } else { 2 };
        if refused.is_some_and(|n| n < attempts) {
            if !tail_is_there && refused == Some(1) && self.life == TailLife::Kept {
                self.readers.insert(key, 0);
            }
            return None;
        }
        *self.readers.entry(key).or_default() += 1;
        self.optimised.insert(block.pfn, key);
        Some(self.behind(block, Page::Reads(zone)))
    }

    fn restore(&mut self, block: HugeBlock, refused: Option<usize>) -> Result<u64, ()> {
        let Some(&key) = self.optimised.get(&block.pfn) else { return Ok(0) };
        let behind = block.order.pages().get() / 64 - 1;
        if refused.is_some_and(|n| (n as u64) < behind) {
            return Err(());
        }
        self.optimised.remove(&block.pfn);
        *self.readers.entry(key).or_default() -= 1;
        Ok(self.behind(block, Page::Own))
    }
}

#[derive(Clone, Copy, Debug)]
struct Step {
    block: usize,
    optimise: bool,
    refused: Option<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..18usize, any::<bool>(), prop_oneof![3 => Just(None), 1 => (0..16usize).prop_map(Some)]);
    prop::collection::vec(step.prop_map(|(block, optimise, refused)| Step { block, optimise, refused }), 1..80)
}

proptest! {
    #[test]
    fn histories_are_as_those_of_single_pages(steps in steps(), kept in any::<bool>()) {
        let life = if kept { TailLife::Kept } else { TailLife::Counted };
        let mut w = World::new(life);
        let zones = [NORMAL, MOVABLE, OTHER];
        let orders = [6, 7, 8, 9, 9, 10].map(Order::new);
        let blocks: Vec<(usize, HugeBlock)> =
            (0..3).flat_map(|n| orders.map(|order| (n, order))).map(|(n, order)| (n, w.block(zones[n], order))).collect();
        let mut naive = Naive {
            pages: vec![Page::Own; at(3 * ZONE / 64)],
            optimised: BTreeMap::new(),
            readers: BTreeMap::new(),
            life,
        };
        let start = w.free();
        for step in steps {
            let (zone, block) = blocks[step.block];
            w.plan = step.refused.map(|k| (0..=k).map(|n| n == k).collect()).unwrap_or_default();
            if step.optimise {
                let expected = naive.optimise(zone, block, step.refused);
                match optimise(&mut w, block) {
                    Outcome::Optimised(freed) => prop_assert_eq!(Some(freed.get()), expected),
                    Outcome::Left(why) => {
                        prop_assert_eq!(expected, None);
                        prop_assert_eq!(matches!(why, Left::TooSmall(_)), block.order < Order::new(7));
                    }
                }
            } else {
                let expected = naive.restore(block, step.refused);
                let restored = restore(&mut w, block.pfn).map_err(|_| ()).map(|restored| match restored {
                    Restored::Whole => 0,
                    Restored::Filled(pages) => pages.get(),
                });
                prop_assert_eq!(restored, expected);
            }
            w.validate().unwrap();
            compare(&mut w, &naive, start)?;
            let again = Vmemmap::from_state(&w.vmemmap.state());
            prop_assert_eq!(again.as_ref(), Ok(&w.vmemmap));
        }
        w.plan.clear();
        for (_, block) in blocks {
            restore(&mut w, block.pfn).unwrap();
        }
        drop_unused_tails(&mut w);
        w.validate().unwrap();
        prop_assert_eq!(w.free(), start);
    }
}

fn compare(w: &mut World, naive: &Naive, start: PageCount) -> Result<(), TestCaseError> {
    prop_assert_eq!(w.free().get() as i64 - start.get() as i64, naive.saved());
    prop_assert_eq!(w.vmemmap.tail_pages().get(), naive.tails());
    let own = naive.pages.iter().filter(|page| **page == Page::Own).count() as u64;
    let counted = w.vmemmap.pages();
    prop_assert_eq!((counted.boot + counted.allocated).get(), own);
    let zones = [NORMAL, MOVABLE, OTHER];
    for (n, page) in (0..).zip(&naive.pages) {
        for pfn in [n * 64, n * 64 + 63].map(Pfn::new) {
            match (w.vmemmap.descriptor(pfn), *page) {
                (Some(Descriptor::Own { .. }), Page::Own) => (),
                (Some(Descriptor::Shared(tail)), Page::Reads(zone)) => {
                    prop_assert_eq!(tail.zone(), zones[zone]);
                    prop_assert!(tail.head() < pfn && pfn < tail.head().offset(tail.order().pages()));
                    let key = TailKey::new(tail.zone(), tail.order());
                    prop_assert_eq!(w.vmemmap.tail(key), Some((tail.home(), naive.readers[&(zone, tail.order())])));
                }
                (found, expected) => prop_assert!(false, "{pfn}: {found:?}, but {expected:?}"),
            }
        }
    }
    Ok(())
}
