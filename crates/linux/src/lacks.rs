//! What a script needs and this host has not.

use lab::op::{self, Access, Op, PinFor, Scalar, Switch};
use lab::target::{Header, MemoryAccounting};

use crate::machine::boot;
use crate::{Running, bounds};

impl Running {
    /// What a script needs and this host has not, or a run may not have.
    pub fn lacks(&self, header: &Header, ops: &[&Op]) -> Option<String> {
        let gigantic = |op: &&Op| op.to_record().entries().any(|(_, value)| *value == Scalar::Text("1G".to_owned()));
        let grouped = |op: &&Op| op.to_record().get("cg").is_some();
        if !self.host().gigantic && ops.iter().any(gigantic) {
            return Some("the host has no pages of 1 GiB".to_owned());
        }
        if !self.has_groups() && ops.iter().any(grouped) {
            return Some("the host has no control groups of version 2 with the hugetlb controller".to_owned());
        }
        let wanted = header.machine.as_ref().map_or(MemoryAccounting::Off, |machine| machine.memory);
        if wanted == MemoryAccounting::HugePages && self.host().memory == MemoryAccounting::Off {
            return Some(
                "the memory controller of the host accounts no huge pages (memory_hugetlb_accounting)".to_owned(),
            );
        }
        if !self.host().execute_only && ops.iter().any(|op| is_execute_only(op)) {
            return Some(
                "the processors of the host have no protection keys, so what may be executed may be read".to_owned(),
            );
        }
        if let Err(reason) = boot(header, &self.host().nodes) {
            return Some(reason);
        }
        let breaks = |op: &&Op| matches!(op, Op::Hwpoison(_) | Op::SoftOffline(_));
        if !self.host().expendable && ops.iter().any(breaks) {
            return Some(
                "the host is not one whose memory may be broken: it was not booted with hugefolio.expendable".into(),
            );
        }
        if let Some(reason) = ops.iter().find_map(|op| self.cannot_pin(op)) {
            return Some(reason.to_owned());
        }
        let of_nodes = |op: &&Op| match op {
            Op::CgMems(_) => true,
            Op::Write(op::Write { path, .. }) => path.0.starts_with(bounds::WEIGHTS),
            _ => false,
        };
        if !self.host().expendable && ops.iter().any(of_nodes) {
            return Some(
                "cpusets and weights of the host are left alone: it was not booted with hugefolio.expendable"
                    .to_owned(),
            );
        }
        bounds::script_refusal(ops)
    }

    /// Why nothing on this host pins as it is asked for.
    fn cannot_pin(&self, op: &Op) -> Option<&'static str> {
        match op {
            Op::Pin(op::Pin { purpose: PinFor::Direct, .. }) => {
                Some("no call holds the pages of one transfer of O_DIRECT for as long as a script wants")
            }
            Op::Pin(op::Pin { purpose: PinFor::Pipe, access: Access::Write, .. }) => {
                Some("a pipe only reads the pages that it keeps")
            }
            Op::Pin(op::Pin { purpose: PinFor::Vfio, access: Access::Read, .. }) => {
                Some("pages that are pinned for long may be written: io_uring asks for that")
            }
            Op::Pin(op::Pin { purpose: PinFor::Vfio, .. }) if !self.host().rings => {
                Some("the host has no io_uring, by which pages are pinned for long")
            }
            Op::Udmabuf(_) if !self.host().udmabuf => Some("the host has no /dev/udmabuf"),
            Op::Unpin(op::Unpin { atomic, .. }) if atomic.is_some_and(Switch::is_on) => {
                Some("no program of the host says in which context a page is let go")
            }
            _ => None,
        }
    }
}

fn is_execute_only(op: &Op) -> bool {
    let prot = match op {
        Op::Mmap(op::Mmap { prot: Some(prot), .. }) | Op::Mprotect(op::Mprotect { prot, .. }) => prot,
        _ => return false,
    };
    prot.exec && !prot.read && !prot.write
}
