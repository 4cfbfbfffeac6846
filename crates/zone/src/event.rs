//! What a zone did, step by step.

use units::{Migratetype, Order, Pfn};

/// One step of a zone, with the fields of the kernel's tracepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneEvent {
    /// A block left the free lists of its own type.
    #[doc(alias = "mm_page_alloc_zone_locked")]
    Taken {
        /// Its first frame.
        pfn: Pfn,
        /// The order asked for.
        order: Order,
        /// The type of the list.
        migratetype: Migratetype,
    },
    /// A request was served from a block of another type.
    #[doc(alias = "mm_page_alloc_extfrag")]
    Fallback {
        /// The first frame of the free block that was found.
        pfn: Pfn,
        /// The order asked for.
        order: Order,
        /// The order of the free block.
        fallback_order: Order,
        /// The type asked for.
        migratetype: Migratetype,
        /// The type whose list had the block.
        fallback: Migratetype,
        /// What became of its pageblock.
        ownership: Ownership,
    },
    /// A page of a processor's list came back to the free lists.
    #[doc(alias = "mm_page_pcpu_drain")]
    Drained {
        /// Its first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
        /// The type of its pageblock now.
        migratetype: Migratetype,
    },
}

/// Whether a pageblock changed its type with a request that was served from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It has the type of the request now.
    Changed,
    /// It is what it was.
    Kept,
}
