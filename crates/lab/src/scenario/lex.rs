//! The words of a scenario line.

use super::error::LineError;

/// A word with the column of its first character, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) column: usize,
}

/// A line as its words and its comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comment: Option<&'a str>,
}

/// An error and the column that it is about.
pub(crate) type At<E> = (usize, E);

/// Splits a line into words at blanks outside double quotes; a `#` that begins a word begins a comment.
pub(crate) fn lex(line: &str) -> Result<Lexed<'_>, At<LineError>> {
    let mut lexed = Lexed { tokens: Vec::new(), comment: None };
    let mut word: Option<(usize, usize)> = None;
    let (mut opened, mut escaped) = (None, false);
    for (column, (index, c)) in (1..).zip(line.char_indices()) {
        if c.is_control() && c != '\t' {
            return Err((column, LineError::ControlCharacter(c)));
        }
        if c.is_whitespace() && opened.is_none() {
            lexed.tokens.extend(word.take().map(|(start, column)| Token { text: &line[start..index], column }));
            continue;
        }
        if c == '#' && word.is_none() {
            lexed.comment = Some(line[index + 1..].trim());
            return Ok(lexed);
        }
        word = word.or(Some((index, column)));
        if c == '"' && !escaped {
            opened = if opened.is_some() { None } else { Some(column) };
        }
        escaped = opened.is_some() && c == '\\' && !escaped;
    }
    if let Some(column) = opened {
        return Err((column, LineError::OpenString));
    }
    lexed.tokens.extend(word.map(|(start, column)| Token { text: &line[start..], column }));
    Ok(lexed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<(&str, usize)> {
        lex(line).unwrap().tokens.iter().map(|token| (token.text, token.column)).collect()
    }

    #[test]
    fn words_have_columns_and_strings_hold_blanks() {
        assert_eq!(
            words("  é mount  opts=\"a \\\" #b\" x"),
            [("é", 3), ("mount", 5), ("opts=\"a \\\" #b\"", 12), ("x", 27)]
        );
    }

    #[test]
    fn a_comment_begins_at_a_word() {
        let lexed = lex("a#b c #  why  ").unwrap();
        assert_eq!(lexed.tokens.len(), 2);
        assert_eq!(lexed.comment, Some("why"));
    }

    #[test]
    fn an_open_string_and_a_control_character_are_refused_where_they_stand() {
        assert_eq!(lex("a \"b").unwrap_err(), (3, LineError::OpenString));
        assert_eq!(lex("a\u{0}").unwrap_err(), (2, LineError::ControlCharacter('\0')));
    }
}
