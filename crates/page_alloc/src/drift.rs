//! Free pages that a zone's counter does not know of.

use alloc::vec::Vec;

use units::PageCount;

/// What processors have not handed in.
///
/// Each counts for itself what it takes from a zone and gives to it, and adds that to the zone's counter once it is more than a
/// threshold. So the counter may be off by that much for each of them, which matters near the marks.
#[doc(alias("per_cpu_zonestats", "vm_stat_diff"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// By processor: pages freed, or below zero pages taken, that the counter lacks.
    owed: Vec<i64>,
    sum: i64,
    /// Usually, and while background reclaim works.
    #[doc(alias = "stat_threshold")]
    thresholds: [PageCount; 2],
    mark: Option<PageCount>,
}

/// Which threshold holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    None,
    ReclaimWorks,
}

impl Drift {
    /// So many free pages more than the counter says there are, or fewer.
    #[must_use]
    pub const fn missing(&self) -> i64 {
        self.sum
    }

    /// Below so many pages by the counter every processor is asked before somebody decides by it.
    #[doc(alias = "percpu_drift_mark")]
    #[must_use]
    pub const fn mark(&self) -> Option<PageCount> {
        self.mark
    }

    /// What follows from new sizes. A mark once set is kept where there would be none now.
    #[doc(alias = "refresh_zone_stat_thresholds")]
    pub(crate) fn set(&mut self, usual: PageCount, under_pressure: PageCount, mark: Option<PageCount>) {
        self.thresholds = [usual, under_pressure];
        self.mark = mark.or(self.mark);
    }

    /// A processor took or gave pages.
    #[doc(alias = "__mod_zone_page_state")]
    pub(crate) fn note(&mut self, cpu: usize, change: i64, pressure: Pressure) {
        if self.owed.len() <= cpu {
            self.owed.resize(cpu + 1, 0);
        }
        self.owed[cpu] += change;
        self.sum += change;
        if self.owed[cpu].unsigned_abs() > self.thresholds[pressure as usize].get() {
            self.hand_in(cpu);
        }
    }

    /// A processor hands in what it has.
    #[doc(alias = "refresh_cpu_vm_stats")]
    pub(crate) fn hand_in(&mut self, cpu: usize) {
        if let Some(owed) = self.owed.get_mut(cpu) {
            self.sum -= core::mem::take(owed);
        }
    }

    /// All do.
    pub(crate) fn hand_in_all(&mut self) {
        (self.owed, self.sum) = (Vec::new(), 0);
    }
}
