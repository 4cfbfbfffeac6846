//! Tables on the heap in which little is in use.

use alloc::vec::Vec;

use units::{PageCount, Pfn};

use crate::arch::Arch;
use crate::entry::Word;
use crate::level::Level;
use crate::memory::{Section, Slot, Table, TableMemory};

/// Tables of one architecture on the heap, for one owner, that take memory only where something is in them: a table is a list of lines, and lines
/// of nothing are all the same one. What is full costs a little more than in [`HeapTables`](crate::HeapTables), and what is almost empty is had
/// at once.
#[derive(Clone, Debug)]
pub struct SparseTables<A> {
    /// The lines of each table.
    places: Vec<u32>,
    /// The first one is nothing, and stays so.
    lines: Vec<[u64; LINE]>,
    free_lines: Vec<u32>,
    free: Vec<Table>,
    /// Tables in trees, by level.
    linked: [u64; 5],
    arch: core::marker::PhantomData<A>,
}

const LINE_BITS: u8 = 4;
const LINE: usize = 1 << LINE_BITS;

/// The line of nothing.
const NOTHING: u32 = 0;

impl<A: Arch> Default for SparseTables<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Arch> SparseTables<A> {
    /// No table yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            places: Vec::new(),
            lines: Vec::new(),
            free_lines: Vec::new(),
            free: Vec::new(),
            linked: [0; 5],
            arch: core::marker::PhantomData,
        }
    }

    /// How many tables of that level are in trees.
    #[doc(alias("mm_pgtables_bytes", "nr_ptes", "nr_pmds"))]
    #[must_use]
    pub const fn linked_tables(&self, level: Level) -> PageCount {
        PageCount::new(self.linked[level.index()])
    }

    /// How many tables were handed out and not given back.
    #[must_use]
    pub fn used(&self) -> PageCount {
        PageCount::new((self.places.len() >> Self::LINES_BITS) as u64 - self.free.len() as u64)
    }

    /// log2 of the lines of a table.
    const LINES_BITS: u8 = A::INDEX_BITS - LINE_BITS;

    /// Where the line of an entry is written down.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the frame of a table that is on the heap")]
    fn place(slot: Slot) -> usize {
        (slot.table.pfn().get() as usize) << Self::LINES_BITS | usize::from(slot.index >> LINE_BITS)
    }

    #[inline]
    fn in_line(slot: Slot) -> usize {
        usize::from(slot.index) & (LINE - 1)
    }

    /// The word of an entry; its line is made if that was nothing.
    #[inline]
    fn word(&mut self, slot: Slot) -> &mut u64 {
        let place = Self::place(slot);
        if self.places[place] == NOTHING {
            self.places[place] = self.new_line();
        }
        &mut self.lines[self.places[place] as usize][Self::in_line(slot)]
    }

    fn new_line(&mut self) -> u32 {
        if let Some(line) = self.free_lines.pop() {
            self.lines[line as usize] = [0; LINE];
            return line;
        }
        let line = u32::try_from(self.lines.len()).expect("tables of that size have fewer lines");
        self.lines.push([0; LINE]);
        line
    }
}

impl<A: Arch> TableMemory for SparseTables<A> {
    fn alloc_table(&mut self, level: Level) -> Option<Table> {
        if let Some(table) = self.free.pop() {
            return Some(table);
        }
        let lines = 1 << Self::LINES_BITS;
        if self.lines.is_empty() {
            // The way to one base page, at once.
            self.lines.reserve(2 + level.index());
            self.lines.push([0; LINE]);
            self.places.reserve(lines * (1 + level.index()));
        }
        let table = Table::new(Pfn::new((self.places.len() >> Self::LINES_BITS) as u64));
        self.places.resize(self.places.len() + lines, NOTHING);
        Some(table)
    }

    fn free_table(&mut self, table: Table, _: Level) {
        debug_assert!(!self.free.contains(&table), "{table} is given back twice");
        let first = Self::place(Slot { table, index: 0 });
        for line in &mut self.places[first..first + (1 << Self::LINES_BITS)] {
            if *line != NOTHING {
                self.free_lines.push(core::mem::replace(line, NOTHING));
            }
        }
        self.free.push(table);
    }

    #[inline]
    fn load(&self, slot: Slot) -> Word {
        let line = self.places[Self::place(slot)];
        Word::new(self.lines[line as usize][Self::in_line(slot)])
    }

    #[inline]
    fn store(&mut self, slot: Slot, word: Word) {
        if word != Word::NONE || self.places[Self::place(slot)] != NOTHING {
            *self.word(slot) = word.get();
        }
    }

    #[inline]
    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        let there = self.load(slot);
        if there != old {
            return Err(there);
        }
        self.store(slot, new);
        Ok(())
    }

    #[inline]
    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }

    #[inline]
    fn linked(&mut self, level: Level) {
        self.linked[level.index()] += 1;
    }

    #[inline]
    fn unlinked(&mut self, level: Level) {
        self.linked[level.index()] -= 1;
    }
}
