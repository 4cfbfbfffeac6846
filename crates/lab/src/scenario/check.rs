//! What can be seen to be wrong before anything runs.

use std::collections::BTreeSet;
use std::path::Path;

use super::described::described;
use super::error::LineError;
use super::{Item, Scenario, Wanted};
use crate::input::Problem;
use crate::op::{Actor, Op, Size, SizeName};
use crate::target::{ArchName, StepResult};

/// The base page, to which every address is aligned.
const BASE_PAGE: Size = Size::bytes(4096);

impl Scenario {
    /// Looks for processes that were never started, and for offsets that no page can have. A line that states the error
    /// to be expected is taken as meant.
    ///
    /// # Errors
    /// Every such line.
    pub fn check(&self, path: &Path) -> Result<(), Vec<Problem>> {
        self.check_after(path, [])
    }

    /// The same for a scenario that begins with these processes.
    ///
    /// # Errors
    /// Every line that is wrong.
    pub fn check_after(&self, path: &Path, started: impl IntoIterator<Item = Actor>) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut started: BTreeSet<Actor> = started.into_iter().collect();
        let huge_page = self.huge_page_unit();
        for line in &self.lines {
            let found = match &line.item {
                Item::Step(step) => {
                    started.extend(starts(&step.op));
                    let meant = step.wanted == Wanted::Result(StepResult::BadActor);
                    let actor = || step.op.actor().filter(|_| !meant).and_then(|actor| unknown(actor, &started));
                    let misaligned = || (step.wanted == Wanted::OK).then(|| misaligned(&step.op, huge_page)).flatten();
                    actor().or_else(misaligned)
                }
                Item::Expect(expectation) => expectation.actor().and_then(|actor| unknown(actor, &started)),
                Item::Blank | Item::Header(_) => None,
            };
            problems.extend(found.map(|error| Problem::at(path, line.number, 1, error)));
        }
        let memory = self.header("").memory;
        if !memory.is_empty()
            && let Err((line, error)) = described(&memory)
        {
            problems.push(Problem::at(path, line, 1, error));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The largest unit of which every huge page size of the machine is a multiple.
    fn huge_page_unit(&self) -> Size {
        let machine = self.header("").machine.unwrap_or_default();
        Size::bytes(if machine.arch == ArchName::X86_64 { 2 << 20 } else { 64 << 10 })
    }
}

fn unknown(actor: Actor, started: &BTreeSet<Actor>) -> Option<LineError> {
    if actor.number() >= Actor::LIMIT {
        return Some(LineError::ActorLimit(actor.to_string()));
    }
    (!started.contains(&actor)).then_some(LineError::UnknownActor(actor))
}

fn starts(op: &Op) -> Option<Actor> {
    match op {
        Op::Spawn(spawn) => Some(spawn.actor),
        Op::Fork(fork) => Some(fork.child),
        _ => None,
    }
}

/// The first number of `op` that makes it fail for its alignment alone.
fn misaligned(op: &Op, huge_page: Size) -> Option<LineError> {
    let (what, value, unit) = match op {
        Op::Mmap(mmap) => ("the file offset", mmap.off?, mmap.pagesize.and_then(SizeName::size).unwrap_or(huge_page)),
        Op::Ftruncate(truncate) => ("the length", truncate.len, huge_page),
        Op::Munmap(munmap) => ("the range's start", munmap.range.off, BASE_PAGE),
        Op::Mprotect(mprotect) => ("the range's start", mprotect.range.off, BASE_PAGE),
        Op::Madvise(madvise) => ("the range's start", madvise.range.off, BASE_PAGE),
        _ => return None,
    };
    (value.signed() % unit.signed() != 0).then(|| LineError::Misaligned {
        what,
        value: value.to_string(),
        unit: unit.to_string(),
    })
}
