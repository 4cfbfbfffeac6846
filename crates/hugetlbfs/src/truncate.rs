//! Changing a file's size, and taking pages out of it.

use filemap::Markers;
use units::{Access, Bytes, HugeCount, HugeIndex, HugeRange, InodeId, Scope};

use crate::{Env, Seals};

/// Why a size cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TruncateError {
    /// Beyond the largest file; to Linux such a number is negative.
    #[error("{0} is more than a file can have")]
    TooLarge(Bytes),
    /// Not a multiple of the page size.
    #[error("{size} is not a multiple of the file's page size, {page}")]
    Misaligned {
        /// Asked for.
        size: Bytes,
        /// The page size.
        page: Bytes,
    },
    /// A seal forbids it.
    #[error("the file is sealed against becoming {}", if *.grow { "larger" } else { "smaller" })]
    Sealed {
        /// Was it to grow?
        grow: bool,
    },
    /// The file is gone.
    #[error("no such file")]
    NoInode,
}

impl TruncateError {
    /// Can any file have that size? Linux asks before it looks which file it is.
    ///
    /// # Errors
    /// [`TruncateError::TooLarge`].
    pub fn check(size: Bytes) -> Result<(), Self> {
        if size > LARGEST { Err(Self::TooLarge(size)) } else { Ok(()) }
    }
}

/// The largest file.
#[doc(alias = "MAX_LFS_FILESIZE")]
pub const LARGEST: Bytes = Bytes::new(i64::MAX.unsigned_abs());

/// Sets the size. Pages, private copies and promises beyond it go, also when the file grows.
///
/// # Errors
/// A size that is no multiple of the page size, or a seal; nothing is changed.
#[doc(alias("hugetlb_vmtruncate", "hugetlbfs_setattr"))]
pub fn truncate<P: Env>(p: &mut P, id: InodeId, size: Bytes) -> Result<(), TruncateError> {
    TruncateError::check(size)?;
    let hstate = p.with_inode(id, |inode| inode.hstate).ok_or(TruncateError::NoInode)?;
    let page = p.hstate(hstate).size;
    if !size.is_multiple_of(page.bytes()) {
        return Err(TruncateError::Misaligned { size, page: page.bytes() });
    }
    p.scope(Scope::Inode(id, Access::Write), |p| {
        p.with_inode(id, |inode| {
            let grow = size > inode.size;
            let seal = if grow { Seals::GROW } else { Seals::SHRINK };
            if size != inode.size && inode.seals.contains(seal) {
                return Err(TruncateError::Sealed { grow });
            }
            inode.size = size;
            Ok(())
        })
        .unwrap_or(Err(TruncateError::NoInode))?;
        remove_from(p, id, HugeRange::from(page.index_floor(size)));
        Ok(())
    })
}

/// Unmaps and removes every page of `range`, which has no end, and takes its promises back. Inside the inode's scope.
pub(crate) fn remove_from<P: Env>(p: &mut P, id: InodeId, range: HugeRange) {
    let Some((hstate, map, subpool)) = p.with_inode(id, |inode| (inode.hstate, inode.map, inode.subpool)) else {
        return;
    };
    unmap_everywhere(p, id, range, Markers::Drop);
    let mut removed = HugeCount::ZERO;
    while let Some(index) = p.with_cache(id, |cache| cache.first_in(range)).flatten() {
        removed += remove_page(p, id, index);
    }
    // With no end to the range nothing is split, so no descriptor can be missing.
    hugetlb::unreserve_after_removal(p, hstate, map, subpool, range, removed);
}

/// Takes one page out of the cache, if it is there, and says how many that were. Inside the inode's scope.
pub(crate) fn remove_page<P: Env>(p: &mut P, id: InodeId, index: HugeIndex) -> HugeCount {
    let Some(hstate) = p.with_inode(id, |inode| inode.hstate) else { return HugeCount::ZERO };
    let refs = p.hstate(hstate).cache_refs();
    let removed = p.scope(Scope::FaultMutex(id, index), |p| filemap::remove_from_cache(p, id, index, refs));
    HugeCount::new(u64::from(removed))
}

/// Takes the pages of `range` out of every address space, private copies included.
pub(crate) fn unmap_everywhere<P: Env>(p: &mut P, id: InodeId, range: HugeRange, markers: Markers) {
    p.scope(Scope::FileMapping(id, Access::Write), |p| {
        for area in filemap::areas_over(p, id, range) {
            p.unmap_area_range(&area, range.intersect(area.range), markers);
        }
    });
}
