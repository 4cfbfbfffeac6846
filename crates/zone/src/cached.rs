//! Allocation and free through the lists of a processor.

use alloc::vec::Vec;
use core::hint::cold_path;

use memmap::Broken;
use units::{Migratetype, Order, Pfn};

use crate::alloc_flags::AllocFlags;
use crate::fallback::Mode;
use crate::list::End;
use crate::owner::BadFree;
use crate::pageblock::Mark;
use crate::pcp::{Crowd, Early, LISTS, PerCpuPages, PerCpuState, ZonePressure};
use crate::stack::{Cached, Fill};
use crate::tuning::PcpTuning;
use crate::zone::{Want, Zone, bit, down, size, up};

impl Zone {
    /// How scarce pages are.
    #[must_use]
    pub const fn pressure(&self) -> ZonePressure {
        self.pressure
    }

    /// Says how scarce pages are.
    pub fn set_pressure(&mut self, pressure: ZonePressure) {
        self.pressure = pressure;
        self.is_calm = pressure == ZonePressure::default();
    }

    /// A processor's lists of this zone in that state.
    ///
    /// # Errors
    /// A block that is not allocated as far as the zone knows, or of an order or type that no list takes; nothing was done.
    pub fn lists(&mut self, huge: Order, tuning: PcpTuning, state: &PerCpuState) -> Result<PerCpuPages, BadFree> {
        let mut lists = PerCpuPages::without_pages(huge, tuning, state);
        let mut before = Vec::new();
        for &(pfn, order, migratetype) in state.pages.iter().rev() {
            let at = usize::from(order.get());
            let was = pfn.get().checked_sub(self.base).map_or(Mark::NONE, |frame| self.mark_at(frame));
            let list = self.list_of(&lists, order, migratetype).ok_or(BadFree::Misaligned { pfn, order });
            match list.and_then(|list| Ok((list, self.take_back(pfn, at, Mark::cached(at))?.0))) {
                Ok((list, place)) => {
                    before.push((place, at, was));
                    lists.lists[list].push(Cached { pfn, place });
                    lists.count += order.pages().get();
                }
                Err(error) => {
                    before.into_iter().for_each(|(place, order, was)| self.set_mark(place, order, was));
                    return Err(error);
                }
            }
        }
        Ok(lists)
    }

    /// The list of an order and a type of requests. Huge pages that are pieces of a pageblock are listed apart from others.
    #[inline]
    fn list_of(&self, lists: &PerCpuPages, order: Order, migratetype: Migratetype) -> Option<usize> {
        let (list, at) = (lists.list_of(order, migratetype)?, usize::from(order.get()));
        let pieces = at < self.pageblock && lists.huge_pages(at).is_some();
        Some(if pieces { PerCpuPages::of_pieces(list) } else { list })
    }

    /// The blocks of one list of a processor, from head to tail.
    #[must_use]
    pub fn cached(&self, lists: &PerCpuPages, order: Order, migratetype: Migratetype) -> Vec<Pfn> {
        let blocks = self.list_of(lists, order, migratetype).map_or(&[][..], |list| lists.lists[list].coldest_first());
        blocks.iter().rev().map(|block| block.pfn).collect()
    }

    /// Recounts a processor's lists and looks whether the zone knows of what is on them.
    ///
    /// # Errors
    /// The count is not what the lists have, or a block is not marked as theirs.
    pub fn validate_lists(&self, lists: &PerCpuPages) -> Result<(), Broken> {
        lists.validate()?;
        for list in 0..LISTS {
            let order = lists.order_of_list(list);
            for &Cached { pfn, place } in lists.lists[list].coldest_first() {
                let frame = self.frame_at(place, order);
                let what = self.mark_at(frame);
                if what != Mark::cached(order) || self.pfn(frame) != pfn {
                    return Err(self.broken(format_args!("{pfn} on a processor's list is {what:?}")));
                }
            }
        }
        Ok(())
    }

    /// Takes a block from a processor's lists, which fetch more from the zone when they are empty. Whatever the lists do not take, and
    /// what urgent requests may have, comes straight from the zone.
    #[doc(alias("rmqueue", "rmqueue_pcplist"))]
    #[inline(always)]
    pub fn take_cached(&mut self, lists: &mut PerCpuPages, want: Want) -> Option<Pfn> {
        match self.take_ready(lists, want.order, want.migratetype) {
            Some(pfn) => Some(pfn),
            None => {
                cold_path();
                self.take_or_fetch(lists, want.order, want.migratetype, want.flags)
            }
        }
    }

    /// Takes a block that a processor's lists have; where they have none, nothing was done.
    #[inline(always)]
    pub fn take_ready(&mut self, lists: &mut PerCpuPages, order: Order, migratetype: Migratetype) -> Option<Pfn> {
        // Single pages are most of what is asked for, and much of the way is known for them.
        match order {
            Order::ZERO => self.take_page_quietly(lists, migratetype),
            order => self.take_block_quietly(lists, order, migratetype),
        }
    }

    #[inline(always)]
    fn take_page_quietly(&mut self, lists: &mut PerCpuPages, migratetype: Migratetype) -> Option<Pfn> {
        let Cached { pfn, place } = lists.take(PerCpuPages::page_list(self.type_of_request(migratetype)), 1)?;
        self.frames.set_mark(place, Mark::used(0));
        Some(pfn)
    }

    #[inline(always)]
    fn take_block_quietly(&mut self, lists: &mut PerCpuPages, order: Order, migratetype: Migratetype) -> Option<Pfn> {
        let at = usize::from(order.get());
        let migratetype = self.type_of_request(migratetype);
        let Some(pages) = lists.huge_pages(at) else {
            cold_path();
            return self.take_piece_quietly(lists, order, migratetype);
        };
        let Cached { pfn, place } = lists.take(PerCpuPages::huge_list(migratetype), pages)?;
        if let Some(record) = self.blocks.find_mut(place.into()) {
            record.mark = Mark::used(at);
        }
        Some(pfn)
    }

    #[inline(never)]
    fn take_piece_quietly(&mut self, lists: &mut PerCpuPages, order: Order, migratetype: Migratetype) -> Option<Pfn> {
        let list = self.list_of(lists, order, migratetype)?;
        let block = lists.take(list, order.pages().get())?;
        Some(self.hand_out(block, order.get().into()))
    }

    #[inline(never)]
    fn take_or_fetch(
        &mut self,
        lists: &mut PerCpuPages,
        order: Order,
        migratetype: Migratetype,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let want = Want { order, migratetype: self.type_of_request(migratetype), flags };
        let Some(list) = self.list_of(lists, want.order, want.migratetype) else { return self.take(want) };
        let order = usize::from(want.order.get());
        // Huge pages of one type are on the list of another, where nobody has looked yet.
        if let Some(block) = lists.take(list, size(order)) {
            return Some(self.hand_out(block, order));
        }
        let most = lists.next_batch(order, self.pressure.below_high);
        if most == 2
            && self.is_fetched_plainly(flags)
            && let Some((first, second)) = self.take_pair(order, want.migratetype)
        {
            lists.keep_second(list, second, size(order));
            return Some(first);
        }
        self.fetch_and_take(lists, list, want, most)
    }

    #[inline(never)]
    fn fetch_and_take(&mut self, lists: &mut PerCpuPages, list: usize, want: Want, most: u64) -> Option<Pfn> {
        let order = usize::from(want.order.get());
        self.fetch(lists.lists[list].fill(usize::try_from(most).unwrap_or(0)), want);
        lists.count += up(lists.lists[list].len() as u64, order);
        let Some(block) = lists.take(list, size(order)) else {
            lists.note_request();
            return self.take(want);
        };
        Some(self.hand_out(block, order))
    }

    /// Fetches blocks for an empty list, in the order in which the zone gives them.
    #[doc(alias = "rmqueue_bulk")]
    fn fetch(&mut self, mut fill: Fill<'_>, want: Want) {
        let order = usize::from(want.order.get());
        let plain = self.is_fetched_plainly(want.flags);
        let mut mode = Mode::Own;
        while fill.room() > 0 {
            if plain && mode == Mode::Own && self.take_parts(&mut fill, order, want.migratetype) {
                continue;
            }
            let Some(frame) = self.take_by_mode(want, &mut mode) else { break };
            let place = if order < self.pageblock { self.refine(frame) } else { self.block(frame) };
            self.set_mark(place, order, Mark::cached(order));
            fill.add(Cached { pfn: self.pfn(frame), place });
        }
    }

    /// Do blocks come from lists of their own type as long as these have any, and does nobody look on?
    fn is_fetched_plainly(&self, flags: AllocFlags) -> bool {
        (!flags.contains(AllocFlags::CMA) || self.free_cma == 0) && self.events.is_none()
    }

    /// Takes two blocks of at least a pageblock where both are parts of the smallest free block: the first one is handed out, the second
    /// one comes on a list.
    fn take_pair(&mut self, order: usize, migratetype: Migratetype) -> Option<(Pfn, Cached)> {
        let fitting = self.lists[migratetype.index()].occupied >> order;
        if order < self.pageblock || fitting == 0 || fitting & 1 != 0 {
            return None;
        }
        let found = order + fitting.trailing_zeros() as usize;
        let frame = if found == self.top { self.pop_top(migratetype) } else { self.pop_large(found, migratetype) }?;
        let (first, second) = (self.block(frame), self.block(frame + size(order)));
        self.blocks.record(first).mark = Mark::used(order);
        self.blocks.record(second).mark = Mark::cached(order);
        self.count_taken(migratetype, size(order + 1));
        if found > order + 1 {
            self.push_rest(frame, size(order + 1), found, migratetype);
        }
        Some((self.pfn(frame), Cached { pfn: self.pfn(frame + size(order)), place: second }))
    }

    /// Puts back what is left of a block of at least a pageblock behind its first `taken` frames.
    #[inline]
    fn push_rest(&mut self, frame: u64, taken: u64, order: usize, migratetype: Migratetype) {
        let mut at = taken;
        while at < size(order) {
            let rest = at.trailing_zeros();
            self.push_large(frame + at, rest as usize, migratetype, End::Head);
            at += 1 << rest;
        }
    }

    /// Takes parts of the smallest free block that has any: one split instead of many, with the same outcome, since no smaller
    /// block was free. Whether there was such a block.
    fn take_parts(&mut self, fill: &mut Fill<'_>, order: usize, migratetype: Migratetype) -> bool {
        let fitting = self.lists[migratetype.index()].occupied >> order;
        if fitting == 0 {
            return false;
        }
        let found = order + fitting.trailing_zeros() as usize;
        let wanted = u32::try_from(fill.room()).unwrap_or(u32::MAX);
        if order < self.pageblock {
            self.take_pieces(fill, order, found, wanted, migratetype)
        } else {
            self.take_blocks(fill, order, found, wanted, migratetype)
        }
    }

    fn take_pieces(
        &mut self,
        fill: &mut Fill<'_>,
        order: usize,
        found: usize,
        wanted: u32,
        migratetype: Migratetype,
    ) -> bool {
        let slot = if found < self.pageblock {
            self.pop_piece(found, migratetype)
        } else {
            self.pop_large(found, migratetype).map(|frame| {
                self.split(frame, self.pageblock, found, migratetype);
                self.refine(frame)
            })
        };
        let Some(slot) = slot else { return false };
        let whole = found.min(self.pageblock);
        let pieces = bit(whole - order).min(wanted);
        self.frames.set_marks(slot, pieces, order, Mark::cached(order));
        let first = Cached { pfn: self.pfn(self.frames.frame(slot)), place: slot };
        fill.add_parts(first, pieces as usize, size(order), bit(order));
        self.count_taken(migratetype, up(pieces.into(), order));
        let mut at = pieces << order;
        while at < bit(whole) {
            let rest = at.trailing_zeros();
            self.push_piece(slot + at, rest as usize, migratetype, End::Head);
            at += 1 << rest;
        }
        true
    }

    fn take_blocks(
        &mut self,
        fill: &mut Fill<'_>,
        order: usize,
        found: usize,
        wanted: u32,
        migratetype: Migratetype,
    ) -> bool {
        let Some(frame) = self.pop_large(found, migratetype) else { return false };
        let parts = bit(found - order).min(wanted);
        let (first, step) = (self.block(frame), bit(order - self.pageblock));
        for part in 0..parts {
            self.blocks.record(first + part * step).mark = Mark::cached(order);
        }
        fill.add_parts(Cached { pfn: self.pfn(frame), place: first }, parts as usize, size(order), step);
        let taken = up(parts.into(), order);
        self.count_taken(migratetype, taken);
        self.push_rest(frame, taken, found, migratetype);
        true
    }

    #[inline]
    fn set_mark(&mut self, place: u32, order: usize, mark: Mark) {
        if order < self.pageblock {
            self.frames.set_mark(place, mark);
        } else {
            self.blocks.record(place).mark = mark;
        }
    }

    /// Gives a block back to a processor's lists, and from there to the zone what has become too much. Pages of isolated blocks, and of
    /// orders that the lists do not take, go straight to the zone.
    ///
    /// # Errors
    /// It is not what was handed out.
    #[doc(alias("free_unref_page", "free_frozen_page_commit"))]
    #[inline(always)]
    pub fn put_cached(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        // Single pages are most of what is given back, and much of the way is known for them.
        let quietly = match order {
            Order::ZERO => self.put_page_quietly(lists, pfn),
            order => self.put_huge_quietly(lists, pfn, order),
        };
        if quietly {
            return Ok(());
        }
        cold_path();
        self.put_block_cached(lists, pfn, order)
    }

    /// The common case: a page of a usual type, while nothing is scarce. Otherwise nothing was done.
    #[inline(always)]
    fn put_page_quietly(&mut self, lists: &mut PerCpuPages, pfn: Pfn) -> bool {
        let frame = pfn.get().wrapping_sub(self.base);
        let Some(record) = self.blocks.find(down(frame, self.pageblock)) else { return false };
        let list = PerCpuPages::page_list(record.migratetype());
        #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
        let place = self.frames.slot(record.frames, frame as u32);
        let Some(mark) = self.frames.get_mut(place) else { return false };
        if !self.is_calm || !mark.is_used(0) {
            return false;
        }
        let Some(crowd) = lists.put_quietly(list, Cached { pfn, place }, 1) else { return false };
        *mark = Mark::cached(0);
        if crowd == Crowd::MayNot {
            cold_path();
            self.give_back_after(lists, pfn, Order::ZERO);
        }
        true
    }

    /// The same for a huge page of at least a pageblock.
    #[inline(always)]
    fn put_huge_quietly(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) -> bool {
        let at = usize::from(order.get());
        let frame = pfn.get().wrapping_sub(self.base);
        let block = down(frame, self.pageblock);
        let Some(record) = self.blocks.find_mut(block) else { return false };
        let list = PerCpuPages::huge_list(record.migratetype());
        // Only blocks of at least a pageblock have their marks here.
        let Some(pages) = lists.huge_pages(at) else { return false };
        if !self.frames.is_first(frame) || !self.is_calm || !record.mark.is_used(at) {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "there is a record of it")]
        let place = block as u32;
        let Some(crowd) = lists.put_quietly(list, Cached { pfn, place }, pages) else { return false };
        record.mark = Mark::cached(at);
        if crowd == Crowd::MayNot {
            cold_path();
            self.give_back_after(lists, pfn, order);
        }
        true
    }

    #[inline(never)]
    fn put_block_cached(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let at = usize::from(order.get());
        let (place, migratetype) = self.take_back(pfn, at, Mark::cached(at))?;
        let listed = match migratetype {
            Migratetype::Cma | Migratetype::HighAtomic => Migratetype::Movable,
            other => other,
        };
        let Some(list) = self.list_of(lists, order, listed) else {
            self.set_mark(place, at, Mark::NONE);
            self.put_block(place, at, migratetype);
            return Ok(());
        };
        match lists.put(list, Cached { pfn, place }, at) {
            Ok(()) if self.is_calm => (),
            Ok(()) => self.give_back_too_much(lists, list, Early::No),
            Err(early) => self.give_back_too_much(lists, list, early),
        }
        Ok(())
    }
}
