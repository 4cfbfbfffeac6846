//! A place in a text of fixed columns.

use std::fmt;

use thiserror::Error;
use units::{NodeId, Nodemask, PageCount, ZoneKind};

use super::line::excerpt;

/// A file of the kernel is not as Linux 6.18 prints it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: found `{found}` where {expected} was expected")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// Reads a whole text. What `parse` makes of it must print as the text again: so no blank is lost, whatever `parse` skips.
pub(super) fn read<T: fmt::Display>(
    text: &str,
    parse: impl FnOnce(&mut Cursor<'_>) -> Result<T, TextError>,
) -> Result<T, TextError> {
    let mut cursor = Cursor { text, at: 0 };
    let value = parse(&mut cursor)?;
    let printed = value.to_string();
    if printed == text {
        return Ok(value);
    }
    let same = printed.char_indices().zip(text.chars()).find_map(|((at, a), b)| (a != b).then_some(at));
    cursor.at = same.unwrap_or_else(|| printed.len().min(text.len()));
    let rest = &printed[cursor.at..];
    Err(match rest.lines().next() {
        Some("") => cursor.error("the end of the line"),
        Some(line) => cursor.error(format!("`{}`", excerpt(line))),
        None => cursor.error("the end of the text"),
    })
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn sees(&self, literal: &str) -> bool {
        self.rest().starts_with(literal)
    }

    pub(super) fn eat(&mut self, literal: &str) -> bool {
        let found = self.sees(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    pub(super) fn expect(&mut self, literal: &str) -> Result<(), TextError> {
        if self.eat(literal) {
            return Ok(());
        }
        Err(self.error(if literal == "\n" { "the end of the line".into() } else { format!("`{literal}`") }))
    }

    pub(super) fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    /// Characters up to a blank, a comma or the end of the line; at least one.
    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        let end = self.rest().find([' ', ',', '\n']).unwrap_or(self.rest().len());
        if end == 0 {
            return Err(self.error(what));
        }
        let word = &self.rest()[..end];
        self.at += end;
        Ok(word)
    }

    /// A word that `known` knows.
    pub(super) fn known<T>(&mut self, what: &str, known: impl Fn(&str) -> Option<T>) -> Result<T, TextError> {
        let before = self.at;
        let word = self.word(what)?;
        known(word).ok_or_else(|| {
            self.at = before;
            self.error(what)
        })
    }

    /// Digits, below 2^64.
    pub(super) fn number(&mut self) -> Result<u64, TextError> {
        let end = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let number = self.rest()[..end].parse().map_err(|_| self.error("a number below 2^64"))?;
        self.at += end;
        Ok(number)
    }

    /// Blanks and a number of at most 32 bits.
    pub(super) fn small_number(&mut self) -> Result<u32, TextError> {
        self.blanks();
        let before = self.at;
        u32::try_from(self.number()?).map_err(|_| {
            self.at = before;
            self.error("a number below 2^32")
        })
    }

    /// Blanks and a number of pages.
    pub(super) fn pages(&mut self) -> Result<PageCount, TextError> {
        self.blanks();
        self.number().map(PageCount::new)
    }

    /// `Node 0, zone   Normal`, with as many blanks as there are.
    pub(super) fn node_and_zone(&mut self) -> Result<(NodeId, ZoneKind), TextError> {
        self.expect("Node ")?;
        self.blanks();
        let node = |word: &str| word.parse().ok().filter(|&n| n < Nodemask::CAPACITY).map(NodeId::new);
        let node = self.known("the number of a node below 64", node)?;
        self.expect(", zone ")?;
        self.blanks();
        let zone = self.known("the name of a zone (DMA, DMA32, Normal, HighMem, Movable, Device)", ZoneKind::named)?;
        Ok((node, zone))
    }

    /// What is left of the line, each item with the blanks before it.
    pub(super) fn row<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, TextError>) -> Result<Vec<T>, TextError> {
        let mut items = Vec::new();
        loop {
            self.blanks();
            if self.eat("\n") {
                return Ok(items);
            }
            items.push(item(self)?);
        }
    }

    /// An error at this place.
    pub(super) fn error(&self, expected: impl Into<String>) -> TextError {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        TextError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found: match self.rest().lines().next() {
                Some("") => "the end of the line".into(),
                Some(line) => excerpt(line),
                None => "the end of the text".into(),
            },
            expected: expected.into(),
        }
    }
}
