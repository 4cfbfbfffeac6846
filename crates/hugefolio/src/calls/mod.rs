//! The system calls.
//!
//! Written once, over [`Env`]: a [`crate::Machine`] and an [`crate::OnCpu`] have them alike. Arguments are checked in Linux's
//! order, so that of two mistakes the same one is reported.

mod admin;
mod blocks;
mod cgroup;
mod cpuset;
mod file;
mod frames;
mod gmem;
mod knob;
mod memory;
mod migrate;
mod mount;
mod moves;
mod numa_maps;
mod pages;
mod pins;
mod policies;
mod pool;
mod process;
mod segment;
mod uffd;

pub use self::gmem::{ConvertCall, GmemCallError, GmemConvertError, GmemResult, GuestAccess, GuestMemory};
pub use admin::Admin;
pub use blocks::Pages;
pub use cgroup::{CgroupCounter, CgroupLimitError};
pub use cpuset::CpusetError;
pub use file::{
    FallocateCallError, FallocateMode, FtruncateError, MemfdFlags, OpenCall, OpenCallError, ReadCallError,
    SizeWithoutHuge, Truncate, TruncateByNameError, WriteCallError,
};
pub use frames::{
    Cause, Frame, InjectError, Injection, MappingAt, MovePageError, Poison, SoftOfflineCallError, UnpoisonCallError,
};
pub use knob::{KnobError, Writer};
pub use memory::{MapCall, MapCallError, MapSource};
pub use migrate::MigratePagesError;
pub use mount::MountCallError;
pub use moves::Moves;
pub use pins::{ByteRange, NoPin, PinFileError};
pub use policies::{NoPolicyNodes, Policies};
pub use pool::{DemoteCallError, NamedSize, NoSuchSize, PoolView, ResizeCallError};
pub use segment::{NoSegment, SegmentCall, SegmentCallError, SegmentId};
pub use uffd::{CopyCall, UffdCallError, UffdResult};

use std::convert::Infallible;

use charge::EnterError;
use hugetlb::Hstates;
use hugetlbfs::{Credentials, Origin, SealError, Seals, Stat, UnlinkError};
use mm::{
    Advice, AdviseError, AttachError, DetachError, FaultError, FileAccess, FillError, ForkError, MincoreError,
    MlockError, MprotectError, MremapError, MunmapError, PageState, Place, Prot, ProtectError, RegisterError,
    RemapRequest, Smaps, UffdModes, UnregisterError, WriteProtection,
};
use units::{Blame, Bytes, CgroupId, HugeSize, Ledger, MountId, Pid, Vaddr, VaddrRange};

use crate::machine::Sysctls;
use crate::text::HugetlbPages;
use crate::{Fd, Process};

/// What the calls need: the rooms below, the table of sizes and a section over processes.
pub trait Env: mm::Env + ::gmem::Env {
    /// Looks at the table of huge page sizes.
    fn with_hstates<R>(&mut self, f: impl FnOnce(&Hstates) -> R) -> R;

    /// The section of the files of `/proc/sys/vm` that are not about one pool.
    fn with_sysctls<R>(&mut self, f: impl FnOnce(&mut Sysctls) -> R) -> R;

    /// A new process.
    fn new_process(&mut self, process: Process) -> Pid;

    /// The section of one process; nothing where it is gone.
    fn with_process<R>(&mut self, pid: Pid, f: impl FnOnce(&mut Process) -> R) -> Option<R>;

    /// All processes.
    fn pids(&mut self) -> Vec<Pid>;

    /// Ends a process.
    fn drop_process(&mut self, pid: Pid) -> Option<Process>;
}

/// Why a call of a process fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// There is no such process.
    #[error("no such process")]
    NoProcess,
    /// The call itself failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl<E: Blame> Blame for CallError<E> {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoProcess => None,
            Self::Failed(error) => error.ledger(),
        }
    }
}

/// No such descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not open")]
pub struct BadFd(pub Fd);

/// What processes of a machine ask for: the system calls. Sizes and offsets are in bytes, counts in huge pages.
pub trait Calls: Env + Sized {
    /// A new process, in the root control group, on the first node.
    fn spawn(&mut self) -> Pid {
        process::spawn(self)
    }

    /// A new process in a control group, on the first node; nothing means the root group.
    ///
    /// # Errors
    /// The group can hold no process; there is none then.
    fn spawn_in(&mut self, cgroup: Option<CgroupId>) -> Result<Pid, EnterError> {
        process::spawn_in(self, cgroup)
    }

    /// As [`Calls::spawn_in`], of a user.
    ///
    /// # Errors
    /// The group can hold no process; there is none then.
    fn spawn_with(&mut self, credentials: Credentials, cgroup: Option<CgroupId>) -> Result<Pid, EnterError> {
        process::spawn_with(self, credentials, cgroup)
    }

    /// A new process that runs, allocates and pays as `origin` says.
    ///
    /// # Errors
    /// Its group can hold no process; there is none then.
    fn spawn_as(&mut self, origin: Origin) -> Result<Pid, EnterError> {
        process::spawn_as(self, origin)
    }

    /// A child: it shares what is shared, copies the rest on write, and has no reservation.
    ///
    /// # Errors
    /// No page for its page table; there is no child then.
    fn fork(&mut self, parent: Pid) -> Result<Pid, CallError<ForkError>> {
        process::fork(self, parent)
    }

    /// Ends a process: its address space first, then its descriptors. Says whether there was one.
    fn exit(&mut self, pid: Pid) -> bool {
        process::exit(self, pid)
    }

    /// `mmap`.
    ///
    /// # Errors
    /// A bad argument, or the ledger that refused to promise the pages.
    fn mmap(&mut self, pid: Pid, call: &MapCall) -> Result<Vaddr, CallError<MapCallError>> {
        memory::mmap(self, pid, call)
    }

    /// `munmap`.
    ///
    /// # Errors
    /// A bad range, or an edge inside a huge page.
    fn munmap(&mut self, pid: Pid, start: Vaddr, len: Bytes) -> Result<(), CallError<MunmapError>> {
        process::in_space(self, pid, |p, mm, _| mm::munmap(p, mm, start, len))
    }

    /// `mremap`: moves or shrinks; returns where the mapping is then.
    ///
    /// # Errors
    /// What cannot be moved or shrunk so.
    fn mremap(&mut self, pid: Pid, request: &RemapRequest) -> Result<Vaddr, CallError<MremapError>> {
        process::in_space(self, pid, |p, mm, _| mm::mremap(p, mm, request))
    }

    /// `mprotect`.
    ///
    /// # Errors
    /// What stopped it; areas before that keep what they were given.
    fn mprotect(&mut self, pid: Pid, start: Vaddr, len: Bytes, prot: Prot) -> Result<(), CallError<MprotectError>> {
        process::in_space(self, pid, |p, mm, _| mm::mprotect(p, mm, start, len, prot))
    }

    /// `madvise`.
    ///
    /// # Errors
    /// The first area that refused, or a hole.
    fn madvise(&mut self, pid: Pid, start: Vaddr, len: Bytes, advice: Advice) -> Result<(), CallError<AdviseError>> {
        process::in_space(self, pid, |p, mm, origin| mm::madvise(p, mm, origin, start, len, advice))
    }

    /// `mlock`: for huge pages, touches the range.
    ///
    /// # Errors
    /// A hole, or a page that cannot be had.
    fn mlock(&mut self, pid: Pid, start: Vaddr, len: Bytes) -> Result<(), CallError<MlockError>> {
        process::in_space(self, pid, |p, mm, origin| mm::mlock(p, mm, origin, start, len))
    }

    /// `munlock`: changes nothing.
    ///
    /// # Errors
    /// A hole.
    fn munlock(&mut self, pid: Pid, start: Vaddr, len: Bytes) -> Result<(), CallError<MlockError>> {
        process::in_space(self, pid, |p, mm, _| mm::munlock(p, mm, start, len))
    }

    /// `msync`: changes nothing.
    ///
    /// # Errors
    /// A hole.
    fn msync(&mut self, pid: Pid, start: Vaddr, len: Bytes) -> Result<(), CallError<MincoreError>> {
        process::in_space(self, pid, |p, mm, _| mm::msync(p, mm, start, len))
    }

    /// `mincore`, as runs of base pages that are alike.
    ///
    /// # Errors
    /// A hole.
    fn mincore(
        &mut self,
        pid: Pid,
        start: Vaddr,
        len: Bytes,
    ) -> Result<Vec<(VaddrRange, bool)>, CallError<MincoreError>> {
        process::in_space(self, pid, |p, mm, _| mm::mincore(p, mm, start, len))
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// The signal that the access would raise, with its cause.
    fn read_byte(&mut self, pid: Pid, addr: Vaddr) -> Result<u8, CallError<FaultError>> {
        memory::read_byte(self, pid, addr)
    }

    /// Writes one byte.
    ///
    /// # Errors
    /// The signal that the access would raise, with its cause.
    fn write_byte(&mut self, pid: Pid, addr: Vaddr, value: u8) -> Result<(), CallError<FaultError>> {
        memory::write_byte(self, pid, addr, value)
    }

    /// The page at `addr` as `/proc/PID/pagemap` shows it.
    fn page_state(&mut self, pid: Pid, addr: Vaddr) -> Option<PageState> {
        let mm = self.with_process(pid, |process| process.mm)?;
        Some(mm::page_state(self, mm, addr))
    }

    /// The areas over `range` as `/proc/PID/smaps` shows them, added up.
    fn smaps(&mut self, pid: Pid, range: VaddrRange) -> Option<Smaps> {
        let mm = self.with_process(pid, |process| process.mm)?;
        Some(mm::smaps(self, mm, range))
    }

    /// `HugetlbPages:` of `/proc/PID/status`, in bytes.
    fn hugetlb_pages(&mut self, pid: Pid) -> Option<Bytes> {
        let mm = self.with_process(pid, |process| process.mm)?;
        self.with_table(mm, |table| table.mapped())
    }

    /// The HugeTLB line of `/proc/PID/status`; it prints as the kernel does.
    fn status(&mut self, pid: Pid) -> Option<HugetlbPages> {
        self.hugetlb_pages(pid).map(HugetlbPages)
    }

    /// `open` of a file of a mount.
    ///
    /// # Errors
    /// Nothing is opened or made.
    fn open(&mut self, pid: Pid, call: &OpenCall<'_>) -> Result<Fd, CallError<OpenCallError>> {
        file::open(self, pid, call)
    }

    /// `memfd_create` with `MFD_HUGETLB`.
    ///
    /// # Errors
    /// No pool of that size.
    fn memfd(&mut self, pid: Pid, size: Option<HugeSize>, flags: MemfdFlags) -> Result<Fd, CallError<NoSuchSize>> {
        file::memfd(self, pid, size, flags)
    }

    /// `close`.
    ///
    /// # Errors
    /// It is not open.
    fn close(&mut self, pid: Pid, fd: Fd) -> Result<(), CallError<BadFd>> {
        file::close(self, pid, fd)
    }

    /// `ftruncate`.
    ///
    /// # Errors
    /// Nothing is changed.
    fn ftruncate(&mut self, pid: Pid, fd: Fd, size: Bytes) -> Result<(), CallError<FtruncateError>> {
        file::ftruncate(self, pid, fd, size)
    }

    /// `fallocate`.
    ///
    /// # Errors
    /// Pages allocated before a failure stay.
    fn fallocate(
        &mut self,
        pid: Pid,
        fd: Fd,
        mode: FallocateMode,
        offset: Bytes,
        len: Bytes,
    ) -> Result<(), CallError<FallocateCallError>> {
        file::fallocate(self, pid, fd, mode, offset, len)
    }

    /// `pread`: how many bytes there are up to `len`, and the first `keep` of them.
    ///
    /// # Errors
    /// The descriptor is not open for reading.
    fn pread(
        &mut self,
        pid: Pid,
        fd: Fd,
        offset: Bytes,
        len: Bytes,
        keep: usize,
    ) -> Result<(Bytes, Vec<u8>), CallError<ReadCallError>> {
        file::pread(self, pid, fd, offset, len, keep)
    }

    /// `pwrite`. Files of huge pages are written through mappings alone.
    ///
    /// # Errors
    /// Always.
    fn pwrite(&mut self, pid: Pid, fd: Fd, offset: Bytes) -> Result<Infallible, CallError<WriteCallError>> {
        file::pwrite(self, pid, fd, offset)
    }

    /// `fstat`.
    ///
    /// # Errors
    /// The descriptor is not open.
    fn fstat(&mut self, pid: Pid, fd: Fd) -> Result<Stat, CallError<BadFd>> {
        file::fstat(self, pid, fd)
    }

    /// `fcntl(F_ADD_SEALS)`.
    ///
    /// # Errors
    /// The file may not be sealed so.
    fn add_seals(&mut self, pid: Pid, fd: Fd, seals: Seals) -> Result<(), CallError<SealError>> {
        file::add_seals(self, pid, fd, seals)
    }

    /// `fcntl(F_GET_SEALS)`.
    ///
    /// # Errors
    /// The descriptor is not open.
    fn seals(&mut self, pid: Pid, fd: Fd) -> Result<Seals, CallError<BadFd>> {
        file::seals(self, pid, fd)
    }

    /// `userfaultfd`, with `UFFD_FEATURE_SIGBUS`: an access that would have to wait fails. [`Calls::close`] closes it. Nothing
    /// if there is no such process.
    fn userfaultfd(&mut self, pid: Pid) -> Option<Fd> {
        uffd::open(self, pid)
    }

    /// `UFFDIO_REGISTER`.
    ///
    /// # Errors
    /// The first area that cannot be watched; nothing is changed.
    fn uffd_register(
        &mut self,
        pid: Pid,
        fd: Fd,
        start: Vaddr,
        len: Bytes,
        modes: UffdModes,
    ) -> UffdResult<RegisterError> {
        uffd::register(self, pid, fd, start, len, modes)
    }

    /// `UFFDIO_UNREGISTER`.
    ///
    /// # Errors
    /// The first area that cannot be left alone; nothing is changed.
    fn uffd_unregister(&mut self, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<UnregisterError> {
        uffd::unregister(self, pid, fd, start, len)
    }

    /// `UFFDIO_COPY`.
    ///
    /// # Errors
    /// The first page that cannot be filled, and how much was.
    fn uffd_copy(&mut self, pid: Pid, fd: Fd, call: &CopyCall<'_>) -> UffdResult<FillError> {
        uffd::copy(self, pid, fd, call)
    }

    /// `UFFDIO_CONTINUE`.
    ///
    /// # Errors
    /// The first page that cannot be mapped, and how much was.
    fn uffd_continue(&mut self, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<FillError> {
        uffd::map_cached(self, pid, fd, start, len)
    }

    /// `UFFDIO_ZEROPAGE`, which huge pages do not have.
    ///
    /// # Errors
    /// Always.
    fn uffd_zero(&mut self, pid: Pid, fd: Fd, start: Vaddr, len: Bytes) -> UffdResult<FillError> {
        uffd::zero(self, pid, fd, start, len)
    }

    /// `UFFDIO_WRITEPROTECT`.
    ///
    /// # Errors
    /// What stopped it; areas before that are done.
    fn uffd_write_protect(
        &mut self,
        pid: Pid,
        fd: Fd,
        start: Vaddr,
        len: Bytes,
        how: WriteProtection,
    ) -> UffdResult<ProtectError> {
        uffd::write_protect(self, pid, fd, start, len, how)
    }

    /// `unlink` of a file of a mount, by a process.
    ///
    /// # Errors
    /// No such mount or file, or a directory that does not let the process remove it.
    fn unlink_as(&mut self, pid: Pid, mount: MountId, name: &str) -> Result<(), CallError<UnlinkError>> {
        file::unlink(self, pid, mount, name)
    }

    /// `truncate` of a file of a mount, by name and by a process.
    ///
    /// # Errors
    /// No such file, one that the process may not write, or a size that it cannot have.
    fn truncate_as(
        &mut self,
        pid: Pid,
        mount: MountId,
        name: &str,
        size: Bytes,
    ) -> Result<(), CallError<TruncateByNameError>> {
        file::truncate(self, pid, mount, name, size)
    }

    /// `shmget` with `SHM_HUGETLB`: a new segment, whose pages are promised now unless the call says otherwise.
    ///
    /// # Errors
    /// A bad length, no pool of that size, or the ledger that refused to promise the pages.
    fn shmget(&mut self, pid: Pid, call: &SegmentCall) -> Result<SegmentId, CallError<SegmentCallError>> {
        segment::shmget(self, pid, call)
    }

    /// `shmat`: maps a segment; returns where. A removed one can be attached as long as somebody has it attached.
    ///
    /// # Errors
    /// No such segment, or no room for it.
    fn shmat(
        &mut self,
        pid: Pid,
        segment: SegmentId,
        place: Place,
        access: FileAccess,
    ) -> Result<Vaddr, CallError<AttachError>> {
        segment::shmat(self, pid, segment, place, access)
    }

    /// `shmdt`.
    ///
    /// # Errors
    /// No segment is attached there.
    fn shmdt(&mut self, pid: Pid, addr: Vaddr) -> Result<(), CallError<DetachError>> {
        segment::shmdt(self, pid, addr)
    }

    /// `shmctl(IPC_RMID)`: the segment goes when nobody has it attached any more.
    ///
    /// # Errors
    /// It is gone already.
    fn shmrm(&mut self, segment: SegmentId) -> Result<(), NoSegment> {
        if hugetlbfs::remove_segment(self, segment.0) { Ok(()) } else { Err(NoSegment) }
    }
}

impl<P: Env> Calls for P {}
