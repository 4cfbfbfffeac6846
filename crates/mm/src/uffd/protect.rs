//! Write protection.

use units::{Access, Bytes, Scope, Site, UffdId, Vaddr};

use super::{UffdModes, set_protection, whole_pages};
use crate::Env;

/// Is a range to be write-protected?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProtection {
    /// From now on writes are told; where there is no page, those to the page that comes.
    Set,
    /// Writes go through again.
    Clear,
}

/// Why a range cannot be write-protected; areas before the place are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectError {
    /// An empty range, one with parts of base pages, or one that leaves the address space.
    #[error("the range at {0} is empty, has parts of pages or leaves the address space")]
    BadRange(Vaddr),
    /// The userfaultfd's address space is gone.
    #[error("the address space of this userfaultfd is gone")]
    Gone,
    /// Nobody watches the writes there.
    #[error("nobody watches the writes at {0}")]
    NotWatched(Vaddr),
    /// An edge of the range inside a huge page.
    #[error("the range is not of whole pages of {page}")]
    InsidePage {
        /// The size of the area's pages.
        page: Bytes,
    },
    /// No memory for a page table. Areas before this one are protected.
    #[error("no page for the page table")]
    NoTablePage,
}

/// Sets or clears the write protection of a range, area after area; holes are skipped. Who registered the areas does not matter.
///
/// # Errors
/// What stopped it, and where.
#[doc(alias("UFFDIO_WRITEPROTECT", "mwriteprotect_range"))]
pub fn uffd_write_protect<P: Env>(
    p: &mut P,
    uffd: UffdId,
    start: Vaddr,
    len: Bytes,
    how: WriteProtection,
) -> Result<(), ProtectError> {
    let range = whole_pages(p, start, len).ok_or(ProtectError::BadRange(start))?;
    let mm = p.with_uffd(uffd, |u| u.mm).ok_or(ProtectError::Gone)?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let areas = p.with_vmas(mm, |vmas| vmas.copy_over(range)).ok_or(ProtectError::Gone)?;
        if areas.is_empty() {
            return Err(ProtectError::NotWatched(range.start));
        }
        for vma in areas {
            if !vma.is_watched(UffdModes::WRITE_PROTECT) {
                return Err(ProtectError::NotWatched(vma.range.start.max(range.start)));
            }
            let page = vma.size.bytes();
            if !range.start.is_aligned(page) || !range.end.is_aligned(page) {
                return Err(ProtectError::InsidePage { page });
            }
            // Of what is not there yet a note is left, in a table that perhaps has to be made.
            if how == WriteProtection::Set && p.refused(Site::TablePage) {
                return Err(ProtectError::NoTablePage);
            }
            set_protection(p, mm, &vma, vma.range.intersect(range), how);
        }
        Ok(())
    })
}
