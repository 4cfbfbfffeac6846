//! Areas that are lent to pages that can move until somebody needs a range of them.

use alloc::string::String;
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CmaArea {
    name: String,
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
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
        let (name, bitmap, counts) = (String::new(), alloc::vec![false; bits], CmaCounts::default());
        Ok(Self { name, zone, base, pages, order_per_bit, bitmap, counts })
    }

    /// The same under a name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone that it is in.
    #[must_use]
    pub const fn zone(&self) -> ZoneRef {
        self.zone
    }

    /// Its first frame.
    #[must_use]
    pub const fn base(&self) -> Pfn {
        self.base
    }

    /// The first frame behind it.
    #[must_use]
    pub fn past(&self) -> Pfn {
        self.base.offset(self.pages)
    }

    /// How many pages it has.
    #[must_use]
    pub const fn pages(&self) -> PageCount {
        self.pages
    }

    /// Pages that are not handed out, whoever has them for now.
    #[must_use]
    pub fn available(&self) -> PageCount {
        let used = PageCount::new(self.used() as u64 * self.order_per_bit.pages().get());
        self.pages.saturating_sub(used)
    }

    /// Is a page handed out?
    #[must_use]
    pub fn is_handed_out(&self, pfn: Pfn) -> bool {
        self.base <= pfn && self.bitmap.get(self.bit_of(pfn)) == Some(&true)
    }

    fn bit_of(&self, pfn: Pfn) -> usize {
        let offset = pfn.get().saturating_sub(self.base.get());
        usize::try_from(offset >> self.order_per_bit.get()).unwrap_or(usize::MAX)
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

    /// Hands out the first part behind another one, or the first of all; nothing where there is none.
    pub(crate) fn take_part(&mut self, behind: Option<Part>, pages: PageCount, align: Order) -> Option<Part> {
        let bits = self.bits(pages);
        let from = behind.map_or(0, |part| part.at + self.step(align));
        let Some(at) = self.place(from, bits, align) else {
            self.note_failure(pages);
            return None;
        };
        self.mark(at, bits, true);
        let offset = PageCount::new((at as u64) << self.order_per_bit.get());
        Some(Part { at, pfn: self.base.offset(offset) })
    }

    /// Nobody has a part after all.
    pub(crate) fn put_part(&mut self, part: Part, pages: PageCount) {
        let bits = self.bits(pages);
        self.mark(part.at, bits, false);
    }

    pub(crate) fn note_success(&mut self, pages: PageCount) {
        self.counts.success += pages.get();
    }

    pub(crate) fn note_failure(&mut self, pages: PageCount) {
        self.counts.fail += pages.get();
    }

    /// Notes that pages were given back; nothing of those that are not of the area.
    #[doc(alias = "cma_release")]
    pub(crate) fn release(&mut self, pfn: Pfn, pages: PageCount) -> bool {
        let inside = pfn >= self.base && pfn.offset(pages) <= self.past();
        if inside {
            let (at, bits) = (self.bit_of(pfn), self.bits(pages));
            self.mark(at, bits, false);
        }
        inside
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        let bits = u64::try_from(self.bitmap.len()).unwrap_or(u64::MAX);
        if bits.checked_mul(self.order_per_bit.pages().get()) == Some(self.pages.get()) {
            return Ok(());
        }
        Err(alloc::format!("the area at {} has {} pages and notes about {bits} parts", self.base, self.pages))
    }
}

/// A part of an area that a request has, or tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    at: usize,
    /// Its first frame.
    pub(crate) pfn: Pfn,
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
    /// What is being tried.
    part: Option<Part>,
    contig: Option<Contig>,
}

impl CmaAlloc {
    /// A request for `pages` whose first frame is aligned to `align`.
    #[doc(alias = "cma_alloc")]
    #[must_use]
    pub const fn new(pages: PageCount, align: Order, gfp: GfpFlags) -> Self {
        Self { pages, align, gfp, part: None, contig: None }
    }

    /// Goes on to the first question.
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea) -> CmaQuestion {
        if self.pages.is_zero() || self.pages > area.pages {
            return CmaQuestion::Failed(CmaError::Count { asked: self.pages, pages: area.pages });
        }
        self.next(p, area, CmaError::Full(self.pages))
    }

    /// Goes on to the next question.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, moved: Moved) -> CmaQuestion {
        let Some(contig) = &mut self.contig else { return CmaQuestion::Failed(CmaError::Full(self.pages)) };
        let question = contig.answer(p, moved);
        self.follow(p, area, question)
    }

    fn next<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, last: CmaError) -> CmaQuestion {
        self.part = area.take_part(self.part, self.pages, self.align);
        let Some(Part { pfn: start, .. }) = self.part else { return CmaQuestion::Failed(last) };
        let (zone, pages, gfp) = (area.zone, self.pages, self.gfp);
        let mut contig = Contig::new(ContigRequest { zone, start, pages, area: Area::Lent, gfp });
        let question = contig.begin(p);
        self.contig = Some(contig);
        self.follow(p, area, question)
    }

    fn follow<P: Zones>(&mut self, p: &mut P, area: &mut CmaArea, question: ContigQuestion) -> CmaQuestion {
        match question {
            ContigQuestion::Move(block) => CmaQuestion::Move(block),
            ContigQuestion::Leave(found) => CmaQuestion::Failed(CmaError::Range(ContigError::Busy(found.pfn))),
            ContigQuestion::Done(range) => {
                area.note_success(self.pages);
                CmaQuestion::Done(range)
            }
            ContigQuestion::Failed(error) => {
                if let Some(part) = self.part {
                    area.put_part(part, self.pages);
                }
                let last = CmaError::Range(error);
                if let ContigError::Busy(_) = error {
                    return self.next(p, area, last);
                }
                area.note_failure(self.pages);
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
        if range.zone != area.zone || !area.release(range.pfn, range.pages) {
            return Ok(false);
        }
        contig::free(self, range).map(|()| true)
    }
}
