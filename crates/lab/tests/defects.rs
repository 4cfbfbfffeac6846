//! Every known defect of the kernel is recognised by its trigger and its exact delta, and by nothing less.
//!
//! Each test runs a script in which the trigger holds, writes a recording that differs from the instance by a given delta in one
//! step, and asks conformance. The defect's own delta stops the script there; any other delta is a difference of ours.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::{Path, PathBuf};

use lab::conform::{Corpus, Verdict, conform};
use lab::defects;
use lab::instance::Instance;
use lab::scenario::Scenario;
use lab::target::{Counters, RecordedLine, Target};

/// A folder with one script and a recording of it in which `tamper` changed the counters from step `from` on.
fn corpus(name: &str, script: &str, from: usize, tamper: impl Fn(&mut Counters)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for sub in ["scripts", "recorded"] {
        std::fs::create_dir_all(folder.join(sub)).unwrap();
    }
    let scenario = Scenario::parse(name, script).unwrap_or_else(|problems| panic!("{}", problems[0]));
    std::fs::write(folder.join(format!("scripts/{name}.jsonl")), scenario.to_json_lines(name)).unwrap();
    let steps = scenario.ops().count();
    let manifest = format!(
        r#"[{{"name":"{name}","family":"t","kind":"hand","steps":{steps},"results":{{}},"features":[],"kbug":[],"flaky_on_kernel":false}}]"#
    );
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();

    let mut instance = Instance::new();
    instance.begin(&scenario.header(name)).unwrap();
    let head = RecordedLine::Head { script: name.into(), kernel: "6.18".into(), counters: instance.counters() };
    let mut lines = vec![head.to_json()];
    for (index, op) in scenario.ops().enumerate() {
        let answer = instance.step(op);
        let mut counters = instance.counters();
        if index >= from {
            tamper(&mut counters);
        }
        let verb = op.to_record().get("op").map(ToString::to_string).unwrap_or_default();
        let verb = verb.trim_matches('"').to_owned();
        lines.push(RecordedLine::Step { index, verb, answer: Box::new(answer), counters }.to_json());
    }
    let mut counters = instance.end();
    tamper(&mut counters);
    lines.push(RecordedLine::End { counters }.to_json());
    std::fs::write(folder.join(format!("recorded/{name}.jsonl")), lines.join("\n") + "\n").unwrap();
    folder
}

fn verdict(name: &str, script: &str, from: usize, tamper: impl Fn(&mut Counters)) -> Verdict {
    let folder = corpus(name, script, from, tamper);
    let corpus = Corpus::open(&folder).unwrap_or_else(|problem| panic!("{problem}"));
    let report = conform(&corpus, &mut Instance::new(), &mut defects::all());
    report.unwrap_or_else(|problems| panic!("{}", problems[0])).scripts.remove(0).verdict
}

fn stopped_at(verdict: &Verdict, at: usize, by: &str) -> bool {
    matches!(verdict, Verdict::Stopped { step, defect, .. } if *step == at && defect.0 == by)
}

const K1_CLOSE: &str = "\
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 4M private,anon
a0 touch m p0..2 write
a0 fork a1
a0 munmap m 0..4M
";

#[test]
fn k1_is_one_reservation_less_for_each_page_that_the_owner_closed() {
    let right = verdict("k1_close", K1_CLOSE, 5, |c| c.m2.resv -= 2);
    assert!(stopped_at(&right, 5, "K1"), "{right:?}");
    for (name, wrong) in [("one", 1), ("three", 3), ("more", -2)] {
        let verdict = verdict(&format!("k1_close_{name}"), K1_CLOSE, 5, |c| c.m2.resv -= wrong);
        assert!(matches!(verdict, Verdict::Different { step: 5, .. }), "{name}: {verdict:?}");
    }
    let other_field = verdict("k1_close_free", K1_CLOSE, 5, |c| {
        c.m2.resv -= 2;
        c.m2.free -= 1;
    });
    assert!(matches!(other_field, Verdict::Different { .. }), "{other_field:?}");
    let too_early = verdict("k1_close_early", K1_CLOSE, 4, |c| c.m2.resv -= 2);
    assert!(matches!(too_early, Verdict::Different { step: 4, .. }), "{too_early:?}");
}

const K1_RETOUCH: &str = "\
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 2M private,anon
a0 touch m p0 write
a0 fork a1
a0 madvise m 0..2M dontneed
a0 touch m p0 write
";

#[test]
fn k1_is_one_reservation_less_when_the_owner_touches_the_place_again() {
    let right = verdict("k1_retouch", K1_RETOUCH, 6, |c| c.m2.resv -= 1);
    assert!(stopped_at(&right, 6, "K1"), "{right:?}");
    let wrong = verdict("k1_retouch_wrong", K1_RETOUCH, 6, |c| c.m2.resv += 1);
    assert!(matches!(wrong, Verdict::Different { step: 6, .. }), "{wrong:?}");
}

const K2: &str = "\
echo 8 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
a0 spawn
a0 mmap m 8M private,anon
a0 touch m p3 write
a0 mremap m 2M 2M maymove,fixed off=6M to=b
a0 touch m p0 write
a0 munmap m 0..6M
";

#[test]
fn k2_is_one_reservation_more_for_each_page_touched_in_the_rest() {
    let right = verdict("k2_touch", K2, 5, |c| c.m2.resv += 1);
    assert!(stopped_at(&right, 5, "K2"), "{right:?}");
    let wrong = verdict("k2_touch_wrong", K2, 5, |c| c.m2.resv += 2);
    assert!(matches!(wrong, Verdict::Different { step: 5, .. }), "{wrong:?}");
}

#[test]
fn k2_is_the_unused_rest_for_ever_when_the_rest_is_closed() {
    let right = verdict("k2_close", K2, 6, |c| c.m2.resv += 2);
    assert!(stopped_at(&right, 6, "K2"), "{right:?}");
    let wrong = verdict("k2_close_wrong", K2, 6, |c| c.m2.resv += 3);
    assert!(matches!(wrong, Verdict::Different { step: 6, .. }), "{wrong:?}");
}

/// The reservation of a page that the owner let go returns with the child's exit, while surplus pages are in use.
const K6: &str = "\
echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
a0 spawn
a0 mmap m 2M private,anon
a0 touch m p0 write
a0 fork a1
a0 madvise m 0..2M dontneed
a0 mmap n 4M private,anon
a0 touch n p0..2 write
a1 exit
";

#[test]
fn k6_is_one_page_less_free_and_surplus_for_each_page_that_we_kept() {
    let tamper = |by: i64| {
        move |c: &mut Counters| {
            c.m2.nr -= by;
            c.m2.free -= by;
            c.m2.surplus -= by;
            c.node0_m2.nr -= by;
            c.node0_m2.free -= by;
            c.node0_m2.surplus -= by;
        }
    };
    let right = verdict("k6", K6, 9, tamper(1));
    assert!(stopped_at(&right, 9, "K6"), "{right:?}");
    let wrong = verdict("k6_wrong", K6, 9, tamper(2));
    assert!(matches!(wrong, Verdict::Different { step: 9, .. }), "{wrong:?}");
}

#[test]
fn a_recording_that_equals_the_instance_is_equal() {
    for (name, script) in [("equal_k1", K1_CLOSE), ("equal_k2", K2), ("equal_k6", K6)] {
        let verdict = verdict(name, script, usize::MAX, |_| ());
        assert!(matches!(verdict, Verdict::Equal), "{name}: {verdict:?}");
    }
}
