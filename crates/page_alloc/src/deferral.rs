//! What a zone remembers of compaction.

use alloc::collections::BTreeSet;

use units::{Order, Pfn};

/// The most doublings of the number of requests that are put off.
#[doc(alias = "COMPACT_MAX_DEFER_SHIFT")]
const MAX_SHIFT: u32 = 6;

/// Where compaction of a zone stands, and how often it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CompactState {
    /// Where pages to move are looked for next: without waiting, and with.
    #[doc(alias = "compact_cached_migrate_pfn")]
    pub(crate) next: [Option<Pfn>; 2],
    /// The pageblock where free pages are looked for next.
    #[doc(alias = "compact_cached_free_pfn")]
    pub(crate) free: Option<Pfn>,
    /// Pageblocks that had nothing to move.
    #[doc(alias("PB_compact_skip", "pageblock_skip"))]
    pub(crate) skipped: BTreeSet<Pfn>,
    /// Requests since the last failure.
    #[doc(alias = "compact_considered")]
    considered: u32,
    /// Doublings.
    #[doc(alias = "compact_defer_shift")]
    shift: u32,
    /// The smallest order that failed.
    #[doc(alias = "compact_order_failed")]
    order_failed: u8,
}

impl CompactState {
    /// Is a request of this order to be put off? It counts as one.
    #[doc(alias = "compaction_deferred")]
    pub fn puts_off(&mut self, order: Order) -> bool {
        if order.get() < self.order_failed {
            return false;
        }
        let limit = 1 << self.shift;
        self.considered = (self.considered + 1).min(limit);
        self.considered < limit
    }

    /// Compaction for this order failed: put off twice as many requests from now on.
    #[doc(alias = "defer_compaction")]
    pub fn defer(&mut self, order: Order) {
        self.considered = 0;
        self.shift = (self.shift + 1).min(MAX_SHIFT);
        self.order_failed = self.order_failed.min(order.get());
    }

    /// Compaction for this order ended well; put nothing off any more, if a request got its block by that.
    #[doc(alias = "compaction_defer_reset")]
    pub fn reset(&mut self, order: Order, served: Served) {
        if served == Served::Yes {
            (self.considered, self.shift) = (0, 0);
        }
        if order.get() >= self.order_failed {
            self.order_failed = order.get() + 1;
        }
    }

    /// Was this order put off as often as is possible, so that compaction begins anew?
    #[doc(alias = "compaction_restarting")]
    #[must_use]
    pub fn begins_anew(&self, order: Order) -> bool {
        order.get() >= self.order_failed && self.shift == MAX_SHIFT && self.considered >= 1 << MAX_SHIFT
    }

    /// Forgets where pages were looked for.
    #[doc(alias = "reset_isolation_suitable")]
    pub fn forget(&mut self) {
        self.skipped.clear();
        (self.next, self.free) = ([None; 2], None);
    }
}

/// Whether a request got its block by compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It did.
    Yes,
    /// Nobody asked for one yet.
    No,
}
