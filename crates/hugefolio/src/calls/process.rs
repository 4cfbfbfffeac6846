//! The life of a process.

use charge::EnterError;
use hugetlbfs::{Credentials, Hold, Origin};
use mm::{ForkError, Pin};
use policy::PolicyInForce;
use units::{CgroupId, MmId, NodeId, Pid};

use super::{CallError, Env, cgroup, gmem};
use crate::Process;

pub(super) fn spawn<P: Env>(p: &mut P) -> Pid {
    let origin = usual_origin(p, None);
    start(p, origin)
}

pub(super) fn spawn_in<P: Env>(p: &mut P, cgroup: Option<CgroupId>) -> Result<Pid, EnterError> {
    let origin = usual_origin(p, cgroup);
    spawn_as(p, origin)
}

pub(super) fn spawn_with<P: Env>(
    p: &mut P,
    credentials: Credentials,
    cgroup: Option<CgroupId>,
) -> Result<Pid, EnterError> {
    let origin = usual_origin(p, cgroup);
    spawn_as(p, Origin { credentials, ..origin })
}

/// Who a process is.
pub(super) fn credentials<P: Env, E>(p: &mut P, pid: Pid) -> Result<Credentials, CallError<E>> {
    p.with_process(pid, |process| process.origin.credentials.clone()).ok_or(CallError::NoProcess)
}

pub(super) fn spawn_as<P: Env>(p: &mut P, origin: Origin) -> Result<Pid, EnterError> {
    let origin = Origin { cgroup: cgroup::seat(p, origin.cgroup), ..origin };
    cgroup::enter(p, origin.cgroup)?;
    Ok(start(p, origin))
}

fn usual_origin<P: Env>(p: &mut P, cgroup: Option<CgroupId>) -> Origin {
    let local = p.with_topology(policy::Topology::nodes).next_from(NodeId::new(0)).unwrap_or_default();
    let allowed = super::cpuset::effective(p, cgroup);
    Origin { local, allowed, policy: PolicyInForce::default(), cgroup, credentials: Credentials::root() }
}

/// The process is counted in its group already.
fn start<P: Env>(p: &mut P, origin: Origin) -> Pid {
    let mm = p.new_space();
    p.new_process(Process::new(mm, origin))
}

pub(super) fn fork<P: Env>(p: &mut P, parent: Pid) -> Result<Pid, CallError<ForkError>> {
    let child = in_space(p, parent, mm::fork_space)?;
    let process = loop {
        let process = p.with_process(parent, |process| process.forked(child)).ok_or(CallError::NoProcess)?;
        // Refused only if the parent has moved since and its old group is gone; its new one is the child's then.
        if cgroup::enter(p, process.origin.cgroup).is_ok() {
            break process;
        }
    };
    let files: Vec<_> = process.files().collect();
    for (_, file) in files {
        hugetlbfs::hold(p, file.inode, Hold::Open);
    }
    let uffds: Vec<_> = process.uffds().collect();
    for (_, uffd) in uffds {
        mm::hold_uffd(p, uffd);
    }
    let process = gmem::inherit(p, process);
    Ok(p.new_process(process))
}

pub(super) fn exit<P: Env>(p: &mut P, pid: Pid) -> bool {
    let Some(process) = p.drop_process(pid) else { return false };
    mm::exit_space(p, process.mm);
    for (_, file) in process.files() {
        hugetlbfs::release(p, file.inode, Hold::Open);
    }
    for (_, uffd) in process.uffds() {
        mm::release_uffd(p, uffd);
    }
    for &note in process.pins().flat_map(|(_, notes)| notes) {
        mm::unpin(p, Pin::from_note(note));
    }
    gmem::leave(p, &process);
    cgroup::leave(p, process.origin.cgroup);
    true
}

/// Runs a call in the address space of a process, on its behalf.
pub(super) fn in_space<P: Env, T, E>(
    p: &mut P,
    pid: Pid,
    f: impl FnOnce(&mut P, MmId, &Origin) -> Result<T, E>,
) -> Result<T, CallError<E>> {
    let (mm, origin) =
        p.with_process(pid, |process| (process.mm, process.origin.clone())).ok_or(CallError::NoProcess)?;
    f(p, mm, &origin).map_err(CallError::Failed)
}
