//! Free blocks.
//!
//! A buddy allocator over the frames of one node. A free-list node is a *run*: equal, adjacent blocks are one entry, so an
//! untouched node is one run per span whatever its size. Below the largest order two free buddies never coexist.
#![no_std]

extern crate alloc;

mod area;
pub mod extfrag;
pub mod tuning;
pub mod watermark;
mod zone;

pub use zone::{Zone, ZoneError};

use units::NodeId;

/// What this room needs: a section over each zone.
pub trait Env: units::Scopes {
    /// The section of one node's zone; nothing for a node without memory.
    fn with_zone<R>(&mut self, node: NodeId, f: impl FnOnce(&mut Zone) -> R) -> Option<R>;
}
