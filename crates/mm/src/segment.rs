//! Attaching and detaching segments.

use hugetlbfs::{Hold, InodeKind, Origin};
use units::{Access, Blame, Bytes, InodeId, Ledger, MmId, Scope, Vaddr, VaddrRange};

use crate::unmap::unmap_range;
use crate::{Env, FileAccess, MapFlags, MapRequest, MmapError, Place, Prot, Share, Source, Vma, mmap};

/// Why a segment cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// It never was, or its last user is gone.
    #[error("no such segment")]
    NoSegment,
    /// The mapping itself.
    #[error(transparent)]
    Mmap(#[from] MmapError),
}

impl Blame for AttachError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoSegment => None,
            Self::Mmap(error) => error.ledger(),
        }
    }
}

/// Why nothing can be detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetachError {
    /// No segment was attached there, or it moved away.
    #[error("no segment is attached at {0}")]
    NotAttached(Vaddr),
}

/// Maps all of a segment, shared. Its pages were promised when it was made, or never will be.
///
/// # Errors
/// No such segment, or no room for it.
#[doc(alias = "do_shmat")]
pub fn attach<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    segment: InodeId,
    place: Place,
    access: FileAccess,
) -> Result<Vaddr, AttachError> {
    if !hugetlbfs::hold_alive(p, segment, Hold::Open) {
        return Err(AttachError::NoSegment);
    }
    let len = p.with_inode(segment, |inode| inode.size).unwrap_or(Bytes::ZERO);
    let request = MapRequest {
        place,
        len,
        prot: if access.can_write() { Prot::READ | Prot::WRITE } else { Prot::READ },
        share: Share::Shared,
        source: Source::File { inode: segment, access },
        offset: Bytes::ZERO,
        flags: MapFlags::NORESERVE,
    };
    let mapped = mmap(p, mm, origin, &request);
    hugetlbfs::release(p, segment, Hold::Open);
    Ok(mapped?)
}

/// Unmaps what is left of a segment that was attached at `addr`: every area of the same attach that lies where that put it. Pieces of
/// another attach may have been moved there; the lowest area decides which one is meant.
///
/// # Errors
/// There is none.
#[doc(alias = "ksys_shmdt")]
pub fn detach<P: Env>(p: &mut P, mm: MmId, addr: Vaddr) -> Result<(), DetachError> {
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let beyond = VaddrRange::new(addr, p.task_size());
        let areas = p.with_vmas(mm, |vmas| vmas.copy_over(beyond)).unwrap_or_default();
        let in_place =
            |vma: &Vma| vma.range.start >= addr && vma.range.start.since(addr) == vma.size.offset_of(vma.first);
        let found = areas.iter().find_map(|vma| {
            let (kind, size) = p.with_inode(vma.inode, |inode| (inode.kind, inode.size))?;
            (kind == InodeKind::Segment && in_place(vma)).then_some((vma.mapped_as, size))
        });
        let (attach, size) = found.ok_or(DetachError::NotAttached(addr))?;
        let of_it = |vma: &&Vma| vma.mapped_as == attach && in_place(vma) && vma.range.end.since(addr) <= size;
        for vma in areas.iter().filter(of_it) {
            let done = unmap_range(p, mm, vma.range);
            debug_assert!(done.is_ok(), "a whole area has no edge inside a page");
        }
        Ok(())
    })
}
