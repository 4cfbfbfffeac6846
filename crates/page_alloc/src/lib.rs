//! The path for ordinary pages.
//!
//! A [`PageRequest`] says what is wanted and what is permitted. It becomes a [`Context`], which walks along a zone list. One that finds
//! nothing becomes an [`Allocation`], which asks [`Question`]s until it has a block or none.
//!
//! On a machine [`alloc()`] and [`alloc_placed`] go the whole way with the machine's answers; huge pages ask there for their memory like
//! everybody else, and a [`NoPages`] says which ledger refused. A [`PageAllocator`] is the zones and what belongs to them as one value; whoever
//! has it by itself answers the questions.
#![no_std]

extern crate alloc;

mod allocation;
mod allocator;
mod areas;
mod bulk;
mod cma;
mod compact_zone;
mod compaction;
mod context;
mod contig;
mod deferral;
mod drift;
mod event;
mod exact;
mod fail;
mod fast_path;
mod flipping;
pub mod gfp;
mod growth;
mod guard;
mod hotplug;
mod knobs;
mod kswapd;
mod lists;
mod many;
mod owned;
mod page_owner;
mod pages;
mod path;
mod placed;
mod quick;
mod reporting;
mod rules;
#[cfg(test)]
mod scan;
mod slow_path;
mod task;
mod tick;
mod unmapped;
mod zones;

pub use allocation::{Allocation, Answer, Attempted, NoBlock, Question};
pub use allocator::{AllocatorError, PageAllocator, index};
pub use areas::{CmaAreas, CmaUse, Source, alloc_gigantic, release_to_area};
pub use bulk::Bulk;
pub use cma::{CmaAlloc, CmaArea, CmaCounts, CmaError, CmaQuestion};
pub use compact_zone::{CompactEnd, Direct, Extent, Waiting, ZoneGoal};
pub use compaction::{CompactQuestion, Compaction, Proactive};
pub use context::{Access, Attempt, Context, ContextError, Nodes, PageRequest};
pub use contig::{Area, Contig, ContigError, ContigQuestion, ContigRange, ContigRequest, Move, Moved};
pub use deferral::{CompactState, Served};
pub use drift::Drift;
pub use event::PageEvent;
pub use exact::ExactRange;
pub use fail::FailPages;
pub use fast_path::{Block, Purpose};
pub use flipping::Flip;
pub use growth::Growth;
pub use guard::Guards;
pub use hotplug::{HotplugError, Offline, OfflineQuestion, Plug};
pub use knobs::{Knobs, managed_of, protect, resize_lists, set_marks};
pub use kswapd::{Dirty, Kswapd, NearReclaim, NodeState, Sleep, may_reclaim_by_itself};
pub use many::{alloc_many, free_many};
pub use owned::{BlockError, Blocks, HeldBlock, Mobility};
pub use page_owner::{MoveReason, OwnedBlock, Owner, PageOwners, Runner, StackCount};
pub use pages::{BadPage, Content, FreeMapping, HookStep, PageHooks, PageInit, PageWatch};
pub use path::{
    NoPages, alloc, alloc_placed, compact_node, free, huge_in, put_block, relocate, split, take_block, take_frames,
    zone_of,
};
pub use placed::{Placed, Purchase, place};
pub use quick::Quick;
pub use reporting::{REPORT_CAPACITY, ReportEnd, ReportPass, ReportQuestion};
pub use rules::{BulkMark, Compactor, Counters, Cpusets, Defrag, Killer, NearReclaimMode, ReserveAfter, Rules};
pub use slow_path::{Compacted, Priority, Progress, SlowPath, Step};
pub use task::{Fate, IoScope, Pin, Standing, Task, TaskSite};
pub use unmapped::{Bank, Mapping};
pub use zones::{Cookie, ListSize, OwnLists, ZoneCounts, ZoneMemory, ZoneParts, ZoneSlot, Zones};

/// What this room needs: the folio records, the zones, and the blocks that somebody holds.
pub trait Env: memmap::Env + policy::Env + Zones {
    /// The section of the blocks that users of the machine hold.
    fn with_blocks<R>(&mut self, f: impl FnOnce(&mut Blocks) -> R) -> R;

    /// The section of the areas that gigantic pages come from.
    fn with_cma<R>(&mut self, f: impl FnOnce(&mut CmaAreas) -> R) -> R;

    /// A huge page lies where somebody needs a range, or where memory is to go. Has it left? Whoever knows pools and mappings answers.
    fn vacate(&mut self, pfn: units::Pfn, reason: MoveReason) -> Moved;
}
