//! The path for ordinary pages.
//!
//! A [`Request`] says what is wanted and what is permitted; the answer is a block of frames or a [`NoPages`] that says which
//! ledger refused. Huge pages ask here for their memory like everybody else.
//!
//! A [`PageAllocator`] is a page allocator of its own, with several zones for each node: a [`PageRequest`] becomes a [`Context`], which walks
//! along a zone list. One that finds nothing becomes an [`Allocation`], which asks its caller [`Question`]s until it has a block or none.
#![no_std]

extern crate alloc;

mod allocation;
mod allocator;
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
mod pages;
mod path;
mod placed;
mod quick;
mod rules;
#[cfg(test)]
mod scan;
mod slow_path;
mod task;
mod tick;
mod unmapped;
mod zones;

pub use allocation::{Allocation, Answer, Attempted, NoBlock, Question};
pub use allocator::{AllocatorError, PageAllocator};
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
pub use knobs::Knobs;
pub use kswapd::{Dirty, Kswapd, NearReclaim, NodeState, Sleep};
pub use pages::{BadPage, Content, FreeMapping, HookStep, PageHooks, PageInit, PageWatch};
pub use path::{NoPages, Request, alloc, free, split};
pub use placed::{Placed, Purchase, place};
pub use rules::{BulkMark, Compactor, Counters, Cpusets, Defrag, Killer, NearReclaimMode, ReserveAfter, Rules};
pub use slow_path::{Compacted, Priority, Progress, SlowPath, Step};
pub use task::{Fate, IoScope, Pin, Standing, Task, TaskSite};
pub use unmapped::{Bank, Mapping};
pub use zones::{Cookie, ZoneCounts, ZoneParts, Zones};

/// What this room needs: the folio records, the topology and the zones.
pub trait Env: memmap::Env + policy::Env + zone::Env {}
