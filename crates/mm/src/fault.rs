//! Page faults.
//!
//! One fault runs inside the address space (read), the file (read: nobody truncates meanwhile), the fault mutex of its page and
//! the areas' lock (read). Inside, nothing else instantiates this page of this file; sections are re-checked where the
//! entry could have gone: another thread may unmap, but nobody else may map.

use filemap::NoCacheNode;
use hugetlb::{AllocRefusal, HugeFolio, MapAlloc, Purpose};
use hugetlbfs::Origin;
use memmap::{MappedBy, TooManyRefs};
use page_alloc::Pin;
use policy::{Placement, Weights};
use units::{Access, Blame, Bytes, HugeIndex, Ledger, MmId, Pfn, Scope, Site, Vaddr};

use crate::cow::write_to_protected;
use crate::{Entry, Env, Piece, PieceState, Pieces, Prot, UffdModes, Vma, VmaFlags};

/// What is done to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// Where an access landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The folio.
    pub pfn: Pfn,
    /// The byte within it.
    pub offset: Bytes,
}

/// Why an access fails.
#[doc(alias("vm_fault_t", "VM_FAULT_SIGBUS"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No area there (SIGSEGV, `SEGV_MAPERR`).
    #[error("nothing is mapped at {0}")]
    NoArea(Vaddr),
    /// The area does not permit it (SIGSEGV, `SEGV_ACCERR`).
    #[error("{0} may not be accessed that way")]
    Protection(Vaddr),
    /// The area may only be run (SIGSEGV, `SEGV_PKUERR`).
    #[error("{0} may only be run, not read")]
    ExecuteOnly(Vaddr),
    /// Beyond the end of the file (SIGBUS).
    #[error("{index} lies beyond the end of the file, which has {size}")]
    BeyondEof {
        /// The page.
        index: HugeIndex,
        /// The file's size.
        size: Bytes,
    },
    /// The owner of the reservations took a page of this area: it gets no further ones (SIGBUS).
    #[error("a page of this area went to the owner of the reservations, and it gets no further ones")]
    Stolen,
    /// No page yet, and a userfaultfd is to bring it (SIGBUS, as nobody waits for the event).
    #[error("the page at {addr} is missing, and a userfaultfd is to fill it")]
    UserfaultMissing {
        /// Start of the page.
        addr: Vaddr,
    },
    /// The file has the page, and a userfaultfd is to map it (SIGBUS).
    #[error("the page at {addr} is cached, and a userfaultfd is to map it")]
    UserfaultMinor {
        /// Start of the page.
        addr: Vaddr,
    },
    /// A userfaultfd has write-protected the page (SIGBUS).
    #[error("the page at {addr} is write-protected by a userfaultfd")]
    UserfaultWriteProtected {
        /// Start of the page.
        addr: Vaddr,
    },
    /// The page that was there, or that the file has, has broken memory (SIGBUS, `BUS_MCEERR_AR`).
    #[doc(alias = "VM_FAULT_HWPOISON_LARGE")]
    #[error("the page of {size} at {addr} has broken memory")]
    Poisoned {
        /// Start of the page.
        addr: Vaddr,
        /// How much of it is lost: the huge page, or a base page where pages may be mapped in pieces.
        #[doc(alias = "si_addr_lsb")]
        size: Bytes,
    },
    /// No page (SIGBUS).
    #[error(transparent)]
    Refused(#[from] AllocRefusal),
    /// No node of the page cache (SIGBUS).
    #[error(transparent)]
    CacheNode(#[from] NoCacheNode),
    /// The page is mapped as often as can be counted (SIGBUS).
    #[error(transparent)]
    TooManyRefs(#[from] TooManyRefs),
    /// No page for the page table: the fault would be retried once memory is found.
    #[error("no page for the page table")]
    NoTablePage,
}

impl Blame for FaultError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Refused(refusal) => refusal.ledger(),
            Self::Stolen => Some(Ledger::Pool),
            Self::CacheNode(_) | Self::NoTablePage => Some(Ledger::Metadata),
            Self::TooManyRefs(_) => Some(Ledger::References),
            Self::NoArea(_)
            | Self::Protection(_)
            | Self::ExecuteOnly(_)
            | Self::BeyondEof { .. }
            | Self::Poisoned { .. }
            | Self::UserfaultMissing { .. }
            | Self::UserfaultMinor { .. }
            | Self::UserfaultWriteProtected { .. } => None,
        }
    }
}

/// One fault: who, where, for what.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) mm: MmId,
    pub(crate) vma: Vma,
    /// Start of the page.
    pub(crate) addr: Vaddr,
    pub(crate) index: HugeIndex,
    pub(crate) origin: &'a Origin,
    /// How long a page that is to come has to stay where it is.
    pub(crate) pin: Pin,
}

/// Makes `addr` accessible and says where it is.
///
/// # Errors
/// Why the access fails; the ledger that refused, where one did.
#[doc(alias("hugetlb_fault", "handle_mm_fault"))]
pub fn fault<P: Env>(p: &mut P, mm: MmId, origin: &Origin, addr: Vaddr, touch: Touch) -> Result<Hit, FaultError> {
    p.scope(Scope::AddressSpace(mm, Access::Read), |p| fault_in_space(p, mm, origin, addr, touch))
}

/// As [`fault`], inside the address space's scope.
pub(crate) fn fault_in_space<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    addr: Vaddr,
    touch: Touch,
) -> Result<Hit, FaultError> {
    fault_for(p, mm, origin, addr, touch, Pin::Short)
}

/// The same for somebody who is about to pin the page.
pub(crate) fn fault_for<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    addr: Vaddr,
    touch: Touch,
    pin: Pin,
) -> Result<Hit, FaultError> {
    let found = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten();
    let vma = found.ok_or(FaultError::NoArea(addr))?;
    let permitted = match touch {
        // As on x86-64, what may be written may be read.
        Touch::Read if vma.prot == Prot::EXEC => return Err(FaultError::ExecuteOnly(addr)),
        Touch::Read => vma.prot.intersects(Prot::READ | Prot::WRITE),
        Touch::Write => vma.prot.contains(Prot::WRITE),
    };
    if !permitted {
        return Err(FaultError::Protection(addr));
    }
    let index = vma.index_of(addr);
    let start = Vaddr::new(addr.get()).align_down(vma.size.bytes());
    let place = Place { mm, vma, addr: start, index, origin, pin };
    let offset = addr.since(start);
    let pfn = at_place(p, &place, |p| locked(p, &place, offset, touch))?;
    Ok(Hit { pfn, offset })
}

/// Everything that gives a place its page runs in these scopes.
pub(crate) fn at_place<P: Env, R>(p: &mut P, place: &Place<'_>, f: impl FnOnce(&mut P) -> R) -> R {
    let inode = place.vma.inode;
    p.scope(Scope::Inode(inode, Access::Read), |p| {
        p.scope(Scope::FaultMutex(inode, place.index), |p| p.scope(Scope::VmaLock(inode, Access::Read), f))
    })
}

/// What is mapped at a place, whose page table is there from now on.
pub(crate) fn reach<P: Env>(p: &mut P, place: &Place<'_>) -> Option<Entry> {
    let entry = p.with_table(place.mm, |table| {
        table.reach(place.addr);
        table.get(place.addr)
    });
    entry.flatten()
}

fn locked<P: Env>(p: &mut P, place: &Place<'_>, offset: Bytes, touch: Touch) -> Result<Pfn, FaultError> {
    match reach(p, place) {
        None => match p.with_table(place.mm, |table| table.pieces(place.addr).map(|all| (all.pfn(), all.at(offset)))) {
            Some(Some((pfn, piece))) => in_pieces(p, place, (pfn, piece), offset, touch),
            _ => no_page(p, place, offset, touch),
        },
        Some(entry) if touch == Touch::Write && !entry.writable => write_to_present(p, place, entry),
        Some(entry) => Ok(entry.pfn),
    }
}

/// A write to a page that may not be written as it is. A userfaultfd's protection that was left behind by a registration that
/// no longer watches writes holds nobody up.
fn write_to_present<P: Env>(p: &mut P, place: &Place<'_>, entry: Entry) -> Result<Pfn, FaultError> {
    if entry.uffd_wp && place.vma.is_watched(UffdModes::WRITE_PROTECT) {
        return Err(FaultError::UserfaultWriteProtected { addr: place.addr });
    }
    write_to_protected(p, place, entry)
}

/// A page that is mapped in pieces: what is at the place of an access.
fn in_pieces<P: Env>(
    p: &mut P,
    place: &Place<'_>,
    (pfn, piece): (Pfn, Piece),
    offset: Bytes,
    touch: Touch,
) -> Result<Pfn, FaultError> {
    match piece.state {
        PieceState::Hole { .. } => fill_hole(p, place, (pfn, piece), offset, touch),
        PieceState::Broken => Err(FaultError::Poisoned { addr: place.addr + piece.offset, size: piece.size }),
        PieceState::Page { writable, .. } if writable || touch == Touch::Read => Ok(pfn),
        PieceState::Page { uffd_wp, .. } => {
            if uffd_wp && place.vma.is_watched(UffdModes::WRITE_PROTECT) {
                return Err(FaultError::UserfaultWriteProtected { addr: place.addr });
            }
            p.with_table(place.mm, |table| table.make_piece_writable(place.addr, offset));
            p.with_memmap(pfn, |map| map.mark_written(pfn));
            Ok(pfn)
        }
    }
}

/// A hole is filled as large as it is, or as large as no broken memory is in it. Other tables are made by whoever maps a part on purpose.
fn fill_hole<P: Env>(
    p: &mut P,
    place: &Place<'_>,
    (pfn, hole): (Pfn, Piece),
    offset: Bytes,
    touch: Touch,
) -> Result<Pfn, FaultError> {
    let sound = sound_part(p, place, pfn, hole, offset)?;
    if place.vma.is_watched(UffdModes::MINOR) {
        return Err(FaultError::UserfaultMinor { addr: told_addr(p, place, offset) });
    }
    if p.refused(Site::TablePage) {
        return Err(FaultError::NoTablePage);
    }
    let piece = Piece { state: PieceState::page(place.vma.prot.contains(Prot::WRITE)), ..sound };
    match install_piece(p, place, pfn, piece) {
        Ok(PieceState::Page { writable: false, uffd_wp }) if touch == Touch::Write => {
            let piece = Piece { state: PieceState::Page { writable: false, uffd_wp }, ..piece };
            in_pieces(p, place, (pfn, piece), offset, touch)
        }
        Ok(_) => Ok(pfn),
        Err(NotInstalled::TooManyRefs(error)) => Err(error.into()),
        Err(NotInstalled::Occupied) => {
            debug_assert!(false, "a hole was filled inside the fault mutex");
            Ok(pfn)
        }
    }
}

/// The largest part of a hole around `offset` in which no memory is broken.
fn sound_part<P: Env>(p: &mut P, place: &Place<'_>, pfn: Pfn, hole: Piece, offset: Bytes) -> Result<Piece, FaultError> {
    let paging = p.paging();
    let mut part = hole;
    while has_broken(p, pfn, part) {
        let poisoned = FaultError::Poisoned { addr: place.addr + part.offset, size: part.size };
        let size = Pieces::smaller(paging, part.size).ok_or(poisoned)?;
        part = Piece { offset: Bytes::new(offset.get() - offset.get() % size.get()), size, ..part };
    }
    Ok(part)
}

/// Is any memory of a part of the folio at `pfn` broken?
pub(crate) fn has_broken<P: Env>(p: &mut P, pfn: Pfn, part: Piece) -> bool {
    let shift = p.page_shift();
    let first = pfn.offset(shift.pages_floor(part.offset));
    let past = first.offset(shift.pages_floor(part.size));
    let Some(folio) = hugetlb::folio_at(p, pfn) else { return false };
    p.with_records(folio.at(), |records| records.first_broken(folio, first)).is_some_and(|broken| broken < past)
}

/// The address that a watcher is told: of the base page, where pieces as small may be mapped.
fn told_addr<P: Env>(p: &mut P, place: &Place<'_>, offset: Bytes) -> Vaddr {
    let whole = !place.vma.flags.contains(VmaFlags::PIECES);
    if whole { place.addr } else { (place.addr + offset).align_down(p.page_shift().bytes()) }
}

/// Why a piece was not mapped.
pub(crate) enum NotInstalled {
    /// Something is there.
    Occupied,
    /// It would have one reference too many.
    TooManyRefs(TooManyRefs),
}

/// Maps a piece of a folio that the file has, with a reference of its own; how it is mapped then.
pub(crate) fn install_piece<P: Env>(
    p: &mut P,
    place: &Place<'_>,
    pfn: Pfn,
    piece: Piece,
) -> Result<PieceState, NotInstalled> {
    p.with_memmap(pfn, |map| map.try_get_refs(pfn, 1)).map_err(NotInstalled::TooManyRefs)?;
    let paging = p.paging();
    let (addr, size) = (place.addr, place.vma.size);
    let mapped = p.with_table(place.mm, |table| table.map_piece(paging, addr, pfn, size, piece)).flatten();
    let Some(state) = mapped else {
        hugetlb::put_folio(p, pfn, 1);
        return Err(NotInstalled::Occupied);
    };
    p.with_memmap(pfn, |map| {
        map.add_mapping(pfn, MappedBy::File);
        if matches!(state, PieceState::Page { writable: true, .. }) {
            map.mark_written(pfn);
        }
    });
    Ok(state)
}

fn no_page<P: Env>(p: &mut P, place: &Place<'_>, offset: Bytes, touch: Touch) -> Result<Pfn, FaultError> {
    let vma = &place.vma;
    if p.with_table(place.mm, |table| table.is_poisoned(place.addr)) == Some(true) {
        return Err(FaultError::Poisoned { addr: place.addr, size: vma.size.bytes() });
    }
    if p.with_vmas(place.mm, |vmas| vmas.find(place.addr).is_some_and(|v| v.flags.contains(VmaFlags::UNMAPPED)))
        == Some(true)
    {
        return Err(FaultError::Stolen);
    }
    if p.refused(Site::TablePage) {
        return Err(FaultError::NoTablePage);
    }
    let cached = p.with_cache(vma.inode, |cache| cache.get(place.index)).flatten();
    let (pfn, by) = match cached {
        Some(pfn) if is_poisoned(p, pfn) => return to_broken(p, place, pfn, offset, touch),
        Some(_) if vma.is_watched(UffdModes::MINOR) => {
            return Err(FaultError::UserfaultMinor { addr: told_addr(p, place, offset) });
        }
        Some(pfn) => {
            p.with_memmap(pfn, |map| map.try_get_refs(pfn, 1))?;
            (pfn, MappedBy::File)
        }
        None => instantiate(p, place)?,
    };
    let uffd_wp = p.with_table(place.mm, |table| table.has_marker(place.addr)) == Some(true);
    let writable = vma.is_shared() && vma.prot.contains(Prot::WRITE) && !uffd_wp;
    let entry = Entry { pfn, writable, uffd_wp, dirty: false, size: vma.size };
    install(p, place, entry, by);
    if touch == Touch::Write && !writable {
        return write_to_present(p, place, entry);
    }
    Ok(pfn)
}

/// An access to a page that is not mapped and has broken memory: all of it is lost, unless it may be mapped in pieces.
fn to_broken<P: Env>(p: &mut P, place: &Place<'_>, pfn: Pfn, offset: Bytes, touch: Touch) -> Result<Pfn, FaultError> {
    let size = place.vma.size.bytes();
    if !place.vma.flags.contains(VmaFlags::PIECES) {
        return Err(FaultError::Poisoned { addr: place.addr, size });
    }
    let whole = Piece { offset: Bytes::ZERO, size, state: PieceState::Hole { uffd_wp: false } };
    fill_hole(p, place, (pfn, whole), offset, touch)
}

/// Has the folio that a file has at some place broken memory?
pub(crate) fn is_poisoned<P: Env>(p: &mut P, pfn: Pfn) -> bool {
    hugetlb::slot_at(p, pfn).is_some_and(|at| p.with_records(at, |records| records.is_poisoned(at)))
}

/// A page for a place that has none: into the cache of a shared file, or anonymous. The mapping to come takes its reference.
fn instantiate<P: Env>(p: &mut P, place: &Place<'_>) -> Result<(Pfn, MappedBy), FaultError> {
    let vma = &place.vma;
    if let Some(size) = size_before(p, place) {
        return Err(FaultError::BeyondEof { index: place.index, size });
    }
    if vma.is_watched(UffdModes::MISSING) {
        return Err(FaultError::UserfaultMissing { addr: place.addr });
    }
    if !vma.is_shared() {
        prepare_anon(p, place.mm, &place.vma);
    }
    let (folio, want) = alloc_page(p, place, Purpose::Instantiate)?;
    p.with_contents(folio.pfn, |contents| contents.zero(folio.pfn, Bytes::ZERO, vma.size.bytes()));
    keep(p, place, folio, &want, Ok(()))
}

/// The file's size, if the place lies beyond it.
pub(crate) fn size_before<P: Env>(p: &mut P, place: &Place<'_>) -> Option<Bytes> {
    let size = p.with_inode(place.vma.inode, |inode| inode.size).unwrap_or(Bytes::ZERO);
    (place.index >= place.vma.size.index_floor(size)).then_some(size)
}

/// A page that was just had becomes the place's own: anonymous, or in the cache of a shared file if that `may` have it. A page that
/// it may not have, or cannot, goes back with its promise.
pub(crate) fn keep<P: Env, E: From<NoCacheNode>>(
    p: &mut P,
    place: &Place<'_>,
    folio: HugeFolio,
    want: &MapAlloc,
    may: Result<(), E>,
) -> Result<(Pfn, MappedBy), E> {
    if !place.vma.is_shared() {
        anon_installed(p, place, folio);
        return Ok((folio.pfn, MappedBy::Anonymous));
    }
    let added = may.and_then(|()| Ok(filemap::add_to_cache(p, place.vma.inode, place.index, folio)?));
    if let Err(error) = added {
        hugetlb::restore_reserve_on_error(p, folio, want.holder, place.index);
        hugetlb::put_folio(p, folio.pfn, 1);
        return Err(error);
    }
    Ok((folio.pfn, MappedBy::File))
}

/// Where a page for this place is to lie: the area's policy decides, or else the task's.
#[doc(alias("get_vma_policy", "huge_node"))]
pub(crate) fn placement<P: Env>(p: &mut P, place: &Place<'_>) -> Placement {
    let Place { mm, vma, index, origin, .. } = *place;
    let own = vma.policy.and_then(|slot| p.with_vmas(mm, |vmas| vmas.policy(slot).copied()).flatten());
    let policy = own.as_ref().unwrap_or(&origin.policy);
    let weights = if policy.heeds_weights() { &p.weights() } else { &Weights::EVEN };
    policy.interpret(origin.local, origin.allowed, index, weights)
}

/// Allocates for this place.
pub(crate) fn alloc_page<P: Env>(
    p: &mut P,
    place: &Place<'_>,
    purpose: Purpose,
) -> Result<(HugeFolio, MapAlloc), AllocRefusal> {
    let Place { mm, vma, index, origin, .. } = *place;
    let (file_map, subpool) =
        p.with_inode(vma.inode, |inode| (inode.map, inode.subpool)).expect("a mapped file is alive");
    let want = MapAlloc {
        hstate: vma.hstate,
        holder: vma.as_mapped(mm).holder(file_map),
        index,
        subpool,
        placement: placement(p, place),
        allowed: origin.allowed,
        cgroup: origin.cgroup,
        purpose,
        pin: place.pin,
    };
    Ok((hugetlb::alloc_for_mapping(p, &want)?, want))
}

/// From now on fork copies this area's page table.
pub(crate) fn prepare_anon<P: Env>(p: &mut P, mm: MmId, vma: &Vma) {
    p.with_vmas(mm, |vmas| vmas.update(vma.range.start, |vma| vma.flags |= VmaFlags::ANON));
}

/// The folio is about to get its first anonymous mapping: its reservation is spent, and nothing is owed here any more.
pub(crate) fn anon_installed<P: Env>(p: &mut P, place: &Place<'_>, folio: HugeFolio) {
    hugetlb::installed(p, folio, place.vma.inode, place.index);
    if let Some(map) = place.vma.owner {
        hugetlb::owner_installed(p, map, place.index);
    }
}

/// Maps a folio whose reference the entry takes over.
pub(crate) fn install<P: Env>(p: &mut P, place: &Place<'_>, entry: Entry, by: MappedBy) {
    p.with_memmap(entry.pfn, |map| {
        map.add_mapping(entry.pfn, by);
        if entry.writable {
            map.mark_written(entry.pfn);
        }
    });
    let old = p.with_table(place.mm, |table| table.set(place.addr, entry)).flatten();
    debug_assert!(old.is_none(), "an entry appeared inside the fault mutex");
}
