//! A copy of the project in which mistakes are made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::{Tree, Workspace};

/// The copy, and where it is built.
pub(super) struct Scratch {
    pub(super) root: PathBuf,
    pub(super) target: PathBuf,
}

impl Scratch {
    /// Brings the copy up to date. What is the same stays untouched, so that it is not built again.
    pub(super) fn new(workspace: &Workspace, tree: &Tree) -> Result<Self, String> {
        let folder = workspace.target.join("mutants");
        let scratch = Self { root: folder.join("project"), target: folder.join("target") };
        let files: BTreeSet<&String> = tree.paths.iter().filter(|path| workspace.root.join(path).is_file()).collect();
        for file in &files {
            let from = workspace.root.join(file);
            let new = fs::read(&from).map_err(|e| format!("{}: {e}\n", from.display()))?;
            if fs::read(scratch.root.join(file)).ok().as_ref() != Some(&new) {
                scratch.put(file, &new)?;
            }
        }
        scratch.remove_others(&scratch.root, &files)?;
        Ok(scratch)
    }

    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), String> {
        self.put(file, text.as_bytes())
    }

    fn put(&self, file: &str, contents: &[u8]) -> Result<(), String> {
        let path = self.root.join(file);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, contents)).map_err(|e| format!("{}: {e}\n", path.display()))
    }

    /// A file that the project has no more would be built, or be counted, in the copy.
    fn remove_others(&self, folder: &Path, files: &BTreeSet<&String>) -> Result<(), String> {
        let wrong = |e: std::io::Error| format!("{}: {e}\n", folder.display());
        for entry in fs::read_dir(folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
            if path.is_dir() {
                self.remove_others(&path, files)?;
            } else if !files.contains(&name) {
                fs::remove_file(&path).map_err(wrong)?;
            }
        }
        Ok(())
    }
}
