//! Pages allotted to one owner, who brings no reservation map.
//!
//! The owner says once how many pages he will ever have. All of them are reserved then, of those that are free: no surplus page is made for
//! him. Limits of his own ([`Subpool`], as much at least as at most) hold what he has not taken yet, and outlive him as long as anybody has one
//! of his pages; then the reservation ends, and what was charged for it.

use charge::{Counter, OverLimit, Receipt};
use units::{Blame, CgroupId, HstateId, HugeCount, Ledger, MountReturn, Site, SubpoolId};

use crate::pool::ONE;
use crate::subpool::{Return, end_subpool, give_back};
use crate::{AllocFlags, AllocRefusal, AllocRequest, Env, HugeFolio, Subpool, SubpoolFull, hugetlb_alloc_folio};

/// What is known of the owner of limits that are not a mount's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Allotment {
    /// Whose pages.
    pub hstate: HstateId,
    /// Who is charged for all of them as reserved.
    pub payer: Option<CgroupId>,
}

/// Why pages cannot be allotted. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllotError {
    /// A control group's limit on reserved pages.
    #[error(transparent)]
    Charge(#[from] OverLimit),
    /// The fault plan refused the charge.
    #[error("the charge was refused")]
    ChargeFault,
    /// Not so many pages are free and not reserved.
    #[error("{} pages were asked for; {} are free, {} of them reserved, and surplus is not used", .asked.get(), .free.get(), .resv.get())]
    Pool {
        /// Asked for.
        asked: HugeCount,
        /// Free pages.
        free: HugeCount,
        /// Reserved ones among them.
        resv: HugeCount,
    },
}

impl Blame for AllotError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Charge(over) => over.ledger(),
            Self::ChargeFault => Some(Ledger::CgroupRsvd),
            Self::Pool { free, resv, .. } if free == resv => Some(Ledger::Pool),
            Self::Pool { .. } => Some(Ledger::Reservation),
        }
    }
}

/// Allots pages of a pool to somebody who pays for them from now on.
///
/// # Errors
/// Which ledger refused, with its numbers.
#[doc(alias = "hugepage_new_subpool")]
pub fn allot<P: Env>(
    p: &mut P,
    hstate: HstateId,
    pages: HugeCount,
    cgroup: Option<CgroupId>,
) -> Result<SubpoolId, AllotError> {
    if p.refused(Site::Charge) {
        return Err(AllotError::ChargeFault);
    }
    let counter = Counter::Rsvd(hstate);
    let charged = match cgroup {
        Some(_) => p.with_charges(|c| c.charge(cgroup, counter, pages))?,
        None => Receipt { owner: None, counter, pages },
    };
    let reserved = p.with_pool(hstate, |pool| {
        if pool.available() < pages {
            return Err(AllotError::Pool { asked: pages, free: pool.free, resv: pool.resv });
        }
        pool.resv += pages;
        Ok(())
    });
    if let Err(refusal) = reserved {
        if charged.owner.is_some() {
            p.with_charges(|c| c.uncharge(charged));
        }
        return Err(refusal);
    }
    let owner = Allotment { hstate, payer: charged.owner };
    Ok(p.new_subpool(Subpool::new(Some(pages), pages).of(owner)))
}

/// The owner is gone. What nobody has of his pages is reserved no longer, once he is the last.
#[doc(alias = "hugepage_put_subpool")]
pub fn end_allotment<P: Env>(p: &mut P, id: SubpoolId) {
    if let Some(Some(owner)) = p.with_subpool(id, |s| s.owner) {
        end_subpool(p, owner.hstate, id);
    }
}

/// One of the pages that were allotted. It counts as reserved for its owner again when it is freed.
///
/// # Errors
/// The owner has all his pages, a charge was refused, or none of the pages is on an allowed node.
pub fn alloc_allotted<P: Env>(p: &mut P, id: SubpoolId, request: &AllocRequest) -> Result<HugeFolio, AllocRefusal> {
    let none = SubpoolFull { max: HugeCount::ZERO, used: HugeCount::ZERO, asked: ONE };
    p.with_subpool(id, |s| s.take_own(ONE)).unwrap_or(Err(none))?;
    let request = AllocRequest { flags: AllocFlags::USE_GLOBAL_RESV, ..*request };
    match hugetlb_alloc_folio(p, &request) {
        Ok(folio) => {
            // Freeing it goes through the limits alone: two ways back would give the reservation back twice.
            p.with_records(folio.at(), |records| {
                let record = records.record(folio);
                record.restore_reserve = false;
                record.subpool = Some(id);
            });
            Ok(folio)
        }
        Err(refusal) => {
            let back = Return { pages: ONE, held: ONE, why: MountReturn::PageRefused };
            give_back(p, request.hstate, id, back);
            Err(refusal)
        }
    }
}

impl Subpool {
    /// The same limits, of somebody who is no mount.
    #[must_use]
    const fn of(self, owner: Allotment) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Whose limits they are, if not a mount's.
    #[must_use]
    pub const fn owner(&self) -> Option<Allotment> {
        self.owner
    }

    /// Takes pages all of which must have been reserved.
    fn take_own(&mut self, n: HugeCount) -> Result<(), SubpoolFull> {
        if n > self.rsv {
            return Err(SubpoolFull { max: self.min, used: self.used, asked: n });
        }
        self.take(n).map(|_| ())
    }
}
