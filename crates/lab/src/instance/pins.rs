//! Operations that keep pages where they are.

use hugefolio::{ByteRange, Bytes, Context, HugeCount, Moves, Pid, PinId, PinKind, Touch, Vaddr};

use super::{Instance, answers};
use crate::op::{self, Access, Op, PinFor, PinName, Switch};
use crate::target::{Answer, StepResult};

impl Instance {
    pub(super) fn pin_op(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        match op {
            Op::Pin(op::Pin { pin, map, pages, purpose, access, .. }) => {
                self.slot(map.as_str());
                let state = self.actors.get(&actor);
                let Some(map) = state.and_then(|state| state.maps.get(map.as_str())).copied() else {
                    return StepResult::Nomap.into();
                };
                let offset = u64::from(pages.first.get()) << map.page.shift();
                let start = Vaddr::new(map.addr.get().wrapping_add(offset));
                let count = HugeCount::new(pages.count.get().into());
                let pinned = self.machine.pin_pages_of(pid, start, count, touch_of(*access), kind_of(*purpose));
                match pinned {
                    Ok(id) => self.pinned(actor, pin, id),
                    Err(error) => answers::refused(&error),
                }
            }
            Op::Udmabuf(op::Udmabuf { pin, file, range, .. }) => {
                let fd = self.fd(actor, file);
                let offset = Bytes::new(range.off.unsigned());
                let range = ByteRange { offset, len: Bytes::new(range.len.unsigned()) };
                match self.machine.pin_file(pid, fd, range) {
                    Ok(id) => self.pinned(actor, pin, id),
                    Err(error) => answers::refused(&error),
                }
            }
            Op::Unpin(op::Unpin { pin, atomic, .. }) => {
                let id = self.actors.get_mut(&actor).and_then(|state| state.pins.remove(pin.as_str()));
                let Some(id) = id else { return StepResult::Nomap.into() };
                let context = if atomic.is_some_and(Switch::is_on) { Context::Atomic } else { Context::Sleepable };
                answers::done(self.machine.unpin_pages_of(pid, id, context))
            }
            _ => StepResult::BadOp.into(),
        }
    }

    /// A name that is used again leaves what it meant pinned, with no name.
    fn pinned(&mut self, actor: u16, name: &PinName, id: PinId) -> Answer {
        if let Some(state) = self.actors.get_mut(&actor) {
            state.pins.insert(name.as_str().to_owned(), id);
        }
        Answer::ok()
    }
}

const fn touch_of(access: Access) -> Touch {
    match access {
        Access::Read => Touch::Read,
        Access::Write => Touch::Write,
    }
}

const fn kind_of(purpose: PinFor) -> PinKind {
    match purpose {
        PinFor::Pipe => PinKind::Reference,
        PinFor::Direct => PinKind::Transfer,
        PinFor::Vfio => PinKind::LongTerm,
    }
}
