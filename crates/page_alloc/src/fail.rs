//! Requests that fail because a test says so.

use units::{GfpFlags, Order};

use crate::allocator::PageAllocator;
use crate::context::Context;

/// Which requests fail before anything is tried.
#[doc(alias("fail_page_alloc", "should_fail_alloc_page"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailPages {
    /// Those of this order and above.
    pub least: Order,
    /// But not those with any of these wishes; and never those that must not fail.
    pub spares: GfpFlags,
    /// The first of them so many requests from now; the next one is number 1.
    pub nth: u64,
    /// How many in a row.
    pub times: u64,
}

impl Default for FailPages {
    /// As the kernel has it until told otherwise: blocks of more than a page, for itself, of those who cannot wait.
    fn default() -> Self {
        Self { least: Order::new(1), spares: GfpFlags::HIGHMEM.union(GfpFlags::DIRECT_RECLAIM), nth: 1, times: 1 }
    }
}

impl FailPages {
    /// Does this request fail?
    pub(crate) fn hits(&mut self, context: &Context) -> bool {
        let spared = context.gfp().intersects(self.spares.union(GfpFlags::NOFAIL));
        if spared || context.order() < self.least || self.times == 0 {
            return false;
        }
        if self.nth > 1 {
            self.nth -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl PageAllocator {
    /// Lets requests fail.
    pub fn fail(&mut self, fail: Option<FailPages>) {
        self.fail = fail;
        self.settle();
    }
}
