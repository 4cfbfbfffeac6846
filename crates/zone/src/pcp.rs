//! Free pages that a processor keeps for itself.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use memmap::Broken;
use units::{Migratetype, Order, PageCount, Pfn, ZoneKind};

use crate::alloc_flags::AllocFlags;
use crate::buddy::Placement;
use crate::event::ZoneEvent;
use crate::fallback::Mode;
use crate::marks::{Level, MarkCheck};
use crate::tuning::PcpTuning;
use crate::zone::{Want, Zone, order_of};

/// The largest order that is kept for every type.
const COSTLY: usize = 3;
/// A batch grows up to so many doublings.
const BATCH_SCALE: u32 = 5;
/// Lists of the small orders, and two for huge pages: one for those that can be moved and one for all others.
const LISTS: usize = (COSTLY + 1) * Migratetype::OF_REQUESTS.len() + 2;

/// The lists that one processor has of one zone. They belong to whoever owns the processor, so that no lock guards them; pages on them
/// are not among the zone's free ones.
#[doc(alias = "per_cpu_pages")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerCpuPages {
    /// What is freed last is at the back and taken first.
    lists: [VecDeque<Pfn>; LISTS],
    huge: Order,
    count: u64,
    high: u64,
    tuning: PcpTuning,
    /// How often in a row pages were taken from the zone, without a free between.
    alloc_factor: u32,
    /// Pages freed lately: halved by each allocation.
    free_count: u64,
    last_free: LastFree,
    cache: CacheSlice,
}

/// What the last free was.
#[doc(alias = "PCPF_PREV_FREE_HIGH_ORDER")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastFree {
    /// A single page, or nothing yet.
    #[default]
    Single,
    /// A block of a few pages.
    Block,
}

/// How a processor's slice of the data cache compares with three batches of pages.
#[doc(alias = "PCPF_FREE_HIGH_BATCH")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheSlice {
    /// It is no larger: what was just freed is soon cold, and is given back early.
    #[default]
    Small,
    /// It is larger: a batch is kept for whoever allocates next.
    Large,
}

/// The lists of a processor as they stand, without history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerCpuState {
    /// Blocks from head to tail: those of one order and type follow each other.
    pub pages: Vec<(Pfn, Order, Migratetype)>,
    /// Above so many pages some are given back.
    pub high: PageCount,
    /// Doublings of the next batch.
    pub alloc_factor: u32,
    /// Pages freed lately.
    pub free_count: PageCount,
    /// What the last free was.
    pub last_free: LastFree,
    /// How large the processor's cache is.
    pub cache: CacheSlice,
}

impl PerCpuPages {
    /// Empty lists of a zone whose huge pages have that order.
    #[must_use]
    pub fn new(huge: Order, tuning: PcpTuning) -> Self {
        Self::from_state(huge, tuning, &PerCpuState::default())
    }

    /// Lists that are in this state. Blocks of an order that no list takes are left out.
    #[must_use]
    pub fn from_state(huge: Order, tuning: PcpTuning, state: &PerCpuState) -> Self {
        let mut lists = Self {
            lists: [const { VecDeque::new() }; LISTS],
            huge,
            count: 0,
            high: state.high.get(),
            tuning,
            alloc_factor: state.alloc_factor,
            free_count: state.free_count.get(),
            last_free: state.last_free,
            cache: state.cache,
        };
        for &(pfn, order, migratetype) in &state.pages {
            if let Some(list) = lists.list_of(order, migratetype) {
                lists.lists[list].push_front(pfn);
                lists.count += order.pages().get();
            }
        }
        lists
    }

    /// Base pages on all lists.
    #[must_use]
    pub const fn count(&self) -> PageCount {
        PageCount::new(self.count)
    }

    /// Above so many pages some are given back. It moves between the bounds of the tuning, and may be outside them until the lists
    /// are next used.
    #[must_use]
    pub const fn high(&self) -> PageCount {
        PageCount::new(self.high)
    }

    /// The bounds.
    #[must_use]
    pub const fn tuning(&self) -> &PcpTuning {
        &self.tuning
    }

    /// Gives the lists other bounds. What is too much goes with the next free.
    pub const fn set_tuning(&mut self, tuning: PcpTuning) {
        self.tuning = tuning;
    }

    /// Doublings of the next batch.
    #[must_use]
    pub const fn alloc_factor(&self) -> u32 {
        self.alloc_factor
    }

    /// Pages freed lately.
    #[must_use]
    pub const fn free_count(&self) -> PageCount {
        PageCount::new(self.free_count)
    }

    /// The blocks of one list, from head to tail.
    pub fn pages(&self, order: Order, migratetype: Migratetype) -> impl Iterator<Item = Pfn> {
        self.list_of(order, migratetype).into_iter().flat_map(|list| self.lists[list].iter().rev().copied())
    }

    /// Are blocks of that order kept at all?
    #[doc(alias = "pcp_allowed_order")]
    #[must_use]
    #[inline]
    pub fn takes(&self, order: Order) -> bool {
        usize::from(order.get()) <= COSTLY || order == self.huge
    }

    #[inline]
    fn list_of(&self, order: Order, migratetype: Migratetype) -> Option<usize> {
        let at = usize::from(order.get());
        if at <= COSTLY && migratetype.is_mergeable() {
            return Some(at * Migratetype::OF_REQUESTS.len() + migratetype.index());
        }
        (order == self.huge).then_some(LISTS - 2 + usize::from(migratetype == Migratetype::Movable))
    }

    const fn order_of_list(&self, list: usize) -> usize {
        if list < LISTS - 2 { list / Migratetype::OF_REQUESTS.len() } else { self.huge.get() as usize }
    }

    /// Recounts.
    ///
    /// # Errors
    /// The count is not what the lists have.
    pub fn validate(&self) -> Result<(), Broken> {
        let found: u64 = self.lists.iter().enumerate().map(|(n, l)| (l.len() as u64) << self.order_of_list(n)).sum();
        if found == self.count {
            return Ok(());
        }
        Err(Broken(alloc::format!("{} pages on a processor's lists by count, {found} by the lists", self.count)))
    }

    /// How many blocks to fetch from the zone.
    #[doc(alias = "nr_pcp_alloc")]
    fn next_batch(&mut self, order: usize, below_high: BelowHigh) -> u64 {
        let batch = self.tuning.batch.get();
        let high = self.tuning.clamp(self.high()).get();
        self.high = high;
        if high < batch {
            return 1;
        }
        let mut pages = if order == 0 { batch << self.alloc_factor } else { batch };
        if self.tuning.high_min != self.tuning.high_max && below_high == BelowHigh::No {
            self.high = (high + pages).min(self.tuning.high_max.get());
        }
        if order == 0 {
            let most = high.saturating_sub(self.count).saturating_sub(batch).max(batch);
            if pages <= most && self.alloc_factor < BATCH_SCALE {
                self.alloc_factor += 1;
            }
            pages = pages.min(most);
        }
        if pages > 1 { (pages >> order).max(2) } else { pages }
    }

    /// How many pages may stay, and what that bound becomes.
    #[doc(alias = "nr_pcp_high")]
    fn may_stay(&mut self, early: Early, zone: ZonePressure) -> u64 {
        let (batch, least) = (self.tuning.batch.get(), self.tuning.high_min.get());
        let high = self.tuning.clamp(self.high()).get();
        self.high = high;
        let lower_by = |pages: u64| high.saturating_sub(pages).max(least);
        if high == 0 {
            return 0;
        }
        if early == Early::Yes {
            self.high = lower_by(batch << BATCH_SCALE);
            return 0;
        }
        if zone.reclaim == Reclaim::Active {
            self.high = lower_by(self.free_count.max(batch));
            return (batch * 4).min(self.high);
        }
        if least == self.tuning.high_max.get() {
            return high;
        }
        if zone.below_high == BelowHigh::Yes {
            self.high = lower_by(self.free_count.max(batch));
            return self.count.max(least);
        }
        if self.count >= high && high < self.free_count + batch {
            self.high = self.tuning.clamp(PageCount::new(self.free_count + batch)).get();
        }
        high
    }

    /// How many pages to give back.
    #[doc(alias = "nr_pcp_free")]
    fn surplus(&self, high: u64, early: Early) -> u64 {
        let batch = self.tuning.batch.get();
        if early == Early::Yes {
            return self.count.min(batch << BATCH_SCALE);
        }
        if high < batch {
            return 1;
        }
        // The bounds may contradict each other, and then the upper one wins.
        let most = high - batch;
        if self.free_count >= most { most } else { self.free_count.max(batch) }
    }

    /// A block was freed after others of its kind: is it time to give pages back early?
    fn is_early(&mut self, order: usize) -> Early {
        if order == 0 || order > COSTLY {
            self.last_free = LastFree::Single;
            return Early::No;
        }
        let batch = self.tuning.batch.get();
        let many = self.free_count >= batch + self.tuning.high_min.get() / 2;
        let kept = self.cache == CacheSlice::Small || self.count >= batch;
        let again = core::mem::replace(&mut self.last_free, LastFree::Block) == LastFree::Block;
        if many && again && kept { Early::Yes } else { Early::No }
    }
}

/// Whether pages are given back although the lists are not full.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Early {
    Yes,
    No,
}

/// Whether background reclaim works on a zone.
#[doc(alias = "ZONE_RECLAIM_ACTIVE")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclaim {
    /// It does: lists are kept short.
    Active,
    /// It does not.
    #[default]
    Idle,
}

/// Whether a zone was seen below its high mark.
#[doc(alias = "ZONE_BELOW_HIGH")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BelowHigh {
    /// It was: lists grow no more, and every request looks at its own mark.
    Yes,
    /// It was not, or was above it since.
    #[default]
    No,
}

/// How scarce pages are in a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZonePressure {
    /// Does background reclaim work on it?
    pub reclaim: Reclaim,
    /// Was it seen below its high mark?
    pub below_high: BelowHigh,
}

impl Zone {
    /// How scarce pages are.
    #[must_use]
    pub const fn pressure(&self) -> ZonePressure {
        self.pressure
    }

    /// Says how scarce pages are.
    pub const fn set_pressure(&mut self, pressure: ZonePressure) {
        self.pressure = pressure;
    }

    /// Takes a block from a processor's lists, which fetch more from the zone when they are empty. Whatever the lists do not take, and
    /// what urgent requests may have, comes straight from the zone.
    #[doc(alias("rmqueue", "rmqueue_pcplist"))]
    #[inline]
    pub fn take_cached(&mut self, lists: &mut PerCpuPages, want: Want) -> Option<Pfn> {
        let migratetype = self.type_of_request(want.migratetype);
        if lists.takes(want.order)
            && let Some(list) = lists.list_of(want.order, migratetype)
        {
            lists.free_count >>= 1;
            if lists.lists[list].is_empty() {
                self.fetch(lists, list, Want { migratetype, ..want });
            }
            if let Some(pfn) = lists.lists[list].pop_back() {
                lists.count -= want.order.pages().get();
                return Some(pfn);
            }
        }
        self.take(want)
    }

    /// Fetches blocks for an empty list, in the order in which the zone gives them.
    #[doc(alias = "rmqueue_bulk")]
    #[inline(never)]
    fn fetch(&mut self, lists: &mut PerCpuPages, list: usize, want: Want) {
        let order = usize::from(want.order.get());
        let mut mode = Mode::Own;
        for _ in 0..lists.next_batch(order, self.pressure.below_high) {
            let Some(frame) = self.take_by_mode(want, &mut mode) else { break };
            lists.lists[list].push_front(self.pfn(frame));
            lists.count += 1 << order;
        }
    }

    /// Gives a block back to a processor's lists, and from there to the zone what has become too much. Pages of isolated blocks, and of
    /// orders that the lists do not take, go straight to the zone.
    #[doc(alias("free_unref_page", "free_frozen_page_commit"))]
    #[inline]
    pub fn put_cached(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) {
        let migratetype = match self.forget(pfn, order) {
            Migratetype::Cma | Migratetype::HighAtomic => Migratetype::Movable,
            other => other,
        };
        let list = if migratetype == Migratetype::Isolate { None } else { lists.list_of(order, migratetype) };
        let Some(list) = list else { return self.put(pfn, order) };
        lists.alloc_factor >>= 1;
        lists.lists[list].push_back(pfn);
        lists.count += order.pages().get();
        let early = lists.is_early(order.get().into());
        if lists.free_count < lists.tuning.batch.get() << BATCH_SCALE {
            lists.free_count += order.pages().get();
        }
        let high = lists.may_stay(early, self.pressure);
        if lists.count >= high {
            self.give_back_too_much(lists, list, high, early);
        }
    }

    #[inline(never)]
    fn give_back_too_much(&mut self, lists: &mut PerCpuPages, list: usize, high: u64, early: Early) {
        let pages = lists.surplus(high, early);
        self.give_back(lists, list, pages);
        let check =
            MarkCheck { order: Order::ZERO, level: Level::High, highest: ZoneKind::Movable, flags: AllocFlags::NONE };
        if self.pressure.below_high == BelowHigh::Yes && self.is_above(check) {
            self.pressure.below_high = BelowHigh::No;
        }
    }

    /// Gives at least `pages` back from list to list, beginning with `list`: of each the coldest, until it is empty. A block may be
    /// larger than what is left to give; and its pageblock may have another type than when it was freed.
    #[doc(alias = "free_pcppages_bulk")]
    fn give_back(&mut self, lists: &mut PerCpuPages, mut list: usize, pages: u64) {
        let mut left = pages.min(lists.count);
        while left > 0 {
            let Some(pfn) = lists.lists[list].pop_front() else {
                list = (list + 1) % LISTS;
                continue;
            };
            let order = lists.order_of_list(list);
            lists.count -= 1 << order;
            left = left.saturating_sub(1 << order);
            let frame = self.frame(pfn);
            let migratetype = self.blocks.migratetype(self.block(frame));
            self.free_one(frame, order, migratetype, Placement::Usual);
            self.note(|| ZoneEvent::Drained { pfn, order: order_of(order), migratetype });
        }
    }

    /// Gives everything back.
    #[doc(alias = "drain_pages_zone")]
    pub fn drain(&mut self, lists: &mut PerCpuPages) {
        while lists.count > 0 {
            self.give_back(lists, 0, lists.tuning.batch.get() << BATCH_SCALE);
        }
    }

    /// Once a second: lists that grew beyond their least size shrink by an eighth, and give back, batch by batch, what does not
    /// fit any more.
    #[doc(alias = "decay_pcp_high")]
    pub fn decay(&mut self, lists: &mut PerCpuPages) {
        let (batch, least) = (lists.tuning.batch.get(), lists.tuning.high_min.get());
        if lists.high > least {
            let by_count = lists.count.saturating_sub(batch << BATCH_SCALE);
            lists.high = by_count.max(lists.high - (lists.high >> 3)).max(least);
        }
        let mut left = lists.count.saturating_sub(lists.high);
        while left > 0 {
            let some = left.min(batch);
            self.give_back(lists, 0, some);
            left -= some;
        }
    }
}
