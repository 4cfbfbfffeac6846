//! Huge pages that give their redundant descriptors back, on a whole machine.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::pages::{PageEvent, PageRequest};
use hugefolio::text::{Vmstat, VmstatItem};
use hugefolio::{
    Admin, BlockId, BuildError, Bytes, Calls, Cause, CpuId, DemoteCallError, DemoteError, Descriptor, DissolveError,
    Frame, GfpFlags, HugeCount, HugeSize, Machine, MapCall, MemoryRange, Moves, NodeId, Nodemask, Order, PageCount,
    Pages, Pfn, Poison, ResizeNodes, Share, SharedMachine, Site, TailKey, ZoneError, ZoneKind, ZoneRef,
};

const NODE: NodeId = NodeId::new(0);
const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);

fn machine(memory: Bytes, cmdline: &str) -> Machine {
    Machine::builder().node(NODE, memory).cmdline(cmdline).build().expect("one node")
}

fn set(machine: &mut Machine, size: HugeSize, count: u64) {
    machine.set_nr_hugepages(size, HugeCount::new(count), ALL).unwrap();
    machine.validate().unwrap();
}

/// Pages of descriptors from the allocator and from boot, as `/proc/vmstat` has them.
fn memmap(machine: &mut Machine) -> [i64; 2] {
    let text: Vmstat = machine.read_file("/proc/vmstat").unwrap().parse().unwrap();
    [VmstatItem::NrMemmapPages, VmstatItem::NrMemmapBootPages]
        .map(|item| i64::try_from(text.0.get(item).unwrap()).unwrap())
}

fn since([a, b]: [i64; 2], before: [i64; 2]) -> [i64; 2] {
    [a - before[0], b - before[1]]
}

/// Total, free and surplus pages of the pool of 2 MiB.
fn pool(machine: &mut Machine) -> [u64; 3] {
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    [pool.nr, pool.free, pool.surplus].map(HugeCount::get)
}

/// Takes all base pages but for `left`.
fn starve(machine: &mut Machine, left: usize) -> Vec<BlockId> {
    let request = PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::MEMALLOC | GfpFlags::NOWARN, NODE);
    let mut held = Vec::new();
    while let Ok(block) = machine.alloc_pages(&request) {
        held.push(block);
    }
    for _ in 0..left {
        machine.free_pages(held.pop().unwrap()).unwrap();
    }
    held
}

/// What a Linux 6.18 counted with 4, 8, 4 and 0 pages of 2 MiB: the first time the pages are boot's, and what comes back is the allocator's.
#[test]
fn a_pool_gives_back_what_describes_it() {
    let mut machine = machine(Bytes::gib(1), "hugetlb_free_vmemmap=on");
    let before = memmap(&mut machine);
    assert!(before[0] == 0 && before[1] > 1 << 12, "descriptors of descriptors come on top: {before:?}");
    for (count, expected) in [(4, [4, -32]), (8, [8, -64]), (4, [8 + 28, -64]), (0, [64, -64])] {
        set(&mut machine, HugeSize::M2, count);
        assert_eq!(since(memmap(&mut machine), before), expected, "{count} pages");
    }
    assert_eq!(machine.vmemmap().tail_pages().get(), 0);
}

#[test]
fn the_first_page_costs_its_tail() {
    let mut machine = machine(Bytes::gib(1), "hugetlb_free_vmemmap=on");
    let spare = |machine: &Machine| i64::try_from(machine.spare_pages(NODE).get()).unwrap();
    let start = spare(&machine);
    set(&mut machine, HugeSize::M2, 1);
    assert_eq!(spare(&machine) - start, -512 + 6);
    set(&mut machine, HugeSize::M2, 2);
    assert_eq!(spare(&machine) - start, -1024 + 6 + 7);
    set(&mut machine, HugeSize::M2, 0);
    // Sixteen pages of boot's are the allocator's now, fourteen of which hold descriptors, and two the first pages of them.
    assert_eq!(spare(&machine) - start, 0);
    set(&mut machine, HugeSize::G1, 0);
}

#[test]
fn the_switch_is_for_pages_to_come() {
    let mut machine = machine(Bytes::gib(1), "hugepages=2");
    let before = memmap(&mut machine);
    let write = |machine: &mut Machine, text: &str| {
        machine.write_file("/proc/sys/vm/hugetlb_optimize_vmemmap", text).unwrap();
        let shown = machine.read_file("/proc/sys/vm/hugetlb_optimize_vmemmap").unwrap();
        assert_eq!(shown, text);
    };
    write(&mut machine, "1\n");
    set(&mut machine, HugeSize::M2, 3);
    assert_eq!(since(memmap(&mut machine), before), [1, -8]);
    write(&mut machine, "0\n");
    set(&mut machine, HugeSize::M2, 4);
    assert_eq!(since(memmap(&mut machine), before), [1, -8]);
    set(&mut machine, HugeSize::M2, 0);
    assert_eq!(since(memmap(&mut machine), before), [8, -8]);
}

/// Pools of 1 GiB: sixteen megabytes for each page but for one.
#[test]
fn a_gigantic_page_has_a_tail_of_its_own() {
    let mut machine = machine(Bytes::gib(8), "hugetlb_free_vmemmap=on");
    let before = memmap(&mut machine);
    set(&mut machine, HugeSize::G1, 1);
    set(&mut machine, HugeSize::M2, 1);
    assert_eq!(since(memmap(&mut machine), before), [2, -4096 - 8]);
    let zone = ZoneRef { node: NODE, kind: ZoneKind::Normal };
    let users = |order| machine.vmemmap().tail(TailKey::new(zone, Order::new(order))).map(|(_, users)| users);
    assert_eq!([users(18), users(9)], [Some(1), Some(1)]);
}

/// An administrator who is short of memory shrinks the pool to get some. The page cannot leave, since its descriptors would need seven pages; it
/// is surplus then, even where none may be, and leaves once there is memory for it.
#[test]
fn a_page_without_memory_for_its_descriptors_stays_as_surplus() {
    let mut machine = machine(Bytes::mib(16), "hugetlb_free_vmemmap=on hugepages=1");
    let held = starve(&mut machine, 6);
    set(&mut machine, HugeSize::M2, 0);
    assert_eq!(pool(&mut machine), [1, 1, 1]);
    held.into_iter().for_each(|block| machine.free_pages(block).unwrap());
    set(&mut machine, HugeSize::M2, 1);
    assert_eq!(pool(&mut machine), [1, 1, 0]);
    set(&mut machine, HugeSize::M2, 0);
    assert_eq!(pool(&mut machine), [0, 0, 0]);
}

/// The way back needs 4095 pages: with one fewer the page of 1 GiB stays, and goes once there is memory.
#[test]
fn a_gigantic_page_lacks_one_page() {
    let mut machine = machine(Bytes::gib(3), "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=1");
    let held = starve(&mut machine, 4094);
    let pool = |machine: &mut Machine| {
        let pool = machine.pool(HugeSize::G1).unwrap();
        [pool.nr, pool.free, pool.surplus].map(HugeCount::get)
    };
    set(&mut machine, HugeSize::G1, 0);
    assert_eq!(pool(&mut machine), [1, 1, 1]);
    held.into_iter().for_each(|block| machine.free_pages(block).unwrap());
    for count in [1, 0] {
        set(&mut machine, HugeSize::G1, count);
    }
    assert_eq!(pool(&mut machine), [0, 0, 0]);
}

#[test]
fn what_cannot_be_described_is_not_dissolved_or_demoted() {
    let mut machine = machine(Bytes::gib(3), "hugetlb_free_vmemmap=on hugepages=1 hugepagesz=1G hugepages=1");
    let zone = machine.pages().zones().map(|(zone, _)| zone.layout().kind).last().expect("a zone");
    let shelf = |machine: &Machine, size| {
        let hstate = machine.hstates().by_size(size).expect("its pool").id;
        machine.shelf(hstate, NODE).and_then(|shelf| shelf.iter().next()).expect("a free page").pfn
    };
    let (small, large) = (shelf(&machine, HugeSize::M2), shelf(&machine, HugeSize::G1));
    machine.faults().fail_nth(Some(Site::VmemmapPage), 3);
    let before = (pool(&mut machine), memmap(&mut machine));
    let refused = machine.dissolve(small).unwrap_err();
    assert!(
        matches!(refused, DissolveError::Metadata(lacking) if lacking.needed.get() == 7 && lacking.found.get() == 3)
    );
    assert_eq!((pool(&mut machine), memmap(&mut machine)), before);

    machine.faults().fail_nth(Some(Site::VmemmapPage), 4000);
    let refused = machine.demote(HugeSize::G1, HugeCount::new(1), ALL).unwrap_err();
    let DemoteCallError::Demote(DemoteError::Metadata(lacking)) = refused else { panic!("{refused}") };
    assert_eq!((lacking.needed.get(), lacking.found.get()), (4095, 4000));
    assert_eq!((pool(&mut machine), memmap(&mut machine)), before);
    machine.faults().clear();

    machine.demote(HugeSize::G1, HugeCount::new(1), ALL).unwrap();
    assert_eq!(pool(&mut machine), [513, 513, 0]);
    assert!(machine.vmemmap().is_optimised(large), "its parts are optimised in turn");
    let key = TailKey::new(ZoneRef { node: NODE, kind: zone }, Order::new(9));
    assert_eq!(machine.vmemmap().tail(key).map(|(_, users)| users), Some(513));
}

/// Each attempt that a resize makes for descriptors fails once: a page is left as it is, or stays as surplus.
#[test]
fn a_resize_goes_on_without_pages_for_descriptors() {
    for k in 0..5 {
        let mut machine = machine(Bytes::mib(64), "hugetlb_free_vmemmap=on");
        machine.faults().fail_nth(Some(Site::VmemmapPage), k);
        set(&mut machine, HugeSize::M2, 4);
        assert_eq!(pool(&mut machine), [4, 4, 0], "attempt {k}");
        let users: u64 = machine.vmemmap().tail_pages().get();
        assert_eq!(users, 1, "attempt {k}: the others share one");
    }
    for k in 0..14 {
        let mut machine = machine(Bytes::mib(64), "hugetlb_free_vmemmap=on hugepages=2");
        machine.faults().fail_nth(Some(Site::VmemmapPage), k);
        set(&mut machine, HugeSize::M2, 0);
        assert_eq!(pool(&mut machine), [1, 1, 1], "attempt {k}");
    }
}

/// One frame of a page breaks, whose descriptor is a shared tail. Were that noted in the tail, every page that reads it would be broken; it is noted in a list of
/// the page's own.
#[test]
fn broken_pages_of_an_optimised_block_are_in_a_list() {
    let mut machine = machine(Bytes::gib(1), "hugetlb_free_vmemmap=on hugepages=2");
    let pid = machine.spawn();
    let two = HugeSize::M2.total(HugeCount::new(2));
    let at = machine.mmap(pid, &MapCall::anonymous(two, Share::Shared)).unwrap();
    let pages = [at, at + HugeSize::M2.bytes()].map(|at| {
        machine.write_byte(pid, at, 1).unwrap();
        machine.frame_at(pid, at).unwrap()
    });
    let inside = pages.map(|page| page.offset(PageCount::new(300)));
    let tails = inside.map(|pfn| match machine.vmemmap().descriptor(pfn) {
        Some(Descriptor::Shared(tail)) => tail.home(),
        other => panic!("{pfn} has {other:?}"),
    });
    assert_eq!(tails[0], tails[1]);
    machine.memory_failure(inside[0], Cause::Test);
    machine.validate().unwrap();
    assert!(matches!(machine.frame(inside[0]), Frame::Huge { poisoned: Poison::Some, .. }));
    assert!(matches!(machine.frame(inside[1]), Frame::Huge { poisoned: Poison::None, .. }));
    assert!(
        matches!(machine.vmemmap().descriptor(inside[0]), Some(Descriptor::Shared(tail)) if tail.home() == tails[0])
    );
}

/// Memory that came later and holds its own descriptors: these are frames of it, so there is nobody to give them to.
#[test]
fn memory_with_its_own_descriptors_is_never_optimised() {
    let (start, end) = (Pfn::new(1 << 24), Pfn::new((1 << 24) + (128 << 8)));
    let range = MemoryRange { node: NODE, start, end, hotpluggable: false, mirrored: false };
    let builder = Machine::builder().node(NODE, Bytes::gib(1)).memory_with_own_descriptors(range);
    let mut machine = builder.cmdline("hugetlb_free_vmemmap=on").build().unwrap();
    let before = memmap(&mut machine);
    assert_eq!(before[0], 512, "they count as the allocator's");
    let managed = |machine: &Machine, kind| {
        machine
            .pages()
            .zones()
            .filter(|(zone, _)| zone.layout().kind == kind)
            .map(|(zone, _)| zone.managed().get())
            .sum::<u64>()
    };
    assert_eq!(managed(&machine, ZoneKind::Normal) % (128 << 8), (128 << 8) - 512);
    let mut again = Machine::from_state(machine.state().0).unwrap();
    for machine in [&mut machine, &mut again] {
        // The highest zone comes first.
        set(machine, HugeSize::M2, 20);
        assert_eq!(since(memmap(machine), before), [0, 0]);
        assert_eq!(machine.vmemmap().tail_pages().get(), 0);
        set(machine, HugeSize::M2, 70);
        let optimised = machine.vmemmap().tail_pages().get();
        assert_eq!(optimised, 1, "pages of other memory have descriptors to give");
        set(machine, HugeSize::M2, 0);
        assert_eq!(machine.vmemmap().tail_pages().get(), 0);
    }
}

/// Whoever looks at single pages sees each of them come and go, and all counts are as they would be otherwise.
#[test]
fn pages_of_descriptors_are_seen_one_by_one_by_who_looks() {
    let [mut quiet, mut watched] = [(); 2].map(|()| machine(Bytes::gib(1), "hugetlb_free_vmemmap=on hugepages=2"));
    watched.record_page_events();
    for machine in [&mut quiet, &mut watched] {
        set(machine, HugeSize::M2, 1);
        set(machine, HugeSize::M2, 2);
    }
    assert_eq!((memmap(&mut quiet), quiet.spare_pages(NODE)), (memmap(&mut watched), watched.spare_pages(NODE)));
    let seen = watched.take_page_events();
    let single = |event: &PageEvent| matches!(event, PageEvent::Freed { order: Order::ZERO, .. });
    assert_eq!(seen.requests.iter().filter(|event| single(event)).count(), 8, "{:?}", seen.requests);
    assert!(quiet.take_page_events().requests.is_empty());
}

#[test]
fn descriptors_of_every_node_lie_on_it() {
    let nodes = [NodeId::new(0), NodeId::new(1)];
    let builder = Machine::builder().node(nodes[0], Bytes::gib(64)).node(nodes[1], Bytes::mib(130));
    let mut machine = builder.cmdline("hugetlb_free_vmemmap=on").build().unwrap();
    for node in nodes {
        machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(3), ResizeNodes::Node(node)).unwrap();
        machine.validate().unwrap();
    }
    assert_eq!(machine.vmemmap().tail_pages().get(), 2);
    let zones: Vec<_> = machine.pages().zones().map(|(zone, _)| zone.clone()).collect();
    for (frame, pages, _) in machine.vmemmap().frames() {
        let end = frame.offset(pages);
        let inside = |zone: &hugefolio::Zone| zone.layout().spans.iter().any(|&(s, e)| s <= frame && end <= e);
        assert!(zones.iter().any(inside), "{frame}");
    }
}

#[test]
fn a_saved_machine_keeps_its_tails() {
    let mut machine = machine(Bytes::gib(1), "hugetlb_free_vmemmap=on hugepages=5");
    let mut again = Machine::from_state(machine.state().0).unwrap();
    assert_eq!(again.vmemmap(), machine.vmemmap());
    for machine in [&mut machine, &mut again] {
        set(machine, HugeSize::M2, 2);
    }
    assert_eq!(memmap(&mut again), memmap(&mut machine));
}

#[test]
fn threads_that_grow_pools_make_one_tail() {
    let machine = machine(Bytes::gib(1), "hugetlb_free_vmemmap=on");
    let spare = machine.spare_pages(NODE);
    let shared = SharedMachine::from(machine);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
                for round in 0..40u64 {
                    let count = HugeCount::new((round * 7 + u64::from(n)) % 20);
                    shared.on(&mut cpu).set_nr_hugepages(HugeSize::M2, count, ALL).unwrap();
                }
                shared.check_in(cpu);
            });
        }
    });
    let mut machine = shared.into_machine();
    set(&mut machine, HugeSize::M2, 32);
    assert_eq!(machine.vmemmap().tail_pages().get(), 1);
    assert_eq!(spare.get() - machine.spare_pages(NODE).get(), 32 * 505 + 1);
    set(&mut machine, HugeSize::M2, 0);
    assert_eq!(machine.spare_pages(NODE), spare);
}

/// The frames of descriptors were placed behind memory that ends at the last number there is, and before memory that ends where it begins or earlier;
/// both were arithmetic without an answer.
#[test]
fn memory_that_cannot_be_is_refused() {
    for (start, end) in [(u64::MAX - 1024, u64::MAX), (4096, 0), (1 << 62, (1 << 62) + 4096)] {
        let (start, end) = (Pfn::new(start), Pfn::new(end));
        let range = MemoryRange { node: NODE, start, end, hotpluggable: false, mirrored: false };
        let refused = Machine::builder().memory(range).build().map(|_| ());
        assert_eq!(refused, Err(BuildError::Zone(ZoneError::BadSpan { start })));
    }
}
