//! What follows from sizes and knobs.

use alloc::vec::Vec;

use policy::ZoneRef;
use units::{Bytes, NodeId, PageCount, PageShift, PerZone, ZoneKind};
use zone::Level;
use zone::tuning::{HighFraction, PcpInputs, PcpTuning};
use zone::watermark::{
    MarkInputs, ReserveRatios, ScaleFactor, Watermarks, drift_mark, lowmem_reserve, stat_threshold,
    stat_threshold_under_pressure,
};

use crate::allocator::PageAllocator;
use crate::zones::Zones;

/// The knobs that marks and the sizes of lists follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Knobs {
    /// `min_free_kbytes`.
    pub min_free: Bytes,
    /// `watermark_scale_factor`.
    pub scale: ScaleFactor,
    /// `lowmem_reserve_ratio`.
    pub ratios: ReserveRatios,
    /// `percpu_pagelist_high_fraction`.
    pub fraction: HighFraction,
    /// The size of a base page.
    pub shift: PageShift,
}

/// Marks, protections and the sizes of lists of all zones, from their sizes of now.
#[doc(alias("setup_per_zone_wmarks", "init_per_zone_wmark_min"))]
pub fn set_marks<P: Zones>(p: &mut P, knobs: &Knobs) {
    let nodes: Vec<NodeId> = p.topology().states().possible.iter().collect();
    let managed: Vec<PerZone<PageCount>> = nodes.iter().map(|&node| managed_of(p, node)).collect();
    let kernel = |of_node: &PerZone<PageCount>| {
        of_node.iter().filter(|(kind, _)| kind.is_for_kernel()).map(|(_, &pages)| pages).sum::<PageCount>()
    };
    let lowmem = managed.iter().map(kernel).sum();
    let inputs = MarkInputs { min_free: knobs.min_free, scale: knobs.scale, lowmem, shift: knobs.shift };
    let cpus = u32::try_from(p.cpu_nodes().len()).unwrap_or(u32::MAX);
    for (&node, managed) in nodes.iter().zip(&managed) {
        let protection = lowmem_reserve(managed, &knobs.ratios);
        for kind in ZoneKind::ALL {
            let marks = Watermarks::new(kind, managed[kind], &inputs);
            let usual = stat_threshold(cpus, managed[kind], knobs.shift);
            let under_pressure = stat_threshold_under_pressure(cpus, &marks);
            let _ = p.with_zone(ZoneRef { node, kind }, |parts| {
                parts.zone.set_marks(marks);
                parts.zone.set_protection(protection[kind]);
                parts.growth.drift.set(usual, under_pressure, drift_mark(cpus, usual, &marks));
            });
        }
    }
    resize_lists(p, knobs);
}

/// The sizes of lists alone, from the sizes and marks of now.
#[doc(alias("percpu_pagelist_high_fraction_sysctl_handler", "zone_set_pageset_high_and_batch"))]
pub fn resize_lists<P: Zones>(p: &mut P, knobs: &Knobs) {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let online_cpus = count(p.cpu_nodes().len());
    let nodes: Vec<NodeId> = p.topology().states().possible.iter().collect();
    for node in nodes {
        let node_cpus = count(p.cpu_nodes().iter().filter(|&&of| of == node).count());
        for kind in ZoneKind::ALL {
            let zone = ZoneRef { node, kind };
            let sizes = p.with_zone(zone, |parts| {
                (parts.zone.managed(), parts.zone.mark(Level::Low).saturating_sub(parts.zone.boost()))
            });
            let Some((managed, low)) = sizes else { continue };
            let (fraction, shift) = (knobs.fraction, knobs.shift);
            p.retune(zone, PcpTuning::new(&PcpInputs { managed, low, fraction, node_cpus, online_cpus, shift }));
        }
    }
}

/// What each zone of a node manages.
pub fn managed_of<P: Zones>(p: &mut P, node: NodeId) -> PerZone<PageCount> {
    PerZone::from_fn(|kind| p.with_zone(ZoneRef { node, kind }, |parts| parts.zone.managed()).unwrap_or_default())
}

/// The protections alone: they follow the sizes of now whenever somebody looks at their ratios.
#[doc(alias = "setup_per_zone_lowmem_reserve")]
pub fn protect<P: Zones>(p: &mut P, ratios: &ReserveRatios) {
    let nodes: Vec<NodeId> = p.topology().states().possible.iter().collect();
    for node in nodes {
        let managed = managed_of(p, node);
        let protection = lowmem_reserve(&managed, ratios);
        for kind in ZoneKind::ALL {
            let _ = p.with_zone(ZoneRef { node, kind }, |parts| parts.zone.set_protection(protection[kind]));
        }
    }
}

impl PageAllocator {
    /// Marks, protections and the sizes of lists of all zones, from their sizes of now.
    pub fn recompute(&mut self, knobs: &Knobs) {
        set_marks(self, knobs);
    }
}
