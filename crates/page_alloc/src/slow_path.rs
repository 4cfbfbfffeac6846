//! What is tried once no zone has pages above its low mark.
//!
//! The order of the steps is all that is decided here. Whether a zone has a block, whether pages were reclaimed, whether a process was
//! killed: these are answers.

use units::{GfpFlags, Order, PageCount};
use zone::{AllocFlags, Level};

use crate::context::{Attempt, Context, Nodes};
use crate::gfp::{self, COSTLY};
use crate::rules::{Compactor, Defrag, Killer, Rules};
use crate::task::{Fate, Standing};

/// How hard compaction tries.
#[doc(alias = "compact_priority")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Everything.
    SyncFull,
    /// Without whole scans.
    SyncLight,
    /// Without waiting.
    Async,
}

/// How compaction ended, as far as requests care.
#[doc(alias = "compact_result")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// It was not tried: there is too little to move pages to.
    Skipped,
    /// It was put off, as it failed before.
    Deferred,
    /// It made a block.
    Success,
    /// It ended without one.
    Failure,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin: remember what may change meanwhile, and say whether any zone could serve the request at all ([`Progress::Yes`]).
    Begin,
    /// Wake background reclaim of every node in reach.
    Wake,
    /// Look at the free lists: [`Progress::Taken`] or [`Progress::None`].
    Try(Attempt),
    /// Reclaim pages: [`Progress::Reclaimed`].
    Reclaim,
    /// Give up all of the reserve but one block, and drain every processor's lists.
    Drain,
    /// Compact memory: [`Progress::Taken`] if that caught a block, or [`Progress::Compacted`].
    Compact(Priority),
    /// Would some zone be above its minimum if all that can be reclaimed were? [`Progress::Yes`] if so.
    CouldReclaim,
    /// Let others run.
    Rest,
    /// Would some zone have enough to compact if all that can be reclaimed were? [`Progress::Yes`] if so.
    CouldCompact,
    /// Give up the whole reserve: [`Progress::Yes`] if that made pages free.
    Unreserve,
    /// Has something changed since the beginning? [`Progress::Yes`] if so.
    Recheck,
    /// Be the one who kills: [`Progress::Yes`], or somebody else is at it.
    LockKiller,
    /// Kill a process: [`Progress::Yes`] if one was, [`Progress::None`] if there is none to kill.
    Kill,
    /// There are pages.
    Done,
    /// There are none.
    Fail,
}

/// The answer to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing came of it.
    None,
    /// It is so.
    Yes,
    /// The request has its pages.
    Taken,
    /// So many pages were reclaimed.
    Reclaimed(PageCount),
    /// Compaction ended without pages for the request.
    Compacted(Compacted),
}

/// Which answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Begin,
    WakeFirst,
    TryFirst,
    CompactFirst,
    TryCompactedFirst,
    RecheckRound,
    WakeRound,
    TryRound,
    Reclaim,
    TryReclaimed,
    Drain,
    TryDrained,
    Compact,
    TryCompacted,
    CouldReclaim,
    Rest(Hope),
    Unreserve,
    CouldCompact,
    RecheckKill,
    LockKiller,
    RestBusy,
    TryHigh,
    Kill,
    TryBeyond,
    TryBeyondCpuset,
    RecheckNoPage,
    TryNever,
    TryNeverCpuset,
    End(Step),
}

/// What a look at all zones gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hope {
    Some,
    None,
}

/// Fruitless rounds until a request gives up.
const MAX_RECLAIM_RETRIES: u32 = 16;
/// Compactions that ended well and gave the request nothing, until it is to try harder; a quarter for large blocks.
const MAX_COMPACT_RETRIES: u32 = 16;

/// One request on the slow path. Begin with `step(Progress::None)`, and answer each step to get the next.
#[doc(alias = "__alloc_pages_slowpath")]
#[derive(Clone, Debug)]
pub struct SlowPath {
    context: Context,
    rules: Rules,
    at: At,
    flags: AllocFlags,
    nodes: Nodes,
    no_progress: u32,
    compact_retries: u32,
    priority: Priority,
    compacted: Compacted,
    reclaimed: PageCount,
}

impl SlowPath {
    /// A request that found nothing at once.
    #[must_use]
    pub const fn new(context: Context, rules: Rules) -> Self {
        Self {
            context,
            rules,
            at: At::Start,
            flags: AllocFlags::NONE,
            nodes: Nodes::Asked,
            no_progress: 0,
            compact_retries: 0,
            priority: Priority::SyncLight,
            compacted: Compacted::Skipped,
            reclaimed: PageCount::ZERO,
        }
    }

    /// Fruitless rounds of reclaim so far.
    #[must_use]
    pub const fn no_progress(&self) -> u32 {
        self.no_progress
    }

    /// What attempts may do now.
    #[must_use]
    pub const fn flags(&self) -> AllocFlags {
        self.flags
    }

    /// What is to be done after `progress` was made. An answer to another question counts as none.
    #[must_use]
    pub fn step(&mut self, progress: Progress) -> Step {
        let yes = progress == Progress::Yes;
        if progress == Progress::Taken && !matches!(self.at, At::End(_)) {
            return self.end(Step::Done);
        }
        match self.at {
            At::End(step) => step,
            At::Start => self.restart(),
            At::Begin => self.wake_first(yes),
            At::WakeFirst => self.attempt(At::TryFirst, Level::Min, self.flags),
            At::TryFirst => self.compact_first(),
            At::CompactFirst => self.compacted(progress, At::TryCompactedFirst),
            At::TryCompactedFirst => self.after_compact_first(),
            At::RecheckRound => {
                if yes {
                    self.restart()
                } else {
                    self.wake_round()
                }
            }
            At::WakeRound => self.try_round(),
            At::TryRound => self.reclaim(),
            At::Reclaim => self.after_reclaim(progress),
            At::TryReclaimed => self.go(At::Drain, Step::Drain),
            At::Drain => self.attempt(At::TryDrained, Level::Min, self.flags),
            At::TryDrained => self.compact(),
            At::Compact => self.compacted(progress, At::TryCompacted),
            At::TryCompacted => self.end_of_round(),
            At::CouldReclaim => self.go(At::Rest(if yes { Hope::Some } else { Hope::None }), Step::Rest),
            At::Rest(Hope::Some) => self.round(),
            At::Rest(Hope::None) => self.go(At::Unreserve, Step::Unreserve),
            At::Unreserve => {
                if yes {
                    self.round()
                } else {
                    self.compact_again()
                }
            }
            At::CouldCompact => {
                if yes {
                    self.round()
                } else {
                    self.last_resorts()
                }
            }
            At::RecheckKill => {
                if yes {
                    self.restart()
                } else {
                    self.go(At::LockKiller, Step::LockKiller)
                }
            }
            At::LockKiller => self.before_kill(yes),
            At::RestBusy => self.after_killer(Hope::Some),
            At::TryHigh => self.kill(),
            At::Kill => self.after_kill(yes),
            At::TryBeyond => self.attempt(At::TryBeyondCpuset, Level::Min, AllocFlags::NO_WATERMARKS),
            At::TryBeyondCpuset => self.after_killer(Hope::Some),
            At::RecheckNoPage => {
                if yes {
                    self.restart()
                } else {
                    self.no_page()
                }
            }
            At::TryNever => self.attempt(At::TryNeverCpuset, Level::Min, AllocFlags::MIN_RESERVE),
            At::TryNeverCpuset => self.round(),
        }
    }

    const fn go(&mut self, at: At, step: Step) -> Step {
        self.at = at;
        step
    }

    const fn end(&mut self, step: Step) -> Step {
        self.go(At::End(step), step)
    }

    fn attempt(&mut self, at: At, level: Level, flags: AllocFlags) -> Step {
        self.at = at;
        Step::Try(Attempt { level, flags, nodes: self.nodes })
    }

    const fn has(&self, gfp: GfpFlags) -> bool {
        self.context.gfp.contains(gfp)
    }

    fn is_costly(&self) -> bool {
        self.context.order > COSTLY
    }

    fn is_entitled(&self) -> bool {
        gfp::reserve_flags(self.context.gfp, &self.context.task).is_some()
    }

    /// Compaction writes pages out of its way, which takes the right to start input and output.
    fn may_compact(&self) -> bool {
        self.has(GfpFlags::IO) && self.rules.compaction == Compactor::Built
    }

    fn restart(&mut self) -> Step {
        (self.no_progress, self.compact_retries) = (0, 0);
        (self.priority, self.compacted) = (Priority::SyncLight, Compacted::Skipped);
        let Context { gfp, order, task, lent, .. } = self.context;
        self.flags = gfp::slow_flags(gfp, order, &task).with(lent);
        // Who cannot wait has nothing to hope for from blocks that stay whole.
        if self.rules.defrag == Defrag::On && self.has(GfpFlags::DIRECT_RECLAIM) {
            self.flags = self.flags.with(AllocFlags::NOFRAGMENT);
        }
        self.nodes = Nodes::Asked;
        self.go(At::Begin, Step::Begin)
    }

    fn wake_first(&mut self, possible: bool) -> Step {
        if !possible {
            return self.give_up();
        }
        if self.has(GfpFlags::KSWAPD_RECLAIM) {
            return self.go(At::WakeFirst, Step::Wake);
        }
        self.attempt(At::TryFirst, Level::Min, self.flags)
    }

    /// A large block that cannot be had by waiting: pages that can move may be in its way, and to move them is cheaper than to
    /// reclaim. Small movable blocks come free by themselves.
    fn compact_first(&mut self) -> Step {
        let Context { order, migratetype, .. } = self.context;
        let worthwhile = self.is_costly() || order > Order::ZERO && migratetype != units::Migratetype::Movable;
        if self.has(GfpFlags::DIRECT_RECLAIM) && self.may_compact() && worthwhile && !self.is_entitled() {
            return self.go(At::CompactFirst, Step::Compact(Priority::Async));
        }
        self.round()
    }

    /// Compaction ended. Where it was tried at all, blocks may be free now.
    fn compacted(&mut self, progress: Progress, next: At) -> Step {
        self.compacted = if let Progress::Compacted(result) = progress { result } else { Compacted::Failure };
        if self.compacted != Compacted::Skipped {
            return self.attempt(next, Level::Min, self.flags);
        }
        if next == At::TryCompacted { self.end_of_round() } else { self.after_compact_first() }
    }

    fn after_compact_first(&mut self) -> Step {
        if self.is_costly() && self.has(GfpFlags::NORETRY) {
            let hopeless = matches!(self.compacted, Compacted::Skipped | Compacted::Deferred);
            if hopeless || self.has(GfpFlags::THISNODE) {
                return self.give_up();
            }
            // Without a second round nothing better can follow.
            self.priority = Priority::Async;
        }
        self.round()
    }

    /// The round that is repeated as long as there is hope.
    fn round(&mut self) -> Step {
        self.go(At::RecheckRound, Step::Recheck)
    }

    fn wake_round(&mut self) -> Step {
        if self.has(GfpFlags::KSWAPD_RECLAIM) {
            return self.go(At::WakeRound, Step::Wake);
        }
        self.try_round()
    }

    fn try_round(&mut self) -> Step {
        let reserve = gfp::reserve_flags(self.context.gfp, &self.context.task);
        if let Some(reserve) = reserve {
            let kept = AllocFlags::KSWAPD.with(AllocFlags::CMA);
            self.flags = reserve.with(self.flags.and(kept));
        }
        if reserve.is_some() || !self.flags.contains(AllocFlags::CPUSET) {
            self.nodes = Nodes::All;
        }
        self.attempt(At::TryRound, Level::Min, self.flags)
    }

    fn reclaim(&mut self) -> Step {
        if !self.has(GfpFlags::DIRECT_RECLAIM) || self.context.task.standing == Standing::Reclaimer {
            return self.give_up();
        }
        self.go(At::Reclaim, Step::Reclaim)
    }

    fn after_reclaim(&mut self, progress: Progress) -> Step {
        self.reclaimed = if let Progress::Reclaimed(pages) = progress { pages } else { PageCount::ZERO };
        if self.reclaimed.is_zero() {
            return self.compact();
        }
        self.attempt(At::TryReclaimed, Level::Min, self.flags)
    }

    fn compact(&mut self) -> Step {
        if self.context.order == Order::ZERO || !self.may_compact() {
            return self.end_of_round();
        }
        self.go(At::Compact, Step::Compact(self.priority))
    }

    /// One round is over. Large blocks are tried again only for those who ask for it.
    #[doc(alias = "should_reclaim_retry")]
    fn end_of_round(&mut self) -> Step {
        let stubborn = self.may_compact() && self.has(GfpFlags::RETRY_MAYFAIL);
        if self.has(GfpFlags::NORETRY) || self.is_costly() && !stubborn {
            return self.give_up();
        }
        if !self.reclaimed.is_zero() && !self.is_costly() {
            self.no_progress = 0;
        } else {
            self.no_progress += 1;
        }
        if self.no_progress > MAX_RECLAIM_RETRIES {
            return self.go(At::Unreserve, Step::Unreserve);
        }
        self.go(At::CouldReclaim, Step::CouldReclaim)
    }

    /// Reclaim alone is hopeless; with what it did reclaim, compaction may not be.
    #[doc(alias = "should_compact_retry")]
    fn compact_again(&mut self) -> Step {
        let possible = !self.reclaimed.is_zero() && self.may_compact() && self.context.order > Order::ZERO;
        if !possible || self.context.task.fate == Fate::Ends {
            return self.last_resorts();
        }
        let (most, least) = if self.is_costly() {
            (MAX_COMPACT_RETRIES / 4, Priority::SyncLight)
        } else {
            (MAX_COMPACT_RETRIES, Priority::SyncFull)
        };
        match self.compacted {
            Compacted::Skipped => return self.go(At::CouldCompact, Step::CouldCompact),
            Compacted::Success => {
                self.compact_retries += 1;
                if self.compact_retries <= most {
                    return self.round();
                }
            }
            Compacted::Deferred | Compacted::Failure => (),
        }
        match self.priority {
            Priority::Async => self.priority = Priority::SyncLight,
            Priority::SyncLight if least == Priority::SyncFull => self.priority = Priority::SyncFull,
            Priority::SyncLight | Priority::SyncFull => return self.last_resorts(),
        }
        self.compact_retries = 0;
        self.round()
    }

    /// Before anybody is killed, blocks are mixed after all.
    fn last_resorts(&mut self) -> Step {
        if self.rules.defrag == Defrag::On && self.flags.contains(AllocFlags::NOFRAGMENT) {
            self.flags = self.flags.without(AllocFlags::NOFRAGMENT);
            return self.round();
        }
        self.go(At::RecheckKill, Step::Recheck)
    }

    /// Whoever kills looks once more, high enough that it cannot be he who used up the last pages.
    #[doc(alias = "__alloc_pages_may_oom")]
    fn before_kill(&mut self, alone: bool) -> Step {
        if !alone {
            return self.go(At::RestBusy, Step::Rest);
        }
        self.attempt(At::TryHigh, Level::High, AllocFlags::CPUSET)
    }

    fn kill(&mut self) -> Step {
        let unasked = self.context.gfp.intersects(GfpFlags::RETRY_MAYFAIL.union(GfpFlags::THISNODE));
        let useless = self.context.highest < units::ZoneKind::Normal || self.rules.killer == Killer::Suspended;
        if self.is_costly() || unasked || useless || self.context.task.fate == Fate::DumpsCore {
            return self.after_killer(Hope::None);
        }
        self.go(At::Kill, Step::Kill)
    }

    fn after_kill(&mut self, killed: bool) -> Step {
        if self.has(GfpFlags::NOFAIL) {
            let flags = AllocFlags::NO_WATERMARKS.with(AllocFlags::CPUSET);
            return self.attempt(At::TryBeyond, Level::Min, flags);
        }
        self.after_killer(if killed { Hope::Some } else { Hope::None })
    }

    /// Memory will come; but whoever it is taken from has had its share.
    fn after_killer(&mut self, hope: Hope) -> Step {
        let served = self.flags.contains(AllocFlags::OOM) || self.has(GfpFlags::NOMEMALLOC);
        if self.context.task.standing == Standing::Victim && served || hope == Hope::None {
            return self.give_up();
        }
        self.no_progress = 0;
        self.round()
    }

    fn give_up(&mut self) -> Step {
        self.go(At::RecheckNoPage, Step::Recheck)
    }

    fn no_page(&mut self) -> Step {
        if self.has(GfpFlags::NOFAIL.union(GfpFlags::DIRECT_RECLAIM)) {
            let flags = AllocFlags::MIN_RESERVE.with(AllocFlags::CPUSET);
            return self.attempt(At::TryNever, Level::Min, flags);
        }
        self.end(Step::Fail)
    }
}
