//! What moves with a huge page: a place to move to, and everything its pool keeps of it.

use page_alloc::Pin;
use policy::Placement;
use units::{Blame, GfpFlags, HstateId, HugeCount, Ledger, NodeId, Nodemask};

use crate::alloc::dequeue;
use crate::pool::{Joins, ONE, Pool};
use crate::surplus::{asked_by, new_folio};
use crate::{AllocFlags, AllocRequest, Env, HugeFolio};

/// May the new page lie elsewhere than asked for?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Wherever the mask permits: memory that goes away or breaks, and those who ask for a move, have no choice.
    Permitted,
    /// On the preferred node, or nowhere: contiguous ranges are not made at the cost of other nodes.
    Refused,
}

/// Where a page is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node that is asked for, and those that will do.
    pub placement: Placement,
    /// Nodes that the cpuset allows.
    pub allowed: Nodemask,
    /// Whether others will do.
    pub fallback: Fallback,
    /// How long it is to stay there.
    pub pin: Pin,
}

/// There is nowhere to move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoTarget {
    /// Gigantic pages are taken from the pool or not at all.
    #[error("{} pages of this size are available, none where it is needed, and gigantic ones are not made for this", .available.get())]
    Gigantic {
        /// Free and not reserved, on any node.
        available: HugeCount,
    },
    /// The pool has none to spare, and the page allocator has no memory.
    #[error("{} are available, none where it is needed: {refusal}", .available.get())]
    NoPages {
        /// Free and not reserved, on any node.
        available: HugeCount,
        /// Why none could be made.
        refusal: page_alloc::NoPages,
    },
}

impl Blame for NoTarget {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Gigantic { .. } => Some(Ledger::Pool),
            Self::NoPages { refusal, .. } => refusal.ledger(),
        }
    }
}

/// A page to move to, with one reference: a free one that nobody has reserved, or a temporary one, which is counted and leaves the pool
/// when it is freed.
///
/// # Errors
/// There is none; nothing is changed.
#[doc(alias("alloc_hugetlb_folio_nodemask", "alloc_migrate_hugetlb_folio"))]
pub fn alloc_target<P: Env>(p: &mut P, hstate: HstateId, target: &Target) -> Result<HugeFolio, NoTarget> {
    let Target { placement, allowed, fallback, pin } = *target;
    let mut flags = AllocFlags::empty();
    flags.set(AllocFlags::LONG_PIN, pin == Pin::Long);
    let request = AllocRequest { hstate, placement, allowed, flags, cgroup: None };
    if let Some(folio) = dequeue(p, &request) {
        p.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, 1));
        return Ok(folio);
    }
    let h = p.hstate(hstate);
    let available = p.with_pool(hstate, |pool| pool.available());
    if h.gigantic {
        return Err(NoTarget::Gigantic { available });
    }
    let here = if fallback == Fallback::Refused { GfpFlags::THISNODE } else { GfpFlags::empty() };
    let slot = p.with_pool(hstate, |pool| pool.new_slot());
    let folio = new_folio(p, h, slot, placement, asked_by(allowed, pin), GfpFlags::RETRY_MAYFAIL | here)
        .map_err(|refusal| NoTarget::NoPages { available, refusal })?;
    p.with_records(folio.at(), |records| records.record(folio).temporary = true);
    p.with_pool(hstate, |pool| pool.add_page(folio.node, Joins::Persistent));
    p.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, 1));
    Ok(folio)
}

/// The new page stands for everything that the old one stood for: who pays, whose limits it counts against, what is owed, and how it leaves.
/// If it was made for the move, the old one leaves the pool in its stead, and a surplus page of the old node is now one of the new node:
/// totals stay. A page that was made on the same node is not moved again.
#[doc(alias("move_hugetlb_state", "hugetlb_cgroup_migrate", "mem_cgroup_migrate"))]
pub fn move_state<P: Env>(p: &mut P, from: HugeFolio, to: HugeFolio) {
    let hstate = from.hstate;
    let old = p.with_records(from.at(), |records| {
        let left = records.record(from);
        let old = *left;
        left.subpool = None;
        (left.usage_owner, left.rsvd_owner, left.memory_owner) = (None, None, None);
        (left.home, left.owed_to) = (None, None);
        old
    });
    let made = p.with_records(to.at(), |records| {
        let new = records.record(to);
        new.subpool = old.subpool;
        (new.usage_owner, new.rsvd_owner) = (old.usage_owner, old.rsvd_owner);
        new.memory_owner = old.memory_owner;
        (new.home, new.owed_to) = (old.home, old.owed_to);
        let made = core::mem::take(&mut new.temporary);
        // As on Linux 6.18: what was made on the page's own node stays there as long as it is used.
        new.isolated = made && from.node == to.node;
        made
    });
    if made {
        p.with_records(from.at(), |records| records.record(from).temporary = true);
    }
    if made && from.node != to.node {
        p.with_pool(hstate, |pool| pool.move_surplus(from.node, to.node));
    }
    if let Some(owner) = old.usage_owner {
        p.with_charges(|c| {
            c.displace(owner, hstate, from.node);
            c.place(owner, hstate, to.node);
        });
    }
    if let Some((map, index)) = old.owed_to {
        p.with_resv_map(map, |m| {
            if let Some(folio) = m.owed.get_mut(&index).filter(|folio| **folio == from.pfn) {
                *folio = to.pfn;
            }
        });
    }
}

impl Pool {
    /// A surplus page of one node, if it has any, is one of another.
    fn move_surplus(&mut self, from: NodeId, to: NodeId) {
        if !self.node(from).surplus.is_zero() {
            self.nodes[from.index()].surplus -= ONE;
            self.nodes[to.index()].surplus += ONE;
        }
    }
}
