//! Ways down through the tables.
//!
//! Every step loads an entry once and decides from that. A walk needs no section: what it found is what was there when it looked, and
//! whoever changes it looks again inside of the section of the place ([`recheck`]), since nothing may have become a table meanwhile.

use core::marker::PhantomData;

use units::{PageCount, Pfn, Vaddr};

use crate::arch::Arch;
use crate::entry::{Entry, Leaf, LeafFlags, Word};
use crate::flush::pages;
use crate::level::{Grain, Level};
use crate::memory::{Section, Slot, Table, TableMemory};
use crate::start::{AtLevel, AtTop, Start};

/// Where an entry is, and how much it maps. Of a group of joined entries it is the first.
#[doc(alias = "hugetlb_pte")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    slot: Slot,
    grain: Grain,
}

impl Place {
    #[inline]
    pub(crate) const fn new(slot: Slot, grain: Grain) -> Self {
        Self { slot, grain }
    }

    /// The entry, or the first one of the group.
    #[inline]
    #[must_use]
    pub const fn slot(self) -> Slot {
        self.slot
    }

    /// How much it maps, at which level.
    #[inline]
    #[must_use]
    pub const fn grain(self) -> Grain {
        self.grain
    }

    /// What guards it. That is a section of the table in which the entry is, so whoever came here by way of that table asks for the right
    /// one.
    #[inline]
    #[must_use]
    pub fn section(self) -> Section {
        match self.grain.level() {
            Level::Pte | Level::Pmd => Section::Table(self.slot.table),
            _ => Section::Space,
        }
    }

    /// The single entry of `addr`, in a group or not.
    #[inline]
    pub(crate) fn slot_of<A: Arch>(self, addr: Vaddr) -> Slot {
        Slot { index: A::index(self.grain.level(), addr), ..self.slot }
    }
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub place: Place,
    /// What the one load said that the walk decided from.
    pub entry: Entry,
    pub(crate) word: Word,
}

/// May a walk make tables?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// It ends where they end.
    AsTheyAre,
    /// It makes those that it needs, in place of nothing and of notes.
    Make,
}

/// Why there is no way further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepRefusal {
    /// The entry is a page. Walks never divide one.
    #[error("a page of {0} is mapped there")]
    Leaf(Grain),
    /// The entry is neither nothing nor a table, and not ours to overwrite.
    #[error("the entry is in use: {0:?}")]
    Occupied(Entry),
    /// There is no memory for a table.
    #[error("no memory for a table of level {0:?}")]
    NoTable(Level),
    /// The entry is one base page.
    #[error("there is no table below the lowest")]
    Bottom,
}

/// A walk that had to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} at {}", .place.grain())]
pub struct WalkStopped {
    /// The last place that was reached: it is valid.
    pub place: Place,
    /// Why.
    pub why: StepRefusal,
}

/// The tables do not reach as far down as a page of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry at {level:?} leads to no table")]
pub struct NoTableYet {
    /// Where they end.
    pub level: Level,
}

/// What became of an entry since it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Recheck {
    /// It is the same.
    Same,
    /// It became a table: walk again.
    Split,
    /// It says something else, or one of its group does.
    Changed(Entry),
}

/// The tables of one address space, by their root; or with [`AtLevel`] a part of such a tree. The tables themselves are in a [`TableMemory`],
/// which every call is given.
#[doc(alias("pgd_t", "mm_struct"))]
#[derive(Debug)]
pub struct PageTables<A, S = AtTop> {
    root: Table,
    start: S,
    arch: PhantomData<A>,
}

impl<A, S: Copy> Clone for PageTables<A, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, S: Copy> Copy for PageTables<A, S> {}

impl<A: Arch> PageTables<A> {
    /// Makes the first table.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn new<M: TableMemory>(mem: &mut M) -> Result<Self, StepRefusal> {
        Self::begin(mem, AtTop)
    }

    /// The tables whose first one is `root`.
    #[must_use]
    pub const fn at(root: Table) -> Self {
        Self { root, start: AtTop, arch: PhantomData }
    }
}

impl<A: Arch> PageTables<A, AtLevel> {
    /// Makes the first table of a part that begins at a level.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn new_below<M: TableMemory>(mem: &mut M, level: Level) -> Result<Self, StepRefusal> {
        Self::begin(mem, AtLevel(level))
    }
}

impl<A: Arch, S: Start> PageTables<A, S> {
    fn begin<M: TableMemory>(mem: &mut M, start: S) -> Result<Self, StepRefusal> {
        let level = start.level::<A>();
        let root = mem.alloc_table(level).ok_or(StepRefusal::NoTable(level))?;
        mem.linked(level);
        Ok(Self { root, start, arch: PhantomData })
    }

    /// The level of the first table.
    #[inline]
    #[must_use]
    pub fn level(&self) -> Level {
        self.start.level::<A>()
    }

    /// Is there a place for the address?
    #[inline]
    pub(crate) fn has_place(&self, addr: Vaddr) -> bool {
        A::is_mappable(addr) && self.start.reaches::<A>(addr)
    }

    /// The first table: what a processor is given.
    #[must_use]
    pub const fn root(&self) -> Table {
        self.root
    }

    /// The place of `addr` in the first table.
    #[inline]
    #[must_use]
    pub fn top(&self, addr: Vaddr) -> Place {
        single::<A>(self.root, self.level(), addr)
    }

    /// The place in the first table where a walk to that grain begins: all of the group, if it ends there.
    #[inline]
    pub(crate) fn top_for(&self, addr: Vaddr, grain: Grain) -> Place {
        if grain.level() == self.level() { first_of::<A>(self.root, grain, addr) } else { self.top(addr) }
    }

    /// What translates `addr`, or what is there instead. It never fails and makes nothing.
    #[doc(alias = "hugetlb_full_walk")]
    #[inline]
    pub fn find<M: TableMemory>(&self, mem: &M, addr: Vaddr) -> Found {
        down::<A, M>(mem, self.root, self.level(), addr)
    }

    /// The frame of the base page of `addr`, and what may be done with it: what a processor would make of the tables.
    #[inline]
    pub fn translate<M: TableMemory>(&self, mem: &M, addr: Vaddr) -> Option<(Pfn, LeafFlags)> {
        last_of_walk::<A, M, _>(mem, self.root, self.level(), addr, |_, level, word| {
            let Entry::Leaf(leaf) = A::decode(level, word) else { return None };
            // Pages begin at multiples of their size.
            let within = addr.get() & ((1 << A::shift(level)) - 1);
            Some((Pfn::new(leaf.pfn.get() | within >> A::PAGE.get()), leaf.flags))
        })
    }

    /// The place where a page of `huge` over `addr` is, or would be, mapped by one entry: a single one, or the group. What is there may be
    /// finer.
    ///
    /// # Errors
    /// Where tables are lacking above.
    #[doc(alias = "hugetlb_walk")]
    #[inline]
    pub fn huge_place<M: TableMemory>(&self, mem: &M, addr: Vaddr, huge: Grain) -> Result<Place, NoTableYet> {
        let mut place = self.top(addr);
        while place.grain.level() > huge.level() {
            let level = place.grain.level();
            match A::decode(level, mem.load(place.slot)) {
                Entry::Table(table) => place = single::<A>(table, below(level), addr),
                _ => return Err(NoTableYet { level }),
            }
        }
        Ok(first_of::<A>(place.slot.table, huge, addr))
    }

    /// Reads what is in the page of size `huge` over `addr`, as fine as it is: a walk from the place of the huge page as far as there are
    /// tables.
    ///
    /// # Errors
    /// Where tables are lacking above that place.
    #[doc(alias = "hugetlb_full_walk")]
    pub fn find_in<M: TableMemory>(&self, mem: &M, addr: Vaddr, huge: Grain) -> Result<Found, NoTableYet> {
        self.huge_place(mem, addr, huge).map(|place| find_from::<A, M>(mem, place, addr))
    }

    /// Reaches an entry of grain `target` over `addr` inside of a page of size `huge`, and makes the tables on the way. Without a target it makes
    /// the way to the place of the huge page, and goes on from there as far as there are tables. Where something larger is mapped, that is
    /// the answer: compare the grain.
    ///
    /// # Errors
    /// Where something is in the way, or memory is lacking; what was made stays.
    #[doc(alias = "hugetlb_full_walk_alloc")]
    pub fn reach<M: TableMemory>(
        &self,
        mem: &mut M,
        addr: Vaddr,
        huge: Grain,
        target: Option<Grain>,
    ) -> Result<Found, WalkStopped> {
        let mut place = self.top(addr);
        while place.grain.level() > huge.level() {
            place = step::<A, M>(mem, place, addr, huge).map_err(|why| WalkStopped { place, why })?;
        }
        let place = first_of::<A>(place.slot.table, huge, addr);
        match target {
            Some(target) => walk::<A, M>(mem, place, addr, target, Tables::Make),
            None => Ok(find_from::<A, M>(mem, place, addr)),
        }
    }
}

/// Goes down exactly one step from `place` towards `target`, over a table that is made if there is none. The place one step down has the target's
/// grain, if that is a group of the level below in which all entries say the same and none is a page; otherwise that of what is there.
///
/// # Errors
/// Why there is no such step; `place` is as valid as before.
#[doc(alias("hugetlb_walk_step", "hugetlb_pmd_alloc", "hugetlb_pte_alloc"))]
pub fn step<A: Arch, M: TableMemory>(
    mem: &mut M,
    place: Place,
    addr: Vaddr,
    target: Grain,
) -> Result<Place, StepRefusal> {
    let seen = mem.load(place.slot_of::<A>(addr));
    step_from::<A, M>(mem, place, addr, target, seen)
}

/// The same, decided from what one load of the entry has said already.
#[inline]
fn step_from<A: Arch, M: TableMemory>(
    mem: &mut M,
    place: Place,
    addr: Vaddr,
    target: Grain,
    seen: Word,
) -> Result<Place, StepRefusal> {
    let level = place.grain.level();
    let slot = place.slot_of::<A>(addr);
    let mut word = seen;
    loop {
        let entry = A::decode(level, word);
        let Some(below) = level.below().filter(|_| !place.grain.is_joined::<A>()) else {
            return narrow::<A>(place, addr, entry);
        };
        match entry {
            Entry::Table(table) => return Ok(place_in::<A, M>(mem, table, below, addr, target)),
            Entry::None | Entry::Marker(_) => {
                if let Some(table) = make_table::<A, M>(mem, place, slot, word)? {
                    return Ok(place_in::<A, M>(mem, table, below, addr, target));
                }
                word = mem.load(slot);
            }
            Entry::Leaf(_) => return Err(StepRefusal::Leaf(place.grain)),
            Entry::Migration(_) | Entry::Hwpoison(_) | Entry::Swap(_) => return Err(StepRefusal::Occupied(entry)),
        }
    }
}

/// From a group to the entry of `addr`, in the same table.
fn narrow<A: Arch>(place: Place, addr: Vaddr, entry: Entry) -> Result<Place, StepRefusal> {
    match entry {
        _ if !place.grain.is_joined::<A>() => Err(StepRefusal::Bottom),
        Entry::Leaf(leaf) if leaf.joined => Err(StepRefusal::Leaf(place.grain)),
        _ => Ok(single::<A>(place.slot.table, place.grain.level(), addr)),
    }
}

/// A table in place of nothing, or of a note, which all its entries then say. Nobody's, if the entry is not what it was: somebody else was
/// faster, and our table goes back unseen.
fn make_table<A: Arch, M: TableMemory>(
    mem: &mut M,
    place: Place,
    slot: Slot,
    seen: Word,
) -> Result<Option<Table>, StepRefusal> {
    let below = below(place.grain.level());
    let table = mem.alloc_table(below).ok_or(StepRefusal::NoTable(below))?;
    if seen != Word::NONE {
        (0..A::entries(below)).for_each(|index| mem.store(Slot { table, index }, seen));
    }
    let won = mem.section(place.section(), |mem| {
        let won = mem.compare_exchange(slot, seen, A::table(table)).is_ok();
        if won {
            mem.linked(below);
        }
        won
    });
    if !won {
        mem.free_table(table, below);
    }
    Ok(won.then_some(table))
}

/// Goes down from `place` until an entry maps no more than `target`, or until something is in the way.
///
/// With [`Tables::AsTheyAre`] it never fails and ends at what it finds. With [`Tables::Make`] it goes through nothing and through notes, and a
/// page that is larger than the target is an answer, not an error.
///
/// # Errors
/// Where a page is moved, broken or swapped out, or memory is lacking. The last place is valid.
#[doc(alias = "hugetlb_hgm_walk")]
pub fn walk<A: Arch, M: TableMemory>(
    mem: &mut M,
    from: Place,
    addr: Vaddr,
    target: Grain,
    tables: Tables,
) -> Result<Found, WalkStopped> {
    let mut place = from;
    loop {
        let found = look::<A, M>(mem, place, addr);
        place = found.place;
        let stays = match found.entry {
            _ if place.grain <= target => true,
            Entry::Leaf(_) => true,
            Entry::Table(_) => false,
            _ => tables == Tables::AsTheyAre,
        };
        if stays {
            return Ok(found);
        }
        place = step_from::<A, M>(mem, place, addr, target, found.word).map_err(|why| WalkStopped { place, why })?;
    }
}

/// Goes down from `place` as far as there are tables. It never fails.
#[doc(alias = "hugetlb_full_walk_continue")]
#[inline]
pub fn find_from<A: Arch, M: TableMemory>(mem: &M, place: Place, addr: Vaddr) -> Found {
    let found = look::<A, M>(mem, place, addr);
    match (found.entry, found.place.grain.level().below()) {
        (Entry::Table(table), Some(below)) => down::<A, M>(mem, table, below, addr),
        _ => found,
    }
}

/// Is what was found still there? Asked inside of the section of its place.
#[doc(alias("pte_same", "hugetlb_pte_present_leaf"))]
pub fn recheck<A: Arch, M: TableMemory>(mem: &M, found: &Found) -> Recheck {
    let Place { slot, grain } = found.place;
    for n in 0..grain.entries::<A>() {
        let word = mem.load(slot.offset(n));
        let entry = A::decode(grain.level(), word);
        let same = match (found.entry, entry) {
            (Entry::Leaf(whole), Entry::Leaf(part)) if whole.joined => continues::<A>(grain.level(), whole, part, n),
            _ => word == found.word,
        };
        match entry {
            _ if same => {}
            Entry::Table(_) => return Recheck::Split,
            _ => return Recheck::Changed(entry),
        }
    }
    Recheck::Same
}

/// What a processor writes into entries by itself, into any of a group.
pub(crate) const TRACES: LeafFlags = LeafFlags::ACCESSED.union(LeafFlags::DIRTY);

/// Is `part` the `n`th entry of the group whose page is `whole`?
pub(crate) fn continues<A: Arch>(level: Level, whole: Leaf, part: Leaf, n: u16) -> bool {
    let step = pages::<A>(Grain::single::<A>(level).size()).get();
    part.joined
        && part.pfn == whole.pfn.offset(PageCount::new(u64::from(n) * step))
        && part.flags.union(TRACES) == whole.flags.union(TRACES)
}

/// The entry of `addr` at `place`; where the place is a group that is none, the single entry.
#[inline(always)]
fn look<A: Arch, M: TableMemory>(mem: &M, place: Place, addr: Vaddr) -> Found {
    let level = place.grain.level();
    let word = mem.load(place.slot_of::<A>(addr));
    let entry = A::decode(level, word);
    if let Entry::Leaf(leaf) = entry {
        return match leaf.joined {
            true => look_at_group::<A, M>(mem, place.slot.table, level, addr, leaf),
            false => Found { place: single::<A>(place.slot.table, level, addr), entry, word },
        };
    }
    let whole = !place.grain.is_joined::<A>() || is_uniform::<A, M>(mem, place, entry, word);
    let place = if whole { place } else { single::<A>(place.slot.table, level, addr) };
    Found { place, entry, word }
}

/// Could a page take the whole group? All its entries are nothing, or the same note.
#[inline]
fn is_uniform<A: Arch, M: TableMemory>(mem: &M, place: Place, entry: Entry, word: Word) -> bool {
    entry.is_none_mostly() && (0..place.grain.entries::<A>()).all(|n| mem.load(place.slot.offset(n)) == word)
}

/// Down to where the tables end.
#[inline]
fn down<A: Arch, M: TableMemory>(mem: &M, table: Table, level: Level, addr: Vaddr) -> Found {
    let (table, level, word) =
        last_of_walk::<A, M, _>(mem, table, level, addr, |table, level, word| (table, level, word));
    let entry = A::decode(level, word);
    match entry {
        Entry::Leaf(leaf) if leaf.joined => look_at_group::<A, M>(mem, table, level, addr, leaf),
        _ => Found { place: single::<A>(table, level, addr), entry, word },
    }
}

/// What `end` makes of the table in which a walk ends, and of what its entry of `addr` said. It is written out level by level, so that what depends on the level is known
/// when it is compiled: every access goes this way.
#[inline(always)]
fn last_of_walk<A: Arch, M: TableMemory, R>(
    mem: &M,
    table: Table,
    level: Level,
    addr: Vaddr,
    end: impl Fn(Table, Level, Word) -> R,
) -> R {
    let mut table = table;
    macro_rules! through {
        ($($above:expr),*) => {$(
            if $above <= A::TOP && $above <= level {
                let word = mem.load(Slot { table, index: A::index($above, addr) });
                match A::decode($above, word) {
                    Entry::Table(next) => table = next,
                    _ => return end(table, $above, word),
                }
            }
        )*};
    }
    through!(Level::Pgd, Level::P4d, Level::Pud, Level::Pmd);
    end(table, Level::Pte, mem.load(Slot { table, index: A::index(Level::Pte, addr) }))
}

/// The place in a table that was just reached.
#[inline(always)]
fn place_in<A: Arch, M: TableMemory>(mem: &M, table: Table, level: Level, addr: Vaddr, target: Grain) -> Place {
    if target.level() == level && target.is_joined::<A>() {
        return look::<A, M>(mem, first_of::<A>(table, target, addr), addr).place;
    }
    match Grain::joined::<A>(level) {
        Some(_) => look::<A, M>(mem, single::<A>(table, level, addr), addr).place,
        None => single::<A>(table, level, addr),
    }
}

/// The group to which `part` belongs: its page, with what a processor noted in any of its entries. How large a group is, its level says; the folio
/// that is mapped may be larger.
#[doc(alias("huge_ptep_get", "find_num_contig", "num_contig_ptes"))]
fn look_at_group<A: Arch, M: TableMemory>(mem: &M, table: Table, level: Level, addr: Vaddr, part: Leaf) -> Found {
    let place = first_of::<A>(table, joined_or_single::<A>(level), addr);
    let pages = pages::<A>(place.grain.size()).get();
    let mut whole = Leaf { pfn: Pfn::new(part.pfn.get() & !(pages - 1)), ..part };
    for n in 0..place.grain.entries::<A>() {
        if let Entry::Leaf(other) = A::decode(level, mem.load(place.slot.offset(n))) {
            whole.flags |= other.flags & TRACES;
        }
    }
    Found { place, entry: Entry::Leaf(whole), word: A::leaf(level, whole) }
}

#[inline]
fn joined_or_single<A: Arch>(level: Level) -> Grain {
    Grain::joined::<A>(level).unwrap_or(Grain::single::<A>(level))
}

#[inline]
fn single<A: Arch>(table: Table, level: Level, addr: Vaddr) -> Place {
    Place::new(Slot { table, index: A::index(level, addr) }, Grain::single::<A>(level))
}

/// The place of that grain over `addr` in a table of its level.
#[inline]
pub(crate) fn first_of<A: Arch>(table: Table, grain: Grain, addr: Vaddr) -> Place {
    let index = A::index(grain.level(), addr) & !(grain.entries::<A>() - 1);
    Place::new(Slot { table, index }, grain)
}

/// The level below one that has entries which lead to tables.
#[inline]
pub(crate) fn below(level: Level) -> Level {
    level.below().unwrap_or(Level::Pte)
}
