//! Background reclaim, as far as requests wake it.

use policy::{NodeCap, Topology, ZoneRef};
use units::{GfpFlags, NodeId, Nodemask, Order, ZoneKind};
use zone::{AllocFlags, Level, MarkCheck};

use crate::context::Context;
use crate::event::PageEvent;
use crate::zones::Zones;

/// Rounds without a page after which background reclaim sleeps on.
#[doc(alias = "MAX_RECLAIM_RETRIES")]
pub(crate) const MAX_FAILURES: u32 = 16;

/// What a node is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct NodeState {
    /// Its background reclaim.
    pub kswapd: Kswapd,
    /// Has it more pages to write back than it should?
    #[doc(alias = "node_dirty_ok")]
    pub dirty: Dirty,
    /// What a look at its own pages would bring before a request leaves it.
    #[doc(alias = "node_reclaim")]
    pub near_reclaim: NearReclaim,
}

/// The background reclaim of a node.
#[doc(alias("kswapd", "pg_data_t"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Kswapd {
    /// Is it asleep?
    pub sleep: Sleep,
    /// What it was asked for.
    pub wanted: Option<(Order, ZoneKind)>,
    /// Rounds without a page in a row.
    #[doc(alias = "kswapd_failures")]
    pub failures: u32,
}

/// Whether somebody waits to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Sleep {
    /// Yes.
    #[default]
    Asleep,
    /// No: it works.
    Awake,
}

/// Whether a node has its share of pages to write back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Dirty {
    /// It may have more.
    #[default]
    Within,
    /// It has too many: pages that will be written go elsewhere at first.
    Over,
}

/// What reclaim of a near node brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum NearReclaim {
    /// It was not tried.
    #[default]
    NoScan,
    /// Everything was looked at in vain.
    Full,
    /// Something: a second look at the mark decides.
    Some,
}

/// Nodes up to this distance are near.
#[doc(alias = "RECLAIM_DISTANCE")]
pub(crate) const NEAR: u8 = 30;

/// Does any zone of the node up to `highest` have a block of `order` above its high mark? Vacuously, if nothing is managed.
#[doc(alias = "pgdat_balanced")]
pub(crate) fn is_balanced<P: Zones>(p: &mut P, node: NodeId, order: Order, highest: ZoneKind) -> bool {
    let check = MarkCheck { order, level: Level::High, highest, flags: AllocFlags::NONE };
    let mut managed_any = false;
    for kind in ZoneKind::ALL {
        if kind > highest {
            break;
        }
        let above = p.with_zone(ZoneRef { node, kind }, |parts| {
            (!parts.zone.managed().is_zero()).then(|| parts.growth.is_above_safe(parts.zone, check))
        });
        match above.flatten() {
            Some(true) => return true,
            Some(false) => managed_any = true,
            None => (),
        }
    }
    !managed_any
}

/// May a request reclaim on a node by itself, or must it wait for background reclaim? It waits while half of all minimums there is not free,
/// so that not everybody is at it with the last pages gone; not where background reclaim is hopeless. Whoever answers
/// [`crate::Question::Reclaim`] asks here before.
#[doc(alias("throttle_direct_reclaim", "allow_direct_reclaim"))]
pub fn may_reclaim_by_itself<P: Zones>(p: &mut P, node: NodeId) -> bool {
    let hopeless = p.with_node(node, |state| state.kswapd.failures >= MAX_FAILURES);
    let (mut free, mut least) = (0u64, 0u64);
    for kind in ZoneKind::ALL.into_iter().filter(|&kind| kind <= ZoneKind::Normal) {
        let _ = p.with_zone(ZoneRef { node, kind }, |parts| {
            if !parts.zone.managed().is_zero() && !parts.counts.reclaimable.is_zero() {
                least = least.saturating_add(parts.zone.mark(Level::Min).get());
                free = free.saturating_add(parts.growth.free(parts.zone).get());
            }
        });
    }
    hopeless || least == 0 || free > least / 2
}

#[doc(alias = "pgdat_watermark_boosted")]
fn is_boosted<P: Zones>(p: &mut P, node: NodeId, highest: ZoneKind) -> bool {
    ZoneKind::ALL.into_iter().filter(|&kind| kind <= highest).any(|kind| {
        let zone = ZoneRef { node, kind };
        p.with_zone(zone, |parts| !parts.zone.managed().is_zero() && !parts.zone.boost().is_zero()) == Some(true)
    })
}

/// Wakes the background reclaim of a zone's node, or says why it may sleep on.
#[doc(alias = "wakeup_kswapd")]
pub(crate) fn wake<P: Zones>(p: &mut P, zone: ZoneRef, gfp: GfpFlags, order: Order, highest: ZoneKind) {
    let node = zone.node;
    if p.with_zone(zone, |parts| parts.zone.managed().is_zero()) != Some(false) || !may_reclaim(p.topology(), node) {
        return;
    }
    let kswapd = p.with_node(node, |state| {
        let (before_order, before_zone) = state.kswapd.wanted.unwrap_or((order, highest));
        state.kswapd.wanted = Some((before_order.max(order), before_zone.max(highest)));
        state.kswapd
    });
    if kswapd.sleep == Sleep::Awake {
        return;
    }
    let hopeless = kswapd.failures >= MAX_FAILURES;
    if hopeless || is_balanced(p, node, order, highest) && !is_boosted(p, node, highest) {
        // There are pages enough, but the request found no block: those who cannot wait have nobody else to make one.
        if !gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            p.emit_page(|| PageEvent::WokeCompaction { node, order, highest });
        }
        return;
    }
    p.with_node(node, |state| state.kswapd.sleep = Sleep::Awake);
    p.emit_page(|| PageEvent::WokeReclaim { node, highest, order, gfp });
}

/// Background reclaim of a node runs, if it was woken, and sleeps again: it finds nothing to reclaim, and takes back the boosts that it was
/// woken for.
#[doc(alias("kswapd", "balance_pgdat"))]
pub(crate) fn run<P: Zones>(p: &mut P, node: NodeId) {
    let woken = p.with_node(node, |state| (state.kswapd.sleep == Sleep::Awake).then_some(state.kswapd.wanted));
    let Some(wanted) = woken else { return };
    for kind in ZoneKind::ALL {
        let _ = p.with_zone(ZoneRef { node, kind }, |parts| parts.zone.lower_boost(parts.zone.boost()));
    }
    let (order, highest) = wanted.unwrap_or((Order::ZERO, ZoneKind::Movable));
    let balanced = is_balanced(p, node, order, highest) || is_balanced(p, node, Order::ZERO, highest);
    p.with_node(node, |state| {
        let failures = if balanced { state.kswapd.failures } else { state.kswapd.failures.saturating_add(1) };
        state.kswapd = Kswapd { sleep: Sleep::Asleep, wanted: None, failures };
    });
}

/// Memory of a private node is reclaimed only if its driver permits it.
fn may_reclaim(topology: &Topology, node: NodeId) -> bool {
    topology.permits(node, NodeCap::Reclaim)
}

/// Wakes the background reclaim of every node that the request could use: one zone of each in a row.
#[doc(alias = "wake_all_kswapds")]
pub(crate) fn wake_all<P: Zones>(p: &mut P, context: &Context, mask: Option<Nodemask>) {
    let rules = *p.rules();
    let mut place = 0;
    let mut last = None;
    while let Some(next) = context.next_zone(p.topology(), mask, place) {
        place = next.place + 1;
        let node = next.zone.node;
        let managed = p.with_zone(next.zone, |parts| !parts.zone.managed().is_zero()) == Some(true);
        if !managed || last == Some(node) {
            continue;
        }
        last = Some(node);
        if context.allows(node, context.gfp, &rules) {
            wake(p, next.zone, context.gfp, context.order, context.highest);
        }
    }
}
