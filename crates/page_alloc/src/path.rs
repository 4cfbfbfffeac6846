//! Allocation and free.

use memmap::FolioKind;
use policy::{Mode, Placement};
use units::{Blame, GfpFlags, Ledger, NodeId, Nodemask, Order, PageCount, Pfn, Site};

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
    /// Who will own the folio.
    pub kind: FolioKind,
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

/// Takes a block and records it as a frozen folio, without references.
///
/// # Errors
/// No permitted node has such a block.
#[doc(alias("__alloc_pages", "get_page_from_freelist", "alloc_contig_pages"))]
pub fn alloc<P: Env>(p: &mut P, request: &Request) -> Result<(Pfn, NodeId), NoPages> {
    let mut refusal = NoPages { order: request.order, nodes_tried: 0, free: PageCount::ZERO, refused_by: Ledger::Node };
    if p.refused(Site::Frame) {
        refusal.refused_by = Ledger::Watermark;
        return Err(refusal);
    }
    if request.placement.mode == Mode::PreferredMany {
        let everywhere = Request { placement: Placement { nodemask: None, ..request.placement }, ..*request };
        return first_fit(p, request, &mut refusal).or_else(|| first_fit(p, &everywhere, &mut refusal)).ok_or(refusal);
    }
    first_fit(p, request, &mut refusal).ok_or(refusal)
}

/// Gives a block back; its folio must have no references.
#[doc(alias("__free_pages", "free_contig_range"))]
pub fn free<P: Env>(p: &mut P, pfn: Pfn, node: NodeId, order: Order) {
    p.with_memmap(|map| map.release(pfn));
    p.with_zone(node, |zone| zone.put(pfn, order));
}

fn first_fit<P: Env>(p: &mut P, request: &Request, refusal: &mut NoPages) -> Option<(Pfn, NodeId)> {
    let Placement { nid, nodemask, .. } = request.placement;
    let mask = nodemask.unwrap_or(Nodemask::ALL).intersection(request.allowed);
    let here_only = request.gfp.contains(GfpFlags::THISNODE);
    let mut place = 0;
    loop {
        let node = p.with_topology(|t| t.zone_list(nid).get(place).copied())?;
        if here_only && node != nid {
            return None;
        }
        place += 1;
        if !mask.contains(node) {
            continue;
        }
        let got = p.with_zone(node, |zone| (zone.take(request.order), zone.free(), zone.largest()));
        let Some((taken, free, largest)) = got else { continue };
        if let Some(pfn) = taken {
            p.with_memmap(|map| map.claim(pfn, request.order, request.kind));
            return Some((pfn, node));
        }
        refusal.nodes_tried += 1;
        refusal.free += free;
        refusal.refused_by = if request.order > largest { Ledger::Contiguity } else { Ledger::Watermark };
    }
}
