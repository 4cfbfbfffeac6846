//! Tables on the heap in which little is in use.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;

use units::{PageCount, Pfn};

use crate::arch::Arch;
use crate::entry::Word;
use crate::level::Level;
use crate::memory::{Section, Slot, Table, TableMemory};

/// Tables of one architecture on the heap, for one owner, that take memory only where something is in them. The first few entries, whatever tables they
/// are in, are a short list; with more, a table is a list of lines, and lines of nothing are all the same one. What is full costs a little more than in
/// [`HeapTables`](crate::HeapTables), and what is almost empty is had at once.
#[derive(Clone, Debug)]
pub struct SparseTables<A> {
    few: Few,
    /// Once there were too many for a list.
    many: Option<Box<Lines<A>>>,
    /// Tables in trees, by level.
    linked: [u32; 5],
}

/// How many entries a list has.
const FEW: usize = 8;

/// How many tables they are in.
const FEW_TABLES: u8 = 7;

/// All entries that are not nothing, in the order in which they came.
#[derive(Clone, Debug)]
struct Few {
    words: [u64; FEW],
    /// Their places, four in each number, so that one look compares four.
    places: [u64; FEW / 4],
    len: u8,
    tables: u8,
}

impl Few {
    const NONE: Self = Self { words: [0; FEW], places: [u64::MAX; FEW / 4], len: 0, tables: 0 };

    /// The place of no entry: it would be in a table more than a list has.
    const NOWHERE: u16 = u16::MAX;

    /// One in each of four places.
    const ONES: u64 = 0x0001_0001_0001_0001;

    /// log2 of the entries of the largest tables that there are.
    const INDEX_BITS: u8 = 13;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are few tables, and an index has at most 13 bits")]
    fn place(slot: Slot) -> u16 {
        (slot.table.pfn().get() as u16) << Self::INDEX_BITS | slot.index
    }

    fn slot(place: u16) -> Slot {
        let table = Table::new(Pfn::new(u64::from(place >> Self::INDEX_BITS)));
        Slot { table, index: place & ((1 << Self::INDEX_BITS) - 1) }
    }

    #[inline]
    fn find(&self, slot: Slot) -> Option<usize> {
        let wanted = u64::from(Self::place(slot)) * Self::ONES;
        // The lowest 16 bits that become nothing are the only ones below which nothing is borrowed.
        let equal = |four: &u64| {
            let differ = four ^ wanted;
            differ.wrapping_sub(Self::ONES) & !differ & (Self::ONES << 15)
        };
        let [low, high] = [equal(&self.places[0]), equal(&self.places[1])];
        match (low, high) {
            (0, 0) => None,
            (0, high) => Some(4 + high.trailing_zeros() as usize / 16),
            (low, _) => Some(low.trailing_zeros() as usize / 16),
        }
    }

    #[inline]
    fn put_place(&mut self, at: usize, place: u16) {
        let shift = at % 4 * 16;
        let four = &mut self.places[at / 4];
        *four = *four & !(0xffff << shift) | u64::from(place) << shift;
    }

    #[expect(clippy::cast_possible_truncation, reason = "one of four places of 16 bits")]
    const fn place_at(&self, at: usize) -> u16 {
        (self.places[at / 4] >> (at % 4 * 16)) as u16
    }

    #[inline]
    fn get(&self, slot: Slot) -> u64 {
        self.find(slot).map_or(0, |at| self.words[at])
    }

    /// Writes an entry; nothing, if that is one too many.
    #[inline]
    fn set(&mut self, slot: Slot, word: u64) -> Option<()> {
        match self.find(slot) {
            Some(at) if word == 0 => self.remove(at),
            Some(at) => self.words[at] = word,
            None if word == 0 => {}
            None => {
                let at = usize::from(self.len);
                *self.words.get_mut(at)? = word;
                self.put_place(at, Self::place(slot));
                self.len += 1;
            }
        }
        Some(())
    }

    fn remove(&mut self, at: usize) {
        self.len -= 1;
        let last = usize::from(self.len);
        self.put_place(at, self.place_at(last));
        self.words[at] = self.words[last];
        self.put_place(last, Self::NOWHERE);
    }

    fn alloc_table(&mut self) -> Option<Table> {
        let table = self.tables;
        if table == FEW_TABLES {
            return None;
        }
        self.tables += 1;
        Some(Table::new(Pfn::new(table.into())))
    }
}

/// Tables in lines.
#[derive(Clone, Debug)]
struct Lines<A> {
    /// The lines of each table.
    places: Vec<u32>,
    /// The first one is nothing, and stays so.
    lines: Vec<[u64; LINE]>,
    free_lines: Vec<u32>,
    free: Vec<Table>,
    arch: PhantomData<A>,
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
        Self { few: Few::NONE, many: None, linked: [0; 5] }
    }

    /// How many tables of that level are in trees.
    #[doc(alias("mm_pgtables_bytes", "nr_ptes", "nr_pmds"))]
    #[must_use]
    pub const fn linked_tables(&self, level: Level) -> PageCount {
        PageCount::new(self.linked[level.index()] as u64)
    }

    /// How many tables were handed out and not given back.
    #[must_use]
    pub fn used(&self) -> PageCount {
        match &self.many {
            None => PageCount::new(self.few.tables.into()),
            Some(many) => many.used(),
        }
    }

    /// The list as lines, from now on.
    #[cold]
    fn spread(&mut self) -> &mut Lines<A> {
        let few = &self.few;
        self.many.get_or_insert_with(|| Box::new(Lines::of(few)))
    }

    #[inline]
    fn lines(&mut self) -> &mut Lines<A> {
        match self.many {
            Some(ref mut many) => many,
            None => self.spread(),
        }
    }
}

impl<A: Arch> Lines<A> {
    fn of(few: &Few) -> Self {
        let (mut places, mut lines) = (Vec::new(), Vec::with_capacity(2 * FEW));
        places.resize(usize::from(few.tables) << Self::LINES_BITS, NOTHING);
        lines.push([0; LINE]);
        let mut all = Self { places, lines, free_lines: Vec::new(), free: Vec::new(), arch: PhantomData };
        for at in 0..usize::from(few.len) {
            *all.word(Few::slot(few.place_at(at))) = few.words[at];
        }
        all
    }

    fn used(&self) -> PageCount {
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

    fn alloc_table(&mut self) -> Table {
        if let Some(table) = self.free.pop() {
            return table;
        }
        let table = Table::new(Pfn::new((self.places.len() >> Self::LINES_BITS) as u64));
        self.places.resize(self.places.len() + (1 << Self::LINES_BITS), NOTHING);
        table
    }

    fn free_table(&mut self, table: Table) {
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
    fn load(&self, slot: Slot) -> u64 {
        let line = self.places[Self::place(slot)];
        self.lines[line as usize][Self::in_line(slot)]
    }

    #[inline]
    fn store(&mut self, slot: Slot, word: u64) {
        if word != 0 || self.places[Self::place(slot)] != NOTHING {
            *self.word(slot) = word;
        }
    }
}

impl<A: Arch> TableMemory for SparseTables<A> {
    #[inline]
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        if self.many.is_none()
            && let Some(table) = self.few.alloc_table()
        {
            return Some(table);
        }
        Some(self.lines().alloc_table())
    }

    fn free_table(&mut self, table: Table, _: Level) {
        self.lines().free_table(table);
    }

    #[inline]
    fn load(&self, slot: Slot) -> Word {
        Word::new(match &self.many {
            None => self.few.get(slot),
            Some(many) => many.load(slot),
        })
    }

    #[inline]
    fn store(&mut self, slot: Slot, word: Word) {
        let word = word.get();
        if self.many.is_some() || self.few.set(slot, word).is_none() {
            self.lines().store(slot, word);
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
