//! arm64, stage 1: base pages of 4, 16 or 64 KiB, and groups of joined entries at the two lowest levels.

use units::{PageShift, Pfn, Vaddr};

use super::Arch;
use crate::entry::{Entry, Leaf, LeafFlags, Swap, Word, absent};
use crate::level::Level;
use crate::memory::Table;

const VALID: u64 = 1;
/// With [`VALID`]: a table, or at the lowest level a page.
const TABLE: u64 = 1 << 1;
/// Attributes number 1: device memory. Number 0 is ordinary memory.
const DEVICE: u64 = 1 << 2;
const FOR_PROGRAMS: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
/// May be written: the processor itself takes [`READ_ONLY`] away, which says that it was.
#[doc(alias = "PTE_DBM")]
const WRITE: u64 = 1 << 51;
const JOINED: u64 = 1 << 52;
const KERNEL_NEVER_EXECUTES: u64 = 1 << 53;
const PROGRAMS_NEVER_EXECUTE: u64 = 1 << 54;
/// Bits for software: written, although it may not be written any more; and write-protected by a userfaultfd.
const DIRTY: u64 = 1 << 55;
const UFFD_WP: u64 = 1 << 58;
/// Bits 12 to 47.
const FRAME: u64 = (1 << 48) - (1 << 12);

/// arm64 with base pages of `1 << PAGE` bytes.
#[derive(Clone, Copy, Debug)]
pub enum Arm64<const PAGE: u8> {}

/// Base pages of 4 KiB: leaves of 4 KiB, 64 KiB (16 joined), 2 MiB, 32 MiB (16 joined) and 1 GiB.
pub type Arm64K4 = Arm64<12>;
/// Base pages of 16 KiB: leaves of 16 KiB, 2 MiB (128 joined), 32 MiB and 1 GiB (32 joined).
pub type Arm64K16 = Arm64<14>;
/// Base pages of 64 KiB: leaves of 64 KiB, 2 MiB (32 joined), 512 MiB and 16 GiB (32 joined).
pub type Arm64K64 = Arm64<16>;

impl<const PAGE: u8> Arch for Arm64<PAGE> {
    const NAME: &'static str = match PAGE {
        12 => "arm64 with pages of 4 KiB",
        14 => "arm64 with pages of 16 KiB",
        _ => "arm64 with pages of 64 KiB",
    };
    const PAGE: PageShift = match PAGE {
        12 => PageShift::K4,
        14 => PageShift::K16,
        16 => PageShift::K64,
        _ => panic!("base pages have 4, 16 or 64 KiB"),
    };
    const TOP: Level = if PAGE == 16 { Level::Pud } else { Level::P4d };
    const TOP_BITS: u8 = match PAGE {
        12 => 9,
        14 => 1,
        _ => 6,
    };
    const INDEX_BITS: u8 = PAGE - 3;
    const LEAF_MAX: Level = if PAGE == 12 { Level::Pud } else { Level::Pmd };
    const PHYS_BITS: u8 = 48;
    const BREAK_FIRST: bool = true;
    const WHICH: u64 = VALID | TABLE | JOINED | FRAME;
    const UNTOLD: u64 = 3 << 3 | 1 << 5 | 1 << 50 | 3 << 56 | 0xf << 59;

    #[inline]
    fn joined_shift(level: Level) -> Option<u8> {
        let joined = match (PAGE, level) {
            (12, Level::Pte | Level::Pmd) => 4,
            (14, Level::Pte) => 7,
            (14 | 16, Level::Pte | Level::Pmd) => 5,
            _ => return None,
        };
        Some(Self::shift(level) + joined)
    }

    #[inline]
    fn decode(level: Level, word: Word) -> Entry {
        let raw = word.get();
        if raw & VALID == 0 {
            return absent::decode(word);
        }
        let is_table = raw & TABLE != 0;
        if is_table && level > Level::Pte {
            Entry::Table(Table::new(Pfn::new((raw & FRAME) >> PAGE)))
        } else if is_table != (level == Level::Pte) || level > Self::LEAF_MAX {
            Entry::Swap(Swap(word))
        } else {
            let frame = raw & FRAME & !((1 << Self::shift(level)) - 1);
            Entry::Leaf(Leaf { pfn: Pfn::new(frame >> PAGE), flags: flags(raw), joined: raw & JOINED != 0 })
        }
    }

    #[inline]
    fn leaf(level: Level, leaf: Leaf) -> Word {
        debug_assert!(level <= Self::LEAF_MAX, "no page at {level:?}");
        let kind = if level == Level::Pte { VALID | TABLE } else { VALID };
        let joined = if leaf.joined { JOINED } else { 0 };
        Word::new(kind | joined | leaf.pfn.get() << PAGE & FRAME | bits(leaf.flags))
    }

    #[inline]
    fn table(table: Table) -> Word {
        Word::new(VALID | TABLE | table.pfn().get() << PAGE & FRAME)
    }

    #[inline]
    fn is_mappable(addr: Vaddr) -> bool {
        // Two roots: one for addresses that begin with zeros, one for those that begin with ones.
        let above = addr.get() >> 48;
        above == 0 || above == 0xffff
    }
}

/// A page is dirty if the processor saw a write, or if somebody took the right to write away and noted it.
#[inline]
fn flags(raw: u64) -> LeafFlags {
    let mut flags = LeafFlags::empty();
    let written = raw & WRITE != 0 && raw & READ_ONLY == 0;
    flags.set(LeafFlags::WRITE, raw & WRITE != 0);
    flags.set(LeafFlags::DIRTY, written || raw & DIRTY != 0);
    flags.set(LeafFlags::USER, raw & FOR_PROGRAMS != 0);
    flags.set(LeafFlags::UNCACHED, raw & DEVICE != 0);
    flags.set(LeafFlags::ACCESSED, raw & ACCESSED != 0);
    flags.set(LeafFlags::GLOBAL, raw & NOT_GLOBAL == 0);
    flags.set(LeafFlags::UFFD_WP, raw & UFFD_WP != 0);
    let never = if raw & FOR_PROGRAMS == 0 { KERNEL_NEVER_EXECUTES } else { PROGRAMS_NEVER_EXECUTE };
    flags.set(LeafFlags::NO_EXECUTE, raw & never != 0);
    flags
}

/// The kernel never executes what programs may use, nor they what is the kernel's.
#[inline]
fn bits(flags: LeafFlags) -> u64 {
    let on = |flag, bits| if flags.contains(flag) { bits } else { 0 };
    let off = |flag, bits| if flags.contains(flag) { 0 } else { bits };
    let (own, others) = match flags.contains(LeafFlags::USER) {
        true => (PROGRAMS_NEVER_EXECUTE, KERNEL_NEVER_EXECUTES),
        false => (KERNEL_NEVER_EXECUTES, PROGRAMS_NEVER_EXECUTE),
    };
    let read_only = match (flags.contains(LeafFlags::WRITE), flags.contains(LeafFlags::DIRTY)) {
        (true, true) => 0,
        (true, false) => READ_ONLY,
        (false, true) => READ_ONLY | DIRTY,
        (false, false) => READ_ONLY,
    };
    read_only
        | others
        | on(LeafFlags::WRITE, WRITE)
        | on(LeafFlags::USER, FOR_PROGRAMS)
        | on(LeafFlags::UNCACHED, DEVICE)
        | off(LeafFlags::UNCACHED, INNER_SHAREABLE)
        | on(LeafFlags::ACCESSED, ACCESSED)
        | off(LeafFlags::GLOBAL, NOT_GLOBAL)
        | on(LeafFlags::UFFD_WP, UFFD_WP)
        | on(LeafFlags::NO_EXECUTE, own)
}
