//! Calls on descriptors, which the kernel gets as they stand in the script.

#![expect(unsafe_code, reason = "the wrappers of the standard library refuse arguments that the kernel is to refuse")]

use std::ffi::CStr;

use rustix::io::Errno;

use super::checked;

/// A descriptor's number; -1 is none. Scripts close them, or the end of the process does.
pub(crate) type RawFd = i32;

fn fd(result: u64) -> RawFd {
    RawFd::try_from(result).unwrap_or(-1)
}

pub(crate) fn open(path: &CStr, flags: i32) -> Result<RawFd, Errno> {
    // SAFETY: the path is a C string.
    checked(i64::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })).map(fd)
}

pub(crate) fn memory_file(name: &CStr, flags: u32) -> Result<RawFd, Errno> {
    // SAFETY: the name is a C string.
    checked(i64::from(unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_CLOEXEC) })).map(fd)
}

pub(crate) fn close(fd: RawFd) -> Result<u64, Errno> {
    // SAFETY: descriptors of scripts are owned by nobody else.
    checked(i64::from(unsafe { libc::close(fd) }))
}

pub(crate) fn truncate(fd: RawFd, len: i64) -> Result<u64, Errno> {
    // SAFETY: no pointers. So it is with the calls below that have none.
    checked(i64::from(unsafe { libc::ftruncate(fd, len) }))
}

pub(crate) fn truncate_path(path: &CStr, len: i64) -> Result<u64, Errno> {
    // SAFETY: the path is a C string.
    checked(i64::from(unsafe { libc::truncate(path.as_ptr(), len) }))
}

pub(crate) fn allocate(fd: RawFd, mode: i32, off: i64, len: i64) -> Result<u64, Errno> {
    // SAFETY: no pointers.
    checked(i64::from(unsafe { libc::fallocate(fd, mode, off, len) }))
}

pub(crate) fn sync(fd: RawFd) -> Result<u64, Errno> {
    // SAFETY: no pointers.
    checked(i64::from(unsafe { libc::fsync(fd) }))
}

pub(crate) fn add_seals(fd: RawFd, seals: i32) -> Result<u64, Errno> {
    // SAFETY: no pointers.
    checked(i64::from(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }))
}

pub(crate) fn seals(fd: RawFd) -> Result<u64, Errno> {
    // SAFETY: no pointers.
    checked(i64::from(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) }))
}

pub(crate) fn stat(fd: RawFd) -> Result<libc::stat, Errno> {
    // SAFETY: all zeros are a valid `stat`, and the kernel fills the one it is given.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        checked(i64::from(libc::fstat(fd, &raw mut stat))).map(|_| stat)
    }
}

/// The magic number of the file's file system and its block size, which is the page size of its mappings.
pub(crate) fn file_system(fd: RawFd) -> Result<(i64, u64), Errno> {
    // SAFETY: all zeros are a valid `statfs`, and the kernel fills the one it is given.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        checked(i64::from(libc::fstatfs(fd, &raw mut stat)))?;
        Ok((stat.f_type, u64::try_from(stat.f_bsize).unwrap_or(0)))
    }
}

/// Reads `len` bytes into `buffer`. The kernel gets no place to write to if it is too short for them.
pub(crate) fn read(fd: RawFd, buffer: &mut [u8], len: u64, off: i64) -> Result<u64, Errno> {
    let into = if len > buffer.len() as u64 { std::ptr::null_mut() } else { buffer.as_mut_ptr() };
    // SAFETY: the kernel writes at most the buffer's length.
    checked(unsafe { libc::pread(fd, into.cast(), super::size(len), off) } as i64)
}

/// Writes `len` bytes of `buffer`. The kernel gets nothing to read from if it is too short for them.
pub(crate) fn write(fd: RawFd, buffer: &[u8], len: u64, off: i64) -> Result<u64, Errno> {
    let from = if len > buffer.len() as u64 { std::ptr::null() } else { buffer.as_ptr() };
    // SAFETY: the kernel reads at most the buffer's length.
    checked(unsafe { libc::pwrite(fd, from.cast(), super::size(len), off) } as i64)
}
