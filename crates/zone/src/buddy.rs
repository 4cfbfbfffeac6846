//! Splitting and merging.

use memmap::Broken;
use units::{Migratetype, Order, PageCount, Pfn};

use crate::event::ZoneEvent;
use crate::list::{End, Link, NIL};
use crate::owner::BadFree;
use crate::pageblock::Mark;
use crate::zone::{Zone, bit, order_of, size, up};

/// Where a freed block goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// To the head, or to the tail if it is likely to be merged soon.
    Usual,
    /// To the tail.
    Tail,
}

impl Zone {
    /// Takes the smallest block that fits from the lists of one type, splitting it if need be.
    #[doc(alias = "__rmqueue_smallest")]
    #[inline(never)]
    pub(crate) fn take_smallest(&mut self, order: usize, migratetype: Migratetype) -> Option<u64> {
        self.take_smallest_here(order, migratetype)
    }

    /// The same without a call, for the one place that most requests come by.
    #[inline(always)]
    pub(crate) fn take_smallest_here(&mut self, order: usize, migratetype: Migratetype) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
        let fitting = self.lists[migratetype.index()].occupied.wrapping_shr(order as u32);
        if fitting == 0 {
            return None;
        }
        let found = order + fitting.trailing_zeros() as usize;
        let frame = self.take_head(order, found, migratetype)?;
        let pfn = self.pfn(frame);
        self.note(|| ZoneEvent::Taken { pfn, order: order_of(order), migratetype });
        Some(frame)
    }

    /// Takes the block at the head of a list and puts what is too much of it back.
    #[inline(always)]
    pub(crate) fn take_head(&mut self, order: usize, found: usize, migratetype: Migratetype) -> Option<u64> {
        let frame = if found < self.pageblock {
            let slot = self.pop_piece(found, migratetype)?;
            self.split_pieces(slot, order, found, migratetype);
            self.frames.frame(slot)
        } else {
            let frame = self.pop_large(found, migratetype)?;
            self.split(frame, order, found, migratetype);
            frame
        };
        self.count_taken(migratetype, size(order));
        Some(frame)
    }

    /// Puts the upper halves of a block of `high` on their lists until a block of `low` is left.
    #[doc(alias = "expand")]
    #[inline(always)]
    pub(crate) fn split(&mut self, frame: u64, low: usize, high: usize, migratetype: Migratetype) {
        let mut at = high;
        while at > low && at > self.pageblock {
            at -= 1;
            self.push_large(frame + size(at), at, migratetype, End::Head);
        }
        if at > low {
            let slot = self.refine(frame);
            self.split_pieces(slot, low, at, migratetype);
        }
    }

    /// The same inside a pageblock.
    #[inline]
    fn split_pieces(&mut self, slot: u32, low: usize, high: usize, migratetype: Migratetype) {
        let mut at = high;
        while at > low {
            at -= 1;
            self.push_piece(slot + bit(at), at, migratetype, End::Head);
        }
    }

    /// Gives a block back, whatever its size: a large one in pieces of a pageblock, since these may have different types.
    ///
    /// # Errors
    /// It is not what was handed out.
    #[doc(alias("free_one_page", "split_large_buddy"))]
    #[inline]
    pub fn put(&mut self, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let order = usize::from(order.get());
        if order > self.top { self.put_large(pfn, order) } else { self.put_small(pfn, order) }
    }

    #[inline(never)]
    fn put_large(&mut self, pfn: Pfn, order: usize) -> Result<(), BadFree> {
        let (first, _) = self.take_back(pfn, order, Mark::NONE)?;
        self.put_top_blocks(first, size(order));
        Ok(())
    }

    fn put_small(&mut self, pfn: Pfn, order: usize) -> Result<(), BadFree> {
        let (place, migratetype) = self.take_back(pfn, order, Mark::NONE)?;
        self.put_block(place, order, migratetype);
        Ok(())
    }

    /// The same for a block that has no mark any more.
    #[inline(always)]
    pub(crate) fn put_block(&mut self, place: u32, order: usize, migratetype: Migratetype) {
        if order < self.pageblock {
            self.free_piece(place, order, migratetype, Placement::Usual);
        } else if order == self.pageblock {
            self.free_block(place, order, migratetype, Placement::Usual);
        } else {
            self.put_range(place, order);
        }
    }

    /// Gives back more than a pageblock.
    fn put_range(&mut self, first: u32, order: usize) {
        if order < self.top {
            self.put_in_pageblocks(first, size(order));
        } else {
            self.put_top_blocks(first, size(order));
        }
    }

    /// Gives back blocks of the largest order that follow each other, so many pages of them.
    #[inline(always)]
    pub(crate) fn put_top_blocks(&mut self, first: u32, pages: u64) {
        let frame = up(first.into(), self.pageblock);
        let last_frame = frame + (pages - 1);
        let Some(migratetype) = self.blocks.common_type(first, self.block(last_frame)) else {
            return self.put_in_pageblocks(first, pages);
        };
        // Piece by piece, each of these blocks would have been merged and put before the one below it.
        let (low, high) = (self.top_block(frame), self.top_block(last_frame));
        let lists = &mut self.lists[migratetype.index()];
        self.runs.push_down(lists.of_mut(self.top), high, low);
        lists.occupied |= bit(self.top);
        self.count_freed(migratetype, pages);
    }

    #[inline(never)]
    fn put_in_pageblocks(&mut self, first: u32, pages: u64) {
        let frame = up(first.into(), self.pageblock);
        for block in first..=self.block(frame + (pages - 1)) {
            let migratetype = self.blocks.migratetype(block);
            self.free_block(block, self.pageblock, migratetype, Placement::Usual);
        }
    }

    /// Gives a block of at least a pageblock back to the lists of `migratetype`, merging it with its buddy as far as that goes.
    #[doc(alias = "__free_one_page")]
    #[inline]
    pub(crate) fn free_block(&mut self, block: u32, order: usize, migratetype: Migratetype, placement: Placement) {
        self.count_freed(migratetype, size(order));
        self.merge_blocks(up(block.into(), self.pageblock), order, migratetype, placement);
    }

    /// The same for a block of the largest order, which does not merge.
    #[inline]
    pub(crate) fn free_top_block(&mut self, block: u32, migratetype: Migratetype) {
        self.count_freed(migratetype, size(self.top));
        let lists = &mut self.lists[migratetype.index()];
        lists.occupied |= bit(self.top);
        self.runs.push_down(lists.of_mut(self.top), block, block);
    }

    /// The same for a piece of a pageblock, or for all pieces of one together. Nothing of it but its start has a mark any more.
    #[inline(always)]
    pub(crate) fn free_piece(&mut self, slot: u32, order: usize, migratetype: Migratetype, placement: Placement) {
        self.count_freed(migratetype, size(order));
        self.place_piece(slot, order, migratetype, placement);
    }

    /// The same for a piece that is counted already.
    #[inline(always)]
    pub(crate) fn place_piece(&mut self, slot: u32, order: usize, migratetype: Migratetype, placement: Placement) {
        if order < self.pageblock && !self.frames.mark(slot ^ bit(order)).is_free(order) {
            self.push_merged(slot, order, migratetype, placement);
        } else {
            self.merge_pieces(slot, order, migratetype, placement);
        }
    }

    #[inline(never)]
    fn merge_pieces(&mut self, slot: u32, order: usize, migratetype: Migratetype, placement: Placement) {
        let (slot, at) = self.frames.merge(&mut self.lists[migratetype.index()], slot, order);
        if at < self.pageblock {
            self.push_merged(slot, at, migratetype, placement);
        } else {
            self.free_pageblock(slot, migratetype, placement);
        }
    }

    /// Puts a piece that does not merge any further on its list.
    #[inline(always)]
    fn push_merged(&mut self, slot: u32, order: usize, migratetype: Migratetype, placement: Placement) {
        let end = self.end_for_piece(slot, order, placement);
        self.push_piece(slot, order, migratetype, end);
    }

    /// All pieces of a pageblock became one.
    #[inline(never)]
    fn free_pageblock(&mut self, first: u32, migratetype: Migratetype, placement: Placement) {
        let block = self.frames.owner(first);
        self.frames.set_mark(first, Mark::NONE);
        self.frames.coarsen(first);
        self.blocks.record(block).frames = NIL;
        self.merge_blocks(up(block.into(), self.pageblock), self.pageblock, migratetype, placement);
    }

    /// Merges a whole pageblock, or more, with its neighbours.
    #[inline]
    fn merge_blocks(&mut self, mut frame: u64, order: usize, migratetype: Migratetype, placement: Placement) {
        let (mut at, mut migratetype) = (order, migratetype);
        while at < self.top {
            let buddy = frame ^ size(at);
            let Some(record) = self.blocks.get(self.block(buddy)) else { break };
            if !record.mark.is_free(at) {
                break;
            }
            let other = record.migratetype();
            if other != migratetype && !(other.is_mergeable() && migratetype.is_mergeable()) {
                break;
            }
            self.unlink_large(buddy, at, other);
            if other != migratetype {
                migratetype = self.unite(frame, buddy, at, migratetype);
            }
            frame &= !size(at);
            at += 1;
        }
        let end = self.end_for_block(frame, at, placement);
        self.push_large(frame, at, migratetype, end);
    }

    /// Makes two halves of different types one type: that of the half that was freed, if types count.
    #[inline(never)]
    fn unite(&mut self, frame: u64, buddy: u64, order: usize, migratetype: Migratetype) -> Migratetype {
        let migratetype = self.type_of_request(migratetype);
        self.retag(frame, order, migratetype);
        self.retag(buddy, order, migratetype);
        migratetype
    }

    /// Where a merged block goes: one whose buddy of the next order is free waits at the tail, so that it may still be merged.
    #[doc(alias = "buddy_merge_likely")]
    #[inline(always)]
    fn end_for_piece(&self, slot: u32, order: usize, placement: Placement) -> End {
        if placement == Placement::Tail {
            return End::Tail;
        }
        if order + 1 >= self.top {
            return End::Head;
        }
        let above = if order + 1 < self.pageblock {
            let merged = slot & !bit(order);
            self.frames.mark(merged ^ bit(order + 1))
        } else {
            self.blocks.mark(self.block(self.frames.frame(slot)) ^ 1)
        };
        if above.is_free(order + 1) { End::Tail } else { End::Head }
    }

    #[inline]
    fn end_for_block(&self, frame: u64, order: usize, placement: Placement) -> End {
        if placement == Placement::Tail {
            return End::Tail;
        }
        if order + 1 >= self.top {
            return End::Head;
        }
        let merged = frame & !size(order);
        let above = self.blocks.mark(self.block(merged ^ size(order + 1)));
        if above.is_free(order + 1) { End::Tail } else { End::Head }
    }

    /// Gives every pageblock of a block of `order` a type.
    pub(crate) fn retag(&mut self, frame: u64, order: usize, migratetype: Migratetype) {
        let first = self.block(frame);
        for block in first..first + (1 << (order - self.pageblock)) {
            self.set_type(block, migratetype);
        }
    }

    /// The slot of a frame, whose pageblock gets records if it has none.
    #[inline]
    pub(crate) fn refine(&mut self, frame: u64) -> u32 {
        let block = self.block(frame);
        let record = self.blocks.record(block);
        if record.frames == NIL {
            record.frames = self.frames.refine(block, record.migratetype());
        }
        let page = record.frames;
        #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
        let slot = self.frames.slot(page, frame as u32);
        slot
    }

    /// Puts a free block on its list.
    #[inline]
    pub(crate) fn push(&mut self, frame: u64, order: usize, migratetype: Migratetype, end: End) {
        if order < self.pageblock {
            let slot = self.refine(frame);
            self.push_piece(slot, order, migratetype, end);
        } else {
            self.push_large(frame, order, migratetype, end);
        }
    }

    #[inline(always)]
    pub(crate) fn push_piece(&mut self, slot: u32, order: usize, migratetype: Migratetype, end: End) {
        self.frames.push(&mut self.lists[migratetype.index()], slot, order, end);
    }

    #[inline(always)]
    pub(crate) fn push_large(&mut self, frame: u64, order: usize, migratetype: Migratetype, end: End) {
        let (block, top_block) = (self.block(frame), self.top_block(frame));
        let lists = &mut self.lists[migratetype.index()];
        lists.occupied |= bit(order);
        let list = lists.of_mut(order);
        if order == self.top {
            self.runs.push(list, top_block, top_block, end);
            return;
        }
        list.blocks += 1;
        let (prev, next) = if end == End::Head { (NIL, list.head) } else { (list.tail, NIL) };
        let record = self.blocks.record(block);
        record.mark = Mark::free(order);
        record.link = Link { prev, next };
        if prev == NIL {
            list.head = block;
        } else {
            self.blocks.record(prev).link.next = block;
        }
        if next == NIL {
            list.tail = block;
        } else {
            self.blocks.record(next).link.prev = block;
        }
    }

    /// Takes a free piece off its list.
    #[inline(always)]
    pub(crate) fn unlink_piece(&mut self, slot: u32, order: usize, migratetype: Migratetype) {
        self.frames.unlink(&mut self.lists[migratetype.index()], slot, order);
    }

    /// Takes a free block of at least a pageblock off its list.
    #[inline(always)]
    pub(crate) fn unlink_large(&mut self, frame: u64, order: usize, migratetype: Migratetype) {
        let (block, top_block) = (self.block(frame), self.top_block(frame));
        let lists = &mut self.lists[migratetype.index()];
        let list = lists.of_mut(order);
        if order == self.top {
            self.runs.remove(list, top_block, top_block);
        } else {
            list.blocks -= 1;
            let record = self.blocks.record(block);
            record.mark = Mark::NONE;
            let Link { prev, next } = record.link;
            if prev == NIL {
                list.head = next;
            } else {
                self.blocks.record(prev).link.next = next;
            }
            if next == NIL {
                list.tail = prev;
            } else {
                self.blocks.record(next).link.prev = prev;
            }
        }
        if list.is_empty() {
            lists.occupied &= !bit(order);
        }
    }

    /// Takes the head of a list of pieces.
    #[inline]
    pub(crate) fn pop_piece(&mut self, order: usize, migratetype: Migratetype) -> Option<u32> {
        self.frames.pop(&mut self.lists[migratetype.index()], order)
    }

    /// Takes the head of a list of blocks of at least a pageblock.
    #[inline(always)]
    pub(crate) fn pop_large(&mut self, order: usize, migratetype: Migratetype) -> Option<u64> {
        if order == self.top {
            return self.pop_top(migratetype);
        }
        let list = self.lists[migratetype.index()].of(order);
        let frame = (!list.is_empty()).then(|| up(list.head.into(), self.pageblock))?;
        self.unlink_large(frame, order, migratetype);
        Some(frame)
    }

    /// The same for the largest order.
    #[inline(always)]
    pub(crate) fn pop_top(&mut self, migratetype: Migratetype) -> Option<u64> {
        let lists = &mut self.lists[migratetype.index()];
        let list = lists.of_mut(self.top);
        let block = self.runs.pop(list)?;
        if list.is_empty() {
            lists.occupied &= !bit(self.top);
        }
        Some(up(block.into(), self.top))
    }

    /// The first frame of a list.
    pub(crate) fn head(&self, order: usize, migratetype: Migratetype) -> Option<u64> {
        let list = *self.lists[migratetype.index()].of(order);
        if order == self.top {
            return self.runs.of(list).next().map(|(first, _)| up(first.into(), order));
        }
        let node = (!list.is_empty()).then_some(list.head)?;
        Some(if order < self.pageblock { self.frames.frame(node) } else { up(node.into(), self.pageblock) })
    }

    #[inline]
    pub(crate) fn count_freed(&mut self, migratetype: Migratetype, pages: u64) {
        if migratetype.is_mergeable() {
            self.free_plain += pages;
        } else if let Some(count) = self.count_of_special(migratetype) {
            *count += pages;
        }
    }

    #[inline]
    pub(crate) fn count_taken(&mut self, migratetype: Migratetype, pages: u64) {
        if migratetype.is_mergeable() {
            self.free_plain -= pages;
        } else if let Some(count) = self.count_of_special(migratetype) {
            *count -= pages;
        }
    }

    /// Where free pages are counted that not every request can have. Isolated ones are not.
    #[inline(never)]
    fn count_of_special(&mut self, migratetype: Migratetype) -> Option<&mut u64> {
        match migratetype {
            Migratetype::Cma => Some(&mut self.free_cma),
            Migratetype::HighAtomic => Some(&mut self.free_highatomic),
            _ => None,
        }
    }

    pub(crate) fn holds(&self, pfn: Pfn, order: Order) -> bool {
        let fits = |&(start, end): &(Pfn, Pfn)| {
            start <= pfn && end.get().checked_sub(pfn.get()).is_some_and(|room| order.pages().get() <= room)
        };
        self.layout.spans.iter().any(fits)
    }

    pub(crate) fn broken(&self, what: core::fmt::Arguments<'_>) -> Broken {
        Broken(alloc::format!("zone {} of {}: {what}", self.layout.kind, self.layout.node))
    }

    /// Base pages in free blocks that are isolated.
    #[must_use]
    pub fn free_isolated(&self) -> PageCount {
        let isolated = &self.lists[Migratetype::Isolate.index()];
        PageCount::new((0..=self.top).map(|order| isolated.of(order).blocks << order).sum())
    }
}
