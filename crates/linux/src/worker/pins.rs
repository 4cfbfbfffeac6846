//! Operations that keep pages where they are.

use lab::op::{self, Op, PinFor, PinName};
use lab::target::{Answer, StepResult};
use rustix::io::Errno;

use super::{Worker, either, nomap};
use crate::errno::failed;
use crate::sys::pin::{self, Kept};

impl Worker {
    pub(super) fn pin_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::Pin(op::Pin { pin, map, pages, purpose, .. }) => {
                let Some(known) = self.map(map) else { return nomap() };
                let (page, first) = (known.page, u64::from(pages.first.get()));
                let (start, count) = (known.addr.wrapping_add(first.wrapping_mul(page)), u64::from(pages.count.get()));
                let reach = match self.reach(start, count.saturating_mul(page)) {
                    Ok(reach) => reach,
                    Err(refused) => return *refused,
                };
                let kept = match purpose {
                    PinFor::Pipe if count > pin::PIPE as u64 => {
                        return Answer::not_modelled(format!("a pipe keeps {} pages at most", pin::PIPE));
                    }
                    PinFor::Pipe => pin::pipe(reach, page),
                    PinFor::Direct | PinFor::Vfio => pin::ring(reach),
                };
                self.keep_pin(pin, kept)
            }
            Op::Udmabuf(op::Udmabuf { pin, file, range, .. }) => {
                let fd = self.files.get(file.as_str()).copied().unwrap_or(-1);
                let kept = pin::buffer(fd, range.off.unsigned(), range.len.unsigned());
                self.keep_pin(pin, kept)
            }
            Op::Unpin(op::Unpin { pin, .. }) => match self.pins.remove(pin.as_str()) {
                Some(kept) => {
                    kept.end();
                    Answer::ok()
                }
                None => nomap(),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn keep_pin(&mut self, name: &PinName, kept: Result<Kept, Errno>) -> Answer {
        either(kept.map_err(|refused| Box::new(failed(refused))).map(|kept| {
            self.nameless.extend(self.pins.insert(name.as_str().to_owned(), kept));
            Answer::ok()
        }))
    }

    /// Before the process ends, of itself.
    pub(super) fn let_all_go(&mut self) {
        for kept in self.nameless.drain(..).chain(std::mem::take(&mut self.pins).into_values()) {
            kept.end();
        }
    }

    /// A new process has copies of its parent's descriptors, and keeps nothing by them.
    pub(super) fn forget_pins(&mut self) {
        for kept in self.nameless.drain(..).chain(std::mem::take(&mut self.pins).into_values()) {
            kept.close();
        }
    }
}
