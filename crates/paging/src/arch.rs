//! Architectures: types without values, whose constants say how tables are laid out and whose functions read and write one entry.

mod arm64;
mod x86_64;

pub use arm64::{Arm64, Arm64K4, Arm64K16, Arm64K64};
pub use x86_64::{X86_64, X86_64La57};

use core::fmt::Debug;

use units::{Bytes, PageCount, PageShift, Vaddr};

use crate::entry::{Entry, Leaf, Word, absent};
use crate::level::Level;
use crate::memory::Table;

/// How an architecture keeps its tables. The tables of all its levels are one base page large, the top one perhaps less.
pub trait Arch: Copy + Debug + 'static {
    /// What messages call it.
    const NAME: &'static str;
    /// The base page.
    const PAGE: PageShift;
    /// The level of the first table.
    const TOP: Level;
    /// log2 of the entries of the first table.
    const TOP_BITS: u8;
    /// log2 of the entries of every other table.
    const INDEX_BITS: u8;
    /// The highest level whose entries can be pages.
    const LEAF_MAX: Level;
    /// Bits of a physical address.
    const PHYS_BITS: u8;
    /// Must an entry be cleared and flushed before it maps the same place at another size, or as another table?
    const BREAK_FIRST: bool;
    /// Bits of a page's entry that [`Leaf`] does not speak of. They stay as they are when a page's flags change.
    const UNTOLD: u64;

    /// Bits of a page's entry that say which page it is, and that it is one. Two entries of a level that agree in them map the same.
    const WHICH: u64;

    /// log2 of what a group of joined entries of that level maps, where there are such groups.
    #[doc(alias("CONT_PTE_SHIFT", "CONT_PMD_SHIFT"))]
    fn joined_shift(level: Level) -> Option<u8>;

    /// What the bits of an entry at that level say. Whatever the bits are, they say something; what the hardware would refuse is
    /// [`Entry::Swap`], so that it is neither followed nor overwritten.
    fn decode(level: Level, word: Word) -> Entry;

    /// The bits of a page at that level. Its frame must be aligned to what the entry maps.
    fn leaf(level: Level, leaf: Leaf) -> Word;

    /// The bits that lead to a table.
    fn table(table: Table) -> Word;

    /// Is there a place in the tables for the address?
    fn is_mappable(addr: Vaddr) -> bool;

    /// The bits of the same page so many frames further on.
    #[inline]
    #[must_use]
    fn further(word: Word, pages: PageCount) -> Word {
        Word::new(word.get().wrapping_add(pages.get() << Self::PAGE.get()))
    }

    /// The bits of any entry.
    #[inline]
    #[must_use]
    fn encode(level: Level, entry: Entry) -> Word {
        match entry {
            Entry::Leaf(leaf) => Self::leaf(level, leaf),
            Entry::Table(table) => Self::table(table),
            other => absent::encode(other).unwrap_or(Word::NONE),
        }
    }

    /// log2 of what one entry of that level maps.
    #[doc(alias("PMD_SHIFT", "PUD_SHIFT"))]
    #[inline]
    #[must_use]
    fn shift(level: Level) -> u8 {
        Self::PAGE.get() + level as u8 * Self::INDEX_BITS
    }

    /// log2 of the entries of a table of that level.
    #[inline]
    #[must_use]
    fn bits(level: Level) -> u8 {
        if level as u8 == Self::TOP as u8 { Self::TOP_BITS } else { Self::INDEX_BITS }
    }

    /// How many entries a table of that level has.
    #[doc(alias("PTRS_PER_PTE", "PTRS_PER_PMD"))]
    #[inline]
    #[must_use]
    fn entries(level: Level) -> u16 {
        1 << Self::bits(level)
    }

    /// Which entry of a table of that level is the address's.
    #[doc(alias("pte_index", "pmd_index"))]
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an index has at most 13 bits")]
    fn index(level: Level, addr: Vaddr) -> u16 {
        (addr.get() >> Self::shift(level)) as u16 & (Self::entries(level) - 1)
    }

    /// How much a table of that level maps.
    #[inline]
    #[must_use]
    fn reach(level: Level) -> Bytes {
        Bytes::new(1 << (Self::shift(level) + Self::bits(level)))
    }
}
