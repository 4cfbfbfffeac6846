//! What this host is, and the lock that makes its huge pages ours for a while.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use lab::target::MemoryAccounting;
use rustix::fs::{FlockOperation, flock};

use crate::StartError;
use crate::sys::memory::program_lies_apart;
use crate::sys::process::threads;

/// Everything of a run that is not in a namespace of its own: the lock, what has to be put back, where mounts are mounted.
pub(crate) const FOLDER: &str = "/run/hugefolio";
/// The name of our group below the root of the control groups.
const GROUP: &str = "hugefolio";
/// The boot parameter of a host that may be broken.
const EXPENDABLE: &str = "hugefolio.expendable";
/// Kilobytes that must be available: the pages that scripts may have, twice.
const MEMORY_KB: u64 = 5 << 20;

/// What this host has.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// It has pages of 1 GiB.
    pub(crate) gigantic: bool,
    /// The root of control groups of version 2, if they have the hugetlb controller.
    pub(crate) cgroups: Option<PathBuf>,
    /// Whether the memory controller of these accounts huge pages.
    pub(crate) memory: MemoryAccounting,
    /// Its processors can forbid loads from memory that may be executed.
    pub(crate) execute_only: bool,
    /// It has io_uring, and a device of buffers.
    pub(crate) rings: bool,
    pub(crate) udmabuf: bool,
    /// The kernel's release.
    pub(crate) release: String,
    /// All its nodes.
    pub(crate) nodes: Vec<HostNode>,
    /// Its memory may be broken, and need not suffice for everybody: it is there for this alone.
    pub(crate) expendable: bool,
}

impl Host {
    /// Looks, and changes nothing.
    pub(crate) fn look() -> Result<Self, StartError> {
        let lacks = |what: &str| Err(StartError::Lacks(what.to_owned()));
        if !rustix::process::geteuid().is_root() {
            return lacks("the right to change huge pages: run as root");
        }
        if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").is_dir() {
            return lacks("a pool of 2 MiB pages (/sys/kernel/mm/hugepages/hugepages-2048kB)");
        }
        if meminfo("Hugepagesize:") != Some(2048) {
            return lacks("2 MiB as the default huge page size");
        }
        let node0 = "/sys/devices/system/node/node0/hugepages";
        if !Path::new(node0).is_dir() {
            return lacks("a first memory node, node0");
        }
        let nodes: Vec<HostNode> = online().into_iter().map(HostNode::of).collect();
        let expendable =
            fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_whitespace().any(|w| w == EXPENDABLE));
        if !expendable && meminfo("MemAvailable:").is_none_or(|kb| kb < MEMORY_KB) {
            return lacks("memory: 5 GiB must be available");
        }
        if threads() != 1 || !program_lies_apart() {
            return lacks("a program with one thread, loaded at high addresses");
        }
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let gigantic = Path::new("/sys/kernel/mm/hugepages/hugepages-1048576kB").is_dir();
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let execute_only = processors.split_whitespace().any(|flag| flag == "ospke");
        let rings = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() == "0");
        let udmabuf = Path::new("/dev/udmabuf").exists();
        let cgroups = cgroups();
        let memory = cgroups.as_deref().map_or(MemoryAccounting::Off, memory_accounting);
        Ok(Self { gigantic, cgroups, memory, execute_only, rings, udmabuf, release, nodes, expendable })
    }

    /// Our group.
    pub(crate) fn group(&self) -> Option<PathBuf> {
        self.cgroups.as_ref().map(|root| root.join(GROUP))
    }
}

/// What a node of the host has.
#[derive(Debug, Clone)]
pub(crate) struct HostNode {
    /// Bytes of memory.
    pub(crate) memory: u64,
    pub(crate) cpus: usize,
    /// To each node.
    pub(crate) distances: Vec<u8>,
}

impl HostNode {
    fn of(node: u32) -> Self {
        let memory = if nodes().contains(&node) { memory_of(node) } else { 0 };
        let text = fs::read_to_string(format!("/sys/devices/system/node/node{node}/distance")).unwrap_or_default();
        let distances = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Self { memory, cpus: processors_of(node).len(), distances }
    }
}

/// The nodes that are there.
fn online() -> Vec<u32> {
    list(&fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default())
}

/// The nodes with memory.
pub(crate) fn nodes() -> Vec<u32> {
    let text = fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
    list(&text)
}

/// The processors of a node.
pub(crate) fn processors_of(node: u32) -> Vec<usize> {
    let text = fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    list(&text).into_iter().filter_map(|n| usize::try_from(n).ok()).collect()
}

/// Numbers and ranges with commas.
fn list(text: &str) -> Vec<u32> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    text.trim().split(',').filter_map(part).flatten().collect()
}

/// Bytes of memory of a node.
fn memory_of(node: u32) -> u64 {
    let text = fs::read_to_string(format!("/sys/devices/system/node/node{node}/meminfo")).unwrap_or_default();
    let kilobytes =
        text.lines().find_map(|line| line.split_once("MemTotal:")?.1.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0u64) << 10
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let roots = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let has_hugetlb = |root: &PathBuf| {
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        controllers.split_whitespace().any(|name| name == "hugetlb")
    };
    // Groups are made at the root; a process sees another group as the root only inside a container.
    roots.into_iter().find(has_hugetlb)
}

/// The option counts for all groups of version 2, wherever they are mounted.
fn memory_accounting(root: &Path) -> MemoryAccounting {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let option = "memory_hugetlb_accounting";
    let mounted = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let on = mounted.into_iter().any(|line| {
        line.get(2) == Some(&"cgroup2") && line.get(3).is_some_and(|all| all.split(',').any(|word| word == option))
    });
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let there = controllers.split_whitespace().any(|name| name == "memory");
    if on && there { MemoryAccounting::HugePages } else { MemoryAccounting::Off }
}

/// Waits for the lock that everything of this project takes which changes the host's huge pages.
pub(crate) fn lock() -> Result<File, StartError> {
    let refused = |error: std::io::Error| StartError::Refused(format!("{FOLDER}/lock: {error}"));
    fs::create_dir_all(FOLDER).map_err(refused)?;
    let path = Path::new(FOLDER).join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(refused)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| refused(error.into()))?;
    Ok(file)
}

/// Writes a file of the kernel in one call.
pub(crate) fn write(path: impl AsRef<Path>, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = OpenOptions::new().write(true).open(path)?;
    // The kernel takes what one call brings: the rest of a short write would be another value.
    file.write(text.as_bytes()).map(drop)
}

/// A number of the kernel as it counts: what underflowed is negative.
pub(crate) fn number(path: impl AsRef<Path>) -> Option<i64> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_end();
    text.parse().ok().or_else(|| text.parse().ok().map(u64::cast_signed))
}
