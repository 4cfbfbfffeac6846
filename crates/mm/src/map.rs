//! Making a mapping.

use hugetlb::{ReserveRefusal, ReserveRequest};
use hugetlbfs::{Hold, InodeKind, Origin, Seals};
use units::{
    Access, Blame, Bytes, HstateId, HugeRange, HugeSize, InodeId, Ledger, MmId, ResvMapId, Scope, Vaddr, VaddrRange,
};

use crate::populate::populate;
use crate::unmap::{can_split, unmap_range};
use crate::{Env, Prot, Vma, VmaFlags};

/// Where a mapping is to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Anywhere.
    Anywhere,
    /// There if it is free and a multiple of the page size, else anywhere.
    Hint(Vaddr),
    /// Exactly there; what lies there goes first (`MAP_FIXED`).
    Fixed(Vaddr),
    /// Exactly there, if nothing lies there (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(Vaddr),
}

/// Who sees what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Everybody who maps the file.
    Shared,
    /// The same, and flags that are not known are refused (`MAP_SHARED_VALIDATE`).
    SharedValidate,
    /// This area and those who inherit from it.
    Private,
    /// Nothing was said, which is refused.
    Unspecified,
}

impl Share {
    const fn is_shared(self) -> bool {
        matches!(self, Self::Shared | Self::SharedValidate)
    }
}

/// What a descriptor permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FileAccess {
    /// Reading.
    ReadOnly,
    /// Writing.
    WriteOnly,
    /// Both.
    ReadWrite,
}

impl FileAccess {
    /// May it be read?
    #[must_use]
    pub const fn can_read(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite)
    }

    /// May it be written?
    #[must_use]
    pub const fn can_write(self) -> bool {
        matches!(self, Self::WriteOnly | Self::ReadWrite)
    }
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of huge pages.
    File {
        /// The file.
        inode: InodeId,
        /// What its descriptor permits.
        access: FileAccess,
    },
    /// No file of anybody's: zeroed pages of that size (`MAP_ANONYMOUS | MAP_HUGETLB`).
    Anonymous(HstateId),
}

bitflags::bitflags! {
    /// How a mapping is made.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MapFlags: u8 {
        /// Promise nothing (`MAP_NORESERVE`).
        const NORESERVE = 1 << 0;
        /// Touch every page now (`MAP_POPULATE`).
        const POPULATE = 1 << 1;
        /// Lock it, which for huge pages means populate (`MAP_LOCKED`).
        const LOCKED = 1 << 2;
        /// Do not wait while populating: populates nothing (`MAP_NONBLOCK`).
        const NONBLOCK = 1 << 3;
    }
}

/// A mapping to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Where.
    pub place: Place,
    /// How long; rounded up to whole pages.
    pub len: Bytes,
    /// What may be done.
    pub prot: Prot,
    /// Who sees what is written.
    pub share: Share,
    /// What is mapped.
    pub source: Source,
    /// Where in the file the mapping starts; checked, but of no use, for an anonymous one.
    pub offset: Bytes,
    /// How.
    pub flags: MapFlags,
}

/// Why a mapping cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MmapError {
    /// Nothing to map, or a length that rounds up past the end of all numbers.
    #[error("a mapping must not be empty, nor longer than can be counted")]
    NoLength,
    /// An offset inside a page of the file.
    #[error("offset {offset} is not a multiple of the page size, {page}")]
    MisalignedOffset {
        /// The offset.
        offset: Bytes,
        /// The page size.
        page: Bytes,
    },
    /// An exact address inside a page.
    #[error("address {addr} is not a multiple of the page size, {page}")]
    MisalignedAddress {
        /// The address.
        addr: Vaddr,
        /// The page size.
        page: Bytes,
    },
    /// Something lies there already.
    #[error("something is mapped at {0} already")]
    Occupied(Vaddr),
    /// The address space has no such range.
    #[error("the address space has no room for {0}")]
    NoRoom(Bytes),
    /// Offset and length leave the file's largest size.
    #[error("the range leaves the largest file")]
    Overflow,
    /// A mapping is either shared or private.
    #[error("a mapping is either shared or private")]
    NeitherSharedNorPrivate,
    /// A flag that a validated mapping does not know.
    #[error("a validated mapping does not know that flag")]
    UnknownFlag,
    /// The descriptor does not permit it.
    #[error("the descriptor does not permit that mapping")]
    Access,
    /// A seal forbids it.
    #[error("the file is sealed against writing")]
    Sealed,
    /// What lies there would have to be split inside a huge page.
    #[error("the area that lies there cannot be split at {0}")]
    SplitsPage(Vaddr),
    /// The pages cannot be promised.
    #[error(transparent)]
    Refused(#[from] ReserveRefusal),
    /// No such address space or file.
    #[error("no such address space or file")]
    Gone,
}

impl Blame for MmapError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Refused(refusal) => refusal.ledger(),
            _ => None,
        }
    }
}

/// What is mapped, looked up.
struct Backing {
    hstate: HstateId,
    size: HugeSize,
    offset: Bytes,
    access: FileAccess,
}

/// Maps. Unless told otherwise, every page is promised now, so that touching it later cannot fail for want of pages. What lies
/// at an exact address goes first, and stays gone if the promise then fails.
///
/// # Errors
/// A bad argument changes nothing; a refusal names its ledger.
#[doc(alias("do_mmap", "hugetlbfs_file_mmap"))]
pub fn mmap<P: Env>(p: &mut P, mm: MmId, origin: &Origin, request: &MapRequest) -> Result<Vaddr, MmapError> {
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let backing = look_up(p, request)?;
        let len = checked_len(p, request, &backing)?;
        let range = choose(p, mm, request, len, backing.size)?;
        check_access(p, request, &backing, len)?;
        let Place::Fixed(_) = request.place else {
            return fill(p, mm, origin, request, &backing, range);
        };
        // A file that loses its last area here lasts until the call ends: what it has does not serve the new mapping.
        let covered = p.with_vmas(mm, |vmas| vmas.copy_over(range)).unwrap_or_default();
        covered.iter().for_each(|area| hugetlbfs::hold(p, area.inode, Hold::Area));
        let unmapped = unmap_range(p, mm, range).map_err(|split| MmapError::SplitsPage(split.at));
        let filled = unmapped.and_then(|()| fill(p, mm, origin, request, &backing, range));
        covered.iter().for_each(|area| hugetlbfs::release(p, area.inode, Hold::Area));
        filled
    })
}

/// Maps into a range where nothing is.
fn fill<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    request: &MapRequest,
    backing: &Backing,
    range: VaddrRange,
) -> Result<Vaddr, MmapError> {
    // Only now, as on Linux: what lay at an exact address is gone even so.
    if !request.offset.is_multiple_of(backing.size.bytes()) {
        return Err(MmapError::MisalignedOffset { offset: request.offset, page: backing.size.bytes() });
    }
    let len = range.len();
    let inode = match request.source {
        Source::File { inode, .. } => {
            hugetlbfs::hold(p, inode, Hold::Area);
            inode
        }
        Source::Anonymous(hstate) => {
            let inode = hugetlbfs::create_inode(p, InodeKind::Anonymous, hstate, None, Seals::SEAL, Hold::Area);
            p.with_inode(inode, |file| file.size = len);
            inode
        }
    };
    let first = backing.size.index_floor(backing.offset);
    let pages = HugeRange::new(first, backing.size.index_floor(backing.offset + len));
    let reserved = p.scope(Scope::Inode(inode, Access::Write), |p| {
        let owner = promise(p, origin, request, inode, backing.hstate, pages)?;
        if request.prot.contains(Prot::WRITE) {
            p.with_inode(inode, |file| file.size = file.size.max(backing.offset + len));
        }
        Ok(owner)
    });
    let owner = match reserved {
        Ok(owner) => owner,
        Err(refusal) => {
            hugetlbfs::release(p, inode, Hold::Area);
            return Err(MmapError::Refused(refusal));
        }
    };
    add_area(p, mm, request, backing, Area { range, inode, first, owner });
    let populates = request.flags & (MapFlags::POPULATE | MapFlags::NONBLOCK) == MapFlags::POPULATE;
    if populates || request.flags.contains(MapFlags::LOCKED) {
        // As the call documents: a page that cannot be had now is left for later.
        let _ = populate(p, mm, origin, range);
    }
    Ok(range.start)
}

fn look_up<P: Env>(p: &mut P, request: &MapRequest) -> Result<Backing, MmapError> {
    let (hstate, offset, access) = match request.source {
        Source::File { inode, access } => {
            (p.with_inode(inode, |file| file.hstate).ok_or(MmapError::Gone)?, request.offset, access)
        }
        Source::Anonymous(hstate) => (hstate, Bytes::ZERO, FileAccess::ReadWrite),
    };
    Ok(Backing { hstate, size: p.hstate(hstate).size, offset, access })
}

fn checked_len<P: Env>(p: &mut P, request: &MapRequest, backing: &Backing) -> Result<Bytes, MmapError> {
    let base = p.page_shift().bytes();
    if !request.offset.is_multiple_of(base) {
        return Err(MmapError::MisalignedOffset { offset: request.offset, page: base });
    }
    let len = request.len.round_up(backing.size.bytes()).filter(|len| !len.is_zero()).ok_or(MmapError::NoLength)?;
    if len.get() > p.task_size().get() {
        return Err(MmapError::NoRoom(len));
    }
    Ok(len)
}

fn choose<P: Env>(
    p: &mut P,
    mm: MmId,
    request: &MapRequest,
    len: Bytes,
    size: HugeSize,
) -> Result<VaddrRange, MmapError> {
    let page = size.bytes();
    let end = p.task_size();
    let inside = |addr: Vaddr| addr.checked_add(len).filter(|&e| e <= end).map(|e| VaddrRange::new(addr, e));
    let free = |p: &mut P, r: VaddrRange| p.with_vmas(mm, |vmas| vmas.over(r).next().is_none()).unwrap_or(false);
    match request.place {
        Place::Fixed(addr) | Place::FixedNoReplace(addr) => {
            if !addr.is_aligned(page) {
                return Err(MmapError::MisalignedAddress { addr, page });
            }
            let range = inside(addr).ok_or(MmapError::NoRoom(len))?;
            if let Place::FixedNoReplace(_) = request.place
                && !free(p, range)
            {
                return Err(MmapError::Occupied(addr));
            }
            can_split(p, mm, range.start).map_err(|s| MmapError::SplitsPage(s.at))?;
            can_split(p, mm, range.end).map_err(|s| MmapError::SplitsPage(s.at))?;
            Ok(range)
        }
        Place::Hint(addr) if addr.is_aligned(page) && inside(addr).is_some_and(|r| free(p, r)) => {
            inside(addr).ok_or(MmapError::NoRoom(len))
        }
        Place::Hint(_) | Place::Anywhere => {
            let floor = Vaddr::new(page.get());
            let gap = p.with_vmas(mm, |vmas| vmas.highest_gap(len, page, floor, end)).ok_or(MmapError::Gone)?;
            gap.and_then(inside).ok_or(MmapError::NoRoom(len))
        }
    }
}

fn check_access<P: Env>(p: &mut P, request: &MapRequest, backing: &Backing, len: Bytes) -> Result<(), MmapError> {
    let largest = Bytes::new(i64::MAX.unsigned_abs());
    if request.offset.checked_add(len).is_none_or(|end| end > largest) {
        return Err(MmapError::Overflow);
    }
    let write = request.prot.contains(Prot::WRITE) && request.share.is_shared();
    if let Source::File { inode, .. } = request.source {
        let seals = p.with_inode(inode, |file| file.seals).ok_or(MmapError::Gone)?;
        if write && seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
            return Err(MmapError::Sealed);
        }
    }
    match (request.share, request.place) {
        (Share::Unspecified, _) => return Err(MmapError::NeitherSharedNorPrivate),
        (Share::SharedValidate, Place::FixedNoReplace(_)) => return Err(MmapError::UnknownFlag),
        _ => (),
    }
    if !backing.access.can_read() || (write && !backing.access.can_write()) {
        return Err(MmapError::Access);
    }
    Ok(())
}

/// Promises the pages, unless the caller wants none; an owner's new map comes back.
fn promise<P: Env>(
    p: &mut P,
    origin: &Origin,
    request: &MapRequest,
    inode: InodeId,
    hstate: HstateId,
    range: HugeRange,
) -> Result<Option<ResvMapId>, ReserveRefusal> {
    if request.flags.contains(MapFlags::NORESERVE) {
        return Ok(None);
    }
    let (map, subpool) = p.with_inode(inode, |file| (file.map, file.subpool)).expect("the file is held");
    let reserve = ReserveRequest {
        hstate,
        range,
        shared: request.share.is_shared().then_some(map),
        subpool,
        local: origin.local,
        allowed: origin.policy.reservation_nodes(origin.allowed),
        cgroup: origin.cgroup,
    };
    hugetlb::reserve_pages(p, &reserve)
}

struct Area {
    range: VaddrRange,
    inode: InodeId,
    first: units::HugeIndex,
    owner: Option<ResvMapId>,
}

fn add_area<P: Env>(p: &mut P, mm: MmId, request: &MapRequest, backing: &Backing, area: Area) {
    let shared = request.share.is_shared();
    let sealed =
        p.with_inode(area.inode, |file| file.seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE)).unwrap_or(false);
    let mut flags = VmaFlags::empty();
    flags.set(VmaFlags::SHARED, shared);
    flags.set(VmaFlags::MAY_WRITE, !shared || (backing.access.can_write() && !sealed));
    flags.set(VmaFlags::READ_ONLY_FILE, shared && !backing.access.can_write());
    let id = p.new_vma_id();
    let vma = Vma {
        id,
        mapped_as: id,
        range: area.range,
        prot: request.prot,
        flags,
        hstate: backing.hstate,
        size: backing.size,
        inode: area.inode,
        first: area.first,
        owner: area.owner,
        uffd: None,
        policy: None,
    };
    p.scope(Scope::FileMapping(area.inode, Access::Write), |p| {
        p.with_mappings(area.inode, |m| m.insert(vma.as_mapped(mm)));
        p.with_vmas(mm, |vmas| vmas.insert(vma));
    });
}
