//! Beginning and ending to watch.

use alloc::vec::Vec;

use units::{Access, Bytes, Scope, UffdId, Vaddr, VaddrRange};

use super::{Registration, UffdModes, end_registration, whole_pages};
use crate::protect::isolate;
use crate::{Env, Vma, VmaFlags};

/// Why a range cannot be watched; nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Nothing to watch for.
    #[error("a registration names at least one mode")]
    NoMode,
    /// An empty range, one with parts of base pages, or one that leaves the address space.
    #[error("the range at {0} is empty, has parts of pages or leaves the address space")]
    BadRange(Vaddr),
    /// The userfaultfd's address space is gone, or it was closed meanwhile.
    #[error("the address space of this userfaultfd is gone")]
    Gone,
    /// Nothing is mapped in the range.
    #[error("nothing is mapped in {0}")]
    Nothing(VaddrRange),
    /// An edge inside a huge page.
    #[error("{at} is inside one of the area's pages of {page}")]
    InsidePage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
    /// A file that may not be written could not be filled either.
    #[error("the file behind {0} may not be written")]
    NotWritable(Vaddr),
    /// Another userfaultfd watches it.
    #[error("another userfaultfd watches the area at {0}")]
    Busy(Vaddr),
}

/// Why a range cannot be left alone; nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnregisterError {
    /// An empty range, one with parts of base pages, or one that leaves the address space.
    #[error("the range at {0} is empty, has parts of pages or leaves the address space")]
    BadRange(Vaddr),
    /// The userfaultfd's address space is gone.
    #[error("the address space of this userfaultfd is gone")]
    Gone,
    /// Nothing is mapped in the range.
    #[error("nothing is mapped in {0}")]
    Nothing(VaddrRange),
    /// An edge inside a huge page.
    #[error("{at} is inside one of the area's pages of {page}")]
    InsidePage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
    /// Another userfaultfd watches it.
    #[error("another userfaultfd watches the area at {0}")]
    NotMine(Vaddr),
}

/// Watches every area in a range for `modes`; holes are skipped. Areas are split at the edges. An area that is watched for these
/// modes already, and perhaps for more, stays as it is; any other gets these modes instead of those it had.
///
/// # Errors
/// The first area that cannot be watched.
#[doc(alias = "UFFDIO_REGISTER")]
pub fn uffd_register<P: Env>(
    p: &mut P,
    uffd: UffdId,
    start: Vaddr,
    len: Bytes,
    modes: UffdModes,
) -> Result<(), RegisterError> {
    if modes.is_empty() {
        return Err(RegisterError::NoMode);
    }
    let range = whole_pages(p, start, len).ok_or(RegisterError::BadRange(start))?;
    let mm = p.with_uffd(uffd, |u| u.mm).ok_or(RegisterError::Gone)?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        if p.with_uffd(uffd, |_| ()).is_none() {
            return Err(RegisterError::Gone);
        }
        let areas = p.with_vmas(mm, |vmas| vmas.copy_over(range)).ok_or(RegisterError::Gone)?;
        check_edge(&areas, range.start)
            .map_err(|(at, page)| RegisterError::InsidePage { at, page })?
            .ok_or(RegisterError::Nothing(range))?;
        for vma in &areas {
            if !vma.flags.contains(VmaFlags::MAY_WRITE) {
                return Err(RegisterError::NotWritable(vma.range.start));
            }
            if range.end < vma.range.end && !range.end.is_aligned(vma.size.bytes()) {
                return Err(RegisterError::InsidePage { at: range.end, page: vma.size.bytes() });
            }
            if vma.uffd.is_some_and(|other| other.uffd != uffd) {
                return Err(RegisterError::Busy(vma.range.start));
            }
        }
        for vma in areas.iter().filter(|vma| !vma.is_watched(modes)) {
            let piece = vma.range.intersect(range);
            let own = isolate(p, mm, piece);
            debug_assert!(own.is_ok(), "the edges were looked at");
            p.with_vmas(mm, |vmas| {
                vmas.update(piece.start, |vma| vma.uffd = Some(Registration { uffd, modes }));
            });
        }
        Ok(())
    })
}

/// Ends the watch of a range, and all write protection in it. Areas that nobody watches are left alone.
///
/// # Errors
/// The first area that cannot be left alone.
#[doc(alias = "UFFDIO_UNREGISTER")]
pub fn uffd_unregister<P: Env>(p: &mut P, uffd: UffdId, start: Vaddr, len: Bytes) -> Result<(), UnregisterError> {
    let range = whole_pages(p, start, len).ok_or(UnregisterError::BadRange(start))?;
    let mm = p.with_uffd(uffd, |u| u.mm).ok_or(UnregisterError::Gone)?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let areas = p.with_vmas(mm, |vmas| vmas.copy_over(range)).ok_or(UnregisterError::Gone)?;
        check_edge(&areas, range.start)
            .map_err(|(at, page)| UnregisterError::InsidePage { at, page })?
            .ok_or(UnregisterError::Nothing(range))?;
        if let Some(other) = areas.iter().find(|vma| vma.uffd.is_some_and(|other| other.uffd != uffd)) {
            return Err(UnregisterError::NotMine(other.range.start));
        }
        let watched: Vec<_> = areas.into_iter().filter(|vma| vma.uffd.is_some()).collect();
        if let Some(last) = watched.last()
            && range.end < last.range.end
            && !range.end.is_aligned(last.size.bytes())
        {
            return Err(UnregisterError::InsidePage { at: range.end, page: last.size.bytes() });
        }
        for vma in watched {
            match isolate(p, mm, vma.range.intersect(range)) {
                Ok(own) => end_registration(p, mm, &own),
                Err(inside) => debug_assert!(false, "{} was looked at", inside.at),
            }
        }
        Ok(())
    })
}

/// The range must start at a page of its first area, even where it starts in the hole before it; nothing if there is no area.
fn check_edge(areas: &[Vma], start: Vaddr) -> Result<Option<()>, (Vaddr, Bytes)> {
    match areas.first() {
        Some(first) if !start.is_aligned(first.size.bytes()) => Err((start, first.size.bytes())),
        first => Ok(first.map(|_| ())),
    }
}
