//! What goes between a script's controller and the processes that do its operations: one message for each, one answer back.

use lab::op::Record;
use lab::target::{Answer, Extras, StepResult};
use serde::{Deserialize, Serialize};

/// The largest message in bytes.
pub(crate) const LARGEST: usize = 128 << 10;

/// One operation for a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) op: Record,
    /// The slots of the mappings that it names.
    pub(crate) slots: Vec<(String, u64)>,
    /// The segment that it names.
    pub(crate) segment: Option<i32>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) result: String,
    pub(crate) reason: String,
    pub(crate) extras: Extras,
    /// The segment that it made.
    pub(crate) segment: Option<i32>,
    /// The process that it made; the way to talk to it comes with the message.
    pub(crate) child: Option<i32>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let result = answer.result.word().to_owned();
        let reason = match answer.result {
            StepResult::NotModelled(reason) => reason,
            _ => String::new(),
        };
        Self { result, reason, extras: answer.extras, segment: None, child: None }
    }
}

impl Reply {
    pub(crate) fn answer(self) -> Answer {
        let result = match StepResult::from_word(&self.result) {
            Some(StepResult::NotModelled(_)) => StepResult::NotModelled(self.reason),
            Some(result) => result,
            None => StepResult::Died,
        };
        Answer { extras: self.extras, ..Answer::from(result) }
    }
}
