//! Taking mappings away.

use alloc::vec::Vec;

use filemap::{MappedArea, Markers};
use hugetlb::Holder;
use hugetlbfs::Hold;
use units::{Access, Bytes, HugeRange, MmId, Pfn, Scope, Vaddr, VaddrRange};

use crate::{Env, Vma};

/// Why a range cannot be unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MunmapError {
    /// An empty range, a start between base pages, or a range outside the address space.
    #[error("the range at {0} is empty, starts between pages or leaves the address space")]
    BadRange(Vaddr),
    /// An area would have to be split inside a huge page.
    #[error("an area cannot be split at {at}, which is inside one of its pages of {page}")]
    SplitsPage {
        /// The edge.
        at: Vaddr,
        /// The size of the area's pages.
        page: Bytes,
    },
    /// No such address space.
    #[error("no such address space")]
    NoSpace,
}

/// An area would have to be split inside one of its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsidePage {
    pub(crate) at: Vaddr,
    pub(crate) page: Bytes,
}

/// Unmaps a range; areas are split at its edges. A range where nothing is mapped is fine.
///
/// # Errors
/// A bad range, or an edge inside a huge page; nothing is unmapped.
#[doc(alias = "do_vmi_munmap")]
pub fn munmap<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes) -> Result<(), MunmapError> {
    let range = p.checked_range(start, len).filter(|r| !r.is_empty()).ok_or(MunmapError::BadRange(start))?;
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| unmap_range(p, mm, range))
        .map_err(|InsidePage { at, page }| MunmapError::SplitsPage { at, page })
}

/// Unmaps what lies in `range`, inside the address space's scope. Every page of every area is unmapped first, then all are
/// freed, then the areas are closed in order of address.
pub(crate) fn unmap_range<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) -> Result<(), InsidePage> {
    if range.is_empty() {
        return Ok(());
    }
    split_off(p, mm, range)?;
    let areas = p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default();
    let mut freed = Vec::new();
    for vma in &areas {
        let area = vma.as_mapped(mm);
        p.scope(Scope::FileMapping(vma.inode, Access::Write), |p| {
            zap(p, &area, area.range, Markers::Drop, &mut freed);
            p.with_mappings(vma.inode, |m| m.remove(area.range.start, vma.id));
        });
        p.with_vmas(mm, |vmas| vmas.remove(vma.range.start));
    }
    for pfn in freed {
        hugetlb::put_folio(p, pfn, 1);
    }
    drop_empty_tables(p, mm, range);
    for vma in &areas {
        close(p, vma);
    }
    Ok(())
}

/// The end of an area: an owner's unused reservations return, and the file is released.
fn close<P: Env>(p: &mut P, vma: &Vma) {
    if let Some(map) = vma.owner {
        let subpool = p.with_inode(vma.inode, |inode| inode.subpool).flatten();
        hugetlb::close_private_map(p, vma.hstate, map, subpool, vma.pages());
    }
    hugetlbfs::release(p, vma.inode, Hold::Area);
}

/// Ends an address space.
#[doc(alias = "exit_mmap")]
pub fn exit_space<P: Env>(p: &mut P, mm: MmId) {
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let all = VaddrRange::new(Vaddr::new(0), p.task_size());
        let done = unmap_range(p, mm, all);
        debug_assert!(done.is_ok(), "no area crosses the edges of the address space");
    });
    p.drop_space(mm);
}

/// Takes the pages of `range` out of `area`: the answer to the files' upcall. Inside the file-mapping scope. All pages are
/// unmapped, and asked whether their reservation returns, before any is freed.
#[doc(alias("unmap_hugepage_range", "__unmap_hugepage_range"))]
pub fn unmap_area_range<P: Env>(p: &mut P, area: &MappedArea, range: HugeRange, markers: Markers) {
    let mut freed = Vec::new();
    zap(p, area, range, markers, &mut freed);
    for pfn in freed {
        hugetlb::put_folio(p, pfn, 1);
    }
}

/// Unmaps the pages of `range` and decides whether their reservations return; their references are left in `freed`.
fn zap<P: Env>(p: &mut P, area: &MappedArea, range: HugeRange, markers: Markers, freed: &mut Vec<Pfn>) {
    let size = p.hstate(area.hstate).size;
    let at = |index| area.start + size.total(HugeRange::new(area.range.start, index).count());
    let places = VaddrRange::new(at(range.start), at(range.end));
    let pieces = p.with_table(area.mm, |table| {
        let taken = table.take_pieces_over(places);
        if markers == Markers::Keep {
            taken.iter().filter(|(_, pieces)| pieces.is_watched()).for_each(|&(addr, _)| table.leave_marker(addr));
        }
        taken
    });
    let pieces = pieces.unwrap_or_default();
    for (_, pieces) in pieces {
        // Each has a reference of its own. Only shared areas have pieces, so no reservation is asked about.
        p.with_memmap(pieces.pfn(), |map| (0..pieces.leaves()).for_each(|_| _ = map.remove_mapping(pieces.pfn())));
        freed.extend((0..pieces.leaves()).map(|_| pieces.pfn()));
    }
    let taken = p.with_table(area.mm, |table| {
        let taken = table.take_range(places);
        table.drop_poison(places);
        match markers {
            Markers::Drop => _ = table.drop_markers(places),
            Markers::Keep => {
                taken.iter().filter(|(_, entry)| entry.uffd_wp).for_each(|&(addr, _)| table.leave_marker(addr));
            }
        }
        taken
    });
    for (addr, entry) in taken.unwrap_or_default() {
        let index = area.range.start.offset(size.count_floor(addr.since(area.start)));
        let (anonymous, refs, left) = p.with_memmap(entry.pfn, |map| {
            let found = map.get(entry.pfn).map(|folio| (folio.is_anonymous(), folio.refs()));
            let (anonymous, refs) = found.unwrap_or_default();
            (anonymous, refs, map.remove_mapping(entry.pfn))
        });
        freed.push(entry.pfn);
        if anonymous && let Some(folio) = hugetlb::folio_at(p, entry.pfn) {
            // A pin, or somebody who moves the page, keeps it as a mapping would.
            let goes = left == 0 && (refs == 1 || refs == freed.iter().filter(|&&pfn| pfn == entry.pfn).count() as u64);
            match (goes, area.owner) {
                (true, owner) => {
                    hugetlb::last_unmap(p, folio, owner.map_or(Holder::Nothing, Holder::Owner), index);
                }
                (false, Some(map)) => hugetlb::still_mapped(p, folio, map, index, area.vma),
                (false, None) => (),
            }
        }
    }
}

/// A page of page table goes once nothing is mapped in its part of the address space any more.
pub(crate) fn drop_empty_tables<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) {
    for part in p.with_table(mm, |table| table.parts_over(range)).unwrap_or_default() {
        if p.with_vmas(mm, |vmas| vmas.over(part).next().is_none()) == Some(true) {
            p.with_table(mm, |table| table.drop_part(part.start));
        }
    }
}

/// May the area at `at` end there?
pub(crate) fn can_split<P: Env>(p: &mut P, mm: MmId, at: Vaddr) -> Result<(), InsidePage> {
    match p.with_vmas(mm, |vmas| vmas.find(at).copied()).flatten() {
        Some(vma) if !vma.range.start.eq(&at) && !at.is_aligned(vma.size.bytes()) => {
            Err(InsidePage { at, page: vma.size.bytes() })
        }
        _ => Ok(()),
    }
}

/// Makes areas end at both edges of `range`. As on Linux, what the lower edge cut stays cut if the upper one is refused.
pub(crate) fn split_off<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) -> Result<(), InsidePage> {
    for edge in [range.start, range.end] {
        can_split(p, mm, edge)?;
        split_at(p, mm, edge);
    }
    Ok(())
}

/// Makes an area end at `at`, which is the start of a huge page; the rest is an area of its own, with the same map.
pub(crate) fn split_at<P: Env>(p: &mut P, mm: MmId, at: Vaddr) {
    let found = p.with_vmas(mm, |vmas| vmas.find(at).copied()).flatten();
    let Some(vma) = found.filter(|vma| vma.range.start < at) else { return };
    debug_assert!(at.is_aligned(vma.size.bytes()), "split inside a page");
    let (mut low, mut high) = (vma, vma);
    low.range.end = at;
    high.range.start = at;
    high.first = vma.index_of(at);
    // To their file both parts are areas that were mapped just now: truncation meets the areas of a page in that order.
    (low.id, high.id) = (p.new_vma_id(), p.new_vma_id());
    if let Some(map) = vma.owner {
        hugetlb::open_private_map(p, map);
    }
    hugetlbfs::hold(p, vma.inode, Hold::Area);
    p.scope(Scope::FileMapping(vma.inode, Access::Write), |p| {
        p.with_mappings(vma.inode, |m| {
            m.remove(vma.first, vma.id);
            m.insert(low.as_mapped(mm));
            m.insert(high.as_mapped(mm));
        });
        p.with_vmas(mm, |vmas| {
            vmas.remove(vma.range.start);
            vmas.insert(low);
            vmas.insert(high);
        });
    });
}
