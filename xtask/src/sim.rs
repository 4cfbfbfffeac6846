//! The search for mistakes: `hugefolio sim`, built to be fast and to look at everything.

use std::process::ExitCode;

use crate::workspace::cargo;

/// As fast as a release, with every assertion.
const PROFILE: &str = "sim";

pub(crate) fn run(words: &[String]) -> ExitCode {
    let mut run = cargo();
    run.args(["run", "--quiet", "--profile", PROFILE, "-p", "hugefolio-cli", "--", "sim"]).args(words);
    match run.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}
