//! Blocks that are given back without being handed out next.

use units::{Order, Pfn};

use crate::buddy::Placement;
use crate::owner::BadFree;
use crate::pageblock::Mark;
use crate::zone::Zone;

impl Zone {
    /// Gives a block of at most a pageblock back behind all others of its list: nobody used it, so it is not in any cache.
    ///
    /// # Errors
    /// It is not what was handed out.
    #[doc(alias = "FPI_TO_TAIL")]
    pub fn put_last(&mut self, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        let order = usize::from(order.get());
        let (place, migratetype) = self.take_back(pfn, order, Mark::NONE)?;
        if order < self.pageblock {
            self.free_piece(place, order, migratetype, Placement::Tail);
        } else {
            self.free_block(place, order, migratetype, Placement::Tail);
        }
        Ok(())
    }
}
