//! Moves all pages of a process from nodes to nodes.

use std::collections::BTreeSet;

use hugetlb::NoTarget;
use hugetlbfs::Origin;
use mm::{MigrateError, MoveScope};
use policy::stand_in;
use units::{Blame, HugeCount, Ledger, MmId, NodeId, Nodemask, Pfn, Vaddr, VaddrRange};

use super::{Env, frames};

/// Why pages of a process do not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigratePagesError {
    /// None of the nodes has memory that the process may use.
    #[error("none of the nodes has memory that the process may use")]
    NoNodes,
    /// There is no page to move to; those before it have moved.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
}

impl Blame for MigratePagesError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoNodes => Some(Ledger::Node),
            Self::NoTarget(error) => error.ledger(),
        }
    }
}

/// Moves what lies on nodes of `from` to those nodes of `to` that the process may use and that have memory. How many pages stay.
#[doc(alias("kernel_migrate_pages"))]
pub(super) fn migrate_pages<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    from: Nodemask,
    to: Nodemask,
    scope: MoveScope,
) -> Result<HugeCount, MigratePagesError> {
    let with_memory = p.with_topology(policy::Topology::nodes);
    let to = to.intersection(origin.allowed).intersection(with_memory);
    if to.is_empty() {
        return Err(MigratePagesError::NoNodes);
    }
    Ok(move_over(p, mm, from, to, scope)?)
}

/// Moves what lies on nodes of `from` to the nodes of `to` that stand in their place, as far as that goes. How many pages stay.
///
/// Nodes are emptied one after the other, first those whose pages go where nothing has to leave, so that no page moves twice.
///
/// # Errors
/// There is no page to move to; those before it have moved.
#[doc(alias("do_migrate_pages", "migrate_to_node"))]
pub(super) fn move_over<P: Env>(
    p: &mut P,
    mm: MmId,
    from: Nodemask,
    to: Nodemask,
    scope: MoveScope,
) -> Result<HugeCount, NoTarget> {
    let (mut left, mut stayed) = (from, HugeCount::ZERO);
    while let Some((source, target)) = next_move(left, from, to) {
        left = left.without(source);
        stayed += empty_node(p, mm, source, target, scope)?;
    }
    Ok(stayed)
}

/// The first node that moves where nobody is still to leave, or else the last that moves at all.
fn next_move(left: Nodemask, from: Nodemask, to: Nodemask) -> Option<(NodeId, NodeId)> {
    let mut found = None;
    for source in left.iter() {
        if from.len() != to.len() && to.contains(source) {
            continue;
        }
        let target = stand_in(source, from, to);
        if target == source {
            continue;
        }
        found = Some((source, target));
        if !left.contains(target) {
            break;
        }
    }
    found
}

fn empty_node<P: Env>(
    p: &mut P,
    mm: MmId,
    source: NodeId,
    target: NodeId,
    scope: MoveScope,
) -> Result<HugeCount, NoTarget> {
    let mut stayed = HugeCount::ZERO;
    let all = VaddrRange::new(Vaddr::new(0), p.task_size());
    let mapped = p.with_table(mm, |table| table.folios_over(all)).unwrap_or_default();
    let there = |p: &mut P, pfn| hugetlb::folio_at(p, pfn).is_some_and(|folio| folio.node == source);
    let leaving: Vec<(Pfn, u32)> =
        mapped.into_iter().map(|(_, pfn, entries)| (pfn, entries)).filter(|&(pfn, _)| there(p, pfn)).collect();
    let mut taken = BTreeSet::new();
    for (pfn, entries) in leaving {
        // What others map too is left to them, and that is no failure.
        let shared = p.with_memmap(pfn, |map| map.get(pfn).is_some_and(|folio| folio.mapcount() > entries));
        if scope == MoveScope::Own && shared {
            continue;
        }
        // As on Linux: a page that is mapped twice is found twice, and cannot be moved a second time.
        if !taken.insert(pfn) {
            stayed += HugeCount::new(1);
            continue;
        }
        match mm::migrate(p, pfn, &frames::there(target)) {
            Ok(_) => (),
            Err(MigrateError::NoTarget(refusal)) => return Err(refusal),
            Err(_) => stayed += HugeCount::new(1),
        }
    }
    Ok(stayed)
}
