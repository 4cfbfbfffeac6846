//! The instance beside a kernel that can be asked again: random scripts, and the shortest script that shows a difference.

use super::{Comparison, DefectWatch, Fixed, Observable, OutOfOrder, Script, ScriptReport, Verdict, compare};
use crate::generate::{Generator, Profile};
use crate::op::Op;
use crate::scenario::{HeaderLine, Item, Scenario, Step, Wanted};
use crate::shrink::shrink;
use crate::target::{Answer, BeginError, Header, StepResult, Target};

/// How often a script that differs is run again to make it short.
const MOST_TRIES: usize = 400;

/// A difference, made short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The script in which it was found.
    pub script: String,
    /// The shortest script known to show it, with what the kernel answered, as a scenario.
    pub scenario: Scenario,
    /// What came of that script; [`Verdict::Equal`] if the difference did not show again.
    pub verdict: Verdict,
}

/// An instance and a kernel, side by side.
pub struct Versus<'a, T: Observable> {
    /// The instance.
    pub target: &'a mut T,
    /// The kernel.
    pub kernel: &'a mut dyn Target,
    /// Watchers of the kernel's defects.
    pub watches: &'a mut [Box<dyn DefectWatch<T::Observation>>],
}

/// So many operations of a generator, which sees what the kernel answers.
struct Drawn {
    generator: Generator,
    left: usize,
}

impl Script for Drawn {
    fn next_op(&mut self) -> Option<Op> {
        self.left = self.left.checked_sub(1)?;
        Some(self.generator.next_op())
    }

    fn answered(&mut self, op: &Op, answer: &Answer) {
        self.generator.observe(op, answer);
    }
}

fn out_of_order(OutOfOrder(reason): OutOfOrder) -> BeginError {
    BeginError::Host(reason)
}

impl<T: Observable> Versus<'_, T> {
    /// Runs a script from its beginning.
    ///
    /// # Errors
    /// One side cannot be the machine of the header, or the kernel cannot go on.
    pub fn run(&mut self, header: &Header, script: &mut dyn Script) -> Result<Comparison, BeginError> {
        self.target.begin(header)?;
        self.kernel.begin(header)?;
        compare(script, self.target, self.kernel, self.watches).map_err(out_of_order)
    }

    /// Runs these operations.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn fixed(&mut self, header: &Header, ops: &[&Op]) -> Result<(ScriptReport, Comparison), BeginError> {
        let compared = self.run(header, &mut Fixed::new(ops.to_vec()))?;
        Ok((ScriptReport::of(header.script.clone(), ops.len(), &compared), compared))
    }

    /// Runs so many operations that `seed` decides. What a difference or a known defect ends is never drawn, so it does not count.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn random(
        &mut self,
        seed: u64,
        profile: Profile,
        count: usize,
    ) -> Result<(ScriptReport, Comparison), BeginError> {
        let script = format!("{}_{seed}", profile.name());
        let header = Header {
            script,
            seed: Some(seed),
            profile: Some(profile.name().to_owned()),
            machine: profile.machine(),
            ..Header::default()
        };
        let mut drawn = Drawn { generator: Generator::for_kernel(seed, profile), left: count };
        let compared = self.run(&header, &mut drawn)?;
        let steps = compared.steps.len() + compared.held_back;
        Ok((ScriptReport::of(header.script, steps, &compared), compared))
    }

    /// Makes the script of a comparison that ended in a difference short: each candidate runs on both sides again.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn shorten(&mut self, header: &Header, compared: &Comparison) -> Result<Found, BeginError> {
        let ops: Vec<Op> = compared.steps.iter().map(|(op, _)| op.clone()).collect();
        let mut broken = None;
        let short = shrink(&ops, MOST_TRIES, |ops| {
            if broken.is_some() {
                return false;
            }
            match self.run(header, &mut Fixed::new(ops.iter().collect())) {
                Ok(again) => matches!(again.verdict, Verdict::Different { .. }),
                Err(error) => {
                    broken = Some(error);
                    false
                }
            }
        });
        if let Some(error) = broken {
            return Err(error);
        }
        let last = self.run(header, &mut Fixed::new(short.iter().collect()))?;
        let scenario = scenario(header, &last.steps);
        Ok(Found { script: header.script.clone(), scenario, verdict: last.verdict })
    }
}

/// The operations with what the kernel answered.
fn scenario(header: &Header, steps: &[(Op, StepResult)]) -> Scenario {
    let machine = header.machine.clone().map(|machine| Item::Header(HeaderLine::Machine(machine)));
    let steps = steps.iter().map(|(op, result)| {
        let wanted = Wanted::Result(result.clone());
        Item::Step(Step { op: op.clone(), wanted })
    });
    Scenario::of(machine.into_iter().chain(steps))
}
