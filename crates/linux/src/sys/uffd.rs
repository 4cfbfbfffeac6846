//! userfaultfd and its commands.

#![expect(unsafe_code, reason = "no safe library has these commands")]

use rustix::io::Errno;

use super::checked;
use super::file::RawFd;

const API: u64 = 0xc018_aa3f;
const REGISTER: u64 = 0xc020_aa00;
const UNREGISTER: u64 = 0x8010_aa01;
const COPY: u64 = 0xc028_aa03;
const ZERO: u64 = 0xc020_aa04;
const PROTECT: u64 = 0xc018_aa06;
const CONTINUE: u64 = 0xc020_aa07;

/// The version of the interface.
const VERSION: u64 = 0xaa;
/// Write protection reported, missing and minor faults of hugetlbfs, SIGBUS instead of waiting, write protection of hugetlbfs.
const FEATURES: u64 = 1 | 1 << 4 | 1 << 9 | 1 << 7 | 1 << 12;

/// A command whose argument is a row of words, which the kernel reads and writes.
fn command<const N: usize>(fd: RawFd, number: u64, words: &mut [u64; N]) -> Result<u64, Errno> {
    // SAFETY: the size in each command's number is that of the row it is called with here.
    checked(i64::from(unsafe { libc::ioctl(fd, number, words.as_mut_ptr()) }))
}

/// Opens one whose faults raise SIGBUS.
pub(crate) fn open() -> Result<RawFd, Errno> {
    // SAFETY: no pointers.
    let fd = checked(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    match command(fd, API, &mut [VERSION, FEATURES, 0]) {
        Ok(_) => Ok(fd),
        Err(errno) => {
            // The first error is the one to tell.
            let _ = super::file::close(fd);
            Err(errno)
        }
    }
}

pub(crate) fn register(fd: RawFd, start: u64, len: u64, mode: u64) -> Result<u64, Errno> {
    command(fd, REGISTER, &mut [start, len, mode, 0])
}

pub(crate) fn unregister(fd: RawFd, start: u64, len: u64) -> Result<u64, Errno> {
    command(fd, UNREGISTER, &mut [start, len])
}

/// Fills pages with `bytes`; answers how many were filled, however it ended.
pub(crate) fn copy(fd: RawFd, start: u64, bytes: &[u8], mode: u64) -> (Result<u64, Errno>, i64) {
    let mut words = [start, bytes.as_ptr() as u64, bytes.len() as u64, mode, 0];
    let result = command(fd, COPY, &mut words);
    (result, words[4].cast_signed().max(0))
}

/// Maps what is in the page cache; answers the bytes mapped, however it ended.
pub(crate) fn map_cached(fd: RawFd, start: u64, len: u64) -> (Result<u64, Errno>, i64) {
    let mut words = [start, len, 0, 0];
    let result = command(fd, CONTINUE, &mut words);
    (result, words[3].cast_signed().max(0))
}

pub(crate) fn zero(fd: RawFd, start: u64, len: u64) -> Result<u64, Errno> {
    command(fd, ZERO, &mut [start, len, 0, 0])
}

pub(crate) fn protect(fd: RawFd, start: u64, len: u64, mode: u64) -> Result<u64, Errno> {
    command(fd, PROTECT, &mut [start, len, mode])
}
