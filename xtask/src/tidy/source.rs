//! Rust source without what is not code.

/// The source with comments and the insides of literals blanked, line ends kept, so that positions stay as they are.
pub(super) fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = skip_comment(rest).or_else(|| skip_literal(rest, out.chars().next_back()));
        let length = skipped.unwrap_or(first.len_utf8());
        let (taken, after) = rest.split_at(length);
        if skipped.is_some() {
            out.extend(taken.chars().map(|c| if c == '\n' { c } else { ' ' }));
        } else {
            out.push_str(taken);
        }
        rest = after;
    }
    out
}

fn skip_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// The length of a string or character literal at the start of `text`; `before` tells `r"` from the end of a name.
fn skip_literal(text: &str, before: Option<char>) -> Option<usize> {
    if let Some(inside) = text.strip_prefix('"') {
        return Some(1 + until_quote(inside, '"'));
    }
    if text.starts_with('\'') {
        return skip_char(text);
    }
    if before.is_some_and(is_word) {
        return None;
    }
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|&n| (1..=2).contains(&n))?;
    let (letters, rest) = text.split_at(prefix);
    if letters.ends_with('r') {
        let hashes = rest.find(|c| c != '#')?;
        let body = rest[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", &rest[..hashes]);
        let end = body.find(&close).map_or(body.len(), |n| n + close.len());
        return Some(prefix + hashes + 1 + end);
    }
    match rest.chars().next()? {
        '"' => Some(prefix + 1 + until_quote(&rest[1..], '"')),
        '\'' if letters == "b" => skip_char(rest).map(|n| prefix + n),
        _ => None,
    }
}

/// A character, not a lifetime: the quote is closed after one character or an escape.
fn skip_char(text: &str) -> Option<usize> {
    let inside = &text[1..];
    let first = inside.chars().next()?;
    if first == '\\' {
        return Some(1 + until_quote(inside, '\''));
    }
    inside[first.len_utf8()..].starts_with('\'').then(|| 2 + first.len_utf8())
}

fn until_quote(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code with every item under `#[cfg(test)]` blanked too.
pub(super) fn code_without_tests(source: &str) -> String {
    let mut code = code(source);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_length(&code[start..]);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// From an attribute to the end of its item: a `;` or the matching brace.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// How many lines hold code, or belong to an item that is not a test: blank lines and comments count.
pub(super) fn lines_without_tests(source: &str) -> usize {
    let kept = code_without_tests(source);
    let test_only = |(full, kept): &(&str, &str)| !full.trim().is_empty() && kept.trim().is_empty();
    let code = code(source);
    source.lines().count() - code.lines().zip(kept.lines()).filter(test_only).count()
}

/// The line of a position, from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every path named in the code, with its position; groups in braces are written out.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = code[at..].find(|c: char| is_word(c)).map(|n| at + n) {
        at = path(code, start, "", &mut found);
    }
    found
}

/// Reads the path that starts at `start` and returns where it ends.
fn path(code: &str, start: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut name = prefix.to_owned();
    let mut at = start;
    loop {
        let end = code[at..].find(|c| !is_word(c)).map_or(code.len(), |n| at + n);
        name.push_str(&code[at..end]);
        at = end;
        let next = skip_blanks(code, at);
        if !code[next..].starts_with("::") {
            break;
        }
        let next = skip_blanks(code, next + 2);
        if code[next..].starts_with('{') {
            return group(code, next + 1, &format!("{name}::"), found);
        }
        if !code[next..].starts_with(is_word) {
            break;
        }
        name.push_str("::");
        at = next;
    }
    found.push((start, name));
    at
}

fn group(code: &str, start: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut at = start;
    while let Some(c) = code[at..].chars().next() {
        if c == '}' {
            return at + 1;
        }
        at = if is_word(c) { path(code, at, prefix, found) } else { at + c.len_utf8() };
    }
    at
}

fn skip_blanks(code: &str, at: usize) -> usize {
    code[at..].find(|c: char| !c.is_whitespace()).map_or(code.len(), |n| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(source: &str) -> String {
        code(source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(squeezed("a // b\n/* c /* d */ e */ f"), "a f");
        assert_eq!(squeezed(r#"x("s\"t", 'c', '\'', b"y", br"z", c"w") <'a>"#), "x( , , , , , ) <'a>");
        assert_eq!(squeezed("r#\"a\"b\"# + bar\"q\" + br#\"z\"#;"), "+ bar + ;");
        assert_eq!(squeezed("for r in 'l: loop { break 'l }"), "for r in 'l: loop { break 'l }");
        assert_eq!(squeezed("let s = \"// not a comment\"; y"), "let s = ; y");
        assert_eq!(squeezed("/* open"), "");
        assert_eq!(squeezed("\"open"), "");
        assert_eq!(code("a\n\"b\nc\"\nd").lines().count(), 4);
    }

    #[test]
    fn tests_are_taken_out() {
        let source =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { } }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
        let kept = code_without_tests(source);
        assert!(kept.contains("fn a") && kept.contains("fn c"));
        assert!(!kept.contains("fn b") && !kept.contains("more"));
        assert_eq!(lines_without_tests(source), 2);
    }

    #[test]
    fn groups_of_paths_are_written_out() {
        let names: Vec<String> =
            paths("use std::{fmt, sync::{Arc, Mutex as M}}; std::sync::\n RwLock::new(a::b::<C>())")
                .into_iter()
                .map(|p| p.1)
                .collect();
        for name in ["std::fmt", "std::sync::Arc", "std::sync::Mutex", "std::sync::RwLock::new", "a::b", "C"] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
    }
}
