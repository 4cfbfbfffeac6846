//! What the administrator does: pools, mounts and control groups.

use super::Op;
use crate::op::amount::{MountValue, Node, Size, Verbatim, Written};
use crate::op::argument::{Argument, Presence};
use crate::op::error::OpError;
use crate::op::name::{Actor, CgroupName, MountName, MountPath};
use crate::op::table::{ArgumentInfo, Sink, Source, Verb, verbs};
use crate::op::word::{SizeName, Switch};

verbs! {
    /// Sets the number of persistent huge pages of a pool, of all nodes or of one.
    SetNr = "set_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
        /// The node whose pages alone change.
        node: Option<Node> ["node"];
    } writes
        "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_hugepages",
        "/sys/devices/system/node/node{node}/hugepages/hugepages-{size:kB}kB/nr_hugepages"

    /// Sets the number of persistent huge pages of the default size.
    SysctlNr = "sysctl_nr" {
        /// The new number of huge pages.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/nr_hugepages"

    /// Sets how many surplus pages a pool may have.
    SetOvercommit = "set_overcommit" {
        /// The new limit of surplus pages.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/nr_overcommit_hugepages"

    /// Splits free huge pages of a pool into pages of its demote size.
    Demote = "demote" {
        /// How many pages to split.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote"

    /// Chooses the size into which pages of a pool are split.
    DemoteSize = "demote_size" {
        /// The smaller size, such as 2048kB.
        value: Written ["n", "raw"];
        /// The pool's page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/kernel/mm/hugepages/hugepages-{size:kB}kB/demote_size"

    /// Switches vmemmap optimisation of new huge pages on (1) or off (0).
    SetHvo = "set_hvo" {
        /// 1 or 0.
        value: Written ["n", "raw"];
    } writes "/proc/sys/vm/hugetlb_optimize_vmemmap"

    /// Writes any other file of /proc or /sys that the machine has.
    Write = "write" {
        /// The file.
        path: Verbatim ["path"];
        /// What is written.
        value: Written ["n", "raw"];
    }

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

    /// Makes a control group.
    CgCreate = "cg_create" {
        /// The group.
        cg: CgroupName ["cg"];
        /// Lets groups below it have the hugetlb controller.
        sub: Option<Switch> ["sub"];
    }

    /// Limits what a control group may use of a page size.
    CgMax = "cg_max" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The limit in bytes, or max.
        value: Written ["n", "raw"];
        /// The page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/fs/cgroup/{cg}/hugetlb.{size:B}.max"

    /// Limits what a control group may reserve of a page size.
    CgRsvdMax = "cg_rsvd_max" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The limit in bytes, or max.
        value: Written ["n", "raw"];
        /// The page size.
        size: SizeName ["sz"] or SizeName::M2;
    } writes "/sys/fs/cgroup/{cg}/hugetlb.{size:B}.rsvd.max"

    /// Moves a process into a control group.
    CgAttach = "cg_attach" by actor {
        /// The group; `/` is the root.
        cg: CgroupName ["cg"];
    }

    /// Removes a control group.
    CgRmdir = "cg_rmdir" {
        /// The group.
        cg: CgroupName ["cg"];
    }
}
