//! Everything counted again from the root.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use units::{PageCount, Vaddr};

use crate::arch::Arch;
use crate::entry::{Entry, Leaf};
use crate::flush::pages;
use crate::level::{Grain, Level};
use crate::memory::{Slot, Table, TableMemory};
use crate::start::Start;
use crate::walk::{PageTables, below, continues};

/// What a tree of tables holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tables, by level.
    pub tables: [u64; 5],
    /// Single pages, by level.
    pub leaves: [u64; 5],
    /// Groups of joined entries, by level.
    pub groups: [u64; 5],
    /// What is neither page, table nor nothing.
    pub others: u64,
    /// Base pages that are mapped.
    pub pages: PageCount,
}

impl<A: Arch, S: Start> PageTables<A, S> {
    /// Counts everything, and looks that each table is in the tree once, that pages begin where pages of their size can begin, and that
    /// groups are whole and of one kind.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate<M: TableMemory>(&self, mem: &M) -> Result<Tally, String> {
        let mut recount = Recount { seen: BTreeSet::new(), tally: Tally::default() };
        recount.table::<A, M>(mem, self.root(), self.level(), Vaddr::new(0))?;
        Ok(recount.tally)
    }
}

struct Recount {
    seen: BTreeSet<Table>,
    tally: Tally,
}

impl Recount {
    fn table<A: Arch, M: TableMemory>(
        &mut self,
        mem: &M,
        table: Table,
        level: Level,
        start: Vaddr,
    ) -> Result<(), String> {
        if !self.seen.insert(table) {
            return Err(format!("{table} is in the tree twice, the second time at {start}"));
        }
        self.tally.tables[level.index()] += 1;
        for index in 0..A::entries(level) {
            let addr = Vaddr::new(start.get() + (u64::from(index) << A::shift(level)));
            match A::decode(level, mem.load(Slot { table, index })) {
                Entry::None => {}
                Entry::Table(next) => self.table::<A, M>(mem, next, below(level), addr)?,
                Entry::Leaf(leaf) => self.leaf::<A, M>(mem, Slot { table, index }, level, (addr, leaf))?,
                _ => self.tally.others += 1,
            }
        }
        Ok(())
    }

    fn leaf<A: Arch, M: TableMemory>(
        &mut self,
        mem: &M,
        slot: Slot,
        level: Level,
        (addr, leaf): (Vaddr, Leaf),
    ) -> Result<(), String> {
        let size = pages::<A>(Grain::single::<A>(level).size());
        self.tally.pages += size;
        if leaf.pfn.get() & (size.get() - 1) != 0 {
            return Err(format!("the page at {addr} begins at {}", leaf.pfn));
        }
        if !leaf.joined {
            self.tally.leaves[level.index()] += 1;
            return Ok(());
        }
        let Some(group) = Grain::joined::<A>(level) else { return Err(format!("a joined entry at {addr}")) };
        let within = slot.index & (group.entries::<A>() - 1);
        self.tally.groups[level.index()] += u64::from(within == 0);
        let first = Slot { index: slot.index - within, ..slot };
        let Entry::Leaf(whole) = A::decode(level, mem.load(first)) else {
            return Err(format!("the group of {addr} has no first entry"));
        };
        let aligned = whole.pfn.get() & (pages::<A>(group.size()).get() - 1) == 0;
        // Each entry looks at the first one, and the first one counts the others.
        let complete = within > 0
            || (0..group.entries::<A>()).all(|n| {
                matches!(A::decode(level, mem.load(first.offset(n))), Entry::Leaf(part) if continues::<A>(level, whole, part, n))
            });
        let belongs = whole.joined && aligned && complete && continues::<A>(level, whole, leaf, within);
        if belongs { Ok(()) } else { Err(format!("the entry at {addr} is no part of a group of {group}")) }
    }
}
