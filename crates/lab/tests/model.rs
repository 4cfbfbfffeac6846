//! The naive model against the recorded kernel: with its quirks it is the kernel, without them it differs only where a quirk
//! shows.

use std::path::{Path, PathBuf};

use lab::model::{NaiveMachine, Quirks};
use lab::op::{Op, Record};
use lab::target::{Answer, Counters, Header, RecordedLine, StepResult, Target};

/// What the model does not know; scripts that use it are left out.
const NOT_MODELLED: [&str; 8] = ["subpool", "cgroup", "1G", "demote", "uffd", "shm", "hvo", "seal"];

const CORPUS: &str = "the corpus is part of the repository and can be read";

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18")
}

/// The names of the scripts that need nothing that the model does not know.
fn core_scripts() -> Vec<String> {
    let manifest = std::fs::read_to_string(corpus().join("manifest.json")).expect(CORPUS);
    let entries: serde_json::Value = serde_json::from_str(&manifest).expect(CORPUS);
    let known = |entry: &&serde_json::Value| {
        let features = entry["features"].as_array().expect(CORPUS);
        features.iter().all(|feature| !NOT_MODELLED.contains(&feature.as_str().expect(CORPUS)))
    };
    let mut names: Vec<String> = entries
        .as_array()
        .expect(CORPUS)
        .iter()
        .filter(known)
        .map(|entry| entry["name"].as_str().expect(CORPUS).to_owned())
        .collect();
    names.sort();
    names
}

/// What a script asks, and what the kernel answered.
struct Script {
    ops: Vec<Op>,
    answers: Vec<(Answer, Counters)>,
    end: Counters,
}

fn read(name: &str) -> Script {
    let lines = |folder: &str| {
        let path = corpus().join(folder).join(format!("{name}.jsonl"));
        std::fs::read_to_string(path).expect(CORPUS)
    };
    let op = |line: &str| {
        let record: Record = serde_json::from_str(line).expect(CORPUS);
        Op::from_record(&record).expect(CORPUS)
    };
    let mut script = Script {
        ops: lines("scripts").lines().skip(1).map(op).collect(),
        answers: Vec::new(),
        end: Counters::default(),
    };
    for line in lines("recorded").lines() {
        match RecordedLine::from_json(line).expect(CORPUS) {
            RecordedLine::Head { .. } => {}
            RecordedLine::Step { answer, counters, .. } => script.answers.push((*answer, counters)),
            RecordedLine::End { counters } => script.end = counters,
        }
    }
    script
}

/// Runs a script and describes the first difference, with its step.
fn first_difference(script: &Script, quirks: Quirks) -> Option<(usize, String)> {
    let mut model = NaiveMachine::new(quirks);
    model.begin(&Header::default()).expect("the usual machine is modelled");
    for (step, (op, (theirs, counters))) in script.ops.iter().zip(&script.answers).enumerate() {
        let answer = model.step(op);
        model.validate().unwrap_or_else(|error| panic!("step {step}: {op}: {error}"));
        assert!(!matches!(answer.result, StepResult::NotModelled(_)), "step {step}: {op}: {answer:?}");
        let differs = model.counters().diff(counters);
        if answer.result != theirs.result || answer.extras != theirs.extras || !differs.is_empty() {
            let text = format!("{op}: {answer:?}, recorded {theirs:?}; {differs:?}");
            return Some((step, text));
        }
    }
    let differs = model.end().diff(&script.end);
    (!differs.is_empty()).then(|| (script.ops.len(), format!("the end: {differs:?}")))
}

/// Where the sound model leaves the recordings: the script, the step, and the one quirk that shows there.
const SOUND_DIFFERS: [(&str, usize, &str); 5] = [
    ("cow_child_uses_parent_reserve", 9, "K1"),
    ("cow_parent_exits_first", 5, "K1"),
    ("kbug_mremap_tail_leak", 5, "K2"),
    ("kbug_owner_munmap_underflow", 5, "K1"),
    ("rnd_fork_047", 11, "K1"),
];

fn single(quirk: &str) -> Quirks {
    Quirks {
        k1_owner_restores_at_once: quirk == "K1",
        k2_partial_move_loses_map: quirk == "K2",
        k6_surplus_free_ignores_reservations: quirk == "K6",
    }
}

#[test]
fn without_quirks_the_model_differs_only_where_one_shows() {
    let mut found = Vec::new();
    for name in core_scripts() {
        let script = read(&name);
        let Some((step, text)) = first_difference(&script, Quirks::NONE) else {
            continue;
        };
        let cures = |quirk: &&str| first_difference(&script, single(quirk)).is_none_or(|(later, _)| later > step);
        let quirk = ["K1", "K2", "K6"].into_iter().find(cures);
        let quirk = quirk.unwrap_or_else(|| panic!("{name} {step}: no quirk explains {text}"));
        found.push((name, step, quirk));
    }
    let found: Vec<(&str, usize, &str)> =
        found.iter().map(|(name, step, quirk)| (name.as_str(), *step, *quirk)).collect();
    assert_eq!(found, SOUND_DIFFERS);
}

/// The owner drops a page while there is no surplus, so that the page carries its reservation; a sharer frees it when there
/// is surplus. 6.18 lets the page leave the pool, and one reservation has no page any more.
#[test]
fn a_page_that_carries_a_reservation_stays_while_there_is_surplus() {
    let story = [
        "set_nr 4",
        "set_overcommit 4",
        "a0 spawn",
        "a0 mmap a 4M private,anon",
        "a0 touch a p0..2 write = 1",
        "a0 fork a1",
        "a0 madvise a 0..2M dontneed",
        "set_nr 2",
        "a0 mmap b 4M private,anon",
        "a1 munmap a 0..2M",
    ];
    let pool_after = |quirks| {
        let mut model = NaiveMachine::new(quirks);
        for line in story {
            let answer = model.step(&line.parse().unwrap());
            assert!(answer.result.is_ok(), "{line}: {answer:?}");
        }
        let pool = model.counters().m2;
        [pool.nr, pool.free, pool.resv, pool.surplus]
    };
    assert_eq!(pool_after(Quirks::KERNEL), [3, 2, 3, 1]);
    assert_eq!(pool_after(Quirks::NONE), [4, 3, 3, 2]);
}

#[test]
fn with_its_quirks_the_model_is_the_recorded_kernel() {
    let scripts = core_scripts();
    let mut steps = 0;
    let mut different = Vec::new();
    for name in &scripts {
        let script = read(name);
        steps += script.ops.len();
        if let Some((step, text)) = first_difference(&script, Quirks::KERNEL) {
            different.push(format!("{name} {step}: {text}"));
        }
    }
    assert!(different.is_empty(), "{} different\n{}", different.len(), different.join("\n"));
    assert_eq!((scripts.len(), steps), (126, 4_685));
}
