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

/// The page that has the figures.
const PAGE: &str = "docs/performance.md";

/// What the page says before them.
const BEFORE: &str = "\
# What things cost

Made by `cargo xtask bench --write`: instructions for each operation as callgrind counts them, beside the target where there is one, and beside what another allocator takes for
the same where one is comparable; bytes; and what a clock said, which is of one machine and one run. *Locked* are instructions that lock the bus.

```text
";

/// And after them.
const AFTER: &str = "\
```

Where a target is missed, the decisions say where the instructions go: [a resize](decisions/0005-the-cost-of-a-resize.md),
[descriptors, and a guest that shares a page](decisions/0009-the-cost-of-descriptors.md), [two threads](decisions/0010-what-threads-share.md). Of a CONTINUE of 4 KiB into an empty
mapping of 1 GiB 1,220 walk through its tables, make two of them and write three entries; 440 put it among the pages in pieces and note that its part of the address space has tables, of which
the first node of a tree takes 160 to be had; 750 are the call around that: ranges, area, file, locks, references. A page of the page allocator goes through the lists of a processor whatever its size, and random order
costs what looking up the mark of its pageblock costs ([0007](decisions/0007-a-mark-for-every-block.md)).
";

/// Where the figures go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Screen,
    /// To the page as well.
    Page,
}

/// Ends with 1 if a target is missed or a bench does not build, and with 2 if the tools cannot be had.
pub(crate) fn run(to: To) -> ExitCode {
    match Workspace::load().map(|workspace| tools(&workspace).map(|runner| (workspace, runner))) {
        Ok(Ok((workspace, runner))) => measure(&workspace, &runner, to).unwrap_or_else(|message| {
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
fn measure(workspace: &Workspace, runner: &Path, to: To) -> Result<ExitCode, String> {
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
    let report = report.stderr(Stdio::inherit()).output().map_err(cannot)?;
    let figures = String::from_utf8_lossy(&report.stdout);
    print!("{figures}");
    if to == To::Page {
        let page = format!("{BEFORE}{}\n{AFTER}", figures.trim_end());
        fs::write(workspace.root.join(PAGE), page).map_err(|e| format!("{PAGE}: {e}"))?;
    }
    Ok(report.status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
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
