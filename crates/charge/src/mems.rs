//! Which nodes the processes of a group may use.

use units::{CgroupId, Nodemask};

use crate::{Charges, NoGroup};

impl Charges {
    /// The nodes that were written for a group; none where it takes those of the group above.
    #[doc(alias = "cpuset.mems")]
    #[must_use]
    pub fn mems(&self, cgroup: CgroupId) -> Nodemask {
        self.alive(cgroup).map_or(Nodemask::EMPTY, |group| group.mems)
    }

    /// Says which nodes the processes of a group may use; none stands for those of the group above.
    ///
    /// # Errors
    /// There is no such group, or it does not have controllers of its own.
    pub fn set_mems(&mut self, cgroup: CgroupId, nodes: Nodemask) -> Result<(), NoGroup> {
        if !self.is_accounted(cgroup) {
            return Err(NoGroup);
        }
        self.groups[cgroup].mems = nodes;
        Ok(())
    }

    /// The nodes that the processes of a group may use, on a machine with the nodes `all`: its own among those of the group above, or all of
    /// these where nothing is left or was written.
    #[doc(alias = "cpuset.mems.effective")]
    #[must_use]
    pub fn effective_mems(&self, cgroup: Option<CgroupId>, all: Nodemask) -> Nodemask {
        let Some(group) = cgroup.and_then(|cgroup| self.groups.get(cgroup)) else { return all };
        let above = self.effective_mems(group.parent, all);
        let own = group.mems.intersection(above);
        if own.is_empty() { above } else { own }
    }
}
