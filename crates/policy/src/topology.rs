//! Nodes and distances.

use alloc::vec::Vec;

use units::{NodeId, Nodemask};

/// The nodes of a machine and, for each, all nodes from near to far.
#[doc(alias("node_zonelists", "numa_distance"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    nodes: Nodemask,
    near_to_far: Vec<Vec<NodeId>>,
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
}

impl Topology {
    /// The topology of `nodes` with `distance(from, to)` between them. Equal distances are ordered by node number.
    ///
    /// # Errors
    /// No node at all.
    pub fn new(nodes: Nodemask, distance: impl Fn(NodeId, NodeId) -> u8) -> Result<Self, TopologyError> {
        if nodes.is_empty() {
            return Err(TopologyError::NoNodes);
        }
        let last = nodes.iter().last().map_or(0, NodeId::index);
        let mut near_to_far = alloc::vec![Vec::new(); last + 1];
        for from in nodes.iter() {
            let mut list: Vec<NodeId> = nodes.iter().collect();
            list.sort_by_key(|&to| (to != from, distance(from, to), to));
            near_to_far[from.index()] = list;
        }
        Ok(Self { nodes, near_to_far })
    }

    /// Nodes with memory.
    #[must_use]
    #[inline]
    pub const fn nodes(&self) -> Nodemask {
        self.nodes
    }

    /// All nodes from `from` outwards, `from` first. Empty for a node that has no memory.
    #[doc(alias = "zonelist")]
    #[must_use]
    #[inline]
    pub fn zone_list(&self, from: NodeId) -> &[NodeId] {
        self.near_to_far.get(from.index()).map_or(&[], Vec::as_slice)
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
