//! Describing a machine.

use std::collections::BTreeMap;

use charge::{Charges, GroupVersion, MemoryAccounting};
use hugetlb::boot::{Arch, BootConfig, BootMessage, HvoDefault, Parameter, Platform, RuntimeGigantic};
use hugetlb::{Hstate, Hstates, Pool, Shelf};
use memmap::{Contents, MemMap};
use page_alloc::{AllocatorError, Blocks, CmaAreas, Cpusets, Knobs, PageAllocator, Rules};
use policy::{MemoryRange, NodeSpec, PrivateError, PrivateNode, Topology};
use slotmap::SecondaryMap;
use sync::RankStack;
use units::{Bytes, HstateId, NodeId, Nodemask, Order, PageCount, PageShift, PerZone, Pfn, Vaddr, ZoneKind};
use vmemmap::{Optimising, TailLife};
use zone::tuning::HighFraction;
use zone::watermark::{ReserveRatios, ScaleFactor, min_free_default};
use zone::{BootMemory, Grouping, StateError, Zone, ZoneLayout};

use crate::descriptors::{DescriptorFrames, frames_for};
use crate::lent::Lender;
use crate::machine::{Config, Sysctls};
use crate::memory_map::{self, Spans, movable_request};
use crate::objects::Objects;
use crate::{FaultPlan, Machine, MachineLimits};

/// A machine to be built: its nodes, its architecture and its kernel command line.
#[derive(Clone, Debug)]
pub struct MachineBuilder {
    arch: Arch,
    nodes: BTreeMap<NodeId, Bytes>,
    /// Where memory is said to lie.
    ranges: Vec<MemoryRange>,
    /// Those of them that hold their own descriptors.
    self_described: Vec<MemoryRange>,
    cpus: BTreeMap<NodeId, u32>,
    private: BTreeMap<NodeId, PrivateNode>,
    distances: BTreeMap<(NodeId, NodeId), u8>,
    cmdline: String,
    runtime_gigantic: RuntimeGigantic,
    groups: GroupVersion,
    memory: MemoryAccounting,
    tail_life: TailLife,
    behaviour: mm::Behaviour,
    limits: MachineLimits,
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
    /// More memory than its limits permit.
    #[error("{asked} of memory are too much: {most} is the limit")]
    TooMuchMemory {
        /// All nodes together.
        asked: Bytes,
        /// The limit.
        most: Bytes,
    },
    /// The spans of a zone contradict each other.
    #[error("{0}")]
    Zone(#[from] zone::ZoneError),
    /// A node cannot belong to a driver.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// Memory is accounted in cgroup v2.
    #[error("the memory controller accounts huge pages in cgroup v2 alone; leave out one of the two")]
    MemoryInV1,
    /// The parts do not fit.
    #[error(transparent)]
    Pages(#[from] AllocatorError),
}

/// First address that no task may map, on x86-64 with four levels of page table: one page below 128 TiB.
const TASK_SIZE: Vaddr = Vaddr::new((1 << 47) - 4096);

/// No memory lies beyond this frame.
const LAST_FRAME: Pfn = Pfn::new(1 << 52);

/// No machine has more memory.
const LARGEST: Bytes = Bytes::gib(1 << 32);

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
            ranges: Vec::new(),
            self_described: Vec::new(),
            cpus: BTreeMap::new(),
            private: BTreeMap::new(),
            distances: BTreeMap::new(),
            cmdline: String::new(),
            runtime_gigantic: RuntimeGigantic::Supported,
            groups: GroupVersion::V2,
            memory: MemoryAccounting::Off,
            tail_life: TailLife::Counted,
            behaviour: mm::Behaviour::default(),
            limits: MachineLimits::NONE,
        }
    }

    /// Which way the machine takes where kernels did differently; that of Linux 6.18 unless said here.
    #[must_use]
    pub fn behaviour(mut self, behaviour: mm::Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// What the machine may take of its host's memory; whatever there is unless said here.
    #[must_use]
    pub fn limits(mut self, limits: MachineLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What becomes of the shared tails of descriptors that nobody reads; they go with their last reader unless said here.
    #[must_use]
    pub fn tail_life(mut self, life: TailLife) -> Self {
        self.tail_life = life;
        self
    }

    /// Which interface control groups have; that of cgroup v2 unless said here.
    #[must_use]
    pub fn groups(mut self, version: GroupVersion) -> Self {
        self.groups = version;
        self
    }

    /// Whether the memory controller accounts huge pages, as cgroup v2 does where it is mounted with `memory_hugetlb_accounting`; it does not
    /// unless said here.
    #[must_use]
    #[doc(alias = "memory_hugetlb_accounting")]
    pub fn memory_accounting(mut self, accounting: MemoryAccounting) -> Self {
        self.memory = accounting;
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

    /// Memory at a place of its own: each node may have several ranges, and holes between them. A node of [`MachineBuilder::node`] has its
    /// memory in one piece, the first such node from frame 0 on.
    #[must_use]
    pub fn memory(mut self, range: MemoryRange) -> Self {
        self.ranges.push(range);
        self
    }

    /// Memory that came while the machine ran and holds its own descriptors (`memory_hotplug.memmap_on_memory`): its first frames are nobody's for that, and
    /// huge pages of it never give any back.
    #[must_use]
    #[doc(alias = "memmap_on_memory")]
    pub fn memory_with_own_descriptors(mut self, range: MemoryRange) -> Self {
        self.self_described.push(range);
        self.memory(range)
    }

    /// How many processors a node has; each has one unless said here. A node of processors alone has no memory.
    #[must_use]
    pub fn cpus(mut self, node: NodeId, cpus: u32) -> Self {
        self.cpus.insert(node, cpus);
        self
    }

    /// The memory of a node belongs to a driver: no request gets there that does not say so.
    #[must_use]
    pub fn private(mut self, node: NodeId, private: PrivateNode) -> Self {
        self.private.insert(node, private);
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
        let shift = self.arch.base_page();
        let ranges = self.memory_map()?;
        let largest = self.arch.largest_buddy_order();
        let zones = memory_map::zones(&ranges, self.arch, &movable_request(&self.cmdline, shift), largest);
        let align = shift.pages_floor(NODE_ALIGN);
        let descriptors = DescriptorFrames::place(&ranges, &self.self_described, shift, align);
        let topology = self.topology(&zones)?;
        let platform =
            Platform { runtime_gigantic: self.runtime_gigantic, ..Platform::new(self.arch, topology.nodes()) };
        let boot = BootConfig::parse(&self.cmdline, &platform);
        let hstates = hstates(&boot, &platform);
        let last = topology.states().possible.iter().last().unwrap_or_default();
        let pools = boot.hstates().len();
        let charges = self.charges(u8::try_from(pools).unwrap_or(u8::MAX))?;
        let knobs = knobs(&zones, shift);
        let optimising = match boot.hvo() {
            HvoDefault::On => Optimising::On,
            HvoDefault::Off => Optimising::Off,
        };
        let vmemmap = descriptors.describe(&ranges, shift, optimising, self.tail_life);
        let zones = self.zones(zones, &descriptors)?;
        let (pages, cma, lent) = self.pages(topology, zones, &knobs, &boot)?;
        let mut machine = Machine {
            pages,
            cma,
            vmemmap,
            blocks: Blocks::new(),
            charges,
            pools: hstates.iter().map(|h| Pool::new(last, h.demote_to)).collect(),
            shelves: vec![vec![Shelf::new(); last.index() + 1]; pools],
            config: Config {
                hstates,
                page_shift: shift,
                paging: self.arch.into(),
                task_size: TASK_SIZE,
                behaviour: self.behaviour,
                limits: self.limits,
            },
            memmap: MemMap::new().with_refs_max(self.behaviour.references_max),
            contents: Contents::new(shift),
            resv_maps: Objects::new(),
            subpools: Objects::new(),
            deferred: hugetlb::DeferredWork::new(),
            inodes: Objects::new(),
            caches: SecondaryMap::new(),
            mappings: SecondaryMap::new(),
            mounts: Objects::new(),
            spaces: Objects::new(),
            tables: SecondaryMap::new(),
            gmems: Objects::new(),
            uffds: Objects::new(),
            next_vma: 0,
            processes: Objects::new(),
            faults: FaultPlan::default(),
            events: None,
            sysctls: Sysctls::new(knobs),
            held: RankStack::new(),
        };
        let mut messages: Vec<BootMessage> = boot.messages().iter().cloned().chain(lent).collect();
        for (id, hstate) in boot.allocation_order() {
            let missing = hugetlb::fill_at_boot(&mut machine, id, &hstate.request);
            let value = hstate.request.to_string();
            let said = missing.into_iter().map(|problem| BootMessage {
                parameter: Parameter::Hugepages,
                value: value.clone(),
                cause: problem.into(),
            });
            messages.extend(said);
        }
        Ok((machine, messages))
    }

    fn charges(&self, pools: u8) -> Result<Charges, BuildError> {
        match (self.groups, self.memory) {
            (groups, MemoryAccounting::Off) => Ok(Charges::new(pools, groups)),
            (GroupVersion::V2, memory) => Ok(Charges::with_memory(pools, memory)),
            (GroupVersion::V1, MemoryAccounting::HugePages) => Err(BuildError::MemoryInV1),
        }
    }

    /// All ranges of memory, those of nodes without a place laid out far apart.
    fn memory_map(&self) -> Result<Vec<MemoryRange>, BuildError> {
        let (shift, limit) = (self.arch.base_page(), Bytes::gib(1 << 30));
        let of_ranges = self.ranges.iter().map(|range| range.node);
        let mut all = self.nodes.keys().copied().chain(of_ranges).chain(self.cpus.keys().copied());
        if let Some(node) = all.find(|node| node.get() >= Nodemask::CAPACITY) {
            return Err(BuildError::NodeOutOfRange(node));
        }
        if let Some(range) = self.ranges.iter().find(|range| range.start > range.end || range.end > LAST_FRAME) {
            return Err(zone::ZoneError::BadSpan { start: range.start }.into());
        }
        self.check_limits()?;
        let mut ranges = self.ranges.clone();
        let past = ranges.iter().map(|range| range.end).max().unwrap_or(Pfn::new(0));
        let mut start =
            Bytes::new(past.get().saturating_mul(shift.bytes().get())).round_up(NODE_ALIGN).unwrap_or(limit);
        for (&node, &memory) in &self.nodes {
            if memory < shift.bytes() || memory > limit {
                return Err(BuildError::Memory { node, memory });
            }
            let first = Pfn::new(0).offset(shift.pages_floor(start));
            let end = first.offset(shift.pages_floor(memory));
            ranges.push(MemoryRange { node, start: first, end, hotpluggable: false, mirrored: false });
            let described = shift.bytes().get() * frames_for(shift.pages_floor(memory), shift).get();
            start = (start + memory + Bytes::new(described)).round_up(NODE_ALIGN).unwrap_or(limit);
        }
        ranges.sort_by_key(|range| range.start);
        match ranges.windows(2).find(|pair| pair[0].end > pair[1].start) {
            Some(pair) => Err(zone::ZoneError::BadSpan { start: pair[1].start }.into()),
            None => Ok(ranges),
        }
    }

    /// Sums of what is permitted can be counted, with what lies between nodes.
    fn check_limits(&self) -> Result<(), BuildError> {
        let frames = self.ranges.iter().map(|range| u128::from(range.end.get().saturating_sub(range.start.get())));
        let placed = frames.sum::<u128>() * u128::from(self.arch.base_page().bytes().get());
        let asked = placed + self.nodes.values().map(|memory| u128::from(memory.get())).sum::<u128>();
        let (asked, most) = (Bytes::new(u64::try_from(asked).unwrap_or(u64::MAX)), self.limits.memory.min(LARGEST));
        if asked > most { Err(BuildError::TooMuchMemory { asked, most }) } else { Ok(()) }
    }

    fn topology(&self, zones: &BTreeMap<(NodeId, ZoneKind), Spans>) -> Result<Topology, BuildError> {
        let mut nodes: BTreeMap<NodeId, NodeSpec> = BTreeMap::new();
        let fresh = |node: NodeId| NodeSpec {
            cpus: self.cpus.get(&node).copied().unwrap_or(1),
            online: true,
            ..NodeSpec::default()
        };
        for &node in self.cpus.keys() {
            nodes.entry(node).or_insert_with(|| fresh(node));
        }
        for (&(node, kind), spans) in zones {
            nodes.entry(node).or_insert_with(|| fresh(node)).present[kind] = pages_of(spans);
        }
        let distance = |a, b| {
            let usual = if a == b { 10 } else { 20 };
            self.distances.get(&(a, b)).copied().unwrap_or(usual)
        };
        with_private(nodes, &self.private, distance)
    }

    fn zones(
        &self,
        zones: BTreeMap<(NodeId, ZoneKind), Spans>,
        descriptors: &DescriptorFrames,
    ) -> Result<Vec<Zone>, BuildError> {
        let largest = self.arch.largest_buddy_order();
        let pageblock = self.pageblock();
        let kept = descriptors.zones(&zones, self.arch.base_page());
        let build = |((node, kind), spans)| {
            let layout = ZoneLayout { node, kind, spans, largest, pageblock };
            zone_beside(layout, kept.get(&(node, kind)).map_or(&[], Vec::as_slice))
        };
        zones.into_iter().map(build).collect()
    }

    fn pageblock(&self) -> Order {
        let largest = self.arch.largest_buddy_order();
        self.arch.pmd_size().order(self.arch.base_page()).unwrap_or(largest).min(largest)
    }

    fn pages(
        &self,
        topology: Topology,
        mut zones: Vec<Zone>,
        knobs: &Knobs,
        boot: &BootConfig,
    ) -> Result<(PageAllocator, CmaAreas, Vec<BootMessage>), BuildError> {
        let largest = self.arch.largest_buddy_order();
        let pageblock = self.pageblock();
        let all: PageCount = zones.iter().map(Zone::managed).sum();
        let few = all.get() < pageblock.pages().get() * 6;
        let grouping = if few { Grouping::Off } else { Grouping::ByMobility };
        let rules = Rules { largest, pageblock, grouping, cpusets: Cpusets::On, ..Rules::default() };
        let of_node = |node: NodeId| {
            let cpus = topology.node(node).map_or(0, |spec| spec.cpus);
            (0..cpus).map(move |_| node)
        };
        let mut cpus: Vec<NodeId> = topology.states().possible.iter().flat_map(of_node).collect();
        if cpus.is_empty() {
            cpus.extend(topology.states().possible.iter().next());
        }
        let part = self.arch.pmd_size().order(self.arch.base_page()).unwrap_or(pageblock);
        let lender = Lender { zones: &mut zones, shift: self.arch.base_page(), part };
        let (areas, messages) = lender.set_aside(boot.cma(), boot.cma_use(), topology.nodes());
        let mut pages = PageAllocator::new(topology, rules, &cpus, zones)?;
        pages.recompute(knobs);
        Ok((pages, areas, messages))
    }
}

/// A zone in which boot keeps some frames, which come on top of those it hands out.
fn zone_beside(mut layout: ZoneLayout, kept: &[(Pfn, Pfn)]) -> Result<Zone, BuildError> {
    let Some(&(first, _)) = kept.first() else { return Ok(Zone::new(layout)?) };
    let mut boot = BootMemory::new();
    layout.spans.iter().for_each(|&(start, end)| boot.add(start, end));
    for &(start, end) in kept {
        boot.add(start, end);
        boot.reserve(start, end);
        if layout.spans.iter().any(|&(first, past)| first <= start && end <= past) {
            continue;
        }
        match layout.spans.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => layout.spans.push((start, end)),
        }
    }
    boot.zone(layout).map_err(|error| match error {
        StateError::Zone(error) => error.into(),
        _ => zone::ZoneError::BadSpan { start: first }.into(),
    })
}

/// The topology of nodes some of which belong to drivers. Their memory comes once they do.
pub(crate) fn with_private(
    nodes: BTreeMap<NodeId, NodeSpec>,
    private: &BTreeMap<NodeId, PrivateNode>,
    distance: impl Fn(NodeId, NodeId) -> u8,
) -> Result<Topology, BuildError> {
    let empty = |(&node, &spec): (&NodeId, &NodeSpec)| {
        let present = if private.contains_key(&node) { PerZone::default() } else { spec.present };
        (node, NodeSpec { present, ..spec })
    };
    let mut topology = Topology::of(nodes.iter().map(empty).collect(), distance)?;
    for (&node, &of) in private {
        topology.make_private(node, of)?;
        if let Some(&spec) = nodes.get(&node) {
            topology.set_node(node, spec)?;
        }
    }
    Ok(topology)
}

fn pages_of(spans: &Spans) -> PageCount {
    spans.iter().map(|(start, end)| PageCount::new(end.get() - start.get())).sum()
}

/// The knobs as they are at boot: nothing has marks yet, so that all of the kernel's memory counts.
fn knobs(zones: &BTreeMap<(NodeId, ZoneKind), Spans>, shift: PageShift) -> Knobs {
    let kernel = zones.iter().filter(|((_, kind), _)| kind.is_for_kernel()).map(|(_, spans)| pages_of(spans)).sum();
    Knobs {
        min_free: min_free_default(kernel, shift),
        scale: ScaleFactor::default(),
        ratios: ReserveRatios::default(),
        fraction: HighFraction::default(),
        shift,
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
