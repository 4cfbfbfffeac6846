//! Processes without a program of their own, and signals that wait.

#![expect(unsafe_code, reason = "no safe library has fork")]

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    Gid, Uid, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

use super::checked;

/// Copies the process: the new one gets `None`, the old one the number of the new one.
///
/// # Errors
/// There are other threads, whose locks the new process would hold for ever; or the kernel refuses.
pub(crate) fn fork_here() -> Result<Option<Pid>, Errno> {
    if threads() != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: there is one thread, so the new process has all that the old one has, in the same state.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid => checked(i64::from(pid)).and_then(|_| Pid::from_raw(pid).ok_or(Errno::INVAL)).map(Some),
    }
}

/// Copies the process. The new one runs `child`, which never returns; the old one gets its number.
///
/// # Errors
/// As [`fork_here`].
pub(crate) fn fork(child: impl FnOnce() -> Infallible) -> Result<Pid, Errno> {
    if let Some(pid) = fork_here()? {
        return Ok(pid);
    }
    // A child that unwinds would run what its parent does next.
    let Err(_panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    exit(121)
}

/// A user, and the one group that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Makes this process another user's for good: any but 0 loses all capabilities. It may read what `/proc` says of it all the same, and
/// lock as much memory as the host lets us.
///
/// Only for a process of one thread, since the kernel changes the thread alone.
pub(crate) fn become_user(user: User) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // Without the right to, the limit is what it was.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable)
}

/// Goes into a mount and an IPC namespace of its own.
pub(crate) fn leave_namespaces() -> Result<(), Errno> {
    // SAFETY: neither namespace takes a resource away that a safe wrapper holds: descriptors stay as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWIPC) }
}

/// Waits.
pub(crate) fn pause(time: std::time::Duration) {
    let time = Timespec::try_from(time).unwrap_or_default();
    // Waking up early is no harm: whoever waits looks again.
    let _ = poll(&mut [], Some(&time));
}

/// The threads of this process.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Ends the process at once, without what a program does at its end.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: nothing comes after.
    unsafe { libc::_exit(code) }
}

/// Lets children vanish when they end, without being waited for.
pub(crate) fn forget_children() {
    // SAFETY: the signal is ignored; there is no handler.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// Closes every descriptor but the standard ones and those in `kept`.
///
/// Only for a process that just came from [`fork`] and never returns: owners of closed descriptors are never asked again.
pub(crate) fn close_all_but(kept: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: see `close_all_but`.
    unsafe {
        libc::syscall(libc::SYS_close_range, first, last, 0);
    }
}

/// Signals of a user who wants an end: they wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Interrupts {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl Interrupts {
    /// Holds the signals back.
    pub(crate) fn hold() -> Result<Self, Errno> {
        // SAFETY: sets of signals are plain data, filled by the calls they are given to; the descriptor is new and ours.
        unsafe {
            let mut wanted: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut wanted);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
                libc::sigaddset(&raw mut wanted, signal);
            }
            checked(i64::from(libc::sigprocmask(libc::SIG_BLOCK, &raw const wanted, &raw mut before)))?;
            let fd = libc::signalfd(-1, &raw const wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            checked(i64::from(fd))?;
            Ok(Self { fd: OwnedFd::from_raw_fd(fd), before })
        }
    }

    /// What can be waited for.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether one waits.
    pub(crate) fn pending(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&now)), Ok(1))
    }
}

impl Drop for Interrupts {
    /// A signal that waits has its effect now.
    fn drop(&mut self) {
        // SAFETY: the set is the one that the kernel gave.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
