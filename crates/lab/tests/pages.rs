//! Saved zones: what is written is read back, and what cannot be is refused.

use hugefolio::tuning::PcpTuning;
use hugefolio::{
    AllocFlags, Migratetype, NodeId, Order, PageCount, PerCpuPages, PerCpuState, Pfn, Want, Zone, ZoneKind, ZoneLayout,
};
use lab::pages::{Limits, LoadError, SavedZone};
use proptest::prelude::*;

const TUNING: PcpTuning =
    PcpTuning { batch: PageCount::new(7), high_min: PageCount::new(28), high_max: PageCount::new(200) };

fn zone() -> Zone {
    let layout = ZoneLayout {
        node: NodeId::new(1),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(3), Pfn::new(700)), (Pfn::new(710), Pfn::new(1024))],
        largest: Order::new(6),
        pageblock: Order::new(5),
    };
    Zone::new(layout).expect("two spans")
}

fn parse(text: &str) -> Result<SavedZone, LoadError> {
    SavedZone::parse(text, Limits::default())
}

fn kept(zone: &Zone, lists: &PerCpuPages) -> PerCpuState {
    let mut pages = Vec::new();
    for order in [0, 1, 2, 3, 5].map(Order::new) {
        for migratetype in Migratetype::OF_REQUESTS {
            // Unmovable and reclaimable huge pages share a list.
            if order != Order::new(5) || migratetype != Migratetype::Reclaimable {
                pages.extend(zone.cached(lists, order, migratetype).into_iter().map(|pfn| (pfn, order, migratetype)));
            }
        }
    }
    PerCpuState {
        pages,
        high: lists.high(),
        alloc_factor: lists.alloc_factor(),
        free_count: lists.free_count(),
        ..PerCpuState::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A zone that was saved and loaded, with its processor's lists, is the zone that it was.
    #[test]
    fn what_is_saved_is_loaded(
        ops in prop::collection::vec((0..6u8, 0..3usize, any::<usize>(), any::<bool>()), 1..80),
    ) {
        let (mut zone, mut lists) = (zone(), PerCpuPages::new(Order::new(5), TUNING));
        let mut taken: Vec<(Pfn, Order)> = Vec::new();
        for (order, of, which, takes) in ops {
            let (order, migratetype) = (Order::new(order), Migratetype::OF_REQUESTS[of]);
            let want = Want { order, migratetype, flags: AllocFlags::NONE };
            if takes {
                taken.extend(zone.take_cached(&mut lists, want).map(|pfn| (pfn, order)));
            } else if !taken.is_empty() {
                let (pfn, order) = taken.swap_remove(which % taken.len());
                prop_assert_eq!(zone.put_cached(&mut lists, pfn, order), Ok(()));
            }
        }
        let saved = SavedZone::of(&zone.state()).with_lists(&TUNING, &kept(&zone, &lists));
        let read = parse(&saved.to_string()).expect("it was just written");
        prop_assert_eq!(&read, &saved);
        prop_assert!(read.diff(&saved).is_empty());
        let (mut loaded, mut their) = read.build().expect("it is a zone");
        let theirs = &mut their[0];
        prop_assert_eq!(loaded.state(), zone.state());
        prop_assert_eq!(theirs.count(), lists.count());
        // What is given back fits the one as it fits the other.
        for (pfn, order) in taken {
            prop_assert_eq!(loaded.put_cached(theirs, pfn, order), Ok(()));
            prop_assert_eq!(zone.put_cached(&mut lists, pfn, order), Ok(()));
        }
        loaded.drain(theirs);
        loaded.validate().expect("a zone");
        prop_assert_eq!(loaded.free(), loaded.managed());
    }

    /// Whatever number stands where one may stand: a refusal or a zone, and no panic.
    #[test]
    fn any_number_is_read_or_refused(place in 0..40usize, number in prop::sample::select(vec![
        "0", "1", "2", "31", "64", "255", "511", "1023", "65536", "4294967295", "18446744073709551615", "-1", "1e9", "\"x\"", "null",
    ])) {
        let mut zone = zone();
        zone.take(Want { order: Order::new(5), migratetype: Migratetype::Movable, flags: AllocFlags::NONE });
        let lists = PerCpuState { pages: vec![(Pfn::new(3), Order::ZERO, Migratetype::Movable)], ..PerCpuState::default() };
        let mut zone = SavedZone::of(&zone.state());
        zone.free.retain(|list| list.order != 0);
        let text = zone.with_lists(&TUNING, &lists).to_string();
        let numbers: Vec<_> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
        let starts: Vec<_> = numbers.iter().filter(|&&at| !text.as_bytes()[at - 1].is_ascii_digit()).copied().collect();
        let at = starts[place % starts.len()];
        let end = text[at..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |len| at + len);
        let changed = format!("{}{number}{}", &text[..at], &text[end..]);
        if let Ok(saved) = parse(&changed)
            && let Ok((mut zone, mut lists)) = saved.build()
        {
            zone.validate().expect("what is loaded is checked");
            let lists = &mut lists[0];
            let want = Want { order: Order::ZERO, migratetype: Migratetype::Movable, flags: AllocFlags::NONE };
            if let Some(pfn) = zone.take_cached(lists, want) {
                zone.put_cached(lists, pfn, Order::ZERO).expect("it was handed out");
            }
            zone.decay(lists);
            zone.validate_lists(lists).expect("its lists");
        }
    }
}

#[test]
fn what_is_no_zone_is_refused_by_name() {
    let zone = SavedZone::of(&zone().state());
    let refusal = |change: &dyn Fn(&mut SavedZone)| {
        let mut changed = zone.clone();
        change(&mut changed);
        parse(&changed.to_string()).and_then(|saved| saved.build().map(drop)).expect_err("it is no zone").to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut SavedZone);
    let cases: [(Change<'_>, &str); 8] = [
        (&|z| z.version = 2, "version 2: only version 1 is read"),
        (&|z| z.zone = "Norm".into(), "`Norm` is not a kind of zone"),
        (&|z| z.node = 64, "`64` is not a node (0 to 63)"),
        (&|z| z.largest = 40, "order 40: the largest is 30"),
        (&|z| z.spans[1].1 = u64::MAX, "the zone has 18446744073709551612 frames or blocks: at most 16777216 are read"),
        (&|z| z.types.push((0, "Movabel".into())), "`Movabel` is not a migratetype"),
        (&|z| z.free[0].runs.push((4, 1 << 40)), "the free lists has 10995116277"),
        (&|z| z.isolated.push(5_000), "is not a frame of the zone"),
    ];
    for (change, expected) in cases {
        let refused = refusal(change);
        assert!(refused.contains(expected), "{refused} instead of {expected}");
    }
    assert!(matches!(parse("{\"version\":1}"), Err(LoadError::Text(_))));
    let unknown = zone.to_string().replacen("\"zone\"", "\"colour\":1,\"zone\"", 1);
    assert!(parse(&unknown).expect_err("an unknown word").to_string().contains("colour"));
}

#[test]
fn a_difference_is_a_line_on_either_side() {
    let mut changed = zone();
    let before = SavedZone::of(&changed.state());
    changed.take(Want { order: Order::new(6), migratetype: Migratetype::Movable, flags: AllocFlags::NONE });
    let diff = before.diff(&SavedZone::of(&changed.state())).to_string();
    let lines: Vec<_> = diff.lines().collect();
    assert_eq!(lines.len(), 3, "{diff}");
    assert!(
        lines[0].starts_with("- free Movable order 6: [(64,") && lines[1].starts_with("+ free Movable order 6: [(128,"),
        "{diff}"
    );
    assert_eq!(lines[2], "+ used order 6: [(64, 64)]");
}
