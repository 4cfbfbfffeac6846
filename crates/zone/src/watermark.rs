//! How much of a zone is kept free, and for whom.
//!
//! Arithmetic without state: a mark is a function of the sizes and knobs at the moment of its last recompute, which is often not
//! now. A zone that grew on demand keeps the marks of its former size until a knob is written, a node comes or goes; whoever
//! models that passes the sizes of that moment.

use units::{Bytes, Order, PageCount, PageShift, PerZone, ZoneKind};

/// The four marks of a zone, without its boost.
#[doc(alias = "_watermark")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watermarks {
    /// Only special requests go below.
    #[doc(alias = "WMARK_MIN")]
    pub min: PageCount,
    /// Reclaim in the background begins below.
    #[doc(alias = "WMARK_LOW")]
    pub low: PageCount,
    /// Reclaim in the background ends above.
    #[doc(alias = "WMARK_HIGH")]
    pub high: PageCount,
    /// Pages are promoted from slower memory above.
    #[doc(alias = "WMARK_PROMO")]
    pub promo: PageCount,
}

/// A knob was given a value outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{knob} is {value}, and takes {takes}")]
pub struct KnobRange {
    /// The file's name.
    pub knob: &'static str,
    /// What was given.
    pub value: u64,
    /// What it takes.
    pub takes: &'static str,
}

/// The gap between two marks, in ten-thousandths of the zone.
#[doc(alias = "watermark_scale_factor")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ScaleFactor(u16);

impl ScaleFactor {
    /// The factor `n`.
    ///
    /// # Errors
    /// Outside 1 to 3000.
    pub fn new(n: u64) -> Result<Self, KnobRange> {
        let fits = u16::try_from(n).ok().filter(|n| (1..=3000).contains(n));
        fits.map(Self).ok_or(KnobRange { knob: "watermark_scale_factor", value: n, takes: "1 to 3000" })
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for ScaleFactor {
    fn default() -> Self {
        Self(10)
    }
}

/// How far a boost may go, in ten-thousandths of the high mark; zero switches boosts off.
#[doc(alias = "watermark_boost_factor")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BoostFactor(pub u32);

impl Default for BoostFactor {
    fn default() -> Self {
        Self(15_000)
    }
}

/// For each kind of zone: one page of it is kept from requests that could go higher for so many pages above it. Zero keeps none.
#[doc(alias("lowmem_reserve_ratio", "sysctl_lowmem_reserve_ratio"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReserveRatios(pub PerZone<u32>);

impl Default for ReserveRatios {
    fn default() -> Self {
        Self(PerZone::from_fn(|kind| match kind {
            ZoneKind::Dma | ZoneKind::Dma32 => 256,
            ZoneKind::Normal => 32,
            _ => 0,
        }))
    }
}

/// What the marks of one recompute depend on beside the zone itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkInputs {
    /// `min_free_kbytes`.
    pub min_free: Bytes,
    /// `watermark_scale_factor`.
    pub scale: ScaleFactor,
    /// Managed pages of all zones that the kernel can use for itself, on every node.
    pub lowmem: PageCount,
    /// The size of a base page.
    pub shift: PageShift,
}

impl Watermarks {
    /// The marks of a zone of `kind` with `managed` pages.
    ///
    /// The gaps follow from the share of the reserve that the zone would have, even where its minimum is capped: a movable zone has a
    /// tiny minimum and wide gaps. A machine without any memory for the kernel has no share to give.
    #[doc(alias = "__setup_per_zone_wmarks")]
    #[must_use]
    pub fn new(kind: ZoneKind, managed: PageCount, inputs: &MarkInputs) -> Self {
        let share = scaled(inputs.shift.pages_floor(inputs.min_free), managed, inputs.lowmem);
        let min = match kind {
            ZoneKind::HighMem | ZoneKind::Movable => PageCount::new((managed.get() / 1024).clamp(32, 128)),
            _ => share,
        };
        let by_scale = scaled(managed, PageCount::new(inputs.scale.0.into()), PageCount::new(10_000));
        let gap = PageCount::new(share.get() / 4).max(by_scale);
        let low = min.saturating_add(gap);
        let high = low.saturating_add(gap);
        Self { min, low, high, promo: high.saturating_add(gap) }
    }
}

/// `a * b / c`, rounded down, without overflow on the way; nothing where `c` is zero.
fn scaled(a: PageCount, b: PageCount, c: PageCount) -> PageCount {
    let product = u128::from(a.get()) * u128::from(b.get());
    let quotient = product.checked_div(u128::from(c.get())).unwrap_or(0);
    PageCount::new(u64::try_from(quotient).unwrap_or(u64::MAX))
}

/// What buffers may use of zones given as (managed pages, high mark): their pages above the high mark. The marks are those in
/// force, so that a second computation gives a little less than the one at boot, when they were zero.
#[doc(alias("nr_free_buffer_pages", "nr_free_zone_pages"))]
#[must_use]
pub fn buffer_pages(zones: impl IntoIterator<Item = (PageCount, PageCount)>) -> PageCount {
    let above = zones.into_iter().map(|(managed, high)| managed.saturating_sub(high));
    above.fold(PageCount::ZERO, PageCount::saturating_add)
}

/// The least that `min_free_kbytes` is computed to be.
pub const MIN_FREE_LEAST: Bytes = Bytes::kib(128);
/// The most that it is computed to be; an administrator may set more.
pub const MIN_FREE_MOST: Bytes = Bytes::kib(262_144);

/// What `min_free_kbytes` is unless somebody says otherwise: four times the root of memory, both in kB.
#[doc(alias("calculate_min_free_kbytes", "min_free_kbytes"))]
#[must_use]
pub fn min_free_default(buffer_pages: PageCount, shift: PageShift) -> Bytes {
    let kib = u128::from(buffer_pages.get()) << (shift.get() - 10);
    let root = u64::try_from((kib * 16).isqrt()).unwrap_or(u64::MAX);
    Bytes::kib(root.clamp(128, 262_144))
}

/// What transparent huge pages want `min_free_kbytes` to be at least: room for two blocks in each zone, and for one of each of three
/// types beside blocks of each of the others; at most a twentieth of memory. `zones` counts populated zones that buffers may use.
#[doc(alias = "set_recommended_min_free_kbytes")]
#[must_use]
pub fn min_free_for_huge_pages(pageblock: Order, zones: u32, buffer_pages: PageCount, shift: PageShift) -> Bytes {
    const PCP_TYPES: u64 = 3;
    let blocks = u64::from(zones) * (2 + PCP_TYPES * PCP_TYPES);
    let pages = PageCount::new(pageblock.pages().get().saturating_mul(blocks));
    let most = PageCount::new(buffer_pages.get() / 20);
    Bytes::kib(pages.min(most).get() << (shift.get() - 10))
}

/// What a zone keeps from requests that could have used a higher one.
pub type Protection = PerZone<PageCount>;

/// For each zone of a node with so many managed pages: its protection against requests whose highest zone is the index.
#[doc(alias = "setup_per_zone_lowmem_reserve")]
#[must_use]
pub fn lowmem_reserve(managed: &PerZone<PageCount>, ratios: &ReserveRatios) -> PerZone<Protection> {
    PerZone::from_fn(|zone| {
        let mut above = PageCount::ZERO;
        let ratio = if managed[zone].is_zero() { 0 } else { u64::from(ratios.0[zone]) };
        PerZone::from_fn(|highest| {
            if highest <= zone {
                return PageCount::ZERO;
            }
            above = above.saturating_add(managed[highest]);
            PageCount::new(above.get().checked_div(ratio).unwrap_or(0))
        })
    })
}

/// What one zone withholds from everybody: its high mark and the largest of its protections, but no more than it has.
#[doc(alias("calculate_totalreserve_pages", "totalreserve_pages"))]
#[must_use]
pub fn withheld(managed: PageCount, high: PageCount, protection: &Protection) -> PageCount {
    let most = protection.iter().map(|(_, &pages)| pages).max().unwrap_or_default();
    managed.min(most.saturating_add(high))
}

/// The most that the boost of a zone may become; nothing where it is not boosted at all. Before the first recompute the high mark
/// is zero and there is no boost.
#[doc(alias = "boost_watermark")]
#[must_use]
pub fn boost_limit(high: PageCount, managed: PageCount, factor: BoostFactor, pageblock: Order) -> Option<PageCount> {
    let block = pageblock.pages();
    let too_small = block.get().saturating_mul(4) > managed.get();
    let most = scaled(high, PageCount::new(factor.0.into()), PageCount::new(10_000));
    (factor.0 != 0 && !too_small && !most.is_zero()).then(|| most.max(block))
}

/// How far the free pages of a zone may be off, per processor, before the counter of the zone is corrected.
#[doc(alias = "calculate_normal_threshold")]
#[must_use]
pub fn stat_threshold(cpus: u32, managed: PageCount, shift: PageShift) -> PageCount {
    let units_of_128_mib = managed.get() >> (27 - u32::from(shift.get()));
    let threshold = 2 * fls(cpus.into()) * (1 + fls(units_of_128_mib));
    PageCount::new(threshold.min(MAX_THRESHOLD))
}

/// The same while the node's background reclaim is awake: so small that the sum of all errors cannot hide the minimum.
#[doc(alias = "calculate_pressure_threshold")]
#[must_use]
pub fn stat_threshold_under_pressure(cpus: u32, marks: &Watermarks) -> PageCount {
    let gap = marks.low.saturating_sub(marks.min).get();
    PageCount::new(gap.checked_div(cpus.into()).unwrap_or(gap).clamp(1, MAX_THRESHOLD))
}

/// Below so many free pages the counter of a zone is too vague to decide by; nothing where its errors are too small to matter. A
/// mark once set is kept by the kernel when this answers nothing later.
#[doc(alias("percpu_drift_mark", "refresh_zone_stat_thresholds"))]
#[must_use]
pub fn drift_mark(cpus: u32, threshold: PageCount, marks: &Watermarks) -> Option<PageCount> {
    let error = PageCount::new(threshold.get().saturating_mul(cpus.into()));
    (error > marks.low.saturating_sub(marks.min)).then(|| marks.high.saturating_add(error))
}

const MAX_THRESHOLD: u64 = 125;

/// The number of the highest bit that is set, counted from one.
fn fls(n: u64) -> u64 {
    u64::from(u64::BITS - n.leading_zeros())
}
