//! The `hugefolio` program: runs scenarios, compares the library with recorded kernels, keeps scenario files tidy,
//! and explains what a host would say to a mapping.
//!
//! It ends with 0 if all went well, with 1 if an expectation failed or a step differs, and with 2 if its input is bad or the running
//! kernel cannot be asked.

mod conform;
mod explain;
mod files;
mod host;
mod hvo;
mod live;
mod output;
mod record;
mod run;
mod saved;
mod sim;
mod why;
mod zoneinfo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use lab::limits::Limits;
use output::{Output, Status};
use saved::Ends;

/// Linux's huge-page memory management, in scenarios.
#[derive(Parser)]
#[command(name = "hugefolio", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Prints one JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs scenarios and reports in KTAP.
    Run {
        /// Scenario files (.scenario), scripts (.jsonl), and directories of them.
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// Prints every step with its result, the counters, and the ledger of a refusal.
        #[arg(long)]
        trace: bool,
        /// Prints the memory of guests after every step: a line of cells for each huge page.
        #[arg(long)]
        map: bool,
        /// Begins with the machine of this file instead of the one that the scenario describes.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Writes the machine at the end of the one scenario to this file.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// How much a scenario may take, such as `memory=1T` or `folios=100000`; what else can be set, a wrong name tells.
        #[arg(long, value_name = "NAME=SIZE")]
        limit: Vec<String>,
    },
    /// Compares two saved machines, or two saved zones.
    ///
    /// Prints what only the first one has with `-` and what only the second one has with `+`. Ends with 1 if there is any.
    Diff {
        /// The first one.
        #[arg(value_name = "FILE")]
        here: PathBuf,
        /// The second one.
        #[arg(value_name = "FILE")]
        there: PathBuf,
        /// How large they may be: `state=` for the bytes of the files, `memory=` for what is in them.
        #[arg(long, value_name = "NAME=SIZE")]
        limit: Vec<String>,
    },
    /// Compares every field of every step with what a real kernel answers.
    Conform(conform::Arguments),
    /// Runs scripts on the running kernel (root) and writes down what it answers.
    Record {
        /// Scripts (.jsonl), scenario files (.scenario), and directories of them.
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
        /// The directory that gets a recording for each.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
    },
    /// Reads scenario files without running them.
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Prints scenario files in their canonical form.
    Fmt {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Rewrites the files instead.
        #[arg(long)]
        write: bool,
    },
    /// Prints a script (.jsonl) as a scenario, or a scenario as a script.
    Convert {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A directory of recordings: a script's lines get the results that the recorded kernel answered.
        #[arg(long, value_name = "DIR")]
        recorded: Option<PathBuf>,
    },
    /// Says whether mmap of huge pages would succeed on this host, whether every touch would, why not, and what mends it.
    ///
    /// Ends with 1 if something would fail.
    Explain(explain::Explain),
    /// Writes the files of /proc, /sys and the control groups as a machine shows them.
    Tree {
        /// The folder to write them to.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Runs this scenario before.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
    },
    /// Says why there is no huge page: what stands in the way of it, who has that, and what would make it go.
    ///
    /// Ends with 1 if no such page could be had.
    Why(why::Asked),
    /// Searches for mistakes of the library: random operations on whole machines, looked at after every step.
    ///
    /// Ends with 1 at the first thing that is wrong, and prints a scenario that shows it.
    Sim(sim::Arguments),
    /// Prints the page that describes the scenario language.
    Grammar,
}

/// The usual limits, or what was set of them. A wrong one ends the program.
fn limits(set: &[String]) -> Limits {
    set.iter()
        .try_fold(Limits::default(), |limits, text| limits.with(text))
        .unwrap_or_else(|error| Arguments::command().error(clap::error::ErrorKind::InvalidValue, error).exit())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json);
    let done = match arguments.command {
        Command::Run { paths, trace, map, from, save, limit } => {
            let limits = limits(&limit);
            let ends = Ends::new(from.as_deref(), save.as_deref(), limits);
            run::run(&paths, run::Shown { trace, map }, ends, &mut output)
        }
        Command::Diff { here, there, limit } => saved::diff(&here, &there, limits(&limit), &mut output),
        Command::Conform(arguments) => conform::conform(&arguments, &mut output),
        Command::Record { paths, into } => record::record(&paths, &into, &mut output),
        Command::Check { files } => files::check(&files, &mut output),
        Command::Fmt { files, write } => files::fmt(&files, write, &mut output),
        Command::Convert { file, recorded } => files::convert(&file, recorded.as_deref(), &mut output),
        Command::Explain(asked) => explain::explain(&asked, &mut output),
        Command::Tree { folder, scenario } => explain::tree(&folder, scenario.as_deref(), &mut output),
        Command::Why(asked) => why::why(&asked, &mut output),
        Command::Sim(asked) => sim::sim(&asked, &mut output),
        Command::Grammar => files::grammar(&mut output),
    };
    match done {
        Ok(status) => status.into(),
        // The reader of our output went away; it has seen what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hugefolio: the output cannot be written: {error}");
            Status::BadInput.into()
        }
    }
}
