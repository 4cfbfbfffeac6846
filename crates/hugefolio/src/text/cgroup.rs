//! The files of control groups, as cgroup v2 has them and as cgroup v1 has.

use std::fmt;

use charge::{GroupVersion, MemoryEvents};
use hugetlb::boot::memparse;
use thiserror::Error;
use units::{Bytes, HugeSize, NodeId};

use super::knob::{Access, CgroupCoreFile, CgroupFile, CgroupV1File, MemoryFile};
use super::line::{excerpt, number};
use super::write::{WriteError, Written, blanks, invalid, length};

/// Where groups are mounted.
const ROOT: &str = "/sys/fs/cgroup/";
/// Where those of cgroup v1 are that account huge pages.
const ROOT_V1: &str = "/sys/fs/cgroup/hugetlb/";

const fn root(version: GroupVersion) -> &'static str {
    match version {
        GroupVersion::V1 => ROOT_V1,
        GroupVersion::V2 => ROOT,
    }
}

/// Which file of a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupFileName {
    /// About the pages of one size.
    Pool {
        /// The size.
        size: HugeSize,
        /// The file.
        file: CgroupFile,
    },
    /// About the pages of one size, in cgroup v1.
    PoolV1 {
        /// The size.
        size: HugeSize,
        /// The file.
        file: CgroupV1File,
    },
    /// About its memory, in cgroup v2.
    Memory(MemoryFile),
    /// About the group itself, in cgroup v2.
    Core(CgroupCoreFile),
}

/// A file of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath {
    /// The group's path from the root on, such as `g0/c0`; empty for the root.
    pub group: String,
    /// The file.
    pub file: CgroupFileName,
}

/// A path names no file of a control group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CgroupPathError {
    /// It lies elsewhere.
    #[error("`{path}` is not a file of a control group: use {root}GROUP/FILE")]
    Elsewhere {
        /// The path.
        path: String,
        /// Where groups are.
        root: &'static str,
    },
    /// The group has no such file.
    #[error(
        "`{0}`: a control group of cgroup v1 has hugetlb.SIZE.FILE with SIZE as 64KB, 2MB or 1GB and FILE one of failcnt, \
         limit_in_bytes, max_usage_in_bytes, usage_in_bytes, the same after `rsvd.`, and numa_stat"
    )]
    UnknownV1File(String),
    /// The group has no such file.
    #[error(
        "`{0}`: a control group has cgroup.controllers, cgroup.subtree_control and hugetlb.SIZE.FILE with SIZE as 64KB, 2MB or \
         1GB and FILE one of current, events, events.local, max, numa_stat, rsvd.current, rsvd.max; where huge pages are accounted \
         as memory, memory.FILE with FILE one of current, events, events.local, max, stat"
    )]
    UnknownFile(String),
}

impl CgroupPath {
    /// Does the path lie where control groups are?
    #[must_use]
    pub fn is_below_root(path: &str) -> bool {
        path.starts_with(ROOT)
    }

    /// Reads an absolute path, as [`fmt::Display`] prints it.
    ///
    /// # Errors
    /// The path names no file of a control group.
    pub fn parse(path: &str, version: GroupVersion) -> Result<Self, CgroupPathError> {
        let root = root(version);
        let elsewhere = || CgroupPathError::Elsewhere { path: excerpt(path), root };
        let below = path.strip_prefix(root).ok_or_else(elsewhere)?;
        let (group, name) = below.rsplit_once('/').unwrap_or(("", below));
        let file = CgroupFileName::named(name, version).ok_or_else(|| match version {
            GroupVersion::V1 => CgroupPathError::UnknownV1File(excerpt(path)),
            GroupVersion::V2 => CgroupPathError::UnknownFile(excerpt(path)),
        })?;
        Ok(Self { group: group.to_owned(), file })
    }
}

impl CgroupFileName {
    /// The file of that name.
    #[must_use]
    pub fn named(name: &str, version: GroupVersion) -> Option<Self> {
        let Some(rest) = name.strip_prefix("hugetlb.") else {
            let core = CgroupCoreFile::named(name).map(Self::Core);
            let found = core.or_else(|| MemoryFile::named(name).map(Self::Memory));
            return found.filter(|_| version == GroupVersion::V2);
        };
        let (size, file) = rest.split_once('.')?;
        let size = size_named(size)?;
        match version {
            GroupVersion::V1 => CgroupV1File::named(file).map(|file| Self::PoolV1 { size, file }),
            GroupVersion::V2 => CgroupFile::named(file).map(|file| Self::Pool { size, file }),
        }
    }

    /// Every file of a group about pages of that size.
    pub fn of_size(size: HugeSize, version: GroupVersion) -> impl Iterator<Item = Self> {
        let (old, new) = match version {
            GroupVersion::V1 => (CgroupV1File::ALL, &[][..]),
            GroupVersion::V2 => (&[][..], CgroupFile::ALL),
        };
        let old = old.iter().map(move |&file| Self::PoolV1 { size, file });
        old.chain(new.iter().map(move |&file| Self::Pool { size, file }))
    }

    const fn version(self) -> GroupVersion {
        match self {
            Self::PoolV1 { .. } => GroupVersion::V1,
            Self::Pool { .. } | Self::Memory(_) | Self::Core(_) => GroupVersion::V2,
        }
    }

    /// Which pages it is about.
    #[must_use]
    pub const fn size(self) -> Option<HugeSize> {
        match self {
            Self::PoolV1 { size, .. } | Self::Pool { size, .. } => Some(size),
            Self::Memory(_) | Self::Core(_) => None,
        }
    }

    /// Who may open it for what.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::Pool { file, .. } => file.access(),
            Self::PoolV1 { file, .. } => file.access(),
            Self::Memory(file) => file.access(),
            Self::Core(file) => file.access(),
        }
    }
}

/// `2MB`: the largest of the three units of which the size is a whole number.
fn size_named(text: &str) -> Option<HugeSize> {
    let units = [("KB", 10), ("MB", 20), ("GB", 30)];
    let (digits, shift) = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    let bytes = number(digits).filter(|_| !digits.starts_with('0'))?.checked_mul(1 << shift)?;
    HugeSize::from_bytes(Bytes::new(bytes)).filter(|size| size_name(*size) == text)
}

fn size_name(size: HugeSize) -> String {
    let kib = size.kib();
    match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    }
}

impl fmt::Display for CgroupFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool { size, file } => write!(f, "hugetlb.{}.{}", size_name(*size), file.name()),
            Self::PoolV1 { size, file } => write!(f, "hugetlb.{}.{}", size_name(*size), file.name()),
            Self::Memory(file) => f.write_str(file.name()),
            Self::Core(file) => f.write_str(file.name()),
        }
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        write!(f, "{}{}{slash}{}", root(self.file.version()), self.group, self.file)
    }
}

/// What a file of a control group shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupValue {
    /// A number of bytes, or a limit that is a number.
    Bytes(Bytes),
    /// No limit.
    Max,
    /// Refused charges.
    Events(u64),
    /// Refused charges, in cgroup v1.
    Failures(u64),
    /// Bytes in use, and where.
    NumaStat(BytesByNode),
    /// Bytes in use and where, in cgroup v1.
    NumaStatV1 {
        /// Those of the group itself.
        local: BytesByNode,
        /// Those of the group and all below it.
        hierarchical: BytesByNode,
    },
    /// What limits on memory gave rise to.
    MemoryEvents(MemoryEvents),
    /// What memory is used for, of which huge pages are all that is known.
    MemoryStat {
        /// Bytes of huge pages.
        hugetlb: Bytes,
    },
    /// Controllers that are there, in the kernel's order.
    Controllers(Vec<&'static str>),
}

/// Bytes in all and on each node with memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesByNode {
    /// In all.
    pub total: Bytes,
    /// On each node with memory.
    pub nodes: Vec<(NodeId, Bytes)>,
}

impl fmt::Display for BytesByNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total={}", self.total.get())?;
        self.nodes.iter().try_for_each(|(node, bytes)| write!(f, " N{}={}", node.get(), bytes.get()))
    }
}

impl fmt::Display for CgroupValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => writeln!(f, "{}", bytes.get()),
            Self::Max => writeln!(f, "max"),
            Self::Events(count) => writeln!(f, "max {count}"),
            Self::Failures(count) => writeln!(f, "{count}"),
            Self::NumaStat(bytes) => writeln!(f, "{bytes}"),
            Self::NumaStatV1 { local, hierarchical } => writeln!(f, "{local}\nhierarchical_{hierarchical}"),
            Self::MemoryEvents(events) => memory_events(f, *events),
            Self::MemoryStat { hugetlb } => memory_stat(f, *hugetlb),
            Self::Controllers(names) if names.is_empty() => Ok(()),
            Self::Controllers(names) => writeln!(f, "{}", names.join(" ")),
        }
    }
}

/// Reclaim, throttling and killing are not modelled; what they would have counted is 0.
fn memory_events(f: &mut fmt::Formatter<'_>, MemoryEvents { max, oom }: MemoryEvents) -> fmt::Result {
    writeln!(f, "low 0\nhigh 0\nmax {max}\noom {oom}\noom_kill 0\noom_group_kill 0")
}

/// The lines of `memory.stat` before that of huge pages, and those after it: of memory that no group here has.
const STAT_BEFORE: &[&str] = &[
    "anon",
    "file",
    "kernel",
    "kernel_stack",
    "pagetables",
    "sec_pagetables",
    "percpu",
    "sock",
    "vmalloc",
    "shmem",
    "zswap",
    "zswapped",
    "file_mapped",
    "file_dirty",
    "file_writeback",
    "swapcached",
    "anon_thp",
    "file_thp",
    "shmem_thp",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "slab",
];
const STAT_AFTER: &[&str] = &[
    "workingset_refault_anon",
    "workingset_refault_file",
    "workingset_activate_anon",
    "workingset_activate_file",
    "workingset_restore_anon",
    "workingset_restore_file",
    "workingset_nodereclaim",
    "pgdemote_kswapd",
    "pgdemote_direct",
    "pgdemote_khugepaged",
    "pgdemote_proactive",
    "pgpromote_success",
    "pgscan",
    "pgsteal",
    "pswpin",
    "pswpout",
    "pgscan_kswapd",
    "pgscan_direct",
    "pgscan_khugepaged",
    "pgscan_proactive",
    "pgsteal_kswapd",
    "pgsteal_direct",
    "pgsteal_khugepaged",
    "pgsteal_proactive",
    "pgfault",
    "pgmajfault",
    "pgrefill",
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pglazyfreed",
    "swpin_zero",
    "swpout_zero",
    "zswpin",
    "zswpout",
    "zswpwb",
    "thp_fault_alloc",
    "thp_collapse_alloc",
    "thp_swpout",
    "thp_swpout_fallback",
    "numa_pages_migrated",
    "numa_pte_updates",
    "numa_hint_faults",
];

fn memory_stat(f: &mut fmt::Formatter<'_>, hugetlb: Bytes) -> fmt::Result {
    STAT_BEFORE.iter().try_for_each(|name| writeln!(f, "{name} 0"))?;
    writeln!(f, "hugetlb {}", hugetlb.get())?;
    STAT_AFTER.iter().try_for_each(|name| writeln!(f, "{name} 0"))
}

/// A limit as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupLimit {
    /// None: `max`, or `-1` in cgroup v1.
    Max,
    /// So many bytes, not yet rounded.
    Bytes(Bytes),
}

/// Reads what is written to a limit; nothing for an empty write, which changes nothing. Blanks around it are skipped. A number
/// may have a base (`0x`, `0`) and one suffix `K M G T P E`; one beyond 64 bits is wrapped, and no digit at all is 0.
///
/// # Errors
/// Anything else, such as a sign.
#[doc(alias = "page_counter_memparse")]
pub fn cgroup_limit(text: &[u8], version: GroupVersion) -> Result<Option<Written<CgroupLimit>>, WriteError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (none, expected) = match version {
        GroupVersion::V1 => ("-1", "`-1` or a number of bytes with at most one suffix of K M G T P E"),
        GroupVersion::V2 => ("max", "`max` or a number of bytes with at most one suffix of K M G T P E"),
    };
    let refuse = || invalid(text, expected);
    let word = std::str::from_utf8(stripped(text)).map_err(|_| refuse())?;
    let value = match (word, memparse(word)) {
        (word, _) if word == none => CgroupLimit::Max,
        (_, Some(parsed)) if parsed.rest.is_empty() => CgroupLimit::Bytes(Bytes::new(parsed.value)),
        ("" | "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" | "p" | "P" | "e" | "E", None) => {
            CgroupLimit::Bytes(Bytes::ZERO)
        }
        _ => return Err(refuse()),
    };
    Ok(Some(Written { value, consumed: length(text) }))
}

/// What is written to `cgroup.subtree_control` about one controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ControllerWrite {
    /// Its name after `+`.
    Enable,
    /// Its name after `-`.
    Disable,
    /// No word.
    #[default]
    Leave,
}

/// What is written to `cgroup.subtree_control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerWrites {
    /// About `hugetlb`.
    pub hugetlb: ControllerWrite,
    /// About `memory`.
    pub memory: ControllerWrite,
}

/// Reads words `+hugetlb` and `-hugetlb`, `+memory` and `-memory`, of which the last of each counts.
///
/// # Errors
/// Any other word.
#[doc(alias = "cgroup_subtree_control_write")]
pub fn subtree_control(text: &[u8]) -> Result<Written<ControllerWrites>, WriteError> {
    let refuse = || invalid(text, "`+hugetlb`, `-hugetlb`, `+memory` or `-memory`");
    let words = std::str::from_utf8(stripped(text)).map_err(|_| refuse())?;
    let mut value = ControllerWrites::default();
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let (write, name) = match word.split_at_checked(1) {
            Some(("+", name)) => (ControllerWrite::Enable, name),
            Some(("-", name)) => (ControllerWrite::Disable, name),
            _ => return Err(refuse()),
        };
        match name {
            "hugetlb" => value.hugetlb = write,
            "memory" => value.memory = write,
            _ => return Err(refuse()),
        }
    }
    Ok(Written { value, consumed: length(text) })
}

/// The text up to its first NUL, without blanks around it; 0xa0 is one to the kernel.
fn stripped(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let mut word = &text[..end];
    let blank = |b: u8| b == 0xa0 || blanks(&[b]) == 1;
    while let [first, rest @ ..] = word
        && blank(*first)
    {
        word = rest;
    }
    while let [rest @ .., last] = word
        && blank(*last)
    {
        word = rest;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Linux 6.18.44 took them.
    #[test]
    fn limits_are_read_as_the_kernel_reads_them() {
        let of = |text: &str, version| cgroup_limit(text.as_bytes(), version).ok().map(|w| w.map(|w| w.value));
        let read = |text| of(text, GroupVersion::V2);
        let bytes = |n: u64| Some(Some(CgroupLimit::Bytes(Bytes::new(n))));
        for text in ["max", "max\n", " max ", "max\0junk"] {
            assert_eq!(read(text), Some(Some(CgroupLimit::Max)), "{text:?}");
        }
        for (text, n) in [
            ("4M\n\n", 4 << 20),
            ("\t\x0b4m\r\n", 4 << 20),
            ("0x200000", 2 << 20),
            ("010000000", 2 << 20),
            ("K", 0),
            ("\n", 0),
            ("16E", 0),
            ("18446744073709551616", 0),
            ("99999999999999999999", 7_766_279_631_452_241_919),
        ] {
            assert_eq!(read(text), bytes(n), "{text:?}");
        }
        for text in ["-1", "-0", "+4M", "4 M", "4MB", "4MM", "08", "0x", "0xK", "MAX", "maxx", "4M\nx", "1_0", "abc"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(""), Some(None));
        let old = |text| of(text, GroupVersion::V1);
        for text in ["-1", "-1\n", " -1", "-1 "] {
            assert_eq!(old(text), Some(Some(CgroupLimit::Max)), "{text:?}");
        }
        for text in ["max", "-2", "-1x", "abc"] {
            assert_eq!(old(text), None, "{text:?}");
        }
        assert_eq!((old("\n"), old("4194305")), (bytes(0), bytes(4_194_305)));
    }

    /// As a Linux 6.18.44 showed it.
    #[test]
    fn values_of_v1_print_as_the_kernel_prints_them() {
        let on = |bytes| BytesByNode { total: Bytes::new(bytes), nodes: vec![(NodeId::new(0), Bytes::new(bytes))] };
        let stat = CgroupValue::NumaStatV1 { local: on(0), hierarchical: on(2_097_152) };
        assert_eq!(stat.to_string(), "total=0 N0=0\nhierarchical_total=2097152 N0=2097152\n");
        assert_eq!(CgroupValue::Failures(2).to_string(), "2\n");
    }

    #[test]
    fn the_last_word_decides_who_hands_the_controller_on() {
        use ControllerWrite::{Disable, Enable, Leave};
        let read = |text: &str| {
            let writes = subtree_control(text.as_bytes()).ok()?.value;
            Some((writes.hugetlb, writes.memory))
        };
        assert_eq!(read("+hugetlb -hugetlb\n"), Some((Disable, Leave)));
        assert_eq!(read("+memory -hugetlb"), Some((Disable, Enable)));
        assert_eq!(read("\n"), Some((Leave, Leave)));
        assert_eq!((read("hugetlb"), read("+"), read("\u{e9}memory"), read("+cpu")), (None, None, None, None));
    }

    #[test]
    fn a_path_reads_as_it_prints() {
        use GroupVersion::{V1, V2};
        for (path, version) in [
            ("/sys/fs/cgroup/g0/c0/hugetlb.2MB.rsvd.max", V2),
            ("/sys/fs/cgroup/g0/hugetlb.64KB.events.local", V2),
            ("/sys/fs/cgroup/cgroup.subtree_control", V2),
            ("/sys/fs/cgroup/g0/memory.events.local", V2),
            ("/sys/fs/cgroup/hugetlb.16GB.current", V2),
            ("/sys/fs/cgroup/hugetlb/hugetlb.2MB.numa_stat", V2),
            ("/sys/fs/cgroup/hugetlb/hugetlb.2MB.numa_stat", V1),
            ("/sys/fs/cgroup/hugetlb/g0/c0/hugetlb.1GB.rsvd.max_usage_in_bytes", V1),
        ] {
            assert_eq!(CgroupPath::parse(path, version).unwrap().to_string(), path);
        }
        for (path, version) in [
            ("/sys/fs/cgroup/g0/hugetlb.2048KB.max", V2),
            ("/sys/fs/cgroup/g0/hugetlb.02MB.max", V2),
            ("/sys/fs/cgroup/g0", V2),
            ("/sys/fs/cgroup/g0/hugetlb.2MB.failcnt", V2),
            ("/sys/fs/cgroup/hugetlb/g0/hugetlb.2MB.max", V1),
            ("/sys/fs/cgroup/hugetlb/cgroup.controllers", V1),
            ("/sys/fs/cgroup/g0/hugetlb.2MB.failcnt", V1),
        ] {
            assert!(CgroupPath::parse(path, version).is_err(), "{path}");
        }
        for version in [V1, V2] {
            for file in CgroupFileName::of_size(HugeSize::M2, version) {
                assert_eq!(CgroupFileName::named(&file.to_string(), version), Some(file));
            }
        }
    }
}
