//! Operations on mappings.

use super::edges::{Part, bytes};
use super::view::PAGE;
use super::{Action, Generator};
use crate::op::{
    Access, Actor, Advice, Fill, Flags, Madvise, MapName, Mincore, Mlock, Mmap, MmapFlag, Mprotect, Mremap, MremapFlag,
    Msync, Munlock, Munmap, Op, PageIndex, PageTotal, Pagemap, Pages, Protection, Size, Smaps, Touch, Uaccess,
};

/// How many names a process may give to mappings.
const NAMES: u32 = 16;
/// From how many mappings on a process has many.
const MANY: usize = 6;

const READ: Protection = Protection { read: true, write: false, exec: false };
const WRITE: Protection = Protection { read: false, write: true, exec: false };
const NONE: Protection = Protection { read: false, write: false, exec: false };

impl Generator {
    fn map_name(&mut self, index: u32) -> Option<MapName> {
        MapName::new(&format!("m{}", index % NAMES)).ok()
    }

    /// A name that the process does not use, as a rule. A process that has many mappings seldom gets another.
    pub(super) fn new_map(&mut self, actor: Actor) -> Option<MapName> {
        let held = self.view.processes.get(&actor.number())?.maps.len();
        if held >= MANY && self.random.percent(80) {
            return None;
        }
        let start = self.random.below(NAMES);
        let careless = self.random.percent(2);
        for index in start..start + NAMES {
            let name = self.map_name(index)?;
            let process = self.view.processes.get(&actor.number())?;
            if careless || !process.maps.contains_key(&name) {
                return Some(name);
            }
        }
        None
    }

    /// An mmap call of so many pages, with the flags and protections that come now and then.
    fn mmap(&mut self, actor: Actor, map: MapName, pages: u32, mut flags: Vec<MmapFlag>) -> Mmap {
        for (flag, percent) in [
            (MmapFlag::Noreserve, 20),
            (MmapFlag::Populate, 8),
            (MmapFlag::Locked, 2),
            (MmapFlag::Nonblock, 1),
            (MmapFlag::Noaddr, if self.on_kernel { 0 } else { 2 }),
            (MmapFlag::Fixed, 2),
        ] {
            if self.random.percent(percent) {
                flags.push(flag);
            }
        }
        let prot = match self.random.below(40) {
            0..4 => Some(READ),
            4 => Some(NONE),
            5 => Some(WRITE),
            _ => None,
        };
        let less = if self.random.percent(3) { *self.random.of(&[1, 4096]) } else { 0 };
        Mmap {
            actor,
            map,
            len: Size::bytes(bytes(pages) - less),
            flags: Flags::of(&flags),
            file: None,
            off: None,
            pagesize: None,
            prot,
            addr_off: self.random.percent(1).then(|| Size::bytes(*self.random.of(&[4096, PAGE, bytes(4)]))),
            at: None,
            at_off: None,
        }
    }

    fn sharing(&mut self, private_percent: u32) -> MmapFlag {
        if self.random.percent(private_percent) { MmapFlag::Private } else { MmapFlag::Shared }
    }

    pub(super) fn anonymous(&mut self) -> Option<Op> {
        let actor = self.process()?;
        let map = self.new_map(actor)?;
        let pages = *self.random.of(&[1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 8]);
        let sharing = self.sharing(75);
        Some(self.mmap(actor, map, pages, vec![sharing, MmapFlag::Anon]).into())
    }

    pub(super) fn map_file(&mut self) -> Option<Op> {
        let (actor, file, descriptor) = self.descriptor()?;
        let map = self.new_map(actor)?;
        let size = self.view.size(descriptor).clamp(1, 8);
        let first = self.random.below(size);
        let mut pages = self.random.between(1, size - first);
        if self.random.percent(12) {
            pages = (pages + self.random.between(1, 2)).min(8);
        }
        let sharing = self.sharing(40);
        let mut call = self.mmap(actor, map, pages, vec![sharing]);
        let crooked = if self.random.percent(2) { 4096 } else { 0 };
        let off = bytes(first) + crooked;
        call.off = (off > 0).then(|| Size::bytes(off));
        call.file = Some(file);
        if !descriptor.writable && self.random.percent(80) {
            call.prot = Some(READ);
        }
        Some(call.into())
    }

    /// A mapping laid over a piece of another one, or over its end.
    pub(super) fn overlay(&mut self) -> Option<Op> {
        let (actor, at, under) = self.map()?;
        let map = if self.random.percent(15) { at.clone() } else { self.new_map(actor)? };
        let piece = self.piece(&under);
        let more = if under.apart && self.random.percent(15) { self.random.between(1, 2) } else { 0 };
        let file = self.view.processes.get(&actor.number())?.files.keys().next().cloned();
        let file = file.filter(|_| self.random.percent(25));
        let sharing = self.sharing(65);
        let flags = if file.is_some() { vec![sharing] } else { vec![sharing, MmapFlag::Anon] };
        let mut call = self.mmap(actor, map, (piece.count + more).min(8), flags);
        let crooked = if self.random.percent(3) { 4096 } else { 0 };
        call.file = file;
        call.addr_off = None;
        call.at = Some(at);
        call.at_off = Some(Size::bytes(bytes(piece.first) + crooked));
        Some(call.into())
    }

    /// Pages of a mapping that can be loaded or stored, as a rule.
    fn usable(&mut self, access: Access) -> Option<(Actor, MapName, Part)> {
        let fits = |prot: Protection| prot.write || (access == Access::Read && prot.read);
        let any = self.random.percent(5);
        let (actor, map, view) = self.map_that(|map| any || map.live.values().any(|prot| fits(*prot)))?;
        let part = self.part(&view, fits);
        Some((actor, map, part))
    }

    pub(super) fn touch(&mut self, access: Access) -> Option<Op> {
        let (actor, map, Part { first, count }) = self.usable(access)?;
        let value = (access == Access::Write).then(|| Fill::new(self.random.between(1, 200)));
        let poff = self.random.percent(4).then(|| Size::bytes(*self.random.of(&[4096, PAGE - 1, 8192])));
        Some(Touch { actor, map, pages: Pages::new(first, count), access, poff, value }.into())
    }

    pub(super) fn uaccess(&mut self) -> Option<Op> {
        let access = *self.random.of(&[Access::Read, Access::Write]);
        let (actor, map, part) = self.usable(access)?;
        Some(Uaccess { actor, map, page: PageIndex::new(part.first), access }.into())
    }

    pub(super) fn munmap(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let piece = self.piece(&view);
        let range = self.span(&view, piece, 6);
        Some(Munmap { actor, map, range }.into())
    }

    pub(super) fn mprotect(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let part = if self.random.percent(50) { self.part(&view, |_| true) } else { self.piece(&view) };
        let range = self.span(&view, part, 10);
        let prot = *self.random.of(&[
            READ,
            READ,
            Protection::READ_WRITE,
            Protection::READ_WRITE,
            Protection::READ_WRITE,
            NONE,
            WRITE,
        ]);
        Some(Mprotect { actor, map, range, prot }.into())
    }

    /// Moves of whole mappings, of pieces, over several VMAs, onto other mappings; shrinks; and what is refused.
    pub(super) fn mremap(&mut self) -> Option<Op> {
        let on_kernel = self.on_kernel;
        let (actor, map, view) = self.map_that(|map| !(on_kernel && map.forked))?;
        let whole = Part { first: 0, count: view.pages.max(1) };
        let part = if self.random.percent(50) { whole } else { self.piece(&view) };
        let less = self.random.below(part.count);
        let moves = vec![MremapFlag::Maymove, MremapFlag::Fixed];
        let (new, flags) = match self.random.below(20) {
            0..11 => (part.count, moves),
            11..13 => (part.count - less, moves),
            13..16 => (part.count - less, vec![]),
            16 if view.apart => (part.count + 1, vec![MremapFlag::Maymove]),
            17 => (part.count, vec![MremapFlag::Maymove, MremapFlag::Dontunmap]),
            18 => (part.count, vec![]),
            _ => (part.count, vec![MremapFlag::Fixed]),
        };
        let target = if self.random.percent(20) { self.map_name_in_use(actor) } else { self.new_map(actor) };
        let to = if flags.contains(&MremapFlag::Fixed) { Some(target?) } else { None };
        let crooked = if view.apart && self.random.percent(4) { *self.random.of(&[1, 4096, -4096]) } else { 0 };
        let (mut off, mut old) = (bytes(part.first), bytes(part.count));
        if self.random.percent(50) {
            old = (old + crooked).max(0);
        } else {
            off = (off + crooked).max(0);
        }
        let addr_off = (to.is_some() && self.random.percent(10)).then(|| Size::bytes(*self.random.of(&[4096, PAGE])));
        let off = (off > 0).then(|| Size::bytes(off));
        let (old, new) = (Size::bytes(old), Size::bytes(bytes(new)));
        Some(Mremap { actor, map, old, new, flags: Flags::of(&flags), off, to, addr_off }.into())
    }

    pub(super) fn map_name_in_use(&mut self, actor: Actor) -> Option<MapName> {
        let process = self.view.processes.get(&actor.number())?;
        let names: Vec<MapName> = process.maps.keys().cloned().collect();
        self.random.any(names)
    }

    pub(super) fn madvise(&mut self, action: Action) -> Option<Op> {
        let wants_shared = action == Action::Remove && self.random.percent(90);
        let (actor, map, view) = self.map_that(|map| !(wants_shared && map.private))?;
        let part = if self.random.percent(70) { self.part(&view, |_| true) } else { self.piece(&view) };
        let range = self.span(&view, part, 8);
        let advice = match action {
            Action::Dontneed => [Advice::Dontneed, Advice::Dontneed, Advice::Dontneed, Advice::DontneedLocked].to_vec(),
            Action::Remove => [Advice::Remove].to_vec(),
            Action::Populate => [Advice::PopulateRead, Advice::PopulateWrite, Advice::PopulateWrite].to_vec(),
            _ => [
                Advice::Dontfork,
                Advice::Dontfork,
                Advice::Dofork,
                Advice::Willneed,
                Advice::Random,
                Advice::Normal,
                Advice::Hugepage,
                Advice::Mergeable,
                Advice::Dontdump,
                Advice::Free,
            ]
            .to_vec(),
        };
        let advice = self.random.any(advice)?;
        Some(Madvise { actor, map, range, advice }.into())
    }

    pub(super) fn lock(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        let piece = self.piece(&view);
        let range = self.span(&view, piece, 15);
        Some(match self.random.below(4) {
            0 => Munlock { actor, map, range }.into(),
            1 => Msync { actor, map, range }.into(),
            _ => Mlock { actor, map, range }.into(),
        })
    }

    /// What a process can see of its mappings.
    pub(super) fn ask(&mut self) -> Option<Op> {
        let (actor, map, view) = self.map()?;
        Some(match self.random.below(5) {
            0 => {
                let piece = self.piece(&view);
                let range = self.span(&view, piece, 5);
                Mincore { actor, map, range }.into()
            }
            1 | 2 => Smaps { actor, map }.into(),
            _ => {
                let wide = view.apart && self.random.percent(20);
                let count = wide.then(|| PageTotal::new(view.pages + 2));
                Pagemap { actor, map, page: None, count }.into()
            }
        })
    }
}
