//! The rooms below the facade know no clock, thread, file or random hasher: they have no standard library.

use super::Violation;
use super::source::{code, line_of};
use crate::ci::NO_STD_ROOMS;
use crate::workspace::Tree;

pub(super) const RULE: &str = "no-std-rooms";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for room in NO_STD_ROOMS {
        let path = format!("crates/{room}/src/lib.rs");
        let mut say = |line, message: &str| {
            found.push(Violation { path: path.clone(), line, rule: RULE, message: message.to_owned() });
        };
        let Some(source) = tree.texts.get(&path) else {
            say(None, "the room is not there: take it out of the list in xtask/src/ci.rs");
            continue;
        };
        let code = code(source);
        if !code.lines().any(|line| line.trim() == "#![no_std]") {
            say(None, "write `#![no_std]`, without a condition");
        }
        for (at, _) in code.match_indices("extern crate std") {
            let above = code[..at].trim_end().lines().next_back().unwrap_or("").trim();
            if !above.starts_with("#[cfg(") {
                say(Some(line_of(&code, at)), "the standard library is for tests alone: put `#[cfg(test)]` above");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    fn rooms_with(zone: &str) -> Tree {
        let paths: Vec<String> = NO_STD_ROOMS.iter().map(|room| format!("crates/{room}/src/lib.rs")).collect();
        let text = |path: &str| if path.contains("/zone/") { zone.to_owned() } else { "#![no_std]\n".to_owned() };
        let files: Vec<(String, String)> = paths.into_iter().map(|p| (p.clone(), text(&p))).collect();
        planted(&files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect::<Vec<_>>())
    }

    #[test]
    fn a_room_with_the_standard_library_is_found() {
        assert_eq!(check(&rooms_with("//! Zones.\n#![no_std]\n#[cfg(test)]\nextern crate std;\n")), []);
        let faults = ["//! #![no_std]\n", "#![cfg_attr(not(test), no_std)]\n", "#![no_std]\nextern crate std;\n"];
        for zone in faults {
            assert_eq!(check(&rooms_with(zone)).len(), 1, "{zone}");
        }
        assert_eq!(check(&planted(&[])).len(), NO_STD_ROOMS.len());
    }
}
