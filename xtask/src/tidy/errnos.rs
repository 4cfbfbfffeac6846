//! Errnos are derived from refusals in one place.

use super::Violation;
use super::source::{code_without_tests, line_of, paths};
use crate::workspace::Tree;

pub(super) const RULE: &str = "refusals-name-their-ledger";

/// The one place.
const HOME: &str = "crates/hugefolio/src/errno";
/// What asks the running kernel hears errnos and makes none.
const EXEMPT: [&str; 2] = [HOME, "crates/linux/"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let sources = tree
        .ending(".rs")
        .filter(|(path, _)| path.contains("src/") && !EXEMPT.iter().any(|home| path.starts_with(home)));
    sources.flat_map(|(path, text)| check_source(path, text)).collect()
}

fn check_source(path: &str, source: &str) -> Vec<Violation> {
    let code = code_without_tests(source);
    let named = paths(&code).into_iter().filter(|(_, name)| names_one(name));
    let violations = named.map(|(at, name)| Violation {
        path: path.to_owned(),
        line: Some(line_of(&code, at)),
        rule: RULE,
        message: format!("`{name}` is decided here: give the operation's error a case, and derive it in {HOME}"),
    });
    violations.collect()
}

fn names_one(path: &str) -> bool {
    let mut parts = path.rsplit("::");
    let (last, owner) = (parts.next().unwrap_or(""), parts.next());
    owner == Some("Errno")
        && last.starts_with('E')
        && last.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    #[test]
    fn an_errno_outside_its_place_is_found() {
        let count = |path, source| check(&planted(&[(path, source)])).len();
        for source in ["fn f() -> Errno { Errno::EINVAL }", "const E: Errno = hugefolio::errno::Errno::E2BIG;"] {
            assert_eq!(count("crates/lab/src/a.rs", source), 1, "{source}");
            assert_eq!(count("crates/hugefolio/src/errno/file.rs", source), 0, "{source}");
            assert_eq!(count("crates/lab/tests/a.rs", source), 0, "{source}");
        }
        for source in [
            "fn f() -> rustix::io::Errno { Errno::INVAL }",
            "#[cfg(test)]\nmod tests {\n    const E: Errno = Errno::EIO;\n}",
        ] {
            assert_eq!(count("crates/lab/src/a.rs", source), 0, "{source}");
        }
    }
}
