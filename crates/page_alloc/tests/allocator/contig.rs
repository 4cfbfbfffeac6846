//! Ranges of frames, wherever they lie.

use page_alloc::{
    Area, CmaAlloc, CmaArea, CmaError, CmaQuestion, Contig, ContigError, ContigQuestion, ContigRange, ContigRequest,
    Moved, PageAllocator, Rules,
};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{PerCpuState, ZoneState};

use crate::common::{BLOCK, at, checked, free, full, machine, machine_with, start_of, typed};

use Migratetype::{Cma, Movable, Reclaimable, Unmovable};
use ZoneKind::Normal;

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ZONE: ZoneRef = at(0, Normal);

fn pfn(frame: u64) -> Pfn {
    Pfn::new(start_of(ZONE) + frame)
}

fn movable(mut state: ZoneState, order: u8, frames: &[u64]) -> ZoneState {
    let start = state.layout.spans[0].0.get();
    state.movable.extend(frames.iter().map(|&frame| (Pfn::new(start + frame), Order::new(order))));
    state
}

fn range(start: u64, pages: u64) -> ContigRequest {
    ContigRequest { zone: ZONE, start: pfn(start), pages: PageCount::new(pages), area: Area::Ordinary, gfp: KERNEL }
}

/// A request to its end, and how often each frame was asked to move.
fn run(
    machine: &mut PageAllocator,
    request: ContigRequest,
    mut owner: impl FnMut(u64) -> Moved,
) -> (Result<ContigRange, ContigError>, Vec<u64>) {
    let mut contig = Contig::new(request);
    let mut asked = Vec::new();
    let mut question = contig.begin(machine);
    loop {
        checked(machine);
        match question {
            ContigQuestion::Done(range) => return (Ok(range), asked),
            ContigQuestion::Failed(error) => return (Err(error), asked),
            ContigQuestion::Move(block) => {
                asked.push(block.from.get() - start_of(ZONE));
                question = contig.answer(machine, owner(block.from.get() - start_of(ZONE)));
            }
            _ => panic!("{question:?}"),
        }
    }
}

fn list(machine: &PageAllocator, order: u8, migratetype: Migratetype) -> Vec<u64> {
    let list = machine.zone(ZONE).expect("a zone").free_list(Order::new(order), migratetype);
    list.into_iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
}

fn types(machine: &PageAllocator) -> Vec<Migratetype> {
    let zone = machine.zone(ZONE).expect("a zone");
    let (start, end) = zone.layout().spans[0];
    (start.get()..end.get()).step_by(512).map(|frame| zone.migratetype(Pfn::new(frame))).collect()
}

/// Four pageblocks, the third of which is free: there is room to move to.
fn roomy() -> ZoneState {
    free(full(ZONE, 4), 9, Movable, &[1024])
}

#[test]
fn nasty_everything_in_a_range_moves_away() {
    let state = movable(movable(free(roomy(), 3, Movable, &[8, 16]), 0, &[24, 25]), 2, &[28]);
    // The owner of a block says so after he got it, too.
    let mut machine = machine(vec![free(state, 1, Movable, &[26])]);
    let (taken, asked) = run(&mut machine, range(8, 24), |_| Moved::Moved);
    assert_eq!(taken.map(|range| (range.pfn, range.pages.get(), range.folio)), Ok((pfn(8), 24, None)));
    assert_eq!(asked, [24, 25, 28]);
    let zone = machine.zone(ZONE).expect("a zone");
    assert_eq!(zone.isolated_blocks(), 0);
    assert_eq!(
        zone.find(pfn(1024)).map(|found| found.held),
        Some(zone::Held::Movable),
        "moved once, it can move again"
    );
    assert_eq!(machine.free_contig(taken.expect("a range")), Ok(()));
    machine.drain_everything();
    checked(&machine);
    assert_eq!((list(&machine, 3, Movable)[0], list(&machine, 4, Movable)[0]), (8, 16), "each page went back");
}

/// Free blocks reach over both ends of the range; what is too much of them stays free.
#[test]
fn nasty_free_blocks_reach_over_both_ends() {
    let mut machine = machine(vec![free(full(ZONE, 4), 10, Movable, &[0, 1024])]);
    let (taken, asked) = run(&mut machine, range(509, 518), |_| Moved::Busy);
    assert_eq!((taken.map(|range| range.pages.get()), asked.len()), (Ok(518), 0));
    let free_pages = machine.zone(ZONE).expect("a zone").free().get();
    assert_eq!(free_pages, 4 * BLOCK - 518);
    assert_eq!((list(&machine, 0, Movable), list(&machine, 8, Movable)), (vec![508, 1027], vec![0, 1280]));
}

#[test]
fn nasty_a_folio_of_a_range() {
    let folio = |start, pages| ContigRequest { gfp: KERNEL | GfpFlags::COMP, ..range(start, pages) };
    let mut machine = machine(vec![free(full(ZONE, 4), 9, Movable, &[1536, 1024, 512])]);
    for (start, pages) in [(1024, 1000), (1004, 8)] {
        let error = ContigError::NoFolio { start: pfn(start), pages: PageCount::new(pages) };
        assert_eq!(run(&mut machine, folio(start, pages), |_| Moved::Busy).0, Err(error));
    }
    assert_eq!(list(&machine, 9, Movable), [1536, 1024, 512], "nothing was lost for it");
    // Two pageblocks that were never merged are one folio, and go back as one.
    let (taken, _) = run(&mut machine, folio(1024, 1024), |_| Moved::Busy);
    let taken = taken.expect("a folio");
    assert_eq!(taken.folio, Some(Order::new(10)));
    assert!(machine.free(ZONE, pfn(1024), Order::new(9)).is_err(), "half of it is not what was handed out");
    assert_eq!(machine.free_contig(taken), Ok(()));
    checked(&machine);
    assert_eq!(list(&machine, 10, Movable), [1024]);
}

/// A page in the block in the middle cannot move: the first and the last block, isolated before it, are as they were.
#[test]
fn nasty_a_block_in_the_middle_refuses() {
    let kinds = [Unmovable, Movable, Reclaimable, Movable];
    let mut state = full(ZONE, 4);
    for (n, kind) in (0..).zip(kinds) {
        state = typed(state, n * BLOCK, kind);
        state = match n {
            // A free neighbour of another type would merge with the last block when that is given back.
            3 => state,
            1 => free(state, 4, kind, &[n * BLOCK + 16]),
            _ => free(state, 9, kind, &[n * BLOCK]),
        };
    }
    let mut machine = machine(vec![state]);
    let before = machine.zone(ZONE).expect("a zone").state();
    let free_pages = |machine: &PageAllocator| machine.zone(ZONE).map(|zone| (zone.free(), zone.isolated_blocks()));
    let counted = free_pages(&machine);
    let (taken, asked) = run(&mut machine, range(0, 3 * BLOCK), |_| Moved::Moved);
    assert_eq!((taken, asked), (Err(ContigError::Busy(pfn(BLOCK))), vec![]));
    assert_eq!((types(&machine), free_pages(&machine)), (kinds.to_vec(), counted));
    assert_eq!(machine.zone(ZONE).expect("a zone").state(), before, "not even the order of a list is another");
    // The outer blocks by themselves are no trouble.
    assert!(run(&mut machine, range(0, BLOCK), |_| Moved::Moved).0.is_ok());
    assert!(run(&mut machine, range(2 * BLOCK, BLOCK), |_| Moved::Moved).0.is_ok());
}

/// Only what the range has of its outer blocks counts, and one page that stays is enough.
#[test]
fn nasty_a_page_of_the_first_block_stays() {
    let kinds = [Unmovable, Movable, Reclaimable, Movable, Movable, Movable];
    let mut state = full(ZONE, 6);
    for (n, kind) in (0..).zip(kinds) {
        state = movable(free(typed(state, n * BLOCK, kind), 4, kind, &[n * BLOCK + 32]), 0, &[n * BLOCK]);
    }
    let mut machine = machine(vec![state]);
    let before = machine.zone(ZONE).expect("a zone").state();
    let (taken, asked) = run(&mut machine, range(0, 1), |_| Moved::Busy);
    assert_eq!((taken, asked), (Err(ContigError::Busy(pfn(0))), vec![0; 5]));
    let (taken, asked) = run(&mut machine, range(32, 16), |_| Moved::Busy);
    assert_eq!((taken.map(|range| range.pages.get()), asked.len()), (Ok(16), 0));
    assert_eq!(machine.free_contig(taken.expect("a range")), Ok(()));
    machine.drain_everything();
    let (taken, asked) = run(&mut machine, range(32, 5 * BLOCK), |_| Moved::Moved);
    assert_eq!((taken, asked), (Err(ContigError::Busy(pfn(48))), vec![]), "the first block has a page that stays");
    assert_eq!(types(&machine), kinds, "every type is what it was");
    let after = machine.zone(ZONE).expect("a zone").state();
    assert_eq!((after.types, after.isolated), (before.types, before.isolated));
}

/// Undoing an isolation made every block movable: with the first block reclaimable and the last one not to be moved, all of them
/// lost their types.
#[test]
fn nasty_regression_types_after_a_range_in_vain() {
    for kind in [Unmovable, Reclaimable, Movable] {
        let mut state = full(ZONE, 4);
        for n in 0..4 {
            state = free(typed(state, n * BLOCK, kind), 9, kind, &[n * BLOCK]);
        }
        state.free.retain(|list| list.runs[0].0 != pfn(1536));
        let mut machine = machine(vec![state]);
        let (taken, _) = run(&mut machine, range(0, 3 * BLOCK + 1), |_| Moved::Moved);
        assert_eq!(taken, Err(ContigError::Busy(pfn(1536))));
        assert_eq!(
            (types(&machine), machine.zone(ZONE).map(|zone| zone.free().get())),
            (vec![kind; 4], Some(3 * BLOCK))
        );
    }
}

#[test]
fn nasty_the_same_pages_are_tried_five_times() {
    let mut machine = machine(vec![movable(free(roomy(), 1, Movable, &[10]), 0, &[8, 9])]);
    let (taken, asked) = run(&mut machine, range(8, 4), |frame| if frame == 8 { Moved::Busy } else { Moved::Moved });
    assert_eq!(asked, [8, 9, 8, 8, 8, 8]);
    assert_eq!(taken, Err(ContigError::Busy(pfn(8))));
    // A page that stays is no matter where somebody frees it meanwhile: what is there in the end counts.
    let mut machine = crate::common::machine(vec![movable(free(roomy(), 1, Movable, &[10]), 0, &[8, 9])]);
    let mut contig = Contig::new(range(8, 4));
    let mut question = contig.begin(&mut machine);
    let mut tries = 0;
    while let ContigQuestion::Move(block) = question {
        tries += 1;
        if tries == 6 {
            assert_eq!(machine.free(ZONE, block.from, block.order), Ok(()));
        }
        let moved = if block.from == pfn(9) { Moved::Moved } else { Moved::Busy };
        question = contig.answer(&mut machine, moved);
    }
    assert!(matches!(question, ContigQuestion::Done(_)), "{question:?}");
    assert_eq!(contig.answer(&mut machine, Moved::Moved), question, "the end is the end");
}

#[test]
fn nasty_nowhere_to_move_to_and_a_signal() {
    let mut machine = machine(vec![movable(free(full(ZONE, 4), 2, Movable, &[8]), 0, &[12, 13])]);
    let free_pages = |machine: &PageAllocator| machine.zone(ZONE).map(|zone| zone.free().get());
    assert_eq!(run(&mut machine, range(8, 6), |_| Moved::Moved).0, Err(ContigError::NoMemory(pfn(12))));
    assert_eq!(free_pages(&machine), Some(4));
    let mut machine = crate::common::machine(vec![movable(roomy(), 0, &[12, 13])]);
    let (taken, asked) = run(&mut machine, range(12, 2), |_| Moved::Interrupted);
    assert_eq!((taken, asked), (Err(ContigError::Interrupted), vec![12]));
    machine.drain_everything();
    assert_eq!(free_pages(&machine), Some(BLOCK), "the page to move to went back");
    assert_eq!(types(&machine), [Movable; 4]);
}

/// A block in use lies on both sides of the last pageblock's end.
#[test]
fn nasty_a_block_in_use_reaches_over_the_edge() {
    let mut state = full(ZONE, 8);
    state.movable.push((pfn(1024), Order::new(10)));
    let mut machine = machine(vec![free(state, 10, Movable, &[0, 2048])]);
    let (taken, _) = run(&mut machine, range(512, 1024), |_| Moved::Moved);
    assert_eq!(taken, Err(ContigError::Busy(pfn(1024))));
    assert_eq!(machine.zone(ZONE).map(|zone| (zone.isolated_blocks(), zone.free().get())), Some((0, 2048)));
    // All of it is no edge.
    let (taken, asked) = run(&mut machine, range(512, 1536), |_| Moved::Moved);
    assert_eq!((taken.map(|range| range.pages.get()), asked), (Ok(1536), vec![1024]));
}

#[test]
fn nasty_the_end_of_the_zone() {
    let mut ragged = full(ZONE, 4);
    ragged.layout.spans[0].1 = pfn(3 * BLOCK + 256);
    let mut machine = machine(vec![free(ragged, 8, Movable, &[1536])]);
    let (taken, _) = run(&mut machine, range(1536, 256), |_| Moved::Moved);
    assert_eq!(taken, Err(ContigError::Busy(pfn(1536))), "the last pageblock is not whole");
    let (taken, _) = run(&mut machine, range(1700, 200), |_| Moved::Moved);
    assert_eq!(taken, Err(ContigError::Outside(pfn(1792))));
    assert_eq!(machine.zone(ZONE).map(|zone| zone.isolated_blocks()), Some(0));
}

/// No frames at all were taken for one pageblock, whichever began there: where that was none of the zone, it came to a stop.
#[test]
fn nasty_no_frames_are_no_range() {
    let mut machine = machine(vec![roomy()]);
    for start in [0, 512, 4096] {
        assert_eq!(run(&mut machine, range(start, 0), |_| Moved::Moved).0, Err(ContigError::Outside(pfn(start))));
    }
    let (outside, none) = (Pfn::new(0), PageCount::ZERO);
    let request = ContigRequest { start: outside, pages: none, ..range(0, 0) };
    assert_eq!(run(&mut machine, request, |_| Moved::Moved).0, Err(ContigError::Outside(outside)));
}

#[test]
fn wishes_that_a_range_cannot_have() {
    let mut machine = machine(vec![free(full(ZONE, 4), 9, Movable, &[0])]);
    for bad in [GfpFlags::HIGH, GfpFlags::NOFAIL, GfpFlags::NORETRY, GfpFlags::MEMALLOC, GfpFlags::ACCOUNT] {
        let request = ContigRequest { gfp: KERNEL | bad, ..range(0, 8) };
        assert_eq!(run(&mut machine, request, |_| Moved::Moved).0, Err(ContigError::BadWishes(bad)));
    }
    let fine = GfpFlags::THISNODE | GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL | GfpFlags::WRITE | GfpFlags::NOWARN;
    assert!(run(&mut machine, ContigRequest { gfp: KERNEL | fine, ..range(0, 8) }, |_| Moved::Moved).0.is_ok());
}

/// Pages of the range lie on a processor's list: they are no owner's, and are drained once the blocks are isolated.
#[test]
fn nasty_regression_pages_of_the_range_on_a_processors_list() {
    let mut machine = machine(vec![free(full(ZONE, 4), 1, Movable, &[10])]);
    let tuning = PcpTuning { batch: PageCount::new(63), high_min: PageCount::new(999), high_max: PageCount::new(999) };
    let pages = vec![(pfn(8), Order::ZERO, Movable), (pfn(9), Order::ZERO, Unmovable)];
    assert_eq!(machine.set_lists(ZONE, tuning, &PerCpuState { pages, ..PerCpuState::default() }), Ok(()));
    let (taken, _) = run(&mut machine, range(8, 4), |_| Moved::Moved);
    assert_eq!(taken.map(|range| range.pages.get()), Ok(4));
}

/// In a movable zone everything is taken to be movable, until it does not move.
#[test]
fn nasty_a_movable_zone_believes_everything() {
    let zone = at(0, ZoneKind::Movable);
    let state = free(full(zone, 4), 3, Movable, &[8]);
    let mut machine = machine_with(vec![state, full(at(0, Normal), 4)], Rules::default(), 0);
    let start = Pfn::new(start_of(zone));
    let mut contig = Contig::new(ContigRequest { zone, start, ..range(0, 16) });
    assert_eq!(contig.begin(&mut machine), ContigQuestion::Failed(ContigError::Busy(start)), "found at the end");
}

/// Frames that boot kept are nobody's, and nobody moves them, not even in a movable zone.
#[test]
fn nasty_a_range_with_frames_that_boot_kept() {
    for kind in [Normal, ZoneKind::Movable] {
        let zone = at(0, kind);
        let start = start_of(zone);
        let mut state = free(full(zone, 4), 9, Movable, &[512]);
        state.reserved = vec![(Pfn::new(start + 100), Pfn::new(start + 104))];
        let mut machine = machine_with(vec![state, full(at(1, Normal), 4)], Rules::default(), 0);
        let managed = machine.zone(zone).map(|zone| zone.managed().get());
        assert_eq!(managed, Some(4 * BLOCK - 4));
        let mut contig = Contig::new(ContigRequest { zone, start: Pfn::new(start + 102), ..range(0, 8) });
        let kept = Pfn::new(start + 102);
        assert_eq!(contig.begin(&mut machine), ContigQuestion::Failed(ContigError::Busy(kept)), "known at once");
        checked(&machine);
        assert_eq!(machine.zone(zone).map(|zone| zone.isolated_blocks()), Some(0));
    }
}

fn lent(base: u64, blocks: u64) -> ZoneState {
    let mut state = free(full(ZONE, 12), 9, Movable, &[0]);
    for n in 0..blocks {
        state = typed(state, base + n * BLOCK, Cma);
    }
    state
}

fn area(base: u64, blocks: u64, per_bit: u8) -> CmaArea {
    let pages = PageCount::new(blocks * BLOCK);
    CmaArea::new(ZONE, pfn(base), pages, Order::new(per_bit), Order::new(9)).expect("an area")
}

fn from_area(
    machine: &mut PageAllocator,
    area: &mut CmaArea,
    pages: u64,
    align: u8,
) -> (Result<u64, CmaError>, Vec<u64>) {
    let mut request = CmaAlloc::new(PageCount::new(pages), Order::new(align), KERNEL);
    let mut asked = Vec::new();
    let mut question = request.begin(machine, area);
    loop {
        checked(machine);
        match question {
            CmaQuestion::Done(range) => return (Ok(range.pfn.get() - start_of(ZONE)), asked),
            CmaQuestion::Failed(error) => return (Err(error), asked),
            CmaQuestion::Move(block) => {
                asked.push(block.from.get() - start_of(ZONE));
                question = request.answer(machine, area, Moved::Busy);
            }
            _ => panic!("{question:?}"),
        }
    }
}

/// A busy range is given up and the next aligned place is tried, not the next one behind the range.
#[test]
fn nasty_the_next_place_in_a_lent_area() {
    // The base is not aligned to what is asked for: aligned frames lie at odd places.
    let base = 512;
    let mut state = lent(base, 3);
    state = free(free(state, 9, Cma, &[1024]), 8, Cma, &[1536 + 256]);
    let mut machine = machine(vec![movable(state, 0, &[512, 1536])]);
    let mut area = area(base, 3, 2);
    let (taken, asked) = from_area(&mut machine, &mut area, 1024, 10);
    assert_eq!(asked, [1536; 5], "the first aligned frame is the second pageblock, and one page there is busy");
    assert_eq!(taken, Err(CmaError::Range(ContigError::Busy(pfn(1536)))));
    assert_eq!((area.used(), area.counts().fail), (0, 1024));
    // Unaligned: the first page does not move, the others of its block are in use, and place after place is tried.
    let (taken, asked) = from_area(&mut machine, &mut area, 6, 0);
    assert_eq!((taken, asked), (Ok(1024), vec![512; 5]));
}

#[test]
fn nasty_parts_of_a_lent_area() {
    let base = 512;
    let mut state = free(lent(base, 2), 9, Cma, &[1024]);
    // In the first block everything but a few pages is in use for good, as far as the zone knows.
    state = free(state, 3, Cma, &[512 + 64]);
    let mut machine = machine(vec![state]);
    let mut area = area(base, 2, 3);
    // 6 pages are one part of 8: the search goes part by part.
    let (taken, _) = from_area(&mut machine, &mut area, 6, 0);
    assert_eq!((taken, area.used()), (Ok(576), 1));
    let (taken, _) = from_area(&mut machine, &mut area, 9, 5);
    assert_eq!((taken, area.used(), area.counts().success), (Ok(1024), 3, 15), "two parts, at an aligned frame");
    assert_eq!(types(&machine)[1..3], [Cma, Cma]);
    let zone_free = |machine: &PageAllocator| machine.zone(ZONE).map(|zone| zone.free_cma().get());
    assert_eq!(zone_free(&machine), Some(8 - 6 + BLOCK - 9));
    // What is not of the area is not released.
    let other = ContigRange { zone: ZONE, pfn: pfn(0), pages: PageCount::new(6), folio: None };
    assert_eq!(machine.free_cma(&mut area, other), Ok(false));
    let first = ContigRange { zone: ZONE, pfn: pfn(576), pages: PageCount::new(6), folio: None };
    assert_eq!(machine.free_cma(&mut area, first), Ok(true));
    machine.drain_everything();
    assert_eq!((area.used(), zone_free(&machine)), (2, Some(8 + BLOCK - 9)));
    let count = |asked| Err(CmaError::Count { asked: PageCount::new(asked), pages: PageCount::new(1024) });
    assert_eq!(from_area(&mut machine, &mut area, 0, 0).0, count(0));
    assert_eq!(from_area(&mut machine, &mut area, 1025, 0).0, count(1025));
    assert_eq!(area.counts().fail, 0, "which is counted as nothing");
    assert_eq!(from_area(&mut machine, &mut area, 1024, 0).0, Err(CmaError::Full(PageCount::new(1024))));
    assert_eq!(area.counts().fail, 1024);
    let bad = CmaArea::new(ZONE, pfn(100), PageCount::new(512), Order::ZERO, Order::new(9));
    assert_eq!(bad, Err(CmaError::Misaligned { base: pfn(100), pages: PageCount::new(512) }));
}

/// Lent memory is not for those who ask for ordinary ranges.
#[test]
fn nasty_a_range_of_lent_memory() {
    let mut machine = machine(vec![free(lent(512, 1), 9, Cma, &[512])]);
    assert_eq!(run(&mut machine, range(512, 8), |_| Moved::Moved).0, Err(ContigError::Busy(pfn(512))));
    let request = ContigRequest { area: Area::Lent, ..range(512, 8) };
    assert!(run(&mut machine, request, |_| Moved::Moved).0.is_ok());
    assert_eq!(types(&machine)[1], Cma);
}
