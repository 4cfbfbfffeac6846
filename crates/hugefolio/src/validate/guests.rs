//! Guest memory agrees with the folios behind it and with who holds it.

use std::collections::BTreeMap;

use gmem::Backing;
use memmap::{Broken, FolioKind};
use units::{Pfn, RangeMap};

use super::broken;
use crate::Machine;

impl Machine {
    /// References and mappings of whole folios that files of guests have; those of pieces are looked at by themselves.
    pub(super) fn add_guest_references(&self, seen: &mut BTreeMap<Pfn, (u32, u64)>) {
        for file in self.gmems.values() {
            let mapped = file.mapped_by_host();
            for (index, pfn) in file.cached() {
                if self.memmap.split_around(pfn).is_some() {
                    continue;
                }
                let counts = seen.entry(pfn).or_default();
                let mappings = mapped.get(index.get()).copied().unwrap_or(0);
                counts.0 += mappings;
                counts.1 += file.backing().order().pages().get() + u64::from(mappings);
            }
        }
    }

    /// Every file by itself; what it has is of its own kind, is in pieces if any of it is shared, and of each piece mappings and references are
    /// counted; and it is open as often as processes have it open.
    pub(super) fn validate_guests(&self) -> Result<(), Broken> {
        let mut cached = BTreeMap::new();
        for (id, file) in self.gmems.iter() {
            file.validate().map_err(|what| Broken(format!("{id:?}: {what}")))?;
            let all = file.attributes().map(|(run, attribute)| (run.start.get()..run.end.get(), attribute));
            let attributes: RangeMap<gmem::Attribute> = all.collect();
            let mapped = file.mapped_by_host();
            for (index, pfn) in file.cached() {
                let pages = index.get()..index.get() + file.backing().order().pages().get();
                let split = self.memmap.split_around(pfn).is_some();
                let fits = match file.backing() {
                    Backing::Base => self.memmap.get(pfn).is_some_and(|folio| folio.kind == FolioKind::Page),
                    Backing::Huge { hstate, .. } => self.is_page_of(pfn, hstate),
                };
                if !fits
                    || (!split
                        && pages.end - pages.start > 1
                        && !attributes.is_all(pages.clone(), &gmem::Attribute::Private))
                {
                    return broken(format!(
                        "{pfn} is {index} of {id:?}: not of its kind, or whole although a page of it is shared"
                    ));
                }
                let of_pieces: Vec<_> = mapped
                    .overlapping(pages)
                    .map(|(run, &n)| (run.start - index.get()..run.end - index.get(), n))
                    .collect();
                if split && cached.insert(pfn, of_pieces).is_some() {
                    return broken(format!("{pfn} is cached twice"));
                }
            }
            let open = self.processes.values().flat_map(|p| p.gmems()).filter(|&(_, held)| held == id).count();
            let views = self.processes.values().flat_map(|p| p.views()).filter(|view| view.file == id).count();
            if usize::try_from(file.opens()) != Ok(open) || views != file.views().count() || open + views == 0 {
                return broken(format!("{id:?} is open {} times, by descriptors {open} times", file.opens()));
            }
        }
        self.validate_pieces(&cached)
    }

    fn is_page_of(&self, pfn: Pfn, hstate: units::HstateId) -> bool {
        let kind = self.memmap.get(pfn).map(|folio| folio.kind);
        matches!(kind, Some(FolioKind::Huge(slot) | FolioKind::Piece(slot)) if slot.hstate == hstate)
    }

    /// A piece has one reference for each of its pages, if a file has it, and one more for each mapping and pin. One to which there
    /// is none waits.
    fn validate_pieces(&self, cached: &BTreeMap<Pfn, Vec<(std::ops::Range<u64>, u32)>>) -> Result<(), Broken> {
        for (first, split) in self.memmap.splits() {
            let mapped: Option<RangeMap<u32>> = cached.get(&first).map(|runs| runs.iter().cloned().collect());
            let mut waiting = 0;
            for (start, pages, piece) in
                self.memmap.pieces().filter(|(start, ..)| (first..first.offset(split.order.pages())).contains(start))
            {
                let run = start.get() - first.get()..start.get() - first.get() + pages.get();
                let runs: Vec<u32> = match &mapped {
                    Some(mapped) => mapped.overlapping(run).map(|(_, &n)| n).collect(),
                    None => vec![0],
                };
                let held = if mapped.is_some() { piece.order.pages().get() } else { 0 };
                for n in runs {
                    let refs = held + u64::from(n) + u64::from(piece.pins());
                    if (piece.mapcount(), piece.refs()) != (n, refs) {
                        return broken(format!(
                            "pieces from {start} on count {} mappings and {} references; {n} and {refs} are there",
                            piece.mapcount(),
                            piece.refs()
                        ));
                    }
                }
                waiting += if piece.refs() == 0 { pages.get() } else { 0 };
            }
            let pool = &self.pools[split.slot.hstate.index()];
            let page = pool.records().folio(split.slot.hstate, split.slot.slot);
            if pool.records().waiting(page).get() != waiting {
                return broken(format!(
                    "{waiting} pages of {first} wait, and {} are counted",
                    pool.records().waiting(page)
                ));
            }
        }
        for (n, pool) in (0..=u8::MAX).zip(&self.pools) {
            let whole = |page: &hugetlb::HugeFolio| self.memmap.split_around(page.pfn).is_none();
            let waits = |page: &hugetlb::HugeFolio| !pool.records().waiting(*page).is_zero();
            if let Some(page) = pool.folios(units::HstateId::new(n)).filter(whole).find(waits) {
                return broken(format!("pages of {} wait, which is whole", page.pfn));
            }
        }
        Ok(())
    }
}
