//! An architecture small enough to try everything: three levels of `1 << BITS` entries, perhaps with pairs of joined ones.

use paging::arch::X86_64;
use paging::{Arch, Entry, Leaf, LeafFlags, Level, Table, Word};
use units::{PageShift, Pfn, Vaddr};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Toy<const BITS: u8, const JOINED: bool> {}

const PRESENT: u64 = 1 << 0;
const TABLE: u64 = 1 << 2;
const JOIN: u64 = 1 << 3;
const WRITE: u64 = 1 << 4;
const DIRTY: u64 = 1 << 5;

impl<const BITS: u8, const JOINED: bool> Arch for Toy<BITS, JOINED> {
    const NAME: &'static str = "toy";
    const PAGE: PageShift = PageShift::K4;
    const TOP: Level = Level::Pud;
    const TOP_BITS: u8 = BITS;
    const INDEX_BITS: u8 = BITS;
    const LEAF_MAX: Level = Level::Pud;
    const PHYS_BITS: u8 = 40;
    const BREAK_FIRST: bool = JOINED;
    const WHICH: u64 = PRESENT | TABLE | JOIN | !0xfff;
    const UNTOLD: u64 = 0;

    fn joined_shift(level: Level) -> Option<u8> {
        (JOINED && level < Level::Pud).then(|| Self::shift(level) + 1)
    }

    fn decode(level: Level, word: Word) -> Entry {
        let raw = word.get();
        let pfn = Pfn::new(raw >> 12);
        let mut flags = LeafFlags::empty();
        flags.set(LeafFlags::WRITE, raw & WRITE != 0);
        flags.set(LeafFlags::DIRTY, raw & DIRTY != 0);
        match (raw & PRESENT != 0, raw & TABLE != 0) {
            (false, _) => X86_64::decode(level, word),
            (true, true) => Entry::Table(Table::new(pfn)),
            (true, false) => Entry::Leaf(Leaf { pfn, flags, joined: raw & JOIN != 0 }),
        }
    }

    fn leaf(_: Level, leaf: Leaf) -> Word {
        let on = |is, bit| if is { bit } else { 0 };
        let flags = on(leaf.flags.contains(LeafFlags::WRITE), WRITE) | on(leaf.flags.contains(LeafFlags::DIRTY), DIRTY);
        Word::new(leaf.pfn.get() << 12 | PRESENT | flags | on(leaf.joined, JOIN))
    }

    fn table(table: Table) -> Word {
        Word::new(table.pfn().get() << 12 | PRESENT | TABLE)
    }

    fn is_mappable(addr: Vaddr) -> bool {
        addr.get() < Self::reach(Self::TOP).get()
    }
}
