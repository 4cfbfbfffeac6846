//! What the generator believes to exist. It only has to be near the truth: operations on what is gone are wanted too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::op::{
    CgroupName, FallocateMode, FileName, MapName, Mmap, MmapFlag, MountName, Mremap, MremapFlag, Op, Open, OpenFlag,
    PinName, Protection, SegmentName, Shmat, Size, Span, UffdName,
};
use crate::target::Answer;

/// The size of a huge page in bytes.
pub(super) const PAGE: i64 = 2 << 20;

/// A mapping.
#[derive(Debug, Clone)]
pub(super) struct MapView {
    /// Its length in huge pages.
    pub(super) pages: u32,
    /// The pages that are still mapped, and what they may be used for.
    pub(super) live: BTreeMap<u32, Protection>,
    /// It has a place of its own, with nothing behind it.
    pub(super) apart: bool,
    pub(super) private: bool,
    /// It went through a fork.
    pub(super) forked: bool,
}

/// An open descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct DescriptorView {
    /// Which of the known files.
    pub(super) file: usize,
    pub(super) writable: bool,
}

/// A process.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessView {
    pub(super) maps: BTreeMap<MapName, MapView>,
    pub(super) files: BTreeMap<FileName, DescriptorView>,
    pub(super) uffds: BTreeSet<UffdName>,
    pub(super) pins: BTreeSet<PinName>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) processes: BTreeMap<u16, ProcessView>,
    pub(super) mounts: BTreeSet<MountName>,
    pub(super) groups: BTreeSet<CgroupName>,
    /// Files that have a name.
    pub(super) paths: BTreeMap<(MountName, String), usize>,
    /// The sizes of segments in huge pages.
    pub(super) segments: BTreeMap<SegmentName, u32>,
    /// The sizes of all known files in huge pages.
    pub(super) sizes: Vec<u32>,
}

/// Bytes as whole huge pages, rounded up.
fn pages(bytes: Size) -> u32 {
    u32::try_from(bytes.unsigned().div_ceil(PAGE.unsigned_abs())).unwrap_or(0)
}

fn page_range(span: Span) -> Range<u32> {
    let end = Size::bytes(span.off.signed().saturating_add(span.len.signed()));
    pages(span.off)..pages(end)
}

impl View {
    /// The believed size in pages of what a descriptor is open on.
    pub(super) fn size(&self, descriptor: DescriptorView) -> u32 {
        self.sizes.get(descriptor.file).copied().unwrap_or(0)
    }

    fn process(&mut self, op: &Op) -> Option<&mut ProcessView> {
        self.processes.get_mut(&op.actor()?.number())
    }

    fn resize(&mut self, op: &Op, file: &FileName, size: impl Fn(u32) -> u32) {
        let descriptor = self.process(op).and_then(|process| process.files.get(file).copied());
        if let Some(known) = descriptor.and_then(|descriptor| self.sizes.get_mut(descriptor.file)) {
            *known = size(*known);
        }
    }

    /// Takes in what an operation did.
    pub(super) fn observe(&mut self, op: &Op, answer: &Answer) {
        if !answer.result.is_ok() {
            if let Op::Mmap(call) = op
                && answer.result.word() == "ENOMEM"
            {
                self.covered(op, call, None);
            }
            return;
        }
        match op {
            Op::Spawn(spawn) => {
                self.processes.insert(spawn.actor.number(), ProcessView::default());
            }
            Op::CgCreate(_) | Op::CgRmdir(_) => self.group(op),
            Op::Fork(fork) => self.forked(fork.actor.number(), fork.child.number()),
            Op::Exit(_) | Op::Kill(_) => {
                self.processes.retain(|number, _| op.actor().is_none_or(|gone| gone.number() != *number));
            }
            Op::Mount(mount) => {
                self.mounts.insert(mount.mount.clone());
            }
            Op::Umount(umount) => {
                self.mounts.remove(&umount.mount);
                self.paths.retain(|(mount, _), _| *mount != umount.mount);
            }
            Op::Unlink(unlink) => {
                self.paths.remove(&(unlink.path.mount.clone(), unlink.path.name().to_owned()));
            }
            Op::Truncate(truncate) => {
                let path = (truncate.path.mount.clone(), truncate.path.name().to_owned());
                if let Some(size) = self.paths.get(&path).and_then(|file| self.sizes.get_mut(*file)) {
                    *size = pages(truncate.len);
                }
            }
            Op::Open(open) => self.opened(op, open),
            Op::Memfd(memfd) => {
                let file = self.new_file();
                self.add_descriptor(op, &memfd.file, DescriptorView { file, writable: true });
            }
            Op::Close(close) => {
                if let Some(process) = self.process(op) {
                    process.files.remove(&close.file);
                }
            }
            Op::UffdOpen(_) | Op::UffdClose(_) | Op::Pin(_) | Op::Udmabuf(_) | Op::Unpin(_) => self.named(op),
            Op::Ftruncate(call) => self.resize(op, &call.file, |_| pages(call.len)),
            Op::Fallocate(call) if call.mode.iter().all(|mode| mode != FallocateMode::KeepSize) => {
                let punches = call.mode.has(FallocateMode::Punch);
                let end = page_range(call.range).end;
                self.resize(op, &call.file, |known| if punches { known } else { known.max(end) });
            }
            Op::Mmap(call) => self.mapped(op, call),
            Op::Shmget(call) => {
                self.segments.insert(call.segment.clone(), pages(call.len));
            }
            Op::Shmat(call) => self.attached(op, call),
            Op::Shmdt(call) => self.unmapped(op, &call.map, 0..u32::MAX),
            Op::Munmap(call) => {
                let range = page_range(call.range);
                self.unmapped(op, &call.map, range);
            }
            Op::Mremap(call) => self.moved(op, call),
            Op::Mprotect(call) => {
                let range = page_range(call.range);
                let map = self.process(op).and_then(|process| process.maps.get_mut(&call.map));
                for (_, prot) in map.into_iter().flat_map(|map| map.live.range_mut(range.clone())) {
                    *prot = call.prot;
                }
            }
            _ => {}
        }
    }

    /// A control group is made or removed.
    fn group(&mut self, op: &Op) {
        match op {
            Op::CgCreate(create) => _ = self.groups.insert(create.cg.clone()),
            Op::CgRmdir(rmdir) => _ = self.groups.remove(&rmdir.cg),
            _ => {}
        }
    }

    /// A userfaultfd is opened or closed, or pages are pinned or let go.
    fn named(&mut self, op: &Op) {
        match (op, self.process(op)) {
            (Op::UffdOpen(open), Some(process)) => _ = process.uffds.insert(open.uffd.clone()),
            (Op::UffdClose(close), Some(process)) => _ = process.uffds.remove(&close.uffd),
            (Op::Pin(pin), Some(process)) => _ = process.pins.insert(pin.pin.clone()),
            (Op::Udmabuf(pin), Some(process)) => _ = process.pins.insert(pin.pin.clone()),
            (Op::Unpin(unpin), Some(process)) => _ = process.pins.remove(&unpin.pin),
            _ => {}
        }
    }

    fn new_file(&mut self) -> usize {
        self.sizes.push(0);
        self.sizes.len() - 1
    }

    fn add_descriptor(&mut self, op: &Op, name: &FileName, descriptor: DescriptorView) {
        if let Some(process) = self.process(op) {
            process.files.insert(name.clone(), descriptor);
        }
    }

    fn opened(&mut self, op: &Op, open: &Open) {
        let path = (open.path.mount.clone(), open.path.name().to_owned());
        let named = !open.flags.has(OpenFlag::Tmpfile);
        let known = self.paths.get(&path).copied().filter(|_| named);
        let file = known.unwrap_or_else(|| self.new_file());
        if open.flags.has(OpenFlag::Trunc) {
            self.sizes[file] = 0;
        }
        if named {
            self.paths.insert(path, file);
        }
        let writable = !open.flags.has(OpenFlag::Rdonly);
        self.add_descriptor(op, &open.file, DescriptorView { file, writable });
    }

    fn forked(&mut self, parent: u16, child: u16) {
        let Some(process) = self.processes.get_mut(&parent) else {
            return;
        };
        for map in process.maps.values_mut() {
            map.forked |= map.private;
        }
        let copy = ProcessView { pins: BTreeSet::new(), ..process.clone() };
        self.processes.insert(child, copy);
    }

    fn mapped(&mut self, op: &Op, call: &Mmap) {
        let count = pages(call.len);
        let private = call.flags.has(MmapFlag::Private);
        let end = count.saturating_add(pages(call.off.unwrap_or_default()));
        if let Some(file) = &call.file {
            self.resize(op, file, |known| if count <= 64 { known.max(end) } else { known });
        }
        let prot = call.prot.unwrap_or(Protection::READ_WRITE);
        self.covered(op, call, Some(prot));
        if let Some(process) = self.process(op) {
            let live = (0..count.min(64)).map(|page| (page, prot)).collect();
            let apart = match &call.at {
                Some(at) => process.maps.get(at).is_some_and(|under| under.apart),
                None => !call.flags.has(MmapFlag::Noaddr),
            };
            let map = MapView { pages: count, live, apart, private, forked: false };
            process.maps.insert(call.map.clone(), map);
        }
    }

    fn attached(&mut self, op: &Op, call: &Shmat) {
        let pages = self.segments.get(&call.segment).copied().unwrap_or(1);
        let prot = if call.flags.is_some() {
            Protection { write: false, ..Protection::READ_WRITE }
        } else {
            Protection::READ_WRITE
        };
        if let Some(process) = self.process(op) {
            let live = (0..pages).map(|page| (page, prot)).collect();
            let map = MapView { pages, live, apart: true, private: false, forked: false };
            process.maps.insert(call.map.clone(), map);
        }
    }

    /// What lies under a mapping laid over it: the new one shows through, or nothing where that came to nothing.
    fn covered(&mut self, op: &Op, call: &Mmap, prot: Option<Protection>) {
        let Some(at) = &call.at else {
            return;
        };
        let range = page_range(Span::new(call.at_off.unwrap_or_default(), call.len));
        match prot {
            None => self.unmapped(op, at, range),
            Some(prot) => {
                let map = self.process(op).and_then(|process| process.maps.get_mut(at));
                if let Some(map) = map {
                    let inside = range.start..range.end.min(map.pages);
                    map.live.extend(inside.map(|page| (page, prot)));
                }
            }
        }
    }

    fn unmapped(&mut self, op: &Op, name: &MapName, range: Range<u32>) {
        let Some(process) = self.process(op) else {
            return;
        };
        if let Some(map) = process.maps.get_mut(name) {
            map.live.retain(|page, _| !range.contains(page));
            if map.live.is_empty() {
                process.maps.remove(name);
            }
        }
    }

    fn moved(&mut self, op: &Op, call: &Mremap) {
        let off = call.off.unwrap_or_default();
        let (old, new) = (pages(call.old), pages(call.new));
        let start = pages(off);
        let known = self.process(op).and_then(|process| process.maps.get(&call.map).cloned());
        let moves = call.flags.has(MremapFlag::Fixed);
        let gone = if moves { start..start + old } else { start + new..start + old };
        self.unmapped(op, &call.map, gone);
        let target = call.to.as_ref().filter(|_| moves);
        if let (Some(map), Some(to), Some(process)) = (known, target, self.process(op)) {
            let live = map.live.range(start..start + new).map(|(page, prot)| (page - start, *prot)).collect();
            let target = MapView { pages: new, live, apart: true, ..map };
            process.maps.insert(to.clone(), target);
        }
    }
}
