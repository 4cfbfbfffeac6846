//! The arithmetic of marks, protections, lists and indices: worked vectors, and the limits of every knob.

use units::{Bytes, Order, PageCount, PageShift, PerZone, ZoneKind};
use zone::extfrag::{Permille, fragmentation_index, unusable_index};
use zone::tuning::{HighFraction, PcpInputs, PcpTuning, batch};
use zone::watermark::{
    BoostFactor, MarkInputs, Protection, ReserveRatios, ScaleFactor, Watermarks, boost_limit, buffer_pages, drift_mark,
    lowmem_reserve, min_free_default, min_free_for_huge_pages, stat_threshold, stat_threshold_under_pressure, withheld,
};

const SHIFT: PageShift = PageShift::K4;
const PAGEBLOCK: Order = Order::new(9);

fn pages(n: u64) -> PageCount {
    PageCount::new(n)
}

fn node() -> PerZone<PageCount> {
    PerZone::from_fn(|kind| {
        pages(match kind {
            ZoneKind::Dma => 3840,
            ZoneKind::Dma32 => 500_000,
            ZoneKind::Normal => 3_500_000,
            ZoneKind::Movable => 1_000_000,
            _ => 0,
        })
    })
}

fn marks(min_free: u64, scale: u64, managed: &PerZone<PageCount>) -> PerZone<[u64; 4]> {
    let lowmem = managed.iter().filter(|(kind, _)| kind.is_for_kernel()).map(|(_, &n)| n).sum();
    let inputs = MarkInputs {
        min_free: Bytes::kib(min_free),
        scale: ScaleFactor::new(scale).expect("a scale"),
        lowmem,
        shift: SHIFT,
    };
    PerZone::from_fn(|kind| {
        let w = Watermarks::new(kind, managed[kind], &inputs);
        [w.min, w.low, w.high, w.promo].map(PageCount::get)
    })
}

fn protection(of: &PerZone<Protection>, zone: ZoneKind) -> [u64; 4] {
    [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Normal, ZoneKind::Movable].map(|highest| of[zone][highest].get())
}

#[test]
fn min_free_is_four_times_the_root() {
    let gib = 1 << 20;
    let vectors = [
        (1024, 128),
        (16384, 512),
        (65536, 1024),
        (gib, 4096),
        (4 * gib, 8192),
        (16 * gib, 16384),
        (64 * gib, 32768),
        (2048 * gib, 185_363),
        (0, 128),
        (1 << 50, 262_144),
    ];
    for (lowmem_kib, want) in vectors {
        assert_eq!(min_free_default(pages(lowmem_kib / 4), SHIFT), Bytes::kib(want), "{lowmem_kib} kB");
    }
    assert_eq!(min_free_default(PageCount::MAX, PageShift::K64), Bytes::kib(262_144));
}

#[test]
fn huge_pages_want_room_in_each_zone() {
    assert_eq!(min_free_for_huge_pages(PAGEBLOCK, 3, pages(6_000_000), SHIFT), Bytes::kib(67584));
    assert_eq!(min_free_for_huge_pages(PAGEBLOCK, 3, pages(100_000), SHIFT), Bytes::kib(20000));
}

#[test]
fn buffer_pages_lie_above_the_high_marks() {
    assert_eq!(buffer_pages([(pages(100), pages(30)), (pages(10), pages(11)), (pages(5), pages(0))]), pages(75));
}

#[test]
fn marks_of_a_node() {
    let of = marks(67584, 10, &node());
    assert_eq!(of[ZoneKind::Dma], [16, 20, 24, 28]);
    assert_eq!(of[ZoneKind::Dma32], [2109, 2636, 3163, 3690]);
    assert_eq!(of[ZoneKind::Normal], [14769, 18461, 22153, 25845]);
    assert_eq!(of[ZoneKind::Movable], [128, 1182, 2236, 3290]);
    assert_eq!(of[ZoneKind::Device], [0; 4]);
}

#[test]
fn the_scale_widens_the_gaps_alone() {
    let of = marks(67584, 200, &node());
    assert_eq!(of[ZoneKind::Normal], [14769, 84769, 154_769, 224_769]);
    assert_eq!(of[ZoneKind::Movable], [128, 20128, 40128, 60128]);
}

#[test]
fn a_machine_of_movable_memory_alone_has_marks() {
    let movable = PerZone::from_fn(|kind| pages(if kind == ZoneKind::Movable { 1_000_000 } else { 0 }));
    assert_eq!(marks(67584, 10, &movable)[ZoneKind::Movable], [128, 1128, 2128, 3128]);
    let empty = PerZone::from_fn(|_| PageCount::ZERO);
    assert_eq!(marks(67584, 10, &empty)[ZoneKind::Movable], [32; 4]);
}

#[test]
fn sizes_beyond_reason_do_not_overflow() {
    let all = PerZone::from_fn(|_| PageCount::MAX);
    let inputs =
        MarkInputs { min_free: Bytes::MAX, scale: ScaleFactor::default(), lowmem: PageCount::new(1), shift: SHIFT };
    assert_eq!(Watermarks::new(ZoneKind::Normal, PageCount::MAX, &inputs).promo, PageCount::MAX);
    assert_eq!(lowmem_reserve(&all, &ReserveRatios::default())[ZoneKind::Device], Protection::default());
    assert_eq!(boost_limit(PageCount::MAX, PageCount::MAX, BoostFactor(u32::MAX), Order::MAX), Some(PageCount::MAX));
    assert_eq!(fragmentation_index([u64::MAX; 31], Order::MAX), Permille::SUITABLE);
    assert_eq!(fragmentation_index([1, 0, u64::MAX], Order::MAX).0, 1000);
    assert_eq!(unusable_index([u64::MAX; 40], Order::MAX).0, 0);
}

#[test]
fn protection_of_a_node() {
    let of = lowmem_reserve(&node(), &ReserveRatios::default());
    assert_eq!(protection(&of, ZoneKind::Dma), [0, 1953, 15625, 19531]);
    assert_eq!(protection(&of, ZoneKind::Dma32), [0, 0, 13671, 17578]);
    assert_eq!(protection(&of, ZoneKind::Normal), [0, 0, 0, 31250]);
    assert_eq!(protection(&of, ZoneKind::Movable), [0; 4]);
}

#[test]
fn ratio_zero_and_an_unmanaged_zone_protect_nothing() {
    let mut ratios = ReserveRatios::default();
    ratios.0[ZoneKind::Dma] = 0;
    assert_eq!(protection(&lowmem_reserve(&node(), &ratios), ZoneKind::Dma), [0; 4]);
    let mut sizes = node();
    sizes[ZoneKind::Dma32] = PageCount::ZERO;
    let of = lowmem_reserve(&sizes, &ReserveRatios::default());
    assert_eq!(protection(&of, ZoneKind::Dma32), [0; 4]);
    assert_eq!(protection(&of, ZoneKind::Dma), [0, 0, 13671, 17578]);
}

#[test]
fn a_zone_withholds_no_more_than_it_has() {
    let of = lowmem_reserve(&node(), &ReserveRatios::default());
    let held = |kind: ZoneKind, high| withheld(node()[kind], pages(high), &of[kind]).get();
    assert_eq!(
        [held(ZoneKind::Dma, 24), held(ZoneKind::Dma32, 3163), held(ZoneKind::Normal, 22153)],
        [3840, 20741, 53403]
    );
}

#[test]
fn a_boost_is_capped() {
    let limit = |high, managed| boost_limit(pages(high), pages(managed), BoostFactor::default(), PAGEBLOCK);
    assert_eq!(limit(20000, 1 << 20), Some(pages(30000)));
    assert_eq!(limit(0, 1 << 20), None);
    assert_eq!(limit(10, 1 << 20), Some(pages(512)));
    assert_eq!((limit(10, 2047), limit(10, 2048)), (None, Some(pages(512))));
    assert_eq!(boost_limit(pages(20000), pages(1 << 20), BoostFactor(0), PAGEBLOCK), None);
}

#[test]
fn the_counters_threshold_grows_with_cpus_and_memory() {
    for (cpus, managed, want) in [(1, 4096, 2), (8, 262_144, 40), (16, 4_194_304, 90), (128, 16_777_216, 125)] {
        assert_eq!(stat_threshold(cpus, pages(managed), SHIFT), pages(want), "{cpus} cpus, {managed} pages");
    }
}

#[test]
fn a_vague_counter_has_a_drift_mark() {
    let marks = Watermarks { min: pages(100), low: pages(125), high: pages(150), promo: pages(175) };
    assert_eq!(stat_threshold_under_pressure(4, &marks), pages(6));
    assert_eq!(stat_threshold_under_pressure(0, &marks), pages(25));
    assert_eq!(stat_threshold_under_pressure(64, &marks), pages(1));
    assert_eq!(drift_mark(4, pages(6), &marks), None);
    assert_eq!(drift_mark(4, pages(7), &marks), Some(pages(178)));
}

#[test]
fn batches_are_one_below_a_power_of_two() {
    for (managed, want) in [(0, 1), (8192, 1), (20000, 3), (65536, 15), (131_072, 31), (262_144, 63), (1 << 30, 63)] {
        assert_eq!(batch(pages(managed), SHIFT), pages(want), "{managed} pages");
    }
    assert_eq!(batch(pages(1 << 30), PageShift::K64), pages(3));
}

fn pcp(managed: u64, low: u64, fraction: u64, cpus: u32) -> [u64; 3] {
    let tuning = PcpTuning::new(&PcpInputs {
        managed: pages(managed),
        low: pages(low),
        fraction: HighFraction::new(fraction).expect("a fraction"),
        node_cpus: cpus,
        online_cpus: 8,
        shift: SHIFT,
    });
    [tuning.high_min, tuning.high_max, tuning.batch].map(PageCount::get)
}

#[test]
fn lists_share_the_low_mark_and_an_eighth() {
    assert_eq!(pcp(3_500_000, 18461, 0, 8), [2307, 54687, 63]);
    assert_eq!(pcp(3_500_000, 18461, 0, 0), [2307, 54687, 63]);
    assert_eq!(pcp(3_500_000, 18461, 100, 8), [4375, 4375, 63]);
    assert_eq!(pcp(3_500_000, 18461, 1_000_000, 8), [252, 252, 63]);
    assert_eq!(pcp(3840, 5, 0, 2), [4, 240, 1]);
}

/// `clamp` of the standard library panics where the bounds contradict each other. With `watermark_scale_factor` 3000 they do: a
/// zone's low mark, divided by its processors, is more than an eighth of the zone. The kernel's lists then stay at the upper bound.
#[test]
fn bounds_that_contradict_each_other_give_the_upper() {
    let tuning = PcpTuning { batch: pages(63), high_min: pages(424_399), high_max: pages(174_081) };
    for high in [0, 174_081, 300_000, 500_000] {
        let want = if high < 174_081 { 424_399 } else { 174_081 };
        assert_eq!(tuning.clamp(pages(high)), pages(want), "{high}");
    }
    let usual = PcpTuning { batch: pages(63), high_min: pages(10), high_max: pages(20) };
    assert_eq!([5, 10, 15, 20, 25].map(|n| usual.clamp(pages(n)).get()), [10, 10, 15, 20, 20]);
    assert_eq!(PcpTuning::BOOT.clamp(pages(9)), PageCount::ZERO);
}

#[test]
fn knobs_refuse_what_lies_outside() {
    assert_eq!([0, 1, 3000, 3001, u64::MAX].map(|n| ScaleFactor::new(n).is_ok()), [false, true, true, false, false]);
    assert_eq!([0, 1, 7, 8, 1 << 31].map(|n| HighFraction::new(n).is_ok()), [true, false, false, true, false]);
    assert_eq!(ScaleFactor::new(0).unwrap_err().to_string(), "watermark_scale_factor is 0, and takes 1 to 3000");
}

#[test]
fn indices_of_fragmentation() {
    type Free = &'static [(usize, u64)];
    let free = |list: Free| {
        let mut counts = [0; 11];
        for &(order, blocks) in list {
            counts[order] = blocks;
        }
        counts
    };
    let vectors: [(Free, u8, i32, i32); 8] = [
        (&[(0, 1)], 1, -500, 1000),
        (&[(0, 100)], 1, 490, 1000),
        (&[(0, 100)], 9, 989, 1000),
        (&[(0, 1000), (1, 300)], 9, 997, 1000),
        (&[(8, 1)], 9, -500, 1000),
        (&[(8, 2)], 9, 0, 1000),
        (&[(10, 3), (0, 100)], 9, -1000, 31),
        (&[], 3, 0, 1000),
    ];
    for (blocks, order, index, unusable) in vectors {
        let order = Order::new(order);
        assert_eq!(fragmentation_index(free(blocks), order), Permille(index), "{blocks:?} {order}");
        assert_eq!(unusable_index(free(blocks), order), Permille(unusable), "{blocks:?} {order}");
    }
}

#[test]
fn thousandths_print_as_quotient_and_remainder() {
    let text = |n| format!("{:2}|{}", Permille(n), Permille(n));
    assert_eq!(
        [text(-1000), text(-500), text(7), text(1000)],
        ["-1.000|-1.000", " 0.-500|0.-500", " 0.007|0.007", " 1.000|1.000"]
    );
}

/// The ends of the scale, and a zone so small that it has no share of the reserve.
#[test]
fn nasty_marks_at_the_ends_of_the_scale() {
    let lowmem = PageCount::new(1_000_000);
    let marks = |managed: u64, scale: u64| {
        let scale = ScaleFactor::new(scale).expect("within 1 and 3000");
        let inputs = MarkInputs { min_free: Bytes::mib(64), scale, lowmem, shift: PageShift::K4 };
        let Watermarks { min, low, high, promo } = Watermarks::new(ZoneKind::Normal, PageCount::new(managed), &inputs);
        [min, low, high, promo].map(PageCount::get)
    };
    assert_eq!(marks(1_000_000, 1), [16_384, 20_480, 24_576, 28_672], "a quarter of the share is more");
    assert_eq!(marks(1_000_000, 3_000), [16_384, 316_384, 616_384, 916_384], "three tenths of the zone");
    assert_eq!(marks(10, 1), [0; 4]);
    assert_eq!(marks(10, 3_000), [0, 3, 6, 9]);
    assert!(ScaleFactor::new(0).is_err() && ScaleFactor::new(3_001).is_err());
}
