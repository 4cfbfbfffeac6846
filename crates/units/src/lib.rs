//! Units, identities and the two shapes of exclusion.
//!
//! A unit is a type: frames, base pages, huge pages and bytes never mix, and a conversion that rounds says so in its name.
//! Identities print with their unit (`pfn:0x1f00`, `node:1`). Here are also the [`Scope`]s that every path is written over, the
//! recorded rollback ([`attempt`]), the vocabulary of refusals ([`Ledger`]) and the public stream of [`Event`]s.
#![no_std]

extern crate alloc;

mod context;
mod count;
mod event;
mod exclusion;
mod gfp;
mod huge;
mod id;
mod ledger;
mod migratetype;
mod name;
mod nodemask;
mod range_map;
#[cfg(feature = "serde")]
mod saved;
mod undo;
mod zone_kind;

pub use context::Context;
pub use count::{
    Bytes, HugeCount, HugeIndex, HugeRange, Order, PageCount, PageIndex, PageShift, Pfn, Ticks, Vaddr, VaddrRange,
};
pub use event::{Event, GuestStep, MountLimits, MountReturn, OwnerPage};
pub use exclusion::{Access, Scope, Scopes, Site};
pub use gfp::GfpFlags;
pub use huge::HugeSize;
pub use id::{
    BlockId, CgroupId, CpuId, GmemId, HstateId, InodeId, MmId, MountId, NodeId, Pid, ResvMapId, SubpoolId, UffdId,
    VmaId,
};
pub use ledger::{Blame, Ledger};
pub use migratetype::Migratetype;
pub use name::Name;
pub use nodemask::Nodemask;
pub use range_map::RangeMap;
pub use undo::{UndoLog, attempt};
pub use zone_kind::{PerZone, ZoneKind};
