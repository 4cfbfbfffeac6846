//! userfaultfd: a task that fills in the pages of another, or learns of its writes.
//!
//! A [`Userfault`] belongs to the address space that opened it. Registering sets a [`Registration`] on whole areas, which are
//! split for that; a fault finds it there. Faults are not delivered as events: the access fails, as with
//! `UFFD_FEATURE_SIGBUS`, with an error that says what a delivered event would say.
//!
//! Write protection is a bit of the entry, or where no page is a *marker*, which the next page inherits. Both outlive the page
//! where a page is only dropped, and end with the registration, with the place, by a move and in a child.

mod fill;
mod protect;
mod register;

pub use fill::{Arrival, FillError, FillRefusal, Payload, uffd_continue, uffd_copy, uffd_zero};
pub use protect::{ProtectError, WriteProtection, uffd_write_protect};
pub use register::{RegisterError, UnregisterError, uffd_register, uffd_unregister};

use alloc::vec::Vec;

use units::{Access, Bytes, MmId, Scope, UffdId, Vaddr, VaddrRange};

use crate::{Env, Vma};

bitflags::bitflags! {
    /// What is watched.
    #[doc(alias("VM_UFFD_MISSING", "UFFDIO_REGISTER_MODE_MISSING"))]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct UffdModes: u8 {
        /// Touches of pages that nobody has made yet.
        const MISSING = 1 << 0;
        /// Writes to pages that were write-protected.
        const WRITE_PROTECT = 1 << 1;
        /// Touches of pages that the file has and the area does not map.
        const MINOR = 1 << 2;
    }
}

/// Who watches an area, and for what.
#[doc(alias = "vm_userfaultfd_ctx")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Registration {
    /// Who.
    pub uffd: UffdId,
    /// For what.
    pub modes: UffdModes,
}

/// A userfaultfd.
#[doc(alias = "userfaultfd_ctx")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Userfault {
    /// The address space that it watches: that of the process that opened it, whoever uses it.
    pub mm: MmId,
    /// Descriptors that stand for it.
    pub holders: u32,
}

/// A new userfaultfd for an address space, with one holder.
#[doc(alias = "new_userfaultfd")]
pub fn open_uffd<P: Env>(p: &mut P, mm: MmId) -> UffdId {
    p.new_uffd(Userfault { mm, holders: 1 })
}

/// One more descriptor stands for it.
pub fn hold_uffd<P: Env>(p: &mut P, id: UffdId) {
    p.with_uffd(id, |uffd| uffd.holders += 1);
}

/// One descriptor less. With the last all registrations end, and all protection with them.
#[doc(alias = "userfaultfd_release")]
pub fn release_uffd<P: Env>(p: &mut P, id: UffdId) {
    let left = p.with_uffd(id, |uffd| {
        uffd.holders -= 1;
        uffd.holders
    });
    if left != Some(0) {
        return;
    }
    // It goes first: whoever registers now finds it closed, and what was registered before is found below.
    let Some(closed) = p.drop_uffd(id) else { return };
    p.scope(Scope::AddressSpace(closed.mm, Access::Write), |p| {
        let areas = p.with_vmas(closed.mm, |vmas| vmas.iter().copied().collect::<Vec<_>>());
        for vma in areas.unwrap_or_default() {
            if vma.uffd.is_some_and(|registration| registration.uffd == id) {
                end_registration(p, closed.mm, &vma);
            }
        }
    });
}

/// Nobody watches `vma` any more. Inside the address space's scope.
fn end_registration<P: Env>(p: &mut P, mm: MmId, vma: &Vma) {
    if vma.is_watched(UffdModes::WRITE_PROTECT) {
        set_protection(p, mm, vma, vma.range, WriteProtection::Clear);
    }
    p.with_vmas(mm, |vmas| vmas.update(vma.range.start, |vma| vma.uffd = None));
}

/// Sets or clears the protection of `range`, whole pages of `vma`.
fn set_protection<P: Env>(p: &mut P, mm: MmId, vma: &Vma, range: VaddrRange, how: WriteProtection) {
    p.scope(Scope::VmaLock(vma.inode, Access::Write), |p| {
        p.with_table(mm, |table| match how {
            WriteProtection::Set => table.watch_writes(range, vma.size.bytes()),
            WriteProtection::Clear => table.unwatch_writes(range),
        });
    });
}

/// A range of whole base pages that is not empty and inside the address space.
#[doc(alias = "validate_range")]
fn whole_pages<P: Env>(p: &mut P, start: Vaddr, len: Bytes) -> Option<VaddrRange> {
    let whole = !len.is_zero() && len.is_multiple_of(p.page_shift().bytes());
    p.checked_range(start, len).filter(|_| whole)
}
