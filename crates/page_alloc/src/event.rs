//! What the path did, step by step.

use units::{GfpFlags, Migratetype, NodeId, Order, Pfn, ZoneKind};

use crate::unmapped::Mapping;

/// One step, with the fields of the kernel's tracepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageEvent {
    /// A request ended, with a block or without.
    #[doc(alias = "mm_page_alloc")]
    Allocated {
        /// The first frame.
        pfn: Option<Pfn>,
        /// The order asked for.
        order: Order,
        /// What was wished.
        gfp: GfpFlags,
        /// The type asked for.
        migratetype: Migratetype,
    },
    /// A block came back.
    #[doc(alias = "mm_page_free")]
    Freed {
        /// The first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
    },
    /// Background reclaim was woken.
    #[doc(alias = "mm_vmscan_wakeup_kswapd")]
    WokeReclaim {
        /// Its node.
        node: NodeId,
        /// The highest zone that it is to balance.
        highest: ZoneKind,
        /// The order that is to become free.
        order: Order,
        /// What was wished.
        gfp: GfpFlags,
    },
    /// Background compaction was woken.
    #[doc(alias = "mm_compaction_wakeup_kcompactd")]
    WokeCompaction {
        /// Its node.
        node: NodeId,
        /// The order that is to become free.
        order: Order,
        /// The highest zone that it is to compact.
        highest: ZoneKind,
    },
    /// A request failed, and said so.
    #[doc(alias = "warn_alloc")]
    Warned {
        /// The order asked for.
        order: Order,
        /// What was wished.
        gfp: GfpFlags,
    },
    /// The mappings of a block were changed, and the processors told once.
    Remapped {
        /// Its first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
        /// What they are now.
        to: Mapping,
    },
    /// A change failed half-way and so did its undoing: the block is lost.
    LostBlock {
        /// Its first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
    },
    /// Wishes that make no sense for a range of single pages were left out.
    Stripped {
        /// What was left out.
        gfp: GfpFlags,
    },
    /// A request that must not fail is for more than two pages: it may wait for ever.
    NofailTooLarge {
        /// The order asked for.
        order: Order,
    },
}
