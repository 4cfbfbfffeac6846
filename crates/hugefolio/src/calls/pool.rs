//! Pools: looking at them, and why they refuse.

use std::fmt;

use hugetlb::{Hstate, NodeCounts};
use units::{HugeCount, HugeSize, NodeId};

use super::Env;
use crate::{DemoteError, ResizeError};

/// A page size as the flags of a call name it: the logarithm of its bytes in six bits. It may be none that a page can have.
#[doc(alias("MAP_HUGE_SHIFT", "SHM_HUGE_SHIFT", "MFD_HUGE_SHIFT"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedSize(u8);

impl NamedSize {
    /// That of `log` in the flags; of more than six bits the lower ones.
    #[must_use]
    pub const fn from_log(log: u8) -> Self {
        Self(log & 0x3f)
    }

    /// The size, if a page can have it.
    #[must_use]
    pub const fn size(self) -> Option<HugeSize> {
        HugeSize::from_shift(self.0)
    }

    /// What a call takes: nothing stands for the default size, which 0 names.
    ///
    /// # Errors
    /// No page has that size.
    pub fn wanted(self) -> Result<Option<HugeSize>, NoSuchSize> {
        match self.size() {
            None if self.0 == 0 => Ok(None),
            None => Err(NoSuchSize(self)),
            size => Ok(size),
        }
    }
}

impl From<HugeSize> for NamedSize {
    fn from(size: HugeSize) -> Self {
        Self(size.shift())
    }
}

impl fmt::Display for NamedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size() {
            Some(size) => size.fmt(f),
            None => write!(f, "2^{} byte", self.0),
        }
    }
}

/// No pool of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine has no pool of {0} pages")]
pub struct NoSuchSize(pub NamedSize);

/// Why a pool cannot be given that size or cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeCallError {
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The pool refused.
    #[error(transparent)]
    Resize(#[from] ResizeError),
}

/// Why pages cannot be demoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemoteCallError {
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The pool refused.
    #[error(transparent)]
    Demote(#[from] DemoteError),
}

/// The counters of a pool at one moment, in huge pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// The administrator's target (`/proc/sys/vm/nr_hugepages`).
    pub max: HugeCount,
    /// All pages (`nr_hugepages`).
    pub nr: HugeCount,
    /// Free ones, reserved ones included (`free_hugepages`).
    pub free: HugeCount,
    /// Reserved and not yet allocated (`resv_hugepages`).
    pub resv: HugeCount,
    /// Beyond the persistent ones (`surplus_hugepages`).
    pub surplus: HugeCount,
    /// How many surplus pages there may be (`nr_overcommit_hugepages`).
    pub overcommit: HugeCount,
    /// The same for each node with memory.
    pub nodes: Vec<(NodeId, NodeCounts)>,
}

/// The hstate of that size, or the default one.
pub(super) fn hstate<P: Env>(p: &mut P, size: Option<HugeSize>) -> Result<Hstate, NoSuchSize> {
    match size {
        None => Ok(p.with_hstates(hugetlb::Hstates::default_hstate)),
        Some(size) => p.with_hstates(|all| all.by_size(size)).ok_or(NoSuchSize(size.into())),
    }
}

pub(super) fn view<P: Env>(p: &mut P, size: HugeSize) -> Result<PoolView, NoSuchSize> {
    let id = hstate(p, Some(size))?.id;
    let nodes = p.with_topology(policy::Topology::nodes);
    Ok(p.with_pool(id, |pool| PoolView {
        max: pool.max(),
        nr: pool.nr(),
        free: pool.free(),
        resv: pool.resv(),
        surplus: pool.surplus(),
        overcommit: pool.overcommit(),
        nodes: nodes.iter().map(|node| (node, pool.node(node))).collect(),
    }))
}
