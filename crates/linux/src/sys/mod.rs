//! Calls that no safe library has: those that move the memory under a process's feet.

pub(crate) mod access;
pub(crate) mod file;
pub(crate) mod memory;
pub(crate) mod pin;
pub(crate) mod placement;
pub(crate) mod process;
pub(crate) mod segment;
pub(crate) mod uffd;

use rustix::io::Errno;

/// The result of a call that answers -1 and sets `errno` if it fails.
fn checked(result: i64) -> Result<u64, Errno> {
    match u64::try_from(result) {
        Ok(result) => Ok(result),
        Err(_) => Err(last()),
    }
}

/// A number of bytes as the C library takes it.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn last() -> Errno {
    crate::errno::of(&std::io::Error::last_os_error())
}
