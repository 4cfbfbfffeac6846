//! Free blocks.
//!
//! A buddy allocator over the frames of one zone. Free blocks lie on lists by order and by the [`units::Migratetype`] of their pageblock,
//! in the kernel's order: who is freed last is taken first. What is known of memory is kept as coarse as it is uniform. Blocks of
//! the largest order are *runs* on their list, so an untouched zone is one record per span; a pageblock in use has a record of a few
//! bytes, and only one that is in pieces has records of its frames.
#![no_std]

extern crate alloc;

mod alloc_flags;
mod boot;
mod buddy;
mod cached;
mod event;
pub mod extfrag;
mod fallback;
mod frames;
mod give_back;
mod grouping;
mod highatomic;
mod in_use;
mod lend;
mod list;
mod many;
mod marks;
mod moves;
mod owner;
mod pageblock;
mod pcp;
mod pick;
mod range;
mod reporting;
mod runs;
mod stack;
mod state;
mod tail;
pub mod tuning;
mod validate;
pub mod watermark;
mod zone;

pub use alloc_flags::AllocFlags;
pub use boot::BootMemory;
pub use event::{Ownership, ZoneEvent};
pub use grouping::Grouping;
pub use highatomic::Unreserve;
pub use lend::NotFree;
pub use marks::{Level, MarkCheck};
pub use moves::IsolateRefusal;
pub use owner::BadFree;
pub use pcp::{BelowHigh, CacheSlice, LastFree, PerCpuPages, PerCpuState, Reclaim, ZonePressure};
pub use pick::{Found, Held};
pub use reporting::Told;
pub use state::{FreeBlocks, StateError, ZoneState};
pub use zone::{Want, Zone, ZoneError, ZoneLayout};
