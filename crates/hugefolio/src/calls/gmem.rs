//! Memory of guests.

use core::ops::Range;

use ::gmem::{
    AllocateError, Asker, Attribute, ConvertError, CreateError, CreateRequest, GmemFlags, GuestFault, GuestPage,
    HostFault, NoPage, Pin, PunchError, ResizeError, SplitByHandError, ViewError,
};
use hugetlb::Found;
use policy::PolicyInForce;
use units::{Blame, Bytes, Context, GmemId, HugeSize, Ledger, Order, PageIndex, Pfn, Pid};

use super::{CallError, Env};
use crate::process::GmemView;
use crate::text::Switch;
use crate::{Fd, Process};

/// Why a call about a file of guest memory fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GmemCallError<E> {
    /// The descriptor stands for no such file.
    #[error("{0} is no file of guest memory")]
    NotGmem(Fd),
    /// A range that is empty, or no whole base pages, or ends where nothing is.
    #[error("{len} from {offset} on are not whole pages of the file")]
    BadRange {
        /// Its start.
        offset: Bytes,
        /// Its length.
        len: Bytes,
    },
    /// The call itself failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl<E: Blame> Blame for GmemCallError<E> {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NotGmem(_) | Self::BadRange { .. } => None,
            Self::Failed(error) => error.ledger(),
        }
    }
}

/// Why attributes were not changed, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GmemConvertError {
    /// It is switched off.
    #[error("pages of guests may not change between private and shared")]
    Off,
    /// Bits that nobody knows.
    #[error("{0:#x} are no attributes, or no flags")]
    UnknownBits(u64),
    /// The range.
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

impl Blame for GmemConvertError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Off | Self::UnknownBits(_) => None,
            Self::Convert(error) => error.ledger(),
        }
    }
}

/// What `KVM_SET_MEMORY_ATTRIBUTES2` is asked for, bit by bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvertCall {
    /// Where the range begins.
    pub offset: Bytes,
    /// Its length.
    pub size: Bytes,
    /// The attributes: [`ConvertCall::PRIVATE`] or nothing.
    pub attributes: u64,
    /// None is known.
    pub flags: u64,
}

impl ConvertCall {
    /// The guest's alone.
    #[doc(alias = "KVM_MEMORY_ATTRIBUTE_PRIVATE")]
    pub const PRIVATE: u64 = 1 << 3;

    /// A range that becomes what `to` says.
    #[must_use]
    pub const fn new(offset: Bytes, size: Bytes, to: Attribute) -> Self {
        let attributes = if matches!(to, Attribute::Private) { Self::PRIVATE } else { 0 };
        Self { offset, size, attributes, flags: 0 }
    }
}

/// What an access of the guest found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestAccess {
    /// The page.
    pub page: GuestPage,
    /// The byte that is there now.
    pub value: u8,
}

/// What a call about a file of guest memory answers.
pub type GmemResult<T, E> = Result<T, CallError<GmemCallError<E>>>;

/// What can be done with the memory of guests. Offsets count from the start of a file.
pub trait GuestMemory: Env + Sized {
    /// `KVM_CREATE_GUEST_MEMFD`: a file of guest memory, of base pages or of huge pages that it is allotted at once.
    ///
    /// # Errors
    /// A request that contradicts itself, or the ledger that refused the pages.
    fn gmem_create(
        &mut self,
        pid: Pid,
        size: Bytes,
        flags: GmemFlags,
        page: Option<HugeSize>,
    ) -> Result<Fd, CallError<CreateError>> {
        let cgroup = self.with_process(pid, |process| process.origin.cgroup).ok_or(CallError::NoProcess)?;
        let shift = self.page_shift();
        let order = page.and_then(|page| page.order(shift)).unwrap_or_default();
        let hstate = self.with_hstates(|all| all.iter().find(|h| Some(h.size) == page).map(|h| h.id));
        let file = ::gmem::create(self, &CreateRequest { size, flags, order, hstate, cgroup })?;
        ::gmem::bind(self, file, Some(Pfn::new(0)));
        self.with_process(pid, |process| process.add_gmem(file)).ok_or(CallError::NoProcess)
    }

    /// The file that a descriptor stands for.
    fn gmem_of(&mut self, pid: Pid, fd: Fd) -> Option<GmemId> {
        self.with_process(pid, |process| process.gmem(fd)).flatten()
    }

    /// The guest sees the first page at that frame of its own; nothing takes the file away from it. A new file is bound at frame 0.
    ///
    /// # Errors
    /// No such file.
    #[doc(alias = "KVM_SET_USER_MEMORY_REGION2")]
    fn gmem_bind(&mut self, pid: Pid, fd: Fd, at: Option<Pfn>) -> GmemResult<(), NoPage> {
        let file = file(self, pid, fd)?;
        ::gmem::bind(self, file, at);
        Ok(())
    }

    /// `fallocate`: pages of a range, rounded outwards, that are missing.
    ///
    /// # Errors
    /// The first that cannot be had; those before it stay.
    fn gmem_allocate(&mut self, pid: Pid, fd: Fd, offset: Bytes, len: Bytes) -> GmemResult<(), AllocateError> {
        let (file, by) = asked(self, pid, fd)?;
        let range = pages_of(self, file, offset, len)?;
        Ok(::gmem::allocate(self, file, range, &by).map_err(GmemCallError::Failed)?)
    }

    /// `fallocate` with a hole: whole pages, of the size that the file is made of, are removed.
    ///
    /// # Errors
    /// Not whole pages, or somebody holds a part of one; nothing is removed.
    fn gmem_punch(&mut self, pid: Pid, fd: Fd, offset: Bytes, len: Bytes) -> GmemResult<(), PunchError> {
        let file = file(self, pid, fd)?;
        let range = pages_of(self, file, offset, len)?;
        Ok(::gmem::punch(self, file, range).map_err(GmemCallError::Failed)?)
    }

    /// `ftruncate`: only to the size that the file has.
    ///
    /// # Errors
    /// Another size.
    fn gmem_truncate(&mut self, pid: Pid, fd: Fd, size: Bytes) -> GmemResult<(), ResizeError> {
        let file = file(self, pid, fd)?;
        Ok(::gmem::truncate(self, file, size).map_err(GmemCallError::Failed)?)
    }

    /// `KVM_SET_MEMORY_ATTRIBUTES2`: pages of a range become private or shared.
    ///
    /// # Errors
    /// What was asked for makes no sense, or the first page in the way: those before its batch are converted.
    fn gmem_convert(&mut self, pid: Pid, fd: Fd, call: &ConvertCall) -> GmemResult<(), GmemConvertError> {
        let file = file(self, pid, fd)?;
        if self.with_sysctls(|sysctls| sysctls.conversion) == Switch::Off {
            return Err(GmemCallError::Failed(GmemConvertError::Off).into());
        }
        let unknown = call.flags | call.attributes & !ConvertCall::PRIVATE;
        if unknown != 0 {
            return Err(GmemCallError::Failed(GmemConvertError::UnknownBits(unknown)).into());
        }
        let range = pages_of(self, file, call.offset, call.size)?;
        let to = if call.attributes == 0 { Attribute::Shared } else { Attribute::Private };
        Ok(::gmem::convert(self, file, range, to).map_err(|error| GmemCallError::Failed(error.into()))?)
    }

    /// Whether pages of guests may change between private and shared.
    fn permit_conversion(&mut self, switch: Switch) {
        self.with_sysctls(|sysctls| sysctls.conversion = switch);
    }

    /// `mmap` of a part of the file by the host; nothing is there until it is touched.
    ///
    /// # Errors
    /// The file may not be mapped, or is shorter.
    fn gmem_map(&mut self, pid: Pid, fd: Fd, offset: Bytes, len: Bytes) -> GmemResult<GmemView, ViewError> {
        let file = file(self, pid, fd)?;
        let range = pages_of(self, file, offset, len)?;
        let view = ::gmem::map_host(self, file, range).map_err(GmemCallError::Failed)?;
        let view = GmemView { file, view };
        self.with_process(pid, |process| process.add_view(view)).ok_or(CallError::NoProcess)?;
        Ok(view)
    }

    /// `munmap` of such a mapping.
    ///
    /// # Errors
    /// The process has none like it.
    fn gmem_unmap(&mut self, pid: Pid, view: GmemView) -> Result<(), CallError<ViewError>> {
        let had = self.with_process(pid, |process| process.remove_view(view)).ok_or(CallError::NoProcess)?;
        if !had {
            return Err(ViewError::NoView.into());
        }
        Ok(::gmem::unmap_host(self, view.file, view.view)?)
    }

    /// The host reads a byte by a mapping.
    ///
    /// # Errors
    /// Why the access fails.
    fn gmem_read(&mut self, pid: Pid, view: GmemView, offset: Bytes) -> Result<u8, CallError<HostFault>> {
        let (pfn, at) = touched(self, pid, view, offset)?;
        Ok(self.with_contents(pfn, |contents| contents.read(pfn, at)))
    }

    /// The host writes a byte by a mapping.
    ///
    /// # Errors
    /// Why the access fails.
    fn gmem_write(&mut self, pid: Pid, view: GmemView, offset: Bytes, value: u8) -> Result<(), CallError<HostFault>> {
        let (pfn, at) = touched(self, pid, view, offset)?;
        self.with_contents(pfn, |contents| contents.write(pfn, at, value));
        Ok(())
    }

    /// The host pins the page of a byte for a device.
    ///
    /// # Errors
    /// Why the access fails.
    fn gmem_pin(&mut self, pid: Pid, view: GmemView, offset: Bytes) -> Result<Pin, CallError<HostFault>> {
        let by = asker(self, pid)?;
        let index = page_of(self, offset);
        Ok(::gmem::host_pin(self, view.file, view.view, index, &by)?)
    }

    /// Ends such a pin.
    fn gmem_unpin(&mut self, pin: Pin, context: Context) {
        ::gmem::unpin(self, pin, context);
    }

    /// The guest reads a byte, or writes one.
    ///
    /// # Errors
    /// There is no page, or it is broken.
    fn guest_access(
        &mut self,
        pid: Pid,
        fd: Fd,
        offset: Bytes,
        write: Option<u8>,
    ) -> GmemResult<GuestAccess, GuestFault> {
        let (file, by) = asked(self, pid, fd)?;
        let index = page_of(self, offset);
        let page = ::gmem::guest_fault(self, file, index, &by).map_err(GmemCallError::Failed)?;
        let at = inside(self, offset);
        let value = self.with_contents(page.pfn, |contents| {
            write.into_iter().for_each(|value| contents.write(page.pfn, at, value));
            contents.read(page.pfn, at)
        });
        Ok(GuestAccess { page, value })
    }

    /// The size of the largest leaf by which the guest could map a page now; nothing where the page is not there.
    fn guest_leaf(&mut self, pid: Pid, fd: Fd, offset: Bytes) -> Option<Order> {
        let file = self.gmem_of(pid, fd)?;
        let index = page_of(self, offset);
        ::gmem::largest_leaf(self, file, index)
    }

    /// `mbind` of a part of the file: where its pages come from, whoever touches them first; nothing: as he wants it.
    ///
    /// # Errors
    /// No such file, or not whole pages.
    fn gmem_policy(
        &mut self,
        pid: Pid,
        fd: Fd,
        offset: Bytes,
        len: Bytes,
        policy: Option<PolicyInForce>,
    ) -> GmemResult<(), NoPage> {
        let file = file(self, pid, fd)?;
        let range = pages_of(self, file, offset, len)?;
        ::gmem::set_policy(self, file, range, policy);
        Ok(())
    }

    /// A page breaks.
    ///
    /// # Errors
    /// It is not in memory.
    fn gmem_memory_failure(&mut self, pid: Pid, fd: Fd, offset: Bytes) -> GmemResult<Found, NoPage> {
        let file = file(self, pid, fd)?;
        let index = page_of(self, offset);
        Ok(::gmem::memory_failure(self, file, index).map_err(GmemCallError::Failed)?)
    }

    /// Splits the folio that a private page is in into smaller ones.
    ///
    /// # Errors
    /// There is no page, or its folio cannot be split so.
    fn gmem_split(&mut self, pid: Pid, fd: Fd, offset: Bytes, to: Order) -> GmemResult<(), SplitByHandError> {
        let file = file(self, pid, fd)?;
        let index = page_of(self, offset);
        Ok(::gmem::split(self, file, index, to).map_err(GmemCallError::Failed)?)
    }

    /// Tries again to put together what is private and still in pieces.
    ///
    /// # Errors
    /// No such file.
    fn gmem_merge(&mut self, pid: Pid, fd: Fd) -> GmemResult<(), NoPage> {
        let file = file(self, pid, fd)?;
        ::gmem::merge_private(self, file);
        Ok(())
    }
}

impl<P: Env> GuestMemory for P {}

/// A child has the descriptors and the mappings of its parent, and nothing mapped yet.
pub(super) fn inherit<P: Env>(p: &mut P, mut child: Process) -> Process {
    for (_, file) in child.gmems().collect::<Vec<_>>() {
        ::gmem::hold(p, file);
    }
    let mut views = Vec::new();
    for &GmemView { file, view } in child.views() {
        let range = p.with_gmem(file, |gmem| gmem.views().find(|(id, _)| *id == view).map(|(_, view)| view.pages()));
        if let Some(range) = range.flatten()
            && let Ok(view) = ::gmem::map_host(p, file, range)
        {
            views.push(GmemView { file, view });
        }
    }
    child.set_views(views);
    child
}

/// A process is gone, and with it its mappings and descriptors.
pub(super) fn leave<P: Env>(p: &mut P, process: &Process) {
    for &GmemView { file, view } in process.views() {
        let ended = ::gmem::unmap_host(p, file, view);
        debug_assert_eq!(ended, Ok(()), "a mapping keeps its file");
    }
    for (_, file) in process.gmems() {
        ::gmem::release(p, file);
    }
}

fn file<P: Env, E>(p: &mut P, pid: Pid, fd: Fd) -> Result<GmemId, CallError<GmemCallError<E>>> {
    let file = p.with_process(pid, |process| process.gmem(fd)).ok_or(CallError::NoProcess)?;
    file.ok_or(CallError::Failed(GmemCallError::NotGmem(fd)))
}

fn asker<P: Env, E>(p: &mut P, pid: Pid) -> Result<Asker, CallError<E>> {
    p.with_process(pid, |process| {
        let origin = &process.origin;
        Asker { local: origin.local, allowed: origin.allowed, policy: origin.policy, cgroup: origin.cgroup }
    })
    .ok_or(CallError::NoProcess)
}

fn asked<P: Env, E>(p: &mut P, pid: Pid, fd: Fd) -> Result<(GmemId, Asker), CallError<GmemCallError<E>>> {
    Ok((file(p, pid, fd)?, asker(p, pid)?))
}

/// Whole base pages of the file.
fn pages_of<P: Env, E>(
    p: &mut P,
    file: GmemId,
    offset: Bytes,
    len: Bytes,
) -> Result<Range<PageIndex>, CallError<GmemCallError<E>>> {
    let shift = p.page_shift();
    let size = shift.total(p.with_gmem(file, |file| file.pages()).unwrap_or_default());
    let whole = |at: Bytes| at.is_multiple_of(shift.bytes());
    match offset.checked_add(len) {
        Some(end) if !len.is_zero() && whole(offset) && whole(len) && end <= size => {
            Ok(page_of(p, offset)..page_of(p, end))
        }
        _ => Err(CallError::Failed(GmemCallError::BadRange { offset, len })),
    }
}

fn page_of<P: Env>(p: &mut P, offset: Bytes) -> PageIndex {
    PageIndex::new(p.page_shift().pages_floor(offset).get())
}

fn inside<P: Env>(p: &mut P, offset: Bytes) -> Bytes {
    offset - offset.round_down(p.page_shift().bytes())
}

fn touched<P: Env>(p: &mut P, pid: Pid, view: GmemView, offset: Bytes) -> Result<(Pfn, Bytes), CallError<HostFault>> {
    let by = asker(p, pid)?;
    let index = page_of(p, offset);
    if p.with_process(pid, |process| process.views().contains(&view)) != Some(true) {
        return Err(HostFault::Outside(index).into());
    }
    let pfn = ::gmem::host_fault(p, view.file, view.view, index, &by)?;
    Ok((pfn, inside(p, offset)))
}
