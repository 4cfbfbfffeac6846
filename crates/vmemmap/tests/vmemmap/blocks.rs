//! Pages of descriptors move as blocks, and nobody can tell.

use crate::world::{NODE0, NORMAL, OTHER, World};
use page_alloc::{PageRequest, Zones};
use proptest::prelude::*;
use units::{GfpFlags, NodeId, Order, PageCount, Pfn};
use vmemmap::{Descriptor, HugeBlock, MemmapPages, NoMetadata, Outcome, Restored, TailLife, optimise, restore};
use zone::watermark::Watermarks;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Optimise(usize),
    Restore(usize),
    /// The parts of a block are optimised, as those of a demoted page are.
    OptimiseHalves(usize),
    RestoreHalves(usize),
    /// Somebody else takes or gives back some pages.
    Take(u64),
    Give(u64),
    /// The n-th attempt to come is refused.
    Refuse(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12usize).prop_map(Step::Optimise),
        6 => (0..12usize).prop_map(Step::Restore),
        2 => (0..12usize).prop_map(Step::OptimiseHalves),
        2 => (0..12usize).prop_map(Step::RestoreHalves),
        4 => (0..200u64).prop_map(Step::Take),
        3 => (0..40u64).prop_map(Step::Give),
        1 => (0..20usize).prop_map(Step::Refuse),
    ]
}

/// What can be seen after a step.
type Seen = (Vec<Result<Outcome, Result<Restored, NoMetadata>>>, PageCount, MemmapPages, PageCount, u64);

impl World {
    fn halves(block: HugeBlock) -> [HugeBlock; 2] {
        let order = Order::new(block.order.get() - 1);
        [block.pfn, block.pfn.offset(order.pages())].map(|pfn| HugeBlock { pfn, order, ..block })
    }

    /// Does a step; what came of it.
    fn step(&mut self, blocks: &[HugeBlock], step: Step) -> Seen {
        let mut came = Vec::new();
        match step {
            Step::Optimise(n) => came.push(Ok(optimise(self, blocks[n]))),
            Step::Restore(n) => came.push(Err(restore(self, blocks[n].pfn))),
            Step::OptimiseHalves(n) => {
                if !self.vmemmap.is_optimised(blocks[n].pfn) {
                    came.extend(Self::halves(blocks[n]).map(|half| Ok(optimise(self, half))));
                }
            }
            Step::RestoreHalves(n) => {
                came.extend(Self::halves(blocks[n]).map(|half| Err(restore(self, half.pfn))));
            }
            Step::Take(pages) => self.take_some(pages),
            Step::Give(pages) => self.give_back_some(pages),
            Step::Refuse(n) => self.plan = (0..=n).map(|k| k == n).collect(),
        }
        (came, self.free(), self.vmemmap.pages(), self.vmemmap.tail_pages(), self.vmemmap.flushes())
    }

    fn set_mark(&mut self, mark: u64) {
        let [min, low, high, promo] = [1, 2, 3, 4].map(|n| PageCount::new(n * mark));
        for zone in [NORMAL, OTHER] {
            let _ = self.with_zone(zone, |parts| parts.zone.set_marks(Watermarks { min, low, high, promo }));
        }
    }
}

/// Nothing but pieces of at most `1 << order` pages is free, with others between them.
fn scatter(w: &mut World, order: u8) {
    let request = |node: NodeId| {
        PageRequest::new(Order::new(order), GfpFlags::KERNEL | GfpFlags::THISNODE | GfpFlags::NOWARN, node)
    };
    for node in [NODE0, crate::world::NODE1] {
        let mut all = Vec::new();
        while let Ok(block) = page_alloc::alloc(w, &request(node)) {
            all.push((block.zone, block.pfn));
        }
        all.sort_unstable_by_key(|&(_, pfn)| pfn);
        for (zone, pfn) in all.into_iter().step_by(2) {
            page_alloc::free(w, zone, pfn, Order::new(order)).expect("it was handed out");
        }
    }
}

fn worlds(mark: u64, scattered: Option<u8>, left: Option<u64>) -> ([World; 2], Vec<HugeBlock>) {
    let orders = [9, 9, 9, 10, 10, 8].map(Order::new);
    let mut all = Vec::new();
    let worlds = [true, false].map(|singly| {
        let mut w = World::new(TailLife::Counted);
        w.singly = singly;
        all = [NORMAL, OTHER].into_iter().flat_map(|zone| orders.map(|order| (zone, order))).collect();
        let blocks: Vec<HugeBlock> = all.iter().map(|&(zone, order)| w.block(zone, order)).collect();
        if let Some(order) = scattered {
            scatter(&mut w, order);
        }
        w.set_mark(mark);
        if let Some(left) = left {
            w.take_all_but(0);
            w.give_back_some(left);
        }
        (w, blocks)
    });
    let [(a, blocks), (b, same)] = worlds;
    assert_eq!(blocks, same);
    ([a, b], blocks)
}

proptest! {
    /// Page by page and as blocks: the same outcomes with the same numbers, as many pages free, and the same counters, with marks, with attempts that
    /// fail, and in memory that is in pieces.
    #[test]
    fn nobody_can_tell_blocks_from_single_pages(
        steps in prop::collection::vec(step(), 1..60),
        mark in prop_oneof![Just(0u64), Just(16), Just(100)],
        scattered in prop_oneof![Just(None), (0..6u8).prop_map(Some)],
        left in prop_oneof![Just(None), (0..60u64).prop_map(Some)],
    ) {
        let ([mut singly, mut in_blocks], blocks) = worlds(mark, scattered, left);
        let start = singly.free().get() + singly.held();
        for step in steps {
            let expected = singly.step(&blocks, step);
            let seen = in_blocks.step(&blocks, step);
            prop_assert_eq!(seen, expected, "{:?}", step);
            in_blocks.validate().unwrap();
            singly.validate().unwrap();
            compare_counts(&singly, &in_blocks)?;
        }
        for w in [&mut singly, &mut in_blocks] {
            w.plan.clear();
            w.give_back_some(u64::MAX);
            for block in &blocks {
                for half in World::halves(*block) {
                    restore(w, half.pfn).unwrap();
                }
            }
            w.validate().unwrap();
            prop_assert_eq!(w.free().get(), start);
        }
    }
}

fn compare_counts(a: &World, b: &World) -> Result<(), TestCaseError> {
    for zone in [NORMAL, OTHER] {
        prop_assert_eq!(a.pages.counts(zone), b.pages.counts(zone));
    }
    Ok(())
}

/// All pages of a restored block lie as it does, so the parts of it have theirs in parts of a few blocks.
#[test]
fn pages_of_a_restored_block_follow_each_other() {
    let mut w = World::new(TailLife::Counted);
    let block = w.block(NORMAL, Order::new(10));
    assert!(matches!(optimise(&mut w, block), Outcome::Optimised(_)));
    let free = w.free();
    assert_eq!(restore(&mut w, block.pfn), Ok(Restored::Filled(PageCount::new(15))));
    assert_eq!(free.get() - w.free().get(), 15 - 1, "the tail went back");
    let homes: Vec<Pfn> = (0..16).map(|n| home(&w, block.pfn.offset(PageCount::new(n * 64)))).collect();
    assert!(homes[0].is_aligned(Order::new(4)));
    assert!(homes.windows(2).all(|two| two[0].offset(PageCount::new(1)) == two[1]));
    // Its second half goes its own way: the block that holds both is split.
    let [_, half] = World::halves(block);
    let before = w.free();
    assert!(matches!(optimise(&mut w, half), Outcome::Optimised(_)));
    assert_eq!(w.free().get() - before.get(), 8 - 2);
    w.validate().unwrap();
    assert_eq!(home(&w, block.pfn.offset(PageCount::new(448))), homes[7], "the first half stays where it is");
}

fn home(w: &World, pfn: Pfn) -> Pfn {
    match w.vmemmap.descriptor(pfn) {
        Some(Descriptor::Own { home }) => home,
        other => panic!("{pfn} has {other:?}"),
    }
}
