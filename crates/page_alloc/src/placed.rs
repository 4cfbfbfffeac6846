//! What a memory policy makes of a request.

use policy::{Mode, Placement, Topology};
use units::{GfpFlags, Order, ZoneKind};

use crate::context::PageRequest;
use crate::gfp::highest_zone;

/// One request, or two: the second is made if the first has no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Made first.
    pub first: PageRequest,
    /// Made if that failed.
    pub then: Option<PageRequest>,
}

/// What a request is for, as far as a policy cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purchase {
    /// A page of an area, which has a place in it: a huge one is worth staying on its node for.
    #[doc(alias = "NO_INTERLEAVE_INDEX")]
    OfArea {
        /// The order of a huge page.
        huge: Order,
    },
    /// Anything else.
    Other,
}

/// Makes requests of one by a policy.
#[doc(alias("alloc_pages_mpol", "folio_alloc_mpol", "alloc_pages_preferred_many"))]
#[must_use]
#[inline]
pub fn place(request: &PageRequest, placement: &Placement, purchase: Purchase, topology: &Topology) -> Placed {
    let request = PageRequest { node: placement.nid, ..*request };
    let (mask, then) = placement.passes(highest_zone(request.gfp).unwrap_or(ZoneKind::Movable), topology);
    match placement.mode {
        Mode::PreferredMany => {
            let then = then.map(|nodemask| PageRequest { nodemask, ..request });
            // The nodes that are preferred must have the page at hand; it is not worth reclaim that it comes from there.
            let gfp = request.gfp.difference(GfpFlags::DIRECT_RECLAIM | GfpFlags::NOFAIL) | GfpFlags::NOWARN;
            Placed { first: PageRequest { gfp, nodemask: mask, ..request }, then }
        }
        mode => {
            let ordinary = PageRequest { nodemask: mask, ..request };
            let huge = matches!(purchase, Purchase::OfArea { huge } if huge == request.order);
            let stays = mask.is_none_or(|mask| mask.contains(request.node));
            if !huge || mode == Mode::Interleave || !stays {
                return Placed { first: ordinary, then: None };
            }
            let effort = GfpFlags::RETRY_MAYFAIL | GfpFlags::NOFAIL;
            let gfp = request.gfp.difference(effort) | GfpFlags::THISNODE | GfpFlags::NORETRY;
            let then = request.gfp.contains(GfpFlags::DIRECT_RECLAIM).then_some(ordinary);
            Placed { first: PageRequest { gfp, nodemask: None, ..request }, then }
        }
    }
}
