//! Where tables are, and who guards them: declared here, known to whoever has the memory.

use core::fmt;

use units::{Pfn, VaddrRange};

use crate::entry::Word;
use crate::level::Level;

/// A table: the frame that it fills, in base pages of its architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(Pfn);

impl Table {
    /// The table in that frame.
    #[inline]
    #[must_use]
    pub const fn new(pfn: Pfn) -> Self {
        Self(pfn)
    }

    /// Its frame.
    #[inline]
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table at {}", self.0)
    }
}

/// The place of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The table that holds it.
    pub table: Table,
    /// Which of its entries it is.
    pub index: u16,
}

impl Slot {
    /// The entry `n` further on in the same table.
    #[inline]
    #[must_use]
    pub const fn offset(self, n: u16) -> Self {
        Self { index: self.index + n, ..self }
    }
}

/// What guards an entry. Entries of the two lowest levels have a section for each table, those above share one of the whole address space.
#[doc(alias("pte_lockptr", "pmd_lockptr", "hugetlb_pte_lockptr", "page_table_lock"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// All tables of the higher levels.
    Space,
    /// One table.
    Table(Table),
}

/// Memory that holds tables: the heap, a guest's memory, or the frames of a machine.
///
/// Others, and the processor itself, change entries at any time. So [`load`](Self::load) reads all bits of an entry at once, and whoever
/// decides something decides it from what one load said. What a processor may be changing is changed by
/// [`compare_exchange`](Self::compare_exchange) alone.
pub trait TableMemory {
    /// A table of nothing, or none where memory is lacking.
    #[doc(alias("pte_alloc_one", "pmd_alloc_one"))]
    fn alloc_table(&mut self, level: Level) -> Option<Table>;

    /// Gives a table back that nothing leads to, once every processor has forgotten it.
    fn free_table(&mut self, table: Table, level: Level);

    /// Reads an entry, once and whole.
    #[doc(alias("READ_ONCE", "ptep_get"))]
    fn load(&self, slot: Slot) -> Word;

    /// Writes an entry that nobody else can change at the same time: one of nothing, in its section, or one of a table that nobody knows yet.
    /// Whoever reads it sees what was written before.
    fn store(&mut self, slot: Slot, word: Word);

    /// Writes `new` if `old` is what is there.
    ///
    /// # Errors
    /// What is there instead.
    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word>;

    /// Writes `new`; what was there until then.
    #[doc(alias = "ptep_get_and_clear")]
    #[inline]
    fn exchange(&mut self, slot: Slot, new: Word) -> Word {
        let mut old = self.load(slot);
        while let Err(other) = self.compare_exchange(slot, old, new) {
            old = other;
        }
        old
    }

    /// Reads entries side by side, each once, as long as `f` wants more; how many it liked.
    #[inline]
    fn load_run(&self, first: Slot, count: u16, mut f: impl FnMut(Word) -> bool) -> u16
    where
        Self: Sized,
    {
        (0..count).find(|&n| !f(self.load(first.offset(n)))).unwrap_or(count)
    }

    /// Writes `word`, `word + step` and so on into entries side by side, until one is not nothing; how many. The entries belong to a section that
    /// the caller is in.
    #[inline]
    fn store_run(&mut self, first: Slot, count: u16, word: Word, step: Word) -> u16 {
        let mut word = word;
        for n in 0..count {
            if self.load(first.offset(n)) != Word::NONE {
                return n;
            }
            self.store(first.offset(n), word);
            word = Word::new(word.get().wrapping_add(step.get()));
        }
        count
    }

    /// Keeps everybody else from changing the entries that it guards. Sections do not nest.
    fn section<R>(&mut self, section: Section, f: impl FnOnce(&mut Self) -> R) -> R
    where
        Self: Sized;

    /// A table is part of the tree from now on. Of several who bring one for the same place, one is told this.
    #[doc(alias("mm_inc_nr_ptes", "mm_inc_nr_pmds"))]
    #[inline]
    fn linked(&mut self, level: Level) {
        let _ = level;
    }

    /// A table is part of the tree no more.
    #[doc(alias("mm_dec_nr_ptes", "mm_dec_nr_pmds"))]
    #[inline]
    fn unlinked(&mut self, level: Level) {
        let _ = level;
    }
}

/// Whoever makes processors forget what they remember of entries.
pub trait Tlb {
    /// Forgets the entries over `range` and the tables that led to them. When it returns, no processor uses them.
    #[doc(alias("flush_tlb_range", "tlb_flush"))]
    fn flush(&mut self, range: VaddrRange);
}

impl<F: FnMut(VaddrRange)> Tlb for F {
    fn flush(&mut self, range: VaddrRange) {
        self(range);
    }
}
