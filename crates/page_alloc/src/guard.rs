//! Blocks that nobody gets, so that whoever runs over the end of his own is caught.

use alloc::collections::BTreeMap;

use units::{Order, PageCount, Pfn};
use zone::{BadFree, Held, Want, Zone};

use crate::allocator::PageAllocator;

/// The guards of a zone. A block below the order is cut out of a larger one, whose other parts below the order are on no list and not
/// counted as free until it comes back.
#[doc(alias("debug_guardpage_minorder", "set_page_guard"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    order: Order,
    guards: BTreeMap<Pfn, Order>,
}

impl Default for Guards {
    fn default() -> Self {
        Self { order: Order::ZERO, guards: BTreeMap::new() }
    }
}

impl Guards {
    /// Parts below this order become guards; none do for order 0. More than half of the largest order would leave too little to use.
    #[must_use]
    pub fn new(order: Order, largest: Order) -> Option<Self> {
        (order.get() <= largest.get() / 2).then_some(Self { order, guards: BTreeMap::new() })
    }

    /// Are there any, or could there be?
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.order > Order::ZERO
    }

    /// Pages of guards.
    #[must_use]
    pub fn pages(&self) -> PageCount {
        self.guards.values().map(|order| order.pages()).sum()
    }

    /// The guards.
    pub fn iter(&self) -> impl Iterator<Item = (Pfn, Order)> {
        self.guards.iter().map(|(&pfn, &order)| (pfn, order))
    }

    /// Takes a block of the type asked for with guards behind it; from other types without.
    pub(crate) fn take(&mut self, zone: &mut Zone, want: Want) -> Option<Pfn> {
        let orders = zone.free_blocks_of(want.migratetype).enumerate().skip(want.order.get().into());
        let found = orders.into_iter().find(|&(_, blocks)| blocks > 0);
        let found = found.and_then(|(order, _)| u8::try_from(order).ok()).map(Order::new);
        let Some(found) = found.filter(|&found| want.order < self.order && found > want.order) else {
            return zone.take(want);
        };
        let head = zone.free_list(found, want.migratetype).first().copied()?;
        let mut order = found.min(self.order);
        let pfn = zone.pick(head, order)?;
        while order > want.order {
            let half = Order::new(order.get() - 1);
            let split = zone.split_used(pfn, order, half);
            debug_assert_eq!(split, Ok(()), "it was just taken");
            self.guards.insert(pfn.offset(half.pages()), half);
            order = half;
        }
        Some(pfn)
    }

    /// Gives a block back, and the guards that it merges with.
    pub(crate) fn put(&mut self, zone: &mut Zone, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        zone.put(pfn, order)?;
        while let Some(found) = zone.find(pfn).filter(|found| found.held == Held::Free) {
            let buddy = found.pfn.buddy(found.order);
            if self.guards.get(&buddy) != Some(&found.order) {
                break;
            }
            self.guards.remove(&buddy);
            zone.put(buddy, found.order)?;
        }
        Ok(())
    }
}

impl PageAllocator {
    /// Parts of blocks below an order become guards from now on. No processor keeps pages then.
    pub fn guard(&mut self, guards: &Guards) {
        self.drain_everything();
        self.slots.iter_mut().flatten().for_each(|slot| slot.guards = guards.clone());
        self.settle();
    }
}
