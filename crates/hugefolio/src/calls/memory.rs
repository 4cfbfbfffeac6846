//! Mapping and touching.

use mm::{FaultError, MapFlags, MapRequest, MmapError, Place, Prot, Share, Source, Touch};
use units::{Blame, Bytes, HugeSize, Ledger, Pid, Vaddr};

use super::pool::hstate;
use super::process::in_space;
use super::{BadFd, CallError, Env, NoSuchSize};
use crate::Fd;

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapSource {
    /// An open file.
    File(Fd),
    /// Zeroed huge pages of that size, or of the default size.
    Anonymous(Option<HugeSize>),
}

/// A call of `mmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCall {
    /// Where.
    pub place: Place,
    /// How many bytes; rounded up to whole pages.
    pub len: Bytes,
    /// What may be done.
    pub prot: Prot,
    /// Who sees what is written.
    pub share: Share,
    /// What is mapped.
    pub source: MapSource,
    /// Where in the file it starts.
    pub offset: Bytes,
    /// How.
    pub flags: MapFlags,
}

impl MapCall {
    /// A readable and writable mapping of `len` bytes of default huge pages, anywhere.
    #[must_use]
    pub const fn anonymous(len: Bytes, share: Share) -> Self {
        Self {
            place: Place::Anywhere,
            len,
            prot: Prot::READ.union(Prot::WRITE),
            share,
            source: MapSource::Anonymous(None),
            offset: Bytes::ZERO,
            flags: MapFlags::empty(),
        }
    }

    /// A readable and writable mapping of the first `len` bytes of a file, anywhere.
    #[must_use]
    pub const fn file(fd: Fd, len: Bytes, share: Share) -> Self {
        Self { source: MapSource::File(fd), ..Self::anonymous(len, share) }
    }

    /// The same with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: MapFlags) -> Self {
        Self { flags, ..self }
    }
}

/// Why a mapping cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapCallError {
    /// The descriptor is not open.
    #[error(transparent)]
    BadFd(#[from] BadFd),
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The mapping itself.
    #[error(transparent)]
    Mmap(#[from] MmapError),
}

impl Blame for MapCallError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::BadFd(_) | Self::NoSuchSize(_) => None,
            Self::Mmap(error) => error.ledger(),
        }
    }
}

pub(super) fn mmap<P: Env>(p: &mut P, pid: Pid, call: &MapCall) -> Result<Vaddr, CallError<MapCallError>> {
    in_space(p, pid, |p, mm, origin| {
        let base = p.page_shift().bytes();
        if !call.offset.is_multiple_of(base) {
            return Err(MmapError::MisalignedOffset { offset: call.offset, page: base }.into());
        }
        let source = match call.source {
            MapSource::File(fd) => {
                let file = p.with_process(pid, |process| process.file(fd)).flatten().ok_or(BadFd(fd))?;
                Source::File { inode: file.inode, access: file.access }
            }
            MapSource::Anonymous(size) => Source::Anonymous(hstate(p, size)?.id),
        };
        let request = MapRequest {
            place: call.place,
            len: call.len,
            prot: call.prot,
            share: call.share,
            source,
            offset: call.offset,
            flags: call.flags,
        };
        Ok(mm::mmap(p, mm, origin, &request)?)
    })
}

pub(super) fn read_byte<P: Env>(p: &mut P, pid: Pid, addr: Vaddr) -> Result<u8, CallError<FaultError>> {
    in_space(p, pid, |p, mm, origin| {
        let hit = mm::fault(p, mm, origin, addr, Touch::Read)?;
        Ok(p.with_contents(hit.pfn, |contents| contents.read(hit.pfn, hit.offset)))
    })
}

pub(super) fn write_byte<P: Env>(p: &mut P, pid: Pid, addr: Vaddr, value: u8) -> Result<(), CallError<FaultError>> {
    in_space(p, pid, |p, mm, origin| {
        let hit = mm::fault(p, mm, origin, addr, Touch::Write)?;
        p.with_contents(hit.pfn, |contents| contents.write(hit.pfn, hit.offset, value));
        Ok(())
    })
}
