//! A zone as a value: described, not grown.

use alloc::vec::Vec;

use memmap::Broken;
use units::{Migratetype, Order, PageCount, Pfn};

use crate::grouping::Grouping;
use crate::list::{End, NIL};
use crate::pageblock::{Mark, Start};
use crate::pcp::{PerCpuPages, PerCpuState, ZonePressure};
use crate::watermark::{BoostFactor, Protection, Watermarks};
use crate::zone::{Zone, ZoneError, ZoneLayout, order_of};

/// Everything that a zone is. What is not free is allocated, to processors' lists too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// What does not change in it.
    pub layout: ZoneLayout,
    /// Pageblocks that are not movable, by a frame of theirs; for isolated ones the type beneath.
    pub types: Vec<(Pfn, Migratetype)>,
    /// Pageblocks that are isolated.
    pub isolated: Vec<Pfn>,
    /// The free lists from head to tail.
    pub free: Vec<FreeBlocks>,
    /// Allocated blocks whose owners can move them.
    pub movable: Vec<(Pfn, Order)>,
    /// Frames that boot kept, in ascending ranges: present, managed by nobody, and never given back.
    pub reserved: Vec<(Pfn, Pfn)>,
    /// Other allocated blocks whose sizes are known. What is neither here nor free may be given back in any size.
    pub used: Vec<(Pfn, Order)>,
    /// The marks.
    pub marks: Watermarks,
    /// What is kept from whom.
    pub protection: Protection,
    /// By how much the marks are raised.
    pub boost: PageCount,
    /// How far that may go.
    pub boost_factor: BoostFactor,
    /// The boost was raised, and background reclaim was not woken for it yet.
    pub boosted: bool,
    /// How scarce its pages were seen to be.
    pub pressure: ZonePressure,
    /// Whether types count.
    pub grouping: Grouping,
}

/// The free blocks of one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeBlocks {
    /// Their size.
    pub order: Order,
    /// The type of their pageblocks.
    pub migratetype: Migratetype,
    /// From head to tail: the first and the last block of runs, upwards or downwards.
    pub runs: Vec<(Pfn, Pfn)>,
}

/// Why a state cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The zone itself cannot be.
    #[error("{0}")]
    Zone(#[from] ZoneError),
    /// A frame that the zone does not have.
    #[error("{0} is not a frame of the zone")]
    Outside(Pfn),
    /// A block that does not start where blocks of its order start, or is too large.
    #[error("{pfn} is not the start of a block of {order}")]
    Misaligned {
        /// The frame.
        pfn: Pfn,
        /// The order.
        order: Order,
    },
    /// Two things start at one frame.
    #[error("{0} is given twice")]
    Twice(Pfn),
    /// The parts contradict each other.
    #[error("{0}")]
    Broken(Broken),
}

impl ZoneState {
    /// A zone of `layout` in which nothing is free.
    #[must_use]
    pub fn allocated(layout: ZoneLayout) -> Self {
        Self {
            layout,
            types: Vec::new(),
            isolated: Vec::new(),
            free: Vec::new(),
            movable: Vec::new(),
            reserved: Vec::new(),
            used: Vec::new(),
            marks: Watermarks::default(),
            protection: Protection::default(),
            boost: PageCount::ZERO,
            boost_factor: BoostFactor::default(),
            boosted: false,
            pressure: ZonePressure::default(),
            grouping: Grouping::default(),
        }
    }

    /// The same with more free blocks behind those on a list.
    #[must_use]
    pub fn with_free(mut self, order: Order, migratetype: Migratetype, blocks: &[Pfn]) -> Self {
        let runs = blocks.iter().map(|&block| (block, block)).collect();
        self.free.push(FreeBlocks { order, migratetype, runs });
        self
    }

    /// The same with the pageblock of a frame of another type.
    #[must_use]
    pub fn with_type(mut self, pfn: Pfn, migratetype: Migratetype) -> Self {
        self.types.push((pfn, migratetype));
        self
    }
}

impl ZoneState {
    fn note_used(&mut self, pfn: Pfn, mark: Mark) {
        match mark.start() {
            Start::Movable(order) => self.movable.push((pfn, order_of(order))),
            Start::Used(order) => self.used.push((pfn, order_of(order))),
            _ => (),
        }
    }
}

impl Zone {
    /// The zone that is in this state.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn from_state(state: &ZoneState) -> Result<Self, StateError> {
        let mut zone = Self::allocated(state.layout.clone())?;
        zone.reserve(&state.reserved)?;
        for &(pfn, migratetype) in &state.types {
            let block = zone.checked_block(pfn)?;
            if migratetype == Migratetype::Isolate {
                return Err(StateError::Twice(pfn));
            }
            zone.blocks.set_migratetype(block, migratetype);
        }
        for &pfn in &state.isolated {
            let block = zone.checked_block(pfn)?;
            if zone.blocks.migratetype(block) == Migratetype::Isolate {
                return Err(StateError::Twice(pfn));
            }
            zone.blocks.isolate(block);
            zone.isolated_blocks += 1;
        }
        for free in &state.free {
            for &(first, last) in &free.runs {
                zone.add_free(free.order, free.migratetype, first, last)?;
            }
        }
        for &(pfn, order) in &state.movable {
            zone.check_used(pfn, order)?;
            zone.mark_movable(pfn, order);
        }
        for &(pfn, order) in &state.used {
            zone.check_used(pfn, order)?;
            zone.mark_used(zone.frame(pfn), order.get().into());
        }
        zone.reserved_highatomic = zone.pages_of_type(Migratetype::HighAtomic);
        zone.set_marks(state.marks);
        zone.protection = state.protection;
        zone.set_boost(state.boost);
        (zone.boost_factor, zone.boosted) = (state.boost_factor, state.boosted);
        zone.set_pressure(state.pressure);
        zone.set_grouping(state.grouping);
        zone.validate().map_err(StateError::Broken)?;
        Ok(zone)
    }

    /// Its state; a zone made from it cannot be told from this one.
    #[must_use]
    pub fn state(&self) -> ZoneState {
        let mut state = ZoneState::allocated(self.layout.clone());
        state.reserved.clone_from(&self.reserved);
        for (block, record) in self.blocks.records() {
            let start = u64::from(block) << self.pageblock;
            let pfn = self.pfn(start);
            if self.blocks.beneath(block) != Migratetype::Movable {
                state.types.push((pfn, self.blocks.beneath(block)));
            }
            if record.migratetype() == Migratetype::Isolate {
                state.isolated.push(pfn);
            }
            state.note_used(pfn, record.mark);
            for (slot, mark) in self.pieces(block) {
                state.note_used(self.pfn(self.frames.frame(slot)), mark);
            }
        }
        for order in 0..=self.top {
            for migratetype in Migratetype::ALL {
                let runs = self.free_runs(order, migratetype);
                if !runs.is_empty() {
                    state.free.push(FreeBlocks { order: order_of(order), migratetype, runs });
                }
            }
        }
        (state.marks, state.protection) = (self.marks, self.protection);
        (state.boost, state.boost_factor, state.grouping) = (self.boost, self.boost_factor, self.grouping);
        (state.boosted, state.pressure) = (self.boosted, self.pressure);
        state
    }

    /// The state of a processor's lists of this zone; lists made from it with [`Zone::lists`] cannot be told from these.
    #[must_use]
    pub fn state_of_lists(&self, lists: &PerCpuPages) -> PerCpuState {
        let mut pages = Vec::new();
        let orders = (0..=Order::MAX.get()).map(Order::new).filter(|&order| lists.takes(order));
        for order in orders {
            // Unmovable and reclaimable huge pages share a list.
            let shared = order > PerCpuPages::LARGEST_OF_EVERY_TYPE;
            for migratetype in Migratetype::OF_REQUESTS {
                if !(shared && migratetype == Migratetype::Reclaimable) {
                    let blocks = self.cached(lists, order, migratetype);
                    pages.extend(blocks.into_iter().map(|pfn| (pfn, order, migratetype)));
                }
            }
        }
        lists.described(pages)
    }

    fn free_runs(&self, order: usize, migratetype: Migratetype) -> Vec<(Pfn, Pfn)> {
        if order == self.top {
            let pfn = |block: u32| self.pfn(u64::from(block) << order);
            let list = *self.lists[migratetype.index()].of(order);
            return joined(self.runs.of(list)).into_iter().map(|(first, last)| (pfn(first), pfn(last))).collect();
        }
        self.free_list(order_of(order), migratetype).into_iter().map(|block| (block, block)).collect()
    }

    fn add_free(&mut self, order: Order, migratetype: Migratetype, first: Pfn, last: Pfn) -> Result<(), StateError> {
        let at = usize::from(order.get());
        self.check_start(first, order)?;
        self.check_start(last, order)?;
        if at == self.top {
            let (first, last) = (self.top_block(self.frame(first)), self.top_block(self.frame(last)));
            let lists = &mut self.lists[migratetype.index()];
            self.runs.push(lists.of_mut(at), first, last, End::Tail);
            lists.settle(at);
            self.count_freed(migratetype, (u64::from(first.abs_diff(last)) + 1) << at);
            return Ok(());
        }
        let blocks = first.get().abs_diff(last.get()) >> at;
        for n in 0..=blocks {
            let pfn = Pfn::new(if first <= last { first.get() + (n << at) } else { first.get() - (n << at) });
            if self.is_marked(pfn, order) {
                return Err(StateError::Twice(pfn));
            }
            if at < self.pageblock {
                self.check_link(pfn)?;
            }
            self.push(self.frame(pfn), at, migratetype, End::Tail);
            self.count_freed(migratetype, 1 << at);
        }
        Ok(())
    }

    /// Does something start at a frame where a block of `order` would, or is that pageblock one block?
    fn is_marked(&self, pfn: Pfn, order: Order) -> bool {
        let frame = self.frame(pfn);
        let record = self.blocks.get(self.block(frame));
        record.is_some_and(|r| r.mark != Mark::NONE || usize::from(order.get()) >= self.pageblock && r.frames != NIL)
            || self.mark_at(frame) != Mark::NONE
    }

    /// Two frames share one link, as of two of them one at the most begins a free block. Where both did, the list would have no end.
    fn check_link(&self, pfn: Pfn) -> Result<(), StateError> {
        let beside = Pfn::new(pfn.get() ^ 1);
        if matches!(self.mark_at(self.frame(beside)).start(), Start::Free(_)) {
            let what = format_args!("free blocks at {} and beside it overlap or were not merged", pfn.min(beside));
            return Err(StateError::Broken(self.broken(what)));
        }
        Ok(())
    }

    /// May an allocated block be here? Those above the largest order are ranges.
    fn check_used(&self, pfn: Pfn, order: Order) -> Result<(), StateError> {
        if !pfn.is_aligned(order) {
            return Err(StateError::Misaligned { pfn, order });
        }
        if !self.holds(pfn, order) {
            return Err(StateError::Outside(pfn));
        }
        let kept = self.first_reserved(pfn, pfn.offset(order.pages())).is_some();
        if kept || self.is_marked(pfn, order) { Err(StateError::Twice(pfn)) } else { Ok(()) }
    }

    fn check_start(&self, pfn: Pfn, order: Order) -> Result<(), StateError> {
        if order > self.layout.largest || !pfn.is_aligned(order) {
            return Err(StateError::Misaligned { pfn, order });
        }
        self.checked_block(pfn).map(|_| ())
    }

    fn checked_block(&self, pfn: Pfn) -> Result<u32, StateError> {
        let inside = self.layout.spans.iter().any(|&(start, end)| start <= pfn && pfn < end);
        if inside { Ok(self.block(self.frame(pfn))) } else { Err(StateError::Outside(pfn)) }
    }
}

/// Runs that follow each other in one direction are one, however they came to lie there.
fn joined(runs: impl Iterator<Item = (u32, u32)>) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for (first, last) in runs {
        match all.last_mut() {
            Some(before) if before.1.checked_add(1) == Some(first) && before.0 <= before.1 && first <= last => {
                before.1 = last;
            }
            Some(before) if before.1.checked_sub(1) == Some(first) && before.0 >= before.1 && first >= last => {
                before.1 = last;
            }
            _ => all.push((first, last)),
        }
    }
    all
}
