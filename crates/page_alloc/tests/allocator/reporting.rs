//! Reports of free memory to a host.

use page_alloc::{PageAllocator, REPORT_CAPACITY, ReportEnd, ReportPass, ReportQuestion};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, Pfn, ZoneKind};
use zone::{Told, ZoneState};

use crate::common::{BLOCK, at, checked, first, free, full, machine, marked, request, start_of, typed};

use Migratetype::{Cma, Isolate, Movable, Unmovable};
use ZoneKind::{Dma32, Normal};

const ZONE: ZoneRef = at(0, Normal);
const HUGE: Order = Order::new(9);

/// The reports of one pass: zone, order, type and number of blocks of each.
fn pass(
    machine: &mut PageAllocator,
    least: Order,
    mut host: impl FnMut(&mut PageAllocator, usize) -> Told,
) -> (Vec<(ZoneRef, u8, Migratetype, usize)>, ReportEnd) {
    let mut pass = ReportPass::new(machine, least);
    let mut reports = Vec::new();
    let mut question = pass.begin(machine);
    loop {
        checked(machine);
        match question {
            ReportQuestion::End(end) => return (reports, end),
            ReportQuestion::Report(blocks) => {
                let block = blocks[0];
                reports.push((block.zone, block.order.get(), block.migratetype, blocks.len()));
                let told = host(machine, reports.len());
                question = pass.answer(machine, told);
            }
        }
    }
}

fn yes(_: &mut PageAllocator, _: usize) -> Told {
    Told::Yes
}

fn unreported(machine: &PageAllocator, order: u8, kind: Migratetype) -> usize {
    machine.zone(ZONE).expect("a zone").unreported(Order::new(order), kind).count()
}

/// Whole pageblocks of the far ends of a zone, so that none merge.
fn huge(state: ZoneState, kind: Migratetype, blocks: impl IntoIterator<Item = u64>) -> ZoneState {
    let frames: Vec<u64> = blocks.into_iter().map(|n| n * BLOCK).collect();
    let state =
        frames.iter().fold(state, |state, &frame| if kind == Movable { state } else { typed(state, frame, kind) });
    free(state, 9, kind, &frames)
}

#[test]
fn nasty_which_blocks_are_reported() {
    let mut state = huge(huge(full(ZONE, 128), Unmovable, [0, 2]), Cma, [4]);
    state.isolated.push(Pfn::new(start_of(ZONE) + 6 * BLOCK));
    state = free(state, 9, Isolate, &[6 * BLOCK]);
    state = free(free(state, 10, Movable, &[10 * BLOCK]), 8, Movable, &[12 * BLOCK]);
    // There must be plenty beside: what stays is for the guest itself.
    state = free(state, 10, Movable, &(7..40).map(|n| 2 * n * BLOCK).collect::<Vec<_>>());
    let mut machine = machine(vec![state]);
    let (reports, end) = pass(&mut machine, HUGE, yes);
    let of = |order, kind, count| (ZONE, order, kind, count);
    let whole = [of(10, Movable, 32)];
    assert_eq!(reports[..2], [of(9, Unmovable, 2), of(9, Cma, 1)], "not what is isolated");
    assert_eq!(
        (&reports[2..], end),
        (&whole[..], ReportEnd::More),
        "34 blocks are one batch's worth, and two are left"
    );
    assert_eq!((unreported(&machine, 10, Movable), unreported(&machine, 8, Movable)), (2, 1));
    let (reports, end) = pass(&mut machine, HUGE, yes);
    assert_eq!((reports, end), (vec![of(10, Movable, 2)], ReportEnd::Done));
    assert_eq!(pass(&mut machine, HUGE, yes), (vec![], ReportEnd::Done), "nothing is told twice");
    // What is taken, and given back, has news.
    let block = first(&mut machine, &request(10, GfpFlags::HIGHUSER_MOVABLE)).expect("a block");
    assert_eq!(machine.free(ZONE, block.pfn, block.order), Ok(()));
    assert_eq!(pass(&mut machine, HUGE, yes).0, [of(10, Movable, 1)]);
    assert_eq!(pass(&mut machine, Order::new(8), yes).0, [of(8, Movable, 1)], "smaller ones, where asked for");
}

/// Not below the low mark and as much as one report of the smallest blocks would take.
#[test]
fn nasty_a_zone_with_little_free_reports_nothing() {
    let room = REPORT_CAPACITY * BLOCK;
    for (low, reported) in [(1024, 0), (1023, 32)] {
        let low_zone = huge(full(at(0, Dma32), 8), Movable, [0]);
        let state = marked(huge(full(ZONE, 128), Movable, (0..34).map(|n| 2 * n)), 0, low, low);
        let mut machine = machine(vec![low_zone, state]);
        assert_eq!(machine.zone(ZONE).map(|zone| zone.free().get()), Some(room + 1024));
        let (reports, _) = pass(&mut machine, HUGE, yes);
        let count: usize = reports.iter().map(|report| report.3).sum();
        assert_eq!(count, reported, "{reports:?} with a low mark of {low}");
        assert!(reports.iter().all(|report| report.0 == ZONE), "the small zone has less than one report");
    }
    // The raw minimum stays in any case: the batch ends there.
    let state = marked(huge(full(ZONE, 128), Movable, (0..34).map(|n| 2 * n)), 20 * BLOCK, 0, 0);
    let mut machine = machine(vec![state]);
    assert_eq!(pass(&mut machine, HUGE, yes).0, [(ZONE, 9, Movable, 13)]);
}

/// A host that will not have them: the blocks go back, and are told another time. What came free meanwhile merges.
#[test]
fn nasty_a_host_that_refuses() {
    let pages = (1..40).map(|n| 2 * n);
    let mut machine = machine(vec![huge(full(ZONE, 128), Movable, pages)]);
    let free_pages = |machine: &PageAllocator| machine.zone(ZONE).map(|zone| zone.free().get());
    let before = free_pages(&machine);
    let ended = pass(&mut machine, HUGE, |machine, _| {
        assert_eq!(free_pages(machine), Some(7 * BLOCK), "they are nobody's meanwhile");
        Told::No
    });
    assert_eq!(ended, (vec![(ZONE, 9, Movable, 32)], ReportEnd::Refused));
    assert_eq!((free_pages(&machine), unreported(&machine, 9, Movable)), (before, 39));
    // The seven that were not in the batch are at the head now; one of them gets its buddy back while the host is told.
    let buddy = Pfn::new(start_of(ZONE) + 67 * BLOCK);
    let (reports, end) = pass(&mut machine, HUGE, |machine, count| {
        if count == 1 {
            assert_eq!(machine.parts(ZONE).expect("a zone").zone.put(buddy, HUGE), Ok(()));
        }
        Told::Yes
    });
    // What became of it is news, and told in the same pass.
    assert_eq!((reports, end), (vec![(ZONE, 9, Movable, 32), (ZONE, 10, Movable, 1)], ReportEnd::More));
    assert_eq!((unreported(&machine, 9, Movable), unreported(&machine, 10, Movable)), (7, 0));
}
