//! What one request is, and what it is entitled to.

use policy::{NodeCap, Reach, Topology, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Nodemask, Order, ZoneKind};
use zone::{AllocFlags, Level};

use crate::gfp;
use crate::rules::{Cpusets, Defrag, Rules};
use crate::task::{Pin, Standing, Task};
use crate::unmapped::Mapping;

/// Memory that no request gets that does not ask for it in so many words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Areas that are kept for contiguous ranges.
    pub cma: bool,
    /// Pages that the kernel has no mapping of.
    pub unmapped: bool,
    /// Private nodes.
    pub managed: bool,
}

impl Access {
    /// Nothing special: what the wishes alone entitle to.
    pub const NONE: Self = Self { cma: false, unmapped: false, managed: false };
}

/// What is asked of the page allocator.
///
/// What an attempt may do to marks and reserves is not here: it follows from these wishes and from how far the request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Size of the block.
    pub order: Order,
    /// What the caller wishes and permits.
    pub gfp: GfpFlags,
    /// Where to start.
    pub node: NodeId,
    /// The nodes that it is restricted to.
    pub nodemask: Option<Nodemask>,
    /// What it may touch beyond ordinary memory.
    pub access: Access,
    /// Who asks.
    pub task: Task,
}

impl PageRequest {
    /// A request without a mask, of an ordinary task.
    #[must_use]
    pub fn new(order: Order, gfp: GfpFlags, node: NodeId) -> Self {
        Self { order, gfp, node, nodemask: None, access: Access::NONE, task: Task::default() }
    }
}

/// A request contradicts itself, or the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// No block is that large.
    #[error("a block of {order} was asked for, and the largest is of {largest}")]
    OrderTooLarge {
        /// What was asked for.
        order: Order,
        /// What there is.
        largest: Order,
    },
    /// It has flags that do not exist.
    #[error("the flags {0:#x} do not exist")]
    UnknownBits(u32),
    /// It asks for two kinds of zone at once.
    #[error("a request is for one kind of zone, and not for {0} at once")]
    BadZoneBits(GfpFlags),
    /// Its pages are to be movable and reclaimable.
    #[error("pages are movable or reclaimable, and not both")]
    BadMobilityBits,
    /// How hard it tries is said twice.
    #[error("a request tries as hard as one of these says, and not as {0} say at once")]
    BadEffortBits(GfpFlags),
    /// It must not fail and cannot wait.
    #[error("a request that never fails must be able to wait")]
    NofailWithoutReclaim,
    /// The pages would stay in an area that must be given back.
    #[error("only pages that can move may come from areas kept for contiguous ranges")]
    CmaNeedsMovable,
    /// Unmapped pages are never moved or dropped.
    #[error("pages without a mapping can be neither movable nor reclaimable")]
    UnmappedNeedsUnmovable,
    /// There is no mapping to write zeroes through.
    #[error("pages without a mapping cannot be zeroed")]
    UnmappedWithZero,
    /// The kernel frees folios of private nodes through their drivers, which bare pages do not know.
    #[error("memory of private nodes comes as folios alone")]
    ManagedNeedsFolio,
    /// The node's driver does not let its pages be pinned for long.
    #[error("the driver of {0} lets no page be pinned for long")]
    PinNotPermitted(NodeId),
    /// No such node.
    #[error("the machine has no {0}")]
    NoSuchNode(NodeId),
}

/// One request as the allocator sees it: copied from what the caller gave, so that nothing he does meanwhile changes it.
#[doc(alias = "alloc_context")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub(crate) order: Order,
    /// What is left of the wishes where the task is.
    pub(crate) gfp: GfpFlags,
    pub(crate) access: Access,
    pub(crate) migratetype: Migratetype,
    #[doc(alias = "highest_zoneidx")]
    pub(crate) highest: ZoneKind,
    pub(crate) reach: Reach,
    pub(crate) node: NodeId,
    pub(crate) nodemask: Option<Nodemask>,
    pub(crate) task: Task,
    /// Whether the memory may be lent.
    pub(crate) lent: AllocFlags,
}

/// Where a scan of a zone list begins.
#[doc(alias = "preferred_zoneref")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preferred {
    pub(crate) place: usize,
    pub(crate) zone: ZoneRef,
}

/// One attempt on the free lists. Only the allocator makes one.
///
/// ```compile_fail,E0451
/// # use page_alloc::{Attempt, Nodes};
/// Attempt { level: zone::Level::Min, flags: zone::AllocFlags::NO_WATERMARKS, nodes: Nodes::All };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub(crate) level: Level,
    pub(crate) flags: AllocFlags,
    pub(crate) nodes: Nodes,
}

impl Attempt {
    /// The mark to stay above.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What the attempt may do.
    #[must_use]
    pub const fn flags(&self) -> AllocFlags {
        self.flags
    }

    /// Which nodes count.
    #[must_use]
    pub const fn nodes(&self) -> Nodes {
        self.nodes
    }
}

/// Which nodes an attempt looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Those of the request.
    Asked,
    /// All: the request is entitled to ignore masks.
    All,
}

impl Context {
    /// The request as it is now.
    ///
    /// # Errors
    /// The first contradiction found.
    #[inline]
    pub fn new(request: &PageRequest, rules: &Rules, topology: &Topology) -> Result<Self, ContextError> {
        // All that follows looks at the copy alone.
        let request = *request;
        let gfp = request.task.permits(request.gfp.intersection(rules.granted));
        let (Some(highest), Some(migratetype)) = (gfp::highest_zone(gfp), gfp::migratetype(gfp)) else {
            return Err(contradiction(&request, rules, topology));
        };
        if request.order > rules.largest || is_suspect(&request) {
            check(&request, rules, topology)?;
        }
        let access = request.access;
        let reach = match (access.managed, gfp.contains(GfpFlags::THISNODE)) {
            (false, false) => Reach::Everywhere,
            (false, true) => Reach::ThisNode,
            (true, false) => Reach::Private,
            (true, true) => Reach::PrivateThisNode,
        };
        // Who says what he may touch says all of it.
        let lent =
            if access == Access::NONE || access.cma { gfp::cma(migratetype, rules.grouping) } else { AllocFlags::NONE };
        let PageRequest { order, node, nodemask, task, .. } = request;
        Ok(Self { order, gfp, access, migratetype, highest, reach, node, nodemask, task, lent })
    }

    /// Size of the block.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// What is left of the wishes where the task is.
    #[must_use]
    pub const fn gfp(&self) -> GfpFlags {
        self.gfp
    }

    /// What the pages will be.
    #[must_use]
    pub const fn migratetype(&self) -> Migratetype {
        self.migratetype
    }

    /// The highest zone that it may use.
    #[must_use]
    pub const fn highest(&self) -> ZoneKind {
        self.highest
    }

    /// What the kernel's mapping of the pages is to be.
    #[must_use]
    #[inline]
    pub const fn mapping(&self) -> Mapping {
        if self.access.unmapped { Mapping::Unmapped } else { Mapping::Mapped }
    }

    /// Which zones it can reach at all.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// The nodes that the first attempts are restricted to, and whether each is asked for besides. Of a task without a mask these
    /// are its cpuset's.
    #[inline]
    pub(crate) fn first_nodes(&self, rules: &Rules) -> (Option<Nodemask>, AllocFlags) {
        if rules.cpusets == Cpusets::Off {
            return (self.nodemask, AllocFlags::NONE);
        }
        if self.task.site.is_task() && self.nodemask.is_none() {
            return (Some(self.task.allowed), AllocFlags::NONE);
        }
        (self.nodemask, AllocFlags::CPUSET)
    }

    /// The wishes of the first attempt: where there are cpusets, it insists on the task's.
    #[inline]
    pub(crate) const fn first_gfp(&self, rules: &Rules) -> GfpFlags {
        match rules.cpusets {
            Cpusets::Off => self.gfp,
            Cpusets::On | Cpusets::Insane => self.gfp.union(GfpFlags::HARDWALL),
        }
    }

    /// The first zone that the request may use.
    #[doc(alias = "first_zones_zonelist")]
    #[inline]
    pub(crate) fn preferred(&self, topology: &Topology, mask: Option<Nodemask>) -> Option<Preferred> {
        self.next_zone(topology, mask, 0)
    }

    /// The first one at `place` or behind it.
    #[doc(alias = "next_zones_zonelist")]
    #[inline]
    pub(crate) fn next_zone(&self, topology: &Topology, mask: Option<Nodemask>, place: usize) -> Option<Preferred> {
        let zones = topology.zones(self.node, self.reach);
        let mut place = place;
        while let Some(&zone) = zones.get(place) {
            if zone.kind <= self.highest && mask.is_none_or(|mask| mask.contains(zone.node)) {
                return Some(Preferred { place, zone });
            }
            place += 1;
        }
        None
    }

    /// What the first attempt may do beside `more`: not mix pageblocks, where a lower zone of the node could serve instead.
    #[doc(alias = "alloc_flags_nofragment")]
    #[inline]
    pub(crate) fn first_flags(&self, preferred: ZoneRef, rules: &Rules, topology: &Topology) -> AllocFlags {
        let flags = if self.gfp.contains(GfpFlags::KSWAPD_RECLAIM) { AllocFlags::KSWAPD } else { AllocFlags::NONE };
        if rules.defrag == Defrag::On {
            return flags.with(AllocFlags::NOFRAGMENT);
        }
        if preferred.kind != ZoneKind::Normal {
            return flags;
        }
        let below = ZoneRef { node: preferred.node, kind: ZoneKind::Dma32 };
        let alone = topology.states().online.len() == 1;
        if alone || topology.is_populated(below) { flags.with(AllocFlags::NOFRAGMENT) } else { flags }
    }

    /// May the task have memory of that node, with these wishes?
    #[doc(alias = "cpuset_zone_allowed")]
    #[must_use]
    pub fn allows(&self, node: NodeId, gfp: GfpFlags, rules: &Rules) -> bool {
        let task = &self.task;
        if rules.cpusets == Cpusets::Off || !task.site.is_task() || task.allowed.contains(node) {
            return true;
        }
        let dies = task.standing == Standing::Victim;
        dies || !gfp.contains(GfpFlags::HARDWALL) && task.walled.contains(node)
    }
}

/// Could one of the rarer rules be broken? Most requests need not be looked at more closely.
#[inline]
fn is_suspect(request: &PageRequest) -> bool {
    let rare = GfpFlags::NOFAIL.union(GfpFlags::NORETRY).union(GfpFlags::RETRY_MAYFAIL);
    request.access != Access::NONE
        || request.gfp.intersects(rare)
        || request.gfp.bits() & !GfpFlags::all().bits() != 0
        || request.node.get() >= Nodemask::CAPACITY
}

#[cold]
fn contradiction(request: &PageRequest, rules: &Rules, topology: &Topology) -> ContextError {
    check(request, rules, topology).err().unwrap_or(ContextError::BadMobilityBits)
}

/// Every rule that a request can break.
#[doc(alias = "sanitize_alloc_flags")]
#[cold]
fn check(request: &PageRequest, rules: &Rules, topology: &Topology) -> Result<(), ContextError> {
    let PageRequest { order, gfp, access, node, .. } = *request;
    let has = |flags: GfpFlags| gfp.contains(flags);
    if order > rules.largest {
        return Err(ContextError::OrderTooLarge { order, largest: rules.largest });
    }
    let unknown = gfp.bits() & !GfpFlags::all().bits();
    if unknown != 0 {
        return Err(ContextError::UnknownBits(unknown));
    }
    if topology.node(node).is_none() {
        return Err(ContextError::NoSuchNode(node));
    }
    if gfp::highest_zone(gfp).is_none() {
        let zones = GfpFlags::DMA.union(GfpFlags::DMA32).union(GfpFlags::HIGHMEM);
        return Err(ContextError::BadZoneBits(gfp.intersection(zones)));
    }
    if gfp::migratetype(gfp).is_none() {
        return Err(ContextError::BadMobilityBits);
    }
    let effort = gfp.intersection(GfpFlags::NORETRY.union(GfpFlags::RETRY_MAYFAIL).union(GfpFlags::NOFAIL));
    if effort.bits().count_ones() > 1 {
        return Err(ContextError::BadEffortBits(effort));
    }
    if has(GfpFlags::NOFAIL) && !has(GfpFlags::DIRECT_RECLAIM) {
        return Err(ContextError::NofailWithoutReclaim);
    }
    if access.cma && !has(GfpFlags::MOVABLE) {
        return Err(ContextError::CmaNeedsMovable);
    }
    if access.unmapped && gfp.intersects(GfpFlags::MOVABLE.union(GfpFlags::RECLAIMABLE)) {
        return Err(ContextError::UnmappedNeedsUnmovable);
    }
    if access.unmapped && has(GfpFlags::ZERO) {
        return Err(ContextError::UnmappedWithZero);
    }
    if access.managed && !has(GfpFlags::COMP) {
        return Err(ContextError::ManagedNeedsFolio);
    }
    if access.managed && request.task.pin == Pin::Long && !topology.permits(node, NodeCap::LongTermPin) {
        return Err(ContextError::PinNotPermitted(node));
    }
    Ok(())
}
