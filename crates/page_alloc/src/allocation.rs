//! A request on the slow path, from question to question.

use policy::{NodeCap, ZoneRef};
use units::{Blame, GfpFlags, Ledger, Nodemask, Order, PageCount, ZoneKind};
use zone::{AllocFlags, Level, MarkCheck, Unreserve, Zone};

use crate::compaction::Compaction;
use crate::context::{Attempt, Context, Nodes, Preferred};
use crate::deferral::Served;
use crate::event::PageEvent;
use crate::fast_path::{self, Block, Spread, Walk};
use crate::flipping::{Flip, Flipping};
use crate::gfp::COSTLY;
use crate::kswapd;
use crate::rules::{Cpusets, Rules};
use crate::slow_path::{Compacted, Priority, Progress, SlowPath, Step};
use crate::unmapped::Mapping;
use crate::zones::{Cookie, Zones};

/// What came of a request at once.
#[expect(clippy::large_enum_variant, reason = "the path takes no memory of its own; what is slow may be large")]
#[derive(Clone, Debug)]
pub enum Attempted {
    /// It has its block.
    Done(Block),
    /// It found nothing above the low marks: ask it to [`Allocation::begin`].
    Slow(Allocation),
    /// It fails, because a test says so: nothing was tried.
    Failed(NoBlock),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// Reclaim pages: how many? [`Answer::Reclaimed`]
    Reclaim,
    /// Compact memory: how did it end? [`Answer::Compacted`] or [`Answer::Captured`]
    Compact(Priority),
    /// Let others run for a moment: [`Answer::Rested`].
    Rest,
    /// Is nobody else about to kill a process? [`Answer::Locked`] or [`Answer::Busy`]
    LockKiller,
    /// Kill a process for memory, and let others do so again: [`Answer::Killed`] or [`Answer::Nobody`].
    Kill,
    /// Change the kernel's mappings of the first pages of a block, which nobody uses: of how many did it succeed, from the first on?
    /// [`Answer::Flipped`]
    Flip(Flip),
    /// The block, and the end.
    Done(Block),
    /// Nothing, and the end.
    Failed(NoBlock),
}

/// What the caller did. An answer to another question says that nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many pages were reclaimed. They are free in their zones, or somebody else has them.
    Reclaimed(PageCount),
    /// Compaction ended so.
    Compacted(Compacted),
    /// Compaction caught a block, which is allocated.
    Captured(Block),
    /// Others ran.
    Rested,
    /// Nobody else kills.
    Locked,
    /// Somebody does.
    Busy,
    /// A process was killed, or is dying.
    Killed,
    /// There is none to kill.
    Nobody,
    /// The mappings of so many pages were changed, from the first on.
    Flipped(PageCount),
}

/// What a look at the zones gave.
pub(crate) enum Looked {
    Got(Block),
    Nothing,
    /// There may be a block once mappings are changed.
    Flip(Flip),
}

/// No block could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no block of {order} in the {zones} zones of the request ({free} are free there)")]
pub struct NoBlock {
    /// The order asked for.
    pub order: Order,
    /// How many zones it could have used.
    pub zones: u32,
    /// Free pages there.
    pub free: PageCount,
    /// Who refused.
    pub refused_by: Ledger,
}

impl Blame for NoBlock {
    fn ledger(&self) -> Option<Ledger> {
        Some(self.refused_by)
    }
}

/// After so many steps without a question a request lets others have the processor.
const MOST_STEPS: u32 = 250;

/// A request that found nothing at once. It looks at zones by itself, and asks its caller for everything else.
#[derive(Clone, Debug)]
pub struct Allocation {
    pub(crate) context: Context,
    path: SlowPath,
    cookie: Cookie,
    /// The nodes that it is restricted to still.
    mask: Option<Nodemask>,
    block: Option<Block>,
    pub(crate) flipping: Option<Flipping>,
    /// Was the last thing that happened compaction?
    compacted: bool,
}

impl Allocation {
    pub(crate) fn new(context: Context, rules: Rules) -> Self {
        let path = SlowPath::new(context, rules);
        Self {
            context,
            path,
            cookie: Cookie::default(),
            mask: context.nodemask,
            block: None,
            flipping: None,
            compacted: false,
        }
    }

    /// The request.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The cpuset of the task allows other nodes from now on, and its wall stands elsewhere: the one thing of a request that can change under
    /// way. It notices after [`crate::PageAllocator::note_cpuset_change`].
    #[doc(alias("mems_allowed", "cpuset_change_task_nodemask"))]
    pub const fn confine(&mut self, allowed: Nodemask, walled: Nodemask) {
        (self.context.task.allowed, self.context.task.walled) = (allowed, walled);
    }

    /// Where it stands.
    #[must_use]
    pub const fn path(&self) -> &SlowPath {
        &self.path
    }

    /// Goes on to the first question.
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P) -> Question {
        let order = self.context.order;
        if self.context.gfp.contains(GfpFlags::NOFAIL) && order > Order::new(1) {
            p.emit_page(|| PageEvent::NofailTooLarge { order });
        }
        self.go_on(p, Progress::None)
    }

    /// The order that compaction is to make free: what has no mapping comes in whole pageblocks.
    #[must_use]
    pub fn order_to_compact<P: Zones>(&self, p: &P) -> Order {
        match self.context.mapping() {
            Mapping::Mapped => self.context.order,
            Mapping::Unmapped => self.context.order.max(p.rules().pageblock),
        }
    }

    /// The compaction that the request asks for, of the zones that it may still use.
    #[must_use]
    pub fn compaction<P: Zones>(&self, p: &P, priority: Priority) -> Compaction {
        let context = Context { nodemask: self.mask, ..self.context };
        Compaction::direct(p, &context, self.order_to_compact(p), self.path.flags(), priority)
    }

    /// The zones that it may still use and that may be reclaimed for it, from near to far.
    pub fn zones_to_reclaim<P: Zones>(&self, p: &P) -> impl Iterator<Item = ZoneRef> {
        let (topology, context, mask) = (p.topology(), self.context, self.mask);
        let mut place = 0;
        let zones = core::iter::from_fn(move || {
            let next = context.next_zone(topology, mask, place)?;
            place = next.place + 1;
            Some(next.zone)
        });
        zones.filter(|zone| topology.permits(zone.node, NodeCap::Reclaim))
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, answer: Answer) -> Question {
        if let Some(flipping) = self.flipping.take() {
            let pages = if let Answer::Flipped(pages) = answer { pages } else { PageCount::ZERO };
            return match self.flipped(p, flipping, pages) {
                Looked::Flip(flip) => Question::Flip(flip),
                looked => {
                    let progress = self.note(p, looked);
                    self.go_on(p, progress)
                }
            };
        }
        let progress = match answer {
            Answer::Reclaimed(pages) => Progress::Reclaimed(pages),
            Answer::Compacted(result) => {
                self.compacted = true;
                Progress::Compacted(result)
            }
            Answer::Captured(block) => {
                self.compacted = true;
                if let Some(watch) = p.watch() {
                    watch.handed_out(block.pfn, block.order, self.context.gfp);
                }
                self.note(p, Looked::Got(block))
            }
            Answer::Locked | Answer::Killed => Progress::Yes,
            Answer::Rested | Answer::Busy | Answer::Nobody | Answer::Flipped(_) => Progress::None,
        };
        self.go_on(p, progress)
    }

    fn go_on<P: Zones>(&mut self, p: &mut P, progress: Progress) -> Question {
        let mut progress = progress;
        let mut steps = 0;
        loop {
            steps += 1;
            // Who reclaims memory itself and must not fail looks again and again, and asks nobody.
            if steps > MOST_STEPS && progress == Progress::None {
                return Question::Rest;
            }
            let yes = match self.path.step(progress) {
                Step::Reclaim => return Question::Reclaim,
                Step::Compact(priority) => return Question::Compact(priority),
                Step::Rest => return Question::Rest,
                Step::LockKiller => return Question::LockKiller,
                Step::Kill => return Question::Kill,
                Step::Done => return self.done(p),
                Step::Fail => return self.failed(p),
                Step::Begin => self.start(p),
                Step::Wake => {
                    kswapd::wake_all(p, &self.context, self.mask);
                    false
                }
                Step::Try(attempt) => {
                    progress = match self.attempt(p, attempt) {
                        Looked::Flip(flip) => return Question::Flip(flip),
                        looked => self.note(p, looked),
                    };
                    continue;
                }
                Step::Drain => {
                    self.unreserve(p, Unreserve::AllButOne);
                    drain_everything(p, &self.context);
                    false
                }
                Step::Unreserve => self.unreserve(p, Unreserve::Everything),
                Step::CouldReclaim => self.could_reclaim(p),
                Step::CouldCompact => self.could_compact(p),
                Step::Recheck => self.has_changed(p),
            };
            progress = if yes { Progress::Yes } else { Progress::None };
        }
    }

    /// Remembers what may change, and looks whether any zone could serve the request.
    fn start<P: Zones>(&mut self, p: &mut P) -> bool {
        self.cookie = p.cookie();
        let rules = *p.rules();
        let Some(mut at) = self.context.preferred(p.topology(), self.mask) else { return false };
        if rules.cpusets != Cpusets::Insane || !self.context.gfp.contains(GfpFlags::HARDWALL) {
            return true;
        }
        // A cpuset without any zone that the request could use: it would wait for memory that cannot come.
        loop {
            if self.context.task.allowed.contains(at.zone.node) {
                return true;
            }
            let Some(next) = self.context.next_zone(p.topology(), self.mask, at.place + 1) else { return false };
            at = next;
        }
    }

    /// Has the task's cpuset or the list of zones changed? A mask that the cpuset rules out altogether is given up.
    #[doc(alias("check_retry_cpuset", "check_retry_zonelist"))]
    fn has_changed<P: Zones>(&mut self, p: &mut P) -> bool {
        let task = &self.context.task;
        let cpusets = p.rules().cpusets != Cpusets::Off && task.site.is_task();
        if cpusets && self.mask.is_some_and(|mask| mask.intersection(task.allowed).is_empty()) {
            self.mask = None;
            return true;
        }
        p.cookie() != self.cookie
    }

    fn note<P: Zones>(&mut self, p: &mut P, looked: Looked) -> Progress {
        let compacted = core::mem::take(&mut self.compacted);
        if let (true, Looked::Got(block)) = (compacted, &looked) {
            let _ = p.with_zone(block.zone, |parts| parts.compact.reset(block.order, Served::Yes));
        }
        self.block = if let Looked::Got(block) = looked { Some(block) } else { None };
        if self.block.is_some() { Progress::Taken } else { Progress::None }
    }

    pub(crate) fn attempt<P: Zones>(&mut self, p: &mut P, attempt: Attempt) -> Looked {
        if attempt.nodes == Nodes::All {
            self.mask = None;
        }
        let context = self.context;
        if let Some(block) = self.walk(p, &context, attempt) {
            return Looked::Got(block);
        }
        // To change mappings is to wait for every processor.
        if !self.context.gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            return Looked::Nothing;
        }
        match self.context.mapping() {
            Mapping::Mapped => self.map_some(p, attempt),
            Mapping::Unmapped => self.unmap_some(p, attempt),
        }
    }

    pub(crate) fn walk<P: Zones>(&self, p: &mut P, context: &Context, attempt: Attempt) -> Option<Block> {
        let preferred = context.preferred(p.topology(), self.mask)?;
        // Before a process is killed, a last look insists on the cpuset.
        let last = attempt.level == Level::High;
        let gfp = if last { context.gfp.union(GfpFlags::HARDWALL) } else { context.gfp };
        let walk = Walk { attempt, preferred, mask: self.mask, gfp, spread: Spread::No };
        fast_path::take(p, context, walk)
    }

    /// Gives up blocks kept for urgent requests, in the first zone that has such with free pages.
    fn unreserve<P: Zones>(&mut self, p: &mut P, how: Unreserve) -> bool {
        let migratetype = self.context.migratetype;
        self.any_zone(p, |_, p, zone| {
            p.with_zone(zone, |parts| parts.zone.unreserve_highatomic(how, migratetype)) == Some(true)
        })
    }

    /// Would any zone be above its minimum if all that can be reclaimed were?
    fn could_reclaim<P: Zones>(&mut self, p: &mut P) -> bool {
        let flags = self.path.flags();
        let Context { order, highest, .. } = self.context;
        let check = MarkCheck { order, level: Level::Min, highest, flags };
        self.any_zone(p, |context, p, zone| {
            if flags.contains(AllocFlags::CPUSET) && !context.allows(zone.node, context.gfp, p.rules()) {
                return false;
            }
            let above = p.with_zone(zone, |parts| {
                let free = parts.growth.free(parts.zone).saturating_add(parts.counts.reclaimable);
                parts.zone.is_above_with(check, parts.zone.mark(Level::Min), free)
            });
            above == Some(true)
        })
    }

    /// Would any zone have enough to compact if a part of what can be reclaimed were?
    #[doc(alias = "compaction_zonelist_suitable")]
    fn could_compact<P: Zones>(&mut self, p: &mut P) -> bool {
        let Context { order, highest, .. } = self.context;
        self.any_zone(p, |_, p, zone| {
            let suitable = p.with_zone(zone, |parts| {
                let reclaimable = parts.counts.reclaimable.get() / u64::from(order.get().max(1));
                let free = parts.growth.free(parts.zone).saturating_add(PageCount::new(reclaimable));
                can_compact(parts.zone, order, highest, free)
            });
            suitable == Some(true)
        })
    }

    pub(crate) fn any_zone<P: Zones>(&self, p: &mut P, mut f: impl FnMut(&Context, &mut P, ZoneRef) -> bool) -> bool {
        let mut place = 0;
        while let Some(Preferred { place: at, zone }) = self.context.next_zone(p.topology(), self.mask, place) {
            if f(&self.context, p, zone) {
                return true;
            }
            place = at + 1;
        }
        false
    }

    fn done<P: Zones>(&mut self, p: &mut P) -> Question {
        let Context { order, gfp, migratetype, .. } = self.context;
        match self.block {
            Some(block) => {
                p.emit_page(|| PageEvent::Allocated { pfn: Some(block.pfn), order, gfp, migratetype });
                Question::Done(block)
            }
            None => self.failed(p),
        }
    }

    fn failed<P: Zones>(&mut self, p: &mut P) -> Question {
        let Context { order, gfp, migratetype, highest, .. } = self.context;
        if !gfp.contains(GfpFlags::NOWARN) && !self.asks_for_absent_dma(p) {
            p.emit_page(|| PageEvent::Warned { order, gfp });
        }
        p.emit_page(|| PageEvent::Allocated { pfn: None, order, gfp, migratetype });
        let mut none = NoBlock { order, zones: 0, free: PageCount::ZERO, refused_by: Ledger::Node };
        let single = MarkCheck { order: Order::ZERO, level: Level::Min, highest, flags: self.path.flags() };
        let mut enough = false;
        let confined = self.path.flags().contains(AllocFlags::CPUSET);
        self.any_zone(p, |context, p, zone| {
            if confined && !context.allows(zone.node, context.gfp, p.rules()) {
                return false;
            }
            let seen = p.with_zone(zone, |parts| {
                enough |= parts.growth.is_above(parts.zone, single);
                parts.growth.free(parts.zone)
            });
            none.zones += u32::from(seen.is_some());
            none.free = none.free.saturating_add(seen.unwrap_or_default());
            false
        });
        if none.zones > 0 {
            none.refused_by = if enough && order > Order::ZERO { Ledger::Contiguity } else { Ledger::Watermark };
        }
        Question::Failed(none)
    }

    /// Whoever asks for memory of a kind that the machine does not have expects to fail.
    fn asks_for_absent_dma<P: Zones>(&self, p: &mut P) -> bool {
        self.context.highest == ZoneKind::Dma
            && !self.any_zone(p, |_, p, zone| p.with_zone(zone, |parts| !parts.zone.managed().is_zero()) == Some(true))
    }
}

/// Has a zone with so many free pages enough of them to move pages to?
#[doc(alias = "compaction_suitable")]
pub(crate) fn can_compact(zone: &Zone, order: Order, highest: ZoneKind, free: PageCount) -> bool {
    let level = if order > COSTLY { Level::Low } else { Level::Min };
    let gap = PageCount::new(order.pages().get() * 2);
    let check = MarkCheck { order: Order::ZERO, level, highest, flags: AllocFlags::CMA };
    zone.is_above_with(check, zone.mark(level).saturating_add(gap), free)
}

/// Drains the lists that any processor has of any zone.
fn drain_everything<P: Zones>(p: &mut P, context: &Context) {
    let mut place = 0;
    while let Some(zone) = p.topology().zones(context.node, policy::Reach::Private).get(place).copied() {
        p.drain_all(zone);
        place += 1;
    }
}
