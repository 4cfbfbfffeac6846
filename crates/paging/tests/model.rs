//! Pages come, change, are divided, joined and go at random, on every architecture, and after every step all that can be seen is what a list of
//! pages says.

#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use paging::arch::{Arm64K4, Arm64K16, Arm64K64, X86_64, X86_64La57};
use paging::{
    Arch, CollapseRefusal, Collapsed, Entry, Grain, HeapTables, Leaf, LeafFlags, Level, MapRefusal, Notes, PageTables,
    SplitRefusal,
};
use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};

const STEPS: u32 = 200;

/// A page of the naive model: in bytes, without levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    size: u64,
    frame: u64,
    flags: u64,
}

/// Pages by address, and the tables that exist, as their size and start.
#[derive(Clone, Debug, Default)]
struct Naive {
    pages: BTreeMap<u64, Page>,
    tables: BTreeSet<(u64, u64)>,
}

/// An architecture as a list of sizes: of each level, what one entry maps and what a group does.
struct Sizes {
    base: u64,
    levels: Vec<(u64, Option<u64>)>,
    /// Sizes that pages can have.
    leaves: Vec<u64>,
}

impl Sizes {
    /// The single size of the level in which an entry of `size` is.
    fn level_of(&self, size: u64) -> u64 {
        self.levels.iter().rev().map(|level| level.0).find(|&single| single <= size).unwrap()
    }

    /// The next level down.
    fn below(&self, single: u64) -> u64 {
        self.levels.iter().rev().map(|level| level.0).find(|&other| other < single).unwrap()
    }

    /// Is a table in place of an entry of `size` one whose entries are of `single`?
    fn below_is(&self, size: u64, single: u64) -> bool {
        self.below(size) == single
    }
}

const TRACES: u64 = 1 << 5 | 1 << 6;

impl Naive {
    fn page_at(&self, addr: u64) -> Option<(u64, Page)> {
        let (&start, &page) = self.pages.range(..=addr).next_back()?;
        (addr < start + page.size).then_some((start, page))
    }

    fn inside(&self, start: u64, end: u64) -> Vec<(u64, Page)> {
        self.pages.range(start..end).map(|(&at, &page)| (at, page)).collect()
    }

    /// Is there a table of entries smaller than `single` exactly there?
    fn has_table(&self, single: u64, start: u64) -> bool {
        self.tables.contains(&(single, start))
    }

    /// Makes the tables down to entries of `single`, unless a larger page is in the way.
    fn make_way(&mut self, sizes: &Sizes, addr: u64, single: u64) -> bool {
        for &(size, _) in sizes.levels.iter().rev().filter(|level| level.0 > single) {
            if self.page_at(addr).is_some_and(|(_, page)| page.size >= size) {
                return false;
            }
            self.tables.insert((size, addr & !(size - 1)));
        }
        true
    }

    fn map(&mut self, sizes: &Sizes, addr: u64, page: Page) -> bool {
        let single = sizes.level_of(page.size);
        if !self.make_way(sizes, addr, single) {
            return false;
        }
        let end = addr + page.size;
        let covered = self.page_at(addr).is_some() || !self.inside(addr, end).is_empty();
        let refined = (addr..end).step_by(usize::try_from(single).unwrap()).any(|at| self.has_table(single, at));
        if covered || refined {
            return false;
        }
        self.pages.insert(addr, page);
        true
    }

    fn straddles(&self, start: u64, end: u64) -> bool {
        let cut = |at: u64| self.page_at(at).is_some_and(|(from, page)| from < start || from + page.size > end);
        cut(start) || cut(end - 1)
    }

    fn split(&mut self, sizes: &Sizes, addr: u64, target: u64) -> bool {
        loop {
            let Some((start, page)) = self.page_at(addr) else { return false };
            if page.size <= target {
                return true;
            }
            let single = sizes.level_of(page.size);
            let part = if single < page.size { single } else { sizes.below(single) };
            if single == page.size {
                self.tables.insert((single, start));
            }
            self.pages.remove(&start);
            for n in 0..page.size / part {
                let piece = Page { size: part, frame: page.frame + n * part, ..page };
                self.pages.insert(start + n * part, piece);
            }
        }
    }
}

/// The machine under test beside the model.
struct Pair<A: Arch> {
    mem: HeapTables<A>,
    tables: PageTables<A>,
    naive: Naive,
    sizes: Sizes,
    random: u64,
    flushed: Vec<VaddrRange>,
}

impl<A: Arch> Pair<A> {
    fn new(seed: u64) -> Self {
        let mut mem = HeapTables::new(PageCount::new(4_000));
        let tables = PageTables::new(&mut mem).unwrap();
        let bytes = |grain: Grain| grain.size().get();
        let levels = Level::ALL.into_iter().filter(|&level| level <= A::TOP).map(|level| {
            let joined = Grain::joined::<A>(level).map(bytes);
            (bytes(Grain::single::<A>(level)), joined)
        });
        let sizes = Sizes {
            base: bytes(Grain::page::<A>()),
            levels: levels.collect(),
            leaves: Grain::all::<A>().map(bytes).collect(),
        };
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { mem, tables, naive: Naive::default(), sizes, random, flushed: Vec::new() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    fn some_size(&mut self) -> u64 {
        let n = self.random(self.sizes.leaves.len() as u64);
        self.sizes.leaves[usize::try_from(n).unwrap()]
    }

    /// An address inside of two of the largest pages, near the edges of pages that are there.
    fn some_addr(&mut self) -> u64 {
        let largest = *self.sizes.leaves.last().unwrap();
        let size = self.some_size();
        let slots = (2 * largest / size).min(3);
        let outer = self.some_size();
        let outer = self.random((2 * largest / outer).min(2)) * outer;
        let addr = outer + self.random(slots) * size;
        0x40_0000_0000 * 16 + if self.random(8) == 0 { addr + self.sizes.base } else { addr } % (2 * largest)
    }

    fn grain(size: u64) -> Grain {
        Grain::new::<A>(Bytes::new(size)).unwrap()
    }

    fn flags(&mut self) -> LeafFlags {
        let known = [LeafFlags::WRITE, LeafFlags::USER, LeafFlags::ACCESSED, LeafFlags::DIRTY, LeafFlags::NO_EXECUTE];
        known.into_iter().filter(|_| self.random(2) == 0).collect()
    }

    fn step(&mut self) -> String {
        let addr = self.some_addr();
        match self.random(100) {
            0..40 => self.map(addr),
            40..50 => self.map_range(addr),
            50..65 => self.unmap(addr),
            65..75 => self.protect(addr),
            75..85 => self.split(addr),
            _ => self.collapse(addr),
        }
    }

    fn map(&mut self, addr: u64) -> String {
        let size = self.some_size();
        let addr = if self.random(10) == 0 { addr } else { addr & !(size - 1) };
        let frame = (addr + self.random(2) * self.sizes.leaves.last().unwrap()) & 0xff_ffff_ffff;
        let flags = self.flags();
        let leaf = Leaf::new(Pfn::new(frame >> A::PAGE.get()), flags);
        let mapped = self.tables.map(&mut self.mem, Vaddr::new(addr), Self::grain(size), leaf);
        match mapped {
            Err(MapRefusal::Misaligned { .. }) => assert!(!addr.is_multiple_of(size)),
            Err(MapRefusal::MisalignedFrame { .. }) => assert!(!frame.is_multiple_of(size)),
            other => {
                let page = Page { size, frame, flags: flags.bits() };
                let must = self.naive.map(&self.sizes, addr, page);
                assert_eq!(other.is_ok(), must, "{other:?}");
            }
        }
        format!("map {size:#x} at {addr:#x}: {mapped:?}")
    }

    fn map_range(&mut self, addr: u64) -> String {
        let pages = 1 + self.random(600);
        let length = match self.random(3) {
            0 => self.some_size(),
            _ => pages * self.sizes.base,
        };
        let largest = self.some_size();
        // Frames that are aligned as the addresses are, or shifted by some size.
        let frame = addr % (1 << 38) + if self.random(2) == 0 { self.some_size() } else { 0 };
        let flags = self.flags();
        let leaf = Leaf::new(Pfn::new(frame >> A::PAGE.get()), flags);
        let range = VaddrRange::new(Vaddr::new(addr), Vaddr::new(addr + length));
        let mapped = self.tables.map_range(&mut self.mem, range, leaf, Self::grain(largest));
        let (mut done, mut leaves) = (0, 0);
        while done < length {
            let (at, to) = (addr + done, frame + done);
            let fits = |&&size: &&u64| size <= largest && size <= length - done && at % size == 0 && to % size == 0;
            let size = *self.sizes.leaves.iter().rev().find(fits).unwrap();
            if !self.naive.map(&self.sizes, at, Page { size, frame: to, flags: flags.bits() }) {
                break;
            }
            (done, leaves) = (done + size, leaves + 1);
        }
        match mapped {
            Ok(made) => assert_eq!((done, leaves), (length, made)),
            Err(stopped) => assert_eq!((stopped.done.get(), stopped.leaves), (done, leaves), "{stopped}"),
        }
        format!("map {length:#x} from {addr:#x}, at most {largest:#x}: {mapped:?}")
    }

    fn some_range(&mut self, addr: u64) -> (u64, u64) {
        match self.naive.page_at(addr) {
            Some((start, page)) if self.random(2) == 0 => (start, start + page.size),
            _ => (addr, addr + self.some_size()),
        }
    }

    fn unmap(&mut self, addr: u64) -> String {
        let (start, end) = self.some_range(addr);
        let range = VaddrRange::new(Vaddr::new(start), Vaddr::new(end));
        let mut gone = BTreeMap::new();
        let owed = self.tables.unmap(&mut self.mem, range, Notes::Keep, |at, grain, entry| {
            let Entry::Leaf(leaf) = entry else { panic!("{entry:?} was not put there") };
            gone.insert(at.get(), page::<A>(grain, leaf));
        });
        assert_eq!(owed.is_err(), self.naive.straddles(start, end), "{range}");
        if let Ok(owed) = owed {
            let must: BTreeMap<u64, Page> = self.naive.inside(start, end).into_iter().collect();
            assert_eq!(gone, must, "{range}");
            self.naive.pages.retain(|at, _| !must.contains_key(at));
            let flushed = owed.range();
            for (at, page) in must {
                let flushed = flushed.expect("something was unmapped");
                assert!(flushed.contains(Vaddr::new(at)) && flushed.contains(Vaddr::new(at + page.size - 1)));
            }
            owed.settle(&mut |range| self.flushed.push(range));
        }
        format!("unmap {range}")
    }

    fn protect(&mut self, addr: u64) -> String {
        let (start, end) = self.some_range(addr);
        let range = VaddrRange::new(Vaddr::new(start), Vaddr::new(end));
        let (set, clear) = (self.flags(), self.flags());
        self.flushed.clear();
        let flushed = &mut self.flushed;
        let done =
            self.tables.protect(&mut self.mem, &mut |range| flushed.push(range), range, |flags| (flags - clear) | set);
        assert_eq!(done.is_err(), self.naive.straddles(start, end), "{range}");
        if let Ok(done) = done {
            let mut pages = 0;
            done.owed.settle(&mut |range| self.flushed.push(range));
            for (at, old) in self.naive.inside(start, end) {
                let flags = old.flags & !clear.bits() | set.bits();
                self.naive.pages.insert(at, Page { flags, ..old });
                pages += old.size / self.sizes.base;
                let is_flushed = self.flushed.iter().any(|range| range.contains(Vaddr::new(at)));
                assert!(is_flushed || flags == old.flags, "a change at {at:#x} without a flush");
            }
            assert_eq!(done.pages, PageCount::new(pages));
        }
        format!("protect {range}")
    }

    fn split(&mut self, addr: u64) -> String {
        let target = self.some_size();
        self.flushed.clear();
        let before = self.naive.page_at(addr);
        let flushed = &mut self.flushed;
        let (at, grain) = (Vaddr::new(addr), Self::grain(target));
        let split = self.tables.split(&mut self.mem, &mut |range| flushed.push(range), at, grain);
        let must = self.naive.split(&self.sizes, addr, target);
        assert_eq!(split.is_ok(), must, "{split:?}");
        match split {
            Ok(owed) => {
                owed.settle(&mut |range| self.flushed.push(range));
                let size = before.unwrap().1.size;
                assert_eq!(self.flushed.is_empty(), size <= target, "what was larger is forgotten");
            }
            Err(SplitRefusal::NoPage(_)) => {}
            Err(other) => panic!("{other}"),
        }
        format!("split {addr:#x} to {target:#x}")
    }

    fn collapse(&mut self, addr: u64) -> String {
        let size = self.some_size();
        let start = addr & !(size - 1);
        let end = start + size;
        let first = self.naive.inside(start, end).first().copied();
        let frame =
            first.map_or(start, |(at, page)| page.frame.wrapping_sub(at - start)) & !(size - 1) & 0xff_ffff_ffff;
        let flags = self.flags() - LeafFlags::ACCESSED - LeafFlags::DIRTY;
        let leaf = Leaf::new(Pfn::new(frame >> A::PAGE.get()), flags);
        let (at, grain) = (Vaddr::new(addr), Self::grain(size));
        let flushed = &mut self.flushed;
        let got = self.tables.collapse(&mut self.mem, &mut |range| flushed.push(range), at, grain, leaf);
        let single = self.sizes.level_of(size);
        let above = self.sizes.levels.iter().filter(|level| level.0 > single);
        let reached = above.clone().all(|&(size, _)| self.naive.has_table(size, addr & !(size - 1)));
        let parts = self.naive.inside(start, end);
        let refined = (start..end).step_by(usize::try_from(single).unwrap()).any(|at| self.naive.has_table(single, at));
        let finer = refined || parts.iter().any(|(_, page)| page.size < size);
        let elsewhere = parts.iter().any(|(at, page)| page.frame != frame + (at - start));
        match got {
            Err(CollapseRefusal::NoTable(_)) => assert!(!reached),
            Ok(Collapsed::AsItWas) => assert!(reached && !finer),
            Err(CollapseRefusal::Elsewhere { .. }) => assert!(reached && finer && elsewhere),
            Ok(Collapsed::Whole { leaves, tables }) => {
                assert!(reached && finer && !elsewhere);
                assert_eq!(leaves, parts.len() as u64);
                let traces = parts.iter().fold(0, |all, (_, page)| all | page.flags & TRACES);
                self.naive.pages.retain(|at, _| !(start..end).contains(at));
                self.naive.pages.insert(start, Page { size, frame, flags: flags.bits() | traces });
                let count = self.naive.tables.len();
                self.naive.tables.retain(|&(of, at)| of > single || !(start..end).contains(&at));
                assert_eq!(tables.iter().sum::<u64>(), (count - self.naive.tables.len()) as u64);
            }
            Err(other) => panic!("{other}"),
        }
        format!("collapse {start:#x}, {size:#x}: {got:?}")
    }

    fn compare(&mut self) {
        let tally = self.tables.validate(&self.mem).unwrap();
        assert_eq!(tally.others, 0);
        let expected: u64 = self.naive.pages.values().map(|page| page.size / self.sizes.base).sum();
        assert_eq!(tally.pages, PageCount::new(expected));
        for (level, &(single, _)) in Level::ALL.into_iter().zip(&self.sizes.levels) {
            let tables =
                1 + self.naive.tables.iter().filter(|table| self.sizes.below_is(table.0, single)).count() as u64;
            let tables = if level == A::TOP { 1 } else { tables - 1 };
            assert_eq!(self.mem.linked_tables(level), PageCount::new(tables), "{level:?}");
            assert_eq!(tally.tables[level.index()], tables, "{level:?}");
        }
        let everywhere = VaddrRange::new(Vaddr::new(0), Vaddr::new(A::reach(A::TOP).get() / 2));
        let listed = self.tables.over(&self.mem, everywhere).filter_map(|(at, found)| match found.entry {
            Entry::Leaf(leaf) => Some((at.get(), page::<A>(found.place.grain(), leaf))),
            _ => None,
        });
        assert_eq!(listed.collect::<BTreeMap<_, _>>(), self.naive.pages);
        for _ in 0..20 {
            let addr = self.some_addr() + self.random(self.sizes.base);
            let found = self.tables.find(&self.mem, Vaddr::new(addr));
            let seen = match found.entry {
                Entry::Leaf(leaf) => Some((found.place.grain().around(Vaddr::new(addr)).start.get(), leaf)),
                _ => None,
            };
            let seen = seen.map(|(at, leaf)| (at, page::<A>(found.place.grain(), leaf)));
            let page = self.naive.page_at(addr);
            assert_eq!(seen, page, "{addr:#x}");
            let frame = page.map(|(start, page)| (page.frame + (addr - start)) >> A::PAGE.get());
            let translated = self.tables.translate(&self.mem, Vaddr::new(addr)).map(|(pfn, _)| pfn.get());
            assert_eq!(translated, frame, "{addr:#x}");
        }
    }
}

fn page<A: Arch>(grain: Grain, leaf: Leaf) -> Page {
    Page { size: grain.size().get(), frame: leaf.pfn.get() << A::PAGE.get(), flags: leaf.flags.bits() }
}

fn run<A: Arch + Debug>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut pair = Pair::<A>::new(seed);
        let mut told = Vec::new();
        for _ in 0..STEPS {
            let step = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let step = pair.step();
                pair.compare();
                step
            }));
            match step {
                Ok(step) => told.push(step),
                Err(_) => panic!("seed {seed} after {} steps, the last: {:#?}", told.len(), told.last()),
            }
        }
        let Pair { mut mem, tables, .. } = pair;
        tables.destroy(&mut mem);
        assert_eq!(mem.used(), PageCount::ZERO);
    }
}

#[test]
fn x86_64_is_what_the_list_says() {
    run::<X86_64>(0..5);
    run::<X86_64La57>(5..8);
}

#[test]
fn arm64_of_4_kib_is_what_the_list_says() {
    run::<Arm64K4>(0..6);
}

#[test]
fn arm64_of_16_kib_is_what_the_list_says() {
    run::<Arm64K16>(0..4);
}

#[test]
fn arm64_of_64_kib_is_what_the_list_says() {
    run::<Arm64K64>(0..2);
}
