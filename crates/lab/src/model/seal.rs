//! Seals of memory files.

use super::world::Opened;
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{AddSeals, GetSeals, Seal};
use crate::target::{Answer, Extras};

/// No further seals.
pub(super) const SEALED: u32 = 1;
/// Not smaller.
pub(super) const SHRINK: u32 = 2;
/// Not larger.
pub(super) const GROW: u32 = 4;
/// Not written.
pub(super) const WRITE: u32 = 8;
/// Not written through anything new.
pub(super) const FUTURE_WRITE: u32 = 16;
/// Not executed.
pub(super) const NO_EXEC: u32 = 32;

const fn bit(seal: Seal) -> u32 {
    match seal {
        Seal::Seal => SEALED,
        Seal::Shrink => SHRINK,
        Seal::Grow => GROW,
        Seal::Write => WRITE,
        Seal::FutureWrite => FUTURE_WRITE,
        Seal::Exec => NO_EXEC,
    }
}

impl NaiveMachine {
    /// A file that is sealed takes no seal; one that somebody may write through a shared mapping, or a page that he keeps, is not sealed against that.
    pub(super) fn add_seals(&mut self, p: u16, op: &AddSeals) -> Outcome {
        let descriptor = self.process(p).descriptor(&op.file).ok_or(Fail::Errno("EBADF"))?;
        let Opened::File(id) = descriptor.on else {
            return Err(Fail::NotModelled("seals of a directory"));
        };
        let seals: u32 = op.seals.iter().map(bit).fold(0, |all, one| all | one);
        let has = self.file(id).seals;
        if has & SEALED != 0 {
            return Err(Fail::Errno("EPERM"));
        }
        let mut vmas = self.processes.values().flat_map(|process| &process.vmas);
        if seals & WRITE != 0 && has & WRITE == 0 && vmas.any(|vma| vma.file == id && vma.shared && vma.may_write) {
            return Err(Fail::Errno("EBUSY"));
        }
        let kept = self.file(id).cache.values().any(|page| self.page(*page).held > 0);
        if seals & WRITE != 0 && has & WRITE == 0 && kept {
            return Err(Fail::Errno("EBUSY"));
        }
        self.file_mut(id).seals |= seals;
        Ok(Answer::ok())
    }

    pub(super) fn get_seals(&mut self, p: u16, op: &GetSeals) -> Outcome {
        let descriptor = self.process(p).descriptor(&op.file).ok_or(Fail::Errno("EBADF"))?;
        let Opened::File(id) = descriptor.on else {
            return Err(Fail::NotModelled("seals of a directory"));
        };
        let seals = Some(self.file(id).seals);
        Ok(Answer { extras: Extras { seals, ..Extras::default() }, ..Answer::ok() })
    }
}
