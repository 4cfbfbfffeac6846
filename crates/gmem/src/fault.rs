//! Touching pages: the guest by its own tables, the host by a mapping.

use policy::PolicyInForce;
use units::{Access, Blame, CgroupId, GmemId, Ledger, NodeId, Nodemask, Order, PageIndex, Pfn, Scope, Site};

use crate::allocate::{AllocateError, present};
use crate::file::{Attribute, Gmem, ViewId};
use crate::folios;
use crate::{Env, stage2};

/// On whose behalf pages are allocated.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The node it runs on.
    pub local: NodeId,
    /// Nodes its cpuset allows.
    pub allowed: Nodemask,
    /// Its policy, where the file has none.
    pub policy: PolicyInForce,
    /// Who pays.
    pub cgroup: Option<CgroupId>,
}

/// A page as the guest got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPage {
    /// The frame.
    pub pfn: Pfn,
    /// The size of the leaf that maps it.
    pub leaf: Order,
}

/// Why the guest gets no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestFault {
    /// No guest is bound to the file.
    #[error("the file is bound to no guest")]
    Unbound,
    /// Memory of it is broken.
    #[error("page {0} is broken, or of a folio that is")]
    Poisoned(PageIndex),
    /// No page.
    #[error(transparent)]
    NoPage(#[from] AllocateError),
    /// No memory for a page table.
    #[error("no page for the page table")]
    NoTablePage,
}

impl Blame for GuestFault {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoPage(refusal) => refusal.ledger(),
            Self::NoTablePage => Some(Ledger::Metadata),
            Self::Unbound | Self::Poisoned(_) => None,
        }
    }
}

/// Why an access of the host fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostFault {
    /// The mapping does not reach there, or is gone.
    #[error("no mapping has page {0}")]
    Outside(PageIndex),
    /// The page is the guest's alone.
    #[error("page {0} is private")]
    Private(PageIndex),
    /// It is broken.
    #[error("page {0} is broken")]
    Poisoned(PageIndex),
    /// No page.
    #[error(transparent)]
    NoPage(#[from] AllocateError),
    /// No memory for a page table.
    #[error("no page for the page table")]
    NoTablePage,
}

impl Blame for HostFault {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoPage(refusal) => refusal.ledger(),
            Self::NoTablePage => Some(Ledger::Metadata),
            Self::Outside(_) | Self::Private(_) | Self::Poisoned(_) => None,
        }
    }
}

/// A page that somebody holds for a device, wherever it is unmapped from.
#[doc(alias("FOLL_PIN", "pin_user_pages"))]
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Pin {
    pfn: Pfn,
}

impl Pin {
    /// The frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Writes the pin down, to be taken up again with [`Pin::take_up`]: whoever does neither that nor ends it keeps the page for ever.
    #[must_use]
    pub const fn write_down(self) -> Pfn {
        self.pfn
    }

    /// A pin that was written down, once.
    pub const fn take_up(pfn: Pfn) -> Self {
        Self { pfn }
    }
}

/// The guest touches a page: it is allocated if need be, and mapped by the largest leaf that its folio, and the guest's own frame, permit.
///
/// # Errors
/// There is no page, or it is broken.
#[doc(alias = "kvm_gmem_get_pfn")]
pub fn guest_fault<P: Env>(p: &mut P, id: GmemId, index: PageIndex, by: &Asker) -> Result<GuestPage, GuestFault> {
    p.scope(Scope::Gmem(id, Access::Read), |p| {
        let bound = p.with_gmem(id, |file| file.bound).ok_or(AllocateError::Outside(index))?;
        let bound = bound.ok_or(GuestFault::Unbound)?;
        let mapped = p.with_gmem(id, |file| file.leaves.get(index.get()).is_some()) == Some(true);
        if !mapped && p.refused(Site::TablePage) {
            return Err(GuestFault::NoTablePage);
        }
        let pfn = present(p, id, index, by)?;
        if folios::is_broken(p, id, index) {
            return Err(GuestFault::Poisoned(index));
        }
        let shift = p.with_vmemmap(|vmemmap| vmemmap.geometry().shift());
        let folio = p.with_memmap(pfn, |map| map.find(pfn).map_or(Order::ZERO, |(_, folio)| folio.order));
        let largest = stage2::largest_leaf(folio, bound, shift);
        let leaf = p.with_gmem(id, |file| {
            if let Some(mapped) = file.leaves.get(index.get()) {
                return mapped;
            }
            // A large leaf takes the place of small ones that are left from before the folio was merged.
            let start = index.get() >> largest.get() << largest.get();
            file.leaves.set(start..start + largest.pages().get(), largest);
            largest
        });
        Ok(GuestPage { pfn, leaf: leaf.unwrap_or(Order::ZERO) })
    })
}

/// The host touches a page by a mapping.
///
/// # Errors
/// The page is private or broken, or there is none.
#[doc(alias = "kvm_gmem_fault_user_mapping")]
pub fn host_fault<P: Env>(p: &mut P, id: GmemId, view: ViewId, index: PageIndex, by: &Asker) -> Result<Pfn, HostFault> {
    p.scope(Scope::Gmem(id, Access::Read), |p| fault_in(p, id, view, index, by))
}

fn fault_in<P: Env>(p: &mut P, id: GmemId, view: ViewId, index: PageIndex, by: &Asker) -> Result<Pfn, HostFault> {
    let there = p.with_gmem(id, |file| {
        let inside = file.views.get(&view).is_some_and(|view| view.pages.contains(&index.get()));
        if inside { file.attribute(index) } else { None }
    });
    match there.flatten() {
        None => return Err(HostFault::Outside(index)),
        Some(Attribute::Private) => return Err(HostFault::Private(index)),
        Some(Attribute::Shared) => (),
    }
    let mapped = |file: &mut Gmem| file.views.get(&view).is_some_and(|view| view.mapped.get(index.get()).is_some());
    if p.with_gmem(id, mapped) == Some(false) && p.refused(Site::TablePage) {
        return Err(HostFault::NoTablePage);
    }
    let pfn = present(p, id, index, by)?;
    let one = index.get()..index.get() + 1;
    if folios::is_broken(p, id, index) {
        return Err(HostFault::Poisoned(index));
    }
    let new = p.with_gmem(id, |file| {
        let view = file.views.get_mut(&view)?;
        let new = view.mapped.get(index.get()).is_none();
        view.mapped.set(one, ());
        Some(new)
    });
    if new.flatten() == Some(true) {
        debug_assert!(
            p.with_memmap(pfn, |map| map
                .find(pfn)
                .is_some_and(|(start, folio)| start == pfn && folio.order == Order::ZERO)),
            "the host maps base pages alone"
        );
        p.with_memmap(pfn, |map| {
            map.get_refs(pfn, 1);
            map.add_mapping(pfn, memmap::MappedBy::File);
        });
    }
    Ok(pfn)
}

/// Pins a page that a mapping of the host reaches, which is touched first.
///
/// # Errors
/// As [`host_fault`].
#[doc(alias("pin_user_pages", "get_user_pages"))]
pub fn host_pin<P: Env>(p: &mut P, id: GmemId, view: ViewId, index: PageIndex, by: &Asker) -> Result<Pin, HostFault> {
    p.scope(Scope::Gmem(id, Access::Read), |p| {
        let pfn = fault_in(p, id, view, index, by)?;
        p.with_memmap(pfn, |map| map.pin(pfn));
        Ok(Pin { pfn })
    })
}

/// Ends a pin; in an interrupt, if need be. The last one of the last page of a file that is gone sends its huge page home.
#[doc(alias = "unpin_user_page")]
pub fn unpin<P: Env>(p: &mut P, pin: Pin, context: units::Context) {
    let Pin { pfn } = pin;
    p.with_memmap(pfn, |map| map.unpin(pfn));
    hugetlb::put_folio_in(p, pfn, 1, context);
}

/// The size of the largest leaf by which the guest could map a page now; nothing where the page is not there, or no guest.
#[doc(alias = "max_order")]
pub fn largest_leaf<P: Env>(p: &mut P, id: GmemId, index: PageIndex) -> Option<Order> {
    let (pfn, bound) = p.with_gmem(id, |file| Some((file.frame(index)?, file.bound?))).flatten()?;
    let shift = p.with_vmemmap(|vmemmap| vmemmap.geometry().shift());
    let order = p.with_memmap(pfn, |map| map.find(pfn).map(|(_, folio)| folio.order))?;
    Some(stage2::largest_leaf(order, bound, shift))
}
