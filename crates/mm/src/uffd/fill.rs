//! Filling in pages for somebody else.

use filemap::NoCacheNode;
use hugetlb::{AllocRefusal, HugeFolio, Purpose};
use hugetlbfs::Origin;
use memmap::{MappedBy, TooManyRefs};
use units::{Access, Blame, Bytes, HugeIndex, Ledger, MmId, Pfn, Scope, Site, UffdId, Vaddr, VaddrRange};

use super::{UffdModes, whole_pages};
use crate::fault::{
    NotInstalled, Place, alloc_page, at_place, has_broken, install, install_piece, is_poisoned, keep, prepare_anon,
    reach, size_before,
};
use crate::{Entry, Env, Piece, PieceState, Pieces, Prot, Vma, VmaFlags};

/// What is copied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// These bytes, and zeros behind them.
    Bytes(&'a [u8]),
    /// This byte at the start of every base page, and zeros between.
    BasePages(u8),
}

/// How copied pages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As the area permits.
    Open,
    /// Write-protected.
    WriteProtected,
}

/// Why filling stopped, and how far it came: pages before that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{filled} filled, then: {refusal}")]
pub struct FillError {
    /// What was filled.
    pub filled: Bytes,
    /// Why no more.
    pub refusal: FillRefusal,
}

/// Why a page cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FillRefusal {
    /// An empty range, one with parts of base pages, or one that leaves the address space.
    #[error("the range at {0} is empty, has parts of pages or leaves the address space")]
    BadRange(Vaddr),
    /// The userfaultfd's address space is gone.
    #[error("the address space of this userfaultfd is gone")]
    Gone,
    /// The range does not lie in one area that somebody watches.
    #[error("{0} is not inside one area that a userfaultfd watches")]
    NotWatched(VaddrRange),
    /// Pages are to arrive write-protected where nobody watches writes.
    #[error("nobody watches the writes at {0}")]
    WritesNotWatched(Vaddr),
    /// An edge of the range inside a huge page.
    #[error("the range is not of whole pages of {page}")]
    InsidePage {
        /// The size of the area's pages.
        page: Bytes,
    },
    /// There is no page of zeros to map for a whole huge page.
    #[error("huge pages are not filled with the zero page")]
    NoZeroPage,
    /// There is a page already.
    #[error("there is a page at {0} already")]
    Exists(Vaddr),
    /// The file does not have the page that is to be mapped.
    #[error("{0} is not in the page cache")]
    NotCached(HugeIndex),
    /// The page of the file has broken memory.
    #[error("{0} has broken memory")]
    Poisoned(HugeIndex),
    /// A part of the page, where pages may be mapped in pieces, has broken memory.
    #[error("what is to be mapped at {0} has broken memory")]
    BrokenPart(Vaddr),
    /// The page is mapped as often as can be counted.
    #[error(transparent)]
    TooManyRefs(#[from] TooManyRefs),
    /// Beyond the end of the file.
    #[error("{index} lies beyond the end of the file, which has {size}")]
    BeyondEof {
        /// The page.
        index: HugeIndex,
        /// The file's size.
        size: Bytes,
    },
    /// No page.
    #[error(transparent)]
    Refused(#[from] AllocRefusal),
    /// No node of the page cache.
    #[error(transparent)]
    CacheNode(#[from] NoCacheNode),
    /// No page for the page table.
    #[error("no page for the page table")]
    NoTablePage,
}

impl Blame for FillError {
    fn ledger(&self) -> Option<Ledger> {
        match self.refusal {
            FillRefusal::Refused(refusal) => refusal.ledger(),
            FillRefusal::CacheNode(_) | FillRefusal::NoTablePage => Some(Ledger::Metadata),
            FillRefusal::TooManyRefs(_) => Some(Ledger::References),
            _ => None,
        }
    }
}

impl From<FillRefusal> for FillError {
    fn from(refusal: FillRefusal) -> Self {
        Self { filled: Bytes::ZERO, refusal }
    }
}

/// Where the pages come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Copied(Payload<'a>, Arrival),
    Cached,
}

/// Fills missing pages with a copy. A page is had as by a fault, so it takes the area's promise; `origin` pays. The area may be
/// anybody's registration of this address space, in any mode. A page beyond the end of a file is refused only for a shared area,
/// and only once a page was had for it.
///
/// # Errors
/// The first page that cannot be filled, and how much was.
#[doc(alias("UFFDIO_COPY", "hugetlb_mfill_atomic_pte"))]
pub fn uffd_copy<P: Env>(
    p: &mut P,
    uffd: UffdId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
    payload: Payload<'_>,
    arrival: Arrival,
) -> Result<(), FillError> {
    fill(p, uffd, origin, start, len, Source::Copied(payload, arrival))
}

/// Maps pages that the file has. A private area gets them read-only.
///
/// # Errors
/// The first page that cannot be mapped, and how much was.
#[doc(alias = "UFFDIO_CONTINUE")]
pub fn uffd_continue<P: Env>(
    p: &mut P,
    uffd: UffdId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
) -> Result<(), FillError> {
    fill(p, uffd, origin, start, len, Source::Cached)
}

/// Would map pages of zeros, which there are none of.
///
/// # Errors
/// Always; what is wrong with the range is told first.
#[doc(alias = "UFFDIO_ZEROPAGE")]
pub fn uffd_zero<P: Env>(p: &mut P, uffd: UffdId, start: Vaddr, len: Bytes) -> Result<(), FillError> {
    let (mm, range) = target(p, uffd, start, len)?;
    p.scope(Scope::AddressSpace(mm, Access::Read), |p| {
        watched_area(p, mm, range)?;
        Err(FillRefusal::NoZeroPage.into())
    })
}

fn fill<P: Env>(
    p: &mut P,
    uffd: UffdId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
    source: Source<'_>,
) -> Result<(), FillError> {
    let (mm, range) = target(p, uffd, start, len)?;
    p.scope(Scope::AddressSpace(mm, Access::Read), |p| {
        let vma = watched_area(p, mm, range)?;
        if let Source::Copied(_, Arrival::WriteProtected) = source
            && !vma.is_watched(UffdModes::WRITE_PROTECT)
        {
            return Err(FillRefusal::WritesNotWatched(range.start).into());
        }
        let page = vma.size.bytes();
        let in_pieces = vma.flags.contains(VmaFlags::PIECES) && matches!(source, Source::Cached);
        let whole = range.start.is_aligned(page) && range.end.is_aligned(page);
        if !whole && !in_pieces {
            return Err(FillRefusal::InsidePage { page }.into());
        }
        let mut at = range.start;
        while at < range.end {
            let addr = at.align_down(page);
            let place = Place { mm, vma, addr, index: vma.index_of(at), origin, pin: page_alloc::Pin::Short };
            let (filled, left) = (at.since(range.start), range.end.since(at));
            let done = at_place(p, &place, |p| {
                if at == addr && left >= page {
                    fill_locked(p, &place, source, filled).map(|()| page)
                } else {
                    map_piece(p, &place, at.since(addr), left)
                }
            });
            at = at + done.map_err(|refusal| FillError { filled, refusal })?;
        }
        Ok(())
    })
}

fn target<P: Env>(p: &mut P, uffd: UffdId, start: Vaddr, len: Bytes) -> Result<(MmId, VaddrRange), FillRefusal> {
    let range = whole_pages(p, start, len).ok_or(FillRefusal::BadRange(start))?;
    let mm = p.with_uffd(uffd, |u| u.mm).ok_or(FillRefusal::Gone)?;
    Ok((mm, range))
}

/// The area around `range`, which somebody watches. An area that does not write to its file is prepared for pages of its own,
/// whatever comes of it; one that shares what it only reads is so too, though it never gets any.
#[doc(alias = "find_dst_vma")]
fn watched_area<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) -> Result<Vma, FillRefusal> {
    let found = p.with_vmas(mm, |vmas| vmas.find(range.start).copied()).ok_or(FillRefusal::Gone)?;
    let vma = found.ok_or(FillRefusal::NotWatched(range))?;
    if !vma.is_shared() || vma.flags.contains(VmaFlags::READ_ONLY_FILE) {
        prepare_anon(p, mm, &vma);
    }
    if vma.uffd.is_none() || range.end > vma.range.end {
        return Err(FillRefusal::NotWatched(range));
    }
    Ok(vma)
}

/// Fills one page as a fault would, in its scopes. `from` is how far the call has come.
fn fill_locked<P: Env>(p: &mut P, place: &Place<'_>, source: Source<'_>, from: Bytes) -> Result<(), FillRefusal> {
    let vma = &place.vma;
    if p.refused(Site::TablePage) {
        return Err(FillRefusal::NoTablePage);
    }
    let present = reach(p, place).is_some()
        || p.with_table(place.mm, |t| t.is_poisoned(place.addr) || t.pieces(place.addr).is_some()) == Some(true);
    let cached = p.with_cache(vma.inode, |cache| cache.get(place.index)).flatten();
    let (pfn, by, uffd_wp) = match source {
        Source::Copied(payload, arrival) => {
            if present || (vma.is_shared() && cached.is_some()) {
                return Err(FillRefusal::Exists(place.addr));
            }
            let (pfn, by) = copied_page(p, place, payload, from)?;
            (pfn, by, arrival == Arrival::WriteProtected)
        }
        Source::Cached => {
            let pfn = cached.ok_or(FillRefusal::NotCached(place.index))?;
            let in_pieces = vma.flags.contains(VmaFlags::PIECES);
            if is_poisoned(p, pfn) {
                let part = FillRefusal::BrokenPart(place.addr);
                return Err(if in_pieces { part } else { FillRefusal::Poisoned(place.index) });
            }
            if present {
                return Err(FillRefusal::Exists(place.addr));
            }
            p.with_memmap(pfn, |map| map.try_get_refs(pfn, 1))?;
            let noted = in_pieces && p.with_table(place.mm, |table| table.has_marker(place.addr)) == Some(true);
            (pfn, MappedBy::File, noted)
        }
    };
    let own = vma.is_shared() || by == MappedBy::Anonymous;
    let writable = own && !uffd_wp && vma.prot.contains(Prot::WRITE);
    install(p, place, Entry { pfn, writable, uffd_wp, dirty: true, size: vma.size }, by);
    Ok(())
}

/// Maps the largest piece that begins at `offset` of a page which the file has, and is no longer than `left`; how large it is.
#[doc(alias = "hugetlb_full_walk_alloc")]
fn map_piece<P: Env>(p: &mut P, place: &Place<'_>, offset: Bytes, left: Bytes) -> Result<Bytes, FillRefusal> {
    let vma = &place.vma;
    if p.refused(Site::TablePage) {
        return Err(FillRefusal::NoTablePage);
    }
    let cached = p.with_cache(vma.inode, |cache| cache.get(place.index)).flatten();
    let pfn = cached.ok_or(FillRefusal::NotCached(place.index))?;
    let size = Pieces::largest(p.paging(), vma.size, offset, left);
    let piece = Piece { offset, size, state: PieceState::page(vma.prot.contains(Prot::WRITE)) };
    if has_broken(p, pfn, piece) {
        return Err(FillRefusal::BrokenPart(place.addr + offset));
    }
    match install_piece(p, place, pfn, piece) {
        Ok(_) => Ok(size),
        Err(NotInstalled::Occupied) => Err(FillRefusal::Exists(place.addr + offset)),
        Err(NotInstalled::TooManyRefs(error)) => Err(error.into()),
    }
}

/// A page with the payload: in the cache of a shared file, or anonymous. The mapping to come takes its reference.
fn copied_page<P: Env>(
    p: &mut P,
    place: &Place<'_>,
    payload: Payload<'_>,
    from: Bytes,
) -> Result<(Pfn, MappedBy), FillRefusal> {
    let (folio, want) = alloc_page(p, place, Purpose::Instantiate)?;
    write(p, folio, payload, from, place.vma.size.bytes());
    let beyond = size_before(p, place).map(|size| FillRefusal::BeyondEof { index: place.index, size });
    keep(p, place, folio, &want, beyond.map_or(Ok(()), Err))
}

/// Writes the part of the payload that begins `from` bytes in.
fn write<P: Env>(p: &mut P, folio: HugeFolio, payload: Payload<'_>, from: Bytes, len: Bytes) {
    let base = p.page_shift().bytes();
    p.with_contents(folio.pfn, |contents| {
        contents.zero(folio.pfn, Bytes::ZERO, len);
        match payload {
            Payload::Bytes(bytes) => {
                let start = usize::try_from(from.get()).unwrap_or(usize::MAX).min(bytes.len());
                for (n, &byte) in (0..len.get()).zip(&bytes[start..]) {
                    contents.write(folio.pfn, Bytes::new(n), byte);
                }
            }
            Payload::BasePages(byte) => {
                let mut at = Bytes::ZERO;
                while at < len {
                    contents.write(folio.pfn, at, byte);
                    at += base;
                }
            }
        }
    });
}
