//! Pages for a file.

use core::ops::Range;

use hugetlb::restructure::{self, SplitError};
use hugetlb::{AllocFlags, AllocRefusal, AllocRequest};
use memmap::FolioKind;
use page_alloc::{NoPages, PageRequest, Task};
use policy::{Placement, Weights};
use units::{Access, Blame, Bytes, GfpFlags, GmemId, HugeIndex, Ledger, Order, PageIndex, Pfn, Scope, Site};

use crate::file::Backing;
use crate::{Asker, Env};

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// The file is gone, or ends before.
    #[error("there is no page {0} of the file")]
    Outside(PageIndex),
    /// No huge page.
    #[error(transparent)]
    Huge(#[from] AllocRefusal),
    /// No base page.
    #[error(transparent)]
    Base(#[from] NoPages),
    /// A page of it is shared, and it cannot be split.
    #[error("its huge page cannot be split: {0}")]
    Split(#[from] SplitError),
    /// No node of the page cache.
    #[error("no memory to note a page")]
    CacheNode,
}

impl Blame for AllocateError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Outside(_) => None,
            Self::Huge(refusal) => refusal.ledger(),
            Self::Base(none) => none.ledger(),
            Self::Split(refusal) => refusal.ledger(),
            Self::CacheNode => Some(Ledger::Metadata),
        }
    }
}

/// Allocates the missing pages of a range, rounded outwards to what is allocated at once. Pages before a failure stay.
///
/// # Errors
/// The first page that cannot be had.
#[doc(alias = "kvm_gmem_allocate")]
pub fn allocate<P: Env>(p: &mut P, id: GmemId, range: Range<PageIndex>, by: &Asker) -> Result<(), AllocateError> {
    p.scope(Scope::Gmem(id, Access::Read), |p| {
        let mut at = range.start;
        while at < range.end {
            let next = p.with_gmem(id, |file| PageIndex::new(file.around(at).end));
            present(p, id, at, by)?;
            at = next.ok_or(AllocateError::Outside(at))?;
        }
        Ok(())
    })
}

/// The frame of a page, which is allocated if need be. One at a time for what is allocated at once: what was allotted is exactly as much as there
/// may ever be, so a second page for one place would fail.
#[doc(alias("kvm_gmem_get_folio", "hugetlb_fault_mutex_table"))]
pub(crate) fn present<P: Env>(p: &mut P, id: GmemId, index: PageIndex, by: &Asker) -> Result<Pfn, AllocateError> {
    let outside = AllocateError::Outside(index);
    let found = p.with_gmem(id, |file| (index.get() < file.pages.get()).then(|| (file.floor(index), file.backing)));
    let (first, backing) = found.flatten().ok_or(outside)?;
    p.scope(Scope::GmemFault(id, first), |p| {
        if let Some(pfn) = p.with_gmem(id, |file| file.frame(index)).flatten() {
            return Ok(pfn);
        }
        match backing {
            Backing::Base => new_base(p, id, index, by)?,
            Backing::Huge { hstate, subpool, .. } => {
                let request = AllocRequest {
                    hstate,
                    placement: placement(p, id, index, by),
                    allowed: by.allowed,
                    flags: AllocFlags::empty(),
                    cgroup: by.cgroup,
                };
                let folio = hugetlb::alloc_allotted(p, subpool, &request)?;
                new_huge(p, id, first, folio.pfn)?;
            }
        }
        p.with_gmem(id, |file| file.frame(index)).flatten().ok_or(outside)
    })
}

/// What the file's own policy says of a page, or else that of whoever asks.
fn placement<P: Env>(p: &mut P, id: GmemId, index: PageIndex, by: &Asker) -> Placement {
    let (own, order) = p.with_gmem(id, |file| (file.policy_of(index), file.backing.order())).unwrap_or_default();
    let policy = own.unwrap_or(by.policy);
    let weights = if policy.heeds_weights() { &p.weights() } else { &Weights::EVEN };
    policy.interpret(by.local, by.allowed, HugeIndex::new(index.get() >> order.get()), weights)
}

fn new_base<P: Env>(p: &mut P, id: GmemId, index: PageIndex, by: &Asker) -> Result<(), AllocateError> {
    if p.refused(Site::CacheNode) {
        return Err(AllocateError::CacheNode);
    }
    let placement = placement(p, id, index, by);
    let task = Task { allowed: by.allowed, walled: by.allowed, ..Task::default() };
    let request = PageRequest { task, ..PageRequest::new(Order::ZERO, GfpFlags::HIGHUSER, placement.nid) };
    let pfn = page_alloc::alloc_placed(p, &request, &placement)?.pfn;
    p.with_memmap(pfn, |map| {
        map.claim(pfn, Order::ZERO, FolioKind::Page);
        map.get_refs(pfn, 1);
    });
    zero(p, pfn, Order::ZERO);
    p.with_gmem(id, |file| file.cache.insert(index, pfn));
    Ok(())
}

/// A huge page that just came from its pool, with one reference.
fn new_huge<P: Env>(p: &mut P, id: GmemId, first: PageIndex, pfn: Pfn) -> Result<(), AllocateError> {
    if p.refused(Site::CacheNode) {
        hugetlb::put_folio(p, pfn, 1);
        return Err(AllocateError::CacheNode);
    }
    let order = p.with_memmap(pfn, |map| map.get(pfn).map_or(Order::ZERO, |folio| folio.order));
    zero(p, pfn, order);
    // The file holds one reference for each base page, the first of which is the one that it came with.
    p.with_memmap(pfn, |map| map.get_refs(pfn, order.pages().get() - 1));
    let all_private = p.with_gmem(id, |file| file.is_private(file.around(first)));
    // Before anybody can see it.
    if all_private == Some(false)
        && let Err(refusal) = restructure::split(p, pfn, Order::ZERO)
    {
        hugetlb::put_folio(p, pfn, order.pages().get());
        return Err(refusal.into());
    }
    p.with_gmem(id, |file| file.cache.insert(first, pfn));
    Ok(())
}

/// Nobody sees what was there before.
fn zero<P: Env>(p: &mut P, pfn: Pfn, order: Order) {
    let len = p.with_vmemmap(|vmemmap| vmemmap.geometry().shift()).total(order.pages());
    p.with_contents(pfn, |contents| contents.zero(pfn, Bytes::ZERO, len));
}
