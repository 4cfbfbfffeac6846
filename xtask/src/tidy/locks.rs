//! State has no locks and no globals: what is shared between threads is named in `sync` alone.

use super::Violation;
use super::source::{code_without_tests, is_word, line_of, paths};
use crate::workspace::Tree;

pub(super) const NO_LOCKS: &str = "locks-live-in-sync";
pub(super) const NO_GLOBALS: &str = "instances-not-globals";

/// `sync` is the place for all of it; a counting allocator for benches has to be global.
const EXEMPT: [&str; 2] = ["crates/sync/", "crates/bench/"];

/// Paths that name a lock, an atomic or a thread. Sharing an immutable value is none of these.
const BANNED: [&str; 6] = ["std::sync", "core::sync", "alloc::sync", "std::thread", "parking_lot", "lock_api"];
const ALLOWED: [&str; 4] = ["std::sync::Arc", "std::sync::Weak", "alloc::sync::Arc", "alloc::sync::Weak"];

/// Parts of the names of types whose value changes through a shared reference.
const INTERIOR: [&str; 7] = ["Cell", "Once", "Lazy", "Mutex", "RwLock", "Atomic", "Lock"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let sources = tree.ending(".rs").filter(|(path, _)| path.contains("src/") && !is_exempt(path));
    sources.flat_map(|(path, text)| check_source(path, text)).collect()
}

fn is_exempt(path: &str) -> bool {
    EXEMPT.iter().any(|folder| path.starts_with(folder))
}

fn check_source(path: &str, source: &str) -> Vec<Violation> {
    let code = code_without_tests(source);
    let violation = |at: usize, rule, message: String| Violation {
        path: path.to_owned(),
        line: Some(line_of(&code, at)),
        rule,
        message,
    };
    let mut found = Vec::new();
    for (at, name) in paths(&code) {
        if is_banned(&name) {
            found.push(violation(at, NO_LOCKS, format!("`{name}` belongs into `sync`: use what it offers")));
        } else if name == "thread_local" {
            found.push(violation(at, NO_GLOBALS, "a thread-local is a global: make it a field of the machine".into()));
        }
    }
    for at in mutable_statics(&code) {
        found.push(violation(at, NO_GLOBALS, "a static that changes: make it a field of the machine".into()));
    }
    found
}

fn is_banned(path: &str) -> bool {
    let under = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    BANNED.iter().any(under) && !ALLOWED.iter().any(under)
}

/// Where items `static` are whose type has interior mutability, or which are `mut`.
fn mutable_statics(code: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("static") {
        let before = code[..at].chars().next_back();
        let after = &code[at + "static".len()..];
        let is_item = !before.is_some_and(|c| is_word(c) || c == '\'') && after.starts_with(char::is_whitespace);
        let declared = after.split(['=', ';']).next().unwrap_or("");
        let is_mut = declared.split_whitespace().next() == Some("mut");
        if is_item && (is_mut || INTERIOR.iter().any(|name| declared.contains(name))) {
            found.push(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    fn rules(path: &str, source: &str) -> Vec<&'static str> {
        let mut rules: Vec<_> = check(&planted(&[(path, source)])).into_iter().map(|v| v.rule).collect();
        rules.dedup();
        rules
    }

    #[test]
    fn locks_atomics_and_threads_are_found() {
        let faults = [
            "use std::sync::Mutex;",
            "use std::{fmt, sync::{Arc, RwLock}};",
            "use core::sync::atomic::{AtomicU8, Ordering};",
            "fn f() { std::thread::spawn(|| ()); }",
            "struct S { inner: parking_lot::Mutex<u8> }",
            "use std::sync::mpsc;",
            "use std::sync::*;",
        ];
        for source in faults {
            assert_eq!(rules("crates/zone/src/lib.rs", source), [NO_LOCKS], "{source}");
            assert_eq!(rules("crates/sync/src/lib.rs", source), [""; 0], "{source}");
        }
        let fine = [
            "use std::sync::Arc;",
            "use sync::locks::Mutex;",
            "// std::sync::Mutex\nconst TEXT: &str = \"std::sync::Mutex\";",
            "#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}",
        ];
        for source in fine {
            assert_eq!(rules("crates/zone/src/lib.rs", source), [""; 0], "{source}");
        }
        assert_eq!(rules("crates/zone/tests/all.rs", faults[0]), [""; 0]);
    }

    #[test]
    fn globals_that_change_are_found() {
        let faults = [
            "static mut COUNT: u8 = 0;",
            "pub(crate) static COUNT: AtomicU64 = AtomicU64::new(0);",
            "static TABLE: OnceLock<Vec<u8>> = OnceLock::new();",
            "thread_local! { static X: u8 = 0; }",
        ];
        for source in faults {
            assert_eq!(rules("crates/zone/src/lib.rs", source), [NO_GLOBALS], "{source}");
        }
        let fine =
            ["static NAMES: &[&str] = &[];", "fn f(x: &'static Cell<u8>) {}", "struct S { is_static : Cell<u8> }"];
        for source in fine {
            assert_eq!(rules("crates/zone/src/lib.rs", source), [""; 0], "{source}");
        }
    }
}
