//! The caller's wishes towards the page allocator.

bitflags::bitflags! {
    /// What the caller of the page allocator wishes and permits. The allocator's own licence is decided from it.
    #[doc(alias = "gfp_t")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GfpFlags: u32 {
        /// May come from memory that must stay movable.
        const MOVABLE = 1 << 0;
        /// User memory; any zone will do.
        const HIGHUSER = 1 << 1;
        /// Hand out the block as one folio.
        const COMP = 1 << 2;
        /// Only from the preferred node.
        const THISNODE = 1 << 3;
        /// May wait for reclaim and compaction.
        const DIRECT_RECLAIM = 1 << 4;
        /// Try hard, but fail rather than loop or kill.
        const RETRY_MAYFAIL = 1 << 5;
        /// Give up after the first attempt.
        const NORETRY = 1 << 6;
        /// Say nothing on failure.
        const NOWARN = 1 << 7;
    }
}
