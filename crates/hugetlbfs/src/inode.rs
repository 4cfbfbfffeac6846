//! Inodes and their lives.

use alloc::vec::Vec;

use hugetlb::{MapKind, ResvMap};
use units::{Access, Bytes, HstateId, HugeIndex, HugeRange, InodeId, MountId, Name, ResvMapId, Scope, SubpoolId};

use crate::truncate::remove_from;
use crate::{Env, FileOwner, mount};

bitflags::bitflags! {
    /// What may not be done to a memory file any more.
    #[doc(alias = "F_SEAL_GROW")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct Seals: u32 {
        /// No further seals.
        const SEAL = 0x1;
        /// It may not become smaller.
        const SHRINK = 0x2;
        /// It may not become larger.
        const GROW = 0x4;
        /// It may not be written.
        const WRITE = 0x8;
        /// It may not be written through new descriptors and mappings.
        const FUTURE_WRITE = 0x10;
        /// It may not become executable.
        const EXEC = 0x20;
    }
}

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum InodeKind {
    /// A file of a mount, with or without a name.
    OnMount(MountId),
    /// A memory file (`memfd_create`).
    Memfd,
    /// A System V segment.
    Segment,
    /// The hidden file behind an anonymous mapping.
    Anonymous,
}

/// One file.
#[doc(alias("hugetlbfs_inode_info", "inode"))]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Inode {
    /// Where it comes from.
    pub kind: InodeKind,
    /// The size of its pages.
    pub hstate: HstateId,
    /// What is promised of it.
    pub map: ResvMapId,
    /// The limits of its mount.
    pub subpool: Option<SubpoolId>,
    /// Its size; not always a multiple of its pages.
    pub size: Bytes,
    /// What may not be done to it.
    pub seals: Seals,
    /// Whose it is; asked of a file of a mount alone, which nobody else can open.
    pub owner: FileOwner,
    pub(crate) links: u32,
    pub(crate) opens: u32,
    /// One until it is removed, for a segment.
    pub(crate) segments: u32,
    pub(crate) areas: u32,
}

/// What keeps a file alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A name.
    Link,
    /// An open descriptor.
    Open,
    /// A segment that was not removed.
    Segment,
    /// An area that maps it.
    Area,
}

/// What `fstat` says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its size.
    pub size: Bytes,
    /// 512-byte blocks in memory.
    pub blocks: u64,
    /// The size of its pages.
    pub block_size: Bytes,
    /// Names.
    pub links: u32,
}

/// Why a file cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Files of a mount and memory files made without leave to seal carry the seal against seals.
    #[error("the file may not be sealed (any further)")]
    Sealed,
    /// Somebody maps it shared and may write.
    #[error("the file is mapped shared and writable")]
    MappedWritable,
    /// Somebody keeps a page of it, and may write to that.
    #[error("page {0} of the file is kept by somebody who may write to it")]
    Kept(HugeIndex),
    /// The file is gone.
    #[error("no such file")]
    NoInode,
}

impl Inode {
    /// The file's mount.
    #[must_use]
    pub const fn mount(&self) -> Option<MountId> {
        match self.kind {
            InodeKind::OnMount(mount) => Some(mount),
            InodeKind::Memfd | InodeKind::Segment | InodeKind::Anonymous => None,
        }
    }

    /// Open descriptors and areas that refer to it.
    #[must_use]
    pub const fn users(&self) -> u32 {
        self.opens.saturating_add(self.areas)
    }

    /// Areas that map it.
    #[must_use]
    pub const fn areas(&self) -> u32 {
        self.areas
    }

    /// How often something keeps it alive.
    #[must_use]
    pub const fn held_by(&self, hold: Hold) -> u32 {
        match hold {
            Hold::Link => self.links,
            Hold::Open => self.opens,
            Hold::Segment => self.segments,
            Hold::Area => self.areas,
        }
    }

    /// Every place where it names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let mut names = Vec::from([Name::from(&mut self.map)]);
        names.extend(self.subpool.as_mut().map(Name::from));
        if let InodeKind::OnMount(mount) = &mut self.kind {
            names.push(mount.into());
        }
        names
    }

    /// Does anything refer to it?
    const fn is_held(&self) -> bool {
        self.links > 0 || self.opens > 0 || self.segments > 0 || self.areas > 0
    }

    fn count(&mut self, hold: Hold) -> &mut u32 {
        match hold {
            Hold::Link => &mut self.links,
            Hold::Open => &mut self.opens,
            Hold::Segment => &mut self.segments,
            Hold::Area => &mut self.areas,
        }
    }
}

/// A new, empty file, held once by `hold`.
#[doc(alias("hugetlbfs_get_inode", "hugetlb_file_setup"))]
pub fn create_inode<P: Env>(
    p: &mut P,
    kind: InodeKind,
    hstate: HstateId,
    subpool: Option<SubpoolId>,
    seals: Seals,
    hold: Hold,
) -> InodeId {
    let map = p.new_resv_map(ResvMap::new(MapKind::Shared));
    let mut inode = Inode {
        kind,
        hstate,
        map,
        subpool,
        size: Bytes::ZERO,
        seals,
        owner: FileOwner::PRIVATE,
        links: 0,
        opens: 0,
        segments: 0,
        areas: 0,
    };
    *inode.count(hold) = 1;
    p.new_inode(inode)
}

/// One more that keeps the file alive.
pub fn hold<P: Env>(p: &mut P, id: InodeId, hold: Hold) {
    p.with_inode(id, |inode| *inode.count(hold) += 1);
}

/// As [`hold`], unless the last holder is gone already; says whether it did.
pub fn hold_alive<P: Env>(p: &mut P, id: InodeId, hold: Hold) -> bool {
    let held = p.with_inode(id, |inode| {
        let alive = inode.is_held();
        *inode.count(hold) += u32::from(alive);
        alive
    });
    held == Some(true)
}

/// One less; the last one evicts the file: its pages leave the cache and everything promised of it returns.
#[doc(alias("iput", "fput"))]
pub fn release<P: Env>(p: &mut P, id: InodeId, hold: Hold) {
    let last = p.with_inode(id, |inode| {
        let count = inode.count(hold);
        debug_assert!(*count > 0, "released more often than held");
        *count = count.saturating_sub(1);
        !inode.is_held()
    });
    if last == Some(true) {
        evict(p, id);
    } else if let Some(mount) = p.with_inode(id, |inode| inode.mount()).flatten() {
        mount::end_if_unused(p, mount);
    }
}

/// What `fstat` says.
pub fn stat<P: Env>(p: &mut P, id: InodeId) -> Option<Stat> {
    let (size, hstate, links) = p.with_inode(id, |inode| (inode.size, inode.hstate, inode.links))?;
    let block_size = p.hstate(hstate).size.bytes();
    let pages = p.with_cache(id, |cache| cache.len() as u64)?;
    Some(Stat { size, blocks: pages * (block_size.get() / 512), block_size, links })
}

/// Adds seals.
///
/// # Errors
/// The file may not be sealed, or somebody may still write to it while that is to be sealed: by a shared mapping, or to a page that he keeps.
#[doc(alias = "memfd_add_seals")]
pub fn add_seals<P: Env>(p: &mut P, id: InodeId, seals: Seals, writable_areas: u32) -> Result<(), SealError> {
    p.scope(Scope::Inode(id, Access::Write), |p| {
        let has = p.with_inode(id, |inode| inode.seals).ok_or(SealError::NoInode)?;
        if has.contains(Seals::SEAL) {
            return Err(SealError::Sealed);
        }
        if seals.contains(Seals::WRITE) && !has.contains(Seals::WRITE) {
            if writable_areas > 0 {
                return Err(SealError::MappedWritable);
            }
            if let Some(index) = kept_page(p, id) {
                return Err(SealError::Kept(index));
            }
        }
        p.with_inode(id, |inode| inode.seals |= seals);
        Ok(())
    })
}

/// The first page of a file that somebody keeps: its references are more than those of its mappings and of the file.
#[doc(alias = "memfd_wait_for_pins")]
fn kept_page<P: Env>(p: &mut P, id: InodeId) -> Option<HugeIndex> {
    let hstate = p.with_inode(id, |inode| inode.hstate)?;
    let of_cache = p.hstate(hstate).cache_refs();
    let pages: Vec<_> = p.with_cache(id, |cache| cache.iter().collect())?;
    let is_kept = |folio: &memmap::Folio| folio.refs() > of_cache + u64::from(folio.mapcount());
    let kept = |&(_, pfn): &_| p.with_memmap(pfn, |map| map.get(pfn).is_some_and(is_kept));
    pages.into_iter().find(kept).map(|(index, _)| index)
}

fn evict<P: Env>(p: &mut P, id: InodeId) {
    let Some((map, mount)) = p.with_inode(id, |inode| (inode.map, inode.mount())) else { return };
    p.scope(Scope::Inode(id, Access::Write), |p| remove_from(p, id, HugeRange::from(units::HugeIndex::ZERO)));
    p.drop_resv_map(map);
    p.drop_inode(id);
    if let Some(mount) = mount {
        mount::inode_gone(p, mount);
    }
}
