//! What the host was before: written down before the first change, so that a run that is killed is put back by the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::target::MemoryAccounting;
use serde::{Deserialize, Serialize};

use crate::host::{self, FOLDER, Host};
use crate::sys::process::pause;
use crate::{Damage, StartError, pools};

/// Knobs in the order in which they are put back: limits first, so that nothing is made that goes again.
const KNOBS: [&str; 7] = [
    "/proc/sys/vm/hugetlb_shm_group",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_overcommit_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/demote_size",
    "/proc/sys/vm/hugetlb_optimize_vmemmap",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
];
/// How often to look whether what a killed run had in use is free.
const MOST_LOOKS: usize = 200;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The state of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    knobs: Vec<(String, String)>,
    /// Our group, and the root whose controller was switched on for it.
    group: Option<PathBuf>,
    switched: Option<PathBuf>,
    /// The root whose memory controller was switched on for it.
    #[serde(default)]
    memory: Option<PathBuf>,
    /// The memory controller accounts huge pages, so that our group has it.
    #[serde(default)]
    accounts: MemoryAccounting,
}

fn state_file() -> PathBuf {
    Path::new(FOLDER).join("state.json")
}

/// Where mounts of scripts are.
pub(crate) fn mounts() -> PathBuf {
    Path::new(FOLDER).join("mnt")
}

fn controllers(root: &Path) -> PathBuf {
    root.join("cgroup.subtree_control")
}

impl Snapshot {
    /// Writes down what there is; nothing may be changed before.
    pub(crate) fn take(host: &Host) -> Result<Self, StartError> {
        let read = |path: &str| Some((path.to_owned(), fs::read_to_string(path).ok()?.trim_end().to_owned()));
        let switched = host.cgroups.clone().filter(|root| {
            let on = fs::read_to_string(controllers(root)).unwrap_or_default();
            !on.split_whitespace().any(|name| name == "hugetlb")
        });
        let memory = host.cgroups.clone().filter(|root| {
            let on = fs::read_to_string(controllers(root)).unwrap_or_default();
            host.memory == MemoryAccounting::HugePages && !on.split_whitespace().any(|name| name == "memory")
        });
        let knobs = KNOBS.iter().filter_map(|path| read(path)).collect();
        let snapshot = Self { knobs, group: host.group(), switched, memory, accounts: host.memory };
        let refused = |error: std::io::Error| StartError::Refused(format!("{}: {error}", state_file().display()));
        let text = serde_json::to_string(&snapshot).map_err(|error| StartError::Refused(error.to_string()))?;
        // Either the old file or the whole new one: a file half written would be of no use.
        let new = state_file().with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, state_file())).map_err(refused)?;
        Ok(snapshot)
    }

    /// Switches the controller on and makes our group.
    pub(crate) fn make_group(&self) -> std::io::Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        if let Some(root) = &self.switched {
            host::write(controllers(root), "+hugetlb")?;
        }
        if let Some(root) = &self.memory {
            host::write(controllers(root), "+memory")?;
        }
        remove_groups(group);
        fs::create_dir(group)?;
        if self.accounts == MemoryAccounting::HugePages {
            host::write(controllers(group), "+memory")?;
        }
        host::write(controllers(group), "+hugetlb")
    }

    /// Puts back what a killed run left, if one did.
    pub(crate) fn recover() -> Result<(), Damage> {
        let Ok(text) = fs::read_to_string(state_file()) else { return Ok(()) };
        match serde_json::from_str::<Self>(&text) {
            Ok(snapshot) => {
                // Its processes, mounts and segments go when they find out, which takes a moment.
                for _ in 0..MOST_LOOKS {
                    if pools::in_use().is_none() {
                        break;
                    }
                    pools::empty();
                    pause(BETWEEN_LOOKS);
                }
                snapshot.restore()
            }
            Err(error) => Err(Damage(vec![format!("{} cannot be read: {error}", state_file().display())])),
        }
    }

    /// Puts everything back.
    pub(crate) fn restore(&self) -> Result<(), Damage> {
        let mut damage = Vec::new();
        if let Some(group) = &self.group {
            remove_groups(group);
            if group.exists() {
                damage.push(format!("{} is still there", group.display()));
            }
        }
        if let Some(root) = &self.switched
            && let Err(error) = host::write(controllers(root), "-hugetlb")
        {
            damage.push(format!("{}: {error}", controllers(root).display()));
        }
        if let Some(root) = &self.memory
            && let Err(error) = host::write(controllers(root), "-memory")
        {
            damage.push(format!("{}: {error}", controllers(root).display()));
        }
        damage.extend(self.knobs.iter().filter_map(|(path, value)| put_back(path, value)));
        damage.extend(pools::in_use().map(|pools| format!("the pools are not free: {pools}")));
        // An empty folder that stays does no harm.
        let _ = fs::remove_dir(mounts());
        if !damage.is_empty() {
            return Err(Damage(damage));
        }
        match fs::remove_file(state_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Damage(vec![format!("{}: {error}", state_file().display())]))
            }
            _ => Ok(()),
        }
    }
}

fn put_back(path: &str, value: &str) -> Option<String> {
    let now = || fs::read_to_string(path).unwrap_or_default().trim_end().to_owned();
    for _ in 0..20 {
        if now() == value {
            return None;
        }
        if host::write(path, value).is_err() {
            break;
        }
        if now() != value {
            // A pool grows as far as there is memory in one piece.
            let _ = host::write("/proc/sys/vm/compact_memory", "1");
            pause(BETWEEN_LOOKS);
        }
    }
    (now() != value).then(|| format!("{path} is {} and was {value}", now()))
}

/// Removes a group with all below it. A group is busy for a moment after its last process is gone.
pub(crate) fn remove_groups(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    below
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .for_each(|entry| remove_groups(&entry.path()));
    for _ in 0..MOST_LOOKS {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => pause(BETWEEN_LOOKS),
            _ => break,
        }
    }
}
