//! Words of operations: page sizes, protections, accesses and advice.

use hugefolio::Site;

use super::amount::Size;
use super::argument::{Place, Value, ValueError};
use super::draw::Draws;
use super::record::Scalar;
use super::text::nearest;

/// A huge page size as the callers of the kernel name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizeName {
    /// No size: the default huge page size.
    Default,
    /// `2M`.
    M2,
    /// `1G`.
    G1,
    /// `log:NN`: 2^NN bytes, whether such a pool exists or not.
    Log(u8),
}

impl SizeName {
    /// The base-2 logarithm of the size; `None` for the default size.
    pub const fn log2(self) -> Option<u8> {
        match self {
            SizeName::Default => None,
            SizeName::M2 => Some(21),
            SizeName::G1 => Some(30),
            SizeName::Log(log) => Some(log),
        }
    }

    /// The size in bytes; `None` for the default size and for sizes of 2^63 and more.
    pub fn size(self) -> Option<Size> {
        self.log2().and_then(|log| 1i64.checked_shl(u32::from(log))).filter(|bytes| *bytes > 0).map(Size::bytes)
    }

    /// The name of the pool size of 2^`log` bytes.
    pub const fn from_log2(log: u8) -> Self {
        match log {
            21 => SizeName::M2,
            30 => SizeName::G1,
            log => SizeName::Log(log),
        }
    }
}

impl Value for SizeName {
    const EXPECTS: &'static str = "a huge page size: 2M, 1G, 64K and so on, default, or log:NN for 2^NN bytes";
    fn draw(draws: &mut Draws<'_>) -> Self {
        *draws.of(&[SizeName::M2, SizeName::G1, SizeName::Default, SizeName::Log(16), SizeName::Log(21)])
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "2M" => return Ok(SizeName::M2),
            "1G" => return Ok(SizeName::G1),
            "default" => return Ok(SizeName::Default),
            _ => {}
        }
        let named = text.strip_prefix("log:").and_then(|digits| digits.parse().ok()).filter(|log| *log < 64);
        let bytes = || <Size as Value>::from_text(text).ok().and_then(|size| u64::try_from(size.signed()).ok());
        let power =
            || bytes().filter(|bytes| bytes.is_power_of_two()).and_then(|b| u8::try_from(b.trailing_zeros()).ok());
        named
            .map(SizeName::Log)
            .or_else(|| power().map(SizeName::from_log2))
            .ok_or_else(|| ValueError::new(format!("`{text}` is not a huge page size")))
    }
    fn to_text(&self) -> String {
        match (self, self.size()) {
            (SizeName::Default, _) => "default".to_owned(),
            (SizeName::M2, _) => "2M".to_owned(),
            (SizeName::G1, _) => "1G".to_owned(),
            (SizeName::Log(log), Some(size)) if Self::from_log2(*log) == *self => size.to_string(),
            (SizeName::Log(log), _) => format!("log:{log}"),
        }
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(match self {
            SizeName::Log(log) => format!("log:{log}"),
            named => named.to_text(),
        })
    }
}

/// What a mapping may be used for: `r`, `w`, `x` together, or `none`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    /// Loads are allowed.
    pub read: bool,
    /// Stores are allowed.
    pub write: bool,
    /// Instruction fetches are allowed.
    pub exec: bool,
}

impl Protection {
    /// Loads and stores.
    pub const READ_WRITE: Protection = Protection { read: true, write: true, exec: false };

    fn letters(self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.exec, 'x')].iter().filter(|(on, _)| *on).map(|(_, c)| *c).collect()
    }

    fn from_letters(text: &str) -> Result<Self, ValueError> {
        let mut protection = Protection::default();
        for letter in text.chars() {
            match letter {
                'r' => protection.read = true,
                'w' => protection.write = true,
                'x' => protection.exec = true,
                other => return Err(ValueError::new(format!("{other:?} is not a protection"))),
            }
        }
        Ok(protection)
    }
}

impl Value for Protection {
    const EXPECTS: &'static str = "a protection: letters of rwx, or none";
    fn draw(draws: &mut Draws<'_>) -> Self {
        let bits = draws.byte();
        Self { read: bits & 1 != 0, write: bits & 2 != 0, exec: bits & 4 != 0 }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text == "none" { Ok(Self::default()) } else { Self::from_letters(text) }
    }
    fn to_text(&self) -> String {
        let letters = self.letters();
        if letters.is_empty() { "none".to_owned() } else { letters }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Text(text) => Self::from_letters(text),
            Scalar::Number(n) => Err(ValueError::new(format!("{n} is a number where letters of rwx are expected"))),
        }
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.letters())
    }
}

fn zero_or_one(scalar: &Scalar) -> Result<bool, ValueError> {
    match scalar {
        Scalar::Number(0) => Ok(false),
        Scalar::Number(1) => Ok(true),
        other => Err(ValueError::new(format!("{other} is neither 0 nor 1"))),
    }
}

/// Which way memory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

impl Value for Access {
    const EXPECTS: &'static str = "read or write";
    fn draw(draws: &mut Draws<'_>) -> Self {
        *draws.of(&[Access::Read, Access::Write])
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "read" => Ok(Access::Read),
            "write" => Ok(Access::Write),
            _ => Err(ValueError {
                nearest: near(text, ["read", "write"]),
                ..ValueError::new(format!("`{text}` is not an access"))
            }),
        }
    }
    fn to_text(&self) -> String {
        match self {
            Access::Read => "read".to_owned(),
            Access::Write => "write".to_owned(),
        }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        zero_or_one(scalar).map(|write| if write { Access::Write } else { Access::Read })
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(i64::from(*self == Access::Write))
    }
}

/// A place where an attempt to have something can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailingSite(pub Site);

const SITES: [(&str, Site); 10] = [
    ("region-descriptor", Site::RegionDescriptor),
    ("table-page", Site::TablePage),
    ("cache-node", Site::CacheNode),
    ("vmemmap-page", Site::VmemmapPage),
    ("charge", Site::Charge),
    ("memory-charge", Site::MemoryCharge),
    ("frame", Site::Frame),
    ("raw-poison", Site::RawPoison),
    ("attributes", Site::Attributes),
    ("move", Site::Move),
];

impl Value for FailingSite {
    const EXPECTS: &'static str = "region-descriptor, table-page, cache-node, vmemmap-page, charge, memory-charge, frame, raw-poison, attributes or move";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self(draws.of(&SITES).1)
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        SITES.iter().find(|(word, _)| *word == text).map(|&(_, site)| Self(site)).ok_or_else(|| ValueError {
            nearest: near(text, SITES.map(|(word, _)| word)),
            ..ValueError::new(format!("`{text}` is no place where an attempt can fail"))
        })
    }
    fn to_text(&self) -> String {
        SITES.iter().find(|(_, site)| *site == self.0).map_or_else(String::new, |(word, _)| (*word).to_owned())
    }
}

/// What an entry of page tables is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableEntry {
    /// A page that may be written.
    Page,
    /// A page that may be read alone.
    ReadOnly,
    /// A note that the page which comes is to be write-protected.
    Marker,
    /// A page on its way.
    Migration,
    /// A page whose memory broke.
    Broken,
    /// What only its writer understands.
    Swap,
}

const TABLE_ENTRIES: [(&str, TableEntry); 6] = [
    ("page", TableEntry::Page),
    ("read-only", TableEntry::ReadOnly),
    ("marker", TableEntry::Marker),
    ("migration", TableEntry::Migration),
    ("broken", TableEntry::Broken),
    ("swap", TableEntry::Swap),
];

impl Value for TableEntry {
    const EXPECTS: &'static str = "what an entry says: page, read-only, marker, migration, broken or swap";
    fn draw(draws: &mut Draws<'_>) -> Self {
        draws.of(&TABLE_ENTRIES).1
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        TABLE_ENTRIES.iter().find(|(word, _)| *word == text).map(|&(_, entry)| entry).ok_or_else(|| ValueError {
            nearest: near(text, TABLE_ENTRIES.map(|(word, _)| word)),
            ..ValueError::new(format!("`{text}` is nothing that an entry says"))
        })
    }
    fn to_text(&self) -> String {
        TABLE_ENTRIES.iter().find(|(_, entry)| entry == self).map_or_else(String::new, |(word, _)| (*word).to_owned())
    }
}

/// A switch that stands on a line as its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(bool);

impl Switch {
    /// Switched on.
    pub const ON: Switch = Switch(true);

    /// Whether it is on.
    pub const fn is_on(self) -> bool {
        self.0
    }
}

impl Value for Switch {
    const EXPECTS: &'static str = "the word itself, or =0";
    const PLACE_IF_OPTIONAL: Place = Place::Word;
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self(draws.byte().is_multiple_of(2))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        match text {
            "1" => Ok(Switch(true)),
            "0" => Ok(Switch(false)),
            _ => Err(ValueError::new(format!("`{text}` is neither 0 nor 1"))),
        }
    }
    fn to_text(&self) -> String {
        u8::from(self.0).to_string()
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        zero_or_one(scalar).map(Switch)
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(i64::from(self.0))
    }
}

fn near<const N: usize>(text: &str, words: [&str; N]) -> Option<String> {
    nearest(text, words).map(str::to_owned)
}

macro_rules! advice {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal),* $(,)?) => {
        /// Advice of `madvise`. A word that is none of the known ones stands for advice that no kernel knows.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Advice {
            $($(#[doc = $doc])* $name,)*
            /// Advice unknown to every kernel, kept by its word.
            Unknown(String),
        }

        impl Advice {
            const EXPECTS: &'static str = concat!("advice, one of:" $(, " ", $word)*, " (another word is unknown advice)");

            const WORDS: &'static [&'static str] = &[$($word,)* "bogus"];

            fn from_word(word: &str) -> Self {
                match word {
                    $($word => Advice::$name,)*
                    other => Advice::Unknown(other.to_owned()),
                }
            }

            /// The word for it.
            pub fn word(&self) -> &str {
                match self {
                    $(Advice::$name => $word,)*
                    Advice::Unknown(word) => word,
                }
            }
        }
    };
}

advice! {
    /// MADV_NORMAL.
    Normal = "normal",
    /// MADV_RANDOM.
    Random = "random",
    /// MADV_SEQUENTIAL.
    Sequential = "sequential",
    /// MADV_WILLNEED.
    Willneed = "willneed",
    /// MADV_DONTNEED.
    Dontneed = "dontneed",
    /// MADV_FREE.
    Free = "free",
    /// MADV_REMOVE.
    Remove = "remove",
    /// MADV_DONTFORK.
    Dontfork = "dontfork",
    /// MADV_DOFORK.
    Dofork = "dofork",
    /// MADV_MERGEABLE.
    Mergeable = "mergeable",
    /// MADV_HUGEPAGE.
    Hugepage = "hugepage",
    /// MADV_NOHUGEPAGE.
    Nohugepage = "nohugepage",
    /// MADV_DONTDUMP.
    Dontdump = "dontdump",
    /// MADV_WIPEONFORK.
    Wipeonfork = "wipeonfork",
    /// MADV_KEEPONFORK.
    Keeponfork = "keeponfork",
    /// MADV_COLD.
    Cold = "cold",
    /// MADV_PAGEOUT.
    Pageout = "pageout",
    /// MADV_SPLIT, which no kernel has: pages may be mapped in pieces.
    Split = "split",
    /// MADV_POPULATE_READ.
    PopulateRead = "populate_read",
    /// MADV_POPULATE_WRITE.
    PopulateWrite = "populate_write",
    /// MADV_DONTNEED_LOCKED.
    DontneedLocked = "dontneed_locked",
    /// MADV_COLLAPSE.
    Collapse = "collapse",
}

impl Value for Advice {
    const EXPECTS: &'static str = Advice::EXPECTS;
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self::from_word(draws.of::<&str>(Self::WORDS))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ValueError::new(format!("`{text}` is not advice")));
        }
        Ok(Self::from_word(text))
    }
    fn to_text(&self) -> String {
        self.word().to_owned()
    }
}
