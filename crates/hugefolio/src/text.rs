//! The kernel's text: what its files show, byte exact, and what may be written to them.
//!
//! Every report is a struct of plain values. `Display` prints it as the kernel does, whole lines with their line ends, so
//! that a file is the concatenation of its parts; `FromStr` finds it in text of the kernel, where other lines may stand
//! around it. [`KnobPath`] names the files under `/sys/kernel/mm/hugepages`, the nodes' folders and `/proc/sys/vm`;
//! [`KnobPath::read_write`] understands what is written to them and [`KnobValue`] prints what they show.
//! [`MountText`] understands the options of a mount.

mod knob;
mod line;
mod meminfo;
mod mount;
mod process;
mod write;

pub use knob::{Access, KnobPath, KnobPathError, NodeKnob, PoolKnob, SysctlKnob};
pub use line::ReportError;
pub use meminfo::{HugetlbMeminfo, NodeHugepages, ShowMemLine};
pub use mount::{MountSize, MountText, MountTextError};
pub use process::{HugetlbPages, SmapsHugetlb, VmFlag, VmFlags};
pub use write::{KnobValue, KnobWrite, ShmGroup, Switch, WriteError, Written, demote_size, sysctl_count, sysfs_count};
