//! Free pages that a processor keeps for itself.

use alloc::vec::Vec;

use memmap::Broken;
use units::{Migratetype, Order, PageCount, Pfn};

use crate::stack::{Cached, Stack};
use crate::tuning::PcpTuning;
use crate::zone::size;

/// The largest order that is kept for every type.
const COSTLY: usize = 3;
/// A batch grows up to so many doublings.
const BATCH_SCALE: u32 = 5;
/// No more pages freed lately are counted, whatever the batch.
const MOST_COUNTED: u64 = 1 << 40;
/// Lists of the small orders, by type, behind them those of huge pages, and those of huge pages that are pieces of a pageblock.
pub(crate) const LISTS: usize = HUGE_LISTS + (2 << TYPE_SHIFT);
const HUGE_LISTS: usize = (COSTLY + 1) << TYPE_SHIFT;
/// Room for all types. Lists of those that no request has stay empty.
const TYPE_SHIFT: usize = 3;

/// The lists that one processor has of one zone. They belong to whoever owns the processor, so that no lock guards them; pages on them
/// are not among the zone's free ones.
#[doc(alias = "per_cpu_pages")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerCpuPages {
    /// What is freed last is at the top and taken first.
    pub(crate) lists: [Stack; LISTS],
    pub(crate) count: u64,
    /// While there are fewer pages and none are scarce, a free has nothing to decide: the upper bound where it is between the bounds
    /// of the tuning, or zero.
    quiet: u64,
    /// Pages freed lately: halved by each allocation.
    free_count: u64,
    /// Above that they are not counted.
    most_counted: u64,
    /// From so many pages freed lately a chain of blocks goes back early.
    many_from: u64,
    /// How often in a row pages were taken from the zone, without a free between.
    alloc_factor: u32,
    last_free: LastFree,
    cache: CacheSlice,
    huge: Order,
    /// The order of huge pages where these have lists of their own; no order otherwise.
    apart: usize,
    /// The size of huge pages.
    huge_pages: u64,
    pub(crate) high: u64,
    tuning: PcpTuning,
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
    /// Lists up to this order are kept for every type; those of huge pages are two for all types.
    pub(crate) const LARGEST_OF_EVERY_TYPE: Order = Order::new(3);

    /// Empty lists of a zone whose huge pages have that order.
    #[must_use]
    pub fn new(huge: Order, tuning: PcpTuning) -> Self {
        Self::without_pages(huge, tuning, &PerCpuState::default())
    }

    /// The state without its pages.
    pub(crate) fn without_pages(huge: Order, tuning: PcpTuning, state: &PerCpuState) -> Self {
        let mut lists = Self {
            lists: [const { Stack::EMPTY }; LISTS],
            count: 0,
            quiet: 0,
            free_count: state.free_count.get().min(MOST_COUNTED),
            most_counted: 0,
            many_from: 0,
            alloc_factor: state.alloc_factor.min(BATCH_SCALE),
            last_free: state.last_free,
            cache: state.cache,
            huge,
            huge_pages: huge.pages().get(),
            apart: Some(usize::from(huge.get())).filter(|&order| order > COSTLY).unwrap_or(usize::MAX),
            high: state.high.get(),
            tuning,
        };
        lists.settle();
        lists
    }

    /// Works out what follows from the bounds; after every change of the tuning.
    fn settle(&mut self) {
        self.settle_high();
        self.most_counted = (self.tuning.batch.get() << BATCH_SCALE).min(MOST_COUNTED);
        self.many_from = self.tuning.batch.get().saturating_add(self.tuning.high_min.get() / 2);
    }

    /// The same after a change of the upper bound alone.
    #[inline]
    fn settle_high(&mut self) {
        self.quiet = if self.tuning.clamp(self.high()).get() == self.high { self.high } else { 0 };
    }

    #[inline]
    pub(crate) fn set_high(&mut self, high: u64) {
        self.high = high;
        self.settle_high();
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
    pub fn set_tuning(&mut self, tuning: PcpTuning) {
        self.tuning = tuning;
        self.settle();
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

    /// Are blocks of that order kept at all?
    #[doc(alias = "pcp_allowed_order")]
    #[must_use]
    #[inline]
    pub fn takes(&self, order: Order) -> bool {
        usize::from(order.get()) <= COSTLY || order == self.huge
    }

    /// The list of an order and a type of requests.
    #[inline(always)]
    pub(crate) fn list_of(&self, order: Order, migratetype: Migratetype) -> Option<usize> {
        let at = usize::from(order.get());
        if !migratetype.is_mergeable() {
            return None;
        }
        if at <= COSTLY {
            return Some((at << TYPE_SHIFT) | migratetype.index());
        }
        // Huge pages that cannot be moved are on one list.
        let listed = if migratetype == Migratetype::Movable { migratetype } else { Migratetype::Unmovable };
        (order == self.huge).then_some(Self::huge_list(listed))
    }

    pub(crate) const fn order_of_list(&self, list: usize) -> usize {
        if list < HUGE_LISTS { list >> TYPE_SHIFT } else { self.huge.get() as usize }
    }

    /// Their state, with the pages that their zone finds on them.
    pub(crate) fn described(&self, pages: Vec<(Pfn, Order, Migratetype)>) -> PerCpuState {
        PerCpuState {
            pages,
            high: self.high(),
            alloc_factor: self.alloc_factor,
            free_count: self.free_count(),
            last_free: self.last_free,
            cache: self.cache,
        }
    }

    /// Recounts.
    ///
    /// # Errors
    /// The count is not what the lists have.
    pub fn validate(&self) -> Result<(), Broken> {
        let found: u64 =
            self.lists.iter().enumerate().map(|(n, list)| (list.len() as u64) << self.order_of_list(n)).sum();
        if found == self.count {
            return Ok(());
        }
        Err(Broken(alloc::format!("{} pages on a processor's lists by count, {found} by the lists", self.count)))
    }

    /// Takes a block off a list, if there is one.
    #[inline(always)]
    pub(crate) fn take(&mut self, list: usize, pages: u64) -> Option<Cached> {
        let block = self.lists[list].pop()?;
        self.count -= pages;
        self.note_request();
        Some(block)
    }

    /// An allocation asked for a block of these lists.
    #[inline]
    pub(crate) const fn note_request(&mut self) {
        self.free_count >>= 1;
    }

    /// Puts a page, or a huge page, on a list that has room for it; nothing was done otherwise.
    #[inline(always)]
    pub(crate) fn put_quietly(&mut self, list: usize, block: Cached, pages: u64) -> Option<Crowd> {
        let count = self.count + pages;
        if !self.lists[list].push_quietly(block) {
            return None;
        }
        self.count = count;
        self.last_free = LastFree::Single;
        self.count_freed(pages);
        Some(if count < self.quiet { Crowd::Fits } else { Crowd::MayNot })
    }

    /// One of two blocks that were fetched for an empty list, while the other one is handed out.
    #[inline]
    pub(crate) fn keep_second(&mut self, list: usize, block: Cached, pages: u64) {
        self.lists[list].push(block);
        self.count += pages;
        self.note_request();
    }

    /// The list of single pages of a type; one that stays empty where processors keep none of that type.
    #[inline(always)]
    pub(crate) const fn page_list(migratetype: Migratetype) -> usize {
        migratetype.index()
    }

    /// The list of huge pages of a type, where they have lists of their own. That of reclaimable ones stays empty: these are on the list of
    /// unmovable ones.
    #[inline(always)]
    pub(crate) const fn huge_list(migratetype: Migratetype) -> usize {
        HUGE_LISTS + migratetype.index()
    }

    /// The list of huge pages that takes the place of `list` where they are pieces of a pageblock: their places are other numbers.
    pub(crate) const fn of_pieces(list: usize) -> usize {
        list + (1 << TYPE_SHIFT)
    }

    /// The size of blocks of this order, if they are huge pages with lists of their own.
    #[inline(always)]
    pub(crate) fn huge_pages(&self, order: usize) -> Option<u64> {
        (order == self.apart).then_some(self.huge_pages)
    }

    /// Puts a block on a list. Is there nothing else to do? Otherwise, whether pages should go early.
    #[inline]
    pub(crate) fn put(&mut self, list: usize, block: Cached, order: usize) -> Result<(), Early> {
        self.lists[list].push(block);
        self.count += size(order);
        let early = self.is_early(order);
        self.count_freed(size(order));
        if self.count < self.quiet && early == Early::No { Ok(()) } else { Err(early) }
    }

    #[inline]
    fn count_freed(&mut self, pages: u64) {
        self.alloc_factor >>= 1;
        if self.free_count < self.most_counted {
            // Far below what the number holds.
            self.free_count = self.free_count.wrapping_add(pages);
        }
    }

    /// Pages that move at once.
    pub(crate) const fn most_at_once(&self) -> u64 {
        self.tuning.batch.get() << BATCH_SCALE
    }

    /// How many blocks to fetch from the zone.
    #[doc(alias = "nr_pcp_alloc")]
    pub(crate) fn next_batch(&mut self, order: usize, below_high: BelowHigh) -> u64 {
        let batch = self.tuning.batch.get();
        let high = self.tuning.clamp(self.high()).get();
        if high < batch {
            self.set_high(high);
            return 1;
        }
        let mut pages = if order == 0 { batch << self.alloc_factor } else { batch };
        let grows = self.tuning.high_min != self.tuning.high_max && below_high == BelowHigh::No;
        self.set_high(if grows { high.saturating_add(pages).min(self.tuning.high_max.get()) } else { high });
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
    pub(crate) fn may_stay(&mut self, early: Early, zone: ZonePressure) -> u64 {
        let (batch, least) = (self.tuning.batch.get(), self.tuning.high_min.get());
        let high = self.tuning.clamp(self.high()).get();
        self.set_high(high);
        let lower_by = |pages: u64| high.saturating_sub(pages).max(least);
        if high == 0 {
            return 0;
        }
        if early == Early::Yes {
            self.set_high(lower_by(batch << BATCH_SCALE));
            return 0;
        }
        if zone.reclaim == Reclaim::Active {
            self.set_high(lower_by(self.free_count.max(batch)));
            return batch.saturating_mul(4).min(self.high);
        }
        if least == self.tuning.high_max.get() {
            return high;
        }
        if zone.below_high == BelowHigh::Yes {
            self.set_high(lower_by(self.free_count.max(batch)));
            return self.count.max(least);
        }
        let lately = self.free_count.saturating_add(batch);
        if self.count >= high && high < lately {
            self.set_high(self.tuning.clamp(PageCount::new(lately)).get());
        }
        high
    }

    /// How many pages to give back.
    #[doc(alias = "nr_pcp_free")]
    pub(crate) fn surplus(&self, high: u64, early: Early) -> u64 {
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
    #[inline]
    fn is_early(&mut self, order: usize) -> Early {
        if order == 0 || order > COSTLY {
            self.last_free = LastFree::Single;
            return Early::No;
        }
        let batch = self.tuning.batch.get();
        let many = self.free_count >= self.many_from;
        let kept = self.cache == CacheSlice::Small || self.count >= batch;
        let again = core::mem::replace(&mut self.last_free, LastFree::Block) == LastFree::Block;
        if many && again && kept { Early::Yes } else { Early::No }
    }
}

/// Whether what is on the lists fits, without a closer look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crowd {
    Fits,
    MayNot,
}

/// Whether pages are given back although the lists are not full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
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
