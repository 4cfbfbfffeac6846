//! Threads: every section is one lock held for one closure, every scope a gate that guards no data.

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
use slotmap::Key;
use sync::Rank;
use sync::locks::Gate;
use units::{
    Access, Event, GmemId, HstateId, HugeCount, HugeRange, InodeId, MmId, MountId, NodeId, PageCount, PageShift, Pfn,
    Pid, ResvMapId, Scope, Scopes, Site, SubpoolId, UffdId, Vaddr, VmaId,
};
use vmemmap::Vmemmap;
use zone::tuning::PcpTuning;

use crate::machine::Sysctls;
use crate::shared::GATES;
use crate::{OnCpu, Process, descriptors};

impl Scopes for OnCpu<'_> {
    fn scope<R>(&mut self, scope: Scope, f: impl FnOnce(&mut Self) -> R) -> R {
        let gates = &self.shared.gates;
        let (major, minor) = scope.rank();
        let rank = Rank(major, minor);
        let (gate, access) = match scope {
            Scope::Resize(size) => (pick(&gates.resize, u64::from(size.shift())), Access::Write),
            Scope::AddressSpace(mm, access) => (pick(&gates.space, mm.data().as_ffi()), access),
            Scope::Inode(inode, access) => (pick(&gates.inode, inode.data().as_ffi()), access),
            Scope::Gmem(file, access) => (pick(&gates.gmem, file.data().as_ffi()), access),
            Scope::GmemFault(file, index) => {
                (pick(&gates.gmem_fault, file.data().as_ffi().wrapping_mul(31) ^ index.get()), Access::Write)
            }
            Scope::FaultMutex(inode, index) => {
                (pick(&gates.fault, inode.data().as_ffi().wrapping_mul(31) ^ index.get()), Access::Write)
            }
            Scope::VmaLock(inode, access) => (pick(&gates.vma, inode.data().as_ffi()), access),
            Scope::FileMapping(inode, access) => (pick(&gates.mapping, inode.data().as_ffi()), access),
            Scope::Folio(pfn) => (pick(&gates.folio, pfn.get()), Access::Write),
        };
        match access {
            Access::Read => gate.read(rank, || f(self)),
            Access::Write => gate.write(rank, || f(self)),
        }
    }

    #[track_caller]
    fn refused(&mut self, site: Site) -> bool {
        self.cpu.faults.refuses(site)
    }

    #[inline]
    fn may_refuse(&self) -> bool {
        self.cpu.faults.is_armed()
    }

    fn emit(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.cpu.events {
            events.push(event());
        }
    }
}

/// Objects share gates by hash.
#[expect(clippy::cast_possible_truncation, reason = "below the number of gates")]
fn pick(gates: &[Gate], key: u64) -> &Gate {
    &gates[(key % GATES as u64) as usize]
}

impl memmap::Env for OnCpu<'_> {
    fn with_memmap<R>(&mut self, pfn: Pfn, f: impl FnOnce(&mut MemMap) -> R) -> R {
        self.shared.memmap.with(self.shared.frames.node_of(pfn), f)
    }

    fn with_contents<R>(&mut self, pfn: Pfn, f: impl FnOnce(&mut Contents) -> R) -> R {
        self.shared.contents.with(self.shared.frames.node_of(pfn), f)
    }
}

impl policy::Env for OnCpu<'_> {
    fn with_topology<R>(&mut self, f: impl FnOnce(&Topology) -> R) -> R {
        f(self.shared.pages.topology())
    }

    fn weights(&mut self) -> policy::Weights {
        self.shared.sysctls.with(|sysctls| sysctls.weights)
    }
}

impl Zones for OnCpu<'_> {
    fn topology(&self) -> &Topology {
        self.shared.pages.topology()
    }

    fn rules(&self) -> &Rules {
        self.shared.pages.rules()
    }

    fn cookie(&self) -> Cookie {
        self.shared.pages.cookie()
    }

    fn cpu_node(&self) -> NodeId {
        self.cpu.node
    }

    fn cpu_nodes(&self) -> &[NodeId] {
        self.shared.pages.cpu_nodes()
    }

    fn quick(&self) -> &Quick {
        self.shared.pages.quick()
    }

    fn with_zone<R>(&mut self, zone: ZoneRef, f: impl FnOnce(ZoneParts<'_>) -> R) -> Option<R> {
        let place = page_alloc::index(zone);
        let slot = self.shared.zones.get(place)?.as_ref()?;
        let lists = self.cpu.lists.get_mut(place)?.as_mut()?;
        Some(slot.with(|slot| f(slot.parts(lists))))
    }

    fn with_node<R>(&mut self, node: NodeId, f: impl FnOnce(&mut NodeState) -> R) -> R {
        self.shared.nodes.with(|nodes| match nodes.get_mut(node.index()) {
            Some(state) => f(state),
            None => f(&mut NodeState::default()),
        })
    }

    fn list_sizes(&mut self, zone: ZoneRef) -> Vec<ListSize> {
        let id = self.cpu.id();
        self.with_zone(zone, |parts| ListSize::of(id, parts.lists)).into_iter().collect()
    }

    /// Each processor follows when it next has something to do with the zone.
    fn retune(&mut self, zone: ZoneRef, tuning: PcpTuning) {
        if let Some(Some(slot)) = self.shared.zones.get(page_alloc::index(zone)) {
            slot.with(|slot| slot.retune(tuning));
        }
    }

    /// What other processors keep belongs to the threads that have them: they give it back when they next come to the zone.
    fn drain_all(&mut self, zone: ZoneRef) {
        if let Some(Some(slot)) = self.shared.zones.get(page_alloc::index(zone)) {
            slot.with(|slot| slot.ask_to_drain());
        }
        let _ = self.with_zone(zone, |_| ());
    }

    fn emit_page(&mut self, _: impl FnOnce() -> PageEvent) {}
}

impl page_alloc::Env for OnCpu<'_> {
    fn with_blocks<R>(&mut self, f: impl FnOnce(&mut Blocks) -> R) -> R {
        self.shared.blocks.with(f)
    }

    fn with_cma<R>(&mut self, f: impl FnOnce(&mut CmaAreas) -> R) -> R {
        self.shared.cma.with(f)
    }

    fn vacate(&mut self, pfn: Pfn, reason: MoveReason) -> Moved {
        mm::vacate(self, pfn, reason)
    }
}

impl vmemmap::Env for OnCpu<'_> {
    fn with_vmemmap<R>(&mut self, f: impl FnOnce(&mut Vmemmap) -> R) -> R {
        self.shared.vmemmap.with(f)
    }

    fn release_boot_frames(&mut self, start: Pfn, pages: PageCount) {
        descriptors::release(self, start, pages);
    }
}

impl charge::Env for OnCpu<'_> {
    fn with_charges<R>(&mut self, f: impl FnOnce(&mut Charges) -> R) -> R {
        self.shared.charges.with(f)
    }
}

impl hugetlb::Env for OnCpu<'_> {
    fn hstate(&mut self, id: HstateId) -> Hstate {
        self.shared.config.hstates.get(id)
    }

    fn with_pool<R>(&mut self, id: HstateId, f: impl FnOnce(&mut Pool) -> R) -> R {
        let ledger = &self.shared.pools[id.index()];
        ledger.pool.with(|pool| {
            let result = f(pool);
            ledger.surplus.show(pool.surplus().get());
            result
        })
    }

    fn surplus_pages(&mut self, id: HstateId) -> HugeCount {
        HugeCount::new(self.shared.pools[id.index()].surplus.number())
    }

    fn with_records<R>(&mut self, at: HugeSlot, f: impl FnOnce(&mut Records) -> R) -> R {
        self.shared.records[at.hstate.index()].with(at, f)
    }

    fn with_shelf<R>(&mut self, id: HstateId, node: NodeId, f: impl FnOnce(&mut Shelf) -> R) -> R {
        self.shared.shelves[id.index()][node.index()].with(f)
    }

    fn new_resv_map(&mut self, map: ResvMap) -> ResvMapId {
        self.shared.resv_maps.insert(map)
    }

    fn with_resv_map<R>(&mut self, id: ResvMapId, f: impl FnOnce(&mut ResvMap) -> R) -> Option<R> {
        self.shared.resv_maps.with(id, f)
    }

    fn drop_resv_map(&mut self, id: ResvMapId) -> Option<ResvMap> {
        self.shared.resv_maps.remove(id)
    }

    fn with_subpool<R>(&mut self, id: SubpoolId, f: impl FnOnce(&mut Subpool) -> R) -> Option<R> {
        self.shared.subpools.with(id, f)
    }

    fn with_deferred<R>(&mut self, f: impl FnOnce(&mut DeferredWork) -> R) -> R {
        self.shared.deferred.with(f)
    }

    fn new_subpool(&mut self, subpool: Subpool) -> SubpoolId {
        self.shared.subpools.insert(subpool)
    }

    fn drop_subpool(&mut self, id: SubpoolId) -> Option<Subpool> {
        self.shared.subpools.remove(id)
    }
}

impl filemap::Env for OnCpu<'_> {
    fn with_cache<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut PageCache) -> R) -> Option<R> {
        self.shared.caches.with(inode, f)
    }

    fn with_mappings<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut FileMappings) -> R) -> Option<R> {
        self.shared.mappings.with(inode, f)
    }

    fn unmap_area_range(&mut self, area: &MappedArea, range: HugeRange, markers: Markers) {
        mm::unmap_area_range(self, area, range, markers);
    }
}

impl hugetlbfs::Env for OnCpu<'_> {
    fn new_inode(&mut self, inode: Inode) -> InodeId {
        let id = self.shared.inodes.insert(inode);
        self.shared.caches.insert(id, PageCache::new());
        self.shared.mappings.insert(id, FileMappings::new());
        id
    }

    fn with_inode<R>(&mut self, id: InodeId, f: impl FnOnce(&mut Inode) -> R) -> Option<R> {
        self.shared.inodes.with(id, f)
    }

    fn drop_inode(&mut self, id: InodeId) {
        self.shared.inodes.remove(id);
        self.shared.caches.remove(id);
        self.shared.mappings.remove(id);
    }

    fn new_mount(&mut self, mount: Mount) -> MountId {
        self.shared.mounts.insert(mount)
    }

    fn with_mount<R>(&mut self, id: MountId, f: impl FnOnce(&mut Mount) -> R) -> Option<R> {
        self.shared.mounts.with(id, f)
    }

    fn drop_mount(&mut self, id: MountId) -> Option<Mount> {
        self.shared.mounts.remove(id)
    }
}

impl gmem::Env for OnCpu<'_> {
    fn new_gmem(&mut self, file: Gmem) -> GmemId {
        self.shared.gmems.insert(file)
    }

    fn with_gmem<R>(&mut self, id: GmemId, f: impl FnOnce(&mut Gmem) -> R) -> Option<R> {
        self.shared.gmems.with(id, f)
    }

    fn drop_gmem(&mut self, id: GmemId) -> Option<Gmem> {
        self.shared.gmems.remove(id)
    }
}

impl mm::Env for OnCpu<'_> {
    fn new_space(&mut self) -> MmId {
        let id = self.shared.spaces.insert(VmaTree::new());
        self.shared.tables.insert(id, PageTable::new());
        id
    }

    fn drop_space(&mut self, mm: MmId) {
        self.shared.spaces.remove(mm);
        self.shared.tables.remove(mm);
    }

    fn new_vma_id(&mut self) -> VmaId {
        self.shared.next_vma.with(|next| {
            *next += 1;
            VmaId::new(*next)
        })
    }

    fn with_vmas<R>(&mut self, mm: MmId, f: impl FnOnce(&mut VmaTree) -> R) -> Option<R> {
        self.shared.spaces.with(mm, f)
    }

    fn with_table<R>(&mut self, mm: MmId, f: impl FnOnce(&mut PageTable) -> R) -> Option<R> {
        self.shared.tables.with(mm, f)
    }

    fn new_uffd(&mut self, uffd: Userfault) -> UffdId {
        self.shared.uffds.insert(uffd)
    }

    fn with_uffd<R>(&mut self, id: UffdId, f: impl FnOnce(&mut Userfault) -> R) -> Option<R> {
        self.shared.uffds.with(id, f)
    }

    fn drop_uffd(&mut self, id: UffdId) -> Option<Userfault> {
        self.shared.uffds.remove(id)
    }

    fn task_size(&mut self) -> Vaddr {
        self.shared.config.task_size
    }

    fn page_shift(&mut self) -> PageShift {
        self.shared.config.page_shift
    }

    fn paging(&mut self) -> mm::Paging {
        self.shared.config.paging
    }

    fn behaviour(&mut self) -> mm::Behaviour {
        self.shared.config.behaviour
    }
}

impl crate::calls::Env for OnCpu<'_> {
    fn with_hstates<R>(&mut self, f: impl FnOnce(&hugetlb::Hstates) -> R) -> R {
        f(&self.shared.config.hstates)
    }

    fn with_sysctls<R>(&mut self, f: impl FnOnce(&mut Sysctls) -> R) -> R {
        self.shared.sysctls.with(f)
    }

    fn new_process(&mut self, process: Process) -> Pid {
        self.shared.processes.insert(process)
    }

    fn pids(&mut self) -> Vec<Pid> {
        self.shared.processes.keys()
    }

    fn with_process<R>(&mut self, pid: Pid, f: impl FnOnce(&mut Process) -> R) -> Option<R> {
        self.shared.processes.with(pid, f)
    }

    fn drop_process(&mut self, pid: Pid) -> Option<Process> {
        self.shared.processes.remove(pid)
    }
}
