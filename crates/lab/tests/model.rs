//! The machine against a naive model: random operations, every answer and every counter compared, and every room recounted,
//! after every step.
//!
//! One million steps by default, split over seeds and profiles so that they run side by side. A failure prints its seed, the command
//! that replays it and the shortest failing sequence as a scenario. `HUGEFOLIO_MODEL_STEPS` sets the number of steps,
//! `HUGEFOLIO_MODEL_SEED` the first seed.

use std::fmt::Write;

use lab::generate::{Generator, Profile};
use lab::instance::Instance;
use lab::model::{NaiveMachine, Quirks};
use lab::op::Op;
use lab::scenario::{HeaderLine, Scenario};
use lab::shrink::shrink;
use lab::target::{Answer, Header, MachineLine, Target, diff_fields};

/// Steps of one run: long enough that pools, files and families become entangled.
const RUN: u64 = 200;

/// Tests in this file that share the steps.
const SHARES: u64 = 19;

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// The machine and the model side by side.
struct Pair {
    machine: Instance,
    model: NaiveMachine,
}

impl Pair {
    fn new(machine: Option<&MachineLine>) -> Self {
        let mut pair = Self { machine: Instance::new(), model: NaiveMachine::new(Quirks::NONE) };
        let header = Header { machine: machine.cloned(), ..Header::default() };
        pair.machine.begin(&header).expect("there is such a machine");
        pair.model.begin(&header).expect("there is such a model");
        pair
    }

    /// Runs one operation on both; what differs, or what a recount found.
    fn step(&mut self, op: &Op) -> Result<Answer, String> {
        let mut ours = self.machine.step(op);
        // What happens to a guest's tables on the way is not modelled.
        ours.extras.steps = None;
        let theirs = self.model.step(op);
        let mut wrong = String::new();
        if ours.result != theirs.result {
            let _ = writeln!(wrong, "result: the machine {}, the model {}", ours.result, theirs.result);
        }
        let mut differences = diff_fields(&ours.extras.fields(), &theirs.extras.fields());
        differences.extend(self.machine.counters().diff(&self.model.counters()));
        for difference in differences {
            let _ = writeln!(wrong, "{difference}");
        }
        if let Err(broken) = self.machine.machine().validate() {
            let _ = writeln!(wrong, "the machine recounts: {broken}");
        }
        if let Err(unsound) = self.model.validate() {
            let _ = writeln!(wrong, "the model recounts: {unsound}");
        }
        if wrong.is_empty() { Ok(ours) } else { Err(wrong) }
    }

    fn end(&mut self) -> Result<(), String> {
        let differences = self.machine.end().diff(&self.model.end());
        let recount = self.machine.machine().validate().map_err(|broken| broken.to_string());
        match differences.first() {
            Some(difference) => Err(format!("after the end, {difference}")),
            None => recount,
        }
    }
}

/// The first thing wrong with a sequence.
fn wrong_with(machine: Option<&MachineLine>, ops: &[Op]) -> Option<String> {
    let mut pair = Pair::new(machine);
    for (index, op) in ops.iter().enumerate() {
        if let Err(wrong) = pair.step(op) {
            return Some(format!("step {index}, {op}:\n{wrong}"));
        }
    }
    pair.end().err()
}

fn run(seed: u64, profile: Profile) {
    let mut generator = Generator::new(seed, profile);
    let mut pair = Pair::new(profile.machine().as_ref());
    let mut ops = Vec::new();
    for _ in 0..RUN {
        let op = generator.next_op();
        ops.push(op.clone());
        match pair.step(&op) {
            Ok(answer) => generator.observe(&op, &answer),
            Err(wrong) => report(seed, profile, &ops, &wrong),
        }
    }
    if let Err(wrong) = pair.end() {
        report(seed, profile, &ops, &wrong);
    }
}

fn report(seed: u64, profile: Profile, ops: &[Op], wrong: &str) -> ! {
    let machine = profile.machine();
    let short = shrink(ops, 5000, |ops| wrong_with(machine.as_ref(), ops).is_some());
    let header = machine.clone().map(HeaderLine::Machine).map_or(String::new(), |line| format!("{line}\n"));
    let scenario: String = short.iter().map(|op| format!("{op}\n")).collect();
    let shortest = wrong_with(machine.as_ref(), &short).unwrap_or_default();
    panic!(
        "{profile:?} seed {seed}: {wrong}\nreplay: HUGEFOLIO_MODEL_SEED={seed} HUGEFOLIO_MODEL_STEPS={} cargo test -p \
         hugefolio-lab --test model\nthe shortest sequence that fails, as a scenario:\n\n{header}{scenario}\n{shortest}",
        RUN * SHARES
    );
}

/// One share of the steps. Shares of a profile have seeds of their own.
fn share(profile: Profile, part: u64) {
    let runs = (from_environment("HUGEFOLIO_MODEL_STEPS", 1_000_000) / SHARES).div_ceil(RUN);
    let first = from_environment("HUGEFOLIO_MODEL_SEED", 1 + part * 1_000_000);
    for seed in first..first + runs {
        run(seed, profile);
    }
}

#[test]
fn anonymous_memory_part_1() {
    share(Profile::Basic, 0);
}

#[test]
fn anonymous_memory_part_2() {
    share(Profile::Basic, 1);
}

#[test]
fn families_part_1() {
    share(Profile::Fork, 0);
}

#[test]
fn families_part_2() {
    share(Profile::Fork, 1);
}

#[test]
fn files_part_1() {
    share(Profile::File, 0);
}

#[test]
fn files_part_2() {
    share(Profile::File, 1);
}

#[test]
fn limits_part_1() {
    share(Profile::Subpool, 0);
}

#[test]
fn limits_part_2() {
    share(Profile::Subpool, 1);
}

#[test]
fn control_groups_part_1() {
    share(Profile::Cgroup, 0);
}

#[test]
fn control_groups_part_2() {
    share(Profile::Cgroup, 1);
}

#[test]
fn limited_memory() {
    share(Profile::Memcg, 0);
}

#[test]
fn everything_part_1() {
    share(Profile::Mix, 0);
}

#[test]
fn everything_part_2() {
    share(Profile::Mix, 1);
}

#[test]
fn watched_memory_part_1() {
    share(Profile::Uffd, 0);
}

#[test]
fn watched_memory_part_2() {
    share(Profile::Uffd, 1);
}

/// Memory of guests, beside everything that takes pages of the same pool.
#[test]
fn guests() {
    share(Profile::Guest, 0);
}

/// Two nodes: policies, cpusets and moves among everything else.
#[test]
fn two_nodes_part_1() {
    share(Profile::Numa, 0);
}

#[test]
fn two_nodes_part_2() {
    share(Profile::Numa, 1);
}

/// Four nodes, unequally far apart, one without processors and one without memory.
#[test]
fn four_nodes() {
    share(Profile::Nodes, 0);
}

/// Memory ends for both at the same page, for the administrator and for surplus pages.
#[test]
fn memory_ends_at_the_marks() {
    let script = "sysctl_nr 100000\nset_overcommit 100\na0 spawn\na0 mmap A 24458M private,anon\nsysctl_nr 100001\n";
    let scenario = Scenario::parse("memory", script).expect("it can be read");
    let ops: Vec<Op> = scenario.ops().cloned().collect();
    assert_eq!(wrong_with(None, &ops), None);
}

/// Instances, not globals: two machines run operation by operation in turn, and each must be what it is when run alone.
#[test]
fn two_machines_in_turn_equal_each_alone() {
    for seed in 0..40 {
        let pair = [(seed, Profile::Mix), (seed + 1_000, Profile::Fork)];
        let sequences = pair.map(|(seed, profile)| {
            let mut generator = Generator::new(seed, profile);
            let mut machine = Instance::new();
            let mut log = Vec::new();
            for _ in 0..RUN {
                let op = generator.next_op();
                let answer = machine.step(&op);
                generator.observe(&op, &answer);
                log.push((op, answer, machine.counters()));
            }
            (log, machine.end())
        });
        let mut machines = [Instance::new(), Instance::new()];
        for n in 0..sequences[0].0.len() {
            for (machine, (log, _)) in machines.iter_mut().zip(&sequences) {
                let (op, answer, counters) = &log[n];
                assert_eq!((&machine.step(op), &machine.counters()), (answer, counters), "seed {seed}, step {n}: {op}");
            }
        }
        for (machine, (_, end)) in machines.iter_mut().zip(&sequences) {
            assert_eq!(machine.end(), *end, "seed {seed}, after the end");
        }
    }
}
