//! Control groups of a script, below our own.

use std::fs;
use std::path::{Path, PathBuf};

use lab::op::{CgroupName, NodeList, SizeName, Switch, Value, Written};
use lab::target::{Answer, CgroupCounters, CgroupSizes, Extras, MemoryAccounting, MemoryCounters, Ordered};
use rustix::io::Errno;

use crate::errno::{self, done, failed};
use crate::host::{self, number};
use crate::snapshot::remove_groups;

/// The groups of a script in the order in which their names were first made.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The root of all control groups.
    root: PathBuf,
    /// The group in which ours are.
    ours: PathBuf,
    known: Vec<(String, bool)>,
    /// The script wants to know what memory is charged.
    memory: MemoryAccounting,
}

fn io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| errno::of(&error))
}

impl Groups {
    pub(crate) fn new(root: PathBuf, ours: PathBuf) -> Self {
        Self { root, ours, known: Vec::new(), memory: MemoryAccounting::Off }
    }

    /// Which counters the next script has.
    pub(crate) fn account(&mut self, memory: MemoryAccounting) {
        self.memory = memory;
    }

    fn path(&self, cg: &str) -> PathBuf {
        self.ours.join(cg.trim_start_matches('/'))
    }

    pub(crate) fn create(&mut self, cg: &CgroupName, sub: Option<Switch>) -> Answer {
        let path = self.path(cg.as_str());
        if let Err(refused) = io(fs::create_dir(&path)) {
            return failed(refused);
        }
        if sub.is_some_and(Switch::is_on) {
            // A group that cannot hand a controller on shows that by having no files below.
            let _ = host::write(path.join("cgroup.subtree_control"), "+hugetlb");
            if self.memory == MemoryAccounting::HugePages {
                let _ = host::write(path.join("cgroup.subtree_control"), "+memory");
            }
            // By itself, for a kernel may have one and not the other.
            let _ = host::write(path.join("cgroup.subtree_control"), "+cpuset");
        }
        match self.known.iter_mut().find(|(name, _)| name == cg.as_str()) {
            Some((_, live)) => *live = true,
            None => self.known.push((cg.as_str().to_owned(), true)),
        }
        Answer::ok()
    }

    pub(crate) fn remove(&mut self, cg: &CgroupName) -> Answer {
        // Ours stands for the root, which stays.
        let is_root = cg.as_str().split('/').all(str::is_empty);
        let removed = if is_root { Err(Errno::BUSY) } else { io(fs::remove_dir(self.path(cg.as_str()))) };
        if removed.is_ok() {
            self.known.iter_mut().filter(|(name, _)| name == cg.as_str()).for_each(|(_, live)| *live = false);
        }
        done(removed)
    }

    /// Sets a limit and answers how it reads back.
    pub(crate) fn limit(&self, cg: &CgroupName, size: SizeName, file: &str, value: &Written) -> Answer {
        let size = if size == SizeName::G1 { "1GB" } else { "2MB" };
        self.limit_by(cg, &format!("hugetlb.{size}.{file}"), value)
    }

    /// Sets a limit on memory and answers how it reads back.
    pub(crate) fn limit_memory(&self, cg: &CgroupName, value: &Written) -> Answer {
        if self.memory == MemoryAccounting::Off {
            return Answer::not_modelled("the script's machine accounts no memory");
        }
        self.limit_by(cg, "memory.max", value)
    }

    fn limit_by(&self, cg: &CgroupName, file: &str, value: &Written) -> Answer {
        let path = self.path(cg.as_str()).join(file);
        if let Err(refused) = io(host::write(&path, &value.bytes())) {
            return failed(refused);
        }
        let lim = fs::read_to_string(&path).ok().map(|text| text.trim_end_matches('\n').to_owned());
        Answer { extras: Extras { lim, ..Extras::default() }, ..Answer::ok() }
    }

    /// Says which nodes processes of a group may use.
    pub(crate) fn mems(&self, cg: &CgroupName, nodes: NodeList) -> Answer {
        let text = if nodes.bits() == 0 { "\n".to_owned() } else { nodes.to_text() };
        done(io(host::write(self.path(cg.as_str()).join("cpuset.mems"), &text)))
    }

    /// Moves a process; `/` is the root.
    pub(crate) fn attach(&self, cg: &CgroupName, pid: i32) -> Result<(), Errno> {
        let group = if cg.as_str() == "/" { self.root.clone() } else { self.path(cg.as_str()) };
        io(host::write(group.join("cgroup.procs"), &pid.to_string()))
    }

    pub(crate) fn counters(&self) -> Ordered<CgroupSizes> {
        let mut all = Ordered::default();
        for (name, _) in self.known.iter().filter(|(_, live)| *live) {
            let path = self.path(name);
            let memory = (self.memory == MemoryAccounting::HugePages).then(|| memory(&path));
            all.push(name.clone(), CgroupSizes { m2: counters(&path, "2MB"), g1: counters(&path, "1GB"), memory });
        }
        all
    }

    /// Removes what there is, the last made first.
    pub(crate) fn clear(&mut self) {
        for (name, _) in std::mem::take(&mut self.known).into_iter().rev() {
            remove_groups(&self.path(&name));
        }
    }
}

/// Of all that is charged, the huge pages; -1 where the group has not got the controller.
fn memory(group: &Path) -> MemoryCounters {
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(-1)
    };
    MemoryCounters {
        hugetlb: line("memory.stat", "hugetlb"),
        events_max: line("memory.events", "max"),
        events_local_max: line("memory.events.local", "max"),
    }
}

fn counters(group: &Path, size: &str) -> CgroupCounters {
    let read = |file: &str| number(group.join(format!("hugetlb.{size}.{file}"))).unwrap_or(-1);
    let events = |file: &str| {
        let text = fs::read_to_string(group.join(format!("hugetlb.{size}.{file}"))).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("max ")?.parse().ok()).unwrap_or(-1)
    };
    CgroupCounters {
        current: read("current"),
        rsvd: read("rsvd.current"),
        events_max: events("events"),
        events_local_max: events("events.local"),
    }
}
