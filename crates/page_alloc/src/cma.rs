//! Areas that are lent to pages that can move until somebody needs a range of them.

use alloc::vec::Vec;

use policy::ZoneRef;
use units::{GfpFlags, Order, PageCount, Pfn};
use zone::BadFree;

use crate::allocator::PageAllocator;
use crate::contig::{self, Area, Contig, ContigError, ContigQuestion, ContigRange, ContigRequest, Moved};
use crate::zones::Zones;

/// One area.
#[doc(alias = "cma")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmaArea {
    zone: ZoneRef,
    base: Pfn,
    pages: PageCount,
    order_per_bit: Order,
    /// Which parts are handed out.
    bitmap: Vec<bool>,
    counts: CmaCounts,
}

/// What came of requests to an area, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmaCounts {
    /// Handed out.
    #[doc(alias = "CMA_ALLOC_SUCCESS")]
    pub success: u64,
    /// Asked for in vain.
    #[doc(alias = "CMA_ALLOC_FAIL")]
    pub fail: u64,
}

/// An area cannot be, or has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CmaError {
    /// Its ends are not those of pageblocks, or its parts do not divide it.
    #[error("an area of {pages} pages at {base} is not made of whole pageblocks and parts")]
    Misaligned {
        /// The first frame.
        base: Pfn,
        /// How many.
        pages: PageCount,
    },
    /// Nothing was asked for, or more than the area has.
    #[error("{asked} pages were asked for of an area of {pages}")]
    Count {
        /// How many.
        asked: PageCount,
        /// How many there are.
        pages: PageCount,
    },
    /// No part of that size and alignment is left.
    #[error("the area has no {0} pages in a row left")]
    Full(PageCount),
    /// Every part was tried; of the last one this came.
    #[error("{0}")]
    Range(ContigError),
}

impl CmaArea {
    /// An area of these frames, whose pageblocks are lent. What is handed out is noted in parts of `order_per_bit`.
    ///
    /// # Errors
    /// Frames that are no whole pageblocks.
    #[doc(alias = "cma_init_reserved_mem")]
    pub fn new(
        zone: ZoneRef,
        base: Pfn,
        pages: PageCount,
        order_per_bit: Order,
        pageblock: Order,
    ) -> Result<Self, CmaError> {
        let whole = |order: Order| pages.get().is_multiple_of(order.pages().get()) && !pages.is_zero();
        if !base.is_aligned(pageblock) || !whole(pageblock) || !whole(order_per_bit) {
            return Err(CmaError::Misaligned { base, pages });
        }
        let bits = usize::try_from(pages.get() >> order_per_bit.get()).unwrap_or(0);
        Ok(Self { zone, base, pages, order_per_bit, bitmap: alloc::vec![false; bits], counts: CmaCounts::default() })
    }

    /// What came of requests so far.
    #[must_use]
    pub const fn counts(&self) -> CmaCounts {
        self.counts
    }

    /// Parts that are handed out.
    #[must_use]
    pub fn used(&self) -> usize {
        self.bitmap.iter().filter(|&&bit| bit).count()
    }

    fn bits(&self, pages: PageCount) -> usize {
        let per_bit = self.order_per_bit.pages().get();
        usize::try_from(pages.get().div_ceil(per_bit)).unwrap_or(usize::MAX)
    }

    /// The first place at or behind `from` with so many parts free in a row, whose frame is aligned.
    #[doc(alias("bitmap_find_next_zero_area_off", "cma_bitmap_aligned_offset"))]
    fn place(&self, from: usize, bits: usize, align: Order) -> Option<usize> {
        let step = self.step(align);
        let per_bit = u32::from(self.order_per_bit.get());
        let offset = usize::try_from((self.base.get() & (align.pages().get() - 1)) >> per_bit).unwrap_or(0);
        let mut at = (from + offset).next_multiple_of(step) - offset;
        loop {
            let range = self.bitmap.get(at..at.checked_add(bits)?)?;
            let Some(taken) = range.iter().rposition(|&bit| bit) else { return Some(at) };
            at = (at + taken + 1 + offset).next_multiple_of(step) - offset;
        }
    }

    /// How far apart aligned places are.
    fn step(&self, align: Order) -> usize {
        1 << align.get().saturating_sub(self.order_per_bit.get())
    }

    fn mark(&mut self, from: usize, bits: usize, used: bool) {
        if let Some(range) = self.bitmap.get_mut(from..from + bits) {
            range.fill(used);
        }
    }

    /// Notes that a range was given back; nothing of one that is not of the area.
    #[doc(alias = "cma_release")]
    pub(crate) fn release(&mut self, range: &ContigRange) -> bool {
        let inside = range.zone == self.zone
            && range.pfn >= self.base
            && range.pfn.offset(range.pages) <= self.base.offset(self.pages);
        if inside {
            let at = usize::try_from((range.pfn.get() - self.base.get()) >> self.order_per_bit.get()).unwrap_or(0);
            let bits = self.bits(range.pages);
            self.mark(at, bits, false);
        }
        inside
    }
}

/// What a request to an area waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CmaQuestion {
    /// As [`ContigQuestion::Move`].
    Move(crate::contig::Move),
    /// The range, and the end.
    Done(ContigRange),
    /// Nothing, and the end.
    Failed(CmaError),
}

/// A request to an area: where a range is busy, the next one is tried.
#[derive(Clone, Debug)]
pub struct CmaAlloc {
    pages: PageCount,
    align: Order,
    gfp: GfpFlags,
    /// Where the range that is being tried lies.
    at: usize,
    contig: Option<Contig>,
}

impl CmaAlloc {
    /// A request for `pages` whose first frame is aligned to `align`.
    #[doc(alias = "cma_alloc")]
    #[must_use]
    pub const fn new(pages: PageCount, align: Order, gfp: GfpFlags) -> Self {
        Self { pages, align, gfp, at: 0, contig: None }
    }

    /// Goes on to the first question.
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea) -> CmaQuestion {
        if self.pages.is_zero() || self.pages > area.pages {
            return CmaQuestion::Failed(CmaError::Count { asked: self.pages, pages: area.pages });
        }
        self.next(p, area, 0, CmaError::Full(self.pages))
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, moved: Moved) -> CmaQuestion {
        let Some(contig) = &mut self.contig else { return CmaQuestion::Failed(CmaError::Full(self.pages)) };
        let question = contig.answer(p, moved);
        self.follow(p, area, question)
    }

    fn next<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, from: usize, last: CmaError) -> CmaQuestion {
        let bits = area.bits(self.pages);
        let Some(at) = area.place(from, bits, self.align) else {
            area.counts.fail += self.pages.get();
            return CmaQuestion::Failed(last);
        };
        area.mark(at, bits, true);
        self.at = at;
        let offset = PageCount::new((at as u64) << area.order_per_bit.get());
        let mut contig = Contig::new(ContigRequest {
            zone: area.zone,
            start: area.base.offset(offset),
            pages: self.pages,
            area: Area::Lent,
            gfp: self.gfp,
        });
        let question = contig.begin(p);
        self.contig = Some(contig);
        self.follow(p, area, question)
    }

    fn follow<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, question: ContigQuestion) -> CmaQuestion {
        match question {
            ContigQuestion::Move(block) => CmaQuestion::Move(block),
            ContigQuestion::Done(range) => {
                area.counts.success += self.pages.get();
                CmaQuestion::Done(range)
            }
            ContigQuestion::Failed(error) => {
                area.mark(self.at, area.bits(self.pages), false);
                let last = CmaError::Range(error);
                if let ContigError::Busy(_) = error {
                    return self.next(p, area, self.at + area.step(self.align), last);
                }
                area.counts.fail += self.pages.get();
                CmaQuestion::Failed(last)
            }
        }
    }
}

impl PageAllocator {
    /// Gives a range of an area back; whether it is one.
    ///
    /// # Errors
    /// As [`PageAllocator::free_contig`].
    pub fn free_cma(&mut self, area: &mut CmaArea, range: ContigRange) -> Result<bool, BadFree> {
        if !area.release(&range) {
            return Ok(false);
        }
        contig::free(self, range).map(|()| true)
    }
}
