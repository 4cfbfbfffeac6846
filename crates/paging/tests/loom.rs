//! The order of loads and stores, every one that the memory model allows.
//!
//! Run with `cargo xtask ci loom`. Whoever finds a table finds what was written into it before, and of two who make one for the same place each
//! finds the same one.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

#[path = "toy/mod.rs"]
mod toy;

use loom::sync::{Arc, Mutex};
use loom::thread;
use paging::{
    Arch, Entry, Grain, Leaf, LeafFlags, Level, Marker, PageTables, Section, Slot, Table, TableMemory, Tables, Word,
    walk,
};
use sync::cells::Word64;
use toy::Toy;
use units::{Pfn, Vaddr};

type A = Toy<1, false>;

const TABLES: usize = 6;

/// Tables whose words loom watches.
struct Watched {
    words: Vec<Word64>,
    next: Mutex<Vec<Table>>,
    section: Mutex<()>,
    linked: Word64,
}

impl Watched {
    fn new() -> Self {
        let words = (0..2 * TABLES).map(|_| Word64::new(0)).collect();
        let free = (0..TABLES as u64).rev().map(|n| Table::new(Pfn::new(n))).collect();
        Self { words, next: Mutex::new(free), section: Mutex::new(()), linked: Word64::new(0) }
    }

    fn word(&self, slot: Slot) -> &Word64 {
        &self.words[usize::try_from(slot.table.pfn().get()).unwrap() * 2 + usize::from(slot.index)]
    }
}

impl TableMemory for &Watched {
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        self.next.lock().unwrap().pop()
    }

    fn free_table(&mut self, table: Table, _: Level) {
        // What was written into it and not seen by anybody goes.
        (0..2).for_each(|index| self.word(Slot { table, index }).store(0));
        self.next.lock().unwrap().push(table);
    }

    fn load(&self, slot: Slot) -> Word {
        Word::new(self.word(slot).load())
    }

    fn store(&mut self, slot: Slot, word: Word) {
        self.word(slot).store(word.get());
    }

    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        self.word(slot).compare_exchange(old.get(), new.get()).map_err(Word::new)
    }

    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        let shared = *self;
        let _held = shared.section.lock().unwrap();
        f(self)
    }

    fn linked(&mut self, _: Level) {
        self.linked.add(1);
    }
}

fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

/// A note becomes a table of notes while somebody looks: he finds the note or the table, and in the table never an entry that says nothing.
#[test]
fn whoever_finds_a_table_finds_what_is_in_it() {
    explore(|| {
        let mem = Arc::new(Watched::new());
        let tables = PageTables::<A>::new(&mut &*mem).unwrap();
        let note = Entry::Marker(Marker::UFFD_WP);
        (&mut &*mem).store(Slot { table: tables.root(), index: 0 }, A::encode(Level::Pud, note));
        let other = mem.clone();
        // The reader is the one that is spawned: loom looks for other orders at the last access alone, and a maker reads before it writes.
        let reader = thread::spawn(move || tables.find(&&*other, Vaddr::new(0x2000)).entry);
        let top = tables.top(Vaddr::new(0));
        walk::<A, _>(&mut &*mem, top, Vaddr::new(0), Grain::single::<A>(Level::Pmd), Tables::Make).unwrap();
        assert_eq!(reader.join().unwrap(), note);
        let found = tables.find(&&*mem, Vaddr::new(0x2000));
        assert_eq!((found.entry, found.place.grain().level()), (note, Level::Pmd));
    });
}

/// Two pages under one table that neither finds there: both are mapped, and one table of each level is counted.
#[test]
fn of_two_who_make_a_table_one_wins() {
    explore(|| {
        let mem = Arc::new(Watched::new());
        let tables = PageTables::<A>::new(&mut &*mem).unwrap();
        let leaf = |n: u64| Leaf::new(Pfn::new(0x10 + n), LeafFlags::empty());
        let map = move |mem: &Watched, n: u64| {
            tables.map(&mut &*mem, Vaddr::new(n << 13), Grain::single::<A>(Level::Pmd), leaf(2 * n)).unwrap();
        };
        let other = mem.clone();
        let one = thread::spawn(move || map(&other, 0));
        map(&mem, 1);
        one.join().unwrap();
        for n in 0..2 {
            assert_eq!(tables.find(&&*mem, Vaddr::new(n << 13)).entry, Entry::Leaf(leaf(2 * n)));
        }
        assert_eq!(mem.linked.load(), 2);
        assert_eq!(mem.next.lock().unwrap().len(), TABLES - 2, "the loser's table went back");
    });
}
