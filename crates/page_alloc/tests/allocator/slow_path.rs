//! Requests that find nothing at once, on machines that are built as they stand.

use page_alloc::{
    Answer, Attempted, Block, Compacted, Cpusets, NoBlock, PageAllocator, PageEvent, PageRequest, Priority, Purpose,
    Question, ReserveAfter, Rules, Sleep, Standing, Task, TaskSite, Zones, may_reclaim_by_itself,
};
use policy::{NodeSpec, ZoneRef};
use units::{Blame, CpuId, GfpFlags, Ledger, Migratetype, Nodemask, Order, PageCount, Pfn, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{PerCpuState, ZoneState};

use crate::common::{
    BLOCK, at, checked, free, full, machine, machine_with, marked, node, place, request, singles, start_of, typed,
};

use Migratetype::{HighAtomic, Movable, Unmovable};
use ZoneKind::Normal;

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ATOMIC: GfpFlags = GfpFlags::ATOMIC;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

/// How a request ended, and what it asked on the way.
type Ended = (Result<Block, NoBlock>, Vec<Question>);

/// A request to its end; `answer` may do to the machine what a caller would.
fn run(
    machine: &mut PageAllocator,
    ask: &PageRequest,
    mut answer: impl FnMut(&mut PageAllocator, Question) -> Answer,
) -> Ended {
    let mut asked = Vec::new();
    let mut path = match machine.alloc(ask).unwrap_or_else(|error| panic!("{error}")) {
        Attempted::Done(block) => return (Ok(block), asked),
        Attempted::Slow(path) => path,
        Attempted::Failed(none) => panic!("{none}"),
    };
    let mut question = path.begin(machine);
    loop {
        checked(machine);
        match question {
            Question::Done(block) => return (Ok(block), asked),
            Question::Failed(none) => return (Err(none), asked),
            other => asked.push(other),
        }
        assert!(asked.len() < 500, "no end in sight: {:?}", &asked[..20]);
        let next = answer(machine, question);
        question = path.answer(machine, next);
    }
}

/// Nothing ever comes of anything, and nobody else kills.
fn in_vain(_: &mut PageAllocator, question: Question) -> Answer {
    match question {
        Question::Reclaim => Answer::Reclaimed(PageCount::ZERO),
        Question::Compact(_) => Answer::Compacted(Compacted::Failure),
        Question::Rest => Answer::Rested,
        Question::LockKiller => Answer::Locked,
        _ => Answer::Nobody,
    }
}

fn served(ended: &Ended) -> Option<(ZoneRef, u64)> {
    place(ended.0.ok())
}

fn times(ended: &Ended, question: Question) -> usize {
    ended.1.iter().filter(|&&asked| asked == question).count()
}

/// Four blocks of which so many single pages are free.
fn with_free(zone: ZoneRef, pages: u64, marks: (u64, u64, u64)) -> ZoneState {
    marked(singles(typed(full(zone, 4), 0, Unmovable), Unmovable, pages), marks.0, marks.1, marks.2)
}

#[test]
fn nasty_how_far_below_the_minimum_each_may_go() {
    let victim = Task { standing: Standing::Victim, ..Task::default() };
    let reclaimer = Task { standing: Standing::Reclaimer, ..Task::default() };
    let real_time = Task { site: TaskSite::RealTime, ..Task::default() };
    for (gfp, task, least) in [
        (KERNEL, Task::default(), 101),
        (GfpFlags::NOWAIT, Task::default(), 101),
        (KERNEL | GfpFlags::HIGH, Task::default(), 51),
        (KERNEL, real_time, 51),
        (ATOMIC, Task::default(), 39),
        (ATOMIC | GfpFlags::NOMEMALLOC, Task::default(), 51),
        (KERNEL, victim, 51),
        (KERNEL | GfpFlags::MEMALLOC, Task::default(), 1),
        (KERNEL, reclaimer, 1),
        (KERNEL | GfpFlags::NOMEMALLOC, reclaimer, 101),
    ] {
        for (pages, serves) in [(least, true), (least - 1, false)] {
            let mut machine = machine(vec![with_free(at(0, Normal), pages, (100, 125, 150))]);
            let ask = PageRequest { task, ..request(0, gfp | GfpFlags::NORETRY) };
            let ended = run(&mut machine, &ask, in_vain);
            assert_eq!(served(&ended).is_some(), serves, "{gfp} {task:?} with {pages} pages");
            let purpose = if least == 1 { Purpose::FreeMemory } else { Purpose::Any };
            assert!(ended.0.is_err() || ended.0.map(|block| block.purpose) == Ok(purpose));
        }
    }
}

#[test]
fn nasty_pages_come_in_the_nth_round() {
    for (order, round) in [(0, 1), (1, 3), (2, 9)] {
        let zone = at(0, Normal);
        let mut machine = machine(vec![typed(full(zone, 4), 0, Unmovable)]);
        let mut rounds = 0;
        let ask = request(order, KERNEL | GfpFlags::NOFAIL);
        let ended = run(&mut machine, &ask, |machine, question| {
            if question != Question::Reclaim {
                return in_vain(machine, question);
            }
            rounds += 1;
            if rounds < round {
                return Answer::Reclaimed(PageCount::ZERO);
            }
            assert_eq!(machine.free(zone, Pfn::new(start_of(zone) + 8), Order::new(order)), Ok(()));
            Answer::Reclaimed(Order::new(order).pages())
        });
        assert_eq!((served(&ended), rounds), (Some((zone, 8)), round));
        let warned = machine.take_events().contains(&PageEvent::NofailTooLarge { order: Order::new(order) });
        assert_eq!(warned, order > 1, "it may wait for ever, and says so");
    }
}

/// Reclaim could free everything, by the numbers, and frees nothing.
#[test]
fn nasty_hope_that_ends_after_sixteen_rounds() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![with_free(zone, 4, (100, 125, 150))]);
    machine.parts(zone).expect("a zone").counts.reclaimable = PageCount::new(97);
    let ask = request(0, KERNEL | GfpFlags::RETRY_MAYFAIL);
    let ended = run(&mut machine, &ask, in_vain);
    assert_eq!((times(&ended, Question::Reclaim), times(&ended, Question::Rest)), (17, 16));
    assert_eq!(times(&ended, Question::Kill), 0);
    assert_eq!(
        ended.0.map_err(|none| (none.ledger(), none.free.get(), none.zones)),
        Err((Some(Ledger::Watermark), 4, 1))
    );
    // One page less, and the first round is the last.
    machine.parts(zone).expect("a zone").counts.reclaimable = PageCount::new(96);
    let ended = run(&mut machine, &ask, in_vain);
    assert_eq!(times(&ended, Question::Reclaim), 1);
}

#[test]
fn nasty_why_there_was_no_block() {
    let enough = with_free(at(0, Normal), 4, (0, 0, 1));
    let ended = run(&mut machine(vec![enough.clone()]), &request(2, KERNEL | GfpFlags::NORETRY), in_vain);
    assert_eq!(ended.0.map_err(|none| none.ledger()), Err(Some(Ledger::Contiguity)));
    let mut machine = machine_with(vec![enough], Rules::default(), 1);
    let nowhere = PageRequest { node: node(1), ..request(0, KERNEL | GfpFlags::THISNODE) };
    let ended = run(&mut machine, &nowhere, in_vain);
    assert_eq!(ended.0.map_err(|none| (none.ledger(), none.zones)), Err((Some(Ledger::Node), 0)));
    assert_eq!(ended.1, [], "nothing was reclaimed for it");
}

#[test]
fn nasty_a_failure_is_said_unless_it_is_expected() {
    let warned = |gfp| {
        let mut machine = machine(vec![full(at(0, Normal), 4)]);
        let ended = run(&mut machine, &request(0, gfp | GfpFlags::NORETRY), in_vain);
        assert!(ended.0.is_err());
        let events = machine.take_events();
        let (order, migratetype) = (Order::ZERO, Unmovable);
        let gfp = gfp | GfpFlags::NORETRY;
        assert_eq!(events.last(), Some(&PageEvent::Allocated { pfn: None, order, gfp, migratetype }));
        events.contains(&PageEvent::Warned { order, gfp })
    };
    assert!(warned(KERNEL));
    assert!(!warned(KERNEL | GfpFlags::NOWARN));
    assert!(!warned(KERNEL | GfpFlags::DMA), "there is no such zone at all");
}

/// An urgent page failed while blocks kept for urgent requests were free, because only larger requests could have them.
#[test]
fn nasty_regression_an_urgent_page_uses_the_reserve() {
    let zone = at(0, Normal);
    let state = free(typed(full(zone, 200), 0, HighAtomic), 1, HighAtomic, &[4]);
    for (gfp, serves) in
        [(ATOMIC, true), (GfpFlags::NOWAIT, true), (KERNEL | GfpFlags::NORETRY | GfpFlags::HIGH, false)]
    {
        let mut machine = machine(vec![state.clone()]);
        let ended = run(&mut machine, &request(0, gfp), in_vain);
        assert_eq!(served(&ended), serves.then_some((zone, 4)), "{gfp}");
    }
}

/// Processes were killed while the reserve for urgent requests had free pages.
#[test]
fn nasty_regression_no_kill_while_the_reserve_has_pages() {
    let zone = at(0, Normal);
    let state = free(typed(full(zone, 200), 0, HighAtomic), 1, HighAtomic, &[4]);
    let mut machine = machine(vec![state]);
    let ended = run(&mut machine, &request(0, KERNEL), in_vain);
    assert_eq!((served(&ended), times(&ended, Question::LockKiller)), (Some((zone, 4)), 0));
    assert_eq!(machine.zone(zone).map(|zone| zone.reserved_highatomic().get()), Some(0));
    assert_eq!(machine.zone(zone).map(|z| z.migratetype(Pfn::new(start_of(zone)))), Some(Unmovable));
}

/// With one block of the reserve left it stays as long as reclaim makes progress.
#[test]
fn nasty_the_last_block_of_the_reserve_stays_while_there_is_progress() {
    let zone = at(0, Normal);
    let state = free(typed(full(zone, 200), 0, HighAtomic), 1, HighAtomic, &[4]);
    let mut machine = machine(vec![state]);
    let ended = run(&mut machine, &request(0, KERNEL | GfpFlags::NORETRY), |machine, question| match question {
        Question::Reclaim => Answer::Reclaimed(PageCount::new(9)),
        other => in_vain(machine, other),
    });
    assert!(ended.0.is_err());
    assert_eq!(machine.zone(zone).map(|zone| zone.reserved_highatomic().get()), Some(BLOCK));
}

/// The reserve grew with every urgent block that came from a processor's list, where there was no shortage at all.
#[test]
fn nasty_regression_blocks_from_lists_enlarge_no_reserve() {
    let zone = at(0, Normal);
    for (reserve, kept) in [(ReserveAfter::EveryBlock, BLOCK), (ReserveAfter::BlocksOfTheZone, 0)] {
        let rules = Rules { reserve, ..Rules::default() };
        let state = marked(free(typed(full(zone, 200), 0, Unmovable), 2, Unmovable, &[8, 16, 24]), 8, 30, 40);
        let mut machine = machine_with(vec![state.clone()], rules, 0);
        assert!(served(&run(&mut machine, &request(1, ATOMIC), in_vain)).is_some());
        assert_eq!(machine.zone(zone).map(|zone| zone.reserved_highatomic().get()), Some(kept), "{reserve:?}");
    }
    // What no list takes enlarges it either way.
    let rules = Rules { reserve: ReserveAfter::BlocksOfTheZone, ..Rules::default() };
    let state = marked(free(typed(full(zone, 200), 0, Unmovable), 5, Unmovable, &[64, 128]), 8, 70, 90);
    let mut machine = machine_with(vec![state], rules, 0);
    assert!(served(&run(&mut machine, &request(5, ATOMIC), in_vain)).is_some());
    assert_eq!(machine.zone(zone).map(|zone| zone.reserved_highatomic().get()), Some(BLOCK));
}

/// Pages that were reclaimed lay on the lists of another processor, and the request failed beside them.
#[test]
fn nasty_regression_pages_on_other_processors_lists() {
    let (zone, far) = (at(0, Normal), at(1, Normal));
    let mut machine = machine(vec![full(zone, 4), full(far, 4)]);
    let tuning = PcpTuning { batch: PageCount::new(63), high_min: PageCount::new(999), high_max: PageCount::new(999) };
    machine.run_on(CpuId::new(1)).expect("a processor");
    let pages = vec![(Pfn::new(start_of(zone) + 7), Order::ZERO, Movable)];
    assert_eq!(machine.set_lists(zone, tuning, &PerCpuState { pages, ..PerCpuState::default() }), Ok(()));
    machine.run_on(CpuId::new(0)).expect("a processor");
    let ask = request(0, KERNEL | GfpFlags::NORETRY);
    let ended = run(&mut machine, &ask, |machine, question| match question {
        Question::Reclaim => Answer::Reclaimed(PageCount::new(1)),
        other => in_vain(machine, other),
    });
    assert_eq!(served(&ended), Some((zone, 7)));
}

#[test]
fn nasty_zone_lists_are_rebuilt_under_way() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let mut machine = machine(vec![full(near, 4), with_free(far, 4, (0, 1, 2))]);
    // At first the far node is not there.
    let empty = NodeSpec::normal(PageCount::ZERO);
    machine.set_node(node(1), empty).expect("one node is left");
    let mut rounds = 0;
    let ended = run(&mut machine, &request(0, KERNEL | GfpFlags::RETRY_MAYFAIL), |machine, question| {
        if question == Question::Reclaim {
            rounds += 1;
            machine.set_node(node(1), NodeSpec::normal(PageCount::new(4 * BLOCK))).expect("a node comes");
        }
        in_vain(machine, question)
    });
    assert_eq!((served(&ended), rounds), (Some((far, 0)), 1), "the request begins again");
    // Lists that change all the time are no reason to go on for ever: each change is worth one beginning.
    let mut machine = crate::common::machine(vec![full(near, 4), full(far, 4)]);
    let mut rounds = 0;
    let ended = run(&mut machine, &request(0, KERNEL | GfpFlags::NORETRY), |machine, question| {
        if question == Question::Reclaim {
            rounds += 1;
            if rounds < 5 {
                machine.set_node(node(1), NodeSpec::normal(PageCount::new(4 * BLOCK))).expect("a node stays");
            }
        }
        in_vain(machine, question)
    });
    assert_eq!((ended.0.is_err(), rounds), (true, 5));
}

/// The preferred node left the cpuset of a request under way, which then retried for ever.
#[test]
fn nasty_regression_the_cpuset_changes_under_way() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let mut machine = machine_with(vec![full(near, 4), with_free(far, 4, (0, 1, 2))], rules, 0);
    let task = Task { allowed: Nodemask::of(node(0)), ..Task::default() };
    let ask = PageRequest { task, ..request(0, USER | GfpFlags::NORETRY) };
    let mut rounds = 0;
    let ended = run(&mut machine, &ask, |machine, question| {
        if question == Question::Reclaim {
            rounds += 1;
            if rounds < 4 {
                machine.note_cpuset_change();
            }
        }
        in_vain(machine, question)
    });
    assert_eq!((ended.0.is_err(), rounds), (true, 4));
}

/// The cpuset of a task that waits gets another node: its request begins again, and finds what that node has.
#[test]
fn nasty_a_cpuset_gets_another_node_under_way() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let (first, second) = (Nodemask::of(node(0)), Nodemask::of(node(1)));
    let task = Task { allowed: first, walled: first, ..Task::default() };
    let ask = |gfp, nodemask| PageRequest { task, nodemask, ..request(0, gfp) };
    let both = Some(Nodemask::first(2));
    // A page of the far node; where only the near one may be used, nothing; where the mask has nothing in common with the cpuset any
    // more, it is given up.
    for (nodemask, to, from) in
        [(None, second, Some(far)), (both, second, Some(far)), (Some(first), second, Some(far)), (None, first, None)]
    {
        let mut machine = machine_with(vec![full(near, 4), with_free(far, 4, (0, 1, 2))], rules, 0);
        let Ok(Attempted::Slow(mut path)) = machine.alloc(&ask(USER | GfpFlags::NORETRY, nodemask)) else {
            panic!("the near node has nothing")
        };
        let (mut question, mut rounds) = (path.begin(&mut machine), 0);
        while !matches!(question, Question::Done(_) | Question::Failed(_)) {
            checked(&machine);
            if question == Question::Reclaim {
                rounds += 1;
                if rounds == 1 {
                    path.confine(to, to);
                    machine.note_cpuset_change();
                }
            }
            let answer = in_vain(&mut machine, question);
            question = path.answer(&mut machine, answer);
        }
        let got = if let Question::Done(block) = question { Some(block.zone) } else { None };
        assert_eq!((got, rounds), (from, if from.is_some() { 1 } else { 2 }), "{nodemask:?} to {to:?}");
        let counted = machine.counts(far).map(|counts| (counts.allocated, counts.hit, counts.miss));
        // The far node is preferred once the near one is out of reach, by the mask alone.
        assert_eq!(counted.map(|(pages, ..)| pages), Some(u64::from(from.is_some())));
        let last = machine.take_events().into_iter().rfind(|e| matches!(e, PageEvent::Allocated { .. }));
        let Some(PageEvent::Allocated { pfn, .. }) = last else { panic!("no event") };
        assert_eq!(pfn.is_some(), from.is_some());
    }
}

#[test]
fn nasty_a_mask_that_the_cpuset_rules_out() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let mut machine = machine_with(vec![with_free(near, 4, (0, 1, 2)), with_free(far, 4, (0, 1, 2))], rules, 0);
    let task = Task { allowed: Nodemask::of(node(1)), ..Task::default() };
    let ask = PageRequest { task, nodemask: Some(Nodemask::of(node(0))), ..request(0, USER) };
    let ended = run(&mut machine, &ask, in_vain);
    assert_eq!(served(&ended).map(|(zone, _)| zone), Some(far), "the mask is given up, the cpuset is not");
    assert_eq!(ended.1, [], "before anything is reclaimed");
}

/// The kernel's own data spill over the walls of a cpuset once its nodes are full; a user's do not.
#[test]
fn nasty_who_stays_within_the_cpuset() {
    let (near, far) = (at(0, Normal), at(1, Normal));
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let task = Task { allowed: Nodemask::of(node(0)), ..Task::default() };
    let walled = Task { walled: Nodemask::of(node(0)), ..task };
    let victim = Task { standing: Standing::Victim, ..task };
    for (gfp, task, from) in [
        (KERNEL, task, Some(far)),
        (KERNEL, walled, None),
        (USER, task, None),
        (USER, victim, Some(far)),
        (ATOMIC, walled, Some(far)),
        (ATOMIC | GfpFlags::NOMEMALLOC, walled, Some(far)),
    ] {
        let mut machine = machine_with(vec![full(near, 4), with_free(far, 4, (0, 1, 2))], rules, 0);
        let ask = PageRequest { task, ..request(0, gfp | GfpFlags::NORETRY) };
        let ended = run(&mut machine, &ask, in_vain);
        assert_eq!(served(&ended).map(|(zone, _)| zone), from, "{gfp} {task:?}");
    }
}

/// A cpuset of movable memory alone: a request for kernel memory that must stay within it has nothing to wait for.
#[test]
fn nasty_a_cpuset_without_a_zone_for_the_request() {
    let (near, far) = (at(0, Normal), at(1, ZoneKind::Movable));
    let task = Task { allowed: Nodemask::of(node(1)), ..Task::default() };
    for (cpusets, gfp, rounds) in
        [(Cpusets::Insane, GfpFlags::USER, 0), (Cpusets::On, GfpFlags::USER, 1), (Cpusets::Insane, USER, 1)]
    {
        let rules = Rules { cpusets, ..Rules::default() };
        let mut machine = machine_with(vec![full(near, 4), full(far, 4)], rules, 0);
        let ended = run(&mut machine, &PageRequest { task, ..request(0, gfp | GfpFlags::NORETRY) }, in_vain);
        assert_eq!((ended.0.is_err(), times(&ended, Question::Reclaim)), (true, rounds), "{cpusets:?} {gfp}");
    }
}

#[test]
fn nasty_whom_a_request_wakes() {
    let zones = || vec![full(at(0, ZoneKind::Dma32), 4), full(at(0, Normal), 4), full(at(1, Normal), 4)];
    let woken = |machine: &mut PageAllocator| -> Vec<PageEvent> {
        let events = machine.take_events();
        let of = |e: &PageEvent| matches!(e, PageEvent::WokeReclaim { .. } | PageEvent::WokeCompaction { .. });
        events.into_iter().filter(of).collect()
    };
    let marked_zones = || zones().into_iter().map(|zone| marked(zone, 1, 2, 3)).collect::<Vec<_>>();
    let gfp = GfpFlags::NOWAIT;
    let reclaim = |n| PageEvent::WokeReclaim { node: node(n), highest: Normal, order: Order::new(2), gfp };
    let compaction = |n| PageEvent::WokeCompaction { node: node(n), highest: Normal, order: Order::new(2) };
    let mut machine = machine(marked_zones());
    assert!(run(&mut machine, &request(2, gfp), in_vain).0.is_err());
    assert_eq!(woken(&mut machine), [reclaim(0), reclaim(1)], "each node once, though the request looked twice");
    // Those awake are told what is wanted besides, and no more is said.
    assert!(run(&mut machine, &request(3, gfp), in_vain).0.is_err());
    assert_eq!(woken(&mut machine), []);
    let wanted = machine.with_node(node(1), |state| state.kswapd.wanted);
    assert_eq!(wanted, Some((Order::new(3), Normal)));
    // Reclaim that failed sixteen times in a row sleeps on, and compaction is all that is left for those who cannot wait.
    for n in [0, 1] {
        machine.with_node(node(n), |state| {
            state.kswapd.sleep = Sleep::Asleep;
            state.kswapd.failures = 16;
            state.kswapd.wanted = None;
        });
    }
    assert!(run(&mut machine, &request(2, gfp), in_vain).0.is_err());
    let twice = [compaction(0), compaction(1), compaction(0), compaction(1)];
    assert_eq!(woken(&mut machine), twice);
    assert!(run(&mut machine, &request(2, KERNEL | GfpFlags::NORETRY), in_vain).0.is_err());
    assert_eq!(woken(&mut machine), [], "who can wait does it himself");
}

/// Who reclaims by himself waits while less than half of the minimums of his node is free; not for zones with nothing to reclaim, and not
/// for background reclaim that has given up.
#[test]
fn nasty_who_must_wait_for_background_reclaim() {
    let (low, normal, movable) = (at(0, ZoneKind::Dma32), at(0, Normal), at(0, ZoneKind::Movable));
    for (pages, may) in [(80, false), (81, true)] {
        let zones = vec![with_free(low, 20, (60, 60, 60)), with_free(normal, pages, (140, 140, 140)), full(movable, 4)];
        let mut machine = machine(zones);
        assert!(may_reclaim_by_itself(&mut machine, node(0)), "nothing can be reclaimed");
        for zone in [low, normal] {
            machine.parts(zone).expect("a zone").counts.reclaimable = PageCount::new(1);
        }
        assert_eq!(may_reclaim_by_itself(&mut machine, node(0)), may, "{pages} and 20 pages of 200");
        machine.with_node(node(0), |state| state.kswapd.failures = 16);
        assert!(may_reclaim_by_itself(&mut machine, node(0)));
        checked(&machine);
    }
}

#[test]
fn nasty_compaction_catches_the_block() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![with_free(zone, 64, (1, 2, 3))]);
    let pfn = Pfn::new(start_of(zone) + 512);
    let block = Block { pfn, order: Order::new(9), zone, migratetype: Unmovable, purpose: Purpose::Any };
    let ended = run(&mut machine, &request(9, KERNEL), |_, question| {
        assert_eq!(question, Question::Compact(Priority::Async));
        Answer::Captured(block)
    });
    assert_eq!(ended.0, Ok(block));
}

/// Compaction says that it made a block; the request finds it on the free lists.
#[test]
fn nasty_compaction_frees_a_block_for_anybody() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![with_free(zone, 64, (1, 2, 3))]);
    let ended = run(&mut machine, &request(9, KERNEL), |machine, question| {
        assert_eq!(question, Question::Compact(Priority::Async));
        assert_eq!(machine.free(zone, Pfn::new(start_of(zone) + 1024), Order::new(9)), Ok(()));
        Answer::Compacted(Compacted::Success)
    });
    assert_eq!(served(&ended), Some((zone, 1024)));
}

/// Too little is free to move pages to: another round is worth it only if reclaim could change that.
#[test]
fn nasty_room_for_compaction_by_the_numbers() {
    let zone = at(0, Normal);
    // Order 2: free pages above the minimum and twice the block, of which reclaim gives a half.
    for (reclaimable, rounds) in [(0, 1), (10, 1), (12, 3)] {
        let mut machine = machine(vec![with_free(zone, 4, (1, 2, 3))]);
        machine.parts(zone).expect("a zone").counts.reclaimable = PageCount::new(reclaimable);
        let mut left = 3;
        let ended = run(&mut machine, &request(2, KERNEL), |machine, question| match question {
            Question::Reclaim => {
                left -= 1;
                Answer::Reclaimed(PageCount::new(u64::from(left > 0)))
            }
            Question::Compact(_) => Answer::Compacted(Compacted::Skipped),
            other => in_vain(machine, other),
        });
        assert_eq!((ended.0.is_err(), times(&ended, Question::Reclaim)), (true, rounds), "{reclaimable} reclaimable");
    }
}

/// What its owner changes in a request under way changes nothing in it.
#[test]
fn nasty_a_request_changed_under_way_stays_what_it_was() {
    let zone = at(0, Normal);
    let mut machine = machine(vec![typed(full(zone, 4), 0, Unmovable)]);
    let mut ask = request(1, KERNEL | GfpFlags::NOFAIL);
    let Ok(Attempted::Slow(mut path)) = machine.alloc(&ask) else { panic!("nothing is free") };
    let mut question = path.begin(&mut machine);
    while question != Question::Reclaim {
        let answer = in_vain(&mut machine, question);
        question = path.answer(&mut machine, answer);
    }
    ask.order = Order::new(9);
    ask.gfp = GfpFlags::DMA;
    assert_eq!(machine.free(zone, Pfn::new(start_of(zone) + 8), Order::new(1)), Ok(()));
    let question = path.answer(&mut machine, Answer::Reclaimed(PageCount::new(2)));
    assert!(matches!(question, Question::Done(block) if block.order == Order::new(1)), "{ask:?}");
}
