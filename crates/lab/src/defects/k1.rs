//! K1: the owner's reservation is restored before its page is free.
//!
//! When the owner of private reservations unmaps a page that a forked child still maps, and the pool has no surplus, Linux deletes the
//! map's entry at once; the page itself comes back, with the reservation, only when the child lets go. Until then a reservation
//! is promised for which there is no page. It shows
//!
//! * when the owner closes the place: the reservation is given back that is not there yet, `resv` is lower by one for each;
//! * when the owner touches the place again: it spends a reservation, `resv` is lower by one, and it gets a page where there
//!   is none to be had. A control group is not charged for it once more as for a page without reservation, so its
//!   `rsvd.current` is lower by one, and a limit on that does not refuse the touch.

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{Event, HugeCount, HugeIndex, MountLimits, Pfn, ResvMapId};

use super::{Observation, PoolName, adjust, adjust_groups, adjust_mount, rest_of, same_but_counters, touched_pages};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};
use crate::op::{Access, Op};
use crate::target::{Counters, StepResult};

/// How many of `pages` that return with their reservations the minimum of a mount does not need.
fn released_by(limits: MountLimits, pages: HugeCount) -> i64 {
    let signed = |count: HugeCount| i64::try_from(count.get()).unwrap_or(i64::MAX);
    if limits.max.is_some() && limits.used.saturating_sub(pages) >= limits.min {
        return signed(pages);
    }
    signed((limits.rsv + pages).saturating_sub(limits.min))
}

/// The identifier in reports.
const ID: DefectId = DefectId("K1");

/// Watches for K1.
#[derive(Debug, Default)]
pub struct OwnerRestoresAtOnce {
    /// Places whose entry Linux has deleted while their folio is still mapped.
    early: BTreeMap<(ResvMapId, HugeIndex), Pfn>,
    /// Places that Linux no longer knows as an owner's, since K2 took the map from them.
    lost: BTreeSet<(ResvMapId, HugeIndex)>,
    /// By pool: reservations that Linux has one less of than we, because of the last step.
    spent: BTreeMap<PoolName, i64>,
    /// Places of a mount's maximum that Linux has freed in the last step and we have not, by the mount's name.
    places: BTreeMap<String, i64>,
    /// Touches of such a place that we refused in the last step, and of which pool.
    refused: Vec<PoolName>,
    /// The pool's page size in kilobytes, by pool.
    page_kb: BTreeMap<PoolName, i64>,
    /// Touches in the last step that we charged as pages without reservation.
    charged: BTreeMap<PoolName, i64>,
    /// The groups that show what the last operation's process is charged.
    toucher: Vec<String>,
    before: Counters,
}

impl DefectWatch<Observation> for OwnerRestoresAtOnce {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.spent.clear();
        self.places.clear();
        self.refused.clear();
        self.charged.clear();
        self.toucher = step.before.charged_to(step.op);
        self.before = step.before.counters.clone();
        self.page_kb = [(PoolName::M2, 2 << 10), (PoolName::G1, 1 << 20)].into();
        for (at, event) in step.after.events.iter().enumerate() {
            match *event {
                Event::OwnerMovedPart { map, part, whole, .. } => {
                    self.lost.extend(rest_of(map, part, whole));
                    self.early.retain(|place, _| !self.lost.contains(place));
                }
                Event::OwnerLetGo { page, folio, surplus, .. }
                    if surplus.is_zero() && !self.lost.contains(&(page.map, page.index)) =>
                {
                    self.early.insert((page.map, page.index), folio);
                }
                Event::OwnerClosed { hstate, map, pages, .. } => {
                    let before = self.early.len();
                    self.early.retain(|&(of, index), _| of != map || !pages.contains(index));
                    let early = before - self.early.len();
                    let pool = step.after.pool(hstate);
                    match step.after.events.get(at + 1) {
                        Some(&Event::MountGotBack { limits, pages, .. }) => {
                            self.note_on_mount(step.after, pool, limits, pages, early);
                        }
                        _ => self.note(pool, early),
                    }
                }
                Event::OwnerWithoutReservation(page) if self.early.remove(&(page.map, page.index)).is_some() => {
                    self.note(step.after.pool(page.hstate), 1);
                    if let Some(pool) = step.after.pool(page.hstate) {
                        *self.charged.entry(pool).or_default() += 1;
                    }
                }
                Event::OwnerRefused(page) if self.early.contains_key(&(page.map, page.index)) => {
                    self.refused.extend(step.after.pool(page.hstate));
                }
                // The last mapping went: from now on both have the reservation.
                Event::Freed { folio, .. } => self.early.retain(|_, kept| *kept != folio),
                _ => (),
            }
        }
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let mut predicted = step.ours.counters.clone();
        let shows = self.apply(&mut predicted);
        let explained = match self.refused.as_slice() {
            [] => shows && same_but_counters(step, &predicted),
            &[pool] => self.page_after_all(step, pool, predicted),
            _ => false,
        };
        explained.then_some(ID)
    }
}

impl OwnerRestoresAtOnce {
    /// What the last step did to Linux's counters besides; says whether it did anything.
    pub(super) fn apply(&self, counters: &mut Counters) -> bool {
        for (&pool, &count) in &self.spent {
            adjust(counters, pool, |c| c.resv -= count);
        }
        for (mount, &more) in &self.places {
            adjust_mount(counters, mount, more);
        }
        for (&pool, &count) in &self.charged {
            adjust_groups(counters, pool, &self.toucher, |_, c| c.rsvd -= pool.bytes(count));
        }
        !(self.spent.is_empty() && self.places.is_empty())
    }

    fn note(&mut self, pool: Option<PoolName>, count: usize) {
        if let (Some(pool), true) = (pool, count > 0) {
            *self.spent.entry(pool).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// The reservations of the places go to the mount first, whose minimum may need them; its maximum counts them no more.
    fn note_on_mount(
        &mut self,
        now: &Observation,
        pool: Option<PoolName>,
        limits: MountLimits,
        unused: HugeCount,
        early: usize,
    ) {
        let more = HugeCount::new(early as u64);
        let released = released_by(limits, unused + more) - released_by(limits, unused);
        if let (Some(pool), true) = (pool, released != 0) {
            *self.spent.entry(pool).or_default() += released;
        }
        if let (Some(mount), Some(_), true) = (now.mount(limits.subpool), limits.max, early > 0) {
            *self.places.entry(mount.to_owned()).or_default() += i64::try_from(early).unwrap_or(i64::MAX);
        }
    }

    /// The touch that we refused ends well, as the last page of its operation: it takes a page and a reservation.
    fn page_after_all(&self, step: &Compared<'_>, pool: PoolName, mut predicted: Counters) -> bool {
        let Some((actor, pages)) = touched_pages(step.op) else { return false };
        let (ours, theirs) = (&step.ours.answer, &step.recorded.answer);
        adjust(&mut predicted, pool, |c| {
            c.resv -= 1;
            c.free -= 1;
        });
        // Our refusal may have been a limit's, and then an event.
        adjust_groups(&mut predicted, pool, &self.toucher, |name, c| {
            c.current += pool.bytes(1);
            if let Some(before) = self.before.cg.get(name) {
                let before = pool.of(&mut before.clone()).to_owned();
                (c.events_max, c.events_local_max) = (before.events_max, before.events_local_max);
            }
        });
        let mut mapped = crate::target::Ordered::default();
        for (name, &kb) in predicted.hp_kb.iter() {
            let more = if *name == actor.to_string() { self.page_kb.get(&pool).copied().unwrap_or(0) } else { 0 };
            mapped.push(name, kb + more);
        }
        predicted.hp_kb = mapped;
        let mut extras = ours.extras.clone();
        if let Some(Op::Touch(touch)) = step.op {
            if extras.done.map(|done| done + 1) != Some(pages) {
                return false;
            }
            extras.done = Some(pages);
            extras.sc = None;
            if let (Access::Read, Some(read)) = (touch.access, extras.rd.as_mut()) {
                read.push(0);
            }
        }
        theirs.result == StepResult::Ok && theirs.extras == extras && step.recorded.counters == predicted
    }
}
