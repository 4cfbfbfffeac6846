//! Recounting a whole machine.

mod guests;
mod objects;

use std::collections::BTreeMap;

use charge::{Counter, Paid, PaidMemory};
use hugetlb::MapKind;
use memmap::{Broken, FolioKind};
use mm::PinKind;
use page_alloc::Source;
use units::{HstateId, HugeCount, InodeId, Migratetype, PageCount, Pfn, Vaddr, VaddrRange};
use vmemmap::FrameSource;

use crate::{Machine, Process};

fn broken<T>(what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(what.into()))
}

impl Machine {
    /// Recounts everything from scratch: every room's own invariants, that memory is owned exactly once, that references and
    /// mappings are what caches and page tables say, and that every reservation has its holder.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        self.memmap.validate()?;
        self.pages.validate()?;
        self.vmemmap.validate()?;
        self.blocks.validate().map_err(Broken)?;
        for (n, pool) in self.pools.iter().enumerate() {
            pool.validate().map_err(|b| Broken(format!("pool {n}: {b}")))?;
        }
        for (id, map) in self.resv_maps.iter() {
            map.validate().map_err(|b| Broken(format!("{id:?}: {b}")))?;
        }
        self.validate_objects()?;
        self.validate_memory()?;
        self.validate_handed_out()?;
        self.validate_guests()?;
        self.validate_references()?;
        self.validate_shelves()?;
        self.validate_lent()?;
        self.validate_homes()?;
        self.validate_reservations()?;
        self.validate_files()?;
        self.validate_userfaults()?;
        self.validate_charges()?;
        if self.held.is_empty() { Ok(()) } else { broken("a scope was not left") }
    }

    /// Free base pages, those that processors keep, allocated ones and those that descriptors fill make up what the zones manage. What boot put
    /// descriptors into is nobody's.
    fn validate_memory(&self) -> Result<(), Broken> {
        let managed: PageCount = self.pages.zones().map(|(zone, _)| zone.managed()).sum();
        let free: PageCount = self.pages.zones().map(|(zone, _)| zone.free()).sum();
        let kept: PageCount = self.pages.zones().flat_map(|(_, lists)| lists).map(zone::PerCpuPages::count).sum();
        let described = self.vmemmap.frames().filter(|&(_, _, origin)| origin == FrameSource::Allocated);
        let allocated = self.memmap.allocated() + described.map(|(_, pages, _)| pages).sum();
        self.validate_boot_frames()?;
        if free + kept + allocated != managed {
            return broken(format!("{free} free, {kept} on lists and {allocated} allocated of {managed}"));
        }
        Ok(())
    }

    /// Every frame that a folio or a page of descriptors is in was handed out, and to one of them alone.
    fn validate_handed_out(&self) -> Result<(), Broken> {
        let folios = self.memmap.iter().map(|(pfn, folio)| (pfn, pfn.offset(folio.order.pages())));
        let splits = self.memmap.splits().map(|(pfn, split)| (pfn, pfn.offset(split.order.pages())));
        let described = self.vmemmap.frames().filter(|&(_, _, origin)| origin == FrameSource::Allocated);
        let described = described.map(|(pfn, pages, _)| (pfn, pfn.offset(pages)));
        let mut owned: Vec<(Pfn, Pfn)> = folios.chain(splits).chain(described).collect();
        owned.sort_unstable();
        if let Some(two) = owned.windows(2).find(|two| two[0].1 > two[1].0) {
            return broken(format!("{} is of two folios, or of one and of descriptors", two[1].0));
        }
        // What follows each other is looked at as one.
        for run in owned.chunk_by(|left, right| left.1 == right.0) {
            let (Some(&(start, _)), Some(&(_, end))) = (run.first(), run.last()) else { continue };
            let held = self.pages.zones().flat_map(|(zone, _)| zone.in_use(start, end));
            let used = held.filter(|found| matches!(found.held, zone::Held::Used | zone::Held::Movable));
            let frames = used.map(|found| {
                let past = found.pfn.offset(found.order.pages()).min(end);
                past.get() - found.pfn.max(start).get()
            });
            let (frames, pages) = (frames.sum::<u64>(), end.get() - start.get());
            if frames != pages {
                return broken(format!("of {pages} pages from {start} on that are in use, {frames} were handed out"));
            }
        }
        Ok(())
    }

    fn validate_boot_frames(&self) -> Result<(), Broken> {
        let kept: Vec<(Pfn, Pfn)> = self.pages.zones().flat_map(|(zone, _)| zone.reserved().iter().copied()).collect();
        let boot = self.vmemmap.frames().filter(|&(_, _, origin)| origin != FrameSource::Allocated);
        for (start, pages, _) in boot {
            let end = start.offset(pages);
            if !kept.iter().any(|&(s, e)| s <= start && end <= e) {
                return broken(format!("descriptors lie in {start} and on, which boot does not keep"));
            }
        }
        Ok(())
    }

    /// Each folio has the mappings that page tables show and the references that they and the caches hold.
    fn validate_references(&self) -> Result<(), Broken> {
        let mut seen: BTreeMap<Pfn, (u32, u64)> = BTreeMap::new();
        for (_, table) in &self.tables {
            for (addr, entry) in table.iter() {
                if !addr.is_aligned(entry.size.bytes()) {
                    return broken(format!("an entry at {addr} is not aligned to {}", entry.size));
                }
                let counts = seen.entry(entry.pfn).or_default();
                counts.0 += 1;
                counts.1 += 1;
            }
            for (_, pieces) in table.iter_pieces() {
                let counts = seen.entry(pieces.pfn()).or_default();
                counts.0 += pieces.leaves();
                counts.1 += u64::from(pieces.leaves());
            }
        }
        for (id, cache) in &self.caches {
            let Some(inode) = self.inodes.get(id) else { return broken(format!("{id:?} has a cache but is gone")) };
            let refs = self.config.hstates.get(inode.hstate).cache_refs();
            for (_, pfn) in cache.iter() {
                seen.entry(pfn).or_default().1 += refs;
            }
        }
        for (_, block) in self.blocks.iter() {
            seen.entry(block.pfn).or_default().1 += 1;
        }
        let mut pinned: BTreeMap<Pfn, u32> = BTreeMap::new();
        for note in self.processes.values().flat_map(Process::pins).flat_map(|(_, notes)| notes) {
            match note.kind {
                PinKind::Reference => seen.entry(note.folio).or_default().1 += 1,
                PinKind::Transfer | PinKind::LongTerm => *pinned.entry(note.folio).or_default() += 1,
            }
        }
        // Others may pin too: who calls the library, and what keeps broken memory out of use.
        let pins = |pfn| self.memmap.get(pfn).map_or(0, memmap::Folio::pins);
        if let Some((pfn, count)) = pinned.iter().find(|&(&pfn, &count)| pins(pfn) < count) {
            return broken(format!("{pfn} is pinned {} times, processes have {count} pins of it", pins(*pfn)));
        }
        self.add_guest_references(&mut seen);
        for (pfn, folio) in self.memmap.iter() {
            let (mappings, refs) = seen.remove(&pfn).unwrap_or_default();
            if (folio.mapcount(), folio.refs()) != (mappings, refs + u64::from(folio.pins())) {
                return broken(format!(
                    "{pfn} counts {} mappings and {} references, {} of them pins; {mappings} and {refs} are there",
                    folio.mapcount(),
                    folio.refs(),
                    folio.pins()
                ));
            }
        }
        match seen.keys().next() {
            Some(pfn) => broken(format!("{pfn} is mapped or cached but not allocated")),
            None => Ok(()),
        }
    }

    /// Every folio that a file has, or an area of its own, knows where that is: from there its mappings are found.
    fn validate_homes(&self) -> Result<(), Broken> {
        let home = |pfn: Pfn| match self.memmap.get(pfn).map(|folio| folio.kind) {
            Some(FolioKind::Huge(at)) => {
                let pool = &self.pools[at.hstate.index()];
                pool.records().home(pool.records().folio(at.hstate, at.slot))
            }
            _ => None,
        };
        for (inode, cache) in &self.caches {
            if let Some((index, pfn)) = cache.iter().find(|&(index, pfn)| home(pfn) != Some((inode, index))) {
                return broken(format!("{pfn} is {index} of {inode:?} and says {:?}", home(pfn)));
            }
        }
        for (mm, vmas) in self.spaces.iter() {
            let all = VaddrRange::new(Vaddr::new(0), self.config.task_size);
            for (addr, pfn, _) in self.tables[mm].folios_over(all) {
                let place = vmas.find(addr).map(|vma| (vma.inode, vma.index_of(addr)));
                if place != home(pfn) {
                    return broken(format!("{pfn} is mapped as {place:?} and says {:?}", home(pfn)));
                }
            }
        }
        Ok(())
    }

    /// A shelf holds as many folios as its node counts free, all of them without references.
    fn validate_shelves(&self) -> Result<(), Broken> {
        for (n, (pool, nodes)) in self.pools.iter().zip(&self.shelves).enumerate() {
            for (node, shelf) in nodes.iter().enumerate() {
                let node = units::NodeId::new(u8::try_from(node).unwrap_or(u8::MAX));
                let free = HugeCount::new(shelf.iter().len() as u64);
                if free != pool.node(node).free {
                    return broken(format!("pool {n} counts {} on {node}, its shelf has {free}", pool.node(node).free));
                }
                let aside = shelf.iter().filter(|&folio| pool.records().is_poisoned(folio.at())).count();
                if HugeCount::new(aside as u64) != pool.node(node).poisoned || aside != shelf.poisoned() {
                    let (counted, known) = (pool.node(node).poisoned, shelf.poisoned());
                    return broken(format!(
                        "pool {n} has {aside} broken ones on {node}, counts {counted}, knows {known}"
                    ));
                }
                for folio in shelf.iter() {
                    if (folio.hstate.index(), folio.node) != (n, node) {
                        return broken(format!("{} of {} is on a shelf of {node} in pool {n}", folio.pfn, folio.node));
                    }
                    let record = self.memmap.get(folio.pfn);
                    let mine = record.is_some_and(|r| r.refs() == 0 && r.kind == FolioKind::Huge(folio.at()));
                    if !mine || pool.records().folio(folio.hstate, folio.at().slot) != folio {
                        return broken(format!(
                            "{} is on a shelf but not a free huge page that its pool knows",
                            folio.pfn
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// What areas note as handed out is what pools have from there, and their pageblocks are lent.
    fn validate_lent(&self) -> Result<(), Broken> {
        self.cma.validate().map_err(Broken)?;
        let mut had = PageCount::ZERO;
        for (id, pool) in (0..=u8::MAX).map(HstateId::new).zip(&self.pools) {
            let order = self.config.hstates.get(id).order;
            for folio in pool.folios(id).filter(|folio| folio.source == Source::Cma) {
                had += order.pages();
                if !self.cma.iter().any(|area| area.is_handed_out(folio.pfn)) {
                    return broken(format!("{} is of an area that has it still", folio.pfn));
                }
            }
        }
        let handed_out: PageCount = self.cma.iter().map(|area| area.pages().saturating_sub(area.available())).sum();
        if handed_out != had {
            return broken(format!("areas have handed out {handed_out}, pools have {had} of theirs"));
        }
        for area in self.cma.iter() {
            let lent = |pfn| self.pages.zone(area.zone()).is_some_and(|zone| zone.migratetype(pfn) == Migratetype::Cma);
            if !lent(area.base()) || !lent(Pfn::new(area.past().get() - 1)) {
                return broken(format!("the area at {} is not lent", area.base()));
            }
        }
        Ok(())
    }

    /// Every reservation has a holder: an entry of a shared map without a page in the cache, a page of an owner's area that was
    /// not consumed, or the part of a mount's minimum that is not handed out.
    fn validate_reservations(&self) -> Result<(), Broken> {
        let mut held = vec![HugeCount::ZERO; self.pools.len()];
        for (_, mount) in self.mounts.iter() {
            if let Some(subpool) = mount.subpool.and_then(|id| self.subpools.get(id)) {
                let held = &mut held[mount.hstate.index()];
                *held = held.saturating_add(subpool.rsv());
            }
        }
        for (id, subpool) in self.subpools.iter().filter(|(_, subpool)| subpool.has_ended()) {
            let has = |n: usize| {
                let hstate = HstateId::new(u8::try_from(n).unwrap_or(u8::MAX));
                self.pools[n].folios(hstate).any(|folio| self.pools[n].records().subpool_of(folio) == Some(id))
            };
            let Some(n) = (0..self.pools.len()).find(|&n| has(n)) else {
                return broken(format!("{id:?} is of a mount that is gone with all its pages"));
            };
            held[n] = held[n].saturating_add(subpool.rsv());
        }
        let mut by_subpool = BTreeMap::new();
        for subpool in self.subpools.values().filter(|subpool| !subpool.has_ended()) {
            if let Some(owner) = subpool.owner() {
                let held = &mut held[owner.hstate.index()];
                *held = held.saturating_add(subpool.rsv());
            }
        }
        for (id, inode) in self.inodes.iter() {
            let outstanding = self.outstanding_of_file(id)?;
            let held = by_subpool.entry((inode.hstate, inode.subpool)).or_insert(HugeCount::ZERO);
            *held = held.saturating_add(outstanding);
        }
        for (mm, vmas) in self.spaces.iter() {
            for vma in vmas.iter() {
                let Some(map) = vma.owner else { continue };
                let Some(map) = self.resv_maps.get(map) else {
                    return broken(format!("{} of {mm:?} has a map that is gone", vma.id));
                };
                let unconsumed = vma.pages().count() - map.regions().count(vma.pages());
                let subpool = self.inodes.get(vma.inode).and_then(|inode| inode.subpool);
                let held = by_subpool.entry((vma.hstate, subpool)).or_insert(HugeCount::ZERO);
                *held = held.saturating_add(unconsumed);
            }
        }
        for ((hstate, _), count) in by_subpool {
            held[hstate.index()] = held[hstate.index()].saturating_add(count);
        }
        for (n, pool) in self.pools.iter().enumerate() {
            if pool.resv() != held[n] {
                return broken(format!("pool {n} counts {} reserved, holders have {}", pool.resv(), held[n]));
            }
        }
        Ok(())
    }

    fn outstanding_of_file(&self, id: InodeId) -> Result<HugeCount, Broken> {
        let inode = &self.inodes[id];
        let (Some(map), Some(cache)) = (self.resv_maps.get(inode.map), self.caches.get(id)) else {
            return broken(format!("{id:?} has no map or no cache"));
        };
        if map.kind != MapKind::Shared {
            return broken(format!("{id:?} has a private map"));
        }
        if let Some((index, _)) = cache.iter().find(|&(index, _)| !map.regions().contains(index)) {
            return broken(format!("{index} of {id:?} is cached without an entry in the map"));
        }
        let entries = map.regions().count(units::HugeRange::from(units::HugeIndex::ZERO));
        Ok(entries - HugeCount::new(cache.len() as u64))
    }

    /// Areas and the files they map know of each other, and a file counts the areas and descriptors that there are.
    fn validate_files(&self) -> Result<(), Broken> {
        let mut areas: BTreeMap<InodeId, u32> = BTreeMap::new();
        let mut maps = BTreeMap::new();
        for (mm, vmas) in self.spaces.iter() {
            for vma in vmas.iter() {
                *areas.entry(vma.inode).or_default() += 1;
                if let Some(map) = vma.owner {
                    *maps.entry(map).or_insert(0u32) += 1;
                }
                let known = self.mappings.get(vma.inode).is_some_and(|m| m.iter().any(|a| a == vma.as_mapped(mm)));
                if !known {
                    return broken(format!("{} of {mm:?} is not known to its file", vma.id));
                }
            }
        }
        for (id, inode) in self.inodes.iter() {
            let counted = areas.get(&id).copied().unwrap_or(0);
            let known = self.mappings.get(id).map_or(0, |m| m.iter().count());
            if inode.areas() != counted || usize::try_from(counted) != Ok(known) {
                return broken(format!("{id:?} counts {} areas, {counted} map it, it knows {known}", inode.areas()));
            }
            let open = self.processes.values().flat_map(|p| p.files()).filter(|(_, file)| file.inode == id).count();
            if usize::try_from(inode.users() - inode.areas()) != Ok(open) {
                return broken(format!("{id:?} counts other descriptors than there are"));
            }
        }
        for (id, map) in self.resv_maps.iter() {
            if let MapKind::Private { areas, .. } = map.kind
                && maps.get(&id) != Some(&areas)
            {
                return broken(format!("{id:?} counts {areas} areas, {:?} have it", maps.get(&id)));
            }
        }
        Ok(())
    }

    /// A userfaultfd counts its descriptors and is registered in its own address space alone; a marker stands for a page of an
    /// area, where there is none.
    fn validate_userfaults(&self) -> Result<(), Broken> {
        for (id, uffd) in self.uffds.iter() {
            let open = self.processes.values().flat_map(|p| p.uffds()).filter(|&(_, held)| held == id).count();
            if usize::try_from(uffd.holders) != Ok(open) {
                return broken(format!("{id:?} counts {} descriptors, there are {open}", uffd.holders));
            }
        }
        for (mm, vmas) in self.spaces.iter() {
            for vma in vmas.iter() {
                let Some(registration) = vma.uffd else { continue };
                let known = self.uffds.get(registration.uffd).is_some_and(|uffd| uffd.mm == mm);
                if !known || registration.modes.is_empty() {
                    return broken(format!("{} of {mm:?} is watched by nobody or for nothing", vma.id));
                }
            }
            for marker in self.tables.get(mm).iter().flat_map(|table| table.markers()) {
                let place = vmas.find(marker).is_some_and(|vma| marker.is_aligned(vma.size.bytes()));
                if !place || self.tables[mm].get(marker).is_some() {
                    return broken(format!("a marker at {marker} of {mm:?} stands for no absent page"));
                }
            }
        }
        Ok(())
    }

    /// Every counter of every control group is what folios, regions of files and owners' mappings are charged for; every group
    /// counts the processes that are in it.
    fn validate_charges(&self) -> Result<(), Broken> {
        self.charges.validate().map_err(Broken)?;
        let (mut paid, mut memory) = (Vec::new(), Vec::new());
        for (n, pool) in (0..=u8::MAX).zip(&self.pools) {
            let hstate = HstateId::new(n);
            for payers in pool.payers() {
                let one = |owner, counter, node| Paid { owner, counter, pages: HugeCount::new(1), node };
                paid.extend(payers.usage.map(|owner| one(owner, Counter::Usage(hstate), Some(payers.node))));
                paid.extend(payers.rsvd.map(|owner| one(owner, Counter::Rsvd(hstate), None)));
                let pages = self.config.hstates.get(hstate).order.pages();
                memory.extend(payers.memory.map(|owner| PaidMemory { owner, pages }));
            }
        }
        for subpool in self.subpools.values() {
            if let Some((owner, payer)) = subpool.owner().and_then(|owner| Some((owner, owner.payer?))) {
                let counter = Counter::Rsvd(owner.hstate);
                paid.push(Paid { owner: payer, counter, pages: subpool.min(), node: None });
            }
        }
        for inode in self.inodes.values() {
            let map = &self.resv_maps[inode.map];
            let counter = Counter::Rsvd(inode.hstate);
            let all = units::HugeRange::from(units::HugeIndex::ZERO);
            let owned = map.regions().pieces(all).filter_map(|piece| Some((piece.owner?, piece.range.count())));
            paid.extend(owned.map(|(owner, pages)| Paid { owner, counter, pages, node: None }));
        }
        for vma in self.spaces.values().flat_map(mm::VmaTree::iter) {
            let map = vma.owner.and_then(|map| self.resv_maps.get(map));
            if let Some(MapKind::Private { rsvd_owner: Some(owner), .. }) = map.map(|map| map.kind) {
                let counter = Counter::Rsvd(vma.hstate);
                paid.push(Paid { owner, counter, pages: vma.pages().count(), node: None });
            }
        }
        self.charges.validate_memory_against(memory).map_err(Broken)?;
        self.charges.validate_against(paid).map_err(Broken)?;
        for cgroup in self.charges.iter() {
            let inside = self.processes.values().filter(|p| p.origin.cgroup == Some(cgroup)).count();
            if usize::try_from(self.charges.processes(cgroup)) != Ok(inside) {
                return broken(format!("{cgroup:?} counts other processes than the {inside} in it"));
            }
        }
        match self.processes.values().find_map(|p| p.origin.cgroup.filter(|&id| !self.charges.iter().any(|c| c == id)))
        {
            Some(cgroup) => broken(format!("a process is in {cgroup:?}, which does not exist")),
            None => Ok(()),
        }
    }

    /// The limits of a mount, if it has any.
    #[must_use]
    pub fn subpool_of(&self, mount: units::MountId) -> Option<units::SubpoolId> {
        self.mounts.get(mount)?.subpool
    }

    /// The pools, by hstate.
    #[must_use]
    pub fn pool_of(&self, hstate: HstateId) -> Option<&hugetlb::Pool> {
        self.pools.get(hstate.index())
    }
}
