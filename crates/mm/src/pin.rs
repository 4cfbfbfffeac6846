//! Pages that have to stay where they are while a device, or somebody outside, uses them.

use hugetlbfs::Origin;
use units::{Access, Context, MmId, Pfn, Scope, Vaddr};

use crate::fault::fault_in_space;
use crate::{Env, FaultError, Touch};

/// A pinned page: it is not moved, not freed and not taken away until [`unpin`].
#[doc(alias("FOLL_PIN", "pin_user_pages"))]
#[must_use]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    folio: Pfn,
    page: Pfn,
}

impl Pin {
    /// The base page that was asked for.
    #[must_use]
    pub const fn page(&self) -> Pfn {
        self.page
    }

    /// The first frame of the folio that it is a part of, all of which is pinned.
    #[must_use]
    pub const fn folio(&self) -> Pfn {
        self.folio
    }
}

/// Pins the page at `addr`, which is faulted in as by an access. A private page that others share is copied first, if it may be
/// written: what is pinned is the caller's own.
///
/// # Errors
/// Why the access fails.
#[doc(alias("pin_user_pages_fast", "get_user_pages"))]
pub fn pin<P: Env>(p: &mut P, mm: MmId, origin: &Origin, addr: Vaddr, touch: Touch) -> Result<Pin, FaultError> {
    p.scope(Scope::AddressSpace(mm, Access::Read), |p| {
        loop {
            let touch = unshared(p, mm, addr, touch);
            let hit = fault_in_space(p, mm, origin, addr, touch)?;
            let found = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten();
            let vma = found.ok_or(FaultError::NoArea(addr))?;
            // A file may have lost the page since; inside its mapping it cannot.
            let pinned = p.scope(Scope::FileMapping(vma.inode, Access::Read), |p| {
                let start = addr.align_down(vma.size.bytes());
                let entry = p.with_table(mm, |table| table.get(start)).flatten();
                let there = entry.is_some_and(|entry| entry.pfn == hit.pfn);
                if there {
                    p.with_memmap(|map| map.pin(hit.pfn));
                }
                there
            });
            if pinned {
                let page = hit.pfn.offset(p.page_shift().pages_floor(hit.offset));
                return Ok(Pin { folio: hit.pfn, page });
            }
        }
    })
}

/// A page of its own that others share is written for the caller to have one for himself.
#[doc(alias = "gup_must_unshare")]
fn unshared<P: Env>(p: &mut P, mm: MmId, addr: Vaddr, touch: Touch) -> Touch {
    let vma = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten();
    let Some(vma) = vma.filter(|vma| !vma.is_shared() && vma.prot.contains(crate::Prot::WRITE)) else { return touch };
    let entry = p.with_table(mm, |table| table.get(addr.align_down(vma.size.bytes()))).flatten();
    let shared = entry.is_some_and(|entry| {
        p.with_memmap(|map| map.get(entry.pfn).is_some_and(|folio| folio.is_anonymous() && folio.mapcount() > 1))
    });
    if shared { Touch::Write } else { touch }
}

/// Ends a pin; a page that nobody else has goes home.
#[doc(alias = "unpin_user_page")]
pub fn unpin<P: Env>(p: &mut P, pin: Pin) {
    unpin_in(p, pin, Context::Sleepable);
}

/// As [`unpin`], where perhaps nobody may wait: a device lets go in an interrupt.
#[doc(alias = "bio_release_pages")]
pub fn unpin_in<P: Env>(p: &mut P, pin: Pin, context: Context) {
    let Pin { folio, .. } = pin;
    p.with_memmap(|map| map.unpin(folio));
    hugetlb::put_folio_in(p, folio, 1, context);
}
