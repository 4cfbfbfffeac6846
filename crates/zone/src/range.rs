//! Ranges above the largest order.

use alloc::vec::Vec;

use units::{Migratetype, Order, Pfn};

use crate::zone::Zone;

impl Zone {
    /// Takes the lowest aligned range that is free in blocks of the largest order.
    #[doc(alias = "alloc_contig_pages")]
    #[cold]
    pub(crate) fn take_range(&mut self, order: Order) -> Option<Pfn> {
        let blocks = 1u64 << (usize::from(order.get()) - self.top);
        let mut free: Vec<(u64, u64)> = Vec::new();
        for migratetype in Migratetype::OF_REQUESTS {
            let list = self.lists[self.top][migratetype.index()];
            free.extend(self.runs.of(list).map(|(a, b)| (a.min(b).into(), u64::from(a.max(b)) + 1)));
        }
        free.sort_unstable();
        free.dedup_by(|next, before| {
            let adjacent = before.1 == next.0;
            if adjacent {
                before.1 = next.1;
            }
            adjacent
        });
        let offset = self.base >> self.top;
        let start = free.iter().find_map(|&(start, end)| {
            let aligned = (start + offset).next_multiple_of(blocks) - offset;
            (aligned + blocks <= end).then_some(aligned)
        })?;
        let (first, last) = (u32::try_from(start).ok()?, u32::try_from(start + blocks - 1).ok()?);
        for migratetype in Migratetype::OF_REQUESTS {
            let list = &mut self.lists[self.top][migratetype.index()];
            let taken = self.runs.remove(list, first, last);
            if list.is_empty() {
                self.occupied[migratetype.index()] &= !(1 << self.top);
            }
            self.count_taken(migratetype, taken << self.top);
        }
        Some(self.pfn(start << self.top))
    }
}
