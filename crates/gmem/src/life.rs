//! Made, held, and gone.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Range;

use hugetlb::AllotError;
use policy::PolicyInForce;
use units::{
    Access, Blame, Bytes, CgroupId, GmemId, HstateId, HugeCount, Ledger, Order, PageCount, PageIndex, Pfn, RangeMap,
    Scope,
};

use crate::file::{Attribute, Backing, Gmem, GmemFlags};
use crate::leaves::Leaves;
use crate::{Env, folios, stage2};

/// What file is wanted.
#[derive(Clone, Copy, Debug)]
pub struct CreateRequest {
    /// Its size, which never changes.
    pub size: Bytes,
    /// How it is made.
    pub flags: GmemFlags,
    /// The size of its pages.
    pub order: Order,
    /// The pool of that size, if the machine has one.
    pub hstate: Option<HstateId>,
    /// Who pays for what is allotted to it.
    pub cgroup: Option<CgroupId>,
}

/// Why there is no file. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A flag that nobody knows.
    #[error("{0:#x} are no flags")]
    UnknownFlags(u64),
    /// No size, or a negative one.
    #[error("a size of {0} is none")]
    NoSize(Bytes),
    /// A size of pages without huge pages.
    #[error("pages of {0} are huge pages, which were not asked for")]
    OrderWithoutHuge(Order),
    /// No pool has pages of that size.
    #[error("the machine has no huge pages of {0}")]
    NoSuchPages(Order),
    /// Huge pages are private at first.
    #[error("a file of huge pages is not shared from the start")]
    SharedHuge,
    /// The size is not a multiple of its pages.
    #[error("a size of {size} is no multiple of pages of {page}")]
    Unaligned {
        /// The size.
        size: Bytes,
        /// That of a page.
        page: Bytes,
    },
    /// The pages cannot be had.
    #[error(transparent)]
    Allot(#[from] AllotError),
}

impl Blame for CreateError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Allot(refusal) => refusal.ledger(),
            _ => None,
        }
    }
}

/// Makes a file, open once. One of huge pages has all of them allotted, reserved and charged as such from now on; none is taken yet.
///
/// # Errors
/// A request that contradicts itself, or the ledger that refused the pages.
#[doc(alias("kvm_gmem_create", "KVM_CREATE_GUEST_MEMFD"))]
pub fn create<P: Env>(p: &mut P, request: &CreateRequest) -> Result<GmemId, CreateError> {
    let base = p.with_vmemmap(|vmemmap| vmemmap.geometry().shift());
    let (pages, huge) = check(request, base)?;
    let backing = match huge {
        None => Backing::Base,
        Some(hstate) => {
            let count = HugeCount::new(pages.get() >> request.order.get());
            let subpool = hugetlb::allot(p, hstate, count, request.cgroup)?;
            Backing::Huge { hstate, order: request.order, subpool }
        }
    };
    let shared = request.flags.contains(GmemFlags::INIT_SHARED);
    let attribute = if shared { Attribute::Shared } else { Attribute::Private };
    Ok(p.new_gmem(Gmem {
        pages,
        mappable: request.flags.contains(GmemFlags::MMAP),
        backing,
        attributes: RangeMap::filled(0..pages.get(), attribute),
        cache: BTreeMap::new(),
        leaves: Leaves::NONE,
        bound: None,
        views: BTreeMap::new(),
        next_view: 0,
        policy: Vec::new(),
        broken: BTreeSet::new(),
        opens: 1,
    }))
}

/// The pages of the file, and the pool of huge ones.
fn check(request: &CreateRequest, base: units::PageShift) -> Result<(PageCount, Option<HstateId>), CreateError> {
    let CreateRequest { size, flags, order, hstate, .. } = *request;
    let unknown = flags.bits() & !GmemFlags::all().bits();
    if unknown != 0 {
        return Err(CreateError::UnknownFlags(unknown));
    }
    if size.is_zero() || i64::try_from(size.get()).is_err() {
        return Err(CreateError::NoSize(size));
    }
    let huge = flags.contains(GmemFlags::HUGETLB);
    let hstate = match (huge, order == Order::ZERO, hstate) {
        (false, true, _) => None,
        (false, false, _) => return Err(CreateError::OrderWithoutHuge(order)),
        (true, false, Some(hstate)) => Some(hstate),
        (true, ..) => return Err(CreateError::NoSuchPages(order)),
    };
    if huge && flags.contains(GmemFlags::INIT_SHARED) {
        return Err(CreateError::SharedHuge);
    }
    let page = base.total(order.pages());
    if !size.is_multiple_of(page) {
        return Err(CreateError::Unaligned { size, page });
    }
    Ok((base.pages_floor(size), hstate))
}

/// One more descriptor.
pub fn hold<P: Env>(p: &mut P, id: GmemId) {
    p.with_gmem(id, |file| file.opens = file.opens.saturating_add(1));
}

/// One descriptor less. With the last of them, and the last mapping of the host, the file is gone.
#[doc(alias("kvm_gmem_release", "fput"))]
pub fn release<P: Env>(p: &mut P, id: GmemId) {
    p.with_gmem(id, |file| {
        debug_assert!(file.opens > 0, "released more often than held");
        file.opens = file.opens.saturating_sub(1);
    });
    end_if_unused(p, id);
}

/// Evicts a file that nobody has open or mapped. That never fails and merges nothing: pages that somebody has go home when he lets them go, and
/// what was allotted to the file is theirs until then.
pub(crate) fn end_if_unused<P: Env>(p: &mut P, id: GmemId) {
    if p.with_gmem(id, |file| file.is_held() || !file.views.is_empty()) != Some(false) {
        return;
    }
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let Some(file) = p.with_gmem(id, |file| file.clone()) else { return };
        stage2::unmap(p, id, 0..file.pages.get());
        for (index, pfn) in file.cached() {
            folios::remove(p, id, index, pfn);
        }
        p.drop_gmem(id);
        if let Backing::Huge { subpool, .. } = file.backing {
            hugetlb::end_allotment(p, subpool);
        }
    });
}

/// The guest sees the first page at that frame of its own; nothing takes the file away from it.
#[doc(alias("kvm_gmem_bind", "KVM_SET_USER_MEMORY_REGION2"))]
pub fn bind<P: Env>(p: &mut P, id: GmemId, at: Option<Pfn>) {
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let Some(pages) = p.with_gmem(id, |file| file.pages) else { return };
        stage2::unmap(p, id, 0..pages.get());
        p.with_gmem(id, |file| file.bound = at);
    });
}

/// From which nodes pages of a range come from now on, whoever touches them first; nothing: as he wants it.
#[doc(alias("kvm_gmem_set_policy", "mpol_set_shared_policy"))]
pub fn set_policy<P: Env>(p: &mut P, id: GmemId, range: Range<PageIndex>, policy: Option<PolicyInForce>) {
    p.with_gmem(id, |file| {
        let old = core::mem::take(&mut file.policy);
        for (of, policy) in old {
            let parts = [of.start..of.end.min(range.start), of.start.max(range.end)..of.end];
            file.policy.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (part, policy)));
        }
        file.policy.extend(policy.filter(|_| !range.is_empty()).map(|policy| (range, policy)));
        file.policy.sort_by_key(|(of, _)| of.start);
    });
}
