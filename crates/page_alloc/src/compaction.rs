//! Who compacts which zones, and when.

use alloc::vec::Vec;

use policy::{NodeCap, ZoneRef};
use units::{Migratetype, NodeId, Order, PageCount, ZoneKind};
use zone::AllocFlags;

use crate::compact_zone::{CompactEnd, CompactZone, Direct, Extent, Waiting, ZoneGoal, ZoneStep, score};
use crate::context::Context;
use crate::contig::{Move, Moved};
use crate::deferral::Served;
use crate::fast_path::Block;
use crate::kswapd::Sleep;
use crate::slow_path::Priority;
use crate::task::Fate;
use crate::zones::Zones;

/// What compaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactQuestion {
    /// Move a block to another one of its zone: did it work?
    Move(Move),
    /// How it ended, with a block if one was caught for the request.
    End(CompactEnd, Option<Block>),
}

/// Why zones are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A request waits.
    Request(Priority, Fate),
    /// Somebody will ask for such a block.
    Background,
    /// The administrator says so.
    Whole,
    /// The node is too fragmented.
    Proactive,
}

/// Zones to compact, one after the other.
#[derive(Clone, Debug)]
pub struct Compaction {
    cause: Cause,
    goals: Vec<ZoneGoal>,
    /// How many of them are done.
    done: usize,
    zone: Option<CompactZone>,
    end: CompactEnd,
}

impl Compaction {
    /// For a request on the slow path, which asked for it.
    #[doc(alias("try_to_compact_pages", "__alloc_pages_direct_compact"))]
    pub(crate) fn direct<P: Zones>(
        p: &P,
        context: &Context,
        order: Order,
        flags: AllocFlags,
        priority: Priority,
    ) -> Self {
        let whole = priority == Priority::SyncFull;
        let mut goals = Vec::new();
        let mut place = 0;
        while let Some(next) = context.next_zone(p.topology(), context.nodemask, place) {
            place = next.place + 1;
            let confined = flags.contains(AllocFlags::CPUSET);
            let allowed = !confined || context.allows(next.zone.node, context.gfp, p.rules());
            if !allowed || !p.topology().permits(next.zone.node, NodeCap::Reclaim) {
                continue;
            }
            goals.push(ZoneGoal {
                zone: next.zone,
                order: Some(order),
                migratetype: context.migratetype,
                highest: context.highest,
                flags,
                waiting: if priority == Priority::Async { Waiting::No } else { Waiting::Yes },
                extent: if whole { Extent::Whole } else { Extent::Rest },
                direct: Direct::Yes,
                until: None,
            });
        }
        Self::of(Cause::Request(priority, context.task.fate), goals)
    }

    /// For those who will ask a node for such blocks.
    #[doc(alias = "kcompactd_do_work")]
    #[must_use]
    pub fn background<P: Zones>(p: &P, node: NodeId, order: Order, highest: ZoneKind) -> Self {
        let goals = zones_of(p, node, highest).map(|zone| ZoneGoal {
            zone,
            order: Some(order),
            migratetype: Migratetype::Movable,
            highest: zone.kind,
            flags: AllocFlags::NONE,
            waiting: Waiting::Yes,
            extent: Extent::Rest,
            direct: Direct::No,
            until: None,
        });
        Self::of(Cause::Background, goals.collect())
    }

    /// All that can be gained on a node.
    #[doc(alias("compact_nodes", "compact_memory"))]
    #[must_use]
    pub fn whole<P: Zones>(p: &P, node: NodeId) -> Self {
        Self::of(Cause::Whole, zones_of(p, node, ZoneKind::Movable).map(everything).collect())
    }

    fn proactive<P: Zones>(p: &P, node: NodeId, low: u64) -> Self {
        let goals = zones_of(p, node, ZoneKind::Movable).map(|zone| ZoneGoal { until: Some(low), ..everything(zone) });
        Self::of(Cause::Proactive, goals.collect())
    }

    const fn of(cause: Cause, goals: Vec<ZoneGoal>) -> Self {
        Self { cause, goals, done: 0, zone: None, end: CompactEnd::Skipped }
    }

    /// Goes on to the first question.
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P) -> CompactQuestion {
        self.next_zone(p)
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, moved: Moved) -> CompactQuestion {
        let Some(mut zone) = self.zone.take() else { return CompactQuestion::End(self.end, None) };
        let step = zone.answer(p, moved);
        self.zone = Some(zone);
        match step {
            ZoneStep::Move(block) => CompactQuestion::Move(block),
            ZoneStep::End(end) => self.zone_ended(p, end, moved),
        }
    }

    fn next_zone<P: Zones>(&mut self, p: &mut P) -> CompactQuestion {
        while let Some(goal) = self.goals.get(self.done).copied() {
            if self.puts_off(p, &goal) {
                self.end = self.end.max(CompactEnd::Deferred);
                self.done += 1;
                continue;
            }
            match CompactZone::begin(p, goal) {
                Ok(mut zone) => {
                    let step = zone.go_on(p);
                    self.zone = Some(zone);
                    return match step {
                        ZoneStep::Move(block) => CompactQuestion::Move(block),
                        ZoneStep::End(end) => self.zone_ended(p, end, Moved::Moved),
                    };
                }
                Err(end) => {
                    if let Some(end) = self.note(p, &goal, end) {
                        return CompactQuestion::End(end, None);
                    }
                    self.done += 1;
                }
            }
        }
        CompactQuestion::End(self.end, None)
    }

    fn puts_off<P: Zones>(&self, p: &mut P, goal: &ZoneGoal) -> bool {
        let patient = match self.cause {
            Cause::Request(priority, _) => priority != Priority::SyncFull,
            Cause::Background => true,
            Cause::Whole | Cause::Proactive => false,
        };
        let Some(order) = goal.order.filter(|_| patient) else { return false };
        p.with_zone(goal.zone, |parts| parts.compact.puts_off(order)) == Some(true)
    }

    /// Notes how a zone ended; the end of all, if that is one.
    fn note<P: Zones>(&mut self, p: &mut P, goal: &ZoneGoal, end: CompactEnd) -> Option<CompactEnd> {
        self.end = self.end.max(end);
        let order = goal.order?;
        let in_vain = matches!(end, CompactEnd::Complete | CompactEnd::PartialSkipped);
        match self.cause {
            Cause::Background if in_vain => {
                // What processors keep may have been all that was in the way.
                p.drain_all(goal.zone);
                let _ = p.with_zone(goal.zone, |parts| parts.compact.defer(order));
            }
            Cause::Request(priority, _) if in_vain && priority != Priority::Async => {
                let _ = p.with_zone(goal.zone, |parts| parts.compact.defer(order));
            }
            _ if end == CompactEnd::Success => {
                let _ = p.with_zone(goal.zone, |parts| parts.compact.reset(order, Served::No));
            }
            _ => (),
        }
        let served = matches!(self.cause, Cause::Request(..)) && end == CompactEnd::Success;
        let dies = matches!(self.cause, Cause::Request(_, Fate::Ends));
        (served || dies).then_some(self.end)
    }

    fn zone_ended<P: Zones>(&mut self, p: &mut P, end: CompactEnd, moved: Moved) -> CompactQuestion {
        let block = self.zone.take().and_then(|zone| zone.captured);
        let Some(goal) = self.goals.get(self.done).copied() else { return CompactQuestion::End(self.end, block) };
        let over = self.note(p, &goal, end);
        if let Some(end) = over {
            return CompactQuestion::End(end, block);
        }
        if moved == Moved::Interrupted && matches!(self.cause, Cause::Request(..)) {
            return CompactQuestion::End(self.end, block);
        }
        self.done += 1;
        self.next_zone(p)
    }
}

fn everything(zone: ZoneRef) -> ZoneGoal {
    ZoneGoal {
        zone,
        order: None,
        migratetype: Migratetype::Movable,
        highest: zone.kind,
        flags: AllocFlags::NONE,
        waiting: Waiting::Yes,
        extent: Extent::Whole,
        direct: Direct::No,
        until: None,
    }
}

/// Zones of a node that may be compacted, from the lowest up.
fn zones_of<P: Zones>(p: &P, node: NodeId, highest: ZoneKind) -> impl Iterator<Item = ZoneRef> {
    let topology = p.topology();
    let may = topology.permits(node, NodeCap::Reclaim);
    let there = move |zone: &ZoneRef| may && zone.kind <= highest && topology.is_populated(*zone);
    ZoneKind::ALL.into_iter().map(move |kind| ZoneRef { node, kind }).filter(there)
}

/// How eager a node is to compact by itself, and how long it waits after a run in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proactive {
    /// Looks to be left out.
    left_out: u32,
    /// The score before the run that is under way.
    before: u64,
}

/// Looks that are left out after a run in vain.
#[doc(alias = "COMPACT_MAX_DEFER_SHIFT")]
const VAIN: u32 = 1 << 6;

impl Proactive {
    /// A look at a node, each half second: a run that is worth while. `eagerness` is the knob, from 0 to 100.
    #[doc(alias("kcompactd", "compaction_proactiveness", "should_proactive_compact_node"))]
    pub fn look<P: Zones>(&mut self, p: &mut P, node: NodeId, eagerness: u8) -> Option<Compaction> {
        if self.left_out > 0 {
            self.left_out -= 1;
            return None;
        }
        let awake = p.with_node(node, |state| state.kswapd.sleep == Sleep::Awake);
        let (low, high) = thresholds(eagerness);
        self.before = node_score(p, node);
        if eagerness == 0 || awake || self.before <= high {
            return None;
        }
        Some(Compaction::proactive(p, node, low))
    }

    /// The run is over.
    pub fn end<P: Zones>(&mut self, p: &mut P, node: NodeId) {
        if node_score(p, node) >= self.before {
            self.left_out = VAIN;
        }
    }
}

/// Down to which score a run goes, and above which one it begins.
#[doc(alias = "fragmentation_score_wmark")]
fn thresholds(eagerness: u8) -> (u64, u64) {
    let low = u64::from(100 - eagerness.min(100)).max(5);
    (low, (low + 10).min(100))
}

/// The scores of a node's zones, by their sizes.
#[doc(alias = "fragmentation_score_node")]
fn node_score<P: Zones>(p: &mut P, node: NodeId) -> u64 {
    let zones: Vec<ZoneRef> = zones_of(p, node, ZoneKind::Movable).collect();
    let present = |p: &P, zone: ZoneRef| {
        p.topology().node(zone.node).map_or(PageCount::ZERO, |spec| spec.present[zone.kind]).get()
    };
    let all: u64 = zones.iter().map(|&zone| present(p, zone)).sum();
    let of = |p: &mut P, zone: ZoneRef| {
        let score = p.with_zone(zone, |parts| score(parts.zone)).unwrap_or(0);
        present(p, zone).saturating_mul(score) / (all + 1)
    };
    zones.iter().map(|&zone| of(p, zone)).sum()
}
