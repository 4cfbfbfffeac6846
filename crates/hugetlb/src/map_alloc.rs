//! A page for a place in a file: reservations decided once, before and after the allocation.

use page_alloc::Pin;
use policy::Placement;
use units::{
    CgroupId, Event, HstateId, HugeCount, HugeIndex, MountReturn, Nodemask, OwnerPage, SubpoolId, UndoLog, attempt,
};

use crate::pool::ONE;
use crate::resv_map::{Commit, Holder, Ticket, commit, end, needs};
use crate::subpool::{Return, give_back};
use crate::{AllocFlags, AllocRefusal, AllocRequest, Env, HugeFolio, count_against, hugetlb_alloc_folio};

/// Why a page is wanted.
#[doc(alias = "cow_from_owner")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For a place that has none: draws on the reservation, if the place has one.
    Instantiate,
    /// For the copy of a page that the owner's reservation was already spent on.
    CowFromOwner,
}

/// A page wanted for one place of one file.
#[derive(Clone, Copy, Debug)]
pub struct MapAlloc {
    /// Which pool.
    pub hstate: HstateId,
    /// Whose reservations can be drawn on.
    pub holder: Holder,
    /// The place.
    pub index: HugeIndex,
    /// The mount's limits.
    pub subpool: Option<SubpoolId>,
    /// The policy, interpreted.
    pub placement: Placement,
    /// Nodes that the task's cpuset allows.
    pub allowed: Nodemask,
    /// Who pays.
    pub cgroup: Option<CgroupId>,
    /// Why.
    pub purpose: Purpose,
    /// How long it is to stay where it is.
    pub pin: Pin,
}

enum Undo {
    Ticket(Ticket),
    Subpool { id: SubpoolId, held: HugeCount },
}

/// Allocates a page for a place of a file. What was promised is spent; what was not promised is found among the pages that
/// nobody has reserved, or made as surplus.
///
/// # Errors
/// Which ledger refused, with its numbers; nothing is changed.
#[doc(alias = "alloc_hugetlb_folio")]
pub fn alloc_for_mapping<P: Env>(p: &mut P, want: &MapAlloc) -> Result<HugeFolio, AllocRefusal> {
    let hstate = want.hstate;
    let undo = |p: &mut P, step| match step {
        Undo::Ticket(ticket) => end(p, ticket),
        Undo::Subpool { id, held } => {
            give_back(p, hstate, id, Return { pages: ONE, held, why: MountReturn::PageRefused });
        }
    };
    let allocated = attempt(p, undo, |p, log: &mut UndoLog<Undo, 2>| {
        let mut promised = false;
        if want.purpose == Purpose::Instantiate {
            let ticket = needs(p, want.holder, want.index)?;
            promised = ticket.reserved();
            log.push(Undo::Ticket(ticket));
        }
        let mut global = if promised { HugeCount::ZERO } else { ONE };
        if let Some(id) = want.subpool.filter(|_| !promised) {
            global = p.with_subpool(id, |s| s.take(ONE)).unwrap_or(Ok(ONE))?;
            log.push(Undo::Subpool { id, held: ONE - global });
        }
        let mut flags = AllocFlags::empty();
        flags.set(AllocFlags::CHARGE_RSVD, !promised);
        flags.set(AllocFlags::USE_GLOBAL_RESV, global.is_zero());
        flags.set(AllocFlags::LONG_PIN, want.pin == Pin::Long);
        let request =
            AllocRequest { hstate, placement: want.placement, allowed: want.allowed, flags, cgroup: want.cgroup };
        let folio = hugetlb_alloc_folio(p, &request)?;
        let mut ticket = None;
        log.commit(|step| {
            if let Undo::Ticket(open) = step {
                ticket = Some(open);
            }
        });
        Ok::<_, AllocRefusal>((folio, ticket, promised))
    });
    tell_owner(p, want, allocated.as_ref().ok().map(|&(_, _, promised)| promised));
    let (folio, ticket, promised) = allocated?;
    if want.subpool.is_some() {
        count_against(p, folio, want.subpool);
    }
    if ticket.is_some_and(|ticket| commit(p, ticket) == Commit::Raced) && !promised {
        settle_race(p, want, folio);
    }
    Ok(folio)
}

/// Publishes what became of an owner's touch: `promised` says whether the page was, nothing that there is none.
fn tell_owner<P: Env>(p: &mut P, want: &MapAlloc, promised: Option<bool>) {
    let (Holder::Owner(map), Purpose::Instantiate) = (want.holder, want.purpose) else { return };
    let page = OwnerPage { hstate: want.hstate, map, index: want.index };
    p.emit(|| match promised {
        Some(true) => Event::OwnerSpent(page),
        Some(false) => Event::OwnerWithoutReservation(page),
        None => Event::OwnerRefused(page),
    });
}

/// Somebody reserved this very page while it was being allocated: the map's entry pays for it now, so the page's own charge and
/// place in the subpool go back.
fn settle_race<P: Env>(p: &mut P, want: &MapAlloc, folio: HugeFolio) {
    if let Some(id) = want.subpool {
        give_back(p, want.hstate, id, Return { pages: ONE, held: ONE, why: MountReturn::Done });
    }
    let owner = p.with_records(folio.at(), |records| records.record(folio).rsvd_owner.take());
    if owner.is_some() {
        let counter = charge::Counter::Rsvd(want.hstate);
        p.with_charges(|c| c.uncharge(charge::Receipt { owner, counter, pages: ONE }));
    }
}
