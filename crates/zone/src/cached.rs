//! Allocation and free through the lists of a processor.

use alloc::vec::Vec;
use core::hint::cold_path;

use memmap::Broken;
use units::{Migratetype, Order, Pfn, ZoneKind};

use crate::alloc_flags::AllocFlags;
use crate::buddy::Placement;
use crate::event::ZoneEvent;
use crate::fallback::Mode;
use crate::list::End;
use crate::marks::{Level, MarkCheck};
use crate::owner::BadFree;
use crate::pageblock::Mark;
use crate::pcp::{BelowHigh, Crowd, Early, LISTS, PerCpuPages, PerCpuState, ZonePressure};
use crate::stack::{Cached, Fill};
use crate::tuning::PcpTuning;
use crate::zone::{Want, Zone, bit, down, order_of, size, up};

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

    /// Gives back what may be too much after a block came on its list.
    #[inline(never)]
    fn give_back_after(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) {
        if let Some(list) = lists.list_of(order, self.migratetype(pfn)) {
            self.give_back_too_much(lists, list, Early::No);
        }
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

    #[inline(never)]
    fn give_back_too_much(&mut self, lists: &mut PerCpuPages, list: usize, early: Early) {
        let high = lists.may_stay(early, self.pressure);
        if lists.count < high {
            return;
        }
        let pages = lists.surplus(high, early);
        self.give_back(lists, list, pages);
        let check =
            MarkCheck { order: Order::ZERO, level: Level::High, highest: ZoneKind::Movable, flags: AllocFlags::NONE };
        if self.pressure.below_high == BelowHigh::Yes && self.is_above(check) {
            self.set_pressure(ZonePressure { below_high: BelowHigh::No, ..self.pressure });
        }
    }

    /// Gives at least `pages` back from list to list, beginning with `list`: of each the coldest, until it is empty. A block may be
    /// larger than what is left to give; and its pageblock may have another type than when it was freed.
    #[doc(alias = "free_pcppages_bulk")]
    fn give_back(&mut self, lists: &mut PerCpuPages, mut list: usize, pages: u64) {
        let mut left = pages.min(lists.count);
        while left > 0 {
            let order = lists.order_of_list(list);
            let stack = &mut lists.lists[list];
            let blocks = usize::try_from(left.div_ceil(size(order))).unwrap_or(usize::MAX).min(stack.len());
            self.give_back_from(&stack.coldest_first()[..blocks], order);
            stack.drop_coldest(blocks);
            let given = (blocks as u64) << order;
            lists.count -= given;
            left = left.saturating_sub(given);
            list = (list + 1) % LISTS;
        }
    }

    fn give_back_from(&mut self, blocks: &[Cached], order: usize) {
        if self.events.is_some() {
            self.give_back_one_by_one(blocks, order);
        } else if order == 0 {
            self.give_back_pieces(blocks, 0);
        } else if order < self.pageblock {
            self.give_back_pieces(blocks, order);
        } else {
            self.give_back_blocks(blocks, order);
        }
    }

    #[cold]
    fn give_back_one_by_one(&mut self, blocks: &[Cached], order: usize) {
        for block in blocks {
            let one = core::slice::from_ref(block);
            if order < self.pageblock {
                self.give_back_pieces(one, order);
            } else {
                self.give_back_blocks(one, order);
            }
            let (pfn, migratetype) = (block.pfn, self.migratetype(block.pfn));
            self.note(|| ZoneEvent::Drained { pfn, order: order_of(order), migratetype });
        }
    }

    /// Gives back pieces of pageblocks. Those that follow each other in memory are merged before they are put anywhere: that is where they
    /// would end.
    #[inline(always)]
    fn give_back_pieces(&mut self, blocks: &[Cached], order: usize) {
        let mut rest = blocks;
        while let Some((&Cached { place, .. }, behind)) = rest.split_first() {
            let migratetype = self.blocks.migratetype(self.frames.owner(place));
            // Blocks at random places have no right neighbour behind them.
            if place & bit(order) != 0 || behind.first().is_none_or(|next| next.place != place + bit(order)) {
                self.free_piece(place, order, migratetype, Placement::Usual);
                rest = behind;
                continue;
            }
            let joined = joined(rest, order, self.pageblock);
            let pieces = bit(joined - order);
            self.frames.set_marks(place, pieces, order, Mark::NONE);
            self.free_piece(place, joined, migratetype, Placement::Usual);
            rest = &rest[pieces as usize..];
        }
    }

    /// Gives back blocks of at least a pageblock, the halves of a largest block as one.
    fn give_back_blocks(&mut self, blocks: &[Cached], order: usize) {
        let paired = order == self.pageblock && order + 1 == self.top;
        let mut rest = blocks;
        while let Some((&Cached { place, .. }, behind)) = rest.split_first() {
            let record = self.blocks.record(place);
            record.mark = Mark::NONE;
            let migratetype = record.migratetype();
            if paired
                && place & 1 == 0
                && let Some((next, behind)) = behind.split_first()
                && next.place == place + 1
                && let other = self.blocks.record(next.place)
                && other.migratetype() == migratetype
            {
                other.mark = Mark::NONE;
                self.free_top_block(place >> 1, migratetype);
                rest = behind;
                continue;
            }
            self.free_block(place, order, migratetype, Placement::Usual);
            rest = behind;
        }
    }

    /// Gives everything back.
    #[doc(alias = "drain_pages_zone")]
    pub fn drain(&mut self, lists: &mut PerCpuPages) {
        while lists.count > 0 {
            self.give_back(lists, 0, lists.most_at_once());
        }
    }

    /// Gives back a batch, or all if that is less: nobody uses these lists.
    #[doc(alias = "drain_zone_pages")]
    pub fn give_back_a_batch(&mut self, lists: &mut PerCpuPages) {
        let batch = lists.tuning().batch.get();
        self.give_back(lists, 0, batch);
    }

    /// Once a second: lists that grew beyond their least size shrink by an eighth, and give back, batch by batch, what does not
    /// fit any more.
    #[doc(alias = "decay_pcp_high")]
    pub fn decay(&mut self, lists: &mut PerCpuPages) {
        let (batch, least) = (lists.tuning().batch.get(), lists.tuning().high_min.get());
        if lists.high > least {
            let by_count = lists.count.saturating_sub(lists.most_at_once());
            lists.set_high(by_count.max(lists.high - (lists.high >> 3)).max(least));
        }
        let mut left = lists.count.saturating_sub(lists.high);
        while left > 0 {
            let some = left.min(batch);
            self.give_back(lists, 0, some);
            left -= some;
        }
    }
}

/// The order of the largest aligned block, within a pageblock, that the first blocks make, which follow each other upwards. There are two
/// at least.
#[inline]
fn joined(blocks: &[Cached], order: usize, pageblock: usize) -> usize {
    let first = blocks[0].place;
    let most = bit((first.trailing_zeros() as usize).min(pageblock) - order);
    let mut next = first;
    let follows = |block: &&Cached| {
        let follows = block.place == next;
        next = next.wrapping_add(bit(order));
        follows
    };
    order + blocks.iter().take(most as usize).take_while(follows).count().ilog2() as usize
}
