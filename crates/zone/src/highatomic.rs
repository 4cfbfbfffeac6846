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
        let migratetype = self.type_of_request(migratetype);
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

#[cfg(test)]
mod tests {
    use units::{Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};

    use super::Unreserve;
    use crate::zone::{Zone, ZoneLayout};
    use crate::{ZoneEvent, ZoneState};

    /// The count of reserved pages went below zero and round, when a block given up was larger than what was counted: from then on the
    /// zone was reserved to its limit.
    #[test]
    fn nasty_regression_a_reserve_is_never_less_than_nothing() {
        for (order, counted, left) in [(9u8, 100, 0), (10, 700, 0), (3, 100, 0), (3, 600, 88), (10, 1100, 76)] {
            let kinds = [0, 512].map(|frame| (Pfn::new(frame), Migratetype::HighAtomic));
            let mut state = ZoneState::allocated(ZoneLayout {
                node: NodeId::new(0),
                kind: ZoneKind::Normal,
                spans: [(Pfn::new(0), Pfn::new(200 * 512))].into(),
                largest: Order::new(10),
                pageblock: Order::new(9),
            });
            state.types = kinds.into();
            let state = state.with_free(Order::new(order), Migratetype::HighAtomic, &[Pfn::new(0)]);
            let mut zone = Zone::from_state(&state).unwrap_or_else(|error| panic!("{error}"));
            zone.reserved_highatomic = counted;
            zone.record_events();
            assert!(zone.unreserve_highatomic(Unreserve::Everything, Migratetype::Movable));
            assert_eq!(zone.reserved_highatomic().get(), left, "a block of order {order}, {counted} counted");
            let free = (zone.free().get(), zone.free_highatomic());
            assert_eq!(free, (1 << order, PageCount::ZERO), "what was kept is everybody's");
            assert_eq!(zone.free_list(Order::new(order), Migratetype::Movable), [Pfn::new(0)]);
            assert_eq!(zone.take_events(), [] as [ZoneEvent; 0], "nobody got anything");
        }
    }
}
