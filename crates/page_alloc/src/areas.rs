//! The areas of a machine that gigantic pages come from first.

use alloc::string::String;
use alloc::vec::Vec;

use policy::{Placement, ZoneRef};
use units::{GfpFlags, Ledger, Migratetype, NodeId, PageCount, Pfn, Site};

use crate::Env;
use crate::allocation::NoBlock;
use crate::cma::CmaArea;
use crate::context::PageRequest;
use crate::contig::{Area, ContigError, ContigRequest};
use crate::fast_path::{Block, Purpose};
use crate::path::{self, NoPages};
use crate::placed;

/// Where the memory of a page comes from, and goes back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Source {
    /// The page allocator at large.
    #[default]
    Ordinary,
    /// An area that is lent until it is needed: its part is noted as handed out there.
    #[doc(alias = "folio_test_hugetlb_cma")]
    Cma,
}

/// What areas are to requests for gigantic pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum CmaUse {
    /// From areas, and from anywhere else once these have none.
    #[default]
    First,
    /// From areas or not at all.
    #[doc(alias("hugetlb_cma_only", "hugetlb_cma_exclusive_alloc"))]
    Only,
}

/// All areas of a machine, in the order in which they were set aside.
#[doc(alias("hugetlb_cma", "cma_areas"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct CmaAreas {
    areas: Vec<CmaArea>,
    usage: CmaUse,
}

impl CmaAreas {
    /// These areas.
    #[must_use]
    pub const fn new(areas: Vec<CmaArea>, usage: CmaUse) -> Self {
        Self { areas, usage }
    }

    /// What areas are to requests for gigantic pages. Where there is none, they are had from elsewhere.
    #[must_use]
    pub const fn usage(&self) -> CmaUse {
        if self.areas.is_empty() { CmaUse::First } else { self.usage }
    }

    /// Every area.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &CmaArea> {
        self.areas.iter()
    }

    /// Pages in all areas.
    #[doc(alias = "totalcma_pages")]
    #[must_use]
    pub fn total(&self) -> PageCount {
        self.areas.iter().map(CmaArea::pages).sum()
    }

    /// Pages of a zone that are in areas.
    #[doc(alias = "cma_pages")]
    #[must_use]
    pub fn of_zone(&self, zone: ZoneRef) -> PageCount {
        self.areas.iter().filter(|area| area.zone() == zone).map(CmaArea::pages).sum()
    }

    /// Is any of these frames in an area?
    #[must_use]
    pub fn touches(&self, start: Pfn, end: Pfn) -> bool {
        self.areas.iter().any(|area| area.base() < end && start < area.past())
    }

    /// Recounts: areas are apart from each other, and a part is handed out or not.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        self.areas.iter().try_for_each(CmaArea::validate)?;
        let mut ends: Vec<(Pfn, Pfn)> = self.areas.iter().map(|area| (area.base(), area.past())).collect();
        ends.sort_unstable();
        match ends.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => Err(alloc::format!("two areas have {}", pair[1].0)),
            None => Ok(()),
        }
    }

    /// Areas of the nodes that a request may have, those of its own node first.
    fn of_request(&self, request: &PageRequest) -> Vec<usize> {
        let here = request.gfp.contains(GfpFlags::THISNODE);
        let permitted = |node: NodeId| request.nodemask.is_none_or(|mask| mask.contains(node));
        let on = |of_node: bool| {
            let places = self.areas.iter().enumerate();
            places.filter(move |(_, area)| (area.zone().node == request.node) == of_node)
        };
        let elsewhere = on(false).filter(|(_, area)| !here && permitted(area.zone().node));
        on(true).chain(elsewhere).map(|(place, _)| place).collect()
    }
}

/// Takes an aligned range for a gigantic page: from an area of the node that is asked for, from areas of other nodes that may be asked, and
/// then, unless areas alone will do, from wherever one is free or can be made free.
///
/// # Errors
/// As [`crate::alloc_placed`].
#[doc(alias("alloc_gigantic_folio", "hugetlb_cma_alloc_folio"))]
pub fn alloc_gigantic<P: Env>(
    p: &mut P,
    request: &PageRequest,
    placement: &Placement,
) -> Result<(Block, Source), NoPages> {
    if p.refused(Site::Frame) {
        return Err(path::planned(request.order));
    }
    let of_areas = placed::place(request, placement, placed::Purchase::Other, p.topology()).first;
    let (places, usage) = p.with_cma(|areas| (areas.of_request(&of_areas), areas.usage()));
    if let Some(block) = places.iter().find_map(|&place| from_area(p, place, &of_areas)) {
        return Ok((block, Source::Cma));
    }
    if usage == CmaUse::Only {
        let free = p.with_cma(|areas| places.iter().map(|&place| areas.areas[place].available()).sum());
        let zones = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let none = NoBlock { order: request.order, zones, free, refused_by: Ledger::Contiguity };
        return Err(none.into());
    }
    path::alloc_as_placed(p, request, placement).map(|block| (block, Source::Ordinary))
}

/// Takes a range of one area. Where something stays in it, the next one is tried.
#[doc(alias = "cma_alloc_folio")]
fn from_area<P: Env>(p: &mut P, place: usize, request: &PageRequest) -> Option<Block> {
    let PageRequest { order, .. } = *request;
    // Effort and a node are no wishes that a range can have.
    let gfp = request.gfp.difference(GfpFlags::NORETRY);
    let mut part = p.with_cma(|areas| areas.areas[place].take_part(None, order.pages(), order))?;
    loop {
        let zone = p.with_cma(|areas| areas.areas[place].zone());
        let wanted = ContigRequest { zone, start: part.pfn, pages: order.pages(), area: Area::Lent, gfp };
        match path::range_to_the_end(p, wanted) {
            Ok(range) => {
                p.with_cma(|areas| areas.areas[place].note_success(order.pages()));
                let migratetype = Migratetype::Cma;
                return Some(Block { pfn: range.pfn, order, zone, migratetype, purpose: Purpose::Any });
            }
            Err(error) => {
                part = p.with_cma(|areas| {
                    let area = &mut areas.areas[place];
                    area.put_part(part, order.pages());
                    match error {
                        ContigError::Busy(_) => area.take_part(Some(part), order.pages(), order),
                        _ => {
                            area.note_failure(order.pages());
                            None
                        }
                    }
                })?;
            }
        }
    }
}

/// Notes that pages of an area are given back: whoever needs a range of it may have them. Their memory is given back as all is.
#[doc(alias("cma_release", "hugetlb_cma_free_folio"))]
pub fn release_to_area<P: Env>(p: &mut P, pfn: Pfn, pages: PageCount) {
    let known = p.with_cma(|areas| areas.areas.iter_mut().any(|area| area.release(pfn, pages)));
    debug_assert!(known, "{pfn} was taken from an area");
}
