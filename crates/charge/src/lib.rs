//! Who pays.
//!
//! Two hierarchical counters per control group and hstate: *usage*, pages allocated, and *rsvd*, pages reserved or allocated
//! without a reservation. The root group is not accounted. Owners are recorded as ids that forward to the parent once their
//! group is removed, so nothing has to be walked at removal.
#![no_std]

extern crate alloc;

mod tree;

pub use tree::{Charges, Counter, CreateError, OverLimit, Receipt, RemoveError, room};

use units::Scopes;

/// What this room needs: a section over the counters.
pub trait Env: Scopes {
    /// The section of all charges.
    fn with_charges<R>(&mut self, f: impl FnOnce(&mut Charges) -> R) -> R;
}
