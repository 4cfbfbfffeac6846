//! The recorded scripts, replayed.

use std::path::Path;

use lab::conform::Corpus;
use lab::instance::Instance;
use lab::op::Op;
use lab::target::{Counters, Header, Target};

use crate::table::STEPS;

/// What a machine of this model cannot do.
const WITHOUT: [&str; 8] = ["subpool", "cgroup", "1G", "demote", "uffd", "shm", "hvo", "seal"];

/// One script, read.
#[derive(Debug)]
pub struct Script {
    header: Header,
    ops: Vec<Op>,
}

/// Every script that the instance can run. Panics where the recordings are not whole: there is nothing to measure then.
#[must_use]
pub fn scripts() -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18");
    let corpus = Corpus::open(&folder).unwrap_or_else(|problem| panic!("{problem}"));
    let corpus = corpus.without(&WITHOUT.map(str::to_owned)).unwrap_or_else(|problem| panic!("{problem}"));
    let read = |entry| {
        let script = corpus.script(entry).unwrap_or_else(|problems| panic!("{}", problems[0]));
        Script { header: script.header(&entry.name), ops: script.ops().cloned().collect() }
    };
    let scripts: Vec<Script> = corpus.entries().iter().map(read).collect();
    let steps: usize = scripts.iter().map(|script| script.ops.len()).sum();
    assert_eq!(steps, STEPS as usize, "the recordings are whole");
    scripts
}

/// Runs all scripts, each on a machine of its own, and reads the counters after every step. Returns how many fields differ
/// in the end from a machine on which nothing happened, so that nothing can be left out.
pub fn replay(scripts: &[Script]) -> usize {
    let mut instance = Instance::new();
    let untouched = Counters::default();
    let mut differing = 0;
    for script in scripts {
        instance.begin(&script.header).expect("recorded on a machine that can be");
        for op in &script.ops {
            std::hint::black_box(instance.step(op));
            std::hint::black_box(instance.counters());
        }
        differing += instance.end().diff(&untouched).len();
    }
    differing
}
