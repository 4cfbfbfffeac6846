//! Promises made at `mmap` time and taken back at the end.

use alloc_crate::vec::Vec;

use charge::{Counter, OverLimit, Receipt};
use units::{
    Blame, CgroupId, Event, HstateId, HugeCount, HugeRange, Ledger, MountReturn, NodeId, Nodemask, ResvMapId, Site,
    SubpoolId, UndoLog, attempt,
};

use crate::subpool::{Return, give_back};
use crate::{Env, MapKind, NoDescriptor, Piece, ResvMap, SubpoolFull, SurplusRefusal, acct_release, acct_reserve};

/// Pages to be promised.
#[derive(Clone, Copy, Debug)]
pub struct ReserveRequest {
    /// Which pool.
    pub hstate: HstateId,
    /// Which pages of the file.
    pub range: HugeRange,
    /// The file's map for a shared mapping; nothing for a private one, which gets a map of its own.
    pub shared: Option<ResvMapId>,
    /// The mount's limits.
    pub subpool: Option<SubpoolId>,
    /// Where the task runs.
    pub local: NodeId,
    /// Nodes that the task's cpuset (and a binding policy) allows.
    pub allowed: Nodemask,
    /// Who pays.
    pub cgroup: Option<CgroupId>,
}

/// Why pages cannot be promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveRefusal {
    /// A control group's limit on reserved pages.
    #[error(transparent)]
    Charge(#[from] OverLimit),
    /// The fault plan refused a charge.
    #[error("the charge was refused")]
    ChargeFault,
    /// The mount's maximum.
    #[error(transparent)]
    Subpool(#[from] SubpoolFull),
    /// No descriptor for the reservation map.
    #[error(transparent)]
    Descriptor(#[from] NoDescriptor),
    /// Not enough unreserved pages, and no surplus to make up for it.
    #[error("{asked} asked for; {} are free, {} of them reserved, and the rest cannot be surplus: {surplus}", .free.get(), .resv.get())]
    Pool {
        /// Asked for.
        asked: HugeCount,
        /// Free pages.
        free: HugeCount,
        /// Reserved ones among them.
        resv: HugeCount,
        /// Why no surplus pages.
        surplus: SurplusRefusal,
    },
    /// Enough pages, but not on the allowed nodes.
    #[error("{asked} asked for; {} are free on the allowed nodes", .free.get())]
    Cpuset {
        /// Asked for.
        asked: HugeCount,
        /// Free pages on those nodes.
        free: HugeCount,
    },
}

impl Blame for ReserveRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Charge(over) => over.ledger(),
            Self::ChargeFault => Some(Ledger::CgroupRsvd),
            Self::Subpool(full) => full.ledger(),
            Self::Descriptor(_) => Some(Ledger::Metadata),
            Self::Pool { surplus, .. } => match surplus.ledger() {
                Some(Ledger::Pool) | None => Some(Ledger::Reservation),
                other => other,
            },
            Self::Cpuset { .. } => Some(Ledger::Node),
        }
    }
}

enum Undo {
    Rsvd(Receipt),
    Subpool { id: SubpoolId, n: HugeCount, held: HugeCount },
}

/// Promises the pages of `range`. A shared mapping promises the pages that its file's map lacks; a private one promises all
/// and gets a map, in which nothing is consumed yet. Returns the new private map.
///
/// # Errors
/// Which ledger refused, with its numbers; nothing is changed.
#[doc(alias = "hugetlb_reserve_pages")]
pub fn reserve_pages<P: Env>(p: &mut P, request: &ReserveRequest) -> Result<Option<ResvMapId>, ReserveRefusal> {
    let (hstate, range) = (request.hstate, request.range);
    if p.refused(Site::RegionDescriptor) {
        return Err(NoDescriptor.into());
    }
    let wanted = match request.shared {
        Some(map) => range.count() - p.with_resv_map(map, |m| m.regions.count(range)).unwrap_or(HugeCount::ZERO),
        None => range.count(),
    };
    let undo = |p: &mut P, step| match step {
        Undo::Rsvd(receipt) => uncharge(p, receipt),
        Undo::Subpool { id, n, held } => {
            give_back(p, hstate, id, Return { pages: n, held, why: MountReturn::ReservationRefused });
        }
    };
    let owner = attempt(p, undo, |p, log: &mut UndoLog<Undo, 2>| {
        log.push(Undo::Rsvd(charge_rsvd(p, request, wanted)?));
        let mut global = wanted;
        if let Some(id) = request.subpool {
            global = p.with_subpool(id, |s| s.take(wanted)).unwrap_or(Ok(wanted))?;
            log.push(Undo::Subpool { id, n: wanted, held: wanted - global });
        }
        acct_reserve(p, hstate, global, request.local, request.allowed)?;
        let mut owner = None;
        log.commit(|step| {
            if let Undo::Rsvd(receipt) = step {
                owner = receipt.owner;
            }
        });
        Ok::<_, ReserveRefusal>(owner)
    })?;
    let Some(map) = request.shared else {
        let kind = MapKind::Private { areas: 1, rsvd_owner: owner };
        return Ok(Some(p.new_resv_map(ResvMap::new(kind))));
    };
    let added = p.with_resv_map(map, |m| m.regions.insert(range, owner)).unwrap_or(HugeCount::ZERO);
    settle_race(p, request, owner, wanted - added);
    Ok(None)
}

/// Faults added entries while the promise was being made: their pages need no second one.
fn settle_race<P: Env>(p: &mut P, request: &ReserveRequest, owner: Option<CgroupId>, raced: HugeCount) {
    if raced.is_zero() {
        return;
    }
    uncharge(p, Receipt { owner, counter: Counter::Rsvd(request.hstate), pages: raced });
    match request.subpool {
        Some(id) => give_back(p, request.hstate, id, not_needed(raced)),
        None => acct_release(p, request.hstate, raced),
    }
}

/// Can the promises of `range` be taken back from a file's map? To be asked before the page there goes, with everybody else kept from the map: an
/// entry whose page is gone and that stays would need a free page that may not be there.
///
/// # Errors
/// A region would have to be split and no descriptor can be had.
pub fn may_unreserve<P: Env>(p: &mut P, map: ResvMapId, range: HugeRange) -> Result<(), NoDescriptor> {
    let splits = p.with_resv_map(map, |m| m.regions.remove_splits(range)).unwrap_or(false);
    if splits && p.refused(Site::RegionDescriptor) { Err(NoDescriptor) } else { Ok(()) }
}

/// Takes the promises of `range` back from a file's map, after `removed` pages were taken out of its cache there. Where that may split a region,
/// [`may_unreserve`] was asked before.
#[doc(alias = "hugetlb_unreserve_pages")]
pub fn unreserve_after_removal<P: Env>(
    p: &mut P,
    hstate: HstateId,
    map: ResvMapId,
    subpool: Option<SubpoolId>,
    range: HugeRange,
    removed: HugeCount,
) {
    let mut paid: Vec<Piece> = Vec::new();
    let gone = p.with_resv_map(map, |m| {
        m.regions.remove(range, |piece| {
            if piece.owner.is_some() {
                paid.push(piece);
            }
        })
    });
    for Piece { range, owner } in paid {
        uncharge(p, Receipt { owner, counter: Counter::Rsvd(hstate), pages: range.count() });
    }
    let unused = gone.unwrap_or(HugeCount::ZERO).saturating_sub(removed);
    match subpool {
        Some(id) => give_back(p, hstate, id, not_needed(unused)),
        None => acct_release(p, hstate, unused),
    }
}

/// Another area now shares the owner's map: a split, or the new place of a move.
#[doc(alias("hugetlb_vm_op_open", "resv_map_dup_hugetlb_cgroup_uncharge_info"))]
pub fn open_private_map<P: Env>(p: &mut P, map: ResvMapId) {
    p.with_resv_map(map, |m| {
        if let MapKind::Private { areas, .. } = &mut m.kind {
            *areas += 1;
        }
    });
}

/// An owner's area over `range` was closed: the reservations of its untouched pages return, and the map ends with its last area.
#[doc(alias("hugetlb_vm_op_close", "resv_map_release"))]
pub fn close_private_map<P: Env>(
    p: &mut P,
    hstate: HstateId,
    map: ResvMapId,
    subpool: Option<SubpoolId>,
    range: HugeRange,
) {
    let closed = p.with_resv_map(map, |m| {
        let consumed = m.regions.count(range);
        m.owed.retain(|&index, _| !range.contains(index));
        let MapKind::Private { areas, rsvd_owner } = &mut m.kind else { return None };
        *areas -= 1;
        Some((consumed, *areas, *rsvd_owner))
    });
    let Some(Some((consumed, areas, owner))) = closed else { return };
    if areas == 0 {
        p.drop_resv_map(map);
    }
    uncharge(p, Receipt { owner, counter: Counter::Rsvd(hstate), pages: range.count() });
    let unused = range.count() - consumed;
    p.emit(|| Event::OwnerClosed { hstate, map, pages: range, unused, payer: owner });
    match subpool {
        Some(id) => give_back(p, hstate, id, not_needed(unused)),
        None => acct_release(p, hstate, unused),
    }
}

/// Promises that return before a page was made of them.
const fn not_needed(pages: HugeCount) -> Return {
    Return { pages, held: pages, why: MountReturn::Done }
}

fn charge_rsvd<P: Env>(p: &mut P, request: &ReserveRequest, pages: HugeCount) -> Result<Receipt, ReserveRefusal> {
    if p.refused(Site::Charge) {
        return Err(ReserveRefusal::ChargeFault);
    }
    let counter = Counter::Rsvd(request.hstate);
    if request.cgroup.is_none() {
        return Ok(Receipt { owner: None, counter, pages });
    }
    Ok(p.with_charges(|c| c.charge(request.cgroup, counter, pages))?)
}

fn uncharge<P: Env>(p: &mut P, receipt: Receipt) {
    if receipt.owner.is_some() {
        p.with_charges(|c| c.uncharge(receipt));
    }
}
