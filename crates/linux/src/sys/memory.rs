//! Calls on address ranges.

#![expect(
    unsafe_code,
    reason = "these calls change the memory of the process; a `Reach` keeps them off what the program itself uses"
)]

use std::ops::Range;

use rustix::io::Errno;

use super::checked;

/// Where named mappings go. Nothing of the program lies here or below: [`program_lies_apart`] looks.
pub(crate) const SLOTS: u64 = 0x2000_0000_0000;
const PROGRAM: u64 = 0x4000_0000_0000;
/// Behind the last address that a process may use; every call refuses what begins here or later.
const TASK_END: u64 = 0x7fff_ffff_f000;

/// A range of addresses with no memory of the program itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    start: u64,
    len: u64,
}

impl Reach {
    /// The range, if nothing of the program lies in it. `own` is a mapping of the script to which the kernel gave a place.
    pub(crate) fn new(start: u64, len: u64, own: Option<&Range<u64>>) -> Option<Self> {
        let reach = Self { start, len };
        // Calls refuse a range that wraps around.
        let Some(end) = start.checked_add(len) else { return Some(reach) };
        let own = own.is_some_and(|own| own.start <= start && end <= own.end);
        (own || end <= PROGRAM || start >= TASK_END).then_some(reach)
    }

    /// Nowhere: the kernel chooses.
    pub(crate) const ANYWHERE: Reach = Reach { start: 0, len: 0 };

    pub(crate) const fn start(self) -> u64 {
        self.start
    }

    pub(crate) fn len(self) -> usize {
        super::size(self.len)
    }

    const fn at(self) -> *mut libc::c_void {
        self.start as *mut libc::c_void
    }
}

/// Whether all memory of this process lies where no [`Reach`] comes.
pub(crate) fn program_lies_apart() -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut starts = maps.lines().filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    !maps.is_empty() && starts.all(|start| start >= PROGRAM)
}

/// How `mmap` is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapCall {
    pub(crate) prot: i32,
    pub(crate) flags: i32,
    pub(crate) fd: i32,
    pub(crate) off: i64,
}

pub(crate) fn map(reach: Reach, len: u64, call: MapCall) -> Result<u64, Errno> {
    // SAFETY: without MAP_FIXED the kernel takes free addresses; with it the range is a reach.
    let at = unsafe { libc::mmap(reach.at(), super::size(len), call.prot, call.flags, call.fd, call.off) };
    if at == libc::MAP_FAILED { Err(super::last()) } else { Ok(at as u64) }
}

pub(crate) fn unmap(reach: Reach) -> Result<u64, Errno> {
    // SAFETY: nothing of the program lies in a reach. So it is with the calls below.
    checked(i64::from(unsafe { libc::munmap(reach.at(), reach.len()) }))
}

/// Answers where the mapping is then.
pub(crate) fn remap(from: Reach, len: u64, flags: i32, to: Reach) -> Result<u64, Errno> {
    // SAFETY: both places are reaches; without MREMAP_FIXED the kernel takes free addresses.
    let at = unsafe { libc::mremap(from.at(), from.len(), super::size(len), flags, to.at()) };
    if at == libc::MAP_FAILED { Err(super::last()) } else { Ok(at as u64) }
}

pub(crate) fn protect(reach: Reach, prot: i32) -> Result<u64, Errno> {
    // SAFETY: as for `unmap`.
    checked(i64::from(unsafe { libc::mprotect(reach.at(), reach.len(), prot) }))
}

pub(crate) fn advise(reach: Reach, advice: i32) -> Result<u64, Errno> {
    // SAFETY: as for `unmap`.
    checked(i64::from(unsafe { libc::madvise(reach.at(), reach.len(), advice) }))
}

pub(crate) fn lock(reach: Reach) -> Result<u64, Errno> {
    // SAFETY: locking changes no memory.
    checked(i64::from(unsafe { libc::mlock(reach.at(), reach.len()) }))
}

pub(crate) fn unlock(reach: Reach) -> Result<u64, Errno> {
    // SAFETY: unlocking changes no memory.
    checked(i64::from(unsafe { libc::munlock(reach.at(), reach.len()) }))
}

pub(crate) fn sync(reach: Reach) -> Result<u64, Errno> {
    // SAFETY: writing back changes no memory.
    checked(i64::from(unsafe { libc::msync(reach.at(), reach.len(), libc::MS_SYNC) }))
}

/// One byte a base page: its lowest bit says whether it is in memory.
pub(crate) fn resident(reach: Reach) -> Result<Vec<u8>, Errno> {
    /// Ranges with more base pages than this have no answer; the kernel says why before it would write one.
    const MOST: u64 = 1 << 26;
    let pages = reach.len.div_ceil(4096);
    let mut answer = vec![0; usize::try_from(pages.min(MOST)).unwrap_or(0) + 1];
    let into = if pages > MOST { std::ptr::null_mut() } else { answer.as_mut_ptr() };
    // SAFETY: `answer` has a byte for every base page, or the kernel gets no place to write to.
    checked(i64::from(unsafe { libc::mincore(reach.at(), reach.len(), into) }))?;
    answer.truncate(usize::try_from(pages).unwrap_or(0));
    Ok(answer)
}

/// Lets the kernel store a byte there, as it does for read(2).
pub(crate) fn kernel_store(fd: i32, reach: Reach) -> Result<u64, Errno> {
    // SAFETY: nothing of the program lies in a reach, and a byte that is not there is EFAULT.
    checked(unsafe { libc::read(fd, reach.at(), 1) } as i64)
}

/// Lets the kernel load a byte from there, as it does for write(2).
pub(crate) fn kernel_load(fd: i32, reach: Reach) -> Result<u64, Errno> {
    // SAFETY: a byte that is not there is EFAULT.
    checked(unsafe { libc::write(fd, reach.at(), 1) } as i64)
}
