//! Mounts, and files by their names.

use crate::op::amount::{MountValue, Size, Verbatim};
use crate::op::name::{Actor, MountName, MountPath};
use crate::op::table::verbs;
use crate::op::word::{SizeName, Switch};

verbs! {
    about Mount

    /// Mounts hugetlbfs.
    Mount = "mount" {
        /// The mount's name.
        mount: MountName ["mnt"];
        /// Further options, handed over before the others.
        opts: Option<Verbatim> ["opts"];
        /// The page size of its files.
        pagesize: Option<SizeName> ["pagesize"];
        /// The most bytes that its files may hold.
        size: Option<MountValue> ["size"];
        /// The bytes reserved for it at the time of the mount.
        min_size: Option<MountValue> ["min_size"];
        /// The most inodes, the root directory included.
        nr_inodes: Option<MountValue> ["nr_inodes"];
    }

    /// Unmounts.
    Umount = "umount" {
        /// The mount.
        mount: MountName ["mnt"];
        /// At once from the tree, in truth when the last user goes.
        lazy: Option<Switch> ["lazy"];
    }

    /// Removes a file's name.
    Unlink = "unlink" {
        /// The file.
        path: MountPath ["mnt", "name"];
        /// The process that does it; else the superuser.
        by: Option<Actor> ["by"];
    }

    /// Sets a file's size by its name.
    Truncate = "truncate" {
        /// The file.
        path: MountPath ["mnt", "name"];
        /// The new size.
        len: Size ["len"];
        /// The process that does it; else the superuser.
        by: Option<Actor> ["by"];
    }
}
