//! Conformance counts what it compares, and a known defect needs its exact difference.

use std::path::Path;

use lab::conform::{Compared, Corpus, DefectId, DefectWatch, Observable, Report, Verdict, Versus, Watched, conform};
use lab::generate::Profile;
use lab::instance::Instance;
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

/// An instance in the kernel's place. It shows one reservation too many once a process has mapped and forked, and does not run `nop`.
struct Strange {
    machine: Instance,
    mapped: bool,
    forked: bool,
    steps: usize,
    /// After so many steps it is out of order.
    most: usize,
}

impl Strange {
    fn new(most: usize) -> Self {
        Self { machine: Instance::new(), mapped: false, forked: false, steps: 0, most }
    }
}

impl Target for Strange {
    fn name(&self) -> &str {
        "strange"
    }
    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        *self = Self::new(self.most);
        self.machine.begin(header)
    }
    fn step(&mut self, op: &Op) -> Answer {
        self.steps += 1;
        if matches!(op, Op::Nop(_)) {
            return Answer::not_modelled("no");
        }
        let answer = self.machine.step(op);
        self.mapped |= answer.result.is_ok() && matches!(op, Op::Mmap(_));
        self.forked |= self.mapped && answer.result.is_ok() && matches!(op, Op::Fork(_));
        answer
    }
    fn counters(&mut self) -> Counters {
        let mut counters = self.machine.counters();
        counters.m2.resv += i64::from(self.forked);
        counters
    }
    fn out_of_order(&self) -> Option<String> {
        (self.steps > self.most).then(|| "broken".to_owned())
    }
    fn end(&mut self) -> Counters {
        self.machine.end()
    }
}

fn header() -> Header {
    Header { script: "x".to_owned(), ..Header::default() }
}

fn ops(lines: &[&str]) -> Vec<Op> {
    lines.iter().map(|line| line.parse().expect("the line is an operation")).collect()
}

#[test]
fn a_difference_is_run_again_until_it_is_short() {
    let lines = [
        "set_nr 4",
        "a0 spawn",
        "a1 spawn",
        "nop",
        "a0 mmap A 2M private,anon",
        "a1 mmap B 2M private,anon",
        "a0 touch A p0",
        "a0 fork a2",
        "a0 touch A p0",
    ];
    let ops = ops(&lines);
    let (mut target, mut kernel) = (Instance::new(), Strange::new(1000));
    let mut versus = Versus { target: &mut target, kernel: &mut kernel, watches: &mut [] };
    let (script, compared) = versus.fixed(&header(), &ops.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((script.steps, script.held_back, compared.steps.len()), (9, 1, 7));
    let report = Report { scripts: vec![script] };
    let totals = report.totals();
    assert_eq!((totals.equal, totals.not_judged, totals.different), (6, 1, 2));
    assert!(report.to_string().contains("not judged: 1 steps that the kernel's side does not run\n"), "{report}");

    let found = versus.shorten(&header(), &compared).unwrap();
    assert!(matches!(found.verdict, Verdict::Different { .. }));
    let lines: Vec<String> = found.scenario.lines.iter().map(ToString::to_string).collect();
    assert_eq!(lines[1..], ["a0 spawn", "a0 mmap A 2M private,anon", "a0 fork a2"]);
    assert!(lines[0].starts_with("echo 4 > "), "{}", lines[0]);
}

#[test]
fn a_kernel_out_of_order_is_no_difference() {
    let ops = ops(&["a0 spawn", "a0 mmap A 2M private,anon", "a0 fork a1"]);
    let (mut target, mut kernel) = (Instance::new(), Strange::new(2));
    let mut versus = Versus { target: &mut target, kernel: &mut kernel, watches: &mut [] };
    let ended = versus.fixed(&header(), &ops.iter().collect::<Vec<_>>());
    assert_eq!(ended.unwrap_err(), BeginError::Host("broken".to_owned()));
}

#[test]
fn random_scripts_stop_where_they_differ() {
    let (mut target, mut kernel) = (Instance::new(), Strange::new(1000));
    let mut watches = lab::defects::all();
    let mut versus = Versus { target: &mut target, kernel: &mut kernel, watches: &mut watches };
    let (script, compared) = versus.random(1, Profile::Fork, 200).unwrap();
    assert_eq!(script.steps, compared.steps.len() + compared.held_back);
    assert!(script.steps < 200 && matches!(compared.verdict, Verdict::Different { .. }), "{script:?}");
}
