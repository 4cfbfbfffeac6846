//! Saved machines and zones: where a run begins and ends, and `hugefolio diff`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lab::input::{BadInput, Problem, read_small};
use lab::instance::Instance;
use lab::limits::Limits as Bounds;
use lab::machine_state::{Limits, SavedMachine};
use lab::pages::{self, Diff, SavedZone};
use lab::scenario::Scenario;
use serde_json::json;

use crate::output::{Output, Status};

/// The machines that a run begins and ends with, and what it may take.
#[derive(Default)]
pub(crate) struct Ends<'a> {
    from: Option<Instance>,
    save: Option<&'a Path>,
    limits: Bounds,
}

impl<'a> Ends<'a> {
    /// Loads the machine to begin with, if there is one.
    pub(crate) fn new(from: Option<&Path>, save: Option<&'a Path>, limits: Bounds) -> Result<Self, Problem> {
        let from = from.map(|file| {
            let bad = |error: &dyn std::fmt::Display| Problem::of_file(file, BadInput::Json(error.to_string()));
            let most = limits.of_states();
            let text = read_state(file, most)?;
            let saved = SavedMachine::parse(&text, most).map_err(|error| bad(&error))?;
            Instance::resumed(&saved).map_err(|error| bad(&error))
        });
        Ok(Self { from: from.transpose()?, save, limits })
    }

    /// Reads and checks a scenario that begins so.
    pub(crate) fn read(&self, file: &Path) -> Result<Scenario, Vec<Problem>> {
        let scenario = Scenario::read_within(file, self.limits)?;
        scenario.check_after(file, self.from.iter().flat_map(Instance::started))?;
        Ok(scenario)
    }

    /// One file can hold the end of one scenario.
    pub(crate) fn check(&self, files: &[PathBuf]) -> Option<Problem> {
        let save = self.save.filter(|_| files.len() > 1)?;
        let reason = format!("--save takes the end of one scenario, and {} are to be run; name one", files.len());
        Some(Problem::of_file(save, BadInput::Mismatch(reason)))
    }

    pub(crate) fn begin(&self) -> Instance {
        let mut instance = self.from.clone().unwrap_or_default();
        instance.keep_within(self.limits);
        instance
    }

    pub(crate) fn save(&self, instance: &Instance) -> Result<(), Problem> {
        let Some(file) = self.save else { return Ok(()) };
        if instance.has_described_memory() {
            let reason = "the memory that the scenario describes is no part of a machine; take its lines out to save the machine";
            return Err(Problem::of_file(file, BadInput::Mismatch(reason.to_owned())));
        }
        std::fs::write(file, format!("{}\n", instance.saved())).map_err(|error| {
            Problem::of_file(file, BadInput::Mismatch(format!("cannot be written: {error}; check the folder")))
        })
    }
}

/// A saved machine or a saved zone.
enum Saved {
    Machine(Box<SavedMachine>),
    Zone(Box<SavedZone>),
}

fn read_state(file: &Path, limits: Limits) -> Result<String, Problem> {
    let more = "if you trust it, permit more with --limit, such as --limit state=1G";
    read_small(file, limits.bytes as u64, more)
}

fn read(file: &Path, limits: Bounds) -> Result<Saved, Problem> {
    let bad = |error: &dyn std::fmt::Display| Problem::of_file(file, BadInput::Json(error.to_string()));
    let limits = limits.of_states();
    let text = read_state(file, limits)?;
    // A zone has no machine in it.
    if text.contains("\"machine\"") {
        let machine = SavedMachine::parse(&text, limits).map_err(|error| bad(&error))?;
        return Ok(Saved::Machine(Box::new(machine)));
    }
    let zone = SavedZone::parse(&text, pages::Limits { frames: limits.frames }).map_err(|error| bad(&error))?;
    Ok(Saved::Zone(Box::new(zone)))
}

/// Prints what differs between two files.
pub(crate) fn diff(here: &Path, there: &Path, limits: Bounds, output: &mut Output) -> io::Result<Status> {
    let found = match (read(here, limits), read(there, limits)) {
        (Ok(Saved::Machine(a)), Ok(Saved::Machine(b))) => a.diff(&b),
        (Ok(Saved::Zone(a)), Ok(Saved::Zone(b))) => a.diff(&b),
        (Ok(_), Ok(_)) => {
            let reason = "one is a machine and the other one a zone; compare two of a kind".to_owned();
            return output.problems(&[Problem::of_file(there, BadInput::Mismatch(reason))]);
        }
        (a, b) => return output.problems(&[a.err(), b.err()].into_iter().flatten().collect::<Vec<_>>()),
    };
    let status = if found.is_empty() { Status::Passed } else { Status::Failed };
    show(&found, output)?;
    Ok(status)
}

fn show(found: &Diff, output: &mut Output) -> io::Result<()> {
    if output.is_json() {
        output.object(&json!({ "here": found.here, "there": found.there }))
    } else {
        write!(output.stream(), "{found}")
    }
}
