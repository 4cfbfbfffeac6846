//! What stands in the way of a range of frames.

use alloc::vec::Vec;

use units::{Migratetype, Order, Pfn};

use crate::list::NIL;
use crate::pageblock::{Mark, Start};
use crate::pick::{Found, Held};
use crate::zone::{Zone, bit, order_of, size, up};

impl Zone {
    /// Everything from `start` to before `end` that is not free, from below: blocks in use with their sizes, those on processors' lists,
    /// and frames that boot kept. It goes by pageblocks, so a range that is free or used as a whole is a few steps. Frames that were
    /// allocated before the zone was described are one block as far as their pageblock goes. Frames that the zone does not have are left out.
    #[must_use]
    pub fn in_use(&self, start: Pfn, end: Pfn) -> Vec<Found> {
        let free = self.largest_free(start, end);
        let mut found = Vec::new();
        for &(first, past) in &self.layout.spans {
            let (first, past) = (first.max(start), past.min(end));
            if first < past {
                self.in_use_of_span(self.frame(first), self.frame(past), &free, &mut found);
            }
        }
        found
    }

    /// Free blocks of the largest order in a range, in ascending runs of frames.
    fn largest_free(&self, start: Pfn, end: Pfn) -> Vec<(u64, u64)> {
        let lists = Migratetype::ALL.map(|of| *self.lists[of.index()].of(self.top));
        let runs = lists.into_iter().flat_map(|list| self.runs.of(list));
        let frames = runs.map(|(a, b)| (up(a.min(b).into(), self.top), up(u64::from(a.max(b)) + 1, self.top)));
        let inside = |&(first, past): &(u64, u64)| self.base + first < end.get() && start.get() < self.base + past;
        let mut free: Vec<(u64, u64)> = frames.filter(inside).collect();
        free.sort_unstable();
        free
    }

    fn in_use_of_span(&self, start: u64, end: u64, free: &[(u64, u64)], found: &mut Vec<Found>) {
        let mut at = self.past_what_covers(start, found);
        while at < end {
            let run = free.partition_point(|&(_, past)| past <= at);
            if let Some(&(_, past)) = free.get(run).filter(|&&(first, _)| first <= at) {
                at = past;
                continue;
            }
            let behind = (up(u64::from(self.block(at)) + 1, self.pageblock)).min(end);
            at = self.in_use_of_block(at, behind, found);
        }
    }

    /// A range may begin inside a block.
    fn past_what_covers(&self, at: u64, found: &mut Vec<Found>) -> u64 {
        if at & (size(self.pageblock) - 1) == 0 && self.mark_at(at) != Mark::NONE {
            return at;
        }
        let Some(block) = self.find(self.pfn(at)).filter(|block| self.frame(block.pfn) < at) else { return at };
        if block.held != Held::Free {
            found.push(block);
        }
        self.frame(block.pfn) + block.order.pages().get()
    }

    /// What is in use from `at` on in its pageblock, up to `end`; where to go on.
    fn in_use_of_block(&self, at: u64, end: u64, found: &mut Vec<Found>) -> u64 {
        let block = self.block(at);
        let (mark, page) = self.blocks.get(block).map_or((Mark::NONE, NIL), |record| (record.mark, record.frames));
        if page == NIL {
            let Some(order) = mark.order() else {
                self.push_unknown(at, end, found);
                return end;
            };
            self.push_known(at, mark, found);
            return up(block.into(), self.pageblock) + size(order);
        }
        let mut frame = at;
        let mut unknown = at;
        while frame < end {
            #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
            let mark = self.frames.mark(self.frames.slot(page, frame as u32));
            let Some(order) = mark.order() else {
                frame += 1;
                continue;
            };
            self.push_unknown(unknown, frame, found);
            self.push_known(frame, mark, found);
            frame += u64::from(bit(order));
            unknown = frame;
        }
        self.push_unknown(unknown, end, found);
        frame
    }

    fn push_known(&self, frame: u64, mark: Mark, found: &mut Vec<Found>) {
        let (order, held) = match mark.start() {
            Start::Nothing | Start::Free(_) => return,
            Start::Used(order) => (order, Held::Used),
            Start::Movable(order) => (order, Held::Movable),
            Start::Cached(order) => (order, Held::Cached),
        };
        found.push(Found { pfn: self.pfn(frame), order: order_of(order), held });
    }

    /// Frames of which no mark says anything, in the largest aligned blocks.
    fn push_unknown(&self, mut frame: u64, end: u64, found: &mut Vec<Found>) {
        while frame < end {
            let pfn = self.pfn(frame);
            let kept = self.first_reserved(pfn, self.pfn(end));
            let until = kept.map_or(end, |kept| if kept == pfn { end } else { self.frame(kept) });
            let held = if kept == Some(pfn) { Held::Reserved } else { Held::Used };
            let until = if held == Held::Reserved { self.end_of_reserved(pfn).min(until) } else { until };
            let fits = (until - frame).ilog2().min(pfn.get().trailing_zeros());
            let order = u8::try_from(fits).map_or(Order::ZERO, Order::new);
            found.push(Found { pfn, order, held });
            frame += order.pages().get();
        }
    }

    fn end_of_reserved(&self, pfn: Pfn) -> u64 {
        let range = self.reserved.iter().find(|&&(start, end)| start <= pfn && pfn < end);
        range.map_or(self.frame(pfn), |&(_, end)| self.frame(end))
    }
}
