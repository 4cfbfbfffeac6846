//! `cargo xtask mutants`: deliberate mistakes of one line, each of which the tests must notice.
//!
//! The list is [mutants.diff](../mutants.diff). Each mistake is made in a copy of the project below the target folder, never in the working
//! tree; the narrowest tests that must catch it are built and run there, and the line is put back. All share one target folder, so a
//! mistake costs the build of its own room and of those above it that its tests need.

mod list;
mod scratch;
mod trial;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::workspace::{Tree, Workspace};
use list::Mutant;
use scratch::Scratch;
use trial::{Outcome, Trial, clock};

/// Where the list is.
const LIST: &str = "xtask/mutants.diff";

/// How long the tests of one mistake may take before they count as hanging.
const LIMIT: Duration = Duration::from_secs(180);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    /// Every mistake, or those whose names contain one of these.
    Run(Vec<String>),
    /// Their names and kinds.
    Show,
}

fn wish(words: &[String]) -> Result<Wish, String> {
    match words {
        [] => Ok(Wish::Run(Vec::new())),
        [only, names @ ..] if only == "--only" && !names.is_empty() => Ok(Wish::Run(names.to_vec())),
        [list] if list == "--list" => Ok(Wish::Show),
        _ => Err("usage: cargo xtask mutants [--list | --only NAME...]\n".to_owned()),
    }
}

/// Makes every mistake in turn, or those that are asked for. Fails if one survives.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let wish = wish(words)?;
    let workspace = Workspace::load()?;
    let tree = Tree::read(&workspace)?;
    let text = tree.texts.get(LIST).ok_or_else(|| format!("there is no {LIST}\n"))?;
    let mut mutants = list::parse(text)?;
    let source = |file: &str| tree.texts.get(file).cloned();
    mutants.iter().try_for_each(|mutant| mutant.apply_to(source(&mutant.file).as_deref()).map(|_| ()))?;
    let only = match wish {
        Wish::Show => {
            mutants.iter().for_each(|mutant| println!("{:55} {}", mutant.name, mutant.kind));
            return Ok(());
        }
        Wish::Run(only) => only,
    };
    mutants.retain(|mutant| only.is_empty() || only.iter().any(|name| mutant.name.contains(name)));
    if mutants.is_empty() {
        return Err("no mistake has such a name: see cargo xtask mutants --list\n".to_owned());
    }
    let scratch = Scratch::new(&workspace, &tree)?;
    try_all(&scratch, &mutants, source)
}

fn try_all(scratch: &Scratch, mutants: &[Mutant], source: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let total = clock();
    let commands: BTreeSet<&Trial> = mutants.iter().map(|mutant| &mutant.trial).collect();
    println!("the project as it is passes what is to catch {} mistakes:", mutants.len());
    let mut sound = BTreeSet::new();
    for trial in commands {
        match trial.run(scratch, LIMIT)? {
            Outcome::Passed => {
                println!("  ok {trial}");
                sound.insert(trial);
            }
            Outcome::Caught(by) => println!("  NOT OK {trial}, by {by}"),
            Outcome::DoesNotBuild(why) => return Err(format!("{trial} does not build:\n{why}\n")),
        }
    }
    let mut survivors = Vec::new();
    for mutant in mutants {
        if !sound.contains(&mutant.trial) {
            println!("NOTHING SHOWN of {}: {} fails without it", mutant.name, mutant.trial);
            survivors.push(mutant.name.as_str());
            continue;
        }
        let elapsed = clock();
        let original = source(&mutant.file).unwrap_or_default();
        scratch.write(&mutant.file, &mutant.apply_to(Some(&original))?)?;
        let outcome = mutant.trial.run(scratch, LIMIT);
        scratch.write(&mutant.file, &original)?;
        let seconds = elapsed().as_secs();
        match outcome? {
            Outcome::Caught(by) => println!("caught   {} by {by} ({}, {seconds} s)", mutant.name, mutant.kind),
            Outcome::Passed => {
                println!("SURVIVED {}: {} lets it pass ({}, {seconds} s)", mutant.name, mutant.trial, mutant.kind);
                survivors.push(mutant.name.as_str());
            }
            Outcome::DoesNotBuild(why) => {
                println!("NOTHING SHOWN by {}, with which nothing builds:\n{why}", mutant.name);
                survivors.push(mutant.name.as_str());
            }
        }
    }
    println!("caught {}/{} in {} s", mutants.len() - survivors.len(), mutants.len(), total().as_secs());
    if survivors.is_empty() { Ok(()) } else { Err(format!("not caught: {}\n", survivors.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that was changed since takes its mistake with it: then the entry has to follow.
    #[test]
    fn every_mistake_can_still_be_made() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mutants = list::parse(include_str!("../mutants.diff")).unwrap_or_else(|why| panic!("{why}"));
        for mutant in &mutants {
            let source = std::fs::read_to_string(format!("{root}/{}", mutant.file)).ok();
            mutant.apply_to(source.as_deref()).unwrap_or_else(|why| panic!("{why}"));
        }
        let names: BTreeSet<_> = mutants.iter().map(|mutant| &mutant.name).collect();
        assert_eq!(names.len(), mutants.len(), "a name stands for two mistakes");
        assert!(mutants.len() >= 48, "{} mistakes", mutants.len());
    }

    #[test]
    fn what_is_asked_for() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(wish(&words(&[])), Ok(Wish::Run(Vec::new())));
        assert_eq!(wish(&words(&["--only", "region", "hole"])), Ok(Wish::Run(words(&["region", "hole"]))));
        assert_eq!(wish(&words(&["--list"])), Ok(Wish::Show));
        assert!(wish(&words(&["--only"])).is_err());
    }
}
