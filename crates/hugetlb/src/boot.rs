//! Boot parameters: what the command line asks of the pools.
//!
//! [`BootConfig::parse`] is a pure function from a command line and a [`Platform`] to the pools to register, the pages to
//! allocate for them and the [`BootMessage`]s that say what was ignored or changed, and why. It allocates no page: who
//! builds the machine carries the configuration out, in [`BootConfig::allocation_order`].
//!
//! Parameters are read one after the other, as on Linux, so their order matters: a count goes to the size named last, or,
//! before any size was named, to the default pool, whichever that turns out to be. The parameters are
//! `hugepages=`, `hugepagesz=`, `default_hugepagesz=`, `hugetlb_cma=`, `hugetlb_cma_only=`, `hugepage_alloc_threads=` and `hugetlb_free_vmemmap=`. Nothing here limits
//! surplus pages: every pool starts with an overcommit of zero.

mod arguments;
mod cma;
mod counts;
mod memparse;
mod message;
mod parser;
mod platform;

use alloc_crate::collections::BTreeMap;
use alloc_crate::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

use page_alloc::CmaUse;
use units::{HstateId, HugeCount, HugeSize, NodeId, Order};

pub use cma::{CmaAmount, CmaArea, CmaOutcome, CmaPlan, CmaRequest};
pub use memparse::{Exactness, Suffixed, memparse};
pub use message::{BootCause, BootMessage, CmaProblem, CountProblem, CountTarget, Parameter, Severity, SizeProblem};
pub use platform::{Arch, GigabytePages, NodeForm, Platform, RuntimeGigantic};

/// How many huge pages a pool is to have from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolRequest {
    /// So many, spread over the nodes.
    Total(HugeCount),
    /// Exactly so many on each of these nodes.
    PerNode(BTreeMap<NodeId, HugeCount>),
}

impl PoolRequest {
    /// No page at all.
    pub const NONE: Self = Self::Total(HugeCount::ZERO);

    /// The sum over all nodes, or the maximum where that cannot be counted.
    #[must_use]
    pub fn total(&self) -> HugeCount {
        match self {
            Self::Total(count) => *count,
            Self::PerNode(nodes) => nodes.values().fold(HugeCount::ZERO, |sum, &n| sum.saturating_add(n)),
        }
    }

    /// Is no page asked for?
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.total().is_zero()
    }
}

impl fmt::Display for PoolRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total(count) => write!(f, "{}", count.get()),
            Self::PerNode(nodes) => nodes.iter().enumerate().try_for_each(|(n, (node, count))| {
                let comma = if n == 0 { "" } else { "," };
                write!(f, "{comma}{}:{}", node.get(), count.get())
            }),
        }
    }
}

/// Who caused a pool to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisteredBy {
    /// A size parameter.
    CommandLine,
    /// The architecture, which has this size.
    Architecture,
}

/// When the pages of a pool are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootAllocation {
    /// As soon as the count was read, from boot memory: gigantic pages.
    AtParameter,
    /// After all parameters, in the order of registration.
    AtInit,
    /// Never: `hugetlb_cma=` keeps the memory for run-time allocation.
    SkippedForCma,
}

/// One pool to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootHstate {
    /// Size of its pages.
    pub size: HugeSize,
    /// The size as an order of base pages.
    pub order: Order,
    /// Pages asked for.
    pub request: PoolRequest,
    /// Why the pool exists.
    pub registered_by: RegisteredBy,
    /// When its pages are allocated.
    pub allocation: BootAllocation,
    /// The size that a page of this pool is demoted to unless told otherwise; without one the pool has no demote files.
    pub demote_to: Option<HugeSize>,
}

/// Whether huge pages give their redundant descriptors back unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HvoDefault {
    /// They keep them.
    #[default]
    Off,
    /// They give them back.
    On,
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootConfig {
    hstates: Vec<BootHstate>,
    default: HstateId,
    early: Vec<HstateId>,
    cma: Option<CmaPlan>,
    cma_use: CmaUse,
    threads: Option<NonZeroU32>,
    hvo: HvoDefault,
    messages: Vec<BootMessage>,
}

impl BootConfig {
    /// Reads a command line. Parameters of other subsystems are passed over; nothing about huge pages is lost without a
    /// message.
    #[doc(alias("hugepages_setup", "hugepagesz_setup", "default_hugepagesz_setup", "hugetlb_parse_params"))]
    #[must_use]
    pub fn parse(cmdline: &str, platform: &Platform) -> Self {
        let mut parser = parser::Parser::new(platform);
        for argument in arguments::split(cmdline) {
            parser.argument(&argument);
        }
        parser.finish()
    }

    /// The pools in the order of registration: sizes of the command line first, then those of the architecture.
    #[must_use]
    pub fn hstates(&self) -> &[BootHstate] {
        &self.hstates
    }

    /// The pool of `size`.
    #[must_use]
    pub fn hstate(&self, size: HugeSize) -> Option<&BootHstate> {
        self.hstates.iter().find(|h| h.size == size)
    }

    /// The place of the default pool in [`BootConfig::hstates`].
    #[must_use]
    pub fn default_id(&self) -> HstateId {
        self.default
    }

    /// The default pool.
    #[must_use]
    pub fn default_hstate(&self) -> &BootHstate {
        &self.hstates[self.default.index()]
    }

    /// The pools that get pages at boot, in the order in which they get them: gigantic pages as their counts were read,
    /// then all others as registered. Pools that ask for none, or whose allocation `hugetlb_cma=` skips, are left out.
    pub fn allocation_order(&self) -> impl Iterator<Item = (HstateId, &BootHstate)> {
        let early = self.early.iter().map(|&id| (id, &self.hstates[id.index()]));
        let init = self.hstates.iter().enumerate().filter_map(|(index, hstate)| {
            let id = parser::hstate_id(index);
            (hstate.allocation == BootAllocation::AtInit).then_some((id, hstate))
        });
        early
            .filter(|(_, hstate)| hstate.allocation == BootAllocation::AtParameter)
            .chain(init)
            .filter(|(_, hstate)| !hstate.request.is_none())
    }

    /// The memory to set aside for gigantic pages, where `hugetlb_cma=` asks for any.
    #[must_use]
    pub fn cma(&self) -> Option<&CmaPlan> {
        self.cma.as_ref()
    }

    /// Whether gigantic pages come from that memory alone.
    #[doc(alias = "hugetlb_cma_only")]
    #[must_use]
    pub fn cma_use(&self) -> CmaUse {
        self.cma_use
    }

    /// How many threads allocate pages at boot, where that was said. Whatever it is, the same pages are allocated.
    #[doc(alias = "hugepage_alloc_threads")]
    #[must_use]
    pub fn alloc_threads(&self) -> Option<NonZeroU32> {
        self.threads
    }

    /// Whether huge pages give their redundant descriptors back.
    #[must_use]
    pub fn hvo(&self) -> HvoDefault {
        self.hvo
    }

    /// What was ignored or changed, in the order in which it was noticed.
    #[must_use]
    pub fn messages(&self) -> &[BootMessage] {
        &self.messages
    }
}
