//! A machine shared by real threads: debug builds check the nesting of every lock, and a recount at the end finds nothing lost.

use std::sync::Arc;

use hugefolio::{
    Admin, Advice, Bytes, Calls, CpuId, FallocateMode, HugeCount, HugeSize, Machine, MapCall, MountOptions, NodeId,
    Nodemask, OpenCall, ResizeNodes, Share, SharedMachine,
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
