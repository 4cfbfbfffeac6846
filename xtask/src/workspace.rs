//! Where the workspace is and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package and what of the workspace it uses.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// The name that the layer table has for it: without the project's prefix.
    pub(crate) room: String,
    /// Rooms that its code uses, tests aside.
    pub(crate) uses: Vec<String>,
    /// The file of every target, relative to the workspace.
    pub(crate) roots: Vec<String>,
}

/// The workspace as cargo sees it.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// Every file of the project by its path relative to the workspace, with `/` between folders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// Files of text with their contents.
    pub(crate) texts: BTreeMap<String, String>,
    /// All files and folders.
    pub(crate) paths: BTreeSet<String>,
}

/// The program that runs cargo, the one that runs us if there is one.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Workspace {
    /// Asks cargo, which must not have to change the lock file.
    pub(crate) fn load() -> Result<Self, String> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .map_err(|e| format!("cannot run cargo: {e}\n"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}\n"))?;
        Self::from_metadata(&metadata).ok_or_else(|| "cargo metadata has not the form that is expected\n".to_owned())
    }

    pub(crate) fn from_metadata(metadata: &Value) -> Option<Self> {
        let root = PathBuf::from(metadata["workspace_root"].as_str()?);
        let packages = metadata["packages"].as_array()?;
        Some(Self {
            target: PathBuf::from(metadata["target_directory"].as_str()?),
            packages: packages.iter().map(|package| package_of(package, &root)).collect::<Option<_>>()?,
            root,
        })
    }
}

fn package_of(package: &Value, root: &Path) -> Option<Package> {
    let dependencies = package["dependencies"].as_array()?.iter();
    let ours = dependencies.filter(|d| d["path"].is_string() && d["kind"].as_str() != Some("dev"));
    let targets = package["targets"].as_array()?.iter();
    Some(Package {
        room: room(package["name"].as_str()?),
        uses: ours.map(|d| d["name"].as_str().map(room)).collect::<Option<_>>()?,
        roots: targets.map(|t| relative(Path::new(t["src_path"].as_str()?), root)).collect::<Option<_>>()?,
    })
}

fn room(package: &str) -> String {
    package.strip_prefix("hugefolio-").unwrap_or(package).replace('-', "_")
}

/// The path inside the workspace, with `..` resolved: a target may lie outside its package's folder.
fn relative(path: &Path, root: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.strip_prefix(root).ok()?.components() {
        match part {
            Component::ParentDir => drop(parts.pop()?),
            part => parts.push(part.as_os_str().to_str()?),
        }
    }
    Some(parts.join("/"))
}

impl Tree {
    /// Reads everything but what is built and git's own files.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, String> {
        let mut tree = Self::default();
        let mut folders = vec![workspace.root.clone()];
        while let Some(folder) = folders.pop() {
            let shown = folder.display().to_string();
            for entry in fs::read_dir(&folder).map_err(|e| format!("{shown}: {e}\n"))? {
                let path = entry.map_err(|e| format!("{shown}: {e}\n"))?.path();
                let Some(name) = relative(&path, &workspace.root) else {
                    continue;
                };
                if path == workspace.target || name == "target" || name == "fuzz/target" || name == ".git" {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    tree.texts.insert(name.clone(), text);
                }
                tree.paths.insert(name);
            }
        }
        Ok(tree)
    }

    /// The files whose names end in `suffix`.
    pub(crate) fn ending(&self, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        texts.filter(move |(path, _)| path.ends_with(suffix))
    }
}
