//! Mistakes that were made with several nodes before, each as the story of what went wrong and a test that would see it again.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::sync::Arc;

use hugefolio::boot::RuntimeGigantic;
use hugefolio::{
    Admin, Bytes, CallError, Calls, Cause, CpuId, DissolveError, Failed, HugeCount, HugeSize, Machine, MapCall,
    MapFlags, MemfdFlags, Mempolicy, MigrateError, MountOptions, MovePageError, MoveScope, Moves, NodeId, Nodemask,
    NodesMean, OpenCall, Pid, Policies, ResizeNodes, Share, SharedMachine, Touch, Vaddr, Wish,
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

/// Two nodes with so many pages each.
fn machine(each: [u64; 2]) -> Machine {
    let mut machine = Machine::builder().node(N0, Bytes::mib(256)).node(N1, Bytes::mib(256)).build().unwrap();
    for (node, count) in [N0, N1].into_iter().zip(each) {
        machine.set_nr_hugepages(M2, huge(count), ResizeNodes::Node(node)).unwrap();
    }
    machine
}

/// Total, free, surplus of a node.
fn node(machine: &mut Machine, node: NodeId) -> [u64; 3] {
    let pool = machine.pool(M2).unwrap();
    let counts = pool.nodes.iter().find(|(there, _)| *there == node).unwrap().1;
    [counts.nr, counts.free, counts.surplus].map(HugeCount::get)
}

fn private(machine: &mut Machine, pid: Pid, n: u64) -> Result<Vaddr, impl std::fmt::Debug + use<>> {
    machine.mmap(pid, &MapCall::anonymous(pages(n), Share::Private))
}

/// A number written for one node was taken for the whole pool's, surplus pages of other nodes included: 100 pages were asked for there, and
/// 400 more came. A number near the largest went around and emptied the node. Here node 0 has four surplus pages in use, and node 1 gets as
/// many as were asked for; the largest number is all that its memory gives.
#[test]
fn a_number_for_one_node_is_that_nodes_alone() {
    let mut machine = machine([0, 0]);
    machine.set_nr_overcommit(M2, huge(4)).unwrap();
    let pid = machine.spawn();
    let at = private(&mut machine, pid, 4).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    assert_eq!(node(&mut machine, N0), [4, 3, 4]);
    machine.set_nr_hugepages(M2, huge(10), ResizeNodes::Node(N1)).unwrap();
    assert_eq!((node(&mut machine, N0), node(&mut machine, N1)), ([4, 3, 4], [10, 10, 0]));
    machine.set_nr_hugepages(M2, huge(u64::MAX), ResizeNodes::Node(N1)).unwrap();
    let [nr, free, surplus] = node(&mut machine, N1);
    assert!(nr > 100 && free == nr && surplus == 0, "{nr} {free} {surplus}");
    assert_eq!(node(&mut machine, N0), [4, 3, 4]);
    machine.validate().unwrap();
}

/// A surplus page was counted among all pages before it was counted as surplus, and whoever resized the pool in between saw a persistent page
/// too many. Here one thread makes and unmakes surplus pages while another one looks: what is persistent never changes.
#[test]
fn a_surplus_page_is_never_seen_as_persistent() {
    let mut machine = machine([2, 2]);
    machine.set_nr_overcommit(M2, huge(8)).unwrap();
    let shared = Arc::new(SharedMachine::from(machine));
    let taker = {
        let shared = shared.clone();
        std::thread::spawn(move || {
            let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
            let mut on = shared.on(&mut cpu);
            for _ in 0..300 {
                let pid = on.spawn();
                let at = on.mmap(pid, &MapCall::anonymous(pages(8), Share::Private)).unwrap();
                (0..8).for_each(|n| on.write_byte(pid, at + pages(n), 1).unwrap());
                on.exit(pid);
            }
            shared.check_in(cpu);
        })
    };
    let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
    let mut on = shared.on(&mut cpu);
    let mut looks = 0;
    while !taker.is_finished() || looks < 300 {
        let pool = on.pool(M2).unwrap();
        assert_eq!(pool.nr.get() - pool.surplus.get(), 4, "{pool:?}");
        on.set_nr_hugepages(M2, huge(4), ResizeNodes::Global(Nodemask::ALL)).unwrap();
        looks += 1;
    }
    shared.check_in(cpu);
    taker.join().unwrap();
    let mut machine = Arc::into_inner(shared).unwrap().into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let pool = machine.pool(M2).unwrap();
    assert_eq!((pool.nr.get(), pool.surplus.get(), pool.resv.get()), (4, 0, 0));
}

/// A page of a memory file that was pinned before anybody touched it was taken from what was promised to others, and where nothing was promised
/// the count of promises went below zero. Here it is a page like every other that nobody promised: there is one only above what is promised, and
/// then the file has it.
#[test]
fn a_pin_of_an_absent_page_takes_nobodys_promise() {
    let mut machine = machine([2, 0]);
    let pid = machine.spawn();
    let fd = machine.memfd(pid, None, MemfdFlags::default()).unwrap();
    machine.ftruncate(pid, fd, pages(2)).unwrap();
    let call = MapCall::file(fd, pages(2), Share::Shared).with_flags(MapFlags::NORESERVE);
    let file = machine.mmap(pid, &call).unwrap();
    let pin = machine.pin(pid, file, Touch::Write).unwrap();
    let counts = |machine: &mut Machine| {
        let pool = machine.pool(M2).unwrap();
        [pool.nr, pool.free, pool.resv].map(HugeCount::get)
    };
    assert_eq!(counts(&mut machine), [2, 1, 0], "nothing was promised, and nothing is");
    let owner = machine.spawn();
    let promised = private(&mut machine, owner, 1).unwrap();
    assert!(machine.pin(pid, file + pages(1), Touch::Write).is_err(), "the last page is promised");
    assert_eq!(counts(&mut machine), [2, 1, 1]);
    machine.write_byte(owner, promised, 1).unwrap();
    machine.unpin(pin);
    machine.exit(pid);
    machine.exit(owner);
    assert_eq!(counts(&mut machine), [2, 2, 0]);
    machine.validate().unwrap();
}

/// Pages that a promise lacked were made on any node, whatever the task was bound to: `mmap` succeeded, and the touch was `SIGBUS`, since its
/// node had none. Here they are made where the task can use them.
#[test]
fn what_a_promise_lacks_is_made_where_the_task_is_bound() {
    let mut machine = machine([2, 0]);
    machine.set_nr_overcommit(M2, huge(4)).unwrap();
    let pid = machine.spawn();
    machine.set_mempolicy(pid, Mempolicy::Bind { nodes: Nodemask::of(N1), home: None }).unwrap();
    // The two free pages of the other node count for nobody who is bound here, but they count.
    let at = private(&mut machine, pid, 3);
    assert!(at.is_err(), "one page is made, and three are needed here");
    machine.set_nr_hugepages(M2, huge(0), ResizeNodes::Node(N0)).unwrap();
    let at = private(&mut machine, pid, 3).unwrap();
    (0..3).for_each(|n| machine.write_byte(pid, at + pages(n), 1).unwrap());
    assert_eq!((node(&mut machine, N0), node(&mut machine, N1)), ([0, 0, 0], [3, 0, 3]));
    machine.validate().unwrap();
}

/// A shrink takes free pages wherever they are, those of a node with surplus too: what was reckoned from the pages and the surplus of that node went
/// below zero. Here the node has more surplus than pages for a while, and its own number is written meanwhile.
#[test]
fn a_node_with_more_surplus_than_pages_can_be_resized() {
    let mut machine = machine([0, 0]);
    machine.set_nr_overcommit(M2, huge(4)).unwrap();
    let pid = machine.spawn();
    let at = private(&mut machine, pid, 2).unwrap();
    machine.set_nr_hugepages(M2, huge(4), ResizeNodes::Node(N1)).unwrap();
    machine.set_nr_hugepages(M2, huge(1), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    for (nodes, count) in [(N0, 3), (N1, 2), (N0, 0), (N1, 0)] {
        machine.set_nr_hugepages(M2, huge(count), ResizeNodes::Node(nodes)).unwrap();
        machine.validate().unwrap_or_else(|broken| panic!("{count} on {nodes}: {broken}"));
    }
    machine.write_byte(pid, at, 1).unwrap();
    machine.exit(pid);
    machine.set_nr_hugepages(M2, huge(0), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    let pool = machine.pool(M2).unwrap();
    assert_eq!((pool.nr - pool.surplus, pool.resv), (huge(0), huge(0)));
}

/// Policies of areas in a group that takes its nodes from the group above were made again from the empty list of the group itself: none of their
/// nodes was left, and relative ones were divided by the number of none. Here they follow the nodes that hold.
#[test]
fn policies_follow_the_nodes_of_the_group_above() {
    let mut machine = machine([2, 2]);
    let top = machine.create_cgroup("top").unwrap();
    machine.write_file("/sys/fs/cgroup/top/cgroup.subtree_control", "+hugetlb").unwrap();
    let group = machine.create_cgroup("top/g").unwrap();
    let pid = machine.spawn();
    machine.attach(pid, Some(group)).unwrap();
    let both = Nodemask::of(N0).with(N1);
    let bind = Mempolicy::Bind { nodes: both, home: None };
    let areas = [NodesMean::Places, NodesMean::Static, NodesMean::Relative].map(|mean| {
        let at = private(&mut machine, pid, 1).unwrap();
        machine.mbind(pid, at, pages(1), Wish::from(bind).meaning(mean), hugefolio::Existing::Ignored).unwrap();
        at
    });
    machine.set_cpuset(top, Nodemask::of(N1)).unwrap();
    assert_eq!(machine.read_file("/sys/fs/cgroup/top/g/cpuset.mems.effective").unwrap(), "1\n");
    let lines = machine.numa_maps(pid).unwrap();
    assert!(lines.iter().all(|line| line.policy.nodes() == Nodemask::of(N1)), "{lines:?}");
    for at in &areas[..2] {
        machine.write_byte(pid, *at, 1).unwrap();
        assert_eq!(machine.node_of(pid, *at), Ok(N1));
    }
    machine.set_cpuset(top, both).unwrap();
    let nodes: Vec<Nodemask> = machine.numa_maps(pid).unwrap().iter().map(|line| line.policy.nodes()).collect();
    assert_eq!(
        nodes.iter().filter(|&&nodes| nodes == both).count(),
        2,
        "those that mean themselves or are counted: {nodes:?}"
    );
    machine.validate().unwrap();
}

/// A private page of a mount with limits was moved, though Linux takes every page that counts against a mount and is in no file for one that is
/// being taken out of its file, and leaves it. Pages of the file move.
#[test]
fn private_pages_of_a_limited_mount_stay() {
    let mut machine = machine([4, 4]);
    let hstate = machine.hstates().by_size(M2).unwrap().id;
    let options = MountOptions { max: Some(huge(8)), ..MountOptions::unlimited(hstate) };
    let mount = machine.mount(&options).unwrap();
    let pid = machine.spawn();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    machine.ftruncate(pid, fd, pages(2)).unwrap();
    let shared = machine.mmap(pid, &MapCall::file(fd, pages(2), Share::Shared)).unwrap();
    let own = machine.mmap(pid, &MapCall::file(fd, pages(2), Share::Private)).unwrap();
    machine.write_byte(pid, shared, 1).unwrap();
    machine.write_byte(pid, own, 2).unwrap();
    assert_eq!(machine.move_page(pid, shared, N1, MoveScope::All), Ok(N1));
    let refused = machine.move_page(pid, own, N1, MoveScope::All);
    assert!(
        matches!(refused, Err(CallError::Failed(MovePageError::Migrate(MigrateError::Truncated(_))))),
        "{refused:?}"
    );
    assert_eq!(machine.node_of(pid, own), Ok(N0));
    machine.validate().unwrap();
}

/// A gigantic page was to become ordinary memory where ranges cannot be given back. Taking it out of its pool did nothing, and whoever had asked put
/// it back: the list of free pages had it twice. Here nothing is taken that cannot leave, however it is asked for, and every page is listed once.
#[test]
fn a_page_that_cannot_leave_is_listed_once() {
    let builder = Machine::builder().node(N0, Bytes::gib(4)).runtime_gigantic(RuntimeGigantic::Unsupported);
    let mut machine = builder.cmdline("hugepagesz=1G hugepages=2").build().unwrap();
    let id = machine.hstates().by_size(HugeSize::G1).unwrap().id;
    let free = |machine: &Machine| machine.shelf(id, N0).unwrap().iter().map(|folio| folio.pfn).collect::<Vec<_>>();
    let before = free(&machine);
    assert_eq!(before.len(), 2);
    for &pfn in before.iter().chain(&before) {
        assert_eq!(machine.dissolve(pfn), Err(DissolveError::Permanent(HugeSize::G1)));
        assert!(machine.soft_offline(pfn).is_err());
        machine.validate().unwrap();
    }
    assert!(machine.set_nr_hugepages(HugeSize::G1, huge(0), ResizeNodes::Global(Nodemask::ALL)).is_err());
    let kept = machine.memory_failure(before[0], Cause::Test).outcome;
    assert_eq!(kept, Failed::Kept(DissolveError::Permanent(HugeSize::G1)));
    let mut after = free(&machine);
    after.sort_unstable();
    let mut expected = before;
    expected.sort_unstable();
    assert_eq!(after, expected);
    machine.validate().unwrap();
}

/// A page was taken to be moved while its last user let it go: it lay on the list of free pages and was somebody's at once. Here one thread maps a
/// page, writes and unmaps it over and over, and another one moves it to and fro. Whoever is late finds nothing to move, and no page is lost or
/// had twice.
#[test]
fn a_page_that_is_being_freed_is_not_moved() {
    let mut machine = machine([3, 3]);
    let pid = machine.spawn();
    let at = private(&mut machine, pid, 1).unwrap();
    machine.munmap(pid, at, pages(1)).unwrap();
    let shared = Arc::new(SharedMachine::from(machine));
    let user = {
        let shared = shared.clone();
        std::thread::spawn(move || {
            let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
            let mut on = shared.on(&mut cpu);
            for _ in 0..300 {
                let at = on.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
                on.write_byte(pid, at, 1).unwrap();
                on.munmap(pid, at, pages(1)).unwrap();
            }
            shared.check_in(cpu);
        })
    };
    let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
    let mut on = shared.on(&mut cpu);
    let mut moves = 0u32;
    while !user.is_finished() {
        for node in [N1, N0] {
            moves += u32::from(on.move_page(pid, at, node, MoveScope::All) == Ok(node));
        }
    }
    user.join().unwrap();
    shared.check_in(cpu);
    let mut machine = Arc::into_inner(shared).unwrap().into_machine();
    machine.validate().unwrap();
    let pool = machine.pool(M2).unwrap();
    assert_eq!([pool.nr, pool.free, pool.resv, pool.surplus].map(HugeCount::get), [6, 6, 0, 0], "{moves} moves");
}
