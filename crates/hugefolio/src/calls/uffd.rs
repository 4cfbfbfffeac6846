//! userfaultfd.

use mm::{Arrival, FillError, Payload, ProtectError, RegisterError, UffdModes, UnregisterError, WriteProtection};
use units::{Blame, Bytes, Ledger, Pid, UffdId, Vaddr};

use super::process::in_space;
use super::{BadFd, CallError, Env};
use crate::Fd;

/// Why a call on a userfaultfd fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UffdCallError<E> {
    /// The descriptor is not open, or is none of a userfaultfd.
    #[error(transparent)]
    BadFd(BadFd),
    /// The call itself failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl<E: Blame> Blame for UffdCallError<E> {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::BadFd(_) => None,
            Self::Failed(error) => error.ledger(),
        }
    }
}

/// What a call on a userfaultfd comes to.
pub type UffdResult<E> = Result<(), CallError<UffdCallError<E>>>;

/// A call of `UFFDIO_COPY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyCall<'a> {
    /// Where to.
    pub start: Vaddr,
    /// How many bytes.
    pub len: Bytes,
    /// What.
    pub payload: Payload<'a>,
    /// How the pages arrive.
    pub arrival: Arrival,
}

pub(super) fn open<P: Env>(p: &mut P, pid: Pid) -> Option<Fd> {
    let mm = p.with_process(pid, |process| process.mm)?;
    let uffd = mm::open_uffd(p, mm);
    let fd = p.with_process(pid, |process| process.add_uffd(uffd));
    if fd.is_none() {
        mm::release_uffd(p, uffd);
    }
    fd
}

pub(super) fn register<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    start: Vaddr,
    len: Bytes,
    modes: UffdModes,
) -> UffdResult<RegisterError> {
    let uffd = uffd(p, pid, fd)?;
    failed(mm::uffd_register(p, uffd, start, len, modes))
}

pub(super) fn unregister<P: Env>(p: &mut P, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<UnregisterError> {
    let uffd = uffd(p, pid, fd)?;
    failed(mm::uffd_unregister(p, uffd, start, len))
}

pub(super) fn copy<P: Env>(p: &mut P, pid: Pid, fd: Fd, call: &CopyCall<'_>) -> UffdResult<FillError> {
    let uffd = uffd(p, pid, fd)?;
    in_space(p, pid, |p, _, origin| {
        Ok(mm::uffd_copy(p, uffd, origin, call.start, call.len, call.payload, call.arrival)?)
    })
}

pub(super) fn map_cached<P: Env>(p: &mut P, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<FillError> {
    let uffd = uffd(p, pid, fd)?;
    in_space(p, pid, |p, _, origin| Ok(mm::uffd_continue(p, uffd, origin, start, len)?))
}

pub(super) fn zero<P: Env>(p: &mut P, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<FillError> {
    let uffd = uffd(p, pid, fd)?;
    failed(mm::uffd_zero(p, uffd, start, len))
}

pub(super) fn write_protect<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    start: Vaddr,
    len: Bytes,
    how: WriteProtection,
) -> UffdResult<ProtectError> {
    let uffd = uffd(p, pid, fd)?;
    failed(mm::uffd_write_protect(p, uffd, start, len, how))
}

fn failed<E>(result: Result<(), E>) -> UffdResult<E> {
    result.map_err(|error| CallError::Failed(UffdCallError::Failed(error)))
}

fn uffd<P: Env, E>(p: &mut P, pid: Pid, fd: Fd) -> Result<UffdId, CallError<UffdCallError<E>>> {
    let found = p.with_process(pid, |process| process.uffd(fd)).ok_or(CallError::NoProcess)?;
    found.ok_or(CallError::Failed(UffdCallError::BadFd(BadFd(fd))))
}
