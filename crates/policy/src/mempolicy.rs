//! Memory policies and what they mean for one allocation.

use units::{HugeIndex, NodeId, Nodemask, ZoneKind};

use crate::topology::Topology;

/// What a task or an area wishes about placement.
#[doc(alias = "mempolicy")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Mempolicy {
    /// No wish: as [`Mempolicy::Local`].
    #[default]
    Default,
    /// The node the task runs on.
    Local,
    /// One node first, then by distance.
    Preferred(NodeId),
    /// These nodes first, then all.
    PreferredMany {
        /// The nodes.
        nodes: Nodemask,
        /// Where to start.
        home: Option<NodeId>,
    },
    /// These nodes and no others.
    Bind {
        /// The nodes.
        nodes: Nodemask,
        /// Where to start.
        home: Option<NodeId>,
    },
    /// One huge page on each in turn.
    Interleave(Nodemask),
    /// In turn, as many in a row on each as the machine's weights say.
    WeightedInterleave(Nodemask),
}

/// How many pages each node gets in a row when it is its turn: the weights of the machine.
#[doc(alias("weighted_interleave", "iw_table"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Weights([[u8; 32]; 2]);

impl Weights {
    /// One page on each.
    pub const EVEN: Self = Self([[1; 32]; 2]);

    /// The weight of a node. Zero counts as one.
    #[must_use]
    pub fn get(&self, node: NodeId) -> u8 {
        self.0[node.index() / 32 % 2][node.index() % 32].max(1)
    }

    /// Changes the weight of a node.
    pub fn set(&mut self, node: NodeId, weight: u8) {
        self.0[node.index() / 32 % 2][node.index() % 32] = weight;
    }

    fn turn(&self, nodes: Nodemask, index: HugeIndex) -> Option<NodeId> {
        let total: u64 = nodes.iter().map(|node| u64::from(self.get(node))).sum();
        let mut turn = index.get().checked_rem(total)?;
        for node in nodes.iter() {
            match turn.checked_sub(u64::from(self.get(node))) {
                Some(rest) => turn = rest,
                None => return Some(node),
            }
        }
        None
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::EVEN
    }
}

/// How the allocator is to read a [`Placement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Start at the node, go outwards.
    Local,
    /// Start at the node, go outwards.
    Preferred,
    /// Try the mask first, then everything.
    PreferredMany,
    /// Only the mask.
    Bind,
    /// Start at the node whose turn it is, go outwards.
    Interleave,
}

/// A policy interpreted for one page: everything that the allocation needs to know of it.
#[doc(alias = "alloc_context")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where to start.
    pub nid: NodeId,
    /// The nodes it is restricted to; for [`Mode::PreferredMany`] the nodes to try first.
    pub nodemask: Option<Nodemask>,
    /// How to read the two.
    pub mode: Mode,
}

impl Placement {
    /// Near `nid`, anywhere else if need be.
    #[must_use]
    pub const fn local(nid: NodeId) -> Self {
        Self { nid, nodemask: None, mode: Mode::Local }
    }

    /// The nodes that requests which may use zones up to `highest` are restricted to, or for [`Mode::PreferredMany`] try first. Low memory
    /// is where it is, so that it is bound to no node; and nodes of movable memory alone cannot give what cannot move.
    #[doc(alias("apply_policy_zone", "policy_nodemask", "policy_zone"))]
    #[must_use]
    #[inline]
    pub fn nodes(&self, highest: ZoneKind, topology: &Topology) -> Option<Nodemask> {
        let mask = self.nodemask?;
        (self.mode != Mode::Bind || binds(mask, highest, topology)).then_some(mask)
    }

    /// The nodes to try, and then those to try if these have nothing.
    #[doc(alias = "alloc_pages_preferred_many")]
    #[inline]
    pub fn passes(&self, highest: ZoneKind, topology: &Topology) -> (Option<Nodemask>, Option<Option<Nodemask>>) {
        (self.nodes(highest, topology), (self.mode == Mode::PreferredMany).then_some(None))
    }
}

#[cold]
fn binds(mask: Nodemask, highest: ZoneKind, topology: &Topology) -> bool {
    let only_movable = mask.intersection(topology.states().high_memory).is_empty();
    let least = if only_movable { Some(ZoneKind::Movable) } else { topology.policy_zone() };
    least.is_none_or(|least| highest >= least)
}

impl Mempolicy {
    /// Interprets the policy for the page at `interleave_index`, for a task that runs on `local` and whose cpuset allows
    /// `allowed`. Only [`Mempolicy::WeightedInterleave`] looks at the weights.
    #[doc(alias("huge_node", "policy_nodemask"))]
    #[must_use]
    pub fn interpret(
        &self,
        local: NodeId,
        allowed: Nodemask,
        interleave_index: HugeIndex,
        weights: &Weights,
    ) -> Placement {
        match *self {
            Self::Default | Self::Local => Placement::local(local),
            Self::Preferred(nid) => Placement { nid, nodemask: None, mode: Mode::Preferred },
            Self::PreferredMany { nodes, home } => {
                Placement { nid: home.unwrap_or(local), nodemask: Some(nodes), mode: Mode::PreferredMany }
            }
            Self::Bind { nodes, home } => {
                let nodemask = (!nodes.intersection(allowed).is_empty()).then_some(nodes);
                Placement { nid: home.unwrap_or(local), nodemask, mode: Mode::Bind }
            }
            Self::Interleave(nodes) => {
                let turn = interleave_index.get() % u64::from(nodes.len().max(1));
                let nid = nodes.iter().zip(0..).find_map(|(node, i)| (i == turn).then_some(node));
                Placement { nid: nid.unwrap_or(local), nodemask: None, mode: Mode::Interleave }
            }
            Self::WeightedInterleave(nodes) => {
                let nid = weights.turn(nodes, interleave_index).unwrap_or(local);
                Placement { nid, nodemask: None, mode: Mode::Interleave }
            }
        }
    }

    /// Does its meaning depend on the weights of the machine?
    #[must_use]
    #[inline]
    pub const fn heeds_weights(&self) -> bool {
        matches!(self, Self::WeightedInterleave(_))
    }

    /// The nodes that it speaks of; none where it means the node of the task.
    #[must_use]
    pub const fn nodes(&self) -> Nodemask {
        match *self {
            Self::Default | Self::Local => Nodemask::EMPTY,
            Self::Preferred(node) => Nodemask::of(node),
            Self::PreferredMany { nodes, .. }
            | Self::Bind { nodes, .. }
            | Self::Interleave(nodes)
            | Self::WeightedInterleave(nodes) => nodes,
        }
    }

    /// The same about `nodes`; nothing if it speaks of nodes and these are none.
    #[must_use]
    pub(crate) fn on(&self, nodes: Nodemask) -> Option<Self> {
        let first = nodes.iter().next();
        Some(match (*self, first) {
            (Self::Default | Self::Local, _) => *self,
            (_, None) => return None,
            (Self::Preferred(_), Some(first)) => Self::Preferred(first),
            (Self::PreferredMany { home, .. }, _) => Self::PreferredMany { nodes, home },
            (Self::Bind { home, .. }, _) => Self::Bind { nodes, home },
            (Self::Interleave(_), _) => Self::Interleave(nodes),
            (Self::WeightedInterleave(_), _) => Self::WeightedInterleave(nodes),
        })
    }

    /// The same, beginning to look at `home`; nothing for a policy that does not begin anywhere.
    #[doc(alias = "home_node")]
    #[must_use]
    pub const fn with_home(&self, home: NodeId) -> Option<Self> {
        match *self {
            Self::PreferredMany { nodes, .. } => Some(Self::PreferredMany { nodes, home: Some(home) }),
            Self::Bind { nodes, .. } => Some(Self::Bind { nodes, home: Some(home) }),
            _ => None,
        }
    }

    /// The nodes that count when pages are promised to a task whose cpuset allows `allowed`: a binding policy narrows them where
    /// the two meet, other policies are not considered.
    #[doc(alias("policy_mbind_nodemask", "allowed_mems_nr"))]
    #[must_use]
    pub fn reservation_nodes(&self, allowed: Nodemask) -> Nodemask {
        match self {
            Self::Bind { nodes, .. } if !nodes.intersection(allowed).is_empty() => nodes.intersection(allowed),
            _ => allowed,
        }
    }

    /// The nodes that an administrator's `nr_hugepages_mempolicy` write acts on; nothing means all.
    #[doc(alias = "init_nodemask_of_mempolicy")]
    #[must_use]
    pub fn resize_nodes(&self, local: NodeId) -> Option<Nodemask> {
        match self {
            Self::Default => None,
            Self::Local => Some(Nodemask::of(local)),
            other => Some(other.nodes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(list: &[u8]) -> Nodemask {
        list.iter().copied().map(NodeId::new).collect()
    }

    #[test]
    fn interleave_takes_turns_by_index() {
        let policy = Mempolicy::Interleave(nodes(&[1, 4, 6]));
        let nid = |i| policy.interpret(NodeId::new(0), Nodemask::ALL, HugeIndex::new(i), &Weights::EVEN).nid.get();
        assert_eq!([0, 1, 2, 3, 7].map(nid), [1, 4, 6, 1, 4]);
    }

    #[test]
    fn weights_count_and_zero_counts_as_one() {
        let mut weights = Weights::EVEN;
        weights.set(NodeId::new(0), 2);
        weights.set(NodeId::new(1), 0);
        let policy = Mempolicy::WeightedInterleave(nodes(&[0, 1]));
        let nid = |i| policy.interpret(NodeId::new(0), Nodemask::ALL, HugeIndex::new(i), &weights).nid.get();
        assert_eq!([0, 1, 2, 3, 4, 5].map(nid), [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn bind_outside_the_cpuset_binds_nothing() {
        let policy = Mempolicy::Bind { nodes: nodes(&[1]), home: None };
        let mask = |allowed| policy.interpret(NodeId::new(0), allowed, HugeIndex::ZERO, &Weights::EVEN).nodemask;
        assert_eq!((mask(nodes(&[0])), mask(nodes(&[0, 1]))), (None, Some(nodes(&[1]))));
    }
}
