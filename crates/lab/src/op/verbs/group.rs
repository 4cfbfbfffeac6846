//! Control groups.

use crate::op::amount::Written;
use crate::op::name::CgroupName;
use crate::op::placement::NodeList;
use crate::op::table::verbs;
use crate::op::word::{SizeName, Switch};

verbs! {
    about Group

    /// Makes a control group.
    CgCreate = "cg_create" {
        /// The group.
        cg: CgroupName ["cg"];
        /// Lets groups below it have the hugetlb controller, and the memory controller where that accounts huge pages.
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

    /// Limits the memory of a control group, of which huge pages are a part where the machine's groups are
    /// `memory_hugetlb_accounting`.
    CgMemoryMax = "cg_memory_max" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The limit in bytes, or max.
        value: Written ["n", "raw"];
    } writes "/sys/fs/cgroup/{cg}/memory.max"

    /// Says which nodes the processes of a control group may use.
    CgMems = "cg_mems" {
        /// The group.
        cg: CgroupName ["cg"];
        /// The nodes; none stands for those of the group above.
        nodes: NodeList ["nodes"];
    }

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
