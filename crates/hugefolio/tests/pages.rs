//! Ordinary pages on a machine: taken, moved, given back, and shown.

use hugefolio::pages::PageRequest;
use hugefolio::text::{Buddyinfo, Pagetypeinfo, Vmstat, VmstatItem, Zoneinfo};
use hugefolio::{
    Admin, BlockError, BlockId, Bytes, Calls, CpuHandle, CpuId, Credentials, GfpFlags, HugeCount, HugeSize, Machine,
    MapCall, MemoryRange, Mempolicy, Mobility, NodeId, Nodemask, Order, Origin, PageCount, Pages, Pfn, ResizeNodes,
    Share, SharedMachine, ZoneKind, ZoneRef,
};

const NODE: NodeId = NodeId::new(0);

fn machine(memory: Bytes) -> Machine {
    Machine::builder().node(NODE, memory).build().expect("one node")
}

fn request(order: u8, gfp: GfpFlags) -> PageRequest {
    PageRequest::new(Order::new(order), gfp, NODE)
}

fn free_of(machine: &Machine, kind: ZoneKind) -> u64 {
    machine.pages().zone(ZoneRef { node: NODE, kind }).expect("it has that zone").free().get()
}

#[test]
fn a_request_goes_to_the_highest_zone_that_it_may_use() {
    let mut machine = machine(Bytes::gib(6));
    let kind = |machine: &mut Machine, gfp| {
        let block = machine.alloc_pages(&request(0, gfp)).unwrap();
        machine.block(block).unwrap().zone.kind
    };
    assert_eq!(kind(&mut machine, GfpFlags::KERNEL), ZoneKind::Normal);
    assert_eq!(kind(&mut machine, GfpFlags::KERNEL | GfpFlags::DMA32), ZoneKind::Dma32);
    assert_eq!(kind(&mut machine, GfpFlags::KERNEL | GfpFlags::DMA), ZoneKind::Dma);
    machine.validate().unwrap();
}

#[test]
fn movable_memory_is_for_what_can_move() {
    let mut machine =
        Machine::builder().node(NODE, Bytes::gib(8)).cmdline("movablecore=2G hugepages=4").build().unwrap();
    let free = free_of(&machine, ZoneKind::Movable);
    assert!(free < 2 << 18, "huge pages can move, and come from there");
    let fixed = machine.alloc_pages(&request(0, GfpFlags::HIGHUSER)).unwrap();
    let movable = machine.alloc_pages(&request(0, GfpFlags::HIGHUSER_MOVABLE)).unwrap();
    let (fixed, movable) = (machine.block(fixed).unwrap(), machine.block(movable).unwrap());
    assert_eq!((fixed.zone.kind, fixed.mobility), (ZoneKind::Normal, Mobility::Fixed));
    assert_eq!((movable.zone.kind, movable.mobility), (ZoneKind::Movable, Mobility::Movable));
    // Gigantic pages would be in the way of unplugging.
    machine.set_nr_hugepages(HugeSize::G1, HugeCount::new(8), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, HugeCount::new(4));
    machine.validate().unwrap();
}

/// Every second small block of a zone is taken, so that no huge page is left; moving them makes room. (Of larger blocks Linux would say that
/// memory is short and not fragmented, and move nothing.)
#[test]
fn a_huge_page_is_made_of_pages_that_are_moved_away() {
    let mut machine = machine(Bytes::mib(64));
    let movable = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::NORETRY;
    let mut held: Vec<BlockId> = Vec::new();
    while let Ok(block) = machine.alloc_pages(&request(4, movable)) {
        held.push(block);
    }
    let (kept, given): (Vec<_>, Vec<_>) = held.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    given.into_iter().for_each(|(_, block)| machine.free_pages(block).unwrap());
    machine.drain_pages();
    let of_huge = |machine: &mut Machine| {
        let info: Buddyinfo = machine.read_file("/proc/buddyinfo").unwrap().parse().unwrap();
        info.0.iter().map(|row| row.blocks[9] + 2 * row.blocks[10]).sum::<u64>()
    };
    let before = of_huge(&mut machine);
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(8), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(machine.pool(HugeSize::M2).unwrap().nr, HugeCount::new(8), "{before} were there");
    assert!(before < 8);
    machine.validate().unwrap();
    for (_, block) in kept {
        machine.free_pages(block).unwrap();
    }
    machine.validate().unwrap();
}

#[test]
fn what_is_pinned_stays_and_is_not_given_back() {
    let mut machine = machine(Bytes::mib(64));
    let block = machine.alloc_pages(&request(3, GfpFlags::HIGHUSER_MOVABLE)).unwrap();
    let at = machine.block(block).unwrap().pfn;
    machine.pin_pages(block).unwrap();
    machine.write_file("/proc/sys/vm/compact_memory", "1").unwrap();
    assert_eq!(machine.block(block).unwrap().pfn, at);
    assert_eq!(machine.free_pages(block), Err(BlockError::Pinned { pfn: at, pins: 1 }));
    machine.unpin_pages(block).unwrap();
    assert_eq!(machine.unpin_pages(block), Err(BlockError::NotPinned(at)));
    machine.compact_pages(NODE);
    assert_ne!(machine.block(block).unwrap().pfn, at, "compaction moves what lies low to the top");
    machine.free_pages(block).unwrap();
    assert_eq!(machine.free_pages(block), Err(BlockError::NoSuchBlock));
    machine.validate().unwrap();
}

/// A GiB with a movable block in it is emptied for a gigantic page; one with a fixed block is not.
#[test]
fn a_gigantic_page_moves_what_can_be_moved() {
    let mut machine = machine(Bytes::gib(3));
    let first_gib = 1 << 18;
    // Blocks are taken from below; those of the first GiB are given back.
    let above = |machine: &mut Machine, gfp| {
        let mut below = Vec::new();
        loop {
            let block = machine.alloc_pages(&request(9, gfp)).unwrap();
            let pfn = machine.block(block).unwrap().pfn;
            if pfn.get() >= first_gib {
                below.into_iter().for_each(|block| machine.free_pages(block).unwrap());
                return (block, pfn);
            }
            below.push(block);
        }
    };
    let grow = |machine: &mut Machine, count| {
        let all = ResizeNodes::Global(Nodemask::ALL);
        machine.set_nr_hugepages(HugeSize::G1, HugeCount::new(count), all).unwrap();
        machine.validate().unwrap();
        machine.pool(HugeSize::G1).unwrap().nr.get()
    };
    // The first GiB has two zones, and so is no gigantic page.
    let (movable, at) = above(&mut machine, GfpFlags::HIGHUSER_MOVABLE);
    assert_eq!(grow(&mut machine, 3), 2);
    let moved = machine.block(movable).unwrap().pfn;
    assert!(moved.get() < first_gib, "{at} was in the way, {moved} is not");
    // A block that stays keeps its GiB from becoming one.
    assert_eq!(grow(&mut machine, 0), 0);
    let (fixed, at) = above(&mut machine, GfpFlags::KERNEL);
    assert_eq!(grow(&mut machine, 3), 1);
    assert_eq!(machine.block(fixed).unwrap().pfn, at);
    machine.free_pages(fixed).unwrap();
    assert_eq!(grow(&mut machine, 3), 2);
    machine.free_pages(movable).unwrap();
    machine.validate().unwrap();
}

#[test]
fn a_request_that_cannot_be_met_says_so_and_never_hangs() {
    let mut machine = machine(Bytes::mib(64));
    while machine.alloc_pages(&request(10, GfpFlags::KERNEL)).is_ok() {}
    let nofail = GfpFlags::KERNEL | GfpFlags::NOFAIL;
    let error = machine.alloc_pages(&request(10, nofail)).unwrap_err();
    assert!(error.to_string().contains("for ever"), "{error}");
    let error = machine.alloc_pages(&request(11, GfpFlags::KERNEL)).unwrap_err();
    assert!(error.to_string().contains("order:11"), "{error}");
    machine.validate().unwrap();
}

/// Who reclaims memory himself asks nobody to do it, and a request of his that must not fail was tried again for ever: nobody counted how often, as only
/// reclaim was counted.
#[test]
fn a_reclaimer_that_must_not_fail_ends_too() {
    for size in [16, 64] {
        let mut machine = machine(Bytes::mib(size));
        while machine.alloc_pages(&request(10, GfpFlags::KERNEL)).is_ok() {}
        let mut nofail = request(10, GfpFlags::KERNEL | GfpFlags::NOFAIL);
        nofail.task.standing = hugefolio::pages::Standing::Reclaimer;
        while let Ok(block) = machine.alloc_pages(&nofail) {
            assert!(machine.block(block).is_some(), "what is kept for him is had before");
        }
        nofail.access.unmapped = true;
        assert!(machine.alloc_pages(&nofail).is_err());
        machine.validate().unwrap();
    }
}

/// All blocks of one machine of two nodes are near; those of a policy are where it says.
#[test]
fn a_process_gets_pages_where_its_policy_says() {
    let far = NodeId::new(1);
    let builder = Machine::builder().node(NODE, Bytes::gib(1)).node(far, Bytes::gib(1));
    let mut machine = builder.build().unwrap();
    let node_of = |machine: &mut Machine, policy: Mempolicy| {
        let credentials = Credentials::root();
        let origin = Origin { local: NODE, allowed: Nodemask::ALL, policy: policy.into(), cgroup: None, credentials };
        let pid = machine.spawn_as(origin).unwrap();
        let block = machine.alloc_pages_for(pid, Order::ZERO, GfpFlags::HIGHUSER_MOVABLE).unwrap();
        machine.block(block).unwrap().zone.node
    };
    assert_eq!(node_of(&mut machine, Mempolicy::Default), NODE);
    assert_eq!(node_of(&mut machine, Mempolicy::Bind { nodes: Nodemask::of(far), home: None }), far);
    assert_eq!(node_of(&mut machine, Mempolicy::Preferred(far)), far);
    machine.validate().unwrap();
}

#[test]
fn the_files_show_what_the_zones_have() {
    let mut machine = machine(Bytes::gib(6));
    let pages = machine.alloc_pages(&request(4, GfpFlags::KERNEL)).unwrap();
    let zoneinfo: Zoneinfo = machine.read_file("/proc/zoneinfo").unwrap().parse().unwrap();
    let kinds: Vec<ZoneKind> = zoneinfo.0.iter().map(|zone| zone.zone).collect();
    assert_eq!(kinds, ZoneKind::OF_64_BITS);
    let normal = &zoneinfo.0[2];
    assert_eq!(normal.pages.managed, PageCount::new(2 << 18));
    assert_eq!(normal.pages.free, PageCount::new((2 << 18) - 16));
    assert_eq!(zoneinfo.0[1].protection[2..4], [PageCount::new((2 << 18) / 256); 2]);
    let counted = &normal.populated.as_ref().unwrap().counters;
    assert_eq!((counted.get(VmstatItem::NumaHit), counted.get(VmstatItem::NumaLocal)), (Some(1), Some(1)));
    let vmstat: Vmstat = machine.read_file("/proc/vmstat").unwrap().parse().unwrap();
    assert_eq!(vmstat.0.get(VmstatItem::PgallocNormal), Some(16));
    let types: Pagetypeinfo = machine.read_file("/proc/pagetypeinfo").unwrap().parse().unwrap();
    let blocks: u64 = types.0[0].blocks.zones.iter().flat_map(|zone| &zone.blocks).sum();
    assert_eq!(blocks, (6 << 9) + 49, "and those of descriptors");
    machine.free_pages(pages).unwrap();
}

/// What the arithmetic of zoneinfo says follows from sizes and knobs, and knobs change it at once.
#[test]
fn knobs_move_the_marks() {
    let mut machine = machine(Bytes::gib(6));
    let min = |machine: &mut Machine| {
        let text: Zoneinfo = machine.read_file("/proc/zoneinfo").unwrap().parse().unwrap();
        text.0.iter().map(|zone| zone.pages.min.get()).sum::<u64>()
    };
    // Four times the root of 6291456 kB, in pages of 4 kB, of which each zone has its share rounded down.
    assert_eq!(machine.read_file("/proc/sys/vm/min_free_kbytes").unwrap(), "10033\n");
    assert!((2506..=2508 + 32).contains(&min(&mut machine)));
    machine.write_file("/proc/sys/vm/min_free_kbytes", "67584").unwrap();
    assert!((16_893..=16_896 + 32).contains(&min(&mut machine)));
    machine.write_file("/proc/sys/vm/lowmem_reserve_ratio", "0 0").unwrap();
    let text: Zoneinfo = machine.read_file("/proc/zoneinfo").unwrap().parse().unwrap();
    assert!(text.0.iter().all(|zone| zone.protection.iter().all(|pages| pages.is_zero())));
}

/// Memory with a hole, a node of processors alone, and one without.
#[test]
fn memory_lies_where_it_is_said_to() {
    let range = |node: u8, start: u64, end: u64| MemoryRange {
        node: NodeId::new(node),
        start: Pfn::new(start << 18),
        end: Pfn::new(end << 18),
        hotpluggable: false,
        mirrored: false,
    };
    let builder = Machine::builder().memory(range(0, 0, 3)).memory(range(0, 4, 5)).memory(range(1, 5, 6));
    let mut machine = builder.cpus(NodeId::new(1), 0).cpus(NodeId::new(2), 2).build().unwrap();
    let states = machine.topology().states();
    let nodes = |list: &[u8]| list.iter().copied().map(NodeId::new).collect::<Nodemask>();
    assert_eq!((states.memory, states.cpu), (nodes(&[0, 1]), nodes(&[0, 2])));
    machine.run_on(CpuId::new(2)).unwrap();
    assert!(machine.run_on(CpuId::new(3)).is_err());
    machine.set_nr_hugepages(HugeSize::G1, HugeCount::new(9), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    // Of the first node two below the hole and the one behind it, and the second one's.
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, HugeCount::new(4));
    machine.validate().unwrap();
    let overlap = Machine::builder().memory(range(0, 0, 3)).memory(range(1, 2, 4)).build();
    assert!(overlap.is_err());
}

/// What another processor keeps is not taken from it: it gives that back when it next has to do with the zone.
#[test]
fn a_processor_is_asked_to_give_its_pages_back() {
    let shared = SharedMachine::from(machine(Bytes::gib(6)));
    let (mut a, mut b) = (shared.check_out(CpuId::new(0)).unwrap(), shared.check_out(CpuId::new(1)).unwrap());
    let kept = |cpu: &mut CpuHandle| {
        let info: Zoneinfo = shared.on(cpu).read_file("/proc/zoneinfo").unwrap().parse().unwrap();
        let sets = info.0.iter().filter_map(|zone| zone.populated.as_ref()).flat_map(|zone| &zone.pagesets);
        sets.map(|set| set.count.get()).sum::<u64>()
    };
    let block = shared.on(&mut a).alloc_pages(&request(0, GfpFlags::KERNEL)).unwrap();
    assert!(kept(&mut a) > 0);
    shared.on(&mut b).drain_pages();
    assert_eq!((kept(&mut b), kept(&mut a)), (0, 0));
    shared.on(&mut a).free_pages(block).unwrap();
    assert_eq!(kept(&mut a), 1, "from then on it keeps pages again");
    shared.check_in(a);
    shared.check_in(b);
    shared.into_machine().validate().unwrap();
}

/// The lists of two processors are apart, and what they keep goes back with them.
#[test]
fn processors_of_a_shared_machine_have_lists_of_their_own() {
    let shared = SharedMachine::from(machine(Bytes::gib(6)));
    let (mut a, mut b) = (shared.check_out(CpuId::new(0)).unwrap(), shared.check_out(CpuId::new(1)).unwrap());
    let first = shared.on(&mut a).alloc_pages(&request(0, GfpFlags::KERNEL)).unwrap();
    let second = shared.on(&mut b).alloc_pages(&request(0, GfpFlags::KERNEL)).unwrap();
    shared.on(&mut b).write_file("/proc/sys/vm/percpu_pagelist_high_fraction", "1000").unwrap();
    shared.on(&mut a).free_pages(first).unwrap();
    shared.on(&mut b).free_pages(second).unwrap();
    let pid = shared.on(&mut a).spawn();
    let call = MapCall::anonymous(HugeSize::M2.bytes(), Share::Private);
    assert!(shared.on(&mut a).mmap(pid, &call).is_err(), "the pool is empty");
    shared.check_in(a);
    shared.check_in(b);
    let machine = shared.into_machine();
    machine.validate().unwrap();
    assert!(machine.pages().zones().all(|(zone, _)| zone.free() == zone.managed()));
}
