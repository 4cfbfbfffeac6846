//! Describing a machine.

use std::collections::BTreeMap;

use charge::GroupVersion;
use hugetlb::boot::{Arch, BootConfig, BootMessage, Platform, PoolRequest, RuntimeGigantic};
use hugetlb::{Hstate, Hstates, Pool, ResizeNodes, Shelf};
use memmap::{Contents, MemMap};
use policy::Topology;
use slotmap::{SecondaryMap, SlotMap};
use sync::RankStack;
use units::{Bytes, HstateId, HugeCount, NodeId, Nodemask, PageShift, Pfn, Vaddr, ZoneKind};
use zone::tuning::{HighFraction, PcpInputs, PcpTuning};
use zone::{Level, PerCpuPages, Zone, ZoneLayout};

use crate::machine::{Config, Sysctls};
use crate::{FaultPlan, Machine};

/// A machine to be built: its nodes, its architecture and its kernel command line.
#[derive(Clone, Debug)]
pub struct MachineBuilder {
    arch: Arch,
    nodes: BTreeMap<NodeId, Bytes>,
    distances: BTreeMap<(NodeId, NodeId), u8>,
    cmdline: String,
    runtime_gigantic: RuntimeGigantic,
    groups: GroupVersion,
}

/// Why a machine cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No node, or none that can be.
    #[error(transparent)]
    Topology(#[from] policy::TopologyError),
    /// A node number above the limit.
    #[error("{0} is out of range: nodes are numbered below 64")]
    NodeOutOfRange(NodeId),
    /// A node without memory, or with more than can be counted.
    #[error("{node} cannot have {memory}: a node has between one base page and 1 EiB")]
    Memory {
        /// The node.
        node: NodeId,
        /// What it was to have.
        memory: Bytes,
    },
    /// The spans of a zone contradict each other.
    #[error("{0}")]
    Zone(#[from] zone::ZoneError),
}

/// First address that no task may map, on x86-64 with four levels of page table: one page below 128 TiB.
const TASK_SIZE: Vaddr = Vaddr::new((1 << 47) - 4096);

/// Where a node's frames start, at the least: nodes are this far apart, so that no two share a block of any order.
const NODE_ALIGN: Bytes = Bytes::gib(64);

impl Default for MachineBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl MachineBuilder {
    /// x86-64, no node yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            arch: Arch::X86_64,
            nodes: BTreeMap::new(),
            distances: BTreeMap::new(),
            cmdline: String::new(),
            runtime_gigantic: RuntimeGigantic::Supported,
            groups: GroupVersion::V2,
        }
    }

    /// Which interface control groups have; that of cgroup v2 unless said here.
    #[must_use]
    pub fn groups(mut self, version: GroupVersion) -> Self {
        self.groups = version;
        self
    }

    /// The architecture, and with it base page and huge page sizes.
    #[must_use]
    pub fn arch(mut self, arch: Arch) -> Self {
        self.arch = arch;
        self
    }

    /// A node with so much memory.
    #[must_use]
    pub fn node(mut self, node: NodeId, memory: Bytes) -> Self {
        self.nodes.insert(node, memory);
        self
    }

    /// The distance between two nodes, both ways; 10 for a node to itself and 20 between others unless said here.
    #[must_use]
    pub fn distance(mut self, a: NodeId, b: NodeId, distance: u8) -> Self {
        self.distances.insert((a, b), distance);
        self.distances.insert((b, a), distance);
        self
    }

    /// Whether gigantic pages can be allocated and given back after boot; they can unless said here.
    #[must_use]
    pub fn runtime_gigantic(mut self, support: RuntimeGigantic) -> Self {
        self.runtime_gigantic = support;
        self
    }

    /// Boot parameters, as on a kernel command line; called again, they follow those before.
    #[must_use]
    pub fn cmdline(mut self, parameters: &str) -> Self {
        if !self.cmdline.is_empty() {
            self.cmdline.push(' ');
        }
        self.cmdline.push_str(parameters);
        self
    }

    /// Builds the machine and allocates the pools that the command line asks for, as far as memory goes.
    ///
    /// # Errors
    /// Nodes that cannot be. What is wrong with the command line is not an error; see [`MachineBuilder::build_verbose`].
    pub fn build(&self) -> Result<Machine, BuildError> {
        self.build_verbose().map(|(machine, _)| machine)
    }

    /// As [`MachineBuilder::build`], with what the boot parameters gave rise to say.
    ///
    /// # Errors
    /// Nodes that cannot be.
    pub fn build_verbose(&self) -> Result<(Machine, Vec<BootMessage>), BuildError> {
        if let Some(&node) = self.nodes.keys().find(|node| node.get() >= Nodemask::CAPACITY) {
            return Err(BuildError::NodeOutOfRange(node));
        }
        let topology = Topology::new(self.nodes.keys().copied().collect(), |a, b| {
            let usual = if a == b { 10 } else { 20 };
            self.distances.get(&(a, b)).copied().unwrap_or(usual)
        })?;
        let platform =
            Platform { runtime_gigantic: self.runtime_gigantic, ..Platform::new(self.arch, topology.nodes()) };
        let boot = BootConfig::parse(&self.cmdline, &platform);
        let hstates = hstates(&boot, &platform);
        let last = self.nodes.keys().last().copied().unwrap_or_default();
        let shift = self.arch.base_page();
        let pools = boot.hstates().len();
        let zones = self.zones(&platform, last)?;
        let mut machine = Machine {
            lists: zones.iter().map(|zone| zone.as_ref().map(|zone| lists_of(zone, shift))).collect(),
            zones,
            charges: charge::Charges::new(u8::try_from(pools).unwrap_or(u8::MAX), self.groups),
            pools: hstates.iter().map(|h| Pool::new(last, h.demote_to)).collect(),
            shelves: vec![vec![Shelf::new(); last.index() + 1]; pools],
            config: Config { topology, hstates, page_shift: shift, task_size: TASK_SIZE },
            memmap: MemMap::new(),
            contents: Contents::new(shift),
            resv_maps: SlotMap::with_key(),
            subpools: SlotMap::with_key(),
            inodes: SlotMap::with_key(),
            caches: SecondaryMap::new(),
            mappings: SecondaryMap::new(),
            mounts: SlotMap::with_key(),
            spaces: SlotMap::with_key(),
            tables: SecondaryMap::new(),
            uffds: SlotMap::with_key(),
            next_vma: 0,
            processes: SlotMap::with_key(),
            faults: FaultPlan::default(),
            events: None,
            sysctls: Sysctls::new(boot.hvo()),
            held: RankStack::new(),
        };
        for (id, hstate) in boot.allocation_order() {
            allocate(&mut machine, id, &hstate.request);
        }
        Ok((machine, boot.messages().to_vec()))
    }

    fn zones(&self, platform: &Platform, last: NodeId) -> Result<Vec<Option<Zone>>, BuildError> {
        let (shift, largest) = (self.arch.base_page(), platform.largest_buddy_order);
        let pageblock = self.arch.pmd_size().order(shift).unwrap_or(largest).min(largest);
        let mut zones = vec![None; last.index() + 1];
        let mut start = Bytes::ZERO;
        for (&node, &memory) in &self.nodes {
            let limit = Bytes::gib(1 << 30);
            if memory < shift.bytes() || memory > limit {
                return Err(BuildError::Memory { node, memory });
            }
            let first = shift.pages_floor(start);
            let end = Pfn::new(0).offset(first + shift.pages_floor(memory));
            let spans = vec![(Pfn::new(0).offset(first), end)];
            let layout = ZoneLayout { node, kind: ZoneKind::Normal, spans, largest, pageblock };
            zones[node.index()] = Some(Zone::new(layout)?);
            start = (start + memory).round_up(NODE_ALIGN).unwrap_or(limit);
        }
        Ok(zones)
    }
}

fn hstates(boot: &BootConfig, platform: &Platform) -> Hstates {
    let id_of = |n: usize| HstateId::new(u8::try_from(n).unwrap_or(u8::MAX));
    let list = boot.hstates().iter().enumerate().map(|(n, h)| Hstate {
        id: id_of(n),
        size: h.size,
        order: h.order,
        gigantic: platform.is_gigantic(h.order),
        resizable: !platform.is_gigantic(h.order) || platform.runtime_gigantic == RuntimeGigantic::Supported,
        demote_to: h.demote_to.and_then(|size| boot.hstates().iter().position(|o| o.size == size)).map(id_of),
    });
    Hstates::new(list.collect(), boot.default_id())
}

/// The lists that a machine of one processor has of a zone.
fn lists_of(zone: &Zone, shift: PageShift) -> PerCpuPages {
    let inputs = PcpInputs {
        managed: zone.managed(),
        low: zone.mark(Level::Low),
        fraction: HighFraction::default(),
        node_cpus: 1,
        online_cpus: 1,
        shift,
    };
    PerCpuPages::new(zone.layout().pageblock, PcpTuning::new(&inputs))
}

/// What the command line asks for, exactly on its nodes where it names some; a shortfall lowers the target.
fn allocate(machine: &mut Machine, id: HstateId, request: &PoolRequest) {
    let all = machine.config.topology.nodes();
    let asked: Vec<(HugeCount, ResizeNodes)> = match request {
        PoolRequest::Total(count) => vec![(*count, ResizeNodes::Global(all))],
        PoolRequest::PerNode(nodes) => nodes.iter().map(|(&n, &count)| (count, ResizeNodes::Node(n))).collect(),
    };
    for (count, nodes) in asked {
        // A node that the machine does not have was refused when the parameter was read.
        let _ = hugetlb::fill_at_boot(machine, id, count, nodes);
    }
}
