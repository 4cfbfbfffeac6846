//! Project commands: `cargo xtask ci` runs every check, `cargo xtask tidy` those on the shape of the code, `cargo xtask bench`
//! the benches, `cargo xtask mutants` tries the tests on deliberate mistakes, `cargo xtask sim` random operations on whole machines.

mod bench;
mod ci;
mod mutants;
mod sim;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci [STEP...]   every check in order, or the named ones; stops at the first that fails
  tidy           the checks on layers, lengths, locks, words, files and links
  bench          instructions per operation of every bench, beside its target; --write puts them into docs/performance.md too
  mutants        deliberate mistakes, each of which the tests must catch; --list shows them, --only NAME... makes some
  sim [WORD...]  random operations on whole machines, until something is wrong: --seed N --minutes M, or --steps N; more with --help
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bench"] => return bench::run(bench::To::Screen),
        ["bench", "--write"] => return bench::run(bench::To::Page),
        _ => (),
    }
    if let Some((command, words)) = arguments.split_first()
        && command == "sim"
    {
        return sim::run(words);
    }
    let outcome = match arguments.split_first() {
        Some((command, steps)) if command == "ci" => ci::run(steps),
        Some((command, [])) if command == "tidy" => tidy::run(),
        Some((command, words)) if command == "mutants" => mutants::run(words),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprint!("{message}");
            ExitCode::FAILURE
        }
    }
}
