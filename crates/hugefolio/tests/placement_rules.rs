//! Rules about where pages lie, how they move and how they leave, one by one.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Admin, Bytes, CallError, Calls, Cause, DissolveError, Event, Existing, Failed, FallocateMode, Fd, HugeCount,
    HugeSize, Injection, Machine, MapCall, MapFlags, MemfdFlags, Mempolicy, MigrateError, MountOptions, MovePageError,
    MoveScope, Moves, NoTarget, NodeId, Nodemask, OpenCall, PageCount, Pfn, Pid, Policies, ResizeNodes, Share,
    SoftOfflineCallError, SoftOfflineError, Touch, Vaddr,
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

/// Total, free, reserved, surplus.
fn counts(machine: &mut Machine) -> [u64; 4] {
    let pool = machine.pool(M2).unwrap();
    [pool.nr, pool.free, pool.resv, pool.surplus].map(HugeCount::get)
}

fn file(machine: &mut Machine, pid: Pid, n: u64) -> Fd {
    let fd = machine.memfd(pid, None, MemfdFlags::default()).unwrap();
    machine.ftruncate(pid, fd, pages(n)).unwrap();
    fd
}

fn map(machine: &mut Machine, pid: Pid, fd: Fd, from: u64, n: u64) -> Vaddr {
    let call = MapCall { offset: pages(from), ..MapCall::file(fd, pages(n), Share::Shared) };
    machine.mmap(pid, &call).unwrap()
}

/// The page of a file interleaves by its place in the file: the same node for every area that shows it, wherever that begins, and for
/// `fallocate`.
#[test]
fn a_files_pages_interleave_by_their_place_in_the_file() {
    let (mut machine, pid) = two_nodes(8);
    machine.set_mempolicy(pid, Mempolicy::Interleave(Nodemask::of(N0).with(N1))).unwrap();
    let fd = file(&mut machine, pid, 6);
    let whole = map(&mut machine, pid, fd, 0, 6);
    let tail = map(&mut machine, pid, fd, 3, 3);
    machine.write_byte(pid, whole, 1).unwrap();
    machine.write_byte(pid, tail, 1).unwrap();
    machine.write_byte(pid, tail + pages(1), 1).unwrap();
    machine.fallocate(pid, fd, FallocateMode::Extend, Bytes::ZERO, pages(6)).unwrap();
    for n in 0..6 {
        machine.read_byte(pid, whole + pages(n)).unwrap();
        let node = if n % 2 == 0 { N0 } else { N1 };
        assert_eq!(machine.node_of(pid, whole + pages(n)), Ok(node), "page {n}");
    }
    machine.validate().unwrap();
}

/// A policy is of an area, never of its file: another area of the same file goes by its own, and `fallocate` by the process's.
#[test]
fn a_policy_is_of_the_area_and_not_of_the_file() {
    let (mut machine, pid) = two_nodes(8);
    let fd = file(&mut machine, pid, 4);
    let (here, there) = (map(&mut machine, pid, fd, 0, 4), map(&mut machine, pid, fd, 0, 4));
    let bind = |node| Mempolicy::Bind { nodes: Nodemask::of(node), home: None };
    machine.mbind(pid, there, pages(4), bind(N1), Existing::default()).unwrap();
    machine.write_byte(pid, here, 1).unwrap();
    machine.write_byte(pid, there + pages(1), 1).unwrap();
    machine.fallocate(pid, fd, FallocateMode::Extend, pages(2), pages(1)).unwrap();
    machine.set_mempolicy(pid, bind(N1)).unwrap();
    machine.fallocate(pid, fd, FallocateMode::Extend, pages(3), pages(1)).unwrap();
    for (n, node) in [N0, N1, N0, N1].into_iter().enumerate() {
        let at = here + pages(n as u64);
        machine.read_byte(pid, at).unwrap();
        assert_eq!(machine.node_of(pid, at), Ok(node), "page {n}");
    }
    machine.validate().unwrap();
}

/// A range is dissolved page by page, and those before the first that stays are gone.
#[test]
fn a_range_is_dissolved_up_to_the_first_page_that_stays() {
    let (mut machine, pid) = two_nodes(4);
    let hstate = machine.hstates().default_hstate().id;
    let mut free: Vec<Pfn> = machine.shelf(hstate, N0).unwrap().iter().map(|folio| folio.pfn).collect();
    free.sort();
    let step = PageCount::new(512);
    assert!(free.windows(2).all(|pair| pair[0].offset(step) == pair[1]), "one after the other: {free:?}");
    // The third of them is in use.
    let call = MapCall::anonymous(pages(4), Share::Private);
    let at = machine.mmap(pid, &call).unwrap();
    (0..4).for_each(|n| machine.write_byte(pid, at + pages(n), 1).unwrap());
    let keeps = (0..4).find(|&n| machine.frame_at(pid, at + pages(n)) == Some(free[2])).unwrap();
    for n in (0..4).filter(|&n| n != keeps) {
        machine.munmap(pid, at + pages(n), pages(1)).unwrap();
    }
    let refused = hugetlb::dissolve_range(&mut machine, free[0], free[3].offset(step), step);
    assert_eq!(refused, Err(DissolveError::InUse { pfn: free[2] }));
    assert_eq!(counts(&mut machine), [6, 5, 0, 0]);
    machine.validate().unwrap();
}

/// A page that is isolated when its last user lets it go has nothing to move: it is given back.
#[test]
fn a_page_that_nobody_uses_any_more_is_given_back_instead_of_moved() {
    let (mut machine, pid) = two_nodes(1);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    let folio = hugetlb::folio_at(&mut machine, page).unwrap();
    let isolated = hugetlb::isolate(&mut machine, folio).unwrap();
    assert!(hugetlb::isolate(&mut machine, folio).is_err(), "one mover at a time");
    machine.munmap(pid, at, pages(1)).unwrap();
    let elsewhere = hugetlb::Target {
        placement: policy::Placement::local(N1),
        allowed: Nodemask::ALL,
        fallback: hugetlb::Fallback::Permitted,
        pin: page_alloc::Pin::Short,
    };
    let done = mm::migrate_isolated(&mut machine, isolated, &elsewhere, |_, _| ());
    assert_eq!(done, Ok(mm::Migrated::Freed));
    assert_eq!(counts(&mut machine), [2, 2, 0, 0]);
    machine.validate().unwrap();
}

/// A page that has been taken out of its file and counts against its mount still is not moved, whoever holds it.
#[test]
fn a_page_on_its_way_out_of_its_file_stays() {
    let (mut machine, pid) = two_nodes(2);
    let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
    options.max = Some(huge(2));
    let mount = machine.mount(&options).unwrap();
    let fd = machine.open(pid, &OpenCall::create(mount, "f")).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let pin = machine.pin(pid, at, Touch::Read).unwrap();
    machine.ftruncate(pid, fd, Bytes::ZERO).unwrap();
    let refused = machine.soft_offline(pin.page());
    let truncated = SoftOfflineError::Migrate(MigrateError::Truncated(pin.folio()));
    assert_eq!(refused, Err(SoftOfflineCallError::Stays(truncated)));
    machine.unpin(pin);
    assert_eq!(counts(&mut machine), [4, 4, 0, 0]);
    machine.validate().unwrap();
}

/// A contiguous range is not made at the cost of other nodes; those who ask for a move, and memory that breaks, have no choice.
#[test]
fn who_may_be_moved_elsewhere() {
    let (mut machine, pid) = two_nodes(1);
    let fill = machine.mmap(pid, &MapCall::anonymous(pages(2), Share::Private)).unwrap();
    (0..2).for_each(|n| machine.write_byte(pid, fill + pages(n), 1).unwrap());
    // Node 0 has no memory left in one piece: everything of it is pages of the pool.
    machine.set_nr_hugepages(M2, huge(1000), ResizeNodes::Node(N0)).unwrap();
    let all = machine.pool(M2).unwrap().nodes[0].1.nr.get();
    let call = MapCall::anonymous(pages(all - 1), Share::Private);
    let used = machine.mmap(pid, &call).unwrap();
    (0..all - 1).for_each(|n| machine.write_byte(pid, used + pages(n), 1).unwrap());
    let hstate = machine.hstates().default_hstate().id;
    let target = |fallback| hugetlb::Target {
        placement: policy::Placement::local(N0),
        allowed: Nodemask::ALL,
        fallback,
        pin: page_alloc::Pin::Short,
    };
    let refused = hugetlb::alloc_target(&mut machine, hstate, &target(hugetlb::Fallback::Refused));
    assert!(matches!(refused, Err(NoTarget::NoPages { .. })), "{refused:?}");
    let before = counts(&mut machine);
    let folio = hugetlb::alloc_target(&mut machine, hstate, &target(hugetlb::Fallback::Permitted)).unwrap();
    // The temporary page is counted while it is there.
    assert_eq!((folio.node, counts(&mut machine)[0]), (N1, before[0] + 1));
    hugetlb::put_folio(&mut machine, folio.pfn, 1);
    assert_eq!(counts(&mut machine), before);
    machine.validate().unwrap();
}

/// While a page moves to one that is made for it both are counted; afterwards the pool has what it had.
#[test]
fn f18_a_page_is_made_for_the_move_and_the_old_one_goes() {
    let (mut machine, pid) = two_nodes(1);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(2), Share::Private)).unwrap();
    (0..2).for_each(|n| machine.write_byte(pid, at + pages(n), 1).unwrap());
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    let hstate = machine.hstates().default_hstate().id;
    let placement = policy::Placement::local(N1);
    let target = hugetlb::Target {
        placement,
        allowed: Nodemask::ALL,
        fallback: hugetlb::Fallback::Permitted,
        pin: page_alloc::Pin::Short,
    };
    let made = hugetlb::alloc_target(&mut machine, hstate, &target).unwrap();
    assert_eq!(counts(&mut machine), [3, 0, 0, 0]);
    hugetlb::put_folio(&mut machine, made.pfn, 1);
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    machine.record_events();
    assert_eq!(machine.move_page(pid, at, N1, MoveScope::Own), Ok(N1));
    assert!(machine.take_events().iter().any(|event| matches!(event, Event::Migrated { .. })));
    assert_eq!(counts(&mut machine), [2, 0, 0, 0]);
    machine.validate().unwrap();
}

/// A gigantic page moves to one that its pool has, or not at all: none is made for it.
#[test]
fn no_gigantic_page_is_made_for_a_move() {
    let builder = Machine::builder().node(N0, Bytes::gib(3)).node(N1, Bytes::gib(3));
    let mut machine = builder.build().unwrap();
    machine.set_nr_hugepages(HugeSize::G1, huge(1), ResizeNodes::Node(N0)).unwrap();
    let pid = machine.spawn();
    let fd = machine.memfd(pid, Some(HugeSize::G1), MemfdFlags::default()).unwrap();
    machine.ftruncate(pid, fd, Bytes::gib(1)).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, Bytes::gib(1), Share::Shared)).unwrap();
    machine.write_byte(pid, at, 7).unwrap();
    let refused = machine.move_page(pid, at, N1, MoveScope::All);
    let none = MigrateError::NoTarget(NoTarget::Gigantic { available: huge(0) });
    assert_eq!(refused, Err(CallError::Failed(MovePageError::Migrate(none))));
    machine.set_nr_hugepages(HugeSize::G1, huge(1), ResizeNodes::Node(N1)).unwrap();
    assert_eq!(machine.move_page(pid, at, N1, MoveScope::All), Ok(N1));
    assert_eq!(machine.read_byte(pid, at), Ok(7));
    machine.validate().unwrap();
}

/// Who breaks memory by an access of his own hears of it at once, if something is lost: a private page that was written, or any page of a
/// file. Others hear by their next access, or at once where the machine is told so. As a Linux 6.18.12 did.
#[test]
fn who_hears_at_once_that_memory_broke() {
    use hugefolio::Warned;
    use hugefolio::errno::{Signal, signal_of_failure};
    let told = |share, written: bool, early| {
        let (mut machine, pid) = two_nodes(2);
        machine.tell_of_failures_early(early);
        let at = machine.mmap(pid, &MapCall::anonymous(pages(1), share)).unwrap();
        if written {
            machine.write_byte(pid, at, 1).unwrap();
        } else {
            machine.read_byte(pid, at).unwrap();
        }
        let child = machine.fork(pid).unwrap();
        machine.read_byte(child, at).unwrap();
        // Where it lies does not matter: what was written goes along.
        machine.move_page(pid, at, N1, MoveScope::All).unwrap();
        let failures = machine.inject(pid, at, pages(1), Injection::Hard).unwrap();
        let victims: Vec<Warned> = failures[0].victims.iter().map(|victim| victim.warned).collect();
        machine.validate().unwrap();
        victims
    };
    let (on, off) = (hugefolio::text::Switch::On, hugefolio::text::Switch::Off);
    use Warned::{ByAccess, Optional, Required};
    assert_eq!(told(Share::Private, true, off), [Required, ByAccess]);
    assert_eq!(told(Share::Private, true, on), [Required, Optional]);
    assert_eq!(told(Share::Private, false, on), [ByAccess, ByAccess]);
    assert_eq!(told(Share::Shared, false, off), [Required, ByAccess]);
    assert_eq!(told(Share::Shared, true, on), [Required, Optional]);
    let signals = [ByAccess, Required, Optional].map(signal_of_failure);
    assert_eq!(signals, [None, Some(Signal::Sigbus(4)), Some(Signal::Sigbus(5))]);
    // Found without an access, it is nobody's in particular; and what is free and used again begins anew.
    let (mut machine, pid) = two_nodes(1);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    machine.munmap(pid, at, pages(1)).unwrap();
    let again = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.read_byte(pid, again).unwrap();
    assert_eq!(machine.frame_at(pid, again), Some(page));
    machine.tell_of_failures_early(on);
    assert_eq!(machine.memory_failure(page, Cause::Test).victims[0].warned, ByAccess);
}

/// `vm.enable_soft_offline` switched off, a page that works stays in use.
#[test]
fn soft_offline_can_be_forbidden() {
    let (mut machine, pid) = two_nodes(2);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    machine.permit_soft_offline(hugefolio::text::Switch::Off);
    assert_eq!(machine.soft_offline(page), Err(SoftOfflineCallError::Disabled));
    assert_eq!(machine.frame_at(pid, at), Some(page));
    machine.permit_soft_offline(hugefolio::text::Switch::On);
    assert!(machine.soft_offline(page).is_ok());
    machine.validate().unwrap();
}

/// What broke is known: a second failure of the same page does nothing, one of another page of the same folio is noted too, and both
/// come out of use with it.
#[test]
fn memory_that_breaks_twice() {
    let (mut machine, pid) = two_nodes(2);
    let fd = file(&mut machine, pid, 1);
    let at = map(&mut machine, pid, fd, 0, 1);
    machine.write_byte(pid, at, 1).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    let other = page.offset(PageCount::new(9));
    assert_eq!(machine.memory_failure(page, Cause::Test).outcome, Failed::Cached);
    assert_eq!(machine.memory_failure(page, Cause::Test).outcome, Failed::Known);
    let again = machine.memory_failure(other, Cause::Test).outcome;
    assert!(matches!(again, Failed::Cached | Failed::Known), "{again:?}");
    assert!(machine.inject(pid, at, pages(1), Injection::Hard).is_err());
    assert!(machine.move_page(pid, at, N1, MoveScope::All).is_err());
    machine.validate().unwrap();
    let unused =
        machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private).with_flags(MapFlags::NORESERVE)).unwrap();
    machine.write_byte(pid, unused, 1).unwrap();
    assert_ne!(machine.frame_at(pid, unused), Some(page));
    machine.exit(pid);
    machine.validate().unwrap();
}
