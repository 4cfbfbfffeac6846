//! Files hold one concept.

use super::Violation;
use super::source::lines_without_tests;
use crate::workspace::Tree;

pub(super) const RULE: &str = "one-concept-per-file";
const AIM: usize = 500;
const LIMIT: usize = 800;

/// Source files above the aim, with their lines.
pub(super) fn long_files(tree: &Tree) -> Vec<(&str, usize)> {
    let sources = tree.ending(".rs").filter(|(path, _)| path.contains("src/"));
    sources.map(|(path, text)| (path, lines_without_tests(text))).filter(|&(_, lines)| lines > AIM).collect()
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let too_long = long_files(tree).into_iter().filter(|&(_, lines)| lines > LIMIT);
    let violation = |(path, lines): (&str, usize)| Violation {
        path: path.to_owned(),
        line: None,
        rule: RULE,
        message: format!("{lines} lines without tests, {LIMIT} at most: give each concept a file of its own"),
    };
    too_long.map(violation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let lines = |n: usize| "fn f() {}\n".repeat(n);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(900));
        let tree = planted(&[
            ("crates/a/src/lib.rs", &lines(800)),
            ("crates/b/src/lib.rs", &lines(801)),
            ("crates/c/src/lib.rs", &(lines(400) + &tests)),
            ("crates/d/tests/all.rs", &lines(2000)),
        ]);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "crates/b/src/lib.rs");
        assert_eq!(long_files(&tree).len(), 2);
    }
}
