//! The administrator's way in: how many pages a pool has.

use alloc_crate::vec::Vec;

use policy::Placement;
use units::{Event, GfpFlags, HstateId, HugeCount, NodeId, Nodemask, Scope};

use crate::boot::{CountProblem, PoolRequest};
use crate::pool::{Condition, Joins, ONE, Pool};
use crate::surplus::{asked_by, destroy_claimed, new_folio};
use crate::{Env, Hstate, quiesce};

/// Which nodes a resize acts on, and what its number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeNodes {
    /// The number is the whole pool's; pages come from and go to these nodes.
    Global(Nodemask),
    /// The number is what this node should have; other nodes keep theirs.
    Node(NodeId),
}

/// A resize or a cap that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// Gigantic pages are never surplus, so there is no cap to set.
    #[error("pages of this size are never surplus: there is no overcommit limit to set")]
    GiganticOvercommit,
    /// Gigantic pages are there from boot or never.
    #[error("pages of this size can be allocated at boot alone: this machine cannot allocate contiguous ranges")]
    BootOnly,
    /// A node without memory, or no node.
    #[error("{0} has no memory")]
    NoSuchNode(NodeId),
}

/// Makes the pool have `count` persistent pages, as far as that goes. Falling short is no error: read the counters.
///
/// # Errors
/// The node does not exist, or pages of this size come from boot alone.
#[doc(alias("set_max_huge_pages", "nr_hugepages_store_common"))]
pub fn set_max<P: Env>(p: &mut P, hstate: HstateId, count: HugeCount, nodes: ResizeNodes) -> Result<(), ResizeError> {
    if !p.hstate(hstate).resizable {
        return Err(ResizeError::BootOnly);
    }
    resize(p, hstate, count, nodes, Nodemask::ALL)
}

/// As [`set_max`], for a writer whose cpuset allows these nodes: no page is made on others, though they have their turns.
///
/// # Errors
/// As [`set_max`].
#[doc(alias = "nr_hugepages_mempolicy")]
pub fn set_max_within<P: Env>(
    p: &mut P,
    hstate: HstateId,
    count: HugeCount,
    nodes: ResizeNodes,
    within: Nodemask,
) -> Result<(), ResizeError> {
    if !p.hstate(hstate).resizable {
        return Err(ResizeError::BootOnly);
    }
    resize(p, hstate, count, nodes, within)
}

fn resize<P: Env>(
    p: &mut P,
    hstate: HstateId,
    count: HugeCount,
    nodes: ResizeNodes,
    within: Nodemask,
) -> Result<(), ResizeError> {
    let online = p.with_topology(policy::Topology::nodes);
    let allowed = match nodes {
        ResizeNodes::Global(mask) => mask.intersection(online),
        ResizeNodes::Node(node) if online.contains(node) => Nodemask::of(node),
        ResizeNodes::Node(node) => return Err(ResizeError::NoSuchNode(node)),
    };
    let h = p.hstate(hstate);
    p.scope(Scope::Resize(h.size), |p| {
        quiesce(p);
        let first = p.with_pool(hstate, |pool| {
            let count = match nodes {
                ResizeNodes::Global(_) => count,
                ResizeNodes::Node(node) => pool.with_node_at(node, count),
            };
            let target = Target { count, allowed, within };
            pool.absorb_surplus(target);
            (target, pool.next_step(target))
        });
        step_by_step(p, h, first.0, first.1);
        quiesce(p);
    });
    Ok(())
}

/// Allocates what a boot parameter asks for: on each node that it names exactly there, or else in turn on all of them. Where it falls short the
/// pool's target does too, and this says by how much. How many threads share the work makes no difference to anybody.
#[doc(alias = "hugetlb_hstate_alloc_pages")]
pub fn fill_at_boot<P: Env>(p: &mut P, hstate: HstateId, request: &PoolRequest) -> Vec<CountProblem> {
    let size = p.hstate(hstate).size;
    let mut missing = Vec::new();
    let mut note = |node: Option<NodeId>, asked: HugeCount, got: HugeCount| {
        if got < asked {
            missing.push(CountProblem::Shortfall { size, node, asked, got });
        }
    };
    match request {
        PoolRequest::Total(asked) => {
            // A node that there is not was refused when the parameter was read.
            let _ = resize(p, hstate, *asked, ResizeNodes::Global(Nodemask::ALL), Nodemask::ALL);
            note(None, *asked, p.with_pool(hstate, |pool| pool.nr()));
        }
        PoolRequest::PerNode(nodes) => {
            for (&node, &asked) in nodes {
                let _ = resize(p, hstate, asked, ResizeNodes::Node(node), Nodemask::ALL);
                note(Some(node), asked, p.with_pool(hstate, |pool| pool.node(node).nr));
            }
        }
    }
    // Whoever grows the pool later begins at the first node again.
    p.with_pool(hstate, |pool| pool.next_to_alloc = NodeId::new(0));
    missing
}

/// Sets how many surplus pages new allocations may reach. Existing ones stay.
///
/// # Errors
/// The pages are gigantic.
#[doc(alias("nr_overcommit_hugepages_store", "hugetlb_overcommit_handler"))]
pub fn set_overcommit<P: Env>(p: &mut P, hstate: HstateId, limit: HugeCount) -> Result<(), ResizeError> {
    if p.hstate(hstate).gigantic {
        return Err(ResizeError::GiganticOvercommit);
    }
    p.with_pool(hstate, |pool| pool.overcommit = limit);
    Ok(())
}

/// What a resize is to reach.
#[derive(Clone, Copy)]
struct Target {
    /// Persistent pages.
    count: HugeCount,
    /// Where pages come from and go to.
    allowed: Nodemask,
    /// Where whoever asks may have pages made.
    within: Nodemask,
}

/// What the ledger wants done next, already noted there.
enum Step {
    /// A page is missing: try this node, with the data of the page in this slot.
    Grow { node: NodeId, slot: u32 },
    /// A page too many left the ledger: it lies on the shelf of this node.
    Shrink { node: NodeId, condition: Condition },
    /// Nothing.
    Done,
}

/// One page after the other, one node per try. Growing stops when every allowed node has refused in a row.
fn step_by_step<P: Env>(p: &mut P, h: Hstate, target: Target, first: Step) {
    let mut refused_before = Nodemask::EMPTY;
    let mut refused_in_a_row = Nodemask::EMPTY;
    let mut step = first;
    loop {
        step = match step {
            Step::Done => return,
            Step::Shrink { node, condition } => {
                destroy_claimed(p, h, node, condition);
                p.with_pool(h.id, |pool| pool.next_step(target))
            }
            Step::Grow { node, slot } => {
                let retry = if refused_before.contains(node) { GfpFlags::NORETRY } else { GfpFlags::RETRY_MAYFAIL };
                let effort = GfpFlags::THISNODE | retry;
                let task = asked_by(target.within, page_alloc::Pin::Short);
                if let Ok(folio) = new_folio(p, h, slot, Placement::local(node), task, effort) {
                    refused_before = refused_before.without(node);
                    refused_in_a_row = Nodemask::EMPTY;
                    p.with_shelf(h.id, folio.node, |shelf| shelf.put(folio));
                    p.emit(|| Event::PoolGrew { hstate: h.id, node: folio.node });
                    p.with_pool(h.id, |pool| {
                        pool.add_free_page(folio.node);
                        pool.next_step(target)
                    })
                } else {
                    refused_before = refused_before.with(node);
                    refused_in_a_row = refused_in_a_row.with(node);
                    let stuck = refused_in_a_row == target.allowed;
                    p.with_pool(h.id, |pool| if stuck { pool.finish(target) } else { pool.next_step(target) })
                }
            }
        }
    }
}

impl Pool {
    /// Decides what is to be done next, and does the ledger's part of it.
    #[inline]
    fn next_step(&mut self, target: Target) -> Step {
        let persistent = self.persistent();
        if persistent == target.count {
            self.max = persistent;
            return Step::Done;
        }
        self.step_towards(target, persistent)
    }

    /// Free pages that are not reserved may go.
    fn step_towards(&mut self, target: Target, persistent: HugeCount) -> Step {
        if persistent < target.count {
            if let Some(node) = self.next_allocating(target.allowed, |_| true) {
                return Step::Grow { node, slot: self.new_slot() };
            }
        } else if persistent > self.floor(target.count)
            && let Some(node) = self.next_freeing(target.allowed, |n| !n.free.is_zero())
        {
            let condition = self.remove_worst(node, Joins::Persistent);
            return Step::Shrink { node, condition };
        }
        self.finish(target)
    }

    /// No page can come or go any more: what is too many becomes surplus.
    fn finish(&mut self, target: Target) -> Step {
        self.convert_to_surplus(target);
        self.max = self.persistent();
        Step::Done
    }

    /// The pool-wide count that leaves all other nodes as they are and gives `node` `count` persistent pages.
    fn with_node_at(&self, node: NodeId, count: HugeCount) -> HugeCount {
        let here = self.node(node);
        count.saturating_add(self.persistent().saturating_add(here.surplus).saturating_sub(here.nr))
    }

    /// Surplus pages become persistent, as far as the pool is short.
    #[inline]
    fn absorb_surplus(&mut self, Target { count, allowed, .. }: Target) {
        while !self.surplus.is_zero() && self.persistent() < count {
            let Some(node) = self.next_allocating(allowed, |n| !n.surplus.is_zero()) else { return };
            self.surplus -= ONE;
            self.nodes[node.index()].surplus -= ONE;
        }
    }

    /// Persistent pages become surplus, as far as the pool is too large: they leave it once they are freed.
    fn convert_to_surplus(&mut self, Target { count, allowed, .. }: Target) {
        while self.persistent() > count {
            let Some(node) = self.next_freeing(allowed, |n| n.surplus < n.nr) else { return };
            self.surplus += ONE;
            self.nodes[node.index()].surplus += ONE;
        }
    }

    /// The lowest persistent count that free pages may be removed down to: what is in use or reserved stays.
    #[inline]
    fn floor(&self, count: HugeCount) -> HugeCount {
        let persistent = self.persistent();
        let persistent_free = if self.free > persistent { self.free.saturating_sub(self.surplus) } else { self.free };
        count.max(self.resv + persistent - persistent_free)
    }
}
