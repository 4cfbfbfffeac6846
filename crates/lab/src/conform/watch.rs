//! Known defects of the recorded kernel: who watches for them, and what a watcher sees.

use std::fmt;

use crate::op::Op;
use crate::target::{Answer, Counters, Difference, Target};

/// The name of a known defect, such as `K1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefectId(pub &'static str);

impl fmt::Display for DefectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A target whose state watchers can look into.
pub trait Observable: Target {
    /// What a watcher sees of the state at one moment, and of what happened since the moment before.
    type Observation;

    /// The state now.
    fn observe(&mut self) -> Self::Observation;

    /// Tells what the recorded kernel reached with `op`, which is about to run: for what depends on a real machine's
    /// memory, such as how many gigantic pages a grow obtains.
    fn advise(&mut self, op: &Op, recorded: &Counters) {
        let _ = (op, recorded);
    }
}

/// One operation that a watcher sees.
#[derive(Debug)]
pub struct Watched<'a, O> {
    /// The operation.
    pub op: &'a Op,
    /// What the instance answered.
    pub answer: &'a Answer,
    /// The instance before it.
    pub before: &'a O,
    /// The instance after it.
    pub after: &'a O,
}

/// An answer with the counters after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The answer; after the end of a script, a plain success.
    pub answer: Answer,
    /// The counters.
    pub counters: Counters,
}

/// A step in which the instance and the recording differ.
#[derive(Debug)]
pub struct Compared<'a> {
    /// The operation; `None` at the end of the script.
    pub op: Option<&'a Op>,
    /// What the instance did.
    pub ours: &'a Seen,
    /// What the recorded kernel did.
    pub recorded: &'a Seen,
    /// Every field that differs; never empty.
    pub differences: &'a [Difference],
}

/// Watches one known defect.
///
/// It answers a difference only if its trigger was seen on the instance *and* the difference is exactly the one that the
/// defect's formula gives; otherwise the difference counts as one.
pub trait DefectWatch<O> {
    /// A script begins: forget the one before.
    fn begin(&mut self);

    /// An operation ran on the instance, before its answer is compared.
    fn see(&mut self, step: &Watched<'_, O>);

    /// The step just seen, or the end, differs: is this the defect?
    fn judge(&mut self, step: &Compared<'_>) -> Option<DefectId>;
}
