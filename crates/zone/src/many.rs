//! Many base pages for one owner, in few blocks.

use units::{Order, PageCount, Pfn};

use crate::alloc_flags::AllocFlags;
use crate::owner::BadFree;
use crate::pageblock::Start;
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
        let mut order = self.top;
        while left > 0 {
            if left < size(order) {
                order -= 1;
                continue;
            }
            match self.take_cached(lists, Want { order: order_of(order), flags, ..want }) {
                Some(pfn) => {
                    told(pfn, order_of(order));
                    left -= size(order);
                }
                None if order == 0 => break,
                None => order -= 1,
            }
        }
        PageCount::new(pages.get() - left)
    }

    /// Gives back what was handed out from `start` on and before `end`, each block in its size; one that reaches over an end is split there. Frames that were allocated
    /// before the zone was described go back in the largest blocks. Up to where that goes: to the end of the span that it begins in at most.
    ///
    /// # Errors
    /// Something of it was not handed out. What comes before that has gone back.
    pub fn put_many(&mut self, lists: &mut PerCpuPages, start: Pfn, end: Pfn) -> Result<Pfn, BadFree> {
        let mut at = start;
        let end = end.min(self.end_of_span(start)?);
        while at < end {
            let order = self.next_to_put(at, end)?;
            self.put_cached(lists, at, order)?;
            at = at.offset(order.pages());
        }
        Ok(at)
    }

    fn end_of_span(&self, pfn: Pfn) -> Result<Pfn, BadFree> {
        let span = self.layout.spans.iter().find(|&&(start, end)| start <= pfn && pfn < end);
        span.map(|&(_, end)| end).ok_or(BadFree::Outside { pfn, order: Order::ZERO })
    }

    /// The size in which the block at `at` can go back, which ends before `end`.
    ///
    /// # Errors
    /// It was not handed out.
    pub fn next_to_put(&mut self, at: Pfn, end: Pfn) -> Result<Order, BadFree> {
        let frame = at.get().checked_sub(self.base).ok_or(BadFree::Outside { pfn: at, order: Order::ZERO })?;
        match self.mark_at(frame).start() {
            Start::Used(order) | Start::Movable(order) => self.cut_end(at, order, end),
            Start::Free(_) | Start::Cached(_) => Err(BadFree::Free { pfn: at, block: at }),
            Start::Nothing => self.cut_start(at, end),
        }
    }

    /// Splits a block until its first part ends in time.
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
