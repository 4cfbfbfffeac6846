//! The generator on the naive model: its operations are worth running, the same seed gives the same ones, and the model stays
//! sound under them.

use std::collections::{BTreeMap, BTreeSet};

use lab::generate::{Generator, Profile, ends_beyond_files};
use lab::instance::Instance;
use lab::model::{NaiveMachine, Quirks};
use lab::op::{About, Draws, Op, VERBS};
use lab::target::{StepResult, Target};

const STEPS: usize = 60;

/// One run: the operations with their results, the machine audited after each.
fn run(mut generator: Generator, quirks: Quirks) -> Vec<(Op, StepResult)> {
    let mut machine = NaiveMachine::new(quirks);
    let mut steps = Vec::new();
    for step in 0..STEPS {
        let op = generator.next_op();
        let answer = machine.step(&op);
        generator.observe(&op, &answer);
        if let Err(error) = machine.validate() {
            panic!("step {step}: {op}: {error}");
        }
        let pool = machine.counters().m2;
        assert!(pool.nr <= 64 + 64 && machine.counters().hp_kb.iter().count() <= 4, "step {step}: {op}: {pool:?}");
        steps.push((op, answer.result));
    }
    machine.end();
    if let Err(error) = machine.validate() {
        panic!("the end: {error}");
    }
    steps
}

#[test]
fn a_seed_gives_the_same_operations_again() {
    for profile in Profile::ALL {
        let ops = |seed| run(Generator::new(seed, profile), Quirks::NONE);
        assert_eq!(ops(3), ops(3));
        assert_ne!(ops(3), ops(4));
    }
}

#[test]
fn most_operations_succeed_and_each_verb_comes() {
    let mut verbs: BTreeSet<&str> = BTreeSet::new();
    for profile in Profile::ALL {
        let mut results: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..200 {
            for (op, result) in run(Generator::new(seed, profile), Quirks::NONE) {
                assert!(!matches!(result, StepResult::NotModelled(_)), "seed {seed}: {op}");
                assert!(!ends_beyond_files(&op), "seed {seed}: {op}");
                verbs.insert(op.verb().name);
                *results.entry(result.word().to_owned()).or_default() += 1;
            }
        }
        let total: usize = results.values().sum();
        let ok = results.get("ok").copied().unwrap_or(0);
        assert!(ok * 100 > total * 70 && ok * 100 < total * 95, "{profile:?}: {results:?}");
        for wanted in ["ENOMEM", "EINVAL", "SIGBUS", "SIGSEGV"] {
            assert!(results.contains_key(wanted), "{profile:?}: {results:?}");
        }
    }
    let others = ["nop", "fsync", "pwrite", "write", "demote", "demote_size", "set_hvo"];
    let left_out =
        |name: &str| others.contains(&name) || ["cg_", "uffd_"].iter().any(|family| name.starts_with(family));
    // The naive model is a machine of one node, and has no pages but huge ones.
    let unknown = |about: About| matches!(about, About::Placement | About::Pages | About::Guest | About::Tables);
    let drawable = VERBS.iter().filter(|verb| !unknown(verb.about)).map(|verb| verb.name);
    let missing: Vec<&str> = drawable.filter(|name| !verbs.contains(name) && !left_out(name)).collect();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
}

/// The model that copies the kernel breaks its own rules now and then, but never loses a page.
#[test]
fn the_kernel_model_survives_random_operations() {
    for profile in Profile::ALL {
        for seed in 0..50 {
            run(Generator::for_kernel(seed, profile), Quirks::KERNEL);
        }
    }
}

/// Operations drawn from bytes are mostly nonsense, with every number at its limit; none may upset the model.
#[test]
fn any_operations_leave_the_model_consistent() {
    let mut state: u64 = 0x1234_5678_9abc_def1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    for quirks in [Quirks::NONE, Quirks::KERNEL].repeat(100) {
        let mut machine = NaiveMachine::new(quirks);
        for line in ["set_nr 16", "set_overcommit 3", "mount M0", "a0 spawn", "a1 spawn"] {
            machine.step(&line.parse().expect("the line is an operation"));
        }
        let bytes: Vec<u8> = (0..4000).map(|_| byte()).collect();
        let mut draws = Draws::new(&bytes);
        while !draws.is_spent() {
            let op = Op::draw(&mut draws);
            machine.step(&op);
            if let Err(error) = machine.validate() {
                panic!("{op}: {error}");
            }
        }
    }
}

/// The naive model has no pages of 1 GiB, so the library itself is asked, and recounts itself after every operation.
#[test]
fn pages_of_1_gib_are_had_demoted_and_returned() {
    let mut came: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..40 {
        let mut generator = Generator::for_kernel(seed, Profile::Gig);
        let mut machine = Instance::new();
        for _ in 0..150 {
            let op = generator.next_op();
            let answer = machine.step(&op);
            generator.observe(&op, &answer);
            assert!(!matches!(answer.result, StepResult::NotModelled(_)), "seed {seed}: {op}: {answer}");
            machine.machine().validate().unwrap_or_else(|broken| panic!("seed {seed}: {op}: {broken}"));
            if op.to_string().contains(" g") && answer.result.is_ok() {
                *came.entry(op.verb().name).or_default() += 1;
            }
        }
    }
    for wanted in ["mmap", "munmap", "touch", "madvise", "mprotect", "pagemap"] {
        assert!(came.get(wanted).is_some_and(|times| *times > 20), "{wanted}: {came:?}");
    }
}
