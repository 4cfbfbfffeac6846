//! A huge page that is mapped in pieces.

use alloc::string::String;
use alloc::vec::Vec;

use hugetlb::boot;
use paging::arch::{Arm64K4, Arm64K16, Arm64K64, X86_64};
use paging::{Arch, AtLevel, Entry, Found, Grain, Leaf, LeafFlags, Level, Marker, PageTables, SparseTables};
use units::{Bytes, HugeSize, PageCount, PageShift, Pfn, Vaddr, VaddrRange};

/// Calls the same of whatever architecture it is.
macro_rules! each {
    ($tables:expr, $tree:ident => $does:expr) => {
        match $tables {
            Tables::X86_64($tree) => $does,
            Tables::Arm64K4($tree) => $does,
            Tables::Arm64K16($tree) => $does,
            Tables::Arm64K64($tree) => $does,
        }
    };
}

/// Calls the same for whatever architecture it is.
macro_rules! each_arch {
    ($paging:expr, $arch:ident => $does:expr) => {
        match $paging {
            Paging::X86_64 => {
                type $arch = X86_64;
                $does
            }
            Paging::Arm64K4 => {
                type $arch = Arm64K4;
                $does
            }
            Paging::Arm64K16 => {
                type $arch = Arm64K16;
                $does
            }
            Paging::Arm64K64 => {
                type $arch = Arm64K64;
                $does
            }
        }
    };
}

/// The part of an address space's table below the place of one huge page: entries that map parts of one folio, which stays whole, holes
/// between them, and places where its memory broke. Addresses and frames in it are counted from the start of the page. A page that is not
/// divided needs none of this.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Saved", into = "Saved"))]
pub struct Pieces {
    pfn: Pfn,
    size: HugeSize,
    tables: Tables,
    leaves: u32,
    broken: u32,
    mapped: Bytes,
}

/// A part of a page, or a hole, as large as the entry that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Piece {
    /// Where it begins.
    pub offset: Bytes,
    /// How large it is.
    pub size: Bytes,
    /// What is there.
    pub state: PieceState,
}

/// What is at the place of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum PieceState {
    /// Nothing.
    Hole {
        /// The page that comes is to be write-protected by a userfaultfd.
        uffd_wp: bool,
    },
    /// A part of the page.
    Page {
        /// May it be written without a fault?
        writable: bool,
        /// Write-protected by a userfaultfd.
        uffd_wp: bool,
    },
    /// Memory that broke, which was taken out.
    Broken,
}

impl PieceState {
    /// A page without protection of its own.
    pub(crate) const fn page(writable: bool) -> Self {
        Self::Page { writable, uffd_wp: false }
    }

    /// Is a part of the page mapped there?
    #[must_use]
    pub const fn is_page(self) -> bool {
        matches!(self, Self::Page { .. })
    }
}

/// How tables look where pages can be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Paging {
    /// x86-64.
    #[default]
    X86_64,
    /// arm64 with base pages of 4 KiB.
    Arm64K4,
    /// arm64 with base pages of 16 KiB.
    Arm64K16,
    /// arm64 with base pages of 64 KiB.
    Arm64K64,
}

impl From<boot::Arch> for Paging {
    fn from(arch: boot::Arch) -> Self {
        match arch {
            boot::Arch::X86_64 => Self::X86_64,
            boot::Arch::Arm64(PageShift::K16) => Self::Arm64K16,
            boot::Arch::Arm64(PageShift::K64) => Self::Arm64K64,
            boot::Arch::Arm64(_) => Self::Arm64K4,
        }
    }
}

impl Paging {
    /// The level of the entries that map a page of that size, counted from the lowest.
    #[must_use]
    pub fn level_of(self, size: HugeSize) -> usize {
        each_arch!(self, A => Grain::new::<A>(size.bytes()).map_or(0, |grain| grain.level().index()))
    }
}

/// Tables of one of the architectures.
#[derive(Clone, Debug)]
enum Tables {
    X86_64(Tree<X86_64>),
    Arm64K4(Tree<Arm64K4>),
    Arm64K16(Tree<Arm64K16>),
    Arm64K64(Tree<Arm64K64>),
}

impl Pieces {
    /// Can pages of that size be mapped in pieces?
    #[must_use]
    pub fn can_divide(size: HugeSize, paging: Paging) -> bool {
        each_arch!(paging, A => Grain::new::<A>(size.bytes()).is_ok_and(|grain| grain > Grain::page::<A>()))
    }

    /// No piece of the folio at `pfn` yet. Nothing where pages of that size cannot be divided.
    #[must_use]
    pub(crate) fn new(paging: Paging, pfn: Pfn, size: HugeSize) -> Option<Self> {
        let tables = match paging {
            Paging::X86_64 => Tables::X86_64(Tree::new(size)?),
            Paging::Arm64K4 => Tables::Arm64K4(Tree::new(size)?),
            Paging::Arm64K16 => Tables::Arm64K16(Tree::new(size)?),
            Paging::Arm64K64 => Tables::Arm64K64(Tree::new(size)?),
        };
        Some(Self { pfn, size, tables, leaves: 0, broken: 0, mapped: Bytes::ZERO })
    }

    /// How its tables look.
    #[must_use]
    pub const fn paging(&self) -> Paging {
        match self.tables {
            Tables::X86_64(_) => Paging::X86_64,
            Tables::Arm64K4(_) => Paging::Arm64K4,
            Tables::Arm64K16(_) => Paging::Arm64K16,
            Tables::Arm64K64(_) => Paging::Arm64K64,
        }
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

    /// How many entries, or groups of joined ones, map a part of it: as many references and mappings the folio has for them.
    #[must_use]
    pub const fn leaves(&self) -> u32 {
        self.leaves
    }

    /// How many base pages were taken out because they broke.
    #[must_use]
    pub const fn broken(&self) -> u32 {
        self.broken
    }

    /// How much of it is mapped.
    #[must_use]
    pub const fn mapped(&self) -> Bytes {
        self.mapped
    }

    /// What is at `offset`.
    #[must_use]
    pub fn at(&self, offset: Bytes) -> Piece {
        each!(&self.tables, tree => tree.at(offset))
    }

    /// Everything from the start of the page to its end, holes too.
    #[must_use]
    pub fn all(&self) -> Vec<Piece> {
        each!(&self.tables, tree => tree.over(self.range()).collect())
    }

    /// The largest piece of a page of `size` that can begin at `offset` and be no longer than `left`.
    #[must_use]
    pub fn largest(paging: Paging, size: HugeSize, offset: Bytes, left: Bytes) -> Bytes {
        let fits = |piece: &Bytes| *piece <= left && *piece <= size.bytes() && offset.is_multiple_of(*piece);
        each_arch!(paging, A => Grain::all::<A>().rev().map(Grain::size).find(fits).unwrap_or(A::PAGE.bytes()))
    }

    /// The largest piece that is smaller.
    pub(crate) fn smaller(paging: Paging, size: Bytes) -> Option<Bytes> {
        each_arch!(paging, A => Grain::all::<A>().rev().map(Grain::size).find(|piece| *piece < size))
    }

    /// Maps a piece; nothing where something is there, or where a part of it is divided further. Protection that a userfaultfd left there is kept.
    #[must_use]
    pub(crate) fn map(&mut self, piece: Piece) -> Option<()> {
        let PieceState::Page { writable, uffd_wp } = piece.state else { return None };
        let flags = flags_of(writable, uffd_wp);
        each!(&mut self.tables, tree => tree.map(piece.offset, piece.size, flags))?;
        self.leaves += 1;
        self.mapped += piece.size;
        Some(())
    }

    /// The base page at `offset` broke: it is taken out, and what was larger is divided. How many entries map then what one did; nothing where none
    /// does.
    #[must_use]
    pub(crate) fn poison(&mut self, offset: Bytes) -> Option<u32> {
        let (left, page) = each!(&mut self.tables, tree => (tree.poison(offset)?, tree.page()));
        self.leaves = self.leaves + left - 1;
        self.broken += 1;
        self.mapped -= page;
        Some(left)
    }

    /// Takes the right to write away.
    pub(crate) fn write_protect(&mut self) {
        let all = self.range();
        each!(&mut self.tables, tree => tree.change(all, |flags| flags - LeafFlags::WRITE));
    }

    /// Lets the piece around `offset` be written.
    pub(crate) fn make_writable(&mut self, offset: Bytes) {
        let piece = self.at(offset);
        let start = Vaddr::new(piece.offset.get());
        let part = VaddrRange::new(start, start + piece.size);
        each!(&mut self.tables, tree => tree.change(part, |flags| (flags | LeafFlags::WRITE) - LeafFlags::UFFD_WP));
    }

    /// A userfaultfd write-protects what is mapped, and what is still to come.
    pub(crate) fn watch_writes(&mut self) {
        let all = self.range();
        each!(&mut self.tables, tree => {
            tree.change(all, |flags| (flags | LeafFlags::UFFD_WP) - LeafFlags::WRITE);
            tree.tree.note(&mut tree.mem, all, Marker::UFFD_WP);
        });
    }

    /// The userfaultfd's protection ends.
    pub(crate) fn unwatch_writes(&mut self) {
        let all = self.range();
        each!(&mut self.tables, tree => {
            tree.change(all, |flags| flags - LeafFlags::UFFD_WP);
            tree.tree.forget(&mut tree.mem, all, Marker::UFFD_WP);
        });
    }

    /// Does a userfaultfd write-protect any of it?
    #[must_use]
    pub fn is_watched(&self) -> bool {
        let watched = |piece: Piece| match piece.state {
            PieceState::Hole { uffd_wp } | PieceState::Page { uffd_wp, .. } => uffd_wp,
            PieceState::Broken => false,
        };
        each!(&self.tables, tree => tree.over(self.range()).any(watched))
    }

    /// What a child gets: the same pieces, none of which it may write yet.
    pub(crate) fn child(&self) -> Self {
        let mut child = self.clone();
        child.unwatch_writes();
        child.write_protect();
        child
    }

    /// They are of that folio from now on.
    pub(crate) const fn move_to(&mut self, pfn: Pfn) {
        self.pfn = pfn;
    }

    /// All offsets.
    fn range(&self) -> VaddrRange {
        VaddrRange::new(Vaddr::new(0), Vaddr::new(self.size.bytes().get()))
    }

    /// Tables of the two lowest levels that it needs.
    #[must_use]
    pub fn tables(&self) -> (PageCount, PageCount) {
        each!(&self.tables, tree => {
            // The first one stands for the entry of the whole page, in a table that others share.
            let below = |level: Level| if level < tree.tree.level() { tree.mem.linked_tables(level) } else { PageCount::ZERO };
            (below(Level::Pmd), below(Level::Pte))
        })
    }

    /// Bytes mapped by entries of each level, from the lowest.
    #[must_use]
    pub fn by_level(&self) -> [Bytes; 3] {
        let mut sums = [Bytes::ZERO; 3];
        each!(&self.tables, tree => {
            for (_, found) in tree.tree.over(&tree.mem, self.range()) {
                let grain = found.place.grain();
                if let (Entry::Leaf(_), Some(sum)) = (found.entry, sums.get_mut(grain.level().index())) {
                    *sum += grain.size();
                }
            }
        });
        sums
    }

    /// Recounts.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let (leaves, mapped) = each!(&self.tables, tree => tree.validate()?);
        let all = self.all();
        let broken = all.iter().filter(|piece| piece.state == PieceState::Broken).count() as u64;
        if (u64::from(self.leaves), u64::from(self.broken), self.mapped) == (leaves, broken, mapped) {
            return Ok(());
        }
        let (pfn, size) = (self.pfn, self.mapped);
        Err(alloc::format!("{} pieces of {pfn} with {size}, {} broken, are {leaves}", self.leaves, self.broken))
    }
}

fn flags_of(writable: bool, uffd_wp: bool) -> LeafFlags {
    let mut flags = LeafFlags::empty();
    flags.set(LeafFlags::WRITE, writable);
    flags.set(LeafFlags::UFFD_WP, uffd_wp);
    flags
}

/// Tables of one architecture, from the level of the whole page down.
#[derive(Clone, Debug)]
struct Tree<A: Arch> {
    mem: SparseTables<A>,
    tree: PageTables<A, AtLevel>,
}

impl<A: Arch> Tree<A> {
    fn new(size: HugeSize) -> Option<Self> {
        let grain = Grain::new::<A>(size.bytes()).ok().filter(|grain| *grain > Grain::page::<A>())?;
        let mut mem = SparseTables::new();
        let tree = PageTables::new_below(&mut mem, grain.level()).ok()?;
        Some(Self { mem, tree })
    }

    fn page(&self) -> Bytes {
        A::PAGE.bytes()
    }

    fn at(&self, offset: Bytes) -> Piece {
        let addr = Vaddr::new(offset.get());
        piece(addr, &self.tree.find(&self.mem, addr))
    }

    fn over(&self, range: VaddrRange) -> impl Iterator<Item = Piece> {
        self.tree.over(&self.mem, range).map(|(at, found)| piece(at, &found))
    }

    fn map(&mut self, offset: Bytes, size: Bytes, flags: LeafFlags) -> Option<()> {
        let grain = Grain::new::<A>(size).ok()?;
        let leaf = Leaf::new(Pfn::new(A::PAGE.pages_floor(offset).get()), flags);
        self.tree.map(&mut self.mem, Vaddr::new(offset.get()), grain, leaf).ok()
    }

    /// How many entries map then what one did.
    fn poison(&mut self, offset: Bytes) -> Option<u32> {
        let addr = Vaddr::new(offset.get());
        let found = self.tree.find(&self.mem, addr);
        let Entry::Leaf(_) = found.entry else { return None };
        let around = found.place.grain().around(addr);
        let owed = self.tree.poison(&mut self.mem, &mut |_| (), addr);
        debug_assert!(owed.is_ok(), "a page is there, and tables are had for the asking");
        owed.ok()?.settle(&mut |_| ());
        u32::try_from(self.over(around).filter(|piece| piece.state.is_page()).count()).ok()
    }

    fn change(&mut self, part: VaddrRange, change: impl Fn(LeafFlags) -> LeafFlags) {
        let done = self.tree.protect(&mut self.mem, &mut |_| (), part, change);
        debug_assert!(done.is_ok(), "a part is one piece or all");
        // Nobody remembers entries of these tables.
        done.into_iter().for_each(|done| done.owed.settle(&mut |_| ()));
    }

    /// How many entries or groups there are, and what they map. Each maps the part of the page that is at its place.
    fn validate(&self) -> Result<(u64, Bytes), String> {
        let tally = self.tree.validate(&self.mem)?;
        let reach = VaddrRange::new(Vaddr::new(0), Vaddr::new(A::reach(self.tree.level()).get()));
        for (at, found) in self.tree.over(&self.mem, reach) {
            let own = |pfn: Pfn| pfn.get() == at.get() >> A::PAGE.get();
            let fits = match found.entry {
                Entry::Leaf(leaf) => own(leaf.pfn),
                Entry::Hwpoison(pfn) => own(pfn),
                Entry::None | Entry::Marker(Marker::UFFD_WP) => true,
                _ => false,
            };
            if !fits {
                return Err(alloc::format!("{:?} is {at} into a page", found.entry));
            }
        }
        Ok((tally.leaves.iter().chain(&tally.groups).sum(), A::PAGE.total(tally.pages)))
    }
}

fn piece(addr: Vaddr, found: &Found) -> Piece {
    let around = found.place.grain().around(addr);
    let state = match found.entry {
        Entry::Leaf(leaf) => PieceState::Page {
            writable: leaf.flags.contains(LeafFlags::WRITE),
            uffd_wp: leaf.flags.contains(LeafFlags::UFFD_WP),
        },
        Entry::Hwpoison(_) => PieceState::Broken,
        Entry::Marker(marker) => PieceState::Hole { uffd_wp: marker.contains(Marker::UFFD_WP) },
        _ => PieceState::Hole { uffd_wp: false },
    };
    Piece { offset: Bytes::new(around.start.get()), size: around.len(), state }
}

/// Pieces as text: all but plain holes.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    #[serde(default)]
    paging: Paging,
    pfn: Pfn,
    size: HugeSize,
    pieces: Vec<Piece>,
}

#[cfg(feature = "serde")]
impl From<Pieces> for Saved {
    fn from(pieces: Pieces) -> Self {
        let mut all = pieces.all();
        all.retain(|piece| piece.state != PieceState::Hole { uffd_wp: false });
        Self { paging: pieces.paging(), pfn: pieces.pfn, size: pieces.size, pieces: all }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Saved> for Pieces {
    type Error = &'static str;

    fn try_from(saved: Saved) -> Result<Self, Self::Error> {
        let mut pieces = Self::new(saved.paging, saved.pfn, saved.size).ok_or("pages of that size stay whole")?;
        let overlap = "pieces overlap, or have sizes that none has";
        for piece in &saved.pieces {
            piece.offset.checked_add(piece.size).filter(|end| *end <= saved.size.bytes()).ok_or(overlap)?;
            match piece.state {
                PieceState::Page { .. } => pieces.map(*piece).ok_or(overlap)?,
                PieceState::Broken => {
                    pieces.map(Piece { state: PieceState::page(false), ..*piece }).ok_or(overlap)?;
                    let left = pieces.poison(piece.offset).ok_or(overlap)?;
                    (left == 0).then_some(()).ok_or("more than a base page is broken")?;
                }
                PieceState::Hole { .. } => {}
            }
        }
        // The holes are as large as the pieces around them say.
        for hole in &saved.pieces {
            if matches!(hole.state, PieceState::Hole { .. }) {
                pieces.leave_note(hole).ok_or("a note that is in no hole of its size")?;
            }
        }
        Ok(pieces)
    }
}

#[cfg(feature = "serde")]
impl Pieces {
    fn leave_note(&mut self, hole: &Piece) -> Option<()> {
        let there = self.at(hole.offset);
        let plain = PieceState::Hole { uffd_wp: false };
        if (there.offset, there.size, there.state) != (hole.offset, hole.size, plain) || hole.state == plain {
            return None;
        }
        let start = Vaddr::new(hole.offset.get());
        let part = VaddrRange::new(start, start + hole.size);
        each!(&mut self.tables, tree => tree.tree.note(&mut tree.mem, part, Marker::UFFD_WP));
        Some(())
    }
}
