//! A machine shared by real threads: debug builds check the nesting of every lock, and a recount at the end finds nothing lost.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::sync::{Arc, Barrier};

use hugefolio::{
    Admin, Advice, Bytes, Calls, CpuId, FallocateMode, HugeCount, HugeSize, Machine, MapCall, MapFlags, MountOptions,
    MoveScope, Moves, NodeId, Nodemask, OpenCall, Policies, ResizeNodes, Share, SharedMachine,
};

const PAGE: Bytes = HugeSize::M2.bytes();

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * PAGE.get())
}

#[test]
fn four_threads_on_one_file_and_one_pool() {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(256)).cmdline("hugepages=12").build().unwrap();
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(4)).unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let shared = Arc::new(SharedMachine::from(machine));
    let threads: Vec<_> = (0..4u32)
        .map(|n| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
                assert!(shared.check_out(CpuId::new(n)).is_err(), "a processor has one owner");
                let mut on = shared.on(&mut cpu);
                let pid = on.spawn();
                let fd = on.open(pid, &OpenCall::create(mount, "file")).unwrap();
                for round in 0..200u64 {
                    let share = if round % 3 == 0 { Share::Private } else { Share::Shared };
                    let Ok(at) = on.mmap(pid, &MapCall::file(fd, pages(4), share)) else { continue };
                    for k in 0..4 {
                        let _ = on.write_byte(pid, at + pages((k + u64::from(n)) % 4), 1);
                    }
                    if round % 5 == 0
                        && let Ok(child) = on.fork(pid)
                    {
                        let _ = on.write_byte(child, at, 2);
                        let _ = on.write_byte(pid, at, 3);
                        on.exit(child);
                    }
                    if round % 7 == u64::from(n) {
                        on.ftruncate(pid, fd, Bytes::ZERO).unwrap();
                    }
                    if round % 4 == 1 {
                        let _ = on.fallocate(pid, fd, FallocateMode::PunchHole, pages(1), pages(2));
                    }
                    if round % 11 == 2 {
                        let count = HugeCount::new(8 + round % 8);
                        on.set_nr_hugepages(HugeSize::M2, count, ResizeNodes::Global(Nodemask::ALL)).unwrap();
                    }
                    let _ = on.madvise(pid, at, pages(2), Advice::DontNeed);
                    on.munmap(pid, at, pages(4)).unwrap();
                }
                on.exit(pid);
                shared.check_in(cpu);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let mut machine = Arc::into_inner(shared).unwrap().into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    machine.unlink(mount, "file").unwrap();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!((pool.free, pool.resv, pool.surplus), (pool.nr, HugeCount::ZERO, HugeCount::ZERO));
}

/// What each of sixteen threads does with a pool of four pages, round by round: areas that are promised a page, areas that take one if there is one, and
/// pages of a file that all of them have.
fn hammer(shared: &SharedMachine, n: u32, mount: hugefolio::MountId, start: &Barrier) {
    let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
    let mut on = shared.on(&mut cpu);
    let pid = on.spawn();
    let fd = on.open(pid, &OpenCall::create(mount, "file")).unwrap();
    start.wait();
    for round in 0..200u64 {
        let at = match (u64::from(n) + round) % 3 {
            0 => on.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).inspect(|&at| {
                // What is promised is there, whatever the other fifteen do meanwhile.
                std::thread::yield_now();
                on.write_byte(pid, at, 1).unwrap();
            }),
            1 => {
                let call = MapCall::anonymous(PAGE, Share::Shared).with_flags(MapFlags::NORESERVE);
                on.mmap(pid, &call).inspect(|&at| {
                    let _ = on.write_byte(pid, at, 1);
                    std::thread::yield_now();
                })
            }
            _ => on.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared).with_flags(MapFlags::NORESERVE)).inspect(|&at| {
                let _ = on.write_byte(pid, at, 1);
                let _ = on.fallocate(pid, fd, FallocateMode::PunchHole, Bytes::ZERO, PAGE);
            }),
        };
        if let Ok(at) = at {
            on.munmap(pid, at, PAGE).unwrap();
        }
    }
    on.exit(pid);
    shared.check_in(cpu);
}

/// Ten times over: every thread ends, so nobody waits for what does not come, and all four pages are there and free again.
#[test]
fn sixteen_threads_and_four_pages() {
    for run in 0..10 {
        let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(128)).cpus(NodeId::new(0), 16);
        let mut machine = builder.cmdline("hugepages=4").build().unwrap();
        let hstate = machine.hstates().default_hstate().id;
        let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
        let (shared, start) = (SharedMachine::from(machine), Barrier::new(16));
        std::thread::scope(|scope| {
            for n in 0..16 {
                let (shared, start) = (&shared, &start);
                scope.spawn(move || hammer(shared, n, mount, start));
            }
        });
        let mut machine = shared.into_machine();
        machine.validate().unwrap_or_else(|broken| panic!("run {run}: {broken}"));
        machine.unlink(mount, "file").unwrap();
        let pool = machine.pool(HugeSize::M2).unwrap();
        let counts = (pool.nr, pool.free, pool.resv, pool.surplus);
        assert_eq!(counts, (HugeCount::new(4), HugeCount::new(4), HugeCount::ZERO, HugeCount::ZERO), "run {run}");
        machine.validate().unwrap_or_else(|broken| panic!("run {run}: {broken}"));
    }
}

/// What is known of memory lies behind a lock for each node. A path that deals with two pages, a copy or a move, must ask the node of each: asked of
/// the other one's node a page has no record, and its bytes are zero.
#[test]
fn pages_go_from_node_to_node_between_threads() {
    let nodes = [NodeId::new(0), NodeId::new(1)];
    let builder = nodes.into_iter().fold(Machine::builder(), |b, node| b.node(node, Bytes::gib(1)).cpus(node, 1));
    let mut machine = builder.cmdline("hugepages=0:16,1:16").build().unwrap();
    let tasks = nodes.map(|node| {
        let pid = machine.spawn();
        assert!(machine.run_on_node(pid, node));
        (node, pid, machine.mmap(pid, &MapCall::anonymous(pages(2), Share::Private)).unwrap())
    });
    let shared = SharedMachine::from(machine);
    let start = Barrier::new(tasks.len());
    std::thread::scope(|scope| {
        for (n, (node, pid, at)) in (0..).zip(tasks) {
            let (shared, start) = (&shared, &start);
            scope.spawn(move || {
                let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
                let mut on = shared.on(&mut cpu);
                let other = nodes[1 - node.index()];
                start.wait();
                for round in 1..60u8 {
                    on.write_byte(pid, at, round).unwrap();
                    assert_eq!(on.node_of(pid, at).unwrap(), node);
                    assert_eq!(on.move_page(pid, at, other, MoveScope::Own).unwrap(), other);
                    // The parent's write makes a copy, on its own node, of what lies on the other one.
                    let child = on.fork(pid).unwrap();
                    on.write_byte(pid, at, round + 100).unwrap();
                    assert_eq!(on.read_byte(child, at).unwrap(), round);
                    assert_eq!(on.read_byte(pid, at).unwrap(), round + 100);
                    assert_eq!((on.node_of(child, at).unwrap(), on.node_of(pid, at).unwrap()), (other, node));
                    assert!(on.exit(child));
                    on.madvise(pid, at, pages(2), Advice::DontNeed).unwrap();
                }
                shared.check_in(cpu);
            });
        }
    });
    let mut machine = shared.into_machine();
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!((pool.nr.get(), pool.free.get()), (32, 32));
}

/// A shared machine shows its surplus pages beside the ledger, and an unmap looks there whether the place that it leaves is promised again. What is
/// shown must follow the ledger both ways: here it was 0 when the machine became a shared one, then 1, then 0 again.
#[test]
fn an_unmap_knows_of_surplus_pages_that_came_and_went() {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(128)).cmdline("hugepages=2").build().unwrap();
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(1)).unwrap();
    let mut steps = machine.clone();
    let alone = promises_of_an_unmapped_page(&mut steps);
    let shared = SharedMachine::from(machine);
    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
    let together = promises_of_an_unmapped_page(&mut shared.on(&mut cpu));
    assert_eq!(together, alone);
    assert_eq!(together, [0, 1].map(HugeCount::new), "beside a surplus page, and without one");
    shared.check_in(cpu);
    shared.into_machine().validate().unwrap();
}

/// How many pages are promised after an owner's page was let go: while there is a surplus page, and when it is gone.
fn promises_of_an_unmapped_page(m: &mut impl Calls) -> [HugeCount; 2] {
    let pid = m.spawn();
    let own = m.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
    let call = MapCall { flags: MapFlags::NORESERVE, ..MapCall::anonymous(pages(2), Share::Private) };
    let others = m.mmap(pid, &call).unwrap();
    for at in [own, others, others + PAGE] {
        m.write_byte(pid, at, 1).unwrap();
    }
    assert_eq!(m.pool(HugeSize::M2).unwrap().surplus, HugeCount::new(1));
    m.madvise(pid, own, PAGE, Advice::DontNeed).unwrap();
    let beside = m.pool(HugeSize::M2).unwrap().resv;
    m.munmap(pid, others, pages(2)).unwrap();
    assert_eq!(m.pool(HugeSize::M2).unwrap().surplus, HugeCount::ZERO);
    m.write_byte(pid, own, 1).unwrap();
    m.madvise(pid, own, PAGE, Advice::DontNeed).unwrap();
    [beside, m.pool(HugeSize::M2).unwrap().resv]
}
