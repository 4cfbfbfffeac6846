//! Ranges of exactly so many pages.

use policy::ZoneRef;
use units::{GfpFlags, Order, PageCount, Pfn};
use zone::BadFree;

use crate::allocator::PageAllocator;
use crate::context::PageRequest;
use crate::event::PageEvent;
use crate::fast_path::{self, Block};
use crate::zones::Zones;

/// Single pages that follow each other. Each is freed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactRange {
    /// The first frame.
    pub pfn: Pfn,
    /// How many pages.
    pub pages: PageCount,
    /// Where they come from.
    pub zone: ZoneRef,
}

/// The request for the block that the range is cut out of. It can be neither a folio nor memory that the kernel does not map.
#[doc(alias = "alloc_pages_exact")]
fn request_for<P: Zones>(p: &mut P, request: &PageRequest, pages: PageCount) -> PageRequest {
    let order = order_of(pages);
    let stripped = GfpFlags::COMP.union(GfpFlags::HIGHMEM);
    let gfp = request.gfp;
    if gfp.intersects(stripped) {
        p.emit_page(|| PageEvent::Stripped { gfp: gfp.intersection(stripped) });
    }
    PageRequest { order, gfp: gfp.difference(stripped), ..*request }
}

/// The smallest order that has room for so many pages. An order above all others if there is none.
fn order_of(pages: PageCount) -> Order {
    let order = pages.get().max(1).checked_next_power_of_two().map_or(64, u64::trailing_zeros);
    u8::try_from(order).ok().and_then(Order::try_new).unwrap_or(Order::MAX)
}

/// Splits a block into single pages and gives back those behind the first `pages`, to the tails of their lists.
#[doc(alias("make_alloc_exact", "split_page"))]
fn cut_to<P: Zones>(p: &mut P, block: Block, pages: PageCount) -> Result<ExactRange, BadFree> {
    let Block { pfn, order, zone, .. } = block;
    let pages = pages.min(order.pages());
    let trimmed = p.with_zone(zone, |parts| {
        parts.zone.split_used(pfn, order, Order::ZERO)?;
        (pages.get()..order.pages().get()).try_for_each(|n| {
            let page = pfn.offset(PageCount::new(n));
            parts.zone.put_last(page, Order::ZERO)
        })
    });
    trimmed.unwrap_or(Err(BadFree::Outside { pfn, order }))?;
    if let Some(watch) = p.watch() {
        watch.split(pfn, order, Order::ZERO);
        (pages.get()..order.pages().get()).for_each(|n| watch.gave(pfn.offset(PageCount::new(n)), Order::ZERO));
    }
    Ok(ExactRange { pfn, pages, zone })
}

/// Gives the pages back one by one.
#[doc(alias = "free_pages_exact")]
fn free<P: Zones>(p: &mut P, range: ExactRange) -> Result<(), BadFree> {
    (0..range.pages.get())
        .try_for_each(|n| fast_path::free(p, range.zone, range.pfn.offset(PageCount::new(n)), Order::ZERO))
}

/// Gives back a block of single pages to whose first one somebody else refers still: that one stays, and the others go at once, in blocks
/// as large as they can be.
#[doc(alias = "___free_pages")]
fn put_but_first<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<(), BadFree> {
    let mut size = order;
    while let Some(half) = size.get().checked_sub(1).map(Order::new) {
        let split = p.with_zone(zone, |parts| parts.zone.split_used(pfn, size, half));
        split.unwrap_or(Err(BadFree::Outside { pfn, order }))?;
        fast_path::free(p, zone, pfn.offset(half.pages()), half)?;
        size = half;
    }
    Ok(())
}

impl PageAllocator {
    /// What to ask for to have a block that `pages` single pages can be cut out of: [`PageAllocator::trim`] does that.
    pub fn exact_request(&mut self, request: &PageRequest, pages: PageCount) -> PageRequest {
        request_for(self, request, pages)
    }

    /// Splits a block into single pages and gives back those behind the first `pages`.
    ///
    /// # Errors
    /// It is not what was handed out, and nothing was done.
    pub fn trim(&mut self, block: Block, pages: PageCount) -> Result<ExactRange, BadFree> {
        cut_to(self, block, pages)
    }

    /// Gives the pages of a range back one by one.
    ///
    /// # Errors
    /// A page of it is not what was handed out; those before it are free.
    pub fn free_exact(&mut self, range: ExactRange) -> Result<(), BadFree> {
        free(self, range)
    }

    /// Gives back a block that is no folio while somebody else refers to its first page: that page stays, and is given back by itself.
    ///
    /// # Errors
    /// It is not what was handed out.
    pub fn free_but_first(&mut self, zone: ZoneRef, pfn: Pfn, order: Order) -> Result<(), BadFree> {
        put_but_first(self, zone, pfn, order)
    }
}
