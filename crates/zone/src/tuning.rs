//! How many pages a processor keeps of a zone.

use units::{Bytes, PageCount, PageShift};

use crate::watermark::KnobRange;

/// The share of a zone that all processors together may keep: one page in so many. Without it the kernel decides by itself.
#[doc(alias = "percpu_pagelist_high_fraction")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HighFraction(Option<u32>);

impl HighFraction {
    /// The fraction 1/`n`; zero leaves it to the kernel.
    ///
    /// # Errors
    /// 1 to 7, and what no number of 31 bits holds.
    pub fn new(n: u64) -> Result<Self, KnobRange> {
        match u32::try_from(n) {
            Ok(0) => Ok(Self(None)),
            Ok(fraction @ 8..=0x7fff_ffff) => Ok(Self(Some(fraction))),
            _ => Err(KnobRange { knob: "percpu_pagelist_high_fraction", value: n, takes: "0, or 8 and more" }),
        }
    }

    /// The denominator; zero where the kernel decides.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.unwrap_or(0)
    }
}

/// The size of a processor's lists of one zone.
#[doc(alias = "per_cpu_pages")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PcpTuning {
    /// Pages that move to or from the zone at a time.
    pub batch: PageCount,
    /// The lists hold so many pages before some are given back, at the least.
    pub high_min: PageCount,
    /// And at the most. It may be *below* the least, since the two follow from different sizes: see [`PcpTuning::clamp`].
    pub high_max: PageCount,
}

/// A zone and its processors, as [`PcpTuning::new`] looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PcpInputs {
    /// Managed pages.
    pub managed: PageCount,
    /// The low mark.
    pub low: PageCount,
    /// `percpu_pagelist_high_fraction`.
    pub fraction: HighFraction,
    /// Processors of the zone's node, one more while one is coming online.
    pub node_cpus: u32,
    /// All processors online: they share the zone of a node that has none.
    pub online_cpus: u32,
    /// The size of a base page.
    pub shift: PageShift,
}

impl PcpTuning {
    /// Before a zone has its lists, and while memory is taken out: every page that is freed goes to the zone.
    pub const BOOT: Self = Self { batch: PageCount::new(1), high_min: PageCount::ZERO, high_max: PageCount::ZERO };

    /// The lists of a zone.
    #[doc(alias = "zone_set_pageset_high_and_batch")]
    #[must_use]
    pub fn new(inputs: &PcpInputs) -> Self {
        let batch = batch(inputs.managed, inputs.shift);
        let (least, most) = match inputs.fraction.0 {
            None => (inputs.low, PageCount::new(inputs.managed.get() / MIN_FRACTION)),
            Some(fraction) => {
                let share = PageCount::new(inputs.managed.get() / u64::from(fraction));
                (share, share)
            }
        };
        let cpus = if inputs.node_cpus == 0 { inputs.online_cpus } else { inputs.node_cpus };
        // One list must be able to refill another a few times before the zone is asked.
        let each = |total: PageCount| PageCount::new((total.get() / u64::from(cpus.max(1))).max(batch.get() * 4));
        Self { batch, high_min: each(least), high_max: each(most) }
    }

    /// `high` moved into the bounds. Where they contradict each other the upper one wins.
    #[must_use]
    pub fn clamp(&self, high: PageCount) -> PageCount {
        if high >= self.high_max { self.high_max } else { high.max(self.high_min) }
    }
}

const MIN_FRACTION: u64 = 8;

/// The batch for a zone of `managed` pages: a thousandth of it, at most a quarter of 1 MiB, and one below a power of two, so
/// that two processors that fill up in step do not take blocks of the same colour.
#[doc(alias = "zone_batchsize")]
#[must_use]
pub fn batch(managed: PageCount, shift: PageShift) -> PageCount {
    let most = shift.pages_floor(Bytes::mib(1)).get();
    let quarter = ((managed.get() >> 10).min(most) / 4).max(1);
    let power = 1 << (quarter + quarter / 2).ilog2();
    PageCount::new(power - 1).max(PageCount::new(1))
}
