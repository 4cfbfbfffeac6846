//! Every source file is part of something.

use std::collections::BTreeSet;

use super::Violation;
use super::source::code;
use crate::workspace::{Package, Tree};

pub(super) const RULE: &str = "no-dead-files";

/// Packages of their own, which cargo does not list with the workspace.
const OUTSIDE: &str = "fuzz/";

pub(super) fn check(tree: &Tree, packages: &[Package]) -> Vec<Violation> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let roots: Vec<String> = packages.iter().flat_map(|p| p.roots.clone()).collect();
    let mut open = roots.clone();
    while let Some(path) = open.pop() {
        let Some(source) = tree.texts.get(&path) else {
            continue;
        };
        if !reached.insert(path.clone()) {
            continue;
        }
        let folder = modules_folder(&path, roots.contains(&path));
        for name in declared_modules(&code(source)) {
            open.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]);
        }
    }
    let dead = tree.ending(".rs").filter(|(path, _)| !reached.contains(*path) && !path.starts_with(OUTSIDE));
    let violation = |(path, _): (&str, &str)| Violation {
        path: path.to_owned(),
        line: None,
        rule: RULE,
        message: "no `mod` and no target leads here: declare it or remove it".to_owned(),
    };
    dead.map(violation).collect()
}

/// Where the modules that a file declares lie.
fn modules_folder(path: &str, is_root: bool) -> &str {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    if is_root || path.ends_with("/mod.rs") { folder } else { path.trim_end_matches(".rs") }
}

fn declared_modules(code: &str) -> Vec<&str> {
    let words: Vec<&str> = code.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "mod");
    pairs
        .filter_map(|pair| pair[1].strip_suffix(';').or_else(|| pair[1].split_once(';').map(|(name, _)| name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    #[test]
    fn a_file_that_nothing_declares_is_found() {
        let files = [
            ("crates/a/src/lib.rs", "mod b;\n#[cfg(test)] mod c; // mod dead;\nmod inline { }\n"),
            ("crates/a/src/b.rs", "pub(crate) mod deep;\n"),
            ("crates/a/src/b/deep.rs", ""),
            ("crates/a/src/c/mod.rs", "mod d;"),
            ("crates/a/src/c/d.rs", ""),
            ("crates/a/tests/all.rs", "mod common;"),
            ("crates/a/tests/common/mod.rs", ""),
            ("fuzz/src/main.rs", ""),
        ];
        let roots = ["crates/a/src/lib.rs", "crates/a/tests/all.rs"].map(str::to_owned).to_vec();
        let packages = [Package { room: "a".into(), uses: Vec::new(), roots }];
        assert_eq!(check(&planted(&files), &packages), []);
        for dead in ["crates/a/src/dead.rs", "crates/a/src/deep.rs", "crates/a/src/inline.rs", "stray.rs"] {
            let mut files = files.to_vec();
            files.push((dead, ""));
            let found = check(&planted(&files), &packages);
            assert_eq!(found.len(), 1, "{dead}");
            assert_eq!(found[0].path, dead);
        }
    }
}
