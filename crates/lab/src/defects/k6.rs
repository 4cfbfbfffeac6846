//! K6: a freed page takes its restored reservation out of the pool.
//!
//! A page that is freed while the pool has surplus pages leaves the pool. Linux does that even if a reservation came back with the page
//! and no free page is left to stand for it; we keep the page. Linux then has one page less, free and surplus, for each.

use hugefolio::Event;

use super::{Observation, PoolName, adjust, same_but_counters};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};

/// The identifier in reports.
const ID: DefectId = DefectId("K6");

/// Watches for K6.
#[derive(Debug, Default)]
pub struct SurplusFreeBreaksReservation {
    /// Pages that we kept in the last step, and in which pool.
    kept: Option<(PoolName, i64)>,
}

impl DefectWatch<Observation> for SurplusFreeBreaksReservation {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.kept = None;
        for event in &step.after.events {
            if let Event::KeptForReservation { hstate, .. } = *event
                && let Some(pool) = step.after.pool(hstate)
            {
                let count = self.kept.map_or(0, |(_, count)| count);
                self.kept = Some((pool, count + 1));
            }
        }
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let (pool, kept) = self.kept?;
        let mut predicted = step.ours.counters.clone();
        adjust(&mut predicted, pool, |c| {
            // Linux stops when it has no surplus page left; we keep until then and beyond.
            let gone = kept.min(c.surplus);
            c.nr -= gone;
            c.free -= gone;
            c.surplus -= gone;
        });
        (step.ours.counters != predicted && same_but_counters(step, &predicted)).then_some(ID)
    }
}
