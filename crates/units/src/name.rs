//! Where the objects of a machine name each other.

use crate::id::{BlockId, CgroupId, GmemId, InodeId, MmId, MountId, Pid, ResvMapId, SubpoolId, UffdId};

/// One place where an object of a machine is named. Who writes a machine down gives new names, and who reads it looks that
/// every name has its object.
#[derive(Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// An address space.
    Space(&'a mut MmId),
    /// A process.
    Process(&'a mut Pid),
    /// A file.
    Inode(&'a mut InodeId),
    /// A mount.
    Mount(&'a mut MountId),
    /// The limits of a mount.
    Subpool(&'a mut SubpoolId),
    /// A reservation map.
    Map(&'a mut ResvMapId),
    /// A control group.
    Group(&'a mut CgroupId),
    /// A userfaultfd.
    Uffd(&'a mut UffdId),
    /// A file of guest memory.
    Gmem(&'a mut GmemId),
    /// A block of ordinary pages.
    Block(&'a mut BlockId),
}

macro_rules! from {
    ($($id:ident $kind:ident),*) => {$(
        impl<'a> From<&'a mut $id> for Name<'a> {
            fn from(id: &'a mut $id) -> Self {
                Self::$kind(id)
            }
        }
    )*};
}

from!(MmId Space, Pid Process, InodeId Inode, MountId Mount, SubpoolId Subpool, ResvMapId Map, CgroupId Group, UffdId Uffd, BlockId Block, GmemId Gmem);
