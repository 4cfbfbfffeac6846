//! K4: a page that cannot be had eats its place in the mount's maximum.
//!
//! A page of a file is taken from the mount's limits first and from the pool then. If the pool or a control group refuses, Linux
//! forgets to give the place back, unless the minimum covered it. The mount then shows one free block less for every page that
//! was refused. If the minimum did cover it, the place returns, but the reservation that is left over if the minimum does not
//! need it any more does not: `resv` is higher by one.
//!
//! A mount with a minimum that has lost a place is never done with: its reservations stay when it is unmounted.

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::{Event, HugeCount, MountReturn, SubpoolId};

use super::{Observation, PoolName, adjust, adjust_mount, same_but_counters};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};

/// The identifier in reports.
const ID: DefectId = DefectId("K4");

/// Watches for K4.
#[derive(Debug, Default)]
pub struct RefusedPageKeepsItsQuota {
    /// Places lost in the last step, by the name of the mount.
    lost: BTreeMap<String, i64>,
    /// Reservations that Linux did not release in the last step.
    kept: BTreeMap<PoolName, i64>,
    /// Mounts that ever lost a place.
    broken: BTreeSet<SubpoolId>,
}

impl DefectWatch<Observation> for RefusedPageKeepsItsQuota {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.lost.clear();
        self.kept.clear();
        for event in &step.after.events {
            match *event {
                Event::MountGotBack { hstate, limits, pages, held, why: MountReturn::PageRefused }
                    if limits.max.is_some() =>
                {
                    if held.is_zero() {
                        self.broken.insert(limits.subpool);
                        if let Some(mount) = step.after.mount(limits.subpool) {
                            *self.lost.entry(mount.to_owned()).or_default() += 1;
                        }
                    } else if limits.used.saturating_sub(pages) >= limits.min {
                        self.keep(step.after.pool(hstate), held);
                    }
                }
                Event::MountEnded { hstate, subpool, rsv } if self.broken.remove(&subpool) => {
                    self.keep(step.after.pool(hstate), rsv);
                }
                _ => (),
            }
        }
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        if self.lost.is_empty() && self.kept.is_empty() {
            return None;
        }
        let mut predicted = step.ours.counters.clone();
        for (mount, lost) in &self.lost {
            adjust_mount(&mut predicted, mount, -lost);
        }
        for (&pool, kept) in &self.kept {
            adjust(&mut predicted, pool, |c| c.resv += kept);
        }
        same_but_counters(step, &predicted).then_some(ID)
    }
}

impl RefusedPageKeepsItsQuota {
    fn keep(&mut self, pool: Option<PoolName>, count: HugeCount) {
        if let (Some(pool), false) = (pool, count.is_zero()) {
            *self.kept.entry(pool).or_default() += i64::try_from(count.get()).unwrap_or(i64::MAX);
        }
    }
}
