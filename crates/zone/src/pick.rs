//! A block of one's choice.

use units::{Order, Pfn};

use crate::list::End;
use crate::owner::BadFree;
use crate::pageblock::{Mark, Start};
use crate::zone::{Zone, order_of, size};

/// What a frame is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A block on the free lists.
    Free,
    /// A block that somebody has, and can move.
    Movable,
    /// A block that somebody has.
    Used,
    /// A block on a processor's list.
    Cached,
    /// A frame that boot kept: nobody has it.
    Reserved,
}

/// A block, found by a frame of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its first frame.
    pub pfn: Pfn,
    /// Its order. What was allocated before the zone was described counts as single pages.
    pub order: Order,
    /// Who has it.
    pub held: Held,
}

impl Zone {
    /// The block that a frame is a part of; nothing for a frame that the zone does not have.
    #[must_use]
    pub fn find(&self, pfn: Pfn) -> Option<Found> {
        if !self.layout.spans.iter().any(|&(start, end)| start <= pfn && pfn < end) {
            return None;
        }
        if self.first_reserved(pfn, pfn.offset(units::PageCount::new(1))).is_some() {
            return Some(Found { pfn, order: Order::ZERO, held: Held::Reserved });
        }
        let frame = self.frame(pfn);
        let top = self.top_block(frame);
        if units::Migratetype::ALL.iter().any(|t| self.runs.contains(*self.lists[t.index()].of(self.top), top)) {
            let start = self.pfn(frame >> self.top << self.top);
            return Some(Found { pfn: start, order: order_of(self.top), held: Held::Free });
        }
        let covering = (0..=Self::MOST_ORDER).find_map(|order| {
            let start = (pfn.get() >> order << order).checked_sub(self.base)?;
            let mark = self.mark_at(start);
            let held = match mark.start() {
                Start::Free(_) => Held::Free,
                Start::Movable(_) => Held::Movable,
                Start::Used(_) => Held::Used,
                Start::Cached(_) => Held::Cached,
                Start::Nothing => return None,
            };
            let size = mark.order()?;
            (start + self::size(size) > frame).then(|| Found { pfn: self.pfn(start), order: order_of(size), held })
        });
        Some(covering.unwrap_or(Found { pfn, order: Order::ZERO, held: Held::Used }))
    }

    /// No block of a larger order is handed out.
    const MOST_ORDER: usize = 30;

    /// Takes the block of `order` that a frame is a part of, if all of it is in one free block, whose other parts stay free.
    #[doc(alias("take_page_off_buddy", "__isolate_free_page"))]
    pub fn pick(&mut self, pfn: Pfn, order: Order) -> Option<Pfn> {
        let found = self.find(pfn).filter(|found| found.held == Held::Free && found.order >= order)?;
        let (mut frame, wanted) = (self.frame(found.pfn), self.frame(pfn));
        let (order, top) = (usize::from(order.get()), usize::from(found.order.get()));
        let migratetype = self.blocks.migratetype(self.block(frame));
        if top < self.pageblock {
            let slot = self.refine(frame);
            self.unlink_piece(slot, top, migratetype);
        } else {
            self.unlink_large(frame, top, migratetype);
        }
        for at in (order..top).rev() {
            let upper = frame + size(at);
            let rest = if wanted >= upper { core::mem::replace(&mut frame, upper) } else { upper };
            self.push(rest, at, migratetype, End::Head);
        }
        self.count_taken(migratetype, size(order));
        self.mark_used(frame, order);
        Some(self.pfn(frame))
    }

    /// Makes one block of all the blocks that were handed out from `pfn` on and are no longer than it.
    ///
    /// # Errors
    /// Some of it was not handed out, or reaches out of it.
    pub fn join_used(&mut self, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let (frame, end) = (self.frame(pfn), self.frame(pfn) + order.pages().get());
        let mut at = frame;
        while at < end {
            let found = self.find(self.pfn(at)).ok_or(BadFree::Outside { pfn, order })?;
            let size = found.order.pages().get();
            if !matches!(found.held, Held::Used | Held::Movable) || self.frame(found.pfn) != at || at + size > end {
                return Err(BadFree::Size { pfn, order, block: found.pfn, was: found.order });
            }
            at += size;
        }
        at = frame;
        while at < end {
            let size = self.find(self.pfn(at)).map_or(1, |found| found.order.pages().get());
            self.take_back(self.pfn(at), size.trailing_zeros() as usize, Mark::NONE)?;
            at += size;
        }
        self.mark_used(frame, usize::from(order.get()));
        Ok(())
    }
}
