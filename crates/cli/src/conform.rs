//! `hugefolio conform`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use lab::conform::{Corpus, Report, conform as compare};
use lab::defects;
use lab::generate::Profile;
use lab::instance::Instance;
use serde_json::json;

use crate::output::{Output, Status};
use crate::{hvo, live, zoneinfo};

/// With what the library is compared.
#[derive(Args)]
pub(crate) struct Arguments {
    /// With recordings: a directory with scripts/, recorded/ and manifest.json.
    #[arg(long, value_name = "DIR", required_unless_present = "live", conflicts_with_all = ["live", "paths"])]
    recorded: Option<PathBuf>,
    /// Leaves out the recorded scripts that use one of these features of the manifest.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', requires = "recorded")]
    without: Vec<String>,
    /// With the running kernel (root): random scripts, or the files named. The host is put back as it was.
    #[arg(long)]
    live: bool,
    /// Scenario files (.scenario), scripts (.jsonl), and directories of them, in place of random scripts. `zoneinfo` compares the marks,
    /// protections and list sizes of /proc/zoneinfo with what follows from sizes and knobs, and needs no root. `hvo` grows and shrinks pools with and without
    /// hugetlb_optimize_vmemmap and compares how many pages hold descriptors.
    #[arg(value_name = "FILE|DIR", requires = "live")]
    paths: Vec<PathBuf>,
    /// The seed of the first random script; the others have those after it.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "live", conflicts_with = "paths")]
    seed: u64,
    /// How many random scripts.
    #[arg(long, value_name = "K", default_value_t = 20, requires = "live", conflicts_with = "paths")]
    scripts: u64,
    /// How many operations each has.
    #[arg(long, value_name = "M", default_value_t = 80, requires = "live", conflicts_with = "paths")]
    ops: usize,
    /// What they are about; all profiles but gig in turn if left out.
    #[arg(long, value_name = "NAME", value_parser = profile, requires = "live", conflicts_with = "paths")]
    profile: Option<Profile>,
}

fn profile(name: &str) -> Result<Profile, String> {
    let known = Profile::named().find(|profile| profile.name() == name);
    let names = || Profile::named().map(Profile::name).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("the profiles are {}", names()))
}

/// Compares the instance with recordings or with the running kernel.
pub(crate) fn conform(arguments: &Arguments, output: &mut Output) -> io::Result<Status> {
    let Arguments { recorded, without, paths, seed, scripts, ops, profile, .. } = arguments;
    match recorded {
        Some(folder) => with_recordings(folder, without, output),
        None if *paths == [Path::new("zoneinfo")] => zoneinfo::live(output),
        None if *paths == [Path::new("hvo")] => hvo::live(output),
        None if paths.is_empty() => {
            live::random(&live::Random { seed: *seed, scripts: *scripts, ops: *ops, profile: *profile }, output)
        }
        None => live::files(paths, output),
    }
}

fn with_recordings(folder: &Path, without: &[String], output: &mut Output) -> io::Result<Status> {
    let corpus = match Corpus::open(folder).and_then(|corpus| corpus.without(without)) {
        Ok(corpus) => corpus,
        Err(problem) => return output.problems(&[problem]),
    };
    match compare(&corpus, &mut Instance::new(), &mut defects::all()) {
        Ok(report) => print(&report, output),
        Err(problems) => output.problems(&problems),
    }
}

/// Prints what came of a comparison.
pub(crate) fn print(report: &Report, output: &mut Output) -> io::Result<Status> {
    if output.is_json() {
        report.scripts.iter().try_for_each(|script| output.object(&script.to_json()))?;
        let by_defect: serde_json::Map<_, _> = report
            .not_judged()
            .iter()
            .map(|(defect, (scripts, steps))| (defect.to_string(), json!({ "scripts": scripts, "steps": steps })))
            .collect();
        output.object(&json!({ "totals": report.totals(), "defects": by_defect, "ok": report.passed() }))?;
    } else {
        write!(output.stream(), "{report}")?;
    }
    Ok(if report.passed() { Status::Passed } else { Status::Failed })
}
