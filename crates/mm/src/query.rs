//! What can be seen of an address space from outside.

use alloc::vec::Vec;

use units::{Access, Bytes, MmId, Scope, Vaddr, VaddrRange};

use crate::Env;
use crate::populate::first_hole;

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
    let in_pieces = p.with_table(mm, |table| table.pieces(page).map(|all| all.at(addr.since(page)).writable.is_some()));
    if let Some(Some(present)) = in_pieces {
        return match present {
            true => PageState::Present { anonymous: false, exclusive: false, uffd_wp: false },
            false => PageState::Absent,
        };
    }
    let Some(entry) = entry else { return if marker { PageState::Marker } else { PageState::Absent } };
    let folio = p.with_memmap(|map| map.get(entry.pfn).map(|f| (f.is_anonymous(), f.mapcount() == 1)));
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
            let mapcount = p.with_memmap(|map| map.get(entry.pfn).map_or(0, memmap::Folio::mapcount));
            let bytes = if mapcount > 1 { &mut sum.shared } else { &mut sum.private };
            *bytes += entry.size.bytes();
        }
        // Entries of others are what makes pieces shared.
        let pieces = p.with_table(mm, |table| {
            table.pieces_over(vma.range).map(|(_, all)| (all.pfn(), all.leaves(), all.mapped())).collect::<Vec<_>>()
        });
        for (pfn, leaves, mapped) in pieces.unwrap_or_default() {
            let mapcount = p.with_memmap(|map| map.get(pfn).map_or(0, memmap::Folio::mapcount));
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
                let present = is_resident(p, mm, &vma, page);
                match runs.last_mut() {
                    Some((run, same)) if *same == present => run.end = end,
                    _ => runs.push((VaddrRange::new(at, end), present)),
                }
                at = end;
            }
        }
        Ok(runs)
    })
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
