//! Whose blocks serve a request when its own type has none.

use units::{Migratetype, Pfn};

use crate::alloc_flags::AllocFlags;
use crate::event::{Ownership, ZoneEvent};
use crate::grouping::Grouping;
use crate::watermark::boost_limit;
use crate::zone::{Want, Zone, order_of};

/// How the last page of a series was found. The next one of the same series begins there, since what was empty a moment ago, with
/// the zone held all the time, is empty still.
#[doc(alias = "rmqueue_mode")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// On the lists of its own type.
    #[default]
    Own,
    /// In areas of contiguous memory.
    Cma,
    /// By making a block of another type its own.
    Claim,
    /// In a block of another type, which stays that.
    Steal,
}

impl Zone {
    /// Takes a block, splitting a larger one if need be. Above [`Zone::largest`] it takes an aligned range of largest blocks.
    #[doc(alias = "rmqueue_buddy")]
    #[inline]
    pub fn take(&mut self, want: Want) -> Option<Pfn> {
        if usize::from(want.order.get()) > self.top {
            return self.take_range(want.order);
        }
        self.take_block(want)
    }

    fn take_block(&mut self, want: Want) -> Option<Pfn> {
        let order = usize::from(want.order.get());
        let frame = self.take_frame(order, want)?;
        self.mark_used(frame, order);
        Some(self.pfn(frame))
    }

    #[inline]
    fn take_frame(&mut self, order: usize, want: Want) -> Option<u64> {
        // Most requests have no right that leads elsewhere and find a block of their own type.
        if !want.flags.intersects(AllocFlags::HIGHATOMIC.with(AllocFlags::CMA))
            && let Some(frame) = self.take_smallest_here(order, self.type_of_request(want.migratetype))
        {
            return Some(frame);
        }
        self.take_other(want)
    }

    #[inline(never)]
    fn take_other(&mut self, want: Want) -> Option<u64> {
        let order = usize::from(want.order.get());
        if want.flags.contains(AllocFlags::HIGHATOMIC)
            && let Some(frame) = self.take_smallest(order, Migratetype::HighAtomic)
        {
            return Some(frame);
        }
        let mut frame = self.take_by_mode(want, &mut Mode::Own);
        if frame.is_none() && want.flags.intersects(AllocFlags::OOM.with(AllocFlags::NON_BLOCK)) {
            frame = self.take_smallest(order, Migratetype::HighAtomic);
        }
        frame
    }

    /// Takes a block of the type asked for, or in the order of [`Mode`] of others.
    #[doc(alias = "__rmqueue")]
    #[inline]
    pub(crate) fn take_by_mode(&mut self, want: Want, mode: &mut Mode) -> Option<u64> {
        let order = usize::from(want.order.get());
        let migratetype = self.type_of_request(want.migratetype);
        // Lent memory is used evenly: as soon as it is more than half of what is free, it comes first.
        if want.flags.contains(AllocFlags::CMA)
            && self.free_cma > self.free().get() / 2
            && let Some(frame) = self.take_smallest(order, Migratetype::Cma)
        {
            return Some(frame);
        }
        if *mode == Mode::Own
            && let Some(frame) = self.take_smallest(order, migratetype)
        {
            return Some(frame);
        }
        self.take_from_others(Want { migratetype, ..want }, mode)
    }

    #[inline(never)]
    fn take_from_others(&mut self, want: Want, mode: &mut Mode) -> Option<u64> {
        let order = usize::from(want.order.get());
        if *mode <= Mode::Cma
            && want.flags.contains(AllocFlags::CMA)
            && let Some(frame) = self.take_smallest(order, Migratetype::Cma)
        {
            *mode = Mode::Cma;
            return Some(frame);
        }
        if *mode <= Mode::Claim
            && let Some(frame) = self.claim(order, want)
        {
            *mode = Mode::Own;
            return Some(frame);
        }
        if !want.flags.contains(AllocFlags::NOFRAGMENT)
            && let Some(frame) = self.steal(order, want.migratetype)
        {
            *mode = Mode::Steal;
            return Some(frame);
        }
        None
    }

    /// Without grouping all pages count as unmovable.
    #[inline]
    pub(crate) fn type_of_request(&self, migratetype: Migratetype) -> Migratetype {
        self.requested[migratetype.index()]
    }

    /// The first type whose blocks may serve `start` and that has a block of exactly `order`.
    fn fallback(&self, order: usize, start: Migratetype) -> Option<Migratetype> {
        fallbacks(start).iter().copied().find(|t| self.lists[t.index()].occupied & 1 << order != 0)
    }

    /// Takes over a pageblock of another type, from the largest free blocks down: these are the least trouble for that type.
    #[doc(alias = "__rmqueue_claim")]
    fn claim(&mut self, order: usize, want: Want) -> Option<u64> {
        let whole = order < self.pageblock && want.flags.contains(AllocFlags::NOFRAGMENT);
        let least = if whole { self.pageblock } else { order };
        for found in (least..=self.top).rev() {
            if !self.is_claimable(found, want.migratetype) {
                return None;
            }
            let Some(other) = self.fallback(found, want.migratetype) else { continue };
            if let Some(frame) = self.claim_block(order, found, other, want) {
                return Some(frame);
            }
        }
        None
    }

    /// Is a free block of `order` reason enough to take its pageblock over for `start`? Pages that can move do little harm
    /// anywhere, so they take only what is nearly free; below that order no smaller block will do either.
    #[doc(alias = "should_try_claim_block")]
    fn is_claimable(&self, order: usize, start: Migratetype) -> bool {
        order >= self.pageblock / 2
            || matches!(start, Migratetype::Unmovable | Migratetype::Reclaimable)
            || self.grouping == Grouping::Off
    }

    /// Takes over the pageblock of the first free block of `found`, if it is mostly free or alike.
    #[doc(alias = "try_to_claim_block")]
    fn claim_block(&mut self, order: usize, found: usize, other: Migratetype, want: Want) -> Option<u64> {
        let start = want.migratetype;
        let head = self.head(found, other)?;
        let frame = if found >= self.pageblock {
            let frame = self.take_head(found, found, other)?;
            self.retag(frame, found, start);
            self.count_freed(start, 1 << found);
            self.split(frame, order, found, start);
            self.count_taken(start, 1 << order);
            frame
        } else {
            self.raise_boost();
            if want.flags.contains(AllocFlags::KSWAPD) {
                self.boosted |= !self.boost.is_zero();
            }
            let block = self.block(head);
            if self.straddles(block) {
                return None;
            }
            let pages = self.pages_of(block);
            let alike = match (start, other) {
                (Migratetype::Movable, _) => pages.movable,
                (_, Migratetype::Movable) => (1 << self.pageblock) - (pages.free + pages.movable),
                _ => 0,
            };
            if pages.free + alike < 1 << (self.pageblock - 1) && self.grouping == Grouping::ByMobility {
                return None;
            }
            self.move_free(block, other, start);
            self.set_type(block, start);
            self.take_smallest(order, start)?
        };
        self.note_fallback(head, order, found, start, other);
        Some(frame)
    }

    /// Takes one block and leaves its pageblock what it is; the smallest that fits, so that large blocks survive.
    #[doc(alias = "__rmqueue_steal")]
    fn steal(&mut self, order: usize, start: Migratetype) -> Option<u64> {
        let (found, other) = (order..=self.top).find_map(|at| Some((at, self.fallback(at, start)?)))?;
        let frame = self.take_head(order, found, other)?;
        self.note_fallback(frame, order, found, start, other);
        Some(frame)
    }

    fn note_fallback(
        &mut self,
        head: u64,
        order: usize,
        found: usize,
        migratetype: Migratetype,
        fallback: Migratetype,
    ) {
        let kept = self.blocks.migratetype(self.block(head)) != migratetype;
        let pfn = self.pfn(head);
        self.note(|| ZoneEvent::Fallback {
            pfn,
            order: order_of(order),
            fallback_order: order_of(found),
            migratetype,
            fallback,
            ownership: if kept { Ownership::Kept } else { Ownership::Changed },
        });
    }

    /// Blocks are being mixed: background reclaim is to free more than usual for a while.
    #[doc(alias = "boost_watermark")]
    fn raise_boost(&mut self) {
        let limit = boost_limit(self.marks.high, self.managed(), self.boost_factor, self.layout.pageblock);
        if let Some(limit) = limit {
            self.set_boost((self.boost + self.layout.pageblock.pages()).min(limit));
        }
    }
}

/// Where a request of this type looks once its own lists are empty, in this order.
const fn fallbacks(start: Migratetype) -> &'static [Migratetype] {
    match start {
        Migratetype::Unmovable => &[Migratetype::Reclaimable, Migratetype::Movable],
        Migratetype::Movable => &[Migratetype::Reclaimable, Migratetype::Unmovable],
        Migratetype::Reclaimable => &[Migratetype::Unmovable, Migratetype::Movable],
        Migratetype::HighAtomic | Migratetype::Cma | Migratetype::Isolate => &[],
    }
}
