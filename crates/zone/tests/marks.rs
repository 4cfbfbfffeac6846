//! Every right at every mark, against the rules written out.

use units::{Migratetype, NodeId, Order, PageCount, PerZone, Pfn, ZoneKind};
use zone::watermark::Watermarks;
use zone::{AllocFlags, Level, MarkCheck, Zone, ZoneLayout, ZoneState};

use Migratetype::{Cma, HighAtomic, Movable, Unmovable};

const BLOCK: u64 = 512;
/// What is kept from requests that could have gone to movable memory.
const KEPT: u64 = 40;

const RIGHTS: [AllocFlags; 5] =
    [AllocFlags::OOM, AllocFlags::NON_BLOCK, AllocFlags::MIN_RESERVE, AllocFlags::CMA, AllocFlags::HIGHATOMIC];

/// Free blocks: first frame, order and type.
type Free = (u64, u8, Migratetype);

/// Plenty of single pages, and a large block, if at all, of one type only.
fn zone(large: Option<Migratetype>, mark: u64) -> (Zone, Vec<Free>) {
    let layout = ZoneLayout {
        node: NodeId::new(0),
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), Pfn::new(8 * BLOCK))],
        largest: Order::new(10),
        pageblock: Order::new(9),
    };
    let mut free: Vec<Free> = (0..256).map(|n| (2 * n, 0, Unmovable)).collect();
    free.extend(large.map(|migratetype| (4 * BLOCK, 9, migratetype)));
    let mut state = ZoneState::allocated(layout).with_type(Pfn::new(0), Unmovable);
    for &(frame, order, migratetype) in &free {
        state = state.with_free(Order::new(order), migratetype, &[Pfn::new(frame)]);
    }
    if let Some(migratetype) = large.filter(|&migratetype| migratetype != Movable) {
        state = state.with_type(Pfn::new(4 * BLOCK), migratetype);
    }
    let [min, low, high, promo] = [mark, mark + 1, mark + 2, mark + 3].map(PageCount::new);
    state.marks = Watermarks { min, low, high, promo };
    state.protection = PerZone::from_fn(|kind| PageCount::new(if kind == ZoneKind::Movable { KEPT } else { 0 }));
    (Zone::from_state(&state).unwrap_or_else(|error| panic!("{error}")), free)
}

/// The rules, with numbers that may be negative.
fn rules(free: &[Free], mark: u64, kept: u64, order: u8, has: impl Fn(AllocFlags) -> bool) -> bool {
    let pages = |of: Option<Migratetype>| -> i64 {
        let of = free.iter().filter(|block| of.is_none_or(|t| block.2 == t));
        of.map(|block| 1i64 << block.1).sum()
    };
    let mut least = i64::try_from(mark).expect("small");
    if has(AllocFlags::MIN_RESERVE) {
        least -= least / 2;
        if has(AllocFlags::NON_BLOCK) {
            least -= least / 4;
        }
    }
    if has(AllocFlags::OOM) {
        least -= least / 2;
    }
    let mut usable = pages(None) - ((1 << order) - 1);
    let may_use_reserves = RIGHTS.iter().any(|&right| right != AllocFlags::CMA && has(right));
    if !may_use_reserves {
        usable -= pages(Some(HighAtomic));
    }
    if !has(AllocFlags::CMA) {
        usable -= pages(Some(Cma));
    }
    let may = |t: Migratetype| match t {
        Cma => has(AllocFlags::CMA),
        HighAtomic => has(AllocFlags::HIGHATOMIC) || has(AllocFlags::OOM),
        _ => true,
    };
    let fits = order == 0 || free.iter().any(|&(_, of, t)| of >= order && may(t));
    usable > least + i64::try_from(kept).expect("small") && fits
}

/// Of all rights, orders, marks and reserves only some were tried, and no request of more than a page at its boundary.
#[test]
fn nasty_every_set_of_rights_at_every_boundary() {
    let mut seen = [0u32; 2];
    for large in [None, Some(Movable), Some(Cma), Some(HighAtomic)] {
        for mark in (0..1_700).step_by(3) {
            let (zone, free) = zone(large, mark);
            for bits in 0..1u8 << RIGHTS.len() {
                let set = |n: usize| bits >> n & 1 == 1;
                let flags = (0..RIGHTS.len()).filter(|&n| set(n)).fold(AllocFlags::NONE, |all, n| all.with(RIGHTS[n]));
                for order in [0, 1, 9] {
                    for (above, level) in (0..).zip([Level::Min, Level::Low, Level::High, Level::Promo]) {
                        for (kept, highest) in [(0, ZoneKind::Normal), (KEPT, ZoneKind::Movable)] {
                            let check = MarkCheck { order: Order::new(order), level, highest, flags };
                            let expected = rules(&free, mark + above, kept, order, |right| flags.contains(right));
                            assert_eq!(zone.is_above(check), expected, "{large:?} {mark} {check:?}");
                            assert_eq!(zone.is_above_fast(check), expected, "fast: {large:?} {mark} {check:?}");
                            seen[usize::from(expected)] += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|&n| n > 20_000), "one answer is hardly ever given: {seen:?}");
}

/// A lent block is all there is of its size: nothing but the look at the lists tells.
#[test]
fn nasty_a_large_block_that_is_only_lent_serves_nobody_else() {
    let (zone, _) = zone(Some(Cma), 10);
    let check =
        |order, flags| MarkCheck { order: Order::new(order), level: Level::Low, highest: ZoneKind::Normal, flags };
    assert!(zone.is_above(check(0, AllocFlags::NONE)) && !zone.is_above(check(1, AllocFlags::NONE)));
    assert!(zone.is_above(check(9, AllocFlags::CMA)) && !zone.is_above(check(10, AllocFlags::CMA)));
}
