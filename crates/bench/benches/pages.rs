//! Blocks of frames, taken and given back in the ways that allocators are compared by.

#![expect(missing_docs, reason = "the macros of the harness make items without documentation")]

use std::hint::black_box;

use bench::frames::{BuddySystem, Frames, Instance, OneZone, Ranges, marked_zone};
use bench::table::{BULK, BULK_HUGE, OPERATIONS};
use gungraun::Callgrind;
use gungraun::prelude::*;
use units::{Bytes, Order, PageCount, PageShift, Pfn};

const MEMORY: PageCount = PageShift::K4.pages_floor(Bytes::gib(24));
const LARGE: PageCount = PageShift::K4.pages_floor(Bytes::gib(4096));

/// An allocator that has handed out a block of this order and got it back.
fn warm<F: Frames>(mut frames: F, order: u8) -> (F, Order) {
    let order = Order::new(order);
    let block = frames.alloc(order).expect("all is free");
    frames.free(block, order);
    (frames, order)
}

fn zone(order: u8) -> (OneZone, Order) {
    warm(OneZone::new(MEMORY), order)
}

fn ranges(order: u8) -> (Ranges, Order) {
    warm(Ranges(marked_zone(MEMORY)), order)
}

fn instance(order: u8) -> (Instance, Order) {
    warm(Instance::new(MEMORY), order)
}

fn buddy(order: u8) -> (BuddySystem, Order) {
    warm(BuddySystem::new(MEMORY), order)
}

/// A zone of 4 TiB of which so many hundredths were handed out in huge pages.
fn filled(percent: u64) -> (OneZone, Order) {
    let (mut frames, order) = warm(OneZone::new(LARGE), 9);
    let blocks = (LARGE.get() >> 9) * percent / 100;
    for _ in 0..blocks {
        frames.alloc(order).expect("all is free");
    }
    (frames, order)
}

#[inline(always)]
fn pairs<F: Frames>((mut frames, order): (F, Order)) -> F {
    for _ in 0..OPERATIONS {
        let block = frames.alloc(black_box(order)).expect("all is free");
        frames.free(black_box(block), black_box(order));
    }
    frames
}

#[library_benchmark]
#[bench::base(args = (0), setup = zone)]
#[bench::huge(args = (9), setup = zone)]
#[bench::empty_huge(args = (1), setup = filled)]
#[bench::full_huge(args = (99), setup = filled)]
fn zone_pair(frames: (OneZone, Order)) -> OneZone {
    pairs(frames)
}

#[library_benchmark]
#[bench::gigantic(args = (18), setup = ranges)]
fn range_pair(frames: (Ranges, Order)) -> Ranges {
    pairs(frames)
}

#[library_benchmark]
#[bench::base(args = (0), setup = instance)]
#[bench::huge(args = (9), setup = instance)]
fn instance_pair(frames: (Instance, Order)) -> Instance {
    pairs(frames)
}

#[library_benchmark]
#[bench::base(args = (0), setup = buddy)]
#[bench::huge(args = (9), setup = buddy)]
#[bench::gigantic(args = (18), setup = buddy)]
fn buddy_pair(frames: (BuddySystem, Order)) -> BuddySystem {
    pairs(frames)
}

/// Which block is given back next.
#[derive(Clone, Copy)]
enum Turn {
    InOrder,
    Random,
}

/// Places in the order in which they are given back, and room for blocks.
struct Bulk<F> {
    frames: F,
    order: Order,
    turns: Vec<usize>,
    blocks: Vec<Pfn>,
}

fn bulk<F: Frames>(new: fn(PageCount) -> F, order: u8, count: u32, turn: Turn) -> Bulk<F> {
    let (frames, order) = warm(new(MEMORY), order);
    let mut turns: Vec<usize> = (0..count as usize).collect();
    if matches!(turn, Turn::Random) {
        let mut state = 1u64;
        for at in (1..turns.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            turns.swap(at, usize::try_from(state >> 33).expect("31 bits") % (at + 1));
        }
    }
    Bulk { frames, order, blocks: Vec::with_capacity(turns.len()), turns }
}

#[inline(always)]
fn take_and_give<F: Frames>(mut bulk: Bulk<F>) -> Bulk<F> {
    for _ in 0..bulk.turns.len() {
        bulk.blocks.push(bulk.frames.alloc(black_box(bulk.order)).expect("memory is free"));
    }
    for &turn in &bulk.turns {
        bulk.frames.free(bulk.blocks[turn], black_box(bulk.order));
    }
    bulk
}

fn zone_bulk_of(order: u8, count: u32, turn: Turn) -> Bulk<OneZone> {
    bulk(OneZone::new, order, count, turn)
}

fn buddy_bulk_of(order: u8, count: u32, turn: Turn) -> Bulk<BuddySystem> {
    bulk(BuddySystem::new, order, count, turn)
}

#[library_benchmark]
#[bench::in_order(args = (0, BULK, Turn::InOrder), setup = zone_bulk_of)]
#[bench::random(args = (0, BULK, Turn::Random), setup = zone_bulk_of)]
#[bench::huge(args = (9, BULK_HUGE, Turn::InOrder), setup = zone_bulk_of)]
fn zone_bulk(bulk: Bulk<OneZone>) -> Bulk<OneZone> {
    take_and_give(bulk)
}

#[library_benchmark]
#[bench::in_order(args = (0, BULK, Turn::InOrder), setup = buddy_bulk_of)]
#[bench::random(args = (0, BULK, Turn::Random), setup = buddy_bulk_of)]
#[bench::huge(args = (9, BULK_HUGE, Turn::InOrder), setup = buddy_bulk_of)]
fn buddy_bulk(bulk: Bulk<BuddySystem>) -> Bulk<BuddySystem> {
    take_and_give(bulk)
}

library_benchmark_group!(
    name = pages,
    benchmarks = [zone_pair, range_pair, instance_pair, buddy_pair, zone_bulk, buddy_bulk]
);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["collect-bus=yes"])),
    library_benchmark_groups = pages
);
