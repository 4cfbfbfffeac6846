//! Checks on the shape of the code that no compiler makes. Each check is a function from the project's files to what is
//! wrong with them, and has a test in which it finds a planted fault.

mod errnos;
mod files;
mod generic;
mod layers;
mod lengths;
mod links;
mod lints;
mod locks;
mod no_std;
mod source;
mod words;

use std::fmt;

use crate::workspace::{Tree, Workspace};

/// Something that must be mended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the workspace.
    path: String,
    /// The line, from 1, where there is one.
    line: Option<usize>,
    /// The rule's name in STYLE.md.
    rule: &'static str,
    /// What is wrong and what to do.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {} [{}]", self.path, self.message, self.rule),
            None => write!(f, "{}: {} [{}]", self.path, self.message, self.rule),
        }
    }
}

/// Runs every check and prints what it finds.
pub(crate) fn run() -> Result<(), String> {
    let workspace = Workspace::load()?;
    let tree = Tree::read(&workspace)?;
    for (path, lines) in lengths::long_files(&tree) {
        println!("note: {path} has {lines} lines without tests: is it one concept?");
    }
    let mut violations = check(&workspace, &tree);
    violations.sort();
    if violations.is_empty() {
        println!("tidy: {} files, nothing to mend", tree.paths.len());
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Err(format!("{}\ntidy: {} to mend; STYLE.md explains the rules\n", lines.join("\n"), lines.len()))
}

fn check(workspace: &Workspace, tree: &Tree) -> Vec<Violation> {
    let mut all = layers::check(&workspace.packages);
    all.extend(errnos::check(tree));
    all.extend(generic::check(tree));
    all.extend(lengths::check(tree));
    all.extend(lints::check(tree));
    all.extend(locks::check(tree));
    all.extend(no_std::check(tree));
    all.extend(words::check(tree));
    all.extend(files::check(tree, &workspace.packages));
    all.extend(links::check(tree));
    all
}

#[cfg(test)]
pub(crate) fn planted(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for &(path, text) in files {
        tree.texts.insert(path.to_owned(), text.to_owned());
        let mut rest = path;
        tree.paths.insert(path.to_owned());
        while let Some((folder, _)) = rest.rsplit_once('/') {
            tree.paths.insert(folder.to_owned());
            rest = folder;
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_heading_of_the_style_page() {
        let style = include_str!("../../STYLE.md");
        let rules = [
            errnos::RULE,
            files::RULE,
            generic::RULE,
            layers::RULE,
            lengths::RULE,
            links::RULE,
            lints::RULE,
            locks::NO_LOCKS,
            locks::NO_GLOBALS,
            no_std::RULE,
            words::RULE,
        ];
        for rule in rules {
            assert!(style.lines().any(|line| line == format!("### {rule}")), "{rule}");
        }
    }

    #[test]
    fn violations_say_where_and_why() {
        let mut violation =
            Violation { path: "a.rs".into(), line: Some(7), rule: words::RULE, message: "mend it".into() };
        assert_eq!(violation.to_string(), "a.rs:7: mend it [speak-of-the-project-alone]");
        violation.line = None;
        assert_eq!(violation.to_string(), "a.rs: mend it [speak-of-the-project-alone]");
    }
}
