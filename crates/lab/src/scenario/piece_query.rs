//! What an expectation can ask of entries: those of a mapping, and those of page tables by themselves.

use std::fmt;

use super::error::LineError;
use super::lex::{At, Token};
use super::query::Unit;
use crate::op::{Actor, MapName, Size, TablesName, Value, nearest};

/// A question about what a process has at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceQuery {
    /// The process.
    pub actor: Actor,
    /// The mapping.
    pub map: MapName,
    /// How far into it.
    pub offset: Size,
    /// What of it.
    pub field: PieceField,
}

/// What of the entry at an address, and of the page around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceField {
    /// What is there.
    What,
    /// How much it maps.
    Size,
    /// Entries that map the base page, in all processes.
    Mapcount,
    /// Entries that map the page here.
    Leaves,
    /// Tables of the second level below the page's place.
    Pmds,
    /// Tables of the lowest level below it.
    Ptes,
    /// Base pages that were taken out.
    Broken,
    /// References of the folio.
    Refs,
    /// Bytes of the mapping's areas mapped by entries of the lowest level.
    PteMapped,
    /// By those of the second.
    PmdMapped,
    /// By those of the third.
    PudMapped,
}

/// The questions about an entry, what each asks, and the field.
pub const PIECE_FIELDS: [(&str, &str, PieceField); 11] = [
    ("what", "`page`, `read-only`, `protected` by a userfaultfd, `hole`, `marker` or `broken`", PieceField::What),
    ("size", "how much it maps", PieceField::Size),
    ("mapcount", "entries that map the base page there, in all processes", PieceField::Mapcount),
    ("leaves", "entries that map the page here; joined ones count once", PieceField::Leaves),
    ("pmds", "tables of the second level below its place", PieceField::Pmds),
    ("ptes", "tables of the lowest level below it", PieceField::Ptes),
    ("broken", "base pages that were taken out of it", PieceField::Broken),
    ("refs", "references of its folio", PieceField::Refs),
    ("pte_mapped", "bytes of the mapping's areas that entries of the lowest level map", PieceField::PteMapped),
    ("pmd_mapped", "those of the second level", PieceField::PmdMapped),
    ("pud_mapped", "those of the third level", PieceField::PudMapped),
];

impl PieceField {
    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::What => Unit::Text,
            Self::Size | Self::PteMapped | Self::PmdMapped | Self::PudMapped => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

impl fmt::Display for PieceQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = PIECE_FIELDS.iter().find(|(.., field)| *field == self.field).map_or("", |(word, ..)| *word);
        write!(f, "{} piece {} {} {word}", self.actor, self.map, self.offset)
    }
}

/// A question about page tables by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablesQuery {
    /// The tables.
    pub tables: TablesName,
    /// What of them.
    pub field: TablesField,
}

/// What of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesField {
    /// Tables of the second level.
    Pmds,
    /// Tables of the lowest level.
    Ptes,
    /// Tables that were had and not given back, the first one among them.
    Used,
    /// Pages, single ones.
    Leaves,
    /// Pages that are groups of joined entries.
    Groups,
    /// Entries that are neither page, table nor nothing.
    Others,
}

/// The questions about page tables, what each asks, and the field.
pub const TABLES_FIELDS: [(&str, &str, TablesField); 6] = [
    ("pmds", "tables of the second level", TablesField::Pmds),
    ("ptes", "tables of the lowest level", TablesField::Ptes),
    ("used", "tables that were had and not given back, the first one among them", TablesField::Used),
    ("leaves", "single pages", TablesField::Leaves),
    ("groups", "groups of joined entries", TablesField::Groups),
    ("others", "entries that are neither page, table nor nothing", TablesField::Others),
];

impl fmt::Display for TablesQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = TABLES_FIELDS.iter().find(|(.., field)| *field == self.field).map_or("", |(word, ..)| *word);
        write!(f, "tables {} {word}", self.tables)
    }
}

fn value<T: Value>(token: &Token<'_>) -> Result<T, At<LineError>> {
    T::from_text(token.text)
        .map_err(|_| (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects: T::EXPECTS }))
}

fn field<F: Copy>(token: &Token<'_>, fields: &[(&str, &str, F)]) -> Result<F, At<LineError>> {
    fields.iter().find(|(word, ..)| *word == token.text).map(|(.., field)| *field).ok_or_else(|| {
        let nearest = nearest(token.text, fields.iter().map(|(word, ..)| *word)).map(str::to_owned);
        (token.column, LineError::UnknownQuery { word: token.text.to_owned(), nearest })
    })
}

impl PieceQuery {
    /// Reads the words after `piece`.
    pub(super) fn parse(actor: Actor, words: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        let [map, offset, what] = words else {
            return Err((end, LineError::QueryForm("expect a0 piece A 4K size = 4K")));
        };
        Ok(Self { actor, map: value(map)?, offset: value(offset)?, field: field(what, &PIECE_FIELDS)? })
    }
}

impl TablesQuery {
    /// Reads the words after `tables`.
    pub(super) fn parse(words: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        let [tables, what] = words else {
            return Err((end, LineError::QueryForm("expect tables T ptes = 1")));
        };
        Ok(Self { tables: value(tables)?, field: field(what, &TABLES_FIELDS)? })
    }
}
