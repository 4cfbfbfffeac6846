//! Three ways to read page tables that look right and are not. Each is here as somebody could write it, beside the room's own way, and the test
//! shows what the first does wrong.
#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

use std::cell::Cell;

use paging::arch::{Arm64K4, X86_64};
use paging::{
    Arch, Entry, Grain, HeapTables, Leaf, LeafFlags, Level, Migration, PageTables, Place, Section, Slot, StepRefusal,
    Table, TableMemory, Tables, Word, step, walk,
};
use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};

const ADDR: Vaddr = Vaddr::new(0x4000_0000);

fn grain<A: Arch>(size: Bytes) -> Grain {
    Grain::new::<A>(size).unwrap()
}

/// Tables in which somebody else changes one entry after it was read for the `after`th time.
struct Changing {
    tables: HeapTables<X86_64>,
    slot: Slot,
    after: Cell<u32>,
    to: Word,
}

impl TableMemory for Changing {
    fn alloc_table(&mut self, level: Level) -> Option<Table> {
        self.tables.alloc_table(level)
    }

    fn free_table(&mut self, table: Table, level: Level) {
        self.tables.free_table(table, level);
    }

    fn load(&self, slot: Slot) -> Word {
        if slot != self.slot {
            return self.tables.load(slot);
        }
        let left = self.after.get();
        self.after.set(left.saturating_sub(1));
        if left == 0 { self.to } else { self.tables.load(slot) }
    }

    fn store(&mut self, slot: Slot, word: Word) {
        self.tables.store(slot, word);
    }

    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        let now = self.load(slot);
        if now == old { self.tables.compare_exchange(slot, old, new) } else { Err(now) }
    }

    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }
}

/// A page of 1 GiB at [`ADDR`], which becomes `to` after one look.
fn changing(to: Entry) -> (Changing, PageTables<X86_64>) {
    let mut tables = HeapTables::new(PageCount::new(16));
    let root = PageTables::<X86_64>::new(&mut tables).unwrap();
    let leaf = Leaf::new(Pfn::new(0x4_0000), LeafFlags::WRITE);
    root.map(&mut tables, ADDR, grain::<X86_64>(Bytes::gib(1)), leaf).unwrap();
    let slot = root.find(&tables, ADDR).place.slot();
    let to = X86_64::encode(Level::Pud, to);
    (Changing { tables, slot, after: Cell::new(1), to }, root)
}

/// Reads an entry to see what it is, and again to see where it leads. Between the two the page was unmapped: it answers with frame 0, which
/// nobody ever mapped.
fn translate_with_a_second_load(mem: &Changing, place: Place) -> Option<Pfn> {
    let level = place.grain().level();
    let Entry::Leaf(_) = X86_64::decode(level, mem.load(place.slot())) else { return None };
    Some(Pfn::new(mem.load(place.slot()).get() >> 12))
}

#[test]
fn an_entry_is_loaded_once_and_decided_from() {
    let (mem, root) = changing(Entry::None);
    let found = root.find(&mem, ADDR);
    let Entry::Leaf(leaf) = found.entry else { panic!("{found:?}") };
    assert_eq!(leaf.pfn, Pfn::new(0x4_0000), "what was there when it was looked at, whole");
    assert_eq!(mem.after.get(), 0, "one load");

    let (mem, root) = changing(Entry::None);
    let place = root.huge_place(&mem, ADDR, grain::<X86_64>(Bytes::gib(1))).unwrap();
    assert_eq!(translate_with_a_second_load(&mem, place), Some(Pfn::new(0)), "the mutant makes a page of nothing");
}

#[test]
fn no_walk_loads_an_entry_twice() {
    // A page that becomes a table: whoever looked once has a page, whoever looks again has a table. No walk has half of each.
    let table = Table::new(Pfn::new(5));
    for tables in [Tables::AsTheyAre, Tables::Make] {
        let (mut mem, root) = changing(Entry::Table(table));
        let found = walk::<X86_64, _>(&mut mem, root.top(ADDR), ADDR, Grain::page::<X86_64>(), tables).unwrap();
        assert_eq!(found.place.grain().level(), Level::Pud, "{tables:?}");
        assert!(matches!(found.entry, Entry::Leaf(_)), "{tables:?}");
    }
    let (mem, root) = changing(Entry::Table(table));
    let seen: Vec<_> = root.over(&mem, VaddrRange::new(ADDR, ADDR + Bytes::gib(1))).collect();
    assert_eq!(seen.len(), 1);
    assert!(matches!(seen[0].1.entry, Entry::Leaf(_)));
}

/// Takes for a table what is not nothing.
fn step_where_not_none_is_a_table(mem: &HeapTables<X86_64>, place: Place) -> Result<Table, StepRefusal> {
    match mem.load(place.slot()) {
        Word::NONE => Err(StepRefusal::Bottom),
        word => Ok(Table::new(Pfn::new(word.get() >> 12))),
    }
}

#[test]
fn a_page_that_is_moving_is_no_table() {
    let mut mem = HeapTables::<X86_64>::new(PageCount::new(16));
    let root = PageTables::<X86_64>::new(&mut mem).unwrap();
    let (huge, page) = (grain::<X86_64>(Bytes::gib(1)), Grain::page::<X86_64>());
    let place = root.reach(&mut mem, ADDR, huge, None).unwrap().place;
    // It moves from a frame whose number a table could have.
    let moving = Entry::Migration(Migration { pfn: Pfn::new(1), writable: true });
    mem.store(place.slot(), X86_64::encode(Level::Pud, moving));
    let before = mem.load(place.slot());

    assert_eq!(step::<X86_64, _>(&mut mem, place, ADDR, page), Err(StepRefusal::Occupied(moving)));
    let stopped = root.reach(&mut mem, ADDR, huge, Some(page)).unwrap_err();
    assert_eq!((stopped.place, stopped.why), (place, StepRefusal::Occupied(moving)));
    assert_eq!(root.find(&mem, ADDR).entry, moving);
    assert_eq!(mem.load(place.slot()), before, "nothing was written over it");

    let followed = step_where_not_none_is_a_table(&mem, place);
    assert_eq!(followed, Ok(Table::new(Pfn::new(1))), "the mutant goes on in a page of somebody else");
}

/// Write-protects a group as large as the folio that is mapped.
fn protect_as_much_as_the_folio(mem: &mut HeapTables<Arm64K4>, first: Slot, folio: Bytes) -> Vec<u16> {
    let count = u16::try_from(folio.get() >> 12).unwrap();
    let mut changed = Vec::new();
    for n in 0..count {
        let slot = first.offset(n);
        if let Entry::Leaf(leaf) = Arm64K4::decode(Level::Pte, mem.load(slot)) {
            let flags = leaf.flags - LeafFlags::WRITE;
            mem.store(slot, Arm64K4::leaf(Level::Pte, Leaf { flags, joined: true, ..leaf }));
            changed.push(slot.index);
        }
    }
    changed
}

#[test]
fn a_group_is_as_large_as_its_level_says() {
    // A folio of 2 MiB, of which the second 64 KiB are mapped as a group and the third as single pages.
    let build = || {
        let mut mem = HeapTables::<Arm64K4>::new(PageCount::new(16));
        let root = PageTables::<Arm64K4>::new(&mut mem).unwrap();
        let group = grain::<Arm64K4>(Bytes::kib(64));
        let leaf = |n: u64| Leaf::new(Pfn::new(0x200 + n), LeafFlags::WRITE);
        root.map(&mut mem, ADDR + Bytes::kib(64), group, leaf(16)).unwrap();
        for n in 32..48 {
            root.map(&mut mem, ADDR + Bytes::kib(4 * n), Grain::page::<Arm64K4>(), leaf(n)).unwrap();
        }
        (mem, root)
    };
    let within = ADDR + Bytes::kib(100);
    let (mut mem, root) = build();
    let found = root.find(&mem, within);
    assert_eq!((found.place.grain().size(), found.place.slot().index), (Bytes::kib(64), 16));
    let Entry::Leaf(leaf) = found.entry else { panic!("{found:?}") };
    assert_eq!(leaf.pfn, Pfn::new(0x210), "the first frame of the group");

    let mut flushed = Vec::new();
    let range = VaddrRange::new(ADDR + Bytes::kib(64), ADDR + Bytes::kib(128));
    let done = root.protect(&mut mem, &mut |range| flushed.push(range), range, |f| f - LeafFlags::WRITE).unwrap();
    assert_eq!((done.pages, done.owed.range()), (PageCount::new(16), None));
    assert_eq!(flushed, [range], "one flush, of the whole group");
    root.validate(&mem).unwrap();

    let (mut mem, root) = build();
    let slot = root.find(&mem, within).place.slot();
    let changed = protect_as_much_as_the_folio(&mut mem, slot, Bytes::mib(2) - Bytes::kib(64));
    assert_eq!(changed.len(), 32, "the mutant changes the neighbours, which are no group");
    assert!(
        root.validate(&mem).is_err()
            || root.find(&mem, ADDR + Bytes::kib(128)).place.grain() != Grain::page::<Arm64K4>()
    );
}

/// What a processor notes in any entry of a group is said of the whole, and a group is cleared and flushed before it is written again.
#[test]
fn a_group_is_broken_before_it_is_made() {
    struct Watched {
        tables: HeapTables<Arm64K4>,
        log: Vec<&'static str>,
    }
    impl TableMemory for Watched {
        fn alloc_table(&mut self, level: Level) -> Option<Table> {
            self.tables.alloc_table(level)
        }
        fn free_table(&mut self, table: Table, level: Level) {
            self.tables.free_table(table, level);
        }
        fn load(&self, slot: Slot) -> Word {
            self.tables.load(slot)
        }
        fn store(&mut self, slot: Slot, word: Word) {
            self.log.push("make");
            self.tables.store(slot, word);
        }
        fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
            self.log.push(if new == Word::NONE { "break" } else { "change" });
            self.tables.compare_exchange(slot, old, new)
        }
        fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
            f(self)
        }
    }
    let mut mem = Watched { tables: HeapTables::new(PageCount::new(16)), log: Vec::new() };
    let root = PageTables::<Arm64K4>::new(&mut mem).unwrap();
    let leaf = Leaf::new(Pfn::new(0x10), LeafFlags::WRITE);
    root.map(&mut mem, ADDR, grain::<Arm64K4>(Bytes::kib(64)), leaf).unwrap();
    // The processor writes through the eighth entry.
    let slot = root.find(&mem, ADDR).place.slot().offset(7);
    let written = Leaf { joined: true, ..leaf.offset(PageCount::new(7)) };
    let written = Leaf { flags: leaf.flags | LeafFlags::DIRTY | LeafFlags::ACCESSED, ..written };
    mem.store(slot, Arm64K4::leaf(Level::Pte, written));
    mem.log.clear();

    let flushed_after = std::rc::Rc::new(Cell::new(0));
    let seen = flushed_after.clone();
    let range = VaddrRange::new(ADDR, ADDR + Bytes::kib(64));
    let mut flush = |flushed: VaddrRange| {
        assert_eq!(flushed, range);
        seen.set(seen.get() + 1);
    };
    let done = root.protect(&mut mem, &mut flush, range, |flags| flags - LeafFlags::WRITE).unwrap();
    done.owed.settle(&mut flush);
    assert_eq!(flushed_after.get(), 1);
    assert_eq!(mem.log, [["break"; 16], ["make"; 16]].concat());
    for n in 0..16 {
        let found = root.find(&mem, ADDR + Bytes::kib(4 * n));
        let Entry::Leaf(leaf) = found.entry else { panic!("{found:?}") };
        assert_eq!(leaf.flags, LeafFlags::DIRTY | LeafFlags::ACCESSED, "collected from all");
    }
}
