//! Conformance: the instance and a kernel, recorded or running, in lock-step, every field compared after every operation.
//!
//! Steps are counted as `N = E + U + D`. A script runs until a step differs. If a watched defect of the kernel explains
//! that step, it and what follows in the script are not judged (U); otherwise they are different (D). The end of a script
//! belongs to its last step.

mod corpus;
mod live;
mod report;
mod watch;

pub use corpus::{Corpus, Entry};
pub use live::{Found, Versus};
pub use report::{Report, ScriptReport, Totals, Verdict};
pub use watch::{Compared, DefectId, DefectWatch, Observable, Seen, Watched};

use crate::input::{BadInput, Problem};
use crate::op::{Nop, Op};
use crate::target::{Answer, BeginError, Difference, Header, Recorded, StepResult, Target, diff_fields};

/// Runs every script of `corpus` on `target` beside its recording.
///
/// # Errors
/// A script or a recording cannot be read or they do not belong together, or the target cannot be the machine.
pub fn conform<T: Observable>(
    corpus: &Corpus,
    target: &mut T,
    watches: &mut [Box<dyn DefectWatch<T::Observation>>],
) -> Result<Report, Vec<Problem>> {
    let folder = corpus.recorded();
    let mut recorded = Recorded::new(&folder);
    let mut report = Report::default();
    for entry in corpus.entries() {
        let script = corpus.script(entry)?;
        let ops: Vec<&Op> = script.ops().collect();
        let problem = |reason: String| {
            let file = folder.join(format!("{}.jsonl", entry.name));
            vec![Problem::of_file(&file, BadInput::Mismatch(reason))]
        };
        let header = Header { script: entry.name.clone(), ..script.header(&entry.name) };
        recorded.begin(&header).map_err(|error| match error {
            BeginError::Recording(problem) => vec![problem],
            error => problem(error.to_string()),
        })?;
        recorded.fits(&ops).map_err(problem)?;
        target.begin(&header).map_err(|error| problem(error.to_string()))?;
        let compared = compare(&mut Fixed::new(ops), target, &mut recorded, watches);
        let compared = compared.map_err(|OutOfOrder(reason)| problem(reason))?;
        report.scripts.push(ScriptReport::of(entry.name.clone(), script.ops().count(), &compared));
    }
    Ok(report)
}

/// Where the operations of a comparison come from.
pub trait Script {
    /// The next operation.
    fn next_op(&mut self) -> Option<Op>;

    /// Takes in what the kernel answered to it.
    fn answered(&mut self, op: &Op, answer: &Answer) {
        let _ = (op, answer);
    }
}

/// Operations that are known beforehand.
#[derive(Debug)]
pub struct Fixed<'a> {
    ops: std::vec::IntoIter<&'a Op>,
}

impl<'a> Fixed<'a> {
    /// These operations in order.
    pub fn new(ops: Vec<&'a Op>) -> Self {
        Self { ops: ops.into_iter() }
    }
}

impl Script for Fixed<'_> {
    fn next_op(&mut self) -> Option<Op> {
        self.ops.next().cloned()
    }
}

/// The kernel cannot go on, for the reason given; nothing that it answered last means anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfOrder(pub String);

/// What came of comparing one script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The operations that ran, and what the kernel answered to each.
    pub steps: Vec<(Op, StepResult)>,
    /// How many operations the kernel's side refused to run. They ran on neither side.
    pub held_back: usize,
    /// How the script went.
    pub verdict: Verdict,
}

/// Runs one script, which has begun on both sides, to its end or its first difference.
///
/// # Errors
/// The kernel cannot go on.
pub fn compare<T: Observable>(
    script: &mut dyn Script,
    target: &mut T,
    kernel: &mut dyn Target,
    watches: &mut [Box<dyn DefectWatch<T::Observation>>],
) -> Result<Comparison, OutOfOrder> {
    watches.iter_mut().for_each(|watch| watch.begin());
    let mut before = target.observe();
    let mut comparison = Comparison { steps: Vec::new(), held_back: 0, verdict: Verdict::Equal };
    while let Some(op) = script.next_op() {
        let answer = kernel.step(&op);
        in_order(kernel)?;
        script.answered(&op, &answer);
        if matches!(answer.result, StepResult::NotModelled(_)) {
            comparison.held_back += 1;
            continue;
        }
        comparison.steps.push((op.clone(), answer.result.clone()));
        let theirs = Seen { answer, counters: kernel.counters() };
        target.advise(&op, &theirs.counters);
        let answer = target.step(&op);
        let after = target.observe();
        let step = Watched { op: &op, answer: &answer, before: &before, after: &after };
        watches.iter_mut().for_each(|watch| watch.see(&step));
        before = after;
        let ours = Seen { answer, counters: target.counters() };
        let differences = differences(&ours, &theirs);
        if !differences.is_empty() {
            let compared = Compared { op: Some(&op), ours: &ours, recorded: &theirs, differences: &differences };
            comparison.verdict = judge(comparison.steps.len() - 1, &compared, watches);
            return Ok(comparison);
        }
    }
    let at_end = |counters| Seen { answer: Answer::ok(), counters };
    let (ours, theirs) = (at_end(target.end()), at_end(kernel.end()));
    in_order(kernel)?;
    // To watchers the end is one more operation, which asks for nothing itself.
    let after = target.observe();
    let step = Watched { op: &Nop {}.into(), answer: &ours.answer, before: &before, after: &after };
    watches.iter_mut().for_each(|watch| watch.see(&step));
    let differences = differences(&ours, &theirs);
    if !differences.is_empty() {
        let compared = Compared { op: None, ours: &ours, recorded: &theirs, differences: &differences };
        comparison.verdict = judge(comparison.steps.len().saturating_sub(1), &compared, watches);
    }
    Ok(comparison)
}

fn in_order(kernel: &dyn Target) -> Result<(), OutOfOrder> {
    kernel.out_of_order().map_or(Ok(()), |reason| Err(OutOfOrder(reason)))
}

fn judge<O>(index: usize, step: &Compared<'_>, watches: &mut [Box<dyn DefectWatch<O>>]) -> Verdict {
    let op = step.op.map_or_else(|| "end of the script".to_owned(), Op::to_string);
    match watches.iter_mut().find_map(|watch| watch.judge(step)) {
        Some(defect) => Verdict::Stopped { step: index, op, defect },
        None => Verdict::Different { step: index, op, differences: step.differences.to_vec() },
    }
}

/// Every field in which two steps differ: the result, what else was answered, the counters.
fn differences(ours: &Seen, theirs: &Seen) -> Vec<Difference> {
    let mut differences = Vec::new();
    if ours.answer.result != theirs.answer.result {
        differences.push(Difference {
            field: "result".to_owned(),
            ours: Some(ours.answer.to_string()),
            theirs: Some(theirs.answer.to_string()),
        });
    }
    if ours.answer.extras != theirs.answer.extras {
        differences.extend(diff_fields(&ours.answer.extras.fields(), &theirs.answer.extras.fields()));
    }
    differences.extend(ours.counters.diff(&theirs.counters));
    differences
}
