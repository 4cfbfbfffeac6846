//! The project speaks of itself alone: nothing about how, where or by whom it was written.

use super::Violation;
use super::source::{is_word, line_of};
use crate::workspace::Tree;

pub(super) const RULE: &str = "speak-of-the-project-alone";

/// Words, in pieces so that this file does not contain them.
const WORDS: [&str; 6] = [
    concat!("ses", "sion"),
    concat!("ses", "sions"),
    concat!("hel", "per"),
    concat!("hel", "pers"),
    concat!("sub", "agent"),
    concat!("Cla", "ude"),
];

/// Beginnings of paths that exist on one machine alone.
const PLACES: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("/tmp", "/h"), concat!("/ro", "ot/")];

/// A word before a number that only a list kept elsewhere explains.
const NUMBERED: &str = concat!("is", "sue");

/// Recordings, generated files and texts that are not ours.
fn is_ours(path: &str) -> bool {
    let other = [".jsonl", ".json", ".lock"];
    !other.iter().any(|ending| path.ends_with(ending)) && !path.starts_with("LICENSE")
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let ours = tree.texts.iter().filter(|(path, _)| is_ours(path));
    ours.flat_map(|(path, text)| check_text(path, text)).collect()
}

fn check_text(path: &str, text: &str) -> Vec<Violation> {
    let lower = text.to_ascii_lowercase();
    let words = WORDS.iter().flat_map(|word| whole_words(&lower, &word.to_ascii_lowercase()));
    let numbered = whole_words(&lower, NUMBERED).into_iter().filter(|&at| is_numbered(&lower[at + NUMBERED.len()..]));
    let places = PLACES.iter().flat_map(|place| lower.match_indices(place).map(|(at, _)| at).collect::<Vec<_>>());
    let violation = |at: usize| Violation {
        path: path.to_owned(),
        line: Some(line_of(text, at)),
        rule: RULE,
        message: format!("`{}` is not about the project", text[at..].split_whitespace().next().unwrap_or_default()),
    };
    words.chain(numbered).chain(places).map(violation).collect()
}

fn whole_words(text: &str, word: &str) -> Vec<usize> {
    let whole = |&at: &usize| {
        !text[..at].chars().next_back().is_some_and(is_word) && !text[at + word.len()..].starts_with(is_word)
    };
    text.match_indices(word).map(|(at, _)| at).filter(whole).collect()
}

fn is_numbered(after: &str) -> bool {
    let after = after.trim_start_matches([' ', '#']);
    after.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    fn found(path: &str, text: &str) -> usize {
        check(&planted(&[(path, text)])).len()
    }

    #[test]
    fn words_about_the_making_are_found() {
        for word in WORDS.into_iter().chain(PLACES) {
            assert_eq!(found("README.md", &format!("Made with a {word}.")), 1, "{word}");
        }
        for text in [format!("see {NUMBERED} 2"), format!("{} #12", NUMBERED.to_uppercase())] {
            assert_eq!(found("crates/a/src/lib.rs", &text), 1, "{text}");
        }
        assert_eq!(found("README.md", &format!("an {NUMBERED} tracker, {}s_of", WORDS[0])), 0);
        assert_eq!(found("data/recorded/x.jsonl", WORDS[0]), 0);
    }
}
