//! Accounting defects of Linux 6.18 that this library does not copy.
//!
//! The recorded kernel shows them; conformance must not take them for differences of ours, nor a difference of ours for one of
//! them. Each watcher follows the instance's events until its *trigger* holds, and accepts a differing step only if the recorded
//! counters and answer are *exactly* those that the defect's formula makes of ours. What several do together is for the naive model to say.

mod k1;
mod k2;
mod k3;
mod k4;
mod k5;
mod k6;
mod modelled;
mod together;

use std::collections::BTreeMap;

use hugefolio::{CgroupId, Event, HstateId, HugeIndex, HugeRange, HugeSize, ResvMapId, SubpoolId};

use crate::conform::{Compared, DefectWatch, Observable};
use crate::instance::{ACTORS, Instance};
use crate::op::{Op, SizeName};
use crate::target::{CgroupCounters, CgroupSizes, Counters, FsCounters, NodeCounters, PoolCounters, Target};

pub use k1::OwnerRestoresAtOnce;
pub use k2::PartialMoveForgetsTheRest;
pub use k3::RefusedReservationTakesTheMinimum;
pub use k4::RefusedPageKeepsItsQuota;
pub use k5::DemotionTakesReservedPages;
pub use k6::SurplusFreeBreaksReservation;
pub use modelled::AsTheModelHasIt;
pub use together::ClosedWithBoth;

/// What a watcher sees of an instance: what it did since the moment before, and its counters now.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What was done.
    pub events: Vec<Event>,
    /// The counters now.
    pub counters: Counters,
    sizes: Vec<HugeSize>,
    /// The mounts that have limits, by name.
    mounts: Vec<(SubpoolId, String)>,
    /// Under which names what a control group is charged shows.
    payers: BTreeMap<CgroupId, Vec<String>>,
    /// Who pays for what a process asks for.
    payer: BTreeMap<u16, CgroupId>,
    /// The payers whose limit on reserved pages allows no more of a size.
    full: Vec<(CgroupId, PoolName)>,
}

impl Observable for Instance {
    type Observation = Observation;

    /// A 1 GiB page needs a window of memory in which nothing stays where it is; how many of those a real machine has is for the
    /// recording to say.
    fn advise(&mut self, op: &Op, recorded: &Counters) {
        if let Op::SetNr(crate::op::SetNr { size: SizeName::G1, .. }) = op {
            self.advise_gigantic(u64::try_from(recorded.g1.nr).unwrap_or(0));
        }
    }

    fn observe(&mut self) -> Observation {
        let payer: BTreeMap<u16, CgroupId> =
            (0..ACTORS).filter_map(|actor| Some((actor, self.payer(actor)?))).collect();
        let full = payer.values().flat_map(|&payer| [(payer, PoolName::M2), (payer, PoolName::G1)]);
        Observation {
            events: self.events().to_vec(),
            counters: self.counters(),
            sizes: self.machine().hstates().iter().map(|h| h.size).collect(),
            mounts: self
                .mounts()
                .filter_map(|(name, id)| Some((self.machine().subpool_of(id)?, name.to_owned())))
                .collect(),
            payers: self.payers(),
            full: full.filter(|&(payer, pool)| self.rsvd_is_full(payer, pool.size())).collect(),
            payer,
        }
    }
}

/// Every known defect.
#[must_use]
pub fn all() -> Vec<Box<dyn DefectWatch<Observation>>> {
    vec![
        Box::new(OwnerRestoresAtOnce::default()),
        Box::new(PartialMoveForgetsTheRest::default()),
        Box::new(RefusedReservationTakesTheMinimum::default()),
        Box::new(RefusedPageKeepsItsQuota::default()),
        Box::new(DemotionTakesReservedPages::default()),
        Box::new(SurplusFreeBreaksReservation::default()),
        Box::new(ClosedWithBoth::default()),
        Box::new(AsTheModelHasIt::default()),
    ]
}

/// Which pool of the counters an hstate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PoolName {
    M2,
    G1,
}

impl PoolName {
    fn size(self) -> HugeSize {
        match self {
            Self::M2 => HugeSize::M2,
            Self::G1 => HugeSize::G1,
        }
    }

    /// So many pages in the bytes that control groups show.
    fn bytes(self, pages: i64) -> i64 {
        pages << self.size().shift()
    }

    /// The counters of a control group for this pool.
    fn of(self, sizes: &mut CgroupSizes) -> &mut CgroupCounters {
        match self {
            Self::M2 => &mut sizes.m2,
            Self::G1 => &mut sizes.g1,
        }
    }
}

impl Observation {
    /// The names of control groups under which that shows which the process of an operation is charged.
    fn charged_to(&self, op: &Op) -> Vec<String> {
        let payer = op.actor().and_then(|actor| self.payer.get(&actor.number()).copied());
        self.shows_under(payer).to_vec()
    }

    /// May the process of an operation reserve no more?
    fn is_full(&self, op: &Op, pool: PoolName) -> bool {
        let payer = op.actor().and_then(|actor| self.payer.get(&actor.number()));
        payer.is_some_and(|&payer| self.full.contains(&(payer, pool)))
    }

    /// The names of control groups under which what `payer` is charged shows.
    fn shows_under(&self, payer: Option<CgroupId>) -> &[String] {
        payer.and_then(|payer| self.payers.get(&payer)).map_or(&[], Vec::as_slice)
    }

    fn pool(&self, hstate: HstateId) -> Option<PoolName> {
        match *self.sizes.get(hstate.index())? {
            HugeSize::M2 => Some(PoolName::M2),
            HugeSize::G1 => Some(PoolName::G1),
            _ => None,
        }
    }

    /// The name of the mount with these limits, while it is in the tree.
    fn mount(&self, subpool: SubpoolId) -> Option<&str> {
        self.mounts.iter().find(|(known, _)| *known == subpool).map(|(_, name)| name.as_str())
    }
}

/// Changes the free blocks of a mount.
fn adjust_mount(counters: &mut Counters, mount: &str, by: i64) {
    let mut changed = crate::target::Ordered::default();
    for (name, fs) in counters.fs.iter() {
        let by = if name == mount { by } else { 0 };
        changed.push(name, FsCounters { bfree: fs.bfree + by, bavail: fs.bavail + by, ..*fs });
    }
    counters.fs = changed;
}

/// Changes the counters of a pool and of its one node alike.
fn adjust(counters: &mut Counters, pool: PoolName, f: impl FnOnce(&mut PoolCounters)) {
    let (whole, node) = match pool {
        PoolName::M2 => (&mut counters.m2, &mut counters.node0_m2),
        PoolName::G1 => (&mut counters.g1, &mut counters.node0_g1),
    };
    let old = *whole;
    f(whole);
    let NodeCounters { nr, free, surplus } = *node;
    *node = NodeCounters {
        nr: nr + whole.nr - old.nr,
        free: free + whole.free - old.free,
        surplus: surplus + whole.surplus - old.surplus,
    };
}

/// Changes what some control groups show of a pool.
fn adjust_groups(counters: &mut Counters, pool: PoolName, names: &[String], f: impl Fn(&str, &mut CgroupCounters)) {
    for name in names {
        if let Some(sizes) = counters.cg.get_mut(name) {
            f(name, pool.of(sizes));
        }
    }
}

/// Is the recorded step ours with `predicted` for counters, and otherwise the same?
fn same_but_counters(step: &Compared<'_>, predicted: &Counters) -> bool {
    step.recorded.counters == *predicted
        && step.recorded.answer.result == step.ours.answer.result
        && step.recorded.answer.extras == step.ours.answer.extras
}

/// The places of an owner's area that stay behind when a part of it moves. Linux takes the map from them (K2).
fn rest_of(map: ResvMapId, part: HugeRange, whole: HugeRange) -> impl Iterator<Item = (ResvMapId, HugeIndex)> {
    let places = (whole.start.get()..whole.end.get()).map(HugeIndex::new);
    places.filter(move |&index| !part.contains(index)).map(move |index| (map, index))
}

/// The process and the number of pages that an operation touches, if that is what it does.
fn touched_pages(op: Option<&Op>) -> Option<(u16, u64)> {
    match op? {
        Op::Touch(touch) => Some((touch.actor.number(), u64::from(touch.pages.count.get()))),
        Op::Uaccess(access) => Some((access.actor.number(), 1)),
        _ => None,
    }
}
