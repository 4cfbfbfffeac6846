//! The model's own audit: everything is counted again.

use std::collections::BTreeMap;

use super::pins::Kept;
use super::world::{PageId, Process, Vma, aligned, count, pages_in};
use super::{NaiveMachine, Quirk, Quirks};

/// What the audit found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the naive model is inconsistent: {0}")]
pub struct Unsound(String);

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), Unsound> {
    if holds { Ok(()) } else { Err(Unsound(what())) }
}

impl NaiveMachine {
    /// Counts everything again: pages, mappings, reservations, address spaces. A model with quirks is not held to the
    /// rules that they break.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn validate(&self) -> Result<(), Unsound> {
        let used = self.pool.nr() - self.pool.free();
        let known = count(self.pages.len()) + self.guests.values().map(super::Guest::in_use).sum::<i64>();
        check(used == known, || format!("{used} pages are in use, and {known} are known"))?;
        for process in self.processes.values() {
            self.check_space(process)?;
        }
        self.check_pages()?;
        self.check_files()?;
        self.check_owners()?;
        if self.quirks == Quirks::NONE {
            check(self.pool.is_sound(), || format!("{:?}", self.pool))?;
            let outstanding = self.outstanding();
            check(outstanding == self.pool.resv, || {
                format!("{outstanding} reservations are outstanding in {:?}", self.pool)
            })?;
        }
        Ok(())
    }

    /// The reservations that files and owners have and did not use.
    fn outstanding(&self) -> i64 {
        let files: i64 = self.files.values().map(super::File::outstanding).sum();
        let unused = |vma: &Vma| {
            let owner = vma.owner.and_then(|owner| self.owners.get(&owner))?;
            let range = vma.first..vma.index(vma.end);
            Some(pages_in(vma.end - vma.start) - count(owner.consumed.range(range).count()))
        };
        let vmas = self.processes.values().flat_map(|process| &process.vmas);
        let lendable: i64 = self.mounts.iter().filter_map(|mount| mount.limits).map(|limits| limits.lendable).sum();
        let guests: i64 = self.guests.values().map(super::Guest::outstanding).sum();
        files + vmas.filter_map(unused).sum::<i64>() + lendable + guests
    }

    /// VMAs are sorted, apart and of whole huge pages; every entry lies in one and fits it.
    fn check_space(&self, process: &Process) -> Result<(), Unsound> {
        for vma in &process.vmas {
            let whole = aligned(vma.start) && aligned(vma.end) && vma.start < vma.end;
            check(whole, || format!("{vma:x?} is not of whole huge pages"))?;
            check(self.files.contains_key(&vma.file), || format!("{vma:x?} has no file"))?;
            check(vma.owner.is_none() || !vma.shared, || format!("{vma:x?} is shared and owns"))?;
        }
        let apart = process.vmas.windows(2).all(|two| two[0].end <= two[1].start);
        check(apart, || "two VMAs meet or are out of order".to_owned())?;
        for (addr, id) in &process.entries {
            let page = self.pages.get(id);
            let vma = process.vma_at(*addr);
            let fits = match (page, vma) {
                (Some(page), Some(vma)) if page.anon => {
                    let index = vma.index(*addr);
                    let owner = vma.owner.and_then(|owner| self.owners.get(&owner));
                    !vma.shared && vma.had_anon && owner.is_none_or(|owner| owner.consumed.get(&index) == Some(id))
                }
                (Some(_), Some(vma)) => {
                    let cache = &self.file(vma.file).cache;
                    cache.get(&vma.index(*addr)) == Some(id)
                }
                _ => false,
            };
            let table = process.tables.contains(&(addr >> 30));
            check(fits && table, || format!("the entry at {addr:#x} does not fit"))?;
        }
        Ok(())
    }

    /// Every page is held, and its mappings are as many as it says.
    fn check_pages(&self) -> Result<(), Unsound> {
        let mut maps: BTreeMap<PageId, u32> = BTreeMap::new();
        let mut cached: BTreeMap<PageId, u32> = BTreeMap::new();
        for process in self.processes.values() {
            for page in process.entries.values() {
                *maps.entry(*page).or_default() += 1;
            }
        }
        for file in self.files.values() {
            for page in file.cache.values() {
                *cached.entry(*page).or_default() += 1;
            }
        }
        for (id, page) in &self.pages {
            let found = maps.get(id).copied().unwrap_or(0);
            check(found == page.maps, || format!("{id:?} is mapped {found} times and says {}", page.maps))?;
            let caches = cached.get(id).copied().unwrap_or(0);
            check(caches == u32::from(page.cached), || {
                format!("{id:?} is in {caches} caches and says {}", page.cached)
            })?;
            let keeps = |kept: &Kept| kept.pages.iter().filter(|page| *page == id).count();
            let held: usize = self.processes.values().flat_map(|process| process.kept.values()).map(keeps).sum();
            check(held == page.held as usize, || format!("{id:?} is kept {held} times and says {}", page.held))?;
            check(!(page.cached && page.anon), || format!("{id:?} is both anonymous and a file's"))?;
            check(page.cached || page.anon || held > 0, || format!("{id:?} is neither anonymous nor a file's"))?;
            check(page.cached || page.maps > 0 || held > 0, || format!("nothing holds {id:?}"))?;
        }
        Ok(())
    }

    /// Every cached page is also reserved, and every file can be reached.
    fn check_files(&self) -> Result<(), Unsound> {
        for (id, file) in &self.files {
            let covered = file.cache.keys().all(|index| file.reserved.contains_key(index));
            check(covered, || format!("{id:?} has a page without reservation"))?;
        }
        Ok(())
    }

    /// Every reservation belongs to a VMA of one process.
    fn check_owners(&self) -> Result<(), Unsound> {
        for owner in self.owners.keys() {
            let owning = self
                .processes
                .values()
                .filter(|process| process.vmas.iter().any(|vma| vma.owner == Some(*owner)))
                .count();
            check(owning == 1 || self.quirks.has(Quirk::PartialMoveLosesMap), || {
                format!("{owner:?} belongs to {owning} processes")
            })?;
        }
        Ok(())
    }
}
