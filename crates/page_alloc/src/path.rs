//! Allocation and free.

use policy::{Mode, Placement};
use units::{Blame, GfpFlags, Ledger, Migratetype, NodeId, Nodemask, Order, PageCount, Pfn, Site};
use zone::{AllocFlags, BadFree, PerCpuPages, Want, Zone};

use crate::Env;

/// What is asked of the page allocator.
#[doc(alias = "alloc_context")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Size of the block.
    pub order: Order,
    /// Where it may come from.
    pub placement: Placement,
    /// Nodes that the task's cpuset allows.
    pub allowed: Nodemask,
    /// What the caller wishes and permits.
    pub gfp: GfpFlags,
}

/// No block could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free block of {order} on the {nodes_tried} nodes tried ({free} are free there)")]
pub struct NoPages {
    /// The order asked for.
    pub order: Order,
    /// How many nodes were tried.
    pub nodes_tried: u32,
    /// Free base pages on those nodes.
    pub free: PageCount,
    /// Who refused.
    pub refused_by: Ledger,
}

impl Blame for NoPages {
    fn ledger(&self) -> Option<Ledger> {
        Some(self.refused_by)
    }
}

/// Takes a block. Nobody can refer to its pages before their owner records a folio of them.
///
/// # Errors
/// No permitted node has such a block.
#[doc(alias("alloc_frozen_pages", "__alloc_pages", "get_page_from_freelist", "alloc_contig_pages"))]
#[inline]
pub fn alloc<P: Env>(p: &mut P, request: &Request) -> Result<(Pfn, NodeId), NoPages> {
    if p.refused(Site::Frame) {
        let (order, free) = (request.order, PageCount::ZERO);
        return Err(NoPages { order, nodes_tried: 0, free, refused_by: Ledger::Watermark });
    }
    // Mostly the processor has a block of the node that comes first in any case.
    let nearest = request.placement.nid;
    if mask_of(request).contains(nearest) {
        let (order, migratetype) = (request.order, migratetype_of(request));
        let ready = p.with_zone_and_lists(nearest, |zone, lists| zone.take_ready(lists, order, migratetype));
        if let Some(pfn) = ready.flatten() {
            return Ok((pfn, nearest));
        }
    }
    alloc_from_lists(p, request)
}

#[inline(never)]
fn alloc_from_lists<P: Env>(p: &mut P, request: &Request) -> Result<(Pfn, NodeId), NoPages> {
    let mut refusal = NoPages { order: request.order, nodes_tried: 0, free: PageCount::ZERO, refused_by: Ledger::Node };
    let hit = if request.gfp.contains(GfpFlags::THISNODE) {
        let nid = request.placement.nid;
        if mask_of(request).contains(nid) { take_from(p, request, nid, &mut refusal) } else { None }
    } else {
        near_to_far(p, request, &mut refusal)
    };
    hit.ok_or(refusal)
}

/// Gives a block back of which there is no folio any more.
///
/// # Errors
/// It is not what was handed out, and nothing was done.
#[doc(alias("free_frozen_pages", "__free_pages", "free_contig_range"))]
#[inline]
pub fn free<P: Env>(p: &mut P, pfn: Pfn, node: NodeId, order: Order) -> Result<(), BadFree> {
    let freed = p.with_zone_and_lists(node, |zone, lists| zone.put_cached(lists, pfn, order));
    freed.unwrap_or(Err(BadFree::Outside { pfn, order }))
}

/// Makes blocks of `to` of a block that was handed out, each of which goes back by itself.
///
/// # Errors
/// It is not what was handed out, and nothing was done.
#[doc(alias = "split_page")]
pub fn split<P: Env>(p: &mut P, pfn: Pfn, node: NodeId, from: Order, to: Order) -> Result<(), BadFree> {
    let split = p.with_zone(node, |zone| zone.split_used(pfn, from, to));
    split.unwrap_or(Err(BadFree::Outside { pfn, order: from }))
}

#[inline]
fn migratetype_of(request: &Request) -> Migratetype {
    if request.gfp.contains(GfpFlags::MOVABLE) { Migratetype::Movable } else { Migratetype::Unmovable }
}

#[inline]
fn mask_of(request: &Request) -> Nodemask {
    request.placement.nodemask.unwrap_or(Nodemask::ALL).intersection(request.allowed)
}

/// The permitted nodes from near to far; the preferred ones first, where the policy has such.
fn near_to_far<P: Env>(p: &mut P, request: &Request, refusal: &mut NoPages) -> Option<(Pfn, NodeId)> {
    let hit = first_fit(p, request, mask_of(request), refusal);
    if hit.is_none() && request.placement.mode == Mode::PreferredMany {
        return first_fit(p, request, request.allowed, refusal);
    }
    hit
}

fn first_fit<P: Env>(p: &mut P, request: &Request, mask: Nodemask, refusal: &mut NoPages) -> Option<(Pfn, NodeId)> {
    let mut place = 0;
    loop {
        let node = p.with_topology(|t| t.zone_list(request.placement.nid).get(place).copied())?;
        place += 1;
        if mask.contains(node)
            && let Some(hit) = take_from(p, request, node, refusal)
        {
            return Some(hit);
        }
    }
}

/// Takes a block of one node. A node without memory refuses nothing.
fn take_from<P: Env>(p: &mut P, request: &Request, node: NodeId, refusal: &mut NoPages) -> Option<(Pfn, NodeId)> {
    let want = Want { order: request.order, migratetype: migratetype_of(request), flags: AllocFlags::NONE };
    let taken = p.with_zone_and_lists(node, |zone, lists| {
        take_or_drain(zone, lists, want).ok_or_else(|| (zone.free(), zone.largest()))
    })?;
    match taken {
        Ok(pfn) => Some((pfn, node)),
        Err((free, largest)) => {
            refusal.nodes_tried += 1;
            refusal.free += free;
            refusal.refused_by = if request.order > largest { Ledger::Contiguity } else { Ledger::Watermark };
            None
        }
    }
}

/// Takes a block, and where there is none, gives back what the processor keeps first: that may be in its way.
fn take_or_drain(zone: &mut Zone, lists: &mut PerCpuPages, want: Want) -> Option<Pfn> {
    if want.order <= zone.largest()
        && let Some(pfn) = zone.take_cached(lists, want)
    {
        return Some(pfn);
    }
    drain_and_take(zone, lists, want)
}

#[cold]
fn drain_and_take(zone: &mut Zone, lists: &mut PerCpuPages, want: Want) -> Option<Pfn> {
    zone.drain(lists);
    zone.take(want)
}
