//! `hugefolio check`, `fmt`, `convert` and `grammar`: what is done with files without running them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lab::grammar;
use lab::input::{BadInput, Problem};
use lab::op::VERBS;
use lab::run::name_of;
use lab::scenario::{Format, Item, Scenario};
use lab::target::Recorded;
use serde_json::json;

use crate::output::{Output, Status};

/// Reads every file and says what it holds.
pub(crate) fn check(files: &[PathBuf], output: &mut Output) -> io::Result<Status> {
    let mut status = Status::Passed;
    for file in files {
        let read = Scenario::read(file).and_then(|scenario| scenario.check(file).map(|()| scenario));
        match read {
            Ok(scenario) => {
                let operations = scenario.ops().count();
                let expectations = scenario.lines.iter().filter(|line| matches!(line.item, Item::Expect(_))).count();
                let shown = file.display().to_string();
                let text = format!("{shown}: ok, {operations} operations, {expectations} expectations");
                let object =
                    json!({ "file": shown, "ok": true, "operations": operations, "expectations": expectations });
                output.result(&text, &object)?;
            }
            Err(problems) => status = output.problems(&problems)?,
        }
    }
    Ok(status)
}

/// Prints or rewrites every file in its canonical form.
pub(crate) fn fmt(files: &[PathBuf], write: bool, output: &mut Output) -> io::Result<Status> {
    let mut status = Status::Passed;
    for file in files {
        match format_one(file, write) {
            Ok((changed, _)) if write => {
                let text = format!("{}: {}", file.display(), if changed { "formatted" } else { "unchanged" });
                output.result(&text, &json!({ "file": file.display().to_string(), "changed": changed }))?;
            }
            Ok((changed, text)) => {
                let object = json!({ "file": file.display().to_string(), "changed": changed, "text": text });
                output.result(text.trim_end(), &object)?;
            }
            Err(problems) => status = output.problems(&problems)?,
        }
    }
    Ok(status)
}

fn format_one(file: &Path, write: bool) -> Result<(bool, String), Vec<Problem>> {
    if Format::of(file) == Format::JsonLines {
        let reason = "only scenarios are formatted; turn a script into one with `hugefolio convert`";
        return Err(vec![Problem::of_file(file, BadInput::Mismatch(reason.to_owned()))]);
    }
    let text = Scenario::read(file)?.to_string();
    let unusable = |error: io::Error| vec![Problem::of_file(file, BadInput::Unreadable(error.to_string()))];
    let changed = std::fs::read_to_string(file).map_err(unusable)? != text;
    if write && changed {
        std::fs::write(file, &text).map_err(unusable)?;
    }
    Ok((changed, text))
}

/// Prints a script as a scenario, or a scenario as a script.
pub(crate) fn convert(file: &Path, recorded: Option<&Path>, output: &mut Output) -> io::Result<Status> {
    match convert_one(file, recorded) {
        Ok(text) => {
            let object = json!({ "file": file.display().to_string(), "text": text });
            output.result(text.trim_end(), &object)?;
            Ok(Status::Passed)
        }
        Err(problems) => output.problems(&problems),
    }
}

fn convert_one(file: &Path, recorded: Option<&Path>) -> Result<String, Vec<Problem>> {
    let mut scenario = Scenario::read(file)?;
    if Format::of(file) == Format::Scenario {
        return Ok(scenario.to_json_lines(&name_of(file)));
    }
    if let Some(folder) = recorded {
        let mut recorded = Recorded::new(folder);
        scenario
            .take_results(&mut recorded, &name_of(file))
            .map_err(|reason| vec![Problem::of_file(file, BadInput::Mismatch(reason))])?;
    }
    Ok(scenario.to_string())
}

/// Prints the page of the scenario language, or the verb table.
pub(crate) fn grammar(output: &mut Output) -> io::Result<Status> {
    if !output.is_json() {
        write!(output.stream(), "{}", grammar::page())?;
        return Ok(Status::Passed);
    }
    for verb in VERBS {
        let arguments: Vec<_> = verb
            .arguments
            .iter()
            .map(|a| json!({ "name": a.name, "keys": a.keys, "expects": a.expects, "doc": a.doc.trim() }))
            .collect();
        let usage = grammar::usage(verb);
        let (name, doc, files) = (verb.name, verb.doc.trim(), verb.files);
        output.object(&json!({ "verb": name, "usage": usage, "doc": doc, "arguments": arguments, "files": files }))?;
    }
    Ok(Status::Passed)
}
