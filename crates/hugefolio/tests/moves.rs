//! Pages that move, pages that must stay, and memory that breaks.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Admin, AllocRefusal, Bytes, CallError, Calls, Cause, DissolveError, Dissolved, Event, Failed, FaultError,
    ForkError, Frame, HugeCount, HugeSize, Injection, Machine, MapCall, MapFlags, MigrateError, MovePageError,
    MoveScope, Moves, NodeId, Nodemask, PageCount, Pfn, Pid, Poison, PoolView, ResizeNodes, Share,
    SoftOfflineCallError, SoftOfflineError, SoftOfflined, Touch, UnpoisonCallError, UnpoisonError, Vaddr,
};

const N0: NodeId = NodeId::new(0);
const N1: NodeId = NodeId::new(1);
const M2: HugeSize = HugeSize::M2;

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

const fn huge(n: u64) -> HugeCount {
    HugeCount::new(n)
}

/// Two nodes, `each` pages on both, and a process on node 0.
fn two_nodes(each: u64) -> (Machine, Pid) {
    let builder = Machine::builder().node(N0, Bytes::mib(128)).node(N1, Bytes::mib(128));
    let mut machine = builder.build().unwrap();
    for node in [N0, N1] {
        machine.set_nr_hugepages(M2, huge(each), ResizeNodes::Node(node)).unwrap();
    }
    let pid = machine.spawn();
    (machine, pid)
}

fn private(machine: &mut Machine, pid: Pid, n: u64) -> Vaddr {
    machine.mmap(pid, &MapCall::anonymous(pages(n), Share::Private)).unwrap()
}

fn touched(machine: &mut Machine, pid: Pid, n: u64, value: u8) -> Vaddr {
    let at = private(machine, pid, n);
    (0..n).for_each(|page| machine.write_byte(pid, at + pages(page), value).unwrap());
    at
}

fn pfn(machine: &mut Machine, pid: Pid, at: Vaddr) -> Pfn {
    machine.frame_at(pid, at).unwrap()
}

/// Total, free, reserved, surplus.
fn counts(machine: &mut Machine) -> [u64; 4] {
    let PoolView { nr, free, resv, surplus, .. } = machine.pool(M2).unwrap();
    [nr, free, resv, surplus].map(HugeCount::get)
}

fn max(machine: &mut Machine) -> u64 {
    machine.pool_of(machine.hstates().default_hstate().id).unwrap().max().get()
}

/// A free page of the pool, wherever it lies.
fn free_page(machine: &mut Machine, node: NodeId) -> Pfn {
    let hstate = machine.hstates().default_hstate().id;
    let free: Vec<_> = machine.shelf(hstate, node).unwrap().iter().map(|folio| folio.pfn).collect();
    let mut sound = |pfn: &Pfn| matches!(machine.frame(*pfn), Frame::Huge { poisoned: Poison::None, .. });
    free.into_iter().find(&mut sound).unwrap()
}

/// A page that moves keeps its contents, its mappings and its payer, and the pool its totals: with a page to spare on the other node
/// that page is taken and the old one is free; with none a temporary page is counted while both are there, and the old one leaves.
#[test]
fn a_page_moves_with_all_that_stands_for_it() {
    let (mut machine, pid) = two_nodes(1);
    let at = touched(&mut machine, pid, 2, 7);
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    assert_eq!((machine.node_of(pid, at), machine.node_of(pid, at + pages(1))), (Ok(N0), Ok(N1)));
    machine.record_events();
    assert_eq!(machine.move_page(pid, at, N1, MoveScope::Own).unwrap(), N1);
    let moved = machine.take_events().into_iter().filter(|event| matches!(event, Event::Migrated { .. })).count();
    assert_eq!((moved, counts(&mut machine)), (1, [2, 0, 0, 0]));
    assert_eq!(machine.read_byte(pid, at).unwrap(), 7);
    let nodes = machine.pool(M2).unwrap().nodes;
    assert_eq!(nodes.iter().map(|(_, counts)| counts.nr.get()).collect::<Vec<_>>(), [0, 2]);
    machine.validate().unwrap();
    machine.exit(pid);
    assert_eq!(counts(&mut machine), [2, 2, 0, 0]);
    machine.validate().unwrap();

    // A page to spare: no page is made.
    let pid = machine.spawn();
    machine.set_nr_hugepages(M2, huge(2), ResizeNodes::Node(N0)).unwrap();
    let at = touched(&mut machine, pid, 1, 9);
    assert_eq!(machine.node_of(pid, at), Ok(N0));
    machine.move_page(pid, at, N1, MoveScope::Own).unwrap();
    assert_eq!((counts(&mut machine), machine.read_byte(pid, at).unwrap()), ([4, 3, 0, 0], 9));
    machine.validate().unwrap();
}

/// A page that nobody promised is on both counters of its group. Only one of them went along, and the group went on paying for a page that
/// had been free for long.
#[test]
fn who_pays_for_a_page_without_a_promise_pays_on() {
    let (mut machine, pid) = two_nodes(1);
    let group = machine.create_cgroup("g").unwrap();
    machine.attach(pid, Some(group)).unwrap();
    let call = MapCall::anonymous(pages(1), Share::Private).with_flags(MapFlags::NORESERVE);
    let at = machine.mmap(pid, &call).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let paid = |machine: &mut Machine| {
        machine.validate().unwrap();
        let view = machine.cgroup_view(group, M2).unwrap();
        (view.usage.get(), view.rsvd.get(), view.nodes.iter().map(|pages| pages.get()).collect::<Vec<_>>())
    };
    assert_eq!(paid(&mut machine), (1, 1, vec![1]));
    machine.move_page(pid, at, N1, MoveScope::Own).unwrap();
    assert_eq!(paid(&mut machine), (1, 1, vec![0, 1]));
    machine.exit(pid);
    assert_eq!(paid(&mut machine), (0, 0, vec![0, 0]));
}

/// A surplus page that moves is surplus where it goes, so that no node has more surplus pages than pages.
#[test]
fn surplus_crosses_nodes_with_the_page() {
    let (mut machine, pid) = two_nodes(1);
    let at = touched(&mut machine, pid, 2, 1);
    machine.set_nr_hugepages(M2, huge(0), ResizeNodes::Node(N0)).unwrap();
    assert_eq!(counts(&mut machine), [2, 0, 0, 1]);
    machine.move_page(pid, at, N1, MoveScope::Own).unwrap();
    assert_eq!(counts(&mut machine), [2, 0, 0, 1]);
    let nodes = machine.pool(M2).unwrap().nodes;
    assert_eq!(nodes.iter().map(|(_, c)| (c.nr.get(), c.surplus.get())).collect::<Vec<_>>(), [(0, 0), (2, 1)]);
    machine.validate().unwrap();
    machine.exit(pid);
    assert_eq!(counts(&mut machine), [1, 1, 0, 0]);
    machine.validate().unwrap();
}

/// A page of a file moves in the cache and in every mapping; a child's page that both share moves for both.
#[test]
fn everybody_who_maps_a_page_follows_it() {
    let (mut machine, pid) = two_nodes(2);
    let shared = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Shared)).unwrap();
    machine.write_byte(pid, shared, 3).unwrap();
    let own = touched(&mut machine, pid, 1, 4);
    let child = machine.fork(pid).unwrap();
    machine.read_byte(child, shared).unwrap();
    for at in [shared, own] {
        let refused = machine.move_page(pid, at, N1, MoveScope::Own);
        assert_eq!(refused, Err(CallError::Failed(MovePageError::Shared(at))));
        assert_eq!(machine.move_page(pid, at, N1, MoveScope::All).unwrap(), N1);
        machine.validate().unwrap();
        assert_eq!(machine.node_of(child, at), Ok(N1));
    }
    assert_eq!((machine.read_byte(child, shared).unwrap(), machine.read_byte(child, own).unwrap()), (3, 4));
    // The reservation that is owed to the owner goes on being owed: the page it waits for has moved.
    machine.madvise(pid, own, pages(1), hugefolio::Advice::DontNeed).unwrap();
    machine.move_page(child, own, N0, MoveScope::Own).unwrap();
    machine.validate().unwrap();
    machine.exit(child);
    machine.validate().unwrap();
    assert_eq!(counts(&mut machine)[2], 1, "the owner's place is promised again");
}

/// A pinned page stays, whoever wants it moved; a child gets a copy at once, and without a page for it there is no child.
#[test]
fn what_a_pin_stops() {
    let (mut machine, pid) = two_nodes(1);
    let at = touched(&mut machine, pid, 1, 5);
    let pin = machine.pin(pid, at, Touch::Write).unwrap();
    let refused = machine.move_page(pid, at, N1, MoveScope::All);
    let Err(CallError::Failed(MovePageError::Migrate(MigrateError::Referenced { extra: 1, pins: 1, .. }))) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(counts(&mut machine), [2, 1, 0, 0]);
    let child = machine.fork(pid).unwrap();
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    assert_ne!(pfn(&mut machine, child, at), pin.folio());
    machine.write_byte(pid, at, 6).unwrap();
    assert_eq!(machine.read_byte(child, at).unwrap(), 5);
    machine.validate().unwrap();
    let refused = machine.fork(pid);
    let Err(CallError::Failed(ForkError::NoCopy { refusal: AllocRefusal::Pool { .. }, .. })) = refused else {
        panic!("{refused:?}")
    };
    machine.validate().unwrap();
    machine.exit(child);
    // Unmapped, the page stays with who pinned it, and goes home with the pin.
    machine.munmap(pid, at, pages(1)).unwrap();
    machine.validate().unwrap();
    assert_eq!(counts(&mut machine), [2, 1, 0, 0]);
    machine.unpin(pin);
    assert_eq!(counts(&mut machine), [2, 2, 0, 0]);
    machine.validate().unwrap();
}

/// A page that stands for a reservation stays; any other takes the administrator's target with it.
#[test]
fn what_is_reserved_is_not_dissolved() {
    let (mut machine, pid) = two_nodes(2);
    // Four pages, all reserved: none can be spared. With one reservation less, one.
    let at = private(&mut machine, pid, 4);
    let page = free_page(&mut machine, N0);
    let refused = DissolveError::Reserved { free: huge(4), resv: huge(4) };
    assert_eq!(machine.dissolve(page), Err(refused));
    machine.munmap(pid, at + pages(3), pages(1)).unwrap();
    assert_eq!(machine.dissolve(page), Ok(Dissolved::Done));
    assert_eq!((counts(&mut machine), max(&mut machine)), ([3, 3, 3, 0], 3));
    assert_eq!(machine.dissolve(page), Ok(Dissolved::NotHuge));
    let other = free_page(&mut machine, N1);
    assert!(matches!(machine.dissolve(other), Err(DissolveError::Reserved { .. })));
    machine.munmap(pid, at, pages(3)).unwrap();
    machine.validate().unwrap();
}

/// Without contiguous ranges a gigantic page that was there at boot can never leave. Its removal once did nothing while the caller went
/// on as if it had, and listed it twice.
#[test]
fn a_permanent_page_is_not_dissolved() {
    let cmdline = "hugepagesz=1G hugepages=1";
    let builder = Machine::builder()
        .node(N0, Bytes::gib(3))
        .cmdline(cmdline)
        .runtime_gigantic(hugefolio::boot::RuntimeGigantic::Unsupported);
    let mut machine = builder.build().unwrap();
    let refused = machine.dissolve(Pfn::new(1 << 18));
    let page = (0..3).map(|gib| Pfn::new(gib << 18)).find(|&pfn| matches!(machine.frame(pfn), Frame::Huge { .. }));
    assert!(refused == Ok(Dissolved::NotHuge) || refused == Err(DissolveError::Permanent(HugeSize::G1)));
    assert_eq!(machine.dissolve(page.unwrap()), Err(DissolveError::Permanent(HugeSize::G1)));
    machine.validate().unwrap();
}

/// A free page that breaks leaves the pool, and all of it but the broken base page is memory again.
#[test]
fn a_free_page_that_breaks_leaves_the_pool() {
    let (mut machine, _) = two_nodes(2);
    let free = |machine: &Machine| machine.spare_pages(N0);
    let before = free(&machine);
    let page = free_page(&mut machine, N0).offset(PageCount::new(100));
    let failure = machine.memory_failure(page, Cause::Test);
    assert_eq!((failure.outcome, failure.victims.len()), (Failed::Dissolved, 0));
    assert_eq!((counts(&mut machine), max(&mut machine)), ([3, 3, 0, 0], 3));
    assert_eq!(machine.frame(page), Frame::Broken);
    assert_eq!(free(&machine) - before, PageCount::new(511));
    machine.validate().unwrap();
    assert_eq!(machine.unpoison(page), Ok(()));
    assert_eq!(free(&machine) - before, PageCount::new(512));
    assert_eq!(machine.unpoison(page), Err(UnpoisonCallError::Folio(UnpoisonError::NotPoisoned(page))));
    machine.validate().unwrap();
}

/// A broken page that reservations keep in the pool still counts as free there. The last reservation can then not be had, which must be a
/// refusal and no crash.
#[test]
fn a_reservation_that_only_a_broken_page_stands_for_is_refused() {
    let (mut machine, pid) = two_nodes(1);
    let at = private(&mut machine, pid, 2);
    let page = free_page(&mut machine, N0);
    let failure = machine.memory_failure(page, Cause::Test);
    let kept = Failed::Kept(DissolveError::Reserved { free: huge(2), resv: huge(2) });
    assert_eq!((failure.outcome, counts(&mut machine)), (kept, [2, 2, 2, 0]));
    machine.validate().unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    assert_eq!(machine.node_of(pid, at), Ok(N1), "the sound page is on the other node");
    let refused = machine.write_byte(pid, at + pages(1), 1);
    let Err(CallError::Failed(FaultError::Refused(AllocRefusal::Node { available, .. }))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(available, huge(1));
    // Sound after all: it can be had.
    machine.unpoison(page).unwrap();
    machine.write_byte(pid, at + pages(1), 1).unwrap();
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    machine.validate().unwrap();
}

/// Broken memory under a mapping: everybody who maps it gets a signal from then on, a child too, and the page leaves the pool with its
/// last reference.
#[test]
fn broken_memory_is_unmapped_everywhere() {
    let (mut machine, pid) = two_nodes(2);
    let at = touched(&mut machine, pid, 2, 8);
    let child = machine.fork(pid).unwrap();
    let page = pfn(&mut machine, child, at + pages(1));
    assert_eq!(counts(&mut machine), [4, 2, 0, 0]);
    let broken = pfn(&mut machine, pid, at);
    let failure = machine.memory_failure(broken, Cause::Hardware);
    assert_eq!((failure.outcome, failure.victims.len()), (Failed::Dissolved, 2));
    assert_eq!(counts(&mut machine), [3, 2, 0, 0]);
    for process in [pid, child] {
        let refused = machine.read_byte(process, at + Bytes::new(17));
        assert_eq!(refused, Err(CallError::Failed(FaultError::Poisoned { addr: at, size: pages(1) })));
    }
    // The place stays broken for those who inherit it, until it is unmapped.
    let grandchild = machine.fork(pid).unwrap();
    assert!(machine.read_byte(grandchild, at).is_err());
    machine.madvise(grandchild, at, pages(1), hugefolio::Advice::DontNeed).unwrap();
    machine.write_byte(grandchild, at, 1).unwrap();
    assert_eq!(machine.unpoison(page), Err(UnpoisonCallError::RealFailure));
    machine.validate().unwrap();
    for process in [pid, child, grandchild] {
        machine.exit(process);
    }
    assert_eq!(counts(&mut machine), [3, 3, 0, 0]);
    machine.validate().unwrap();
}

/// A broken page of a file stays in the file: reads stop before it, touches end in a signal, and it leaves with the file.
#[test]
fn a_file_keeps_its_broken_page() {
    let (mut machine, pid) = two_nodes(2);
    let fd = machine.memfd(pid, None, hugefolio::MemfdFlags::default()).unwrap();
    machine.ftruncate(pid, fd, pages(2)).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, pages(2), Share::Shared)).unwrap();
    for page in 0..2 {
        machine.write_byte(pid, at + pages(page), 5).unwrap();
    }
    let page = pfn(&mut machine, pid, at + pages(1)).offset(PageCount::new(3));
    let failure = machine.memory_failure(page, Cause::Test);
    assert_eq!((failure.outcome, failure.victims.len()), (Failed::Cached, 1));
    let read = |machine: &mut Machine, from: Bytes| machine.pread(pid, fd, from, pages(2), 0).map(|(n, _)| n);
    assert_eq!(read(&mut machine, Bytes::ZERO).unwrap(), pages(1) + Bytes::kib(12));
    assert!(read(&mut machine, pages(1) + Bytes::kib(13)).is_err());
    assert_eq!(read(&mut machine, pages(1) + Bytes::kib(16)).unwrap(), pages(1) - Bytes::kib(16));
    assert!(machine.read_byte(pid, at + pages(1)).is_err());
    let other = machine.mmap(pid, &MapCall::file(fd, pages(2), Share::Shared)).unwrap();
    let refused = machine.read_byte(pid, other + pages(1));
    assert_eq!(refused, Err(CallError::Failed(FaultError::Poisoned { addr: other + pages(1), size: pages(1) })));
    assert_eq!(machine.memory_failure(page, Cause::Test).outcome, Failed::Known);
    machine.validate().unwrap();
    machine.exit(pid);
    // The file is gone. Its page is not, is of no use to anybody, and cannot be trusted again.
    assert_eq!(counts(&mut machine), [4, 3, 0, 0]);
    assert!(matches!(machine.frame(page), Frame::Huge { refs: 1, poisoned: Poison::Some, .. }));
    let refused = UnpoisonCallError::Folio(UnpoisonError::InUse { pfn: page, refs: 1 });
    assert_eq!(machine.unpoison(page), Err(refused));
    machine.set_nr_hugepages(M2, huge(0), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!((counts(&mut machine), max(&mut machine)), ([1, 0, 0, 1], 0));
    machine.validate().unwrap();
}

/// A pool that becomes smaller loses what is of no use first.
#[test]
fn broken_pages_leave_first() {
    let (mut machine, pid) = two_nodes(2);
    let at = private(&mut machine, pid, 4);
    let page = free_page(&mut machine, N0);
    assert!(matches!(machine.memory_failure(page, Cause::Test).outcome, Failed::Kept(_)));
    machine.munmap(pid, at, pages(4)).unwrap();
    machine.set_nr_hugepages(M2, huge(1), ResizeNodes::Node(N0)).unwrap();
    assert_eq!((machine.frame(page), counts(&mut machine)), (Frame::Broken, [3, 3, 0, 0]));
    machine.validate().unwrap();
}

/// A page that cannot be noted as broken makes its whole folio one that is never used again.
#[test]
fn a_failure_that_cannot_be_noted_costs_the_folio() {
    let (mut machine, _) = two_nodes(2);
    let page = free_page(&mut machine, N0);
    machine.faults().fail_nth(Some(hugefolio::Site::RawPoison), 0);
    assert_eq!(machine.memory_failure(page, Cause::Test).outcome, Failed::Dissolved);
    assert_eq!(machine.frame(page.offset(PageCount::new(511))), Frame::Broken);
    let refused = UnpoisonCallError::Folio(UnpoisonError::Unreliable(page));
    assert_eq!(machine.unpoison(page), Err(refused));
    machine.validate().unwrap();
}

/// A page that still works leaves with its user's data moved: one page less if the pool had one to move to, as many as before if not.
#[test]
fn soft_offline_moves_first() {
    let (mut machine, pid) = two_nodes(2);
    let at = touched(&mut machine, pid, 1, 3);
    let page = pfn(&mut machine, pid, at);
    let Ok(SoftOfflined::Moved { to }) = machine.soft_offline(page) else { panic!("it was in use") };
    assert_eq!((pfn(&mut machine, pid, at), machine.read_byte(pid, at).unwrap()), (to, 3));
    assert_eq!((counts(&mut machine), machine.frame(page)), ([3, 2, 0, 0], Frame::Broken));
    assert_eq!(machine.soft_offline(page), Ok(SoftOfflined::NotHuge));
    machine.validate().unwrap();

    // Nothing to spare: a page is made, and none is missing in the end.
    let rest = touched(&mut machine, pid, 2, 4);
    let page = pfn(&mut machine, pid, rest);
    assert!(matches!(machine.soft_offline(page), Ok(SoftOfflined::Moved { .. })));
    assert_eq!((counts(&mut machine), machine.read_byte(pid, rest).unwrap()), ([3, 0, 0, 0], 4));
    machine.validate().unwrap();

    // Pinned, it stays, unmarked.
    let pin = machine.pin(pid, at, Touch::Write).unwrap();
    let refused = machine.soft_offline(pin.page());
    assert!(matches!(
        refused,
        Err(SoftOfflineCallError::Stays(SoftOfflineError::Migrate(MigrateError::Referenced { .. })))
    ));
    assert!(matches!(machine.frame(pin.page()), Frame::Huge { poisoned: Poison::None, .. }));
    machine.unpin(pin);
    machine.exit(pid);
    assert_eq!(counts(&mut machine), [3, 3, 0, 0]);

    // Free, and needed for a reservation: it stays, and can be had.
    let pid = machine.spawn();
    let all = private(&mut machine, pid, 3);
    let page = free_page(&mut machine, N1);
    assert!(matches!(machine.soft_offline(page), Err(SoftOfflineCallError::Stays(SoftOfflineError::Dissolve(_)))));
    (0..3).for_each(|n| machine.write_byte(pid, all + pages(n), 1).unwrap());
    machine.validate().unwrap();
}

/// `MADV_SOFT_OFFLINE` and `MADV_HWPOISON` go by huge pages.
#[test]
fn ranges_break_by_huge_pages() {
    let (mut machine, pid) = two_nodes(3);
    let call = MapCall::anonymous(pages(2), Share::Private).with_flags(MapFlags::NORESERVE);
    let at = machine.mmap(pid, &call).unwrap();
    assert_eq!(machine.inject(pid, at, pages(2), Injection::Soft).unwrap().len(), 0);
    assert_eq!(counts(&mut machine), [4, 2, 0, 0]);
    let failures = machine.inject(pid, at, pages(2), Injection::Hard).unwrap();
    assert_eq!(failures.iter().map(|failure| failure.victims[0].addr).collect::<Vec<_>>(), [at, at + pages(1)]);
    assert_eq!(counts(&mut machine), [2, 2, 0, 0]);
    machine.validate().unwrap();
}
