//! Knobs and mounts: what no process does.

use hugefolio::{Admin, Bytes, Calls, HugeSize, Site, UmountError, UmountMode, Writer};

use hugefolio::text::KnobPath;

use super::{Instance, answers};
use crate::op::{self, Actor, Op, SizeName, Switch};
use crate::target::{Answer, StepResult};

impl Instance {
    pub(super) fn knob(&mut self, op: &Op) -> Answer {
        let (path, value) = match op {
            Op::Quiesce(_) => {
                self.machine.quiesce();
                return Answer::ok();
            }
            Op::SetNr(op::SetNr { value, size, node }) => {
                let pool = format!("hugepages/hugepages-{}kB/nr_hugepages", kib(*size));
                let path = match node {
                    Some(node) => format!("/sys/devices/system/node/node{}/{pool}", node.get()),
                    None => format!("/sys/kernel/mm/{pool}"),
                };
                (path, value)
            }
            Op::SysctlNr(op::SysctlNr { value }) => ("/proc/sys/vm/nr_hugepages".to_owned(), value),
            Op::SetOvercommit(op::SetOvercommit { value, size }) => {
                (format!("/sys/kernel/mm/hugepages/hugepages-{}kB/nr_overcommit_hugepages", kib(*size)), value)
            }
            Op::Demote(op::Demote { value, size }) => {
                (format!("/sys/kernel/mm/hugepages/hugepages-{}kB/demote", kib(*size)), value)
            }
            Op::DemoteSize(op::DemoteSize { value, size }) => {
                (format!("/sys/kernel/mm/hugepages/hugepages-{}kB/demote_size", kib(*size)), value)
            }
            Op::SetHvo(op::SetHvo { value }) => ("/proc/sys/vm/hugetlb_optimize_vmemmap".to_owned(), value),
            Op::Write(op::Write { path, value, .. }) => (path.0.clone(), value),
            _ => return StepResult::BadOp.into(),
        };
        if let Op::SetNr(op::SetNr { size: SizeName::G1, .. }) = op {
            self.refuse_beyond_advice();
        }
        if let Some(pages) = &mut self.pages
            && let Some(answer) = pages.write(&path, value.bytes().as_bytes())
        {
            return answer;
        }
        if let Some(over) = self.demotes_too_much(&path, &value.bytes()) {
            return over;
        }
        let writer = match op {
            Op::Write(op::Write { by: Some(by), .. }) => match self.writer(*by) {
                Some(writer) => writer,
                None => return StepResult::BadActor.into(),
            },
            _ => Writer::default(),
        };
        let result = self.machine.write_file_as(&writer, &path, &value.bytes());
        self.machine.faults().clear();
        match result {
            Ok(_) => Answer::ok(),
            Err(error) => answers::failed(&error),
        }
    }

    /// Demotion makes many records of one, and asks for no memory that could be refused.
    fn demotes_too_much(&self, path: &str, value: &str) -> Option<Answer> {
        let (KnobPath::Pool { size, .. } | KnobPath::Node { size, .. }) =
            KnobPath::parse(path).ok().filter(|_| path.ends_with("/demote"))?
        else {
            return None;
        };
        let hstate = self.machine.hstates().iter().find(|hstate| hstate.size == size)?;
        let smaller = self.machine.hstates().get(hstate.demote_to?);
        let parts = size.bytes().get() / smaller.size.bytes().get();
        let pages: u64 = value.trim().parse().unwrap_or(u64::MAX);
        let free = self.machine.topology().nodes().iter().filter_map(|node| self.machine.shelf(hstate.id, node));
        let pages = pages.min(free.map(|shelf| shelf.iter().len() as u64).sum());
        let (records, most) = (self.machine.folios().saturating_add(pages.saturating_mul(parts)), self.limits.folios);
        (records > most).then(|| {
            Answer::not_modelled(format!(
                "{records} records of allocated memory would be too many: {most} is the limit"
            ))
        })
    }

    /// A process as a writer of files.
    fn writer(&mut self, actor: Actor) -> Option<Writer> {
        let pid = self.pid(actor)?;
        let (_, process) = self.machine.processes().find(|(id, _)| *id == pid)?;
        Some(Writer { local: process.origin.local, policy: process.origin.policy, allowed: process.origin.allowed })
    }

    /// Lets a grow of the pool of 1 GiB pages end where it was told to.
    fn refuse_beyond_advice(&mut self) {
        let Some(reached) = self.gigantic_found.take() else { return };
        let nr = self.machine.pool(HugeSize::G1).map_or(0, |pool| pool.nr.get());
        if let Some(found) = reached.checked_sub(nr) {
            self.machine.faults().fail_nth(Some(Site::Frame), found);
        }
    }

    pub(super) fn mount_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mount(op::Mount { mount, opts, pagesize, size, min_size, nr_inodes }) => {
                if self.mounted(mount.as_str()).is_some() {
                    return StepResult::Dup.into();
                }
                let mut options: Vec<String> = opts.iter().map(|opts| opts.0.clone()).collect();
                let log = pagesize.and_then(SizeName::log2);
                options.extend(log.map(|log| format!("pagesize={}", 1u64.checked_shl(log.into()).unwrap_or(0))));
                let limits = [("size", size), ("min_size", min_size), ("nr_inodes", nr_inodes)];
                let given = limits.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
                options.extend(given.map(|(name, value)| format!("{name}={}", value.option_text())));
                self.mount(mount.as_str(), &options.join(","))
            }
            Op::Umount(op::Umount { mount, lazy }) => {
                let mode = if lazy.is_some_and(Switch::is_on) { UmountMode::Lazy } else { UmountMode::Strict };
                self.umount(mount.as_str(), mode)
            }
            Op::Unlink(op::Unlink { path, by }) => match self.mounted(path.mount.as_str()) {
                None => StepResult::NoMount.into(),
                Some(id) => match by.map(|by| self.pid(by)) {
                    None => answers::done(self.machine.unlink(id, path.name())),
                    Some(Some(pid)) => answers::done(self.machine.unlink_as(pid, id, path.name())),
                    Some(None) => StepResult::BadActor.into(),
                },
            },
            Op::Truncate(op::Truncate { path, len, by }) => match self.mounted(path.mount.as_str()) {
                None => StepResult::NoMount.into(),
                Some(id) => {
                    let len = Bytes::new(len.unsigned());
                    match by.map(|by| self.pid(by)) {
                        None => answers::done(self.machine.truncate(id, path.name(), len)),
                        Some(Some(pid)) => answers::done(self.machine.truncate_as(pid, id, path.name(), len)),
                        Some(None) => StepResult::BadActor.into(),
                    }
                }
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn mount(&mut self, name: &str, options: &str) -> Answer {
        // The name's directory is there from now on.
        self.tried.insert(name.to_owned());
        match self.machine.mount_with(options) {
            Ok(id) => {
                match self.mounts.iter_mut().find(|(known, _)| known == name) {
                    Some((_, mounted)) => *mounted = Some(id),
                    None => self.mounts.push((name.to_owned(), Some(id))),
                }
                Answer::ok()
            }
            Err(hugefolio::MountCallError::Text(error @ hugefolio::text::MountTextError::ReadOnly)) => {
                Answer::not_modelled(error.to_string())
            }
            Err(error) => answers::refused(&error),
        }
    }

    fn umount(&mut self, name: &str, mode: UmountMode) -> Answer {
        let Some((_, mounted)) = self.mounts.iter_mut().find(|(known, _)| known == name) else {
            let is_there = self.tried.contains(name);
            return answers::failed(&if is_there { UmountError::NoMount } else { UmountError::NoFolder });
        };
        let Some(id) = *mounted else { return answers::failed(&UmountError::NoMount) };
        let result = self.machine.umount(id, mode);
        if result.is_ok() {
            *mounted = None;
        }
        answers::done(result)
    }
}

fn kib(size: SizeName) -> u64 {
    let log = size.log2().unwrap_or(HugeSize::M2.shift());
    1u64.checked_shl(u32::from(log.saturating_sub(10))).unwrap_or(0)
}
