//! Pageblocks kept for urgent requests of more than one page.

use units::{Migratetype, Order, Pfn};

use crate::list::End;
use crate::zone::Zone;

/// How much of the reserve is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreserve {
    /// One pageblock stays.
    AllButOne,
    /// Everything, before a process would be killed for memory.
    Everything,
}

impl Zone {
    /// Keeps the pageblock of a block that an urgent request just got for others like it, up to a hundredth of the zone.
    #[doc(alias = "reserve_highatomic_pageblock")]
    pub fn reserve_highatomic(&mut self, pfn: Pfn, order: Order) {
        let size = 1u64 << self.pageblock;
        let share = self.managed / 100;
        if share < size || self.reserved_highatomic >= share.next_multiple_of(size) {
            return;
        }
        let (frame, order) = (self.frame(pfn), usize::from(order.get()));
        let block = self.block(frame);
        let migratetype = self.blocks.migratetype(block);
        if !migratetype.is_mergeable() {
            return;
        }
        if order >= self.pageblock {
            self.retag(frame, order, Migratetype::HighAtomic);
            self.reserved_highatomic += 1 << order;
        } else if !self.straddles(block) {
            self.move_free(block, migratetype, Migratetype::HighAtomic);
            self.set_type(block, Migratetype::HighAtomic);
            self.reserved_highatomic += size;
        }
    }

    /// Gives a reserved pageblock with a free page to `migratetype`; whether pages came free by that. A reserve that is wholly
    /// allocated cannot be given up.
    #[doc(alias = "unreserve_highatomic_pageblock")]
    pub fn unreserve_highatomic(&mut self, how: Unreserve, migratetype: Migratetype) -> bool {
        let size = 1u64 << self.pageblock;
        if how == Unreserve::AllButOne && self.reserved_highatomic <= size {
            return false;
        }
        for order in 0..=self.top {
            let Some(frame) = self.head(order, Migratetype::HighAtomic) else { continue };
            let block = self.block(frame);
            let less = size.max(1 << order).min(self.reserved_highatomic);
            let moved = if order < self.pageblock {
                if self.straddles(block) {
                    continue;
                }
                let moved = self.move_free(block, Migratetype::HighAtomic, migratetype);
                self.set_type(block, migratetype);
                moved
            } else {
                self.unlink_large(frame, order, Migratetype::HighAtomic);
                self.push_large(frame, order, migratetype, End::Tail);
                self.retag(frame, order, migratetype);
                self.count_taken(Migratetype::HighAtomic, 1 << order);
                self.count_freed(migratetype, 1 << order);
                1 << order
            };
            self.reserved_highatomic -= less;
            if moved > 0 {
                return true;
            }
        }
        false
    }
}
