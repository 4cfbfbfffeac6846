//! The words of a command line.

use alloc_crate::borrow::ToOwned;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

/// One word: a name and, after the first `=`, a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    /// The name with every `-` written as `_`: the two mean the same in a parameter's name.
    pub(super) name: String,
    /// What follows the `=`, without surrounding quotes.
    pub(super) value: Option<String>,
}

/// Splits at white space outside double quotes, up to a bare `--`: what follows is for the first process.
pub(super) fn split(cmdline: &str) -> Vec<Argument> {
    let mut found = Vec::new();
    let mut rest = cmdline.trim_ascii_start();
    while !rest.is_empty() {
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c.is_ascii_whitespace() && !quoted
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        if word == "--" {
            break;
        }
        found.push(argument(word));
        rest = after.trim_ascii_start();
    }
    found
}

fn argument(word: &str) -> Argument {
    // The whole word may be quoted, or its value alone.
    let word = word.strip_prefix('"').map_or(word, |inner| inner.strip_suffix('"').unwrap_or(inner));
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(unquote(value).to_owned())),
        None => (word, None),
    };
    Argument { name: name.replace('-', "_"), value }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').map_or(value, |inner| inner.strip_suffix('"').unwrap_or(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(cmdline: &str) -> Vec<(String, Option<String>)> {
        split(cmdline).into_iter().map(|a| (a.name, a.value)).collect()
    }

    #[test]
    fn quotes_keep_blanks_and_a_double_dash_ends_the_list() {
        let of = |name: &str, value: Option<&str>| (name.to_owned(), value.map(ToOwned::to_owned));
        assert_eq!(
            pairs("  quiet hugetlb-cma=\"1G\"\t\"dyndbg=file a.c +p\" init=a=b -- hugepages=3"),
            [
                of("quiet", None),
                of("hugetlb_cma", Some("1G")),
                of("dyndbg", Some("file a.c +p")),
                of("init", Some("a=b")),
            ]
        );
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("x=\"unclosed y"), [of("x", Some("unclosed y"))]);
        assert_eq!(pairs("\""), [of("", None)]);
    }
}
