//! Memory that is a zone's before it is on the zone's lists.

use alloc::vec::Vec;

use units::{Order, PageCount, Pfn};
use zone::{AllocFlags, Level, MarkCheck, Zone};

use crate::drift::Drift;

/// Memory that joins the free lists on demand.
///
/// A guest of a confidential machine must accept memory before it uses it. What it has not accepted counts as free, so a zone may be
/// above every mark while its lists are empty. Memory whose records are made on demand counts as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Blocks of the largest order that are not accepted, the last of which is next.
    #[doc(alias = "unaccepted_pages")]
    pub unaccepted: Vec<Pfn>,
    /// Blocks without records, the last of which is next.
    #[doc(alias = "deferred_grow_zone")]
    pub deferred: Vec<(Pfn, Order)>,
    /// Free pages of the zone that are on no list of its own.
    pub(crate) elsewhere: PageCount,
    /// What its counter does not know of yet.
    pub drift: Drift,
}

impl Growth {
    /// Is everything that counts as free on the zone's lists?
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.unaccepted.is_empty() && self.elsewhere.is_zero()
    }

    /// And is the counter exact?
    #[inline]
    fn is_plain(&self) -> bool {
        self.is_nothing() && self.drift.missing() == 0
    }

    fn counted(&self, largest: Order) -> PageCount {
        let blocks = self.unaccepted.iter().map(|_| largest.pages()).sum::<PageCount>();
        blocks.saturating_add(self.elsewhere)
    }

    /// Free pages of the zone, accepted or not, as far as its counter knows.
    pub(crate) fn free(&self, zone: &Zone) -> PageCount {
        if self.is_plain() {
            return zone.free();
        }
        let exact = self.exact(zone).get();
        PageCount::new(exact.saturating_add_signed(-self.drift.missing()))
    }

    /// The same with what no processor has handed in.
    #[doc(alias = "zone_page_state_snapshot")]
    fn exact(&self, zone: &Zone) -> PageCount {
        zone.free().saturating_add(self.counted(zone.largest()))
    }

    /// Is the zone above a mark, with what is not accepted?
    #[inline]
    pub(crate) fn is_above_fast(&self, zone: &Zone, check: MarkCheck) -> bool {
        if self.is_plain() { zone.is_above_fast(check) } else { self.is_above(zone, check) }
    }

    pub(crate) fn is_above(&self, zone: &Zone, check: MarkCheck) -> bool {
        zone.is_above_with(check, zone.mark(check.level), self.free(zone))
    }

    /// The same for who decides for others: where the counter may be too far off, every processor is asked.
    #[doc(alias = "zone_watermark_ok_safe")]
    pub(crate) fn is_above_safe(&self, zone: &Zone, check: MarkCheck) -> bool {
        let seen = self.free(zone);
        let vague = self.drift.mark().is_some_and(|mark| seen < mark);
        let free = if vague { self.exact(zone) } else { seen };
        zone.is_above_with(check, zone.mark(check.level), free)
    }

    /// Accepts so much that the zone is above its highest mark by what is accepted alone, block by block; whether there was any.
    #[doc(alias = "cond_accept_memory")]
    pub(crate) fn accept(&mut self, zone: &mut Zone, order: Order, flags: AllocFlags) -> bool {
        if self.unaccepted.is_empty() {
            return false;
        }
        let block = i128::from(zone.largest().pages().get());
        let of = |pages: PageCount| i128::from(pages.get());
        let kept = if flags.intersects(AllocFlags::RESERVES) { 0 } else { of(zone.free_highatomic()) };
        let lent = if flags.contains(AllocFlags::CMA) { 0 } else { of(zone.free_cma()) };
        let unusable = of(order.pages()) - 1 + kept + lent;
        let promo = of(zone.mark(Level::Promo));
        // Before the first recompute there are no marks: one block is as good a guess as any.
        let mut missing = if promo == 0 { 1 } else { promo - (of(zone.free()) - unusable) };
        let mut accepted = false;
        while missing > 0 {
            if !self.accept_one(zone) {
                break;
            }
            missing -= block;
            accepted = true;
        }
        accepted
    }

    /// Accepts one block; whether there was one.
    pub(crate) fn accept_one(&mut self, zone: &mut Zone) -> bool {
        let Some(pfn) = self.unaccepted.pop() else { return false };
        let put = zone.put(pfn, zone.largest());
        debug_assert_eq!(put, Ok(()), "a block that was not accepted is nobody's");
        true
    }

    /// Makes the records of the next block; whether there was one.
    pub(crate) fn grow(&mut self, zone: &mut Zone) -> bool {
        let Some((pfn, order)) = self.deferred.pop() else { return false };
        let put = zone.put(pfn, order);
        debug_assert_eq!(put, Ok(()), "a block without records is nobody's");
        true
    }
}
