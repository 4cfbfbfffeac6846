//! Calls that keep pages of a process: pipes, buffers of rings, buffers of a device.

#![expect(unsafe_code, reason = "the calls have no safe wrapper; what they point to is ours or a reach")]

use std::ffi::CStr;

use rustix::io::Errno;

use super::checked;
use super::file::{self, RawFd};
use super::memory::Reach;

const REGISTER_BUFFERS: i64 = 0;
const UNREGISTER_BUFFERS: i64 = 1;
/// Bytes of the description of a ring.
const RING: usize = 120;
const UDMABUF_CREATE: u64 = 0x4018_7542;
/// As many pages as a pipe keeps.
pub(crate) const PIPE: usize = 16;

/// Descriptors that keep pages.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Both ends of a pipe.
    Pipe([RawFd; 2]),
    /// A ring with one buffer.
    Ring(RawFd),
    /// A buffer of a device.
    Buffer(RawFd),
}

impl Kept {
    /// Lets the pages go at once: by itself the end of a ring does that later.
    pub(crate) fn end(&self) {
        if let Self::Ring(fd) = *self {
            // SAFETY: no pointers.
            let _ = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, UNREGISTER_BUFFERS, 0, 0) };
        }
        self.close();
    }

    /// Gives up what a fork has copied.
    pub(crate) fn close(&self) {
        let ends: &[RawFd] = match self {
            Self::Pipe(ends) => ends,
            Self::Ring(fd) | Self::Buffer(fd) => std::slice::from_ref(fd),
        };
        for &fd in ends {
            // Nobody else has it.
            let _ = file::close(fd);
        }
    }
}

/// A pipe with the first byte of each page of a range in it.
pub(crate) fn pipe(reach: Reach, page: u64) -> Result<Kept, Errno> {
    let mut ends = [-1; 2];
    // SAFETY: there is room for both ends.
    checked(i64::from(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }))?;
    let kept = Kept::Pipe(ends);
    let starts = (reach.start()..reach.start().saturating_add(reach.len() as u64)).step_by(super::size(page.max(1)));
    let first = |start: u64| libc::iovec { iov_base: start as *mut libc::c_void, iov_len: 1 };
    let bytes: Vec<libc::iovec> = starts.map(first).collect();
    // SAFETY: the list is as long as it is said to be, and the pages are only read.
    let spliced =
        checked(unsafe { libc::vmsplice(ends[1], bytes.as_ptr(), bytes.len(), libc::SPLICE_F_NONBLOCK) } as i64);
    match spliced {
        Ok(count) if count == bytes.len() as u64 => Ok(kept),
        other => {
            kept.close();
            // Those before the one that is not there are in the pipe.
            Err(other.err().unwrap_or(Errno::FAULT))
        }
    }
}

/// A ring that has a range as its buffer.
pub(crate) fn ring(reach: Reach) -> Result<Kept, Errno> {
    let mut description = [0u8; RING];
    // SAFETY: a description of zeros asks for nothing, and the kernel fills it.
    let fd = checked(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, description.as_mut_ptr()) })?;
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    let buffer = libc::iovec { iov_base: reach.start() as *mut libc::c_void, iov_len: reach.len() };
    // SAFETY: nothing of the program lies in a reach, so nobody minds who writes there.
    let call = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_BUFFERS, &raw const buffer, 1) };
    let kept = Kept::Ring(fd);
    match checked(call) {
        Ok(_) => Ok(kept),
        Err(refused) => {
            kept.close();
            Err(refused)
        }
    }
}

/// A buffer of a device that is a range of a memory file.
pub(crate) fn buffer(memory: RawFd, offset: u64, len: u64) -> Result<Kept, Errno> {
    const DEVICE: &CStr = c"/dev/udmabuf";
    let device = file::open(DEVICE, libc::O_RDWR)?;
    let words = [u64::from(memory.cast_unsigned()) | 1 << 32, offset, len];
    // SAFETY: the description is as long as the number of the call says.
    let made = checked(i64::from(unsafe { libc::ioctl(device, UDMABUF_CREATE, words.as_ptr()) }));
    // It was for this alone.
    let _ = file::close(device);
    made.map(|fd| Kept::Buffer(RawFd::try_from(fd).unwrap_or(-1)))
}
