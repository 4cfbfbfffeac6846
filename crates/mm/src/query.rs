//! What can be seen of an address space from outside.

use alloc::vec::Vec;

use units::{Access, Bytes, HugeRange, MmId, PageCount, Pfn, Scope, Vaddr, VaddrRange};

use crate::populate::first_hole;
use crate::{Env, PieceState, Pieces};

/// One page as `/proc/PID/pagemap` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// No entry.
    Absent,
    /// No page, but the one to come will be write-protected by a userfaultfd.
    Marker,
    /// Mapped.
    Present {
        /// A page of its own rather than the file's.
        anonymous: bool,
        /// Mapped exactly once, in all address spaces together.
        exclusive: bool,
        /// Write-protected by a userfaultfd.
        uffd_wp: bool,
    },
}

/// The HugeTLB lines of `/proc/PID/smaps`, added up over a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smaps {
    /// Areas that share an address with the range.
    pub areas: usize,
    /// Bytes of those areas mapped more than once.
    pub shared: Bytes,
    /// Bytes of those areas mapped exactly once.
    pub private: Bytes,
    /// Bytes of those areas mapped by entries of each level, from the lowest: they differ where pages are mapped in pieces.
    #[doc(alias("PteMapped", "PmdMapped", "PudMapped"))]
    pub by_level: [Bytes; 3],
}

/// Why residency cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MincoreError {
    /// A start between base pages.
    #[error("{0} is not a multiple of the base page size")]
    Misaligned(Vaddr),
    /// Nothing is mapped there, or the range leaves the address space.
    #[error("nothing is mapped at {0}")]
    Hole(Vaddr),
}

/// The state of the page at `addr`.
#[doc(alias = "pagemap_hugetlb_range")]
pub fn page_state<P: Env>(p: &mut P, mm: MmId, addr: Vaddr) -> PageState {
    let Some(size) = p.with_vmas(mm, |vmas| vmas.find(addr).map(|vma| vma.size)).flatten() else {
        return PageState::Absent;
    };
    let page = addr.align_down(size.bytes());
    let (entry, marker) = p.with_table(mm, |table| (table.get(page), table.has_marker(page))).unwrap_or_default();
    let in_pieces = p.with_table(mm, |table| table.pieces(page).map(|all| (all.pfn(), all.at(addr.since(page)).state)));
    if let Some(Some((pfn, state))) = in_pieces {
        return match state {
            PieceState::Page { uffd_wp, .. } => {
                let base = pfn.offset(p.page_shift().pages_floor(addr.since(page)));
                PageState::Present { anonymous: false, exclusive: mapcount_of(p, base) == Some(1), uffd_wp }
            }
            PieceState::Hole { uffd_wp: true } => PageState::Marker,
            PieceState::Hole { .. } | PieceState::Broken => PageState::Absent,
        };
    }
    let Some(entry) = entry else { return if marker { PageState::Marker } else { PageState::Absent } };
    let folio = p.with_memmap(entry.pfn, |map| map.get(entry.pfn).map(|f| (f.is_anonymous(), f.mapcount() == 1)));
    let (anonymous, exclusive) = folio.unwrap_or((false, false));
    PageState::Present { anonymous, exclusive, uffd_wp: entry.uffd_wp }
}

/// What smaps says of the areas that share an address with `range`.
#[doc(alias = "smaps_hugetlb_range")]
pub fn smaps<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) -> Smaps {
    let areas = p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default();
    let mut sum = Smaps { areas: areas.len(), ..Smaps::default() };
    for vma in areas {
        let entries = p.with_table(mm, |table| table.over(vma.range).collect::<Vec<_>>());
        for (_, entry) in entries.unwrap_or_default() {
            let mapcount = p.with_memmap(entry.pfn, |map| map.get(entry.pfn).map_or(0, memmap::Folio::mapcount));
            let bytes = if mapcount > 1 { &mut sum.shared } else { &mut sum.private };
            *bytes += entry.size.bytes();
            if let Some(of_level) = sum.by_level.get_mut(p.paging().level_of(entry.size)) {
                *of_level += entry.size.bytes();
            }
        }
        // Entries of others are what makes pieces shared.
        let pieces = p.with_table(mm, |table| {
            let of = |(_, all): (_, &Pieces)| (all.pfn(), all.leaves(), all.mapped(), all.by_level());
            table.pieces_over(vma.range).map(of).collect::<Vec<_>>()
        });
        for (pfn, leaves, mapped, by_level) in pieces.unwrap_or_default() {
            sum.by_level.iter_mut().zip(by_level).for_each(|(sum, more)| *sum += more);
            let mapcount = p.with_memmap(pfn, |map| map.get(pfn).map_or(0, memmap::Folio::mapcount));
            *(if mapcount > leaves { &mut sum.shared } else { &mut sum.private }) += mapped;
        }
    }
    sum
}

/// Which parts of a range are in memory, as runs of base pages that are alike.
///
/// # Errors
/// A start between base pages, or a hole.
#[doc(alias = "mincore_hugetlb")]
pub fn mincore<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes) -> Result<Vec<(VaddrRange, bool)>, MincoreError> {
    if !start.is_aligned(p.page_shift().bytes()) {
        return Err(MincoreError::Misaligned(start));
    }
    let range = p.checked_range(start, len).ok_or(MincoreError::Hole(start))?;
    p.scope(Scope::AddressSpace(mm, Access::Read), |p| {
        if let Some(hole) = first_hole(p, mm, range) {
            return Err(MincoreError::Hole(hole));
        }
        let mut runs: Vec<(VaddrRange, bool)> = Vec::new();
        for vma in p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default() {
            let piece = vma.range.intersect(range);
            let mut at = piece.start;
            while at < piece.end {
                let page = at.align_down(vma.size.bytes());
                let end = (page + vma.size.bytes()).min(piece.end);
                let pieces = p.with_table(mm, |table| table.pieces(page).map(Pieces::all)).flatten();
                for of in pieces.unwrap_or_default() {
                    let start = page + of.offset;
                    let part = VaddrRange::new(start, start + of.size).intersect(VaddrRange::new(at, end));
                    add_run(&mut runs, part, !matches!(of.state, PieceState::Hole { .. }));
                    at = at.max(part.end);
                }
                if at < end {
                    let present = is_resident(p, mm, &vma, page);
                    add_run(&mut runs, VaddrRange::new(at, end), present);
                    at = end;
                }
            }
        }
        Ok(runs)
    })
}

/// One more part of a range, which begins where the last one ends.
fn add_run(runs: &mut Vec<(VaddrRange, bool)>, part: VaddrRange, present: bool) {
    match runs.last_mut() {
        _ if part.is_empty() => {}
        Some((run, same)) if *same == present => run.end = part.end,
        _ => runs.push((part, present)),
    }
}

/// How many entries map the base page `pfn` of a huge page, in all address spaces. Counts are kept of whole pages, so this looks at all who could.
#[doc(alias = "page_mapcount")]
pub fn mapcount_of<P: Env>(p: &mut P, pfn: Pfn) -> Option<u32> {
    let folio = hugetlb::folio_of(p, pfn)?;
    let Some((inode, index)) = p.with_records(folio.at(), |records| records.home(folio)) else { return Some(0) };
    let offset = p.page_shift().total(PageCount::new(pfn.get() - folio.pfn.get()));
    let size = p.hstate(folio.hstate).size;
    let mut count = 0;
    for area in filemap::areas_over(p, inode, HugeRange::one(index)) {
        let addr = area.start + size.total(HugeRange::new(area.range.start, index).count());
        let maps = p.with_table(area.mm, |table| {
            table.folio_at(addr).is_some_and(|(pfn, _)| pfn == folio.pfn)
                && table.piece_at(addr, size, offset).state.is_page()
        });
        count += u32::from(maps == Some(true));
    }
    Some(count)
}

/// Where the address space has a page of table, its entry tells; elsewhere the file's cache does.
fn is_resident<P: Env>(p: &mut P, mm: MmId, vma: &crate::Vma, page: Vaddr) -> bool {
    let entry = p
        .with_table(mm, |table| {
            table.is_reached(page).then(|| table.folio_at(page).is_some() || table.is_poisoned(page))
        })
        .flatten();
    entry.unwrap_or_else(|| p.with_cache(vma.inode, |c| c.get(vma.index_of(page))).flatten().is_some())
}

/// Writes a range back, which for huge pages means only to look that it is mapped.
///
/// # Errors
/// A start between base pages, or a hole.
pub fn msync<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes) -> Result<(), MincoreError> {
    if !start.is_aligned(p.page_shift().bytes()) {
        return Err(MincoreError::Misaligned(start));
    }
    let range = p.checked_range(start, len).ok_or(MincoreError::Hole(start))?;
    match first_hole(p, mm, range) {
        Some(hole) => Err(MincoreError::Hole(hole)),
        None => Ok(()),
    }
}
