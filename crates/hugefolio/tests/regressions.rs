//! Mistakes that were made with pools and groups before, each as the story of what went wrong and a test that would see it again.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::sync::Arc;

use hugefolio::{
    Admin, Advice, AllocRefusal, Bytes, CallError, Calls, CgroupCounter, CgroupId, CpuId, FallocateMode, FaultError,
    HugeCount, HugeSize, Limit, Machine, MapCall, MapFlags, MemoryAccounting, MountOptions, NodeId, Nodemask, OpenCall,
    Pid, ResizeNodes, Share, SharedMachine, Site, Vaddr,
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

fn machine(cmdline: &str) -> Machine {
    let builder = Machine::builder().node(N0, Bytes::mib(256)).cmdline(cmdline);
    builder.memory_accounting(MemoryAccounting::HugePages).build().unwrap()
}

/// Total, free, reserved, surplus.
fn counts(machine: &mut Machine) -> [u64; 4] {
    let pool = machine.pool(M2).unwrap();
    [pool.nr, pool.free, pool.resv, pool.surplus].map(HugeCount::get)
}

fn private(machine: &mut Machine, pid: Pid, n: u64, flags: MapFlags) -> Vaddr {
    machine.mmap(pid, &MapCall::anonymous(pages(n), Share::Private).with_flags(flags)).unwrap()
}

fn charged(machine: &mut Machine, group: &str) -> Vec<String> {
    let files = ["hugetlb.2MB.current", "hugetlb.2MB.rsvd.current", "memory.current"];
    files.map(|file| machine.read_file(&format!("/sys/fs/cgroup/{group}/{file}")).unwrap()).to_vec()
}

/// A page without reservation was uncharged without the lock that guards who pays, and a group that was removed looked for its pages again and
/// again until it had none: for ever, if one was on its way from the pool to a mapping, where nobody found it. Here a group is removed while
/// others take and drop pages in it, at every moment that threads come to; what the groups above pay for is what there is, and nothing
/// in the end.
#[test]
fn a_group_is_removed_while_its_pages_come_and_go() {
    let mut machine = machine("hugepages=12");
    let top = machine.create_cgroup("top").unwrap();
    machine.write_file("/sys/fs/cgroup/top/cgroup.subtree_control", "+memory +hugetlb").unwrap();
    let shared = Arc::new(SharedMachine::from(machine));
    let churn = |n: u32| {
        let shared = shared.clone();
        std::thread::spawn(move || {
            let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
            let mut on = shared.on(&mut cpu);
            for round in 0..150 {
                let name = format!("top/g{n}");
                let group = on.create_cgroup(&name).unwrap();
                let pid = on.spawn();
                on.attach(pid, Some(group)).unwrap();
                let flags = if round % 2 == 0 { MapFlags::NORESERVE } else { MapFlags::empty() };
                let call = MapCall::anonymous(pages(2), Share::Private).with_flags(flags);
                if let Ok(at) = on.mmap(pid, &call) {
                    let _ = on.write_byte(pid, at, 1);
                    // Gone from its group, the process still has the group's page.
                    on.attach(pid, None).unwrap();
                    on.remove_cgroup(group).unwrap();
                    let _ = on.write_byte(pid, at + pages(1), 1);
                    on.madvise(pid, at, pages(1), Advice::DontNeed).unwrap();
                    on.exit(pid);
                } else {
                    on.exit(pid);
                    on.remove_cgroup(group).unwrap();
                }
            }
            shared.check_in(cpu);
        })
    };
    let threads: Vec<_> = (0..3).map(churn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut machine = Arc::into_inner(shared).unwrap().into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(charged(&mut machine, "top"), ["0\n", "0\n", "0\n"]);
    assert_eq!(counts(&mut machine), [12, 12, 0, 0]);
    machine.remove_cgroup(top).unwrap();
    assert_eq!(machine.charges().ids().count(), 0, "nothing is left of any group");
}

/// A pool that shrank while some of its free pages were surplus took the surplus off twice, once from what may go and once from what is free, and
/// stopped early or went too far. Three pages, one of them in use and surplus, one reserved: of the two persistent ones one can go.
#[test]
fn a_pool_with_surplus_shrinks_by_what_is_free() {
    let builder = Machine::builder().node(N0, Bytes::mib(128)).node(N1, Bytes::mib(128));
    let mut machine = builder.build().unwrap();
    machine.set_nr_hugepages(M2, huge(1), ResizeNodes::Node(N0)).unwrap();
    let pid = machine.spawn();
    let used = private(&mut machine, pid, 1, MapFlags::empty());
    machine.write_byte(pid, used, 1).unwrap();
    machine.set_nr_hugepages(M2, huge(0), ResizeNodes::Node(N0)).unwrap();
    machine.set_nr_hugepages(M2, huge(2), ResizeNodes::Node(N1)).unwrap();
    let promised = private(&mut machine, pid, 1, MapFlags::empty());
    assert_eq!(counts(&mut machine), [3, 2, 1, 1]);
    let all = ResizeNodes::Global(Nodemask::ALL);
    machine.set_nr_hugepages(M2, huge(1), all).unwrap();
    assert_eq!(counts(&mut machine), [2, 1, 1, 1]);
    machine.set_nr_hugepages(M2, huge(0), all).unwrap();
    assert_eq!(counts(&mut machine), [2, 1, 1, 2], "the last free page is promised");
    machine.validate().unwrap();
    machine.write_byte(pid, promised, 1).unwrap();
    machine.exit(pid);
    assert_eq!(counts(&mut machine), [0, 0, 0, 0]);
}

/// Who asks a map of reservations whether a page was promised opens a ticket, and who forgot to close it left the map with one entry too
/// many under way: at exit the reservations that were left could not be told from it, and stayed. Every ledger refuses a touch here; after each
/// no ticket is open, and at exit everything returns.
#[test]
fn a_refused_touch_leaves_no_ticket_open() {
    type Refuse = fn(&mut Machine, CgroupId);
    let ledgers: [(&str, Refuse); 4] = [
        ("the pool", |machine, _| {
            let all = ResizeNodes::Global(Nodemask::ALL);
            machine.set_nr_hugepages(M2, huge(0), all).unwrap();
        }),
        ("a limit on pages", |machine, group| {
            machine.set_cgroup_limit(group, M2, CgroupCounter::Usage, Limit::Pages(huge(1))).unwrap();
        }),
        ("a limit on reserved pages", |machine, group| {
            machine.set_cgroup_limit(group, M2, CgroupCounter::Rsvd, Limit::Pages(huge(4))).unwrap();
        }),
        ("a limit on memory", |machine, group| machine.set_memory_limit(group, Some(pages(1))).unwrap()),
    ];
    for (ledger, refuse) in ledgers {
        let mut machine = machine("hugepages=8");
        let group = machine.create_cgroup("g").unwrap();
        let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
        options.max = Some(huge(6));
        let mount = machine.mount(&options).unwrap();
        let pid = machine.spawn();
        machine.attach(pid, Some(group)).unwrap();
        let file = machine.open(pid, &OpenCall::create(mount, "f")).unwrap();
        // A place that was promised, one that was not, and one of a file's, touched by a child that is promised nothing.
        let own = machine.mmap(pid, &MapCall::file(file, pages(3), Share::Private)).unwrap();
        machine.write_byte(pid, own, 1).unwrap();
        let child = machine.fork(pid).unwrap();
        refuse(&mut machine, group);
        let shared = machine.mmap(pid, &MapCall::file(file, pages(1), Share::Shared).with_flags(MapFlags::NORESERVE));
        let mut refused = 0;
        for (who, at) in [(pid, own + pages(1)), (child, own + pages(2)), (pid, shared.unwrap())] {
            refused += u32::from(machine.write_byte(who, at, 1).is_err());
            machine.validate().unwrap_or_else(|broken| panic!("{ledger}: {broken}"));
        }
        assert!(refused > 0, "{ledger} refuses nobody");
        machine.exit(child);
        machine.exit(pid);
        machine.validate().unwrap_or_else(|broken| panic!("{ledger}: {broken}"));
        machine.unlink(mount, "f").unwrap();
        assert_eq!(counts(&mut machine)[2], 0, "{ledger}");
        let free = machine.statfs(mount).unwrap();
        assert_eq!(free.free_blocks, 6, "{ledger}: {free:?}");
    }
}

/// A page whose memory was refused was given back as free while it still had a reference, after its place had been told that it has a page. The
/// place's reservation never returned. Here the page goes the way of every page that is freed, and then the place is asked.
#[test]
fn a_page_refused_as_memory_gives_everything_back() {
    let mut machine = machine("hugepages=4");
    let group = machine.create_cgroup("g").unwrap();
    let pid = machine.spawn();
    machine.attach(pid, Some(group)).unwrap();
    let at = private(&mut machine, pid, 2, MapFlags::empty());
    machine.write_byte(pid, at, 1).unwrap();
    machine.set_memory_limit(group, Some(pages(1))).unwrap();
    let before = (counts(&mut machine), charged(&mut machine, "g"));
    for _ in 0..3 {
        let refused = machine.write_byte(pid, at + pages(1), 1);
        assert!(matches!(refused, Err(CallError::Failed(FaultError::Refused(AllocRefusal::Memory(_))))), "{refused:?}");
        assert_eq!((counts(&mut machine), charged(&mut machine, "g")), before);
    }
    machine.set_memory_limit(group, None).unwrap();
    machine.write_byte(pid, at + pages(1), 1).unwrap();
    assert_eq!(counts(&mut machine), [4, 2, 0, 0]);
    machine.exit(pid);
    assert_eq!((counts(&mut machine), charged(&mut machine, "g")), ([4, 4, 0, 0], vec!["0\n".to_owned(); 3]));
}

/// Counters of what was asked of the page allocator: pages that grew a pool and surplus ones, and of a policy that would rather have other
/// nodes both tries.
#[test]
fn vmstat_counts_what_pools_asked_for() {
    let mut machine = machine("");
    let line = |machine: &mut Machine, name: &str| -> u64 {
        let text = machine.read_file("/proc/vmstat").unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap()
    };
    machine.set_nr_hugepages(M2, huge(3), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(line(&mut machine, "htlb_buddy_alloc_success"), 3);
    machine.set_nr_overcommit(M2, huge(1)).unwrap();
    let pid = machine.spawn();
    let at = private(&mut machine, pid, 4, MapFlags::empty());
    assert_eq!((line(&mut machine, "htlb_buddy_alloc_success"), line(&mut machine, "nr_hugetlb")), (4, 0));
    machine.write_byte(pid, at, 1).unwrap();
    assert_eq!(line(&mut machine, "nr_hugetlb"), 512);
    machine.set_nr_hugepages(M2, huge(1000), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(line(&mut machine, "htlb_buddy_alloc_fail"), 1);
    machine.exit(pid);
    assert_eq!(line(&mut machine, "nr_hugetlb"), 0);
}

/// A hole was made in a file whose page was surplus. The page had left the cache, and with it the pool, before it turned out that no descriptor was to be
/// had to take its entry out of the middle of the file's map: an entry without a page, and without a reservation, as no page was left for one. Found by random
/// operations. The descriptor is asked for before the page goes.
#[test]
fn a_hole_that_cannot_be_noted_is_not_made() {
    let mut machine = machine("hugepages=3");
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    machine.fallocate(pid, fd, FallocateMode::Extend, Bytes::ZERO, pages(3)).unwrap();
    machine.set_nr_hugepages(M2, huge(1), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(counts(&mut machine), [3, 0, 0, 2]);
    machine.faults().fail_nth(Some(Site::RegionDescriptor), 0);
    machine.fallocate(pid, fd, FallocateMode::PunchHole, pages(1), pages(1)).unwrap_err();
    machine.validate().unwrap();
    assert_eq!(counts(&mut machine), [3, 0, 0, 2], "the page is in the file");
    machine.fallocate(pid, fd, FallocateMode::PunchHole, pages(1), pages(1)).unwrap();
    assert_eq!(counts(&mut machine), [2, 0, 0, 1]);
    machine.exit(pid);
    machine.validate().unwrap();
}
