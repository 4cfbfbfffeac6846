//! Pins that a process has for its devices.

use hugetlbfs::{InodeKind, Seals};
use mm::{Pin, PinError, PinKind, PinNote, Touch};
use units::{Blame, Bytes, Context, HugeCount, HugeRange, Ledger, Pid, Vaddr};

use super::process::in_space;
use super::{BadFd, CallError, Env};
use crate::{Fd, PinId};

/// A range of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Where it begins.
    pub offset: Bytes,
    /// How long it is.
    pub len: Bytes,
}

/// The process has no such pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has no {0}")]
pub struct NoPin(pub PinId);

/// Why a range of a file is not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinFileError {
    /// Not open.
    #[error(transparent)]
    BadFd(BadFd),
    /// Only memory files can be pinned, and only those that do not shrink and may be written.
    #[error("{0} is no memory file with the seal `shrink` and without the seal `write`")]
    Seals(Fd),
    /// It is empty, begins or ends between base pages, or the file does not have it.
    #[error("{} bytes from {} on are no whole pages of the file, which has {size}", .range.len.get(), .range.offset.get())]
    BadRange {
        /// The range.
        range: ByteRange,
        /// The file's size.
        size: Bytes,
    },
    /// More than a device gets at once.
    #[error("{} bytes are more than the {} that a device gets at once", .len.get(), .most.get())]
    TooMuch {
        /// Asked for.
        len: Bytes,
        /// The most.
        most: Bytes,
    },
    /// A page cannot be had, or cannot stay.
    #[error(transparent)]
    Pin(#[from] PinError),
}

impl Blame for PinFileError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Pin(error) => error.ledger(),
            _ => None,
        }
    }
}

/// The most that one buffer of a device has (`udmabuf.size_limit_mb`).
const MOST: Bytes = Bytes::mib(64);

pub(super) fn pin<P: Env>(
    p: &mut P,
    pid: Pid,
    start: Vaddr,
    count: HugeCount,
    touch: Touch,
    kind: PinKind,
) -> Result<PinId, CallError<PinError>> {
    let notes = in_space(p, pid, |p, mm, origin| {
        let mut notes: Vec<PinNote> = Vec::new();
        let mut at = start;
        while (notes.len() as u64) < count.get() {
            match mm::pin(p, mm, origin, at, touch, kind) {
                Ok(pin) => notes.push(pin.into_note()),
                Err(error) => {
                    end(p, notes.into_iter().rev(), Context::Sleepable);
                    return Err(error);
                }
            }
            let size = p.with_vmas(mm, |vmas| vmas.find(at).map(|vma| vma.size)).flatten();
            at = at + size.map_or(p.page_shift().bytes(), |size| size.bytes());
        }
        Ok(notes)
    })?;
    keep(p, pid, notes)
}

pub(super) fn pin_file<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    range: ByteRange,
) -> Result<PinId, CallError<PinFileError>> {
    let file = p.with_process(pid, |process| process.file(fd)).ok_or(CallError::NoProcess)?;
    let inode = file.ok_or(CallError::Failed(PinFileError::BadFd(BadFd(fd))))?.inode;
    let notes = in_space(p, pid, |p, _, origin| {
        let found = p.with_inode(inode, |inode| (inode.kind, inode.seals, inode.hstate, inode.size));
        let (kind, seals, hstate, size) = found.ok_or(PinFileError::BadFd(BadFd(fd)))?;
        if kind != InodeKind::Memfd || !seals.contains(Seals::SHRINK) || seals.contains(Seals::WRITE) {
            return Err(PinFileError::Seals(fd));
        }
        let base = p.page_shift().bytes();
        let end = range.offset.checked_add(range.len).filter(|&end| end <= size && !range.len.is_zero());
        let whole = range.offset.is_multiple_of(base) && range.len.is_multiple_of(base);
        let end = end.filter(|_| whole).ok_or(PinFileError::BadRange { range, size })?;
        if range.len > MOST {
            return Err(PinFileError::TooMuch { len: range.len, most: MOST });
        }
        let page = p.hstate(hstate).size;
        let pages = HugeRange::new(page.index_floor(range.offset), page.index_ceil(end));
        let pins = mm::pin_file(p, inode, pages, origin)?;
        Ok(pins.into_iter().map(Pin::into_note).collect())
    })?;
    keep(p, pid, notes)
}

pub(super) fn unpin<P: Env>(p: &mut P, pid: Pid, pin: PinId, context: Context) -> Result<(), CallError<NoPin>> {
    let notes = p.with_process(pid, |process| process.remove_pins(pin)).ok_or(CallError::NoProcess)?;
    end(p, notes.ok_or(CallError::Failed(NoPin(pin)))?, context);
    Ok(())
}

/// Writes the pins down; where the process has exited meanwhile they end.
fn keep<P: Env, E>(p: &mut P, pid: Pid, notes: Vec<PinNote>) -> Result<PinId, CallError<E>> {
    let kept = p.with_process(pid, |process| process.add_pins(notes.clone()));
    kept.ok_or_else(|| {
        end(p, notes, Context::Sleepable);
        CallError::NoProcess
    })
}

fn end<P: Env>(p: &mut P, notes: impl IntoIterator<Item = PinNote>, context: Context) {
    for note in notes {
        mm::unpin_in(p, Pin::from_note(note), context);
    }
}
