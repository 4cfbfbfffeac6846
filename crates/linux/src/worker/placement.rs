//! Operations on where pages lie.

use lab::op::{self, Flags, MapName, MoveFlag, NodesAre, Op, PageIndex, PolicyMode};
use lab::target::{Answer, Extras, StepResult};
use rustix::io::Errno;

use super::{Worker, either, nomap, proc};
use crate::errno::{done, failed};
use crate::host::processors_of;
use crate::sys::{memory, placement};

impl Worker {
    pub(super) fn placement_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::RunOn(op::RunOn { node, .. }) => {
                let processors = processors_of(node.get());
                if processors.is_empty() { failed(Errno::INVAL) } else { done(placement::run_on(&processors)) }
            }
            Op::SetMempolicy(op::SetMempolicy { mode, nodes, are, .. }) => {
                done(placement::set_policy(mode_number(*mode, *are), nodes.map_or(0, op::NodeList::bits)))
            }
            Op::Mbind(op::Mbind { map, range, mode, nodes, flags, are, .. }) => self.call(map, *range, |reach| {
                let nodes = nodes.map_or(0, op::NodeList::bits);
                placement::bind(reach, mode_number(*mode, *are), nodes, flag_bits(flags.as_ref()))
            }),
            Op::MigratePages(op::MigratePages { from, to, .. }) => match placement::migrate(from.bits(), to.bits()) {
                Ok(stayed) => {
                    Answer { extras: Extras { n: i64::try_from(stayed).ok(), ..Extras::default() }, ..Answer::ok() }
                }
                Err(errno) => failed(errno),
            },
            Op::HomeNode(op::HomeNode { map, range, node, .. }) => {
                self.call(map, *range, |reach| placement::set_home(reach, node.get()))
            }
            Op::MovePage(op::MovePage { map, page, node, flags, .. }) => {
                let all = flags.as_ref().is_some_and(|flags| flags.has(MoveFlag::All));
                let flags = if all { flag_bit(MoveFlag::All) } else { flag_bit(MoveFlag::Move) };
                self.page(map, *page, Some(node.get()), flags)
            }
            Op::NumaMaps(op::NumaMaps { map, .. }) => self.map(map).map_or_else(nomap, proc::numa_maps),
            Op::WhereIs(op::WhereIs { map, page, .. }) => self.page(map, *page, None, 0),
            Op::Hwpoison(op::Hwpoison { map, range, .. }) => {
                self.call(map, *range, |reach| memory::advise(reach, libc::MADV_HWPOISON))
            }
            Op::SoftOffline(op::SoftOffline { map, range, .. }) => {
                self.call(map, *range, |reach| memory::advise(reach, libc::MADV_SOFT_OFFLINE))
            }
            Op::Pin(_) | Op::Udmabuf(_) | Op::Unpin(_) => self.pin_op(op),
            _ => StepResult::BadOp.into(),
        }
    }

    /// Moves a page, or asks where it is.
    fn page(&self, map: &MapName, page: PageIndex, node: Option<u32>, flags: u32) -> Answer {
        let Some(known) = self.map(map) else { return nomap() };
        let start = known.addr.wrapping_add(u64::from(page.get()).wrapping_mul(known.page));
        let asked = || {
            let reach = self.reach(start, known.page)?;
            Ok(match placement::move_page(reach, node, flags) {
                Err(errno) => failed(errno),
                Ok(status) => match u32::try_from(status) {
                    Ok(on) => Answer { extras: Extras { on: Some(on), ..Extras::default() }, ..Answer::ok() },
                    Err(_) => failed(Errno::from_raw_os_error(-status)),
                },
            })
        };
        either(asked())
    }
}

const fn mode_number(mode: PolicyMode, are: Option<NodesAre>) -> i32 {
    let meaning = match are {
        None => 0,
        Some(NodesAre::Static) => 1 << 15,
        Some(NodesAre::Relative) => 1 << 14,
    };
    meaning
        | match mode {
            PolicyMode::Default => libc::MPOL_DEFAULT,
            PolicyMode::Preferred => libc::MPOL_PREFERRED,
            PolicyMode::Bind => libc::MPOL_BIND,
            PolicyMode::Interleave => libc::MPOL_INTERLEAVE,
            PolicyMode::Local => libc::MPOL_LOCAL,
            // Not in the C library's list yet.
            PolicyMode::PreferredMany => 5,
            PolicyMode::WeightedInterleave => 6,
        }
}

/// The kernel's bit of a flag, which the C library does not name.
const fn flag_bit(flag: MoveFlag) -> u32 {
    match flag {
        MoveFlag::Strict => 1 << 0,
        MoveFlag::Move => 1 << 1,
        MoveFlag::All => 1 << 2,
    }
}

fn flag_bits(flags: Option<&Flags<MoveFlag>>) -> u32 {
    flags.map_or(0, |flags| flags.iter().fold(0, |bits, flag| bits | flag_bit(flag)))
}
