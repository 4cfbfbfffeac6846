//! The folios behind a file: how they lie, who has them, and how they leave.

use alloc::vec::Vec;
use core::ops::Range;

use memmap::{FolioKind, Referenced};
use units::{GmemId, GuestStep, Order, PageCount, PageIndex, Pfn};

use crate::{Env, stage2};

/// How what is allocated at once lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    /// One folio.
    Whole,
    /// Base pages.
    Pieces,
}

pub(crate) fn structure<P: Env>(p: &mut P, pfn: Pfn) -> Structure {
    let split = p.with_memmap(|map| map.get(pfn).is_some_and(|folio| matches!(folio.kind, FolioKind::Piece(_))));
    if split { Structure::Pieces } else { Structure::Whole }
}

/// The pieces of a folio that are larger than a base page, by first frame.
pub(crate) fn larger_pieces<P: Env>(p: &mut P, first: Pfn) -> Vec<Pfn> {
    p.with_memmap(|map| {
        let Some((_, whole, _)) = map.split_around(first) else { return Vec::new() };
        let past = first.offset(whole.pages());
        let inside = map.pieces().skip_while(|(start, ..)| *start < first).take_while(|(start, ..)| *start < past);
        let larger = inside.filter(|(.., piece)| piece.order > Order::ZERO);
        larger
            .flat_map(|(start, pages, piece)| {
                let size = piece.order.pages();
                (0..pages.get() / size.get()).map(move |n| start.offset(PageCount::new(n * size.get())))
            })
            .collect()
    })
}

/// What was allocated at once and has pages of a range: the pages of the range that it has, the index of its first page, and the first frame.
pub(crate) fn cached_in<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>) -> Vec<(Range<u64>, PageIndex, Pfn)> {
    let found = p.with_gmem(id, |file| {
        let size = file.backing.order().pages().get();
        let first = file.floor(PageIndex::new(range.start));
        let inside = file.cache.range(first..PageIndex::new(range.end.max(first.get())));
        inside
            .map(|(&index, &pfn)| {
                let at = index.get();
                (range.start.max(at)..range.end.min(at + size), index, pfn)
            })
            .collect()
    });
    found.unwrap_or_default()
}

/// No mapping of the host has a page of a range any more.
pub(crate) fn unmap_host<P: Env>(p: &mut P, id: GmemId, range: Range<u64>) {
    let taken = p.with_gmem(id, |file| {
        let mut taken = Vec::new();
        for view in file.views.values_mut() {
            taken.extend(view.mapped.overlapping(range.clone()).map(|(run, ())| run));
            view.mapped.clear(range.clone());
        }
        taken
    });
    let taken = taken.unwrap_or_default();
    if taken.is_empty() {
        return;
    }
    for run in taken {
        drop_mappings(p, id, &run);
    }
    stage2::tell(p, id, &range, GuestStep::HostUnmapped);
}

/// One mapping less of each page of a run that was mapped.
pub(crate) fn drop_mappings<P: Env>(p: &mut P, id: GmemId, run: &Range<u64>) {
    for (part, first, pfn) in cached_in(p, id, run) {
        let frame = pfn.offset(PageCount::new(part.start - first.get()));
        if structure(p, pfn) == Structure::Pieces {
            p.with_memmap(|map| map.unmap_pieces(frame, PageCount::new(part.end - part.start)));
        } else {
            // A base page: nothing larger is ever mapped by the host.
            p.with_memmap(|map| map.remove_mapping(pfn));
            hugetlb::put_folio(p, pfn, 1);
        }
    }
}

/// The lowest page of a range that somebody holds beside the file.
#[doc(alias("kvm_gmem_is_safe_for_conversion", "safe refcount"))]
pub(crate) fn first_held<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>) -> Option<(PageIndex, Referenced)> {
    cached_in(p, id, range).into_iter().find_map(|(part, first, pfn)| {
        let frame = pfn.offset(PageCount::new(part.start - first.get()));
        let pages = PageCount::new(part.end - part.start);
        let held = p.with_memmap(|map| match map.split_around(pfn) {
            Some(_) => map.first_referenced(frame, pages),
            None => map.get(pfn).and_then(|folio| {
                let (refs, expected) = (folio.refs(), folio.order.pages().get());
                (refs != expected).then_some(Referenced { pfn, refs, expected })
            }),
        })?;
        // A folio may begin before the range.
        let index = first.get() + (held.pfn.get() - pfn.get());
        Some((PageIndex::new(index.max(range.start)), held))
    })
}

/// Is a page broken, or another one of its folio?
pub(crate) fn is_broken<P: Env>(p: &mut P, id: GmemId, index: PageIndex) -> bool {
    let Some((of_file, pfn)) = p.with_gmem(id, |file| (file.broken.contains(&index), file.frame(index))) else {
        return false;
    };
    let Some((start, order, kind)) =
        pfn.and_then(|pfn| p.with_memmap(|map| map.find(pfn).map(|(start, folio)| (start, folio.order, folio.kind))))
    else {
        return of_file;
    };
    let (FolioKind::Huge(slot) | FolioKind::Piece(slot)) = kind else { return of_file };
    p.with_pool(slot.hstate, |pool| {
        let page = pool.folio(slot.hstate, slot.slot);
        pool.has_poison() && pool.first_broken(page, start).is_some_and(|broken| broken < start.offset(order.pages()))
    })
}

/// What was allocated at once leaves the file, and the file's references go. The guest and the host have it mapped no longer.
pub(crate) fn remove<P: Env>(p: &mut P, id: GmemId, index: PageIndex, pfn: Pfn) {
    p.with_gmem(id, |file| file.cache.remove(&index));
    match structure(p, pfn) {
        Structure::Pieces => {
            let pages = p.with_memmap(|map| map.split_around(pfn).map(|(_, order, _)| order.pages()));
            hugetlb::restructure::release_pieces(p, pfn, pages.unwrap_or(PageCount::ZERO));
        }
        Structure::Whole => {
            let broken = p.with_gmem(id, |file| file.broken.remove(&index)) == Some(true);
            let refs = p.with_memmap(|map| map.get(pfn).map_or(0, |folio| folio.order.pages().get()));
            if broken {
                // Nobody gets it any more.
                p.with_memmap(|map| map.mark_broken(pfn));
            }
            hugetlb::put_folio(p, pfn, refs);
        }
    }
}
