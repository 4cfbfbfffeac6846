//! Counters, their limits, and what a limit refuses.

use alloc::vec::Vec;

use units::{Blame, CgroupId, HstateId, HugeCount, Ledger, NodeId};

/// One of the two counters of a control group for one hstate.
#[doc(alias = "rsvd_hugepage")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Pages allocated.
    Usage(HstateId),
    /// Pages reserved, or allocated without a reservation.
    Rsvd(HstateId),
}

impl Counter {
    /// Of which pool.
    #[must_use]
    pub const fn hstate(self) -> HstateId {
        match self {
            Self::Usage(hstate) | Self::Rsvd(hstate) => hstate,
        }
    }
}

/// How much a counter may hold.
#[doc(alias("page_counter_set_max", "PAGE_COUNTER_MAX"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Limit {
    /// Anything, as in a group that nobody has set a limit of. Its file shows a number, the largest there is.
    #[default]
    Initial,
    /// Anything, because somebody said so. Its file shows `max`.
    Max,
    /// So many pages.
    Pages(HugeCount),
}

impl Limit {
    /// The number of pages, if there is one.
    #[must_use]
    pub const fn pages(self) -> Option<HugeCount> {
        match self {
            Self::Initial | Self::Max => None,
            Self::Pages(pages) => Some(pages),
        }
    }
}

/// A limit refused a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group allows {limit}; {} are charged and {} more were asked for", .usage.get(), .asked.get())]
pub struct OverLimit {
    /// The group whose limit it was: the charging one or an ancestor.
    pub cgroup: CgroupId,
    /// Which counter.
    pub counter: Counter,
    /// Charged at that moment.
    pub usage: HugeCount,
    /// The limit.
    pub limit: HugeCount,
    /// The pages asked for.
    pub asked: HugeCount,
}

impl Blame for OverLimit {
    fn ledger(&self) -> Option<Ledger> {
        Some(match self.counter {
            Counter::Usage(_) => Ledger::CgroupUsage,
            Counter::Rsvd(_) => Ledger::CgroupRsvd,
        })
    }
}

/// Why a limit cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No such group, or one without the controller.
    #[error("the group does not exist or is not accounted")]
    NoGroup,
    /// The root has no limits, whatever is written to the files that it has in cgroup v1.
    #[error("the root group cannot be limited")]
    Root,
    /// More is charged than the new limit allows; huge pages cannot be reclaimed. The old limit stays.
    #[error("{charged} are charged, more than the new limit of {}", .limit.get())]
    Busy {
        /// Charged at that moment.
        charged: HugeCount,
        /// The limit that was to be.
        limit: HugeCount,
    },
}

/// What a control group shows of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Pages in use, by the group and all below it (`current`).
    pub usage: HugeCount,
    /// Pages reserved, or in use without a reservation (`rsvd.current`).
    pub rsvd: HugeCount,
    /// The limit on usage (`max`).
    pub usage_limit: Limit,
    /// The limit on rsvd (`rsvd.max`).
    pub rsvd_limit: Limit,
    /// Refused charges of the group and of all below it (`events`).
    pub events: u64,
    /// Refused charges of the group itself, whosever limit it was (`events.local`).
    pub local_events: u64,
    /// Where the pages in use lie, by node (`numa_stat`); nodes that never had one may be missing.
    pub nodes: Vec<HugeCount>,
    /// As `nodes`, without the groups below (the first line of `numa_stat` in cgroup v1).
    pub local_nodes: Vec<HugeCount>,
    /// What the files of cgroup v1 remember of usage.
    pub usage_history: History,
    /// What the files of cgroup v1 remember of rsvd.
    pub rsvd_history: History,
}

/// What a counter remembers; only cgroup v1 shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct History {
    /// The most that it held or would have held, had a limit further up not refused (`max_usage_in_bytes`).
    #[doc(alias = "watermark")]
    pub most: HugeCount,
    /// How often its own limit refused (`failcnt`).
    #[doc(alias = "failcnt")]
    pub refusals: u64,
}

/// How many more pages may be charged where `charged` are and `limit` may be, if that is `asked` at least.
#[must_use]
pub fn room(charged: HugeCount, limit: HugeCount, asked: HugeCount) -> Option<HugeCount> {
    (charged.saturating_add(asked) <= limit).then_some(limit.saturating_sub(charged))
}

/// One counter of one group.
#[doc(alias = "page_counter")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Count {
    pub(crate) pages: HugeCount,
    pub(crate) limit: Limit,
    pub(crate) history: History,
}

impl Count {
    /// A charge comes by on its way up; what it remembers of it stays, also if a limit above refuses.
    pub(crate) fn remember(&mut self, pages: HugeCount) {
        self.history.most = self.history.most.max(self.pages.saturating_add(pages));
    }

    /// The limit, if `pages` more would exceed it.
    pub(crate) fn refuses(self, pages: HugeCount) -> Option<HugeCount> {
        self.limit.pages().filter(|&limit| room(self.pages, limit, pages).is_none())
    }
}

/// Both counters of one group for one pool.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Account {
    pub(crate) usage: Count,
    pub(crate) rsvd: Count,
    pub(crate) events: u64,
    pub(crate) local_events: u64,
    nodes: Vec<HugeCount>,
}

impl Account {
    pub(crate) fn count(&self, counter: Counter) -> Count {
        match counter {
            Counter::Usage(_) => self.usage,
            Counter::Rsvd(_) => self.rsvd,
        }
    }

    pub(crate) fn count_mut(&mut self, counter: Counter) -> &mut Count {
        match counter {
            Counter::Usage(_) => &mut self.usage,
            Counter::Rsvd(_) => &mut self.rsvd,
        }
    }

    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut HugeCount {
        if self.nodes.len() <= node.index() {
            self.nodes.resize(node.index() + 1, HugeCount::ZERO);
        }
        &mut self.nodes[node.index()]
    }

    pub(crate) fn nodes(&self) -> &[HugeCount] {
        &self.nodes
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.usage.pages.is_zero() && self.rsvd.pages.is_zero()
    }

    pub(crate) fn view(&self, local_nodes: Vec<HugeCount>) -> GroupView {
        GroupView {
            usage: self.usage.pages,
            rsvd: self.rsvd.pages,
            usage_limit: self.usage.limit,
            rsvd_limit: self.rsvd.limit,
            events: self.events,
            local_events: self.local_events,
            nodes: self.nodes.clone(),
            local_nodes,
            usage_history: self.usage.history,
            rsvd_history: self.rsvd.history,
        }
    }
}
