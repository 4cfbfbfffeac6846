//! Many base pages for one owner, in few blocks.

use units::{Order, PageCount, Pfn};

use crate::alloc_flags::AllocFlags;
use crate::list::End;
use crate::marks::MarkCheck;
use crate::owner::BadFree;
use crate::pageblock::{Mark, Start};
use crate::pcp::PerCpuPages;
use crate::zone::{Want, Zone, order_of, size};

impl Zone {
    /// Takes so many base pages in the largest blocks that there are, whatever the order that is asked for. No pageblock is mixed for it: what of the zone is
    /// neither of the type asked for nor a whole pageblock stays, so fewer may be had. How many are; each block is told as it comes, large ones first.
    pub fn take_many(
        &mut self,
        lists: &mut PerCpuPages,
        want: Want,
        pages: PageCount,
        mut told: impl FnMut(Pfn, Order),
    ) -> PageCount {
        let flags = want.flags.with(AllocFlags::NOFRAGMENT);
        let mut left = pages.get();
        let mut most = self.top;
        while left > 0 {
            let order = most.min(log2(left));
            let want = Want { order: order_of(order), flags, ..want };
            let taken = if lists.takes(want.order) { self.take_cached(lists, want) } else { self.take(want) };
            match taken {
                Some(pfn) => {
                    told(pfn, order_of(order));
                    left -= size(order);
                }
                None if order == 0 => break,
                None => most = order - 1,
            }
        }
        PageCount::new(pages.get() - left)
    }

    /// Does the zone stay above a mark without so many of its pages?
    #[inline]
    #[must_use]
    pub fn is_above_without(&self, check: MarkCheck, pages: PageCount) -> bool {
        let least = self.least[check.level as usize][check.highest];
        self.free_plain.checked_sub(least).is_some_and(|spare| spare > pages.get())
            || self.is_above_with(check, self.mark(check.level).saturating_add(pages), self.free())
    }

    /// Gives back what is one block, if it is; otherwise nothing was done.
    #[inline]
    pub fn put_one(&mut self, lists: &mut PerCpuPages, start: Pfn, pages: PageCount) -> bool {
        let order = order_of(log2(pages.get()));
        pages.get().is_power_of_two()
            && order <= self.layout.largest
            && start.is_aligned(order)
            && self.put_cached(lists, start, order).is_ok()
    }

    /// Gives back what was handed out from `start` on and before `end`, each block in its size; one that reaches over an end is split there. Frames that were allocated
    /// before the zone was described go back in the largest blocks. Up to where that goes: to the end of the span that it begins in at most.
    ///
    /// # Errors
    /// Something of it was not handed out. What comes before that has gone back.
    pub fn put_many(&mut self, lists: &mut PerCpuPages, start: Pfn, end: Pfn) -> Result<Pfn, BadFree> {
        let mut at = start;
        let end = end.min(self.end_of_span(start)?);
        let rest = self.put_largest(start, end);
        while at < rest {
            let order = self.next_to_put(at, rest)?;
            self.put_cached(lists, at, order)?;
            at = at.offset(order.pages());
        }
        Ok(end)
    }

    /// Gives back the blocks of the largest order at the end of a range together, so that they are taken again from below; where the rest ends.
    #[inline]
    fn put_largest(&mut self, start: Pfn, end: Pfn) -> Pfn {
        let (largest, pages) = (order_of(self.top), size(self.top));
        let mut rest = end;
        while rest.get() - start.get() >= pages && rest.is_aligned(largest) {
            let block = self.block(self.frame(Pfn::new(rest.get() - pages)));
            let record = self.blocks.record(block);
            if !record.mark.is_used(self.top) {
                break;
            }
            record.mark = Mark::NONE;
            rest = Pfn::new(rest.get() - pages);
        }
        if rest < end {
            self.put_largest_blocks(self.frame(rest), end.get() - rest.get());
        }
        rest
    }

    /// The lowest one is taken first.
    #[inline]
    fn put_largest_blocks(&mut self, frame: u64, pages: u64) {
        let last = frame + (pages - 1);
        let Some(migratetype) = self.blocks.common_type(self.block(frame), self.block(last)) else {
            for n in (0..pages >> self.top).rev() {
                self.put_top_blocks(self.block(frame + (n << self.top)), size(self.top));
            }
            return;
        };
        let (low, high) = (self.top_block(frame), self.top_block(last));
        let lists = &mut self.lists[migratetype.index()];
        self.runs.push(lists.of_mut(self.top), low, high, End::Head);
        lists.occupied |= 1 << self.top;
        self.count_freed(migratetype, pages);
    }

    #[inline]
    fn end_of_span(&self, pfn: Pfn) -> Result<Pfn, BadFree> {
        if let [(first, past)] = self.layout.spans[..]
            && first <= pfn
            && pfn < past
        {
            return Ok(past);
        }
        let span = self.layout.spans.iter().find(|&&(start, end)| start <= pfn && pfn < end);
        span.map(|&(_, end)| end).ok_or(BadFree::Outside { pfn, order: Order::ZERO })
    }

    /// The size in which the block at `at` can go back, which ends before `end`.
    ///
    /// # Errors
    /// It was not handed out.
    #[inline]
    pub fn next_to_put(&mut self, at: Pfn, end: Pfn) -> Result<Order, BadFree> {
        let frame = at.get().checked_sub(self.base).ok_or(BadFree::Outside { pfn: at, order: Order::ZERO })?;
        match self.mark_at(frame).start() {
            Start::Used(order) | Start::Movable(order) => self.cut_end(at, order, end),
            Start::Free(_) | Start::Cached(_) => Err(BadFree::Free { pfn: at, block: at }),
            Start::Nothing => self.cut_start(at, end),
        }
    }

    /// Splits a block until its first part ends in time.
    #[inline]
    fn cut_end(&mut self, at: Pfn, order: usize, end: Pfn) -> Result<Order, BadFree> {
        let mut order = order;
        while at.offset(order_of(order).pages()) > end {
            self.split_used(at, order_of(order), order_of(order - 1))?;
            order -= 1;
        }
        Ok(order_of(order))
    }

    /// No block begins here: one that began before is split until one does, or else nothing is known of it.
    #[cold]
    fn cut_start(&mut self, at: Pfn, end: Pfn) -> Result<Order, BadFree> {
        let Some((frame, Start::Used(order) | Start::Movable(order))) = self.known_before(at) else {
            return self.largest_unknown(at, end);
        };
        let (mut block, mut order) = (self.pfn(frame), order);
        while block < at {
            self.split_used(block, order_of(order), order_of(order - 1))?;
            order -= 1;
            let second = block.offset(order_of(order).pages());
            block = if second <= at { second } else { block };
        }
        self.cut_end(at, order, end)
    }

    /// The largest aligned block of frames of which no mark says anything.
    fn largest_unknown(&self, at: Pfn, end: Pfn) -> Result<Order, BadFree> {
        let fits = (end.get() - at.get()).ilog2().min(at.get().trailing_zeros()) as usize;
        let mut order = fits.min(self.top);
        while let Err(wrong) = self.check_unknown(at, order) {
            order = order.checked_sub(1).ok_or(wrong)?;
        }
        Ok(order_of(order))
    }
}

/// The order of the largest block that so many pages have room for.
#[inline]
const fn log2(pages: u64) -> usize {
    (pages | 1).ilog2() as usize
}
