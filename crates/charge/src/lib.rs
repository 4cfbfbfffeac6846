//! Who pays.
//!
//! Two hierarchical counters per control group and hstate: *usage*, pages allocated, and *rsvd*, pages reserved or allocated
//! without a reservation. The root group is not accounted. Owners are recorded as ids that forward to the parent once their
//! group is removed, so nothing has to be walked at removal: what the group was charged for in use is its parent's from then on,
//! which held it all along; what it reserved stays its own until the reservation goes.
//!
//! As groups are kept here, so is which nodes the processes of each may use.
#![no_std]

extern crate alloc;

mod charges;
mod count;
mod group;
mod memory;
mod mems;
mod recount;
mod state;

pub use charges::{Charges, Receipt};
pub use count::{Counter, GroupView, History, Limit, LimitError, OverLimit, room};
pub use group::{CreateError, EnterError, GroupVersion, HandOnError, NoGroup, RemoveError};
pub use memory::{MemoryAccounting, MemoryEvents, MemoryView, OverMemory, PaidMemory, TRIES};
pub use recount::Paid;
pub use state::ChargesState;

use units::Scopes;

/// What this room needs: a section over the counters.
pub trait Env: Scopes {
    /// The section of all charges.
    fn with_charges<R>(&mut self, f: impl FnOnce(&mut Charges) -> R) -> R;
}
