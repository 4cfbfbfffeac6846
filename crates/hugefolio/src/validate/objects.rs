//! Objects that refer to each other agree about it.

use std::collections::{BTreeMap, BTreeSet};

use hugetlb::{Deferred, HugeFolio};
use hugetlbfs::{Hold, InodeKind};
use memmap::{Broken, FolioKind, HugeSlot};
use mm::VmaFlags;
use units::{HstateId, InodeId, MountId, Pfn};
use zone::Held;

use super::broken;
use crate::Machine;

impl Machine {
    /// Recounts what objects know of each other beyond counters.
    pub(super) fn validate_objects(&self) -> Result<(), Broken> {
        self.validate_places()?;
        self.validate_slots()?;
        self.validate_deferred()?;
        self.validate_areas()?;
        self.validate_pages()?;
        self.validate_mounts()
    }

    /// What is allocated is so in its zone, too, as one block; and every process has an address space of its own.
    fn validate_places(&self) -> Result<(), Broken> {
        let whole = self.memmap.iter().map(|(pfn, folio)| (pfn, folio.order));
        let split = self.memmap.splits().map(|(pfn, split)| (pfn, split.order));
        for (pfn, order) in whole.chain(split) {
            let found = self.pages.zones().find_map(|(zone, _)| zone.find(pfn));
            let there = found.is_some_and(|found| {
                (found.pfn, found.order) == (pfn, order) && matches!(found.held, Held::Used | Held::Movable)
            });
            if !there {
                return broken(format!("{pfn} of {order} is no allocated block: its zone has {found:?}"));
            }
        }
        for (_, block) in self.blocks.iter() {
            let folio = self.memmap.get(block.pfn).map(|folio| (folio.kind, folio.order));
            let zone = self.pages.zone(block.zone).and_then(|zone| zone.find(block.pfn));
            if zone.is_none() || folio != Some((FolioKind::Page, block.order)) {
                return broken(format!("{} is held as a block of {} and is none", block.pfn, block.order));
            }
        }
        let mut seen = BTreeSet::new();
        match self.processes.values().find(|p| !self.spaces.contains_key(p.mm) || !seen.insert(p.mm)) {
            Some(process) => broken(format!("{:?} of a process is gone, or another one has it", process.mm)),
            None => Ok(()),
        }
    }

    /// Each huge page has a record of its own in its pool, which knows where it is.
    fn validate_slots(&self) -> Result<(), Broken> {
        let mut known = BTreeMap::new();
        for (n, pool) in (0..=u8::MAX).zip(&self.pools) {
            for folio in pool.folios(HstateId::new(n)) {
                known.insert(folio.pfn, folio);
            }
        }
        for (pfn, folio) in self.memmap.iter() {
            let (FolioKind::Huge(at) | FolioKind::Leaving(at)) = folio.kind else { continue };
            let HugeSlot { hstate, slot } = at;
            let size = self.config.hstates.get(hstate).order;
            let record = known.remove(&pfn).filter(|record| record.in_slot(hstate, slot));
            let zone = record.and_then(|record| self.pages.zone(record.zone_ref()));
            if zone.is_none_or(|zone| zone.find(pfn).is_none()) || folio.order != size {
                return broken(format!("{pfn} of {} is no page that {hstate} knows in slot {slot}", folio.order));
            }
        }
        for (pfn, split) in self.memmap.splits() {
            let HugeSlot { hstate, slot } = split.slot;
            let record = known.remove(&pfn).filter(|record| record.in_slot(hstate, slot));
            if record.is_none() || split.order != self.config.hstates.get(hstate).order {
                return broken(format!("{pfn} was split, and is no page that {hstate} knows in slot {slot}"));
            }
        }
        if let Some(folio) = known.values().next() {
            return broken(format!("{} knows a page at {} that is not there", folio.hstate, folio.pfn));
        }
        for shelf in self.shelves.iter().flatten() {
            shelf.validate().map_err(Broken)?;
        }
        for folio in self.shelves.iter().flatten().flat_map(hugetlb::Shelf::iter) {
            let kind = self.memmap.get(folio.pfn).map(|record| record.kind);
            if !matches!(kind, Some(FolioKind::Huge(slot)) if folio.in_slot(slot.hstate, slot.slot)) {
                return broken(format!("{} lies on a shelf under another name", folio.pfn));
            }
        }
        Ok(())
    }

    /// Is it a page in pieces, all of which wait?
    fn is_to_be_gathered(&self, folio: HugeFolio) -> bool {
        self.memmap.split_around(folio.pfn).is_some_and(|(first, order, slot)| {
            let pool = &self.pools[slot.hstate.index()];
            first == folio.pfn
                && folio.in_slot(slot.hstate, slot.slot)
                && pool.records().waiting(folio) == order.pages()
        })
    }

    /// What waits for its descriptors is put off, once, and nobody has it.
    fn validate_deferred(&self) -> Result<(), Broken> {
        self.deferred.validate().map_err(Broken)?;
        let mut waiting: BTreeMap<Pfn, HugeSlot> = BTreeMap::new();
        for (pfn, folio) in self.memmap.iter() {
            let FolioKind::Leaving(at) = folio.kind else { continue };
            waiting.insert(pfn, at);
            if folio.refs() > 0 {
                return broken(format!("{pfn} has left its pool and is referred to"));
            }
        }
        for (n, pool) in (0..=u8::MAX).zip(&self.pools) {
            let of = waiting.values().filter(|at| at.hstate == HstateId::new(n)).count();
            if u64::try_from(of) != Ok(pool.leaving().get()) {
                return broken(format!("pool {n} counts {} leaving, {of} do", pool.leaving()));
            }
        }
        for work in self.deferred.iter() {
            let known = match work {
                Deferred::Destroy(folio) => {
                    waiting.remove(&folio.pfn).is_some_and(|at| folio.in_slot(at.hstate, at.slot))
                }
                Deferred::Gather(folio) => self.is_to_be_gathered(folio),
                _ => true,
            };
            if !known {
                return broken(format!("{} is to be done to what does not wait for it", work.pfn()));
            }
        }
        match waiting.keys().next() {
            Some(pfn) => broken(format!("{pfn} waits for what nobody has to do")),
            None => Ok(()),
        }
    }

    /// Areas are apart, each is made of whole pages of its file's size, and entries lie inside them.
    fn validate_areas(&self) -> Result<(), Broken> {
        let mut ids = BTreeSet::new();
        for (mm, vmas) in self.spaces.iter() {
            vmas.validate().map_err(|what| Broken(format!("{mm:?}: {what}")))?;
            for vma in vmas.iter() {
                let page = self.config.hstates.get(vma.hstate).size;
                let whole = [vma.range.start, vma.range.end].iter().all(|at| at.is_aligned(page.bytes()));
                let file = self.inodes.get(vma.inode).map(|inode| inode.hstate);
                if !whole || vma.size != page || file != Some(vma.hstate) || !ids.insert(vma.id) {
                    return broken(format!("{} of {mm:?} is not made of pages of its file, or there twice", vma.id));
                }
            }
            let Some(table) = self.tables.get(mm) else { return broken(format!("{mm:?} has no table")) };
            table.validate(self.config.task_size).map_err(|what| Broken(format!("{mm:?}: {what}")))?;
            for (addr, entry) in table.iter() {
                if vmas.find(addr).is_none_or(|vma| vma.size != entry.size) {
                    return broken(format!("the entry at {addr} of {mm:?} lies in no area of such pages"));
                }
                self.validate_kind(entry.pfn, |hstate| self.config.hstates.get(hstate).size == entry.size)?;
            }
            for (addr, pieces) in table.iter_pieces() {
                let area = vmas.find(addr).filter(|vma| vma.flags.contains(VmaFlags::PIECES) && vma.is_shared());
                if area.is_none_or(|vma| vma.size != pieces.size()) {
                    return broken(format!("the pieces at {addr} of {mm:?} lie in no area that may have them"));
                }
                self.validate_kind(pieces.pfn(), |hstate| self.config.hstates.get(hstate).size == pieces.size())?;
            }
        }
        Ok(())
    }

    /// What a file has in memory are pages of its size.
    fn validate_pages(&self) -> Result<(), Broken> {
        for (id, cache) in &self.caches {
            let size = self.inodes.get(id).map(|inode| inode.hstate);
            cache.iter().try_for_each(|(_, pfn)| self.validate_kind(pfn, |hstate| Some(hstate) == size))?;
        }
        Ok(())
    }

    fn validate_kind(&self, pfn: Pfn, fits: impl FnOnce(HstateId) -> bool) -> Result<(), Broken> {
        match self.memmap.get(pfn).map(|folio| folio.kind) {
            Some(FolioKind::Huge(slot)) if fits(slot.hstate) => Ok(()),
            _ => broken(format!("{pfn} is used as a huge page of a size that it has not")),
        }
    }

    /// A mount counts its files, a file its names, and both are of one size.
    fn validate_mounts(&self) -> Result<(), Broken> {
        let mut names: BTreeMap<InodeId, u32> = BTreeMap::new();
        for (id, mount) in self.mounts.iter() {
            for (name, file) in mount.names() {
                *names.entry(file).or_default() += 1;
                if self.inodes.get(file).map(|inode| inode.kind) != Some(InodeKind::OnMount(id)) {
                    return broken(format!("{name} of {id:?} is no file of it"));
                }
            }
            if mount.subpool.is_some_and(|subpool| !self.subpools.contains_key(subpool)) {
                return broken(format!("{id:?} has limits that are gone"));
            }
        }
        let mut files: BTreeMap<MountId, u64> = BTreeMap::new();
        for (id, inode) in self.inodes.iter() {
            let mount = inode.mount().map(|mount| (mount, self.mounts.get(mount)));
            if let Some((mount, found)) = mount {
                *files.entry(mount).or_default() += 1;
                let agree = found.is_some_and(|found| (found.hstate, found.subpool) == (inode.hstate, inode.subpool));
                if !agree {
                    return broken(format!("{id:?} is not as its mount is"));
                }
            }
            if inode.held_by(Hold::Link) != names.get(&id).copied().unwrap_or(0) {
                return broken(format!("{id:?} counts {} names", inode.held_by(Hold::Link)));
            }
        }
        match self.mounts.iter().find(|(id, mount)| mount.files() != files.get(id).copied().unwrap_or(0)) {
            Some((id, mount)) => broken(format!("{id:?} counts {} files", mount.files())),
            None => Ok(()),
        }
    }
}
