//! mmap, with the order in which Linux finds what is wrong.

use super::cgroup::Charge;
use super::seal::{FUTURE_WRITE, WRITE};
use super::world::{
    CHOSEN_END, Descriptor, FIRST_SLOT, File, FileId, Hints, Named, Opened, Owner, OwnerId, PAGE, PROGRAM, SLOT, SMALL,
    TASK_END, Vma, aligned, ceil, count, pages_in,
};
use super::{Fail, NaiveMachine, Outcome, no_1g};
use crate::op::{MapName, Mmap, MmapFlag, Protection, SizeName};
use crate::target::Answer;

/// What is mapped.
enum Source {
    Anonymous,
    Descriptor(Descriptor),
}

/// Where a mapping goes.
#[derive(Clone, Copy)]
struct Place {
    addr: u64,
    /// MAP_FIXED: what is there goes.
    replaces: bool,
}

fn errno<T>(name: &'static str) -> Result<T, Fail> {
    Err(Fail::Errno(name))
}

impl NaiveMachine {
    /// The address that a name's mapping gets.
    pub(super) fn slot_address(&mut self, name: &MapName) -> u64 {
        let slot = u64::try_from(self.slot(name)).unwrap_or(u64::MAX);
        FIRST_SLOT.wrapping_add(slot.wrapping_mul(SLOT))
    }

    /// A file that nothing refers to any more lasts until the call ends.
    pub(super) fn mmap(&mut self, p: u16, op: &Mmap) -> Outcome {
        let outcome = self.map_over(p, op);
        self.evict_unused();
        outcome
    }

    fn map_over(&mut self, p: u16, op: &Mmap) -> Outcome {
        self.slot(&op.map);
        if op.flags.has(MmapFlag::Small) {
            return Err(Fail::NotModelled("mappings of base pages"));
        }
        let off = op.off.unwrap_or_default().unsigned();
        if !off.is_multiple_of(SMALL) {
            return errno("EINVAL");
        }
        let source = self.source(p, op)?;
        let len = ceil(op.len.unsigned()).filter(|len| *len > 0);
        let len = len.ok_or(Fail::Errno("EINVAL"))?;
        if len > TASK_END {
            return errno("ENOMEM");
        }
        let place = self.place(p, op, len)?;
        if off.checked_add(len).is_none_or(|end| end > i64::MAX.cast_unsigned()) {
            return errno("EOVERFLOW");
        }
        let prot = op.prot.unwrap_or(Protection::READ_WRITE);
        let sealed = self.sealed(&source);
        if sealed && prot.write && (op.flags.has(MmapFlag::Shared) || op.flags.has(MmapFlag::SharedValidate)) {
            return errno("EPERM");
        }
        let shared = shared(op)?;
        let (opened, writable) = check_access(&source, shared, prot)?;
        let may_write = writable && !(shared && sealed);
        if place.replaces {
            self.unmap_areas(p, place.addr, place.addr + len);
        }
        if !aligned(off) {
            return errno("EINVAL");
        }
        let file = opened.unwrap_or_else(|| self.hidden_file(len));
        let vma = Vma {
            start: place.addr,
            end: place.addr + len,
            file,
            first: off / PAGE,
            shared,
            prot,
            may_write,
            reads_only: !writable,
            owner: None,
            stolen: false,
            had_anon: false,
            hints: Hints::default(),
            attach: 0,
            watch: None,
            policy: None,
            place: self.last_place(),
        };
        if !op.flags.has(MmapFlag::Noreserve) {
            let vma = self.reserve(p, vma).ok_or(Fail::Errno("ENOMEM"))?;
            self.process_mut(p).insert(vma);
        } else {
            self.process_mut(p).insert(vma);
        }
        self.mapped(p, op, vma)
    }

    /// What a mapping does after it stands: a writable one moves the file's end, and some bring in their pages.
    fn mapped(&mut self, p: u16, op: &Mmap, vma: Vma) -> Outcome {
        if vma.prot.write {
            let end = vma.index(vma.end) * PAGE;
            let file = self.file_mut(vma.file);
            file.size = file.size.max(end);
        }
        let named = Named { addr: vma.start, len: op.len.unsigned() };
        self.process_mut(p).names.insert(op.map.clone(), named);
        let populates = op.flags.has(MmapFlag::Populate) && !op.flags.has(MmapFlag::Nonblock);
        if populates || op.flags.has(MmapFlag::Locked) {
            // The call succeeds however many pages come in.
            let _partly = self.populate(p, vma.start, vma.end);
        }
        Ok(Answer::ok())
    }

    /// What is mapped: a hidden file of the size asked for, or a descriptor; MAP_HUGETLB on a descriptor has no effect.
    fn source(&self, p: u16, op: &Mmap) -> Result<Source, Fail> {
        if op.flags.has(MmapFlag::Anon) {
            no_1g(op.pagesize)?;
            return match op.pagesize {
                None | Some(SizeName::Default | SizeName::M2 | SizeName::Log(21)) => Ok(Source::Anonymous),
                Some(SizeName::Log(0)) => Err(Fail::NotModelled("the size log:0")),
                Some(_) => errno("EINVAL"),
            };
        }
        let file = op.file.as_ref();
        file.and_then(|name| self.process(p).descriptor(name)).map(Source::Descriptor).ok_or(Fail::Errno("EBADF"))
    }

    /// Whether a file is sealed against writing.
    fn sealed(&self, source: &Source) -> bool {
        let Source::Descriptor(Descriptor { on: Opened::File(file), .. }) = source else {
            return false;
        };
        self.file(*file).seals & (WRITE | FUTURE_WRITE) != 0
    }

    /// The address: the name's own place, where nothing may be, or over another mapping, or wherever there is room.
    fn place(&mut self, p: u16, op: &Mmap, len: u64) -> Result<Place, Fail> {
        let (addr, replaces) = if let Some(at) = &op.at {
            self.slot(at);
            let base = self.process(p).names.get(at).map_or(0, |named| named.addr);
            let at_off = op.at_off.unwrap_or_default().unsigned();
            (base.wrapping_add(at_off), true)
        } else if op.flags.has(MmapFlag::Noaddr) {
            return self.gap(p, len).map(|addr| Place { addr, replaces: false }).ok_or(Fail::Errno("ENOMEM"));
        } else {
            let addr_off = op.addr_off.unwrap_or_default().unsigned();
            let addr = self.slot_address(&op.map).wrapping_add(addr_off);
            (addr, op.flags.has(MmapFlag::Fixed))
        };
        if !aligned(addr) {
            return errno("EINVAL");
        }
        let end = addr.checked_add(len).filter(|end| *end <= TASK_END);
        let end = end.ok_or(Fail::Errno("ENOMEM"))?;
        let occupied = end > PROGRAM || !self.process(p).vmas_in(addr, end).is_empty();
        if occupied && !replaces {
            return errno("EEXIST");
        }
        Ok(Place { addr, replaces })
    }

    /// The highest free room below the region for mappings without address.
    fn gap(&self, p: u16, len: u64) -> Option<u64> {
        let mut end = CHOSEN_END;
        for vma in self.process(p).vmas.iter().rev() {
            if vma.end <= end {
                if end - vma.end >= len {
                    break;
                }
                end = vma.start;
            }
        }
        end.checked_sub(len)
    }

    pub(super) fn hidden_file(&mut self, size: u64) -> FileId {
        let id = FileId(self.fresh_id());
        let file = File { size, ..File::default() };
        self.files.insert(id, file);
        id
    }

    /// Counts pages against the mount of a file and reserves what its minimum does not lend.
    fn reserve_of_mount(&mut self, p: u16, file: FileId, pages: i64) -> bool {
        let mount = self.file(file).mount;
        let Some(missing) = self.count_in(mount, pages) else {
            return false;
        };
        let reserved = self.pool.reserve(missing, &self.promise_nodes(p));
        if !reserved {
            self.refuse_reservation(mount, pages, pages - missing);
        }
        reserved
    }

    /// Promises one page of a file to itself.
    pub(super) fn promise(&mut self, p: u16, file: FileId, index: u64) -> Option<()> {
        let payer = self.payer(p);
        if !self.may_charge(payer, Charge::Rsvd, 1) || !self.reserve_of_mount(p, file, 1) {
            return None;
        }
        self.file_mut(file).reserved.insert(index, payer);
        Some(())
    }

    /// Reserves for a new VMA: a private one gets all its pages and becomes the owner, a shared one what its file lacks.
    fn reserve(&mut self, p: u16, vma: Vma) -> Option<Vma> {
        let payer = self.payer(p);
        let pages = pages_in(vma.end - vma.start);
        let range = vma.first..vma.index(vma.end);
        if vma.shared {
            let there = self.file(vma.file).reserved.range(range.clone()).count();
            let missing = pages - count(there);
            if !self.may_charge(payer, Charge::Rsvd, missing) || !self.reserve_of_mount(p, vma.file, missing) {
                return None;
            }
            for index in range {
                self.file_mut(vma.file).reserved.entry(index).or_insert(payer);
            }
            return Some(vma);
        }
        if !self.may_charge(payer, Charge::Rsvd, pages) || !self.reserve_of_mount(p, vma.file, pages) {
            return None;
        }
        let owner = OwnerId(self.fresh_id());
        self.owners.insert(owner, Owner { payer, ..Owner::default() });
        Some(Vma { owner: Some(owner), ..vma })
    }
}

/// Whether the mapping is shared. MAP_SHARED and MAP_PRIVATE together are MAP_SHARED_VALIDATE, which knows no
/// MAP_FIXED_NOREPLACE.
fn shared(op: &Mmap) -> Result<bool, Fail> {
    let has = |flag| op.flags.has(flag);
    let validated = has(MmapFlag::SharedValidate) || has(MmapFlag::Shared) && has(MmapFlag::Private);
    let noreplace = op.at.is_none() && !has(MmapFlag::Noaddr) && !has(MmapFlag::Fixed);
    if validated && noreplace {
        return errno("EOPNOTSUPP");
    }
    if !validated && !has(MmapFlag::Shared) && !has(MmapFlag::Private) {
        return errno("EINVAL");
    }
    Ok(validated || has(MmapFlag::Shared))
}

/// The file, and whether the mapping may ever be writable: a shared one only through a writable descriptor.
fn check_access(source: &Source, shared: bool, prot: Protection) -> Result<(Option<FileId>, bool), Fail> {
    let Source::Descriptor(descriptor) = source else {
        return Ok((None, true));
    };
    let may_write = !shared || descriptor.write;
    if !descriptor.read || (prot.write && !may_write) {
        return errno("EACCES");
    }
    match descriptor.on {
        Opened::File(file) => Ok((Some(file), may_write)),
        Opened::Directory(_) => errno("ENODEV"),
    }
}
