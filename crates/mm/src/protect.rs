//! Changing what may be done to an area.

use units::{Access, Bytes, MmId, Scope, Vaddr, VaddrRange};

use crate::unmap::{InsidePage, split_off};
use crate::{Env, Prot, VmaFlags};

/// Why a protection cannot be set; areas before the place keep what they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MprotectError {
    /// A start between base pages.
    #[error("{0} is not a multiple of the base page size")]
    Misaligned(Vaddr),
    /// The range ends beyond all numbers.
    #[error("the range at {0} ends beyond all numbers")]
    BadRange(Vaddr),
    /// Nothing is mapped there.
    #[error("nothing is mapped at {0}")]
    Hole(Vaddr),
    /// An area would have to be split inside a huge page.
    #[error("an area cannot be split at {at}, which is inside one of its pages of {page}")]
    SplitsPage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
    /// The file may not be written through that area.
    #[error("the file behind {0} may not be written")]
    Access(Vaddr),
}

/// Sets the protection of a range, area after area. An area that has it already is not split.
///
/// # Errors
/// What stopped it, and where.
#[doc(alias("mprotect_fixup", "hugetlb_change_protection"))]
pub fn mprotect<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes, prot: Prot) -> Result<(), MprotectError> {
    let base = p.page_shift().bytes();
    if !start.is_aligned(base) {
        return Err(MprotectError::Misaligned(start));
    }
    if len.is_zero() {
        return Ok(());
    }
    let range = p.page_range(start, len).ok_or(MprotectError::BadRange(start))?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let mut at = range.start;
        while at < range.end {
            let found = p.with_vmas(mm, |vmas| vmas.find(at).copied()).flatten();
            let vma = found.ok_or(MprotectError::Hole(at))?;
            let piece = vma.range.intersect(VaddrRange::new(at, range.end));
            if vma.prot != prot {
                protect_piece(p, mm, piece, prot)?;
            }
            at = piece.end;
        }
        Ok(())
    })
}

/// `piece` lies inside one area.
fn protect_piece<P: Env>(p: &mut P, mm: MmId, piece: VaddrRange, prot: Prot) -> Result<(), MprotectError> {
    let found = p.with_vmas(mm, |vmas| vmas.find(piece.start).copied()).flatten();
    if prot.contains(Prot::WRITE) && found.is_some_and(|vma| !vma.flags.contains(VmaFlags::MAY_WRITE)) {
        return Err(MprotectError::Access(piece.start));
    }
    let vma = isolate(p, mm, piece).map_err(|InsidePage { at, page }| MprotectError::SplitsPage { at, page })?;
    p.scope(Scope::VmaLock(vma.inode, Access::Write), |p| {
        p.with_vmas(mm, |vmas| vmas.update(vma.range.start, |vma| vma.prot = prot));
        if !prot.contains(Prot::WRITE) {
            p.with_table(mm, |table| table.write_protect(piece));
        }
    });
    Ok(())
}

/// Makes `piece`, which lies inside one area, an area of its own.
pub(crate) fn isolate<P: Env>(p: &mut P, mm: MmId, piece: VaddrRange) -> Result<crate::Vma, InsidePage> {
    split_off(p, mm, piece)?;
    Ok(p.with_vmas(mm, |vmas| vmas.find(piece.start).copied()).flatten().expect("the piece lies inside an area"))
}
