//! Operations on userfaultfds.

use lab::op::{self, Fill, Flags, MapName, Op, Span, UffdMode, UffdName};
use lab::target::{Answer, Extras, StepResult};

use super::Worker;
use crate::errno::done;
use crate::sys::file::RawFd;
use crate::sys::{file, uffd};

/// What is copied in has the byte at the start of each, and zeros between.
const BASE_PAGE: usize = 4 << 10;

impl Worker {
    fn uffd(&self, name: &UffdName) -> RawFd {
        self.uffds.get(name.as_str()).copied().unwrap_or(-1)
    }

    /// Where a range begins; a name that is not known counts from address 0.
    fn start(&self, map: &MapName, range: Span) -> u64 {
        self.map(map).map_or(0, |map| map.addr).wrapping_add(range.off.unsigned())
    }

    pub(super) fn uffd_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::UffdOpen(op::UffdOpen { uffd: name, .. }) => {
                let opened = uffd::open();
                if let Ok(fd) = opened {
                    self.uffds.insert(name.as_str().to_owned(), fd);
                }
                done(opened)
            }
            Op::UffdClose(op::UffdClose { uffd: name, .. }) => {
                // A descriptor closed twice is no error of the script's.
                let _ = file::close(self.uffd(name));
                Answer::ok()
            }
            Op::UffdRegister(op::UffdRegister { uffd: name, map, range, mode, .. }) => {
                self.watched(map, *range, |start, len| uffd::register(self.uffd(name), start, len, watch_bits(mode)))
            }
            Op::UffdUnregister(op::UffdUnregister { uffd: name, map, range, .. }) => {
                self.watched(map, *range, |start, len| uffd::unregister(self.uffd(name), start, len))
            }
            Op::UffdZero(op::UffdZero { uffd: name, map, range, .. }) => {
                self.watched(map, *range, |start, len| uffd::zero(self.uffd(name), start, len))
            }
            Op::UffdWp(op::UffdWp { uffd: name, map, range, mode, .. }) => {
                let mode = u64::from(mode.has(UffdMode::Wp));
                self.watched(map, *range, |start, len| uffd::protect(self.uffd(name), start, len, mode))
            }
            Op::UffdCopy(op::UffdCopy { uffd: name, map, range, mode, value, .. }) => {
                let mode = mode.as_ref().is_some_and(|mode| mode.has(UffdMode::Wp));
                let byte = value.unwrap_or(Fill::new(1)).byte(0);
                let len = usize::try_from(range.len.unsigned()).unwrap_or(0);
                // Every byte is written: a page of the source that is not there yet makes the kernel let go of what it had, and begin again.
                let bytes: Vec<u8> = (0..len).map(|at| if at % BASE_PAGE == 0 { byte } else { 0 }).collect();
                let start = self.start(map, *range);
                let filled = uffd::copy(self.uffd(name), start, &bytes, if mode { 2 } else { 0 });
                copied(filled)
            }
            Op::UffdContinue(op::UffdContinue { uffd: name, map, range, .. }) => {
                copied(uffd::map_cached(self.uffd(name), self.start(map, *range), range.len.unsigned()))
            }
            _ => StepResult::BadOp.into(),
        }
    }

    /// Registered ranges change how the process's own faults end, so they keep off the program too.
    fn watched<T>(
        &self,
        map: &MapName,
        range: Span,
        call: impl FnOnce(u64, u64) -> Result<T, rustix::io::Errno>,
    ) -> Answer {
        let (start, len) = (self.start(map, range), range.len.unsigned());
        match self.reach(start, len) {
            Ok(_) => done(call(start, len)),
            Err(refused) => *refused,
        }
    }
}

fn copied((result, copied): (Result<u64, rustix::io::Errno>, i64)) -> Answer {
    Answer { extras: Extras { copied: Some(copied), ..Extras::default() }, ..done(result) }
}

fn watch_bits(mode: &Flags<UffdMode>) -> u64 {
    let bits = |mode| match mode {
        UffdMode::Missing => 1,
        UffdMode::Wp => 2,
        UffdMode::Minor => 4,
    };
    mode.iter().map(bits).fold(0, |all, bits| all | bits)
}
