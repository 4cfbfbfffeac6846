//! What an expectation can ask of a zone that the scenario describes.

use std::fmt;

use hugefolio::Migratetype;

use super::error::LineError;
use super::lex::{At, Token};
use crate::op::{Value, ZoneName, nearest};

/// A question about a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneQuery {
    /// The zone.
    pub at: ZoneName,
    /// What of it.
    pub field: ZoneField,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)*) => {
        /// What of a zone.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ZoneField {
            $($(#[doc = $doc])+ $name,)*
            /// Free blocks of an order.
            Blocks(u8),
            /// Pageblocks of a type.
            Pageblocks(Migratetype),
            /// The free list of an order and type, from its head on.
            List(u8, Migratetype),
            /// What the processor at hand keeps of an order and type, from the head on.
            Kept(u8, Migratetype),
            /// The type of a frame's pageblock.
            Type(u64),
            /// What a frame is a part of: `free`, `used`, `movable` or `cached`, with the first frame and the order.
            Page(u64),
        }

        const PLAIN: &[(&str, ZoneField)] = &[$(($word, ZoneField::$name)),*];

        /// The words of the questions that take no further word, each with what it asks.
        pub const ZONE_FIELDS: &[(&str, &str)] = &[$(($word, concat!($($doc),+))),*];
    };
}

fields! {
    /// free pages
    Free = "free",
    /// pages that it manages
    Managed = "managed",
    /// the mark `min`, boost included as it is in force
    Min = "min",
    /// the mark `low`
    Low = "low",
    /// the mark `high`
    High = "high",
    /// the mark `promo`, without boost
    Promo = "promo",
    /// by how much the marks are raised
    Boost = "boost",
    /// free pages that are lent
    Lent = "lent",
    /// pages in pageblocks of the reserve
    Highatomic = "highatomic",
    /// free pages of the reserve
    FreeHighatomic = "free_highatomic",
    /// pageblocks that are isolated
    Isolated = "isolated",
    /// pages that the processor at hand keeps
    Cached = "cached",
    /// above so many of them some go back
    CachedHigh = "cached_high",
    /// how many it takes and gives at a time
    Batch = "batch",
    /// what is kept from requests, by their highest zone
    Protection = "protection",
    /// free blocks by order
    Buddyinfo = "buddyinfo",
}

/// The questions that take further words.
pub const ZONE_FORMS: [(&str, &str); 6] = [
    ("blocks", "blocks ORDER"),
    ("pageblocks", "pageblocks TYPE"),
    ("list", "list ORDER TYPE"),
    ("kept", "kept ORDER TYPE"),
    ("type", "type FRAME"),
    ("page", "page FRAME"),
];

impl ZoneField {
    /// Whether its value is text.
    pub(super) const fn is_text(self) -> bool {
        matches!(
            self,
            Self::Protection | Self::Buddyinfo | Self::List(..) | Self::Kept(..) | Self::Type(_) | Self::Page(_)
        )
    }
}

impl fmt::Display for ZoneField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks(order) => write!(f, "blocks {order}"),
            Self::Pageblocks(t) => write!(f, "pageblocks {}", t.name()),
            Self::List(order, t) => write!(f, "list {order} {}", t.name()),
            Self::Kept(order, t) => write!(f, "kept {order} {}", t.name()),
            Self::Type(frame) => write!(f, "type {frame}"),
            Self::Page(frame) => write!(f, "page {frame}"),
            plain => f.write_str(PLAIN.iter().find(|(_, field)| field == plain).map_or("", |(word, _)| *word)),
        }
    }
}

impl fmt::Display for ZoneQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {} {}", self.at, self.field)
    }
}

impl ZoneQuery {
    /// Reads the words after `zone`.
    pub(super) fn parse(words: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        let [zone, what, further @ ..] = words else {
            return Err((end, LineError::QueryForm("expect zone 0:Normal free = 12")));
        };
        let expects = |token: &Token<'_>, expects: &'static str| {
            (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects })
        };
        let at = <ZoneName as Value>::from_text(zone.text).map_err(|_| expects(zone, <ZoneName as Value>::EXPECTS))?;
        let order = |token: &Token<'_>| {
            token.text.parse().ok().filter(|&n: &u8| n <= 30).ok_or_else(|| expects(token, "an order, 0 to 30"))
        };
        let migratetype = |token: &Token<'_>| {
            let known = Migratetype::ALL.into_iter().find(|t| t.name() == token.text);
            known.ok_or_else(|| expects(token, "a type of pageblocks, such as Movable"))
        };
        let frame = |token: &Token<'_>| token.text.parse().map_err(|_| expects(token, "the number of a frame"));
        let field = match (what.text, further) {
            ("blocks", [o]) => ZoneField::Blocks(order(o)?),
            ("pageblocks", [t]) => ZoneField::Pageblocks(migratetype(t)?),
            ("list", [o, t]) => ZoneField::List(order(o)?, migratetype(t)?),
            ("kept", [o, t]) => ZoneField::Kept(order(o)?, migratetype(t)?),
            ("type", [n]) => ZoneField::Type(frame(n)?),
            ("page", [n]) => ZoneField::Page(frame(n)?),
            (word, []) if PLAIN.iter().any(|(known, _)| *known == word) => {
                PLAIN.iter().find(|(known, _)| *known == word).map_or(ZoneField::Free, |(_, field)| *field)
            }
            (word, _) if ZONE_FORMS.iter().any(|(known, _)| *known == word) => {
                return Err((
                    what.column,
                    LineError::QueryForm(
                        "expect zone 0:Normal list 3 Movable = 8,24, or blocks 3, pageblocks Movable, kept 0 Movable, type 512, page 512",
                    ),
                ));
            }
            (word, _) => {
                let known = PLAIN.iter().map(|(word, _)| *word).chain(ZONE_FORMS.map(|(word, _)| word));
                let nearest = nearest(word, known).map(str::to_owned);
                return Err((what.column, LineError::UnknownQuery { word: word.to_owned(), nearest }));
            }
        };
        Ok(Self { at, field })
    }
}

/// The words of events: what the kernel's tracepoints are called, without their prefix.
pub const EVENT_WORDS: [&str; 12] = [
    "alloc",
    "free",
    "extfrag",
    "zone_locked",
    "pcpu_drain",
    "kswapd",
    "kcompactd",
    "warn",
    "remap",
    "lost",
    "stripped",
    "nofail",
];
