//! The tables of the guest, as far as their order of changes matters: which pages are mapped, and by leaves of which size.

use core::ops::Range;

use units::{Event, GmemId, GuestStep, Order, PageCount, PageIndex, PageShift};

use crate::Env;

/// Tells of one step.
pub(crate) fn tell<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>, step: GuestStep) {
    let (first, pages) = (PageIndex::new(range.start), PageCount::new(range.end - range.start));
    p.emit(|| Event::Guest { file: id, first, pages, step });
}

/// No leaf that reaches into a range is larger than the folios that are about to be there.
#[doc(alias = "kvm_split_cross_boundary_leafs")]
pub(crate) fn split<P: Env>(p: &mut P, id: GmemId, range: Range<u64>, to: Order) {
    let split = p.with_gmem(id, |file| file.leaves.split(range.clone(), to));
    if split == Some(true) {
        tell(p, id, &range, GuestStep::LeavesSplit);
    }
}

/// The guest has nothing of a range mapped any more; whether it had anything.
#[doc(alias = "kvm_gmem_zap")]
pub(crate) fn unmap<P: Env>(p: &mut P, id: GmemId, range: Range<u64>) {
    let had = p.with_gmem(id, |file| {
        let whole = [range.start, range.end].into_iter().all(|at| file.leaves.is_apart(at));
        debug_assert!(whole, "a leaf would be unmapped in part");
        file.leaves.clear(range.clone())
    });
    if had == Some(true) {
        tell(p, id, &range, GuestStep::Unmapped);
    }
}

/// The largest leaf by which the guest may map a page of a folio of that size, where the frame that it knows for the first page of
/// the file is `bound`: a page table has leaves of a base page, of what each level maps, and of the folio's own size.
#[doc(alias = "kvm_gmem_max_mapping_order")]
pub(crate) fn largest_leaf(folio: Order, bound: units::Pfn, shift: PageShift) -> Order {
    let level = shift.get() - 3;
    let aligned = u8::try_from(bound.get().trailing_zeros()).unwrap_or(u8::MAX);
    let fits = |&order: &u8| order <= folio.get() && order <= aligned;
    let largest = [folio.get(), 2 * level, level].into_iter().filter(fits).max();
    Order::try_new(largest.unwrap_or(0)).unwrap_or(Order::ZERO)
}
