//! Subpools against plain bookkeeping: whatever is taken and given back, nothing is promised twice and nothing is lost.

use hugetlb::Subpool;
use proptest::prelude::*;
use units::HugeCount;

const fn n(n: u64) -> HugeCount {
    HugeCount::new(n)
}

/// Pages taken together: how many, and how many of them own a global reservation that the taker had to find.
type Taken = Vec<(u64, u64)>;

proptest! {
    #[test]
    fn global_reservations_are_conserved(
        max in prop::option::of(2..8u64),
        min in 0..4u64,
        ops in prop::collection::vec((any::<bool>(), 1..4u64, any::<prop::sample::Index>()), 1..60),
    ) {
        let min = max.map_or(min, |max| min.min(max));
        let mut pool = Subpool::new(max.map(n), n(min));
        let mut taken: Taken = Vec::new();
        // Global reservations that the mount caused to exist: its minimum, and what takers found.
        let mut global = min;
        for (take, count, which) in ops {
            if take {
                let used: u64 = taken.iter().map(|(pages, _)| pages).sum();
                match pool.take(n(count)) {
                    Ok(found) => {
                        prop_assert!(max.is_none_or(|max| used + count <= max));
                        global += found.get();
                        taken.push((count, found.get()));
                    }
                    Err(full) => {
                        prop_assert!(used + count > full.max.get());
                        prop_assert_eq!(full.used, n(used));
                    }
                }
            } else if !taken.is_empty() {
                let (count, _) = taken.swap_remove(which.index(taken.len()));
                global -= pool.give_back(n(count), n(count)).get();
            }
            let used: u64 = taken.iter().map(|(pages, _)| pages).sum();
            prop_assert_eq!(global, used + pool.rsv().get(), "every reservation is held by a taker or by the mount");
            prop_assert!(pool.rsv() <= n(min));
            if max.is_some() {
                prop_assert_eq!(pool.used(), n(used));
                prop_assert!(pool.rsv() >= n(min.saturating_sub(used)), "the minimum is kept");
            }
        }
    }

    #[test]
    fn a_take_that_comes_to_nothing_leaves_no_trace(max in 2..8u64, min in 0..4u64, held in 0..6u64, count in 1..6u64) {
        let mut pool = Subpool::new(Some(n(max)), n(min.min(max)));
        if pool.take(n(held)).is_err() {
            return Ok(());
        }
        let before = pool;
        if let Ok(global) = pool.take(n(count)) {
            let released = pool.give_back(n(count), n(count) - global);
            prop_assert_eq!(released, HugeCount::ZERO, "nothing was found yet, so nothing is released");
        }
        prop_assert_eq!(pool, before);
    }
}
