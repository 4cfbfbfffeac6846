//! Memory that is lent until somebody needs a range of it.

use units::{Migratetype, Pfn};

use crate::list::End;
use crate::zone::{Zone, up};

/// Some of the memory that was to be lent is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block at {0} is not free, or not one of the largest")]
pub struct NotFree(pub Pfn);

impl Zone {
    /// Lends out frames, from `start` to before `end`: from now on only pages that can move lie there. They are free in blocks of the
    /// largest order, and nobody has used them yet.
    ///
    /// # Errors
    /// They are not, and nothing was done.
    #[doc(alias = "init_cma_reserved_pageblock")]
    pub fn lend(&mut self, start: Pfn, end: Pfn) -> Result<(), NotFree> {
        let largest = self.layout.largest;
        if start >= end || !start.is_aligned(largest) || !end.is_aligned(largest) || start.get() < self.base {
            return Err(NotFree(start));
        }
        let (first, last) = (self.top_block(self.frame(start)), self.top_block(self.frame(end) - 1));
        let movable = Migratetype::Movable.index();
        let free = *self.lists[movable].of(self.top);
        if let Some(used) = (first..=last).find(|&block| !self.runs.contains(free, block)) {
            return Err(NotFree(self.pfn(up(used.into(), self.top))));
        }
        let lists = &mut self.lists[movable];
        let taken = self.runs.remove(lists.of_mut(self.top), first, last);
        lists.settle(self.top);
        self.count_taken(Migratetype::Movable, up(taken, self.top));
        for block in self.block(self.frame(start))..=self.block(self.frame(end) - 1) {
            self.set_type(block, Migratetype::Cma);
        }
        let lists = &mut self.lists[Migratetype::Cma.index()];
        self.runs.push(lists.of_mut(self.top), first, last, End::Tail);
        lists.settle(self.top);
        self.count_freed(Migratetype::Cma, up(taken, self.top));
        Ok(())
    }
}
