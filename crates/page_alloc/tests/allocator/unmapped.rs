//! Pages that the kernel has no mapping of.

use page_alloc::{
    Access, Answer, Attempted, Block, Compacted, Flip, Mapping, PageAllocator, PageEvent, PageRequest, Question,
};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, PageCount, Pfn, ZoneKind};

use crate::common::{BLOCK, at, checked, free, full, machine, marked, place, request, singles, start_of, typed};

use Migratetype::{Movable, Unmovable};
use ZoneKind::Normal;

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ZONE: ZoneRef = at(0, Normal);

fn secret(order: u8, gfp: GfpFlags) -> PageRequest {
    PageRequest { access: Access { unmapped: true, ..Access::NONE }, ..request(order, gfp | GfpFlags::NORETRY) }
}

fn mapped(order: u8, gfp: GfpFlags) -> PageRequest {
    request(order, gfp | GfpFlags::NORETRY)
}

/// A request to its end, with what became of each change of mappings in turn: so many pages.
fn run(machine: &mut PageAllocator, ask: &PageRequest, changes: &[u64]) -> (Option<Block>, Vec<Flip>) {
    let mut flips = Vec::new();
    let mut path = match machine.alloc(ask).unwrap_or_else(|error| panic!("{error}")) {
        Attempted::Done(block) => return (Some(block), flips),
        Attempted::Slow(path) => path,
        Attempted::Failed(none) => panic!("{none}"),
    };
    let mut question = path.begin(machine);
    loop {
        let answer = match question {
            Question::Done(block) => break checked_end(machine, Some(block), flips),
            Question::Failed(_) => break checked_end(machine, None, flips),
            Question::Flip(flip) => {
                flips.push(flip);
                Answer::Flipped(PageCount::new(changes.get(flips.len() - 1).copied().unwrap_or(0)))
            }
            Question::Reclaim => Answer::Reclaimed(PageCount::ZERO),
            Question::Compact(_) => Answer::Compacted(Compacted::Skipped),
            _ => Answer::Rested,
        };
        question = path.answer(machine, answer);
    }
}

fn checked_end(machine: &PageAllocator, block: Option<Block>, flips: Vec<Flip>) -> (Option<Block>, Vec<Flip>) {
    checked(machine);
    (block, flips)
}

fn pfn(frame: u64) -> Pfn {
    Pfn::new(start_of(ZONE) + frame)
}

fn flip(frame: u64, pages: u64, to: Mapping) -> Flip {
    Flip { pfn: pfn(frame), pages: PageCount::new(pages), to }
}

fn in_bank(machine: &mut PageAllocator, order: u8) -> Vec<u64> {
    let list = machine.parts(ZONE).expect("a zone").bank.free_list(Order::new(order));
    list.into_iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
}

fn in_zone(machine: &PageAllocator, order: u8, migratetype: Migratetype) -> Vec<u64> {
    let list = machine.zone(ZONE).expect("a zone").free_list(Order::new(order), migratetype);
    list.into_iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
}

/// Four pageblocks, of which two are whole and free, and a few single pages.
fn some() -> PageAllocator {
    let state = free(full(ZONE, 4), 9, Movable, &[512, 1536]);
    machine(vec![singles(typed(state, 0, Unmovable), Unmovable, 8)])
}

#[test]
fn nasty_a_whole_block_loses_its_mappings_for_one_page() {
    let mut machine = some();
    let (block, flips) = run(&mut machine, &secret(0, KERNEL), &[BLOCK]);
    assert_eq!((place(block), flips), (Some((ZONE, 512)), vec![flip(512, BLOCK, Mapping::Unmapped)]));
    assert_eq!(in_bank(&mut machine, 0), [513], "the rest is at hand for the next");
    let changed = PageEvent::Remapped { pfn: pfn(512), order: Order::new(9), to: Mapping::Unmapped };
    let changes = machine.take_events().into_iter().filter(|e| matches!(e, PageEvent::Remapped { .. }));
    assert_eq!(changes.collect::<Vec<_>>(), [changed], "the processors are told once");
    let (next, flips) = run(&mut machine, &secret(0, GfpFlags::ATOMIC), &[]);
    assert_eq!((place(next), flips), (Some((ZONE, 513)), vec![]), "also for those who cannot wait");
    assert_eq!(machine.free(ZONE, pfn(512), Order::ZERO), Ok(()));
    assert_eq!(machine.free(ZONE, pfn(513), Order::ZERO), Ok(()));
    checked(&machine);
    assert_eq!(in_bank(&mut machine, 9), [512], "frees lead back to where they belong");
}

#[test]
fn nasty_who_cannot_wait_has_no_block_unmapped() {
    for gfp in [GfpFlags::ATOMIC, GfpFlags::NOWAIT] {
        let mut machine = some();
        let (block, flips) = run(&mut machine, &secret(0, gfp), &[]);
        assert_eq!((block, flips), (None, vec![]), "{gfp}");
        assert_eq!(in_zone(&machine, 9, Movable), [512, 1536]);
    }
    // Single pages are never unmapped, however many there are.
    let mut machine = machine(vec![singles(typed(full(ZONE, 4), 0, Unmovable), Unmovable, 200)]);
    assert_eq!(run(&mut machine, &secret(0, KERNEL), &[BLOCK]), (None, vec![]));
}

/// A change that fails at once leaves the block as it was; one that fails half-way is changed back; and a block whose change back
/// fails is nobody's.
#[test]
fn nasty_mappings_that_cannot_be_changed() {
    let forth = flip(512, BLOCK, Mapping::Unmapped);
    let back = flip(512, 100, Mapping::Mapped);
    let mut machine = some();
    let (block, flips) =
        run(&mut machine, &PageRequest { gfp: KERNEL | GfpFlags::NORETRY, ..secret(0, KERNEL) }, &[0, BLOCK]);
    assert_eq!((place(block), flips.len(), flips[0]), (Some((ZONE, 512)), 2, forth), "the second attempt did it");
    let mut machine = some();
    let (block, flips) = run(&mut machine, &secret(0, KERNEL), &[100, 100, 0]);
    assert_eq!((block, &flips[..2]), (None, &[forth, back][..]));
    assert_eq!(in_bank(&mut machine, 9), [] as [u64; 0]);
    let free = |machine: &PageAllocator| machine.zone(ZONE).map(|zone| zone.free().get());
    assert_eq!(
        (free(&machine), in_zone(&machine, 9, Unmovable)),
        (Some(2 * BLOCK + 8), vec![512]),
        "nothing is missing"
    );
    let mut machine = some();
    let (block, flips) = run(&mut machine, &secret(0, KERNEL), &[100, 99, 0]);
    assert_eq!((block, &flips[..2]), (None, &[forth, back][..]));
    assert_eq!(free(&machine), Some(BLOCK + 8));
    assert_eq!(machine.parts(ZONE).expect("a zone").bank.lost(), [pfn(512)]);
    assert!(machine.take_events().contains(&PageEvent::LostBlock { pfn: pfn(512), order: Order::new(9) }));
}

/// What is free without a mapping counts for every mark. Who can wait has it mapped again, block by block; who cannot fails.
#[test]
fn nasty_mappings_go_there_and_back() {
    let mut machine = machine(vec![marked(free(full(ZONE, 4), 9, Movable, &[512]), 0, 1, 2)]);
    let (block, _) = run(&mut machine, &secret(0, KERNEL), &[BLOCK]);
    assert_eq!(machine.free(ZONE, block.expect("a page").pfn, Order::ZERO), Ok(()));
    assert_eq!(machine.zone(ZONE).map(|zone| zone.free().get()), Some(0));
    assert_eq!(run(&mut machine, &mapped(0, GfpFlags::ATOMIC), &[]), (None, vec![]));
    for round in 0..4 {
        let (block, flips) = run(&mut machine, &mapped(0, KERNEL), &[BLOCK]);
        assert_eq!(flips, [flip(512, BLOCK, Mapping::Mapped)], "round {round}");
        assert_eq!(machine.free(ZONE, block.expect("a page").pfn, Order::ZERO), Ok(()));
        machine.drain_everything();
        let (block, flips) = run(&mut machine, &secret(0, KERNEL), &[BLOCK]);
        assert_eq!(flips, [flip(512, BLOCK, Mapping::Unmapped)], "round {round}");
        // While one page is in use the block stays what it is.
        assert_eq!(run(&mut machine, &mapped(0, KERNEL), &[BLOCK]), (None, vec![]));
        assert_eq!(machine.free(ZONE, block.expect("a page").pfn, Order::ZERO), Ok(()));
    }
}

/// Pages with and without a mapping were taken for alike, since only their types were compared.
#[test]
fn nasty_regression_mappings_never_mix() {
    let mut machine = machine(vec![free(full(ZONE, 4), 10, Movable, &[1024])]);
    let (block, flips) = run(&mut machine, &secret(0, KERNEL), &[BLOCK]);
    assert_eq!((place(block), flips.len()), (Some((ZONE, 1024)), 1));
    assert_eq!(in_zone(&machine, 9, Unmovable), [1536]);
    assert_eq!(machine.free(ZONE, pfn(1024), Order::ZERO), Ok(()));
    assert_eq!((in_zone(&machine, 9, Unmovable), in_bank(&mut machine, 9)), (vec![1536], vec![1024]), "neighbours");
    // The other half is used up: no request takes or claims what has no mapping, and none splits it.
    let (half, _) = run(&mut machine, &mapped(9, KERNEL), &[]);
    assert_eq!(place(half), Some((ZONE, 1536)));
    for gfp in [GfpFlags::ATOMIC, GfpFlags::ATOMIC | GfpFlags::MEMALLOC, GfpFlags::NOWAIT] {
        assert_eq!(run(&mut machine, &mapped(0, gfp), &[]), (None, vec![]), "{gfp}");
    }
    assert_eq!(machine.free(ZONE, pfn(1536), Order::new(9)), Ok(()));
    machine.drain_everything();
    assert_eq!((in_zone(&machine, 9, Unmovable), in_bank(&mut machine, 9)), (vec![1536], vec![1024]), "never merged");
}
