//! Beginning and ending to watch.

use units::{Access, Bytes, MmId, Scope, UffdId, Vaddr, VaddrRange};

use super::{Registration, UffdModes, WriteProtection, end_registration, set_protection, whole_pages};
use crate::protect::isolate;
use crate::unmap::split_at;
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

/// Why a range cannot be left alone.
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
    /// An edge inside a huge page. If it is the end, what lies before it is done.
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
        for vma in areas.iter().filter(|vma| vma.uffd.is_some()) {
            leave_alone(p, mm, vma, vma.range.intersect(range))?;
        }
        Ok(())
    })
}

/// Ends the watch of `piece`, a part of `vma`. That its end is inside a page shows late, as on Linux: the protection up to the end
/// of that page is gone by then, and the area is split at the start.
fn leave_alone<P: Env>(p: &mut P, mm: MmId, vma: &Vma, piece: VaddrRange) -> Result<(), UnregisterError> {
    let page = vma.size.bytes();
    let whole = VaddrRange::new(piece.start, (piece.end.align_down(page) + page).min(vma.range.end));
    if piece.end < vma.range.end && !piece.end.is_aligned(page) {
        if vma.is_watched(UffdModes::WRITE_PROTECT) {
            set_protection(p, mm, vma, whole, WriteProtection::Clear);
        }
        split_at(p, mm, piece.start);
        return Err(UnregisterError::InsidePage { at: piece.end, page });
    }
    match isolate(p, mm, piece) {
        Ok(own) => end_registration(p, mm, &own),
        Err(inside) => debug_assert!(false, "{} was looked at", inside.at),
    }
    Ok(())
}

/// The range must start at a page of its first area, even where it starts in the hole before it; nothing if there is no area.
fn check_edge(areas: &[Vma], start: Vaddr) -> Result<Option<()>, (Vaddr, Bytes)> {
    match areas.first() {
        Some(first) if !start.is_aligned(first.size.bytes()) => Err((start, first.size.bytes())),
        first => Ok(first.map(|_| ())),
    }
}
