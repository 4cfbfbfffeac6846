//! The files through which an administrator sees and sets the pools, and those of control groups.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use units::{Bytes, HugeSize, NodeId, Nodemask};

use super::line::{excerpt, number};

const SYSCTLS: &str = "/proc/sys/vm/";
const POOLS: &str = "/sys/kernel/mm/hugepages/hugepages-";
const NODES: &str = "/sys/devices/system/node/node";

/// Who may open a file for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0644.
    ReadWrite,
    /// Mode 0444.
    ReadOnly,
    /// Mode 0200.
    WriteOnly,
}

impl Access {
    /// The permission bits.
    #[must_use]
    pub const fn mode(self) -> u32 {
        match self {
            Self::ReadWrite => 0o644,
            Self::ReadOnly => 0o444,
            Self::WriteOnly => 0o200,
        }
    }
}

macro_rules! files {
    ($(#[$doc:meta])* $name:ident { $($(#[$file_doc:meta])* $file:ident = $text:literal, $access:ident;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$file_doc])* $file,)+
        }

        impl $name {
            /// Every file of the folder.
            pub const ALL: &'static [Self] = &[$(Self::$file,)+];

            /// The file's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$file => $text,)+ }
            }

            /// Who may open it for what.
            #[must_use]
            pub const fn access(self) -> Access {
                match self { $(Self::$file => Access::$access,)+ }
            }

            pub(super) fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|file| file.name() == name)
            }
        }
    };
}

files! {
    /// A file of `/proc/sys/vm`; counts are about the default pool.
    SysctlKnob {
        /// The administrator's target (not the pages that there are).
        NrHugepages = "nr_hugepages", ReadWrite;
        /// The same, written under the writer's memory policy.
        NrHugepagesMempolicy = "nr_hugepages_mempolicy", ReadWrite;
        /// The limit on surplus pages.
        NrOvercommitHugepages = "nr_overcommit_hugepages", ReadWrite;
        /// The group that may make SysV segments of huge pages.
        HugetlbShmGroup = "hugetlb_shm_group", ReadWrite;
        /// Whether new huge pages give their redundant descriptors back.
        HugetlbOptimizeVmemmap = "hugetlb_optimize_vmemmap", ReadWrite;
    }
}

files! {
    /// A file of `/sys/kernel/mm/hugepages/hugepages-NkB`.
    PoolKnob {
        /// Pages to demote.
        Demote = "demote", WriteOnly;
        /// The size that they are demoted to.
        DemoteSize = "demote_size", ReadWrite;
        /// Free pages.
        FreeHugepages = "free_hugepages", ReadOnly;
        /// Pages of the pool, surplus ones included.
        NrHugepages = "nr_hugepages", ReadWrite;
        /// The same, written under the writer's memory policy.
        NrHugepagesMempolicy = "nr_hugepages_mempolicy", ReadWrite;
        /// The limit on surplus pages.
        NrOvercommitHugepages = "nr_overcommit_hugepages", ReadWrite;
        /// Pages promised and not yet taken.
        ResvHugepages = "resv_hugepages", ReadOnly;
        /// Pages beyond the administrator's target.
        SurplusHugepages = "surplus_hugepages", ReadOnly;
    }
}

files! {
    /// A file of `/sys/devices/system/node/nodeN/hugepages/hugepages-NkB`.
    NodeKnob {
        /// Pages to demote on this node.
        Demote = "demote", WriteOnly;
        /// The size that they are demoted to, of the whole pool.
        DemoteSize = "demote_size", ReadWrite;
        /// Free pages on this node.
        FreeHugepages = "free_hugepages", ReadOnly;
        /// Pages on this node, surplus ones included.
        NrHugepages = "nr_hugepages", ReadWrite;
        /// Surplus pages on this node.
        SurplusHugepages = "surplus_hugepages", ReadOnly;
    }
}

files! {
    /// A file `hugetlb.SIZE.FILE` of a control group.
    CgroupFile {
        /// Bytes in use, of the group and all below it.
        Current = "current", ReadOnly;
        /// Refused charges of the group and all below it.
        Events = "events", ReadOnly;
        /// Refused charges of the group itself.
        EventsLocal = "events.local", ReadOnly;
        /// The limit on bytes in use.
        Max = "max", ReadWrite;
        /// Bytes in use by node.
        NumaStat = "numa_stat", ReadOnly;
        /// Bytes reserved, or in use without a reservation.
        RsvdCurrent = "rsvd.current", ReadOnly;
        /// The limit on bytes reserved.
        RsvdMax = "rsvd.max", ReadWrite;
    }
}

files! {
    /// A file `hugetlb.SIZE.FILE` of a control group of cgroup v1.
    CgroupV1File {
        /// Refused charges of the group's own limit. Writing anything makes it 0.
        Failcnt = "failcnt", ReadWrite;
        /// The limit on bytes in use.
        LimitInBytes = "limit_in_bytes", ReadWrite;
        /// The most bytes in use. Writing anything makes it those in use now.
        MaxUsageInBytes = "max_usage_in_bytes", ReadWrite;
        /// Bytes in use by node.
        NumaStat = "numa_stat", ReadOnly;
        /// As `failcnt`, of the bytes reserved.
        RsvdFailcnt = "rsvd.failcnt", ReadWrite;
        /// The limit on bytes reserved.
        RsvdLimitInBytes = "rsvd.limit_in_bytes", ReadWrite;
        /// The most bytes reserved. Writing anything makes it those reserved now.
        RsvdMaxUsageInBytes = "rsvd.max_usage_in_bytes", ReadWrite;
        /// Bytes reserved, or in use without a reservation.
        RsvdUsageInBytes = "rsvd.usage_in_bytes", ReadOnly;
        /// Bytes in use, of the group and all below it.
        UsageInBytes = "usage_in_bytes", ReadOnly;
    }
}

files! {
    /// A file of a control group about its memory, where the memory controller accounts huge pages.
    MemoryFile {
        /// Bytes charged, of the group and all below it.
        Current = "memory.current", ReadOnly;
        /// What its limit, and those below it, gave rise to.
        Events = "memory.events", ReadOnly;
        /// What its own limit gave rise to.
        EventsLocal = "memory.events.local", ReadOnly;
        /// The limit.
        Max = "memory.max", ReadWrite;
        /// What the memory is used for.
        Stat = "memory.stat", ReadOnly;
    }
}

files! {
    /// A file that every control group of cgroup v2 has.
    CgroupCoreFile {
        /// The controllers that the group has.
        Controllers = "cgroup.controllers", ReadOnly;
        /// The controllers that its children have.
        SubtreeControl = "cgroup.subtree_control", ReadWrite;
    }
}

impl PoolKnob {
    /// Is the file there only where the pool's pages can be demoted?
    #[must_use]
    pub const fn needs_demotion(self) -> bool {
        matches!(self, Self::Demote | Self::DemoteSize)
    }
}

impl NodeKnob {
    /// Is the file there only where the pool's pages can be demoted?
    #[must_use]
    pub const fn needs_demotion(self) -> bool {
        matches!(self, Self::Demote | Self::DemoteSize)
    }
}

/// One file.
#[doc(alias("kobj_attribute", "hugetlb_table"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KnobPath {
    /// Under `/proc/sys/vm`.
    Sysctl(SysctlKnob),
    /// A pool's file.
    Pool {
        /// Which pool.
        size: HugeSize,
        /// Which file.
        knob: PoolKnob,
    },
    /// A pool's file on one node.
    Node {
        /// The node.
        node: NodeId,
        /// Which pool.
        size: HugeSize,
        /// Which file.
        knob: NodeKnob,
    },
}

/// A path names no file of the pools.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KnobPathError {
    /// It lies elsewhere.
    #[error(
        "`{0}` is not about huge pages: use /proc/sys/vm/FILE, /sys/kernel/mm/hugepages/hugepages-NkB/FILE or \
         /sys/devices/system/node/nodeN/hugepages/hugepages-NkB/FILE"
    )]
    Elsewhere(String),
    /// There is no such node folder.
    #[error("`{0}`: the node is not a number from 0 to 63")]
    BadNode(String),
    /// There is no such pool folder.
    #[error("`{0}`: the folder of a pool is named as hugepages-2048kB, with a power of two")]
    BadSize(String),
    /// The folder has no such file.
    #[error("`{path}`: there is no such file in this folder; it has {files}")]
    UnknownFile {
        /// The path.
        path: String,
        /// The folder's files.
        files: String,
    },
}

impl KnobPath {
    /// Reads an absolute path, as [`fmt::Display`] prints it.
    ///
    /// # Errors
    /// The path names no file of the pools.
    pub fn parse(path: &str) -> Result<Self, KnobPathError> {
        if let Some(file) = path.strip_prefix(SYSCTLS) {
            return SysctlKnob::named(file)
                .map(Self::Sysctl)
                .ok_or_else(|| unknown(path, SysctlKnob::ALL, SysctlKnob::name));
        }
        if let Some(rest) = path.strip_prefix(POOLS) {
            let (size, file) = pool_folder(path, rest)?;
            let knob = PoolKnob::named(file).ok_or_else(|| unknown(path, PoolKnob::ALL, PoolKnob::name))?;
            return Ok(Self::Pool { size, knob });
        }
        if let Some((number, rest)) = path.strip_prefix(NODES).and_then(|rest| rest.split_once("/hugepages/hugepages-"))
        {
            let node = node(number).ok_or_else(|| KnobPathError::BadNode(excerpt(path)))?;
            let (size, file) = pool_folder(path, rest)?;
            let knob = NodeKnob::named(file).ok_or_else(|| unknown(path, NodeKnob::ALL, NodeKnob::name))?;
            return Ok(Self::Node { node, size, knob });
        }
        Err(KnobPathError::Elsewhere(excerpt(path)))
    }

    /// Who may open the file for what.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::Sysctl(knob) => knob.access(),
            Self::Pool { knob, .. } => knob.access(),
            Self::Node { knob, .. } => knob.access(),
        }
    }
}

/// `2048kB/FILE`.
fn pool_folder<'a>(path: &str, rest: &'a str) -> Result<(HugeSize, &'a str), KnobPathError> {
    let bad = || KnobPathError::BadSize(excerpt(path));
    let (kib, file) = rest.split_once("kB/").ok_or_else(bad)?;
    let bytes = canonical(kib).and_then(|n| n.checked_mul(1024)).map(Bytes::new).ok_or_else(bad)?;
    Ok((HugeSize::from_bytes(bytes).ok_or_else(bad)?, file))
}

fn node(text: &str) -> Option<NodeId> {
    let n = u8::try_from(canonical(text)?).ok()?;
    (n < Nodemask::CAPACITY).then_some(NodeId::new(n))
}

/// A number as it is printed: no leading zero.
fn canonical(digits: &str) -> Option<u64> {
    if digits.len() > 1 && digits.starts_with('0') { None } else { number(digits) }
}

fn unknown<K: Copy>(path: &str, all: &[K], name: fn(K) -> &'static str) -> KnobPathError {
    let files: Vec<&str> = all.iter().map(|&knob| name(knob)).collect();
    KnobPathError::UnknownFile { path: excerpt(path), files: files.join(", ") }
}

impl FromStr for KnobPath {
    type Err = KnobPathError;

    fn from_str(path: &str) -> Result<Self, KnobPathError> {
        Self::parse(path)
    }
}

impl fmt::Display for KnobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl(knob) => write!(f, "{SYSCTLS}{}", knob.name()),
            Self::Pool { size, knob } => write!(f, "{POOLS}{}kB/{}", size.kib(), knob.name()),
            Self::Node { node, size, knob } => {
                write!(f, "{NODES}{}/hugepages/hugepages-{}kB/{}", node.get(), size.kib(), knob.name())
            }
        }
    }
}
