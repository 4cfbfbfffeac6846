//! The same memory, mapped finer or coarser.

use alloc::vec::Vec;

use units::{PageCount, Vaddr};

use crate::arch::Arch;
use crate::entry::{Entry, Leaf, LeafFlags, Marker, Word};
use crate::flush::{FlushOwed, pages};
use crate::level::{Grain, Level};
use crate::map::{put, take};
use crate::memory::{Slot, Table, TableMemory, Tlb};
use crate::start::Start;
use crate::walk::{Found, NoTableYet, PageTables, Place, TRACES, below};

/// Why a page was not divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitRefusal {
    /// There is no page.
    #[error("there is no page to divide: {0:?}")]
    NoPage(Entry),
    /// There is no memory for a table.
    #[error("no memory for a table of level {0:?}")]
    NoTable(Level),
}

/// Why entries were not made one. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollapseRefusal {
    /// There are no entries finer than that.
    #[error(transparent)]
    NoTable(#[from] NoTableYet),
    /// One of them is no page, and a page would hide it.
    #[error("{addr} is in use: {entry:?}")]
    Occupied {
        /// Where.
        addr: Vaddr,
        /// What.
        entry: Entry,
    },
    /// One of them maps other memory than the page has in its place.
    #[error("{addr} maps {found:?}, which is no part of the page")]
    Elsewhere {
        /// Where.
        addr: Vaddr,
        /// What is mapped there.
        found: Leaf,
    },
}

/// What became of entries that were to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Collapsed {
    /// It is one entry already, of a page or of nothing.
    AsItWas,
    /// It is one entry now, and maps the holes too.
    Whole {
        /// How many entries or groups it was.
        leaves: u64,
        /// How many tables were given back, by level.
        tables: [u64; 5],
    },
}

impl<A: Arch, S: Start> PageTables<A, S> {
    /// Divides the page over `addr` until the entry of `addr` maps no more than `target`. What is not on the way stays as coarse as it can.
    ///
    /// # Errors
    /// Where there is no page, or no memory; what was divided until then stays so, and maps the same.
    #[doc(alias("hugetlb_split_to_shift", "__split_huge_pmd"))]
    pub fn split<M: TableMemory>(
        &self,
        mem: &mut M,
        tlb: &mut impl Tlb,
        addr: Vaddr,
        target: Grain,
    ) -> Result<FlushOwed, SplitRefusal> {
        let mut owed = FlushOwed::nothing();
        loop {
            let found = self.find(mem, addr);
            let grain = found.place.grain();
            let Entry::Leaf(_) = found.entry else { return Err(SplitRefusal::NoPage(found.entry)) };
            if grain <= target {
                return Ok(owed);
            }
            if grain.is_joined::<A>() {
                unfold::<A, M>(mem, tlb, addr, found);
            } else {
                divide::<A, M>(mem, tlb, addr, found)?;
                owed.add(grain.around(addr));
            }
        }
    }

    /// Makes what is finer than `huge` over `addr` one entry that maps `leaf`. What processors noted in any part is noted there. The caller
    /// keeps everybody else out of these tables, since they go: in a machine, by the scope of the address space for writing.
    ///
    /// # Errors
    /// Where a part is in use by something that is no page of this memory; nothing was changed.
    #[doc(alias("hugetlb_collapse", "MADV_COLLAPSE"))]
    pub fn collapse<M: TableMemory>(
        &self,
        mem: &mut M,
        tlb: &mut impl Tlb,
        addr: Vaddr,
        huge: Grain,
        leaf: Leaf,
    ) -> Result<Collapsed, CollapseRefusal> {
        let range = huge.around(addr);
        let place = self.huge_place(mem, addr, huge)?;
        let found = self.find_in(mem, addr, huge)?;
        if found.place.grain() >= huge && !matches!(found.entry, Entry::Table(_)) {
            return Ok(Collapsed::AsItWas);
        }
        let leaves = survey::<A, M>(mem, (place.slot(), huge.entries::<A>()), (huge.level(), range.start), leaf)?;
        // From here on nothing fails.
        let parts: Parts = mem.section(place.section(), |mem| {
            let parts = (0..huge.entries::<A>())
                .map(|n| A::decode(huge.level(), mem.exchange(place.slot().offset(n), Word::NONE)))
                .filter(|entry| !matches!(entry, Entry::None))
                .collect();
            tlb.flush(range);
            parts
        });
        let mut tables = [0; 5];
        let mut flags = leaf.flags;
        for part in parts {
            flags |= reap::<A, M>(mem, part, huge.level(), &mut tables);
        }
        mem.section(place.section(), |mem| put::<A, M>(mem, place, Leaf { flags, ..leaf }));
        Ok(Collapsed::Whole { leaves, tables })
    }

    /// Gives all tables back. Nobody uses them any more.
    #[doc(alias = "free_pgtables")]
    pub fn destroy<M: TableMemory>(self, mem: &mut M) {
        let level = self.level();
        for index in 0..A::entries(level) {
            let entry = A::decode(level, mem.load(Slot { table: self.root(), index }));
            reap::<A, M>(mem, entry, level, &mut [0; 5]);
        }
        mem.unlinked(level);
        mem.free_table(self.root(), level);
    }
}

/// What was in the entries of a huge page: one, or as many as a group has.
type Parts = Vec<Entry>;

/// Takes the hint away from a group.
fn unfold<A: Arch, M: TableMemory>(mem: &mut M, tlb: &mut impl Tlb, addr: Vaddr, found: Found) {
    let grain = found.place.grain();
    mem.section(found.place.section(), |mem| {
        if let Entry::Leaf(whole) = take::<A, M>(mem, found) {
            tlb.flush(grain.around(addr));
            let step = pages::<A>(Grain::single::<A>(grain.level()).size()).get();
            for n in 0..grain.entries::<A>() {
                let part = whole.offset(PageCount::new(u64::from(n) * step));
                let place = Place::new(found.place.slot().offset(n), Grain::single::<A>(grain.level()));
                put::<A, M>(mem, place, part);
            }
        }
    });
}

/// Puts a table in place of a page, whose entries map the same.
fn divide<A: Arch, M: TableMemory>(
    mem: &mut M,
    tlb: &mut impl Tlb,
    addr: Vaddr,
    found: Found,
) -> Result<(), SplitRefusal> {
    let grain = found.place.grain();
    let (level, slot, lower) = (grain.level(), found.place.slot(), below(grain.level()));
    let table = mem.alloc_table(lower).ok_or(SplitRefusal::NoTable(lower))?;
    let done = mem.section(found.place.section(), |mem| {
        let mut word = mem.load(slot);
        while let Entry::Leaf(leaf) = A::decode(level, word) {
            if A::BREAK_FIRST {
                // Nobody writes to the entry any more once it is nothing.
                let Entry::Leaf(leaf) = A::decode(level, mem.exchange(slot, Word::NONE)) else { return false };
                tlb.flush(grain.around(addr));
                fill_table::<A, M>(mem, table, lower, leaf);
                mem.store(slot, A::table(table));
                mem.linked(lower);
                return true;
            }
            fill_table::<A, M>(mem, table, lower, leaf);
            match mem.compare_exchange(slot, word, A::table(table)) {
                Ok(()) => {
                    mem.linked(lower);
                    return true;
                }
                Err(other) => word = other,
            }
        }
        false
    });
    if !done {
        mem.free_table(table, lower);
    }
    Ok(())
}

/// Pages side by side in a table that nobody knows yet.
fn fill_table<A: Arch, M: TableMemory>(mem: &mut M, table: Table, level: Level, leaf: Leaf) {
    let step = pages::<A>(Grain::single::<A>(level).size()).get();
    for index in 0..A::entries(level) {
        let part = leaf.offset(PageCount::new(u64::from(index) * step));
        mem.store(Slot { table, index }, A::leaf(level, part));
    }
}

/// Looks through entries side by side and all below them, which should map `leaf`, before anything changes; counts the pages.
fn survey<A: Arch, M: TableMemory>(
    mem: &M,
    (first, count): (Slot, u16),
    (level, start): (Level, Vaddr),
    leaf: Leaf,
) -> Result<u64, CollapseRefusal> {
    match level {
        Level::Pte => survey_at::<A, M>(mem, (first, count), (Level::Pte, start), leaf),
        Level::Pmd => survey_at::<A, M>(mem, (first, count), (Level::Pmd, start), leaf),
        _ => survey_at::<A, M>(mem, (first, count), (level, start), leaf),
    }
}

/// The same, compiled for each level by itself.
#[inline(always)]
fn survey_at<A: Arch, M: TableMemory>(
    mem: &M,
    (first, count): (Slot, u16),
    (level, start): (Level, Vaddr),
    leaf: Leaf,
) -> Result<u64, CollapseRefusal> {
    let (mut leaves, mut done) = (0_u64, 0);
    let step = pages::<A>(Grain::single::<A>(level).size());
    let part = |n: u16| leaf.offset(PageCount::new(u64::from(n) * step.get()));
    while done < count {
        // Most entries are the page that is expected, or nothing, and that shows without taking them apart.
        let mut expected = A::leaf(level, Leaf { joined: false, ..part(done) }).get();
        let (mut empty, mut other) = (0, Word::NONE);
        let liked = mem.load_run(first.offset(done), count - done, |word| {
            let differs = (word.get() ^ expected) & A::WHICH != 0;
            expected = A::further(Word::new(expected), step).get();
            if !differs {
                return true;
            }
            if word == Word::NONE {
                empty += 1;
                return true;
            }
            other = word;
            false
        });
        leaves += u64::from(liked) - empty;
        done += liked;
        if done < count {
            let addr = Vaddr::new(start.get() + (u64::from(done) << A::shift(level)));
            leaves += survey_rest::<A, M>(mem, A::decode(level, other), (level, addr), part(done))?;
            done += 1;
        }
    }
    Ok(leaves)
}

/// What an entry says that is neither nothing nor plainly the page.
fn survey_rest<A: Arch, M: TableMemory>(
    mem: &M,
    entry: Entry,
    (level, addr): (Level, Vaddr),
    leaf: Leaf,
) -> Result<u64, CollapseRefusal> {
    match entry {
        Entry::Table(table) => {
            let level = below(level);
            survey::<A, M>(mem, (Slot { table, index: 0 }, A::entries(level)), (level, addr), leaf)
        }
        Entry::None => Ok(0),
        // A group is counted with its first entry.
        Entry::Leaf(found) if found.pfn == leaf.pfn => {
            let first = !found.joined || Grain::joined::<A>(level).is_none_or(|group| addr.is_aligned(group.size()));
            Ok(u64::from(first))
        }
        Entry::Marker(marker) if !marker.contains(Marker::POISONED) => Ok(0),
        Entry::Leaf(found) => Err(CollapseRefusal::Elsewhere { addr, found }),
        entry => Err(CollapseRefusal::Occupied { addr, entry }),
    }
}

/// Gives the tables back that an entry led to, once processors have forgotten them; what processors noted in the entry and all below it.
fn reap<A: Arch, M: TableMemory>(mem: &mut M, entry: Entry, level: Level, freed: &mut [u64; 5]) -> LeafFlags {
    let table = match entry {
        Entry::Leaf(leaf) => return leaf.flags & TRACES,
        Entry::Table(table) => table,
        _ => return LeafFlags::empty(),
    };
    let level = below(level);
    let flags = match level {
        Level::Pte => reap_table::<A, M>(mem, table, Level::Pte, freed),
        Level::Pmd => reap_table::<A, M>(mem, table, Level::Pmd, freed),
        _ => reap_table::<A, M>(mem, table, level, freed),
    };
    freed[level.index()] += 1;
    mem.unlinked(level);
    mem.free_table(table, level);
    flags
}

#[inline(always)]
fn reap_table<A: Arch, M: TableMemory>(mem: &mut M, table: Table, level: Level, freed: &mut [u64; 5]) -> LeafFlags {
    let mut flags = LeafFlags::empty();
    let (first, count) = (Slot { table, index: 0 }, A::entries(level));
    let mut done = 0;
    while done < count {
        let mut below = Entry::None;
        done += mem.load_run(first.offset(done), count - done, |word| match A::decode(level, word) {
            Entry::Leaf(leaf) => {
                flags |= leaf.flags;
                true
            }
            entry @ Entry::Table(_) => {
                below = entry;
                false
            }
            _ => true,
        });
        if done < count {
            flags |= reap::<A, M>(mem, below, level, freed);
            done += 1;
        }
    }
    flags & TRACES
}
