//! Files of huge pages.
//!
//! Mounts, inodes and what can be done to a file: open, unlink, truncate, allocate, punch, read. Memory files, segments and the
//! hidden files behind anonymous mappings are inodes without a mount. A file lives as long as a name, an open descriptor, a
//! segment or an area refers to it.
#![no_std]

extern crate alloc;

mod fallocate;
mod inode;
mod mount;
mod name;
mod permission;
mod pinned;
mod read;
mod segment;
mod truncate;

pub use fallocate::{AllocMode, FallocateError, Origin, fallocate, punch_hole};
pub use inode::{
    Hold, Inode, InodeKind, SealError, Seals, Stat, add_seals, create_inode, hold, hold_alive, release, stat,
};
pub use mount::{Mount, MountError, MountOptions, StatFs, UmountError, UmountMode, mount, statfs, umount};
pub use name::{Create, OpenError, Opening, UnlinkError, look_up, open, unlink};
pub use permission::{Capabilities, Credentials, Denied, FileMode, FileOwner, Gid, Permissions, Uid};
pub use pinned::{PageForPinError, page_for_pin};
pub use read::{ReadError, read};
pub use segment::{Promise, SegmentError, create_segment, remove_segment};
pub use truncate::{LARGEST, TruncateError, truncate};

use units::{InodeId, MountId};

/// What this room needs: the page caches below and sections over inodes and mounts.
pub trait Env: filemap::Env {
    /// A new inode with an empty cache and no mappings.
    fn new_inode(&mut self, inode: Inode) -> InodeId;

    /// The section of one inode; nothing where it is gone.
    fn with_inode<R>(&mut self, id: InodeId, f: impl FnOnce(&mut Inode) -> R) -> Option<R>;

    /// Ends an inode together with its cache and mappings, which are empty.
    fn drop_inode(&mut self, id: InodeId);

    /// A new mount.
    fn new_mount(&mut self, mount: Mount) -> MountId;

    /// The section of one mount; nothing where it is gone.
    fn with_mount<R>(&mut self, id: MountId, f: impl FnOnce(&mut Mount) -> R) -> Option<R>;

    /// Ends a mount.
    fn drop_mount(&mut self, id: MountId) -> Option<Mount>;
}
