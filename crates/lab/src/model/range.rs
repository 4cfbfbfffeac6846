//! mprotect, mlock, munlock, msync and mincore.

use super::world::{PAGE, SMALL, TASK_END, Vma, aligned, ceil_small};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{MapName, Mincore, Mlock, Mprotect, Msync, Munlock, Span};
use crate::target::{Answer, Extras};

impl NaiveMachine {
    /// The first address of a range of a mapping, which need not be mapped.
    pub(super) fn address(&mut self, p: u16, map: &MapName, range: Span) -> Result<u64, Fail> {
        let named = self.named(p, map)?;
        Ok(named.addr.wrapping_add(range.off.unsigned()))
    }

    /// The range whose start must be aligned to 4 KiB and whose length is filled up to 4 KiB.
    fn range(&mut self, p: u16, map: &MapName, range: Span, too_long: &'static str) -> Result<(u64, u64), Fail> {
        let start = self.address(p, map, range)?;
        if start % SMALL != 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let len = ceil_small(range.len.unsigned());
        let end = len.and_then(|len| start.checked_add(len));
        end.map(|end| (start, end)).ok_or(Fail::Errno(too_long))
    }

    /// mprotect goes from VMA to VMA: one that has the protection already is passed over, one that would be cut inside a
    /// huge page is refused, and so is a hole; what came before stays changed.
    pub(super) fn mprotect(&mut self, p: u16, op: &Mprotect) -> Outcome {
        let (start, end) = self.range(p, &op.map, op.range, "ENOMEM")?;
        let mut at = start;
        while at < end {
            let vma = self.process(p).vma_at(at).ok_or(Fail::Errno("ENOMEM"))?;
            let stop = vma.end.min(end);
            if op.prot.write && !vma.may_write {
                return Err(Fail::Errno("EACCES"));
            }
            if vma.prot != op.prot {
                self.cut_out(p, &vma, at, stop)?;
                self.process_mut(p).change(at, stop, |vma| vma.prot = op.prot);
            }
            at = stop;
        }
        Ok(Answer::ok())
    }

    /// Cuts a part out of a VMA. The lower cut stays where the upper one is refused.
    pub(super) fn cut_out(&mut self, p: u16, vma: &Vma, start: u64, end: u64) -> Result<(), Fail> {
        for edge in [start, end] {
            if !may_cut(vma, edge) {
                return Err(Fail::Errno("EINVAL"));
            }
            self.process_mut(p).split(edge);
        }
        Ok(())
    }

    /// The base pages that a lock meets; a hole among them is refused before anything is done.
    fn locked_range(&mut self, p: u16, map: &MapName, range: Span) -> Result<(u64, u64), Fail> {
        let start = self.address(p, map, range)?;
        let len = range.len.unsigned();
        let end = start.checked_add(len).and_then(ceil_small);
        let end = end.ok_or(Fail::Errno("EINVAL"))?;
        let start = start - start % SMALL;
        if len > 0 && !self.process(p).covers(start, end) {
            return Err(Fail::Errno("ENOMEM"));
        }
        Ok((start, if len > 0 { end } else { start }))
    }

    /// mlock brings in the pages, until one fails.
    pub(super) fn mlock(&mut self, p: u16, op: &Mlock) -> Outcome {
        let (start, end) = self.locked_range(p, &op.map, op.range)?;
        self.memory_refused = false;
        match self.populate(p, start, end) {
            Ok(()) => Ok(Answer::ok()),
            Err(_) => Err(Fail::Errno(if self.memory_refused { "EAGAIN" } else { "ENOMEM" })),
        }
    }

    pub(super) fn munlock(&mut self, p: u16, op: &Munlock) -> Outcome {
        self.locked_range(p, &op.map, op.range)?;
        Ok(Answer::ok())
    }

    pub(super) fn msync(&mut self, p: u16, op: &Msync) -> Outcome {
        let (start, end) = self.range(p, &op.map, op.range, "ENOMEM")?;
        if !self.process(p).covers(start, end) {
            return Err(Fail::Errno("ENOMEM"));
        }
        Ok(Answer::ok())
    }

    /// mincore tells entries where the process has a page table, and the file's page cache elsewhere.
    pub(super) fn mincore(&mut self, p: u16, op: &Mincore) -> Outcome {
        let (start, end) = self.range(p, &op.map, op.range, "ENOMEM")?;
        if end > TASK_END || !self.process(p).covers(start, end) {
            return Err(Fail::Errno("ENOMEM"));
        }
        let mut vec = String::new();
        let mut at = start;
        while at < end {
            vec.push(if self.in_memory(p, at) { '1' } else { '0' });
            at += PAGE;
        }
        Ok(Answer { extras: Extras { vec: Some(vec), ..Extras::default() }, ..Answer::ok() })
    }

    fn in_memory(&self, p: u16, addr: u64) -> bool {
        let process = self.process(p);
        let page = addr - addr % PAGE;
        if process.tables.contains(&(addr >> 30)) {
            return process.entries.contains_key(&page);
        }
        process.vma_at(addr).is_some_and(|vma| self.file(vma.file).cache.contains_key(&vma.index(page)))
    }
}

/// Whether a VMA may end or begin at `addr`: its own edges, else at a huge page.
fn may_cut(vma: &Vma, addr: u64) -> bool {
    addr == vma.start || addr == vma.end || aligned(addr)
}
