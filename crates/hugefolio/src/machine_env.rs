//! The single owner: every section is a plain borrow, every scope a plain call. Debug builds check the nesting of scopes, so a
//! test with one owner finds an inversion.

use charge::Charges;
use filemap::{FileMappings, MappedArea, Markers, PageCache};
use gmem::Gmem;
use hugetlb::{DeferredWork, Hstate, Pool, Records, ResvMap, Shelf, Subpool};
use hugetlbfs::{Inode, Mount};
use memmap::{Contents, HugeSlot, MemMap};
use mm::{PageTable, Userfault, VmaTree};
use page_alloc::{
    Blocks, CmaAreas, Cookie, ListSize, MoveReason, Moved, NodeState, PageEvent, Quick, Rules, ZoneParts, Zones,
};
use policy::{Topology, ZoneRef};
use sync::Rank;
use units::{
    Event, GmemId, HstateId, HugeRange, InodeId, MmId, MountId, NodeId, PageCount, PageShift, Pfn, Pid, ResvMapId,
    Scope, Scopes, Site, SubpoolId, UffdId, Vaddr, VmaId,
};
use vmemmap::Vmemmap;
use zone::tuning::PcpTuning;

use crate::machine::Sysctls;
use crate::{Machine, Process, descriptors};

impl Scopes for Machine {
    #[inline]
    fn scope<R>(&mut self, scope: Scope, f: impl FnOnce(&mut Self) -> R) -> R {
        if cfg!(debug_assertions) {
            let (major, minor) = scope.rank();
            self.held.enter(Rank(major, minor));
        }
        let result = f(self);
        if cfg!(debug_assertions) {
            self.held.leave();
        }
        result
    }

    #[inline]
    #[track_caller]
    fn refused(&mut self, site: Site) -> bool {
        self.faults.refuses(site) || self.is_full(site)
    }

    #[inline]
    fn may_refuse(&self) -> bool {
        self.faults.is_armed()
    }

    #[inline]
    fn emit(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }
}

impl memmap::Env for Machine {
    #[inline]
    fn with_memmap<R>(&mut self, _: Pfn, f: impl FnOnce(&mut MemMap) -> R) -> R {
        f(&mut self.memmap)
    }

    #[inline]
    fn with_contents<R>(&mut self, _: Pfn, f: impl FnOnce(&mut Contents) -> R) -> R {
        f(&mut self.contents)
    }
}

impl policy::Env for Machine {
    #[inline]
    fn with_topology<R>(&mut self, f: impl FnOnce(&Topology) -> R) -> R {
        f(self.pages.topology())
    }

    fn weights(&mut self) -> policy::Weights {
        self.sysctls.weights
    }
}

impl Zones for Machine {
    #[inline]
    fn topology(&self) -> &Topology {
        self.pages.topology()
    }

    #[inline]
    fn rules(&self) -> &Rules {
        self.pages.rules()
    }

    #[inline]
    fn cookie(&self) -> Cookie {
        self.pages.cookie()
    }

    #[inline]
    fn cpu_node(&self) -> NodeId {
        self.pages.cpu_node()
    }

    fn cpu_nodes(&self) -> &[NodeId] {
        self.pages.cpu_nodes()
    }

    #[inline]
    fn quick(&self) -> &Quick {
        self.pages.quick()
    }

    #[inline]
    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        self.pages.with_zone(zone, f)
    }

    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R {
        self.pages.with_node(node, f)
    }

    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize> {
        self.pages.list_sizes(zone)
    }

    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning) {
        self.pages.retune(zone, tuning);
    }

    fn drain_all(&mut self, zone: ZoneRef) {
        self.pages.drain_all(zone);
    }

    #[inline]
    fn emit_page(&mut self, event: impl FnOnce() -> PageEvent) {
        self.pages.emit_page(event);
    }
}

impl page_alloc::Env for Machine {
    #[inline]
    fn with_blocks<R>(&mut self, f: impl FnOnce(&mut Blocks) -> R) -> R {
        f(&mut self.blocks)
    }

    fn with_cma<R>(&mut self, f: impl FnOnce(&mut CmaAreas) -> R) -> R {
        f(&mut self.cma)
    }

    fn vacate(&mut self, pfn: Pfn, reason: MoveReason) -> Moved {
        mm::vacate(self, pfn, reason)
    }
}

impl vmemmap::Env for Machine {
    fn with_vmemmap<R>(&mut self, f: impl FnOnce(&mut Vmemmap) -> R) -> R {
        f(&mut self.vmemmap)
    }

    fn release_boot_frames(&mut self, start: Pfn, pages: PageCount) {
        descriptors::release(self, start, pages);
    }
}

impl charge::Env for Machine {
    #[inline]
    fn with_charges<R>(&mut self, f: impl FnOnce(&mut Charges) -> R) -> R {
        f(&mut self.charges)
    }
}

impl hugetlb::Env for Machine {
    #[inline]
    fn hstate(&mut self, id: HstateId) -> Hstate {
        self.config.hstates.get(id)
    }

    #[inline]
    fn with_pool<R>(&mut self, id: HstateId, f: impl FnOnce(&mut Pool) -> R) -> R {
        f(&mut self.pools[id.index()])
    }

    #[inline]
    fn with_records<R>(&mut self, at: HugeSlot, f: impl FnOnce(&mut Records) -> R) -> R {
        f(self.pools[at.hstate.index()].records_mut())
    }

    #[inline]
    fn with_shelf<R>(&mut self, id: HstateId, node: NodeId, f: impl FnOnce(&mut Shelf) -> R) -> R {
        f(&mut self.shelves[id.index()][node.index()])
    }

    fn new_resv_map(&mut self, map: ResvMap) -> ResvMapId {
        self.resv_maps.insert(map)
    }

    #[inline]
    fn with_resv_map<R>(&mut self, id: ResvMapId, f: impl FnOnce(&mut ResvMap) -> R) -> Option<R> {
        self.resv_maps.get_mut(id).map(f)
    }

    fn drop_resv_map(&mut self, id: ResvMapId) -> Option<ResvMap> {
        self.resv_maps.remove(id)
    }

    #[inline]
    fn with_subpool<R>(&mut self, id: SubpoolId, f: impl FnOnce(&mut Subpool) -> R) -> Option<R> {
        self.subpools.get_mut(id).map(f)
    }

    #[inline]
    fn with_deferred<R>(&mut self, f: impl FnOnce(&mut DeferredWork) -> R) -> R {
        f(&mut self.deferred)
    }

    fn new_subpool(&mut self, subpool: Subpool) -> SubpoolId {
        self.subpools.insert(subpool)
    }

    fn drop_subpool(&mut self, id: SubpoolId) -> Option<Subpool> {
        self.subpools.remove(id)
    }
}

impl filemap::Env for Machine {
    #[inline]
    fn with_cache<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut PageCache) -> R) -> Option<R> {
        self.caches.get_mut(inode).map(f)
    }

    #[inline]
    fn with_mappings<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut FileMappings) -> R) -> Option<R> {
        self.mappings.get_mut(inode).map(f)
    }

    fn unmap_area_range(&mut self, area: &MappedArea, range: HugeRange, markers: Markers) {
        mm::unmap_area_range(self, area, range, markers);
    }
}

impl hugetlbfs::Env for Machine {
    fn new_inode(&mut self, inode: Inode) -> InodeId {
        let id = self.inodes.insert(inode);
        self.caches.insert(id, PageCache::new());
        self.mappings.insert(id, FileMappings::new());
        id
    }

    #[inline]
    fn with_inode<R>(&mut self, id: InodeId, f: impl FnOnce(&mut Inode) -> R) -> Option<R> {
        self.inodes.get_mut(id).map(f)
    }

    fn drop_inode(&mut self, id: InodeId) {
        self.inodes.remove(id);
        self.caches.remove(id);
        self.mappings.remove(id);
    }

    fn new_mount(&mut self, mount: Mount) -> MountId {
        self.mounts.insert(mount)
    }

    fn with_mount<R>(&mut self, id: MountId, f: impl FnOnce(&mut Mount) -> R) -> Option<R> {
        self.mounts.get_mut(id).map(f)
    }

    fn drop_mount(&mut self, id: MountId) -> Option<Mount> {
        self.mounts.remove(id)
    }
}

impl gmem::Env for Machine {
    fn new_gmem(&mut self, file: Gmem) -> GmemId {
        self.gmems.insert(file)
    }

    fn with_gmem<R>(&mut self, id: GmemId, f: impl FnOnce(&mut Gmem) -> R) -> Option<R> {
        self.gmems.get_mut(id).map(f)
    }

    fn drop_gmem(&mut self, id: GmemId) -> Option<Gmem> {
        self.gmems.remove(id)
    }
}

impl mm::Env for Machine {
    fn new_space(&mut self) -> MmId {
        let id = self.spaces.insert(VmaTree::new());
        self.tables.insert(id, PageTable::new());
        id
    }

    fn drop_space(&mut self, mm: MmId) {
        self.spaces.remove(mm);
        self.tables.remove(mm);
    }

    fn new_vma_id(&mut self) -> VmaId {
        self.next_vma += 1;
        VmaId::new(self.next_vma)
    }

    #[inline]
    fn with_vmas<R>(&mut self, mm: MmId, f: impl FnOnce(&mut VmaTree) -> R) -> Option<R> {
        self.spaces.get_mut(mm).map(f)
    }

    #[inline]
    fn with_table<R>(&mut self, mm: MmId, f: impl FnOnce(&mut PageTable) -> R) -> Option<R> {
        self.tables.get_mut(mm).map(f)
    }

    fn new_uffd(&mut self, uffd: Userfault) -> UffdId {
        self.uffds.insert(uffd)
    }

    fn with_uffd<R>(&mut self, id: UffdId, f: impl FnOnce(&mut Userfault) -> R) -> Option<R> {
        self.uffds.get_mut(id).map(f)
    }

    fn drop_uffd(&mut self, id: UffdId) -> Option<Userfault> {
        self.uffds.remove(id)
    }

    #[inline]
    fn task_size(&mut self) -> Vaddr {
        self.config.task_size
    }

    #[inline]
    fn page_shift(&mut self) -> PageShift {
        self.config.page_shift
    }

    #[inline]
    fn paging(&mut self) -> mm::Paging {
        self.config.paging
    }

    #[inline]
    fn behaviour(&mut self) -> mm::Behaviour {
        self.config.behaviour
    }
}

impl crate::calls::Env for Machine {
    #[inline]
    fn with_hstates<R>(&mut self, f: impl FnOnce(&hugetlb::Hstates) -> R) -> R {
        f(&self.config.hstates)
    }

    #[inline]
    fn with_sysctls<R>(&mut self, f: impl FnOnce(&mut Sysctls) -> R) -> R {
        f(&mut self.sysctls)
    }

    fn new_process(&mut self, process: Process) -> Pid {
        self.processes.insert(process)
    }

    #[inline]
    fn pids(&mut self) -> Vec<Pid> {
        self.processes.keys().collect()
    }

    fn with_process<R>(&mut self, pid: Pid, f: impl FnOnce(&mut Process) -> R) -> Option<R> {
        self.processes.get_mut(pid).map(f)
    }

    fn drop_process(&mut self, pid: Pid) -> Option<Process> {
        self.processes.remove(pid)
    }
}
