//! `hugefolio conform --live hvo`: pages of descriptors of the running kernel beside the machine's, as pools grow and shrink.

use std::io;

use lab::hvo::{GIGANTIC_STEPS, KNOB, OLDER_SCHEME, STEPS, Step, Verdict, run};
use lab::instance::Instance;
use lab::op::Op;
use lab::target::{Header, Target};
use linux::{Running, StartError};
use serde_json::json;

use crate::output::{Output, Status};

/// Does the steps on both, and says after each how they compare.
pub(crate) fn live(output: &mut Output) -> io::Result<Status> {
    let mut kernel = match Running::start() {
        Ok(kernel) => kernel,
        Err(error @ StartError::Damaged(_)) => return output.fault(&error),
        Err(error) => return skipped(output, &error.to_string()),
    };
    let came = both(&mut kernel);
    if kernel.is_interrupted() {
        output.fault(&"interrupted; the host is put back as it was")?;
    }
    if let Err(damage) = kernel.close() {
        return output.fault(&damage);
    }
    match came {
        Ok(Some(came)) => say(&came, output),
        Ok(None) => skipped(output, &format!("the host lacks {KNOB}")),
        Err(fault) => output.fault(&fault),
    }
}

struct Came {
    steps: Vec<Step>,
    /// Why a page of 1 GiB was not tried.
    gigantic: Result<(), String>,
}

fn both(kernel: &mut Running) -> Result<Option<Came>, String> {
    if kernel.read_file(KNOB).is_none() {
        return Ok(None);
    }
    let mut machine = Instance::new();
    let header = Header { script: "hvo".to_owned(), ..Header::default() };
    kernel.begin(&header).map_err(|error| error.to_string())?;
    machine.begin(&header).map_err(|error| error.to_string())?;
    let mut steps = run(kernel, &mut machine, &STEPS)?;
    let ops = GIGANTIC_STEPS.map(|line| line.parse::<Op>());
    let ops: Vec<&Op> = ops.iter().flatten().collect();
    let gigantic = match kernel.lacks(&header, &ops) {
        Some(reason) => Err(reason),
        None => gigantic(kernel, &mut machine, &mut steps)?,
    };
    Ok(Some(Came { steps, gigantic }))
}

/// A range of 1 GiB is not always to be had.
fn gigantic(kernel: &mut Running, machine: &mut Instance, steps: &mut Vec<Step>) -> Result<Result<(), String>, String> {
    let done = run(kernel, machine, &GIGANTIC_STEPS)?;
    if done.iter().all(|step| step.kernel.hugetlb == 0) {
        return Ok(Err("the host has no memory for a page of 1 GiB".to_owned()));
    }
    steps.extend(done);
    Ok(Ok(()))
}

fn skipped(output: &mut Output, reason: &str) -> io::Result<Status> {
    output.result(&format!("skipped hvo: {reason}"), &json!({ "skipped": reason }))?;
    Ok(Status::Passed)
}

fn say(came: &Came, output: &mut Output) -> io::Result<Status> {
    let mut counts = [0; 3];
    for step in &came.steps {
        let (at, verdict) = match step.verdict {
            Verdict::Equal => (0, "equal"),
            Verdict::Known(name) => (1, name),
            Verdict::Different => (2, "different"),
        };
        counts[at] += 1;
        let (kernel, machine) = (step.kernel.to_string(), step.machine.to_string());
        let object = json!({ "op": step.op, "verdict": verdict, "kernel": kernel, "machine": machine });
        output.result(&step.to_string(), &object)?;
    }
    if let Err(reason) = &came.gigantic {
        output.result(&format!("skipped pages of 1 GiB: {reason}"), &json!({ "skipped": reason }))?;
    }
    let [equal, known, different] = counts;
    output.result(
        &format!("known difference {OLDER_SCHEME}: the kernel keeps no page for shared tails, and the machine does"),
        &json!({ "known": OLDER_SCHEME }),
    )?;
    output.result(
        &format!("{} steps: {equal} equal, {known} as known, {different} different", came.steps.len()),
        &json!({ "steps": came.steps.len(), "equal": equal, "known": known, "different": different, "ok": different == 0 }),
    )?;
    Ok(if different == 0 { Status::Passed } else { Status::Failed })
}
