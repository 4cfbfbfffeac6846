//! Where the descriptors of a machine's memory lie.
//!
//! What a node is said to have is what it can hand out; the frames that describe it come on top, as on a machine whose kernel has taken them
//! before it counts what it manages.

use std::collections::BTreeMap;

use policy::MemoryRange;
use units::{NodeId, PageCount, PageShift, Pfn, ZoneKind};
use vmemmap::{FrameSource, Geometry, Optimising, TailLife, Vmemmap};

use crate::memory_map::Spans;

/// The size of a descriptor.
const DESCRIPTOR: units::Bytes = units::Bytes::new(64);

/// Frames that descriptors need.
#[derive(Clone, Debug, Default)]
pub(crate) struct DescriptorFrames {
    /// Where each node's begin, and how many there are.
    nodes: BTreeMap<NodeId, (Pfn, PageCount)>,
    /// Memory that holds its own, in its first frames.
    own: Vec<MemoryRange>,
}

fn geometry(shift: PageShift) -> Geometry {
    Geometry::new(shift, DESCRIPTOR).unwrap_or(Geometry::X86_64)
}

/// How many frames describe so much memory and themselves, whatever frames they begin at.
pub(crate) fn frames_for(memory: PageCount, shift: PageShift) -> PageCount {
    let (geometry, ends) = (geometry(shift), PageCount::new(2));
    let mut frames = ends;
    loop {
        let needed = geometry.pages_ceil(memory.saturating_add(frames)).saturating_add(ends);
        if needed <= frames {
            return frames;
        }
        frames = needed;
    }
}

impl DescriptorFrames {
    /// Behind the last frame of each node, if nobody else's memory is there, or else behind all of it.
    pub(crate) fn place(ranges: &[MemoryRange], own: &[MemoryRange], shift: PageShift, align: PageCount) -> Self {
        let mut needed: BTreeMap<NodeId, (Pfn, PageCount)> = BTreeMap::new();
        for range in ranges.iter().filter(|range| !own.contains(range)) {
            let (end, frames) = needed.entry(range.node).or_insert((range.end, PageCount::ZERO));
            *end = range.end.max(*end);
            // A page at each end of each range may describe other memory too.
            *frames += PageCount::new(range.end.get() - range.start.get() + 64);
        }
        needed.values_mut().for_each(|(_, frames)| *frames = frames_for(*frames, shift));
        let mut past = ranges.iter().map(|range| range.end).max().unwrap_or(Pfn::new(0));
        for (start, pages) in needed.values_mut() {
            let end = start.offset(*pages);
            if ranges.iter().any(|range| range.start < end && *start < range.end) {
                *start = Pfn::new(past.get().next_multiple_of(align.get().max(1)));
            }
            past = past.max(start.offset(*pages));
        }
        Self { nodes: needed, own: own.to_vec() }
    }

    /// The frames of a node.
    fn of(&self, node: NodeId) -> Option<(Pfn, Pfn)> {
        let &(start, pages) = self.nodes.get(&node)?;
        Some((start, start.offset(pages)))
    }

    /// Which zone they are of. Those of a node are of the highest of its zones that is for the kernel, or else the highest; those of memory that holds its own are
    /// where that is.
    pub(crate) fn zones(
        &self,
        zones: &BTreeMap<(NodeId, ZoneKind), Spans>,
        shift: PageShift,
    ) -> BTreeMap<(NodeId, ZoneKind), Spans> {
        let mut kept: BTreeMap<(NodeId, ZoneKind), Spans> = BTreeMap::new();
        for &node in self.nodes.keys() {
            let kinds = zones.keys().filter(|&&(of, _)| of == node).map(|&(_, kind)| kind);
            if let Some(kind) = kinds.max_by_key(|kind| (kind.is_for_kernel(), *kind))
                && let Some(frames) = self.of(node)
            {
                kept.entry((node, kind)).or_default().push(frames);
            }
        }
        for range in &self.own {
            let pages = geometry(shift).pages_ceil(PageCount::new(range.end.get() - range.start.get()));
            let past = range.start.offset(pages).min(range.end);
            for (&zone, spans) in zones.iter().filter(|((node, _), _)| *node == range.node) {
                let parts = spans.iter().map(|&(start, end)| (start.max(range.start), end.min(past)));
                kept.entry(zone).or_default().extend(parts.filter(|(start, end)| start < end));
            }
        }
        kept
    }

    /// The descriptors, as boot puts them there.
    pub(crate) fn describe(
        &self,
        ranges: &[MemoryRange],
        shift: PageShift,
        optimising: Optimising,
        life: TailLife,
    ) -> Vmemmap {
        let mut all = Vmemmap::new(geometry(shift), life);
        all.optimising = optimising;
        let mut next: BTreeMap<NodeId, Pfn> = self.nodes.iter().map(|(&node, &(start, _))| (node, start)).collect();
        let own = self.nodes.iter().map(|(&node, &(start, pages))| (node, start, start.offset(pages)));
        let by_others = ranges.iter().filter(|range| !self.own.contains(range));
        let all_ranges = by_others.map(|range| (range.node, range.start, range.end)).chain(own);
        for (node, start, end) in all_ranges {
            if let Some(home) = next.get_mut(&node) {
                *home = home.offset(all.describe(start, end, *home, FrameSource::Boot));
            }
        }
        for range in &self.own {
            all.describe_by_itself(range.start, range.end, range.start);
        }
        all
    }
}

/// Boot's frames become memory of the zone that they lie in.
pub(crate) fn release<P: page_alloc::Env>(p: &mut P, start: Pfn, pages: PageCount) {
    let Some(zone) = page_alloc::zone_of(p, start) else {
        debug_assert!(false, "{start} holds descriptors and is of no zone");
        return;
    };
    let released = p.with_zone(zone, |parts| parts.zone.release(start, pages));
    debug_assert_eq!(released, Some(Ok(())), "boot keeps the frames that it put descriptors into");
}
