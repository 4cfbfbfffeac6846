//! Files and descriptors.

use std::convert::Infallible;

use hugetlbfs::{
    AllocMode, Create, Credentials, FallocateError, Hold, InodeKind, LARGEST, OpenError, Opening, Permissions,
    ReadError, SealError, Seals, Stat, TruncateError, UnlinkError,
};
use mm::{FileAccess, VmaFlags};
use units::{Blame, Bytes, HugeSize, InodeId, Ledger, MountId, Pid};

use super::pool::hstate;
use super::process::credentials;
use super::{BadFd, CallError, Env, NoSuchSize};
use crate::Fd;
use crate::process::OpenFile;

/// A call of `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCall<'a> {
    /// The mount.
    pub mount: MountId,
    /// The name; of no use for an unnamed file.
    pub name: &'a str,
    /// What the descriptor is to permit.
    pub access: FileAccess,
    /// May the file be made?
    pub create: Create,
    /// Empty it (`O_TRUNC`).
    pub truncate: Truncate,
}

/// Does `open` empty the file?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncate {
    /// It stays as it is.
    #[default]
    Keep,
    /// Its size becomes zero.
    Empty,
}

impl<'a> OpenCall<'a> {
    /// Opens for reading and writing, making the file if it is missing.
    #[must_use]
    pub const fn create(mount: MountId, name: &'a str) -> Self {
        Self { mount, name, access: FileAccess::ReadWrite, create: Create::IfMissing, truncate: Truncate::Keep }
    }

    /// What a file that is there must permit. Emptying it is writing, whatever the descriptor permits.
    fn wanted(&self) -> Permissions {
        let mut wanted = Permissions::empty();
        wanted.set(Permissions::READ, self.access.can_read());
        wanted.set(Permissions::WRITE, self.access.can_write() || self.truncate == Truncate::Empty);
        wanted
    }
}

bitflags::bitflags! {
    /// How a memory file is made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemfdFlags: u8 {
        /// It may be sealed (`MFD_ALLOW_SEALING`).
        const ALLOW_SEALING = 1 << 0;
        /// It can never be executed, and may be sealed (`MFD_NOEXEC_SEAL`).
        const NOEXEC_SEAL = 1 << 1;
    }
}

/// Why a file cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenCallError {
    /// An unnamed file must be writable, and is not created by that name.
    #[error("an unnamed file must be opened for writing")]
    UnnamedReadOnly,
    /// The file system said no.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a size cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FtruncateError {
    /// The descriptor is not open.
    #[error(transparent)]
    BadFd(#[from] BadFd),
    /// The descriptor does not permit writing.
    #[error("{0} is not open for writing")]
    NotWritable(Fd),
    /// The file said no.
    #[error(transparent)]
    Truncate(#[from] TruncateError),
}

/// What `fallocate` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallocateMode {
    /// Allocate, and let the size grow to cover it.
    Extend,
    /// Allocate; the size stays.
    KeepSize,
    /// Make a hole.
    PunchHole,
    /// Modes that no file system takes together.
    Contradictory,
    /// Zero, collapse or insert a range, which files of huge pages do not do.
    Unsupported,
}

/// Why a range cannot be allocated or punched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FallocateCallError {
    /// The descriptor is not open.
    #[error(transparent)]
    BadFd(#[from] BadFd),
    /// The descriptor does not permit writing.
    #[error("{0} is not open for writing")]
    NotWritable(Fd),
    /// Files of huge pages do not do that.
    #[error("files of huge pages are only allocated and punched")]
    Unsupported,
    /// The file said no.
    #[error(transparent)]
    Fallocate(#[from] FallocateError),
}

impl Blame for FallocateCallError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Fallocate(error) => error.ledger(),
            _ => None,
        }
    }
}

/// Why nothing can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadCallError {
    /// The descriptor is not open.
    #[error(transparent)]
    BadFd(#[from] BadFd),
    /// The descriptor does not permit reading.
    #[error("{0} is not open for reading")]
    NotReadable(Fd),
    /// Beyond the largest file; to Linux such an offset is negative.
    #[error("{0} lies beyond the largest file")]
    Offset(Bytes),
    /// The memory there is broken.
    #[error("the memory of the file at {0} is broken")]
    Poisoned(Bytes),
}

/// Why nothing can be written by `pwrite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteCallError {
    /// Beyond the largest file; to Linux such an offset is negative.
    #[error("{0} lies beyond the largest file")]
    Offset(Bytes),
    /// The descriptor is not open.
    #[error(transparent)]
    BadFd(#[from] BadFd),
    /// The descriptor does not permit writing.
    #[error("{0} is not open for writing")]
    NotWritable(Fd),
    /// Files of huge pages are written through mappings alone.
    #[error("files of huge pages are written through mappings alone")]
    Unsupported,
}

/// A memory file of base pages for which a size of huge pages is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page size is named, and huge pages are not asked for (`MFD_HUGETLB`)")]
pub struct SizeWithoutHuge;

/// Why a file cannot be given that size by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TruncateByNameError {
    /// No such file.
    #[error(transparent)]
    Open(#[from] hugetlbfs::OpenError),
    /// The file said no.
    #[error(transparent)]
    Truncate(#[from] hugetlbfs::TruncateError),
}

pub(super) fn open<P: Env>(p: &mut P, pid: Pid, call: &OpenCall<'_>) -> Result<Fd, CallError<OpenCallError>> {
    let by = credentials(p, pid)?;
    if call.create == Create::Unnamed && !call.access.can_write() {
        return Err(CallError::Failed(OpenCallError::UnnamedReadOnly));
    }
    let how = Opening { create: call.create, wanted: call.wanted() };
    let inode = hugetlbfs::open(p, &by, call.mount, call.name, how)
        .map_err(|error| CallError::Failed(OpenCallError::Open(error)))?;
    if call.truncate == Truncate::Empty {
        // Zero is a multiple of every page size, and files of a mount carry no seal against shrinking.
        let _ = hugetlbfs::truncate(p, inode, Bytes::ZERO);
    }
    add_file(p, pid, OpenFile { inode, access: call.access })
}

pub(super) fn unlink<P: Env>(p: &mut P, pid: Pid, mount: MountId, name: &str) -> Result<(), CallError<UnlinkError>> {
    let by = credentials(p, pid)?;
    Ok(hugetlbfs::unlink(p, &by, mount, name)?)
}

pub(super) fn truncate<P: Env>(
    p: &mut P,
    pid: Pid,
    mount: MountId,
    name: &str,
    size: Bytes,
) -> Result<(), CallError<TruncateByNameError>> {
    let by = credentials(p, pid)?;
    Ok(truncate_by(p, &by, mount, name, size)?)
}

pub(super) fn truncate_by<P: Env>(
    p: &mut P,
    by: &Credentials,
    mount: MountId,
    name: &str,
    size: Bytes,
) -> Result<(), TruncateByNameError> {
    TruncateError::check(size)?;
    let inode = hugetlbfs::look_up(p, by, mount, name, Permissions::WRITE)?;
    Ok(hugetlbfs::truncate(p, inode, size)?)
}

pub(super) fn memfd<P: Env>(
    p: &mut P,
    pid: Pid,
    size: Option<HugeSize>,
    flags: MemfdFlags,
) -> Result<Fd, CallError<NoSuchSize>> {
    require_process(p, pid)?;
    let hstate = hstate(p, size)?;
    let mut seals = if flags.is_empty() { Seals::SEAL } else { Seals::empty() };
    seals.set(Seals::EXEC, flags.contains(MemfdFlags::NOEXEC_SEAL));
    let inode = hugetlbfs::create_inode(p, InodeKind::Memfd, hstate.id, None, seals, Hold::Open);
    add_file(p, pid, OpenFile { inode, access: FileAccess::ReadWrite })
}

pub(super) fn close<P: Env>(p: &mut P, pid: Pid, fd: Fd) -> Result<(), CallError<BadFd>> {
    let closed =
        p.with_process(pid, |process| (process.remove_file(fd), process.remove_uffd(fd), process.remove_gmem(fd)));
    match closed.ok_or(CallError::NoProcess)? {
        (Some(file), ..) => hugetlbfs::release(p, file.inode, Hold::Open),
        (_, Some(uffd), _) => mm::release_uffd(p, uffd),
        (.., Some(file)) => gmem::release(p, file),
        (None, None, None) => return Err(BadFd(fd).into()),
    }
    Ok(())
}

pub(super) fn ftruncate<P: Env>(p: &mut P, pid: Pid, fd: Fd, size: Bytes) -> Result<(), CallError<FtruncateError>> {
    TruncateError::check(size).map_err(FtruncateError::Truncate)?;
    let file = file::<P, FtruncateError>(p, pid, fd)?;
    if !file.access.can_write() {
        return Err(CallError::Failed(FtruncateError::NotWritable(fd)));
    }
    hugetlbfs::truncate(p, file.inode, size).map_err(|error| CallError::Failed(error.into()))
}

pub(super) fn fallocate<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    mode: FallocateMode,
    offset: Bytes,
    len: Bytes,
) -> Result<(), CallError<FallocateCallError>> {
    let file = file::<P, FallocateCallError>(p, pid, fd)?;
    let failed = |error| Err(CallError::Failed(error));
    if offset > LARGEST || len > LARGEST {
        return failed(FallocateError::Negative.into());
    }
    if len.is_zero() {
        return failed(FallocateError::Empty.into());
    }
    if mode == FallocateMode::Contradictory {
        return failed(FallocateCallError::Unsupported);
    }
    if !file.access.can_write() {
        return failed(FallocateCallError::NotWritable(fd));
    }
    if offset.checked_add(len).is_none_or(|end| end > LARGEST) {
        return failed(FallocateError::TooLarge.into());
    }
    let origin = p.with_process(pid, |process| process.origin.clone()).ok_or(CallError::NoProcess)?;
    let done = match mode {
        FallocateMode::Extend => hugetlbfs::fallocate(p, file.inode, offset, len, AllocMode::Extend, &origin),
        FallocateMode::KeepSize => hugetlbfs::fallocate(p, file.inode, offset, len, AllocMode::KeepSize, &origin),
        FallocateMode::PunchHole => hugetlbfs::punch_hole(p, file.inode, offset, len),
        FallocateMode::Contradictory | FallocateMode::Unsupported => return failed(FallocateCallError::Unsupported),
    };
    done.map_err(|error| CallError::Failed(error.into()))
}

pub(super) fn pread<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    offset: Bytes,
    len: Bytes,
    keep: usize,
) -> Result<(Bytes, Vec<u8>), CallError<ReadCallError>> {
    if offset > LARGEST {
        return Err(CallError::Failed(ReadCallError::Offset(offset)));
    }
    let file = file::<P, ReadCallError>(p, pid, fd)?;
    if !file.access.can_read() {
        return Err(CallError::Failed(ReadCallError::NotReadable(fd)));
    }
    hugetlbfs::read(p, file.inode, offset, len, keep).map_err(|error| match error {
        ReadError::Poisoned(at) => CallError::Failed(ReadCallError::Poisoned(at)),
        _ => CallError::Failed(BadFd(fd).into()),
    })
}

pub(super) fn pwrite<P: Env>(
    p: &mut P,
    pid: Pid,
    fd: Fd,
    offset: Bytes,
) -> Result<Infallible, CallError<WriteCallError>> {
    if offset > LARGEST {
        return Err(CallError::Failed(WriteCallError::Offset(offset)));
    }
    let file = file::<P, WriteCallError>(p, pid, fd)?;
    let error = if file.access.can_write() { WriteCallError::Unsupported } else { WriteCallError::NotWritable(fd) };
    Err(CallError::Failed(error))
}

pub(super) fn fstat<P: Env>(p: &mut P, pid: Pid, fd: Fd) -> Result<Stat, CallError<BadFd>> {
    let file = file::<P, BadFd>(p, pid, fd)?;
    hugetlbfs::stat(p, file.inode).ok_or(CallError::Failed(BadFd(fd)))
}

pub(super) fn add_seals<P: Env>(p: &mut P, pid: Pid, fd: Fd, seals: Seals) -> Result<(), CallError<SealError>> {
    let open = p.with_process(pid, |process| process.file(fd)).ok_or(CallError::NoProcess)?;
    let file = open.ok_or(SealError::NoInode)?;
    let writable = writable_areas(p, file.inode);
    Ok(hugetlbfs::add_seals(p, file.inode, seals, writable)?)
}

pub(super) fn seals<P: Env>(p: &mut P, pid: Pid, fd: Fd) -> Result<Seals, CallError<BadFd>> {
    let file = file::<P, BadFd>(p, pid, fd)?;
    p.with_inode(file.inode, |inode| inode.seals).ok_or(CallError::Failed(BadFd(fd)))
}

/// Shared areas of a file that may be written now or after `mprotect`.
fn writable_areas<P: Env>(p: &mut P, inode: InodeId) -> u32 {
    let areas = p.with_mappings(inode, |m| m.iter().collect::<Vec<_>>()).unwrap_or_default();
    let mut writable = 0;
    for area in areas.into_iter().filter(|area| area.shared) {
        let flags = p.with_vmas(area.mm, |vmas| vmas.find(area.start).map(|vma| vma.flags)).flatten();
        writable += u32::from(flags.is_some_and(|flags| flags.contains(VmaFlags::MAY_WRITE)));
    }
    writable
}

fn file<P: Env, E: From<BadFd>>(p: &mut P, pid: Pid, fd: Fd) -> Result<OpenFile, CallError<E>> {
    let open = p.with_process(pid, |process| process.file(fd)).ok_or(CallError::NoProcess)?;
    open.ok_or_else(|| CallError::Failed(BadFd(fd).into()))
}

fn require_process<P: Env, E>(p: &mut P, pid: Pid) -> Result<(), CallError<E>> {
    p.with_process(pid, |_| ()).ok_or(CallError::NoProcess)
}

fn add_file<P: Env, E>(p: &mut P, pid: Pid, file: OpenFile) -> Result<Fd, CallError<E>> {
    p.with_process(pid, |process| process.add_file(file)).ok_or(CallError::NoProcess)
}
