//! Memory that is set aside at boot for gigantic pages. The numbers are those that a Linux 6.18 on arm64 with two nodes of 4 GiB showed.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::boot::{Arch, BootCause, BootMessage, CmaProblem};
use hugefolio::pages::PageRequest;
use hugefolio::text::CmaMeminfo;
use hugefolio::{
    Admin, Bytes, GfpFlags, HugeCount, HugeSize, Machine, MachineBuilder, MachineState, Migratetype, Moves, NodeId,
    Nodemask, Order, PageShift, Pages, ResizeNodes, Source, ZoneKind,
};

const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);
const LENT: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn node(n: u8) -> NodeId {
    NodeId::new(n)
}

fn builder(nodes: u8, cmdline: &str) -> MachineBuilder {
    let arm64 = Machine::builder().arch(Arch::Arm64(PageShift::K4)).cmdline(cmdline);
    (0..nodes).fold(arm64, |builder, n| builder.node(node(n), Bytes::gib(4)))
}

fn machine(cmdline: &str) -> Machine {
    let machine = builder(2, cmdline).build().unwrap();
    machine.validate().unwrap();
    machine
}

/// Gigantic pages on both nodes, and GiB that are free in areas.
fn state(machine: &mut Machine) -> ([u64; 2], u64) {
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::G1).unwrap();
    let of = |n: u8| pool.nodes.iter().find(|(at, _)| *at == node(n)).map_or(0, |(_, counts)| counts.nr.get());
    let (a, b) = (of(0), of(1));
    let lent: CmaMeminfo = machine.read_file("/proc/meminfo").unwrap().parse().unwrap();
    ([a, b], lent.free.get() >> 30)
}

fn set(machine: &mut Machine, size: HugeSize, count: u64, nodes: ResizeNodes) {
    machine.set_nr_hugepages(size, HugeCount::new(count), nodes).unwrap();
}

fn causes(messages: &[BootMessage]) -> Vec<BootCause> {
    messages.iter().map(|message| message.cause.clone()).collect()
}

#[test]
fn gigantic_pages_come_from_areas_first_and_go_back_there() {
    let mut machine = machine("hugetlb_cma=3G");
    let lent: CmaMeminfo = machine.read_file("/proc/meminfo").unwrap().parse().unwrap();
    assert_eq!((lent.total, lent.free), (Bytes::gib(3), Bytes::gib(3)));
    let mut grow = |count, nodes| {
        set(&mut machine, HugeSize::G1, count, nodes);
        state(&mut machine)
    };
    assert_eq!(grow(1, ALL), ([1, 0], 2));
    assert_eq!(grow(2, ALL), ([1, 1], 1));
    assert_eq!(grow(3, ALL), ([2, 1], 0));
    // The area of the second node is used up; it has other memory.
    assert_eq!(grow(4, ALL), ([2, 2], 0));
    assert_eq!(grow(0, ALL), ([0, 0], 3));
    assert_eq!(grow(2, ResizeNodes::Node(node(1))), ([0, 2], 2));
    assert_eq!(grow(2, ResizeNodes::Node(node(0))), ([2, 2], 0));
}

/// Parts of a demoted page were once given back to the page allocator alone: their area counted them as handed out for ever, and its pages
/// could not be had again.
#[test]
fn parts_of_a_demoted_page_go_back_to_its_area() {
    let mut machine = machine("hugetlb_cma=3G");
    set(&mut machine, HugeSize::G1, 2, ResizeNodes::Node(node(0)));
    machine.demote(HugeSize::G1, HugeCount::new(1), ALL).unwrap();
    assert_eq!(state(&mut machine), ([1, 0], 1));
    assert_eq!(machine.pool(HugeSize::M32).unwrap().nr, HugeCount::new(32));
    set(&mut machine, HugeSize::M32, 8, ALL);
    let free = |machine: &Machine| machine.cma().iter().map(|area| area.available().get() >> 13).sum::<u64>();
    assert_eq!(free(&machine), 24 + 32);
    machine.demote(HugeSize::M32, HugeCount::new(8), ALL).unwrap();
    assert_eq!(machine.pool(HugeSize::M2).unwrap().nr, HugeCount::new(128));
    set(&mut machine, HugeSize::M2, 0, ALL);
    machine.drain_lists();
    assert_eq!(state(&mut machine), ([1, 0], 2));
    set(&mut machine, HugeSize::G1, 0, ALL);
    assert_eq!(state(&mut machine), ([0, 0], 3));
    set(&mut machine, HugeSize::G1, 2, ResizeNodes::Node(node(0)));
    assert_eq!(state(&mut machine), ([2, 0], 1));
}

/// The parts of a gigantic page that was given back were once counted one by one, and the last of them was found in a bad state: a pool went
/// from 1 to 0 and not back.
#[test]
fn a_pool_goes_there_and_back() {
    for cmdline in ["", "hugetlb_cma=1G", "hugetlb_cma=1G hugetlb_cma_only=on"] {
        let mut machine = machine(cmdline);
        for _ in 0..3 {
            set(&mut machine, HugeSize::G1, 1, ALL);
            assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, HugeCount::new(1));
            set(&mut machine, HugeSize::G1, 0, ALL);
            machine.validate().unwrap();
        }
    }
}

#[test]
fn a_dissolved_page_goes_back_to_its_area() {
    let mut machine = machine("hugetlb_cma=1G");
    set(&mut machine, HugeSize::G1, 1, ALL);
    let folio = machine.shelf(machine.hstates().by_size(HugeSize::G1).unwrap().id, node(0)).unwrap().iter().next();
    let folio = folio.unwrap();
    assert_eq!(folio.source, Source::Cma);
    machine.dissolve(folio.pfn).unwrap();
    assert_eq!(state(&mut machine), ([0, 0], 1));
}

#[test]
fn with_areas_alone_there_is_nothing_else() {
    let boot = builder(2, "hugetlb_cma=0:1G,1:2G hugetlb_cma_only=1 hugepagesz=1G hugepages=2");
    let (mut machine, messages) = boot.build_verbose().unwrap();
    assert_eq!(causes(&messages), []);
    assert_eq!(state(&mut machine), ([1, 1], 1));
    set(&mut machine, HugeSize::G1, 4, ALL);
    assert_eq!(state(&mut machine), ([1, 2], 0));
    set(&mut machine, HugeSize::G1, 6, ALL);
    assert_eq!(state(&mut machine), ([1, 2], 0));
}

#[test]
fn boot_leaves_gigantic_pages_to_areas() {
    let boot = builder(2, "hugetlb_cma=3G hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=3");
    let (mut machine, messages) = boot.build_verbose().unwrap();
    assert_eq!(causes(&messages), [CmaProblem::SkipsBootAllocation.into()]);
    assert_eq!(state(&mut machine).0, [0, 0]);
    assert_eq!(machine.pool(HugeSize::M2).unwrap().nr, HugeCount::new(3));
}

#[test]
fn a_node_without_such_memory_is_passed_over() {
    let (mut machine, messages) = builder(2, "hugetlb_cma=0:5G,1:2G").build_verbose().unwrap();
    let missing = CmaProblem::NoMemory { node: node(0), asked: Bytes::gib(5) };
    assert_eq!(causes(&messages), [missing.into()]);
    assert_eq!(state(&mut machine), ([0, 0], 2));
}

#[test]
fn a_share_of_a_node_is_rounded_up_to_whole_pages() {
    let mut all = machine("hugetlb_cma=50%");
    assert_eq!(state(&mut all), ([0, 0], 4));
    let mut one = machine("hugetlb_cma=1:26%");
    assert_eq!(state(&mut one), ([0, 0], 2));
    let (_, messages) = builder(2, "hugetlb_cma=0:101%").build_verbose().unwrap();
    assert_eq!(causes(&messages), [CmaProblem::PercentTooLarge(101).into()]);
}

/// What is lent is had by whoever can be moved; and is moved when a gigantic page needs it.
#[test]
fn what_is_lent_is_taken_back() {
    let mut machine = builder(1, "hugetlb_cma=2G").build().unwrap();
    let request = |gfp| PageRequest::new(Order::new(4), gfp, node(0));
    let mut blocks = Vec::new();
    let mut lent = 0;
    while lent < 3 {
        let block = machine.alloc_pages(&request(LENT)).unwrap();
        let at = machine.block(block).unwrap();
        lent += u32::from(machine.pages().zone(at.zone).unwrap().migratetype(at.pfn) == Migratetype::Cma);
        blocks.push(block);
    }
    set(&mut machine, HugeSize::G1, 2, ALL);
    assert_eq!(state(&mut machine), ([2, 0], 0));
    for &block in &blocks {
        let at = machine.block(block).unwrap();
        assert_ne!(machine.pages().zone(at.zone).unwrap().migratetype(at.pfn), Migratetype::Cma);
    }
    set(&mut machine, HugeSize::G1, 0, ALL);
    blocks.into_iter().for_each(|block| machine.free_pages(block).unwrap());
    assert_eq!(state(&mut machine), ([0, 0], 2));
}

/// A page that is pinned keeps the range that it is in; the next one is tried, and then other memory.
#[test]
fn a_pinned_page_keeps_its_range() {
    let mut machine = builder(1, "hugetlb_cma=2G").build().unwrap();
    let request = PageRequest::new(Order::ZERO, LENT, node(0));
    let pinned = loop {
        let block = machine.alloc_pages(&request).unwrap();
        let at = machine.block(block).unwrap();
        if machine.pages().zone(at.zone).unwrap().migratetype(at.pfn) == Migratetype::Cma {
            break block;
        }
    };
    machine.pin_pages(pinned).unwrap();
    set(&mut machine, HugeSize::G1, 3, ALL);
    let (nr, _) = state(&mut machine);
    assert_eq!(nr, [3, 0]);
    assert_eq!(machine.cma().iter().map(|area| area.available().get() >> 18).sum::<u64>(), 1);
    machine.unpin_pages(pinned).unwrap();
    set(&mut machine, HugeSize::G1, 0, ALL);
    set(&mut machine, HugeSize::G1, 2, ALL);
    assert_eq!(machine.cma().iter().map(|area| area.available().get()).sum::<u64>(), 0);
}

#[test]
fn files_show_what_is_lent() {
    let mut machine = machine("hugetlb_cma=3G");
    let zoneinfo = machine.read_file("/proc/zoneinfo").unwrap();
    let lines: Vec<&str> = zoneinfo.lines().filter(|line| line.starts_with("        cma ")).collect();
    assert_eq!(lines.iter().filter(|line| line.trim_start() == "cma      524288").count(), 1, "{lines:?}");
    let types = machine.read_file("/proc/pagetypeinfo").unwrap();
    assert!(types.contains("Node    1, zone   Normal, type          CMA      0      0      0      0      0      0      0      0      0      0    256 "), "{types}");
    let zone = machine.cma().iter().next().unwrap().zone();
    assert_eq!((zone.node, zone.kind), (node(0), ZoneKind::Dma));
    assert_eq!(machine.topology().nodes().len(), 2);
}

#[test]
fn a_saved_machine_has_its_areas() {
    let mut machine = machine("hugetlb_cma=3G");
    set(&mut machine, HugeSize::G1, 2, ALL);
    let (saved, _): (MachineState, _) = machine.state();
    let mut again = Machine::from_state(saved).unwrap();
    assert_eq!(again.cma(), machine.cma());
    set(&mut again, HugeSize::G1, 0, ALL);
    assert_eq!(state(&mut again), ([0, 0], 3));
}
