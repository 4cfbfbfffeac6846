//! Splitting free pages of a pool into pages of a smaller one.

use alloc_crate::vec::Vec;

use memmap::FolioKind;
use units::{Event, HstateId, HugeCount, HugeSize, NodeId, Nodemask, Pfn, Scope};
use vmemmap::{HugeBlock, NoMetadata};

use crate::pool::{Condition, Joins, ONE, Pool};
use crate::{Env, Hstate, HugeFolio, ResizeNodes, Shelf};

/// Pages that cannot be demoted, or not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemoteError {
    /// The smallest pages, or pages that can never leave their pool.
    #[error("pages of {0} are not demoted")]
    NoTarget(HugeSize),
    /// A node without memory, or no node.
    #[error("{0} has no memory")]
    NoSuchNode(NodeId),
    /// No pool of that size.
    #[error("the machine has no pool of {0} pages to demote to")]
    NoSuchSize(HugeSize),
    /// The pages of the other pool are not smaller.
    #[error("pages of {page} cannot be demoted to {to}: choose a smaller size")]
    NotSmaller {
        /// The pool's own size.
        page: HugeSize,
        /// The size asked for.
        to: HugeSize,
    },
    /// Below the size that one entry of a middle page table maps.
    #[error("pages are not demoted to {to}: choose {least} or more")]
    BelowPmd {
        /// The size asked for.
        to: HugeSize,
        /// The least there is.
        least: HugeSize,
    },
    /// Descriptors of a page would need memory. Those before it are demoted.
    #[error(transparent)]
    Metadata(#[from] NoMetadata),
}

/// Splits up to `count` free pages that nobody has reserved. Finding fewer is no error: read the counters. The parts are
/// persistent and free pages of the pool that the size was set to; neither pool's surplus changes.
///
/// # Errors
/// The pool has no smaller one, or the node does not exist.
#[doc(alias("demote_store", "demote_pool_huge_page", "demote_free_hugetlb_folios"))]
pub fn demote<P: Env>(p: &mut P, from: HstateId, count: HugeCount, nodes: ResizeNodes) -> Result<(), DemoteError> {
    let larger = p.hstate(from);
    let online = p.with_topology(policy::Topology::nodes);
    let allowed = match nodes {
        ResizeNodes::Global(mask) => mask.intersection(online),
        ResizeNodes::Node(node) if online.contains(node) => Nodemask::of(node),
        ResizeNodes::Node(node) => return Err(DemoteError::NoSuchNode(node)),
    };
    p.scope(Scope::Resize(larger.size), |p| {
        let to = p.with_pool(from, |pool| pool.demote_to).ok_or(DemoteError::NoTarget(larger.size))?;
        let smaller = p.hstate(to);
        let mut left = count;
        while !left.is_zero()
            && let Some(node) = p.with_pool(from, |pool| pool.give_one_up(allowed))
        {
            let folio = p.with_shelf(from, node, Shelf::take_claimed);
            if let Err(lacking) = vmemmap::restore(p, folio.pfn) {
                p.with_shelf(from, node, |shelf| shelf.put(folio));
                p.with_pool(from, |pool| pool.take_back(node));
                return Err(lacking.into());
            }
            p.scope(Scope::Resize(smaller.size), |p| split(p, folio, larger, smaller));
            left -= ONE;
        }
        Ok(())
    })
}

/// Chooses the size into which pages of a pool are split from now on.
///
/// # Errors
/// No such pool, or one that pages cannot be demoted to.
#[doc(alias = "demote_size_store")]
pub fn set_demote_size<P: Env>(
    p: &mut P,
    from: HstateId,
    to: HugeSize,
    target: Option<HstateId>,
) -> Result<(), DemoteError> {
    let larger = p.hstate(from);
    if p.with_pool(from, |pool| pool.demote_to).is_none() {
        return Err(DemoteError::NoTarget(larger.size));
    }
    let target = target.ok_or(DemoteError::NoSuchSize(to))?;
    // A table of one base page holds entries of eight bytes; one level up, an entry maps as much as the table.
    let base = larger.size.shift() - larger.order.get();
    let least = HugeSize::from_shift(2 * base - 3).unwrap_or(larger.size);
    if to < least {
        return Err(DemoteError::BelowPmd { to, least });
    }
    if to >= larger.size {
        return Err(DemoteError::NotSmaller { page: larger.size, to });
    }
    p.scope(Scope::Resize(larger.size), |p| p.with_pool(from, |pool| pool.demote_to = Some(target)));
    Ok(())
}

/// One frozen page becomes many, which join their pool. The frames stay where they are.
fn split<P: Env>(p: &mut P, folio: HugeFolio, larger: Hstate, smaller: Hstate) {
    let parts = larger.order.pages().get() >> smaller.order.get();
    let slots: Vec<u32> = p.with_pool(smaller.id, |pool| (0..parts).map(|_| pool.new_slot()).collect());
    let mut pieces = Vec::with_capacity(slots.len());
    let mut pfn = folio.pfn;
    for slot in slots {
        pieces.push(HugeFolio { pfn, hstate: smaller.id, slot, ..folio });
        pfn = Pfn::new(pfn.get() + smaller.order.pages().get());
    }
    // Before anybody can find them by their frames.
    pieces.iter().for_each(|&piece| p.with_records(piece.at(), |records| records.place(piece)));
    p.with_memmap(folio.pfn, |map| {
        map.release(folio.pfn);
        for piece in &pieces {
            let kind = FolioKind::Huge(piece.at());
            map.claim(piece.pfn, smaller.order, kind);
        }
    });
    p.with_pool(larger.id, |pool| pool.drop_slot(folio.slot));
    let split = page_alloc::split(p, folio.zone_ref(), folio.pfn, larger.order, smaller.order);
    debug_assert_eq!(split, Ok(()), "a folio of a pool is what the page allocator handed out");
    let zone = folio.zone_ref();
    let blocks: Vec<HugeBlock> =
        pieces.iter().map(|piece| HugeBlock { pfn: piece.pfn, order: smaller.order, zone }).collect();
    vmemmap::optimise_all(p, &blocks, |_, _| ());
    p.with_shelf(smaller.id, folio.node, |shelf| pieces.iter().for_each(|&piece| shelf.put(piece)));
    p.with_pool(smaller.id, |pool| {
        pieces.iter().for_each(|piece| pool.add_free_page(piece.node));
        pool.max += HugeCount::new(parts);
    });
    p.emit(|| Event::Demoted { from: larger.id, to: smaller.id, node: folio.node });
}

impl Pool {
    /// Where pages of this pool are demoted to.
    #[doc(alias = "demote_order")]
    #[must_use]
    pub const fn demote_to(&self) -> Option<HstateId> {
        self.demote_to
    }

    /// A free page that nobody has reserved leaves the pool for a smaller one; the shelf of that node then has one to take.
    /// The page is the administrator's, so a node that has surplus pages alone gives none, and nor does a pool: of surplus pages a node may count more than
    /// it has, once its own were taken for others.
    fn give_one_up(&mut self, allowed: Nodemask) -> Option<NodeId> {
        if self.available().is_zero() || self.persistent().is_zero() {
            return None;
        }
        let node = self.next_freeing(allowed, |n| !n.sound().is_zero() && n.surplus < n.nr)?;
        self.remove_free(node, Joins::Persistent, Condition::Sound);
        self.max = self.persistent();
        Some(node)
    }

    /// It is back.
    fn take_back(&mut self, node: NodeId) {
        self.add_page(node, Joins::Persistent);
        self.add_free(node);
        self.max = self.persistent();
    }
}
