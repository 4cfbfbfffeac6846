//! Sets of memory nodes.

use core::fmt;

use crate::NodeId;

/// A set of memory nodes.
#[doc(alias = "nodemask_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Nodemask(u64);

impl Nodemask {
    /// The largest number of nodes of one machine.
    pub const CAPACITY: u8 = 64;
    /// No node.
    pub const EMPTY: Self = Self(0);
    /// Every node there could be.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of one node.
    #[must_use]
    pub const fn of(node: NodeId) -> Self {
        Self(Self::bit(node))
    }

    /// A node beyond the last that can be has no bit: it is in no set.
    const fn bit(node: NodeId) -> u64 {
        if node.get() < Self::CAPACITY { 1 << node.get() } else { 0 }
    }

    /// The first `count` nodes.
    #[must_use]
    pub const fn first(count: u8) -> Self {
        if count >= Self::CAPACITY { Self::ALL } else { Self((1 << count) - 1) }
    }

    /// Is `node` in the set?
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & Self::bit(node) != 0
    }

    /// The set with `node` added.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | Self::bit(node))
    }

    /// The set with `node` taken out.
    #[must_use]
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !Self::bit(node))
    }

    /// The nodes in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The nodes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is the set empty?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many nodes.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The first node at or after `from`, going round past the last one.
    #[must_use]
    pub const fn next_from(self, from: NodeId) -> Option<NodeId> {
        let from = from.get() % Self::CAPACITY;
        let turned = self.0.rotate_right(from as u32);
        if turned == 0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        Some(NodeId::new((from + turned.trailing_zeros() as u8) % Self::CAPACITY))
    }

    /// The node after `node`, going round; `node` itself when it is the only one.
    #[must_use]
    pub const fn next_after(self, node: NodeId) -> Option<NodeId> {
        self.next_from(NodeId::new((node.get() % Self::CAPACITY + 1) % Self::CAPACITY))
    }

    /// The nodes in ascending order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            let n = left.trailing_zeros() as u8;
            left &= left - 1;
            Some(NodeId::new(n))
        })
    }
}

impl FromIterator<NodeId> for Nodemask {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for Nodemask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for node in self.iter() {
            if !first {
                f.write_str(",")?;
            }
            first = false;
            write!(f, "{}", node.get())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_round_meets_every_node_once() {
        let mask = [0, 3, 63].map(NodeId::new).into_iter().collect::<Nodemask>();
        assert_eq!(mask.next_from(NodeId::new(1)), Some(NodeId::new(3)));
        assert_eq!(mask.next_after(NodeId::new(3)), Some(NodeId::new(63)));
        assert_eq!(mask.next_after(NodeId::new(63)), Some(NodeId::new(0)));
        assert_eq!(Nodemask::of(NodeId::new(5)).next_after(NodeId::new(5)), Some(NodeId::new(5)));
        assert_eq!(Nodemask::EMPTY.next_from(NodeId::new(0)), None);
    }
}
