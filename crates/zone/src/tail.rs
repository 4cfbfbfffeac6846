//! Blocks that are given back without being handed out next.

use units::{Order, Pfn};

use crate::buddy::Placement;
use crate::zone::Zone;

impl Zone {
    /// Gives a block of at most a pageblock back behind all others of its list: nobody used it, so it is not in any cache.
    #[doc(alias = "FPI_TO_TAIL")]
    pub fn put_last(&mut self, pfn: Pfn, order: Order) {
        let migratetype = self.forget(pfn, order);
        let frame = self.frame(pfn);
        self.free_one(frame, usize::from(order.get()), migratetype, Placement::Tail);
    }
}
