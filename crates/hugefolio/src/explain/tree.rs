//! A machine's state as the files that a host would show.

use std::fmt::Write;

use charge::GroupVersion;
use units::{HugeSize, MountId, NodeId};

use super::files::SavedHost;
use super::mounts::StatFsText;
use crate::text::{CgroupCoreFile, CgroupFileName, CgroupPath, KnobPath, NodeKnob, PoolKnob, SysctlKnob};
use crate::{Admin, Machine};

impl SavedHost {
    /// What the files of `machine` say now. Its mounts are in the folders named here.
    #[must_use]
    pub fn of(machine: &mut Machine, mounts: &[(&str, MountId)]) -> Self {
        let mut saved = Self::default();
        let nodes: Vec<NodeId> = machine.topology().nodes().iter().collect();
        saved.take(machine, "/proc/meminfo");
        for &knob in SysctlKnob::ALL {
            saved.take(machine, &KnobPath::Sysctl(knob).to_string());
        }
        let sizes: Vec<_> = machine.hstates().iter().map(|hstate| hstate.size).collect();
        for &size in &sizes {
            for &knob in PoolKnob::ALL {
                saved.take(machine, &KnobPath::Pool { size, knob }.to_string());
            }
        }
        for &node in &nodes {
            saved.take(machine, &format!("/sys/devices/system/node/node{}/meminfo", node.get()));
            for &size in &sizes {
                for &knob in NodeKnob::ALL {
                    saved.take(machine, &KnobPath::Node { node, size, knob }.to_string());
                }
            }
        }
        saved.take(machine, "/proc/buddyinfo");
        saved.take(machine, "/proc/zoneinfo");
        saved.take_groups(machine, &sizes);
        let list: Vec<String> = nodes.iter().map(|node| node.get().to_string()).collect();
        saved.insert("/proc/self/status", format!("Mems_allowed_list:\t{}\n", list.join(",")));
        saved.add_mounts(machine, mounts);
        saved
    }

    /// A file, if the machine has it and it can be read.
    fn take(&mut self, machine: &mut Machine, path: &str) {
        if let Ok(text) = machine.read_file(path) {
            self.insert(path, text);
        }
    }

    fn take_groups(&mut self, machine: &mut Machine, sizes: &[HugeSize]) {
        let below: Vec<String> = machine.charges.iter().filter_map(|cgroup| machine.charges.path(cgroup)).collect();
        let version = machine.charges.version();
        for group in std::iter::once(String::new()).chain(below) {
            let pools = sizes.iter().flat_map(|&size| CgroupFileName::of_size(size, version));
            // Those of cgroup v1 say nothing about huge pages.
            let core = if version == GroupVersion::V2 { CgroupCoreFile::ALL } else { &[] };
            let core = core.iter().map(|&file| CgroupFileName::Core(file));
            for file in pools.chain(core) {
                self.take(machine, &CgroupPath { group: group.clone(), file }.to_string());
            }
        }
    }

    fn add_mounts(&mut self, machine: &mut Machine, mounts: &[(&str, MountId)]) {
        let (groups, own) = match machine.charges.version() {
            GroupVersion::V1 => ("20 1 0:20 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb\n", "1:hugetlb:/\n"),
            GroupVersion::V2 => ("20 1 0:20 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n"),
        };
        let mut table = groups.to_owned();
        for (&(dir, mount), n) in mounts.iter().zip(21..) {
            let Some(statfs) = machine.statfs(mount) else { continue };
            let options = mount_options(machine, mount).unwrap_or_default();
            let _ = writeln!(table, "{n} 1 0:{n} / {dir} rw,relatime - hugetlbfs none rw{options}");
            self.insert(StatFsText::path(dir), StatFsText(statfs).to_string());
        }
        self.insert("/proc/self/mountinfo", table);
        self.insert("/proc/self/cgroup", own);
    }
}

/// What a mount was given, as its line in the table of mounts says it.
fn mount_options(machine: &Machine, mount: MountId) -> Option<String> {
    let mount = machine.mounts.get(mount)?;
    let size = machine.hstates().iter().find(|hstate| hstate.id == mount.hstate)?.size;
    let mut options = format!(",pagesize={}", page_size(size));
    let Some(subpool) = mount.subpool.and_then(|id| machine.subpools.get(id)) else { return Some(options) };
    if let Some(max) = subpool.max() {
        let _ = write!(options, ",size={}", size.total(max).get());
    }
    if !subpool.min().is_zero() {
        let _ = write!(options, ",min_size={}", size.total(subpool.min()).get());
    }
    Some(options)
}

/// There it is never in G.
fn page_size(size: HugeSize) -> String {
    let kib = size.kib();
    if kib >= 1024 { format!("{}M", kib >> 10) } else { format!("{kib}K") }
}
