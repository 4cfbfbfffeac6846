//! Many pages at once, and ranges of exactly so many.

use page_alloc::{
    Access, Block, Bulk, BulkMark, ContextError, Cpusets, ExactRange, PageAllocator, PageEvent, PageRequest, Rules,
    Task,
};
use units::{GfpFlags, Migratetype, Nodemask, Order, PageCount, ZoneKind};
use zone::ZoneState;
use zone::watermark::Protection;

use crate::common::{at, checked, free, full, machine, machine_with, marked, node, request, singles, start_of, typed};

use Migratetype::{Movable, Unmovable};
use ZoneKind::{Dma32, Normal};

const KERNEL: GfpFlags = GfpFlags::KERNEL;

fn pages(zone: policy::ZoneRef, count: u64, low: u64) -> ZoneState {
    marked(singles(typed(full(zone, 4), 0, Unmovable), Unmovable, count), low, low, low)
}

fn bulk(machine: &mut PageAllocator, ask: &PageRequest, slots: &mut [Option<Block>]) -> Option<usize> {
    let bulk = machine.alloc_bulk(ask, slots).unwrap_or_else(|error| panic!("{error}"));
    checked(machine);
    match bulk {
        Bulk::Filled(filled) => Some(filled),
        Bulk::One { .. } => None,
    }
}

fn filled(slots: &[Option<Block>]) -> Vec<usize> {
    (0..slots.len()).filter(|&n| slots[n].is_some()).collect()
}

#[test]
fn nasty_an_array_with_holes() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![pages(zone, 20, 2)]);
    let mut slots = vec![None; 6];
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots[..2]), Some(2));
    slots[4] = slots[1].take();
    let (first, fourth) = (slots[0], slots[4]);
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(6), "those that were there count");
    assert_eq!((slots[0], slots[4]), (first, fourth), "and stay");
    let mut pfns: Vec<_> = slots.iter().flatten().map(|block| block.pfn).collect();
    pfns.sort_unstable();
    pfns.dedup();
    assert_eq!(pfns.len(), 6);
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(6), "all are filled");
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut []), Some(0));
    assert_eq!(machine.counts(zone).map(|counts| (counts.allocated, counts.hit)), Some((6, 6)));
    assert_eq!(machine.take_events(), [], "a series is no event");
}

/// The pages of a series run out: what there was is the answer, though it is not all.
#[test]
fn nasty_a_series_is_cut_short() {
    let zone = at(0, Normal);
    // What is kept for urgent requests counts against the mark, and what the type has is less than what is free.
    let state = singles(typed(full(zone, 4), 0, Unmovable), Unmovable, 3);
    let lent = free(typed(state, 512, Migratetype::Cma), 5, Migratetype::Cma, &[512]);
    let mut machine = machine(vec![marked(lent.clone(), 0, 0, 0)]);
    let mut slots = [None; 2];
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(2));
    let mut slots = [None; 3];
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(1), "one page above nothing, and two asked");
    assert_eq!((filled(&slots), machine.zone(zone).map(|zone| zone.free().get())), (vec![0], Some(32)));
    // Nothing at all: one page is worth waiting for.
    let mut slots = [None; 3];
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), None);
    let Ok(Bulk::One { slot, allocation }) = machine.alloc_bulk(&request(0, KERNEL), &mut slots) else { panic!() };
    assert_eq!((slot, allocation.context().order()), (0, Order::ZERO));
}

/// The mark was raised by all pages asked for, though most of them were there already.
#[test]
fn nasty_regression_the_mark_of_a_series() {
    let zone = at(0, Normal);
    for (bulk_mark, rest) in [(BulkMark::Asked, 1), (BulkMark::Left, 3)] {
        let rules = Rules { bulk_mark, ..Rules::default() };
        let mut machine = machine_with(vec![pages(zone, 40, 10)], rules, 0);
        let mut slots = vec![None; 20];
        assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots[..17]), Some(17));
        assert_eq!(machine.zone(zone).map(|zone| zone.free().get()), Some(23));
        // 23 pages are above 10 and 3, not above 10 and 20: then a single page is all.
        assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(17 + rest), "{bulk_mark:?}");
    }
}

#[test]
fn nasty_a_series_stays_on_its_node() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let mut machine = machine(vec![pages(near, 8, 7), pages(far, 40, 2)]);
    let mut slots = [None; 4];
    assert_eq!(bulk(&mut machine, &request(0, KERNEL), &mut slots), Some(1), "the near zone has one to spare");
    assert_eq!(slots[0].map(|block| block.zone), Some(near));
    // With a lower zone of the same node the series comes from there, at the price of the zone where it began.
    let kept = |pages_kept| {
        let mut low = pages(at(0, Dma32), 40, 2);
        low.protection = Protection::from_fn(|kind| PageCount::new(if kind == Normal { pages_kept } else { 999 }));
        vec![low, pages(near, 8, 7)]
    };
    for (protection, taken) in [(33, at(0, Dma32)), (34, near)] {
        let mut machine = crate::common::machine(kept(protection));
        let mut slots = [None; 4];
        let count = bulk(&mut machine, &request(0, GfpFlags::HIGHUSER_MOVABLE), &mut slots);
        assert_eq!((count, slots[0].map(|block| block.zone)), (Some(if taken == near { 1 } else { 4 }), Some(taken)));
    }
}

#[test]
fn nasty_who_gets_one_page_at_a_time() {
    let zone = at(0, Normal);
    let unmapped = Access { unmapped: true, ..Access::NONE };
    for (gfp, count, filled) in [(KERNEL, 1, 1), (KERNEL | GfpFlags::ACCOUNT, 4, 1), (KERNEL, 4, 4)] {
        let mut machine = machine(vec![pages(zone, 20, 2)]);
        let mut slots = vec![None; count];
        assert_eq!(bulk(&mut machine, &request(0, gfp), &mut slots), Some(filled), "{gfp} {count}");
    }
    let mut machine = machine(vec![pages(zone, 20, 2)]);
    let zeroed = PageRequest { access: unmapped, ..request(0, KERNEL | GfpFlags::ZERO) };
    let mut slots = [None; 4];
    assert_eq!(machine.alloc_bulk(&zeroed, &mut slots).err(), Some(ContextError::UnmappedWithZero));
    assert_eq!(filled_none(&slots), 0, "nothing was taken");
    // A cpuset that allows another node: the near one is skipped, and the far one is too far for a series.
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let task = Task { allowed: Nodemask::of(node(1)), ..Task::default() };
    let mut machine = machine_with(vec![pages(zone, 20, 2), pages(at(1, Normal), 20, 2)], rules, 0);
    let ask = PageRequest { task, ..request(0, KERNEL) };
    assert_eq!(bulk(&mut machine, &ask, &mut slots), Some(4), "its mask is where it begins");
    assert_eq!(slots[3].map(|block| block.zone), Some(at(1, Normal)));
}

fn filled_none(slots: &[Option<Block>]) -> usize {
    slots.iter().flatten().count()
}

fn exact(machine: &mut PageAllocator, gfp: GfpFlags, count: u64) -> Option<ExactRange> {
    let count = PageCount::new(count);
    let ask = machine.exact_request(&request(0, gfp), count);
    let block = crate::common::first(machine, &ask)?;
    let range = machine.trim(block, count);
    checked(machine);
    range.ok()
}

#[test]
fn nasty_the_rest_of_a_block_waits_at_the_tail() {
    let zone = at(0, Normal);
    let start = start_of(zone);
    let unmovable = typed(full(zone, 4), 0, Unmovable);
    let state = free(free(unmovable, 3, Unmovable, &[16]), 1, Unmovable, &[64]);
    let mut machine = machine(vec![state]);
    let range = exact(&mut machine, KERNEL, 5).expect("a block of eight");
    assert_eq!((range.pfn.get() - start, range.pages.get()), (16, 5));
    let list = |machine: &PageAllocator, order: u8| -> Vec<u64> {
        let zone = machine.zone(zone).expect("a zone");
        zone.free_list(Order::new(order), Unmovable).into_iter().map(|pfn| pfn.get() - start).collect()
    };
    assert_eq!((list(&machine, 0), list(&machine, 1)), (vec![21], vec![64, 22]), "behind what was there");
    assert_eq!(machine.free_exact(range), Ok(()));
    checked(&machine);
    assert_eq!(list(&machine, 3), [16], "whole again");
    // A whole block, a single page, more than there can be.
    assert_eq!(exact(&mut machine, KERNEL, 8).map(|range| range.pages.get()), Some(8));
    assert_eq!(exact(&mut machine, KERNEL, 1).map(|range| range.pages.get()), Some(1));
    let huge = machine.exact_request(&request(0, KERNEL), PageCount::MAX);
    assert!(matches!(machine.alloc(&huge), Err(ContextError::OrderTooLarge { .. })));
}

#[test]
fn single_pages_are_no_folio() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![free(full(zone, 4), 3, Movable, &[16])]);
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::COMP;
    let ask = machine.exact_request(&request(0, gfp), PageCount::new(3));
    assert_eq!((ask.gfp, ask.order), (GfpFlags::USER | GfpFlags::MOVABLE, Order::new(2)));
    let stripped = GfpFlags::COMP | GfpFlags::HIGHMEM;
    assert_eq!(machine.take_events(), [PageEvent::Stripped { gfp: stripped }]);
}

/// Somebody refers to the first page of a block that is given back: the others go at once, in sizes that nobody asked for.
#[test]
fn nasty_somebody_refers_to_the_first_page() {
    let zone = at(0, Normal);
    let start = start_of(zone);
    let mut machine = machine(vec![free(typed(full(zone, 4), 0, Unmovable), 3, Unmovable, &[8])]);
    let block = crate::common::first(&mut machine, &request(3, KERNEL)).expect("a block");
    assert_eq!(machine.free_but_first(zone, block.pfn, block.order), Ok(()));
    machine.drain_everything();
    checked(&machine);
    let list = |machine: &PageAllocator, order: u8| -> Vec<u64> {
        let zone = machine.zone(zone).expect("a zone");
        zone.free_list(Order::new(order), Unmovable).into_iter().map(|pfn| pfn.get() - start).collect()
    };
    assert_eq!((list(&machine, 0), list(&machine, 1), list(&machine, 2)), (vec![9], vec![10], vec![12]));
    assert!(machine.free(zone, block.pfn, block.order).is_err(), "what is left is a page");
    assert_eq!(machine.free(zone, block.pfn, Order::ZERO), Ok(()));
    machine.drain_everything();
    assert_eq!(list(&machine, 3), [8]);
    assert!(machine.free(zone, block.pfn, Order::ZERO).is_err(), "twice");
}
