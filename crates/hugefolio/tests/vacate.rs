//! Huge pages that leave for the sake of their place: for a range of frames, for an area, for memory that goes.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::pages::{ContigError, Plug};
use hugefolio::{
    Admin, Bytes, Calls, DissolveError, Event, GfpFlags, HugeCount, HugeFolio, HugeSize, Machine, MapCall, MapSource,
    Moves, NodeId, Nodemask, OfflineError, Order, PageCount, Pages, Pfn, Pid, ResizeNodes, Share, Touch, Vaddr,
    ZoneKind, ZoneRef,
};

const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);

fn node(n: u8) -> NodeId {
    NodeId::new(n)
}

fn machine(nodes: u8, mib: u64, cmdline: &str) -> Machine {
    let empty = Machine::builder().cmdline(cmdline);
    (0..nodes).fold(empty, |builder, n| builder.node(node(n), Bytes::mib(mib))).build().unwrap()
}

/// Total, free, reserved, surplus and target, and the pages on each node.
fn counters(machine: &mut Machine) -> ([u64; 5], Vec<u64>) {
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    let of = [pool.nr, pool.free, pool.resv, pool.surplus, pool.max].map(HugeCount::get);
    (of, pool.nodes.iter().map(|(_, counts)| counts.nr.get()).collect())
}

fn set(machine: &mut Machine, count: u64, nodes: ResizeNodes) {
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(count), nodes).unwrap();
}

fn free_folios(machine: &Machine, on: NodeId) -> Vec<HugeFolio> {
    let id = machine.hstates().by_size(HugeSize::M2).unwrap().id;
    machine.shelf(id, on).unwrap().iter().collect()
}

/// A mapping of so many pages with a byte in each.
fn map(machine: &mut Machine, pages: u64) -> (Pid, Vaddr) {
    let pid = machine.spawn();
    let call = MapCall {
        source: MapSource::Anonymous(Some(HugeSize::M2)),
        ..MapCall::anonymous(Bytes::mib(2 * pages), Share::Private)
    };
    let at = machine.mmap(pid, &call).unwrap();
    for page in 0..pages {
        machine.write_byte(pid, at + Bytes::mib(2 * page), u8::try_from(page).unwrap() + 7).unwrap();
    }
    (pid, at)
}

fn window(pfn: Pfn, order: Order) -> Pfn {
    Pfn::new(pfn.get() >> order.get() << order.get())
}

/// A range takes the place of free pages: others of the same node stand for them from then on, and nobody can tell from a counter.
#[test]
fn free_pages_in_a_range_are_replaced() {
    let mut machine = machine(1, 96, "");
    set(&mut machine, 6, ALL);
    let before = counters(&mut machine);
    let page = free_folios(&machine, node(0))[0].pfn;
    let (order, mine) = (Order::new(10), window(page, Order::new(10)));
    machine.record_events();
    let block = machine.take_frames(mine, order, GfpFlags::KERNEL).unwrap();
    let replaced = machine.take_events().iter().filter(|event| matches!(event, Event::Replaced { .. })).count();
    assert!(replaced >= 1);
    assert_eq!(counters(&mut machine), before);
    let inside = |folio: &HugeFolio| mine <= folio.pfn && folio.pfn < mine.offset(order.pages());
    assert!(!free_folios(&machine, node(0)).iter().any(inside));
    machine.free_pages(block).unwrap();
    assert_eq!(counters(&mut machine), before);
}

/// A page in use moves with what is written in it, on its node, and its counters with it.
#[test]
fn pages_in_use_are_moved() {
    let mut machine = machine(1, 96, "hugepages=4");
    let (pid, at) = map(&mut machine, 3);
    let before = counters(&mut machine);
    let page = machine.frame_at(pid, at).unwrap();
    let mine = window(page, Order::new(10));
    machine.take_frames(mine, Order::new(10), GfpFlags::KERNEL).unwrap();
    assert_eq!(counters(&mut machine), before);
    assert_ne!(machine.frame_at(pid, at).unwrap(), page);
    for page in 0..3 {
        assert_eq!(machine.read_byte(pid, at + Bytes::mib(2 * page)).unwrap(), u8::try_from(page).unwrap() + 7);
    }
}

#[test]
fn a_pinned_page_keeps_its_range_and_nothing_is_changed() {
    let mut machine = machine(1, 96, "hugepages=4");
    let (pid, at) = map(&mut machine, 1);
    let pin = machine.pin(pid, at, Touch::Read).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    let before = counters(&mut machine);
    let refused = machine.take_frames(page, Order::new(9), GfpFlags::KERNEL);
    assert_eq!(refused, Err(ContigError::Busy(page)));
    assert_eq!(counters(&mut machine), before);
    machine.unpin(pin);
    machine.take_frames(page, Order::new(9), GfpFlags::KERNEL).unwrap();
    assert_eq!(counters(&mut machine), before);
}

/// Nobody makes a contiguous range for the sake of another one.
#[test]
fn gigantic_pages_stay() {
    let mut machine = machine(1, 4096, "hugepagesz=1G hugepages=1");
    let id = machine.hstates().by_size(HugeSize::G1).unwrap().id;
    let page = machine.shelf(id, node(0)).unwrap().iter().next().unwrap().pfn;
    assert_eq!(machine.take_frames(page, Order::new(9), GfpFlags::KERNEL), Err(ContigError::NoMemory(page)));
    assert_eq!(machine.pool(HugeSize::G1).unwrap().free, HugeCount::new(1));
    machine.validate().unwrap();
}

/// A page that leaves its pool was once neither huge nor free for a moment, and a range that was asked for in that moment failed. Here whoever asks
/// for a range, or for a gigantic page of an area, finds pages either free or able to leave.
#[test]
fn huge_pages_leave_an_area_that_a_gigantic_page_needs() {
    let mut machine = machine(1, 5120, "hugetlb_cma=2G");
    set(&mut machine, 700, ALL);
    let (pid, at) = map(&mut machine, 40);
    let lent = |machine: &Machine, pfn: Pfn| machine.cma().touches(pfn, pfn.offset(PageCount::new(1)));
    let used = (0..40).filter(|&n| lent(&machine, machine_frame(&machine, pid, at, n))).count();
    let before = counters(&mut machine);
    assert!(used + free_folios(&machine, node(0)).iter().filter(|folio| lent(&machine, folio.pfn)).count() > 20);
    machine.set_nr_hugepages(HugeSize::G1, HugeCount::new(2), ALL).unwrap();
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, HugeCount::new(2));
    assert_eq!(machine.cma().iter().map(|area| area.available().get()).sum::<u64>(), 0);
    assert_eq!(counters(&mut machine), before);
    for page in 0..40 {
        assert_eq!(machine.read_byte(pid, at + Bytes::mib(2 * page)).unwrap(), u8::try_from(page).unwrap() + 7);
    }
}

fn machine_frame(machine: &Machine, pid: Pid, at: Vaddr, page: u64) -> Pfn {
    machine.clone().frame_at(pid, at + Bytes::mib(2 * page)).unwrap()
}

/// The memory of a node in pieces of 128 MiB, as the kernel's blocks of memory are.
const SECTION: PageCount = PageCount::new(1 << 15);

fn section(pfn: Pfn) -> Pfn {
    window(pfn, Order::new(15))
}

#[test]
fn memory_goes_with_free_pages_in_it_and_comes_again() {
    let mut machine = machine(2, 512, "hugepages=0:20,1:40");
    let page = free_folios(&machine, node(1))[0];
    let start = section(page.pfn);
    let inside = |folio: &&HugeFolio| start <= folio.pfn && folio.pfn < start.offset(SECTION);
    let gone = free_folios(&machine, node(1)).iter().filter(inside).count() as u64;
    assert!(gone > 0);
    machine.offline_memory(start, SECTION).unwrap();
    assert_eq!(counters(&mut machine), ([60 - gone, 60 - gone, 0, 0, 60 - gone], vec![20, 40 - gone]));
    let zone = ZoneRef { node: node(1), kind: ZoneKind::Normal };
    machine.online_memory(Plug { zone, start, pages: SECTION }).unwrap();
    assert_eq!(counters(&mut machine).0[0], 60 - gone);
    set(&mut machine, 60, ALL);
    assert_eq!(counters(&mut machine).0[0], 60);
}

/// Pages in use move to the other node, whether there are free ones or not: free ones are taken, and others are made, so that the pool is
/// smaller by what was free where the memory was.
#[test]
fn memory_goes_and_pages_in_use_move() {
    let mut machine = machine(2, 512, "hugepages=1:4");
    let (pid, at) = map(&mut machine, 4);
    set(&mut machine, 2, ResizeNodes::Node(node(0)));
    let start = section(machine.frame_at(pid, at).unwrap());
    let before = counters(&mut machine);
    assert_eq!(before, ([6, 2, 0, 0, 6], vec![2, 4]));
    machine.offline_memory(start, SECTION).unwrap();
    // Two moved to free pages, whose old ones came back and went with the memory; two to pages that were made for them.
    assert_eq!(counters(&mut machine), ([4, 0, 0, 0, 4], vec![4, 0]));
    for page in 0..4 {
        assert_eq!(machine.node_of(pid, at + Bytes::mib(2 * page)).unwrap(), node(0));
        assert_eq!(machine.read_byte(pid, at + Bytes::mib(2 * page)).unwrap(), u8::try_from(page).unwrap() + 7);
    }
}

#[test]
fn a_reservation_keeps_the_memory_of_its_page() {
    let mut machine = machine(2, 512, "hugepages=1:2");
    let pid = machine.spawn();
    machine.mmap(pid, &MapCall::anonymous(Bytes::mib(4), Share::Private)).unwrap();
    let page = free_folios(&machine, node(1))[0].pfn;
    let before = counters(&mut machine);
    let refused = machine.offline_memory(section(page), SECTION).unwrap_err();
    let two = HugeCount::new(2);
    assert_eq!(refused, OfflineError::Huge(DissolveError::Reserved { free: two, resv: two }));
    assert_eq!(refused.errno(), Errno::EBUSY);
    assert_eq!(counters(&mut machine), before);
    machine.exit(pid);
    machine.offline_memory(section(page), SECTION).unwrap();
    assert_eq!(counters(&mut machine).0, [0; 5]);
}
