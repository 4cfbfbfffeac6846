//! What is generic does not know who uses it.

use super::Violation;
use super::source::line_of;
use crate::workspace::Tree;

pub(super) const RULE: &str = "generic-means-generic";

/// Splitting and merging speak of folios, orders and references.
const PLACES: [&str; 3] =
    ["crates/hugetlb/src/restructure", "crates/hugetlb/src/allotment.rs", "crates/memmap/src/pieces.rs"];

/// Words of one kind of user.
const WORDS: [&str; 5] = ["guest", "gmem", "kvm", "shared with", "attribute"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let generic = tree.texts.iter().filter(|(path, _)| PLACES.iter().any(|place| path.starts_with(place)));
    let mut found = Vec::new();
    for (path, text) in generic {
        let lower = text.to_ascii_lowercase();
        for (at, word) in WORDS.iter().flat_map(|word| lower.match_indices(word)) {
            found.push(Violation {
                path: path.clone(),
                line: Some(line_of(text, at)),
                rule: RULE,
                message: format!("`{word}` is a word of those who use this: speak of folios and references"),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::planted;

    #[test]
    fn a_word_of_a_user_is_found_and_only_there() {
        let text = "/// Splits the folio of a guest.\n";
        assert_eq!(check(&planted(&[("crates/hugetlb/src/restructure/split.rs", text)])).len(), 1);
        assert_eq!(check(&planted(&[("crates/hugetlb/src/alloc.rs", text)])).len(), 0);
    }
}
