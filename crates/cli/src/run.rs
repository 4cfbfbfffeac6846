//! `hugefolio run`.

use std::io;
use std::path::{Path, PathBuf};

use lab::input::{BadInput, Problem};
use lab::instance::GUEST_MAP_KEY;
use lab::ktap::Ktap;
use lab::run::{Outcome, Traced, name_of, play};
use lab::scenario::{HeaderLine, Item, Scenario};
use lab::target::Target;
use serde_json::{Value, json};

use crate::output::{Output, Status};
use crate::saved::Ends;

/// What is told of every step.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// The step with its result and the counters.
    pub(crate) trace: bool,
    /// A picture of the memory of guests.
    pub(crate) map: bool,
}

/// Runs every scenario of `paths`. All files are read first: with one bad file nothing runs.
pub(crate) fn run(
    paths: &[PathBuf],
    shown: Shown,
    ends: Result<Ends<'_>, Problem>,
    output: &mut Output,
) -> io::Result<Status> {
    let ends = &match ends {
        Ok(ends) => ends,
        Err(problem) => return output.problems(&[problem]),
    };
    let mut problems = Vec::new();
    let files = scenario_files(paths, &mut problems);
    problems.extend(files.iter().filter_map(|file| ends.read(file).err()).flatten());
    problems.extend(ends.check(&files));
    if !problems.is_empty() {
        return output.problems(&problems);
    }
    if output.is_json() { run_as_json(&files, shown, ends, output) } else { run_as_ktap(&files, shown, ends, output) }
}

/// Reads and checks a file. Scenarios are read twice rather than all held in memory.
pub(crate) fn read(file: &Path) -> Result<Scenario, Vec<Problem>> {
    Ends::default().read(file)
}

fn run_one(
    file: &Path,
    ends: &Ends<'_>,
    shown: Shown,
    watch: &mut dyn FnMut(&Traced<'_>),
) -> Result<(String, Outcome), Vec<Problem>> {
    let scenario = ends.read(file)?;
    let name = scenario.header(&name_of(file)).script;
    let mut instance = ends.begin();
    if shown.map {
        instance.draw_guests();
    }
    let outcome = play(&scenario, file, &mut instance, watch).map_err(|error| {
        let machine = scenario.lines.iter().find(|line| matches!(line.item, Item::Header(HeaderLine::Machine(_))));
        let line = machine.map_or(1, |line| line.number);
        vec![Problem::at(file, line, 1, BadInput::Machine(error.to_string()))]
    })?;
    ends.save(&instance).map_err(|problem| vec![problem])?;
    instance.end();
    Ok((name, outcome))
}

fn run_as_ktap(files: &[PathBuf], shown: Shown, ends: &Ends<'_>, output: &mut Output) -> io::Result<Status> {
    let mut status = Status::Passed;
    let mut unbuildable = Vec::new();
    let mut ktap = Ktap::begin(output.stream(), files.len())?;
    if shown.map {
        ktap.diagnostic(GUEST_MAP_KEY)?;
    }
    for file in files {
        let mut written = Ok(());
        let ran = run_one(file, ends, shown, &mut |traced| {
            if shown.trace && written.is_ok() {
                written = ktap.diagnostic(traced);
            } else if shown.map && written.is_ok() {
                written = ktap.diagnostic(format_args!("{}: {} -> {}", traced.line, traced.step, traced.answer));
            }
            if written.is_ok() {
                written = traced.answer.picture.iter().try_for_each(|line| ktap.diagnostic(line));
            }
        });
        written?;
        match ran {
            Ok((name, outcome)) if outcome.passed() => ktap.ok(&name)?,
            Ok((name, outcome)) => {
                outcome.failures.iter().try_for_each(|failure| {
                    ktap.diagnostic(format_args!("{}:{}: {failure}", file.display(), failure.line))
                })?;
                ktap.not_ok(&name)?;
                status = status.max(Status::Failed);
            }
            Err(problems) => {
                problems.iter().try_for_each(|problem| ktap.diagnostic(problem))?;
                ktap.not_ok(&name_of(file))?;
                unbuildable.extend(problems);
            }
        }
    }
    ktap.end()?;
    if unbuildable.is_empty() { Ok(status) } else { output.problems(&unbuildable) }
}

fn run_as_json(files: &[PathBuf], shown: Shown, ends: &Ends<'_>, output: &mut Output) -> io::Result<Status> {
    let mut status = Status::Passed;
    for file in files {
        let mut steps = Vec::new();
        let ran = run_one(file, ends, shown, &mut |traced| {
            if shown.trace || shown.map {
                steps.push(traced_object(traced));
            }
        });
        match ran {
            Ok((name, outcome)) => {
                let mut object = json!({
                    "scenario": name,
                    "file": file.display().to_string(),
                    "ok": outcome.passed(),
                    "steps": outcome.steps,
                    "failures": outcome.failures,
                });
                if shown.trace || shown.map {
                    object["trace"] = Value::from(steps);
                }
                output.object(&object)?;
                status = status.max(if outcome.passed() { Status::Passed } else { Status::Failed });
            }
            Err(problems) => status = output.problems(&problems)?,
        }
    }
    Ok(status)
}

fn traced_object(traced: &Traced<'_>) -> Value {
    let refusal = traced.answer.refusal.as_ref();
    json!({
        "line": traced.line,
        "op": traced.step.op.to_string(),
        "r": traced.answer.result.word(),
        "extras": traced.answer.extras,
        "map": traced.answer.picture,
        "ledger": refusal.map(|refusal| refusal.ledger.name()),
        "reason": refusal.map(|refusal| refusal.text.as_str()),
        "c": traced.counters,
    })
}

fn looks_like_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "scenario" || extension == "jsonl")
}

/// The files named, and the scenarios of the directories named, below them too, in the order of their names.
pub(crate) fn scenario_files(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
        } else if looks_like_scenario(path) {
            problems.push(Problem::of_file(path, BadInput::Directory));
        } else {
            let before = (files.len(), problems.len());
            walk(path, &mut files, problems);
            if before == (files.len(), problems.len()) {
                let reason = "the directory holds no scenario: no file ends in .scenario or .jsonl";
                problems.push(Problem::of_file(path, BadInput::Mismatch(reason.to_owned())));
            }
        }
    }
    files
}

/// Adds the scenarios below `folder`. Links to directories are not followed, so the walk ends.
fn walk(folder: &Path, files: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    let unreadable = |error: io::Error| Problem::of_file(folder, BadInput::Unreadable(error.to_string()));
    let listed: Result<Vec<_>, _> = std::fs::read_dir(folder).and_then(Iterator::collect);
    let mut entries = match listed.map_err(unreadable) {
        Ok(entries) => entries,
        Err(problem) => return problems.push(problem),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (is_folder, looks_like_scenario(&path)) {
            (true, true) => problems.push(Problem::of_file(&path, BadInput::Directory)),
            (true, false) => walk(&path, files, problems),
            (false, true) => files.push(path),
            (false, false) => {}
        }
    }
}
