//! Operations on userfaultfds.

use hugefolio::{
    Arrival, Bytes, CallError, Calls, CopyCall, Fd, FillError, Payload, Pid, UffdCallError, UffdModes, UffdResult,
    Vaddr, WriteProtection,
};

use super::{Instance, answers};
use crate::op::{self, Flags, MapName, Op, Span, UffdMode, UffdName};
use crate::target::{Answer, Extras, StepResult};

/// A descriptor that no process ever has: what an unknown name stands for.
const NEVER: Fd = Fd::new(u32::MAX);

impl Instance {
    pub(super) fn uffd_op(&mut self, op: &Op) -> Answer {
        let Some((number, pid)) = op.actor().and_then(|a| Some((a.number(), self.pid(a)?))) else {
            return StepResult::BadActor.into();
        };
        match op {
            Op::UffdOpen(op::UffdOpen { uffd, .. }) => {
                // A name that is opened again leaves its old descriptor open, with no name.
                if let (Some(fd), Some(state)) = (self.machine.userfaultfd(pid), self.actors.get_mut(&number)) {
                    state.uffds.insert(uffd.as_str().to_owned(), fd);
                }
                Answer::ok()
            }
            Op::UffdClose(op::UffdClose { uffd, .. }) => {
                let fd = self.actors.get_mut(&number).and_then(|state| state.uffds.remove(uffd.as_str()));
                // Whether it was open, the operation does not tell.
                if let Some(fd) = fd {
                    let _ = self.machine.close(pid, fd);
                }
                Answer::ok()
            }
            _ => self.uffd_range_op(number, pid, op),
        }
    }

    /// Calls that take a range of a mapping; one that was never mapped begins at address 0.
    fn uffd_range_op(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        let Some((uffd, map, range)) = target_of(op) else { return StepResult::BadOp.into() };
        self.slot(map.as_str());
        let state = self.actors.get(&actor);
        let fd = state.and_then(|state| state.uffds.get(uffd.as_str())).copied().unwrap_or(NEVER);
        let base = state.and_then(|state| state.maps.get(map.as_str())).map_or(0, |map| map.addr.get());
        let start = Vaddr::new(base.wrapping_add(range.off.unsigned()));
        let len = Bytes::new(range.len.unsigned());
        let machine = &mut self.machine;
        match op {
            Op::UffdRegister(op::UffdRegister { mode, .. }) => {
                answers::done(machine.uffd_register(pid, fd, start, len, modes_of(mode)))
            }
            Op::UffdUnregister(_) => answers::done(machine.uffd_unregister(pid, fd, start, len)),
            Op::UffdCopy(op::UffdCopy { mode, value, .. }) => {
                let protected = mode.as_ref().is_some_and(|mode| mode.has(UffdMode::Wp));
                let byte = value.map_or(1, |fill| fill.get()).to_le_bytes()[0];
                let arrival = if protected { Arrival::WriteProtected } else { Arrival::Open };
                let call = CopyCall { start, len, payload: Payload::BasePages(byte), arrival };
                filled(machine.uffd_copy(pid, fd, &call), len)
            }
            Op::UffdContinue(_) => filled(machine.uffd_continue(pid, fd, start, len), len),
            Op::UffdZero(_) => answers::done(machine.uffd_zero(pid, fd, start, len)),
            Op::UffdWp(op::UffdWp { mode, .. }) => {
                let how = if mode.has(UffdMode::Wp) { WriteProtection::Set } else { WriteProtection::Clear };
                answers::done(machine.uffd_write_protect(pid, fd, start, len, how))
            }
            _ => StepResult::BadOp.into(),
        }
    }
}

/// How much was filled, whatever came of the call.
fn filled(result: UffdResult<FillError>, len: Bytes) -> Answer {
    let (mut answer, filled) = match &result {
        Ok(()) => (Answer::ok(), len),
        Err(error @ CallError::Failed(UffdCallError::Failed(fill))) => (answers::refused(error), fill.filled),
        Err(error) => (answers::refused(error), Bytes::ZERO),
    };
    answer.extras = Extras { copied: i64::try_from(filled.get()).ok(), ..Extras::default() };
    answer
}

fn target_of(op: &Op) -> Option<(&UffdName, &MapName, Span)> {
    match op {
        Op::UffdRegister(op::UffdRegister { uffd, map, range, .. })
        | Op::UffdUnregister(op::UffdUnregister { uffd, map, range, .. })
        | Op::UffdCopy(op::UffdCopy { uffd, map, range, .. })
        | Op::UffdContinue(op::UffdContinue { uffd, map, range, .. })
        | Op::UffdZero(op::UffdZero { uffd, map, range, .. })
        | Op::UffdWp(op::UffdWp { uffd, map, range, .. }) => Some((uffd, map, *range)),
        _ => None,
    }
}

fn modes_of(mode: &Flags<UffdMode>) -> UffdModes {
    let mut modes = UffdModes::empty();
    modes.set(UffdModes::MISSING, mode.has(UffdMode::Missing));
    modes.set(UffdModes::WRITE_PROTECT, mode.has(UffdMode::Wp));
    modes.set(UffdModes::MINOR, mode.has(UffdMode::Minor));
    modes
}
