//! Free blocks that the host is told of.

use alloc::vec::Vec;

use units::{Migratetype, Order, Pfn};

use crate::buddy::Placement;
use crate::list::End;
use crate::owner::BadFree;
use crate::pageblock::Mark;
use crate::runs::News;
use crate::zone::{Zone, up};

/// Whether the host was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was, and may use the memory until somebody touches it.
    Yes,
    /// It was not.
    No,
}

impl Zone {
    /// The free blocks of a list that the host was not told of since they came there, from head to tail.
    pub fn unreported(&self, order: Order, migratetype: Migratetype) -> impl Iterator<Item = Pfn> {
        let at = usize::from(order.get());
        let list = if at <= self.top { *self.lists[migratetype.index()].of(at) } else { crate::list::FreeList::EMPTY };
        let whole = (at == self.top).then(|| self.runs.unreported(list).map(move |block| up(block.into(), at)));
        let pieces = (at < self.pageblock).then(|| {
            let slots = self.frames.listed(list).filter(move |&slot| self.frames.mark(slot) == Mark::free(at));
            slots.map(|slot| self.frames.frame(slot))
        });
        let blocks = (at >= self.pageblock && at < self.top).then(|| {
            let blocks = list.nodes(&self.blocks).filter(move |&block| self.blocks.mark(block) == Mark::free(at));
            blocks.map(|block| up(block.into(), self.pageblock))
        });
        let frames =
            whole.into_iter().flatten().chain(pieces.into_iter().flatten()).chain(blocks.into_iter().flatten());
        frames.map(|frame| self.pfn(frame))
    }

    /// Takes blocks off a list, from the head, that the host is to be told of. They are nobody's until [`Zone::put_told`].
    #[doc(alias = "page_reporting_cycle")]
    pub fn take_unreported(&mut self, order: Order, migratetype: Migratetype, most: usize) -> Vec<Pfn> {
        let at = usize::from(order.get());
        let taken: Vec<Pfn> = self.unreported(order, migratetype).take(most).collect();
        for &pfn in &taken {
            let frame = self.frame(pfn);
            if at < self.pageblock {
                let slot = self.refine(frame);
                self.unlink_piece(slot, at, migratetype);
            } else {
                self.unlink_large(frame, at, migratetype);
            }
            self.count_taken(migratetype, order.pages().get());
            self.mark_used(frame, at);
        }
        taken
    }

    /// Puts a block back, behind all others of its list. It merges with what became free meanwhile, and of that the host was not told.
    ///
    /// # Errors
    /// It is not what was taken.
    #[doc(alias("page_reporting_drain", "__putback_isolated_page"))]
    pub fn put_told(&mut self, pfn: Pfn, order: Order, told: Told) -> Result<(), BadFree> {
        let at = usize::from(order.get());
        let (place, migratetype) = self.take_back(pfn, at, Mark::NONE)?;
        if at < self.pageblock {
            self.free_piece(place, at, migratetype, Placement::Tail);
        } else {
            self.free_block(place, at, migratetype, Placement::Tail);
        }
        if told == Told::Yes {
            self.note_told(self.frame(pfn), at, migratetype);
        }
        Ok(())
    }

    /// The block at a frame, if it is still of that order, is one that the host knows of.
    #[doc(alias = "__SetPageReported")]
    fn note_told(&mut self, frame: u64, order: usize, migratetype: Migratetype) {
        if order == self.top {
            let block = self.top_block(frame);
            let list = self.lists[migratetype.index()].of_mut(order);
            if self.runs.contains(*list, block) {
                self.runs.remove(list, block, block);
                self.runs.push_news(list, block, block, End::Tail, News::Reported);
            }
        } else if self.mark_at(frame).is_free(order) {
            if order < self.pageblock {
                let slot = self.refine(frame);
                self.frames.set_mark(slot, Mark::reported(order));
            } else {
                let block = self.block(frame);
                self.blocks.record(block).mark = Mark::reported(order);
            }
        }
    }
}
