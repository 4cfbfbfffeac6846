//! A machine as a value: everything that it is, with its objects named by their places.
//!
//! What has no invariant beyond its type is written as it is; what has one is checked when it is read. A [`MachineState`] is only a
//! description: [`Machine::from_state`] looks that every name has its object and every number its bounds, builds the machine and
//! recounts it, and hands out nothing that does not pass.

mod bounds;
mod rename;

use std::collections::BTreeMap;

use charge::{Charges, ChargesState};
use filemap::{FileMappings, PageCache};
use hugetlb::{DeferredWork, Hstates, Pool, ResvMap, Shelf, Subpool};
use hugetlbfs::{Inode, Mount};
use memmap::{Broken, Contents, Folio, MemMap};
use mm::{PageTable, Userfault, VmaTree};
use page_alloc::{Blocks, CmaAreas, Cpusets, HeldBlock, PageAllocator, Rules, ZoneMemory, Zones};
use policy::{NodeSpec, PrivateNode, Topology, ZoneRef};
use slotmap::{Key, SecondaryMap};
use sync::RankStack;
use units::{CpuId, HugeSize, Name, NodeId, PageCount, PageShift, Pfn, Vaddr};
use vmemmap::{Vmemmap, VmemmapState};
use zone::tuning::PcpTuning;
use zone::{PerCpuPages, PerCpuState, Zone, ZoneState};

use crate::builder::with_private;
use crate::machine::Config;
use crate::objects::Objects;
use crate::{FaultPlan, Machine, MachineLimits, Process, Sysctls};

pub use rename::Renamed;

/// Everything that a machine is. See [`Machine::state`].
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MachineState {
    base_page: PageShift,
    /// How tables look; that of x86-64 if left out.
    #[cfg_attr(feature = "serde", serde(default))]
    paging: mm::Paging,
    task_size: Vaddr,
    #[cfg_attr(feature = "serde", serde(default))]
    behaviour: mm::Behaviour,
    nodes: BTreeMap<NodeId, NodeState>,
    sizes: Hstates,
    knobs: Sysctls,
    failures: FaultPlan,
    groups: ChargesState,
    pools: Vec<PoolState>,
    folios: BTreeMap<Pfn, Folio>,
    /// Huge folios that were split.
    #[cfg_attr(feature = "serde", serde(default))]
    split: BTreeMap<Pfn, memmap::Split>,
    /// Bytes that are not zero, by address.
    bytes: BTreeMap<u64, u8>,
    maps: Vec<ResvMap>,
    subpools: Vec<Subpool>,
    /// What nobody who may wait has done yet.
    #[cfg_attr(feature = "serde", serde(default))]
    deferred: DeferredWork,
    mounts: Vec<Mount>,
    inodes: Vec<FileState>,
    spaces: Vec<SpaceState>,
    /// How many areas were ever made.
    areas_made: u64,
    #[cfg_attr(feature = "serde", serde(default))]
    gmems: Vec<gmem::Gmem>,
    uffds: Vec<Userfault>,
    processes: Vec<Process>,
    ordinary: PagesState,
    descriptors: VmemmapState,
    /// The zones, which have a form of their own as text.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub zones: Vec<ZoneOfMachine>,
}

/// One zone and what processors keep of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOfMachine {
    /// The zone.
    pub zone: ZoneState,
    /// By processor: the bounds of its lists, and the lists.
    pub lists: Vec<(PcpTuning, PerCpuState)>,
}

/// What belongs to ordinary pages beside the zones.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct PagesState {
    /// The node of each processor.
    processors: Vec<NodeId>,
    /// The one at hand.
    processor: CpuId,
    /// What each zone remembers, in the order of the zones.
    memories: Vec<ZoneMemory>,
    /// What each node is at.
    reclaim: BTreeMap<NodeId, page_alloc::NodeState>,
    /// Blocks that somebody holds.
    blocks: Vec<HeldBlock>,
    /// Areas that gigantic pages come from.
    #[cfg_attr(feature = "serde", serde(default))]
    cma: CmaAreas,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct NodeState {
    spec: NodeSpec,
    distances: BTreeMap<NodeId, u8>,
    private: Option<PrivateNode>,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct PoolState {
    ledger: Pool,
    /// By node.
    shelves: Vec<Shelf>,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct FileState {
    inode: Inode,
    cache: PageCache,
    mapped_by: FileMappings,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct SpaceState {
    areas: VmaTree,
    table: PageTable,
}

/// Why there is no machine in such a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MachineStateError {
    /// Something is named that is not there.
    #[error("{place} names {name}, which is not there")]
    NoSuch {
        /// Who names it.
        place: String,
        /// What.
        name: String,
    },
    /// A part cannot be as it is.
    #[error("{place}: {what}")]
    Wrong {
        /// Which part.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The parts contradict each other.
    #[error("{0}")]
    Broken(#[from] Broken),
}

pub(crate) fn wrong<T>(place: impl ToString, what: impl ToString) -> Result<T, MachineStateError> {
    Err(MachineStateError::Wrong { place: place.to_string(), what: what.to_string() })
}

impl Machine {
    /// What the machine is at rest, and the names that its objects have there. Events that are being kept are no part of it.
    #[must_use]
    pub fn state(&self) -> (MachineState, Renamed) {
        let files = self.inodes.iter().map(|(id, inode)| FileState {
            inode: inode.clone(),
            cache: self.caches.get(id).cloned().unwrap_or_default(),
            mapped_by: self.mappings.get(id).cloned().unwrap_or_default(),
        });
        let spaces = self.spaces.iter().map(|(id, areas)| SpaceState {
            areas: areas.clone(),
            table: self.tables.get(id).cloned().unwrap_or_default(),
        });
        let pools = self.pools.iter().zip(&self.shelves);
        let mut state = MachineState {
            base_page: self.config.page_shift,
            paging: self.config.paging,
            task_size: self.config.task_size,
            behaviour: self.config.behaviour,
            nodes: nodes_of(self.topology()),
            sizes: self.config.hstates.clone(),
            knobs: self.sysctls,
            failures: self.faults.clone(),
            groups: self.charges.state(),
            pools: pools.map(|(pool, of)| PoolState { ledger: pool.clone(), shelves: of.clone() }).collect(),
            folios: self.memmap.iter().map(|(pfn, folio)| (pfn, folio.clone())).collect(),
            split: self.memmap.splits().map(|(pfn, split)| (pfn, split.clone())).collect(),
            bytes: self.contents.bytes().collect(),
            maps: self.resv_maps.values().cloned().collect(),
            subpools: self.subpools.values().copied().collect(),
            deferred: self.deferred.clone(),
            mounts: self.mounts.values().cloned().collect(),
            inodes: files.collect(),
            spaces: spaces.collect(),
            areas_made: self.next_vma,
            gmems: self.gmems.values().cloned().collect(),
            uffds: self.uffds.values().copied().collect(),
            processes: self.processes.values().cloned().collect(),
            ordinary: PagesState::of(self),
            descriptors: self.vmemmap.state(),
            zones: self.pages.zones().map(zone_of).collect(),
        };
        let renamed = Renamed::of(self);
        state.names().into_iter().for_each(|(_, name)| renamed.rename(name));
        (state, renamed)
    }

    /// The machine that is in this state.
    ///
    /// # Errors
    /// What is not there, cannot be, or contradicts something else; the first that is found.
    pub fn from_state(mut state: MachineState) -> Result<Self, MachineStateError> {
        state.check_names()?;
        state.check_bounds()?;
        let topology = topology_of(&state.nodes)?;
        let pages = state.ordinary.pages(topology, &state.zones)?;
        let vmemmap = Vmemmap::from_state(&state.descriptors).or_else(|what| wrong("descriptors", what))?;
        let mut blocks = Blocks::new();
        for &block in &state.ordinary.blocks {
            blocks.take(block);
        }
        let hstates = state.pools.len();
        let charges = Charges::from_state(state.groups, hstates);
        let (pools, shelves) = state.pools.into_iter().map(|pool| (pool.ledger, pool.shelves)).unzip();
        let mut machine = Self {
            config: Config {
                hstates: state.sizes,
                page_shift: state.base_page,
                paging: state.paging,
                task_size: state.task_size,
                behaviour: state.behaviour,
                limits: MachineLimits::NONE,
            },
            memmap: MemMap::from_records(state.folios)
                .with_splits(state.split)
                .with_refs_max(state.behaviour.references_max),
            contents: Contents::from_bytes(state.base_page, state.bytes),
            pages,
            vmemmap,
            blocks,
            cma: state.ordinary.cma,
            charges: charges.or_else(|what| wrong("groups", what))?,
            pools,
            shelves,
            resv_maps: state.maps.into_iter().collect(),
            subpools: state.subpools.into_iter().collect(),
            deferred: state.deferred,
            inodes: Objects::new(),
            caches: SecondaryMap::new(),
            mappings: SecondaryMap::new(),
            mounts: state.mounts.into_iter().collect(),
            spaces: Objects::new(),
            tables: SecondaryMap::new(),
            gmems: state.gmems.into_iter().collect(),
            uffds: state.uffds.into_iter().collect(),
            next_vma: state.areas_made,
            processes: state.processes.into_iter().collect(),
            sysctls: state.knobs,
            faults: state.failures,
            events: None,
            held: RankStack::new(),
        };
        for FileState { inode, cache, mapped_by } in state.inodes {
            let id = machine.inodes.insert(inode);
            machine.caches.insert(id, cache);
            machine.mappings.insert(id, mapped_by);
        }
        for SpaceState { areas, table } in state.spaces {
            let id = machine.spaces.insert(areas);
            machine.tables.insert(id, table);
        }
        machine.validate()?;
        Ok(machine)
    }
}

impl MachineState {
    /// The sizes of its pools, in order.
    pub fn sizes(&self) -> impl Iterator<Item = HugeSize> {
        self.sizes.iter().map(|hstate| hstate.size)
    }

    /// Every place where something is named, with a name of the place for messages.
    fn names(&mut self) -> Vec<(Place, Name<'_>)> {
        let mut all = Vec::new();
        let mut add = |part: &'static str, n: usize, names: Vec<_>| {
            all.extend(names.into_iter().map(|name| (Place { part, n }, name)));
        };
        add("groups", 0, self.groups.names());
        self.pools.iter_mut().enumerate().for_each(|(n, pool)| add("pool", n, pool.ledger.names()));
        self.maps.iter_mut().enumerate().for_each(|(n, map)| add("map", n, map.names()));
        self.subpools.iter_mut().enumerate().for_each(|(n, subpool)| add("subpool", n, subpool.names()));
        self.mounts.iter_mut().enumerate().for_each(|(n, mount)| add("mount", n, mount.named()));
        for (n, file) in self.inodes.iter_mut().enumerate() {
            add("inode", n, file.inode.names());
            add("inode", n, file.mapped_by.names());
        }
        self.spaces.iter_mut().enumerate().for_each(|(n, space)| add("space", n, space.areas.names()));
        self.gmems.iter_mut().enumerate().for_each(|(n, file)| add("gmem", n, file.names()));
        self.uffds.iter_mut().enumerate().for_each(|(n, uffd)| add("uffd", n, vec![Name::from(&mut uffd.mm)]));
        self.processes.iter_mut().enumerate().for_each(|(n, process)| add("process", n, process.names()));
        all
    }

    /// A name of nothing is one of something that is gone; any other one has its object.
    fn check_names(&mut self) -> Result<(), MachineStateError> {
        let (groups, maps, subpools) = (self.groups.len(), self.maps.len(), self.subpools.len());
        let (mounts, inodes, spaces) = (self.mounts.len(), self.inodes.len(), self.spaces.len());
        let (uffds, gmems) = (self.uffds.len(), self.gmems.len());
        for (place, name) in self.names() {
            let (what, n, of) = match name {
                Name::Group(id) => ("group", place_of(*id), groups),
                Name::Map(id) => ("map", place_of(*id), maps),
                Name::Subpool(id) => ("subpool", place_of(*id), subpools),
                Name::Mount(id) => ("mount", place_of(*id), mounts),
                Name::Inode(id) => ("inode", place_of(*id), inodes),
                Name::Space(id) => ("space", place_of(*id), spaces),
                Name::Uffd(id) => ("uffd", place_of(*id), uffds),
                Name::Gmem(id) => ("gmem", place_of(*id), gmems),
                Name::Process(_) | Name::Block(_) => continue,
            };
            if let Some(n) = n.filter(|&n| n >= of as u64) {
                return Err(MachineStateError::NoSuch { place: place.to_string(), name: format!("{what}:{n}") });
            }
        }
        Ok(())
    }
}

/// Which part of a machine.
#[derive(Clone, Copy, Debug)]
struct Place {
    part: &'static str,
    n: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.part, self.n)
    }
}

/// The place that a name of a state means; nothing for an object that is gone.
fn place_of(key: impl Key) -> Option<u64> {
    (!key.is_null()).then(|| (key.data().as_ffi() & u64::from(u32::MAX)).saturating_sub(1))
}

fn nodes_of(topology: &Topology) -> BTreeMap<NodeId, NodeState> {
    let possible = topology.states().possible;
    let of = |node| {
        let distances = possible.iter().filter_map(|to| Some((to, topology.distance(node, to)?))).collect();
        Some((node, NodeState { spec: *topology.node(node)?, distances, private: topology.private(node) }))
    };
    possible.iter().filter_map(of).collect()
}

fn topology_of(nodes: &BTreeMap<NodeId, NodeState>) -> Result<Topology, MachineStateError> {
    if let Some((node, _)) = nodes.iter().find(|(_, state)| !state.distances.keys().eq(nodes.keys())) {
        return wrong(node, "its distances are not those to every node");
    }
    let specs = nodes.iter().map(|(&node, state)| (node, state.spec)).collect();
    let distance = |from: NodeId, to: NodeId| nodes[&from].distances[&to];
    let private = nodes.iter().filter_map(|(&node, state)| Some((node, state.private?))).collect();
    with_private(specs, &private, distance).or_else(|error| wrong("nodes", error))
}

fn zone_of((zone, lists): (&Zone, &[PerCpuPages])) -> ZoneOfMachine {
    let lists = lists.iter().map(|lists| (*lists.tuning(), zone.state_of_lists(lists)));
    ZoneOfMachine { zone: zone.state(), lists: lists.collect() }
}

const fn zone_ref(zone: &ZoneState) -> ZoneRef {
    ZoneRef { node: zone.layout.node, kind: zone.layout.kind }
}

impl PagesState {
    fn of(machine: &Machine) -> Self {
        let pages = &machine.pages;
        let places = pages.zones().map(|(zone, _)| ZoneRef { node: zone.node(), kind: zone.layout().kind });
        let nodes = pages.topology().states().possible;
        Self {
            processors: pages.cpu_nodes().to_vec(),
            processor: pages.cpu(),
            memories: places.filter_map(|zone| pages.memory_of(zone)).collect(),
            reclaim: nodes.iter().map(|node| (node, pages.node_state(node))).collect(),
            blocks: machine.blocks.iter().map(|(_, block)| *block).collect(),
            cma: machine.cma.clone(),
        }
    }

    /// The allocator of these zones, as the machine had it.
    fn pages(&self, topology: Topology, zones: &[ZoneOfMachine]) -> Result<PageAllocator, MachineStateError> {
        let Some(first) = zones.first() else { return wrong("zones", "a machine has one at least") };
        if zones.len() != self.memories.len() {
            return wrong("ordinary", format_args!("it remembers {} zones of {}", self.memories.len(), zones.len()));
        }
        let (layout, grouping) = (&first.zone.layout, first.zone.grouping);
        let (largest, pageblock) = (layout.largest, layout.pageblock);
        let rules = Rules { largest, pageblock, grouping, cpusets: Cpusets::On, ..Rules::default() };
        let built = zones.iter().map(|of| {
            let place = zone_ref(&of.zone);
            let spec = topology.node(place.node).map(|spec| spec.present[place.kind]);
            let zone =
                Zone::from_state(&of.zone).or_else(|error| wrong(format!("the zone of {}", place.node), error))?;
            // What held descriptors at boot, and does so no longer, has come on top; what holds its own is not managed.
            let kept = zone.reserved().iter().map(|&(start, end)| end.get().saturating_sub(start.get())).sum();
            if spec.is_some_and(|spec| spec <= zone.managed().saturating_add(PageCount::new(kept))) {
                Ok(zone)
            } else {
                wrong(place.node, "its zones are not what it has")
            }
        });
        let built = built.collect::<Result<Vec<Zone>, _>>()?;
        let mut pages =
            PageAllocator::new(topology, rules, &self.processors, built).or_else(|error| wrong("zones", error))?;
        for (of, memory) in zones.iter().zip(&self.memories) {
            let place = zone_ref(&of.zone);
            if of.lists.len() != self.processors.len() {
                return wrong(place.node, format_args!("a zone has the lists of {} processors", of.lists.len()));
            }
            for (cpu, (tuning, lists)) in (0..).map(CpuId::new).zip(&of.lists) {
                let set = pages.run_on(cpu).map(|()| pages.set_lists(place, *tuning, lists));
                if let Ok(Err(error)) = set {
                    return wrong(format!("what {cpu} keeps of {}", place.node), error);
                }
            }
            pages.remember(place, memory.clone());
        }
        for (&node, &state) in &self.reclaim {
            pages.with_node(node, |now| *now = state);
        }
        pages.run_on(self.processor).or_else(|error| wrong("ordinary", error))?;
        Ok(pages)
    }
}
