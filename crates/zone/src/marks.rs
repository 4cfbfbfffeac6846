//! May a request take pages of a zone?

use core::hint::cold_path;

use units::{Migratetype, Order, PageCount, PerZone, ZoneKind};

use crate::alloc_flags::AllocFlags;
use crate::watermark::{BoostFactor, Protection, Watermarks};
use crate::zone::{Zone, size};

/// One of the marks of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only special requests go below.
    Min,
    /// Background reclaim begins below.
    Low,
    /// Background reclaim ends above.
    High,
    /// Pages are promoted from slower memory above.
    Promo,
}

/// Who asks whether a zone is above a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkCheck {
    /// Size of the block that is wanted.
    pub order: Order,
    /// The mark.
    pub level: Level,
    /// The highest zone that the request could use: the lower it could have gone, the less a zone keeps from it.
    #[doc(alias = "highest_zoneidx")]
    pub highest: ZoneKind,
    /// What the attempt may do.
    pub flags: AllocFlags,
}

impl AllocFlags {
    /// What a mark is to an attempt with these rights: half for urgent ones, and less for those that cannot wait.
    #[must_use]
    pub fn lowered(self, mark: PageCount) -> PageCount {
        let mut left = mark.get();
        if self.contains(Self::MIN_RESERVE) {
            left -= left / 2;
            if self.contains(Self::NON_BLOCK) {
                left -= left / 4;
            }
        }
        if self.contains(Self::OOM) {
            left -= left / 2;
        }
        PageCount::new(left)
    }
}

impl Zone {
    /// The marks without the boost, as of their last recompute.
    #[must_use]
    pub const fn marks(&self) -> &Watermarks {
        &self.marks
    }

    /// Gives the zone marks, computed from the sizes and knobs of now. The boost ends.
    pub fn set_marks(&mut self, marks: Watermarks) {
        self.marks = marks;
        self.set_boost(PageCount::ZERO);
    }

    pub(crate) fn set_boost(&mut self, boost: PageCount) {
        let Watermarks { min, low, high, promo, .. } = self.marks;
        self.boost = boost;
        self.levels = [min, low, high, promo].map(|mark| mark.saturating_add(boost));
        self.settle_marks();
    }

    /// Works out what follows from marks and protections; after every change of one.
    fn settle_marks(&mut self) {
        let kept = &self.protection;
        self.least = self.levels.map(|mark| PerZone::from_fn(|highest| mark.saturating_add(kept[highest]).get()));
    }

    /// What the zone keeps from requests that could have used a higher one.
    #[must_use]
    pub const fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Gives the zone its protections.
    pub fn set_protection(&mut self, protection: Protection) {
        self.protection = protection;
        self.settle_marks();
    }

    /// By how much all marks are raised because blocks were mixed.
    #[doc(alias = "watermark_boost")]
    #[must_use]
    pub const fn boost(&self) -> PageCount {
        self.boost
    }

    /// Takes back so much of the boost, as background reclaim does when it has made up for it.
    pub fn lower_boost(&mut self, pages: PageCount) {
        self.set_boost(self.boost.saturating_sub(pages));
    }

    /// How far the boost may go.
    #[must_use]
    pub const fn boost_factor(&self) -> BoostFactor {
        self.boost_factor
    }

    /// Limits the boost.
    pub const fn set_boost_factor(&mut self, factor: BoostFactor) {
        self.boost_factor = factor;
    }

    /// Was the boost raised since the last call by somebody who may wake background reclaim?
    #[doc(alias = "ZONE_BOOSTED_WATERMARK")]
    pub const fn take_boosted(&mut self) -> bool {
        core::mem::replace(&mut self.boosted, false)
    }

    /// A mark, with the boost.
    #[doc(alias("wmark_pages", "min_wmark_pages", "low_wmark_pages", "high_wmark_pages"))]
    #[must_use]
    #[inline]
    pub const fn mark(&self, level: Level) -> PageCount {
        self.levels[level as usize]
    }

    /// Does the zone stay above the mark, with a block of that order left?
    #[doc(alias("zone_watermark_ok", "__zone_watermark_ok"))]
    #[must_use]
    pub fn is_above(&self, check: MarkCheck) -> bool {
        self.is_above_with(check, self.mark(check.level), self.free())
    }

    /// The same for a number of free pages that is not that of now.
    #[must_use]
    pub fn is_above_with(&self, check: MarkCheck, mark: PageCount, free: PageCount) -> bool {
        let least = check.flags.lowered(mark).saturating_add(self.protection[check.highest]);
        // What cannot be used may be more than there is.
        let unusable = self.unusable(check.order, check.flags);
        if i128::from(free.get()) - i128::from(unusable) <= i128::from(least.get()) {
            return false;
        }
        check.order == Order::ZERO || self.has_block(check.order, check.flags)
    }

    /// The same as [`Zone::is_above`] for the common case, and for an urgent page a second look without the boost.
    #[doc(alias = "zone_watermark_fast")]
    #[must_use]
    #[inline(always)]
    pub fn is_above_fast(&self, check: MarkCheck) -> bool {
        // Most requests may have no more than others, and for them enough is left in blocks of a type that every request can have.
        let least = self.least[check.level as usize][check.highest];
        let enough = match check.order {
            Order::ZERO => self.free_plain > least,
            order => self.is_enough(order, least),
        };
        if enough {
            return true;
        }
        cold_path();
        self.is_above_slow(check, self.mark(check.level))
    }

    #[inline(always)]
    fn is_enough(&self, order: Order, least: u64) -> bool {
        let [unmovable, movable, reclaimable, ..] = &self.lists;
        let occupied = unmovable.occupied | movable.occupied | reclaimable.occupied;
        let pages = size(order.get().into());
        // A list of that order or of a larger one has a block.
        let fits = u64::from(occupied) >= pages;
        // The rest of the block itself is of no use.
        fits && self.free_plain.checked_sub(least).is_some_and(|usable| usable >= pages)
    }

    #[inline(never)]
    fn is_above_slow(&self, check: MarkCheck, mark: PageCount) -> bool {
        if self.is_above_with(check, mark, self.free()) {
            return true;
        }
        let urgent = check.order == Order::ZERO && check.flags.contains(AllocFlags::MIN_RESERVE);
        let exempt = urgent && check.level == Level::Min && !self.boost.is_zero();
        exempt && self.is_above_with(check, self.marks.min, self.free())
    }

    /// Free pages that the request has no use for: the rest of its own block, and what is kept for or lent to others.
    #[doc(alias = "__zone_watermark_unusable_free")]
    #[inline]
    fn unusable(&self, order: Order, flags: AllocFlags) -> u64 {
        let rest = order.pages().get() - 1;
        let kept = if flags.intersects(AllocFlags::RESERVES) { 0 } else { self.free_highatomic };
        let lent = if flags.contains(AllocFlags::CMA) { 0 } else { self.free_cma };
        rest + kept + lent
    }

    /// Is there a free block of at least `order` that the attempt may take? Of whatever type a request can have, not only its own.
    fn has_block(&self, order: Order, flags: AllocFlags) -> bool {
        let usable = |migratetype: Migratetype| match migratetype {
            Migratetype::Cma => flags.contains(AllocFlags::CMA),
            Migratetype::HighAtomic => flags.intersects(AllocFlags::HIGHATOMIC.with(AllocFlags::OOM)),
            Migratetype::Isolate => false,
            _ => true,
        };
        let fitting = |t: Migratetype| self.lists[t.index()].occupied >> order.get() != 0;
        Migratetype::ALL.into_iter().any(|t| usable(t) && fitting(t))
    }
}
