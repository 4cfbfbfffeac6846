//! Who has a block: the zone, a processor's list, or somebody outside.

use core::fmt;

use units::{Migratetype, Order, Pfn};

use crate::list::NIL;
use crate::pageblock::{Mark, Start};
use crate::stack::Cached;
use crate::zone::{Zone, down, order_of, size, up};

/// What was given back is not what was handed out. Nothing was done.
#[doc(alias("bad_page", "free_page_is_bad"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadFree {
    /// The frames are not of this zone.
    Outside {
        /// The first frame.
        pfn: Pfn,
        /// The size given.
        order: Order,
    },
    /// No block of that size starts there.
    Misaligned {
        /// The first frame.
        pfn: Pfn,
        /// The size given.
        order: Order,
    },
    /// Some of it was kept at boot, and is nobody's.
    Reserved {
        /// The first frame given.
        pfn: Pfn,
        /// The first frame that was kept.
        kept: Pfn,
    },
    /// Some of it is free already, or on a processor's list.
    Free {
        /// The first frame given.
        pfn: Pfn,
        /// The first frame of the free block.
        block: Pfn,
    },
    /// It was handed out in another size: see [`Zone::split_used`].
    Size {
        /// The first frame given.
        pfn: Pfn,
        /// The size given.
        order: Order,
        /// What was handed out.
        block: Pfn,
        /// Its size.
        was: Order,
    },
}

impl fmt::Display for BadFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { pfn, order } => write!(f, "the block of {order} at {pfn} is not in the zone"),
            Self::Misaligned { pfn, order } => write!(f, "no block of {order} starts at {pfn}"),
            Self::Reserved { pfn, kept } => write!(f, "the block at {pfn} has {kept}, which was kept at boot"),
            Self::Free { pfn, block } => write!(f, "{pfn} was given back twice: the block at {block} is free"),
            Self::Size { pfn, order, block, was } => {
                write!(f, "{pfn} was given back as a block of {order}: the block at {block} was handed out as {was}")
            }
        }
    }
}

impl core::error::Error for BadFree {}

impl Zone {
    /// Notes that a block was handed out.
    #[inline(always)]
    pub(crate) fn mark_used(&mut self, frame: u64, order: usize) {
        if order < self.pageblock {
            let slot = self.refine(frame);
            self.frames.set_mark(slot, Mark::used(order));
        } else {
            let block = self.block(frame);
            self.blocks.record(block).mark = Mark::used(order);
        }
    }

    /// Hands a block out from a processor's list.
    #[inline(always)]
    pub(crate) fn hand_out(&mut self, block: Cached, order: usize) -> Pfn {
        if order < self.pageblock {
            self.frames.set_mark(block.place, Mark::used(order));
        } else if let Some(record) = self.blocks.find_mut(block.place.into()) {
            record.mark = Mark::used(order);
        }
        block.pfn
    }

    /// The first frame of a block, by its place: the slot of a piece of a pageblock, the number of the first pageblock otherwise.
    #[inline]
    pub(crate) fn frame_at(&self, place: u32, order: usize) -> u64 {
        if order < self.pageblock { self.frames.frame(place) } else { up(place.into(), self.pageblock) }
    }

    /// Takes a block back from its owner and gives it the mark `now`; its place and the type of its pageblock.
    #[inline]
    pub(crate) fn take_back(&mut self, pfn: Pfn, order: usize, now: Mark) -> Result<(u32, Migratetype), BadFree> {
        let frame = pfn.get().wrapping_sub(self.base);
        if let Some(record) = self.blocks.find_mut(down(frame, self.pageblock)) {
            let migratetype = record.migratetype();
            if order >= self.pageblock {
                if record.mark.is_used(order) && self.frames.is_first(frame) {
                    record.mark = now;
                    return Ok((self.block(frame), migratetype));
                }
            } else if record.frames != NIL {
                #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
                let slot = self.frames.slot(record.frames, frame as u32);
                let mark = self.frames.mark_mut(slot);
                if mark.is_used(order) {
                    *mark = now;
                    return Ok((slot, migratetype));
                }
            }
        }
        self.take_back_unknown(pfn, order, now)
    }

    /// The same for a block that was allocated before the zone was described, if it can be one.
    #[cold]
    #[inline(never)]
    fn take_back_unknown(&mut self, pfn: Pfn, order: usize, now: Mark) -> Result<(u32, Migratetype), BadFree> {
        self.check_unknown(pfn, order)?;
        let frame = self.frame(pfn);
        let block = self.block(frame);
        let migratetype = self.blocks.migratetype(block);
        if order >= self.pageblock {
            self.blocks.record(block).mark = now;
            return Ok((block, migratetype));
        }
        let slot = self.refine(frame);
        self.frames.set_mark(slot, now);
        Ok((slot, migratetype))
    }

    pub(crate) fn check_unknown(&self, pfn: Pfn, order: usize) -> Result<(), BadFree> {
        let size = order_of(order);
        if !pfn.is_aligned(size) {
            return Err(BadFree::Misaligned { pfn, order: size });
        }
        if !self.holds(pfn, size) {
            return Err(BadFree::Outside { pfn, order: size });
        }
        if let Some(kept) = self.first_reserved(pfn, pfn.offset(size.pages())) {
            return Err(BadFree::Reserved { pfn, kept });
        }
        let frame = self.frame(pfn);
        let end = frame + size.pages().get();
        match self.known_before(pfn).or_else(|| self.known_in(frame, end)) {
            Some((at, Start::Used(was) | Start::Movable(was))) => {
                Err(BadFree::Size { pfn, order: size, block: self.pfn(at), was: order_of(was) })
            }
            Some((at, _)) => Err(BadFree::Free { pfn, block: self.pfn(at) }),
            None => Ok(()),
        }
    }

    /// The block that is known to start before a frame and to reach over it.
    pub(crate) fn known_before(&self, pfn: Pfn) -> Option<(u64, Start)> {
        (1..=MOST).find_map(|order| {
            let at = (pfn.get() >> order << order).checked_sub(self.base)?;
            let mark = self.mark_at(at);
            let reach = at + mark.order().map_or(0, size);
            (at < self.frame(pfn) && reach > self.frame(pfn)).then(|| (at, mark.start()))
        })
    }

    /// A block that is known to start in these frames, or a run of free blocks over one of them.
    fn known_in(&self, frame: u64, end: u64) -> Option<(u64, Start)> {
        let (first, last) = (self.top_block(frame), self.top_block(end - 1));
        let run = Migratetype::ALL
            .into_iter()
            .find_map(|t| self.runs.first_of(*self.lists[t.index()].of(self.top), first, last));
        if let Some(run) = run {
            return Some((u64::from(run) << self.top, Start::Free(self.top)));
        }
        for block in self.block(frame)..=self.block(end - 1) {
            let start = u64::from(block) << self.pageblock;
            let Some(record) = self.blocks.get(block) else { continue };
            if record.mark != Mark::NONE && start >= frame {
                return Some((start, record.mark.start()));
            }
            let mut pieces = self.pieces(block).map(|(slot, mark)| (self.frames.frame(slot), mark.start()));
            if let Some(piece) = pieces.find(|&(at, _)| (frame..end).contains(&at)) {
                return Some(piece);
            }
        }
        None
    }

    /// What starts at a frame.
    #[inline]
    pub(crate) fn mark_at(&self, frame: u64) -> Mark {
        let Some(record) = self.block_of(frame).and_then(|block| self.blocks.get(block)) else { return Mark::NONE };
        let inside = frame & (size(self.pageblock) - 1);
        if record.frames == NIL {
            return if inside == 0 { record.mark } else { Mark::NONE };
        }
        #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
        let slot = self.frames.slot(record.frames, inside as u32);
        self.frames.mark(slot)
    }

    /// Makes blocks of `to` of a block that was handed out, so that each can be given back by itself.
    ///
    /// # Errors
    /// No block of `from` was handed out there.
    #[doc(alias = "split_page")]
    pub fn split_used(&mut self, pfn: Pfn, from: Order, to: Order) -> Result<(), BadFree> {
        if to > from {
            return Err(BadFree::Size { pfn, order: to, block: pfn, was: from });
        }
        let (from, to) = (usize::from(from.get()), usize::from(to.get()));
        let was = pfn.get().checked_sub(self.base).map_or(Mark::NONE, |frame| self.mark_at(frame));
        self.take_back(pfn, from, Mark::NONE)?;
        let frame = self.frame(pfn);
        for piece in 0..size(from - to) {
            let at = frame + (piece << to);
            match was.start() {
                Start::Movable(_) => self.mark_movable(self.pfn(at), order_of(to)),
                _ => self.mark_used(at, to),
            }
        }
        Ok(())
    }
}

/// No block of a larger order is handed out.
const MOST: usize = 30;
