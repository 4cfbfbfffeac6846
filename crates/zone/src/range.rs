//! Ranges above the largest order.

use alloc::vec::Vec;

use units::{Migratetype, Order, Pfn};

use crate::list::NIL;
use crate::pageblock::Mark;
use crate::zone::{Zone, down, size, up};

impl Zone {
    /// Takes the lowest aligned range that is free in blocks of the largest order.
    #[doc(alias = "alloc_contig_pages")]
    #[inline(never)]
    pub(crate) fn take_range(&mut self, order: Order) -> Option<Pfn> {
        let order = usize::from(order.get());
        let blocks = size(order - self.top);
        let start = match self.take_from_lowest_run(blocks) {
            Some(start) => start,
            None => self.take_from_runs(blocks)?,
        };
        let frame = up(start, self.top);
        let block = self.block(frame);
        self.blocks.record(block).mark = Mark::used(order);
        Some(self.pfn(frame))
    }

    /// Takes the range from wherever it is: runs that follow each other may have it together.
    #[cold]
    fn take_from_runs(&mut self, blocks: u64) -> Option<u64> {
        let start = self.range_in_runs(blocks)?;
        let (first, last) = (u32::try_from(start).ok()?, u32::try_from(start + blocks - 1).ok()?);
        for migratetype in Migratetype::OF_REQUESTS {
            let lists = &mut self.lists[migratetype.index()];
            let taken = self.runs.remove(lists.of_mut(self.top), first, last);
            lists.settle(self.top);
            self.count_taken(migratetype, up(taken, self.top));
        }
        Some(start)
    }

    /// All runs: the lowest and the last block.
    fn all_runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let lists = Migratetype::OF_REQUESTS.map(|migratetype| *self.lists[migratetype.index()].of(self.top));
        lists.into_iter().flat_map(|list| self.runs.of(list)).map(|(a, b)| (a.min(b).into(), a.max(b).into()))
    }

    /// The first block from `start` on where a range can begin.
    fn aligned(&self, start: u64, blocks: u64) -> u64 {
        let offset = down(self.base, self.top);
        // A range has a power of two of blocks.
        ((start + offset + (blocks - 1)) & !(blocks - 1)) - offset
    }

    /// Takes the range where the lowest run of all has it: no other one can begin before.
    #[inline]
    fn take_from_lowest_run(&mut self, blocks: u64) -> Option<u64> {
        let mut found = (NIL, NIL, Migratetype::Movable);
        for migratetype in Migratetype::OF_REQUESTS {
            let (start, node) = self.runs.lowest(*self.lists[migratetype.index()].of(self.top));
            if start < found.0 {
                found = (start, node, migratetype);
            }
        }
        let (lowest, node, migratetype) = found;
        let start = self.aligned(lowest.into(), blocks);
        let (first, last) = (u32::try_from(start).ok()?, u32::try_from(start + (blocks - 1)).ok()?);
        let lists = &mut self.lists[migratetype.index()];
        let list = lists.of_mut(self.top);
        if !self.runs.take_from(list, node, first, last) {
            return None;
        }
        list.blocks -= blocks;
        if list.is_empty() {
            lists.settle(self.top);
        }
        self.free_plain -= up(blocks, self.top);
        Some(start)
    }

    /// Where it is.
    fn range_in_runs(&self, blocks: u64) -> Option<u64> {
        let mut free: Vec<(u64, u64)> = self.all_runs().collect();
        free.sort_unstable();
        free.dedup_by(|next, before| {
            let adjacent = before.1 + 1 == next.0;
            if adjacent {
                before.1 = next.1;
            }
            adjacent
        });
        free.iter().find_map(|&(start, last)| {
            let aligned = self.aligned(start, blocks);
            (aligned + blocks <= last + 1).then_some(aligned)
        })
    }
}
