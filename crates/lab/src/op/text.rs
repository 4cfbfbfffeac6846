//! Pieces of text shared by the readers: near words and quoted strings.

/// The candidate nearest to `word` by edit distance, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(40).collect();
    let limit = word.len().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, cb) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, ca) in a.iter().enumerate() {
            let substituted = diagonal + usize::from(*ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[a.len()]
}

/// `text` between double quotes, with `\"`, `\\` and control characters escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.extend(c.escape_unicode()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The inside of a string printed by [`quote`]; `None` if `text` is not one.
pub fn unquote(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?;
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(plain),
            '\\' => plain.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'u' => {
                    let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => plain.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word_and_a_strange_word_finds_none() {
        assert_eq!(nearest("muunmap", ["mmap", "munmap", "touch"]), Some("munmap"));
        assert_eq!(nearest("defragment", ["mmap", "munmap", "touch"]), None);
    }

    #[test]
    fn quoting_is_undone_by_unquoting() {
        for text in ["", "a b", "say \"x\"", "back\\slash", "two\nlines\t\r", "bell \u{7}\u{85}"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
        for broken in ["", "a", "\"a", "\"a\"b", "\"\\q\"", "\"\\u{110000}\""] {
            assert_eq!(unquote(broken), None, "{broken}");
        }
    }
}
