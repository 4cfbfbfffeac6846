//! Conformance: the instance and the recorded kernel in lock-step, every field compared after every operation.
//!
//! Steps are counted as `N = E + U + D`. A script runs until a step differs. If a watched defect of the kernel explains
//! that step, it and what follows in the script are not judged (U); otherwise they are different (D). The end of a script
//! belongs to its last step.

mod corpus;
mod report;
mod watch;

pub use corpus::{Corpus, Entry};
pub use report::{Report, ScriptReport, Totals, Verdict};
pub use watch::{Compared, DefectId, DefectWatch, Observable, Seen, Watched};

use crate::input::{BadInput, Problem};
use crate::op::Op;
use crate::target::{Answer, BeginError, Difference, Header, Recorded, Target, diff_fields};

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
            BeginError::Machine(reason) => problem(reason),
        })?;
        recorded.fits(&ops).map_err(problem)?;
        target.begin(&header).map_err(|error| problem(error.to_string()))?;
        let verdict = compare(&ops, target, &mut recorded, watches);
        report.scripts.push(ScriptReport { script: entry.name.clone(), steps: ops.len(), verdict });
    }
    Ok(report)
}

/// Runs one script to its end or its first difference.
fn compare<T: Observable>(
    ops: &[&Op],
    target: &mut T,
    recorded: &mut Recorded,
    watches: &mut [Box<dyn DefectWatch<T::Observation>>],
) -> Verdict {
    watches.iter_mut().for_each(|watch| watch.begin());
    let mut before = target.observe();
    for (index, op) in ops.iter().enumerate() {
        let answer = recorded.step(op);
        let theirs = Seen { answer, counters: recorded.counters() };
        target.advise(op, &theirs.counters);
        let answer = target.step(op);
        let after = target.observe();
        let step = Watched { op, answer: &answer, before: &before, after: &after };
        watches.iter_mut().for_each(|watch| watch.see(&step));
        before = after;
        let ours = Seen { answer, counters: target.counters() };
        let differences = differences(&ours, &theirs);
        if !differences.is_empty() {
            let compared = Compared { op: Some(op), ours: &ours, recorded: &theirs, differences: &differences };
            return judge(index, &compared, watches);
        }
    }
    let at_end = |counters| Seen { answer: Answer::ok(), counters };
    let (ours, theirs) = (at_end(target.end()), at_end(recorded.end()));
    let differences = differences(&ours, &theirs);
    if differences.is_empty() {
        return Verdict::Equal;
    }
    let compared = Compared { op: None, ours: &ours, recorded: &theirs, differences: &differences };
    judge(ops.len() - 1, &compared, watches)
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
