//! A processor's lists against the rules written down once more: every list, every number and every list of the zone after every step.

mod naive;

use std::collections::BTreeMap;

use naive::{Naive, order};
use proptest::prelude::*;
use units::{Migratetype, PageCount, Pfn};
use zone::tuning::PcpTuning;
use zone::watermark::{BoostFactor, Watermarks};
use zone::{
    AllocFlags, BelowHigh, CacheSlice, FreeBlocks, PerCpuPages, PerCpuState, Reclaim, Unreserve, Want, Zone,
    ZonePressure, ZoneState,
};

use Migratetype::{Cma, HighAtomic, Isolate, Movable, Reclaimable, Unmovable};

/// The order of huge pages and of pageblocks.
const HUGE: usize = 4;
const LARGEST: usize = 6;
const BLOCKS: u64 = 128;

/// The rules, with plain lists and numbers that may be below zero.
#[derive(Clone, Debug)]
struct Lists {
    zone: Naive,
    /// Of pageblocks that are isolated, the type beneath.
    beneath: BTreeMap<u64, Migratetype>,
    reserved: u64,
    /// From head to tail.
    lists: [Vec<u64>; 14],
    count: i64,
    high: i64,
    alloc_factor: u32,
    free_count: i64,
    block_before: bool,
    large_cache: bool,
    batch: i64,
    high_min: i64,
    high_max: i64,
    reclaims: bool,
    below_high: bool,
    high_mark: u64,
}

/// How far a series of pages has come.
#[derive(PartialEq, PartialOrd)]
enum Stage {
    Own,
    Lent,
    Claim,
    Steal,
}

impl Lists {
    fn list_of(order: usize, migratetype: Migratetype) -> Option<usize> {
        match order {
            0..=3 => Some(3 * order + migratetype.index()),
            HUGE => Some(12 + usize::from(migratetype == Movable)),
            _ => None,
        }
    }

    const fn order_of(list: usize) -> usize {
        if list < 12 { list / 3 } else { HUGE }
    }

    /// The bounds may contradict each other: the upper one is looked at first.
    const fn clamp(&self, high: i64) -> i64 {
        if high >= self.high_max {
            self.high_max
        } else if high <= self.high_min {
            self.high_min
        } else {
            high
        }
    }

    fn take(&mut self, want: Want) -> Option<u64> {
        let o = usize::from(want.order.get());
        let Some(list) = Self::list_of(o, want.migratetype) else { return self.zone.take(want) };
        if self.lists[list].is_empty() {
            let most = self.refill_size(o);
            let mut stage = Stage::Own;
            for _ in 0..most {
                let Some(frame) = self.fetch(want, &mut stage) else { break };
                self.lists[list].push(frame);
                self.count += 1 << o;
            }
        }
        self.free_count >>= 1;
        if self.lists[list].is_empty() {
            return self.zone.take(want);
        }
        self.count -= 1 << o;
        Some(self.lists[list].remove(0))
    }

    fn refill_size(&mut self, o: usize) -> i64 {
        let high = self.clamp(self.high);
        self.high = high;
        if high < self.batch {
            return 1;
        }
        let mut pages = if o == 0 { self.batch << self.alloc_factor } else { self.batch };
        if self.high_min != self.high_max && !self.below_high {
            self.high = (high + pages).min(self.high_max);
        }
        if o == 0 {
            let most = (high - self.count - self.batch).max(self.batch);
            if pages <= most && self.alloc_factor < 5 {
                self.alloc_factor += 1;
            }
            pages = pages.min(most);
        }
        if pages > 1 { (pages >> o).max(2) } else { pages }
    }

    /// One page of a series: it begins where the one before was found.
    fn fetch(&mut self, want: Want, stage: &mut Stage) -> Option<u64> {
        let (o, kind, zone) = (usize::from(want.order.get()), want.migratetype, &mut self.zone);
        let lent = want.flags.contains(AllocFlags::CMA);
        let (free_lent, free) = (zone.free_pages(|t| t == Cma), zone.free_pages(|t| t != Isolate));
        let mut found = if lent && free_lent > free / 2 { zone.smallest(o, Cma) } else { None };
        if found.is_none() && *stage == Stage::Own {
            found = zone.smallest(o, kind);
        }
        if found.is_none() && *stage <= Stage::Lent && lent {
            found = zone.smallest(o, Cma);
            if found.is_some() {
                *stage = Stage::Lent;
            }
        }
        if found.is_none() && *stage <= Stage::Claim {
            found = zone.claim(o, kind, false);
            if found.is_some() {
                *stage = Stage::Own;
            }
        }
        if found.is_none() {
            found = zone.steal(o, kind);
            *stage = Stage::Steal;
        }
        found
    }

    fn put(&mut self, frame: u64, o: usize) {
        for n in 0..1 << o {
            self.zone.movable.remove(&(frame + n));
        }
        let listed = match self.zone.type_of(frame) {
            Isolate => None,
            Cma | HighAtomic => Self::list_of(o, Movable),
            kind => Self::list_of(o, kind),
        };
        let Some(list) = listed else { return self.zone.put(frame, o) };
        self.alloc_factor >>= 1;
        self.lists[list].insert(0, frame);
        self.count += 1 << o;
        let mut early = false;
        if (1..=3).contains(&o) {
            early = self.free_count >= self.batch + self.high_min / 2
                && self.block_before
                && (!self.large_cache || self.count >= self.batch);
            self.block_before = true;
        } else {
            self.block_before = false;
        }
        if self.free_count < self.batch << 5 {
            self.free_count += 1 << o;
        }
        let high = self.may_stay(early);
        if self.count < high {
            return;
        }
        let pages = if early {
            self.count.min(self.batch << 5)
        } else if high < self.batch {
            1
        } else if self.free_count >= high - self.batch {
            high - self.batch
        } else {
            self.free_count.max(self.batch)
        };
        self.give_back(list, pages);
        let usable = self.zone.free_pages(|t| !matches!(t, Isolate | Cma | HighAtomic));
        if self.below_high && usable > self.high_mark {
            self.below_high = false;
        }
    }

    fn may_stay(&mut self, early: bool) -> i64 {
        let high = self.clamp(self.high);
        self.high = high;
        if high == 0 {
            return 0;
        }
        if early {
            self.high = (high - (self.batch << 5)).max(self.high_min);
            return 0;
        }
        let lower = (high - self.free_count.max(self.batch)).max(self.high_min);
        if self.reclaims {
            self.high = lower;
            return (self.batch * 4).min(self.high);
        }
        if self.high_min == self.high_max {
            return high;
        }
        if self.below_high {
            self.high = lower;
            return self.count.max(self.high_min);
        }
        let lately = self.free_count + self.batch;
        if self.count >= high && high < lately {
            self.high = self.clamp(lately);
        }
        high
    }

    /// The coldest of one list after the other, until it is enough.
    fn give_back(&mut self, from: usize, pages: i64) {
        let (mut left, mut list) = (pages.min(self.count), from);
        while left > 0 {
            let o = Self::order_of(list);
            while left > 0
                && let Some(frame) = self.lists[list].pop()
            {
                self.zone.put(frame, o);
                self.count -= 1 << o;
                left -= 1 << o;
            }
            list = (list + 1) % 14;
        }
    }

    fn drain(&mut self) {
        while self.count > 0 {
            self.give_back(0, self.batch << 5);
        }
    }

    fn decay(&mut self) {
        if self.high > self.high_min {
            self.high = (self.count - (self.batch << 5)).max(self.high - self.high / 8).max(self.high_min);
        }
        let mut left = self.count - self.high;
        while left > 0 {
            let some = left.min(self.batch);
            self.give_back(0, some);
            left -= some;
        }
    }

    fn free_block_over(&self, block: u64) -> Option<(u64, usize, Migratetype)> {
        let frame = block << HUGE;
        (HUGE..=LARGEST).find_map(|o| {
            let start = frame >> o << o;
            self.zone.find((start, o)).map(|kind| (start, o, kind))
        })
    }

    fn isolate(&mut self, block: u64) {
        let from = self.zone.type_of(block << HUGE);
        self.beneath.insert(block, from);
        self.change(block, from, Isolate);
    }

    fn unisolate(&mut self, block: u64) {
        let Some(to) = self.beneath.remove(&block) else { return };
        let neighbour = self.zone.find(((block ^ 1) << HUGE, HUGE)).is_some_and(|kind| kind != Isolate);
        if let Some((start, HUGE, kind)) = self.free_block_over(block)
            && neighbour
        {
            self.zone.unlist((start, HUGE), kind);
            self.set_type(block, to);
            let (start, o) = self.zone.merge(start, HUGE, to);
            self.zone.list(o, to).push(start);
        } else {
            self.change(block, Isolate, to);
        }
    }

    /// A larger free block is put back in parts, by the type of each; the free pages of a pageblock move behind all others.
    fn change(&mut self, block: u64, from: Migratetype, to: Migratetype) {
        match self.free_block_over(block) {
            Some((start, o, kind)) if o > HUGE => {
                self.zone.unlist((start, o), kind);
                self.set_type(block, to);
                for part in 0..1 << (o - HUGE) {
                    self.zone.put(start + (part << HUGE), HUGE);
                }
            }
            _ => {
                self.zone.move_free(block, from, to);
                self.set_type(block, to);
            }
        }
    }

    fn set_type(&mut self, block: u64, to: Migratetype) {
        self.zone.types.insert(block, to);
        if to == Movable {
            self.zone.types.remove(&block);
        }
    }

    fn reserve(&mut self, frame: u64) {
        let block = frame >> HUGE;
        let kind = self.zone.type_of(frame);
        if self.reserved < 32 && kind < HighAtomic {
            self.zone.move_free(block, kind, HighAtomic);
            self.set_type(block, HighAtomic);
            self.reserved += 1 << HUGE;
        }
    }

    fn unreserve(&mut self, to: Migratetype) -> bool {
        for o in 0..=LARGEST {
            let Some(&frame) = self.zone.of(o, HighAtomic).first() else { continue };
            if o < HUGE {
                self.zone.move_free(frame >> HUGE, HighAtomic, to);
                self.set_type(frame >> HUGE, to);
            } else {
                self.zone.unlist((frame, o), HighAtomic);
                self.zone.list(o, to).push(frame);
                (frame >> HUGE..(frame + (1 << o)) >> HUGE).for_each(|block| self.set_type(block, to));
            }
            self.reserved -= self.reserved.min(1 << o.max(HUGE));
            return true;
        }
        false
    }

    fn compare(&self, zone: &Zone, lists: &PerCpuPages) {
        self.zone.compare(zone);
        zone.validate_lists(lists).unwrap_or_else(|broken| panic!("{broken}"));
        for o in 0..=HUGE {
            for kind in Migratetype::OF_REQUESTS {
                let Some(list) = Self::list_of(o, kind) else { continue };
                let theirs: Vec<u64> = zone.cached(lists, order(o), kind).into_iter().map(Pfn::get).collect();
                assert_eq!(theirs, self.lists[list], "the list of {kind} blocks of order {o}");
            }
        }
        let numbers = [self.count, self.high, self.free_count, self.alloc_factor.into()];
        let theirs = [lists.count(), lists.high(), lists.free_count()].map(PageCount::get);
        let [count, high, free_count] = theirs.map(|n| i64::try_from(n).expect("small"));
        assert_eq!([count, high, free_count, lists.alloc_factor().into()], numbers, "count, high, freed, doublings");
        assert_eq!(zone.pressure().below_high == BelowHigh::Yes, self.below_high);
        assert_eq!(
            (zone.reserved_highatomic().get(), zone.isolated_blocks()),
            (self.reserved, self.beneath.len() as u64)
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take(usize, Migratetype, AllocFlags),
    Put(usize),
    Chain(usize),
    CanMove(usize),
    Decay,
    Drain,
    Pressure(bool, bool),
    Isolate(usize),
    Unisolate(usize),
    Reserve(usize),
    Unreserve(Migratetype),
    Bounds(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let types = prop::sample::select(Migratetype::OF_REQUESTS.to_vec());
    let orders = prop::sample::select(vec![0usize, 0, 0, 0, 1, 2, 3, 4, 5]);
    let flags = prop::sample::select(vec![AllocFlags::NONE, AllocFlags::NONE, AllocFlags::CMA]);
    prop_oneof![
        24 => (orders, types.clone(), flags).prop_map(|(order, kind, flags)| Op::Take(order, kind, flags)),
        20 => any::<usize>().prop_map(Op::Put),
        6 => any::<usize>().prop_map(Op::Chain),
        4 => any::<usize>().prop_map(Op::CanMove),
        2 => Just(Op::Decay),
        1 => Just(Op::Drain),
        2 => any::<(bool, bool)>().prop_map(|(active, below)| Op::Pressure(active, below)),
        2 => any::<usize>().prop_map(Op::Isolate),
        2 => any::<usize>().prop_map(Op::Unisolate),
        1 => any::<usize>().prop_map(Op::Reserve),
        1 => types.prop_map(Op::Unreserve),
        1 => any::<usize>().prop_map(Op::Bounds),
    ]
}

const BOUNDS: [(u64, u64, u64); 8] =
    [(1, 0, 0), (1, 4, 40), (3, 12, 12), (3, 12, 200), (7, 28, 60), (7, 28, 1000), (7, 90, 60), (63, 10, 100)];

fn tuning((batch, high_min, high_max): (u64, u64, u64)) -> PcpTuning {
    let [batch, high_min, high_max] = [batch, high_min, high_max].map(PageCount::new);
    PcpTuning { batch, high_min, high_max }
}

/// A zone of pageblocks each of which is as drawn, and what is allocated in it.
fn start(contents: &[(u8, u8)]) -> (Naive, Vec<(u64, usize)>) {
    let mut naive = Naive { lists: BTreeMap::new(), ..Naive::new(&[(0, BLOCKS << HUGE)], LARGEST, HUGE) };
    let mut taken = Vec::new();
    for (block, &(kind, content)) in (0..).zip(contents) {
        let kind = [Movable, Movable, Movable, Unmovable, Reclaimable, Cma][usize::from(kind)];
        if kind != Movable {
            naive.types.insert(block, kind);
        }
        let at = block << HUGE;
        let (free, used): (Vec<naive::Block>, Vec<naive::Block>) = match content {
            0 => (vec![(at, 4)], vec![]),
            1 => ((0..8).map(|n| (at + 2 * n, 0)).collect(), (0..8).map(|n| (at + 2 * n + 1, 0)).collect()),
            2 => (vec![(at, 3), (at + 12, 1)], vec![(at + 8, 2), (at + 14, 0), (at + 15, 0)]),
            3 => (vec![], vec![(at, 3), (at + 8, 1), (at + 10, 1), (at + 12, 2)]),
            _ => (vec![], vec![(at, 4)]),
        };
        free.into_iter().for_each(|(frame, o)| naive.put(frame, o));
        taken.extend(used);
    }
    (naive, taken)
}

fn zone_of(naive: &Naive, high_mark: u64) -> Zone {
    let pfn = |frame: &u64| Pfn::new(*frame);
    let mut state = ZoneState::allocated(naive.zone().layout().clone());
    state.types = naive.types.iter().map(|(block, &kind)| (Pfn::new(block << HUGE), kind)).collect();
    for (&(o, migratetype), list) in &naive.lists {
        let runs = list.iter().map(|frame| (pfn(frame), pfn(frame))).collect();
        state.free.push(FreeBlocks { order: order(o), migratetype, runs });
    }
    state.marks = Watermarks { high: PageCount::new(high_mark), ..Watermarks::default() };
    state.boost_factor = BoostFactor(0);
    Zone::from_state(&state).unwrap_or_else(|error| panic!("{error}"))
}

struct Pair {
    rules: Lists,
    zone: Zone,
    lists: PerCpuPages,
    taken: Vec<(u64, usize)>,
}

impl Pair {
    fn new(contents: &[(u8, u8)], bounds: (u64, u64, u64), large_cache: bool, high_mark: u64) -> Self {
        let (naive, taken) = start(contents);
        let mut zone = zone_of(&naive, high_mark);
        let cache = if large_cache { CacheSlice::Large } else { CacheSlice::Small };
        let state = PerCpuState { cache, high: PageCount::new(bounds.1), ..PerCpuState::default() };
        let lists = zone.lists(order(HUGE), tuning(bounds), &state).unwrap_or_else(|error| panic!("{error}"));
        let [batch, high_min, high_max] = [bounds.0, bounds.1, bounds.2].map(|n| i64::try_from(n).expect("small"));
        let rules = Lists {
            zone: naive,
            beneath: BTreeMap::new(),
            reserved: 0,
            lists: Default::default(),
            count: 0,
            high: high_min,
            alloc_factor: 0,
            free_count: 0,
            block_before: false,
            large_cache,
            batch,
            high_min,
            high_max,
            reclaims: false,
            below_high: false,
            high_mark,
        };
        Self { rules, zone, lists, taken }
    }

    fn put(&mut self, which: usize) {
        let (frame, o) = self.taken.swap_remove(which);
        self.rules.put(frame, o);
        let put = self.zone.put_cached(&mut self.lists, Pfn::new(frame), order(o));
        assert_eq!(put, Ok(()));
    }

    /// What others do to the zone or the lists meanwhile.
    fn change(&mut self, op: Op) {
        match op {
            Op::Isolate(n) => {
                let block = n as u64 % BLOCKS;
                if self.zone.isolate(Pfn::new(block << HUGE)).is_ok() {
                    self.rules.isolate(block);
                }
            }
            Op::Unisolate(n) => {
                let blocks: Vec<u64> = self.rules.beneath.keys().copied().collect();
                if let Some(&block) = blocks.get(n % blocks.len().max(1)) {
                    self.zone.unisolate(Pfn::new(block << HUGE));
                    self.rules.unisolate(block);
                }
            }
            Op::Reserve(which) if !self.taken.is_empty() => {
                let (frame, o) = self.taken[which % self.taken.len()];
                if o < HUGE {
                    self.zone.reserve_highatomic(Pfn::new(frame), order(o));
                    self.rules.reserve(frame);
                }
            }
            Op::Unreserve(kind) => {
                let ours = self.zone.unreserve_highatomic(Unreserve::Everything, kind);
                assert_eq!(ours, self.rules.unreserve(kind));
            }
            Op::Bounds(n) => {
                let bounds = BOUNDS[n % BOUNDS.len()];
                self.lists.set_tuning(tuning(bounds));
                let [batch, high_min, high_max] =
                    [bounds.0, bounds.1, bounds.2].map(|n| i64::try_from(n).expect("small"));
                (self.rules.batch, self.rules.high_min, self.rules.high_max) = (batch, high_min, high_max);
            }
            _ => (),
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Take(o, migratetype, flags) => {
                let flags = if migratetype == Movable { flags } else { AllocFlags::NONE };
                let want = Want { order: order(o), migratetype, flags };
                let ours = self.zone.take_cached(&mut self.lists, want).map(Pfn::get);
                assert_eq!(ours, self.rules.take(want), "{want:?}");
                self.taken.extend(ours.map(|frame| (frame, o)));
            }
            Op::Put(which) if !self.taken.is_empty() => self.put(which % self.taken.len()),
            // Blocks of a few pages, one after another.
            Op::Chain(which) => {
                let blocks: Vec<usize> =
                    (0..self.taken.len()).filter(|&n| (1..=3).contains(&self.taken[n].1)).collect();
                for n in blocks.into_iter().rev().skip(which % 4).take(6) {
                    self.put(n);
                }
            }
            Op::CanMove(which) if !self.taken.is_empty() => {
                let (frame, o) = self.taken[which % self.taken.len()];
                if o <= HUGE {
                    self.zone.mark_movable(Pfn::new(frame), order(o));
                    self.rules.zone.movable.insert(frame, o);
                }
            }
            Op::Put(_) | Op::CanMove(_) => (),
            Op::Decay => {
                self.zone.decay(&mut self.lists);
                self.rules.decay();
            }
            Op::Drain => {
                self.zone.drain(&mut self.lists);
                self.rules.drain();
            }
            Op::Pressure(active, below) => {
                let reclaim = if active { Reclaim::Active } else { Reclaim::Idle };
                let below_high = if below { BelowHigh::Yes } else { BelowHigh::No };
                self.zone.set_pressure(ZonePressure { reclaim, below_high });
                (self.rules.reclaims, self.rules.below_high) = (active, below);
            }
            other => self.change(other),
        }
        self.rules.compare(&self.zone, &self.lists);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_step_of_the_lists_is_that_of_the_rules(
        contents in prop::collection::vec((0..6u8, 0..6u8), 128),
        ops in prop::collection::vec(op(), 1..150),
        bounds in prop::sample::select(&BOUNDS[..]),
        large_cache in any::<bool>(),
        high_mark in prop::sample::select(vec![0u64, 100, 400]),
    ) {
        let mut pair = Pair::new(&contents, bounds, large_cache, high_mark);
        pair.rules.compare(&pair.zone, &pair.lists);
        for op in ops {
            pair.step(op);
        }
    }
}
