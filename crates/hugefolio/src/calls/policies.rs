//! Where pages are to lie: the policies of processes and of their areas.

use mm::{Existing, HomeNodeError, MbindError};
use policy::Wish;
use units::{Blame, Bytes, CgroupId, Ledger, NodeId, Nodemask, Pid, Vaddr};

use super::process::in_space;
use super::{CallError, CpusetError, Env, cpuset};

/// None of a policy's nodes has memory that the task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none of the policy's nodes is one with memory that the task may use")]
pub struct NoPolicyNodes;

impl Blame for NoPolicyNodes {
    fn ledger(&self) -> Option<Ledger> {
        Some(Ledger::Node)
    }
}

/// Says where pages are to lie.
pub trait Policies: Env + Sized {
    /// `set_mempolicy`: where the pages of a process are to lie, but for areas with a policy of their own.
    ///
    /// # Errors
    /// No node is left of those that the policy speaks of; the old policy stays.
    fn set_mempolicy(&mut self, pid: Pid, wish: impl Into<Wish>) -> Result<(), CallError<NoPolicyNodes>> {
        let wish = wish.into();
        let policy = in_space(self, pid, |p, _, origin| mm::usable_policy(p, origin, &wish).ok_or(NoPolicyNodes))?;
        self.with_process(pid, |process| process.origin.policy = policy).ok_or(CallError::NoProcess)
    }

    /// `mbind`: where the pages of a range are to lie, and what becomes of those that lie elsewhere.
    ///
    /// # Errors
    /// A bad range or policy, or pages that lie elsewhere.
    fn mbind(
        &mut self,
        pid: Pid,
        start: Vaddr,
        len: Bytes,
        wish: impl Into<Wish>,
        existing: Existing,
    ) -> Result<(), CallError<MbindError>> {
        let wish = wish.into();
        in_space(self, pid, |p, mm, origin| mm::mbind(p, mm, origin, start, len, &wish, existing))
    }

    /// `set_mempolicy_home_node`: where the policies of a range begin to look.
    ///
    /// # Errors
    /// A bad range or node, or a policy that does not begin anywhere.
    fn set_home_node(
        &mut self,
        pid: Pid,
        start: Vaddr,
        len: Bytes,
        home: NodeId,
    ) -> Result<(), CallError<HomeNodeError>> {
        in_space(self, pid, |p, mm, _| mm::set_home_node(p, mm, start, len, home))
    }

    /// Writes `cpuset.mems` of a control group: the nodes that its processes may use, those of the group above if there are none. Their
    /// policies change with it, and pages on nodes that they may not use any more move.
    ///
    /// # Errors
    /// No such group, one without controllers, or a node without memory.
    #[doc(alias("cpuset.mems", "mems_allowed"))]
    fn set_cpuset(&mut self, cgroup: CgroupId, nodes: Nodemask) -> Result<(), CpusetError> {
        cpuset::set_mems(self, cgroup, nodes)
    }

    /// The nodes that processes of a group may use; nothing stands for the root.
    #[doc(alias = "cpuset.mems.effective")]
    fn cpuset(&mut self, cgroup: Option<CgroupId>) -> Nodemask {
        cpuset::effective(self, cgroup)
    }

    /// Lets a process run on the processors of a node from now on: that is where *local* is for it. Says whether there are such a process and such a
    /// node.
    #[doc(alias("sched_setaffinity", "numa_node_id"))]
    fn run_on_node(&mut self, pid: Pid, node: NodeId) -> bool {
        let there = self.with_topology(|topology| topology.states().possible.contains(node));
        there && self.with_process(pid, |process| process.origin.local = node).is_some()
    }
}

impl<P: Env> Policies for P {}
