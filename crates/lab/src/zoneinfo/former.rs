//! The size that a zone had when its marks were computed.

use std::collections::BTreeMap;

use hugefolio::text::{ZoneReport, Zoneinfo};
use hugefolio::{NodeId, PageCount};

use super::expected::{Then, check, node_cpus};
use super::{Grown, Host, Knobs, ZoneinfoCheck};

/// The check with a former size of one zone, if a size explains every line. Only the highest zone of a node can have grown on
/// demand.
pub(super) fn explain(zoneinfo: &Zoneinfo, knobs: &Knobs, host: &Host) -> Option<ZoneinfoCheck> {
    let mut highest: BTreeMap<NodeId, &ZoneReport> = BTreeMap::new();
    for report in zoneinfo.0.iter().filter(|report| report.zone.is_for_kernel() && report.populated.is_some()) {
        highest.insert(report.node, report);
    }
    highest.into_values().find_map(|zone| explain_by(zone, zoneinfo, knobs, host))
}

/// The upper bound of a processor's lists is a fraction of the size, so it leaves a few sizes only; each is tried.
fn explain_by(zone: &ZoneReport, zoneinfo: &Zoneinfo, knobs: &Knobs, host: &Host) -> Option<ZoneinfoCheck> {
    let now = zone.pages.managed;
    let tried = |managed| {
        let then = Then { node: zone.node, zone: zone.zone, managed };
        check(zoneinfo, knobs, host, Some(then))
    };
    let sets = &zone.populated.as_ref()?.pagesets;
    let online = u32::try_from(sets.len()).ok()?;
    let cpus = match node_cpus(zoneinfo, host, zone.node, online) {
        0 => online,
        cpus => cpus,
    };
    let share = match knobs.fraction.get() {
        0 => 8,
        fraction => u64::from(fraction),
    };
    let sizes = share.checked_mul(cpus.into()).filter(|&sizes| sizes <= MOST_TRIED)?;
    let least = sets.first()?.high_max.get().checked_mul(sizes)?;
    let most = least.checked_add(sizes - 1)?.min(now.get());
    let fits = |n: &u64| tried(PageCount::new(*n)).differences.is_empty();
    let first = (least..=most).find(fits)?;
    let last = (first..=most).rev().find(fits)?;
    let then = PageCount::new(first)..=PageCount::new(last);
    Some(ZoneinfoCheck {
        grown: Some(Grown { node: zone.node, zone: zone.zone, now, then }),
        ..tried(PageCount::new(first))
    })
}

const MOST_TRIED: u64 = 1 << 16;
