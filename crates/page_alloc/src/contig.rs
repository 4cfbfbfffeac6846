//! A range of frames, wherever it lies: everything in it is moved away first.

use alloc::vec::Vec;

use policy::{NodeCap, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Order, PageCount, Pfn, ZoneKind};
use zone::{AllocFlags, BadFree, Found, Held, Level, Zone};

use crate::allocator::PageAllocator;
use crate::context::{Attempt, Context, Nodes, PageRequest};
use crate::fast_path::{self, Spread, Walk};
use crate::page_owner::MoveReason;
use crate::zones::{ZoneParts, Zones};

/// Pages that are taken out of use at a time.
#[doc(alias = "COMPACT_CLUSTER_MAX")]
pub(crate) const CLUSTER: u64 = 32;
/// How often the same pages are tried.
const TRIES: u32 = 5;

/// Which frames are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContigRequest {
    /// Their zone.
    pub zone: ZoneRef,
    /// The first frame.
    pub start: Pfn,
    /// How many.
    pub pages: PageCount,
    /// For whom: only a request for lent memory may take it.
    pub area: Area,
    /// What the caller wishes and permits.
    pub gfp: GfpFlags,
}

/// Whose memory is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Any that is not lent.
    Ordinary,
    /// An area that is lent until it is needed.
    Lent,
}

/// The frames, as single pages, or as one folio if that was wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContigRange {
    /// Their zone.
    pub zone: ZoneRef,
    /// The first frame.
    pub pfn: Pfn,
    /// How many.
    pub pages: PageCount,
    /// The order of the folio that they are.
    pub folio: Option<Order>,
}

/// No such range could be had. Nothing is isolated, and every pageblock has the type it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContigError {
    /// Wishes that a range cannot have.
    #[error("a range of frames cannot be had with {0}")]
    BadWishes(GfpFlags),
    /// No frames, or some that the zone does not have.
    #[error("{0} is not a frame of the zone")]
    Outside(Pfn),
    /// The node's driver does not let anything be moved away from it.
    #[error("the driver of {0} lets nothing be moved away")]
    NotPermitted(NodeId),
    /// A folio has a power of two of pages, and starts at a multiple.
    #[error("{pages} pages at {start} cannot be one folio")]
    NoFolio {
        /// The first frame.
        start: Pfn,
        /// How many.
        pages: PageCount,
    },
    /// Something is there that does not leave, or did not in time.
    #[error("the page at {0} is in use")]
    Busy(Pfn),
    /// There is nowhere to move a page to.
    #[error("there is no block to move the page at {0} to")]
    NoMemory(Pfn),
    /// A signal came.
    #[error("the request was interrupted")]
    Interrupted,
}

/// What a request for a range waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContigQuestion {
    /// Move a block to another one: did it work?
    Move(Move),
    /// A huge page is there: has its pool put another one in its place, or was it moved?
    Leave(Found),
    /// The range, and the end.
    Done(ContigRange),
    /// Nothing, and the end.
    Failed(ContigError),
}

/// A block that is to be moved by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The first frame of the block.
    pub from: Pfn,
    /// The first frame of the block to move it to.
    pub to: Pfn,
    /// The order of both.
    pub order: Order,
    /// Where the new block is.
    pub zone: ZoneRef,
}

/// What the owner did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// He refers to the new block, and nobody to the old one.
    Moved,
    /// Not now: somebody else holds it, or it is being written.
    Busy,
    /// There was nothing to move it to.
    NoMemory,
    /// A signal came.
    Interrupted,
}

/// A request for a range, from move to move.
#[derive(Clone, Debug)]
pub struct Contig {
    request: ContigRequest,
    /// Pageblocks that are isolated, first frame and first frame behind.
    isolated: (Pfn, Pfn),
    /// Where pages are looked for next.
    at: Pfn,
    batch: Vec<Found>,
    /// Those of the batch that did not leave.
    left: Vec<Found>,
    tries: u32,
    moving: Option<Move>,
    /// Huge pages in the range, which leave by themselves: by frame.
    huge: Vec<Pfn>,
    /// Those of them that were not asked yet, the first one last.
    to_leave: Vec<Found>,
    leaving: Option<Found>,
    ended: Option<ContigQuestion>,
    /// Why blocks move.
    reason: MoveReason,
}

impl Contig {
    /// A request that has done nothing yet.
    #[must_use]
    pub const fn new(request: ContigRequest) -> Self {
        let ContigRequest { start, .. } = request;
        Self {
            request,
            isolated: (start, start),
            at: start,
            batch: Vec::new(),
            left: Vec::new(),
            tries: 0,
            moving: None,
            huge: Vec::new(),
            to_leave: Vec::new(),
            leaving: None,
            ended: None,
            reason: MoveReason::Range,
        }
    }

    /// The same over a range with huge pages in it: each is asked to leave, in this order, before anything else is moved.
    #[must_use]
    pub fn with_huge(self, pages: Vec<Found>) -> Self {
        let mut huge: Vec<Pfn> = pages.iter().map(|found| found.pfn).collect();
        huge.sort_unstable();
        Self { huge, to_leave: pages.into_iter().rev().collect(), ..self }
    }

    /// A request for memory that is to go.
    pub(crate) fn to_take_out(request: ContigRequest) -> Self {
        Self { reason: MoveReason::Hotplug, ..Self::new(request) }
    }

    /// Isolates the range and goes on to the first question.
    #[doc(alias("alloc_contig_range", "start_isolate_page_range"))]
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P) -> ContigQuestion {
        let node = self.request.zone.node;
        if !p.topology().permits(node, NodeCap::HotUnplug) {
            return self.end(ContigQuestion::Failed(ContigError::NotPermitted(node)));
        }
        if let Err(error) = self.check().and_then(|()| self.isolate(p)) {
            return self.end(ContigQuestion::Failed(error));
        }
        p.drain_all(self.request.zone);
        self.go_on(p)
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, moved: Moved) -> ContigQuestion {
        if let Some(end) = self.ended {
            return end;
        }
        if let Some(found) = self.leaving.take() {
            // One that stays is found in the end.
            return match moved {
                Moved::Interrupted => self.fail(p, ContigError::Interrupted),
                Moved::NoMemory => self.fail(p, ContigError::NoMemory(found.pfn)),
                Moved::Moved | Moved::Busy => self.go_on(p),
            };
        }
        let (Some(Move { from, to, order, zone }), Some(found)) = (self.moving.take(), self.batch.pop()) else {
            return self.go_on(p);
        };
        if moved == Moved::Moved {
            if let Some(watch) = p.watch() {
                watch.moved(from, to, order, self.reason);
            }
            put(p, self.request.zone, from, order);
            let _ = p.with_zone(zone, |parts| parts.zone.mark_movable(to, order));
        } else {
            put(p, zone, to, order);
            self.left.push(found);
        }
        if moved == Moved::Interrupted {
            return self.fail(p, ContigError::Interrupted);
        }
        self.go_on(p)
    }

    fn end(&mut self, end: ContigQuestion) -> ContigQuestion {
        self.ended = Some(end);
        end
    }

    fn fail<P: Zones>(&mut self, p: &mut P, error: ContigError) -> ContigQuestion {
        self.unisolate(p);
        self.end(ContigQuestion::Failed(error))
    }

    fn past(&self) -> Pfn {
        self.request.start.offset(self.request.pages)
    }

    /// Wishes that say where are left out: the caller said it already.
    fn check(&self) -> Result<(), ContigError> {
        let ContigRequest { gfp, start, pages, .. } = self.request;
        let taken = GfpFlags::IO | GfpFlags::FS | GfpFlags::RECLAIM | GfpFlags::COMP | GfpFlags::RETRY_MAYFAIL;
        let more = GfpFlags::NOWARN | GfpFlags::ZERO | GfpFlags::ZEROTAGS;
        let places = GfpFlags::DMA | GfpFlags::HIGHMEM | GfpFlags::DMA32 | GfpFlags::MOVABLE;
        let ignored = GfpFlags::RECLAIMABLE | GfpFlags::WRITE | GfpFlags::HARDWALL | GfpFlags::THISNODE;
        let bad = gfp.difference(taken | more | places | ignored);
        if !bad.is_empty() {
            return Err(ContigError::BadWishes(bad));
        }
        if pages.is_zero() {
            return Err(ContigError::Outside(start));
        }
        let whole = pages.get().is_power_of_two() && start.get().is_multiple_of(pages.get());
        if gfp.contains(GfpFlags::COMP) && !whole {
            return Err(ContigError::NoFolio { start, pages });
        }
        Ok(())
    }

    /// The first pageblock, then the last one, then those between: where one refuses, those before are let go.
    fn isolate<P: Zones>(&mut self, p: &mut P) -> Result<(), ContigError> {
        let (zone, size) = (self.request.zone, p.rules().pageblock.pages().get());
        let down = |pfn: Pfn| Pfn::new(pfn.get() / size * size);
        let (first, last) = (down(self.request.start), down(Pfn::new(self.past().get().max(1) - 1)));
        let blocks = || (first.get()..=last.get()).step_by(usize::try_from(size).unwrap_or(usize::MAX)).map(Pfn::new);
        let order = [first, last].into_iter().chain(blocks().filter(|&pfn| pfn != first && pfn != last));
        let mut done: Vec<Pfn> = Vec::new();
        for block in order {
            if done.contains(&block) {
                continue;
            }
            let range = (block.max(self.request.start), Pfn::new(block.get() + size).min(self.past()));
            let isolated = p.with_zone(zone, |parts| isolate_block(parts.zone, block, range, self));
            if let Err(error) = isolated.unwrap_or(Err(ContigError::Outside(block))) {
                let undo = |parts: ZoneParts<'_>| done.iter().for_each(|&pfn| parts.zone.unisolate(pfn));
                let _ = p.with_zone(zone, undo);
                return Err(error);
            }
            done.push(block);
        }
        self.isolated = (first, Pfn::new(last.get() + size));
        let straddles = p.with_zone(zone, |parts| {
            [self.isolated.0, self.isolated.1].into_iter().find_map(|edge| straddling(parts.zone, edge, &self.huge))
        });
        match straddles.flatten() {
            Some(pfn) => {
                self.unisolate(p);
                Err(ContigError::Busy(pfn))
            }
            None => Ok(()),
        }
    }

    #[doc(alias = "undo_isolate_page_range")]
    fn unisolate<P: Zones>(&mut self, p: &mut P) {
        let size = p.rules().pageblock.pages().get();
        let (first, past) = (self.isolated.0.get(), self.isolated.1.get());
        let _ = p.with_zone(self.request.zone, |parts| {
            for block in (first..past).step_by(usize::try_from(size).unwrap_or(usize::MAX)) {
                parts.zone.unisolate(Pfn::new(block));
            }
        });
        self.isolated = (self.request.start, self.request.start);
    }

    /// The next block to move; or the end, if nothing is left that could be moved.
    fn go_on<P: Zones>(&mut self, p: &mut P) -> ContigQuestion {
        if let Some(found) = self.to_leave.pop() {
            self.leaving = Some(found);
            return ContigQuestion::Leave(found);
        }
        loop {
            if let Some(&found) = self.batch.last() {
                let Some((to, zone)) = target(p, self.request, found.order) else {
                    return self.fail(p, ContigError::NoMemory(found.pfn));
                };
                let moving = Move { from: found.pfn, to, order: found.order, zone };
                self.moving = Some(moving);
                return ContigQuestion::Move(moving);
            }
            if self.left.is_empty() {
                self.tries = 0;
                if !self.next_batch(p) {
                    return self.take(p);
                }
            } else {
                self.tries += 1;
                if self.tries == TRIES {
                    // They may have been freed since: what is there in the end decides.
                    return self.take(p);
                }
                self.left.reverse();
                core::mem::swap(&mut self.batch, &mut self.left);
            }
        }
    }

    /// Collects blocks that their owners can move; whether there were any.
    #[doc(alias = "isolate_migratepages_range")]
    fn next_batch<P: Zones>(&mut self, p: &mut P) -> bool {
        let past = self.past();
        let (mut at, mut pages) = (self.at, 0);
        let mut batch = Vec::new();
        let _ = p.with_zone(self.request.zone, |parts| {
            while at < past && pages < CLUSTER {
                let Some(found) = parts.zone.find(at) else { break };
                at = found.pfn.offset(found.order.pages());
                if found.held == Held::Movable {
                    pages += found.order.pages().get();
                    batch.push(found);
                }
            }
        });
        batch.reverse();
        (self.at, self.batch) = (at, batch);
        !self.batch.is_empty()
    }

    /// Everything is free now, or it is not.
    fn take<P: Zones>(&mut self, p: &mut P) -> ContigQuestion {
        let ContigRequest { zone, start, pages, gfp, .. } = self.request;
        let past = self.past();
        let folio = gfp.contains(GfpFlags::COMP).then(|| order_of(pages));
        let taken = p.with_zone(zone, |parts| {
            first_busy(parts.zone, start, past).map_or(Ok(()), Err)?;
            take_free(parts.zone, start, past, folio);
            Ok(())
        });
        match taken.unwrap_or(Err(start)) {
            Ok(()) => {
                self.unisolate(p);
                if let Some(watch) = p.watch().filter(|_| self.reason == MoveReason::Range) {
                    let blocks = if folio.is_some() { 1 } else { pages.get() };
                    let size = folio.unwrap_or(Order::ZERO);
                    (0..blocks).for_each(|n| watch.handed_out(start.offset(PageCount::new(n)), size, gfp));
                }
                self.end(ContigQuestion::Done(ContigRange { zone, pfn: start, pages, folio }))
            }
            Err(pfn) => self.fail(p, ContigError::Busy(pfn)),
        }
    }
}

fn order_of(pages: PageCount) -> Order {
    u8::try_from(pages.get().trailing_zeros()).ok().and_then(Order::try_new).unwrap_or(Order::MAX)
}

/// Isolates one pageblock, if all of the range in it can leave.
#[doc(alias("has_unmovable_pages", "set_migratetype_isolate"))]
fn isolate_block(zone: &mut Zone, block: Pfn, range: (Pfn, Pfn), contig: &Contig) -> Result<(), ContigError> {
    let lent = zone.migratetype(block) == Migratetype::Cma;
    if lent && contig.request.area == Area::Ordinary {
        return Err(ContigError::Busy(block));
    }
    let mut at = range.0;
    while at < range.1 {
        let found = zone.find(at).ok_or(ContigError::Outside(at))?;
        // In a movable zone everything that somebody has is taken to be movable.
        let movable = lent || zone.layout().kind == ZoneKind::Movable || contig.huge.binary_search(&found.pfn).is_ok();
        let stays = found.held == Held::Used && !movable;
        if stays || found.held == Held::Reserved {
            return Err(ContigError::Busy(at));
        }
        at = found.pfn.offset(found.order.pages());
    }
    zone.isolate(block).map_err(|_| ContigError::Busy(block))
}

/// A block in use that lies on both sides of an edge.
fn straddling(zone: &Zone, edge: Pfn, huge: &[Pfn]) -> Option<Pfn> {
    let found = zone.find(edge)?;
    (found.pfn < edge && found.held != Held::Free && huge.binary_search(&found.pfn).is_err()).then_some(found.pfn)
}

/// The first page that is not free.
#[doc(alias = "test_pages_isolated")]
fn first_busy(zone: &Zone, start: Pfn, past: Pfn) -> Option<Pfn> {
    let mut at = start;
    while at < past {
        match zone.find(at) {
            Some(found) if found.held == Held::Free => at = found.pfn.offset(found.order.pages()),
            _ => return Some(at),
        }
    }
    None
}

/// Takes free blocks, or parts of them, as single pages or as one folio.
fn take_free(zone: &mut Zone, start: Pfn, past: Pfn, folio: Option<Order>) {
    let mut at = start;
    while at < past {
        let Some(found) = zone.find(at) else { break };
        let fits = (past.get() - at.get()).ilog2().min(at.get().trailing_zeros());
        let order = u8::try_from(fits).ok().map_or(found.order, Order::new).min(found.order);
        if zone.pick(at, order).is_none() {
            break;
        }
        if folio.is_none() {
            let split = zone.split_used(at, order, Order::ZERO);
            debug_assert_eq!(split, Ok(()), "it was just taken");
        }
        at = at.offset(order.pages());
    }
    if let Some(order) = folio {
        let joined = zone.join_used(start, order);
        debug_assert_eq!(joined, Ok(()), "all of it was just taken");
    }
}

/// A block to move something to, anywhere but in what is isolated.
#[doc(alias = "alloc_migration_target")]
pub(crate) fn target<P: Zones>(p: &mut P, request: ContigRequest, order: Order) -> Option<(Pfn, ZoneRef)> {
    let more = GfpFlags::HARDWALL | GfpFlags::HIGHMEM | GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL;
    let gfp = request.gfp.intersection(GfpFlags::IO | GfpFlags::FS | GfpFlags::RECLAIM) | more;
    let rules = *p.rules();
    let context = Context::new(&PageRequest::new(order, gfp, request.zone.node), &rules, p.topology()).ok()?;
    let preferred = context.preferred(p.topology(), None)?;
    let flags = AllocFlags::CMA;
    [Level::Low, Level::Min].into_iter().find_map(|level| {
        let attempt = Attempt { level, flags, nodes: Nodes::Asked };
        let walk = Walk { attempt, preferred, mask: None, gfp, spread: Spread::No };
        fast_path::take(p, &context, walk).map(|block| (block.pfn, block.zone))
    })
}

/// Gives a block back that the path itself took, or that its owner left.
pub(crate) fn put<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order) {
    if let Some(watch) = p.watch() {
        watch.gave(pfn, order);
    }
    let put = p.with_zone(zone, |parts| parts.zone.put(pfn, order));
    debug_assert_eq!(put, Some(Ok(())), "the block at {pfn} was handed out");
}

/// Gives a range back, each page by itself.
#[doc(alias = "free_contig_range")]
pub(crate) fn free<P: Zones>(p: &mut P, range: ContigRange) -> Result<(), BadFree> {
    let ContigRange { zone, pfn, pages, folio } = range;
    if let Some(order) = folio {
        return fast_path::free(p, zone, pfn, order);
    }
    (0..pages.get()).try_for_each(|n| fast_path::free(p, zone, pfn.offset(PageCount::new(n)), Order::ZERO))
}

impl PageAllocator {
    /// Gives a range back that was asked for frame by frame.
    ///
    /// # Errors
    /// A page of it is not what was handed out; those before it are free.
    pub fn free_contig(&mut self, range: ContigRange) -> Result<(), BadFree> {
        free(self, range)
    }
}
