//! K5: demotion takes reserved pages.
//!
//! Linux looks whether any free page is unreserved, and then takes as many free pages as were asked for, reserved ones too. We take
//! unreserved ones alone. Linux then has fewer pages left of the larger size, and their parts in the smaller pool.

use super::{Observation, PoolName, adjust, same_but_counters};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};
use crate::op::{Demote, Op, SizeName, Written};

/// The identifier in reports.
const ID: DefectId = DefectId("K5");

/// Parts of a 1 GiB page.
const PARTS: i64 = 512;

/// Watches for K5.
#[derive(Debug, Default)]
pub struct DemotionTakesReservedPages {
    /// Reserved pages that Linux demoted in the last step.
    reserved: i64,
}

impl DefectWatch<Observation> for DemotionTakesReservedPages {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.reserved = 0;
        let Op::Demote(Demote { value, size: SizeName::G1 }) = step.op else { return };
        let wanted = match value {
            Written::Number(n) => Some(*n),
            Written::Text(text) => text.trim_end_matches('\n').parse().ok(),
        };
        let pool = step.before.counters.g1;
        let available = pool.free - pool.resv;
        if let (Some(wanted), true, true) = (wanted, available > 0, step.answer.result.is_ok()) {
            self.reserved = wanted.min(pool.free) - wanted.min(available);
        }
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let mut predicted = step.ours.counters.clone();
        for (pool, more) in [(PoolName::G1, -self.reserved), (PoolName::M2, PARTS * self.reserved)] {
            adjust(&mut predicted, pool, |c| {
                c.nr += more;
                c.free += more;
            });
        }
        (self.reserved > 0 && same_but_counters(step, &predicted)).then_some(ID)
    }
}
