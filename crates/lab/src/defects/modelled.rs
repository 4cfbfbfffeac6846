//! Several defects together, and what one defect does later.
//!
//! A watcher's formula knows the first step in which its defect shows, if it shows alone. The naive model has the defects built in, and
//! so knows what they make of each other. A script whose last step differs is run again on naive models: the sound one must equal the
//! instance and the one with all defects the kernel, in every field after every step. Then the difference is that of the first defect
//! that accounts for it alone, or without which the others do not.

use super::Observation;
use crate::conform::{Compared, DefectId, DefectWatch, Seen, Watched};
use crate::model::{NaiveMachine, Quirk, Quirks};
use crate::op::{Op, SysctlNr, Written};
use crate::target::{Counters, Header, MachineLine, MemoryAccounting, Target};

/// The identifier in reports.
const fn id(quirk: Quirk) -> DefectId {
    DefectId(match quirk {
        Quirk::OwnerRestoresAtOnce => "K1",
        Quirk::PartialMoveLosesMap => "K2",
        Quirk::RefusalTakesMinimum => "K3",
        Quirk::RefusedPageKeepsPlace => "K4",
        Quirk::SurplusFreeIgnoresReservations => "K6",
        Quirk::RefusedMountKeepsMinimum => "K11",
        Quirk::StealGoesByAddress => "K12",
        Quirk::MemoryRefusedTooLate => "K13",
    })
}

/// Watches for everything that the naive model can copy.
#[derive(Debug, Default)]
pub struct AsTheModelHasIt {
    /// The script up to now with what the instance did, which up to the last step is what the kernel did.
    steps: Vec<(Op, Seen)>,
    /// The counters before it.
    start: Counters,
}

impl DefectWatch<Observation> for AsTheModelHasIt {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn see(&mut self, step: &Watched<'_, Observation>) {
        if self.steps.is_empty() {
            self.start = step.before.counters.clone();
        }
        let seen = Seen { answer: step.answer.clone(), counters: step.after.counters.clone() };
        self.steps.push((step.op.clone(), seen));
    }

    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId> {
        let explains = |quirks| self.agrees(quirks, step.op, step.recorded);
        if !self.agrees(Quirks::NONE, step.op, step.ours) || !explains(Quirks::KERNEL) {
            return None;
        }
        let alone = Quirk::ALL.into_iter().find(|&quirk| explains(Quirks::only(quirk)));
        alone.or_else(|| Quirk::ALL.into_iter().find(|&quirk| !explains(Quirks::KERNEL.without(quirk)))).map(id)
    }
}

impl AsTheModelHasIt {
    /// A model that begins as the script did, if it was with free pages of 2 MiB at most.
    fn booted(&self, quirks: Quirks) -> Option<NaiveMachine> {
        let mut model = NaiveMachine::new(quirks);
        let groups = self.steps.iter().flat_map(|(_, seen)| seen.counters.cg.iter());
        if groups.into_iter().any(|(_, sizes)| sizes.memory.is_some()) {
            let machine = MachineLine { memory: MemoryAccounting::HugePages, ..MachineLine::default() };
            model.begin(&Header { machine: Some(machine), ..Header::default() }).ok()?;
        }
        model.step(&SysctlNr { value: Written::Number(self.start.m2.nr) }.into());
        (model.counters() == self.start).then_some(model)
    }

    /// Whether the model with these defects does what was seen, and `wanted` in the last step: `last`, or the end.
    fn agrees(&self, quirks: Quirks, last: Option<&Op>, wanted: &Seen) -> bool {
        let Some((_, before)) = self.steps.split_last() else { return false };
        let Some(mut model) = self.booted(quirks) else { return false };
        let mut does = |op: &Op, seen: &Seen| {
            let answer = model.step(op);
            answer.result == seen.answer.result
                && answer.extras == seen.answer.extras
                && model.counters() == seen.counters
        };
        before.iter().all(|(op, seen)| does(op, seen))
            && match last {
                Some(op) => does(op, wanted),
                None => model.end() == wanted.counters,
            }
    }
}
