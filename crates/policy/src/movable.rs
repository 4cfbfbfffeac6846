//! Where the movable zone of each node begins.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use units::{NodeId, Order, PageCount, Pfn};

/// A range of frames, as the firmware reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The node.
    pub node: NodeId,
    /// The first frame.
    pub start: Pfn,
    /// The first frame behind it.
    pub end: Pfn,
    /// Can it be unplugged?
    pub hotpluggable: bool,
    /// Is there a second copy of it?
    pub mirrored: bool,
}

/// An amount of memory of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreSize {
    /// So many pages.
    Pages(PageCount),
    /// A share of all memory.
    Percent(u8),
}

impl CoreSize {
    fn of(self, total: PageCount) -> PageCount {
        match self {
            Self::Pages(pages) => pages,
            Self::Percent(percent) => {
                let pages = u128::from(total.get()) * u128::from(percent.min(100)) / 100;
                PageCount::new(u64::try_from(pages).unwrap_or(u64::MAX))
            }
        }
    }
}

/// What the command line says about movable zones.
#[doc(alias("required_kernelcore", "required_movablecore"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovableRequest {
    /// `movable_node`: memory that can be unplugged is movable. Goes before all others.
    pub movable_node: bool,
    /// `kernelcore=mirror`: memory without a second copy is movable. Goes before the sizes.
    pub mirror: bool,
    /// `kernelcore=`: the kernel can use so much.
    pub kernelcore: Option<CoreSize>,
    /// `movablecore=`: so much is movable. With both, the one that leaves the kernel more wins.
    pub movablecore: Option<CoreSize>,
}

/// For each node that has one, the first frame of its movable zone, a multiple of a block of order `largest`. Frames below `usable` are
/// of lower zones and never movable.
#[doc(alias = "find_zone_movable_pfns_for_nodes")]
#[must_use]
pub fn movable_starts(
    ranges: &[MemoryRange],
    request: &MovableRequest,
    usable: Pfn,
    largest: Order,
) -> BTreeMap<NodeId, Pfn> {
    let starts = if request.movable_node && ranges.iter().any(|range| range.hotpluggable) {
        first_of_each(ranges, |range| range.hotpluggable)
    } else if request.mirror {
        first_of_each(ranges, |range| !range.mirrored)
    } else {
        let total = ranges.iter().map(|range| pages(range.start, range.end)).sum();
        match kernel_pages(request, total, largest) {
            Some(core) if core < total => spread(ranges, core, usable),
            _ => BTreeMap::new(),
        }
    };
    let ends = |node| ranges.iter().filter(|range| range.node == node).map(|range| range.end).max();
    let rounded = starts.into_iter().map(|(node, start)| (node, round_up(start.max(usable), largest)));
    rounded.filter(|&(node, start)| ends(node).is_some_and(|end| start < end)).collect()
}

fn first_of_each(ranges: &[MemoryRange], is_movable: impl Fn(&MemoryRange) -> bool) -> BTreeMap<NodeId, Pfn> {
    let mut starts: BTreeMap<NodeId, Pfn> = BTreeMap::new();
    for range in ranges.iter().filter(|range| is_movable(range)) {
        let start = starts.entry(range.node).or_insert(range.start);
        *start = range.start.min(*start);
    }
    starts
}

/// How much the kernel is to have, if the request says so.
fn kernel_pages(request: &MovableRequest, total: PageCount, largest: Order) -> Option<PageCount> {
    let left = request.movablecore.map(|size| {
        let movable = round_up(Pfn::new(size.of(total).get().min(total.get())), largest);
        total.saturating_sub(PageCount::new(movable.get()))
    });
    let core = request.kernelcore.map(|size| size.of(total));
    core.into_iter().chain(left).max().filter(|core| !core.is_zero())
}

/// Shares out what the kernel is to have: evenly, and what small nodes cannot give evenly again among the rest.
fn spread(ranges: &[MemoryRange], core: PageCount, usable: Pfn) -> BTreeMap<NodeId, Pfn> {
    let mut nodes: BTreeMap<NodeId, Vec<MemoryRange>> = BTreeMap::new();
    for &range in ranges {
        nodes.entry(range.node).or_default().push(range);
    }
    let mut left = core.get();
    let mut given: BTreeMap<NodeId, u64> = BTreeMap::new();
    for (&node, ranges) in &mut nodes {
        ranges.sort_by_key(|range| range.start);
        // What lies in lower zones is the kernel's anyway.
        let lower: u64 = ranges.iter().map(|range| pages(range.start, range.end.min(usable)).get()).sum();
        left = left.saturating_sub(lower);
        given.insert(node, lower);
    }
    let size = |node: &NodeId| nodes[node].iter().map(|range| pages(range.start, range.end).get()).sum::<u64>();
    loop {
        let open: Vec<NodeId> = given.iter().filter(|&(node, &n)| n < size(node)).map(|(&node, _)| node).collect();
        let share = left / u64::try_from(open.len()).unwrap_or(u64::MAX).max(1);
        if share == 0 {
            break;
        }
        for node in open {
            let n = given.entry(node).or_default();
            let more = share.min(size(&node) - *n);
            *n += more;
            left -= more;
        }
    }
    given.into_iter().filter_map(|(node, n)| Some((node, behind(&nodes[&node], n)?))).collect()
}

/// The frame behind the first `count` frames of a node.
fn behind(ranges: &[MemoryRange], count: u64) -> Option<Pfn> {
    let mut left = count;
    for range in ranges {
        let size = pages(range.start, range.end).get();
        if left < size {
            return Some(range.start.offset(PageCount::new(left)));
        }
        left -= size;
    }
    None
}

fn pages(start: Pfn, end: Pfn) -> PageCount {
    PageCount::new(end.get().saturating_sub(start.get()))
}

/// The next block of `order`; the last frame there is where that would be past it.
fn round_up(pfn: Pfn, order: Order) -> Pfn {
    let size = order.pages().get();
    Pfn::new(pfn.get().checked_next_multiple_of(size).unwrap_or(u64::MAX))
}
