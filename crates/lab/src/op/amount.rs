//! Numbers of operations: sizes, ranges, pages, and what is written to a knob.

use super::argument::{Argument, Place, Value, ValueError};
use super::draw::Draws;
use super::record::{Record, Scalar};
use super::text::{quote, unquote};

const SUFFIXES: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// A size or offset in bytes, as a system call takes it: signed in files, its two's complement in address spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(i64);

impl Size {
    /// No bytes.
    pub const ZERO: Size = Size(0);

    /// This many bytes.
    pub const fn bytes(bytes: i64) -> Self {
        Self(bytes)
    }

    /// Bytes as a file call sees them.
    pub const fn signed(self) -> i64 {
        self.0
    }

    /// Bytes as an address-space call sees them.
    pub const fn unsigned(self) -> u64 {
        self.0.cast_unsigned()
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suffix = SUFFIXES.iter().find(|(_, shift)| self.0 != 0 && self.0 % (1i64 << shift) == 0);
        match suffix {
            Some((letter, shift)) => write!(f, "{}{letter}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Value for Size {
    const EXPECTS: &'static str = "a size in bytes, such as 2M or 4096";
    fn draw(draws: &mut Draws<'_>) -> Self {
        match draws.byte() % 4 {
            0 => Self(0),
            1 | 2 => Self(i64::from(draws.byte()) << draws.of(&[21, 12, 9, 30])),
            _ => Self(draws.number()),
        }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let shift = text.chars().last().and_then(|last| {
            SUFFIXES.iter().find(|(letter, _)| *letter == last.to_ascii_uppercase()).map(|(_, shift)| *shift)
        });
        let digits = if shift.is_some() { &text[..text.len() - 1] } else { text };
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ValueError::new(format!("`{text}` is not a size")));
        }
        let number: Option<i64> = digits.parse().ok();
        number
            .and_then(|n| n.checked_mul(1i64 << shift.unwrap_or(0)))
            .map(Self)
            .ok_or_else(|| ValueError::new(format!("the size `{text}` is out of range")))
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        whole(scalar).map(Self)
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Number(self.0)
    }
}

fn whole(scalar: &Scalar) -> Result<i64, ValueError> {
    match scalar {
        Scalar::Number(n) => Ok(*n),
        Scalar::Text(text) => Err(ValueError::new(format!("{text:?} is a string where a number is expected"))),
    }
}

fn decimal<T: std::str::FromStr>(text: &str) -> Result<T, ValueError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::new(format!("`{text}` is not a number")));
    }
    text.parse().map_err(|_| ValueError::new(format!("the number {text} is out of range")))
}

fn in_range<T: TryFrom<i64>>(scalar: &Scalar) -> Result<T, ValueError> {
    let number = whole(scalar)?;
    T::try_from(number).map_err(|_| ValueError::new(format!("the number {number} is out of range")))
}

macro_rules! numbers {
    ($($(#[doc = $doc:literal])* $name:ident($inner:ty): $expects:literal, $place:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// The value of this number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }
            /// The number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl Value for $name {
            const EXPECTS: &'static str = $expects;
            const PLACE_IF_OPTIONAL: Place = Place::$place;
            fn draw(draws: &mut Draws<'_>) -> Self {
                Self(<$inner>::from(draws.byte()))
            }
            fn from_text(text: &str) -> Result<Self, ValueError> {
                decimal(text).map(Self)
            }
            fn to_text(&self) -> String {
                self.0.to_string()
            }
            fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
                in_range(scalar).map(Self)
            }
            fn to_scalar(&self) -> Scalar {
                Scalar::Number(i64::from(self.0))
            }
        }
    )*};
}

numbers! {
    /// The first byte that a write stores; the next page gets the next value, modulo 256.
    Fill(u32): "the first byte stored", AfterEquals;
    /// A NUMA node.
    Node(u32): "a node's number", Keyed;
    /// A huge page of a mapping, counted from its start.
    PageIndex(u32): "the number of a huge page of the mapping", Keyed;
    /// A base page of a file, or of a guest.
    BasePage(u32): "the number of a base page", Keyed;
    /// A number of huge pages.
    PageTotal(u32): "a number of huge pages", Keyed;
    /// A user or a group of users.
    UserId(u32): "the number of a user or group", Keyed;
    /// The order of a block of pages.
    BlockOrder(u8): "an order, 0 to 30", Keyed;
    /// A number of pages.
    FrameTotal(u32): "a number of pages", Keyed;
    /// A processor.
    Cpu(u32): "the number of a processor", Keyed;
    /// The status that a process exits with.
    ExitCode(u8): "an exit status, 0 to 255", Keyed;
}

impl Fill {
    /// The byte stored in the page that comes `index` pages after the first.
    pub const fn byte(self, index: u32) -> u8 {
        self.0.wrapping_add(index).to_le_bytes()[0]
    }
}

/// A byte range: JSON `off` and `len`, text `0..2M` (or `off+len` where the end cannot be written).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub off: Size,
    /// Its length.
    pub len: Size,
}

impl Span {
    /// `len` bytes from `off` on.
    pub const fn new(off: Size, len: Size) -> Self {
        Self { off, len }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.off.0.checked_add(self.len.0) {
            Some(end) if self.len.0 >= 0 => write!(f, "{}..{}", self.off, Size(end)),
            _ => write!(f, "{}+{}", self.off, self.len),
        }
    }
}

impl Argument for Span {
    const EXPECTS: &'static str = "a byte range, such as 0..2M";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self { off: <Size as Value>::draw(draws), len: <Size as Value>::draw(draws) }
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        if let Some((first, end)) = text.split_once("..") {
            let (off, end) = (Size::from_text(first)?, Size::from_text(end)?);
            let len = end.0.checked_sub(off.0).filter(|len| *len >= 0);
            let len = len.ok_or_else(|| ValueError::new(format!("the range `{text}` ends before it begins")))?;
            return Ok(Self { off, len: Size(len) });
        }
        match text.split_once('+') {
            Some((off, len)) => Ok(Self { off: Size::from_text(off)?, len: Size::from_text(len)? }),
            None => Err(ValueError::new(format!("`{text}` is not a range"))),
        }
    }
    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        let off = record.get(keys[0]).map(Size::from_scalar).transpose()?;
        let len = record.get(keys[1]).map(Size::from_scalar).transpose()?;
        Ok(len.map(|len| Self { off: off.unwrap_or_default(), len }))
    }
    fn to_record(&self, keys: &[&str], record: &mut Record) {
        record.push(keys[0], self.off.to_scalar());
        record.push(keys[1], self.len.to_scalar());
    }
}

/// Huge pages of a mapping: JSON `pg` and `n`, text `p3` or `p0..4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// The first page.
    pub first: PageIndex,
    /// How many.
    pub count: PageTotal,
}

impl Pages {
    /// `count` pages from `first` on.
    pub const fn new(first: u32, count: u32) -> Self {
        Self { first: PageIndex(first), count: PageTotal(count) }
    }
}

impl std::fmt::Display for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count.0 {
            1 => write!(f, "p{}", self.first.0),
            _ => write!(f, "p{}..{}", self.first.0, u64::from(self.first.0) + u64::from(self.count.0)),
        }
    }
}

impl Argument for Pages {
    const EXPECTS: &'static str = "huge pages, such as p3 or p0..4";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self::new(u32::from(draws.byte() % 8), u32::from(draws.byte() % 8))
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_prefix('p').ok_or_else(|| ValueError::new(format!("`{text}` is not a page")))?;
        let Some((first, end)) = digits.split_once("..") else {
            return Ok(Self { first: PageIndex(decimal(digits)?), count: PageTotal(1) });
        };
        let (first, end): (u32, u64) = (decimal(first)?, decimal(end)?);
        let count = end
            .checked_sub(u64::from(first))
            .ok_or_else(|| ValueError::new(format!("the range `{text}` ends before it begins")))?;
        let count = u32::try_from(count).map_err(|_| ValueError::new(format!("the range `{text}` is out of range")))?;
        Ok(Self { first: PageIndex(first), count: PageTotal(count) })
    }
    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        let first = record.get(keys[0]).map(PageIndex::from_scalar).transpose()?.unwrap_or_default();
        let count = keys.get(1).and_then(|key| record.get(key)).map(PageTotal::from_scalar).transpose()?;
        Ok(Some(Self { first, count: count.unwrap_or(PageTotal(1)) }))
    }
    fn to_record(&self, keys: &[&str], record: &mut Record) {
        record.push(keys[0], self.first.to_scalar());
        if let Some(key) = keys.get(1) {
            record.push(key, self.count.to_scalar());
        }
    }
}

fn bare(text: &str) -> bool {
    !text.is_empty() && text != "->" && text.chars().all(|c| c.is_ascii_graphic() && !"\"#=>".contains(c))
}

/// Texts that are hard to print so that they read back.
const TEXTS: &[&str] =
    &["max", "4M", "8", "-1", "", " 1", "50%", "a=b", "#", "->", "say \"x\"\\", "0x10", "99999999999999999999"];

fn drawn_text(draws: &mut Draws<'_>) -> String {
    (*draws.of(TEXTS)).to_owned()
}

fn text_or_quoted(text: &str) -> Result<String, ValueError> {
    if !text.starts_with('"') {
        return Ok(text.to_owned());
    }
    unquote(text).ok_or_else(|| ValueError::new(format!("{text} is not one string between double quotes")))
}

/// What is written to a knob: JSON `n` (a number) or `raw` (exactly that string), text `8`, `max` or `"8 "`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A number, written in decimal.
    Number(i64),
    /// These bytes.
    Text(String),
}

impl Written {
    /// The bytes that reach the knob.
    pub fn bytes(&self) -> String {
        match self {
            Written::Number(n) => n.to_string(),
            Written::Text(text) => text.clone(),
        }
    }
}

impl Argument for Written {
    const EXPECTS: &'static str = "what is written: a number, or a word, quoted if it looks like one";
    fn draw(draws: &mut Draws<'_>) -> Self {
        match draws.byte() % 4 {
            0 | 1 => Written::Number(i64::from(draws.byte() % 32)),
            2 => Written::Number(draws.number()),
            _ => Written::Text(drawn_text(draws)),
        }
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.parse() {
            Ok(number) => Ok(Written::Number(number)),
            Err(_) => text_or_quoted(text).map(Written::Text),
        }
    }
    fn print(&self) -> Option<String> {
        Some(match self {
            Written::Number(n) => n.to_string(),
            Written::Text(text) if bare(text) && text.parse::<i64>().is_err() => text.clone(),
            Written::Text(text) => quote(text),
        })
    }
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        match (record.get(keys[0]), record.get(keys[1])) {
            (None, None) => Ok(None),
            (Some(number), None) => whole(number).map(|n| Some(Written::Number(n))),
            (None, Some(Scalar::Text(text))) => Ok(Some(Written::Text(text.clone()))),
            (None, Some(Scalar::Number(n))) => {
                Err(ValueError::new(format!("`{}` is the number {n}; it must be a string", keys[1])))
            }
            (Some(_), Some(_)) => Err(ValueError::new(format!("both `{}` and `{}` are given", keys[0], keys[1]))),
        }
    }
    fn to_record(&self, keys: &[&str], record: &mut Record) {
        match self {
            Written::Number(n) => record.push(keys[0], Scalar::Number(*n)),
            Written::Text(text) => record.push(keys[1], Scalar::Text(text.clone())),
        }
    }
}

fn percentage(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The value of a mount option: bytes or a count as a number, or exactly that string (`50%`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountValue {
    /// A number, handed over in decimal.
    Number(Size),
    /// This text.
    Text(String),
}

impl MountValue {
    /// The option's text as the mount call sees it.
    pub fn option_text(&self) -> String {
        match self {
            MountValue::Number(n) => n.signed().to_string(),
            MountValue::Text(text) => text.clone(),
        }
    }
}

impl Value for MountValue {
    const EXPECTS: &'static str = "a size such as 8M, a percentage such as 50%, or any text between double quotes";
    fn draw(draws: &mut Draws<'_>) -> Self {
        match draws.byte() % 2 {
            0 => MountValue::Number(<Size as Value>::draw(draws)),
            _ => MountValue::Text(drawn_text(draws)),
        }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text.starts_with('"') || percentage(text) {
            return text_or_quoted(text).map(MountValue::Text);
        }
        Size::from_text(text).map(MountValue::Number)
    }
    fn to_text(&self) -> String {
        match self {
            MountValue::Number(size) => size.to_string(),
            MountValue::Text(text) if percentage(text) => text.clone(),
            MountValue::Text(text) => quote(text),
        }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        Ok(match scalar {
            Scalar::Number(n) => MountValue::Number(Size(*n)),
            Scalar::Text(text) => MountValue::Text(text.clone()),
        })
    }
    fn to_scalar(&self) -> Scalar {
        match self {
            MountValue::Number(size) => size.to_scalar(),
            MountValue::Text(text) => Scalar::Text(text.clone()),
        }
    }
}

/// A string taken as it is, such as the options of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim(pub String);

impl Value for Verbatim {
    const EXPECTS: &'static str = "text, between double quotes if it holds blanks";
    fn draw(draws: &mut Draws<'_>) -> Self {
        match draws.byte() % 2 {
            0 => Self("/proc/sys/vm/drop_caches".to_owned()),
            _ => Self(drawn_text(draws)),
        }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        text_or_quoted(text).map(Self)
    }
    fn to_text(&self) -> String {
        if bare(&self.0) { self.0.clone() } else { quote(&self.0) }
    }
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Text(text) => Ok(Self(text.clone())),
            Scalar::Number(n) => Err(ValueError::new(format!("{n} is a number where a string is expected"))),
        }
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.0.clone())
    }
}
