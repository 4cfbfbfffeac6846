//! The kernel's text: what its files show, byte exact, and what may be written to them.
//!
//! Every report is a struct of plain values. `Display` prints it as the kernel does, whole lines with their line ends, so
//! that a file is the concatenation of its parts; `FromStr` finds it in text of the kernel, where other lines may stand
//! around it. [`KnobPath`] names the files under `/sys/kernel/mm/hugepages`, the nodes' folders and `/proc/sys/vm`;
//! [`KnobPath::read_write`] understands what is written to them and [`KnobValue`] prints what they show.
//! [`MountText`] understands the options of a mount; [`CgroupPath`], [`cgroup_limit`] and [`CgroupValue`] are for control groups.
//!
//! The files about free pages ([`Buddyinfo`], [`Pagetypeinfo`], [`Zoneinfo`], [`Vmstat`], [`ExtfragIndex`], [`UnusableIndex`]) are read
//! whole: what is accepted prints as it was, byte for byte, and a [`TextError`] names line and column of what is not.

mod buddyinfo;
mod cgroup;
mod counter;
mod cpuset;
mod cursor;
mod knob;
mod line;
mod meminfo;
mod mount;
mod numa_maps;
mod page_knob;
mod pagetypeinfo;
mod process;
mod weights;
mod write;
mod zoneinfo;

pub use buddyinfo::{Buddyinfo, ExtfragIndex, FreeBlocks, IndexRow, UnusableIndex};
pub use cgroup::{
    BytesByNode, CgroupFileName, CgroupLimit, CgroupPath, CgroupPathError, CgroupValue, ControllerWrite,
    ControllerWrites, cgroup_limit, subtree_control,
};
pub use counter::{CounterName, Counters, Vmstat, VmstatItem};
pub use cpuset::{CpusetFile, CpusetPath, NoCpusetFile, node_list};
pub use cursor::TextError;
pub use knob::{
    Access, CgroupCoreFile, CgroupFile, CgroupV1File, KnobPath, KnobPathError, MemoryFile, NodeKnob, PoolKnob,
    SysctlKnob,
};
pub use line::ReportError;
pub(crate) use line::number;
pub use meminfo::{CmaMeminfo, HugetlbMeminfo, NodeHugepages, ShowMemLine};
pub use mount::{MountSize, MountText, MountTextError};
pub use numa_maps::{NodeRanges, NumaMapsLine, PolicyText};
pub use page_knob::{NoPageKnob, PageKnob, PageKnobError, PageKnobWrite};
pub use pagetypeinfo::{BlockRow, BlockTable, FreeListRow, ListLength, NodePagetypes, Pagetypeinfo};
pub use process::{HugetlbPages, SmapsHugetlb, VmFlag, VmFlags};
pub use weights::{NoWeightFile, WeightFile};
pub(crate) use write::length;
pub use write::{KnobValue, KnobWrite, ShmGroup, Switch, WriteError, Written, demote_size, sysctl_count, sysfs_count};
pub use zoneinfo::{Pageset, PopulatedZone, ZonePages, ZoneReport, Zoneinfo};
