//! A host, as its own text describes it.

use charge::GroupVersion;
use hugetlb::{Balance, NodeCounts, Subpool};
use units::{Bytes, HugeCount, HugeSize, NodeId, Nodemask, Order, PageCount, PageShift};

use super::verdict::GroupCounter;

/// What decides on a host about one task and one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The pools, smaller pages first.
    pub pools: Vec<HostPool>,
    /// The size that is meant where none is named.
    pub default: HugeSize,
    /// The size of base pages.
    pub base: PageShift,
    /// The largest order of the page allocator.
    pub largest: Order,
    /// The nodes with memory.
    pub nodes: Vec<HostNode>,
    /// The nodes that the task may allocate from.
    pub allowed: Nodemask,
    /// The task's control group and those above it, as far as they are accounted and can be seen.
    pub groups: Vec<HostGroup>,
    /// The mount asked about.
    pub mount: Option<HostMount>,
}

/// Which part of a host is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The control group that the task will be in, as a path below the root group; its own where none is given.
    pub cgroup: Option<String>,
    /// A folder of the hugetlbfs mount whose file will be mapped; none for an anonymous mapping.
    pub mount: Option<String>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPool {
    /// The size of its pages.
    pub size: HugeSize,
    /// All pages.
    pub nr: HugeCount,
    /// What it has and may make.
    pub balance: Balance,
    /// The same by node.
    pub nodes: Vec<(NodeId, NodeCounts)>,
}

/// One node with memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNode {
    /// Which.
    pub node: NodeId,
    /// Free blocks of each order that can be had.
    pub blocks: Vec<u64>,
    /// How many zones it has.
    pub zones: u32,
    /// Free pages below the marks of its zones.
    pub kept: PageCount,
}

impl HostNode {
    /// Blocks of `order` that can be cut from what is free.
    #[must_use]
    pub fn blocks_of(&self, order: Order) -> HugeCount {
        HugeCount::new(parts(self.blocks.iter().skip(usize::from(order.get()))))
    }

    /// Huge pages of `order` that can be made of it. Whether free memory lies together does not show for gigantic ones: so many
    /// at the most.
    pub(super) fn room(&self, order: Order) -> HugeCount {
        if self.largest() < order { HugeCount::new(self.free().get() >> order.get()) } else { self.blocks_of(order) }
    }

    /// Takes up to `count` blocks of `order` away; says how many.
    pub(super) fn take(&mut self, order: Order, count: HugeCount) -> HugeCount {
        let (room, largest) = (self.room(order), self.largest());
        let taken = count.min(room);
        if !taken.is_zero() {
            let from = if largest < order { 0 } else { usize::from(order.get()) };
            self.blocks.iter_mut().skip(from).for_each(|blocks| *blocks = 0);
            self.put(order, room - taken);
        }
        taken
    }

    /// Adds `count` blocks of `order`.
    pub(super) fn put(&mut self, order: Order, count: HugeCount) {
        let at = order.min(self.largest());
        if let Some(blocks) = self.blocks.get_mut(usize::from(at.get())) {
            *blocks = blocks.saturating_add(count.get().saturating_mul(1 << (order.get() - at.get())));
        }
    }

    fn largest(&self) -> Order {
        let last = self.blocks.len().saturating_sub(1);
        u8::try_from(last).ok().and_then(Order::try_new).unwrap_or(Order::MAX)
    }

    /// Free base pages that can be had.
    #[must_use]
    pub fn free(&self) -> PageCount {
        PageCount::new(parts(self.blocks.iter()))
    }
}

/// How many of the smallest blocks of a list all of its blocks make, each being twice as large as the one before.
fn parts<'a>(blocks: impl Iterator<Item = &'a u64>) -> u64 {
    blocks.zip(0_u32..63).fold(0, |sum: u64, (&blocks, above)| sum.saturating_add(blocks.saturating_mul(1 << above)))
}

/// One control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGroup {
    /// Where its files are.
    pub folder: String,
    /// How they are named.
    pub version: GroupVersion,
    /// What it is charged and what it may be, for each pool.
    pub counts: Vec<(HugeSize, GroupCount)>,
}

impl HostGroup {
    /// Its counters for one pool.
    #[must_use]
    pub fn count(&self, size: HugeSize) -> GroupCount {
        self.counts.iter().find(|(of, _)| *of == size).map(|&(_, count)| count).unwrap_or_default()
    }

    /// The file with a limit.
    #[must_use]
    pub fn limit_file(&self, size: HugeSize, counter: GroupCounter) -> String {
        let name = match self.version {
            GroupVersion::V1 => "limit_in_bytes",
            GroupVersion::V2 => "max",
        };
        format!("{}/hugetlb.{}.{}{name}", self.folder, group_size(size), counter.prefix())
    }
}

/// The size as the files of control groups are named after it.
pub(super) fn group_size(size: HugeSize) -> String {
    format!("{size}B")
}

/// The counters of a group for one pool; a limit that is not there is the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupCount {
    /// Pages in use.
    pub usage: HugeCount,
    /// How many may be.
    pub usage_limit: HugeCount,
    /// Pages reserved, or in use without a reservation.
    pub rsvd: HugeCount,
    /// How many may be.
    pub rsvd_limit: HugeCount,
}

impl Default for GroupCount {
    fn default() -> Self {
        let (none, unlimited) = (HugeCount::ZERO, HugeCount::MAX);
        Self { usage: none, usage_limit: unlimited, rsvd: none, rsvd_limit: unlimited }
    }
}

/// One hugetlbfs mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMount {
    /// The folder asked about.
    pub dir: String,
    /// The size of its pages.
    pub size: HugeSize,
    /// Its limits, if it has any.
    pub limits: Option<MountLimits>,
}

/// The limits of a mount, as far as they can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountLimits {
    /// `size=`.
    pub max: Option<HugeCount>,
    /// Held or reserved by its files; zero where there is no maximum, since nothing shows it then.
    pub used: HugeCount,
    /// `min_size=`. How much of it is not handed out does not show.
    pub min: HugeCount,
}

impl MountLimits {
    /// The accounting that these numbers stand for, with as much of the minimum at hand as use leaves of it.
    pub(super) const fn subpool(&self) -> Subpool {
        Subpool::seen(self.max, self.min, self.used)
    }
}

impl Host {
    /// The pool of that size.
    #[must_use]
    pub fn pool(&self, size: HugeSize) -> Option<&HostPool> {
        self.pools.iter().find(|pool| pool.size == size)
    }

    /// The order of a huge page, or nothing for less than a base page or far too much.
    #[must_use]
    pub fn order(&self, size: HugeSize) -> Option<Order> {
        size.order(self.base)
    }

    /// Are pages of that size beyond the page allocator's blocks?
    #[must_use]
    pub fn is_gigantic(&self, size: HugeSize) -> bool {
        self.order(size).is_none_or(|order| order > self.largest)
    }

    /// All nodes with memory.
    #[must_use]
    pub fn all_nodes(&self) -> Nodemask {
        self.nodes.iter().map(|node| node.node).collect()
    }

    /// All memory of `count` pages, or nothing where no address could name it.
    pub(super) fn fits(size: HugeSize, count: HugeCount) -> bool {
        count.get().checked_mul(size.bytes().get()).is_some_and(|bytes| Bytes::new(bytes) <= LARGEST_MEMORY)
    }
}

/// More memory than this no machine has: 56 bits of physical address.
pub(super) const LARGEST_MEMORY: Bytes = Bytes::new(1 << 56);

impl HostPool {
    /// A pool of free persistent pages, all on one node.
    pub(super) fn persistent(size: HugeSize, nr: HugeCount, node: NodeId) -> Self {
        let balance =
            Balance { free: nr, resv: HugeCount::ZERO, surplus: HugeCount::ZERO, overcommit: HugeCount::ZERO };
        let counts = NodeCounts { nr, free: nr, ..NodeCounts::default() };
        Self { size, nr, balance, nodes: vec![(node, counts)] }
    }
}
