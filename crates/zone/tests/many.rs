//! Many pages at once: they are had in few blocks, and go back in whatever parts.

use proptest::prelude::*;
use units::{Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{AllocFlags, BadFree, PerCpuPages, Want, Zone, ZoneLayout};

const ZONE: u64 = 8192;

fn zone() -> (Zone, PerCpuPages) {
    let layout = ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), Pfn::new(ZONE))],
        largest: Order::new(10),
        pageblock: Order::new(9),
    };
    let tuning = PcpTuning { batch: PageCount::new(7), high_min: PageCount::new(28), high_max: PageCount::new(600) };
    (Zone::new(layout).expect("one span"), PerCpuPages::new(Order::new(9), tuning))
}

fn want() -> Want {
    Want { order: Order::ZERO, migratetype: Migratetype::Unmovable, flags: AllocFlags::NONE }
}

/// Takes so many pages; the runs of frames that they are.
fn take(zone: &mut Zone, lists: &mut PerCpuPages, pages: u64) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let taken = zone.take_many(lists, want(), PageCount::new(pages), |pfn, order| {
        let (start, end) = (pfn.get(), pfn.get() + order.pages().get());
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => runs.push((start, end)),
        }
    });
    assert_eq!(taken.get(), runs.iter().map(|(start, end)| end - start).sum::<u64>());
    runs
}

fn spare(zone: &Zone, lists: &PerCpuPages) -> u64 {
    (zone.free() + lists.count()).get()
}

proptest! {
    /// Runs are cut anywhere, and the parts go back in any order: what is left of a block that was cut stays somebody's, and nothing is lost.
    #[test]
    fn parts_of_what_was_taken_go_back_in_any_order(
        pages in 1..6000u64,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        order in any::<prop::sample::Index>(),
    ) {
        let (mut zone, mut lists) = zone();
        let runs = take(&mut zone, &mut lists, pages);
        prop_assert_eq!(spare(&zone, &lists), ZONE - pages);
        let mut parts = runs;
        for cut in cuts {
            let (start, end) = parts.remove(cut.index(parts.len()));
            let at = start + cut.index(usize::try_from(end - start).expect("a small number")) as u64;
            parts.extend([(start, at), (at, end)].into_iter().filter(|(start, end)| start < end));
        }
        let first = order.index(parts.len());
        parts.rotate_left(first);
        let mut given = 0;
        for (start, end) in parts {
            let put = zone.put_many(&mut lists, Pfn::new(start), Pfn::new(end));
            prop_assert_eq!(put, Ok(Pfn::new(end)));
            given += end - start;
            prop_assert_eq!(zone.validate().err(), None);
            prop_assert_eq!(zone.validate_lists(&lists).err(), None);
            prop_assert_eq!(spare(&zone, &lists), ZONE - pages + given);
        }
        zone.drain(&mut lists);
        prop_assert_eq!(zone.free().get(), ZONE);
        prop_assert_eq!(zone.free_blocks().last(), Some(ZONE >> 10), "everything merges");
    }
}

#[test]
fn what_is_free_does_not_go_back_again() {
    let (mut zone, mut lists) = zone();
    let [(start, end)] = take(&mut zone, &mut lists, 2048)[..] else {
        panic!("two of the largest blocks lie together")
    };
    let (start, end) = (Pfn::new(start), Pfn::new(end));
    assert_eq!(zone.put_many(&mut lists, start, end), Ok(end));
    assert!(matches!(zone.put_many(&mut lists, start, end), Err(BadFree::Free { .. })));
    assert!(matches!(zone.put_many(&mut lists, Pfn::new(ZONE), Pfn::new(ZONE + 1)), Err(BadFree::Outside { .. })));
    assert_eq!(zone.validate().err(), None);
    assert_eq!(spare(&zone, &lists), ZONE);
}
