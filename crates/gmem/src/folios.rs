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
    let split = p.with_memmap(pfn, |map| map.get(pfn).is_some_and(|folio| matches!(folio.kind, FolioKind::Piece(_))));
    if split { Structure::Pieces } else { Structure::Whole }
}

/// The pieces of a folio that are larger than a base page, by first frame.
pub(crate) fn larger_pieces<P: Env>(p: &mut P, first: Pfn) -> Vec<Pfn> {
    p.with_memmap(first, |map| {
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

/// What was allocated at once, as far as a range has pages of it.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    /// The pages of the range.
    pub part: Range<u64>,
    /// All of its pages.
    pub around: Range<u64>,
    pub order: Order,
    /// The first frame.
    pub pfn: Pfn,
}

impl Cached {
    pub(crate) const fn index(&self) -> PageIndex {
        PageIndex::new(self.around.start)
    }

    /// The frame of the first page of the range, and how many there are.
    const fn frames(&self) -> (Pfn, PageCount) {
        let before = PageCount::new(self.part.start - self.around.start);
        (self.pfn.offset(before), PageCount::new(self.part.end - self.part.start))
    }
}

/// Takes from the front of a range up to the end of what is cached there first.
pub(crate) fn next_cached<P: Env>(p: &mut P, id: GmemId, rest: &mut Range<u64>) -> Option<Cached> {
    if rest.is_empty() {
        return None;
    }
    let cached = p.with_gmem(id, |file| {
        let first = file.floor(PageIndex::new(rest.start));
        // Mostly it is there, and asking for one is half as dear as looking for the next.
        let here = file.cache.get_key_value(&first);
        let (&index, &pfn) = here.or_else(|| file.cache.range(first..PageIndex::new(rest.end)).next())?;
        let around = file.around(index);
        let part = rest.start.max(around.start)..rest.end.min(around.end);
        Some(Cached { part, around, order: file.backing.order(), pfn })
    });
    let cached = cached.flatten()?;
    rest.start = cached.part.end;
    Some(cached)
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
    let mut rest = run.clone();
    while let Some(cached) = next_cached(p, id, &mut rest) {
        if structure(p, cached.pfn) == Structure::Pieces {
            let (frame, pages) = cached.frames();
            p.with_memmap(frame, |map| map.unmap_pieces(frame, pages));
        } else {
            // A base page: nothing larger is ever mapped by the host.
            p.with_memmap(cached.pfn, |map| map.remove_mapping(cached.pfn));
            hugetlb::put_folio(p, cached.pfn, 1);
        }
    }
}

/// The lowest page of a range that somebody holds beside the file.
#[doc(alias("kvm_gmem_is_safe_for_conversion", "safe refcount"))]
pub(crate) fn first_held<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>) -> Option<(PageIndex, Referenced)> {
    let mut rest = range.clone();
    while let Some(cached) = next_cached(p, id, &mut rest) {
        let pfn = cached.pfn;
        let (frame, pages) = cached.frames();
        let held = p.with_memmap(pfn, |map| match map.split_around(pfn) {
            Some(_) => map.first_referenced(frame, pages),
            None => map.get(pfn).and_then(|folio| {
                let (refs, expected) = (folio.refs(), folio.order.pages().get());
                (refs != expected).then_some(Referenced { pfn, refs, expected })
            }),
        });
        if let Some(held) = held {
            // A folio may begin before the range.
            let index = cached.around.start + (held.pfn.get() - pfn.get());
            return Some((PageIndex::new(index.max(range.start)), held));
        }
    }
    None
}

/// Is a page broken, or another one of its folio?
pub(crate) fn is_broken<P: Env>(p: &mut P, id: GmemId, index: PageIndex) -> bool {
    let Some((of_file, pfn)) = p.with_gmem(id, |file| (file.broken.contains(&index), file.frame(index))) else {
        return false;
    };
    let Some((start, order, kind)) = pfn
        .and_then(|pfn| p.with_memmap(pfn, |map| map.find(pfn).map(|(start, folio)| (start, folio.order, folio.kind))))
    else {
        return of_file;
    };
    let (FolioKind::Huge(slot) | FolioKind::Piece(slot)) = kind else { return of_file };
    p.with_records(slot, |records| {
        let page = records.folio(slot.hstate, slot.slot);
        records.has_poison()
            && records.first_broken(page, start).is_some_and(|broken| broken < start.offset(order.pages()))
    })
}

/// What was allocated at once leaves the file, and the file's references go. The guest and the host have it mapped no longer.
pub(crate) fn remove<P: Env>(p: &mut P, id: GmemId, index: PageIndex, pfn: Pfn) {
    p.with_gmem(id, |file| file.cache.remove(&index));
    match structure(p, pfn) {
        Structure::Pieces => {
            let pages = p.with_memmap(pfn, |map| map.split_around(pfn).map(|(_, order, _)| order.pages()));
            hugetlb::restructure::release_pieces(p, pfn, pages.unwrap_or(PageCount::ZERO));
        }
        Structure::Whole => {
            let broken = p.with_gmem(id, |file| file.broken.remove(&index)) == Some(true);
            let refs = p.with_memmap(pfn, |map| map.get(pfn).map_or(0, |folio| folio.order.pages().get()));
            if broken {
                // Nobody gets it any more.
                p.with_memmap(pfn, |map| map.mark_broken(pfn));
            }
            hugetlb::put_folio(p, pfn, refs);
        }
    }
}
