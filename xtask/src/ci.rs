//! Every check, in the order in which a failure is cheapest.

use std::path::Path;
use std::process::Command;

use crate::tidy;
use crate::workspace::{Workspace, cargo};

/// The rooms that must build without the standard library, bottom up.
pub(crate) const NO_STD_ROOMS: [&str; 14] = [
    "units",
    "sync",
    "memmap",
    "policy",
    "zone",
    "charge",
    "paging",
    "page_alloc",
    "vmemmap",
    "hugetlb",
    "filemap",
    "hugetlbfs",
    "gmem",
    "mm",
];

/// A target that has no standard library to fall back on.
const BARE_TARGET: &str = "x86_64-unknown-none";

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<(), String>,
}

const STEPS: [Step; 9] = [
    Step { name: "lock", what: "Cargo.lock is up to date", run: lock },
    Step { name: "fmt", what: "the code is formatted", run: fmt },
    Step { name: "tidy", what: "the code has its shape", run: |_| tidy::run() },
    Step { name: "clippy", what: "no lint", run: clippy },
    Step { name: "no-std", what: "each room builds alone", run: no_std },
    Step { name: "test", what: "all tests", run: test },
    Step { name: "shuttle", what: "whole paths under random schedules", run: shuttle },
    Step { name: "loom", what: "every order of loads and stores", run: loom },
    Step { name: "doc", what: "no warning in the documentation", run: doc },
];

/// Runs the named steps, or all.
pub(crate) fn run(names: &[String]) -> Result<(), String> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(format!("there is no step `{unknown}`; the steps are {}\n", known.join(", ")));
    }
    let workspace = Workspace::load()?;
    for step in &STEPS {
        if names.is_empty() || names.iter().any(|name| name == step.name) {
            println!("\n== {}: {} ==", step.name, step.what);
            (step.run)(&workspace)
                .map_err(|e| format!("{e}\nstep `{0}` failed; run it alone with: cargo xtask ci {0}\n", step.name))?;
        }
    }
    println!("\nall checks passed");
    Ok(())
}

fn lock(_: &Workspace) -> Result<(), String> {
    let output = cargo().args(["metadata", "--locked", "--format-version", "1"]).output();
    match output.map_err(|e| format!("cannot run cargo: {e}"))? {
        output if output.status.success() => Ok(()),
        output => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn fmt(_: &Workspace) -> Result<(), String> {
    call(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy(_: &Workspace) -> Result<(), String> {
    call(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))
}

/// Each room by itself: a build of the workspace unifies features, and a build of tests links the standard library.
fn no_std(_: &Workspace) -> Result<(), String> {
    let bare = has_target(BARE_TARGET);
    if !bare {
        println!("note: target {BARE_TARGET} is not installed; building for this machine instead");
    }
    for room in NO_STD_ROOMS {
        let package = format!("hugefolio-{}", room.replace('_', "-"));
        let mut build = cargo();
        build.args(["build", "--quiet", "--no-default-features", "-p", &package]);
        if bare {
            build.args(["--target", BARE_TARGET]);
        }
        call(&mut build)?;
    }
    Ok(())
}

fn has_target(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|o| o.status.success() && Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

fn test(_: &Workspace) -> Result<(), String> {
    call(cargo().args(["test", "--workspace"]))
}

/// Tests that a scheduler runs are in files whose names begin with its own; a room whose threads share something only with a feature names it here.
const SHUTTLE: [(&str, &str, Option<&str>); 2] =
    [("hugefolio", "crates/hugefolio", None), ("hugefolio-paging", "crates/paging", Some("shared"))];

fn shuttle(workspace: &Workspace) -> Result<(), String> {
    SHUTTLE.iter().try_for_each(|&tests| under(workspace, "shuttle", tests))
}

fn loom(workspace: &Workspace) -> Result<(), String> {
    under(workspace, "loom", ("hugefolio-paging", "crates/paging", None))
}

/// The tests of one package that are written for a scheduler, with everything built for it.
fn under(
    workspace: &Workspace,
    scheduler: &str,
    (package, folder, feature): (&str, &str, Option<&str>),
) -> Result<(), String> {
    let file = format!("{folder}/tests/{scheduler}.rs");
    if !workspace.root.join(&file).is_file() {
        println!("skipped: there is no {file}");
        return Ok(());
    }
    let mut test = cargo();
    test.env("RUSTFLAGS", format!("--cfg {scheduler}"));
    test.args(["test", "-p", package, "--test", &format!("{scheduler}*")]);
    test.args(feature.map(|feature| ["--features", feature]).into_iter().flatten());
    test.arg("--target-dir").arg(workspace.target.join(scheduler));
    call(&mut test)
}

fn doc(_: &Workspace) -> Result<(), String> {
    call(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--quiet"]))
}

fn call(command: &mut Command) -> Result<(), String> {
    let words = command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("$ cargo {words}");
    let status = command.status().map_err(|e| format!("cannot run cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {words}` failed")) }
}
