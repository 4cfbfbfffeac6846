//! Who allocated pages.

use std::collections::BTreeMap;

use page_alloc::{
    Area, Block, Contig, ContigQuestion, ContigRequest, Move, MoveReason, Moved, PageAllocator, PageHooks, PageInit,
    PageOwners, PageWatch, Priority, Runner,
};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, PageCount, Pfn, ZoneKind};
use zone::ZoneState;

use crate::common::{BLOCK, Dice, at, checked, first, free, full, machine, request, start_of, typed};

use Migratetype::{Movable, Unmovable};
use ZoneKind::Normal;

const ZONE: ZoneRef = at(0, Normal);
const KERNEL: GfpFlags = GfpFlags::KERNEL;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn pfn(frame: u64) -> Pfn {
    Pfn::new(start_of(ZONE) + frame)
}

fn owned(state: ZoneState) -> PageAllocator {
    let mut machine = machine(vec![state]);
    machine.watch_pages(PageWatch::new(PageHooks::default()).with_owners(PageOwners::new()));
    machine
}

fn run(machine: &mut PageAllocator, pid: u32, ts_nsec: u64) {
    let stack = vec![format!("get_page_{}+0x10/0x20", pid % 2), "main+0x1/0x2".to_owned()];
    let runner = Runner { pid, tgid: 100, comm: "sh".to_owned(), ts_nsec, stack };
    machine.pages().expect("pages are watched").run(runner);
}

/// First frame, order and thread of every block.
fn blocks(machine: &PageAllocator) -> Vec<(u64, u8, u32)> {
    let shown = machine.owned_blocks(Pfn::new(0)).into_iter();
    shown.map(|block| (block.pfn.get() - start_of(ZONE), block.owner.order.get(), block.owner.by.pid)).collect()
}

#[test]
fn nasty_the_text_of_an_owner() {
    let mut machine = owned(free(free(full(ZONE, 4), 3, Movable, &[1024 + 16]), 0, Movable, &[5]));
    run(&mut machine, 7, 123_456);
    let block = first(&mut machine, &request(3, USER)).expect("a block");
    let base = start_of(ZONE);
    let text = format!(
        "Page allocated via order 3, mask {:#x}(GFP_HIGHUSER_MOVABLE), pid 7, tgid 100 (sh), ts 123456 ns\n\
         PFN {:#x} type Movable Block {} type Movable Flags 0x0(node=0|zone=2)\n get_page_1+0x10/0x20\n main+0x1/0x2\n\n",
        USER.bits(),
        base + 1024 + 16,
        base / 512 + 2,
    );
    let shown: Vec<String> = machine.owned_blocks(Pfn::new(0)).iter().map(ToString::to_string).collect();
    assert_eq!(shown, [text]);
    // A page for the kernel in a movable block: the type asked for and that of the block are not the same.
    run(&mut machine, 8, 200_000);
    assert!(first(&mut machine, &request(0, KERNEL)).is_some());
    let other = machine.owned_blocks(Pfn::new(0)).remove(0);
    assert_eq!((other.asked_as(), other.pfn), (Unmovable, pfn(5)));
    assert!(other.to_string().contains(" type Unmovable Block "), "{other}");
    // What is read begins with the block that a frame is in.
    let from = |frame| machine.owned_blocks(pfn(frame)).iter().map(|block| block.pfn).collect::<Vec<_>>();
    assert_eq!((from(6), from(1024 + 20), from(1024 + 24)), (vec![block.pfn], vec![block.pfn], vec![]));
    let stacks = machine.pages().and_then(|watch| watch.owners().map(PageOwners::stacks)).expect("owners are noted");
    let text: String = stacks.iter().map(ToString::to_string).collect();
    let of = |name: &str| format!(" {name}+0x10/0x20\n main+0x1/0x2\nstack_count: 1\n\n");
    assert_eq!(text, [of("get_page_0"), of("get_page_1")].concat());
}

/// Pages in pageblocks of other types, by the type of these; a processor's list has none of them.
#[test]
fn nasty_pageblocks_that_are_mixed() {
    let state = free(full(ZONE, 4), 0, Movable, &[0, 2, 512]);
    let mut machine = owned(free(typed(state, 1024, Unmovable), 0, Unmovable, &[1024]));
    let index = |kind: Migratetype| kind.index();
    // The third request claims a pageblock that has a movable page; the fourth one that has none.
    for (gfp, counts) in [(KERNEL, (0, 0)), (USER, (0, 0)), (KERNEL, (0, 1)), (KERNEL, (0, 1))] {
        let block = first(&mut machine, &request(0, gfp)).expect("a page");
        let mixed = machine.mixed_pageblocks(ZONE);
        assert_eq!((mixed[index(Movable)], mixed[index(Unmovable)]), counts, "{block:?}");
    }
}

#[test]
fn nasty_a_moved_block_keeps_its_owner() {
    let mut state = full(ZONE, 4);
    state.movable = vec![(pfn(8), Order::ZERO)];
    let mut machine = owned(free(free(state, 3, Movable, &[1024]), 0, Movable, &[9]));
    run(&mut machine, 7, 1);
    let block = first(&mut machine, &request(0, USER)).expect("a page");
    assert_eq!(block.pfn, pfn(9));
    machine.pages().expect("pages are watched").write(block.pfn);
    machine.mark_movable(ZONE, block.pfn, block.order);
    run(&mut machine, 9, 2);
    let range =
        ContigRequest { zone: ZONE, start: pfn(8), pages: PageCount::new(2), area: Area::Ordinary, gfp: KERNEL };
    let mut contig = Contig::new(range);
    let mut question = contig.begin(&mut machine);
    let mut moves = Vec::new();
    while let ContigQuestion::Move(Move { from, to, .. }) = question {
        // Once it is busy: the block to move to goes back, and nobody has it.
        let moved = if moves.is_empty() { Moved::Busy } else { Moved::Moved };
        moves.push((from, to));
        question = contig.answer(&mut machine, moved);
        checked(&machine);
    }
    assert!(matches!(question, ContigQuestion::Done(_)), "{question:?}");
    let to = moves.iter().rev().find(|(from, _)| *from == pfn(9)).expect("it was moved").1;
    let shown = machine.owned_blocks(Pfn::new(0));
    let of = |pfn: Pfn| shown.iter().find(|block| block.pfn == pfn).expect("somebody has it").owner.clone();
    assert_eq!((of(to).by.pid, of(to).moved), (7, Some(MoveReason::Range)));
    assert!(shown.iter().any(|block| block.to_string().contains("last migrate reason: contig_range\n\n")));
    assert_eq!((of(pfn(8)).by.pid, of(pfn(9)).by.pid), (9, 9), "the range is somebody else's");
    let watch = machine.pages().expect("pages are watched");
    assert_eq!(watch.content(to), page_alloc::Content::Written, "what it held moved with it");
}

/// A block that compaction caught was nobody's, and not zeroed for who asked for zeroes.
#[test]
fn nasty_regression_a_caught_block_has_an_owner() {
    use page_alloc::{Answer, Attempted, CompactQuestion, Question};
    let mut state = full(ZONE, 4);
    state.movable = (0..8).map(|n| (pfn(2 * n + 1), Order::ZERO)).collect();
    let singles: Vec<u64> = (0..8).map(|n| 2 * n).collect();
    let above: Vec<u64> = (0..200).map(|n| 3 * BLOCK + 2 * n).collect();
    let mut machine = owned(free(free(state, 0, Movable, &singles), 0, Movable, &above));
    run(&mut machine, 7, 1);
    let ask = request(3, USER | GfpFlags::ZERO);
    let Ok(Attempted::Slow(mut path)) = machine.alloc(&ask) else { panic!("there is a block") };
    let mut question = path.begin(&mut machine);
    let block = loop {
        let answer = match question {
            Question::Done(block) => break block,
            Question::Reclaim => Answer::Reclaimed(PageCount::new(1)),
            Question::Compact(priority) => {
                let mut compaction = path.compaction(&machine, priority);
                let mut step = compaction.begin(&mut machine);
                while let CompactQuestion::Move(_) = step {
                    step = compaction.answer(&mut machine, Moved::Moved);
                }
                let CompactQuestion::End(_, Some(block)) = step else { panic!("{step:?} at {:?}", Priority::Async) };
                Answer::Captured(block)
            }
            other => panic!("{other:?}"),
        };
        question = path.answer(&mut machine, answer);
    };
    let has = |frame: u64| (frame, 3, 7);
    assert!(blocks(&machine).contains(&has(block.pfn.get() - start_of(ZONE))), "{:?}", blocks(&machine));
    assert_eq!(machine.pages().expect("watched").content(block.pfn), page_alloc::Content::Zero);
}

/// Blocks come and go, whole, in parts and in sizes that nobody asked for; who has which page is noted page by page beside.
#[test]
fn every_page_has_the_owner_that_asked_for_it() {
    let mut dice = Dice(0x0dd_c0de);
    for round in 0..60 {
        let mut machine = owned(free(full(ZONE, 4), 10, Movable, &[0, 1024]));
        let mut has: BTreeMap<u64, (u8, u32)> = BTreeMap::new();
        let mut taken: Vec<Block> = Vec::new();
        for step in 1..60 {
            run(&mut machine, step, u64::from(step));
            let order = dice.pick(&[0u8, 0, 1, 2, 3, 4, 9]);
            if dice.once_in(2) || taken.is_empty() {
                let Some(block) = first(&mut machine, &request(order, dice.pick(&[KERNEL, USER]))) else { continue };
                let frame = block.pfn.get() - start_of(ZONE);
                if dice.once_in(4) && order > 0 {
                    // All but the last page: single pages from then on.
                    let pages = PageCount::new((1 << order) - 1);
                    let range = machine.trim(block, pages).expect("it was handed out");
                    for n in 0..range.pages.get() {
                        has.insert(frame + n, (0, step));
                        taken.push(Block { pfn: block.pfn.offset(PageCount::new(n)), order: Order::ZERO, ..block });
                    }
                } else {
                    has.insert(frame, (order, step));
                    taken.push(block);
                }
            } else {
                let block = taken.swap_remove(usize::try_from(dice.roll(taken.len() as u64)).expect("few"));
                let frame = block.pfn.get() - start_of(ZONE);
                let (order, by) = has.remove(&frame).expect("somebody has it");
                if dice.once_in(3) && order > 0 {
                    assert_eq!(machine.free_but_first(ZONE, block.pfn, block.order), Ok(()));
                    has.insert(frame, (0, by));
                    taken.push(Block { order: Order::ZERO, ..block });
                } else {
                    assert_eq!(machine.free(ZONE, block.pfn, block.order), Ok(()));
                }
            }
            checked(&machine);
            let expected: Vec<(u64, u8, u32)> = has.iter().map(|(&frame, &(order, by))| (frame, order, by)).collect();
            assert_eq!(blocks(&machine), expected, "step {step} of round {round}");
        }
    }
}

/// Who watches nothing has no owners, and series of pages are asked for page by page where somebody does.
#[test]
fn owners_are_off_until_somebody_looks() {
    let mut machine = machine(vec![free(full(ZONE, 4), 3, Movable, &[8, 16])]);
    assert!(first(&mut machine, &request(0, USER)).is_some());
    assert!(machine.owned_blocks(Pfn::new(0)).is_empty() && machine.pages().is_none());
    let hooks = PageHooks { init: PageInit::OnAlloc, ..PageHooks::default() };
    machine.watch_pages(PageWatch::new(hooks).with_owners(PageOwners::new()));
    let mut slots = [None; 4];
    assert!(matches!(machine.alloc_bulk(&request(0, USER), &mut slots), Ok(page_alloc::Bulk::Filled(1))));
    assert_eq!(machine.owned_blocks(Pfn::new(0)).len(), 1);
}
