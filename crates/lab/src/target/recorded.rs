//! The recorded kernel: what a real Linux answered to a script, played back.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Answer, BeginError, Counters, Extras, Header, StepResult, Target};
use crate::input::{BadInput, Lines, Problem, open};
use crate::op::Op;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordedLine {
    /// The first line: the counters before the first operation.
    Head {
        /// The script's name.
        script: String,
        /// The kernel's release.
        kernel: String,
        /// The counters.
        counters: Counters,
    },
    /// The answer to one operation.
    Step {
        /// The operation's index.
        index: usize,
        /// Its verb.
        verb: String,
        /// The answer.
        answer: Box<Answer>,
        /// The counters after it.
        counters: Counters,
    },
    /// The last line: the counters after the end.
    End {
        /// The counters.
        counters: Counters,
    },
}

/// A line as it stands in the file; what is not named here are the extras.
#[derive(Serialize, Deserialize)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oracle: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    i: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<u8>,
    #[serde(flatten)]
    extras: Map<String, Value>,
    c: Counters,
}

/// A step as it is printed: the recording's order of fields.
#[derive(Serialize)]
struct Printed<'a> {
    i: usize,
    op: &'a str,
    r: &'a str,
    #[serde(flatten)]
    extras: &'a Extras,
    c: &'a Counters,
}

impl RecordedLine {
    /// Reads one line.
    ///
    /// # Errors
    /// The text says what is wrong with it.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let extras: Extras = serde_json::from_value(Value::Object(raw.extras)).map_err(|error| error.to_string())?;
        let counters = raw.c;
        match (raw.script, raw.kernel, raw.i, raw.op, raw.r) {
            (Some(script), Some(kernel), None, None, None) => Ok(RecordedLine::Head { script, kernel, counters }),
            (None, None, Some(index), Some(verb), Some(word)) => {
                let result = StepResult::from_word(&word).ok_or_else(|| format!("`{word}` is not a result"))?;
                let answer = Box::new(Answer { result, extras, refusal: None, picture: Vec::new() });
                Ok(RecordedLine::Step { index, verb, answer, counters })
            }
            (None, None, None, None, None) if raw.end.is_some() => Ok(RecordedLine::End { counters }),
            _ => Err("it is neither the first line, nor a step, nor the end of a recording".to_owned()),
        }
    }

    /// The line as the recording prints it, byte by byte.
    pub fn to_json(&self) -> String {
        let printed = match self {
            RecordedLine::Head { script, kernel, counters } => serde_json::to_string(&Raw {
                oracle: Some(1),
                script: Some(script.clone()),
                kernel: Some(kernel.clone()),
                i: None,
                op: None,
                r: None,
                end: None,
                extras: Map::new(),
                c: counters.clone(),
            }),
            RecordedLine::Step { index, verb, answer, counters } => serde_json::to_string(&Printed {
                i: *index,
                op: verb,
                r: answer.result.word(),
                extras: &answer.extras,
                c: counters,
            }),
            RecordedLine::End { counters } => serde_json::to_string(&Raw {
                oracle: None,
                script: None,
                kernel: None,
                i: None,
                op: None,
                r: None,
                end: Some(1),
                extras: Map::new(),
                c: counters.clone(),
            }),
        };
        printed.expect("strings, numbers and maps with string keys always print")
    }
}

/// The recorded kernel as a target: plays `recorded/NAME.jsonl` back, one answer a step.
#[derive(Debug)]
pub struct Recorded {
    folder: PathBuf,
    kernel: String,
    steps: VecDeque<(String, Answer, Counters)>,
    counters: Counters,
    end: Counters,
}

impl Recorded {
    /// The recordings in `folder`, which holds one file for each script.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            kernel: String::new(),
            steps: VecDeque::new(),
            counters: Counters::default(),
            end: Counters::default(),
        }
    }

    /// The release of the kernel that was recorded; empty before the first script.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Whether the recording that was begun belongs to these operations.
    ///
    /// # Errors
    /// The text says where they part.
    pub fn fits(&self, ops: &[&Op]) -> Result<(), String> {
        if self.steps.len() != ops.len() {
            return Err(format!("the recording has {} steps and the script {}", self.steps.len(), ops.len()));
        }
        match self.steps.iter().zip(ops).position(|((verb, ..), op)| verb != op.verb().name) {
            Some(index) => Err(format!("step {index} of the recording is another operation than the script's")),
            None => Ok(()),
        }
    }

    fn load(&mut self, path: &Path) -> Result<(), Problem> {
        let mut lines = Lines::new(path, open(path)?);
        let mut ended = false;
        self.steps.clear();
        while let Some(line) = lines.advance() {
            let (number, text) = line?;
            let bad = |reason: String| Problem::at(path, number, 1, BadInput::Json(reason));
            match RecordedLine::from_json(text).map_err(bad)? {
                RecordedLine::Head { kernel, counters, .. } => (self.kernel, self.counters) = (kernel, counters),
                RecordedLine::Step { index, .. } if index != self.steps.len() => {
                    return Err(bad(format!("step {index} stands in the place of step {}", self.steps.len())));
                }
                RecordedLine::Step { verb, answer, counters, .. } => self.steps.push_back((verb, *answer, counters)),
                RecordedLine::End { counters } => (self.end, ended) = (counters, true),
            }
        }
        let reason = "the recording has no last line (\"end\"); it was cut short";
        if ended { Ok(()) } else { Err(Problem::of_file(path, BadInput::Mismatch(reason.to_owned()))) }
    }
}

impl Target for Recorded {
    fn name(&self) -> &str {
        "recorded kernel"
    }

    fn begin(&mut self, header: &Header) -> Result<(), BeginError> {
        let path = self.folder.join(format!("{}.jsonl", header.script));
        self.load(&path).map_err(BeginError::Recording)
    }

    fn step(&mut self, op: &Op) -> Answer {
        match self.steps.pop_front() {
            None => Answer::not_modelled("the recording ends before this step"),
            Some((verb, ..)) if verb != op.verb().name => {
                Answer::not_modelled(format!("the recording has `{verb}` at this step"))
            }
            Some((_, answer, counters)) => {
                self.counters = counters;
                answer
            }
        }
    }

    fn counters(&mut self) -> Counters {
        self.counters.clone()
    }

    fn end(&mut self) -> Counters {
        self.end.clone()
    }
}
