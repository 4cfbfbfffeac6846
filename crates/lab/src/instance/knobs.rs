//! Knobs and mounts: what no process does.

use hugefolio::errno::Errno;
use hugefolio::{Bytes, Calls, HugeSize, MountOptions, UmountMode};

use super::{Instance, answers};
use crate::op::{self, Op, SizeName, Switch};
use crate::target::{Answer, StepResult};

impl Instance {
    pub(super) fn knob(&mut self, op: &Op) -> Answer {
        let (path, value) = match op {
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
            Op::Write(op::Write { path, value }) => (path.0.clone(), value),
            _ => return StepResult::BadOp.into(),
        };
        match self.machine.write_file(&path, &value.bytes()) {
            Ok(_) => Answer::ok(),
            Err(hugefolio::KnobError::NotModelled(path)) => Answer::not_modelled(path.to_string()),
            Err(error) => answers::failed(&error),
        }
    }

    pub(super) fn mount_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mount(op::Mount { mount, opts, pagesize, size, min_size, nr_inodes }) => {
                if self.mounted(mount.as_str()).is_some() {
                    return StepResult::Dup.into();
                }
                if opts.is_some() || size.is_some() || min_size.is_some() {
                    return Answer::not_modelled("limits of a mount");
                }
                let nr_inodes = nr_inodes.as_ref().map(|limit| limit.option_text().parse::<u64>());
                match nr_inodes.transpose() {
                    Ok(Some(0)) => answers::errno(Errno::ENOMEM),
                    Ok(limit) => self.mount(mount.as_str(), *pagesize, limit),
                    Err(_) => answers::errno(Errno::EINVAL),
                }
            }
            Op::Umount(op::Umount { mount, lazy }) => {
                let mode = if lazy.is_some_and(Switch::is_on) { UmountMode::Lazy } else { UmountMode::Strict };
                self.umount(mount.as_str(), mode)
            }
            Op::Unlink(op::Unlink { path }) => match self.mounted(path.mount.as_str()) {
                None => StepResult::NoMount.into(),
                Some(id) => answers::done(self.machine.unlink(id, path.name())),
            },
            Op::Truncate(op::Truncate { path, len }) => match self.mounted(path.mount.as_str()) {
                None => StepResult::NoMount.into(),
                Some(_) if len.signed() < 0 => answers::errno(Errno::EINVAL),
                Some(id) => answers::done(self.machine.truncate(id, path.name(), Bytes::new(len.unsigned()))),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn mount(&mut self, name: &str, pagesize: Option<SizeName>, nr_inodes: Option<u64>) -> Answer {
        let size = pagesize.unwrap_or(SizeName::Default);
        let hstate = match size.log2() {
            None => Some(self.machine.hstates().default_hstate()),
            Some(log) => HugeSize::from_shift(log).and_then(|size| self.machine.hstates().by_size(size)),
        };
        let Some(hstate) = hstate else { return answers::errno(Errno::EINVAL) };
        match self.machine.mount(&MountOptions { nr_inodes, ..MountOptions::unlimited(hstate.id) }) {
            Ok(id) => {
                match self.mounts.iter_mut().find(|(known, _)| known == name) {
                    Some((_, mounted)) => *mounted = Some(id),
                    None => self.mounts.push((name.to_owned(), Some(id))),
                }
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    fn umount(&mut self, name: &str, mode: UmountMode) -> Answer {
        let Some((_, mounted)) = self.mounts.iter_mut().find(|(known, _)| known == name) else {
            return answers::errno(Errno::ENOENT);
        };
        let Some(id) = *mounted else { return answers::errno(Errno::EINVAL) };
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
