//! Which frames a machine has, and which zones they make.

use std::collections::BTreeMap;

use hugetlb::boot::{Arch, memparse};
use policy::{CoreSize, MemoryRange, MovableRequest, movable_starts};
use units::{Bytes, NodeId, Order, PageShift, Pfn, ZoneKind};

/// The frames of zones of one kind: first frame, and first frame past the end.
pub(crate) type Spans = Vec<(Pfn, Pfn)>;

/// Where low zones end, from the lowest up.
fn low_zones(arch: Arch) -> Vec<(ZoneKind, Bytes)> {
    match arch {
        Arch::X86_64 => vec![(ZoneKind::Dma, Bytes::mib(16)), (ZoneKind::Dma32, Bytes::gib(4))],
        Arch::Arm64(_) => vec![(ZoneKind::Dma, Bytes::gib(4))],
    }
}

/// The zones that ranges of frames make: low ones by address, and on each node what is movable at its end.
#[doc(alias("zone_sizes_init", "free_area_init"))]
pub(crate) fn zones(
    ranges: &[MemoryRange],
    arch: Arch,
    movable: &MovableRequest,
    largest: Order,
) -> BTreeMap<(NodeId, ZoneKind), Spans> {
    let shift = arch.base_page();
    let mut bounds: Vec<(ZoneKind, Pfn)> =
        low_zones(arch).into_iter().map(|(kind, end)| (kind, Pfn::new(0).offset(shift.pages_floor(end)))).collect();
    bounds.push((ZoneKind::Normal, Pfn::new(u64::MAX)));
    let last = ranges.iter().map(|range| range.end).max().unwrap_or(Pfn::new(0));
    // Movable memory is cut out of the highest zone that there is.
    let starts = core::iter::once(Pfn::new(0)).chain(bounds.iter().map(|&(_, end)| end));
    let usable = starts.take_while(|&start| start < last).last().unwrap_or(Pfn::new(0));
    let movable = movable_starts(ranges, movable, usable, largest);
    let mut zones: BTreeMap<(NodeId, ZoneKind), Spans> = BTreeMap::new();
    for range in ranges {
        let movable = movable.get(&range.node).copied().unwrap_or(range.end).max(range.start).min(range.end);
        let mut start = range.start;
        for &(kind, end) in &bounds {
            let end = end.min(movable);
            if start < end {
                zones.entry((range.node, kind)).or_default().push((start, end));
                start = end;
            }
        }
        if movable < range.end {
            zones.entry((range.node, ZoneKind::Movable)).or_default().push((movable, range.end));
        }
    }
    zones
}

/// What a command line says about movable zones. Of a parameter given twice the last one counts; one that cannot be read is left out.
#[doc(alias("cmdline_parse_kernelcore", "cmdline_parse_movablecore"))]
pub(crate) fn movable_request(cmdline: &str, shift: PageShift) -> MovableRequest {
    let mut request = MovableRequest::default();
    for word in cmdline.split_whitespace() {
        match word.split_once('=') {
            None if word == "movable_node" => request.movable_node = true,
            Some(("kernelcore", "mirror")) => request.mirror = true,
            Some(("kernelcore", size)) => request.kernelcore = core_size(size, shift).or(request.kernelcore),
            Some(("movablecore", size)) => request.movablecore = core_size(size, shift).or(request.movablecore),
            _ => (),
        }
    }
    request
}

fn core_size(text: &str, shift: PageShift) -> Option<CoreSize> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().map(CoreSize::Percent);
    }
    memparse(text).map(|size| CoreSize::Pages(shift.pages_floor(Bytes::new(size.value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gib(n: u64) -> Pfn {
        Pfn::new(n << 18)
    }

    fn range(node: u8, start: u64, end: u64) -> MemoryRange {
        let (start, end) = (gib(start), gib(end));
        MemoryRange { node: NodeId::new(node), start, end, hotpluggable: false, mirrored: false }
    }

    #[test]
    fn memory_below_16_mib_and_below_4_gib_is_apart() {
        let found =
            zones(&[range(0, 0, 8), range(1, 64, 65)], Arch::X86_64, &MovableRequest::default(), Order::new(10));
        let (a, b) = (NodeId::new(0), NodeId::new(1));
        let dma = Pfn::new(4096);
        let expected = [
            ((a, ZoneKind::Dma), vec![(gib(0), dma)]),
            ((a, ZoneKind::Dma32), vec![(dma, gib(4))]),
            ((a, ZoneKind::Normal), vec![(gib(4), gib(8))]),
            ((b, ZoneKind::Normal), vec![(gib(64), gib(65))]),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn what_is_movable_is_cut_off_the_end_of_the_highest_zone() {
        let request = movable_request("quiet movablecore=2G", PageShift::K4);
        let found = zones(&[range(0, 0, 8)], Arch::X86_64, &request, Order::new(10));
        let node = NodeId::new(0);
        assert_eq!(found[&(node, ZoneKind::Normal)], [(gib(4), gib(6))]);
        assert_eq!(found[&(node, ZoneKind::Movable)], [(gib(6), gib(8))]);
    }

    #[test]
    fn a_small_machine_has_no_normal_zone_and_can_still_have_movable_memory() {
        let request = movable_request("kernelcore=50%", PageShift::K4);
        let found = zones(&[range(0, 0, 2)], Arch::X86_64, &request, Order::new(10));
        let kinds: Vec<ZoneKind> = found.keys().map(|&(_, kind)| kind).collect();
        assert_eq!(kinds, [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Movable]);
    }

    #[test]
    fn memory_between_others_is_a_span_of_its_own() {
        let found = zones(&[range(0, 0, 3), range(0, 4, 6)], Arch::X86_64, &MovableRequest::default(), Order::new(10));
        assert_eq!(found[&(NodeId::new(0), ZoneKind::Dma32)], [(Pfn::new(4096), gib(3))]);
        assert_eq!(found[&(NodeId::new(0), ZoneKind::Normal)], [(gib(4), gib(6))]);
    }
}
