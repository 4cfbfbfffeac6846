//! Shared tails: one page for each zone and size, as long as somebody reads it.

use alloc::collections::BTreeMap;

use policy::ZoneRef;
use units::{NodeId, Order, Pfn, ZoneKind};

/// What all who read a shared tail have in common. The zone, not only the node: a descriptor says which zone its page is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct TailKey {
    /// The node.
    pub node: NodeId,
    /// The kind of zone on it.
    pub kind: ZoneKind,
    /// The size of the blocks.
    pub order: Order,
}

impl TailKey {
    /// The tail of blocks of that size in that zone.
    #[must_use]
    pub const fn new(zone: ZoneRef, order: Order) -> Self {
        Self { node: zone.node, kind: zone.kind, order }
    }

    /// The zone.
    #[must_use]
    pub const fn zone(self) -> ZoneRef {
        ZoneRef { node: self.node, kind: self.kind }
    }
}

/// What becomes of a shared tail that nobody reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum TailLife {
    /// It is given back with its last reader.
    #[default]
    Counted,
    /// It waits for the next one, as in the series that was merged.
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub frame: Pfn,
    pub users: u64,
}

/// One use of a tail, counted. It is spent by an optimised block, or given back.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub key: TailKey,
}

/// All tails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tails {
    pages: BTreeMap<TailKey, Tail>,
}

impl Tails {
    pub(crate) const NONE: Self = Self { pages: BTreeMap::new() };

    pub(crate) fn get(&self, key: TailKey) -> Option<Tail> {
        self.pages.get(&key).copied()
    }

    /// One more user of a tail that is there.
    pub(crate) fn claim(&mut self, key: TailKey) -> Option<Use> {
        let tail = self.pages.get_mut(&key)?;
        tail.users += 1;
        Some(Use { key })
    }

    /// A first user comes with a page. If somebody else was faster, his is used, and this page is handed back.
    pub(crate) fn publish(&mut self, key: TailKey, frame: Pfn) -> (Use, Option<Pfn>) {
        if let Some(used) = self.claim(key) {
            return (used, Some(frame));
        }
        self.pages.insert(key, Tail { frame, users: 1 });
        (Use { key }, None)
    }

    /// A user less; the page, if it was the last one's.
    pub(crate) fn put(&mut self, used: Use, life: TailLife) -> Option<Pfn> {
        let Use { key } = used;
        let tail = self.pages.get_mut(&key)?;
        debug_assert!(tail.users > 0, "{key:?} has no user");
        tail.users = tail.users.saturating_sub(1);
        if tail.users > 0 || life == TailLife::Kept {
            return None;
        }
        self.pages.remove(&key).map(|tail| tail.frame)
    }

    /// A tail as it was; whether it is the only one.
    pub(crate) fn add(&mut self, key: TailKey, tail: Tail) -> bool {
        self.pages.insert(key, tail).is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TailKey, Tail)> {
        self.pages.iter().map(|(&key, &tail)| (key, tail))
    }

    /// Takes out a tail that nobody reads.
    pub(crate) fn take_unused(&mut self) -> Option<(TailKey, Pfn)> {
        let key = self.iter().find(|(_, tail)| tail.users == 0)?.0;
        self.pages.remove(&key).map(|tail| (key, tail.frame))
    }
}
