//! Numbers of a described machine that have to be in bounds before anything can be built of it.

use units::{HstateId, HugeIndex, HugeRange, Vaddr};

use zone::tuning::HighFraction;
use zone::watermark::ScaleFactor;

use super::{MachineState, MachineStateError, wrong};

/// No frame, page of a file, address or count of a machine is as large.
const LARGEST: u64 = 1 << 52;
/// Nor does anything happen as often.
const OFTEN: u64 = 1 << 62;

impl MachineState {
    pub(super) fn check_bounds(&self) -> Result<(), MachineStateError> {
        if self.task_size.get() > 1 << 57 {
            return wrong("task_size", "an address space ends at 2^57 at the latest");
        }
        if self.areas_made > OFTEN || self.failures.asked() > OFTEN {
            return wrong("areas_made, failures", "more than can be counted");
        }
        self.check_pools()?;
        self.check_knobs()?;
        self.check_memory()?;
        self.check_files()?;
        self.check_spaces()?;
        self.check_guests()?;
        self.check_processes()
    }

    /// Every pool has its size and every node its counters and its shelf.
    fn check_pools(&self) -> Result<(), MachineStateError> {
        let nodes = self.nodes.keys().last().map_or(0, |node| node.index() + 1);
        self.sizes.check(self.base_page).or_else(|what| wrong("sizes", what))?;
        if self.sizes.iter().len() != self.pools.len() {
            return wrong("pools", format_args!("{} for {} sizes", self.pools.len(), self.sizes.iter().len()));
        }
        for (n, pool) in self.pools.iter().enumerate() {
            pool.ledger.check(nodes, self.pools.len()).or_else(|what| wrong(format_args!("pool:{n}"), what))?;
            if pool.shelves.len() != nodes {
                return wrong(
                    format_args!("pool:{n}"),
                    format_args!("{} shelves for {nodes} nodes", pool.shelves.len()),
                );
            }
            for folio in pool.shelves.iter().flat_map(hugetlb::Shelf::iter) {
                if folio.hstate.index() != n {
                    return wrong(format_args!("pool:{n}"), format_args!("{} is of another pool", folio.pfn));
                }
            }
        }
        Ok(())
    }

    /// Knobs have values that can be written.
    fn check_knobs(&self) -> Result<(), MachineStateError> {
        let knobs = self.knobs.pages;
        let scale = ScaleFactor::new(knobs.scale.get().into()) == Ok(knobs.scale);
        let fraction = HighFraction::new(knobs.fraction.get().into()) == Ok(knobs.fraction);
        if !scale || !fraction || knobs.shift != self.base_page || knobs.min_free.get() > 1 << 41 {
            return wrong("knobs", format_args!("{knobs:?} cannot be"));
        }
        let beyond = |block: &page_alloc::HeldBlock| block.pfn.get() > LARGEST;
        match self.ordinary.blocks.iter().find(|block| beyond(block)) {
            Some(block) => wrong("ordinary", format_args!("{} is beyond all bounds", block.pfn)),
            None => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<(), MachineStateError> {
        for (pfn, folio) in &self.folios {
            if pfn.get() > LARGEST || folio.refs() > LARGEST {
                return wrong(pfn, "the frame, or how often it is referred to, is beyond all bounds");
            }
            if let memmap::FolioKind::Huge(slot) | memmap::FolioKind::Leaving(slot) = folio.kind {
                self.check_hstate(pfn, slot.hstate)?;
            }
        }
        for (pfn, split) in &self.split {
            if pfn.get() > LARGEST {
                return wrong(pfn, "the frame is beyond all bounds");
            }
            self.check_hstate(pfn, split.slot.hstate)?;
        }
        for (n, subpool) in self.subpools.iter().enumerate() {
            if let Some(owner) = subpool.owner() {
                self.check_hstate(format_args!("subpool:{n}"), owner.hstate)?;
            }
            if subpool.min().get() > LARGEST || subpool.used().get() > LARGEST || subpool.rsv() > subpool.min() {
                return wrong(format_args!("subpool:{n}"), format_args!("{subpool:?} cannot be"));
            }
        }
        for (n, map) in self.maps.iter().enumerate() {
            map.validate().or_else(|what| wrong(format_args!("map:{n}"), what))?;
            let beyond = HugeRange::from(HugeIndex::new(LARGEST));
            if map.regions().pieces(beyond).next().is_some() {
                return wrong(format_args!("map:{n}"), "a region ends beyond the largest file");
            }
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), MachineStateError> {
        for (n, mount) in self.mounts.iter().enumerate() {
            self.check_hstate(format_args!("mount:{n}"), mount.hstate)?;
        }
        for (n, file) in self.inodes.iter().enumerate() {
            let place = format_args!("inode:{n}");
            self.check_hstate(place, file.inode.hstate)?;
            if file.inode.size.get() > i64::MAX.unsigned_abs() {
                return wrong(place, format_args!("{} are more than the largest file", file.inode.size));
            }
            if file.cache.iter().any(|(index, pfn)| index.get() > LARGEST || pfn.get() > LARGEST) {
                return wrong(place, "a page beyond the largest file, or beyond all frames");
            }
            for area in file.mapped_by.iter() {
                self.check_hstate(place, area.hstate)?;
            }
        }
        Ok(())
    }

    fn check_spaces(&self) -> Result<(), MachineStateError> {
        let inside = |addr: Vaddr| addr <= self.task_size;
        for (n, space) in self.spaces.iter().enumerate() {
            let place = format_args!("space:{n}");
            space.areas.validate().or_else(|what| wrong(place, what))?;
            for vma in space.areas.iter() {
                self.check_hstate(place, vma.hstate)?;
                if !inside(vma.range.end) || vma.first.get() > LARGEST || vma.id.get() > self.areas_made {
                    return wrong(place, format_args!("{} is out of bounds", vma.id));
                }
            }
            let beyond = space.table.iter().find(|(addr, entry)| !inside(*addr) || entry.pfn.get() > LARGEST);
            if let Some((addr, _)) = beyond {
                return wrong(place, format_args!("the entry at {addr} is out of bounds"));
            }
            space.table.validate(self.task_size).or_else(|what| wrong(place, what))?;
        }
        Ok(())
    }

    fn check_processes(&self) -> Result<(), MachineStateError> {
        for (n, process) in self.processes.iter().enumerate() {
            if !self.nodes.contains_key(&process.origin.local) {
                return wrong(format_args!("process:{n}"), format_args!("there is no {}", process.origin.local));
            }
            process.check().or_else(|what| wrong(format_args!("process:{n}"), what))?;
        }
        Ok(())
    }

    fn check_guests(&self) -> Result<(), MachineStateError> {
        let order_of = |hstate: HstateId| self.sizes.iter().nth(hstate.index()).map(|hstate| hstate.order);
        let files = self.gmems.iter().enumerate();
        files.into_iter().try_for_each(|(n, file)| {
            file.check(LARGEST, order_of).or_else(|what| wrong(format_args!("gmem:{n}"), what))
        })
    }

    fn check_hstate(&self, place: impl ToString, hstate: HstateId) -> Result<(), MachineStateError> {
        if hstate.index() < self.pools.len() { Ok(()) } else { wrong(place, format_args!("there is no {hstate}")) }
    }
}
