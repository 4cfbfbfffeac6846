//! Conformance counts what it compares, and a known defect needs its exact difference.

use std::path::Path;

use lab::conform::{Compared, Corpus, DefectId, DefectWatch, Observable, Verdict, Watched, conform};
use lab::op::Op;
use lab::target::{Answer, BeginError, Counters, Header, Recorded, Target};

const WITHOUT: [&str; 8] = ["subpool", "cgroup", "1G", "demote", "uffd", "shm", "hvo", "seal"];

fn corpus() -> Corpus {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18");
    let corpus = Corpus::open(&folder).expect("the corpus is part of the repository");
    corpus.without(&WITHOUT.map(str::to_owned)).expect("the corpus has these features")
}

/// The recorded kernel in the instance's place, but `resv` is `error` too high from a step of one script on.
struct Wrong {
    kernel: Recorded,
    script: &'static str,
    from: usize,
    error: i64,
    steps: Option<usize>,
}

impl Wrong {
    fn new(script: &'static str, from: usize, error: i64) -> Self {
        Self { kernel: Recorded::new(&corpus().recorded()), script, from, error, steps: None }
    }

    fn falsify(&self, mut counters: Counters) -> Counters {
        counters.m2.resv += if self.steps.is_some_and(|steps| steps > self.from) { self.error } else { 0 };
        counters
    }
}

impl Target for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }
    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        self.steps = (header.script == self.script).then_some(0);
        self.kernel.begin(header)
    }
    fn step(&mut self, op: &Op) -> Answer {
        self.steps = self.steps.map(|steps| steps + 1);
        self.kernel.step(op)
    }
    fn counters(&mut self) -> Counters {
        let counters = self.kernel.counters();
        self.falsify(counters)
    }
    fn end(&mut self) -> Counters {
        let counters = self.kernel.end();
        self.falsify(counters)
    }
}

impl Observable for Wrong {
    type Observation = ();
    fn observe(&mut self) {}
}

/// Claims a `munmap` after which the kernel has two reservations less, and nothing else.
struct TwoLess;

impl DefectWatch<()> for TwoLess {
    fn begin(&mut self) {}
    fn see(&mut self, _step: &Watched<'_, ()>) {}
    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let trigger = matches!(step.op, Some(Op::Munmap(_)));
        let delta = step.ours.counters.m2.resv - step.recorded.counters.m2.resv;
        (trigger && delta == 2 && step.differences.len() == 1).then_some(DefectId("TWO"))
    }
}

#[test]
fn the_recording_equals_itself() {
    let report = conform(&corpus(), &mut Wrong::new("", 0, 0), &mut []).unwrap();
    let text = report.to_string();
    assert_eq!(text, "not judged: none\nconform: 126 scripts, 4685 steps: 4685 equal, 0 not judged, 0 different\n");
    assert!(report.passed());
}

#[test]
fn a_difference_ends_its_script_and_counts_the_rest_of_it() {
    // cow_dontfork has 15 steps.
    let report = conform(&corpus(), &mut Wrong::new("cow_dontfork", 11, 1), &mut []).unwrap();
    let totals = report.totals();
    assert_eq!((totals.equal, totals.not_judged, totals.different), (4681, 0, 4));
    assert!(!report.passed());
    let text = report.to_string();
    assert!(text.starts_with("cow_dontfork step 11: "), "{text}");
    assert!(text.contains("  2M resv_hugepages: ours "), "{text}");
}

#[test]
fn an_end_that_differs_counts_as_the_last_step() {
    let report = conform(&corpus(), &mut Wrong::new("cow_dontfork", 14, 1), &mut []).unwrap();
    assert_eq!(report.totals().different, 1);
}

#[test]
fn a_defect_with_its_trigger_and_another_delta_is_a_difference() {
    let script = "munmap_misaligned";
    let place = |report: &lab::conform::Report| {
        let of_script = report.scripts.iter().find(|report| report.script == script).unwrap();
        of_script.verdict.clone()
    };
    let ops: Vec<Op> = {
        let corpus = corpus();
        let entry = corpus.entries().iter().find(|entry| entry.name == script).unwrap();
        corpus.script(entry).unwrap().ops().cloned().collect()
    };
    let munmap = ops.iter().position(|op| matches!(op, Op::Munmap(_))).unwrap();
    for (error, stopped) in [(2, true), (3, false)] {
        let report = conform(&corpus(), &mut Wrong::new(script, munmap, error), &mut [Box::new(TwoLess)]).unwrap();
        match place(&report) {
            Verdict::Stopped { step, defect, .. } => {
                assert_eq!((step, defect, stopped), (munmap, DefectId("TWO"), true))
            }
            Verdict::Different { step, .. } => assert_eq!((step, stopped), (munmap, false)),
            Verdict::Equal => panic!("the counters differ"),
        }
        assert_eq!(report.totals().different == 0, stopped);
        assert_eq!(report.passed(), stopped);
    }
}
