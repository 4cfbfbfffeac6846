//! Nodes, what they have, and the order in which each looks for memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use units::{NodeId, Nodemask, PageCount, PerZone, ZoneKind};

use crate::private::PrivateNode;
use crate::zone_list::{Lists, Neighbour, Reach, ZoneRef, build_all};

/// What one node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct NodeSpec {
    /// Pages that exist in each zone. Pages of a device are no memory that could be allocated.
    pub present: PerZone<PageCount>,
    /// How many processors it has.
    pub cpus: u32,
    /// Is something else there that works on memory, such as an accelerator?
    pub initiator: bool,
    /// Is it there, or could it only come?
    pub online: bool,
}

impl NodeSpec {
    /// A node with a processor and `memory` in its normal zone.
    #[must_use]
    pub fn normal(memory: PageCount) -> Self {
        let mut present = PerZone::default();
        present[ZoneKind::Normal] = memory;
        Self { present, cpus: 1, initiator: false, online: true }
    }

    /// The zones that have pages and can be allocated from, from the highest down.
    pub(crate) fn populated(&self) -> impl Iterator<Item = ZoneKind> {
        let zones = self.present.iter().rev().filter(|(kind, pages)| *kind != ZoneKind::Device && !pages.is_zero());
        zones.map(|(kind, _)| kind)
    }

    /// Pages that can be allocated, of all zones.
    pub(crate) fn memory(&self) -> PageCount {
        self.populated().map(|kind| self.present[kind]).sum()
    }

    fn has_memory_up_to(&self, highest: ZoneKind) -> bool {
        self.online && self.populated().any(|kind| kind <= highest)
    }
}

/// Which nodes are in which state. A node may be in any combination: with processors and no memory, with memory and no processors.
#[doc(alias = "node_states")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStates {
    /// Could be there.
    #[doc(alias = "N_POSSIBLE")]
    pub possible: Nodemask,
    /// Is there.
    #[doc(alias = "N_ONLINE")]
    pub online: Nodemask,
    /// Has memory that the kernel maps.
    #[doc(alias = "N_NORMAL_MEMORY")]
    pub normal_memory: Nodemask,
    /// Has memory that the kernel can use; as the one before where there is no high memory.
    #[doc(alias = "N_HIGH_MEMORY")]
    pub high_memory: Nodemask,
    /// Has memory, be it only movable.
    #[doc(alias = "N_MEMORY")]
    pub memory: Nodemask,
    /// Has memory that belongs to a driver, and is in none of the three before.
    #[doc(alias = "N_MEMORY_PRIVATE")]
    pub memory_private: Nodemask,
    /// Has processors.
    #[doc(alias = "N_CPU")]
    pub cpu: Nodemask,
    /// Has something else that works on memory.
    #[doc(alias = "N_GENERIC_INITIATOR")]
    pub generic_initiator: Nodemask,
}

/// The nodes of a machine and, for each, all zones from near to far.
#[doc(alias("node_zonelists", "numa_distance"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    nodes: BTreeMap<NodeId, NodeSpec>,
    /// By the pair of indices.
    distances: Vec<Vec<u8>>,
    states: NodeStates,
    lists: Vec<Lists>,
    pub(crate) private: BTreeMap<NodeId, PrivateNode>,
}

/// Why a topology cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// A machine has at least one node.
    #[error("a machine needs at least one node with memory")]
    NoNodes,
    /// A node number above the limit.
    #[error("{0} is out of range: nodes are numbered below {limit}", limit = Nodemask::CAPACITY)]
    NodeOutOfRange(NodeId),
    /// No such node.
    #[error("the machine has no {0}")]
    NoSuchNode(NodeId),
}

impl Topology {
    /// The topology of `nodes`, each with a processor and normal memory, with `distance(from, to)` between them.
    ///
    /// # Errors
    /// No node at all.
    pub fn new(nodes: Nodemask, distance: impl Fn(NodeId, NodeId) -> u8) -> Result<Self, TopologyError> {
        Self::of(nodes.iter().map(|node| (node, NodeSpec::normal(PageCount::new(1)))).collect(), distance)
    }

    /// The topology of nodes of all kinds, with `distance(from, to)` between them.
    ///
    /// # Errors
    /// No node that has memory, or a number out of range.
    pub fn of(
        nodes: BTreeMap<NodeId, NodeSpec>,
        distance: impl Fn(NodeId, NodeId) -> u8,
    ) -> Result<Self, TopologyError> {
        let Some((&last, _)) = nodes.last_key_value() else { return Err(TopologyError::NoNodes) };
        if last.get() >= Nodemask::CAPACITY {
            return Err(TopologyError::NodeOutOfRange(last));
        }
        let mut distances = alloc::vec![alloc::vec![u8::MAX; last.index() + 1]; last.index() + 1];
        for &from in nodes.keys() {
            for &to in nodes.keys() {
                distances[from.index()][to.index()] = distance(from, to);
            }
        }
        let mut topology =
            Self { nodes, distances, states: NodeStates::default(), lists: Vec::new(), private: BTreeMap::new() };
        topology.rebuild();
        if topology.states.memory.is_empty() {
            return Err(TopologyError::NoNodes);
        }
        Ok(topology)
    }

    /// What a node has.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeSpec> {
        self.nodes.get(&node)
    }

    /// Changes what a node has, as hotplug does, and makes all lists again.
    ///
    /// # Errors
    /// No such node; or the last memory would be gone.
    #[doc(alias("build_all_zonelists", "node_states_set_node"))]
    pub fn set_node(&mut self, node: NodeId, spec: NodeSpec) -> Result<(), TopologyError> {
        let known = self.nodes.get_mut(&node).ok_or(TopologyError::NoSuchNode(node))?;
        let before = core::mem::replace(known, spec);
        self.rebuild();
        if self.states.memory.is_empty() {
            self.nodes.insert(node, before);
            self.rebuild();
            return Err(TopologyError::NoNodes);
        }
        Ok(())
    }

    /// States and lists from scratch. All lists are made together, in the order of the nodes: an order among equally distant nodes
    /// depends on the lists made before.
    pub(crate) fn rebuild(&mut self) {
        let with = |has: &dyn Fn(&NodeId, &NodeSpec) -> bool| -> Nodemask {
            self.nodes.iter().filter(|(node, spec)| has(node, spec)).map(|(&node, _)| node).collect()
        };
        let up_to =
            |highest: ZoneKind| with(&|node, spec| spec.has_memory_up_to(highest) && !self.private.contains_key(node));
        self.states = NodeStates {
            possible: with(&|_, _| true),
            online: with(&|_, spec| spec.online),
            normal_memory: up_to(ZoneKind::Normal),
            high_memory: up_to(ZoneKind::HighMem),
            memory: up_to(ZoneKind::Movable),
            memory_private: with(&|node, spec| {
                spec.has_memory_up_to(ZoneKind::Movable) && self.private.contains_key(node)
            }),
            cpu: with(&|_, spec| spec.online && spec.cpus > 0),
            generic_initiator: with(&|_, spec| spec.online && spec.initiator),
        };
        let neighbours = |mask: Nodemask| -> Vec<Neighbour> {
            let of = |node: NodeId| {
                let zones = self.nodes.get(&node)?.populated().collect();
                Some(Neighbour { node, zones, has_cpus: self.states.cpu.contains(node) })
            };
            mask.iter().filter_map(of).collect()
        };
        let ordinary = neighbours(self.states.memory);
        let private = self.states.memory_private;
        let all = if private.is_empty() { Vec::new() } else { neighbours(self.states.memory.union(private)) };
        self.lists = build_all(self.states.possible, &ordinary, &all, &self.distances);
    }

    /// Nodes with memory.
    #[must_use]
    #[inline]
    pub const fn nodes(&self) -> Nodemask {
        self.states.memory
    }

    /// Has the node pages of that kind?
    #[doc(alias = "populated_zone")]
    #[must_use]
    #[inline]
    pub fn is_populated(&self, zone: ZoneRef) -> bool {
        self.nodes.get(&zone.node).is_some_and(|spec| !spec.present[zone.kind].is_zero())
    }

    /// Which nodes are in which state.
    #[must_use]
    #[inline]
    pub const fn states(&self) -> &NodeStates {
        &self.states
    }

    /// The distance between two nodes of the machine.
    #[doc(alias = "node_distance")]
    #[must_use]
    pub fn distance(&self, from: NodeId, to: NodeId) -> Option<u8> {
        (self.nodes.contains_key(&from) && self.nodes.contains_key(&to))
            .then(|| self.distances[from.index()][to.index()])
    }

    /// All nodes with memory from `from` outwards, `from` first if it has some. Empty for a node that does not exist.
    ///
    /// Nearer nodes come first; among equally near ones those behind `from` in number, and those without processors, and then those
    /// that are less often the first of their distance in the lists of the nodes before.
    #[doc(alias("zonelist", "find_next_best_node"))]
    #[must_use]
    #[inline]
    pub fn zone_list(&self, from: NodeId) -> &[NodeId] {
        self.lists.get(from.index()).map_or(&[], |lists| &lists.ordinary.nodes)
    }

    /// The zones that a request from `from` may try, in order: each node's zones from the highest down. Empty for
    /// [`Reach::ThisNode`] on a node without memory.
    #[doc(alias = "node_zonelist")]
    #[must_use]
    #[inline]
    pub fn zones(&self, from: NodeId, reach: Reach) -> &[ZoneRef] {
        let Some(lists) = self.lists.get(from.index()) else { return &[] };
        match reach {
            Reach::Everywhere => &lists.ordinary.zones,
            Reach::ThisNode => lists.ordinary.own(),
            Reach::Private => &lists.with_private().zones,
            Reach::PrivateThisNode => lists.with_private().own(),
        }
    }

    /// Of these the ones that a request may use: up to the zone `highest`, on nodes of the mask if it has one.
    #[doc(alias("for_each_zone_zonelist_nodemask", "first_zones_zonelist"))]
    pub fn usable_zones(
        &self,
        from: NodeId,
        reach: Reach,
        highest: ZoneKind,
        mask: Option<Nodemask>,
    ) -> impl Iterator<Item = ZoneRef> {
        let may = move |zone: &ZoneRef| zone.kind <= highest && mask.is_none_or(|mask| mask.contains(zone.node));
        self.zones(from, reach).iter().copied().filter(may)
    }

    /// The highest zone that memory policies restrict: requests for lower ones go anywhere. Movable zones do not count.
    #[must_use]
    pub fn policy_zone(&self) -> Option<ZoneKind> {
        let zones = self.lists.iter().flat_map(|lists| &lists.ordinary.zones).map(|zone| zone.kind);
        zones.filter(|&kind| kind != ZoneKind::Movable).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_list_starts_at_home_and_goes_outwards() {
        let far = [[10, 30, 20], [30, 10, 20], [20, 20, 10]];
        let topology = Topology::new(Nodemask::first(3), |a, b| far[a.index()][b.index()]).unwrap();
        let list = |n| topology.zone_list(NodeId::new(n)).iter().map(|n| n.get()).collect::<Vec<_>>();
        assert_eq!((list(0), list(1), list(2)), (alloc::vec![0, 2, 1], alloc::vec![1, 2, 0], alloc::vec![2, 0, 1]));
        assert_eq!(Topology::new(Nodemask::EMPTY, |_, _| 10), Err(TopologyError::NoNodes));
    }
}
