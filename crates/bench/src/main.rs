//! Puts the figures of the benches beside their targets: `hugefolio-bench SUMMARIES`, where SUMMARIES is what the benches
//! printed with `--output-format=json`. Ends with 1 if a target is missed and with 2 if there are no figures.

use std::process::ExitCode;

use bench::clock::median;
use bench::counting::Counting;
use bench::replay::{replay, scripts};
use bench::report::{Figures, Report};
use bench::setup::empty_machine;
use bench::table::STEPS;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

fn main() -> ExitCode {
    let report = match std::env::args().nth(1) {
        Some(path) => report(&path),
        None => Err("usage: hugefolio-bench SUMMARIES".to_owned()),
    };
    match report {
        Ok(report) => {
            println!("{report}");
            print_times();
            if report.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn report(path: &str) -> Result<Report, String> {
    let summaries = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let (_machine, bytes) = ALLOCATOR.bytes_asked_by(empty_machine);
    let report = Figures::read(&summaries).and_then(|figures| Report::new(&figures, bytes));
    report.map_err(|error| format!("{path}: {error}"))
}

fn print_times() {
    let creation = median(1_001, empty_machine);
    let scripts = scripts();
    let replayed = median(11, || replay(&scripts));
    let steps = u128::from(STEPS) * 1_000_000_000 / replayed.as_nanos().max(1);
    println!("for information, by the clock of this machine (medians):");
    println!("  machine of 24 GiB with empty pools: created in {} ns (aim: under 50,000 ns)", creation.as_nanos());
    println!("  recorded steps per second: {steps}");
}
