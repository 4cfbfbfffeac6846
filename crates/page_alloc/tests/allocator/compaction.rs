//! Compaction: scanners, capture, deferral, and what a node does by itself.

use page_alloc::{
    Answer, Attempted, Block, CompactEnd, CompactQuestion, CompactState, Compacted, Compaction, Move, Moved,
    PageAllocator, Priority, Proactive, Question, Served, Sleep, Zones,
};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{Held, PerCpuState, ZoneState};

use crate::common::{BLOCK, at, checked, free, full, machine, marked, node, place, request, singles, start_of, typed};

use Migratetype::{Movable, Unmovable};
use ZoneKind::Normal;

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;
const ZONE: ZoneRef = at(0, Normal);

fn pfn(frame: u64) -> Pfn {
    Pfn::new(start_of(ZONE) + frame)
}

fn movable(mut state: ZoneState, order: u8, frames: impl IntoIterator<Item = u64>) -> ZoneState {
    let start = state.layout.spans[0].0.get();
    state.movable.extend(frames.into_iter().map(|frame| (Pfn::new(start + frame), Order::new(order))));
    state
}

/// A pageblock of which every second page is free and every other one can move.
fn comb(state: ZoneState, block: u64, kind: Migratetype) -> ZoneState {
    let frames: Vec<u64> = (0..BLOCK / 2).map(|n| block * BLOCK + 2 * n).collect();
    let state = if kind == Movable { state } else { typed(state, block * BLOCK, kind) };
    movable(free(state, 0, kind, &frames), 0, (0..BLOCK / 2).map(|n| block * BLOCK + 2 * n + 1))
}

fn ended(
    machine: &mut PageAllocator,
    compaction: &mut Compaction,
    mut owner: impl FnMut(Move) -> Moved,
) -> (CompactEnd, Option<Block>, Vec<(u64, u64)>) {
    let mut moves = Vec::new();
    let mut question = compaction.begin(machine);
    loop {
        checked(machine);
        match question {
            CompactQuestion::End(end, block) => return (end, block, moves),
            CompactQuestion::Move(block) => {
                moves.push((block.from.get() - start_of(ZONE), block.to.get() - start_of(ZONE)));
                assert!(moves.len() < 5000, "no end in sight");
                question = compaction.answer(machine, owner(block));
            }
        }
    }
}

/// Compaction for a request on the slow path, without the path around it.
fn direct(
    machine: &mut PageAllocator,
    order: u8,
    gfp: GfpFlags,
    priority: Priority,
    owner: impl FnMut(Move) -> Moved,
) -> (CompactEnd, Option<Block>, Vec<(u64, u64)>) {
    let ask = request(order, gfp | GfpFlags::NORETRY);
    let Ok(Attempted::Slow(path)) = machine.alloc(&ask) else { panic!("there is a block") };
    let mut compaction = path.compaction(machine, priority);
    ended(machine, &mut compaction, owner)
}

fn list(machine: &PageAllocator, order: u8, migratetype: Migratetype) -> Vec<u64> {
    let list = machine.zone(ZONE).expect("a zone").free_list(Order::new(order), migratetype);
    list.into_iter().map(|pfn| pfn.get() - start_of(ZONE)).collect()
}

#[test]
fn nasty_pages_move_from_the_bottom_to_the_top_until_a_block_is_caught() {
    let mut machine = machine(vec![comb(comb(full(ZONE, 4), 0, Movable), 3, Movable)]);
    let (end, block, moves) = direct(&mut machine, 3, USER, Priority::SyncLight, |_| Moved::Moved);
    assert_eq!((end, place(block)), (CompactEnd::Success, Some((ZONE, 0))));
    assert_eq!(moves, [(1, 1536), (3, 1538), (5, 1540), (7, 1542)]);
    assert_eq!(machine.zone(ZONE).and_then(|zone| zone.find(pfn(1536))).map(|found| found.held), Some(Held::Movable));
    let state = machine.zone(ZONE).expect("a zone");
    assert_eq!(state.free().get(), BLOCK - 8, "what was free stays so, but for the block");
}

/// The whole request: the path asks for compaction, gets the block, and puts nothing off any more.
#[test]
fn nasty_a_request_compacts_for_itself() {
    let mut machine = machine(vec![comb(comb(full(ZONE, 4), 0, Unmovable), 3, Movable)]);
    // It failed three times, and seven requests were put off: the next one is let through.
    let compact = machine.parts(ZONE).expect("a zone").compact;
    (0..3).for_each(|_| compact.defer(Order::new(4)));
    assert!((0..7).all(|_| compact.puts_off(Order::new(4))));
    let Ok(Attempted::Slow(mut path)) = machine.alloc(&request(4, KERNEL)) else { panic!("there is a block") };
    let mut question = path.begin(&mut machine);
    let block = loop {
        let answer = match question {
            Question::Done(block) => break block,
            Question::Compact(priority) => {
                let mut compaction = path.compaction(&machine, priority);
                match ended(&mut machine, &mut compaction, |_| Moved::Moved) {
                    (_, Some(block), _) => Answer::Captured(block),
                    (end, None, _) => Answer::Compacted(Compacted::from(end)),
                }
            }
            other => panic!("{other:?}"),
        };
        question = path.answer(&mut machine, answer);
    };
    assert_eq!(place(Some(block)), Some((ZONE, 0)));
    let compact = machine.parts(ZONE).expect("a zone").compact;
    compact.defer(Order::new(9));
    let refused = (0..99).take_while(|_| compact.puts_off(Order::new(9))).count();
    assert_eq!(refused, 1, "the next failure is the first one again");
}

/// A small movable block is not caught for a request that will not move: it would stay among those that do. It lies on its list, and the
/// request may still claim it.
#[test]
fn nasty_a_block_that_is_not_caught() {
    let state = comb(comb(full(ZONE, 4), 0, Movable), 3, Movable);
    let mut small = machine(vec![state.clone()]);
    let (end, block, moves) = direct(&mut small, 2, KERNEL, Priority::SyncLight, |_| Moved::Moved);
    assert_eq!((end, block), (CompactEnd::Success, None));
    assert_eq!(moves.len(), 256, "to the end of the pageblock, where success is looked for");
    assert_eq!(list(&small, 9, Movable), [0]);
    // Without waiting it does not even look there.
    let mut picky = machine(vec![state]);
    let (end, _, moves) = direct(&mut picky, 2, KERNEL, Priority::Async, |_| Moved::Moved);
    assert_eq!((end, moves.len()), (CompactEnd::Complete, 0));
}

#[test]
fn nasty_everything_is_pinned() {
    let state = comb(comb(full(ZONE, 4), 0, Movable), 3, Movable);
    for (priority, passes) in [(Priority::SyncLight, 11), (Priority::Async, 1)] {
        let mut machine = machine(vec![state.clone()]);
        let before = machine.zone(ZONE).map(|zone| zone.free().get());
        let (end, block, moves) = direct(&mut machine, 5, USER, priority, |_| Moved::Busy);
        assert_eq!((end, block), (CompactEnd::Complete, None), "{priority:?}");
        assert_eq!(moves.iter().filter(|(from, _)| *from == 1).count(), passes);
        assert_eq!(machine.zone(ZONE).map(|zone| zone.free().get()), before, "every target went back");
    }
    // The pageblock is skipped next time, and looked at when everything is.
    let mut machine = machine(vec![movable(state, 0, [BLOCK])]);
    let mut calls = 0;
    let first = direct(&mut machine, 5, USER, Priority::SyncLight, |_| {
        calls += 1;
        if calls > 40 { Moved::Interrupted } else { Moved::Busy }
    });
    assert_eq!(first.0, CompactEnd::Contended, "a signal came");
}

#[test]
fn nasty_the_scanners_meet() {
    // Source and target are one pageblock: there is nothing below to move from.
    let mut one = machine(vec![comb(full(ZONE, 1), 0, Movable)]);
    let (end, _, moves) = direct(&mut one, 3, USER, Priority::SyncFull, |_| Moved::Moved);
    assert_eq!((end, moves.len()), (CompactEnd::Complete, 0));
    // More to move than there is room for: they meet in the middle, and begin at the ends next time.
    let mut state = free(full(ZONE, 4), 3, Movable, &[3 * BLOCK + 8]);
    state = movable(state, 0, (0..BLOCK).step_by(2));
    let mut machine = machine(vec![state]);
    let (end, _, moves) = direct(&mut machine, 5, USER, Priority::SyncLight, |_| Moved::Moved);
    assert_eq!((end, moves.len()), (CompactEnd::Skipped, 0), "eight pages are no room for a block of 32");
    let mut compaction = Compaction::whole(&machine, node(0));
    let (end, _, moves) = ended(&mut machine, &mut compaction, |_| Moved::Moved);
    assert_eq!((end, moves.len()), (CompactEnd::Complete, 8));
    assert_eq!(moves[0], (0, 3 * BLOCK + 8));
}

/// Where the scanners met, the next run begins at the ends; where they did not, it goes on, and is only a part of the zone.
#[test]
fn nasty_where_the_next_run_begins() {
    let state = || comb(comb(comb(full(ZONE, 6), 0, Movable), 1, Movable), 5, Movable);
    let mut machine = machine(vec![state()]);
    let (end, _, moves) = direct(&mut machine, 5, USER, Priority::Async, |_| Moved::Busy);
    assert_eq!((end, moves.first().copied()), (CompactEnd::Complete, Some((1, 5 * BLOCK))));
    let sources = |moves: &[(u64, u64)]| moves.iter().map(|(from, _)| from / BLOCK).collect::<Vec<_>>();
    assert_eq!(
        sources(&moves),
        [[0; 32], [1; 32]].concat(),
        "a cluster of each, and then the rest of the pageblock is left"
    );
    let again = direct(&mut machine, 5, USER, Priority::Async, |_| Moved::Busy);
    assert_eq!((again.0, again.2), (CompactEnd::Complete, moves), "the same once more, though these had nothing");
    // A block in the first pageblock was enough; the next run goes on behind it, and what it has looked at is less than all.
    let mut machine = crate::common::machine(vec![comb(comb(full(ZONE, 6), 0, Movable), 5, Movable)]);
    let (end, block, _) = direct(&mut machine, 5, USER, Priority::SyncLight, |_| Moved::Moved);
    assert_eq!((end, place(block)), (CompactEnd::Success, Some((ZONE, 0))));
    let (end, _, moves) = direct(&mut machine, 5, USER, Priority::SyncLight, |_| Moved::Busy);
    assert_eq!((end, moves.first().map(|&(from, _)| from)), (CompactEnd::PartialSkipped, Some(65)));
    assert!(moves.iter().all(|&(_, to)| to / BLOCK == 5), "free pages are looked for where they were found");
    let compact = machine.parts(ZONE).expect("a zone").compact;
    assert!(compact.puts_off(Order::new(5)), "a failure all the same");
    let (end, _, moves) = direct(&mut machine, 5, USER, Priority::SyncFull, |_| Moved::Busy);
    assert_eq!(
        (end, moves.first().map(|&(from, _)| from)),
        (CompactEnd::Complete, Some(33)),
        "what is left of the first"
    );
}

/// Somebody takes pages while others move: the raw minimum must stay, so the next target is refused, and the run ends there.
#[test]
fn nasty_a_target_is_refused_under_way() {
    let state = marked(comb(comb(full(ZONE, 4), 0, Movable), 3, Movable), 500, 501, 502);
    let mut machine = machine(vec![state]);
    let mut compaction = Compaction::whole(&machine, node(0));
    let mut question = compaction.begin(&mut machine);
    for moved in 0..3 {
        let CompactQuestion::Move(block) = question else { panic!("{question:?} after {moved}") };
        assert_eq!(block.from, pfn(1 + 2 * moved));
        question = compaction.answer(&mut machine, Moved::Moved);
        checked(&machine);
    }
    let CompactQuestion::Move(last) = question else { panic!("{question:?}") };
    // Its target is taken already. Of 511 pages eleven go elsewhere: none may be taken that would leave 500.
    let want = zone::Want { order: Order::ZERO, migratetype: Movable, flags: zone::AllocFlags::NONE };
    let taken = machine.with_zone(ZONE, |parts| (0..11).filter_map(|_| parts.zone.take(want)).count());
    assert_eq!((taken, machine.zone(ZONE).map(|zone| zone.free().get())), (Some(11), Some(500)));
    let question = compaction.answer(&mut machine, Moved::Moved);
    checked(&machine);
    assert_eq!(question, CompactQuestion::End(CompactEnd::Contended, None));
    let zone = machine.zone(ZONE).expect("a zone");
    assert_eq!(zone.free().get(), 501, "what moved left its page behind");
    let held = |pfn: Pfn| zone.find(pfn).map(|found| found.held);
    assert_eq!((held(last.from), held(last.to)), (Some(Held::Free), Some(Held::Movable)));
    assert_eq!(held(pfn(9)), Some(Held::Movable), "what was collected and did not move is where it was");
    assert!(!machine.parts(ZONE).expect("a zone").compact.puts_off(Order::new(9)), "it is nobody's failure");
}

#[test]
fn nasty_it_is_worth_while_or_not() {
    // Enough free pages in small pieces; the marks leave room, or not.
    let pieces = || comb(comb(full(ZONE, 4), 0, Movable), 3, Movable);
    for (min, worth) in [(100, true), (495, true), (496, false)] {
        let mut machine = machine(vec![marked(pieces(), min, 512, 512)]);
        // Above the minimum and twice the block; below it there is too little to move pages to.
        let (end, ..) = direct(&mut machine, 3, USER, Priority::SyncLight, |_| Moved::Moved);
        assert_eq!(end != CompactEnd::Skipped, worth, "a minimum of {min}");
    }
    // A few pages: memory is short, not fragmented.
    let mut short = machine(vec![free(full(ZONE, 4), 8, Movable, &[0, 512, 1024])]);
    let (end, ..) = direct(&mut short, 9, USER, Priority::SyncLight, |_| Moved::Moved);
    assert_eq!(end, CompactEnd::Skipped);
    // Suitable by the free pages, and the raw minimum must stay: nothing can be taken to move to.
    let mut tight = machine(vec![marked(pieces(), 500, 500, 500)]);
    let mut compaction = Compaction::whole(&tight, node(0));
    let (end, _, moves) = ended(&mut tight, &mut compaction, |_| Moved::Moved);
    assert_eq!((end, moves.len() > 100), (CompactEnd::Complete, true));
    let mut none = machine(vec![marked(pieces(), 512, 512, 512)]);
    let mut compaction = Compaction::whole(&none, node(0));
    assert_eq!(ended(&mut none, &mut compaction, |_| Moved::Moved).0, CompactEnd::Contended);
}

/// After each failure twice as many requests are put off, up to 64; then it begins anew.
#[test]
fn nasty_failures_put_requests_off() {
    let mut state = CompactState::default();
    let order = Order::new(4);
    for failures in 0..8u32 {
        let shift = failures.min(6);
        let refused = (0..200).take_while(|_| state.puts_off(order)).count();
        assert_eq!(refused, (1usize << shift) - 1, "after {failures} failures");
        assert_eq!(state.begins_anew(order), shift == 6);
        assert!(!state.puts_off(order), "once let through, until it fails again");
        state.defer(order);
    }
    assert!(state.puts_off(Order::new(9)), "larger ones are put off as well");
    state.reset(Order::new(4), Served::No);
    assert!(!state.puts_off(order), "what ended well is not put off");
    assert!(state.puts_off(Order::new(5)), "what is larger is");
    state.reset(Order::new(9), Served::Yes);
    assert!(!state.puts_off(Order::new(10)));
    let mut smaller = CompactState::default();
    smaller.reset(Order::new(9), Served::Yes);
    smaller.defer(Order::new(3));
    assert!(!smaller.puts_off(Order::new(2)) && smaller.puts_off(Order::new(3)));
}

#[test]
fn nasty_a_zone_is_put_off() {
    let mut machine = machine(vec![singles(full(ZONE, 4), Movable, 200)]);
    let vain = |machine: &mut PageAllocator, priority| direct(machine, 9, USER, priority, |_| Moved::Moved).0;
    // Two hundred pages and nothing that moves.
    assert_eq!(vain(&mut machine, Priority::SyncLight), CompactEnd::Skipped, "it is not worth while");
    let mut machine = crate::common::machine(vec![singles(full(ZONE, 6), Movable, 1200)]);
    assert_eq!(vain(&mut machine, Priority::Async), CompactEnd::Complete);
    assert_eq!(vain(&mut machine, Priority::SyncLight), CompactEnd::Complete, "the quick one puts nothing off");
    assert_eq!(vain(&mut machine, Priority::SyncLight), CompactEnd::Deferred);
    assert_eq!(vain(&mut machine, Priority::Async), CompactEnd::Complete, "every second one is let through");
    assert_eq!(vain(&mut machine, Priority::SyncFull), CompactEnd::Complete, "the hardest is never put off");
}

/// Blocks stayed in pieces, since the pages that were missing lay on a processor's list.
#[test]
fn nasty_regression_a_run_in_vain_drains_the_lists() {
    // All of the first pageblock but one page is free.
    let mut state = full(ZONE, 6);
    for (order, frame) in [(0, 6), (1, 4), (2, 0), (3, 8), (4, 16), (5, 32), (6, 64), (7, 128), (8, 256)] {
        state = free(state, order, Movable, &[frame]);
    }
    let others: Vec<u64> = (0..1000).map(|n| BLOCK + 2 * n).collect();
    let mut machine = machine(vec![free(state, 0, Movable, &others)]);
    let many = PageCount::new(999);
    let tuning = PcpTuning { batch: PageCount::new(63), high_min: many, high_max: many };
    let pages = vec![(pfn(7), Order::ZERO, Movable)];
    assert_eq!(machine.set_lists(ZONE, tuning, &PerCpuState { pages, ..PerCpuState::default() }), Ok(()));
    let mut compaction = Compaction::background(&machine, node(0), Order::new(9), Normal);
    let (end, _, moves) = ended(&mut machine, &mut compaction, |_| Moved::Moved);
    assert_eq!((end, moves.len()), (CompactEnd::Complete, 0));
    assert_eq!(list(&machine, 9, Movable), [0]);
    assert!(machine.parts(ZONE).expect("a zone").compact.puts_off(Order::new(9)));
}

#[test]
fn nasty_a_node_compacts_by_itself() {
    let state = comb(comb(comb(full(ZONE, 8), 0, Movable), 1, Movable), 7, Movable);
    let mut machine = machine(vec![free(state, 9, Movable, &[5 * BLOCK])]);
    let mut looks = Proactive::default();
    // 768 of 1280 free pages are of no use to a huge page: 60 of 100, or 59 by the sizes of the zones.
    assert!(looks.look(&mut machine, node(0), 0).is_none(), "switched off");
    assert!(looks.look(&mut machine, node(0), 50).is_none(), "59 is not above 60");
    let mut run = looks.look(&mut machine, node(0), 52).expect("59 is above 58");
    let (_, block, moves) = ended(&mut machine, &mut run, |_| Moved::Moved);
    assert_eq!(block, None);
    assert_eq!(moves.len(), 256, "until the zone is at 48");
    looks.end(&mut machine, node(0));
    assert!(looks.look(&mut machine, node(0), 52).is_none(), "it is good enough");
    assert!(looks.look(&mut machine, node(0), 100).is_some(), "for some it never is");
    // A run in vain: sixty-four looks are left out.
    let mut run = looks.look(&mut machine, node(0), 100).expect("a run");
    let _ = ended(&mut machine, &mut run, |_| Moved::Busy);
    looks.end(&mut machine, node(0));
    let left_out = (0..100).take_while(|_| looks.look(&mut machine, node(0), 100).is_none()).count();
    assert_eq!(left_out, 64);
    // While reclaim works, compaction does not.
    machine.with_node(node(0), |state| state.kswapd.sleep = Sleep::Awake);
    assert!(looks.look(&mut machine, node(0), 100).is_none());
}
