//! `hugefolio sim`: random operations on whole machines, until something is wrong.

#![expect(clippy::disallowed_types, reason = "how long the search goes on; nothing that is found depends on it")]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::input::{BadInput, Problem};
use lab::op::Op;
use lab::scenario::Scenario;
use lab::sim::{Finding, STEPS, Sim, TRIES, wrong_with};
use serde_json::json;

use crate::output::{Output, Status};

/// What is to be done, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The seed, which decides everything.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// For how long; a world that has begun is brought to its end.
    #[arg(long, default_value_t = 1, value_name = "M")]
    minutes: u64,
    /// So many operations instead.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Begins with this one of the seed's worlds.
    #[arg(long, default_value_t = 0, value_name = "N")]
    world: u64,
    /// Tells every operation, on the other stream, before it is done.
    #[arg(long)]
    trace: bool,
    /// Looks at the steps of this scenario instead, in the same way.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Ends with 1 at the first thing that is wrong. Speed goes to the other stream: what is printed here is the same whenever it runs.
pub(crate) fn sim(asked: &Arguments, output: &mut Output) -> io::Result<Status> {
    if let Some(file) = &asked.replay {
        return replay(file, output);
    }
    let begun = Instant::now();
    let deadline = Duration::from_secs(asked.minutes.saturating_mul(60));
    let mut sim = Sim::new(asked.seed);
    sim.skip(asked.world);
    let (mut steps, mut worlds) = (0, 0);
    let goes_on = |steps: u64| match asked.steps {
        Some(most) => steps < most,
        None => begun.elapsed() < deadline,
    };
    let mut status = Status::Passed;
    while goes_on(steps) {
        let most = asked.steps.map_or(STEPS, |most| STEPS.min(most - steps));
        let mut tell = |op: &Op| {
            if asked.trace {
                eprintln!("{op}");
            }
        };
        match sim.next_world_told(most, &mut tell) {
            Ok(world) => {
                // A machine that cannot be costs as little as one step.
                steps += world.steps.max(1);
                worlds += 1;
                if output.is_json() {
                    let digest = format!("{:016x}", world.digest);
                    output.object(&json!({ "world": world.number, "steps": world.steps, "digest": digest }))?;
                } else {
                    writeln!(output.stream(), "{world}")?;
                }
            }
            Err(finding) => {
                show(&finding, output)?;
                status = Status::Failed;
                break;
            }
        }
    }
    let ms = begun.elapsed().as_millis().max(1);
    eprintln!("{steps} steps in {worlds} worlds, {} steps per second", u128::from(steps) * 1000 / ms);
    Ok(status)
}

fn show(finding: &Finding, output: &mut Output) -> io::Result<()> {
    eprintln!("seed {}, world {}: {}\nmaking it short", finding.seed, finding.world, finding.wrong);
    // Each try that panics would print that it does.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let short = finding.shrunk(TRIES);
    std::panic::set_hook(usual);
    let Finding { seed, world, wrong, .. } = &short;
    if output.is_json() {
        let scenario = short.scenario().to_string();
        return output.object(&json!({ "seed": seed, "world": world, "wrong": wrong, "scenario": scenario }));
    }
    let out = output.stream();
    writeln!(out, "seed {seed}, world {world}: {wrong}")?;
    writeln!(out, "again: cargo xtask sim --seed {seed} --world {world} --steps {STEPS}")?;
    writeln!(out, "or, of these lines in FILE: cargo xtask sim --replay FILE\n\n{}", short.scenario())
}

fn replay(file: &Path, output: &mut Output) -> io::Result<Status> {
    let scenario = match Scenario::read(file) {
        Ok(scenario) => scenario,
        Err(problems) => return output.problems(&problems),
    };
    let header = scenario.header("replay");
    if !header.memory.is_empty() {
        let reason = "memory that a scenario describes has no machine to look at; take its lines out".to_owned();
        return output.problems(&[Problem::of_file(file, BadInput::Mismatch(reason))]);
    }
    let ops: Vec<_> = scenario.ops().cloned().collect();
    match wrong_with(&header.machine.unwrap_or_default(), &ops) {
        None => {
            writeln!(output.stream(), "nothing is wrong")?;
            Ok(Status::Passed)
        }
        Some((n, wrong)) => {
            let op = ops.get(n.saturating_sub(1)).map_or(String::new(), ToString::to_string);
            writeln!(output.stream(), "step {n}, {op}: {wrong}")?;
            Ok(Status::Failed)
        }
    }
}
