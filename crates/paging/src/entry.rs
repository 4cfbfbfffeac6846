//! What an entry says, once it is read.

use core::fmt;

use units::{PageCount, Pfn};

use crate::memory::Table;

/// The bits of one entry as they are in memory. They mean something to one architecture, at one level.
#[doc(alias = "pte_t")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Word(u64);

impl Word {
    /// Nothing there.
    pub const NONE: Self = Self(0);

    /// Wraps the bits.
    #[inline]
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry:{:#x}", self.0)
    }
}

/// What one load of an entry said. There is nothing else that it can be, and what is not [`Entry::Table`] is never taken for one: an entry
/// that is *not empty* may be a page, a note to whoever comes here, or something that only its writer understands.
#[doc(alias("pte_none", "pte_present", "hugetlb_pte_present_leaf", "huge_pte_none_mostly"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    None,
    /// Nothing, with a note for the page that will come.
    Marker(Marker),
    /// The page is being moved; whoever comes here waits.
    Migration(Migration),
    /// The page's memory broke.
    Hwpoison(Pfn),
    /// Something that is not present and has meaning to its writer alone. It is never overwritten.
    Swap(Swap),
    /// A page.
    Leaf(Leaf),
    /// A table of the level below.
    Table(Table),
}

impl Entry {
    /// Can a page come here? There is nothing, or a note alone.
    #[inline]
    #[must_use]
    pub const fn is_none_mostly(self) -> bool {
        matches!(self, Self::None | Self::Marker(_))
    }
}

bitflags::bitflags! {
    /// What a note says.
    #[doc(alias = "pte_marker")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Marker: u64 {
        /// The page that comes is to be write-protected.
        #[doc(alias = "PTE_MARKER_UFFD_WP")]
        const UFFD_WP = 1;
        /// No page may come: its memory broke.
        #[doc(alias = "PTE_MARKER_POISONED")]
        const POISONED = 2;
        /// No page may come: whoever reads it is to be stopped.
        #[doc(alias = "PTE_MARKER_GUARD")]
        const GUARD = 4;
    }
}

/// A page on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The frame that it leaves.
    pub pfn: Pfn,
    /// Could it be written?
    pub writable: bool,
}

/// Bits of a writer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap(pub(crate) Word);

impl Swap {
    /// What its writer wrote.
    #[must_use]
    pub const fn word(self) -> Word {
        self.0
    }

    /// An entry with that number in it, of 52 bits at most.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number >> (64 - PAYLOAD) == 0 { Some(Self(Word(number << PAYLOAD | 4 << KIND))) } else { None }
    }

    /// The number that [`Swap::new`] put in.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.0 >> PAYLOAD
    }
}

bitflags::bitflags! {
    /// What may be done with a page, and what was. The values are those of x86-64, so that nothing is to be translated there.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct LeafFlags: u64 {
        /// It may be written.
        const WRITE = 1 << 1;
        /// Programs may use it, not the kernel alone.
        const USER = 1 << 2;
        /// Around the caches.
        const UNCACHED = 1 << 4;
        /// It was used.
        const ACCESSED = 1 << 5;
        /// It was written.
        const DIRTY = 1 << 6;
        /// It is the same in all address spaces.
        const GLOBAL = 1 << 8;
        /// A userfaultfd write-protects it.
        const UFFD_WP = 1 << 10;
        /// Nothing in it can be executed.
        const NO_EXECUTE = 1 << 63;
    }
}

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its first frame.
    pub pfn: Pfn,
    /// What may be done with it.
    pub flags: LeafFlags,
    /// The hint that its neighbours continue it. What such an entry maps by itself is a part of a page.
    #[doc(alias("pte_cont", "PTE_CONT"))]
    pub joined: bool,
}

impl Leaf {
    /// A page that is not joined to its neighbours.
    #[inline]
    #[must_use]
    pub const fn new(pfn: Pfn, flags: LeafFlags) -> Self {
        Self { pfn, flags, joined: false }
    }

    /// The page `pages` further on.
    #[inline]
    #[must_use]
    pub const fn offset(self, pages: PageCount) -> Self {
        Self { pfn: self.pfn.offset(pages), ..self }
    }
}

const KIND: u32 = 1;
const NOTE: u32 = 5;
const PAYLOAD: u32 = 12;

/// What is not present, in the one form that all architectures here share: bit 0 is clear, bits 1 to 4 say the kind, 5 to 11 what belongs to
/// it, and a frame is in the bits of frames.
pub(crate) mod absent {
    use super::{Entry, KIND, Marker, Migration, NOTE, PAYLOAD, Pfn, Swap, Word};

    #[inline]
    pub(crate) const fn decode(word: Word) -> Entry {
        if word.0 == 0 { Entry::None } else { decode_some(word) }
    }

    #[inline]
    const fn decode_some(word: Word) -> Entry {
        let note = (word.0 >> NOTE) & 0x7f;
        let pfn = Pfn::new(word.0 >> PAYLOAD);
        match word.0 >> KIND & 0xf {
            1 if pfn.get() == 0 && note != 0 && note < 8 => Entry::Marker(Marker::from_bits_truncate(note)),
            2 if note < 2 => Entry::Migration(Migration { pfn, writable: note == 1 }),
            3 if note == 0 => Entry::Hwpoison(pfn),
            _ => Entry::Swap(Swap(word)),
        }
    }

    /// The bits of what is neither page nor table.
    pub(crate) const fn encode(entry: Entry) -> Option<Word> {
        Some(Word(match entry {
            Entry::None => 0,
            Entry::Marker(marker) => 1 << KIND | marker.bits() << NOTE,
            Entry::Migration(m) => 2 << KIND | (m.writable as u64) << NOTE | m.pfn.get() << PAYLOAD,
            Entry::Hwpoison(pfn) => 3 << KIND | pfn.get() << PAYLOAD,
            Entry::Swap(swap) => swap.0.0,
            Entry::Leaf(_) | Entry::Table(_) => return None,
        }))
    }
}
