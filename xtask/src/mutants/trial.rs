//! Tests that are to notice a mistake: built, run with a limit of time, and asked which of them failed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::scratch::Scratch;
use crate::workspace::cargo;

/// Which tests, as arguments of `cargo test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trial {
    /// What is built.
    pub(super) words: Vec<String>,
    /// What the tests themselves are told: which of them.
    pub(super) filter: Vec<String>,
    pub(super) flags: String,
}

/// What became of it.
pub(super) enum Outcome {
    /// A test failed, or did not end: which.
    Caught(String),
    Passed,
    DoesNotBuild(String),
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.flags.is_empty() {
            write!(f, "RUSTFLAGS=\"{}\" ", self.flags)?;
        }
        write!(f, "cargo test {}", self.words.join(" "))?;
        if self.filter.is_empty() { Ok(()) } else { write!(f, " -- {}", self.filter.join(" ")) }
    }
}

/// A program of tests, and the folder in which cargo would run it.
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

impl Trial {
    pub(super) fn set_words(&mut self, text: &str) {
        let (words, filter) = text.split_once(" -- ").unwrap_or((text, ""));
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        (self.words, self.filter) = (split(words), split(filter));
    }

    /// Builds and runs the tests, one program after the other, until one fails.
    pub(super) fn run(&self, scratch: &Scratch, limit: Duration) -> Result<Outcome, String> {
        let programs = match self.build(scratch)? {
            Ok(programs) => programs,
            Err(why) => return Ok(Outcome::DoesNotBuild(why)),
        };
        if programs.is_empty() {
            return Err(format!("{self} has no tests\n"));
        }
        for program in programs {
            if let Some(by) = self.run_program(scratch, &program, limit)? {
                return Ok(Outcome::Caught(by));
            }
        }
        Ok(Outcome::Passed)
    }

    fn build(&self, scratch: &Scratch) -> Result<Result<Vec<Program>, String>, String> {
        // Other flags are another build of everything, and not to take turns with this one.
        let folder = if self.flags.is_empty() { "plain".to_owned() } else { self.flags.replace([' ', '"', '='], "") };
        let mut build = cargo();
        build.current_dir(&scratch.root).arg("test").args(&self.words);
        build.args(["--no-run", "--message-format=json"]).arg("--target-dir").arg(scratch.target.join(folder));
        // What is built once and run once is not worth optimising, and nobody debugs it. A scheduler's threads have small stacks, though.
        build.env("CARGO_PROFILE_DEV_DEBUG", "0");
        if self.flags.is_empty() {
            build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
        } else {
            build.env("RUSTFLAGS", &self.flags);
        }
        let output = build.stderr(Stdio::piped()).output().map_err(|e| format!("cannot run cargo: {e}\n"))?;
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Ok(programs(&messages)));
        }
        Ok(Err(rendered(&messages) + &String::from_utf8_lossy(&output.stderr)))
    }

    /// Which test of a program fails, if one does.
    fn run_program(&self, scratch: &Scratch, program: &Program, limit: Duration) -> Result<Option<String>, String> {
        let log = scratch.target.join("log");
        let wrong = |e: std::io::Error| format!("{}: {e}\n", program.path.display());
        let out = fs::File::create(&log).map_err(wrong)?;
        let err = out.try_clone().map_err(wrong)?;
        // Nobody here has to wait for it: that is what this program is for.
        let mut command = Command::new("timeout");
        command.arg("--kill-after=5").arg(limit.as_secs().to_string()).arg(&program.path).args(&self.filter);
        command.current_dir(&program.folder).stdin(Stdio::null()).stdout(out).stderr(err);
        let ended = command.status().map_err(|e| format!("cannot run timeout, of the coreutils: {e}\n"))?;
        let log = String::from_utf8_lossy(&fs::read(&log).map_err(wrong)?).into_owned();
        Ok(verdict(&program.path, ended, &log))
    }
}

/// How long it is since this was called.
#[expect(clippy::disallowed_types, reason = "who waits for a program waits in real time")]
pub(super) fn clock() -> impl Fn() -> Duration {
    let start = std::time::Instant::now();
    move || start.elapsed()
}

/// What `timeout` answers for a program that took too long: by itself, or when it had to be killed.
const TOO_LONG: [i32; 2] = [124, 137];

/// What failed, if the program did.
fn verdict(program: &Path, ended: ExitStatus, log: &str) -> Option<String> {
    let file = program.file_stem().unwrap_or_default().to_string_lossy();
    let file = file.rsplit_once('-').map_or(&*file, |(name, _)| name);
    if ended.success() {
        return None;
    }
    if ended.code().is_some_and(|code| TOO_LONG.contains(&code)) {
        return Some(format!("{file}, which hangs{}", unfinished(log)));
    }
    Some(match failed(log) {
        Some(test) => format!("{file}::{test}"),
        None => format!("{file}, which ends with {ended}"),
    })
}

/// The first test that is reported as failed.
fn failed(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
}

/// A test that the harness says has been running for long.
fn unfinished(log: &str) -> String {
    let long = log.lines().find_map(|line| line.strip_prefix("test ")?.split_once(" has been running").map(|(t, _)| t));
    long.map_or_else(String::new, |test| format!(" in {test}"))
}

/// The programs of tests among what cargo says it built.
fn programs(messages: &str) -> Vec<Program> {
    let program = |message: Value| {
        let of_tests = message["profile"]["test"].as_bool()? && message["reason"] == "compiler-artifact";
        let path = PathBuf::from(message["executable"].as_str()?);
        let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
        of_tests.then_some(Program { path, folder })
    };
    messages.lines().filter_map(|line| serde_json::from_str(line).ok().and_then(program)).collect()
}

/// What the compiler would have shown.
fn rendered(messages: &str) -> String {
    let text = |message: Value| message["message"]["rendered"].as_str().map(str::to_owned);
    messages.lines().filter_map(|line| serde_json::from_str(line).ok().and_then(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_that_failed_is_named() {
        let log =
            "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d has been running for over 60 seconds\n";
        assert_eq!((failed(log), unfinished(log).as_str()), (Some("a::c"), " in d"));
        assert_eq!((failed("test a ... ok\n"), unfinished("").as_str()), (None, ""));
    }

    #[test]
    fn programs_are_read_off_what_cargo_says() {
        let said = "{\"reason\":\"compiler-artifact\",\"profile\":{\"test\":true},\"executable\":\"/t/model-1\",\
                    \"manifest_path\":\"/p/crates/a/Cargo.toml\"}\n{\"reason\":\"build-finished\"}\nno JSON\n";
        let found = programs(said);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.to_str(), found[0].folder.to_str()), (Some("/t/model-1"), Some("/p/crates/a")));
    }
}
