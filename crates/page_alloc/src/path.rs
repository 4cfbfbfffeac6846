//! The way to a block on a machine: the walk along the zone list, and where that finds nothing, the slow path with the machine's answers.

use alloc::vec::Vec;

use memmap::{Folio, FolioKind};
use policy::{Placement, Reach, ZoneRef};
use units::{Blame, GfpFlags, Ledger, Order, PageCount, Pfn, Site, ZoneKind};
use zone::{AllocFlags, BadFree, Found, Held, Want, Zone};

use crate::Env;
use crate::allocation::{Allocation, Answer, NoBlock, Question};
use crate::compact_zone::CompactEnd;
use crate::compaction::{CompactQuestion, Compaction};
use crate::context::{Context, ContextError, PageRequest};
use crate::contig::{Area, Contig, ContigError, ContigQuestion, ContigRange, ContigRequest, Move, Moved};
use crate::fast_path::{self, Block, Purpose};
use crate::gfp;
use crate::kswapd;
use crate::owned::{BlockError, HeldBlock, Mobility};
use crate::page_owner::MoveReason;
use crate::placed::{Purchase, place};
use crate::quick;
use crate::slow_path::Compacted;
use crate::zones::Zones;

/// How often a request that must not fail asks for reclaim, before it is clear that it waits for ever.
const ROUNDS: u32 = 64;

/// How often it asks for anything: who reclaims memory itself does not ask for that.
const QUESTIONS: u32 = 1000;

/// No block could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPages {
    /// The request contradicts itself, or the machine.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The zones had none.
    #[error(transparent)]
    NoBlock(#[from] NoBlock),
    /// It must not fail, and nobody is left who could free memory.
    #[error("the request must not fail and waits for ever for a block of {0}")]
    WaitsForEver(Order),
}

impl Blame for NoPages {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Context(_) => None,
            Self::NoBlock(none) => none.ledger(),
            Self::WaitsForEver(_) => Some(Ledger::Watermark),
        }
    }
}

/// Takes a block. Nobody can refer to its pages before their owner records a folio of them.
///
/// # Errors
/// The request contradicts itself, or the zones that it may use have no block for it.
#[doc(alias("alloc_frozen_pages", "__alloc_pages"))]
#[inline]
pub fn alloc<P: Env>(p: &mut P, request: &PageRequest) -> Result<Block, NoPages> {
    if p.refused(Site::Frame) {
        return Err(planned(request.order));
    }
    // Mostly the processor has a block of the zone that comes first in any case.
    match quick::ready(p, request) {
        Some(block) => Ok(block),
        None => alloc_by_lists(p, request),
    }
}

/// Takes a block where a policy wants it. A block above the largest order is a range whose contents are moved away first.
///
/// # Errors
/// As [`alloc()`].
#[doc(alias("alloc_pages_mpol", "only_alloc_fresh_hugetlb_folio", "alloc_contig_frozen_pages"))]
#[inline]
pub fn alloc_placed<P: Env>(p: &mut P, request: &PageRequest, placement: &Placement) -> Result<Block, NoPages> {
    if p.refused(Site::Frame) {
        return Err(planned(request.order));
    }
    // Mostly the policy restricts nothing, and the processor has a block of the zone that comes first.
    if placement.nodemask.is_none()
        && placement.nid == request.node
        && let Some(block) = quick::ready(p, request)
    {
        return Ok(block);
    }
    alloc_as_placed(p, request, placement)
}

#[inline(never)]
pub(crate) fn alloc_as_placed<P: Env>(
    p: &mut P,
    request: &PageRequest,
    placement: &Placement,
) -> Result<Block, NoPages> {
    let placed = place(request, placement, Purchase::Other, p.topology());
    if let Some(block) = quick::ready(p, &placed.first) {
        return Ok(block);
    }
    match (alloc_once(p, &placed.first), placed.then) {
        (Err(NoPages::NoBlock(_)), Some(then)) => alloc_once(p, &then),
        (result, _) => result,
    }
}

#[inline(never)]
fn alloc_once<P: Env>(p: &mut P, request: &PageRequest) -> Result<Block, NoPages> {
    if request.order > p.rules().largest { alloc_range(p, request) } else { alloc_by_lists(p, request) }
}

#[cold]
pub(crate) const fn planned(order: Order) -> NoPages {
    NoPages::NoBlock(NoBlock { order, zones: 0, free: PageCount::ZERO, refused_by: Ledger::Watermark })
}

#[inline(never)]
fn alloc_by_lists<P: Env>(p: &mut P, request: &PageRequest) -> Result<Block, NoPages> {
    let rules = *p.rules();
    let context = Context::new(request, &rules, p.topology())?;
    if let Some(block) = fast_path::first(p, &context) {
        kswapd::run(p, block.zone.node);
        return Ok(block);
    }
    let block = finish(p, Allocation::new(context, rules));
    let nodes = p.topology().states().online;
    nodes.iter().for_each(|node| kswapd::run(p, node));
    block
}

/// Goes the slow way to its end. Nothing can be reclaimed and nobody killed; what can be moved is.
#[cold]
fn finish<P: Env>(p: &mut P, mut allocation: Allocation) -> Result<Block, NoPages> {
    let order = allocation.context().order();
    let mut rounds = 0;
    let mut question = allocation.begin(p);
    for _ in 0..QUESTIONS {
        let answer = match question {
            Question::Done(block) => return Ok(block),
            Question::Failed(none) => return Err(none.into()),
            Question::Reclaim if rounds == ROUNDS => return Err(NoPages::WaitsForEver(order)),
            Question::Reclaim => {
                rounds += 1;
                Answer::Reclaimed(PageCount::ZERO)
            }
            Question::Compact(_) if !any_movable(p) => Answer::Compacted(Compacted::Skipped),
            Question::Compact(priority) => {
                let mut compaction = allocation.compaction(p, priority);
                match compact(p, &mut compaction) {
                    (_, Some(block)) => Answer::Captured(block),
                    (end, None) => Answer::Compacted(end.into()),
                }
            }
            Question::Rest => Answer::Rested,
            Question::LockKiller => Answer::Locked,
            Question::Kill => Answer::Nobody,
            Question::Flip(_) => Answer::Flipped(PageCount::ZERO),
        };
        question = allocation.answer(p, answer);
    }
    Err(NoPages::WaitsForEver(order))
}

fn any_movable<P: Env>(p: &mut P) -> bool {
    p.with_blocks(|blocks| blocks.any_movable())
}

/// Compacts to the end; how it ended, and a block if one was caught.
fn compact<P: Env>(p: &mut P, compaction: &mut Compaction) -> (CompactEnd, Option<Block>) {
    let mut question = compaction.begin(p);
    loop {
        match question {
            CompactQuestion::Move(block) => {
                let moved = relocate(p, &block);
                question = compaction.answer(p, moved);
            }
            CompactQuestion::End(end, block) => return (end, block),
        }
    }
}

/// Compacts all of a node, as the administrator says.
#[doc(alias = "compact_memory")]
pub fn compact_node<P: Env>(p: &mut P, node: units::NodeId) {
    if any_movable(p) {
        let mut compaction = Compaction::whole(p, node);
        compact(p, &mut compaction);
    }
}

/// Has the owner of a block move it.
#[doc(alias = "migrate_pages")]
pub fn relocate<P: Env>(p: &mut P, to: &Move) -> Moved {
    if p.refused(Site::Move) {
        return Moved::Busy;
    }
    let moved = p.with_blocks(|blocks| blocks.relocate(to));
    if moved == Moved::Moved {
        p.with_memmap(to.from, |map| {
            let _ = map.put_refs(to.from, 1);
            map.release(to.from);
        });
        p.with_memmap(to.to, |map| {
            map.claim(to.to, to.order, FolioKind::Page);
            map.get_refs(to.to, 1);
        });
    }
    moved
}

/// Takes an aligned range: in each zone, from near to far, the lowest one that is free or can be made so. No mark is looked at.
#[doc(alias("alloc_contig_pages", "alloc_gigantic_folio"))]
#[cold]
fn alloc_range<P: Env>(p: &mut P, request: &PageRequest) -> Result<Block, NoPages> {
    let PageRequest { order, gfp, node, nodemask, .. } = *request;
    let (highest, migratetype) = (gfp::highest_zone(gfp), gfp::migratetype(gfp));
    let (Some(highest), Some(migratetype)) = (highest, migratetype) else {
        return Err(ContextError::BadZoneBits(gfp).into());
    };
    let reach = if gfp.contains(GfpFlags::THISNODE) { Reach::ThisNode } else { Reach::Everywhere };
    let mut none = NoBlock { order, zones: 0, free: PageCount::ZERO, refused_by: Ledger::Node };
    let mut place = 0;
    while let Some(zone) = p.topology().zones(node, reach).get(place).copied() {
        place += 1;
        if zone.kind > highest || nodemask.is_some_and(|mask| !mask.contains(zone.node)) {
            continue;
        }
        if let Some(pfn) = range_of(p, zone, request, migratetype) {
            return Ok(Block { pfn, order, zone, migratetype, purpose: Purpose::Any });
        }
        none.zones += 1;
        none.free += p.with_zone(zone, |parts| parts.zone.free()).unwrap_or_default();
        none.refused_by = Ledger::Contiguity;
    }
    Err(none.into())
}

fn range_of<P: Env>(p: &mut P, zone: ZoneRef, request: &PageRequest, migratetype: units::Migratetype) -> Option<Pfn> {
    let order = request.order;
    if any_movable(p) {
        p.drain_all(zone);
        return range_by_moving(p, zone, request);
    }
    let want = Want { order, migratetype, flags: AllocFlags::NONE };
    let free = |p: &mut P| p.with_zone(zone, |parts| parts.zone.take(want)).flatten();
    free(p).or_else(|| {
        p.drain_all(zone);
        free(p)
    })
}

/// Tries one aligned range after the other in which nothing stays where it is.
fn range_by_moving<P: Env>(p: &mut P, zone: ZoneRef, request: &PageRequest) -> Option<Pfn> {
    let pages = request.order.pages();
    // Effort is no wish that a range can have; and it is one block that goes back as one, whoever asks.
    let gfp = request.gfp.difference(GfpFlags::NORETRY) | GfpFlags::COMP;
    let spans = p.with_zone(zone, |parts| parts.zone.layout().spans.clone())?;
    for (start, end) in spans {
        let mut at = start.get().next_multiple_of(pages.get());
        while at + pages.get() <= end.get() {
            let start = Pfn::new(at);
            at += pages.get();
            if p.with_zone(zone, |parts| can_be_emptied(parts.zone, start, at)) != Some(true) {
                continue;
            }
            let wanted = ContigRequest { zone, start, pages, area: Area::Ordinary, gfp };
            if range_to_the_end(p, wanted).is_ok() {
                return Some(start);
            }
        }
    }
    None
}

/// Has everything in a range moved by its owner, and takes it. Huge pages in it are replaced, or moved where somebody uses them.
pub(crate) fn range_to_the_end<P: Env>(p: &mut P, wanted: ContigRequest) -> Result<ContigRange, ContigError> {
    let huge = huge_in(p, wanted.zone, wanted.start, wanted.start.offset(wanted.pages));
    let mut contig = Contig::new(wanted).with_huge(huge);
    let mut question = contig.begin(p);
    loop {
        match question {
            ContigQuestion::Move(block) => {
                let moved = relocate(p, &block);
                question = contig.answer(p, moved);
            }
            ContigQuestion::Leave(found) => {
                let left = p.vacate(found.pfn, MoveReason::Range);
                question = contig.answer(p, left);
            }
            ContigQuestion::Done(range) => return Ok(range),
            ContigQuestion::Failed(error) => return Err(error),
        }
    }
}

/// The huge pages of a range and what was one and is not free yet, those that nobody uses before the others: what is moved must not be moved into the range.
pub fn huge_in<P: Env>(p: &mut P, zone: ZoneRef, start: Pfn, end: Pfn) -> Vec<Found> {
    let used = p.with_zone(zone, |parts| parts.zone.in_use(start, end)).unwrap_or_default();
    let large = |folio: &&Folio| matches!(folio.kind, FolioKind::Huge(_) | FolioKind::Leaving(_));
    let mut pages: Vec<(bool, Found)> = used
        .into_iter()
        .filter_map(|found| {
            let refs = p.with_memmap(found.pfn, |map| map.get(found.pfn).filter(large).map(Folio::refs))?;
            Some((refs > 0, found))
        })
        .collect();
    pages.sort_by_key(|&(used, found)| (used, found.pfn));
    pages.into_iter().map(|(_, found)| found).collect()
}

/// Takes exactly these frames as one block, for somebody who holds it under a name from now on. What is in them is moved away.
///
/// # Errors
/// Something stays, there is nowhere to move it to, or they cannot be one block.
#[doc(alias = "alloc_contig_range")]
pub fn take_frames<P: Env>(p: &mut P, pfn: Pfn, order: Order, gfp: GfpFlags) -> Result<units::BlockId, ContigError> {
    let zone = zone_of(p, pfn).ok_or(ContigError::Outside(pfn))?;
    if p.refused(Site::Frame) {
        return Err(ContigError::NoMemory(pfn));
    }
    let gfp = gfp | GfpFlags::COMP;
    let wanted = ContigRequest { zone, start: pfn, pages: order.pages(), area: Area::Ordinary, gfp };
    range_to_the_end(p, wanted)?;
    p.with_memmap(pfn, |map| {
        map.claim(pfn, order, FolioKind::Page);
        map.get_refs(pfn, 1);
    });
    Ok(p.with_blocks(|blocks| blocks.take(HeldBlock { pfn, order, zone, mobility: Mobility::Fixed, pins: 0 })))
}

/// Is everything there free, or can be moved? Far fewer ranges are isolated in vain so.
#[doc(alias = "pfn_range_valid_contig")]
fn can_be_emptied(zone: &Zone, start: Pfn, past: u64) -> bool {
    let mut at = start;
    while at.get() < past {
        match zone.find(at) {
            Some(Found { pfn, order, held: Held::Free | Held::Movable }) => at = pfn.offset(order.pages()),
            _ => return false,
        }
    }
    true
}

/// Gives a block back of which there is no folio any more.
///
/// # Errors
/// It is not what was handed out, and nothing was done.
#[doc(alias("free_frozen_pages", "__free_pages", "free_contig_range"))]
#[inline]
pub fn free<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<(), BadFree> {
    fast_path::free(p, zone, pfn, order)
}

/// The zone that a frame is of.
#[doc(alias = "page_zone")]
pub fn zone_of<P: Zones>(p: &mut P, pfn: Pfn) -> Option<ZoneRef> {
    let nodes = p.topology().states().possible;
    let mut zones = nodes.iter().flat_map(|node| ZoneKind::ALL.map(|kind| ZoneRef { node, kind }));
    let has = |parts: crate::ZoneParts<'_>| parts.zone.layout().spans.iter().any(|&(a, b)| a <= pfn && pfn < b);
    zones.find(|&zone| p.with_zone(zone, has) == Some(true))
}

/// Makes blocks of `to` of a block that was handed out, each of which goes back by itself.
///
/// # Errors
/// It is not what was handed out, and nothing was done.
#[doc(alias = "split_page")]
pub fn split<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, from: Order, to: Order) -> Result<(), BadFree> {
    let split = p.with_zone(zone, |parts| parts.zone.split_used(pfn, from, to));
    split.unwrap_or(Err(BadFree::Outside { pfn, order: from }))
}

/// Takes a block for somebody who holds it under a name from now on. One that is asked for as movable can be moved.
///
/// # Errors
/// As [`alloc()`].
pub fn take_block<P: Env>(p: &mut P, request: &PageRequest, placement: &Placement) -> Result<units::BlockId, NoPages> {
    let Block { pfn, order, zone, migratetype, .. } = alloc_placed(p, request, placement)?;
    let movable = migratetype == units::Migratetype::Movable;
    let mobility = if movable { Mobility::Movable } else { Mobility::Fixed };
    if movable {
        let _ = p.with_zone(zone, |parts| parts.zone.mark_movable(pfn, order));
    }
    p.with_memmap(pfn, |map| {
        map.claim(pfn, order, FolioKind::Page);
        map.get_refs(pfn, 1);
    });
    Ok(p.with_blocks(|blocks| blocks.take(HeldBlock { pfn, order, zone, mobility, pins: 0 })))
}

/// Gives a block back that was held under a name.
///
/// # Errors
/// There is no such block, or it is pinned.
pub fn put_block<P: Env>(p: &mut P, block: units::BlockId) -> Result<(), BlockError> {
    let HeldBlock { pfn, order, zone, .. } = p.with_blocks(|blocks| blocks.put(block))?;
    p.with_memmap(pfn, |map| {
        let _ = map.put_refs(pfn, 1);
        map.release(pfn);
    });
    let freed = free(p, zone, pfn, order);
    debug_assert_eq!(freed, Ok(()), "a block that is held is what was handed out");
    Ok(())
}
