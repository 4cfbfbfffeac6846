//! Region sets against a map of single pages.
//!
//! A failure prints the shortest sequence found; proptest's own `PROPTEST_...` variables replay and widen the search.

use std::collections::BTreeMap;

use hugetlb::RegionSet;
use proptest::prelude::*;
use units::{CgroupId, HugeIndex, HugeRange};

const PAGES: u64 = 24;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u64, u64, u8),
    Remove(u64, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let range = (0..PAGES, 0..=PAGES / 2).prop_map(|(start, len)| (start, (start + len).min(PAGES)));
    let insert = (range.clone(), 0..3u8).prop_map(|((start, end), owner)| Op::Insert(start, end, owner));
    let remove = range.prop_map(|(start, end)| Op::Remove(start, end));
    prop::collection::vec(prop_oneof![3 => insert, 2 => remove], 1..60)
}

fn owner(n: u8) -> Option<CgroupId> {
    (n > 0).then(|| CgroupId::from(slotmap::KeyData::from_ffi(u64::from(n) | 1 << 32)))
}

fn range(start: u64, end: u64) -> HugeRange {
    HugeRange::new(HugeIndex::new(start), HugeIndex::new(end))
}

/// The pages of the set one by one, with their owners.
fn pages(set: &RegionSet) -> BTreeMap<u64, Option<CgroupId>> {
    let pieces = set.pieces(range(0, PAGES));
    pieces.flat_map(|piece| (piece.range.start.get()..piece.range.end.get()).map(move |n| (n, piece.owner))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_region_set_is_a_map_of_pages(ops in ops()) {
        let mut set = RegionSet::new();
        let mut model: BTreeMap<u64, Option<CgroupId>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Insert(start, end, who) => {
                    let missing = (start..end).filter(|n| !model.contains_key(n)).count() as u64;
                    prop_assert_eq!(set.insert(range(start, end), owner(who)).get(), missing);
                    for n in start..end {
                        model.entry(n).or_insert(owner(who));
                    }
                }
                Op::Remove(start, end) => {
                    // A descriptor is needed exactly where pages stay on both sides of the hole and were one region.
                    let splits = set.remove_splits(range(start, end));
                    let before = set.len();
                    let mut gone = BTreeMap::new();
                    let removed = set.remove(range(start, end), |piece| {
                        gone.extend((piece.range.start.get()..piece.range.end.get()).map(|n| (n, piece.owner)));
                    });
                    let there: BTreeMap<_, _> =
                        model.iter().filter(|(n, _)| (start..end).contains(n)).map(|(&n, &o)| (n, o)).collect();
                    prop_assert_eq!(removed.get(), there.len() as u64);
                    prop_assert_eq!(gone, there);
                    prop_assert_eq!(splits && start < end, set.len() > before);
                    model.retain(|n, _| !(start..end).contains(n));
                }
            }
            prop_assert!(set.is_canonical(), "{:?}", set);
            prop_assert_eq!(pages(&set), model.clone());
            for n in 0..PAGES {
                prop_assert_eq!(set.contains(HugeIndex::new(n)), model.contains_key(&n));
                let count = model.range(n..).count() as u64;
                prop_assert_eq!(set.count(HugeRange::from(HugeIndex::new(n))).get(), count);
            }
        }
    }
}
