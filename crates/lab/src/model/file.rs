//! Calls on a descriptor: ftruncate, fallocate, fstat, pread, pwrite, fsync.

use super::nodes::Taken;
use super::seal::{FUTURE_WRITE, GROW, WRITE};
use super::world::{Descriptor, FileId, Opened, PAGE, Page, count};
use super::{Fail, NaiveMachine, Outcome};
use crate::op::{Fallocate, FallocateMode, FileName, Fstat, Fsync, Ftruncate, Pread, Pwrite, Span};
use crate::target::{Answer, Extras};

/// The most bytes that one read returns.
const LONGEST_READ: u64 = 0x7fff_f000;

/// What fallocate does.
enum Task {
    Allocate,
    Punch,
    Other,
}

impl NaiveMachine {
    fn descriptor(&self, p: u16, name: &FileName) -> Result<Descriptor, Fail> {
        self.process(p).descriptor(name).ok_or(Fail::Errno("EBADF"))
    }

    /// ftruncate: a negative size, then the descriptor, then one that cannot write, then a size that is no whole huge page.
    pub(super) fn ftruncate(&mut self, p: u16, op: &Ftruncate) -> Outcome {
        if op.len.signed() < 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let descriptor = self.descriptor(p, &op.file)?;
        match descriptor.on {
            Opened::File(id) if descriptor.write => self.set_size(id, op.len.unsigned()),
            _ => Err(Fail::Errno("EINVAL")),
        }
    }

    pub(super) fn fallocate(&mut self, p: u16, op: &Fallocate) -> Outcome {
        let descriptor = self.descriptor(p, &op.file)?;
        let (off, len) = (op.range.off.signed(), op.range.len.signed());
        if off < 0 || len <= 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let task = task(op)?;
        let Opened::File(id) = descriptor.on else {
            return Err(Fail::Errno("EBADF"));
        };
        if !descriptor.write {
            return Err(Fail::Errno("EBADF"));
        }
        // The end in whole huge pages must fit as well, which 6.18 does not see to.
        let end = off.checked_add(len);
        let fits = end.is_some_and(|end| end.checked_add(PAGE.cast_signed() - 1).is_some());
        let end = end.filter(|_| fits).ok_or(Fail::Errno("EFBIG"))?;
        let (off, end) = (off.cast_unsigned(), end.cast_unsigned());
        match task {
            Task::Punch if self.file(id).seals & (WRITE | FUTURE_WRITE) != 0 => return Err(Fail::Errno("EPERM")),
            Task::Punch => self.punch(id, off, end),
            Task::Allocate if self.file(id).seals & GROW != 0 && end > self.file(id).size => {
                return Err(Fail::Errno("EPERM"));
            }
            Task::Allocate => {
                let keeps_size = op.mode.has(FallocateMode::KeepSize);
                self.allocate(p, id, off, end)?;
                let file = self.file_mut(id);
                file.size = file.size.max(if keeps_size { 0 } else { end });
            }
            Task::Other => return Err(Fail::Errno("EOPNOTSUPP")),
        }
        Ok(Answer::ok())
    }

    /// Brings every page that the range meets into the cache; those before a failing one stay.
    fn allocate(&mut self, p: u16, id: FileId, off: u64, end: u64) -> Result<(), Fail> {
        for index in off / PAGE..end.div_ceil(PAGE) {
            if self.file(id).cache.contains_key(&index) {
                continue;
            }
            let rounds = self.rounds(p, None, index);
            let Some(Taken { payers, node }) = self.claim_for_file(p, id, index, &rounds) else {
                return Err(Fail::Errno(if self.memory_refused { "ENOMEM" } else { "ENOSPC" }));
            };
            let mount = self.file(id).mount;
            let page = self.new_page(Page { payers, node, cached: true, mount, ..Page::default() });
            self.file_mut(id).cache.insert(index, page);
        }
        Ok(())
    }

    /// Punches a hole: whole pages inside go, mapped or not, with the reservations of those that were there; what stands
    /// over at the edges is zeroed in the cache.
    pub(super) fn punch(&mut self, id: FileId, off: u64, end: u64) {
        let (first, last) = (off.div_ceil(PAGE), end / PAGE);
        if first < last {
            self.unmap_file(id, first, last);
            let pages = self.drop_cached(id, first, last);
            self.free(pages);
        }
        for index in [off / PAGE, last] {
            let (from, to) = (off.max(index * PAGE), end.min((index + 1) * PAGE));
            let Some(page) = self.file(id).cache.get(&index).copied() else {
                continue;
            };
            self.page_mut(page).bytes.retain(|at, _| !(from..to).contains(&(index * PAGE + at)));
        }
    }

    pub(super) fn fstat(&mut self, p: u16, op: &Fstat) -> Outcome {
        let (size, pages, nlink) = match self.descriptor(p, &op.file)?.on {
            Opened::File(id) => {
                let file = self.file(id);
                let nlink = i64::from(file.name.is_some());
                (file.size.cast_signed(), count(file.cache.len()), nlink)
            }
            Opened::Directory(_) => (0, 0, 2),
        };
        Ok(Answer {
            extras: Extras {
                size: Some(size),
                blocks: Some(pages * (PAGE / 512).cast_signed()),
                blksize: Some(PAGE.cast_signed()),
                nlink: Some(nlink),
                ..Extras::default()
            },
            ..Answer::ok()
        })
    }

    /// The descriptor of a read or write at an offset.
    fn at_offset(&self, p: u16, name: &FileName, range: Span) -> Result<Descriptor, Fail> {
        if range.off.signed() < 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        self.descriptor(p, name)
    }

    /// pread reads up to the file's end; holes are zeros and stay holes.
    pub(super) fn pread(&mut self, p: u16, op: &Pread) -> Outcome {
        let descriptor = self.at_offset(p, &op.file, op.range)?;
        if !descriptor.read {
            return Err(Fail::Errno("EBADF"));
        }
        let Opened::File(id) = descriptor.on else {
            return Err(Fail::Errno("EISDIR"));
        };
        if op.range.len.signed() < 0 {
            return Err(Fail::Errno("EINVAL"));
        }
        let (off, file) = (op.range.off.unsigned(), self.file(id));
        let left = file.size.saturating_sub(off);
        let n = op.range.len.unsigned().min(left).min(LONGEST_READ);
        let page = file.cache.get(&(off / PAGE));
        let byte = page.and_then(|page| self.page(*page).bytes.get(&(off % PAGE)));
        Ok(Answer {
            extras: Extras {
                n: Some(n.cast_signed()),
                b0: (n > 0).then(|| byte.copied().unwrap_or(0)),
                ..Extras::default()
            },
            ..Answer::ok()
        })
    }

    /// hugetlbfs knows no write.
    pub(super) fn pwrite(&mut self, p: u16, op: &Pwrite) -> Outcome {
        let descriptor = self.at_offset(p, &op.file, op.range)?;
        Err(Fail::Errno(if descriptor.write { "EINVAL" } else { "EBADF" }))
    }

    pub(super) fn fsync(&mut self, p: u16, op: &Fsync) -> Outcome {
        self.descriptor(p, &op.file)?;
        Ok(Answer::ok())
    }
}

/// What a mode asks for; combinations that mean nothing are refused.
fn task(op: &Fallocate) -> Result<Task, Fail> {
    let has = |flag| op.mode.has(flag);
    let keep = has(FallocateMode::KeepSize) || has(FallocateMode::Punch);
    let punch = has(FallocateMode::Punch) || has(FallocateMode::PunchOnly);
    let moves = [FallocateMode::Collapse, FallocateMode::Insert].into_iter().filter(|flag| has(*flag)).count();
    let tasks = moves + usize::from(punch) + usize::from(has(FallocateMode::ZeroRange));
    if tasks > 1 || (punch && !keep) || (moves > 0 && keep) {
        return Err(Fail::Errno("EOPNOTSUPP"));
    }
    Ok(match tasks {
        0 => Task::Allocate,
        _ if punch => Task::Punch,
        _ => Task::Other,
    })
}
