//! Every file of the corpora goes through the functions that the fuzz targets call, and what is in them is what it should be.

use std::fs;
use std::path::{Path, PathBuf};

use lab::fuzz::{ENTRIES, Entry};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files of one corpus, by their names.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = folder().join("corpus").join(name);
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let entry: Entry = ENTRIES.iter().find(|(known, _)| *known == name).expect("there is such an entry").1;
    let files = corpus(name);
    assert!(files.len() >= 10, "{name} has {} files", files.len());
    for file in files {
        let bytes = fs::read(&file).expect("it can be read");
        let done = std::panic::catch_unwind(|| entry(&bytes));
        assert!(done.is_ok(), "{} panics", file.display());
    }
}

#[test]
fn scenarios_are_replayed() {
    replay("scenario");
}

#[test]
fn json_lines_are_replayed() {
    replay("json_lines");
}

#[test]
fn kernel_text_is_replayed() {
    replay("kernel_text");
}

#[test]
fn snapshots_are_replayed() {
    replay("snapshot");
}

#[test]
fn operations_are_replayed() {
    replay("operations");
}

/// A target for each entry, and an entry for each target.
#[test]
fn each_entry_has_its_target() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("there is a manifest");
    for (name, _) in ENTRIES {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no target {name}");
        let target = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).expect("there is a target");
        assert!(target.contains(&format!("lab::fuzz::{name}(")), "the target {name} calls something else");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), ENTRIES.len());
}
