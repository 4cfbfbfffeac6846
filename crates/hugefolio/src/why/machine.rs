//! The same of a whole machine, which knows who has what.

use memmap::FolioKind;
use page_alloc::{CmaUse, Mobility, PageAllocator, Source, Zones};
use policy::ZoneRef;
use units::{HstateId, HugeCount, Order, PageCount, Pfn};
use zone::{Found, Held, PerCpuPages, Zone};

use super::survey::{Survey, place_of};
use super::{Candidate, Holder, Mend, Obstacle, Wanted, Why, Window, asked, candidate, is_idle, mend_of, verdict};
use crate::Machine;

impl Machine {
    /// Why is there no block of that order, and where is the next best thing? It changes nothing.
    #[must_use]
    pub fn why(&self, wanted: &Wanted) -> Why {
        let mut survey = self.survey(wanted);
        let mut blocks_held = PageCount::ZERO;
        for (_, block) in self.blocks.iter() {
            blocks_held += block.order.pages();
            let held = if block.mobility == Mobility::Movable && block.pins == 0 { Held::Movable } else { Held::Used };
            survey.add(block.zone, block.pfn, block.order, held);
        }
        for (id, pool) in self.all_pools() {
            let order = self.config.hstates.get(id).order;
            pool.folios(id).for_each(|folio| survey.add(folio.zone_ref(), folio.pfn, order, Held::Used));
        }
        for (zone, _) in self.pages.zones() {
            let kept = zone.reserved().iter().flat_map(|&(start, end)| blocks(start, end));
            kept.for_each(|(pfn, order)| survey.add(place_of(zone), pfn, order, Held::Reserved));
        }
        for (zone, pfn, order) in self.other_blocks(blocks_held) {
            survey.add(zone, pfn, order, Held::Used);
        }
        survey.answer(wanted, |window| self.candidate(window))
    }

    /// What is in the way in the window of that order that a frame is in; nothing for a frame that no zone has.
    #[must_use]
    pub fn why_range(&self, pfn: Pfn, order: Order) -> Option<Candidate> {
        let has = |zone: &&Zone| zone.layout().spans.iter().any(|&(start, end)| start <= pfn && pfn < end);
        let zone = self.pages.zones().map(|(zone, _)| zone).find(has)?;
        let window = self.survey(&Wanted::of(order)).window_at(place_of(zone), pfn)?;
        self.candidate(window)
    }

    /// All windows, with the memory that is lent.
    fn survey(&self, wanted: &Wanted) -> Survey {
        let largest = self.pages.rules().largest;
        let mut survey = Survey::new(self.pages.zones().map(|(zone, _)| zone), wanted, largest);
        if wanted.order > largest {
            self.cma.iter().for_each(|area| survey.lend(area.zone(), area.base(), area.past()));
            if self.cma.usage() == CmaUse::Only {
                survey.keep_lent_alone();
            }
        }
        survey
    }

    fn all_pools(&self) -> impl Iterator<Item = (HstateId, &hugetlb::Pool)> {
        (0..=u8::MAX).map(HstateId::new).zip(&self.pools)
    }

    fn candidate(&self, window: Window) -> Option<Candidate> {
        let mut found = candidate(&self.pages, window, |found| self.holder_of(found))?;
        let gigantic = window.order > self.pages.rules().largest;
        if gigantic && window.source == Source::Ordinary {
            let (start, end) = (window.start, window.end());
            let partly = self.cma.iter().filter(|area| area.base() < end && start < area.past());
            let lent = partly.flat_map(|area| blocks(area.base().max(start), area.past().min(end)));
            let lent = lent.map(|(pfn, order)| Obstacle { pfn, order, holder: Holder::LentArea, mend: Mend::Nothing });
            found.obstacles.extend(lent);
            if self.cma.usage() == CmaUse::Only {
                let (pfn, order) = (window.start, window.order);
                found.obstacles.push(Obstacle { pfn, order, holder: Holder::NotLent, mend: Mend::Nothing });
            }
            found.verdict = verdict(&self.pages, &window, &found.obstacles);
        }
        Some(found)
    }

    /// Who has a block, and what makes it go.
    fn holder_of(&self, found: &Found) -> (Holder, Mend) {
        match self.memmap.get(found.pfn).map(|folio| (folio, folio.kind)) {
            Some((folio, FolioKind::Huge(at))) => {
                let pool = &self.pools[at.hstate.index()];
                let huge = pool.records().folio(at.hstate, at.slot);
                let size = self.config.hstates.get(at.hstate).size;
                let mend = match (is_idle(folio), pool.available()) {
                    (true, HugeCount::ZERO) => Mend::DropReservation,
                    (true, _) => Mend::ShrinkPool,
                    (false, _) => Mend::LetGo,
                };
                (Holder::Pool { size, refs: folio.refs(), home: pool.records().home(huge) }, mend)
            }
            Some((_, FolioKind::Leaving(_))) => (Holder::Leaving, Mend::Move),
            Some((_, FolioKind::Poisoned)) => (Holder::Broken, Mend::Nothing),
            _ => match self.blocks.at(found.pfn) {
                Some((id, block)) if block.pins > 0 => (Holder::Block(id), Mend::Unpin { pins: block.pins }),
                Some((id, block)) if block.mobility == Mobility::Movable => (Holder::Block(id), Mend::Move),
                Some((id, _)) => (Holder::Block(id), Mend::FreeBlock),
                None => (asked(&self.pages, found.pfn), mend_of(found.held)),
            },
        }
    }

    /// Blocks that neither a user nor a pool has: broken memory, and the descriptors of huge pages. The others are counted, and only if something is
    /// missing are all records looked at.
    fn other_blocks(&self, held: PageCount) -> Vec<(ZoneRef, Pfn, Order)> {
        let zones = || self.pages.zones().map(|(zone, _)| zone);
        let managed: PageCount = zones().map(Zone::managed).sum();
        let free: PageCount = zones().map(|zone| zone.free() + zone.free_isolated()).sum();
        let kept: PageCount = self.pages.zones().flat_map(|(_, lists)| lists).map(PerCpuPages::count).sum();
        let pools = self.all_pools().map(|(id, pool)| pool.nr().get() << self.config.hstates.get(id).order.get());
        let known = free + kept + held + PageCount::new(pools.sum());
        if known == managed {
            return Vec::new();
        }
        let huge = |folio: &memmap::Folio| matches!(folio.kind, FolioKind::Huge(_));
        let others = self.memmap.iter().filter(|&(pfn, folio)| !huge(folio) && self.blocks.at(pfn).is_none());
        others.filter_map(|(pfn, folio)| Some((zone_at(&self.pages, pfn)?, pfn, folio.order))).collect()
    }
}

fn zone_at(pages: &PageAllocator, pfn: Pfn) -> Option<ZoneRef> {
    let has = |zone: &&Zone| zone.layout().spans.iter().any(|&(start, end)| start <= pfn && pfn < end);
    pages.zones().map(|(zone, _)| zone).find(has).map(place_of)
}

/// A range in the largest aligned blocks.
fn blocks(start: Pfn, end: Pfn) -> impl Iterator<Item = (Pfn, Order)> {
    let mut at = start;
    core::iter::from_fn(move || {
        let left = end.get().checked_sub(at.get()).filter(|&left| left > 0)?;
        let fits = left.ilog2().min(at.get().trailing_zeros());
        let block = (at, u8::try_from(fits).map_or(Order::ZERO, Order::new));
        at = at.offset(block.1.pages());
        Some(block)
    })
}
