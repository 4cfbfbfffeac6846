//! K1 and K2 in one step: an owner closes what it moved a part of, and pages that its children map.

use super::{Observation, OwnerRestoresAtOnce, PartialMoveForgetsTheRest, same_but_counters};
use crate::conform::{Compared, DefectId, DefectWatch, Watched};

/// Watches for K1 and K2 that show in the same step.
#[derive(Debug, Default)]
pub struct ClosedWithBoth {
    k1: OwnerRestoresAtOnce,
    k2: PartialMoveForgetsTheRest,
}

impl DefectWatch<Observation> for ClosedWithBoth {
    fn begin(&mut self) {
        self.k1.begin();
        self.k2.begin();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        self.k1.see(step);
        self.k2.see(step);
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let mut predicted = step.ours.counters.clone();
        let both = self.k1.apply(&mut predicted) & self.k2.apply(&mut predicted);
        (both && same_but_counters(step, &predicted)).then_some(DefectId("K1"))
    }
}
