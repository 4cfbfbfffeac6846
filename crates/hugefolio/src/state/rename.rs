//! New names for the objects of a machine: their places, as if nothing had ever been removed.

use std::collections::BTreeMap;

use slotmap::{Key, KeyData};
use units::{BlockId, CgroupId, GmemId, InodeId, MmId, MountId, Name, Pid, ResvMapId, SubpoolId, UffdId};

use crate::Machine;

/// The names that the objects of a machine have in its state.
#[derive(Clone, Debug, Default)]
pub struct Renamed {
    groups: BTreeMap<CgroupId, CgroupId>,
    maps: BTreeMap<ResvMapId, ResvMapId>,
    subpools: BTreeMap<SubpoolId, SubpoolId>,
    mounts: BTreeMap<MountId, MountId>,
    inodes: BTreeMap<InodeId, InodeId>,
    spaces: BTreeMap<MmId, MmId>,
    uffds: BTreeMap<UffdId, UffdId>,
    gmems: BTreeMap<GmemId, GmemId>,
    processes: BTreeMap<Pid, Pid>,
    blocks: BTreeMap<BlockId, BlockId>,
}

impl Renamed {
    pub(super) fn of(machine: &Machine) -> Self {
        Self {
            groups: placed(machine.charges.ids()),
            maps: placed(machine.resv_maps.keys()),
            subpools: placed(machine.subpools.keys()),
            mounts: placed(machine.mounts.keys()),
            inodes: placed(machine.inodes.keys()),
            spaces: placed(machine.spaces.keys()),
            uffds: placed(machine.uffds.keys()),
            gmems: placed(machine.gmems.keys()),
            processes: placed(machine.processes.keys()),
            blocks: placed(machine.blocks.iter().map(|(id, _)| id)),
        }
    }

    /// Writes the new name over the old one. An object that is gone gets the name of nothing.
    pub fn rename(&self, name: Name<'_>) {
        match name {
            Name::Group(id) => renew(&self.groups, id),
            Name::Map(id) => renew(&self.maps, id),
            Name::Subpool(id) => renew(&self.subpools, id),
            Name::Mount(id) => renew(&self.mounts, id),
            Name::Inode(id) => renew(&self.inodes, id),
            Name::Space(id) => renew(&self.spaces, id),
            Name::Uffd(id) => renew(&self.uffds, id),
            Name::Gmem(id) => renew(&self.gmems, id),
            Name::Process(id) => renew(&self.processes, id),
            Name::Block(id) => renew(&self.blocks, id),
        }
    }
}

/// The names that a machine gives in which nothing was removed, in order.
fn placed<K: Key>(keys: impl Iterator<Item = K>) -> BTreeMap<K, K> {
    keys.zip(1..).map(|(key, n): (K, u64)| (key, KeyData::from_ffi(1 << 32 | n).into())).collect()
}

fn renew<K: Key>(names: &BTreeMap<K, K>, id: &mut K) {
    *id = names.get(id).copied().unwrap_or_else(K::null);
}
