//! Where results go: text for people, one JSON object a line for programs.

use std::io::{self, Write};
use std::process::ExitCode;

use lab::input::Problem;
use serde_json::{Value, json};

/// How a command ended; the worst of its parts counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// All went well.
    Passed,
    /// An expectation failed or a step differs.
    Failed,
    /// The input is bad, or the running kernel cannot be asked.
    BadInput,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        match status {
            Status::Passed => ExitCode::SUCCESS,
            Status::Failed => ExitCode::from(1),
            Status::BadInput => ExitCode::from(2),
        }
    }
}

/// The program's output.
pub(crate) struct Output {
    json: bool,
    stdout: io::StdoutLock<'static>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, stdout: io::stdout().lock() }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Text as it is.
    pub(crate) fn stream(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    /// One JSON object.
    pub(crate) fn object(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.stdout, "{value}")
    }

    /// One result: a line of text, or an object.
    pub(crate) fn result(&mut self, text: &str, object: &Value) -> io::Result<()> {
        if self.json { self.object(object) } else { writeln!(self.stdout, "{text}") }
    }

    /// Why the running kernel cannot be asked: text on the error stream, or an object.
    pub(crate) fn fault(&mut self, fault: &dyn std::fmt::Display) -> io::Result<Status> {
        if self.json {
            self.object(&json!({ "problem": fault.to_string() }))?;
        } else {
            writeln!(io::stderr(), "hugefolio: {fault}")?;
        }
        Ok(Status::BadInput)
    }

    /// What is wrong with the input: text on the error stream, or an object.
    pub(crate) fn problems(&mut self, problems: &[Problem]) -> io::Result<Status> {
        for problem in problems {
            if self.json {
                let (line, column) = problem.place.unzip();
                let message = problem.what.to_string();
                self.object(&json!({ "file": problem.file, "line": line, "column": column, "problem": message }))?;
            } else {
                writeln!(io::stderr(), "{problem}")?;
            }
        }
        Ok(Status::BadInput)
    }
}
