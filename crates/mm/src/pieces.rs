//! A huge page that is mapped in pieces.

#[cfg(feature = "serde")]
use alloc::vec::Vec;

use paging::arch::X86_64;
use paging::{Entry, Found, Grain, HeapTables, Leaf, LeafFlags, Level, PageTables};
use units::{Bytes, HugeSize, PageCount, PageShift, Pfn, Vaddr, VaddrRange};

/// The part of an address space's table below the place of one huge page: entries that map parts of one folio, which stays whole, and holes
/// between them. Addresses here are offsets into the page. A page that is not divided needs none of this.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Saved", into = "Saved"))]
pub struct Pieces {
    pfn: Pfn,
    size: HugeSize,
    mem: HeapTables<X86_64>,
    tables: PageTables<X86_64>,
    leaves: u32,
    mapped: Bytes,
}

/// What is mapped at some offset, or how large a hole is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Piece {
    /// Where it begins.
    pub offset: Bytes,
    /// How large it is.
    pub size: Bytes,
    /// May it be written? Nothing where it is a hole.
    pub writable: Option<bool>,
}

/// The tables that one page can need, and the way to it.
const TABLES_MAX: PageCount = PageCount::new(3 + 512);

impl Pieces {
    /// Can pages of that size be mapped in pieces, on a machine with such base pages?
    #[must_use]
    pub fn can_divide(size: HugeSize, base: PageShift) -> bool {
        base == X86_64_BASE && Grain::new::<X86_64>(size.bytes()).is_ok_and(|grain| grain > Grain::page::<X86_64>())
    }

    /// No piece of the folio at `pfn` yet. Nothing where pages of that size cannot be divided.
    #[must_use]
    pub(crate) fn new(pfn: Pfn, size: HugeSize) -> Option<Self> {
        let mut mem = HeapTables::new(TABLES_MAX);
        let tables = PageTables::new(&mut mem).ok()?;
        Self::can_divide(size, X86_64_BASE).then_some(Self { pfn, size, mem, tables, leaves: 0, mapped: Bytes::ZERO })
    }

    /// The folio.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Its size.
    #[must_use]
    pub const fn size(&self) -> HugeSize {
        self.size
    }

    /// How many entries map a part of it: as many references and mappings the folio has for them.
    #[must_use]
    pub const fn leaves(&self) -> u32 {
        self.leaves
    }

    /// How much of it is mapped.
    #[must_use]
    pub const fn mapped(&self) -> Bytes {
        self.mapped
    }

    /// What is at `offset`.
    #[must_use]
    pub fn at(&self, offset: Bytes) -> Piece {
        let addr = Vaddr::new(offset.get());
        piece(addr, &self.tables.find(&self.mem, addr))
    }

    /// All that is mapped, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        let all = self.tables.over(&self.mem, self.range());
        all.map(|(at, found)| piece(at, &found)).filter(|piece| piece.writable.is_some())
    }

    /// The largest piece of a page of `size` that can begin at `offset` and be no longer than `left`.
    #[must_use]
    pub fn largest(size: HugeSize, offset: Bytes, left: Bytes) -> Bytes {
        let fits = |piece: &Bytes| *piece <= left && *piece <= size.bytes() && offset.is_multiple_of(*piece);
        Grain::all::<X86_64>().rev().map(Grain::size).find(fits).unwrap_or(X86_64_BASE.bytes())
    }

    /// Maps a piece; nothing where something is there, or where a part of it is divided further.
    #[must_use]
    pub(crate) fn map(&mut self, piece: Piece) -> Option<()> {
        let grain = Grain::new::<X86_64>(piece.size).ok()?;
        let flags = if piece.writable? { LeafFlags::WRITE } else { LeafFlags::empty() };
        let pfn = self.pfn.offset(X86_64_BASE.pages_floor(piece.offset));
        self.tables.map(&mut self.mem, Vaddr::new(piece.offset.get()), grain, Leaf::new(pfn, flags)).ok()?;
        self.leaves += 1;
        self.mapped += piece.size;
        Some(())
    }

    /// Takes the right to write away from all pieces, or gives it to the one at `offset`.
    pub(crate) fn set_writable(&mut self, part: VaddrRange, writable: bool) {
        let change = |flags: LeafFlags| if writable { flags | LeafFlags::WRITE } else { flags - LeafFlags::WRITE };
        let done = self.tables.protect(&mut self.mem, &mut |_| (), part, change);
        debug_assert!(done.is_ok(), "a part is one piece or all");
        // Nobody remembers entries of these tables.
        done.into_iter().for_each(|done| done.owed.settle(&mut |_| ()));
    }

    /// All offsets.
    pub(crate) fn range(&self) -> VaddrRange {
        VaddrRange::new(Vaddr::new(0), Vaddr::new(self.size.bytes().get()))
    }

    /// Tables of the two lowest levels that it needs.
    #[must_use]
    pub const fn tables(&self) -> (PageCount, PageCount) {
        (self.mem.linked_tables(Level::Pmd), self.mem.linked_tables(Level::Pte))
    }

    /// The same pieces of another folio.
    pub(crate) fn moved_to(&self, pfn: Pfn) -> Option<Self> {
        let mut moved = Self::new(pfn, self.size)?;
        self.iter().try_for_each(|piece| moved.map(piece))?;
        Some(moved)
    }

    /// Recounts.
    pub(crate) fn validate(&self) -> Result<(), alloc::string::String> {
        let tally = self.tables.validate(&self.mem)?;
        let leaves: u64 = tally.leaves.iter().sum();
        if (u64::from(self.leaves), self.mapped) == (leaves, X86_64_BASE.total(tally.pages)) {
            return Ok(());
        }
        Err(alloc::format!("{} pieces of {} with {} are counted as {leaves}", self.leaves, self.pfn, self.mapped))
    }
}

const X86_64_BASE: PageShift = PageShift::K4;

fn piece(addr: Vaddr, found: &Found) -> Piece {
    let around = found.place.grain().around(addr);
    let writable = match found.entry {
        Entry::Leaf(leaf) => Some(leaf.flags.contains(LeafFlags::WRITE)),
        _ => None,
    };
    Piece { offset: Bytes::new(around.start.get()), size: around.len(), writable }
}

/// Pieces as text.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    pfn: Pfn,
    size: HugeSize,
    pieces: Vec<Piece>,
}

#[cfg(feature = "serde")]
impl From<Pieces> for Saved {
    fn from(pieces: Pieces) -> Self {
        Self { pfn: pieces.pfn, size: pieces.size, pieces: pieces.iter().collect() }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Saved> for Pieces {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let mut pieces = Self::new(saved.pfn, saved.size).ok_or("pages of that size are not mapped in pieces")?;
        for piece in saved.pieces {
            let inside = piece.offset.checked_add(piece.size).is_some_and(|end| end <= saved.size.bytes());
            let mapped = inside.then(|| pieces.map(piece)).flatten();
            mapped.ok_or("pieces overlap, or have sizes that none has")?;
        }
        Ok(pieces)
    }
}
