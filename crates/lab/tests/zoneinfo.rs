//! Every recorded zoneinfo: its marks, protections, list sizes and thresholds are what the formulas make of its sizes.

use std::fs;
use std::path::{Path, PathBuf};

use hugefolio::text::Zoneinfo;
use hugefolio::{NodeId, PageCount, ZoneKind};
use lab::zoneinfo::{Difference, Grown, Host, Knobs, KnobsError, Line, ZoneinfoCheck, check_zoneinfo};

fn folders() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18-pages");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).expect("testdata").map(|f| f.expect("entry").path()).collect();
    folders.sort();
    folders
}

fn read(folder: &Path) -> (Zoneinfo, Knobs) {
    let file = |name: &str| fs::read_to_string(folder.join(name)).expect("recorded");
    (file("zoneinfo").parse().expect("zoneinfo"), file("sysctl").parse().expect("knobs"))
}

fn check(folder: &Path) -> ZoneinfoCheck {
    let (zoneinfo, knobs) = read(folder);
    check_zoneinfo(&zoneinfo, &knobs, &Host::default())
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18-pages").join(name)
}

#[test]
fn every_line_of_every_recording_is_computed() {
    let folders = folders();
    assert!(folders.len() >= 9);
    for folder in folders {
        let check = check(&folder);
        assert_eq!(check.differences, [], "{}: {check}", folder.display());
        // Five zones with four marks and five protections, three with two processors' four lines.
        assert_eq!(check.lines, 5 * (4 + 5) + 3 * 2 * 4, "{}", folder.display());
        assert_eq!(check.reclaiming, [], "{}", folder.display());
    }
}

/// Six recordings did not fit at first: Normal had been growing in steps of 128 MiB since its marks were computed at boot, while
/// `managed` is always that of now. One former size explains all marks and all lists of all zones at once.
#[test]
fn a_zone_that_grew_keeps_the_marks_of_its_former_size() {
    for name in ["pgbench-before", "pgbench-after", "gcc-before", "gcc-after", "hugetlb-before", "hugetlb-after"] {
        let (zoneinfo, _) = read(&folder(name));
        let then = PageCount::new(2_756_736)..=PageCount::new(2_756_751);
        let (node, zone, now) = (NodeId::new(0), ZoneKind::Normal, zoneinfo.0[2].pages.managed);
        assert_eq!(check(&folder(name)).grown, Some(Grown { node, zone, now, then }), "{name}");
    }
    for name in ["fragmented", "small-reserve", "high-fraction"] {
        assert_eq!(check(&folder(name)).grown, None, "{name}");
    }
}

/// A former size explains a zone that grew and nothing else: not one line that is off by one, in whichever recording.
#[test]
fn a_line_that_is_off_by_one_is_found() {
    type Change = fn(&mut Zoneinfo, PageCount);
    let changes: [(Line, Change); 8] = [
        (Line::Min, |z, one| z.0[2].pages.min += one),
        (Line::Low, |z, one| z.0[2].pages.low += one),
        (Line::High, |z, one| z.0[2].pages.high += one),
        (Line::Promo, |z, one| z.0[2].pages.promo += one),
        (Line::Protection(ZoneKind::Device), |z, one| z.0[2].protection[4] += one),
        (Line::Batch(cpu(1)), |z, one| sets(z)[1].batch += one),
        (Line::HighMin(cpu(1)), |z, one| sets(z)[1].high_min += one),
        (Line::StatThreshold(cpu(0)), |z, one| sets(z)[0].stat_threshold += one),
    ];
    for (line, change) in changes {
        let (mut zoneinfo, knobs) = read(&folder("fragmented"));
        change(&mut zoneinfo, PageCount::new(1));
        let check = check_zoneinfo(&zoneinfo, &knobs, &Host::default());
        assert_eq!(check.grown, None, "{line}");
        let found: Vec<Line> = check.differences.iter().map(|difference| difference.line).collect();
        assert_eq!(found, [line]);
    }
    let (mut zoneinfo, knobs) = read(&folder("pgbench-before"));
    zoneinfo.0[0].pages.min += PageCount::new(1);
    let check = check_zoneinfo(&zoneinfo, &knobs, &Host::default());
    assert!(check.grown.is_none() && check.differences.len() > 1);
}

fn cpu(n: u32) -> hugefolio::CpuId {
    hugefolio::CpuId::new(n)
}

fn sets(zoneinfo: &mut Zoneinfo) -> &mut [hugefolio::text::Pageset] {
    &mut zoneinfo.0[2].populated.as_mut().expect("pages").pagesets
}

#[test]
fn a_boost_raises_every_printed_mark() {
    let (mut zoneinfo, knobs) = read(&folder("fragmented"));
    let pages = &mut zoneinfo.0[1].pages;
    pages.boost = PageCount::new(512);
    for mark in [&mut pages.min, &mut pages.low, &mut pages.high, &mut pages.promo] {
        *mark += PageCount::new(512);
    }
    assert_eq!(check_zoneinfo(&zoneinfo, &knobs, &Host::default()).differences, []);
}

#[test]
fn counters_kept_exact_under_pressure_are_told_and_no_difference() {
    let (mut zoneinfo, knobs) = read(&folder("fragmented"));
    // (low - min) / 2 processors is far above the cap.
    sets(&mut zoneinfo).iter_mut().for_each(|set| set.stat_threshold = PageCount::new(125));
    let check = check_zoneinfo(&zoneinfo, &knobs, &Host::default());
    assert_eq!((check.differences, check.reclaiming), (vec![], vec![(NodeId::new(0), ZoneKind::Normal)]));
}

#[test]
fn processors_of_other_nodes_do_not_share_a_zone() {
    let (zoneinfo, knobs) = read(&folder("fragmented"));
    let one = Host { cpus: [(NodeId::new(0), 1)].into(), ..Host::default() };
    let check = check_zoneinfo(&zoneinfo, &knobs, &one);
    let found: Vec<Line> = check.differences.iter().map(|difference| difference.line).collect();
    let zone = [0, 1].map(|n| [Line::HighMin(cpu(n)), Line::HighMax(cpu(n))]).concat();
    assert_eq!(found, [zone.clone(), zone.clone(), zone].concat());
}

#[test]
fn a_difference_says_where_and_what() {
    let difference = Difference {
        node: NodeId::new(0),
        zone: ZoneKind::Normal,
        line: Line::HighMin(cpu(1)),
        ours: PageCount::new(3),
        theirs: PageCount::new(4),
    };
    assert_eq!(difference.to_string(), "node:0 zone Normal: high_min of cpu:1 is 4, computed 3");
}

#[test]
fn knobs_are_read_as_sysctl_prints_them() {
    let text = "vm.min_free_kbytes = 1024\nvm.watermark_scale_factor = 10\nvm.lowmem_reserve_ratio = 256\t0\n\
                vm.percpu_pagelist_high_fraction = 8\nvm.swappiness = 60\n";
    let knobs: Knobs = text.parse().expect("knobs");
    assert_eq!((knobs.min_free, knobs.reserve_ratios), (hugefolio::Bytes::mib(1), vec![256, 0]));
    let refused = |from: &str, to: &str| text.replace(from, to).parse::<Knobs>().expect_err("bad").to_string();
    assert_eq!(
        refused("vm.min_free_kbytes", "x"),
        "there is no line `min_free_kbytes = ...`: give what `sysctl vm` prints"
    );
    assert_eq!(refused("256\t0", "many"), "`lowmem_reserve_ratio = many`: numbers were expected");
    assert_eq!(refused("= 10\n", "= 0\n"), "watermark_scale_factor is 0, and takes 1 to 3000");
    assert_eq!(
        refused("= 1024", "= 18446744073709551615"),
        "`min_free_kbytes = 18446744073709551615`: numbers were expected"
    );
    assert!(matches!("".parse::<Knobs>(), Err(KnobsError::Missing(_))));
}
