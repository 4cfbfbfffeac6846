//! Pageblocks that change their type.

use units::{Migratetype, Order, PageCount, Pfn};

use crate::buddy::Placement;
use crate::grouping::Grouping;
use crate::list::{End, NIL};
use crate::pageblock::{Mark, Start};
use crate::zone::{Zone, bit};

/// What is in a pageblock, in base pages. Allocated pages that nobody said to be movable are neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockPages {
    pub(crate) free: u64,
    pub(crate) movable: u64,
}

/// Why a pageblock was not isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsolateRefusal {
    /// Somebody isolated it already.
    #[error("the pageblock at {0} is isolated already")]
    Isolated(Pfn),
    /// It reaches over an end of the zone.
    #[error("the pageblock at {0} reaches over an end of its zone")]
    Straddles(Pfn),
}

impl Zone {
    /// Gives a pageblock a type; free pages are the caller's business.
    #[doc(alias = "set_pageblock_migratetype")]
    pub(crate) fn set_type(&mut self, block: u32, migratetype: Migratetype) {
        let stored = match self.grouping {
            Grouping::Off if migratetype.is_mergeable() => Migratetype::Unmovable,
            _ => migratetype,
        };
        self.blocks.set_migratetype(block, stored);
        self.note_type(block);
    }

    /// Tells the records of its frames, if it has any, what type a pageblock has now.
    fn note_type(&mut self, block: u32) {
        if let Some(record) = self.blocks.get(block)
            && record.frames != NIL
        {
            self.frames.retype(record.frames, record.migratetype());
        }
    }

    /// Says that the owner of an allocated block can move it: it lies on a list of pages in use, or knows how to move itself. The
    /// mark goes when the block is freed.
    pub fn mark_movable(&mut self, pfn: Pfn, order: Order) {
        let (frame, order) = (self.frame(pfn), usize::from(order.get()));
        if order >= self.pageblock {
            let block = self.block(frame);
            self.blocks.record(block).mark = Mark::movable(order);
        } else {
            let slot = self.refine(frame);
            debug_assert!(self.frames.mark(slot).free_order().is_none(), "{pfn} is free");
            self.frames.set_mark(slot, Mark::movable(order));
        }
    }

    /// The pieces of a pageblock: for each slot that starts something, its mark.
    pub(crate) fn pieces(&self, block: u32) -> impl Iterator<Item = (u32, Mark)> {
        let page = self.blocks.get(block).map_or(NIL, |record| record.frames);
        let (mut at, size) = (0u32, if page == NIL { 0 } else { 1 << self.pageblock });
        core::iter::from_fn(move || {
            while at < size {
                let slot = self.frames.slot(page, at);
                let mark = self.frames.mark(slot);
                at += mark.order().map_or(1, bit);
                if mark != Mark::NONE {
                    return Some((slot, mark));
                }
            }
            None
        })
    }

    /// Counts what is in a pageblock.
    pub(crate) fn pages_of(&self, block: u32) -> BlockPages {
        let whole = self.blocks.mark(block);
        let size = 1 << self.pageblock;
        if whole.free_order().is_some() {
            return BlockPages { free: size, movable: 0 };
        }
        if let Start::Movable(_) = whole.start() {
            return BlockPages { free: 0, movable: size };
        }
        let mut pages = BlockPages::default();
        for (_, mark) in self.pieces(block) {
            match mark.start() {
                Start::Free(order) => pages.free += 1 << order,
                Start::Movable(order) => pages.movable += 1 << order,
                _ => (),
            }
        }
        pages
    }

    /// Moves the free pieces of a pageblock to the tails of other lists, merging nothing; how many pages these were.
    #[doc(alias = "__move_freepages_block")]
    pub(crate) fn move_free(&mut self, block: u32, from: Migratetype, to: Migratetype) -> u64 {
        let mut moved = 0;
        let page = self.blocks.get(block).map_or(NIL, |record| record.frames);
        let whole = match self.blocks.mark(block).free_order() {
            // Blocks of the largest order are runs and have no marks.
            None if self.pageblock == self.top => self.covering(block).map(|(_, order)| order),
            order => order,
        };
        if let Some(order) = whole {
            let frame = u64::from(block) << self.pageblock;
            self.unlink_large(frame, order, from);
            self.push_large(frame, order, to, End::Tail);
            moved = 1 << order;
        } else if page != NIL {
            let mut at = 0;
            while at < 1 << self.pageblock {
                let slot = self.frames.slot(page, at);
                let Some(order) = self.frames.mark(slot).free_order() else {
                    at += 1;
                    continue;
                };
                self.unlink_piece(slot, order, from);
                self.push_piece(slot, order, to, End::Tail);
                moved += 1 << order;
                at += 1 << order;
            }
        }
        self.count_taken(from, moved);
        self.count_freed(to, moved);
        moved
    }

    /// Takes a pageblock out of use: its free pages leave the count, and what is freed in it is not handed out again. Whether what is
    /// allocated in it can leave is for its owners to say.
    ///
    /// # Errors
    /// It is isolated already, or not wholly in this zone.
    #[doc(alias("set_migratetype_isolate", "move_freepages_block_isolate"))]
    pub fn isolate(&mut self, pfn: Pfn) -> Result<(), IsolateRefusal> {
        let block = self.block(self.frame(pfn));
        if self.blocks.migratetype(block) == Migratetype::Isolate {
            return Err(IsolateRefusal::Isolated(self.pfn(u64::from(block) << self.pageblock)));
        }
        if self.straddles(block) {
            return Err(IsolateRefusal::Straddles(self.pfn(u64::from(block) << self.pageblock)));
        }
        let from = self.blocks.migratetype(block);
        if let Some((frame, order)) = self.covering(block).filter(|&(_, order)| order > self.pageblock) {
            self.unlink_large(frame, order, from);
            self.count_taken(from, 1 << order);
            self.blocks.isolate(block);
            self.note_type(block);
            self.free_in_pageblocks(frame, order);
        } else {
            self.move_free(block, from, Migratetype::Isolate);
            self.blocks.isolate(block);
            self.note_type(block);
        }
        self.isolated_blocks += 1;
        Ok(())
    }

    /// Takes an isolated pageblock into use again, with the type it had.
    #[doc(alias = "unset_migratetype_isolate")]
    pub fn unisolate(&mut self, pfn: Pfn) {
        let block = self.block(self.frame(pfn));
        if self.blocks.migratetype(block) != Migratetype::Isolate {
            return;
        }
        let to = self.blocks.beneath(block);
        let frame = u64::from(block) << self.pageblock;
        if let Some((whole, order)) = self.covering(block).filter(|&(_, order)| order > self.pageblock) {
            self.unlink_large(whole, order, Migratetype::Isolate);
            self.blocks.unisolate(block);
            self.note_type(block);
            self.free_in_pageblocks(whole, order);
        } else if self.blocks.mark(block).is_free(self.pageblock) && self.has_free_neighbour(block) {
            self.unlink_large(frame, self.pageblock, Migratetype::Isolate);
            self.blocks.unisolate(block);
            self.note_type(block);
            self.free_block(block, self.pageblock, to, Placement::Tail);
        } else {
            self.move_free(block, Migratetype::Isolate, to);
            self.blocks.unisolate(block);
            self.note_type(block);
        }
        self.isolated_blocks -= 1;
    }

    /// The free block that a pageblock is a part of, where it is larger than a pageblock or of the largest order.
    fn covering(&self, block: u32) -> Option<(u64, usize)> {
        let start = u64::from(block) << self.pageblock;
        let list = *self.lists[self.blocks.migratetype(block).index()].of(self.top);
        if self.runs.contains(list, self.top_block(start)) {
            return Some((start >> self.top << self.top, self.top));
        }
        (self.pageblock + 1..self.top).find_map(|order| {
            let frame = start >> order << order;
            self.blocks.mark(self.block(frame)).is_free(order).then_some((frame, order))
        })
    }

    /// Could a free pageblock merge with its buddy if it were not isolated?
    fn has_free_neighbour(&self, block: u32) -> bool {
        self.pageblock < self.top
            && self.blocks.mark(block ^ 1).is_free(self.pageblock)
            && self.blocks.migratetype(block ^ 1) != Migratetype::Isolate
    }

    /// Puts a block on the lists again, each pageblock of it by its own type.
    fn free_in_pageblocks(&mut self, frame: u64, order: usize) {
        let first = self.block(frame);
        for block in first..first + (1 << (order - self.pageblock)) {
            let migratetype = self.blocks.migratetype(block);
            self.free_block(block, self.pageblock, migratetype, Placement::Usual);
        }
    }

    /// Free pages of the pageblock that a frame lies in.
    #[must_use]
    pub fn free_in_pageblock(&self, pfn: Pfn) -> PageCount {
        let block = self.block(self.frame(pfn));
        let whole = self.covering(block).map(|_| 1 << self.pageblock);
        PageCount::new(whole.unwrap_or_else(|| self.pages_of(block).free))
    }
}
