//! Control groups, by the names that scripts give them.

use std::collections::BTreeMap;

use hugefolio::{Admin, CgroupId, HugeCount, HugeSize, Machine, MemoryAccounting, NoGroup, Policies, RemoveError};
use serde::{Deserialize, Serialize};

use super::placement::mask;
use super::{Instance, answers};
use crate::op::{self, CgroupName, Op, SizeName, Switch};
use crate::target::{Answer, CgroupCounters, CgroupSizes, Counters, Extras, MemoryCounters, StepResult};

/// A name that was a group once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedGroup {
    name: String,
    /// Nothing while there is none.
    pub(super) id: Option<CgroupId>,
}

impl Instance {
    pub(super) fn cgroup_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::CgCreate(op::CgCreate { cg, sub }) => self.create_cgroup(cg, sub.is_some_and(Switch::is_on)),
            Op::CgMax(op::CgMax { cg, value, size }) => self.limit(cg, *size, "max", &value.bytes()),
            Op::CgRsvdMax(op::CgRsvdMax { cg, value, size }) => self.limit(cg, *size, "rsvd.max", &value.bytes()),
            Op::CgMemoryMax(op::CgMemoryMax { cg, value }) => self.limit_memory(cg, &value.bytes()),
            Op::CgMems(op::CgMems { cg, nodes }) => match self.cgroup_named(cg) {
                Ok(Some(id)) => match self.machine.set_cpuset(id, mask(*nodes)) {
                    Ok(()) => Answer::ok(),
                    Err(error) => answers::refused(&error),
                },
                Ok(None) => answers::failed(&NoGroup),
                Err(error) => answers::failed(&error),
            },
            Op::CgAttach(op::CgAttach { actor, cg }) => {
                let Some(pid) = self.pid(*actor) else { return StepResult::BadActor.into() };
                match self.cgroup_named(cg) {
                    Ok(cgroup) => answers::done(self.machine.attach(pid, cgroup)),
                    Err(error) => answers::failed(&error),
                }
            }
            Op::CgRmdir(op::CgRmdir { cg }) => match self.cgroup_named(cg) {
                Ok(Some(id)) => {
                    let result = self.machine.remove_cgroup(id);
                    if result.is_ok() {
                        self.groups.iter_mut().filter(|group| group.id == Some(id)).for_each(|group| group.id = None);
                    }
                    answers::done(result)
                }
                Ok(None) => answers::failed(&RemoveError::Root),
                Err(error) => answers::failed(&error),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    /// The group of that name; nothing for the root.
    pub(super) fn cgroup_named(&mut self, name: &CgroupName) -> Result<Option<CgroupId>, NoGroup> {
        self.machine.cgroup(name.as_str())
    }

    /// A name keeps its place in the counters when its group is made again.
    fn create_cgroup(&mut self, cg: &CgroupName, hands_on: bool) -> Answer {
        let name = cg.as_str().to_owned();
        match self.machine.create_cgroup(&name) {
            Ok(id) => {
                match self.groups.iter_mut().find(|group| group.name == name) {
                    Some(group) => group.id = Some(id),
                    None => self.groups.push(NamedGroup { name: name.clone(), id: Some(id) }),
                }
                self.made.push(id);
                if hands_on {
                    // A group without a controller cannot hand it on, and nobody looks.
                    for controller in ["+hugetlb", "+memory"] {
                        let file = format!("/sys/fs/cgroup/{name}/cgroup.subtree_control");
                        let _ = self.machine.write_file(&file, controller);
                    }
                }
                Answer::ok()
            }
            Err(error) => answers::failed(&error),
        }
    }

    /// Writes a limit, and reads it back if it was taken.
    fn limit(&mut self, cg: &CgroupName, size: SizeName, file: &str, text: &str) -> Answer {
        let size = if size == SizeName::G1 { "1GB" } else { "2MB" };
        self.limit_by(&format!("/sys/fs/cgroup/{cg}/hugetlb.{size}.{file}"), text)
    }

    fn limit_memory(&mut self, cg: &CgroupName, text: &str) -> Answer {
        if self.machine.charges().memory_accounting() == MemoryAccounting::Off {
            return Answer::not_modelled(
                "no memory is accounted here; write `machine cgroup=memory_hugetlb_accounting` first",
            );
        }
        self.limit_by(&format!("/sys/fs/cgroup/{cg}/memory.max"), text)
    }

    fn limit_by(&mut self, path: &str, text: &str) -> Answer {
        match self.machine.write_file(path, text) {
            Ok(_) => {
                let lim = self.machine.read_file(path).ok().map(|text| text.trim_end().to_owned());
                Answer { extras: Extras { lim, ..Extras::default() }, ..Answer::ok() }
            }
            Err(error) => answers::failed(&error),
        }
    }

    /// For each group that is or may still be charged, the names that its charges show under.
    pub(crate) fn payers(&self) -> BTreeMap<CgroupId, Vec<String>> {
        let charges = self.machine.charges();
        let named = |id| self.groups.iter().find(|group| group.id == Some(id)).map(|group| group.name.clone());
        let payers = self.made.iter().map(|&id| (id, charges.ancestry(id).filter_map(named).collect()));
        payers.collect()
    }

    /// Who pays for what a process asks for now.
    pub(crate) fn payer(&self, actor: u16) -> Option<CgroupId> {
        let pid = self.actors.get(&actor)?.pid;
        let (_, process) = self.machine.processes().find(|(id, _)| *id == pid)?;
        self.machine.charges().resolve(process.origin.cgroup?)
    }

    /// Is a group, or one above it, at its limit on reserved pages of that size?
    pub(crate) fn rsvd_is_full(&self, payer: CgroupId, size: HugeSize) -> bool {
        let charges = self.machine.charges();
        let Some(hstate) = self.machine.hstates().by_size(size) else { return false };
        charges.ancestry(payer).any(|id| {
            charges
                .view(id, hstate.id)
                .is_some_and(|view| view.rsvd_limit.pages().is_some_and(|most| view.rsvd >= most))
        })
    }

    pub(super) fn count_cgroups(&mut self, counters: &mut Counters) {
        for NamedGroup { name, id } in &self.groups {
            let Some(id) = *id else { continue };
            let mut of = |size| cgroup_counters(&mut self.machine, id, size);
            let (m2, g1) = (of(HugeSize::M2), of(HugeSize::G1));
            let sizes = CgroupSizes { m2, g1, memory: memory_counters(&mut self.machine, id) };
            counters.cg.push(name.clone(), sizes);
        }
    }
}

/// A group without the controller has no files to read; the recordings show -1 then.
fn cgroup_counters(machine: &mut Machine, id: CgroupId, size: HugeSize) -> CgroupCounters {
    if machine.hstates().by_size(size).is_none() {
        return CgroupCounters::default();
    }
    let Some(view) = machine.cgroup_view(id, size) else {
        return CgroupCounters { current: -1, rsvd: -1, events_max: -1, events_local_max: -1 };
    };
    let bytes = |pages: HugeCount| i64::try_from(size.total(pages).get()).unwrap_or(i64::MAX);
    CgroupCounters {
        current: bytes(view.usage),
        rsvd: bytes(view.rsvd),
        events_max: view.events.cast_signed(),
        events_local_max: view.local_events.cast_signed(),
    }
}

/// What memory is charged, where it is: all of it is huge pages.
fn memory_counters(machine: &mut Machine, id: CgroupId) -> Option<MemoryCounters> {
    if machine.charges().memory_accounting() == MemoryAccounting::Off {
        return None;
    }
    let Some(view) = machine.memory_view(id) else {
        return Some(MemoryCounters { hugetlb: -1, events_max: -1, events_local_max: -1 });
    };
    let bytes = machine.page_shift().total(view.charged);
    Some(MemoryCounters {
        hugetlb: i64::try_from(bytes.get()).unwrap_or(i64::MAX),
        events_max: view.events.max.cast_signed(),
        events_local_max: view.local_events.max.cast_signed(),
    })
}
