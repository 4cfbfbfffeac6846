//! The administrator's way in: how many pages a pool has.

use policy::Placement;
use units::{Event, GfpFlags, HstateId, HugeCount, NodeId, Nodemask, Scope};

use crate::pool::{Joins, Pool};
use crate::surplus::{destroy_claimed, new_folio};
use crate::{Env, Hstate};

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
    fill_at_boot(p, hstate, count, nodes)
}

/// As [`set_max`], while the machine boots: gigantic pages can be had even where they cannot later.
///
/// # Errors
/// The node does not exist.
#[doc(alias = "hugetlb_hstate_alloc_pages")]
pub fn fill_at_boot<P: Env>(
    p: &mut P,
    hstate: HstateId,
    count: HugeCount,
    nodes: ResizeNodes,
) -> Result<(), ResizeError> {
    let online = p.with_topology(policy::Topology::nodes);
    let allowed = match nodes {
        ResizeNodes::Global(mask) => mask.intersection(online),
        ResizeNodes::Node(node) if online.contains(node) => Nodemask::of(node),
        ResizeNodes::Node(node) => return Err(ResizeError::NoSuchNode(node)),
    };
    let h = p.hstate(hstate);
    p.scope(Scope::Resize(h.size), |p| {
        let count = match nodes {
            ResizeNodes::Global(_) => count,
            ResizeNodes::Node(node) => p.with_pool(hstate, |pool| pool.with_node_at(node, count)),
        };
        p.with_pool(hstate, |pool| pool.absorb_surplus(count, allowed));
        grow(p, h, count, allowed);
        shrink(p, hstate, count, allowed);
        p.with_pool(hstate, |pool| {
            pool.convert_to_surplus(count, allowed);
            pool.max = pool.persistent();
        });
    });
    Ok(())
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

/// Allocates page after page, one node per try; stops when every allowed node has refused in a row.
fn grow<P: Env>(p: &mut P, h: Hstate, count: HugeCount, allowed: Nodemask) {
    let mut refused_before = Nodemask::EMPTY;
    while p.with_pool(h.id, |pool| pool.persistent() < count) {
        let grown = (0..allowed.len()).any(|_| {
            let Some(node) = p.with_pool(h.id, |pool| pool.next_allocating(allowed, |_| true)) else { return false };
            let retry = if refused_before.contains(node) { GfpFlags::NORETRY } else { GfpFlags::RETRY_MAYFAIL };
            let gfp = GfpFlags::HIGHUSER | GfpFlags::THISNODE | GfpFlags::DIRECT_RECLAIM | retry;
            let grown = grow_on(p, h, node, gfp);
            refused_before = if grown { refused_before.without(node) } else { refused_before.with(node) };
            grown
        });
        if !grown {
            return;
        }
    }
}

fn grow_on<P: Env>(p: &mut P, h: Hstate, node: NodeId, gfp: GfpFlags) -> bool {
    let Ok(folio) = new_folio(p, h, Placement::local(node), Nodemask::ALL, gfp) else { return false };
    p.with_pool(h.id, |pool| {
        let record = pool.record(folio);
        (record.pfn, record.node) = (folio.pfn, folio.node);
        pool.add_page(folio.node, Joins::Persistent);
    });
    // Its record is there by now: whoever has a claim may take it from the shelf at once.
    p.with_shelf(h.id, folio.node, |shelf| shelf.put(folio));
    p.with_pool(h.id, |pool| pool.add_free(folio.node));
    p.emit(|| Event::PoolGrew { hstate: h.id, node: folio.node });
    true
}

/// Frees free pages, but none that is reserved.
fn shrink<P: Env>(p: &mut P, hstate: HstateId, count: HugeCount, allowed: Nodemask) {
    loop {
        let node = p.with_pool(hstate, |pool| {
            if pool.persistent() <= pool.floor(count) {
                return None;
            }
            let node = pool.next_freeing(allowed, |n| !n.free.is_zero())?;
            pool.remove_free(node, Joins::Persistent);
            Some(node)
        });
        let Some(node) = node else { return };
        destroy_claimed(p, hstate, node);
    }
}

impl Pool {
    /// The pool-wide count that leaves all other nodes as they are and gives `node` `count` persistent pages.
    fn with_node_at(&self, node: NodeId, count: HugeCount) -> HugeCount {
        let here = self.node(node);
        count.saturating_add(self.persistent() - (here.nr - here.surplus))
    }

    /// Surplus pages become persistent, as far as the pool is short.
    fn absorb_surplus(&mut self, count: HugeCount, allowed: Nodemask) {
        while self.persistent() < count {
            let Some(node) = self.next_allocating(allowed, |n| !n.surplus.is_zero()) else { return };
            self.surplus -= HugeCount::new(1);
            self.nodes[node.index()].surplus -= HugeCount::new(1);
        }
    }

    /// Persistent pages become surplus, as far as the pool is too large: they leave it once they are freed.
    fn convert_to_surplus(&mut self, count: HugeCount, allowed: Nodemask) {
        while self.persistent() > count {
            let Some(node) = self.next_freeing(allowed, |n| n.surplus < n.nr) else { return };
            self.surplus += HugeCount::new(1);
            self.nodes[node.index()].surplus += HugeCount::new(1);
        }
    }

    /// The lowest persistent count that free pages may be removed down to: what is in use or reserved stays.
    fn floor(&self, count: HugeCount) -> HugeCount {
        let persistent = self.persistent();
        let persistent_free = if self.free > persistent { self.free.saturating_sub(self.surplus) } else { self.free };
        count.max(self.resv + persistent - persistent_free)
    }
}
