//! `hugetlb_alloc_folio`: a huge page for anybody.

use alloc_crate::vec::Vec;

use charge::{Counter, OverLimit, OverMemory, Receipt};
use page_alloc::Pin;
use policy::Placement;
use units::{
    Blame, CgroupId, Event, HstateId, HugeCount, Ledger, Migratetype, NodeId, Nodemask, Site, UndoLog, ZoneKind,
    attempt,
};

use crate::pool::ONE;
use crate::surplus::{alloc_surplus, asked_by, gfp_of};
use crate::{Claim, Env, HugeFolio, Shelf, SurplusRefusal, put_folio};

bitflags::bitflags! {
    /// What the caller decided before it asked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AllocFlags: u8 {
        /// Charge the page as reserved too: no reservation of the caller's has done so.
        const CHARGE_RSVD = 1 << 0;
        /// A global reservation stands for this page: take a reserved one and spend the reservation.
        const USE_GLOBAL_RESV = 1 << 1;
        /// Somebody is about to pin the page for long: it must lie where it may stay.
        const LONG_PIN = 1 << 2;
    }
}

/// What is asked of the pool. Knows no area, no reservation map and no subpool.
#[derive(Clone, Copy, Debug)]
pub struct AllocRequest {
    /// Which pool.
    pub hstate: HstateId,
    /// The policy, interpreted.
    pub placement: Placement,
    /// Nodes that the task's cpuset allows.
    pub allowed: Nodemask,
    /// What the caller decided.
    pub flags: AllocFlags,
    /// Who pays; nobody for the root group.
    pub cgroup: Option<CgroupId>,
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocRefusal {
    /// A control group's limit.
    #[error(transparent)]
    Charge(#[from] OverLimit),
    /// The fault plan refused a charge.
    #[error("the charge was refused")]
    ChargeFault,
    /// A group's limit on memory.
    #[error(transparent)]
    Memory(#[from] OverMemory),
    /// The fault plan refused a charge of memory.
    #[error("the charge of memory was refused")]
    MemoryFault,
    /// The mount's maximum.
    #[error(transparent)]
    Subpool(#[from] crate::SubpoolFull),
    /// No descriptor for the reservation map.
    #[error(transparent)]
    Descriptor(#[from] crate::NoDescriptor),
    /// The pool has no page that this request may take, and no surplus page can be made.
    #[error("{free} are free, {} of them reserved, and no surplus page can be made: {surplus}", .resv.get())]
    Pool {
        /// Free pages.
        free: HugeCount,
        /// Reserved ones among them.
        resv: HugeCount,
        /// Why no surplus page.
        surplus: SurplusRefusal,
    },
    /// There are pages that the request could take, but not on the nodes it is bound to.
    #[error("{available} are available, but not on the allowed nodes, and no surplus page can be made: {surplus}")]
    Node {
        /// Available pages on any node.
        available: HugeCount,
        /// Why no surplus page.
        surplus: SurplusRefusal,
    },
}

impl Blame for AllocRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Charge(over) => over.ledger(),
            Self::ChargeFault => Some(Ledger::CgroupUsage),
            Self::Memory(over) => over.ledger(),
            Self::MemoryFault => Some(Ledger::Memcg),
            Self::Subpool(full) => full.ledger(),
            Self::Descriptor(_) => Some(Ledger::Metadata),
            Self::Pool { surplus, .. } => surplus.ledger(),
            Self::Node { .. } => Some(Ledger::Node),
        }
    }
}

/// Allocates one huge page: charges, takes a free page by policy or makes a surplus one, commits the charges, and charges the page as
/// memory. The folio comes with one reference; if it spent a reservation, freeing it unused gives that back.
///
/// # Errors
/// Which ledger refused, with its numbers; nothing is changed. A limit on memory refuses the page itself, which is then freed as every
/// page is: where its node has surplus, it may leave the pool.
#[doc(alias = "dequeue_hugetlb_folio_vma")]
pub fn hugetlb_alloc_folio<P: Env>(p: &mut P, request: &AllocRequest) -> Result<HugeFolio, AllocRefusal> {
    let folio = take(p, request)?;
    match charge_memory(p, request, folio) {
        Ok(()) => Ok(folio),
        Err(refusal) => {
            // Whoever drops it now has neither mapped it nor told a map or a mount of it: its last reference undoes everything.
            put_folio(p, folio.pfn, 1);
            Err(refusal)
        }
    }
}

/// A page that is charged to the limits on huge pages, but to nobody's memory yet.
fn take<P: Env>(p: &mut P, request: &AllocRequest) -> Result<HugeFolio, AllocRefusal> {
    attempt(p, uncharge, |p, log: &mut UndoLog<Receipt, 2>| {
        if request.flags.contains(AllocFlags::CHARGE_RSVD) {
            log.push(charge(p, request, Counter::Rsvd(request.hstate))?);
        }
        log.push(charge(p, request, Counter::Usage(request.hstate))?);
        let reserved = request.flags.contains(AllocFlags::USE_GLOBAL_RESV);
        let (folio, spent) = match dequeue(p, request) {
            Some(folio) => (folio, reserved),
            None => (make_surplus(p, request)?, false),
        };
        // No return from here.
        let (mut usage_owner, mut rsvd_owner) = (None, None);
        log.commit(|receipt| match receipt.counter {
            Counter::Usage(_) => usage_owner = receipt.owner,
            Counter::Rsvd(_) => rsvd_owner = receipt.owner,
        });
        if reserved && !spent {
            p.with_pool(request.hstate, |pool| pool.resv -= ONE);
        }
        p.with_records(folio.at(), |records| {
            let record = records.record(folio);
            record.restore_reserve = reserved;
            (record.usage_owner, record.rsvd_owner) = (usage_owner, rsvd_owner);
        });
        if let Some(owner) = usage_owner {
            p.with_charges(|c| c.place(owner, request.hstate, folio.node));
        }
        p.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, 1));
        p.emit(|| Event::Allocated { hstate: request.hstate, folio: folio.pfn, reserved });
        Ok(folio)
    })
}

fn charge<P: Env>(p: &mut P, request: &AllocRequest, counter: Counter) -> Result<Receipt, AllocRefusal> {
    if p.refused(Site::Charge) {
        return Err(AllocRefusal::ChargeFault);
    }
    if request.cgroup.is_none() {
        return Ok(Receipt { owner: None, counter, pages: ONE });
    }
    Ok(p.with_charges(|c| c.charge(request.cgroup, counter, ONE))?)
}

/// The page itself is what is charged, so this comes last: who has no page is not told of limits on memory.
#[doc(alias = "mem_cgroup_charge_hugetlb")]
fn charge_memory<P: Env>(p: &mut P, request: &AllocRequest, folio: HugeFolio) -> Result<(), AllocRefusal> {
    if p.refused(Site::MemoryCharge) {
        return Err(AllocRefusal::MemoryFault);
    }
    if request.cgroup.is_none() {
        return Ok(());
    }
    let pages = p.hstate(request.hstate).order.pages();
    let owner = p.with_charges(|c| c.charge_memory(request.cgroup, pages))?;
    if owner.is_some() {
        p.with_records(folio.at(), |records| records.record(folio).memory_owner = owner);
    }
    Ok(())
}

fn uncharge<P: Env>(p: &mut P, receipt: Receipt) {
    if receipt.owner.is_some() {
        p.with_charges(|c| c.uncharge(receipt));
    }
}

/// A free page by policy: the nodes from near to far, each once.
pub(crate) fn dequeue<P: Env>(p: &mut P, request: &AllocRequest) -> Option<HugeFolio> {
    let (mask, then) = passes(p, request);
    match (dequeue_from(p, request, mask), then) {
        (None, Some(mask)) => dequeue_from(p, request, mask),
        (first, _) => first,
    }
}

/// The nodes to try, and those to try if these have nothing: what the policy says of a new page holds for one that is there.
fn passes<P: Env>(p: &mut P, request: &AllocRequest) -> (Option<Nodemask>, Option<Option<Nodemask>>) {
    if request.placement.nodemask.is_none() {
        return (None, None);
    }
    let highest = page_alloc::gfp::highest_zone(gfp_of(p.hstate(request.hstate))).unwrap_or(ZoneKind::Movable);
    request.placement.passes(highest, p.topology())
}

fn dequeue_from<P: Env>(p: &mut P, request: &AllocRequest, mask: Option<Nodemask>) -> Option<HugeFolio> {
    let claim = if request.flags.contains(AllocFlags::USE_GLOBAL_RESV) { Claim::Reserved } else { Claim::Available };
    let mask = mask.map_or(request.allowed, |mask| mask.intersection(request.allowed));
    let mut place = 0;
    loop {
        let node = p.with_topology(|t| t.zone_list(request.placement.nid).get(place).copied())?;
        place += 1;
        if !mask.contains(node) || !p.with_pool(request.hstate, |pool| pool.claim(node, claim)) {
            continue;
        }
        if !request.flags.contains(AllocFlags::LONG_PIN) {
            return Some(p.with_shelf(request.hstate, node, Shelf::take_claimed));
        }
        if let Some(folio) = take_staying(p, request.hstate, node) {
            return Some(folio);
        }
        p.with_pool(request.hstate, |pool| pool.unclaim(node, claim));
    }
}

/// After a claim: the first page from the top of a shelf that lies where it may stay.
#[cold]
fn take_staying<P: Env>(p: &mut P, hstate: HstateId, node: NodeId) -> Option<HugeFolio> {
    let there: Vec<HugeFolio> = p.with_shelf(hstate, node, |shelf| shelf.sound().rev().collect());
    there.into_iter().find_map(|folio| {
        may_stay(p, folio).then(|| p.with_shelf(hstate, node, |shelf| shelf.take_sound(folio))).flatten()
    })
}

/// May a page be pinned for long where it lies? What must be movable, or is lent, has to be free again soon.
#[doc(alias = "folio_is_longterm_pinnable")]
pub fn may_stay<P: Env>(p: &mut P, folio: HugeFolio) -> bool {
    let kind = p.with_zone(folio.zone_ref(), |parts| parts.zone.migratetype(folio.pfn));
    folio.zone != ZoneKind::Movable && !matches!(kind, Some(Migratetype::Cma | Migratetype::Isolate))
}

/// A free page that somebody reserved, with one reference: nobody is charged for its use, and none is made if there is none where it may be.
#[doc(alias = "alloc_hugetlb_folio_reserve")]
pub fn alloc_reserved<P: Env>(p: &mut P, request: &AllocRequest) -> Option<HugeFolio> {
    let flags = request.flags | AllocFlags::USE_GLOBAL_RESV;
    let folio = dequeue(p, &AllocRequest { flags, ..*request })?;
    p.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, 1));
    p.with_records(folio.at(), |records| records.record(folio).restore_reserve = true);
    p.emit(|| Event::Allocated { hstate: request.hstate, folio: folio.pfn, reserved: true });
    Some(folio)
}

fn make_surplus<P: Env>(p: &mut P, request: &AllocRequest) -> Result<HugeFolio, AllocRefusal> {
    let hstate = p.hstate(request.hstate);
    let long = request.flags.contains(AllocFlags::LONG_PIN);
    let task = asked_by(request.allowed, if long { Pin::Long } else { Pin::Short });
    alloc_surplus(p, hstate, request.placement, task).map_err(|surplus| {
        let (free, resv) = p.with_pool(request.hstate, |pool| (pool.free, pool.resv));
        let mine = request.flags.contains(AllocFlags::USE_GLOBAL_RESV);
        let available = if mine { free } else { free.saturating_sub(resv) };
        if available.is_zero() {
            AllocRefusal::Pool { free, resv, surplus }
        } else {
            AllocRefusal::Node { available, surplus }
        }
    })
}
