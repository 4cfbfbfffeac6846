//! What the guest should see, and whether it does.

use std::collections::{BTreeMap, BTreeSet};

use paging::arch::X86_64;
use paging::{CollapseRefusal, Collapsed, Entry, Grain, Leaf, LeafFlags, Level, MapRefusal, Notes, PageTables};
use units::{Bytes, Pfn, Vaddr, VaddrRange};

use crate::guest::{Access, Answer, DATA, END, Guest, LIST_MAX};
use crate::tables::GuestTables;

const TABLES: u64 = 1_000;
const PAGES: usize = 100;
/// How many pages are visited at once; where division has made more, every so manieth.
const VISITS: usize = 1_000;
const K4: u64 = 4 << 10;
const M2: u64 = 2 << 20;
const G1: u64 = 1 << 30;
/// Where pages are mapped: 4 GiB from each on.
const WINDOWS: [u64; 4] = [0, 0x20_0000_0000, 0x7ffe_0000_0000, 0xffff_9000_0000_0000];
/// A return, for those who come to execute.
const RETURN: u64 = 0xc3;

/// Did a processor leave its trace? Where it tried in vain, or was near, it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    No,
    Perhaps,
    Yes,
}

/// A page of the list.
#[derive(Clone, Copy, Debug)]
struct Page {
    size: u64,
    frame: u64,
    flags: LeafFlags,
    used: Used,
    written: bool,
}

struct Checked {
    guest: Guest,
    mem: GuestTables,
    tables: PageTables<X86_64>,
    pages: BTreeMap<u64, Page>,
    /// What is in memory where it is not zero.
    memory: BTreeMap<u64, u64>,
    /// Where the accesses of this round go.
    touched: BTreeSet<u64>,
    /// What the processor has to forget before it comes again.
    owed: Vec<VaddrRange>,
    list: Vec<(u64, Access)>,
    window: u64,
    /// The largest pages.
    largest: u64,
    random: u64,
}

/// Builds and checks all tables.
pub(crate) fn agree(mut guest: Guest) {
    let count = std::env::var("KVM_TABLES").ok().and_then(|n| n.parse().ok()).unwrap_or(TABLES);
    let largest = if has_gigabytes(&mut guest) { G1 } else { M2 };
    let (mut accesses, mut memory) = (0, BTreeMap::new());
    for seed in 0..count {
        if seed % 20 == 0 {
            guest.ram.forget(DATA);
            memory.clear();
        }
        let mut checked = Checked::new(guest, seed, memory);
        checked.map_all(largest);
        for _ in 0..2 {
            accesses += checked.come();
            checked.change();
        }
        accesses += checked.come();
        (guest, memory) = (checked.guest, checked.memory);
    }
    println!("{count} tables with pages of up to {}, {accesses} accesses", Bytes::new(largest));
}

/// Does a page of 1 GiB mean something to this processor?
fn has_gigabytes(guest: &mut Guest) -> bool {
    let mut mem = GuestTables::new(guest.ram.clone());
    let tables = PageTables::new(&mut mem).expect("there is room for tables");
    guest.start(&mut mem, &tables);
    let leaf = Leaf::new(Pfn::new(DATA / K4), LeafFlags::WRITE);
    tables.map(&mut mem, Vaddr::new(0), grain(G1), leaf).expect("new tables are empty");
    guest.run(&[(0, Access::Read)]) == [Answer::Value(0)]
}

impl Checked {
    fn new(mut guest: Guest, seed: u64, memory: BTreeMap<u64, u64>) -> Self {
        let mut mem = GuestTables::new(guest.ram.clone());
        let tables = PageTables::new(&mut mem).expect("there is room for tables");
        guest.start(&mut mem, &tables);
        let window = WINDOWS[usize::try_from(seed).expect("few") % WINDOWS.len()];
        let random = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (pages, touched) = (BTreeMap::new(), BTreeSet::new());
        Self {
            guest,
            mem,
            tables,
            pages,
            memory,
            touched,
            owed: Vec::new(),
            list: Vec::new(),
            window,
            largest: M2,
            random,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn page_at(&self, addr: u64) -> Option<(u64, Page)> {
        let (&start, &page) = self.pages.range(..=addr).next_back()?;
        (addr - start < page.size).then_some((start, page))
    }

    fn some_page(&mut self) -> Option<(u64, Page)> {
        let n = self.random(self.pages.len().max(1) as u64);
        self.pages.iter().nth(usize::try_from(n).expect("few")).map(|(&at, &page)| (at, page))
    }

    fn some_flags(&mut self) -> LeafFlags {
        let mut flags = LeafFlags::empty();
        flags.set(LeafFlags::WRITE, self.random(3) > 0);
        flags.set(LeafFlags::NO_EXECUTE, self.random(2) > 0);
        flags.set(LeafFlags::USER, self.random(2) > 0);
        flags
    }

    fn map_all(&mut self, largest: u64) {
        self.largest = largest;
        let mut made = 0;
        while made < PAGES {
            let size = match self.random(20) {
                0 => largest,
                1..8 => M2,
                _ => K4,
            };
            // Small pages lie close together, so that some share tables and some meet larger ones.
            let addr = match size {
                G1 => self.random(4) * G1,
                M2 => self.random(4) * G1 + self.random(8) * M2,
                _ => self.random(4) * G1 + self.random(6) * M2 + self.random(24) * K4,
            };
            let frame = DATA + self.random((END - DATA) / size).min(self.random(40)) * size;
            let addr = self.window + addr;
            if self.map(addr, size, frame) {
                made += 1;
            }
            if self.pages.values().filter(|page| page.size == G1).count() == 4 {
                return;
            }
        }
    }

    fn map(&mut self, addr: u64, size: u64, frame: u64) -> bool {
        let flags = self.some_flags();
        let leaf = Leaf::new(Pfn::new(frame / K4), flags);
        let mapped = self.tables.map(&mut self.mem, Vaddr::new(addr), grain(size), leaf);
        let page = Page { size, frame, flags, used: Used::No, written: false };
        let taken = self.page_at(addr).is_some() || self.pages.range(addr..addr + size).next().is_some();
        match mapped {
            Ok(()) => assert!(!taken, "{addr:#x} was in use"),
            Err(MapRefusal::Occupied { .. } | MapRefusal::NoWay { .. }) => return false,
            Err(other) => panic!("{other}"),
        }
        self.pages.insert(addr, page);
        true
    }

    /// The guest forgets what is owed, and comes to every page and into holes.
    fn come(&mut self) -> usize {
        self.list.clear();
        self.touched.clear();
        for range in std::mem::take(&mut self.owed) {
            self.forget(range);
        }
        let all: Vec<(u64, u64)> = self.pages.iter().map(|(&at, page)| (at, page.size)).collect();
        let some = all.len() / VISITS + 1;
        let skip = usize::try_from(self.random(some as u64)).expect("few");
        for (at, size) in all.into_iter().skip(skip).step_by(some) {
            for _ in 0..1 + self.random(2) {
                let offset = match self.random(4) {
                    0 => 0,
                    1 => size - 8,
                    _ => self.random(size / 8) * 8,
                };
                self.access(at + offset);
            }
            // What lies behind may be a hole.
            if self.random(4) == 0 && (at + size) & 0xffff_ffff != 0 {
                self.access(at + size);
            }
        }
        self.compare()
    }

    fn access(&mut self, addr: u64) {
        let access = match self.random(8) {
            0..3 => Access::Read,
            3..7 => Access::Write(self.random(u64::MAX)),
            _ => Access::Execute,
        };
        if access == Access::Execute {
            // The guest finds a return there, and so does whoever reads it.
            let Some((start, page)) = self.page_at(addr) else { return self.list.push((addr, access)) };
            if addr & 0xfff > 0xf00 || self.list.len() > LIST_MAX {
                return;
            }
            let frame = page.frame + (addr - start);
            if self.touched.contains(&frame) {
                return;
            }
            self.guest.ram.store(frame, RETURN);
            self.memory.insert(frame, RETURN);
        }
        self.touched.extend(self.frame_of(addr));
        self.list.push((addr, access));
    }

    fn frame_of(&self, addr: u64) -> Option<u64> {
        self.page_at(addr).map(|(start, page)| page.frame + (addr - start))
    }

    fn forget(&mut self, range: VaddrRange) {
        if range.len() > Bytes::kib(64) {
            return self.list.push((0, Access::ForgetAll));
        }
        for addr in (range.start.get()..range.end.get()).step_by(4096) {
            self.list.push((addr, Access::Forget));
        }
    }

    fn compare(&mut self) -> usize {
        let list = std::mem::take(&mut self.list);
        let answers = self.guest.run(&list);
        for (&(addr, access), &answer) in list.iter().zip(&answers) {
            let expected = self.expected(addr, access);
            assert_eq!(answer, expected, "{access:x?} at {addr:#x}, where there is {:x?}", self.page_at(addr));
        }
        self.compare_traces();
        list.len()
    }

    /// What the list says of an access, which leaves its traces in the list.
    fn expected(&mut self, addr: u64, access: Access) -> Answer {
        let fault = |reason| Answer::Fault { reason, addr };
        let found = self.page_at(addr);
        let (writes, executes) = (matches!(access, Access::Write(_)), access == Access::Execute);
        if matches!(access, Access::Forget | Access::ForgetAll) {
            self.trace(addr, Used::Perhaps, false);
            return Answer::Value(0);
        }
        let reason = u64::from(writes) << 1 | u64::from(executes) << 4;
        let Some((start, page)) = found else { return fault(reason) };
        let forbidden =
            writes && !page.flags.contains(LeafFlags::WRITE) || executes && page.flags.contains(LeafFlags::NO_EXECUTE);
        if forbidden {
            self.trace(addr, Used::Perhaps, false);
            return fault(reason | 1);
        }
        self.trace(addr, Used::Yes, writes);
        let frame = page.frame + (addr - start);
        match access {
            Access::Write(value) => {
                self.memory.insert(frame, value);
                Answer::Value(value)
            }
            Access::Read => Answer::Value(self.memory.get(&frame).copied().unwrap_or(0)),
            _ => Answer::Value(0),
        }
    }

    fn trace(&mut self, addr: u64, used: Used, written: bool) {
        if let Some((start, _)) = self.page_at(addr) {
            let page = self.pages.get_mut(&start).expect("it was just found");
            page.used = page.used.max(used);
            page.written |= written;
        }
    }

    /// Every page is as the list says, and nothing else is mapped.
    fn compare_traces(&mut self) {
        let window = VaddrRange::new(Vaddr::new(self.window), Vaddr::new(self.window + 4 * G1));
        let mut seen = 0;
        for (at, found) in self.tables.over(&self.mem, window) {
            let Entry::Leaf(leaf) = found.entry else { continue };
            let page = self.pages.get(&at.get()).unwrap_or_else(|| panic!("{at}: {leaf:?} is not in the list"));
            seen += 1;
            assert_eq!((found.place.grain(), leaf.pfn), (grain(page.size), Pfn::new(page.frame / K4)), "{at}");
            let accessed = leaf.flags.contains(LeafFlags::ACCESSED);
            match page.used {
                Used::Yes => assert!(accessed, "{at} was used: {page:x?}"),
                Used::No => assert!(!accessed, "{at} was not used: {page:x?}"),
                Used::Perhaps => {}
            }
            assert_eq!(leaf.flags.contains(LeafFlags::DIRTY), page.written, "{at}: {page:x?}");
        }
        assert_eq!(seen, self.pages.len());
        let tally = self.tables.validate(&self.mem).unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(tally.tables, self.mem.linked);
    }

    fn change(&mut self) {
        for _ in 0..30 {
            let Some((at, page)) = self.some_page() else { return };
            match self.random(6) {
                0 | 1 => self.split(at, page),
                2 => self.collapse(at),
                3 => self.protect(at, page),
                4 => self.wipe(at, page),
                _ => self.unmap(at, page),
            }
        }
    }

    fn split(&mut self, at: u64, page: Page) {
        let target = if self.random(2) == 0 { M2 } else { K4 };
        let addr = at + self.random(page.size / K4) * K4;
        let owed = self.tables.split(&mut self.mem, &mut |_| (), Vaddr::new(addr), grain(target));
        self.owed.extend(owed.expect("there is a page").range());
        let (mut start, mut whole) = (at, page);
        while whole.size > target {
            let part = whole.size / 512;
            self.pages.remove(&start);
            for n in 0..512 {
                let piece = Page { size: part, frame: whole.frame + n * part, ..whole };
                self.pages.insert(start + n * part, piece);
            }
            (start, whole) = self.page_at(addr).expect("it was just divided");
        }
    }

    fn collapse(&mut self, at: u64) {
        let size = if self.random(3) == 0 { self.largest } else { M2 };
        let start = at & !(size - 1);
        let parts: Vec<(u64, Page)> = self.pages.range(start..start + size).map(|(&at, &page)| (at, page)).collect();
        let Some(&(first, page)) = parts.first() else { return };
        let Some(frame) = page.frame.checked_sub(first - start).filter(|&f| f >= DATA && f.is_multiple_of(size)) else {
            return;
        };
        let flags = self.some_flags();
        let leaf = Leaf::new(Pfn::new(frame / K4), flags);
        let owed = &mut self.owed;
        let (addr, grain) = (Vaddr::new(at), grain(size));
        // The guest is stopped: it may forget afterwards.
        match self.tables.collapse(&mut self.mem, &mut |range| owed.push(range), addr, grain, leaf) {
            Ok(Collapsed::Whole { leaves, .. }) => {
                assert_eq!(leaves, parts.len() as u64);
                let used = parts.iter().map(|(_, page)| page.used).max().unwrap_or(Used::No);
                let written = parts.iter().any(|(_, page)| page.written);
                parts.iter().for_each(|(at, _)| _ = self.pages.remove(at));
                self.pages.insert(start, Page { size, frame, flags, used, written });
            }
            Ok(Collapsed::AsItWas) => assert!(parts.len() == 1 && page.size >= size),
            Err(CollapseRefusal::NoTable(_)) => {}
            Err(CollapseRefusal::Elsewhere { .. }) => {
                assert!(parts.iter().any(|(at, page)| page.frame != frame + (at - start)));
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn protect(&mut self, at: u64, page: Page) {
        let flags = self.some_flags();
        let kept = LeafFlags::ACCESSED | LeafFlags::DIRTY;
        self.set_flags(at, page, |old| old & kept | flags);
        self.pages.insert(at, Page { flags, ..page });
    }

    /// Takes the traces away. Without the flush that is owed, the processor would leave no new ones.
    fn wipe(&mut self, at: u64, page: Page) {
        self.set_flags(at, page, |old| old - LeafFlags::ACCESSED - LeafFlags::DIRTY);
        self.pages.insert(at, Page { used: Used::No, written: false, ..page });
    }

    fn set_flags(&mut self, at: u64, page: Page, change: impl Fn(LeafFlags) -> LeafFlags) {
        let range = VaddrRange::new(Vaddr::new(at), Vaddr::new(at + page.size));
        let done = self.tables.protect(&mut self.mem, &mut |_| (), range, change).expect("it is one page");
        self.owed.extend(done.owed.range());
    }

    fn unmap(&mut self, at: u64, page: Page) {
        let range = VaddrRange::new(Vaddr::new(at), Vaddr::new(at + page.size));
        let mut gone = 0;
        let owed = self.tables.unmap(&mut self.mem, range, Notes::Keep, |_, _, _| gone += 1);
        self.owed.extend(owed.expect("it is one page").range());
        assert_eq!(gone, 1);
        self.pages.remove(&at);
    }
}

fn grain(size: u64) -> Grain {
    let grain = Grain::new::<X86_64>(Bytes::new(size)).expect("a size of x86-64");
    debug_assert!(grain.level() <= Level::Pud);
    grain
}
