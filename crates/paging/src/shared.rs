//! Tables on the heap that threads share.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;

use sync::Rank;
use sync::cells::Word64;
use sync::locks::Section as Lock;
use units::{PageCount, Pfn};

use crate::arch::Arch;
use crate::entry::Word;
use crate::level::Level;
use crate::memory::{Section, Slot, Table, TableMemory};

/// Tables of one architecture on the heap that any number of threads walk and change: `&SharedTables` is the [`TableMemory`]. All the room
/// there will be is taken at once.
#[derive(Debug)]
pub struct SharedTables<A> {
    words: Box<[Word64]>,
    free: Lock<Vec<Table>>,
    /// The first guards the higher levels, the others one table each.
    sections: Box<[Lock<()>]>,
    linked: [Word64; 5],
    arch: PhantomData<A>,
}

/// Behind every scope. Sections do not nest, and the list of free tables is looked at outside of all of them.
const RANK: Rank = Rank(u8::MAX, 0);

impl<A: Arch> SharedTables<A> {
    /// Room for so many tables.
    #[must_use]
    pub fn new(tables: PageCount) -> Self {
        let words = (0..tables.get() << A::INDEX_BITS).map(|_| Word64::new(0)).collect();
        let free = (0..tables.get()).rev().map(|n| Table::new(Pfn::new(n))).collect();
        let sections = (0..=tables.get()).map(|_| Lock::new(RANK, ())).collect();
        let linked = core::array::from_fn(|_| Word64::new(0));
        Self { words, free: Lock::new(RANK, free), sections, linked, arch: PhantomData }
    }

    /// How many tables of that level are in trees.
    #[must_use]
    pub fn linked_tables(&self, level: Level) -> PageCount {
        PageCount::new(self.linked[level.index()].load())
    }

    /// How many tables were handed out and not given back.
    #[must_use]
    pub fn used(&self) -> PageCount {
        let free = self.free.with(|free| free.len());
        PageCount::new((self.sections.len() - 1 - free) as u64)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the frame of a table that is on the heap")]
    fn word(&self, slot: Slot) -> &Word64 {
        &self.words[(slot.table.pfn().get() as usize) << A::INDEX_BITS | usize::from(slot.index)]
    }
}

impl<A: Arch> TableMemory for &SharedTables<A> {
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        let table = self.free.with(Vec::pop)?;
        (0..1 << A::INDEX_BITS).for_each(|index| self.word(Slot { table, index }).store(0));
        Some(table)
    }

    fn free_table(&mut self, table: Table, _: Level) {
        self.free.with(|free| free.push(table));
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

    fn section<R>(&mut self, section: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        let lock = match section {
            Section::Space => 0,
            Section::Table(table) => usize::try_from(table.pfn().get()).map_or(0, |n| n + 1),
        };
        let shared = *self;
        shared.sections[lock].with(|()| f(self))
    }

    fn linked(&mut self, level: Level) {
        self.linked[level.index()].add(1);
    }

    fn unlinked(&mut self, level: Level) {
        self.linked[level.index()].sub(1);
    }
}
