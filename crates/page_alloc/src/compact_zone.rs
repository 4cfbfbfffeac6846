//! Compaction of one zone.
//!
//! One scanner goes up and collects blocks that can move, one goes down and finds free pages for them. Where they meet, all of the zone
//! was looked at.

use alloc::vec::Vec;

use policy::ZoneRef;
use units::{Migratetype, Order, PageCount, Pfn, ZoneKind};
use zone::{AllocFlags, Found, Grouping, Held, Level, MarkCheck, Zone, extfrag};

use crate::allocation::can_compact;
use crate::contig::{CLUSTER, Move, Moved, put};
use crate::deferral::CompactState;
use crate::fast_path::{Block, Purpose};
use crate::gfp::COSTLY;
use crate::kswapd::Sleep;
use crate::page_owner::MoveReason;
use crate::slow_path::Compacted;
use crate::zones::{ZoneParts, Zones};

/// How often blocks whose owners are busy are tried again.
const PASSES: u32 = 10;
/// Above it a lack of blocks is for fragmentation, not for want of memory.
#[doc(alias = "sysctl_extfrag_threshold")]
const EXTFRAG_THRESHOLD: i32 = 500;

/// How compaction of zones ended; of several ends the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompactEnd {
    /// There is too little to move pages to, or memory is short rather than fragmented.
    Skipped,
    /// It was put off.
    Deferred,
    /// All of the zone was looked at.
    Complete,
    /// The scanners met, after a part of it.
    PartialSkipped,
    /// It was given up: for a signal, or because there is nothing to move pages to any more.
    Contended,
    /// There is a block.
    Success,
}

impl From<CompactEnd> for Compacted {
    fn from(end: CompactEnd) -> Self {
        match end {
            CompactEnd::Skipped => Self::Skipped,
            CompactEnd::Deferred => Self::Deferred,
            CompactEnd::Success => Self::Success,
            CompactEnd::Complete | CompactEnd::PartialSkipped | CompactEnd::Contended => Self::Failure,
        }
    }
}

/// Does compaction wait for others?
#[doc(alias = "migrate_mode")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For nobody: a pageblock with a page that does not move is left at once.
    #[doc(alias = "MIGRATE_ASYNC")]
    No,
    /// It does.
    #[doc(alias("MIGRATE_SYNC_LIGHT", "MIGRATE_SYNC"))]
    Yes,
}

/// How much of a zone is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// From where the last one stopped, without pageblocks that had nothing.
    Rest,
    /// Everything, and free pages of every type will do.
    Whole,
}

/// For whom a zone is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneGoal {
    /// The zone.
    pub zone: ZoneRef,
    /// The order that is wanted; nothing where all that can be gained is.
    pub order: Option<Order>,
    /// What the block will be.
    pub migratetype: Migratetype,
    /// The highest zone that the request could use.
    pub highest: ZoneKind,
    /// What its attempts may do.
    pub flags: AllocFlags,
    /// Does it wait for others?
    pub waiting: Waiting,
    /// How much is looked at.
    pub extent: Extent,
    /// Does a request wait for it, to which a block may go right away?
    pub direct: Direct,
    /// Below this score it is enough; and it ends while background reclaim works.
    pub until: Option<u64>,
}

/// On whose behalf compaction works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// A request's.
    Yes,
    /// Nobody's in particular.
    No,
}

/// What compaction of a zone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneStep {
    Move(Move),
    End(CompactEnd),
}

/// One zone, from move to move.
#[derive(Clone, Debug)]
pub(crate) struct CompactZone {
    goal: ZoneGoal,
    /// Where pages to move are looked for, and from where on that was.
    at: Pfn,
    from_start: bool,
    /// The pageblock where free pages are looked for.
    free: Pfn,
    batch: Vec<Found>,
    left: Vec<Found>,
    passes: u32,
    moving: Option<Move>,
    pub(crate) captured: Option<Block>,
}

impl CompactZone {
    /// Looks whether it is worth while, and begins. Says at once how it ended if it is not.
    pub(crate) fn begin<P: Zones>(p: &mut P, goal: ZoneGoal) -> Result<Self, CompactEnd> {
        let pageblock = p.rules().pageblock;
        let started = p.with_zone(goal.zone, |parts| {
            if let Some(order) = goal.order {
                suitable(&parts, &goal, order)?;
                if parts.compact.begins_anew(order) {
                    parts.compact.forget();
                }
            }
            let (first, last) = ends(parts.zone, pageblock).ok_or(CompactEnd::Skipped)?;
            let CompactState { next, free, .. } = parts.compact;
            let whole = goal.extent == Extent::Whole;
            let cached = next[goal.waiting as usize].filter(|pfn| !whole && (first..last).contains(pfn));
            let free = free.filter(|pfn| !whole && (first..=last).contains(pfn)).unwrap_or(last);
            Ok(Self {
                goal,
                at: cached.unwrap_or(first),
                from_start: cached.is_none_or(|pfn| pfn == first),
                free,
                batch: Vec::new(),
                left: Vec::new(),
                passes: 0,
                moving: None,
                captured: None,
            })
        });
        started.unwrap_or(Err(CompactEnd::Skipped))
    }

    /// Goes on until there is a block to move, or the end.
    pub(crate) fn go_on<P: Zones>(&mut self, p: &mut P) -> ZoneStep {
        loop {
            if self.captured.is_some() {
                return self.end(p, CompactEnd::Success);
            }
            if let Some(&found) = self.batch.last() {
                let Some(to) = self.target(p, found) else {
                    let met = self.free <= self.at;
                    return self.end(p, if met { self.all() } else { CompactEnd::Contended });
                };
                let moving = Move { from: found.pfn, to, order: found.order, zone: self.goal.zone };
                self.moving = Some(moving);
                return ZoneStep::Move(moving);
            }
            if !self.left.is_empty() && self.passes < PASSES && self.goal.waiting == Waiting::Yes {
                self.passes += 1;
                self.left.reverse();
                core::mem::swap(&mut self.batch, &mut self.left);
                continue;
            }
            self.give_up_left(p);
            if let Some(end) = self.finished(p) {
                return self.end(p, end);
            }
            self.collect(p);
        }
    }

    /// What came of the last move.
    pub(crate) fn answer<P: Zones>(&mut self, p: &mut P, moved: Moved) -> ZoneStep {
        let (Some(Move { from, to, order, zone }), Some(found)) = (self.moving.take(), self.batch.pop()) else {
            return self.go_on(p);
        };
        if moved == Moved::Moved {
            if let Some(watch) = p.watch() {
                watch.moved(from, to, order, MoveReason::Compaction);
            }
            put(p, zone, from, order);
            let _ = p.with_zone(zone, |parts| {
                parts.zone.mark_movable(to, order);
                self.captured = capture(parts.zone, &self.goal, from);
            });
        } else {
            put(p, zone, to, order);
            self.left.push(found);
        }
        if moved == Moved::Interrupted {
            return self.end(p, CompactEnd::Contended);
        }
        self.go_on(p)
    }

    /// Blocks that did not move make their pageblock one to be skipped; without waiting the rest of it is left, too.
    fn give_up_left<P: Zones>(&mut self, p: &mut P) {
        let Some(found) = self.left.last().copied() else { return };
        self.left.clear();
        self.passes = 0;
        let block = block_of(found.pfn, p.rules().pageblock);
        let _ = p.with_zone(self.goal.zone, |parts| parts.compact.skipped.insert(block));
        if self.goal.waiting == Waiting::No {
            self.at = self.at.max(block.offset(p.rules().pageblock.pages()));
        }
    }

    const fn all(&self) -> CompactEnd {
        if self.from_start { CompactEnd::Complete } else { CompactEnd::PartialSkipped }
    }

    fn end<P: Zones>(&mut self, p: &mut P, end: CompactEnd) -> ZoneStep {
        let met = self.free <= self.at;
        let _ = p.with_zone(self.goal.zone, |parts| {
            let state = parts.compact;
            if met {
                (state.next, state.free) = ([None; 2], None);
                if self.goal.direct == Direct::Yes {
                    state.skipped.clear();
                }
            } else {
                state.next[self.goal.waiting as usize] = Some(self.at);
                state.free = Some(self.free);
            }
        });
        ZoneStep::End(end)
    }

    /// At the start of each pageblock: is it enough?
    #[doc(alias = "compact_finished")]
    fn finished<P: Zones>(&mut self, p: &mut P) -> Option<CompactEnd> {
        if self.free <= self.at {
            return Some(self.all());
        }
        if let Some(low) = self.goal.until {
            let awake = p.with_node(self.goal.zone.node, |state| state.kswapd.sleep == Sleep::Awake);
            let good = p.with_zone(self.goal.zone, |parts| score(parts.zone) <= low) == Some(true);
            return if awake { Some(CompactEnd::PartialSkipped) } else { good.then_some(CompactEnd::Success) };
        }
        if block_of(self.at, p.rules().pageblock) != self.at {
            return None;
        }
        let order = self.goal.order?;
        let found = p.with_zone(self.goal.zone, |parts| has_block(parts.zone, order, self.goal.migratetype));
        (found == Some(true)).then_some(CompactEnd::Success)
    }

    /// Collects blocks that can move, from the next pageblock that may have some.
    #[doc(alias = "isolate_migratepages")]
    fn collect<P: Zones>(&mut self, p: &mut P) {
        let pageblock = p.rules().pageblock;
        let goal = self.goal;
        let (mut at, mut batch) = (self.at, Vec::new());
        let free = self.free;
        let _ = p.with_zone(goal.zone, |parts| {
            let block = block_of(at, pageblock);
            let past = block.offset(pageblock.pages());
            let skip = goal.extent == Extent::Rest && parts.compact.skipped.contains(&block);
            if skip || block >= free || !is_source(parts.zone.migratetype(block), &goal) {
                at = past;
                return;
            }
            let whole = at == block;
            at = collect_block(parts.zone, &goal, (at, past), &mut batch);
            if whole && at >= past && batch.is_empty() {
                parts.compact.skipped.insert(block);
            }
        });
        batch.reverse();
        (self.at, self.batch) = (at, batch);
    }

    /// A free block to move something to, from the pageblock of the lower scanner down.
    #[doc(alias = "isolate_freepages")]
    fn target<P: Zones>(&mut self, p: &mut P, found: Found) -> Option<Pfn> {
        let pageblock = p.rules().pageblock;
        let lowest = block_of(found.pfn, pageblock);
        loop {
            let block = self.free;
            if block <= lowest {
                return None;
            }
            let goal = self.goal;
            let taken = p.with_zone(goal.zone, |parts| {
                if !may_take(parts.zone, found.order) {
                    return Err(());
                }
                Ok(take_in(parts.zone, &goal, block, pageblock, found.order))
            });
            match taken {
                Some(Ok(Some(pfn))) => return Some(pfn),
                Some(Ok(None)) => self.free = Pfn::new(block.get().checked_sub(pageblock.pages().get())?),
                Some(Err(())) | None => return None,
            }
        }
    }
}

fn block_of(pfn: Pfn, pageblock: Order) -> Pfn {
    Pfn::new(pfn.get() >> pageblock.get() << pageblock.get())
}

/// The first pageblock of a zone, and the last one.
fn ends(zone: &Zone, pageblock: Order) -> Option<(Pfn, Pfn)> {
    let (first, last) = (zone.layout().spans.first()?.0, zone.layout().spans.last()?.1);
    Some((block_of(first, pageblock), block_of(Pfn::new(last.get() - 1), pageblock)))
}

/// Is it worth while? With a block at hand it is not needed, with too little memory it cannot help.
#[doc(alias("compaction_suit_allocation_order", "compaction_suitable"))]
fn suitable(parts: &ZoneParts<'_>, goal: &ZoneGoal, order: Order) -> Result<(), CompactEnd> {
    let check = MarkCheck { order, level: Level::Min, highest: goal.highest, flags: goal.flags };
    if parts.zone.is_above(check) {
        return Err(CompactEnd::Success);
    }
    if !can_compact(parts.zone, order, goal.highest, parts.zone.free()) {
        return Err(CompactEnd::Skipped);
    }
    let index = extfrag::fragmentation_index(parts.zone.free_blocks(), order).0;
    if order > COSTLY && (0..=EXTFRAG_THRESHOLD).contains(&index) { Err(CompactEnd::Skipped) } else { Ok(()) }
}

/// Without waiting, only pageblocks of the request's own kind are worth while: what becomes free elsewhere is not for it.
#[doc(alias = "suitable_migration_source")]
fn is_source(block: Migratetype, goal: &ZoneGoal) -> bool {
    let picky = goal.waiting == Waiting::No && goal.direct == Direct::Yes;
    let own = block == goal.migratetype || goal.migratetype == Migratetype::Movable && block == Migratetype::Cma;
    block != Migratetype::Isolate && (!picky || own)
}

/// Blocks of a pageblock that can move, about a cluster of them; where to go on. Without waiting, an aligned part of the order that is
/// wanted with a page that stays is of no use.
fn collect_block(zone: &Zone, goal: &ZoneGoal, range: (Pfn, Pfn), batch: &mut Vec<Found>) -> Pfn {
    let (mut at, mut pages) = (range.0, 0);
    while at < range.1 && pages < CLUSTER {
        let Some(found) = zone.find(at) else { break };
        at = found.pfn.offset(found.order.pages());
        match found.held {
            Held::Movable if found.pfn >= range.0 => {
                pages += found.order.pages().get();
                batch.push(found);
            }
            Held::Used | Held::Reserved if goal.waiting == Waiting::No && goal.direct == Direct::Yes => {
                if let Some(order) = goal.order {
                    let part = block_of(found.pfn, order);
                    batch.retain(|other| other.pfn < part);
                    pages = batch.iter().map(|other| other.order.pages().get()).sum();
                    at = at.max(part.offset(order.pages()).min(range.1));
                }
            }
            _ => (),
        }
    }
    if zone.find(at).is_none() { range.1 } else { at }
}

/// May a free block be taken to move something to? The raw minimum must stay.
#[doc(alias = "__isolate_free_page")]
pub(crate) fn may_take(zone: &Zone, order: Order) -> bool {
    let mark = zone.marks().min.saturating_add(order.pages());
    let check =
        MarkCheck { order: Order::ZERO, level: Level::Min, highest: zone.layout().kind, flags: AllocFlags::CMA };
    zone.is_above_with(check, mark, zone.free())
}

/// Takes the first free block of a pageblock that is large enough.
#[doc(alias = "suitable_migration_target")]
fn take_in(zone: &mut Zone, goal: &ZoneGoal, block: Pfn, pageblock: Order, order: Order) -> Option<Pfn> {
    let kind = zone.migratetype(block);
    let fits = matches!(kind, Migratetype::Movable | Migratetype::Cma) || goal.extent == Extent::Whole;
    if !fits || kind == Migratetype::Isolate {
        return None;
    }
    let large = |found: &Found| found.held == Held::Free && goal.order.is_some_and(|order| found.order >= order);
    if zone.find(block).is_some_and(|found| large(&found)) {
        return None;
    }
    let (mut at, past) = (block, block.offset(pageblock.pages()));
    while at < past {
        let Some(found) = zone.find(at) else {
            at = at.offset(PageCount::new(1));
            continue;
        };
        if found.held == Held::Free && found.order >= order {
            return zone.pick(found.pfn.max(block), order);
        }
        at = found.pfn.offset(found.order.pages());
    }
    None
}

/// Is there a block for the request: of its own type, lent, or one that it could claim?
fn has_block(zone: &Zone, order: Order, migratetype: Migratetype) -> bool {
    let largest = usize::from(order.get());
    let has = |of: Migratetype, least: usize| zone.free_blocks_of(of).skip(least).any(|blocks| blocks > 0);
    let own = has(migratetype, largest) || migratetype == Migratetype::Movable && has(Migratetype::Cma, largest);
    let claims = migratetype != Migratetype::Movable || zone.grouping() == Grouping::Off;
    let least = if claims { largest } else { largest.max(usize::from(zone.layout().pageblock.get() / 2)) };
    own || Migratetype::OF_REQUESTS.into_iter().any(|of| of != migratetype && has(of, least))
}

/// A block that became free right now and is what the request waits for goes to it at once. Not of lent or isolated memory, and no small
/// movable one to a request that would not move: it would stay among those that do.
#[doc(alias = "compaction_capture")]
fn capture(zone: &mut Zone, goal: &ZoneGoal, freed: Pfn) -> Option<Block> {
    let order = goal.order.filter(|_| goal.direct == Direct::Yes)?;
    let kind = zone.migratetype(freed);
    if matches!(kind, Migratetype::Cma | Migratetype::Isolate) || order >= zone.largest() {
        return None;
    }
    let small = order < zone.layout().pageblock;
    if small && kind == Migratetype::Movable && goal.migratetype != Migratetype::Movable {
        return None;
    }
    let pfn = zone.pick(freed, order)?;
    Some(Block { pfn, order, zone: goal.zone, migratetype: goal.migratetype, purpose: Purpose::Any })
}

/// The share of a zone's free memory, in hundredths, that is of no use to a request for a whole pageblock.
#[doc(alias("fragmentation_score_zone", "extfrag_for_order"))]
pub(crate) fn score(zone: &Zone) -> u64 {
    let whole = usize::from(zone.layout().pageblock.get());
    let (mut pages, mut usable) = (0, 0);
    for (of, blocks) in zone.free_blocks().enumerate() {
        pages += blocks << of;
        if of >= whole {
            usable += blocks << of;
        }
    }
    (pages - usable).saturating_mul(100).checked_div(pages).unwrap_or(0)
}
