//! Operations on userfaultfds.

use super::Generator;
use crate::op::{
    Actor, Fill, Flags, MapName, Op, Span, UffdClose, UffdContinue, UffdCopy, UffdMode, UffdName, UffdOpen,
    UffdRegister, UffdUnregister, UffdWp, UffdZero,
};

/// How many names a process may give to userfaultfds.
const NAMES: u32 = 3;

/// Do registrations watch for writes?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchesWrites {
    Always,
    Sometimes,
    Never,
}

impl Generator {
    pub(super) fn uffd_open(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let held = self.view.processes.get(&actor.number())?.uffds.len();
        if held > 0 && self.random.percent(70) {
            return None;
        }
        let uffd = UffdName::new(&format!("u{}", self.random.below(NAMES))).ok()?;
        Some(UffdOpen { actor, uffd }.into())
    }

    /// Where a name is given up its number goes to the next descriptor, which a kernel's driver would not know; there a name
    /// is used no more.
    pub(super) fn uffd_close(&mut self) -> Option<Op> {
        if self.on_kernel {
            return None;
        }
        let actor = self.process()?;
        let uffd = self.uffd(actor)?;
        Some(UffdClose { actor, uffd }.into())
    }

    /// A userfaultfd of a process, as a rule one that is open.
    fn uffd(&mut self, actor: Actor) -> Option<UffdName> {
        if self.random.percent(2) {
            return UffdName::new("u9").ok();
        }
        let names: Vec<UffdName> = self.view.processes.get(&actor.number())?.uffds.iter().cloned().collect();
        self.random.any(names)
    }

    /// A process, a userfaultfd of it, and a part of a mapping of it: all of it, a piece, or what is still there.
    fn uffd_range(&mut self, crooked_percent: u32) -> Option<(Actor, UffdName, MapName, Span)> {
        let (actor, map, view) = self.map()?;
        let uffd = self.uffd(actor)?;
        let part = if self.random.percent(50) { self.part(&view, |_| true) } else { self.piece(&view) };
        Some((actor, uffd, map, self.span(&view, part, crooked_percent)))
    }

    pub(super) fn uffd_register(&mut self) -> Option<Op> {
        let (actor, uffd, map, range) = self.uffd_range(6)?;
        let mut modes = Vec::new();
        for (mode, percent) in [(UffdMode::Missing, 45), (UffdMode::Minor, 30)] {
            if self.random.percent(percent) {
                modes.push(mode);
            }
        }
        let writes = match self.watches_writes {
            WatchesWrites::Always => true,
            WatchesWrites::Sometimes => self.random.percent(55),
            WatchesWrites::Never => false,
        };
        if writes {
            modes.push(UffdMode::Wp);
        }
        Some(UffdRegister { actor, uffd, map, range, mode: Flags::of(&modes) }.into())
    }

    pub(super) fn uffd_unregister(&mut self) -> Option<Op> {
        let (actor, uffd, map, range) = self.uffd_range(10)?;
        Some(UffdUnregister { actor, uffd, map, range }.into())
    }

    pub(super) fn uffd_fill(&mut self) -> Option<Op> {
        let (actor, uffd, map, range) = self.uffd_range(4)?;
        // The driver needs memory to copy from.
        let unlikely = range.len.signed() < 0;
        Some(match self.random.below(20) {
            0 => UffdZero { actor, uffd, map, range }.into(),
            1..7 => UffdContinue { actor, uffd, map, range }.into(),
            _ if unlikely => return None,
            _ => {
                let mode = self.random.percent(25).then(|| Flags::of(&[UffdMode::Wp]));
                let value = Some(Fill::new(self.random.between(1, 200)));
                UffdCopy { actor, uffd, map, range, mode, value }.into()
            }
        })
    }

    pub(super) fn uffd_protect(&mut self) -> Option<Op> {
        let (actor, uffd, map, range) = self.uffd_range(5)?;
        let mode = if self.random.percent(65) { Flags::of(&[UffdMode::Wp]) } else { Flags::NONE };
        Some(UffdWp { actor, uffd, map, range, mode }.into())
    }
}
