//! Memory that is set aside at boot for gigantic pages.

use hugetlb::boot::{self, BootMessage, CmaOutcome, CmaPlan, CmaProblem, Parameter};
use page_alloc::{CmaArea, CmaAreas, CmaUse};
use policy::ZoneRef;
use units::{Bytes, NodeId, Nodemask, Order, PageCount, PageShift, Pfn};
use zone::Zone;

/// Areas are looked for from here upwards first, so that the memory that few devices can do without stays what it is.
const LOW: Bytes = Bytes::gib(4);

/// The zones of a machine, of which some memory is to be lent.
pub(crate) struct Lender<'a> {
    pub(crate) zones: &'a mut [Zone],
    pub(crate) shift: PageShift,
    /// Parts of areas are noted as handed out in this size, since gigantic pages may be split so far.
    pub(crate) part: Order,
}

/// A range of one zone.
#[derive(Clone, Copy)]
struct Place {
    zone: usize,
    start: Pfn,
    pages: PageCount,
}

impl Lender<'_> {
    /// Sets aside what a plan asks for, node by node. What a node does not have is said.
    #[doc(alias = "hugetlb_cma_reserve")]
    pub(crate) fn set_aside(
        mut self,
        plan: Option<&CmaPlan>,
        usage: CmaUse,
        online: Nodemask,
    ) -> (CmaAreas, Vec<BootMessage>) {
        let Some(plan) = plan else { return (CmaAreas::default(), Vec::new()) };
        let (mut areas, mut messages) = (Vec::new(), Vec::new());
        let unit = plan.unit().order(self.shift).unwrap_or(Order::MAX);
        let memory: Vec<Bytes> = online.iter().map(|node| self.memory_of(node)).collect();
        let of = |node: NodeId| online.iter().position(|n| n == node).map_or(Bytes::ZERO, |at| memory[at]);
        plan.reserve(online, of, |area| {
            let lent = self.lend(area, unit);
            if lent.is_empty() {
                let problem = CmaProblem::NoMemory { node: area.node, asked: area.size };
                let value = area.size.to_string();
                messages.push(BootMessage { parameter: Parameter::HugetlbCma, value, cause: problem.into() });
                return CmaOutcome::Refused;
            }
            areas.extend(lent);
            CmaOutcome::Reserved
        });
        (CmaAreas::new(areas, usage), messages)
    }

    fn memory_of(&self, node: NodeId) -> Bytes {
        let pages: PageCount = self.zones.iter().filter(|zone| zone.node() == node).map(Zone::managed).sum();
        Bytes::new(pages.get().saturating_mul(self.shift.bytes().get()))
    }

    /// One range for all of it, or else as many as it takes; or nothing.
    #[doc(alias = "cma_declare_contiguous_multi")]
    fn lend(&mut self, asked: boot::CmaArea, unit: Order) -> Vec<CmaArea> {
        let pages = self.shift.pages_floor(asked.size);
        let mut places: Vec<Place> = self.place(asked.node, pages, unit, &[]).into_iter().collect();
        if places.is_empty() {
            let count = pages.get() >> unit.get();
            while (places.len() as u64) < count
                && let Some(place) = self.place(asked.node, unit.pages(), unit, &places)
            {
                places.push(place);
            }
            if (places.len() as u64) < count {
                return Vec::new();
            }
        }
        let name = format!("hugetlb{}", asked.node.get());
        let lent = places.into_iter().filter_map(|Place { zone, start, pages }| {
            let zone = &mut self.zones[zone];
            zone.lend(start, start.offset(pages)).ok()?;
            let (at, pageblock) = (ZoneRef { node: zone.node(), kind: zone.layout().kind }, zone.layout().pageblock);
            Some(CmaArea::new(at, start, pages, self.part, pageblock).ok()?.named(&name))
        });
        lent.collect()
    }

    /// The lowest aligned range above the low memory, or else the highest below it.
    fn place(&self, node: NodeId, pages: PageCount, align: Order, taken: &[Place]) -> Option<Place> {
        let low = Pfn::new(0).offset(self.shift.pages_floor(LOW));
        let of_node = self.zones.iter().enumerate().filter(|(_, zone)| zone.node() == node);
        let starts = of_node.flat_map(|(zone, of)| {
            let ranges = of.layout().spans.iter().flat_map(move |&(start, end)| {
                let first = start.get().next_multiple_of(align.pages().get());
                let step = usize::try_from(align.pages().get()).unwrap_or(usize::MAX);
                (first..end.get().saturating_sub(pages.get() - 1)).step_by(step).map(Pfn::new)
            });
            ranges.map(move |start| Place { zone, start, pages })
        });
        let apart = |place: &Place| {
            let end = |place: &Place| place.start.offset(place.pages);
            taken.iter().all(|other| end(other) <= place.start || end(place) <= other.start)
        };
        let starts: Vec<Place> = starts.filter(apart).collect();
        let above = starts.iter().filter(|place| place.start >= low).min_by_key(|place| place.start);
        above.or_else(|| starts.iter().max_by_key(|place| place.start)).copied()
    }
}
