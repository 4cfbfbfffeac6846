//! Mounts.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use hugetlb::{ReserveRefusal, Subpool};
use units::{Blame, Bytes, HstateId, HugeCount, InodeId, Ledger, MountId, Name, NodeId, Nodemask, SubpoolId};

use crate::{Env, FileOwner, Hold, release};

/// One mounted file system.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Mount {
    /// The size of its pages.
    pub hstate: HstateId,
    /// Its limits; only where some were given.
    pub subpool: Option<SubpoolId>,
    /// Whose its root directory is.
    pub root: FileOwner,
    pub(crate) names: BTreeMap<String, InodeId>,
    pub(crate) nr_inodes: Option<u64>,
    /// Files, unnamed and unlinked ones included.
    pub(crate) inodes: u64,
    /// Part of the tree; a lazily unmounted one is not, but lives until its last file goes.
    pub(crate) attached: bool,
}

impl Mount {
    /// Its files that have a name.
    pub fn names(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.names.iter().map(|(name, &file)| (name.as_str(), file))
    }

    /// All its files, those without a name too.
    #[must_use]
    pub const fn files(&self) -> u64 {
        self.inodes
    }

    /// Every place where it names an object.
    pub fn named(&mut self) -> Vec<Name<'_>> {
        self.names.values_mut().map(Name::from).chain(self.subpool.as_mut().map(Name::from)).collect()
    }
}

/// How a file system is mounted.
#[doc(alias = "hugetlbfs_fs_context")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// The size of its pages (`pagesize=`).
    pub hstate: HstateId,
    /// The most that its files may hold or reserve (`size=`).
    pub max: Option<HugeCount>,
    /// What is reserved for it from the start (`min_size=`).
    pub min: Option<HugeCount>,
    /// The most inodes, the root included (`nr_inodes=`).
    pub nr_inodes: Option<u64>,
    /// Whose its root directory is (`uid=`, `gid=`, `mode=`).
    pub root: FileOwner,
}

impl MountOptions {
    /// No limits.
    #[must_use]
    pub const fn unlimited(hstate: HstateId) -> Self {
        Self { hstate, max: None, min: None, nr_inodes: None, root: FileOwner::ROOT_DIRECTORY }
    }
}

/// Why nothing can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The minimum exceeds the maximum.
    #[error("min_size ({min}) exceeds size ({max})")]
    MinAboveMax {
        /// The minimum.
        min: HugeCount,
        /// The maximum.
        max: HugeCount,
    },
    /// Not even the root directory may be.
    #[error("nr_inodes=0 leaves no inode for the root directory: allow one at least")]
    NoRoot,
    /// The minimum cannot be reserved.
    #[error("min_size cannot be reserved: {0}")]
    Refused(#[from] ReserveRefusal),
}

impl Blame for MountError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Refused(refusal) => refusal.ledger(),
            Self::MinAboveMax { .. } | Self::NoRoot => None,
        }
    }
}

/// How a file system is unmounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UmountMode {
    /// Only if nobody uses it.
    Strict,
    /// Out of the tree now, gone when nobody uses it.
    Lazy,
}

/// Why a mount stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UmountError {
    /// No folder where something could be mounted. A machine has no folders; whoever has says so.
    #[error("no such folder")]
    NoFolder,
    /// Not mounted.
    #[error("no such mount")]
    NoMount,
    /// Files are open or mapped.
    #[error("{users} descriptors and areas use files of the mount")]
    Busy {
        /// How many.
        users: u32,
    },
}

/// What `statfs` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes of one page.
    pub block_size: Bytes,
    /// Pages: 0 without limits, -1 with a minimum alone.
    pub blocks: i64,
    /// Pages neither held nor reserved; same conventions.
    pub free_blocks: i64,
    /// Inodes: 0 without limits, -1 without `nr_inodes=`.
    pub files: i64,
    /// Free inodes; same conventions.
    pub free_files: i64,
}

/// Mounts a file system. A minimum is reserved now, with surplus pages if need be.
///
/// # Errors
/// Limits that contradict each other, or the ledger that refused the minimum; nothing is changed.
#[doc(alias("hugetlbfs_fill_super", "hugepage_new_subpool"))]
pub fn mount<P: Env>(
    p: &mut P,
    options: &MountOptions,
    local: NodeId,
    allowed: Nodemask,
) -> Result<MountId, MountError> {
    if let (Some(max), Some(min)) = (options.max, options.min)
        && min > max
    {
        return Err(MountError::MinAboveMax { min, max });
    }
    if options.nr_inodes == Some(0) {
        return Err(MountError::NoRoot);
    }
    let subpool = if options.max.is_some() || options.min.is_some() {
        let min = options.min.unwrap_or(HugeCount::ZERO);
        hugetlb::acct_reserve(p, options.hstate, min, local, allowed)?;
        Some(p.new_subpool(Subpool::new(options.max, min)))
    } else {
        None
    };
    Ok(p.new_mount(Mount {
        hstate: options.hstate,
        subpool,
        root: options.root,
        names: BTreeMap::new(),
        nr_inodes: options.nr_inodes,
        inodes: 0,
        attached: true,
    }))
}

/// Unmounts a file system; its files go once nobody uses them.
///
/// # Errors
/// Not mounted, or in use.
#[doc(alias = "hugetlbfs_put_super")]
pub fn umount<P: Env>(p: &mut P, id: MountId, mode: UmountMode) -> Result<(), UmountError> {
    let users = users(p, id).ok_or(UmountError::NoMount)?;
    if mode == UmountMode::Strict && users > 0 {
        return Err(UmountError::Busy { users });
    }
    p.with_mount(id, |m| m.attached = false);
    end_if_unused(p, id);
    Ok(())
}

/// Descriptors and areas that use files of a mount; a file without a name is there only because somebody does.
fn users<P: Env>(p: &mut P, id: MountId) -> Option<u32> {
    let (names, inodes) = p.with_mount(id, |m| (m.names.values().copied().collect::<Vec<_>>(), m.inodes))?;
    let unnamed = u32::try_from(inodes - names.len() as u64).unwrap_or(u32::MAX);
    Some(names.iter().map(|&file| p.with_inode(file, |inode| inode.users()).unwrap_or(0)).sum::<u32>() + unnamed)
}

/// What `statfs` says of a mount.
#[doc(alias = "hugetlbfs_statfs")]
pub fn statfs<P: Env>(p: &mut P, id: MountId) -> Option<StatFs> {
    let (hstate, subpool, nr_inodes, inodes) = p.with_mount(id, |m| (m.hstate, m.subpool, m.nr_inodes, m.inodes))?;
    let block_size = p.hstate(hstate).size.bytes();
    let none = StatFs { block_size, blocks: 0, free_blocks: 0, files: 0, free_files: 0 };
    let Some(subpool) = subpool else { return Some(none) };
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (blocks, free_blocks) = p.with_subpool(subpool, |s| match s.max() {
        Some(max) => (signed(max.get()), signed(max.get()) - signed(s.used().get())),
        None => (-1, -1),
    })?;
    let (files, free_files) = match nr_inodes {
        Some(limit) => (signed(limit), signed(limit.saturating_sub(1 + inodes))),
        None => (-1, -1),
    };
    Some(StatFs { block_size, blocks, free_blocks, files, free_files })
}

/// A file of the mount is gone.
pub(crate) fn inode_gone<P: Env>(p: &mut P, id: MountId) {
    p.with_mount(id, |m| m.inodes -= 1);
    end_if_unused(p, id);
}

/// A mount that was taken out of the tree lives, names and all, until nobody uses a file of it.
pub(crate) fn end_if_unused<P: Env>(p: &mut P, id: MountId) {
    if p.with_mount(id, |m| m.attached) != Some(false) || users(p, id) != Some(0) {
        return;
    }
    let names = p.with_mount(id, |m| core::mem::take(&mut m.names)).unwrap_or_default();
    for file in names.into_values() {
        release(p, file, Hold::Link);
    }
    let Some(mount) = p.drop_mount(id) else { return };
    if let Some(subpool) = mount.subpool {
        hugetlb::end_subpool(p, mount.hstate, subpool);
    }
}
