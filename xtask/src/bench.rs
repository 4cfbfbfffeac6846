//! Benches: instructions per operation, beside their targets.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::workspace::{Workspace, cargo};

const PACKAGE: &str = "hugefolio-bench";

/// What the benches are written for, and what runs them: both have the same version.
const HARNESS: &str = "gungraun";
const RUNNER: &str = "gungraun-runner";

/// Ends with 1 if a target is missed or a bench does not build, and with 2 if the tools cannot be had.
pub(crate) fn run() -> ExitCode {
    match Workspace::load().map(|workspace| tools(&workspace).map(|runner| (workspace, runner))) {
        Ok(Ok((workspace, runner))) => measure(&workspace, &runner).unwrap_or_else(|message| {
            eprintln!("{message}");
            ExitCode::FAILURE
        }),
        Ok(Err(message)) => {
            eprintln!("bench: {message}");
            ExitCode::from(2)
        }
        Err(message) => {
            eprint!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The runner, installed below the target folder if it is not there.
fn tools(workspace: &Workspace) -> Result<PathBuf, String> {
    if !answers("valgrind") {
        return Err("there is no valgrind, which counts the instructions: install your system's package of it".into());
    }
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock")).map_err(|e| format!("Cargo.lock: {e}"))?;
    let version = locked_version(&lock, HARNESS).ok_or(format!("Cargo.lock has no {HARNESS}"))?;
    let folder = workspace.target.join("tools");
    let runner = folder.join("bin").join(RUNNER).with_extension(std::env::consts::EXE_EXTENSION);
    let note = folder.join(format!("{RUNNER}-{version}"));
    if answers(&runner) && note.is_file() {
        return Ok(runner);
    }
    println!("installing {RUNNER} {version} into {}", folder.display());
    let mut install = cargo();
    install
        .args(["install", RUNNER, "--locked", "--force", "--version", &format!("={version}"), "--root"])
        .arg(&folder);
    match install.status() {
        Ok(status) if status.success() => {
            fs::write(&note, "").map_err(|e| format!("{}: {e}", note.display()))?;
            Ok(runner)
        }
        _ => Err(format!("{RUNNER} {version} cannot be installed: the registry must be reachable once")),
    }
}

fn answers(program: impl AsRef<OsStr>) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let entry = lock.split("[[package]]").find(|entry| entry.lines().any(|line| line == name))?;
    entry.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

/// Runs the benches and prints their table; the code is that of the report.
fn measure(workspace: &Workspace, runner: &Path) -> Result<ExitCode, String> {
    let cannot = |e: std::io::Error| format!("cannot run cargo: {e}");
    println!("counting instructions under valgrind");
    let mut bench = cargo();
    bench.env("GUNGRAUN_RUNNER", runner).args(["bench", "--quiet", "-p", PACKAGE, "--", "--output-format=json"]);
    let output = bench.stderr(Stdio::inherit()).output().map_err(cannot)?;
    if !output.status.success() {
        return Err(format!("`cargo bench -p {PACKAGE}` failed"));
    }
    let summaries = workspace.target.join("bench.jsonl");
    fs::write(&summaries, &output.stdout).map_err(|e| format!("{}: {e}", summaries.display()))?;
    let mut report = cargo();
    report.args(["run", "--quiet", "--profile", "bench", "-p", PACKAGE, "--"]).arg(&summaries);
    let status = report.status().map_err(cannot)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = "[[package]]\nname = \"gungraun-runner\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"gungraun\"\nversion = \"0.2.0\"\n";
        assert_eq!(locked_version(lock, "gungraun"), Some("0.2.0"));
        assert_eq!(locked_version(lock, "gun"), None);
        let ours = include_str!("../../Cargo.lock");
        assert!(locked_version(ours, HARNESS).is_some() && !answers("a program that nobody has"));
    }
}
