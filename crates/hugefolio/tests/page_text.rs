//! The kernel's text about free pages: byte for byte, against recordings of Linux 6.18, and back.

use std::fmt::{Debug, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hugefolio::text::{
    BlockRow, BlockTable, Buddyinfo, CounterName, Counters, ExtfragIndex, FreeBlocks, FreeListRow, IndexRow,
    ListLength, NodePagetypes, Pageset, Pagetypeinfo, PopulatedZone, TextError, UnusableIndex, Vmstat, VmstatItem,
    ZonePages, ZoneReport, Zoneinfo,
};
use hugefolio::{CpuId, Migratetype, NodeId, Order, PageCount, Permille, Pfn, ZoneKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn recorded() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/linux-6.18-pages");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder).expect("testdata").map(|f| f.expect("entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 9, "{folders:?}");
    folders
}

/// Reads and prints again; the values are the answer.
fn round<T: FromStr<Err = TextError> + Display + PartialEq + Debug>(text: &str) -> T {
    let value: T = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(value.to_string(), text);
    value
}

fn round_file<T: FromStr<Err = TextError> + Display + PartialEq + Debug>(folder: &Path, name: &str) -> Option<T> {
    fs::read_to_string(folder.join(name)).ok().map(|text| round(&text))
}

#[test]
fn every_recorded_file_prints_back_byte_for_byte() {
    let mut files = 0;
    for folder in recorded() {
        assert!(round_file::<Zoneinfo>(&folder, "zoneinfo").is_some());
        assert!(round_file::<Vmstat>(&folder, "vmstat").is_some());
        assert!(round_file::<Pagetypeinfo>(&folder, "pagetypeinfo").is_some());
        let buddyinfo: Buddyinfo = round_file(&folder, "buddyinfo").expect("buddyinfo");
        files += 4;
        if let Some(index) = round_file::<ExtfragIndex>(&folder, "extfrag_index") {
            assert_eq!(index, ExtfragIndex::of(&buddyinfo), "{}", folder.display());
            files += 1;
        }
        if let Some(index) = round_file::<UnusableIndex>(&folder, "unusable_index") {
            assert_eq!(index, UnusableIndex::of(&buddyinfo), "{}", folder.display());
            files += 1;
        }
    }
    assert!(files >= 42, "{files}");
}

/// Every line of the recorded files is known, and in the order that the lists have.
#[test]
fn every_recorded_counter_is_known_and_in_order() {
    for folder in recorded() {
        let vmstat: Vmstat = round_file(&folder, "vmstat").expect("vmstat");
        let known = [VmstatItem::ZONE, VmstatItem::NODE, VmstatItem::MACHINE].concat();
        assert_eq!(names(&vmstat.0), known.into_iter().map(CounterName::Known).collect::<Vec<_>>());
        let zoneinfo: Zoneinfo = round_file(&folder, "zoneinfo").expect("zoneinfo");
        for zone in &zoneinfo.0 {
            if let Some(counters) = &zone.node_counters {
                assert!(names(counters).into_iter().eq(VmstatItem::NODE.iter().copied().map(CounterName::Known)));
            }
            if let Some(populated) = &zone.populated {
                let zone = VmstatItem::ZONE.iter().copied().map(CounterName::Known);
                assert!(names(&populated.counters).into_iter().eq(zone));
            }
        }
    }
}

fn names(counters: &Counters) -> Vec<CounterName> {
    counters.0.iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn zoneinfo_is_typed() {
    let folder = recorded().into_iter().find(|f| f.ends_with("pgbench-before")).expect("recorded");
    let zoneinfo: Zoneinfo = round_file(&folder, "zoneinfo").expect("zoneinfo");
    let kinds: Vec<ZoneKind> = zoneinfo.0.iter().map(|zone| zone.zone).collect();
    assert_eq!(kinds, ZoneKind::OF_64_BITS);
    let normal = &zoneinfo.0[2];
    assert_eq!((normal.pages.min, normal.pages.managed), (PageCount::new(13181), PageCount::new(2_781_080)));
    let populated = normal.populated.as_ref().expect("pages");
    assert_eq!(populated.start, Pfn::new(1_048_576));
    assert_eq!(populated.counters.get(VmstatItem::NumaHit), Some(32_254_950));
    assert_eq!(
        populated.pagesets[1],
        Pageset {
            cpu: CpuId::new(1),
            count: PageCount::new(8178),
            high: PageCount::new(41662),
            batch: PageCount::new(63),
            high_min: PageCount::new(8238),
            high_max: PageCount::new(172_296),
            stat_threshold: PageCount::new(32),
        }
    );
    assert_eq!(zoneinfo.0[0].node_counters.as_ref().and_then(|c| c.get(VmstatItem::NrWriteback)), Some(33));
    assert!(zoneinfo.0[3].populated.is_none());
}

#[test]
fn counters_of_other_kernels_are_kept() {
    let vmstat: Vmstat = round("nr_free_pages 5\nnr_of_tomorrow 7\n");
    assert_eq!(vmstat.0.0[1], (CounterName::Other("nr_of_tomorrow".into()), 7));
    assert_eq!((vmstat.0.get(VmstatItem::NrFreePages), vmstat.0.get(VmstatItem::Pgfault)), (Some(5), None));
}

#[test]
fn lists_too_long_to_count_and_mixed_blocks() {
    let node = NodeId::new(1);
    let zone = ZoneKind::Normal;
    let table =
        BlockTable { types: Migratetype::ALL.to_vec(), zones: vec![BlockRow { node, zone, blocks: vec![7; 6] }] };
    let info = Pagetypeinfo(vec![NodePagetypes {
        pageblock: Order::new(2),
        orders: 2,
        free: vec![FreeListRow { node, zone, of: Migratetype::Cma, lists: [3, 100_000].map(ListLength::of).to_vec() }],
        blocks: table.clone(),
        mixed: Some(table),
    }]);
    let types = "   Unmovable      Movable  Reclaimable   HighAtomic          CMA      Isolate ";
    let sevens = "           7            7            7            7            7            7 ";
    let want = format!(
        "Page block order: 2\nPages per block:  4\n\n\
         Free pages count per migrate type at order       0      1 \n\
         Node    1, zone   Normal, type          CMA      3 >100000 \n\n\
         Number of blocks type  {types}\nNode 1, zone   Normal {sevens}\n\n\
         Number of mixed blocks {types}\nNode 1, zone   Normal {sevens}\n"
    );
    assert_eq!(info.to_string(), want);
    assert_eq!(round::<Pagetypeinfo>(&want), info);
}

/// Quotient and remainder of a negative index are printed each with its own sign: half a unit below zero is not `-0.500`.
#[test]
fn a_negative_index_is_read_as_it_is_printed() {
    let text = "Node 0, zone      DMA -1.000  0.-500  0.-05  0.990 \n";
    let index: ExtfragIndex = round(text);
    assert_eq!(index.0[0].values, [-1000, -500, -5, 990].map(Permille));
    let free = Buddyinfo(vec![FreeBlocks { node: NodeId::new(0), zone: ZoneKind::Dma, blocks: vec![1, 0] }]);
    assert_eq!(ExtfragIndex::of(&free).to_string(), "Node 0, zone      DMA -1.000  0.-500 \n");
    assert_eq!(UnusableIndex::of(&free).to_string(), "Node 0, zone      DMA 0.000 1.000 \n");
}

fn refused<T: FromStr<Err = TextError> + Debug>(text: &str) -> String {
    text.parse::<T>().expect_err("not the kernel's").to_string()
}

#[test]
fn what_is_not_the_kernels_is_refused_with_its_place() {
    assert_eq!(
        refused::<Buddyinfo>("Node 0, zone      DMA      1      x \n"),
        "line 1, column 35: found `x ` where a number below 2^64 was expected"
    );
    assert_eq!(
        refused::<Buddyinfo>("Node 0, zone      DMA      1 \nNode 64, zone      DMA      1 \n"),
        "line 2, column 6: found `64, zone      DMA      1 ` where the number of a node below 64 was expected"
    );
    assert_eq!(
        refused::<Buddyinfo>("Node 0, zone      DMA      1\n"),
        "line 1, column 29: found `the end of the line` where ` ` was expected"
    );
    assert_eq!(
        refused::<Buddyinfo>("Node 0, zone      DMA      1 "),
        "line 1, column 30: found `the end of the text` where a number below 2^64 was expected"
    );
    assert_eq!(refused::<Vmstat>("nr_free_pages 007\n"), "line 1, column 15: found `007` where `7` was expected");
    assert_eq!(
        refused::<Vmstat>("nr_free_pages 18446744073709551616\n"),
        "line 1, column 15: found `18446744073709551616` where a number below 2^64 was expected"
    );
    assert_eq!(
        refused::<Zoneinfo>("Node 0, zone   Normal\n  pages free     1\n        bost    0\n"),
        "line 3, column 9: found `bost    0` where `boost    ` was expected"
    );
    assert_eq!(
        refused::<Pagetypeinfo>("Page block order: 9\nPages per block:  511\n"),
        "line 2, column 19: found `511` where `512` was expected"
    );
    assert_eq!(
        refused::<UnusableIndex>("Node 0, zone   Narmal 0.000 \n"),
        "line 1, column 16: found `Narmal 0.000 ` where the name of a zone (DMA, DMA32, Normal, HighMem, Movable, \
         Device) was expected"
    );
}

/// Each character of a file left out in turn: either refused on its line or the next, or accepted as another value.
fn each_character_missing<T: FromStr<Err = TextError> + Display + PartialEq + Debug>(text: &str) {
    for (at, gone) in text.char_indices() {
        let cut = format!("{}{}", &text[..at], &text[at + gone.len_utf8()..]);
        match cut.parse::<T>() {
            Ok(value) => assert_eq!(value.to_string(), cut),
            Err(error) => {
                let line = text[..at].matches('\n').count() + 1;
                assert!(error.line.abs_diff(line) <= 1, "{error}, but the cut was on line {line}");
            }
        }
    }
}

#[test]
fn a_missing_character_is_noticed_where_it_is_missing() {
    let folder = &recorded()[0];
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("recorded");
    each_character_missing::<Buddyinfo>(&text("buddyinfo"));
    each_character_missing::<Zoneinfo>(&text("zoneinfo"));
    each_character_missing::<Vmstat>(&text("vmstat"));
    each_character_missing::<Pagetypeinfo>(&text("pagetypeinfo"));
    each_character_missing::<UnusableIndex>(&text("unusable_index"));
}

fn node() -> impl Strategy<Value = NodeId> {
    (0u8..64).prop_map(NodeId::new)
}

fn zone() -> impl Strategy<Value = ZoneKind> {
    select(&ZoneKind::ALL[..])
}

fn pages() -> impl Strategy<Value = PageCount> {
    prop_oneof![0u64..2000, any::<u64>()].prop_map(PageCount::new)
}

fn counters() -> impl Strategy<Value = Counters> {
    let known = select(VmstatItem::NODE).prop_map(CounterName::Known);
    let other = "other_[a-z0-9_]{1,20}".prop_map(|name| CounterName::from(name.as_str()));
    vec((prop_oneof![known, other], any::<u64>()), 0..6).prop_map(Counters)
}

fn zone_pages() -> impl Strategy<Value = ZonePages> {
    vec(pages(), 10).prop_map(|n| ZonePages {
        free: n[0],
        boost: n[1],
        min: n[2],
        low: n[3],
        high: n[4],
        promo: n[5],
        spanned: n[6],
        present: n[7],
        managed: n[8],
        cma: n[9],
    })
}

fn pageset() -> impl Strategy<Value = Pageset> {
    (any::<u32>(), vec(pages(), 6)).prop_map(|(cpu, n)| Pageset {
        cpu: CpuId::new(cpu),
        count: n[0],
        high: n[1],
        batch: n[2],
        high_min: n[3],
        high_max: n[4],
        stat_threshold: n[5],
    })
}

fn zone_report() -> impl Strategy<Value = ZoneReport> {
    let populated = (counters(), vec(pageset(), 0..3), any::<bool>(), any::<u64>()).prop_map(
        |(counters, pagesets, node_unreclaimable, start)| PopulatedZone {
            counters,
            pagesets,
            node_unreclaimable,
            start: Pfn::new(start),
        },
    );
    let parts = (node(), zone(), proptest::option::of(counters()), zone_pages(), vec(pages(), 1..6));
    (parts, proptest::option::of(populated)).prop_map(|((node, zone, node_counters, pages, protection), populated)| {
        ZoneReport { node, zone, node_counters, pages, protection, populated }
    })
}

fn pagetypes() -> impl Strategy<Value = NodePagetypes> {
    let types = select(vec![Migratetype::ALL.to_vec(), Migratetype::WITHOUT_CMA.to_vec()]);
    let row =
        || (node(), zone(), vec(any::<u64>(), 0..7)).prop_map(|(node, zone, blocks)| BlockRow { node, zone, blocks });
    let table = move || (types.clone(), vec(row(), 0..3)).prop_map(|(types, zones)| BlockTable { types, zones });
    let lists = vec((0u64..200_000).prop_map(ListLength::of), 0..11);
    let free = (node(), zone(), select(&Migratetype::ALL[..]), lists).prop_map(|(node, zone, of, lists)| FreeListRow {
        node,
        zone,
        of,
        lists,
    });
    let parts = (0u8..=30, 0u8..20, vec(free, 0..4), table(), proptest::option::of(table()));
    parts.prop_map(|(order, orders, free, blocks, mixed)| NodePagetypes {
        pageblock: Order::new(order),
        orders,
        free,
        blocks,
        mixed,
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(
        zones in vec(zone_report(), 0..4),
        counters in counters(),
        types in vec(pagetypes(), 0..3),
        rows in vec((node(), zone(), vec(any::<u64>(), 0..12), vec(-100_000i32..=1000, 0..12)), 0..4),
    ) {
        let zoneinfo = Zoneinfo(zones);
        prop_assert_eq!(zoneinfo.to_string().parse(), Ok(zoneinfo));
        let vmstat = Vmstat(counters);
        prop_assert_eq!(vmstat.to_string().parse(), Ok(vmstat));
        let types = Pagetypeinfo(types);
        prop_assert_eq!(types.to_string().parse(), Ok(types));
        let free = rows.iter().map(|(node, zone, blocks, _)| FreeBlocks { node: *node, zone: *zone, blocks: blocks.clone() });
        let free = Buddyinfo(free.collect());
        prop_assert_eq!(free.to_string().parse(), Ok(free.clone()));
        let index = rows.iter().map(|(node, zone, _, values)| {
            IndexRow { node: *node, zone: *zone, values: values.iter().copied().map(Permille).collect() }
        });
        let index = ExtfragIndex(index.collect());
        prop_assert_eq!(index.to_string().parse(), Ok(index.clone()));
        let index = UnusableIndex(index.0);
        prop_assert_eq!(index.to_string().parse(), Ok(index));
        prop_assert_eq!(ExtfragIndex::of(&free).0.len(), free.0.len());
    }
}
