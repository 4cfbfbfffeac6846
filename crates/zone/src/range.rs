//! Ranges above the largest order.

use alloc::vec::Vec;

use units::{Migratetype, Order};

use crate::list::NIL;
use crate::zone::{Zone, down, size, up};

impl Zone {
    /// Takes the lowest aligned range that is free in blocks of the largest order.
    #[doc(alias = "alloc_contig_pages")]
    #[inline(never)]
    pub(crate) fn take_range(&mut self, order: Order) -> Option<u64> {
        let blocks = size(usize::from(order.get()) - self.top);
        if let Some(start) = self.take_from_lowest_run(blocks) {
            return Some(up(start, self.top));
        }
        let start = self.range_in_runs(blocks)?;
        let (first, last) = (u32::try_from(start).ok()?, u32::try_from(start + blocks - 1).ok()?);
        for migratetype in Migratetype::OF_REQUESTS {
            let lists = &mut self.lists[migratetype.index()];
            let taken = self.runs.remove(lists.of_mut(self.top), first, last);
            lists.settle(self.top);
            self.count_taken(migratetype, up(taken, self.top));
        }
        Some(up(start, self.top))
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
        ((start + offset + blocks - 1) & !(blocks - 1)) - offset
    }

    /// Takes the range where the lowest run of all has it: no other one can begin before.
    fn take_from_lowest_run(&mut self, blocks: u64) -> Option<u64> {
        let (mut lowest, mut found) = (NIL, None);
        for migratetype in Migratetype::OF_REQUESTS {
            if let Some((node, start)) = self.runs.lowest(*self.lists[migratetype.index()].of(self.top))
                && start < lowest
            {
                (lowest, found) = (start, Some((node, migratetype)));
            }
        }
        let (node, migratetype) = found?;
        let start = self.aligned(lowest.into(), blocks);
        let (first, last) = (u32::try_from(start).ok()?, u32::try_from(start + blocks - 1).ok()?);
        if !self.runs.has(node, first, last) {
            return None;
        }
        let lists = &mut self.lists[migratetype.index()];
        let list = lists.of_mut(self.top);
        self.runs.cut(list, node, first, last);
        list.blocks -= blocks;
        lists.settle(self.top);
        self.count_taken(migratetype, up(blocks, self.top));
        Some(start)
    }

    /// The range wherever it is: runs that follow each other may have it together.
    #[cold]
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
