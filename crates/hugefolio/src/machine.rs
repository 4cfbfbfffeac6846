//! The machine: all state, owned.

use hugetlb::{DeferredWork, Hstates, Pool, ResvMap, Shelf, Subpool};
use hugetlbfs::{Inode, Mount};
use memmap::{Contents, MemMap};
use mm::{PageTable, Userfault, VmaTree};
use page_alloc::{AllocatorError, Blocks, CmaAreas, Knobs, PageAllocator};
use policy::Topology;
use slotmap::SecondaryMap;
use sync::RankStack;
use units::{
    CpuId, Event, GmemId, HstateId, InodeId, MmId, MountId, MountLimits, NodeId, PageCount, PageShift, Pfn, Pid,
    ResvMapId, SubpoolId, UffdId, Vaddr,
};
use vmemmap::Vmemmap;
use zone::watermark::BoostFactor;

use crate::objects::Objects;
use crate::text::{ShmGroup, Switch};
use crate::{FaultPlan, MachineBuilder, MachineLimits, Process};

/// What does not change after construction.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) hstates: Hstates,
    pub(crate) page_shift: PageShift,
    pub(crate) paging: mm::Paging,
    pub(crate) task_size: Vaddr,
    pub(crate) behaviour: mm::Behaviour,
    pub(crate) limits: MachineLimits,
}

/// Files of `/proc/sys/vm` that are not about one pool.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Sysctls {
    /// The group that may make segments of huge pages.
    pub(crate) shm_group: ShmGroup,
    /// Whether pages that still work may be taken out of use.
    #[doc(alias = "enable_soft_offline")]
    pub(crate) soft_offline: Switch,
    /// Whether all who have broken memory mapped hear of it at once.
    #[doc(alias = "memory_failure_early_kill")]
    #[cfg_attr(feature = "serde", serde(default = "off"))]
    pub(crate) early_kill: Switch,
    /// Whether pages of guests may change between private and shared.
    #[cfg_attr(feature = "serde", serde(default = "on"))]
    pub(crate) conversion: Switch,
    /// Whether memory has broken in earnest, and not for a test.
    #[doc(alias = "hw_memory_failure")]
    pub(crate) real_failure: bool,
    /// What the marks and lists of zones follow from.
    pub(crate) pages: Knobs,
    /// How far a boost of the marks may go.
    pub(crate) boost: BoostFactor,
    /// How many pages each node gets in a row under a weighted policy.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) weights: policy::Weights,
}

#[cfg(feature = "serde")]
const fn off() -> Switch {
    Switch::Off
}

#[cfg(feature = "serde")]
const fn on() -> Switch {
    Switch::On
}

impl Sysctls {
    pub(crate) fn new(pages: Knobs) -> Self {
        Self {
            shm_group: ShmGroup::default(),
            soft_offline: Switch::On,
            early_kill: Switch::Off,
            conversion: Switch::On,
            real_failure: false,
            pages,
            boost: BoostFactor::default(),
            weights: policy::Weights::EVEN,
        }
    }
}

/// A machine with huge pages, as one value. See [`crate::Calls`] and [`crate::Admin`] for what can be done with it.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) config: Config,
    pub(crate) memmap: MemMap,
    pub(crate) contents: Contents,
    /// Nodes, zones and what belongs to them.
    pub(crate) pages: PageAllocator,
    /// What describes them.
    pub(crate) vmemmap: Vmemmap,
    pub(crate) blocks: Blocks,
    pub(crate) cma: CmaAreas,
    pub(crate) charges: charge::Charges,
    /// By hstate.
    pub(crate) pools: Vec<Pool>,
    /// By hstate and node.
    pub(crate) shelves: Vec<Vec<Shelf>>,
    pub(crate) resv_maps: Objects<ResvMapId, ResvMap>,
    pub(crate) subpools: Objects<SubpoolId, Subpool>,
    /// What nobody who may wait has done yet.
    pub(crate) deferred: DeferredWork,
    pub(crate) inodes: Objects<InodeId, Inode>,
    pub(crate) caches: SecondaryMap<InodeId, filemap::PageCache>,
    pub(crate) mappings: SecondaryMap<InodeId, filemap::FileMappings>,
    pub(crate) mounts: Objects<MountId, Mount>,
    pub(crate) spaces: Objects<MmId, VmaTree>,
    pub(crate) tables: SecondaryMap<MmId, PageTable>,
    /// Files of guest memory.
    pub(crate) gmems: Objects<GmemId, gmem::Gmem>,
    pub(crate) uffds: Objects<UffdId, Userfault>,
    pub(crate) next_vma: u64,
    pub(crate) processes: Objects<Pid, Process>,
    pub(crate) sysctls: Sysctls,
    pub(crate) faults: FaultPlan,
    pub(crate) events: Option<Vec<Event>>,
    pub(crate) held: RankStack,
}

impl Machine {
    /// A machine to be described.
    #[must_use]
    pub fn builder() -> MachineBuilder {
        MachineBuilder::new()
    }

    /// Which attempts are to fail.
    pub const fn faults(&mut self) -> &mut FaultPlan {
        &mut self.faults
    }

    /// Starts (again) to keep the events from now on.
    pub fn record_events(&mut self) {
        self.events = Some(Vec::new());
    }

    /// The events since the last call, if they are being kept.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// The nodes and their distances.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        page_alloc::Zones::topology(&self.pages)
    }

    /// The huge page sizes, in order of registration.
    #[must_use]
    pub const fn hstates(&self) -> &Hstates {
        &self.config.hstates
    }

    /// The size of base pages.
    #[must_use]
    pub const fn page_shift(&self) -> PageShift {
        self.config.page_shift
    }

    /// How its page tables look.
    #[must_use]
    pub const fn paging(&self) -> mm::Paging {
        self.config.paging
    }

    /// Which way it takes where kernels did differently.
    #[must_use]
    pub const fn behaviour(&self) -> mm::Behaviour {
        self.config.behaviour
    }

    /// The zones of its nodes, and what its processors keep of them.
    #[must_use]
    pub const fn pages(&self) -> &PageAllocator {
        &self.pages
    }

    /// The memory that describes memory.
    #[must_use]
    pub const fn vmemmap(&self) -> &Vmemmap {
        &self.vmemmap
    }

    /// Pages of a node that nobody has: those that are free, and those that processors keep.
    #[must_use]
    pub fn spare_pages(&self, node: NodeId) -> PageCount {
        let of_node = self.pages.zones().filter(|(zone, _)| zone.node() == node);
        of_node.map(|(zone, lists)| zone.free() + lists.iter().map(zone::PerCpuPages::count).sum()).sum()
    }

    /// The free huge pages of a pool on a node.
    #[must_use]
    pub fn shelf(&self, hstate: HstateId, node: NodeId) -> Option<&Shelf> {
        self.shelves.get(hstate.index())?.get(node.index())
    }

    /// The blocks of ordinary pages that somebody holds.
    #[must_use]
    pub const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The areas that were set aside for gigantic pages.
    #[doc(alias = "hugetlb_cma")]
    #[must_use]
    pub const fn cma(&self) -> &CmaAreas {
        &self.cma
    }

    /// The processor that everything is done on from now on; the first one unless said here.
    ///
    /// # Errors
    /// No such processor.
    pub fn run_on(&mut self, cpu: CpuId) -> Result<(), AllocatorError> {
        self.pages.run_on(cpu)
    }

    /// Gives what processors keep of the memory back to the zones, as they do when they go offline.
    #[doc(alias = "drain_all_pages")]
    pub fn drain_lists(&mut self) {
        self.pages.drain_everything();
    }

    /// What was put off where nobody may wait.
    #[must_use]
    pub const fn deferred(&self) -> &DeferredWork {
        &self.deferred
    }

    /// What control groups there are and what they are charged.
    #[must_use]
    pub const fn charges(&self) -> &charge::Charges {
        &self.charges
    }

    /// The folio that a frame is a part of, and where it begins; nothing for free memory.
    #[doc(alias("page_folio", "pfn_folio"))]
    #[must_use]
    pub fn folio(&self, pfn: Pfn) -> Option<(Pfn, &memmap::Folio)> {
        self.memmap.find(pfn)
    }

    /// The pieces of a folio that was split, in runs of equal ones: the first frame and the pages of a run, and the record of each piece of it.
    pub fn pieces_of(&self, first: Pfn) -> impl Iterator<Item = (Pfn, PageCount, &memmap::Folio)> {
        self.memmap.pieces_of(first)
    }

    /// The accounting of a mount with limits, or of somebody to whom pages were allotted.
    #[must_use]
    pub fn limits(&self, id: SubpoolId) -> Option<MountLimits> {
        let limits = self.subpools.get(id)?;
        let (max, min, used, rsv) = (limits.max(), limits.min(), limits.used(), limits.rsv());
        Some(MountLimits { subpool: id, max, min, used, rsv })
    }

    /// A file of guest memory.
    #[must_use]
    pub fn gmem(&self, id: GmemId) -> Option<&gmem::Gmem> {
        self.gmems.get(id)
    }

    /// The processes that are alive.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &Process)> {
        self.processes.iter()
    }
}
