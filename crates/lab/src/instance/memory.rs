//! Operations on mappings.

use hugefolio::{
    Advice as Told, Bytes, Calls, HugeSize, MapCall, MapCallError, MapFlags, MapSource, NoSuchSize, PageState, Pid,
    Place, Prot, RemapFlags, RemapRequest, Share, Vaddr, VaddrRange,
};

use super::actor::NamedMap;
use super::files::wanted;
use super::{Instance, answers};
use crate::op::{
    self, Access, Advice, FileName, Flags, MapName, MmapFlag, MremapFlag, Op, Pages, Protection, Size, SizeName, Span,
};
use crate::target::{Answer, Extras, StepResult};

/// Where the slots of names begin, and how far apart they lie.
const SLOTS: u64 = 0x2000_0000_0000;
const SLOT: u64 = 8 << 30;

/// The most bytes that a touch shows, and the most pages that a pagemap shows.
const SHOWN_BYTES: usize = 600;
const SHOWN_PAGES: u32 = 599;

impl Instance {
    pub(super) fn memory_op(&mut self, op: &Op) -> Answer {
        let Some((actor, pid)) = op.actor().and_then(|a| Some((a.number(), self.pid(a)?))) else {
            return StepResult::BadActor.into();
        };
        if let Op::Mmap(_) = op {
            return self.mmap(actor, pid, op);
        }
        let Some(name) = map_of(op) else { return StepResult::BadOp.into() };
        self.slot(name.as_str());
        let Some(map) = self.actors.get(&actor).and_then(|state| state.maps.get(name.as_str())).copied() else {
            return StepResult::Nomap.into();
        };
        match op {
            Op::Mremap(_) => self.mremap(actor, pid, map, op),
            Op::Touch(op::Touch { pages, access, poff, value, .. }) => {
                let first = value.map_or(1, |fill| fill.get());
                self.touch(pid, map, *pages, *access, poff.unwrap_or(Size::ZERO), first)
            }
            Op::Uaccess(op::Uaccess { page, access, .. }) => {
                self.uaccess(pid, at(map, i64::from(page.get()), 0), *access)
            }
            Op::Pagemap(op::Pagemap { page, count, .. }) => {
                let whole = u32::try_from(map.len >> map.page.shift()).unwrap_or(u32::MAX);
                self.pagemap(pid, map, page.map_or(0, |p| p.get()), count.map_or(whole, |n| n.get()))
            }
            Op::Smaps(_) => self.smaps(pid, map),
            _ => self.range_op(pid, map, op),
        }
    }

    /// Calls that take a range of a mapping.
    fn range_op(&mut self, pid: Pid, map: NamedMap, op: &Op) -> Answer {
        let Some(range) = range_of(op) else { return StepResult::BadOp.into() };
        let start = Vaddr::new(map.addr.get().wrapping_add(range.off.unsigned()));
        let len = Bytes::new(range.len.unsigned());
        let machine = &mut self.machine;
        match op {
            Op::Munmap(_) => answers::done(machine.munmap(pid, start, len)),
            Op::Mprotect(op::Mprotect { prot, .. }) => answers::done(machine.mprotect(pid, start, len, prot_of(*prot))),
            Op::Madvise(op::Madvise { advice, .. }) => answers::settled(machine.madvise(pid, start, len, told(advice))),
            Op::Mlock(_) => answers::done(machine.mlock(pid, start, len)),
            Op::Munlock(_) => answers::done(machine.munlock(pid, start, len)),
            Op::Msync(_) => answers::done(machine.msync(pid, start, len)),
            Op::Mincore(_) => match machine.mincore(pid, start, len) {
                Ok(runs) => {
                    let vec = residency(&runs, start, map.page);
                    Answer { extras: Extras { vec: Some(vec), ..Extras::default() }, ..Answer::ok() }
                }
                Err(error) => answers::failed(&error),
            },
            _ => StepResult::BadOp.into(),
        }
    }

    fn mmap(&mut self, actor: u16, pid: Pid, op: &Op) -> Answer {
        let Op::Mmap(op::Mmap { map: name, len, flags, file, off, pagesize, prot, addr_off, at, at_off, .. }) = op
        else {
            return StepResult::BadOp.into();
        };
        if flags.has(MmapFlag::Anon) && flags.has(MmapFlag::Small) {
            return Answer::not_modelled("mappings of base pages");
        }
        let slot = self.slot(name.as_str());
        let plus = |base: u64, by: &Option<Size>| Vaddr::new(base.wrapping_add(by.map_or(0, Size::unsigned)));
        let place = match at {
            Some(under) => {
                self.slot(under.as_str());
                let under = self.actors.get(&actor).and_then(|state| state.maps.get(under.as_str()));
                Place::Fixed(plus(under.map_or(0, |map| map.addr.get()), at_off))
            }
            None if flags.has(MmapFlag::Noaddr) => Place::Anywhere,
            None if flags.has(MmapFlag::Fixed) => Place::Fixed(plus(slot_address(slot), addr_off)),
            None => Place::FixedNoReplace(plus(slot_address(slot), addr_off)),
        };
        let (source, page) = match self.source(actor, pid, flags, file.as_ref(), *pagesize) {
            Ok(found) => found,
            Err(error) => return answers::failed(&MapCallError::from(error)),
        };
        let call = MapCall {
            place,
            len: Bytes::new(len.unsigned()),
            prot: prot_of(prot.unwrap_or(Protection::READ_WRITE)),
            share: share_of(flags),
            source,
            offset: Bytes::new(off.map_or(0, Size::unsigned)),
            flags: flags_of(flags),
        };
        match self.machine.mmap(pid, &call) {
            Ok(addr) => {
                let map = NamedMap { addr, len: len.unsigned(), page };
                if let Some(state) = self.actors.get_mut(&actor) {
                    // A mapping at address 0 looks to its process as if there were none.
                    match addr.get() {
                        0 => state.maps.remove(name.as_str()),
                        _ => state.maps.insert(name.as_str().to_owned(), map),
                    };
                }
                Answer::ok()
            }
            Err(error) => answers::refused(&error),
        }
    }

    /// What is mapped, and the page size by which the script counts.
    fn source(
        &mut self,
        actor: u16,
        pid: Pid,
        flags: &Flags<MmapFlag>,
        file: Option<&FileName>,
        pagesize: Option<SizeName>,
    ) -> Result<(MapSource, HugeSize), NoSuchSize> {
        if !flags.has(MmapFlag::Anon) {
            let fd = file.map_or(hugefolio::Fd::new(u32::MAX), |name| self.fd(actor, name));
            let page = self.machine.fstat(pid, fd).ok().and_then(|stat| HugeSize::from_bytes(stat.block_size));
            return Ok((MapSource::File(fd), page.unwrap_or(HugeSize::M2)));
        }
        let default = self.machine.hstates().default_hstate().size;
        let size = wanted(pagesize)?;
        Ok((MapSource::Anonymous(size), size.unwrap_or(default)))
    }

    fn mremap(&mut self, actor: u16, pid: Pid, map: NamedMap, op: &Op) -> Answer {
        let Op::Mremap(op::Mremap { map: name, old, new, flags, off, to, addr_off, .. }) = op else {
            return StepResult::BadOp.into();
        };
        let offset = off.map_or(0, Size::unsigned);
        let from = Vaddr::new(map.addr.get().wrapping_add(offset));
        let target = to.as_ref().map(|to| slot_address(self.slot(to.as_str())));
        let target = target.map_or(0, |base| base.wrapping_add(addr_off.map_or(0, Size::unsigned)));
        let mut how = RemapFlags::empty();
        how.set(RemapFlags::MAY_MOVE, flags.has(MremapFlag::Maymove));
        how.set(RemapFlags::FIXED, flags.has(MremapFlag::Fixed));
        how.set(RemapFlags::DONT_UNMAP, flags.has(MremapFlag::Dontunmap));
        let request = RemapRequest {
            from,
            old_len: Bytes::new(old.unsigned()),
            new_len: Bytes::new(new.unsigned()),
            flags: how,
            to: Vaddr::new(target),
        };
        let now = match self.machine.mremap(pid, &request) {
            Ok(now) => now,
            Err(error) => return answers::failed(&error),
        };
        if let Some(state) = self.actors.get_mut(&actor) {
            if let Some(to) = to {
                let moved = NamedMap { addr: now, len: new.unsigned(), page: map.page };
                state.maps.insert(to.as_str().to_owned(), moved);
            } else if now != from {
                let addr = Vaddr::new(now.get().wrapping_sub(offset));
                state.maps.insert(name.as_str().to_owned(), NamedMap { addr, ..map });
            }
        }
        let moved = Some(u8::from(now != from));
        Answer { extras: Extras { moved, ..Extras::default() }, ..Answer::ok() }
    }

    fn touch(&mut self, pid: Pid, map: NamedMap, pages: Pages, access: Access, offset: Size, first: u32) -> Answer {
        let mut answer = Answer::ok();
        let mut read = Vec::new();
        let mut done = 0;
        for n in 0..pages.count.get() {
            let addr = at(map, i64::from(pages.first.get()) + i64::from(n), offset.signed());
            let result = match access {
                Access::Read => self.machine.read_byte(pid, addr).map(|byte| read.push(byte)),
                Access::Write => self.machine.write_byte(pid, addr, first.wrapping_add(n).to_le_bytes()[0]),
            };
            if let Err(error) = result {
                let (signal, code) = answers::raised(&error);
                answer = Answer { refusal: answers::refusal(&error), ..signal.into() };
                answer.extras.sc = Some(i64::from(code));
                break;
            }
            done += 1;
        }
        answer.extras.done = Some(done);
        if access == Access::Read {
            read.truncate(SHOWN_BYTES);
            answer.extras.rd = Some(read);
        }
        answer
    }

    fn uaccess(&mut self, pid: Pid, addr: Vaddr, access: Access) -> Answer {
        let result = match access {
            Access::Read => self.machine.read_byte(pid, addr).map(|_| ()),
            Access::Write => self.machine.write_byte(pid, addr, 0),
        };
        answers::settled(result)
    }

    fn pagemap(&mut self, pid: Pid, map: NamedMap, first: u32, count: u32) -> Answer {
        let mut letters = String::new();
        for n in 0..count.min(SHOWN_PAGES) {
            let addr = at(map, i64::from(first) + i64::from(n), 0);
            let state = self.machine.page_state(pid, addr).unwrap_or(PageState::Absent);
            letters.push(match state {
                // The recordings do not tell a marker from nothing.
                PageState::Absent | PageState::Marker => '.',
                PageState::Present { uffd_wp: true, .. } => 'w',
                // Whether a 1 GiB page is exclusive is not reliable on Linux, so the recordings do not say.
                PageState::Present { anonymous, .. } if map.page == HugeSize::G1 => {
                    if anonymous {
                        'A'
                    } else {
                        'F'
                    }
                }
                PageState::Present { anonymous: true, exclusive, .. } => {
                    if exclusive {
                        'a'
                    } else {
                        'b'
                    }
                }
                PageState::Present { anonymous: false, exclusive, .. } => {
                    if exclusive {
                        'f'
                    } else {
                        'g'
                    }
                }
            });
        }
        Answer { extras: Extras { pm: Some(letters), ..Extras::default() }, ..Answer::ok() }
    }

    fn smaps(&mut self, pid: Pid, map: NamedMap) -> Answer {
        let end = Vaddr::new(map.addr.get().saturating_add(map.len.max(1)));
        let sum = self.machine.smaps(pid, VaddrRange::new(map.addr, end)).unwrap_or_default();
        let vmas = Some(u32::try_from(sum.areas).unwrap_or(u32::MAX));
        let kib = |bytes: Bytes| Some(bytes.get() / 1024);
        let extras = if map.page == HugeSize::G1 {
            Extras { vmas, hugetlb_kb: kib(sum.shared + sum.private), ..Extras::default() }
        } else {
            Extras { vmas, shared_kb: kib(sum.shared), private_kb: kib(sum.private), ..Extras::default() }
        };
        Answer { extras, ..Answer::ok() }
    }
}

pub(super) fn slot_address(slot: usize) -> u64 {
    SLOTS + slot as u64 * SLOT
}

/// The address `offset` bytes into page `page` of a mapping.
fn at(map: NamedMap, page: i64, offset: i64) -> Vaddr {
    let bytes = page.wrapping_mul(1 << map.page.shift().min(62)).wrapping_add(offset);
    Vaddr::new(map.addr.get().wrapping_add_signed(bytes))
}

/// One digit for each huge page that starts in the range, counted from its start.
fn residency(runs: &[(VaddrRange, bool)], start: Vaddr, page: HugeSize) -> String {
    let end = runs.last().map_or(start, |(run, _)| run.end);
    let mut digits = String::new();
    let mut at = start;
    while at < end {
        let resident = runs.iter().any(|(run, resident)| *resident && run.contains(at));
        digits.push(if resident { '1' } else { '0' });
        at = at + page.bytes();
    }
    digits
}

fn map_of(op: &Op) -> Option<&MapName> {
    match op {
        Op::Munmap(op::Munmap { map, .. })
        | Op::Mremap(op::Mremap { map, .. })
        | Op::Mprotect(op::Mprotect { map, .. })
        | Op::Madvise(op::Madvise { map, .. })
        | Op::Mlock(op::Mlock { map, .. })
        | Op::Munlock(op::Munlock { map, .. })
        | Op::Msync(op::Msync { map, .. })
        | Op::Mincore(op::Mincore { map, .. })
        | Op::Touch(op::Touch { map, .. })
        | Op::Uaccess(op::Uaccess { map, .. })
        | Op::Pagemap(op::Pagemap { map, .. })
        | Op::Smaps(op::Smaps { map, .. }) => Some(map),
        _ => None,
    }
}

fn range_of(op: &Op) -> Option<&Span> {
    match op {
        Op::Munmap(op::Munmap { range, .. })
        | Op::Mprotect(op::Mprotect { range, .. })
        | Op::Madvise(op::Madvise { range, .. })
        | Op::Mlock(op::Mlock { range, .. })
        | Op::Munlock(op::Munlock { range, .. })
        | Op::Msync(op::Msync { range, .. })
        | Op::Mincore(op::Mincore { range, .. }) => Some(range),
        _ => None,
    }
}

fn prot_of(protection: Protection) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, protection.read);
    prot.set(Prot::WRITE, protection.write);
    prot.set(Prot::EXEC, protection.exec);
    prot
}

/// As on Linux, shared and private together are the third kind of sharing.
fn share_of(flags: &Flags<MmapFlag>) -> Share {
    let validate = flags.has(MmapFlag::SharedValidate);
    match (flags.has(MmapFlag::Shared) || validate, flags.has(MmapFlag::Private) || validate) {
        (true, true) => Share::SharedValidate,
        (true, false) => Share::Shared,
        (false, true) => Share::Private,
        (false, false) => Share::Unspecified,
    }
}

fn flags_of(flags: &Flags<MmapFlag>) -> MapFlags {
    let mut how = MapFlags::empty();
    how.set(MapFlags::NORESERVE, flags.has(MmapFlag::Noreserve));
    how.set(MapFlags::POPULATE, flags.has(MmapFlag::Populate));
    how.set(MapFlags::LOCKED, flags.has(MmapFlag::Locked));
    how.set(MapFlags::NONBLOCK, flags.has(MmapFlag::Nonblock));
    how
}

fn told(advice: &Advice) -> Told {
    match advice {
        Advice::Normal => Told::NORMAL,
        Advice::Random => Told::RANDOM,
        Advice::Sequential => Told::SEQUENTIAL,
        Advice::Willneed | Advice::Mergeable | Advice::Keeponfork => Told::NoEffect,
        Advice::Dontneed | Advice::DontneedLocked => Told::DontNeed,
        Advice::Remove => Told::Remove,
        Advice::Dontfork => Told::DONT_FORK,
        Advice::Dofork => Told::DO_FORK,
        Advice::Dontdump => Told::DONT_DUMP,
        Advice::Hugepage => Told::HUGE_PAGE,
        Advice::Nohugepage => Told::NO_HUGE_PAGE,
        Advice::PopulateRead => Told::PopulateRead,
        Advice::PopulateWrite => Told::PopulateWrite,
        Advice::Split => Told::Split,
        Advice::Collapse => Told::Collapse,
        Advice::Free | Advice::Cold | Advice::Pageout | Advice::Wipeonfork => Told::Refused,
        Advice::Unknown(_) => Told::Unknown,
    }
}
