//! Pages of a file for a device, whether anybody touched them before or not.

use hugetlb::{AllocFlags, AllocRequest, ReserveRefusal, ReserveRequest};
use policy::Placement;
use units::{Access, Blame, Bytes, HugeCount, HugeIndex, HugeRange, InodeId, Ledger, Pfn, Scope};

use crate::{Env, Origin};

/// Why a device does not get a page of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageForPinError {
    /// The page lies beyond the end of the file, or there is no such file.
    #[error("page {0} lies beyond the end of the file")]
    BeyondEof(HugeIndex),
    /// It cannot be promised.
    #[error(transparent)]
    Reserve(#[from] ReserveRefusal),
    /// What is promised lies nowhere where the caller may have it, and where it may stay.
    #[error("{} are reserved, but none lies on an allowed node where it may stay", .resv.get())]
    Node {
        /// Reserved pages.
        resv: HugeCount,
    },
    /// No node of the page cache.
    #[error(transparent)]
    CacheNode(#[from] filemap::NoCacheNode),
}

impl Blame for PageForPinError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::BeyondEof(_) => None,
            Self::Reserve(refusal) => refusal.ledger(),
            Self::Node { .. } => Some(Ledger::Node),
            Self::CacheNode(_) => Some(Ledger::Metadata),
        }
    }
}

/// The page at `index` of a file with one more reference. One that is absent is promised first and then taken, so that nobody else's promise
/// is spent; it lies near the caller, whatever his policy, and where it may stay, and nobody is charged for its use.
///
/// # Errors
/// There is none; the file is as before.
#[doc(alias("memfd_pin_folios", "memfd_alloc_folio"))]
pub fn page_for_pin<P: Env>(p: &mut P, id: InodeId, index: HugeIndex, origin: &Origin) -> Result<Pfn, PageForPinError> {
    p.scope(Scope::Inode(id, Access::Read), |p| {
        p.scope(Scope::FaultMutex(id, index), |p| {
            let found = p.with_inode(id, |inode| (inode.hstate, inode.size));
            let (hstate, size) = found.ok_or(PageForPinError::BeyondEof(index))?;
            if index >= p.hstate(hstate).size.index_ceil(size) {
                return Err(PageForPinError::BeyondEof(index));
            }
            let cached = p.with_cache(id, |cache| cache.get(index)).flatten();
            if let Some(pfn) = cached {
                p.with_memmap(pfn, |map| map.get_refs(pfn, 1));
                return Ok(pfn);
            }
            fill(p, id, index, origin)
        })
    })
}

fn fill<P: Env>(p: &mut P, id: InodeId, index: HugeIndex, origin: &Origin) -> Result<Pfn, PageForPinError> {
    let found = p.with_inode(id, |inode| (inode.hstate, inode.map, inode.subpool));
    let (hstate, map, subpool) = found.ok_or(PageForPinError::BeyondEof(index))?;
    let Origin { local, allowed, cgroup, .. } = *origin;
    let before = p.with_resv_map(map, |m| m.regions().contains(index)) == Some(true);
    let range = HugeRange::one(index);
    let promised = origin.policy.reservation_nodes(allowed);
    let reserve = ReserveRequest { hstate, range, shared: Some(map), subpool, local, allowed: promised, cgroup };
    hugetlb::reserve_pages(p, &reserve)?;
    let request =
        AllocRequest { hstate, placement: Placement::local(local), allowed, flags: AllocFlags::LONG_PIN, cgroup: None };
    let filled = match hugetlb::alloc_reserved(p, &request) {
        None => Err(PageForPinError::Node { resv: p.with_pool(hstate, |pool| pool.resv()) }),
        Some(folio) => {
            let bytes = p.hstate(hstate).size.bytes();
            p.with_contents(folio.pfn, |contents| contents.zero(folio.pfn, Bytes::ZERO, bytes));
            hugetlb::count_against(p, folio, subpool);
            match filemap::add_to_cache(p, id, index, folio) {
                Ok(()) => Ok(folio.pfn),
                Err(lacking) => {
                    // It goes back with the promise that it was taken for.
                    hugetlb::count_against(p, folio, None);
                    hugetlb::put_folio(p, folio.pfn, 1);
                    Err(lacking.into())
                }
            }
        }
    };
    // Without a descriptor the promise stays, as one that an mmap made.
    if filled.is_err() && !before && hugetlb::may_unreserve(p, map, range).is_ok() {
        hugetlb::unreserve_after_removal(p, hstate, map, subpool, range, HugeCount::ZERO);
    }
    filled
}
