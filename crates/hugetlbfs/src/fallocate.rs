//! Allocating pages of a file ahead of use, and punching holes.

use filemap::Markers;
use hugetlb::{AllocRefusal, Holder, MapAlloc, Purpose};
use policy::{PolicyInForce, Weights};
use units::{Access, Blame, Bytes, CgroupId, HugeIndex, HugeRange, InodeId, Ledger, NodeId, Nodemask, Scope};

use crate::truncate::{remove_page, unmap_everywhere};
use crate::{Credentials, Env, Seals};

/// What becomes of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocMode {
    /// It grows to cover what was allocated.
    Extend,
    /// It stays.
    KeepSize,
}

/// On whose behalf pages are allocated: what a task brings to every allocation.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Origin {
    /// The node it runs on.
    pub local: NodeId,
    /// Nodes its cpuset allows.
    pub allowed: Nodemask,
    /// Its policy.
    pub policy: PolicyInForce,
    /// Who pays.
    pub cgroup: Option<CgroupId>,
    /// Who asks.
    pub credentials: Credentials,
}

/// Why a range cannot be allocated or punched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FallocateError {
    /// An empty range.
    #[error("the range is empty")]
    Empty,
    /// A range that begins beyond the largest file, or is longer; to Linux such a number is negative.
    #[error("the range begins beyond the largest file or is longer")]
    Negative,
    /// A range whose last page ends beyond the largest file.
    #[error("the range ends beyond the largest file")]
    TooLarge,
    /// A seal forbids it.
    #[error("the file is sealed against it")]
    Sealed,
    /// No page; those before it stay.
    #[error("no page at {index}: {refusal}")]
    Refused {
        /// Where.
        index: HugeIndex,
        /// Which ledger, with its numbers.
        refusal: AllocRefusal,
    },
    /// No node of the page cache.
    #[error(transparent)]
    CacheNode(#[from] filemap::NoCacheNode),
    /// No descriptor for a region of the reservation map.
    #[error(transparent)]
    Descriptor(#[from] hugetlb::NoDescriptor),
    /// The file is gone.
    #[error("no such file")]
    NoInode,
}

impl Blame for FallocateError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Refused { refusal, .. } => refusal.ledger(),
            Self::CacheNode(_) | Self::Descriptor(_) => Some(Ledger::Metadata),
            Self::Empty | Self::Negative | Self::TooLarge | Self::Sealed | Self::NoInode => None,
        }
    }
}

/// Allocates the missing pages of a range, rounded outwards. Pages allocated before a failure stay; the size then does not
/// change.
///
/// # Errors
/// A bad range, a seal, or the ledger that refused a page.
#[doc(alias = "hugetlbfs_fallocate")]
pub fn fallocate<P: Env>(
    p: &mut P,
    id: InodeId,
    offset: Bytes,
    len: Bytes,
    mode: AllocMode,
    origin: &Origin,
) -> Result<(), FallocateError> {
    let hstate = p.with_inode(id, |inode| inode.hstate).ok_or(FallocateError::NoInode)?;
    let page = p.hstate(hstate).size;
    let end = checked_end(offset, len, page)?;
    p.scope(Scope::Inode(id, Access::Write), |p| {
        let sealed = p.with_inode(id, |inode| inode.seals.contains(Seals::GROW) && end > inode.size);
        if sealed.ok_or(FallocateError::NoInode)? {
            return Err(FallocateError::Sealed);
        }
        let mut index = page.index_floor(offset);
        while index < page.index_ceil(end) {
            p.scope(Scope::FaultMutex(id, index), |p| allocate_page(p, id, index, origin))?;
            index = index.offset(units::HugeCount::new(1));
        }
        if mode == AllocMode::Extend {
            p.with_inode(id, |inode| inode.size = inode.size.max(end));
        }
        Ok(())
    })
}

fn allocate_page<P: Env>(p: &mut P, id: InodeId, index: HugeIndex, origin: &Origin) -> Result<(), FallocateError> {
    if p.with_cache(id, |cache| cache.get(index)).flatten().is_some() {
        return Ok(());
    }
    let (hstate, map, subpool) =
        p.with_inode(id, |inode| (inode.hstate, inode.map, inode.subpool)).ok_or(FallocateError::NoInode)?;
    let weights = if origin.policy.heeds_weights() { &p.weights() } else { &Weights::EVEN };
    let want = MapAlloc {
        hstate,
        holder: Holder::Shared(map),
        index,
        subpool,
        placement: origin.policy.interpret(origin.local, origin.allowed, index, weights),
        allowed: origin.allowed,
        cgroup: origin.cgroup,
        purpose: Purpose::Instantiate,
        pin: page_alloc::Pin::Short,
    };
    let folio = hugetlb::alloc_for_mapping(p, &want).map_err(|refusal| FallocateError::Refused { index, refusal })?;
    let bytes = p.hstate(hstate).size.bytes();
    p.with_contents(folio.pfn, |contents| contents.zero(folio.pfn, Bytes::ZERO, bytes));
    let added = filemap::add_to_cache(p, id, index, folio);
    if added.is_err() {
        hugetlb::restore_reserve_on_error(p, folio, want.holder, index);
    }
    hugetlb::put_folio(p, folio.pfn, 1);
    Ok(added?)
}

/// Makes a hole: whole pages inside the range leave the file and every address space, the edges of pages that stay are
/// zeroed. A promise goes only together with a page that was there.
///
/// # Errors
/// A bad range, a seal, or no descriptor to split a region of the map.
#[doc(alias = "hugetlbfs_punch_hole")]
pub fn punch_hole<P: Env>(p: &mut P, id: InodeId, offset: Bytes, len: Bytes) -> Result<(), FallocateError> {
    let (hstate, map, subpool) =
        p.with_inode(id, |inode| (inode.hstate, inode.map, inode.subpool)).ok_or(FallocateError::NoInode)?;
    let page = p.hstate(hstate).size;
    let end = checked_end(offset, len, page)?;
    p.scope(Scope::Inode(id, Access::Write), |p| {
        let seals = p.with_inode(id, |inode| inode.seals).ok_or(FallocateError::NoInode)?;
        if seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
            return Err(FallocateError::Sealed);
        }
        let whole = HugeRange::new(page.index_ceil(offset), page.index_floor(end));
        zero_edges(p, id, page, offset, end);
        if whole.is_empty() {
            return Ok(());
        }
        unmap_everywhere(p, id, whole, Markers::Keep);
        while let Some(index) = p.with_cache(id, |cache| cache.first_in(whole)).flatten() {
            hugetlb::may_unreserve(p, map, HugeRange::one(index))?;
            let removed = remove_page(p, id, index);
            hugetlb::unreserve_after_removal(p, hstate, map, subpool, HugeRange::one(index), removed);
        }
        Ok(())
    })
}

/// Zeroes what the range covers of pages that it does not cover whole.
fn zero_edges<P: Env>(p: &mut P, id: InodeId, page: units::HugeSize, offset: Bytes, end: Bytes) {
    let mut at = offset;
    while at < end {
        let index = page.index_floor(at);
        let start = page.offset_of(index);
        let stop = end.min(start + page.bytes());
        if stop - at < page.bytes()
            && let Some(pfn) = p.with_cache(id, |cache| cache.get(index)).flatten()
        {
            p.with_contents(pfn, |contents| contents.zero(pfn, at - start, stop - at));
        }
        // Whole pages in between are not edges: go on at the last one.
        let last = page.offset_of(page.index_floor(end));
        at = if stop < last { last } else { stop };
    }
}

/// The end of the range. Its page, rounded up, must end within the largest file too: a loop over pages could not end else.
fn checked_end(offset: Bytes, len: Bytes, page: units::HugeSize) -> Result<Bytes, FallocateError> {
    if len.is_zero() {
        return Err(FallocateError::Empty);
    }
    let largest = Bytes::new(i64::MAX.unsigned_abs());
    let end = offset.checked_add(len).ok_or(FallocateError::TooLarge)?;
    match end.round_up(page.bytes()) {
        Some(rounded) if rounded <= largest => Ok(end),
        _ => Err(FallocateError::TooLarge),
    }
}
