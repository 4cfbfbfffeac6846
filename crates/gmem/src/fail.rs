//! Memory that breaks.

use hugetlb::Found;
use memmap::FolioKind;
use units::{Access, Event, GmemId, GuestStep, PageIndex, Scope};

use crate::{Env, folios, stage2};

/// There is no such page in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {0} is not in memory")]
pub struct NoPage(pub PageIndex);

/// A page breaks. The guest loses all of its folio, the host the page alone; nothing is removed. A whole folio counts as broken from now on; of one
/// in pieces only the page, but it stays in pieces. When such a huge page is let go, its sound pages are of use again, and the
/// broken one is not.
///
/// # Errors
/// The page is not there.
#[doc(alias = "kvm_gmem_error_folio")]
pub fn memory_failure<P: Env>(p: &mut P, id: GmemId, index: PageIndex) -> Result<Found, NoPage> {
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let pfn = p.with_gmem(id, |file| file.frame(index)).flatten().ok_or(NoPage(index))?;
        let one = index.get()..index.get() + 1;
        let found = p.with_memmap(pfn, |map| map.find(pfn).map(|(start, folio)| (start, folio.order)));
        let (start, order) = found.ok_or(NoPage(index))?;
        let first = index.get() - (pfn.get() - start.get());
        let lost = first..first + order.pages().get();
        folios::unmap_host(p, id, one);
        stage2::tell(p, id, &lost, GuestStep::InvalidateBegin);
        stage2::unmap(p, id, lost.clone());
        stage2::tell(p, id, &lost, GuestStep::InvalidateEnd);
        let slot = p.with_memmap(pfn, |map| match map.find(pfn)?.1.kind {
            FolioKind::Huge(slot) | FolioKind::Piece(slot) => Some(slot),
            _ => None,
        });
        let Some(slot) = slot else {
            p.emit(|| Event::Poisoned { pfn });
            let new = p.with_gmem(id, |file| file.broken.insert(index));
            return Ok(if new == Some(true) { Found::Sound } else { Found::SamePage });
        };
        let page = p.with_records(slot, |records| records.folio(slot.hstate, slot.slot));
        // The file has the page, so it is still one.
        Ok(hugetlb::record_poison(p, page, pfn).unwrap_or(Found::Sound))
    })
}
