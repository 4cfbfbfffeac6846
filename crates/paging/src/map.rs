//! Pages come, change and go.

use core::cmp::Ordering;

use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};

use crate::arch::Arch;
use crate::entry::{Entry, Leaf, LeafFlags, Marker, Word};
use crate::flush::{FlushOwed, pages};
use crate::level::Grain;
use crate::memory::{TableMemory, Tlb};
use crate::over::each_of;
use crate::start::Start;
use crate::walk::{Found, PageTables, Place, StepRefusal, TRACES, Tables, first_of, walk};

/// Why a page was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapRefusal {
    /// The tables have no place for the address.
    #[error("{0} is not an address that the tables can map")]
    Unmappable(Vaddr),
    /// The address is not a multiple of the page's size.
    #[error("{addr} is not a multiple of {grain}")]
    Misaligned {
        /// The address.
        addr: Vaddr,
        /// What was to be mapped there.
        grain: Grain,
    },
    /// The frame is not a multiple of the page's size.
    #[error("{pfn} is not a multiple of {grain}")]
    MisalignedFrame {
        /// The first frame.
        pfn: Pfn,
        /// What was to be mapped.
        grain: Grain,
    },
    /// An entry has not so many bits for a frame.
    #[error("{0} lies beyond physical memory")]
    BeyondMemory(Pfn),
    /// Something is there.
    #[error("{addr} is in use: {entry:?}")]
    Occupied {
        /// Where.
        addr: Vaddr,
        /// What.
        entry: Entry,
    },
    /// There is no way down to the entry.
    #[error("no way to {addr}: {why}")]
    NoWay {
        /// Where to.
        addr: Vaddr,
        /// Why.
        why: StepRefusal,
    },
}

/// A range that was mapped in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}, after {done} were mapped")]
pub struct MapStopped {
    /// How much is mapped, from the start of the range.
    pub done: Bytes,
    /// How many entries that took.
    pub leaves: u64,
    /// Why it went no further.
    pub why: MapRefusal,
}

/// A range begins or ends in the middle of a page. Nothing was changed: divide the page first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range ends inside of the page of {grain} at {addr}")]
pub struct Straddles {
    /// Where the page begins.
    pub addr: Vaddr,
    /// Its size.
    pub grain: Grain,
}

/// What happens to notes where pages are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// They stay.
    #[doc(alias = "ZAP_FLAG_DROP_MARKER")]
    Keep,
    /// They go.
    Drop,
}

/// What [`PageTables::protect`] did.
#[derive(Debug)]
#[must_use]
pub struct Protected {
    /// How many base pages are mapped in the range.
    pub pages: PageCount,
    /// What is owed before the change can be relied on.
    pub owed: FlushOwed,
}

impl<A: Arch, S: Start> PageTables<A, S> {
    /// Maps one page of that grain at `addr`, with the tables that it needs. A note in its place is honoured.
    ///
    /// # Errors
    /// Why not; only tables may have been made.
    #[doc(alias = "set_huge_pte_at")]
    pub fn map<M: TableMemory>(&self, mem: &mut M, addr: Vaddr, grain: Grain, leaf: Leaf) -> Result<(), MapRefusal> {
        self.check(addr, grain, leaf)?;
        self.fill(mem, addr, grain, 1, leaf).map(|_| ())
    }

    /// Maps `range` to the frames from `leaf.pfn` on, in the largest pages up to `largest` that addresses and frames are aligned to; how many
    /// entries or groups that took.
    ///
    /// # Errors
    /// How far it came, and why no further.
    pub fn map_range<M: TableMemory>(
        &self,
        mem: &mut M,
        range: VaddrRange,
        leaf: Leaf,
        largest: Grain,
    ) -> Result<u64, MapStopped> {
        let (mut done, mut leaves) = (Bytes::ZERO, 0);
        while done < range.len() {
            let addr = range.start + done;
            let piece = leaf.offset(pages::<A>(done));
            let (grain, count) = self.next_run(addr, range.end, piece, largest);
            let filled = self.check(addr, grain, piece).and_then(|()| self.fill(mem, addr, grain, count, piece));
            let filled = filled.map_err(|why| MapStopped { done, leaves, why })?;
            leaves += u64::from(filled);
            done += Bytes::new(u64::from(filled) << grain.shift());
        }
        Ok(leaves)
    }

    /// The grain to map with at `addr`, and how often in the same table until another may suit better.
    fn next_run(&self, addr: Vaddr, end: Vaddr, leaf: Leaf, largest: Grain) -> (Grain, u16) {
        let left = end.since(addr);
        let suits = |grain: &Grain| {
            let size = grain.size();
            *grain <= largest && size <= left && addr.is_aligned(size) && is_aligned::<A>(leaf.pfn, *grain)
        };
        let grain = Grain::all::<A>().rev().find(suits).unwrap_or(Grain::page::<A>());
        let above = Grain::all::<A>().find(|other| *other > grain).map_or(A::reach(grain.level()), Grain::size);
        let until = above.min(A::reach(grain.level()));
        let room = until - addr.since(addr.align_down(until));
        let count = (room.min(left).get() >> grain.shift()).max(1);
        (grain, u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn check(&self, addr: Vaddr, grain: Grain, leaf: Leaf) -> Result<(), MapRefusal> {
        let last = leaf.pfn.get().checked_add(pages::<A>(grain.size()).get() - 1);
        if !self.has_place(addr) {
            Err(MapRefusal::Unmappable(addr))
        } else if !addr.is_aligned(grain.size()) {
            Err(MapRefusal::Misaligned { addr, grain })
        } else if !is_aligned::<A>(leaf.pfn, grain) {
            Err(MapRefusal::MisalignedFrame { pfn: leaf.pfn, grain })
        } else if last.is_none_or(|last| last >> (A::PHYS_BITS - A::PAGE.get()) != 0) {
            Err(MapRefusal::BeyondMemory(leaf.pfn))
        } else {
            Ok(())
        }
    }

    /// Maps up to `count` pages of one grain that lie side by side in one table; how many. The first one is mapped, or the reason is told.
    fn fill<M: TableMemory>(
        &self,
        mem: &mut M,
        addr: Vaddr,
        grain: Grain,
        count: u16,
        leaf: Leaf,
    ) -> Result<u16, MapRefusal> {
        loop {
            // Mostly the tables are there.
            let mut found = self.find(mem, addr);
            if found.place.grain() != grain {
                let from = match found.place.grain().level().cmp(&grain.level()) {
                    Ordering::Greater => found.place,
                    Ordering::Equal => first_of::<A>(found.place.slot().table, grain, addr),
                    Ordering::Less => self.top_for(addr, grain),
                };
                let walked = walk::<A, M>(mem, from, addr, grain, Tables::Make);
                found = walked.map_err(|stopped| match stopped.why {
                    StepRefusal::Occupied(entry) => MapRefusal::Occupied { addr, entry },
                    why => MapRefusal::NoWay { addr, why },
                })?;
            }
            if found.place.grain() != grain || !found.entry.is_none_mostly() {
                return Err(MapRefusal::Occupied {
                    addr,
                    entry: self.in_the_way(mem, addr, grain).unwrap_or(found.entry),
                });
            }
            match mem.section(found.place.section(), |mem| fill_run::<A, M>(mem, found.place, count, leaf)) {
                (0, Some(Entry::Table(_) | Entry::None)) => {}
                (0, other) => return Err(MapRefusal::Occupied { addr, entry: other.unwrap_or(found.entry) }),
                (filled, _) => return Ok(filled),
            }
        }
    }

    /// The first thing over the place that is there.
    fn in_the_way<M: TableMemory>(&self, mem: &M, addr: Vaddr, grain: Grain) -> Option<Entry> {
        let mut over = self.over(mem, grain.around(addr));
        over.find(|(_, found)| !found.entry.is_none_mostly()).map(|(_, found)| found.entry)
    }

    /// Takes everything out of `range`, leaf by leaf, and tells what was there. Tables stay.
    ///
    /// # Errors
    /// Where a page lies half in the range; nothing was changed.
    #[doc(alias = "__unmap_hugepage_range")]
    pub fn unmap<M: TableMemory>(
        &self,
        mem: &mut M,
        range: VaddrRange,
        notes: Notes,
        mut told: impl FnMut(Vaddr, Grain, Entry),
    ) -> Result<FlushOwed, Straddles> {
        self.check_ends(mem, range)?;
        let mut owed = FlushOwed::nothing();
        each_of(*self, mem, range, &mut |mem, at, found| {
            let grain = found.place.grain();
            match found.entry {
                Entry::None => return,
                Entry::Marker(_) if notes == Notes::Keep => return,
                _ => {}
            }
            let was = take::<A, M>(mem, found);
            if let Entry::Leaf(_) = was {
                owed.add(grain.around(at));
            }
            told(at, grain, was);
        });
        Ok(owed)
    }

    /// Changes what may be done with the pages of `range`. A group of joined entries is cleared, flushed and written again; for the
    /// others the flush is owed.
    ///
    /// # Errors
    /// Where a page lies half in the range; nothing was changed.
    #[doc(alias = "hugetlb_change_protection")]
    pub fn protect<M: TableMemory>(
        &self,
        mem: &mut M,
        tlb: &mut impl Tlb,
        range: VaddrRange,
        change: impl Fn(LeafFlags) -> LeafFlags,
    ) -> Result<Protected, Straddles> {
        self.check_ends(mem, range)?;
        let mut done = Protected { pages: PageCount::ZERO, owed: FlushOwed::nothing() };
        each_of(*self, mem, range, &mut |mem, at, found| {
            if !matches!(found.entry, Entry::Leaf(_)) {
                return;
            }
            let around = found.place.grain().around(at);
            done.pages += pages::<A>(around.len());
            if found.place.grain().is_joined::<A>() {
                rewrite_group::<A, M>(mem, tlb, at, found, |leaf| Leaf { flags: change(leaf.flags), ..leaf });
            } else if change_one::<A, M>(mem, found, &change) {
                done.owed.add(around);
            }
        });
        Ok(done)
    }

    fn check_ends<M: TableMemory>(&self, mem: &M, range: VaddrRange) -> Result<(), Straddles> {
        if range.is_empty() {
            return Ok(());
        }
        for addr in [range.start, Vaddr::new(range.end.get() - 1)] {
            let found = self.find(mem, addr);
            let grain = found.place.grain();
            let around = grain.around(addr);
            let inside = range.start <= around.start && around.end <= range.end;
            if matches!(found.entry, Entry::Leaf(_)) && !inside {
                return Err(Straddles { addr: around.start, grain });
            }
        }
        Ok(())
    }
}

#[inline]
fn is_aligned<A: Arch>(pfn: Pfn, grain: Grain) -> bool {
    pfn.get() & (pages::<A>(grain.size()).get() - 1) == 0
}

/// Writes pages side by side until one has no place; how many, and what is in the place of the next.
fn fill_run<A: Arch, M: TableMemory>(mem: &mut M, first: Place, count: u16, leaf: Leaf) -> (u16, Option<Entry>) {
    let done = if first.grain().is_joined::<A>() { 0 } else { fill_empty::<A, M>(mem, first, count, leaf) };
    if done == count {
        return (count, None);
    }
    let (grain, each) = (first.grain(), first.grain().entries::<A>());
    let pages_each = pages::<A>(grain.size()).get();
    for n in done..count {
        let place = Place::new(first.slot().offset(n * each), grain);
        let leaf = leaf.offset(PageCount::new(u64::from(n) * pages_each));
        let room = if each == 1 { room_for_one::<A, M>(mem, place) } else { room_for_group::<A, M>(mem, place) };
        match room {
            Ok(Entry::Marker(marker)) => put::<A, M>(mem, place, under_note(leaf, marker)),
            Ok(_) => put::<A, M>(mem, place, leaf),
            Err(entry) => return (n, Some(entry)),
        }
    }
    (count, None)
}

/// Writes single pages side by side as far as there is nothing at all; how many.
#[inline]
fn fill_empty<A: Arch, M: TableMemory>(mem: &mut M, first: Place, count: u16, leaf: Leaf) -> u16 {
    let grain = first.grain();
    let word = A::leaf(grain.level(), Leaf { joined: false, ..leaf });
    let step = A::further(Word::NONE, pages::<A>(grain.size()));
    mem.store_run(first.slot(), count, word, step)
}

#[inline]
fn room_for_one<A: Arch, M: TableMemory>(mem: &M, place: Place) -> Result<Entry, Entry> {
    let word = mem.load(place.slot());
    if word == Word::NONE {
        return Ok(Entry::None);
    }
    allows(A::decode(place.grain().level(), word))
}

/// A group has room if all of it has: one entry that was filled meanwhile is enough to refuse.
fn room_for_group<A: Arch, M: TableMemory>(mem: &M, place: Place) -> Result<Entry, Entry> {
    let mut note = Entry::None;
    for n in 0..place.grain().entries::<A>() {
        let entry = A::decode(place.grain().level(), mem.load(place.slot().offset(n)));
        if let Entry::Marker(_) = allows(entry)? {
            note = entry;
        }
    }
    Ok(note)
}

fn allows(entry: Entry) -> Result<Entry, Entry> {
    match entry {
        Entry::None => Ok(entry),
        Entry::Marker(marker) if !marker.intersects(Marker::POISONED | Marker::GUARD) => Ok(entry),
        _ => Err(entry),
    }
}

/// The page that comes where a note is.
fn under_note(leaf: Leaf, marker: Marker) -> Leaf {
    let mut flags = leaf.flags;
    if marker.contains(Marker::UFFD_WP) {
        flags = (flags | LeafFlags::UFFD_WP) - LeafFlags::WRITE;
    }
    Leaf { flags, ..leaf }
}

/// Writes a page into a place that has nothing.
#[inline]
pub(crate) fn put<A: Arch, M: TableMemory>(mem: &mut M, place: Place, leaf: Leaf) {
    let level = place.grain().level();
    if !place.grain().is_joined::<A>() {
        return mem.store(place.slot(), A::leaf(level, Leaf { joined: false, ..leaf }));
    }
    let step = pages::<A>(Grain::single::<A>(level).size()).get();
    for n in 0..place.grain().entries::<A>() {
        let part = leaf.offset(PageCount::new(u64::from(n) * step));
        mem.store(place.slot().offset(n), A::leaf(level, Leaf { joined: true, ..part }));
    }
}

/// Clears an entry, or a whole group; what it was, with all that a processor noted until then.
pub(crate) fn take<A: Arch, M: TableMemory>(mem: &mut M, found: Found) -> Entry {
    let (level, slot) = (found.place.grain().level(), found.place.slot());
    if !found.place.grain().is_joined::<A>() {
        return A::decode(level, mem.exchange(slot, Word::NONE));
    }
    let mut whole = found.entry;
    for n in 0..found.place.grain().entries::<A>() {
        let old = A::decode(level, mem.exchange(slot.offset(n), Word::NONE));
        if let (Entry::Leaf(whole), Entry::Leaf(old)) = (&mut whole, old) {
            whole.flags |= old.flags & TRACES;
        }
    }
    whole
}

/// A group never changes in part, and never from one thing to another: all its entries are cleared, what processors remember is flushed, all are
/// written.
#[doc(alias("get_clear_contig_flush", "huge_ptep_set_wrprotect"))]
pub(crate) fn rewrite_group<A: Arch, M: TableMemory>(
    mem: &mut M,
    tlb: &mut impl Tlb,
    at: Vaddr,
    found: Found,
    change: impl FnOnce(Leaf) -> Leaf,
) {
    if let Entry::Leaf(old) = take::<A, M>(mem, found) {
        tlb.flush(found.place.grain().around(at));
        put::<A, M>(mem, found.place, change(old));
    }
}

/// Changes one entry that a processor may be changing too; did its bits change?
fn change_one<A: Arch, M: TableMemory>(mem: &mut M, found: Found, change: &impl Fn(LeafFlags) -> LeafFlags) -> bool {
    let (level, slot) = (found.place.grain().level(), found.place.slot());
    let mut word = found.word;
    while let Entry::Leaf(leaf) = A::decode(level, word) {
        let changed = A::leaf(level, Leaf { flags: change(leaf.flags), ..leaf });
        let new = Word::new(changed.get() | word.get() & A::UNTOLD);
        if new == word {
            return false;
        }
        match mem.compare_exchange(slot, word, new) {
            Ok(()) => return true,
            Err(other) => word = other,
        }
    }
    false
}
