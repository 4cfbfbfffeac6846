//! The slow path with every answer scripted: which steps, in which order, and when it ends.

use page_alloc::{
    Compacted, Compactor, Context, Defrag, Fate, IoScope, Killer, Nodes, PageRequest, Priority, Progress, Rules,
    SlowPath, Standing, Step, Task,
};
use policy::Topology;
use units::{GfpFlags, NodeId, Nodemask, Order, PageCount};
use zone::{AllocFlags, Level};

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ATOMIC: GfpFlags = GfpFlags::ATOMIC;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn path(gfp: GfpFlags, order: u8, task: Task, rules: Rules) -> SlowPath {
    let topology = Topology::new(Nodemask::first(1), |_, _| 10).expect("a node");
    let request = PageRequest { task, ..PageRequest::new(Order::new(order), gfp, NodeId::new(0)) };
    let context = Context::new(&request, &rules, &topology).unwrap_or_else(|error| panic!("{error}"));
    SlowPath::new(context, rules)
}

/// Every step until the end, with `answer` for each; a request that takes more steps than a patient caller has is stuck.
fn run_by(gfp: GfpFlags, order: u8, task: Task, rules: Rules, mut answer: impl FnMut(Step) -> Progress) -> Vec<Step> {
    let mut path = path(gfp, order, task, rules);
    let mut steps = Vec::new();
    let mut progress = Progress::None;
    loop {
        let step = path.step(progress);
        steps.push(step);
        if matches!(step, Step::Done | Step::Fail) {
            assert_eq!(path.step(Progress::Taken), step, "the end is the end");
            return steps;
        }
        assert!(steps.len() < 2000, "no end in sight: {:?}", &steps[..30]);
        progress = if step == Step::Begin { Progress::Yes } else { answer(step) };
    }
}

/// The same under the usual rules, with nobody else who kills.
fn run(gfp: GfpFlags, order: u8, task: Task, mut answer: impl FnMut(Step) -> Progress) -> Vec<Step> {
    run_by(gfp, order, task, Rules::default(), |step| match (step, answer(step)) {
        (Step::LockKiller, _) => Progress::Yes,
        (_, answer) => answer,
    })
}

fn count(steps: &[Step], of: impl Fn(&Step) -> bool) -> usize {
    steps.iter().filter(|step| of(step)).count()
}

fn times(steps: &[Step], step: Step) -> usize {
    count(steps, |s| *s == step)
}

fn is_try(step: &Step) -> bool {
    matches!(step, Step::Try(_))
}

fn rights(steps: &[Step]) -> Vec<AllocFlags> {
    steps.iter().filter_map(|step| if let Step::Try(attempt) = step { Some(attempt.flags()) } else { None }).collect()
}

fn reclaimed(pages: u64) -> Progress {
    Progress::Reclaimed(PageCount::new(pages))
}

fn yes_if(yes: bool) -> Progress {
    if yes { Progress::Yes } else { Progress::None }
}

fn task() -> Task {
    Task::default()
}

#[test]
fn nasty_who_cannot_wait_tries_twice() {
    for gfp in [ATOMIC, GfpFlags::NOWAIT] {
        let steps = run(gfp, 0, task(), |_| Progress::None);
        assert_eq!((count(&steps, is_try), times(&steps, Step::Wake), steps.last()), (2, 2, Some(&Step::Fail)));
        assert_eq!(times(&steps, Step::Reclaim), 0);
    }
    let urgent = run(ATOMIC, 2, task(), |_| Progress::None);
    let Some(Step::Try(last)) = urgent.iter().rfind(|step| is_try(step)) else { panic!("{urgent:?}") };
    assert!(last.level() == Level::Min && last.flags().contains(AllocFlags::HIGHATOMIC));
    assert_eq!(last.nodes(), Nodes::All, "who may not be confined looks everywhere");
}

#[test]
fn nasty_no_zone_at_all() {
    for (gfp, end) in [(KERNEL, Step::Fail), (KERNEL | GfpFlags::THISNODE, Step::Fail)] {
        let mut path = path(gfp, 0, task(), Rules::default());
        assert_eq!(path.step(Progress::None), Step::Begin);
        assert_eq!(path.step(Progress::None), Step::Recheck, "perhaps there is one by now");
        assert_eq!(path.step(Progress::None), end);
    }
    // Who must not fail waits for a zone to come.
    let mut path = path(KERNEL | GfpFlags::NOFAIL | GfpFlags::THISNODE, 0, task(), Rules::default());
    let mut step = path.step(Progress::None);
    for _ in 0..5000 {
        assert!(!matches!(step, Step::Done | Step::Fail));
        step = path.step(Progress::None);
    }
    assert_eq!(path.step(Progress::Taken), Step::Done);
}

#[test]
fn nasty_one_round_without_retry() {
    let gfp = KERNEL | GfpFlags::NORETRY;
    let steps = run(gfp, 0, task(), |_| Progress::None);
    assert_eq!((times(&steps, Step::Reclaim), count(&steps, is_try), steps.last()), (1, 2, Some(&Step::Fail)));
    // Pages were reclaimed, and somebody else took them: they may lie on other processors' lists.
    let steps = run(gfp, 0, task(), |step| if step == Step::Reclaim { reclaimed(9) } else { Progress::None });
    let after: Vec<_> = steps.iter().skip_while(|step| **step != Step::Reclaim).collect();
    assert!(matches!(after[..], [_, Step::Try(_), Step::Drain, Step::Try(_), Step::Recheck, Step::Fail]), "{steps:?}");
}

/// Reclaim says every time that it would suffice, and it never does.
#[test]
fn nasty_sixteen_fruitless_rounds() {
    let could = |step| yes_if(step == Step::CouldReclaim);
    let steps = run(KERNEL | GfpFlags::RETRY_MAYFAIL, 0, task(), could);
    assert_eq!(times(&steps, Step::Reclaim), 17);
    assert_eq!(times(&steps, Step::Rest), 16, "the last round ends at once");
    assert_eq!(times(&steps, Step::Unreserve), 1, "the reserve goes before hope does");
    assert_eq!((times(&steps, Step::Kill), steps.last()), (0, Some(&Step::Fail)), "nobody is killed for it");
}

#[test]
fn nasty_a_large_block_is_worth_one_round() {
    let steps = run(KERNEL, 4, task(), |step| match step {
        Step::Compact(_) => Progress::Compacted(Compacted::Failure),
        Step::Reclaim => reclaimed(32),
        _ => Progress::None,
    });
    let compactions: Vec<_> = steps.iter().filter(|step| matches!(step, Step::Compact(_))).collect();
    assert_eq!(compactions, [&Step::Compact(Priority::Async), &Step::Compact(Priority::SyncLight)]);
    assert_eq!((times(&steps, Step::Reclaim), steps.last()), (1, Some(&Step::Fail)));
    // Who insists has sixteen rounds, and progress does not reset them.
    let stubborn = run(KERNEL | GfpFlags::RETRY_MAYFAIL, 4, task(), |step| match step {
        Step::Reclaim => reclaimed(32),
        Step::Compact(_) => Progress::Compacted(Compacted::Failure),
        _ => yes_if(step == Step::CouldReclaim),
    });
    assert_eq!((times(&stubborn, Step::Reclaim), stubborn.last()), (17, Some(&Step::Fail)));
    // Compaction that could never help makes it a small matter.
    let rules = Rules { compaction: Compactor::Absent, ..Rules::default() };
    for (gfp, rules) in [(KERNEL, rules), (GfpFlags::NOIO, Rules::default())] {
        let steps = run_by(gfp | GfpFlags::RETRY_MAYFAIL, 4, task(), rules, |step| yes_if(step == Step::CouldReclaim));
        assert_eq!((times(&steps, Step::Reclaim), count(&steps, |s| matches!(s, Step::Compact(_)))), (1, 0));
    }
}

#[test]
fn nasty_a_large_block_of_one_node_without_retry() {
    let gfp = KERNEL | GfpFlags::NORETRY;
    for (gfp, result, gives_up) in [
        (gfp, Compacted::Skipped, true),
        (gfp, Compacted::Deferred, true),
        (gfp, Compacted::Failure, false),
        (gfp | GfpFlags::THISNODE, Compacted::Failure, true),
    ] {
        let mut priorities = Vec::new();
        let steps = run(gfp, 9, task(), |step| match step {
            Step::Compact(priority) => {
                priorities.push(priority);
                Progress::Compacted(result)
            }
            _ => Progress::None,
        });
        assert_eq!(times(&steps, Step::Reclaim), usize::from(!gives_up), "{result:?}");
        assert!(priorities.iter().all(|&priority| priority == Priority::Async), "it never waits for compaction");
    }
}

/// Small blocks that can move come free by themselves: to compact for them before reclaim is not worth it.
#[test]
fn nasty_who_compacts_first() {
    for (gfp, order, first) in [
        (KERNEL, 0, false),
        (KERNEL, 1, true),
        (USER, 3, false),
        (USER, 4, true),
        (KERNEL.difference(GfpFlags::IO), 4, false),
        (KERNEL | GfpFlags::MEMALLOC, 4, false),
    ] {
        let steps = run(gfp | GfpFlags::NORETRY, order, task(), |step| match step {
            Step::Compact(_) => Progress::Compacted(Compacted::Failure),
            _ => Progress::None,
        });
        let at = |of: fn(&Step) -> bool| steps.iter().position(of).unwrap_or(usize::MAX);
        let compacts_first = at(|s| matches!(s, Step::Compact(_))) < at(|s| *s == Step::Reclaim);
        assert_eq!(compacts_first, first, "{gfp} of order {order}");
    }
    let inside = Task { scope: IoScope::NoIo, ..task() };
    let steps = run(KERNEL, 4, inside, |_| Progress::None);
    assert_eq!(count(&steps, |s| matches!(s, Step::Compact(_))), 0, "the task's scope forbids it");
}

#[test]
fn nasty_compaction_tries_harder_and_then_gives_up() {
    let with = |result: Compacted| {
        move |step| match step {
            Step::Reclaim => reclaimed(1),
            Step::Compact(_) => Progress::Compacted(result),
            _ => Progress::None,
        }
    };
    let compactions = |steps: &[Step]| -> Vec<Step> {
        steps.iter().filter(|step| matches!(step, Step::Compact(_))).copied().collect()
    };
    let (quick, light, full) = (Priority::Async, Priority::SyncLight, Priority::SyncFull);
    let steps = run(KERNEL, 2, task(), with(Compacted::Failure));
    assert_eq!(compactions(&steps), [quick, light, full].map(Step::Compact));
    // Success without a page for us: somebody else was faster, sixteen times at each priority.
    let steps = run(KERNEL, 2, task(), with(Compacted::Success));
    assert_eq!(times(&steps, Step::Compact(light)), 17);
    assert_eq!(times(&steps, Step::Compact(full)), 17);
    // Large blocks have four, and never stop the world.
    let steps = run(KERNEL | GfpFlags::RETRY_MAYFAIL, 9, task(), with(Compacted::Success));
    assert_eq!((times(&steps, Step::Compact(light)), times(&steps, Step::Compact(full))), (5, 0));
    let ends = Task { fate: Fate::Ends, ..task() };
    let steps = run(KERNEL, 2, ends, |step| if step == Step::Reclaim { reclaimed(1) } else { Progress::None });
    assert_eq!(times(&steps, Step::Reclaim), 1, "who dies does not wait for compaction");
}

/// Compaction was skipped for want of room: it is worth another round if reclaim could make that room, and only then.
#[test]
fn nasty_compaction_needs_room() {
    let mut rounds = 0;
    let steps = run(KERNEL, 2, task(), |step| match step {
        Step::Reclaim => reclaimed(1),
        Step::Compact(_) => Progress::Compacted(Compacted::Skipped),
        Step::CouldCompact => {
            rounds += 1;
            yes_if(rounds < 40)
        }
        _ => Progress::None,
    });
    assert_eq!((times(&steps, Step::Reclaim), steps.last()), (40, Some(&Step::Fail)), "progress is never counted out");
}

#[test]
fn nasty_a_request_that_must_not_fail() {
    let gfp = KERNEL | GfpFlags::NOFAIL;
    for order in [0, 1, 2] {
        for page_in_round in [1, 5, 40] {
            let mut rounds = 0;
            let steps = run(gfp, order, task(), |step| match step {
                Step::Reclaim => {
                    rounds += 1;
                    reclaimed(u64::from(rounds == page_in_round))
                }
                Step::Compact(_) => Progress::Compacted(Compacted::Failure),
                Step::Try(_) if rounds == page_in_round => Progress::Taken,
                _ => Progress::None,
            });
            assert_eq!((rounds, steps.last()), (page_in_round, Some(&Step::Done)));
        }
    }
    // Nobody can be killed: it looks below every mark, within the cpuset and then outside.
    let mut seen = 0;
    let steps = run(gfp, 0, task(), |step| {
        seen += usize::from(matches!(step, Step::Try(attempt) if attempt.flags() == AllocFlags::NO_WATERMARKS));
        match step {
            Step::LockKiller => Progress::Yes,
            Step::Try(_) if seen > 0 => Progress::Taken,
            _ => Progress::None,
        }
    });
    let asked = rights(&steps);
    assert_eq!(asked[asked.len() - 2], AllocFlags::NO_WATERMARKS.with(AllocFlags::CPUSET));
    // Where not even that helps, half of the minimum is tried each round, and the next round begins.
    let mut rounds = 0;
    let steps = run(gfp, 4, task(), |step| {
        rounds += usize::from(step == Step::Reclaim);
        match step {
            Step::Try(_) if rounds == 3 => Progress::Taken,
            _ => Progress::None,
        }
    });
    let half = AllocFlags::MIN_RESERVE;
    let halves: Vec<_> = rights(&steps).into_iter().filter(|flags| flags.contains(half)).collect();
    assert_eq!(halves, [half.with(AllocFlags::CPUSET), half, half.with(AllocFlags::CPUSET), half]);
}

#[test]
fn nasty_a_kill_that_frees_nothing() {
    let mut kills = 0;
    let steps = run(KERNEL, 0, task(), |step| match step {
        Step::LockKiller => Progress::Yes,
        Step::Kill => {
            kills += 1;
            // Processes die one by one, then there is none left.
            yes_if(kills < 4)
        }
        _ => Progress::None,
    });
    assert_eq!((kills, times(&steps, Step::Reclaim), steps.last()), (4, 4, Some(&Step::Fail)));
    let victim = Task { standing: Standing::Victim, ..task() };
    let steps = run(KERNEL, 0, victim, |step| yes_if(matches!(step, Step::LockKiller | Step::Kill)));
    assert_eq!((times(&steps, Step::Kill), steps.last()), (1, Some(&Step::Fail)), "it had its share");
}

/// Somebody else is killing: that counts as progress, and the request rests before it looks again.
#[test]
fn nasty_the_killer_is_busy() {
    let mut busy = 3;
    let steps = run_by(KERNEL, 0, task(), Rules::default(), |step| match step {
        Step::LockKiller => {
            busy -= 1;
            yes_if(busy < 0)
        }
        _ => Progress::None,
    });
    assert_eq!((times(&steps, Step::LockKiller), times(&steps, Step::Kill)), (4, 1));
    let after = |n: usize| steps.iter().skip_while(|s| **s != Step::LockKiller).nth(n);
    assert_eq!((after(1), after(2)), (Some(&Step::Rest), Some(&Step::Recheck)));
}

#[test]
fn nasty_for_whom_nobody_is_killed() {
    let suspended = Rules { killer: Killer::Suspended, ..Rules::default() };
    let dumps = Task { fate: Fate::DumpsCore, ..task() };
    for (gfp, order, task, rules, kills) in [
        (KERNEL, 3, task(), Rules::default(), 1),
        (KERNEL | GfpFlags::RETRY_MAYFAIL, 0, task(), Rules::default(), 0),
        (KERNEL | GfpFlags::THISNODE, 0, task(), Rules::default(), 0),
        (KERNEL | GfpFlags::DMA32, 0, task(), Rules::default(), 0),
        (KERNEL | GfpFlags::DMA, 0, task(), Rules::default(), 0),
        (KERNEL, 0, task(), suspended, 0),
        (KERNEL, 0, dumps, Rules::default(), 0),
    ] {
        let steps = run_by(gfp, order, task, rules, |step| yes_if(step == Step::LockKiller));
        assert_eq!(times(&steps, Step::Kill), kills, "{gfp} of order {order}");
        let last = steps.iter().rfind(|s| is_try(s));
        assert!(matches!(last, Some(Step::Try(attempt)) if attempt.level() == Level::High), "it looks once more");
        assert_eq!(steps.last(), Some(&Step::Fail));
    }
}

#[test]
fn nasty_a_reclaimer_uses_everything_and_never_reclaims() {
    let reclaimer = Task { standing: Standing::Reclaimer, ..task() };
    let steps = run(KERNEL, 0, reclaimer, |_| Progress::None);
    assert_eq!(rights(&steps)[1], AllocFlags::NO_WATERMARKS.with(AllocFlags::KSWAPD));
    assert_eq!((times(&steps, Step::Reclaim), steps.last()), (0, Some(&Step::Fail)));
}

/// A cpuset that changed during a request made it retry for ever.
#[test]
fn nasty_regression_a_changed_cpuset_restarts_and_no_more() {
    for gfp in [KERNEL | GfpFlags::RETRY_MAYFAIL, KERNEL | GfpFlags::NORETRY, ATOMIC] {
        for change in 0..4 {
            let mut looks = 0;
            let steps = run(gfp, 1, task(), |step| {
                let changed = step == Step::Recheck && looks == change;
                looks += usize::from(step == Step::Recheck);
                match step {
                    Step::Compact(_) => Progress::Compacted(Compacted::Failure),
                    _ => yes_if(changed),
                }
            });
            let begins = times(&steps, Step::Begin);
            assert!(steps.len() < 60, "changed at look {change}: {steps:?}");
            assert_eq!((begins, steps.last()), (if looks > change { 2 } else { 1 }, Some(&Step::Fail)));
        }
    }
}

/// Processes were killed while the reserve for urgent requests had free pages.
#[test]
fn nasty_regression_the_reserve_is_given_up_before_anybody_is_killed() {
    let mut given = 0;
    let steps = run(KERNEL, 0, task(), |step| match step {
        Step::Unreserve => {
            given += 1;
            yes_if(given == 1)
        }
        Step::Try(_) if given == 1 => Progress::Taken,
        _ => Progress::None,
    });
    assert_eq!((times(&steps, Step::LockKiller), steps.last()), (0, Some(&Step::Done)));
}

/// Blocks were kept whole even for those who cannot wait, and they failed with pages free; and those who can wait reclaimed without
/// end for blocks that were there to be mixed.
#[test]
fn nasty_regression_whole_blocks_are_given_up_in_time() {
    let rules = Rules { defrag: Defrag::On, ..Rules::default() };
    let whole = AllocFlags::NOFRAGMENT;
    let steps = run_by(ATOMIC, 0, task(), rules, |_| Progress::None);
    assert!(rights(&steps).iter().all(|flags| !flags.contains(whole)), "at once");
    let steps = run_by(KERNEL, 0, task(), rules, |step| yes_if(step == Step::LockKiller));
    assert_eq!(times(&steps, Step::Reclaim), 2, "one round whole, and one mixed");
    let mixes = rights(&steps).iter().position(|flags| !flags.contains(whole));
    let kills = steps.iter().position(|step| *step == Step::LockKiller);
    assert!(mixes < kills, "before anybody is killed");
}
