//! `hugefolio conform --live`: the library beside the running kernel.

use std::io::{self, Write};
use std::path::PathBuf;

use lab::conform::{Comparison, Found, Report, ScriptReport, Verdict, Versus};
use lab::defects;
use lab::generate::Profile;
use lab::instance::Instance;
use lab::op::Op;
use lab::run::name_of;
use lab::target::{BeginError, Header};
use linux::Running;
use serde_json::json;

use crate::conform::print;
use crate::output::{Output, Status};
use crate::run::{read, scenario_files};

/// Random scripts.
pub(crate) struct Random {
    pub(crate) seed: u64,
    pub(crate) scripts: u64,
    pub(crate) ops: usize,
    pub(crate) profile: Option<Profile>,
}

/// What came of a run.
#[derive(Default)]
struct Done {
    report: Report,
    /// Scripts that this host cannot run, with the reason.
    skipped: Vec<(String, String)>,
    found: Option<Found>,
}

impl Done {
    /// Takes in a script. The first one that differs is made short.
    fn take(
        &mut self,
        versus: &mut Versus<'_, Instance>,
        header: &Header,
        (script, compared): (ScriptReport, Comparison),
    ) -> Result<(), BeginError> {
        let differs = matches!(script.verdict, Verdict::Different { .. });
        self.report.scripts.push(script);
        if differs && self.found.is_none() {
            self.found = Some(versus.shorten(header, &compared)?);
        }
        Ok(())
    }
}

/// Runs random scripts until one differs.
pub(crate) fn random(what: &Random, output: &mut Output) -> io::Result<Status> {
    with_kernel(output, |kernel, done| {
        let (mut target, mut watches) = (Instance::new(), defects::all());
        let mut versus = Versus { target: &mut target, kernel, watches: &mut watches };
        for (index, seed) in (0..what.scripts).map(|index| (index, what.seed.saturating_add(index))) {
            let in_turn = Profile::ALL[usize::try_from(index).unwrap_or(0) % Profile::ALL.len()];
            let profile = what.profile.unwrap_or(in_turn);
            let came = versus.random(seed, profile, what.ops)?;
            let header = Header { script: came.0.script.clone(), machine: profile.machine(), ..Header::default() };
            done.take(&mut versus, &header, came)?;
            if done.found.is_some() {
                break;
            }
        }
        Ok(())
    })
}

/// Runs the scripts of `paths` that this host can run. All files are read first: with one bad file nothing runs.
pub(crate) fn files(paths: &[PathBuf], output: &mut Output) -> io::Result<Status> {
    let mut problems = Vec::new();
    let files = scenario_files(paths, &mut problems);
    let mut scenarios = Vec::new();
    for file in &files {
        match read(file) {
            Ok(scenario) => scenarios.push((name_of(file), scenario)),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return output.problems(&problems);
    }
    with_kernel(output, |kernel, done| {
        let (mut target, mut watches) = (Instance::new(), defects::all());
        for (name, scenario) in &scenarios {
            let header = scenario.header(name);
            let ops: Vec<&Op> = scenario.ops().collect();
            if let Some(reason) = kernel.lacks(&header, &ops) {
                done.skipped.push((header.script, reason));
                continue;
            }
            let mut versus = Versus { target: &mut target, kernel: &mut *kernel, watches: &mut watches };
            let came = match versus.fixed(&header, &ops) {
                Err(BeginError::Machine(reason)) => {
                    done.skipped.push((header.script, reason));
                    continue;
                }
                came => came?,
            };
            done.take(&mut versus, &header, came)?;
        }
        Ok(())
    })
}

/// Takes the running kernel, lets `work` ask it, gives it back and says what came of it.
fn with_kernel(
    output: &mut Output,
    work: impl FnOnce(&mut Running, &mut Done) -> Result<(), BeginError>,
) -> io::Result<Status> {
    let mut kernel = match Running::start() {
        Ok(kernel) => kernel,
        Err(error) => return output.fault(&error),
    };
    let mut done = Done::default();
    let worked = work(&mut kernel, &mut done);
    if kernel.is_interrupted() {
        output.fault(&"interrupted; the host is put back as it was")?;
    }
    let repairs = kernel.repairs().to_vec();
    if let Err(damage) = kernel.close() {
        return output.fault(&damage);
    }
    say(&done, &repairs, output)?;
    match worked {
        Ok(()) => print(&done.report, output),
        Err(error) => output.fault(&error),
    }
}

fn say(done: &Done, repairs: &[String], output: &mut Output) -> io::Result<()> {
    for (script, reason) in &done.skipped {
        let object = json!({ "script": script, "skipped": reason });
        output.result(&format!("skipped {script}: {reason}"), &object)?;
    }
    for repair in repairs {
        output.result(&format!("repaired after {repair}"), &json!({ "repaired": repair }))?;
    }
    let Some(Found { script, scenario, verdict }) = &done.found else { return Ok(()) };
    let (differences, again) = match verdict {
        Verdict::Different { differences, .. } => (differences.as_slice(), "the shortest script that differs"),
        _ => (&[][..], "the difference did not show again; the script"),
    };
    if output.is_json() {
        let text = scenario.to_string();
        return output.object(&json!({ "script": script, "shortest": text, "differences": differences }));
    }
    let stream = output.stream();
    write!(stream, "# {again}, from {script}, with what the kernel answered:\n{scenario}")?;
    differences.iter().try_for_each(|difference| writeln!(stream, "# {difference}"))?;
    writeln!(stream)
}
