//! Which nodes the processes of a control group may use.

use charge::NoGroup;
use mm::MoveScope;
use units::{Access, Blame, Bytes, CgroupId, Ledger, NodeId, Nodemask, Pid, Scope};

use super::knob::KnobError;
use super::{Env, migrate};
use crate::text::{CpusetFile, CpusetPath, NodeRanges, length, node_list};

/// Why the processes of a group cannot be kept to such nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpusetError {
    /// No such group, or one without controllers of its own.
    #[error("the group does not exist, or its parent does not hand the controller on")]
    NoGroup,
    /// No such node.
    #[error("there is no {0}")]
    NoSuchNode(NodeId),
    /// Processes are in the group or below it, and it had nodes of its own.
    #[error("{processes} processes are in the group or below it, which keep it from giving up its nodes")]
    HasProcesses {
        /// How many.
        processes: u64,
    },
}

impl Blame for CpusetError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoGroup | Self::HasProcesses { .. } => None,
            Self::NoSuchNode(_) => Some(Ledger::Node),
        }
    }
}

impl From<NoGroup> for CpusetError {
    fn from(NoGroup: NoGroup) -> Self {
        Self::NoGroup
    }
}

/// The nodes that processes of a group may use.
pub(super) fn effective<P: Env>(p: &mut P, cgroup: Option<CgroupId>) -> Nodemask {
    let all = p.with_topology(policy::Topology::nodes);
    p.with_charges(|c| c.effective_mems(cgroup, all))
}

/// Writes the nodes of a group; none stands for those of the group above. Policies of all its processes change with it, and pages that
/// lie on nodes that may be used no longer move.
pub(super) fn set_mems<P: Env>(p: &mut P, cgroup: CgroupId, nodes: Nodemask) -> Result<(), CpusetError> {
    // As on Linux 6.18: a node without memory may be named, and is of no use.
    let all = p.with_topology(|topology| topology.states().online);
    if let Some(node) = nodes.iter().find(|&node| !all.contains(node)) {
        return Err(CpusetError::NoSuchNode(node));
    }
    p.with_charges(|c| {
        let below = |other: CgroupId| c.ancestry(other).any(|above| above == cgroup);
        let processes = c.iter().filter(|&other| below(other)).map(|other| c.processes(other)).sum();
        if nodes.is_empty() && !c.mems(cgroup).is_empty() && processes > 0 {
            return Err(CpusetError::HasProcesses { processes });
        }
        Ok(c.set_mems(cgroup, nodes)?)
    })?;
    for pid in p.pids() {
        let Some(seat) = p.with_process(pid, |process| process.origin.cgroup).flatten() else { continue };
        if p.with_charges(|c| c.ancestry(seat).any(|above| above == cgroup)) {
            let (allowed, written) = (effective(p, Some(seat)), p.with_charges(|c| c.mems(seat)));
            // As on Linux 6.18: policies of areas go by what was written, also of nodes that the group may not use.
            confine(p, pid, allowed, if written.is_empty() { allowed } else { written });
        }
    }
    Ok(())
}

/// Keeps a process to these nodes from now on, and binds the policies of its areas to others.
#[doc(alias("cpuset_attach_task", "cpuset_change_task_nodemask", "update_tasks_nodemask", "cpuset_migrate_mm"))]
pub(super) fn confine<P: Env>(p: &mut P, pid: Pid, allowed: Nodemask, areas: Nodemask) {
    let changed = p.with_process(pid, |process| {
        let before = core::mem::replace(&mut process.origin.allowed, allowed);
        process.origin.policy = process.origin.policy.rebound(allowed);
        (process.mm, before)
    });
    let Some((mm, before)) = changed.filter(|&(_, before)| before != allowed) else { return };
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        p.with_vmas(mm, |vmas| vmas.rebind_policies(areas));
    });
    // Whoever stays, stays: nobody is told.
    let _ = migrate::move_over(p, mm, before, allowed, MoveScope::All);
}

/// The group of a file; the root has none that can be written.
fn group<P: Env>(p: &mut P, path: &CpusetPath) -> Result<Option<CgroupId>, CpusetError> {
    let found = p.with_charges(|c| {
        let cgroup = c.look_up(&path.group)?;
        if cgroup.is_none_or(|cgroup| c.is_accounted(cgroup)) { Ok(cgroup) } else { Err(NoGroup) }
    });
    match found {
        Ok(None) if path.file == CpusetFile::Mems => Err(CpusetError::NoGroup),
        found => Ok(found?),
    }
}

/// Writes text to a file about nodes.
pub(super) fn write<P: Env>(p: &mut P, path: &CpusetPath, text: &[u8]) -> Result<Bytes, KnobError> {
    let cgroup = group(p, path)?;
    match (path.file, cgroup) {
        (CpusetFile::Mems, Some(cgroup)) => set_mems(p, cgroup, node_list(text)?)?,
        _ => return Err(KnobError::ReadOnlyCpusetFile(path.clone())),
    }
    Ok(length(text))
}

/// What a file about nodes shows.
pub(super) fn read<P: Env>(p: &mut P, path: &CpusetPath) -> Result<String, KnobError> {
    let cgroup = group(p, path)?;
    let nodes = match (path.file, cgroup) {
        (CpusetFile::Mems, Some(cgroup)) => p.with_charges(|c| c.mems(cgroup)),
        _ => effective(p, cgroup),
    };
    Ok(format!("{}\n", NodeRanges(nodes)))
}
