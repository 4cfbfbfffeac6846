//! One machine, many threads.

use std::collections::BTreeSet;

use charge::Charges;
use filemap::{FileMappings, PageCache};
use hugetlb::{DeferredWork, Pool, ResvMap, Shelf, Subpool};
use hugetlbfs::{Inode, Mount};
use memmap::{Contents, MemMap};
use mm::{PageTable, Userfault, VmaTree};
use page_alloc::{Blocks, CmaAreas, NodeState, OwnLists, PageAllocator, ZoneSlot, Zones};
use sync::locks::{Gate, Glance, Section};
use units::{CpuId, Event, GmemId, InodeId, MmId, MountId, NodeId, Pid, ResvMapId, SubpoolId, UffdId};

use vmemmap::Vmemmap;

use crate::machine::{Config, Sysctls};
use crate::objects::{Places, Spread};
use crate::regions::{ByNode, BySlot, Frames};
use crate::{FaultPlan, Machine, Process};

/// Gates of one scope kind; objects share them by hash.
pub(crate) const GATES: usize = 64;

/// The rank of each section, all inside every scope. No two are ever held together; the numbers only say so to debug builds.
pub(crate) mod rank {
    use sync::Rank;

    pub(crate) const PROCESSES: Rank = Rank(20, 0);
    pub(crate) const VMAS: Rank = Rank(21, 0);
    pub(crate) const CACHES: Rank = Rank(22, 0);
    pub(crate) const MAPPINGS: Rank = Rank(23, 0);
    pub(crate) const INODES: Rank = Rank(24, 0);
    pub(crate) const MOUNTS: Rank = Rank(25, 0);
    pub(crate) const TABLES: Rank = Rank(26, 0);
    pub(crate) const RESV_MAPS: Rank = Rank(27, 0);
    pub(crate) const SUBPOOLS: Rank = Rank(28, 0);
    pub(crate) const CHARGES: Rank = Rank(29, 0);
    pub(crate) const POOLS: Rank = Rank(30, 0);
    pub(crate) const SHELVES: Rank = Rank(31, 0);
    pub(crate) const ZONES: Rank = Rank(32, 0);
    pub(crate) const MEMMAP: Rank = Rank(33, 0);
    pub(crate) const CONTENTS: Rank = Rank(34, 0);
    pub(crate) const CPUS: Rank = Rank(35, 0);
    pub(crate) const SYSCTLS: Rank = Rank(36, 0);
    pub(crate) const UFFDS: Rank = Rank(37, 0);
    pub(crate) const NODES: Rank = Rank(38, 0);
    pub(crate) const BLOCKS: Rank = Rank(39, 0);
    pub(crate) const CMA: Rank = Rank(40, 0);
    pub(crate) const VMEMMAP: Rank = Rank(41, 0);
    pub(crate) const DEFERRED: Rank = Rank(42, 0);
    pub(crate) const GMEMS: Rank = Rank(43, 0);
    pub(crate) const RECORDS: Rank = Rank(44, 0);
}

/// A machine whose parts are behind locks, one for each. Threads run paths on it through [`OnCpu`]; a [`Machine`] becomes one
/// with `From` and is one again with [`SharedMachine::into_machine`].
#[derive(Debug)]
pub struct SharedMachine {
    pub(crate) config: Config,
    /// Which node a frame lies on.
    pub(crate) frames: Frames,
    pub(crate) memmap: ByNode<MemMap>,
    pub(crate) contents: ByNode<Contents>,
    /// Nodes and rules. The zones are taken out of it.
    pub(crate) pages: PageAllocator,
    /// By [`page_alloc::index`].
    pub(crate) zones: Vec<Option<Section<ZoneSlot>>>,
    pub(crate) nodes: Section<Vec<NodeState>>,
    pub(crate) vmemmap: Section<Vmemmap>,
    pub(crate) blocks: Section<Blocks>,
    pub(crate) cma: Section<CmaAreas>,
    pub(crate) charges: Section<Charges>,
    /// Without what they keep of their folios, which is in `records`.
    pub(crate) pools: Vec<Ledger>,
    pub(crate) records: Vec<BySlot>,
    pub(crate) shelves: Vec<Vec<Section<Shelf>>>,
    pub(crate) resv_maps: Spread<ResvMapId, ResvMap>,
    pub(crate) subpools: Spread<SubpoolId, Subpool>,
    pub(crate) deferred: Section<DeferredWork>,
    pub(crate) inodes: Spread<InodeId, Inode>,
    pub(crate) caches: Places<InodeId, PageCache>,
    pub(crate) mappings: Places<InodeId, FileMappings>,
    pub(crate) mounts: Spread<MountId, Mount>,
    pub(crate) spaces: Spread<MmId, VmaTree>,
    pub(crate) next_vma: Section<u64>,
    pub(crate) tables: Places<MmId, PageTable>,
    pub(crate) gmems: Spread<GmemId, gmem::Gmem>,
    pub(crate) uffds: Spread<UffdId, Userfault>,
    pub(crate) processes: Spread<Pid, Process>,
    pub(crate) sysctls: Section<Sysctls>,
    cpus: Section<BTreeSet<CpuId>>,
    pub(crate) gates: Gates,
}

/// What a pool counts.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) pool: Section<Pool>,
    /// Its surplus pages. Each unmap looks whether there are any.
    pub(crate) surplus: Glance,
}

impl Ledger {
    fn new(pool: Pool) -> Self {
        Self { surplus: Glance::new(pool.surplus().get()), pool: Section::new(rank::POOLS, pool) }
    }
}

/// Locks that guard no data: the scopes.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    pub(crate) resize: Vec<Gate>,
    pub(crate) space: Vec<Gate>,
    pub(crate) inode: Vec<Gate>,
    pub(crate) fault: Vec<Gate>,
    pub(crate) gmem: Vec<Gate>,
    pub(crate) gmem_fault: Vec<Gate>,
    pub(crate) vma: Vec<Gate>,
    pub(crate) mapping: Vec<Gate>,
    pub(crate) folio: Vec<Gate>,
}

impl Gates {
    fn new() -> Self {
        let table = || (0..GATES).map(|_| Gate::default()).collect();
        Self {
            resize: table(),
            space: table(),
            inode: table(),
            fault: table(),
            gmem: table(),
            gmem_fault: table(),
            vma: table(),
            mapping: table(),
            folio: table(),
        }
    }
}

/// A processor as checked out by one thread: what that thread owns and no lock has to guard.
#[derive(Debug)]
pub struct CpuHandle {
    id: CpuId,
    /// The node that it is on.
    pub(crate) node: NodeId,
    /// What it keeps of each zone, by [`page_alloc::index`].
    pub(crate) lists: Vec<Option<OwnLists>>,
    pub(crate) faults: FaultPlan,
    pub(crate) events: Option<Vec<Event>>,
}

/// Somebody has that processor already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is checked out already: give its handle back first")]
pub struct CpuBusy(pub CpuId);

/// What a thread runs paths on: the shared machine, and the processor it owns.
#[derive(Debug)]
pub struct OnCpu<'a> {
    pub(crate) shared: &'a SharedMachine,
    pub(crate) cpu: &'a mut CpuHandle,
}

impl CpuHandle {
    /// Which processor.
    #[must_use]
    pub const fn id(&self) -> CpuId {
        self.id
    }

    /// Which attempts of this processor are to fail.
    pub const fn faults(&mut self) -> &mut FaultPlan {
        &mut self.faults
    }

    /// Starts (again) to keep this processor's events from now on.
    pub fn record_events(&mut self) {
        self.events = Some(Vec::new());
    }

    /// This processor's events since the last call, if they are being kept.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(core::mem::take).unwrap_or_default()
    }
}

impl SharedMachine {
    /// Checks a processor out. One thread owns it until it is given back with [`SharedMachine::check_in`].
    ///
    /// # Errors
    /// It is checked out already.
    pub fn check_out(&self, cpu: CpuId) -> Result<CpuHandle, CpuBusy> {
        let fresh = self.cpus.with(|cpus| cpus.insert(cpu));
        let new_lists = |zone: &Option<Section<ZoneSlot>>| zone.as_ref().map(|zone| zone.with(|zone| zone.new_lists()));
        let lists = self.zones.iter().map(new_lists).collect();
        let nodes = self.pages.cpu_nodes();
        let node = usize::try_from(cpu.get()).ok().and_then(|n| nodes.get(n)).or(nodes.first());
        let node = node.copied().unwrap_or_default();
        let handle = CpuHandle { id: cpu, node, lists, faults: FaultPlan::default(), events: None };
        if fresh { Ok(handle) } else { Err(CpuBusy(cpu)) }
    }

    /// Gives a processor back. What it kept of the memory goes to the zones.
    pub fn check_in(&self, mut cpu: CpuHandle) {
        for (zone, lists) in self.zones.iter().zip(&mut cpu.lists) {
            if let (Some(zone), Some(lists)) = (zone, lists) {
                zone.with(|slot| slot.zone.drain(&mut lists.lists));
            }
        }
        self.cpus.with(|cpus| cpus.remove(&cpu.id));
    }

    /// Paths on this machine, run by the thread that owns `cpu`.
    pub const fn on<'a>(&'a self, cpu: &'a mut CpuHandle) -> OnCpu<'a> {
        OnCpu { shared: self, cpu }
    }

    /// The machine, by its only owner.
    #[must_use]
    pub fn into_machine(self) -> Machine {
        let zones = self.zones.into_iter().map(|zone| zone.map(Section::into_inner)).collect();
        let mut pages = self.pages;
        pages.put_together(zones, self.nodes.into_inner());
        Machine {
            memmap: MemMap::put_together(self.memmap.into_parts()),
            contents: Contents::put_together(self.config.page_shift, self.contents.into_parts()),
            config: self.config,
            pages,
            vmemmap: self.vmemmap.into_inner(),
            blocks: self.blocks.into_inner(),
            cma: self.cma.into_inner(),
            charges: self.charges.into_inner(),
            pools: self
                .pools
                .into_iter()
                .zip(self.records)
                .map(|(ledger, records)| records.into_pool(ledger))
                .collect(),
            shelves: self
                .shelves
                .into_iter()
                .map(|nodes| nodes.into_iter().map(Section::into_inner).collect())
                .collect(),
            resv_maps: self.resv_maps.into(),
            subpools: self.subpools.into(),
            deferred: self.deferred.into_inner(),
            inodes: self.inodes.into(),
            caches: self.caches.into(),
            mappings: self.mappings.into(),
            mounts: self.mounts.into(),
            spaces: self.spaces.into(),
            tables: self.tables.into(),
            gmems: self.gmems.into(),
            uffds: self.uffds.into(),
            next_vma: self.next_vma.into_inner(),
            processes: self.processes.into(),
            sysctls: self.sysctls.into_inner(),
            faults: FaultPlan::default(),
            events: None,
            held: sync::RankStack::new(),
        }
    }
}

impl From<Machine> for SharedMachine {
    fn from(mut m: Machine) -> Self {
        let (zones, nodes) = m.pages.take_apart();
        let frames = Frames::new(m.pages.topology().states().possible.iter(), &zones);
        let records = m.pools.iter_mut().map(|pool| BySlot::of(rank::RECORDS, pool)).collect();
        Self {
            config: m.config,
            memmap: ByNode::new(rank::MEMMAP, m.memmap.take_apart(frames.nodes(), |pfn| frames.node_of(pfn))),
            contents: ByNode::new(rank::CONTENTS, m.contents.take_apart(frames.nodes(), |pfn| frames.node_of(pfn))),
            frames,
            pages: m.pages,
            zones: zones.into_iter().map(|zone| zone.map(|zone| Section::new(rank::ZONES, zone))).collect(),
            nodes: Section::new(rank::NODES, nodes),
            vmemmap: Section::new(rank::VMEMMAP, m.vmemmap),
            blocks: Section::new(rank::BLOCKS, m.blocks),
            cma: Section::new(rank::CMA, m.cma),
            charges: Section::new(rank::CHARGES, m.charges),
            pools: m.pools.into_iter().map(Ledger::new).collect(),
            records,
            shelves: m
                .shelves
                .into_iter()
                .map(|nodes| nodes.into_iter().map(|shelf| Section::new(rank::SHELVES, shelf)).collect())
                .collect(),
            resv_maps: Spread::new(rank::RESV_MAPS, m.resv_maps),
            subpools: Spread::new(rank::SUBPOOLS, m.subpools),
            deferred: Section::new(rank::DEFERRED, m.deferred),
            inodes: Spread::new(rank::INODES, m.inodes),
            caches: Places::new(rank::CACHES, m.caches.drain()),
            mappings: Places::new(rank::MAPPINGS, m.mappings.drain()),
            mounts: Spread::new(rank::MOUNTS, m.mounts),
            spaces: Spread::new(rank::VMAS, m.spaces),
            next_vma: Section::new(rank::VMAS, m.next_vma),
            tables: Places::new(rank::TABLES, m.tables.drain()),
            gmems: Spread::new(rank::GMEMS, m.gmems),
            uffds: Spread::new(rank::UFFDS, m.uffds),
            processes: Spread::new(rank::PROCESSES, m.processes),
            sysctls: Section::new(rank::SYSCTLS, m.sysctls),
            cpus: Section::new(rank::CPUS, BTreeSet::new()),
            gates: Gates::new(),
        }
    }
}
