//! Who may allocate where.
//!
//! [`Topology`] knows the nodes, their zones and distances, and from them the order in which each node looks for memory;
//! [`movable_starts`] says how much of a node is movable; [`Mempolicy`] knows what a task or an area wishes. A wish is interpreted once
//! ([`Mempolicy::interpret`]) into a [`Placement`]; below this room nobody asks what a policy meant. A policy that was asked for is a
//! [`PolicyInForce`], which changes with the nodes that its task may use.
#![no_std]

extern crate alloc;

mod in_force;
mod mempolicy;
mod movable;
mod private;
mod topology;
mod zone_list;

pub use in_force::{NodesMean, PolicyInForce, Wish, stand_in, stand_ins};
pub use mempolicy::{Mempolicy, Mode, Placement, Weights};
pub use movable::{CoreSize, MemoryRange, MovableRequest, movable_starts};
pub use private::{DriverId, GateReason, NodeCap, NodeCaps, PrivateError, PrivateNode};
pub use topology::{NodeSpec, NodeStates, Topology, TopologyError};
pub use zone_list::{Reach, ZoneRef};

use units::Scopes;

/// What this room needs: a look at the topology, which does not change while a path runs.
pub trait Env: Scopes {
    /// Looks at the topology.
    fn with_topology<R>(&mut self, f: impl FnOnce(&Topology) -> R) -> R;

    /// How many pages each node gets in a row under a weighted policy.
    fn weights(&mut self) -> Weights {
        Weights::EVEN
    }
}
