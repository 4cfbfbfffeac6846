//! Pages that somebody keeps where they are.

use super::Generator;
use super::edges::bytes;
use crate::op::{
    Access, Actor, AddSeals, Flags, Ftruncate, Memfd, MemfdFlag, Op, Pages, Pin, PinFor, PinName, Quiesce, Seal, Size,
    Span, Switch, Udmabuf, Unpin,
};

/// How many names a process may give to pins.
const NAMES: u32 = 3;

impl Generator {
    /// A pin of a few pages of a mapping. What a running kernel does for scripts is to keep references for a pipe, and pins of buffers that may be
    /// written.
    pub(super) fn pin(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let piece = self.piece(&view);
        let pages = Pages::new(piece.first, piece.count.min(3));
        let (purpose, access) = if self.on_kernel {
            *self.random.of(&[(PinFor::Pipe, Access::Read), (PinFor::Vfio, Access::Write)])
        } else {
            let purpose = *self.random.of(&[PinFor::Pipe, PinFor::Direct, PinFor::Vfio]);
            (purpose, *self.random.of(&[Access::Read, Access::Write]))
        };
        Some(Pin { actor, pin: self.pin_name()?, map, pages, purpose, access }.into())
    }

    pub(super) fn unpin(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let pin = self.kept(actor)?;
        let atomic = (!self.on_kernel && self.random.percent(20)).then_some(Switch::ON);
        if atomic.is_some() && self.random.percent(50) {
            self.opening.push_back(Quiesce {}.into());
        }
        Some(Unpin { actor, pin, atomic }.into())
    }

    /// A pin of a part of a memory file, touched or not. The hosts of recordings have no such device.
    pub(super) fn udmabuf(&mut self) -> Option<Op> {
        if self.on_kernel {
            return None;
        }
        if self.random.percent(40) {
            let (actor, file, descriptor) = self.descriptor()?;
            let range = self.buffer(self.view.size(descriptor));
            return Some(Udmabuf { actor, pin: self.pin_name()?, file, range }.into());
        }
        let actor = self.process()?;
        let file = self.new_descriptor(actor)?;
        let size = self.random.between(1, 3);
        let len = Size::bytes(bytes(size));
        let range = self.buffer(size);
        self.opening.push_back(Ftruncate { actor, file: file.clone(), len }.into());
        self.opening.push_back(AddSeals { actor, file: file.clone(), seals: Flags::of(&[Seal::Shrink]) }.into());
        let pin = self.pin_name()?;
        self.opening.push_back(Udmabuf { actor, pin, file: file.clone(), range }.into());
        let flags = Flags::of(&[MemfdFlag::Hugetlb, MemfdFlag::Seal]);
        Some(Memfd { actor, file, flags, pagesize: None }.into())
    }

    /// A part of a file of so many pages, seldom one that no device gets.
    fn buffer(&mut self, size: u32) -> Span {
        let first = self.random.below(size.max(1));
        let count = self.random.between(1, 2).min(size.saturating_sub(first).max(1));
        let (at, len) = *self.random.of(&[(0, 0), (0, 0), (0, 0), (4096, -4096), (0, 4096), (1, 0)]);
        Span::new(Size::bytes(bytes(first) + at), Size::bytes(bytes(count) + len))
    }

    fn pin_name(&mut self) -> Option<PinName> {
        PinName::new(&format!("k{}", self.random.below(NAMES))).ok()
    }

    /// A pin of a process, as a rule one that it has.
    fn kept(&mut self, actor: Actor) -> Option<PinName> {
        if self.random.percent(2) {
            return PinName::new("k9").ok();
        }
        let names: Vec<PinName> = self.view.processes.get(&actor.number())?.pins.iter().cloned().collect();
        self.random.any(names)
    }
}
