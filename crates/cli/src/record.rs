//! `hugefolio record`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lab::input::{BadInput, Problem};
use lab::op::Op;
use lab::run::name_of;
use lab::scenario::Scenario;
use lab::target::{RecordError, record as write_down};
use linux::Running;
use serde_json::json;

use crate::output::{Output, Status};
use crate::run::{read, scenario_files};

/// Writes a recording of each script into `folder`.
pub(crate) fn record(paths: &[PathBuf], folder: &Path, output: &mut Output) -> io::Result<Status> {
    let mut problems = Vec::new();
    let files = scenario_files(paths, &mut problems);
    problems.extend(files.iter().filter_map(|file| read(file).err()).flatten());
    if let Err(error) = fs::create_dir_all(folder) {
        problems.push(Problem::of_file(folder, BadInput::Unreadable(error.to_string())));
    }
    if !problems.is_empty() {
        return output.problems(&problems);
    }
    let mut kernel = match Running::start() {
        Ok(kernel) => kernel,
        Err(error) => return output.fault(&error),
    };
    let mut status = Status::Passed;
    for file in &files {
        match one(file, folder, &mut kernel) {
            Ok(name) => output.result(&format!("recorded {name}"), &json!({ "script": name, "recorded": true }))?,
            Err(Failed::Skipped(reason)) => {
                let name = name_of(file);
                let object = json!({ "script": name, "skipped": reason });
                output.result(&format!("skipped {name}: {reason}"), &object)?;
            }
            Err(Failed::Input(problems)) => status = output.problems(&problems)?,
            Err(Failed::Kernel(reason)) => {
                status = output.fault(&reason)?;
                break;
            }
        }
    }
    if let Err(damage) = kernel.close() {
        return output.fault(&damage);
    }
    Ok(status)
}

enum Failed {
    /// This host cannot run the script, or may not.
    Skipped(String),
    /// A file cannot be read or written.
    Input(Vec<Problem>),
    /// The kernel cannot be asked any more.
    Kernel(String),
}

fn one(file: &Path, folder: &Path, kernel: &mut Running) -> Result<String, Failed> {
    let scenario: Scenario = read(file).map_err(Failed::Input)?;
    let header = scenario.header(&name_of(file));
    let ops: Vec<&Op> = scenario.ops().collect();
    if let Some(reason) = kernel.lacks(&header, &ops) {
        return Err(Failed::Skipped(reason));
    }
    let release = kernel.release().to_owned();
    let text = write_down(&header, &ops, kernel, &release).map_err(|error| match error {
        RecordError::NotAsked(reason) => Failed::Skipped(reason),
        error => Failed::Kernel(error.to_string()),
    })?;
    let into = folder.join(format!("{}.jsonl", header.script));
    fs::write(&into, text)
        .map_err(|error| Failed::Input(vec![Problem::of_file(&into, BadInput::Unreadable(error.to_string()))]))?;
    Ok(header.script)
}
