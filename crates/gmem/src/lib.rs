//! Memory of a guest, as a file that is no file of anybody else.
//!
//! Each page of it is *private*, which the guest alone touches, or *shared*, which the host may map as well ([`Attribute`]). The pages are
//! ordinary ones, or huge pages that the file was allotted when it was made ([`Backing`]). A huge page is one folio while all of it is private,
//! and base pages as long as any of it is shared, so that whoever holds one page holds no more than that page; [`hugetlb::restructure`] does
//! the splitting and merging, and this room decides when.
//!
//! What the guest has mapped is kept as well: a leaf of its tables is never larger than the folio behind it. Whatever happens to these tables is
//! told in order ([`units::GuestStep`]): a leaf is split before its folio is, and a range is unmapped before its pages change hands.
//!
//! - [`create`], [`hold`], [`release`]: a file lives as long as a descriptor or a mapping of the host is there, its pages as long as anybody has one.
//! - [`guest_fault`], [`host_fault`]: the two who touch it.
//! - [`convert`]: the attribute of a range, in batches of one huge page, each of which is prepared before its point of no return.
//! - [`allocate`], [`punch`], [`memory_failure`].
#![no_std]

extern crate alloc;

mod allocate;
mod convert;
mod fail;
mod fault;
mod file;
mod folios;
mod leaves;
mod life;
mod punch;
mod stage2;
mod view;

pub use allocate::{AllocateError, allocate};
pub use convert::{ConvertError, ConvertRefusal, SplitByHandError, convert, merge_private, split};
pub use fail::{NoPage, memory_failure};
pub use fault::{Asker, GuestFault, GuestPage, HostFault, Pin, guest_fault, host_fault, host_pin, largest_leaf, unpin};
pub use file::{Attribute, Backing, Gmem, GmemFlags, View, ViewId};
pub use life::{CreateError, CreateRequest, bind, create, hold, release, set_policy};
pub use punch::{PunchError, ResizeError, punch, truncate};
pub use view::{ViewError, map_host, unmap_host};

use units::GmemId;

/// What this room needs: everything that huge pages need, and sections over its files.
pub trait Env: hugetlb::Env {
    /// A new file.
    fn new_gmem(&mut self, file: Gmem) -> GmemId;

    /// The section of one file; nothing where it is gone.
    fn with_gmem<R>(&mut self, id: GmemId, f: impl FnOnce(&mut Gmem) -> R) -> Option<R>;

    /// Ends a file.
    fn drop_gmem(&mut self, id: GmemId) -> Option<Gmem>;
}
