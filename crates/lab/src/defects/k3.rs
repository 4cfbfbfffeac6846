//! K3: a refused reservation gives the mount's minimum away.
//!
//! A mount with a maximum and a minimum takes back what a refused reservation had taken. Linux decides whether the minimum needs the
//! pages again while the refused ones still count as used. If they fill the minimum by themselves, the reservations that
//! the minimum lent are released instead of returning to it: `resv` is lower by so many, and surplus pages that stood for
//! them leave the pool.

use hugefolio::{Event, HugeCount, MountReturn};

use super::{Observation, PoolName, adjust, same_but_counters};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};

/// The identifier in reports.
const ID: DefectId = DefectId("K3");

/// Watches for K3.
#[derive(Debug, Default)]
pub struct RefusedReservationTakesTheMinimum {
    /// The reservations that Linux released in the last step, and of which pool.
    released: Option<(PoolName, i64)>,
}

impl DefectWatch<Observation> for RefusedReservationTakesTheMinimum {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.released = None;
        for event in &step.after.events {
            if let Event::MountGotBack { hstate, limits, held, why: MountReturn::ReservationRefused, .. } = *event
                && limits.max.is_some()
                && limits.min > HugeCount::ZERO
                && !held.is_zero()
                && limits.used.saturating_sub(held) >= limits.min
                && let Some(pool) = step.after.pool(hstate)
            {
                let count = self.released.map_or(0, |(_, count)| count);
                self.released = Some((pool, count + i64::try_from(held.get()).unwrap_or(i64::MAX)));
            }
        }
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let (pool, released) = self.released?;
        let mut predicted = step.ours.counters.clone();
        adjust(&mut predicted, pool, |c| {
            let gone = released.min(c.surplus).min(c.free);
            c.resv -= released;
            c.nr -= gone;
            c.free -= gone;
            c.surplus -= gone;
        });
        same_but_counters(step, &predicted).then_some(ID)
    }
}
