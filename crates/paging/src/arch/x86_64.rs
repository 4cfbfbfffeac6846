//! x86-64: base pages of 4 KiB, leaves of 4 KiB, 2 MiB and 1 GiB, no groups.

use units::{PageShift, Pfn, Vaddr};

use super::Arch;
use crate::entry::{Entry, Leaf, LeafFlags, Swap, Word, absent};
use crate::level::Level;
use crate::memory::Table;

const PRESENT: u64 = 1;
/// Writable and for programs: a table forbids nothing, its leaves do.
const TABLE: u64 = PRESENT | 1 << 1 | 1 << 2;
/// At a level above the lowest: this is a page.
const PAGE_SIZE: u64 = 1 << 7;
/// Bits 12 to 51.
const FRAME: u64 = (1 << 52) - (1 << 12);

/// The same for four levels and for five.
macro_rules! x86_64 {
    ($(#[$doc:meta])* $name:ident, $text:literal, $top:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Arch for $name {
            const NAME: &'static str = $text;
            const PAGE: PageShift = PageShift::K4;
            const TOP: Level = $top;
            const TOP_BITS: u8 = 9;
            const INDEX_BITS: u8 = 9;
            const LEAF_MAX: Level = Level::Pud;
            const PHYS_BITS: u8 = 52;
            const BREAK_FIRST: bool = false;
            const WHICH: u64 = PRESENT | PAGE_SIZE | FRAME;
            const UNTOLD: u64 = 1 << 3 | 1 << 9 | 1 << 11 | 0x7ff << 52;

            #[inline]
            fn joined_shift(_: Level) -> Option<u8> {
                None
            }

            #[inline]
            fn decode(level: Level, word: Word) -> Entry {
                let raw = word.get();
                if raw & PRESENT == 0 {
                    absent::decode(word)
                } else if level > Level::Pte && raw & PAGE_SIZE == 0 {
                    Entry::Table(Table::new(Pfn::new(raw << 12 >> 24)))
                } else if level > Self::LEAF_MAX {
                    Entry::Swap(Swap(word))
                } else {
                    let frame = raw & FRAME & !((1 << Self::shift(level)) - 1);
                    Entry::Leaf(Leaf::new(Pfn::new(frame >> 12), LeafFlags::from_bits_truncate(raw)))
                }
            }

            #[inline]
            fn leaf(level: Level, leaf: Leaf) -> Word {
                debug_assert!(level <= Self::LEAF_MAX, "no page at {level:?}");
                let size = if level > Level::Pte { PAGE_SIZE } else { 0 };
                Word::new(PRESENT | size | leaf.pfn.get() << 12 & FRAME | leaf.flags.bits())
            }

            #[inline]
            fn table(table: Table) -> Word {
                Word::new(TABLE | table.pfn().get() << 12 & FRAME)
            }

            #[inline]
            fn is_mappable(addr: Vaddr) -> bool {
                let above = addr.get() >> (Self::shift(Self::TOP) + 8);
                above == 0 || above == u64::MAX >> (Self::shift(Self::TOP) + 8)
            }
        }
    };
}

x86_64!(
    /// Four levels: 48 bits of address.
    X86_64, "x86-64", Level::P4d
);
x86_64!(
    /// Five levels: 57 bits of address.
    #[doc(alias("la57", "pgtable_l5_enabled"))]
    X86_64La57, "x86-64 with five levels", Level::Pgd
);
