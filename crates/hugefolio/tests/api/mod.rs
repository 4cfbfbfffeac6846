//! Lists the public items of a crate from its sources.

mod expand;
mod listing;
mod resolve;
mod signature;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use listing::list;

/// Where sources come from: the folder of all rooms, or a planted tree.
#[derive(Debug)]
pub(crate) enum Sources {
    /// Files below a folder.
    OnDisk(PathBuf),
    /// Texts by path.
    Planted(BTreeMap<String, String>),
}

impl Sources {
    pub(crate) fn on_disk(folder: &Path) -> Self {
        Self::OnDisk(folder.to_owned())
    }

    pub(crate) fn planted(files: &[(&str, String)]) -> Self {
        Self::Planted(files.iter().map(|(path, text)| ((*path).to_owned(), text.clone())).collect())
    }

    /// The text of a file, by its path below the folder of all rooms.
    fn read(&self, path: &str) -> Option<String> {
        match self {
            Self::OnDisk(folder) => std::fs::read_to_string(folder.join(path)).ok(),
            Self::Planted(files) => files.get(path).cloned(),
        }
    }
}

/// The public items of a crate.
#[derive(Debug)]
pub(crate) struct Api {
    /// One a line, in order of their paths.
    pub(crate) lines: Vec<String>,
    /// The project's types that a public item mentions although users have no name for them.
    pub(crate) nameless: Vec<String>,
}
