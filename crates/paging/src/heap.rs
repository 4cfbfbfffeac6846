//! Tables on the heap, for one owner.

use alloc::vec::Vec;

use units::{PageCount, Pfn};

use crate::arch::Arch;
use crate::entry::Word;
use crate::level::Level;
use crate::memory::{Section, Slot, Table, TableMemory};

/// Tables of one architecture on the heap, in frames from a first one on that mean nothing to anybody else. Who has them has them alone, so
/// there is nothing to guard.
#[derive(Clone, Debug)]
pub struct HeapTables<A> {
    words: Vec<u64>,
    free: Vec<Table>,
    /// How many tables there may be.
    max: PageCount,
    /// Tables in trees, by level.
    linked: [u64; 5],
    arch: core::marker::PhantomData<A>,
}

/// Tables are cleared in pieces that fit into a few of the widest stores.
const PIECE: usize = 64;

impl<A: Arch> HeapTables<A> {
    /// Room for so many tables at most.
    #[must_use]
    pub const fn new(max: PageCount) -> Self {
        Self { words: Vec::new(), free: Vec::new(), max, linked: [0; 5], arch: core::marker::PhantomData }
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
        PageCount::new(self.made() - self.free.len() as u64)
    }

    fn made(&self) -> u64 {
        (self.words.len() >> A::INDEX_BITS) as u64
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the frame of a table that is on the heap")]
    fn at(slot: Slot) -> usize {
        (slot.table.pfn().get() as usize) << A::INDEX_BITS | usize::from(slot.index)
    }
}

impl<A: Arch> TableMemory for HeapTables<A> {
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        if let Some(table) = self.free.pop() {
            let at = Self::at(Slot { table, index: 0 });
            self.words[at..at + (1 << A::INDEX_BITS)].chunks_mut(PIECE).for_each(|piece| piece.fill(0));
            return Some(table);
        }
        let table = Table::new(Pfn::new(self.made()));
        let made = self.made() < self.max.get();
        made.then(|| {
            if self.words.is_empty() {
                // The way to one page, at once.
                self.words.reserve((A::TOP.index() + 1) << A::INDEX_BITS);
            }
            let end = self.words.len() + (1 << A::INDEX_BITS);
            while self.words.len() < end {
                self.words.extend_from_slice(&[0; PIECE][..PIECE.min(end - self.words.len())]);
            }
            table
        })
    }

    fn free_table(&mut self, table: Table, _: Level) {
        debug_assert!(!self.free.contains(&table), "{table} is given back twice");
        self.free.push(table);
    }

    #[inline]
    fn load(&self, slot: Slot) -> Word {
        Word::new(self.words[Self::at(slot)])
    }

    #[inline]
    fn store(&mut self, slot: Slot, word: Word) {
        self.words[Self::at(slot)] = word.get();
    }

    #[inline]
    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        let at = &mut self.words[Self::at(slot)];
        if *at != old.get() {
            return Err(Word::new(*at));
        }
        *at = new.get();
        Ok(())
    }

    #[inline]
    fn exchange(&mut self, slot: Slot, new: Word) -> Word {
        Word::new(core::mem::replace(&mut self.words[Self::at(slot)], new.get()))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most `count`")]
    fn load_run(&self, first: Slot, count: u16, mut f: impl FnMut(Word) -> bool) -> u16 {
        let at = Self::at(first);
        let words = &self.words[at..at + usize::from(count)];
        words.iter().position(|&word| !f(Word::new(word))).map_or(count, |n| n as u16)
    }

    #[inline]
    fn store_run(&mut self, first: Slot, count: u16, word: Word, step: Word) -> u16 {
        let at = Self::at(first);
        let mut word = word.get();
        for (n, entry) in (0..).zip(&mut self.words[at..at + usize::from(count)]) {
            if *entry != 0 {
                return n;
            }
            *entry = word;
            word = word.wrapping_add(step.get());
        }
        count
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
