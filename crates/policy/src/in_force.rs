//! Policies in force: what was asked for, and what that is among the nodes that a task may use now.

use units::{NodeId, Nodemask};

use crate::mempolicy::Mempolicy;

/// What the nodes of a policy mean once the task may use other ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodesMean {
    /// Places among the nodes that the task may use: whoever has the place then takes over.
    #[default]
    Places,
    /// These nodes, as far as the task may use them.
    #[doc(alias = "MPOL_F_STATIC_NODES")]
    Static,
    /// Counted from the first node that the task may use, around and around.
    #[doc(alias = "MPOL_F_RELATIVE_NODES")]
    Relative,
}

/// A policy that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    policy: Mempolicy,
    nodes: Nodemask,
    mean: NodesMean,
}

impl Wish {
    /// The first of `nodes` that the task may use is preferred.
    #[must_use]
    pub fn first_of(nodes: Nodemask) -> Self {
        let first = nodes.iter().next().unwrap_or_default();
        Self { nodes, ..Self::from(Mempolicy::Preferred(first)) }
    }

    /// The nodes that it is about, as they were asked for.
    #[must_use]
    pub const fn nodes(&self) -> Nodemask {
        self.nodes
    }

    /// The same with nodes that mean this.
    #[must_use]
    pub const fn meaning(self, mean: NodesMean) -> Self {
        Self { mean, ..self }
    }
}

impl From<Mempolicy> for Wish {
    fn from(policy: Mempolicy) -> Self {
        Self { policy, nodes: policy.nodes(), mean: NodesMean::default() }
    }
}

impl From<&Mempolicy> for Wish {
    fn from(policy: &Mempolicy) -> Self {
        Self::from(*policy)
    }
}

/// A policy in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PolicyInForce {
    policy: Mempolicy,
    anchor: Anchor,
}

/// From what the policy is made again when the task may use other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
enum Anchor {
    /// The nodes that the task could use.
    Places(Nodemask),
    /// The nodes asked for.
    Static(Nodemask),
    /// The nodes asked for, by their numbers.
    Relative(Nodemask),
}

impl Default for Anchor {
    fn default() -> Self {
        Self::Places(Nodemask::ALL)
    }
}

impl From<Mempolicy> for PolicyInForce {
    /// For a task that may use all nodes.
    fn from(policy: Mempolicy) -> Self {
        Self { policy, anchor: Anchor::default() }
    }
}

impl core::ops::Deref for PolicyInForce {
    type Target = Mempolicy;

    fn deref(&self) -> &Mempolicy {
        &self.policy
    }
}

impl PolicyInForce {
    /// What a wish is for a task that may use the nodes `allowed`, of which `with_memory` have memory; nothing if it is about nodes
    /// and none of them is left.
    #[doc(alias("mpol_set_nodemask", "mpol_new"))]
    #[must_use]
    pub fn new(wish: &Wish, allowed: Nodemask, with_memory: Nodemask) -> Option<Self> {
        let usable = allowed.intersection(with_memory);
        let nodes = match wish.mean {
            NodesMean::Relative => counted_from_first(wish.nodes, usable),
            NodesMean::Places | NodesMean::Static => wish.nodes.intersection(usable),
        };
        let anchor = match wish.mean {
            NodesMean::Places => Anchor::Places(allowed),
            NodesMean::Static => Anchor::Static(wish.nodes),
            NodesMean::Relative => Anchor::Relative(wish.nodes),
        };
        Some(Self { policy: wish.policy.on(nodes)?, anchor })
    }

    /// What its nodes mean.
    #[must_use]
    pub const fn nodes_mean(&self) -> NodesMean {
        match self.anchor {
            Anchor::Places(_) => NodesMean::Places,
            Anchor::Static(_) => NodesMean::Static,
            Anchor::Relative(_) => NodesMean::Relative,
        }
    }

    /// Does the other one mean the same now, and once the nodes change, but for nodes that are places?
    #[doc(alias = "mpol_equal")]
    #[must_use]
    pub fn means_the_same(&self, other: &Self) -> bool {
        let anchors = match (self.anchor, other.anchor) {
            (Anchor::Places(_), Anchor::Places(_)) => true,
            (one, other) => one == other,
        };
        self.policy == other.policy && anchors
    }

    /// The same, beginning to look at `home`; nothing for a policy that does not begin anywhere.
    #[doc(alias = "home_node")]
    #[must_use]
    pub fn with_home(&self, home: NodeId) -> Option<Self> {
        Some(Self { policy: self.policy.with_home(home)?, ..*self })
    }

    /// What it is once the task may use the nodes `allowed`. Nodes that are preferred stay what they are; where nothing would be left
    /// of the others, all that are allowed stand for them.
    #[doc(alias("mpol_rebind_policy", "mpol_rebind_nodemask", "mpol_rebind_preferred"))]
    #[must_use]
    pub fn rebound(&self, allowed: Nodemask) -> Self {
        if let Anchor::Places(since) = self.anchor
            && since == allowed
        {
            return *self;
        }
        let old = self.policy.nodes();
        let nodes = match self.anchor {
            Anchor::Places(since) => stand_ins(old, since, allowed),
            Anchor::Static(asked) => asked.intersection(allowed),
            Anchor::Relative(asked) => counted_from_first(asked, allowed),
        };
        let nodes = if nodes.is_empty() { allowed } else { nodes };
        let anchor = match self.anchor {
            Anchor::Places(_) => Anchor::Places(allowed),
            fixed => fixed,
        };
        let policy = match self.policy {
            Mempolicy::Default | Mempolicy::Local | Mempolicy::Preferred(_) | Mempolicy::PreferredMany { .. } => {
                self.policy
            }
            other => other.on(nodes).unwrap_or(other),
        };
        Self { policy, anchor }
    }
}

/// For each node of `nodes` the one of `to` that has its place among `from`, counting around where `to` has fewer. Nodes outside of
/// `from` stand for themselves.
#[doc(alias("nodes_remap", "bitmap_remap"))]
#[must_use]
pub fn stand_ins(nodes: Nodemask, from: Nodemask, to: Nodemask) -> Nodemask {
    nodes.iter().map(|node| stand_in(node, from, to)).collect()
}

/// The node of `to` that has the place that `node` has in `from`, counting around where `to` has fewer; itself if it has none.
#[doc(alias("node_remap", "bitmap_bitremap"))]
#[must_use]
pub fn stand_in(node: NodeId, from: Nodemask, to: Nodemask) -> NodeId {
    let Some(place) = from.iter().position(|other| other == node) else { return node };
    nth(to, place).unwrap_or(node)
}

/// Node `n` of `nodes` means the `n`th node of `usable`, counting around.
#[doc(alias("mpol_relative_nodemask", "nodes_fold", "nodes_onto"))]
fn counted_from_first(nodes: Nodemask, usable: Nodemask) -> Nodemask {
    nodes.iter().filter_map(|node| nth(usable, node.index())).collect()
}

/// The `n`th node of a set, counting around.
fn nth(nodes: Nodemask, n: usize) -> Option<NodeId> {
    nodes.iter().nth(n.checked_rem(nodes.iter().count())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(list: &[u8]) -> Nodemask {
        list.iter().copied().map(NodeId::new).collect()
    }

    fn bind(list: &[u8], mean: NodesMean, allowed: &[u8]) -> PolicyInForce {
        let wish = Wish::from(Mempolicy::Bind { nodes: nodes(list), home: None }).meaning(mean);
        PolicyInForce::new(&wish, nodes(allowed), nodes(&[0, 1, 2, 3])).expect("some nodes are left")
    }

    #[test]
    fn places_static_nodes_and_relative_ones() {
        let after = |list: &[u8], mean, before: &[u8], allowed: &[u8]| {
            bind(list, mean, before)
                .rebound(nodes(allowed))
                .nodes()
                .iter()
                .map(|n| n.get())
                .collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(after(&[1, 2], NodesMean::Places, &[0, 1, 2], &[1, 2, 3]), [2, 3]);
        assert_eq!(after(&[2], NodesMean::Places, &[0, 1, 2], &[3]), [3]);
        assert_eq!(after(&[1, 2], NodesMean::Static, &[0, 1, 2], &[2, 3]), [2]);
        assert_eq!(after(&[1], NodesMean::Static, &[0, 1], &[2, 3]), [2, 3], "nothing is left, so all stand for it");
        assert_eq!(after(&[0, 3], NodesMean::Relative, &[0, 1], &[2, 3]), [2, 3]);
        assert_eq!(after(&[2], NodesMean::Relative, &[0, 1], &[1, 3]), [1]);
    }

    #[test]
    fn what_was_squeezed_together_stays_so() {
        let squeezed = bind(&[0, 1], NodesMean::Places, &[0, 1]).rebound(nodes(&[1]));
        assert_eq!(squeezed.rebound(nodes(&[0, 1])).nodes(), nodes(&[0]));
        let fixed = bind(&[0, 1], NodesMean::Static, &[0, 1]).rebound(nodes(&[1]));
        assert_eq!(fixed.rebound(nodes(&[0, 1])).nodes(), nodes(&[0, 1]));
    }
}
