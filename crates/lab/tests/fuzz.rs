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

/// Random numbers from a seed (xorshift).
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap_or(0)
}

/// A file with some bytes changed, left out, or taken from elsewhere in it.
fn spoilt(bytes: &[u8], seed: u64) -> Vec<u8> {
    let (mut bytes, mut state) = (bytes.to_vec(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..=next(&mut state) % 4 {
        let len = bytes.len().max(1);
        let (at, from, count) = (next(&mut state) % len, next(&mut state) % len, 1 + next(&mut state) % 16);
        let end = (at + count).min(bytes.len());
        match next(&mut state) % 4 {
            0 => drop(bytes.drain(at.min(end)..end)),
            1 => {
                let piece: Vec<u8> = bytes.iter().skip(from).take(count).copied().collect();
                bytes.splice(at.min(end)..at.min(end), piece);
            }
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = b"0123456789-, .{}\"\n"[from % 18]),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (from % 8)),
        }
    }
    bytes
}

/// Tries of each file besides the file itself; `HUGEFOLIO_FUZZ_TRIES` sets another number.
fn tries() -> u64 {
    std::env::var("HUGEFOLIO_FUZZ_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(20)
}

fn replay(name: &str) {
    let entry: Entry = ENTRIES.iter().find(|(known, _)| *known == name).expect("there is such an entry").1;
    let files = corpus(name);
    assert!(files.len() >= 10, "{name} has {} files", files.len());
    for file in files {
        let bytes = fs::read(&file).expect("it can be read");
        let done = std::panic::catch_unwind(|| entry(&bytes));
        assert!(done.is_ok(), "{} panics", file.display());
        for seed in 0..tries() {
            let bytes = spoilt(&bytes, seed);
            let done = std::panic::catch_unwind(|| entry(&bytes));
            assert!(done.is_ok(), "{} panics, spoilt by {seed}:\n{}", file.display(), String::from_utf8_lossy(&bytes));
        }
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
