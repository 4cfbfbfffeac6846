//! Pools: looking at them, and why they refuse.

use hugetlb::{Hstate, NodeCounts};
use units::{HugeCount, HugeSize, NodeId};

use super::Env;
use crate::{DemoteError, ResizeError};

/// No pool of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine has no pool of {0} pages")]
pub struct NoSuchSize(pub HugeSize);

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
        Some(size) => p.with_hstates(|all| all.by_size(size)).ok_or(NoSuchSize(size)),
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
