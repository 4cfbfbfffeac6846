//! Operations on mappings.

use lab::op::{
    self, Access, Advice, Fill, Flags, MapName, MmapFlag, MremapFlag, Op, Protection, Size, SizeName, Span, Touch,
};
use lab::target::{Answer, Extras, StepResult};

use super::files::size_bits;
use super::{Map, Tried, Worker, either, nomap, proc};
use crate::bounds::BASE_BYTES;
use crate::errno::{self, done, failed};
use crate::sys::memory::{self, MapCall, Reach};
use crate::sys::{access, file};

/// The most bytes that a `touch` answers.
const MOST_READ: usize = 600;

/// The page size that a name stands for.
pub(super) fn page_size(size: Option<SizeName>) -> u64 {
    size.and_then(SizeName::size).map_or(2 << 20, Size::unsigned)
}

impl Worker {
    pub(super) fn memory_op(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mmap(op) => either(self.mmap(op)),
            Op::Mremap(op) => either(self.mremap(op)),
            Op::Munmap(op::Munmap { map, range, .. }) => either(self.munmap(map, *range)),
            Op::Mprotect(op::Mprotect { map, range, prot, .. }) => {
                self.call(map, *range, |reach| memory::protect(reach, prot_bits(*prot)))
            }
            Op::Madvise(op::Madvise { map, range, advice, .. }) => {
                self.call(map, *range, |reach| memory::advise(reach, advice_number(advice)))
            }
            Op::Mlock(op::Mlock { map, range, .. }) => self.call(map, *range, memory::lock),
            Op::Munlock(op::Munlock { map, range, .. }) => self.call(map, *range, memory::unlock),
            Op::Msync(op::Msync { map, range, .. }) => self.call(map, *range, memory::sync),
            Op::Mincore(op::Mincore { map, range, .. }) => either(self.mincore(map, *range)),
            Op::Touch(touch) => either(self.touch(touch)),
            Op::Uaccess(op::Uaccess { map, page, access, .. }) => either(self.uaccess(map, page.get(), *access)),
            Op::Pagemap(op::Pagemap { map, page, count, .. }) => match self.map(map) {
                Some(map) => proc::pagemap(map, *page, *count),
                None => nomap(),
            },
            Op::Smaps(op::Smaps { map, .. }) => self.map(map).map_or_else(nomap, proc::smaps),
            _ => StepResult::BadOp.into(),
        }
    }

    /// Where a range of a mapping is.
    fn range(&self, map: &MapName, range: Span) -> Tried<Reach> {
        let map = self.map(map).ok_or_else(|| Box::new(nomap()))?;
        self.reach(map.addr.wrapping_add(range.off.unsigned()), range.len.unsigned())
    }

    pub(super) fn call<T>(
        &self,
        map: &MapName,
        range: Span,
        call: impl FnOnce(Reach) -> Result<T, rustix::io::Errno>,
    ) -> Answer {
        match self.range(map, range) {
            Ok(reach) => done(call(reach)),
            Err(refused) => *refused,
        }
    }

    fn mmap(&mut self, op: &op::Mmap) -> Tried<Answer> {
        let has = |flag| op.flags.has(flag);
        let by = |size: Option<Size>| size.map_or(0, Size::unsigned);
        let len = op.len.unsigned();
        let (fd, page) = self.source(op)?;
        let mut flags = map_bits(&op.flags);
        let reach = if let Some(at) = &op.at {
            flags |= libc::MAP_FIXED;
            let under = self.map(at).map_or(0, |map| map.addr);
            self.reach(under.wrapping_add(by(op.at_off)), len)?
        } else if has(MmapFlag::Noaddr) {
            Reach::ANYWHERE
        } else {
            flags |= if has(MmapFlag::Fixed) { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE };
            self.reach(self.slot(&op.map).wrapping_add(by(op.addr_off)), len)?
        };
        let huge = has(MmapFlag::Hugetlb) || (has(MmapFlag::Anon) && !has(MmapFlag::Small));
        flags |= if huge { libc::MAP_HUGETLB } else { 0 };
        if has(MmapFlag::Anon) && huge {
            flags |= size_bits(op.pagesize).cast_signed();
        }
        let prot = prot_bits(op.prot.unwrap_or(Protection::READ_WRITE));
        let off = op.off.map_or(0, Size::signed);
        let mapped = memory::map(reach, len, MapCall { prot, flags, fd, off });
        let Ok(addr) = mapped else {
            // What lay under it may be gone all the same; it counts as there, which forbids more and never less.
            return Ok(done(mapped));
        };
        let map = Map { addr, len, page };
        if has(MmapFlag::Private) && !has(MmapFlag::SharedValidate) && !has(MmapFlag::Shared) {
            self.private.set(map.range());
        } else {
            self.private.clear(&map.range());
        }
        self.maps.insert(op.map.as_str().to_owned(), map);
        Ok(Answer::ok())
    }

    /// The descriptor that a mapping is of, and its page size.
    fn source(&self, op: &op::Mmap) -> Tried<(i32, u64)> {
        if op.flags.has(MmapFlag::Anon) {
            if !op.flags.has(MmapFlag::Small) {
                return Ok((-1, page_size(op.pagesize)));
            }
            let small = op.len.unsigned() <= BASE_BYTES;
            return if small { Ok((-1, 4096)) } else { Err(Box::new(too_much())) };
        }
        let fd = op.file.as_ref().map_or(-1, |name| self.fd(name));
        Ok((fd, file::file_system(fd).map_or(4096, |(_, page)| page)))
    }

    fn munmap(&mut self, map: &MapName, range: Span) -> Tried<Answer> {
        let reach = self.range(map, range)?;
        let page = self.map(map).map_or(4096, |map| map.page);
        let done = done(memory::unmap(reach));
        if done.result.is_ok() {
            let len = range.len.unsigned().next_multiple_of(page.max(1));
            self.private.clear(&(reach.start()..reach.start().saturating_add(len)));
        }
        Ok(done)
    }

    fn mremap(&mut self, op: &op::Mremap) -> Tried<Answer> {
        let map = self.map(&op.map).cloned().ok_or_else(|| Box::new(nomap()))?;
        let off = op.off.map_or(0, Size::unsigned);
        let (old, new) = (op.old.unsigned(), op.new.unsigned());
        let start = map.addr.wrapping_add(off);
        let from = self.reach(start, old)?;
        let target = match &op.to {
            Some(to) => self.slot(to).wrapping_add(op.addr_off.map_or(0, Size::unsigned)),
            None => 0,
        };
        let to = self.reach(target, new)?;
        let rounded = |len: u64| len.checked_next_multiple_of(map.page.max(1)).unwrap_or(u64::MAX);
        let range = start..start.saturating_add(rounded(old));
        // Without a place to go to, huge pages stay or the call fails.
        if op.flags.has(MremapFlag::Fixed) && self.private.is_forked(&range) {
            return Err(Box::new(Answer::not_modelled(
                "Linux 6.18 may hang after a private mapping moves that went through fork",
            )));
        }
        let at = match memory::remap(from, new, remap_bits(&op.flags), to) {
            Ok(at) => at,
            Err(refused) => return Ok(failed(refused)),
        };
        if at == start {
            self.private.clear(&(start.saturating_add(rounded(new))..range.end));
        } else {
            self.private.shift(&range, &(at..at.saturating_add(rounded(new))));
        }
        if let Some(to) = &op.to {
            self.maps.insert(to.as_str().to_owned(), Map { addr: at, len: new, page: map.page });
        } else if at != start {
            let moved = Map { addr: at.wrapping_sub(off), ..map };
            self.maps.insert(op.map.as_str().to_owned(), moved);
        }
        let extras = Extras { moved: Some(u8::from(at != start)), ..Extras::default() };
        Ok(Answer { extras, ..Answer::ok() })
    }

    fn mincore(&self, map: &MapName, range: Span) -> Tried<Answer> {
        let reach = self.range(map, range)?;
        let step = self.map(map).map_or(1, |map| map.page / 4096).max(1);
        let pages = match memory::resident(reach) {
            Ok(pages) => pages,
            Err(refused) => return Ok(failed(refused)),
        };
        let step = usize::try_from(step).unwrap_or(1);
        let digits = pages.iter().step_by(step).map(|page| if page & 1 == 1 { '1' } else { '0' }).collect();
        Ok(Answer { extras: Extras { vec: Some(digits), ..Extras::default() }, ..Answer::ok() })
    }

    fn touch(&self, op: &Touch) -> Tried<Answer> {
        let map = self.map(&op.map).ok_or_else(|| Box::new(nomap()))?;
        let value = op.value.unwrap_or(Fill::new(1));
        let first = u64::from(op.pages.first.get());
        let (mut done, mut read, mut fault) = (0, Vec::new(), None);
        for index in 0..op.pages.count.get() {
            let page = first.wrapping_add(u64::from(index)).wrapping_mul(map.page);
            let address = map.addr.wrapping_add(page).wrapping_add(op.poff.map_or(0, Size::unsigned));
            let reach = self.reach(address, 1)?;
            let used = match op.access {
                Access::Read => access::load(reach).map(|byte| read.push(byte)),
                Access::Write => access::store(reach, value.byte(index)),
            };
            if let Err(found) = used {
                fault = Some(found);
                break;
            }
            done += 1;
        }
        read.truncate(MOST_READ);
        let result = match fault {
            None => StepResult::Ok,
            Some(fault) if fault.signal == libc::SIGBUS => StepResult::Sigbus,
            Some(_) => StepResult::Sigsegv,
        };
        let extras = Extras {
            sc: fault.map(|fault| i64::from(fault.code)),
            done: Some(done),
            rd: (op.access == Access::Read).then_some(read),
            ..Extras::default()
        };
        Ok(Answer { extras, ..Answer::from(result) })
    }

    fn uaccess(&self, map: &MapName, page: u32, access: Access) -> Tried<Answer> {
        let map = self.map(map).ok_or_else(|| Box::new(nomap()))?;
        let address = map.addr.wrapping_add(u64::from(page).wrapping_mul(map.page));
        let reach = self.reach(address, 1)?;
        let result = match access {
            Access::Write => file::open(c"/dev/zero", libc::O_RDONLY).and_then(|zero| {
                let stored = memory::kernel_store(zero, reach);
                file::close(zero)?;
                stored
            }),
            Access::Read => std::io::pipe().map_err(|error| errno::of(&error)).and_then(|(_reader, writer)| {
                use std::os::fd::AsRawFd;
                memory::kernel_load(writer.as_raw_fd(), reach)
            }),
        };
        Ok(done(result))
    }
}

fn too_much() -> Answer {
    Answer::not_modelled(format!("more than {BASE_BYTES} bytes of base pages"))
}

fn prot_bits(prot: Protection) -> i32 {
    let bit = |on, bit| if on { bit } else { 0 };
    bit(prot.read, libc::PROT_READ) | bit(prot.write, libc::PROT_WRITE) | bit(prot.exec, libc::PROT_EXEC)
}

/// The flags that do not say where.
fn map_bits(flags: &Flags<MmapFlag>) -> i32 {
    let bits = |flag| match flag {
        MmapFlag::Shared => libc::MAP_SHARED,
        MmapFlag::SharedValidate => libc::MAP_SHARED_VALIDATE,
        MmapFlag::Private => libc::MAP_PRIVATE,
        MmapFlag::Anon => libc::MAP_ANONYMOUS,
        MmapFlag::Noreserve => libc::MAP_NORESERVE,
        MmapFlag::Populate => libc::MAP_POPULATE,
        MmapFlag::Nonblock => libc::MAP_NONBLOCK,
        MmapFlag::Locked => libc::MAP_LOCKED,
        MmapFlag::Small | MmapFlag::Fixed | MmapFlag::Noaddr | MmapFlag::Hugetlb => 0,
    };
    flags.iter().map(bits).fold(0, |all, bits| all | bits)
}

fn remap_bits(flags: &Flags<MremapFlag>) -> i32 {
    let bits = |flag| match flag {
        MremapFlag::Maymove => libc::MREMAP_MAYMOVE,
        MremapFlag::Fixed => libc::MREMAP_FIXED,
        MremapFlag::Dontunmap => libc::MREMAP_DONTUNMAP,
    };
    flags.iter().map(bits).fold(0, |all, bits| all | bits)
}

fn advice_number(advice: &Advice) -> i32 {
    match advice {
        Advice::Normal => libc::MADV_NORMAL,
        Advice::Random => libc::MADV_RANDOM,
        Advice::Sequential => libc::MADV_SEQUENTIAL,
        Advice::Willneed => libc::MADV_WILLNEED,
        Advice::Dontneed => libc::MADV_DONTNEED,
        Advice::Free => libc::MADV_FREE,
        Advice::Remove => libc::MADV_REMOVE,
        Advice::Dontfork => libc::MADV_DONTFORK,
        Advice::Dofork => libc::MADV_DOFORK,
        Advice::Mergeable => libc::MADV_MERGEABLE,
        Advice::Hugepage => libc::MADV_HUGEPAGE,
        Advice::Nohugepage => libc::MADV_NOHUGEPAGE,
        Advice::Dontdump => libc::MADV_DONTDUMP,
        Advice::Wipeonfork => libc::MADV_WIPEONFORK,
        Advice::Keeponfork => libc::MADV_KEEPONFORK,
        Advice::Cold => libc::MADV_COLD,
        Advice::Pageout => libc::MADV_PAGEOUT,
        Advice::PopulateRead => libc::MADV_POPULATE_READ,
        Advice::PopulateWrite => libc::MADV_POPULATE_WRITE,
        Advice::DontneedLocked => libc::MADV_DONTNEED_LOCKED,
        Advice::Collapse => libc::MADV_COLLAPSE,
        // As in the patches that had it.
        Advice::Split => 26,
        // A number that no kernel knows.
        Advice::Unknown(_) => 77,
    }
}
