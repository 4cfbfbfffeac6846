//! Writes down what a kernel answers.

use super::{BeginError, Header, RecordedLine, StepResult, Target};
use crate::op::Op;

/// Why there is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The script cannot begin, or something outside of it put an end to it.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The kernel's side refuses an operation.
    #[error("{0}")]
    NotAsked(String),
}

/// Runs a script on `kernel`, whose release is given, and answers the lines of its recording.
///
/// # Errors
/// The script does not run to its end.
pub fn record(header: &Header, ops: &[&Op], kernel: &mut dyn Target, release: &str) -> Result<String, RecordError> {
    kernel.begin(header)?;
    let script = header.script.clone();
    let mut lines = vec![RecordedLine::Head { script, kernel: release.to_owned(), counters: kernel.counters() }];
    for (index, op) in ops.iter().enumerate() {
        let answer = kernel.step(op);
        if let Some(reason) = kernel.out_of_order() {
            return Err(BeginError::Host(reason).into());
        }
        if let StepResult::NotModelled(reason) = answer.result {
            return Err(RecordError::NotAsked(format!("step {index}, {op}: {reason}")));
        }
        let verb = op.verb().name.to_owned();
        lines.push(RecordedLine::Step { index, verb, answer: Box::new(answer), counters: kernel.counters() });
    }
    lines.push(RecordedLine::End { counters: kernel.end() });
    Ok(lines.iter().map(|line| line.to_json() + "\n").collect())
}
