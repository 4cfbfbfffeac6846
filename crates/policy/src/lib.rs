//! Who may allocate where.
//!
//! [`Topology`] knows the nodes and their distances, [`Mempolicy`] what a task or an area wishes. A wish is interpreted once
//! ([`Mempolicy::interpret`]) into a [`Placement`]; below this room nobody asks what a policy meant.
#![no_std]

extern crate alloc;

mod mempolicy;
mod topology;

pub use mempolicy::{Mempolicy, Mode, Placement, Weights};
pub use topology::{Topology, TopologyError};

use units::Scopes;

/// What this room needs: a look at the topology, which does not change while a path runs.
pub trait Env: Scopes {
    /// Looks at the topology.
    fn with_topology<R>(&mut self, f: impl FnOnce(&Topology) -> R) -> R;
}
