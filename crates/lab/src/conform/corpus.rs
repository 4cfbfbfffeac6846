//! A folder of recordings: `scripts/`, `recorded/` and `manifest.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::input::{BadInput, Problem, read_small};
use crate::scenario::Scenario;

/// The largest manifest in bytes.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// What recordings can use of the kernel. A corpus without a script that uses one of these may still be asked to leave it out.
const FEATURES: [&str; 19] = [
    "1G",
    "cgroup",
    "demote",
    "file",
    "fork",
    "hvo",
    "madvise",
    "memfd",
    "mlock",
    "mprotect",
    "mremap",
    "pagemap",
    "seal",
    "set_overcommit",
    "shm",
    "smaps",
    "subpool",
    "uaccess",
    "uffd",
];

/// What the manifest says about a script; what is not needed here is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// The script's name.
    pub name: String,
    /// How many operations it has.
    pub steps: usize,
    /// What of the kernel it uses.
    pub features: Vec<String>,
}

/// A folder of recordings.
#[derive(Debug)]
pub struct Corpus {
    folder: PathBuf,
    entries: Vec<Entry>,
}

impl Corpus {
    /// The corpus in `folder`.
    ///
    /// # Errors
    /// There is no manifest, or it is not one.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let path = folder.join("manifest.json");
        let text = read_small(&path, MANIFEST_LIMIT, "no list of recordings is")?;
        let entries: Vec<Entry> = serde_json::from_str(&text)
            .map_err(|error| Problem::at(&path, error.line(), error.column(), BadInput::Json(error.to_string())))?;
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        match entries.iter().find(|entry| entry.name.is_empty() || !plain(&entry.name)) {
            Some(entry) => {
                let reason = format!("{:?} is not a script's name: letters, digits, _ and -", entry.name);
                Err(Problem::of_file(&path, BadInput::Mismatch(reason)))
            }
            None => Ok(Self { folder: folder.to_owned(), entries }),
        }
    }

    /// Leaves out the scripts that use one of `features`.
    ///
    /// # Errors
    /// There is no such feature.
    pub fn without(mut self, features: &[String]) -> Result<Self, Problem> {
        let mut known: Vec<&str> = self.entries.iter().flat_map(|e| e.features.iter().map(String::as_str)).collect();
        known.sort_unstable();
        known.dedup();
        let named = |feature: &str| known.contains(&feature) || FEATURES.contains(&feature);
        if let Some(unknown) = features.iter().find(|feature| !named(feature)) {
            let reason = format!("no script has the feature `{unknown}`; the features are {}", known.join(", "));
            return Err(Problem::of_file(&self.folder.join("manifest.json"), BadInput::Mismatch(reason)));
        }
        self.entries.retain(|entry| !entry.features.iter().any(|feature| features.contains(feature)));
        Ok(self)
    }

    /// The scripts in the order of the manifest.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The folder of the recordings.
    pub fn recorded(&self) -> PathBuf {
        self.folder.join("recorded")
    }

    /// Reads a script.
    ///
    /// # Errors
    /// It cannot be read, or has another number of operations than the manifest says.
    pub fn script(&self, entry: &Entry) -> Result<Scenario, Vec<Problem>> {
        let path = self.folder.join("scripts").join(format!("{}.jsonl", entry.name));
        let script = Scenario::read(&path)?;
        let steps = script.ops().count();
        if steps == entry.steps {
            return Ok(script);
        }
        let reason = format!("the script has {steps} operations and the manifest says {}", entry.steps);
        Err(vec![Problem::of_file(&path, BadInput::Mismatch(reason))])
    }
}
