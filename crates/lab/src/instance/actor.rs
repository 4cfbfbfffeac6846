//! What a process of a script has names for.

use std::collections::BTreeMap;

use hugefolio::{Fd, GmemView, HugeSize, Pid, PinId, Vaddr};
use serde::{Deserialize, Serialize};

/// A mapping as its process knows it: the range that was asked for, whatever has become of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedMap {
    pub(super) addr: Vaddr,
    /// As asked for; not rounded.
    pub(super) len: u64,
    pub(super) page: HugeSize,
}

/// A process of a script.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActorState {
    pub(super) pid: Pid,
    pub(super) maps: BTreeMap<String, NamedMap>,
    pub(super) files: BTreeMap<String, Fd>,
    pub(super) uffds: BTreeMap<String, Fd>,
    #[serde(default)]
    pub(super) pins: BTreeMap<String, PinId>,
    /// Mappings of guest memory.
    #[serde(default)]
    pub(super) views: BTreeMap<String, GmemView>,
}

impl ActorState {
    pub(super) const fn new(pid: Pid) -> Self {
        Self {
            pid,
            maps: BTreeMap::new(),
            files: BTreeMap::new(),
            uffds: BTreeMap::new(),
            pins: BTreeMap::new(),
            views: BTreeMap::new(),
        }
    }
}
