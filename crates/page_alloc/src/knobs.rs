//! What follows from sizes and knobs.

use units::{Bytes, PageCount, PageShift, PerZone, ZoneKind};
use zone::tuning::{HighFraction, PcpInputs, PcpTuning};
use zone::watermark::{
    MarkInputs, ReserveRatios, ScaleFactor, Watermarks, drift_mark, lowmem_reserve, stat_threshold,
    stat_threshold_under_pressure,
};

use crate::allocator::{PageAllocator, Slot};

/// The knobs that marks and the sizes of lists follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl PageAllocator {
    /// Marks, protections and the sizes of lists of all zones, from their sizes of now.
    #[doc(alias("setup_per_zone_wmarks", "init_per_zone_wmark_min"))]
    pub fn recompute(&mut self, knobs: &Knobs) {
        let kernel = |slot: &&Slot| slot.zone.layout().kind.is_for_kernel();
        let lowmem = self.slots.iter().flatten().filter(kernel).map(|slot| slot.zone.managed()).sum();
        let inputs = MarkInputs { min_free: knobs.min_free, scale: knobs.scale, lowmem, shift: knobs.shift };
        let online_cpus = u32::try_from(self.cpus.len()).unwrap_or(u32::MAX);
        for of_node in self.slots.chunks_mut(ZoneKind::COUNT) {
            let managed = PerZone::from_fn(|kind| {
                of_node[kind as usize].as_ref().map_or(PageCount::ZERO, |slot| slot.zone.managed())
            });
            let protection = lowmem_reserve(&managed, &knobs.ratios);
            for slot in of_node.iter_mut().flatten() {
                let kind = slot.zone.layout().kind;
                let marks = Watermarks::new(kind, managed[kind], &inputs);
                slot.zone.set_marks(marks);
                slot.zone.set_protection(protection[kind]);
                let usual = stat_threshold(online_cpus, managed[kind], knobs.shift);
                let under_pressure = stat_threshold_under_pressure(online_cpus, &marks);
                slot.growth.drift.set(usual, under_pressure, drift_mark(online_cpus, usual, &marks));
                let node_cpus = self.cpus.iter().filter(|&&node| node == slot.zone.node()).count();
                let tuning = PcpTuning::new(&PcpInputs {
                    managed: managed[kind],
                    low: marks.low,
                    fraction: knobs.fraction,
                    node_cpus: u32::try_from(node_cpus).unwrap_or(u32::MAX),
                    online_cpus,
                    shift: knobs.shift,
                });
                slot.lists.iter_mut().for_each(|lists| lists.set_tuning(tuning));
            }
        }
    }
}
