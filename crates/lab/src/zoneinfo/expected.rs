//! What the lines should be.

use std::collections::{BTreeMap, BTreeSet};

use hugefolio::text::{Pageset, ZoneReport, Zoneinfo};
use hugefolio::tuning::{PcpInputs, PcpTuning};
use hugefolio::watermark::{
    MarkInputs, Protection, Watermarks, lowmem_reserve, stat_threshold, stat_threshold_under_pressure,
};
use hugefolio::{NodeId, PageCount, PerZone, ZoneKind};

use super::{Difference, Host, Knobs, Line, ZoneinfoCheck};

/// A zone's size when the marks were computed, where it is not that of now.
#[derive(Clone, Copy)]
pub(super) struct Then {
    pub(super) node: NodeId,
    pub(super) zone: ZoneKind,
    pub(super) managed: PageCount,
}

/// Compares every line, with the marks as of `then`.
pub(super) fn check(zoneinfo: &Zoneinfo, knobs: &Knobs, host: &Host, then: Option<Then>) -> ZoneinfoCheck {
    let sizes = |report: &ZoneReport| match then {
        Some(then) if (then.node, then.zone) == (report.node, report.zone) => then.managed,
        _ => report.pages.managed,
    };
    let lowmem = zoneinfo.0.iter().filter(|r| !matches!(r.zone, ZoneKind::HighMem | ZoneKind::Movable)).map(sizes);
    let lowmem = lowmem.fold(PageCount::ZERO, PageCount::saturating_add);
    let inputs = MarkInputs { min_free: knobs.min_free, scale: knobs.scale, lowmem, shift: host.shift };
    let reserves = reserves(zoneinfo, knobs);
    let mut check = ZoneinfoCheck::default();
    for report in &zoneinfo.0 {
        let marks = Watermarks::new(report.zone, sizes(report), &inputs);
        let mut compare = Compare { report, check: &mut check };
        compare.marks(&marks);
        if let Some(protection) = reserves.get(&report.node) {
            compare.protection(&kinds(zoneinfo), &protection[report.zone]);
        }
        let online = report.populated.as_ref().map_or(0, |p| u32::try_from(p.pagesets.len()).unwrap_or(u32::MAX));
        let lists = PcpTuning::new(&PcpInputs {
            managed: sizes(report),
            low: marks.low,
            fraction: knobs.fraction,
            node_cpus: node_cpus(zoneinfo, host, report.node, online),
            online_cpus: online,
            shift: host.shift,
        });
        let threshold = stat_threshold(online, sizes(report), host.shift);
        let exact = stat_threshold_under_pressure(online, &marks);
        let sets = report.populated.iter().flat_map(|populated| &populated.pagesets);
        let awake = online > 0 && threshold != exact && sets.clone().all(|set| set.stat_threshold == exact);
        sets.for_each(|set| compare.lists(set, &lists, if awake { exact } else { threshold }));
        if awake {
            check.reclaiming.push((report.node, report.zone));
        }
    }
    check
}

/// The zones that the kernel was built with, which it prints for every node.
fn kinds(zoneinfo: &Zoneinfo) -> Vec<ZoneKind> {
    let kinds: BTreeSet<ZoneKind> = zoneinfo.0.iter().map(|report| report.zone).collect();
    kinds.into_iter().collect()
}

fn reserves(zoneinfo: &Zoneinfo, knobs: &Knobs) -> BTreeMap<NodeId, PerZone<Protection>> {
    let ratios = knobs.ratios(&kinds(zoneinfo));
    let mut sizes: BTreeMap<NodeId, PerZone<PageCount>> = BTreeMap::new();
    for report in &zoneinfo.0 {
        sizes.entry(report.node).or_default()[report.zone] = report.pages.managed;
    }
    sizes.into_iter().map(|(node, sizes)| (node, lowmem_reserve(&sizes, &ratios))).collect()
}

/// The processors of a node, where `online` are online in all.
pub(super) fn node_cpus(zoneinfo: &Zoneinfo, host: &Host, node: NodeId, online: u32) -> u32 {
    let only = zoneinfo.0.iter().all(|report| report.node == node);
    host.cpus.get(&node).copied().unwrap_or(if only { online } else { 0 })
}

/// Comparing the lines of one zone.
struct Compare<'a> {
    report: &'a ZoneReport,
    check: &'a mut ZoneinfoCheck,
}

impl Compare<'_> {
    fn line(&mut self, line: Line, ours: PageCount, theirs: PageCount) {
        self.check.lines += 1;
        if ours != theirs {
            let &ZoneReport { node, zone, .. } = self.report;
            self.check.differences.push(Difference { node, zone, line, ours, theirs });
        }
    }

    /// The marks are printed with the boost.
    fn marks(&mut self, marks: &Watermarks) {
        let pages = self.report.pages;
        let mut mark = |line, ours: PageCount, theirs| self.line(line, ours.saturating_add(pages.boost), theirs);
        mark(Line::Min, marks.min, pages.min);
        mark(Line::Low, marks.low, pages.low);
        mark(Line::High, marks.high, pages.high);
        mark(Line::Promo, marks.promo, pages.promo);
    }

    fn protection(&mut self, kinds: &[ZoneKind], ours: &Protection) {
        let report = self.report;
        for (&kind, &theirs) in kinds.iter().zip(&report.protection) {
            self.line(Line::Protection(kind), ours[kind], theirs);
        }
    }

    fn lists(&mut self, set: &Pageset, lists: &PcpTuning, threshold: PageCount) {
        self.line(Line::Batch(set.cpu), lists.batch, set.batch);
        self.line(Line::HighMin(set.cpu), lists.high_min, set.high_min);
        self.line(Line::HighMax(set.cpu), lists.high_max, set.high_max);
        self.line(Line::StatThreshold(set.cpu), threshold, set.stat_threshold);
    }
}
