//! Tables in a guest's memory.

use std::rc::Rc;

use paging::{Level, Section, Slot, Table, TableMemory, Word};
use units::Pfn;

use crate::guest::{DATA, TABLES};
use crate::ram::Ram;

pub(crate) struct GuestTables {
    ram: Rc<Ram>,
    next: u64,
    free: Vec<Table>,
    pub(crate) linked: [u64; 5],
}

impl GuestTables {
    pub(crate) fn new(ram: Rc<Ram>) -> Self {
        Self { ram, next: TABLES, free: Vec::new(), linked: [0; 5] }
    }

    fn at(slot: Slot) -> u64 {
        slot.table.pfn().get() << 12 | u64::from(slot.index) << 3
    }
}

impl TableMemory for GuestTables {
    fn alloc_table(&mut self, _: Level) -> Option<Table> {
        let table = self.free.pop().or_else(|| {
            let table = Table::new(Pfn::new(self.next >> 12));
            (self.next < DATA).then(|| self.next += 4096).map(|()| table)
        })?;
        (0..512).for_each(|index| self.store(Slot { table, index }, Word::NONE));
        Some(table)
    }

    fn free_table(&mut self, table: Table, _: Level) {
        self.free.push(table);
    }

    fn load(&self, slot: Slot) -> Word {
        Word::new(self.ram.load(Self::at(slot)))
    }

    fn store(&mut self, slot: Slot, word: Word) {
        self.ram.store(Self::at(slot), word.get());
    }

    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        self.ram.compare_exchange(Self::at(slot), old.get(), new.get()).map_err(Word::new)
    }

    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }

    fn linked(&mut self, level: Level) {
        self.linked[level.index()] += 1;
    }

    fn unlinked(&mut self, level: Level) {
        self.linked[level.index()] -= 1;
    }
}
