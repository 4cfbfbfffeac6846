//! Where movable zones begin.

use std::collections::BTreeMap;

use policy::{CoreSize, MemoryRange, MovableRequest, movable_starts};
use units::{NodeId, Order, PageCount, Pfn};

const LARGEST: Order = Order::new(4);

fn range(node: u8, start: u64, end: u64) -> MemoryRange {
    MemoryRange {
        node: NodeId::new(node),
        start: Pfn::new(start),
        end: Pfn::new(end),
        hotpluggable: false,
        mirrored: true,
    }
}

fn starts(ranges: &[MemoryRange], request: MovableRequest, usable: u64) -> BTreeMap<u8, u64> {
    let starts = movable_starts(ranges, &request, Pfn::new(usable), LARGEST);
    starts.into_iter().map(|(node, start)| (node.get(), start.get())).collect()
}

fn kernelcore(size: CoreSize) -> MovableRequest {
    MovableRequest { kernelcore: Some(size), ..MovableRequest::default() }
}

fn pages(n: u64) -> CoreSize {
    CoreSize::Pages(PageCount::new(n))
}

#[test]
fn nothing_is_movable_unless_asked_for() {
    let ranges = [range(0, 0, 1024), range(1, 1024, 2048)];
    assert!(starts(&ranges, MovableRequest::default(), 0).is_empty());
    for all in [pages(2048), pages(u64::MAX), CoreSize::Percent(100), CoreSize::Percent(255), pages(0)] {
        assert!(starts(&ranges, kernelcore(all), 0).is_empty(), "{all:?}");
    }
    assert!(starts(&[], kernelcore(pages(1)), 0).is_empty());
}

#[test]
fn the_kernels_share_is_spread_evenly() {
    let ranges = [range(0, 0, 1024), range(1, 1024, 2048)];
    assert_eq!(starts(&ranges, kernelcore(pages(512)), 0), [(0, 256), (1, 1280)].into());
    assert_eq!(starts(&ranges, kernelcore(CoreSize::Percent(25)), 0), [(0, 256), (1, 1280)].into());
    assert_eq!(starts(&ranges, kernelcore(pages(514)), 0), [(0, 272), (1, 1296)].into());
}

#[test]
fn what_a_small_node_lacks_the_others_give() {
    let ranges = [range(0, 0, 64), range(1, 1024, 2048), range(2, 2048, 3072)];
    assert_eq!(starts(&ranges, kernelcore(pages(576)), 0), [(1, 1280), (2, 2304)].into());
}

#[test]
fn lower_zones_and_holes_count_as_they_lie() {
    let ranges = [range(0, 0, 256), range(0, 512, 1024), range(1, 1024, 2048)];
    assert_eq!(starts(&ranges, kernelcore(pages(512)), 256), [(0, 640), (1, 1152)].into());
    assert_eq!(starts(&ranges, kernelcore(pages(100)), 256), [(0, 512), (1, 1024)].into());
}

#[test]
fn of_both_sizes_the_one_that_leaves_the_kernel_more_wins() {
    let ranges = [range(0, 0, 1024), range(1, 1024, 2048)];
    let both = |core, movable| MovableRequest { movablecore: Some(pages(movable)), ..kernelcore(pages(core)) };
    assert_eq!(starts(&ranges, both(512, 1024), 0), [(0, 512), (1, 1536)].into());
    assert_eq!(starts(&ranges, both(1536, 1024), 0), [(0, 768), (1, 1792)].into());
    let movable = MovableRequest { movablecore: Some(pages(1009)), ..MovableRequest::default() };
    assert_eq!(starts(&ranges, movable, 0), [(0, 512), (1, 1536)].into());
}

#[test]
fn hotpluggable_memory_goes_before_mirrored_and_that_before_sizes() {
    let plug = MemoryRange { hotpluggable: true, ..range(1, 1025, 2048) };
    let single = MemoryRange { mirrored: false, ..range(0, 512, 1024) };
    let ranges = [range(0, 0, 512), single, plug];
    let mut all = MovableRequest { movable_node: true, mirror: true, ..kernelcore(pages(64)) };
    assert_eq!(starts(&ranges, all, 0), [(1, 1040)].into());
    all.movable_node = false;
    assert_eq!(starts(&ranges, all, 0), [(0, 512)].into());
    all.mirror = false;
    assert_eq!(starts(&ranges, all, 0), [(0, 32), (1, 1057u64.next_multiple_of(16))].into());
    all.movable_node = true;
    assert_eq!(starts(&[range(0, 0, 512)], all, 0), [(0, 64)].into());
}
