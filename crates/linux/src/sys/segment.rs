//! System V segments.

#![expect(unsafe_code, reason = "no safe library has these calls")]

use rustix::io::Errno;

use super::checked;
use super::memory::Reach;

/// Makes a segment.
pub(crate) fn make(len: u64, flags: i32) -> Result<i32, Errno> {
    // SAFETY: no pointers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, super::size(len), libc::IPC_CREAT | 0o600 | flags) };
    checked(i64::from(id)).map(|_| id)
}

/// Maps a segment; answers where.
pub(crate) fn attach(id: i32, reach: Reach, flags: i32) -> Result<u64, Errno> {
    // SAFETY: a segment is laid over nothing, and its place is a reach.
    let at = unsafe { libc::shmat(id, reach.start() as *const libc::c_void, flags) };
    checked(at as i64)
}

/// Unmaps the segment that begins there.
pub(crate) fn detach(reach: Reach) -> Result<u64, Errno> {
    // SAFETY: only a segment is unmapped, and the program has none of its own.
    checked(i64::from(unsafe { libc::shmdt(reach.start() as *const libc::c_void) }))
}

/// Removes a segment.
pub(crate) fn remove(id: i32) -> Result<u64, Errno> {
    // SAFETY: no pointers.
    checked(i64::from(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }))
}

/// A segment's length.
pub(crate) fn length(id: i32) -> Result<u64, Errno> {
    // SAFETY: all zeros are a valid description, and the kernel fills the one it is given.
    unsafe {
        let mut about: libc::shmid_ds = std::mem::zeroed();
        checked(i64::from(libc::shmctl(id, libc::IPC_STAT, &raw mut about))).map(|_| about.shm_segsz as u64)
    }
}
