//! Memory before there are zones.

use alloc::vec::Vec;

use units::{Migratetype, Order, PageCount, Pfn};

use crate::list::End;
use crate::state::{StateError, ZoneState};
use crate::zone::{Zone, ZoneLayout};

/// Frames in ascending ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(Pfn, Pfn)>);

impl Ranges {
    fn add(&mut self, start: Pfn, end: Pfn) {
        if start >= end {
            return;
        }
        let touches = |&(s, e): &(Pfn, Pfn)| s <= end && start <= e;
        let joined = self.0.iter().filter(|range| touches(range));
        let new = joined.fold((start, end), |(s, e), range| (s.min(range.0), e.max(range.1)));
        self.0.retain(|range| !touches(range));
        let at = self.0.partition_point(|range| range.0 < start);
        self.0.insert(at, new);
    }

    fn remove(&mut self, start: Pfn, end: Pfn) {
        if start >= end {
            return;
        }
        let parts = self.0.iter().flat_map(|&(s, e)| [(s, e.min(start)), (s.max(end), e)]);
        self.0 = parts.filter(|&(s, e)| s < e).collect();
    }

    /// Those of these frames that are in the others, too.
    fn within(&self, others: &[(Pfn, Pfn)]) -> Self {
        let mut within = Self::default();
        for &(start, end) in others {
            let parts = self.0.iter().map(|&(s, e)| (s.max(start), e.min(end)));
            parts.for_each(|(s, e)| within.add(s, e));
        }
        within
    }

    fn without(mut self, others: &Self) -> Self {
        others.0.iter().for_each(|&(start, end)| self.remove(start, end));
        self
    }
}

/// The memory that a machine starts with, as ranges of frames, and which of it is in use before there are zones. It serves until then, and
/// hands over what is left.
#[doc(alias("memblock", "memblock_free_all"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootMemory {
    memory: Ranges,
    reserved: Ranges,
    /// What the kernel never maps.
    unmapped: Ranges,
}

impl BootMemory {
    /// No memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// There is memory from `start` to before `end`.
    #[doc(alias = "memblock_add")]
    pub fn add(&mut self, start: Pfn, end: Pfn) {
        self.memory.add(start, end);
    }

    /// Somebody has these frames, be there memory or not.
    #[doc(alias = "memblock_reserve")]
    pub fn reserve(&mut self, start: Pfn, end: Pfn) {
        self.reserved.add(start, end);
    }

    /// Nobody has them any more.
    #[doc(alias = "memblock_phys_free")]
    pub fn free(&mut self, start: Pfn, end: Pfn) {
        self.reserved.remove(start, end);
    }

    /// The kernel never maps these frames, so nobody gets them.
    #[doc(alias = "memblock_mark_nomap")]
    pub fn leave_unmapped(&mut self, start: Pfn, end: Pfn) {
        self.unmapped.add(start, end);
    }

    /// The highest free frames of a range that begin at a multiple of `align`; they are reserved from then on.
    #[doc(alias("memblock_phys_alloc_range", "memblock_find_in_range_node"))]
    pub fn alloc(&mut self, pages: PageCount, align: Order, within: (Pfn, Pfn)) -> Option<Pfn> {
        let free = Ranges(self.free_ranges()).within(&[within]);
        let size = pages.get().max(1);
        let start = free.0.iter().rev().find_map(|&(start, end)| {
            let highest = end.get().checked_sub(size)? >> align.get() << align.get();
            (highest >= start.get()).then_some(Pfn::new(highest))
        })?;
        self.reserve(start, start.offset(PageCount::new(size)));
        Some(start)
    }

    /// Memory that is neither reserved nor left unmapped.
    #[must_use]
    pub fn free_ranges(&self) -> Vec<(Pfn, Pfn)> {
        self.memory.clone().without(&self.reserved).without(&self.unmapped).0
    }

    /// The zone of those frames of `layout` that there are. What is free is handed over in the largest aligned blocks, upwards, each behind
    /// those before, so the lowest of each size is taken first; the rest is present and nobody's, and the zone does not manage it.
    ///
    /// # Errors
    /// As [`Zone::new`].
    pub fn zone(&self, layout: ZoneLayout) -> Result<Zone, StateError> {
        let present = self.memory.within(&layout.spans);
        let free = Ranges(self.free_ranges()).within(&present.0);
        let mut state = ZoneState::allocated(ZoneLayout { spans: present.0.clone(), ..layout });
        state.reserved = present.without(&free).0;
        let mut zone = Zone::from_state(&state)?;
        free.0.iter().for_each(|&(start, end)| zone.hand_over(start, end));
        Ok(zone)
    }
}

impl Zone {
    /// Hands frames over in the largest aligned blocks, upwards, each behind those before.
    pub(crate) fn hand_over(&mut self, start: Pfn, end: Pfn) {
        let (mut at, end) = (start.get() - self.base, end.get() - self.base);
        while at < end {
            let fits = (end - at).ilog2().min(at.trailing_zeros()) as usize;
            let order = fits.min(self.top);
            let blocks = if order == self.top { (end - at) >> order } else { 1 };
            if order == self.top {
                let first = self.top_block(at);
                let last = self.top_block(at + ((blocks - 1) << order));
                let lists = &mut self.lists[Migratetype::Movable.index()];
                self.runs.push(lists.of_mut(order), first, last, End::Tail);
                lists.settle(order);
            } else {
                self.push(at, order, Migratetype::Movable, End::Tail);
            }
            self.free_plain += blocks << order;
            at += blocks << order;
        }
    }

    /// Frames that boot kept: they are present, nobody gets them, and nobody gives them back.
    #[doc(alias = "PageReserved")]
    #[must_use]
    pub fn reserved(&self) -> &[(Pfn, Pfn)] {
        &self.reserved
    }

    /// Frames that boot kept are the zone's from now on: allocated, and whoever has them gives them back in whatever sizes.
    ///
    /// # Errors
    /// Not all of them are kept, and nothing was done.
    #[doc(alias("free_reserved_page", "adjust_managed_page_count"))]
    pub fn release(&mut self, start: Pfn, pages: PageCount) -> Result<(), StateError> {
        let end = start.offset(pages);
        let Some(at) = self.reserved.iter().position(|&(s, e)| s <= start && end <= e) else {
            return Err(StateError::Outside(start));
        };
        let (before, past) = self.reserved[at];
        let left = [(before, start), (end, past)].into_iter().filter(|&(s, e)| s < e);
        self.reserved.splice(at..=at, left);
        self.managed += pages.get();
        Ok(())
    }

    /// The first reserved frame from `start` to before `end`.
    pub(crate) fn first_reserved(&self, start: Pfn, end: Pfn) -> Option<Pfn> {
        let at = self.reserved.partition_point(|range| range.1 <= start);
        self.reserved.get(at).map(|range| range.0.max(start)).filter(|&first| first < end)
    }

    /// Takes the reserved frames of a state over.
    pub(crate) fn reserve(&mut self, ranges: &[(Pfn, Pfn)]) -> Result<(), StateError> {
        let mut past = Pfn::new(0);
        for &(start, end) in ranges {
            let inside = |&(s, e): &(Pfn, Pfn)| s <= start && end <= e;
            if start >= end || !self.layout.spans.iter().any(inside) {
                return Err(StateError::Outside(start));
            }
            if start < past {
                return Err(StateError::Twice(start));
            }
            past = end;
            self.managed -= end.get() - start.get();
        }
        self.reserved = ranges.to_vec();
        Ok(())
    }
}
