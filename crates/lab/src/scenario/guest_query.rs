//! What an expectation can ask of a file of guest memory.

use std::fmt;

use super::error::LineError;
use super::lex::{At, Token};
use crate::op::{Actor, FileName, Value, nearest};

/// A question about a file of guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestQuery {
    /// The process.
    pub actor: Actor,
    /// The descriptor.
    pub file: FileName,
    /// What of it.
    pub field: GuestField,
}

/// What of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestField {
    /// 512-byte blocks in memory.
    Blocks,
    /// Pages taken of those that were allotted.
    Used,
    /// Those that are left.
    Rsv,
    /// Who may touch a page.
    Attribute(u64),
    /// The order of the folio that a page is of.
    Order(u64),
    /// The references of that folio.
    Refs(u64),
    /// How often the host has it mapped.
    Mapped(u64),
    /// The order of the leaf by which the guest has a page mapped, or `none`.
    Leaf(u64),
    /// The order of the largest leaf by which it could map it.
    MaxLeaf(u64),
}

/// The questions about a file as a whole, and what each asks.
pub const GUEST_FIELDS: [(&str, &str); 3] = [
    ("blocks", "512-byte blocks in memory"),
    ("used", "pages taken of those that were allotted"),
    ("rsv", "pages of those that are left"),
];

/// The questions about a base page, and what each asks.
pub const GUEST_PAGE_FIELDS: [(&str, &str); 6] = [
    ("attribute", "`private` or `shared`"),
    ("order", "the order of its folio"),
    ("refs", "the references of its folio"),
    ("mapped", "how often the host has its folio mapped"),
    ("leaf", "the order of the leaf by which the guest has it mapped, or `none`"),
    ("max_leaf", "the order of the largest leaf by which the guest could map it"),
];

impl GuestField {
    /// Whether its value is text.
    pub(super) const fn is_text(self) -> bool {
        matches!(self, Self::Attribute(_) | Self::Leaf(_))
    }
}

impl fmt::Display for GuestField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks => f.write_str("blocks"),
            Self::Used => f.write_str("used"),
            Self::Rsv => f.write_str("rsv"),
            Self::Attribute(page) => write!(f, "attribute {page}"),
            Self::Order(page) => write!(f, "order {page}"),
            Self::Refs(page) => write!(f, "refs {page}"),
            Self::Mapped(page) => write!(f, "mapped {page}"),
            Self::Leaf(page) => write!(f, "leaf {page}"),
            Self::MaxLeaf(page) => write!(f, "max_leaf {page}"),
        }
    }
}

impl fmt::Display for GuestQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gmem {} {}", self.actor, self.file, self.field)
    }
}

impl GuestQuery {
    /// Reads the words after `gmem`.
    pub(super) fn parse(actor: Actor, words: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        let [file, what, further @ ..] = words else {
            return Err((end, LineError::QueryForm("expect a0 gmem G attribute 5 = private")));
        };
        let bad = |token: &Token<'_>, expects| {
            (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects })
        };
        let name = <FileName as Value>::from_text(file.text).map_err(|_| bad(file, <FileName as Value>::EXPECTS))?;
        let page = match further {
            [] => None,
            [page] => Some(page.text.parse::<u32>().map_err(|_| bad(page, "the number of a base page"))?),
            [_, extra, ..] => return Err(bad(extra, "one base page at most")),
        };
        let field = match (what.text, page.map(u64::from)) {
            ("blocks", None) => GuestField::Blocks,
            ("used", None) => GuestField::Used,
            ("rsv", None) => GuestField::Rsv,
            ("attribute", Some(page)) => GuestField::Attribute(page),
            ("order", Some(page)) => GuestField::Order(page),
            ("refs", Some(page)) => GuestField::Refs(page),
            ("mapped", Some(page)) => GuestField::Mapped(page),
            ("leaf", Some(page)) => GuestField::Leaf(page),
            ("max_leaf", Some(page)) => GuestField::MaxLeaf(page),
            (word, _) if GUEST_FIELDS.iter().chain(&GUEST_PAGE_FIELDS).any(|(known, _)| *known == word) => {
                return Err((
                    end,
                    LineError::QueryForm("expect a0 gmem G blocks = 4096, or of a page: gmem G order 5 = 0"),
                ));
            }
            (word, _) => {
                let known = GUEST_FIELDS.iter().chain(&GUEST_PAGE_FIELDS).map(|(known, _)| *known);
                let nearest = nearest(word, known).map(str::to_owned);
                return Err((what.column, LineError::UnknownQuery { word: word.to_owned(), nearest }));
            }
        };
        Ok(Self { actor, file: name, field })
    }
}
