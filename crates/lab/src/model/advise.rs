//! madvise.

use super::seal::{FUTURE_WRITE, WRITE};
use super::world::{Hints, Order, PAGE, SMALL, Vma, aligned, ceil_small, floor};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{Access, Advice, Madvise};
use crate::target::Answer;

impl NaiveMachine {
    /// madvise: unknown advice is refused first, then a misaligned start; an empty range is no error. VMAs follow each other,
    /// holes are passed over and reported at the end, a VMA's error ends the walk.
    pub(super) fn madvise(&mut self, p: u16, op: &Madvise) -> Outcome {
        let start = self.address(p, &op.map, op.range)?;
        let len = ceil_small(op.range.len.unsigned());
        let end = len.and_then(|len| start.checked_add(len));
        let known = !matches!(op.advice, Advice::Unknown(_));
        let end = end.filter(|_| known && start % SMALL == 0).ok_or(Fail::Errno("EINVAL"))?;
        match op.advice {
            _ if start == end => {}
            Advice::PopulateRead => self.populate_advised(p, start, end, Access::Read)?,
            Advice::PopulateWrite => self.populate_advised(p, start, end, Access::Write)?,
            _ => {
                for vma in self.process(p).vmas_in(start, end) {
                    self.advise(p, &vma, vma.start.max(start), vma.end.min(end), &op.advice)?;
                }
                if !self.process(p).covers(start, end) {
                    return Err(Fail::Errno("ENOMEM"));
                }
            }
        }
        Ok(Answer::ok())
    }

    /// The advice for one VMA's part of the range.
    fn advise(&mut self, p: u16, vma: &Vma, start: u64, end: u64, advice: &Advice) -> Result<(), Fail> {
        let hints = vma.hints;
        let hinted = match advice {
            Advice::Dontneed | Advice::DontneedLocked => {
                return self.drop_pages(p, vma, start, end);
            }
            Advice::Remove => return self.remove(vma, start, end),
            Advice::Willneed | Advice::Mergeable | Advice::Keeponfork => return Ok(()),
            Advice::Normal => Hints { order: None, ..hints },
            Advice::Random => Hints { order: Some(Order::Random), ..hints },
            Advice::Sequential => Hints { order: Some(Order::Sequential), ..hints },
            Advice::Dontfork => Hints { dontfork: true, ..hints },
            Advice::Dofork => Hints { dontfork: false, ..hints },
            Advice::Dontdump => Hints { dontdump: true, ..hints },
            Advice::Hugepage => Hints { thp: Some(true), ..hints },
            Advice::Nohugepage => Hints { thp: Some(false), ..hints },
            _ => return Err(Fail::Errno("EINVAL")),
        };
        if hinted == hints {
            return Ok(());
        }
        self.cut_out(p, vma, start, end)?;
        self.process_mut(p).change(start, end, |vma| vma.hints = hinted);
        Ok(())
    }

    /// DONTNEED: the part must begin at a huge page, its end is rounded down.
    fn drop_pages(&mut self, p: u16, vma: &Vma, start: u64, end: u64) -> Result<(), Fail> {
        if !aligned(start) {
            return Err(Fail::Errno("EINVAL"));
        }
        let mut loose = Vec::new();
        self.zap(p, vma, start, floor(end).max(start), &mut loose);
        self.free(loose);
        Ok(())
    }

    /// REMOVE punches the file, which takes a shared mapping of a writable descriptor.
    fn remove(&mut self, vma: &Vma, start: u64, end: u64) -> Result<(), Fail> {
        if !vma.shared || !vma.may_write {
            return Err(Fail::Errno("EACCES"));
        }
        if self.file(vma.file).seals & (WRITE | FUTURE_WRITE) != 0 {
            return Err(Fail::Errno("EPERM"));
        }
        let at = vma.first * PAGE + (start - vma.start);
        self.punch(vma.file, at, at + (end - start));
        Ok(())
    }

    /// POPULATE_READ and POPULATE_WRITE bring in every huge page that the range meets, until the first that cannot be, which
    /// is tried twice unless it is the first of all.
    fn populate_advised(&mut self, p: u16, start: u64, end: u64, access: Access) -> Result<(), Fail> {
        self.memory_refused = false;
        let mut at = start;
        while at < end {
            let vma = self.process(p).vma_at(at).ok_or(Fail::Errno("ENOMEM"))?;
            let allowed = match access {
                Access::Read => vma.prot.read,
                Access::Write => vma.prot.write,
            };
            if !allowed {
                return Err(Fail::Errno("EINVAL"));
            }
            let page = floor(at);
            let again = at > start;
            let failed = self.fault(p, &vma, page, access).is_err();
            if failed && (!again || self.fault(p, &vma, page, access).is_err()) {
                return Err(Fail::Errno(if self.memory_refused { "ENOMEM" } else { "EFAULT" }));
            }
            at = page + PAGE;
        }
        Ok(())
    }
}
