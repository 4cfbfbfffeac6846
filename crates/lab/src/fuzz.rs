//! What fuzzers call. Any bytes may come: nothing panics, what is refused is refused with a reason, and what is accepted holds.
//!
//! The fuzz targets in `fuzz/` are one line each and call these functions; a test calls them with every file of the corpora. What is wrong is a panic.

use std::path::Path;

use hugefolio::explain::{Host, Question, SavedHost};
use hugefolio::text::{Buddyinfo, Pagetypeinfo, Vmstat, Zoneinfo};

use crate::instance::Instance;
use crate::limits::Limits;
use crate::machine_state::SavedMachine;
use crate::op::{Draws, Op};
use crate::scenario::{Format, Scenario};
use crate::target::{Header, Target};

/// Something that takes any bytes.
pub type Entry = fn(&[u8]);

/// Every entry, with the name of its target and its corpus.
pub const ENTRIES: [(&str, Entry); 5] = [
    ("scenario", scenario),
    ("json_lines", json_lines),
    ("kernel_text", kernel_text),
    ("snapshot", snapshot),
    ("operations", operations),
];

/// The most operations that are done with what was read.
const MOST_STEPS: usize = 48;

/// Few of everything, so that each try is short.
const LIMITS: Limits = Limits::SMALL;

/// A scenario: what is read prints and reads back, and can be run.
pub fn scenario(bytes: &[u8]) {
    let Ok(read) = Scenario::read_from(Path::new("fuzz"), Format::Scenario, bytes) else { return };
    let _ = read.check(Path::new("fuzz"));
    let text = read.to_string();
    match Scenario::parse("printed", &text) {
        Ok(again) => assert!(again.to_string() == text, "printed twice:\n{text}\n{again}"),
        Err(problems) => panic!("what was printed is not read: {}\n{text}", problems[0]),
    }
    run(&read);
}

/// A script of JSON lines: as [`scenario`], and in its own form.
pub fn json_lines(bytes: &[u8]) {
    let Ok(read) = Scenario::read_from(Path::new("fuzz"), Format::JsonLines, bytes) else { return };
    let text = read.to_json_lines("fuzz");
    match Scenario::read_from(Path::new("printed"), Format::JsonLines, text.as_bytes()) {
        Ok(again) => assert_eq!(again.ops().collect::<Vec<_>>(), read.ops().collect::<Vec<_>>(), "{text}"),
        Err(problems) => panic!("what was printed is not read: {}\n{text}", problems[0]),
    }
    run(&read);
}

fn run(scenario: &Scenario) {
    let mut instance = Instance::new();
    instance.keep_within(LIMITS);
    if instance.begin(&scenario.header("fuzz")).is_err() {
        return;
    }
    for op in scenario.ops().take(MOST_STEPS) {
        step(&mut instance, op);
    }
    instance.end();
    recount(&instance, "after the end");
}

fn step(instance: &mut Instance, op: &Op) {
    instance.step(op);
    recount(instance, op);
}

fn recount(instance: &Instance, after: impl std::fmt::Display) {
    if let Err(broken) = instance.machine().validate() {
        panic!("{after}: {broken}");
    }
}

/// Text of a kernel: the readers of its files, and what is written to knobs. The first byte says which, and the first line of a write is the file's name.
pub fn kernel_text(bytes: &[u8]) {
    let Some((&which, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match which {
        b'b' => prints_what_it_read::<Buddyinfo>(text),
        b'p' => prints_what_it_read::<Pagetypeinfo>(text),
        b'v' => prints_what_it_read::<Vmstat>(text),
        b'z' => prints_what_it_read::<Zoneinfo>(text),
        b'm' => machine(text),
        b'h' => host(text),
        _ => knob(text),
    }
}

/// What was read prints as something that reads back as the same.
fn prints_what_it_read<T: std::str::FromStr + std::fmt::Display>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    let printed = read.to_string();
    let again = printed.parse::<T>().unwrap_or_else(|_| panic!("what was printed is not read:\n{printed}"));
    assert!(again.to_string() == printed, "printed twice:\n{printed}\n{again}");
}

/// Boot parameters.
fn machine(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let Ok(scenario) = Scenario::parse("boot", &format!("machine {line}\nnop\n")) else { return };
    run(&scenario);
}

/// The files of a host: each begins with a line `@` and its path.
fn host(text: &str) {
    let mut files = SavedHost::default();
    for file in text.split("\n@").take(64) {
        let (path, content) = file.split_once('\n').unwrap_or((file, ""));
        files.insert(path.trim_start_matches('@'), content);
    }
    if let Err(error) = Host::read(&mut files, &Question::default()) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
    }
}

/// Writes to files: the path, and what is written, in turn.
fn knob(text: &str) {
    let mut instance = Instance::new();
    instance.keep_within(LIMITS);
    let header = Scenario::parse("knobs", "machine node=256M hugetlb_free_vmemmap=on hugepages=8\nnop\n")
        .map(|s| s.header("knobs"));
    let Ok(Ok(())) = header.map(|header| instance.begin(&header)) else { return };
    let lines: Vec<&str> = text.lines().take(2 * MOST_STEPS).collect();
    for pair in lines.chunks(2) {
        let [path, value] = pair else { continue };
        let write = format!("write {} {}", crate::op::quote(path), crate::op::quote(value));
        if let Ok(op) = write.parse::<Op>() {
            step(&mut instance, &op);
        }
        let _ = instance.read_file(path);
    }
}

/// A saved machine on one line, and behind it operations that it does: what is loaded recounts, is saved as it was loaded, and goes on.
pub fn snapshot(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, script) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(saved) = SavedMachine::parse(text, LIMITS.of_states()) else { return };
    let Ok(mut instance) = Instance::resumed(&saved) else { return };
    instance.keep_within(LIMITS);
    recount(&instance, "loaded");
    let again = instance.saved().to_string();
    let twice = SavedMachine::parse(&again, LIMITS.of_states()).and_then(|saved| Instance::resumed(&saved));
    match twice {
        Ok(twice) => assert!(twice.saved().to_string() == again, "saved in another way"),
        Err(error) => panic!("what was saved is refused: {error}"),
    }
    if let Ok(scenario) = Scenario::parse("script", script) {
        scenario.ops().take(MOST_STEPS).for_each(|op| step(&mut instance, op));
    }
    let mut draws = Draws::new(script.as_bytes());
    for _ in 0..8 {
        let op = Op::draw(&mut draws);
        step(&mut instance, &op);
    }
}

/// Small machines of several kinds.
const MACHINES: [&str; 6] = [
    "node=128M hugepages=8",
    "node=64M node=128M cgroup=memory_hugetlb_accounting hugetlb_free_vmemmap=on hugepages=0:4,1:8",
    "arch=arm64 node=256M hugepages=8",
    "node=3G hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=4",
    "node=256M cgroup=v1 hugepages=8 movablecore=64M",
    "arch=arm64-16K node=300M hugepagesz=32M hugepages=3",
];

/// Operations drawn from bytes, on a machine that the first byte chooses.
pub fn operations(bytes: &[u8]) {
    let mut draws = Draws::new(bytes);
    let machine = *draws.of(&MACHINES);
    let Ok(scenario) = Scenario::parse("machine", &format!("machine {machine}\nnop\n")) else { return };
    let mut instance = Instance::new();
    instance.keep_within(LIMITS);
    let header = Header { ..scenario.header("operations") };
    if instance.begin(&header).is_err() {
        return;
    }
    for _ in 0..MOST_STEPS {
        if draws.is_spent() {
            break;
        }
        let op = Op::draw(&mut draws);
        step(&mut instance, &op);
    }
    instance.end();
    recount(&instance, "after the end");
}
