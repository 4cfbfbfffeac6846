//! What was ignored or changed, and why.

use alloc_crate::string::String;
use core::fmt;

use thiserror::Error;
use units::{Bytes, HugeCount, HugeSize, NodeId, Nodemask};

/// A boot parameter about huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// `hugepages=`
    Hugepages,
    /// `hugepagesz=`
    Hugepagesz,
    /// `default_hugepagesz=`
    DefaultHugepagesz,
    /// `hugetlb_cma=`
    HugetlbCma,
    /// `hugetlb_free_vmemmap=`
    HugetlbFreeVmemmap,
    /// `hugetlb_cma_only=`
    HugetlbCmaOnly,
    /// `hugepage_alloc_threads=`
    HugepageAllocThreads,
}

impl Parameter {
    /// Every parameter.
    pub const ALL: [Self; 7] = [
        Self::Hugepages,
        Self::Hugepagesz,
        Self::DefaultHugepagesz,
        Self::HugetlbCma,
        Self::HugetlbFreeVmemmap,
        Self::HugetlbCmaOnly,
        Self::HugepageAllocThreads,
    ];

    /// The name on the command line, without `=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hugepages => "hugepages",
            Self::Hugepagesz => "hugepagesz",
            Self::DefaultHugepagesz => "default_hugepagesz",
            Self::HugetlbCma => "hugetlb_cma",
            Self::HugetlbFreeVmemmap => "hugetlb_free_vmemmap",
            Self::HugetlbCmaOnly => "hugetlb_cma_only",
            Self::HugepageAllocThreads => "hugepage_alloc_threads",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

/// What a `hugepages=` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountTarget {
    /// The default pool, whichever it will be: no size was named before.
    Default,
    /// The pool of this size.
    Size(HugeSize),
}

impl fmt::Display for CountTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default pool"),
            Self::Size(size) => write!(f, "the {size} pool"),
        }
    }
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The parameter was ignored or changed.
    Warning,
    /// A size was refused; a count that follows it is dropped too.
    Error,
}

/// Why a count of pages was ignored or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CountProblem {
    /// Ignored: the size parameter before this count was refused.
    #[error("ignored: the size parameter before it was refused")]
    AfterRefusedSize,
    /// Ignored: the previous count was for the same pool.
    #[error("ignored: {0} got its count already; name another size in between")]
    SameTarget(CountTarget),
    /// Ignored, the counts of the pool cleared: this is not a number below 2^64.
    #[error("ignored, {target} gets no pages: `{found}` is not a decimal number below 2^64")]
    BadNumber {
        /// Where a number was expected.
        found: String,
        /// The pool.
        target: CountTarget,
    },
    /// Ignored, the counts of the pool cleared: no such node.
    #[error("ignored, {target} gets no pages: node {node} is not one of {online}")]
    NoSuchNode {
        /// The number of the node.
        node: u64,
        /// The nodes that there are.
        online: Nodemask,
        /// The pool.
        target: CountTarget,
    },
    /// Ignored, the counts of the pool cleared: a plain number follows a `node:count` item.
    #[error("ignored, {0} gets no pages: write every item as node:count")]
    PlainAfterNode(CountTarget),
    /// Ignored: the architecture does not allocate on named nodes at boot.
    #[error("ignored: counts per node are not supported here; give a total")]
    NodesUnsupported,
    /// The last item of a node named twice counts.
    #[error("{0} is named twice: its last count is taken")]
    NodeRepeated(NodeId),
    /// An earlier count of the same pool is given up.
    #[error("the earlier count of {old} of {size} is given up")]
    CountReplaced {
        /// Size of the pool's pages.
        size: HugeSize,
        /// The count given up.
        old: HugeCount,
    },
    /// Fewer pages could be had than were asked for, and the pool's target is lower by those. As the kernel's log says it.
    #[error("allocating {} of page size {} failed{}.  Only allocated {} hugepages.", .asked.get(), InLog(*.size), OnNode(*.node), .got.get())]
    Shortfall {
        /// Size of the pool's pages.
        size: HugeSize,
        /// The node that they were to lie on, where one was named.
        node: Option<NodeId>,
        /// How many were asked for.
        asked: HugeCount,
        /// How many there are.
        got: HugeCount,
    },
    /// The count given before any size was named is used for the default pool.
    #[error("{count} asked for before any size was named go to the default size {size}")]
    ImplicitCountUsed {
        /// Size of the default pool's pages.
        size: HugeSize,
        /// The count used.
        count: HugeCount,
    },
}

/// A size as the kernel's log prints it: three digits.
struct InLog(HugeSize);

impl fmt::Display for InLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.0.kib();
        let (number, unit) = match kib {
            0x10_0000.. => (kib >> 20, "GiB"),
            0x400.. => (kib >> 10, "MiB"),
            _ => (kib, "KiB"),
        };
        match number {
            0..10 => write!(f, "{number}.00 {unit}"),
            10..100 => write!(f, "{number}.0 {unit}"),
            _ => write!(f, "{number} {unit}"),
        }
    }
}

struct OnNode(Option<NodeId>);

impl fmt::Display for OnNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |node| write!(f, " node{}", node.get()))
    }
}

/// Why a size was refused; a count that follows it is dropped too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SizeProblem {
    /// This is not a size.
    #[error("refused: write a size such as 2M or 1G")]
    NotASize,
    /// The machine has no huge pages of this size.
    #[error("refused: there are no huge pages of {0}")]
    Unsupported(Bytes),
    /// The size was named before.
    #[error("refused: {0} was named before")]
    Twice(HugeSize),
    /// The default size was chosen before.
    #[error("refused: the default size was set to {0} before")]
    DefaultTwice(HugeSize),
}

/// Why memory was not set aside for gigantic pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmaProblem {
    /// Disabled: this is not a size.
    #[error("disabled: write a size such as 4G, or items such as 0:2G,1:2G")]
    NotASize,
    /// Disabled: the machine has no pages of the size that this parameter is about.
    #[error("disabled: this machine has no huge pages of {0}")]
    Unsupported(HugeSize),
    /// Disabled: less than one gigantic page.
    #[error("disabled: {asked} is less than one huge page; ask for at least {unit}")]
    TooSmall {
        /// Bytes asked for.
        asked: Bytes,
        /// One gigantic page.
        unit: HugeSize,
    },
    /// Dropped for this node: less than one gigantic page.
    #[error("dropped for {node}: {asked} is less than one huge page; ask for at least {unit}")]
    NodeTooSmall {
        /// The node.
        node: NodeId,
        /// Bytes asked for there.
        asked: Bytes,
        /// One gigantic page.
        unit: HugeSize,
    },
    /// Dropped for this node: it is not there.
    #[error("dropped: node {node} is not one of {online}")]
    NoSuchNode {
        /// The number of the node.
        node: u64,
        /// The nodes that there are.
        online: Nodemask,
    },
    /// Disabled: a plain size follows a `node:size` item.
    #[error("disabled: write every item as node:size")]
    PlainAfterNode,
    /// The last item of a node named twice counts.
    #[error("node {0} is named twice: its last size is taken")]
    NodeRepeated(u64),
    /// Dropped: more than all memory.
    #[error("dropped: {0} of a hundred are more than all memory")]
    PercentTooLarge(u64),
    /// Ignored: nothing is set aside from which alone gigantic pages could come.
    #[error("ignored: `hugetlb_cma=` sets no memory aside")]
    OnlyWithoutAreas,
    /// No range for an area was found.
    #[error("{node} has no {asked} in whole huge pages to set aside")]
    NoMemory {
        /// The node.
        node: NodeId,
        /// Bytes asked for there.
        asked: Bytes,
    },
    /// Gigantic pages asked for by `hugepages=` are not allocated at boot.
    #[error("gigantic pages of `hugepages=` are not allocated at boot but can be had later from the memory set aside")]
    SkipsBootAllocation,
}

/// Why a parameter was ignored or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BootCause {
    /// Ignored: nothing follows the `=`, or there is none.
    #[error("ignored: give a value after the `=`")]
    NoValue,
    /// Ignored: no number of threads.
    #[error("ignored: write how many threads allocate pages at boot, 1 or more")]
    NotThreads,
    /// Ignored: neither `on` nor `off`.
    #[error("ignored: write `on` or `off`")]
    NotASwitch,
    /// An earlier value of the same parameter no longer counts.
    #[error("replaces an earlier value of the same parameter")]
    Replaces,
    /// Taken as far as it could be read; this text was left over.
    #[error("`{0}` at the end is ignored")]
    TrailingText(String),
    /// Taken modulo 2^64: the number does not fit.
    #[error("too big for 64 bits, taken as {0}")]
    Wrapped(Bytes),
    /// About a count.
    #[error(transparent)]
    Count(#[from] CountProblem),
    /// About a size.
    #[error(transparent)]
    Size(#[from] SizeProblem),
    /// About memory set aside.
    #[error(transparent)]
    Cma(#[from] CmaProblem),
}

/// One thing that was ignored or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}={value}: {cause}", parameter.name())]
pub struct BootMessage {
    /// The parameter.
    pub parameter: Parameter,
    /// Its value as written, empty where there was none; where one item of a list is meant, that item.
    pub value: String,
    /// What happened to it.
    #[source]
    pub cause: BootCause,
}

impl BootMessage {
    /// How much this matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        if matches!(self.cause, BootCause::Size(_)) { Severity::Error } else { Severity::Warning }
    }
}
