//! One zone: which frames are free, in which blocks, and for whom.

use alloc::vec::Vec;
use core::fmt;

use units::{Migratetype, NodeId, Order, PageCount, PerZone, Pfn, ZoneKind};

use crate::alloc_flags::AllocFlags;
use crate::event::ZoneEvent;
use crate::frames::Frames;
use crate::grouping::Grouping;
use crate::list::TypeLists;
use crate::pageblock::Pageblocks;
use crate::pcp::ZonePressure;
use crate::runs::Runs;
use crate::watermark::{BoostFactor, Protection, Watermarks};

/// What does not change in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLayout {
    /// Its node.
    pub node: NodeId,
    /// Which of the node's zones.
    pub kind: ZoneKind,
    /// The frames that exist (first frame, first frame past the end), ascending.
    pub spans: Vec<(Pfn, Pfn)>,
    /// The largest order that the buddy allocator merges to.
    #[doc(alias = "MAX_PAGE_ORDER")]
    pub largest: Order,
    /// The order of a pageblock.
    #[doc(alias = "pageblock_order")]
    pub pageblock: Order,
}

/// How many orders of blocks a zone can have.
pub(crate) const ORDERS: usize = 16;

/// The free memory of one zone.
#[doc(alias = "free_area")]
#[derive(Clone, Debug)]
pub struct Zone {
    pub(crate) layout: ZoneLayout,
    /// The frame that all numbers of frames and pageblocks count from; a multiple of the largest block.
    pub(crate) base: u64,
    /// The order of a pageblock.
    pub(crate) pageblock: usize,
    /// The largest order.
    pub(crate) top: usize,
    /// By type.
    pub(crate) lists: [TypeLists; Migratetype::COUNT],
    pub(crate) blocks: Pageblocks,
    pub(crate) frames: Frames,
    pub(crate) runs: Runs,
    /// Free pages that every request can have.
    pub(crate) free_plain: u64,
    pub(crate) free_cma: u64,
    pub(crate) free_highatomic: u64,
    pub(crate) reserved_highatomic: u64,
    pub(crate) isolated_blocks: u64,
    pub(crate) grouping: Grouping,
    /// What requests of each type get for it.
    pub(crate) requested: [Migratetype; Migratetype::COUNT],
    pub(crate) managed: u64,
    /// Frames that boot kept, ascending.
    pub(crate) reserved: Vec<(Pfn, Pfn)>,
    pub(crate) marks: Watermarks,
    pub(crate) protection: Protection,
    pub(crate) boost: PageCount,
    /// The marks with the boost.
    pub(crate) levels: [PageCount; 4],
    /// The same with what is kept from requests that could have used each higher zone.
    pub(crate) least: [PerZone<u64>; 4],
    pub(crate) boost_factor: BoostFactor,
    pub(crate) boosted: bool,
    pub(crate) pressure: ZonePressure,
    /// Nothing is scarce.
    pub(crate) is_calm: bool,
    pub(crate) events: Option<Vec<ZoneEvent>>,
}

/// Why a zone cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneError {
    /// Two spans share a frame, or one is empty.
    BadSpan {
        /// Where it starts.
        start: Pfn,
    },
    /// A pageblock larger than the largest block or no larger than a frame, or blocks too large.
    Orders {
        /// The largest order.
        largest: Order,
        /// The order of a pageblock.
        pageblock: Order,
    },
    /// More pageblocks than can be counted.
    TooLarge {
        /// The first frame past the end.
        end: Pfn,
    },
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSpan { start } => {
                write!(f, "the span of frames at {start} is empty or overlaps the one before it")
            }
            Self::Orders { largest, pageblock } => write!(
                f,
                "pageblocks of {pageblock} with blocks up to {largest}: the former is 1 at least and the latter at most, which is at most {}",
                Zone::LARGEST
            ),
            Self::TooLarge { end } => write!(f, "a zone up to {end} has more pageblocks than can be counted (2^31)"),
        }
    }
}

impl core::error::Error for ZoneError {}

/// What is asked of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Size of the block.
    pub order: Order,
    /// What the pages will be.
    pub migratetype: Migratetype,
    /// What the attempt may do.
    pub flags: AllocFlags,
}

impl Zone {
    /// The largest block that a zone can have.
    pub const LARGEST: Order = Order::new(15);

    /// The zone of `layout`, all of it free, without marks: the lower a block, the earlier it is taken.
    ///
    /// # Errors
    /// Spans that are empty or overlap, orders that do not fit.
    pub fn new(layout: ZoneLayout) -> Result<Self, ZoneError> {
        let mut zone = Self::allocated(layout)?;
        for n in 0..zone.layout.spans.len() {
            let (start, end) = zone.layout.spans[n];
            zone.hand_over(start, end);
        }
        Ok(zone)
    }

    /// The zone of `layout`, nothing of it free.
    pub(crate) fn allocated(layout: ZoneLayout) -> Result<Self, ZoneError> {
        let ZoneLayout { largest, pageblock, .. } = layout;
        if largest > Self::LARGEST || pageblock > largest || pageblock == Order::ZERO {
            return Err(ZoneError::Orders { largest, pageblock });
        }
        let mut past = Pfn::new(0);
        for &(start, end) in &layout.spans {
            if end <= start || start < past {
                return Err(ZoneError::BadSpan { start });
            }
            past = end;
        }
        let first = layout.spans.first().map_or(0, |&(start, _)| start.get());
        let base = first & !(largest.pages().get() - 1);
        let largest_blocks = past.get().saturating_sub(base).div_ceil(largest.pages().get());
        let blocks = largest_blocks.checked_mul(1 << (largest.get() - pageblock.get()));
        let blocks = blocks.and_then(|n| u32::try_from(n).ok()).filter(|&n| n < 1 << 31);
        let blocks = blocks.ok_or(ZoneError::TooLarge { end: past })?;
        Ok(Self {
            base,
            pageblock: pageblock.get().into(),
            top: largest.get().into(),
            lists: [TypeLists::EMPTY; Migratetype::COUNT],
            blocks: Pageblocks::new(blocks),
            frames: Frames::new(pageblock.get().into()),
            runs: Runs::default(),
            free_plain: 0,
            free_cma: 0,
            free_highatomic: 0,
            reserved_highatomic: 0,
            isolated_blocks: 0,
            grouping: Grouping::ByMobility,
            requested: Migratetype::ALL,
            managed: layout.spans.iter().map(|(start, end)| end.get() - start.get()).sum(),
            reserved: Vec::new(),
            marks: Watermarks::default(),
            protection: Protection::default(),
            boost: PageCount::ZERO,
            levels: [PageCount::ZERO; 4],
            least: Default::default(),
            boost_factor: BoostFactor::default(),
            boosted: false,
            pressure: ZonePressure::default(),
            is_calm: true,
            events: None,
            layout,
        })
    }

    /// Its node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.layout.node
    }

    /// What does not change in it.
    #[must_use]
    pub const fn layout(&self) -> &ZoneLayout {
        &self.layout
    }

    /// Free base pages, without those in isolated blocks.
    #[doc(alias = "NR_FREE_PAGES")]
    #[must_use]
    #[inline]
    pub const fn free(&self) -> PageCount {
        PageCount::new(self.free_plain + self.free_cma + self.free_highatomic)
    }

    /// Free base pages in areas of contiguous memory.
    #[doc(alias = "NR_FREE_CMA_PAGES")]
    #[must_use]
    pub const fn free_cma(&self) -> PageCount {
        PageCount::new(self.free_cma)
    }

    /// Free base pages in blocks kept for urgent requests.
    #[doc(alias = "nr_free_highatomic")]
    #[must_use]
    pub const fn free_highatomic(&self) -> PageCount {
        PageCount::new(self.free_highatomic)
    }

    /// Base pages of blocks kept for urgent requests, free or not.
    #[doc(alias = "nr_reserved_highatomic")]
    #[must_use]
    pub const fn reserved_highatomic(&self) -> PageCount {
        PageCount::new(self.reserved_highatomic)
    }

    /// Pageblocks that are isolated.
    #[doc(alias = "nr_isolate_pageblock")]
    #[must_use]
    pub const fn isolated_blocks(&self) -> u64 {
        self.isolated_blocks
    }

    /// Free base pages in blocks of at least a pageblock, without isolated ones.
    #[doc(alias = "NR_FREE_PAGES_BLOCKS")]
    #[must_use]
    pub fn free_in_whole_blocks(&self) -> PageCount {
        let of = |order: usize| {
            self.lists[..Migratetype::Isolate.index()].iter().map(move |lists| lists.of(order).blocks << order)
        };
        PageCount::new((self.pageblock..=self.top).flat_map(of).sum())
    }

    /// Base pages it manages, free or not.
    #[must_use]
    pub const fn managed(&self) -> PageCount {
        PageCount::new(self.managed)
    }

    /// The largest order that the buddy allocator merges to.
    #[must_use]
    pub const fn largest(&self) -> Order {
        self.layout.largest
    }

    /// Free blocks of each order, isolated ones too, as in `/proc/buddyinfo`.
    #[doc(alias("buddyinfo", "nr_free"))]
    pub fn free_blocks(&self) -> impl Iterator<Item = u64> {
        (0..=self.top).map(|order| self.lists.iter().map(|lists| lists.of(order).blocks).sum())
    }

    /// Free blocks of one type, order by order, as in `/proc/pagetypeinfo`.
    #[doc(alias = "pagetypeinfo")]
    pub fn free_blocks_of(&self, migratetype: Migratetype) -> impl Iterator<Item = u64> {
        (0..=self.top).map(move |order| self.lists[migratetype.index()].of(order).blocks)
    }

    /// The type of the pageblock that a frame lies in.
    #[doc(alias = "get_pfnblock_migratetype")]
    #[must_use]
    pub fn migratetype(&self, pfn: Pfn) -> Migratetype {
        pfn.get()
            .checked_sub(self.base)
            .map_or(Migratetype::Movable, |frame| self.blocks.migratetype(self.block(frame)))
    }

    /// Whether pages are grouped by mobility.
    #[must_use]
    pub const fn grouping(&self) -> Grouping {
        self.grouping
    }

    /// Switches the grouping by mobility. Types that blocks have already stay.
    #[doc(alias = "page_group_by_mobility_disabled")]
    pub const fn set_grouping(&mut self, grouping: Grouping) {
        self.grouping = grouping;
        self.requested = match grouping {
            Grouping::ByMobility => Migratetype::ALL,
            Grouping::Off => [Migratetype::Unmovable; Migratetype::COUNT],
        };
    }

    /// Starts (again) to keep the zone's events from now on.
    pub fn record_events(&mut self) {
        self.events = Some(Vec::new());
    }

    /// The zone's events since the last call, if they are being kept.
    pub fn take_events(&mut self) -> Vec<ZoneEvent> {
        self.events.as_mut().map(core::mem::take).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn note(&mut self, event: impl FnOnce() -> ZoneEvent) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    /// The frame of `pfn`, counted from the base.
    #[inline]
    pub(crate) fn frame(&self, pfn: Pfn) -> u64 {
        debug_assert!(pfn.get() >= self.base, "{pfn} is not a frame of {}", self.layout.node);
        pfn.get() - self.base
    }

    #[inline]
    pub(crate) const fn pfn(&self, frame: u64) -> Pfn {
        Pfn::new(self.base + frame)
    }

    /// The pageblock of a frame.
    #[inline]
    pub(crate) const fn block(&self, frame: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a zone has at most 2^31 pageblocks")]
        let block = down(frame, self.pageblock) as u32;
        block
    }

    /// The same for a frame that may not be one of the zone.
    #[inline]
    pub(crate) fn block_of(&self, frame: u64) -> Option<u32> {
        u32::try_from(down(frame, self.pageblock)).ok()
    }

    /// The block of the largest order that a frame lies in.
    #[inline]
    pub(crate) const fn top_block(&self, frame: u64) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a zone has at most 2^31 pageblocks")]
        let block = down(frame, self.top) as u32;
        block
    }

    /// Does a pageblock reach over an end of the zone? Such a block never changes its type.
    #[doc(alias = "prep_move_freepages_block")]
    pub(crate) fn straddles(&self, block: u32) -> bool {
        let start = self.base + (u64::from(block) << self.pageblock);
        let spans = &self.layout.spans;
        let inside = spans.first().is_some_and(|&(first, _)| first.get() <= start)
            && spans.last().is_some_and(|&(_, end)| start + (1 << self.pageblock) <= end.get());
        !inside
    }
}

/// Order `n` of a zone.
pub(crate) const fn order_of(n: usize) -> Order {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
    Order::new(n as u8)
}

/// Base pages of a block of order `n`. All orders of a zone are below 16.
#[inline]
pub(crate) const fn size(n: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
    1u64.wrapping_shl(n as u32)
}

/// In blocks of order `n`, rounded down.
#[inline]
pub(crate) const fn down(frame: u64, n: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
    frame.wrapping_shr(n as u32)
}

/// In base pages.
#[inline]
pub(crate) const fn up(blocks: u64, n: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
    blocks.wrapping_shl(n as u32)
}

/// Order `n` in a mask of orders.
#[inline]
pub(crate) const fn bit(n: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "orders of a zone are below 16")]
    1u32.wrapping_shl(n as u32)
}
