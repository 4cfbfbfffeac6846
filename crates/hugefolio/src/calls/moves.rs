//! Where pages lie: pins, moves, and memory that breaks.

use hugetlb::{DissolveError, Dissolved};
use mm::{MemoryFailure, MoveScope, Pin, PinError, PinKind, SoftOfflined, Touch};
use units::{Bytes, Context, HugeCount, NodeId, Nodemask, Pfn, Pid, Vaddr};

use super::frames::{
    self, Cause, Frame, InjectError, Injection, MappingAt, MovePageError, SoftOfflineCallError, UnpoisonCallError,
};
use super::migrate::{self, MigratePagesError};
use super::pins::{self, ByteRange, NoPin, PinFileError};
use super::process::in_space;
use super::{CallError, Env, numa_maps};
use crate::text::{NumaMapsLine, Switch};
use crate::{Fd, PinId};

/// What can be done to pages where they lie.
pub trait Moves: Env + Sized {
    /// Pins the page at `addr` for a device or somebody outside: until [`Moves::unpin`] it is not moved, and a child that is forked
    /// gets a copy of it.
    ///
    /// # Errors
    /// Why the access fails.
    #[doc(alias("pin_user_pages", "VFIO_IOMMU_MAP_DMA"))]
    fn pin(&mut self, pid: Pid, addr: Vaddr, touch: Touch) -> Result<Pin, CallError<PinError>> {
        in_space(self, pid, |p, mm, origin| mm::pin(p, mm, origin, addr, touch, PinKind::Transfer))
    }

    /// Ends a pin.
    fn unpin(&mut self, pin: Pin) {
        mm::unpin(self, pin);
    }

    /// Ends a pin where perhaps nobody may wait: a device lets go in an interrupt. What has to be put off there is done by the next call of
    /// [`super::Admin::quiesce`], or by whoever needs it done.
    fn unpin_in(&mut self, pin: Pin, context: Context) {
        mm::unpin_in(self, pin, context);
    }

    /// Pins `count` huge pages from the one at `start` on, for as long as the process lives or until [`Moves::unpin_pages_of`].
    ///
    /// # Errors
    /// The first page that cannot be had, or cannot be where it may stay; none is pinned then.
    #[doc(alias("VFIO_IOMMU_MAP_DMA", "IORING_REGISTER_BUFFERS", "vmsplice"))]
    fn pin_pages_of(
        &mut self,
        pid: Pid,
        start: Vaddr,
        count: HugeCount,
        touch: Touch,
        kind: PinKind,
    ) -> Result<PinId, CallError<PinError>> {
        pins::pin(self, pid, start, count, touch, kind)
    }

    /// Pins a range of a memory file for a device, absent pages too, which are the file's from then on: `UDMABUF_CREATE`.
    ///
    /// # Errors
    /// A file that is no memory file, is not sealed as it has to be, or a range that it does not have; or a page that cannot be had.
    #[doc(alias("UDMABUF_CREATE", "memfd_pin_folios"))]
    fn pin_file(&mut self, pid: Pid, fd: Fd, range: ByteRange) -> Result<PinId, CallError<PinFileError>> {
        pins::pin_file(self, pid, fd, range)
    }

    /// Ends what [`Moves::pin_pages_of`] or [`Moves::pin_file`] began.
    ///
    /// # Errors
    /// The process has no such pin.
    #[doc(alias("VFIO_IOMMU_UNMAP_DMA", "IORING_UNREGISTER_BUFFERS"))]
    fn unpin_pages_of(&mut self, pid: Pid, pin: PinId, context: Context) -> Result<(), CallError<NoPin>> {
        pins::unpin(self, pid, pin, context)
    }

    /// `move_pages`: where the page at `addr` lies in the end.
    ///
    /// # Errors
    /// Why it did not move.
    fn move_page(
        &mut self,
        pid: Pid,
        addr: Vaddr,
        node: NodeId,
        scope: MoveScope,
    ) -> Result<NodeId, CallError<MovePageError>> {
        in_space(self, pid, |p, mm, origin| frames::move_page(p, mm, origin, addr, node, scope))
    }

    /// The node of the page at `addr`, as `move_pages` without nodes tells it.
    ///
    /// # Errors
    /// There is no area or no page.
    fn node_of(&mut self, pid: Pid, addr: Vaddr) -> Result<NodeId, CallError<MovePageError>> {
        in_space(self, pid, |p, mm, _| Ok(frames::folio_at(p, mm, addr)?.node))
    }

    /// The frame at `addr`, as `/proc/PID/pagemap` tells it.
    fn frame_at(&mut self, pid: Pid, addr: Vaddr) -> Option<Pfn> {
        let mm = self.with_process(pid, |process| process.mm)?;
        let size = self.with_vmas(mm, |vmas| vmas.find(addr).map(|vma| vma.size)).flatten()?;
        let start = addr.align_down(size.bytes());
        let offset = addr.since(start);
        let pfn = self.with_table(mm, |table| {
            let mapped = table.piece_at(start, size, offset).state.is_page();
            table.folio_at(start).map(|(pfn, _)| pfn).filter(|_| mapped)
        });
        Some(pfn.flatten()?.offset(self.page_shift().pages_floor(offset)))
    }

    /// How many entries map the base page `pfn` of a huge page, in all address spaces.
    #[doc(alias = "page_mapcount")]
    fn mapcount_of(&mut self, pfn: Pfn) -> Option<u32> {
        mm::mapcount_of(self, pfn)
    }

    /// What is at `addr` in the page around it: an entry, how large it is, and what is counted of the page. Nothing where there is no area.
    fn mapping_at(&mut self, pid: Pid, addr: Vaddr) -> Option<MappingAt> {
        frames::mapping_at(self, pid, addr)
    }

    /// The lines of `/proc/PID/numa_maps`, one for each area; nothing for a process that is gone.
    fn numa_maps(&mut self, pid: Pid) -> Option<Vec<NumaMapsLine>> {
        numa_maps::lines(self, pid)
    }

    /// `migrate_pages`: moves every page of the process that lies on a node of `from` to the node of `to` that stands in its place. Says how
    /// many stayed.
    ///
    /// # Errors
    /// None of the nodes can be used; or there is no page to move to, and those before it have moved.
    fn migrate_pages(
        &mut self,
        pid: Pid,
        from: Nodemask,
        to: Nodemask,
        scope: MoveScope,
    ) -> Result<HugeCount, CallError<MigratePagesError>> {
        in_space(self, pid, |p, mm, origin| migrate::migrate_pages(p, mm, origin, from, to, scope))
    }

    /// Makes the memory of a range break, page by page, as far as the first that does not: `MADV_HWPOISON` and `MADV_SOFT_OFFLINE`. What
    /// became of each huge page.
    ///
    /// # Errors
    /// The first page that stays as it is; those before it do not.
    fn inject(
        &mut self,
        pid: Pid,
        start: Vaddr,
        len: Bytes,
        how: Injection,
    ) -> Result<Vec<MemoryFailure>, CallError<InjectError>> {
        in_space(self, pid, |p, mm, origin| frames::inject(p, mm, origin, start, len, how))
    }

    /// A page breaks. Once one did in earnest, none is trusted again.
    #[doc(alias("hard_offline_page", "corrupt-pfn"))]
    fn memory_failure(&mut self, pfn: Pfn, cause: Cause) -> MemoryFailure {
        if cause == Cause::Hardware {
            self.with_sysctls(|sysctls| sysctls.real_failure = true);
        }
        let early = self.with_sysctls(|sysctls| sysctls.early_kill);
        mm::memory_failure(self, pfn, |victim| frames::told(victim, None, early))
    }

    /// `vm.memory_failure_early_kill`: whether all who have a page mapped hear at once that it broke, or by their next access.
    #[doc(alias = "sysctl_memory_failure_early_kill")]
    fn tell_of_failures_early(&mut self, switch: Switch) {
        self.with_sysctls(|sysctls| sysctls.early_kill = switch);
    }

    /// `vm.enable_soft_offline`: whether pages that work may be taken out of use.
    #[doc(alias = "sysctl_enable_soft_offline")]
    fn permit_soft_offline(&mut self, switch: Switch) {
        self.with_sysctls(|sysctls| sysctls.soft_offline = switch);
    }

    /// What a frame is a part of.
    #[doc(alias("kpageflags", "kpagecount"))]
    fn frame(&mut self, pfn: Pfn) -> Frame {
        frames::frame(self, pfn)
    }

    /// Takes a page that works out of use: `/sys/devices/system/memory/soft_offline_page`.
    ///
    /// # Errors
    /// Why it stays in use.
    fn soft_offline(&mut self, pfn: Pfn) -> Result<SoftOfflined, SoftOfflineCallError> {
        frames::soft_offline(self, pfn, Nodemask::ALL)
    }

    /// Trusts a page again that was marked for a test: `unpoison-pfn`.
    ///
    /// # Errors
    /// It is not marked, used, or memory has really failed.
    fn unpoison(&mut self, pfn: Pfn) -> Result<(), UnpoisonCallError> {
        if self.with_sysctls(|sysctls| sysctls.real_failure) {
            return Err(UnpoisonCallError::RealFailure);
        }
        Ok(mm::unpoison(self, pfn)?)
    }

    /// Makes the free huge page that a frame is a part of ordinary memory.
    ///
    /// # Errors
    /// It is in use, needed for a reservation, or cannot leave its pool.
    fn dissolve(&mut self, pfn: Pfn) -> Result<Dissolved, DissolveError> {
        hugetlb::dissolve(self, pfn)
    }
}

impl<P: Env> Moves for P {}
