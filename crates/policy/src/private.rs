//! Nodes whose memory belongs to one driver.
//!
//! Such a node is in no list but the private ones, so that no request gets there that did not say so: not by its distance, not by a
//! mask that somebody made of all nodes, and not by asking for this node alone.

use units::{NodeId, PageCount};

use crate::topology::Topology;
use crate::zone_list::Reach;

/// Something that the rest of the kernel may do with the memory of a private node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeCap {
    /// Reclaim it.
    Reclaim,
    /// Place pages there by memory policies.
    Mempolicy,
    /// Unplug it.
    HotUnplug,
    /// Move pages there from faster memory. It is of no use without [`NodeCap::Reclaim`].
    Tiering,
    /// Pin its pages for long.
    LongTermPin,
    /// Move its pages because a user says so.
    UserMigrate,
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeCaps(u8);

impl NodeCaps {
    /// None.
    pub const NONE: Self = Self(0);

    /// The same and one more.
    #[must_use]
    pub const fn with(self, cap: NodeCap) -> Self {
        Self(self.0 | 1 << cap as u8)
    }

    /// Is this one in it?
    #[must_use]
    pub const fn contains(self, cap: NodeCap) -> bool {
        self.0 >> cap as u8 & 1 == 1
    }
}

/// Who owns a private node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DriverId(pub u32);

/// What is known of a private node.
#[doc(alias = "node_private")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PrivateNode {
    /// Its owner.
    pub owner: DriverId,
    /// What others may do with it.
    pub caps: NodeCaps,
}

/// Why somebody wants to move pages to a node or reclaim them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateReason {
    /// Memory is short.
    Reclaim,
    /// The node is slower, or faster.
    Tiering,
    /// A user says so.
    UserMigrate,
}

/// A node was not given to a driver, or not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// No such node.
    #[error("the machine has no {0}")]
    NoSuchNode(NodeId),
    /// Tiering without reclaim would only ever fill the node.
    #[error("tiering on {0} takes the right to reclaim there")]
    TieringNeedsReclaim(NodeId),
    /// Somebody owns it.
    #[error("{node} belongs to driver {}", owner.0)]
    Owned {
        /// The node.
        node: NodeId,
        /// Its owner.
        owner: DriverId,
    },
    /// It has memory that is everybody's, or still has its driver's.
    #[error("{node} has {pages} pages")]
    HasMemory {
        /// The node.
        node: NodeId,
        /// Its pages.
        pages: PageCount,
    },
    /// It is nobody's.
    #[error("{0} is not a private node")]
    NotPrivate(NodeId),
}

impl Topology {
    /// Gives a node without memory to a driver; what is plugged in from now on is private.
    ///
    /// # Errors
    /// No such node, capabilities that contradict each other, an owner, or memory.
    #[doc(alias = "node_private_register")]
    pub fn make_private(&mut self, node: NodeId, private: PrivateNode) -> Result<(), PrivateError> {
        let spec = self.node(node).ok_or(PrivateError::NoSuchNode(node))?;
        if private.caps.contains(NodeCap::Tiering) && !private.caps.contains(NodeCap::Reclaim) {
            return Err(PrivateError::TieringNeedsReclaim(node));
        }
        if let Some(PrivateNode { owner, .. }) = self.private.get(&node).copied() {
            return Err(PrivateError::Owned { node, owner });
        }
        let pages = spec.memory();
        if !pages.is_zero() {
            return Err(PrivateError::HasMemory { node, pages });
        }
        self.private.insert(node, private);
        self.rebuild();
        Ok(())
    }

    /// Takes a node back, whose memory is gone.
    ///
    /// # Errors
    /// It is not of that owner, or has memory.
    pub fn release_private(&mut self, node: NodeId, owner: DriverId) -> Result<(), PrivateError> {
        let private = self.private.get(&node).ok_or(PrivateError::NotPrivate(node))?;
        if private.owner != owner {
            return Err(PrivateError::Owned { node, owner: private.owner });
        }
        let pages = self.node(node).map_or(PageCount::ZERO, |spec| spec.memory());
        if !pages.is_zero() {
            return Err(PrivateError::HasMemory { node, pages });
        }
        self.private.remove(&node);
        self.rebuild();
        Ok(())
    }

    /// What is known of a private node; nothing of one that is everybody's.
    #[must_use]
    pub fn private(&self, node: NodeId) -> Option<PrivateNode> {
        self.private.get(&node).copied()
    }

    /// May this be done on the node? Everything may on an ordinary one.
    #[must_use]
    pub fn permits(&self, node: NodeId, cap: NodeCap) -> bool {
        self.private.get(&node).is_none_or(|private| private.caps.contains(cap))
    }

    /// The one gate through which pages come to a node that their owner did not ask for: the list to use, or nothing where the
    /// node's driver does not permit it.
    #[must_use]
    pub fn reach_for(&self, node: NodeId, reason: GateReason) -> Option<Reach> {
        let cap = match reason {
            GateReason::Reclaim => NodeCap::Reclaim,
            GateReason::Tiering => NodeCap::Tiering,
            GateReason::UserMigrate => NodeCap::UserMigrate,
        };
        match self.private.get(&node) {
            None => Some(Reach::Everywhere),
            Some(private) => private.caps.contains(cap).then_some(Reach::Private),
        }
    }
}
