//! K2: moving a part of a private mapping forgets the reservations of the rest.
//!
//! After `mremap` moved a part of an owner's area, Linux takes the map from what stays behind. The rest's reservations are counted for
//! ever but can no longer be drawn on. It shows
//!
//! * when a place of the rest is touched: the page is an unreserved one, so `resv` is higher by one, or there is none and
//!   a surplus page is made or the touch fails;
//! * when the owner writes to a page of the rest that a child maps, and no page is free: it can no longer take the child's,
//!   and the touch fails;
//! * when a touched page of the rest is let go while the area stays: its reservation does not return, `resv` is lower by one;
//! * when the rest is closed: its unused reservations do not return, `resv` is higher by so many, and surplus pages that would leave
//!   with them stay.
//!
//! A control group goes on paying for the rest after it is closed: its `rsvd.current`, and that of all groups above it, is higher by
//! the rest's pages. A place of the rest that is touched is charged once more, as one without reservation, to the group
//! of whoever touches it, whose limit may refuse that.

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{Event, HugeIndex, ResvMapId};

use super::{Observation, PoolName, adjust, adjust_groups, rest_of, same_but_counters, touched_pages};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};
use crate::target::{Counters, StepResult};

/// The identifier in reports.
const ID: DefectId = DefectId("K2");

/// Watches for K2.
#[derive(Debug, Default)]
pub struct PartialMoveForgetsTheRest {
    /// Places that Linux no longer knows as the owner's.
    lost: BTreeSet<(ResvMapId, HugeIndex)>,
    /// What Linux has more of than we, because of the last step.
    more: i64,
    /// Lost places that were touched in the last step.
    spent: i64,
    /// Surplus pages that left ours and not Linux's pool in the last step.
    stayed: i64,
    /// What it goes on charging or charges besides, by the name of the group, because of the last step.
    charged: BTreeMap<String, i64>,
    /// The groups that show what the last operation's process is charged, the lowest first.
    toucher: Vec<String>,
    /// It could reserve no more.
    full: bool,
    pool: Option<PoolName>,
    /// The first thing that the last step did was for a lost place: it may have come to nothing.
    first_was_lost: bool,
    before: Option<Counters>,
}

/// An area that is being closed.
struct Closing {
    lost: bool,
    /// Reservations that return with it.
    unused: i64,
    /// Surplus pages that left with them.
    left: i64,
}

impl DefectWatch<Observation> for PartialMoveForgetsTheRest {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        (self.more, self.spent, self.stayed, self.first_was_lost) = (0, 0, 0, false);
        self.charged.clear();
        self.toucher = step.before.charged_to(step.op);
        self.full = self.pool.is_some_and(|pool| step.before.is_full(step.op, pool));
        let mut closing = None;
        self.before = Some(step.before.counters.clone());
        let mut restored = 0;
        let mut allocations = 0;
        for event in &step.after.events {
            if let (Event::PoolShrank { .. }, Some(Closing { left, .. })) = (event, &mut closing) {
                *left += 1;
                continue;
            }
            self.settle(closing.take());
            match *event {
                Event::OwnerMovedPart { hstate, map, part, whole } => {
                    self.pool = step.after.pool(hstate);
                    self.lost.extend(rest_of(map, part, whole));
                }
                Event::OwnerSpent(page) => {
                    if self.lost.contains(&(page.map, page.index)) {
                        (self.more, self.spent) = (self.more + 1, self.spent + 1);
                        let toucher = self.toucher.clone();
                        self.charge(&toucher, 1);
                        self.first_was_lost |= allocations == 0;
                    }
                    allocations += 1;
                }
                Event::Stolen { page, .. } => {
                    self.first_was_lost |= allocations == 0 && self.lost.contains(&(page.map, page.index));
                    allocations += 1;
                }
                Event::OwnerWithoutReservation(_) | Event::OwnerRefused(_) => allocations += 1,
                Event::OwnerRestored(page) if self.lost.contains(&(page.map, page.index)) => restored += 1,
                Event::OwnerClosed { map, pages, unused, payer, .. } => {
                    let unused = i64::try_from(unused.get()).unwrap_or(i64::MAX);
                    let lost = self.lost.iter().filter(|&&(of, index)| of == map && pages.contains(index)).count();
                    closing = Some(Closing { lost: lost > 0, unused, left: 0 });
                    if lost > 0 {
                        // What was restored in this very step is not unused on Linux, and not restored either.
                        self.more += unused - restored;
                        restored = 0;
                        self.charge(step.before.shows_under(payer), i64::try_from(lost).unwrap_or(i64::MAX));
                        self.lost.retain(|&(of, index)| of != map || !pages.contains(index));
                    }
                }
                _ => (),
            }
        }
        self.settle(closing);
        self.more -= restored;
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let mut predicted = step.ours.counters.clone();
        let shows = self.apply(&mut predicted);
        ((shows && same_but_counters(step, &predicted)) || self.no_page(step)).then_some(ID)
    }
}

impl PartialMoveForgetsTheRest {
    /// What the last step did to Linux's counters besides; says whether it did anything.
    pub(super) fn apply(&self, counters: &mut Counters) -> bool {
        let Some(pool) = self.pool else { return false };
        adjust(counters, pool, |c| {
            c.resv += self.more;
            let surplus = self.stayed + self.grown(pool);
            c.nr += surplus;
            c.free += surplus;
            c.surplus += surplus;
        });
        for (name, &pages) in &self.charged {
            adjust_groups(counters, pool, std::slice::from_ref(name), |_, c| c.rsvd += pool.bytes(pages));
        }
        self.more != 0 || !self.charged.is_empty()
    }

    fn charge(&mut self, names: &[String], pages: i64) {
        for name in names {
            *self.charged.entry(name.clone()).or_default() += pages;
        }
    }

    /// Linux closes a lost place without letting go of a page. A later place then takes surplus pages along that ours had no more of.
    fn settle(&mut self, closing: Option<Closing>) {
        match closing {
            Some(Closing { lost: true, left, .. }) => self.stayed += left,
            Some(Closing { lost: false, unused, left }) => self.stayed -= (unused - left).min(self.stayed),
            None => (),
        }
    }

    /// Lost places that got a new surplus page, because no free page was unreserved.
    fn grown(&self, pool: PoolName) -> i64 {
        let Some(before) = &self.before else { return 0 };
        let counters = if pool == PoolName::M2 { &before.m2 } else { &before.g1 };
        (self.spent - (counters.free - counters.resv).max(0)).max(0)
    }

    /// The first allocation of the step found no unreserved page, or could not be charged as one, so nothing of it happened.
    fn no_page(&self, step: &Compared<'_>) -> bool {
        let Some(before) = &self.before else { return false };
        let (Some(pool), true) = (self.pool, self.first_was_lost) else { return false };
        let counters = if pool == PoolName::M2 { &before.m2 } else { &before.g1 };
        let theirs = &step.recorded.answer;
        let mut predicted = before.clone();
        if self.full {
            adjust_groups(&mut predicted, pool, &self.toucher, |_, c| c.events_max += 1);
            adjust_groups(&mut predicted, pool, self.toucher.get(..1).unwrap_or_default(), |_, c| {
                c.events_local_max += 1
            });
        }
        touched_pages(step.op).is_some()
            && (self.full || counters.free <= counters.resv)
            && step.recorded.counters == predicted
            && matches!(theirs.result, StepResult::Sigbus | StepResult::Errno(_))
            && theirs.extras.done.unwrap_or(0) == 0
    }
}
