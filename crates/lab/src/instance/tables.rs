//! Page tables by themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hugefolio::{Bytes, Calls as _, Moves as _, PageCount, Paging, Pfn, PieceState, Vaddr, VaddrRange};
use paging::Tables::{AsTheyAre, Make};
use paging::arch::{Arm64K4, Arm64K16, Arm64K64, X86_64};
use paging::{
    Arch, Entry, Found, Grain, HeapTables, Leaf, LeafFlags, Level, MapRefusal, Marker, Migration, NoSuchGrain,
    PageTables, Place, Recheck, Section, Slot, Swap, Table, TableMemory, WalkStopped, Word, recheck, walk,
};

use super::{Instance, answers};
use crate::op::{self, Op, Protection, Size, Span, Switch, TableEntry};
use crate::scenario::{Known, PieceField, PieceQuery, TablesField};
use crate::target::{Answer, Extras, StepResult};

/// Tables of one of the architectures.
#[derive(Clone, Debug)]
pub(super) enum Tables {
    X86_64(Tree<X86_64>),
    Arm64K4(Tree<Arm64K4>),
    Arm64K16(Tree<Arm64K16>),
    Arm64K64(Tree<Arm64K64>),
}

macro_rules! each {
    ($tables:expr, $tree:ident => $does:expr) => {
        match $tables {
            Tables::X86_64($tree) => $does,
            Tables::Arm64K4($tree) => $does,
            Tables::Arm64K16($tree) => $does,
            Tables::Arm64K64($tree) => $does,
        }
    };
}

/// How many tables there may be unless said otherwise, and at most.
const TABLES: u32 = 64;
const TABLES_MAX: u32 = 1_024;

impl Instance {
    pub(super) fn tables_op(&mut self, op: &Op) -> Answer {
        if let Op::PtNew(op::PtNew { tables, max }) = op {
            let max = max.map_or(TABLES, op::FrameTotal::get).clamp(1, TABLES_MAX);
            let made = Tables::new(self.machine.paging(), PageCount::new(max.into()));
            let Some(made) = made else { return StepResult::Errno("ENOMEM".to_owned()).into() };
            self.tables.insert(tables.as_str().to_owned(), made);
            return Answer::ok();
        }
        let (Op::PtPut(op::PtPut { tables, .. })
        | Op::PtMap(op::PtMap { tables, .. })
        | Op::PtWalk(op::PtWalk { tables, .. })
        | Op::PtRecheck(op::PtRecheck { tables, .. })
        | Op::PtProtect(op::PtProtect { tables, .. })) = op
        else {
            return StepResult::BadOp.into();
        };
        match self.tables.get_mut(tables.as_str()) {
            Some(tables) => each!(tables, tree => tree.run(op)),
            None => StepResult::Nomap.into(),
        }
    }
}

impl Instance {
    pub(super) fn ask_of_piece(&mut self, query: &PieceQuery) -> Option<Known> {
        let state = self.actors.get(&query.actor.number())?;
        let (pid, map) = (state.pid, *state.maps.get(query.map.as_str())?);
        let number = |n: u64| Known::Number(i64::try_from(n).unwrap_or(i64::MAX));
        let level = match query.field {
            PieceField::PteMapped => Some(0),
            PieceField::PmdMapped => Some(1),
            PieceField::PudMapped => Some(2),
            _ => None,
        };
        if let Some(level) = level {
            let end = Vaddr::new(map.addr.get().saturating_add(map.len));
            let smaps = self.machine.smaps(pid, VaddrRange::new(map.addr, end))?;
            return smaps.by_level.get(level).map(|bytes| number(bytes.get()));
        }
        let addr = Vaddr::new(map.addr.get().wrapping_add(query.offset.unsigned()));
        let at = self.machine.mapping_at(pid, addr)?;
        Some(match query.field {
            PieceField::What => Known::Text(word(at.piece.state).to_owned()),
            PieceField::Size => number(at.piece.size.get()),
            PieceField::Mapcount => number(at.mapcount.into()),
            PieceField::Leaves => number(at.leaves.into()),
            PieceField::Pmds => number(at.tables.0.get()),
            PieceField::Ptes => number(at.tables.1.get()),
            PieceField::Broken => number(at.broken.into()),
            PieceField::Refs => number(at.refs?),
            PieceField::PteMapped | PieceField::PmdMapped | PieceField::PudMapped => return None,
        })
    }
}

/// What is at a place, in the words of [`told`].
const fn word(state: PieceState) -> &'static str {
    match state {
        PieceState::Hole { uffd_wp: false } => "hole",
        PieceState::Hole { uffd_wp: true } => "marker",
        PieceState::Page { uffd_wp: true, .. } => "protected",
        PieceState::Page { writable: true, .. } => "page",
        PieceState::Page { writable: false, .. } => "read-only",
        PieceState::Broken => "broken",
    }
}

impl Tables {
    fn new(paging: Paging, max: PageCount) -> Option<Self> {
        Some(match paging {
            Paging::X86_64 => Self::X86_64(Tree::new(max)?),
            Paging::Arm64K4 => Self::Arm64K4(Tree::new(max)?),
            Paging::Arm64K16 => Self::Arm64K16(Tree::new(max)?),
            Paging::Arm64K64 => Self::Arm64K64(Tree::new(max)?),
        })
    }

    pub(super) fn ask(&self, field: TablesField) -> Known {
        let count = each!(self, tree => tree.count(field));
        Known::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }
}

/// Memory in which somebody else acts once while a table is had.
#[derive(Clone, Debug)]
struct Contested<A: Arch> {
    tables: HeapTables<A>,
    meanwhile: Option<(PageTables<A>, Vaddr, Grain)>,
}

impl<A: Arch> TableMemory for Contested<A> {
    fn alloc_table(&mut self, level: Level) -> Option<Table> {
        let table = self.tables.alloc_table(level)?;
        if let Some((tree, at, grain)) = self.meanwhile.take() {
            // What becomes of the other one shows in the tables.
            let _ = tree.map(&mut self.tables, at, grain, page::<A>(at, TableEntry::Page));
        }
        Some(table)
    }

    fn free_table(&mut self, table: Table, level: Level) {
        self.tables.free_table(table, level);
    }

    fn load(&self, slot: Slot) -> Word {
        self.tables.load(slot)
    }

    fn store(&mut self, slot: Slot, word: Word) {
        self.tables.store(slot, word);
    }

    fn compare_exchange(&mut self, slot: Slot, old: Word, new: Word) -> Result<(), Word> {
        self.tables.compare_exchange(slot, old, new)
    }

    fn section<R>(&mut self, _: Section, f: impl FnOnce(&mut Self) -> R) -> R {
        f(self)
    }

    fn linked(&mut self, level: Level) {
        self.tables.linked(level);
    }

    fn unlinked(&mut self, level: Level) {
        self.tables.unlinked(level);
    }
}

/// Tables of one architecture, and places in them by name.
#[derive(Clone, Debug)]
pub(super) struct Tree<A: Arch> {
    mem: Contested<A>,
    tree: PageTables<A>,
    found: BTreeMap<String, Found>,
}

impl<A: Arch> Tree<A> {
    fn new(max: PageCount) -> Option<Self> {
        let mut mem = Contested { tables: HeapTables::new(max), meanwhile: None };
        let tree = PageTables::new(&mut mem).ok()?;
        Some(Self { mem, tree, found: BTreeMap::new() })
    }

    fn run(&mut self, op: &Op) -> Answer {
        match op {
            Op::PtMap(op::PtMap { at, grain, meanwhile, .. }) => match grain_of::<A>(*grain) {
                Ok(grain) => {
                    let tree = self.tree;
                    self.mem.meanwhile = meanwhile.map(|other| (tree, addr(other), grain));
                    let mapped = self.map(addr(*at), grain, TableEntry::Page);
                    self.mem.meanwhile = None;
                    answers::done(mapped)
                }
                Err(error) => answers::failed(&error),
            },
            Op::PtPut(op::PtPut { at, grain, entry, .. }) => match grain_of::<A>(*grain) {
                Ok(grain) => answers::done(self.put(addr(*at), grain, *entry)),
                Err(error) => answers::failed(&error),
            },
            Op::PtWalk(op::PtWalk { at, grain, make, found, .. }) => match grain_of::<A>(*grain) {
                Ok(grain) => {
                    match self.walk(addr(*at), grain, if make.is_some_and(Switch::is_on) { Make } else { AsTheyAre }) {
                        Ok(came) => {
                            if let Some(name) = found {
                                self.found.insert(name.as_str().to_owned(), came);
                            }
                            told(came)
                        }
                        Err(stopped) => answers::failed(&stopped),
                    }
                }
                Err(error) => answers::failed(&error),
            },
            Op::PtRecheck(op::PtRecheck { found, .. }) => match self.found.get(found.as_str()) {
                Some(found) => what(match recheck::<A, _>(&self.mem, found) {
                    Recheck::Same => "same",
                    Recheck::Split => "split",
                    Recheck::Changed(_) => "changed",
                }),
                None => StepResult::Nomap.into(),
            },
            Op::PtProtect(op::PtProtect { range, prot, .. }) => self.protect(*range, *prot),
            _ => StepResult::BadOp.into(),
        }
    }

    fn map(&mut self, at: Vaddr, grain: Grain, entry: TableEntry) -> Result<(), MapRefusal> {
        self.tree.map(&mut self.mem, at, grain, page::<A>(at, entry))
    }

    /// What is no page is written into the place that a page of that grain would have.
    fn put(&mut self, at: Vaddr, grain: Grain, entry: TableEntry) -> Result<(), MapRefusal> {
        let frame = page::<A>(at, entry).pfn;
        let entry = match entry {
            TableEntry::Page | TableEntry::ReadOnly => return self.map(at, grain, entry),
            TableEntry::Marker => Entry::Marker(Marker::UFFD_WP),
            TableEntry::Migration => Entry::Migration(Migration { pfn: frame, writable: true }),
            TableEntry::Broken => Entry::Hwpoison(frame),
            TableEntry::Swap => Swap::new(1).map_or(Entry::None, Entry::Swap),
        };
        let found = self.walk(at, grain, Make).map_err(|stopped| MapRefusal::NoWay { addr: at, why: stopped.why })?;
        if found.place.grain() != grain || found.entry != Entry::None {
            return Err(MapRefusal::Occupied { addr: at, entry: found.entry });
        }
        let slot = found.place.slot();
        for n in 0..grain.entries::<A>() {
            self.mem.store(slot.offset(n), A::encode(grain.level(), entry));
        }
        Ok(())
    }

    fn walk(&mut self, at: Vaddr, grain: Grain, tables: paging::Tables) -> Result<Found, WalkStopped> {
        let top: Place = self.tree.top(at);
        walk::<A, _>(&mut self.mem, top, at, grain, tables)
    }

    fn protect(&mut self, range: Span, prot: Protection) -> Answer {
        let (start, len) = (addr(range.off), range.len.unsigned());
        let Some(end) = start.get().checked_add(len).filter(|end| A::is_mappable(Vaddr::new(*end))) else {
            return StepResult::Errno("EINVAL".to_owned()).into();
        };
        let mut flushed = String::new();
        let mut flush = |range: VaddrRange| {
            let sep = if flushed.is_empty() { "" } else { ", " };
            let written = write!(flushed, "{sep}{}..{}", size(range.start), size(range.end));
            debug_assert!(written.is_ok(), "a string takes everything");
        };
        let part = VaddrRange::new(start, Vaddr::new(end));
        let change = |flags: LeafFlags| if prot.write { flags | LeafFlags::WRITE } else { flags - LeafFlags::WRITE };
        match self.tree.protect(&mut self.mem, &mut flush, part, change) {
            Ok(done) => {
                if let Some(owed) = done.owed.range() {
                    flush(owed);
                }
                done.owed.settle(&mut |_| ());
                Answer { extras: Extras { flushed: Some(flushed), ..Extras::default() }, ..Answer::ok() }
            }
            Err(straddles) => answers::failed(&straddles),
        }
    }

    fn count(&self, field: TablesField) -> u64 {
        let tally = || self.tree.validate(&self.mem).unwrap_or_default();
        match field {
            TablesField::Pmds => self.mem.tables.linked_tables(Level::Pmd).get(),
            TablesField::Ptes => self.mem.tables.linked_tables(Level::Pte).get(),
            TablesField::Used => self.mem.tables.used().get(),
            TablesField::Leaves => tally().leaves.iter().sum(),
            TablesField::Groups => tally().groups.iter().sum(),
            TablesField::Others => tally().others,
        }
    }
}

fn addr(size: Size) -> Vaddr {
    Vaddr::new(size.unsigned())
}

fn size(addr: Vaddr) -> Size {
    Size::bytes(addr.get().cast_signed())
}

fn grain_of<A: Arch>(size: Size) -> Result<Grain, NoSuchGrain> {
    Grain::new::<A>(Bytes::new(size.unsigned()))
}

/// Every address is mapped to the frame of that number.
fn page<A: Arch>(at: Vaddr, entry: TableEntry) -> Leaf {
    let flags = if entry == TableEntry::ReadOnly { LeafFlags::empty() } else { LeafFlags::WRITE };
    Leaf::new(Pfn::new((at.get() >> A::PAGE.get()) & ((1 << 30) - 1)), flags)
}

fn told(found: Found) -> Answer {
    let mut answer = what(match found.entry {
        Entry::None => "none",
        Entry::Marker(_) => "marker",
        Entry::Migration(_) => "migration",
        Entry::Hwpoison(_) => "broken",
        Entry::Swap(_) => "swap",
        Entry::Table(_) => "table",
        Entry::Leaf(leaf) if leaf.flags.contains(LeafFlags::UFFD_WP) => "protected",
        Entry::Leaf(leaf) if leaf.flags.contains(LeafFlags::WRITE) => "page",
        Entry::Leaf(_) => "read-only",
    });
    answer.extras.size = i64::try_from(found.place.grain().size().get()).ok();
    answer
}

fn what(word: &str) -> Answer {
    Answer { extras: Extras { what: Some(word.to_owned()), ..Extras::default() }, ..Answer::ok() }
}
