//! Whole paths on threads, every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`, which is
//! `RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle --target-dir target/shuttle`. A failing schedule prints the
//! string that replays it.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Bytes, CallError, Calls, CpuId, Create, FallocateMode, FaultError, Fd, FileAccess, HugeCount, HugeSize, Machine,
    MapCall, MountOptions, NodeId, Nodemask, OpenCall, Pid, ResizeNodes, Share, SharedMachine, Truncate, Vaddr,
};
use shuttle::sync::Arc;
use shuttle::thread;

const SCHEDULES: usize = 2000;
const PAGE: Bytes = HugeSize::M2.bytes();

/// A pool of four pages, and a file of two that a process has mapped shared: both pages are reserved.
fn mapped() -> (SharedMachine, Pid, Fd, Vaddr) {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=4").build().unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let call = OpenCall {
        mount,
        name: "file",
        access: FileAccess::ReadWrite,
        create: Create::IfMissing,
        truncate: Truncate::Keep,
    };
    let fd = machine.open(pid, &call).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, PAGE + PAGE, Share::Shared)).unwrap();
    assert_eq!(machine.pool(HugeSize::M2).unwrap().resv, HugeCount::new(2));
    (SharedMachine::from(machine), pid, fd, at)
}

fn finish(shared: Arc<SharedMachine>) -> Machine {
    let machine = Arc::into_inner(shared).expect("all threads are done").into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    machine
}

/// A reserved page is instantiated while its file becomes empty. Whoever is first, the reservation and the page are given back
/// exactly once: a fault that spent a reservation which truncation counted as unused would drive `resv` below zero.
#[test]
fn a_reserved_fault_against_a_truncate() {
    shuttle::check_pct(
        || {
            let (shared, pid, fd, at) = mapped();
            let shared = Arc::new(shared);
            let faulting = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let touched = shared.on(&mut cpu).write_byte(pid, at, 1);
                    assert!(matches!(touched, Ok(()) | Err(CallError::Failed(FaultError::BeyondEof { .. }))));
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            shared.on(&mut cpu).ftruncate(pid, fd, Bytes::ZERO).unwrap();
            shared.check_in(cpu);
            faulting.join().unwrap();
            let mut machine = finish(shared);
            let pool = machine.pool(HugeSize::M2).unwrap();
            assert_eq!((pool.nr, pool.free, pool.resv), (HugeCount::new(4), HugeCount::new(4), HugeCount::ZERO));
        },
        SCHEDULES,
        3,
    );
}

/// Two processes write to the pages they share since a fork, with one page left for copies: one copies, or the owner takes the
/// page from the child. Nobody's count is lost.
#[test]
fn two_copies_with_one_page_left() {
    shuttle::check_pct(
        || {
            let mut machine =
                Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=2").build().unwrap();
            let parent = machine.spawn();
            let at = machine.mmap(parent, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
            machine.write_byte(parent, at, 1).unwrap();
            let child = machine.fork(parent).unwrap();
            let shared = Arc::new(SharedMachine::from(machine));
            let other = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let _ = shared.on(&mut cpu).write_byte(child, at, 2);
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            shared.on(&mut cpu).write_byte(parent, at, 3).unwrap();
            shared.check_in(cpu);
            other.join().unwrap();
            let mut machine = finish(shared);
            assert_eq!(machine.read_byte(parent, at), Ok(3));
            machine.exit(parent);
            machine.exit(child);
            machine.validate().unwrap();
            assert_eq!(machine.pool(HugeSize::M2).unwrap().free, HugeCount::new(2));
        },
        SCHEDULES,
        3,
    );
}

/// The pool shrinks to nothing while a page is reserved: the reservation is kept or was refused, never broken.
#[test]
fn a_reservation_against_a_shrink() {
    shuttle::check_pct(
        || {
            let mut machine =
                Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=1").build().unwrap();
            let pid = machine.spawn();
            let shared = Arc::new(SharedMachine::from(machine));
            let shrinking = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let all = ResizeNodes::Global(Nodemask::ALL);
                    shared.on(&mut cpu).set_nr_hugepages(HugeSize::M2, HugeCount::ZERO, all).unwrap();
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            let mapped = shared.on(&mut cpu).mmap(pid, &MapCall::anonymous(PAGE, Share::Private));
            if let Ok(at) = mapped {
                shared.on(&mut cpu).write_byte(pid, at, 1).expect("what was promised can be touched");
            }
            shared.check_in(cpu);
            shrinking.join().unwrap();
            finish(shared);
        },
        SCHEDULES,
        3,
    );
}

/// Two processes make the same file. Both looked, neither found it, both made one, and the second took the name from the first:
/// a file that nobody could reach kept its pages for ever.
#[test]
fn two_makers_of_one_file() {
    shuttle::check_pct(
        || {
            let (shared, _, _, _) = mapped();
            let mut machine = shared.into_machine();
            let hstate = machine.hstates().default_hstate().id;
            let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
            let pids = [machine.spawn(), machine.spawn()];
            let shared = Arc::new(SharedMachine::from(machine));
            let open = move |shared: &SharedMachine, n: u32| {
                let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
                let mut on = shared.on(&mut cpu);
                let fd = on.open(pids[n as usize], &OpenCall::create(mount, "new")).unwrap();
                on.fallocate(pids[n as usize], fd, FallocateMode::Extend, Bytes::ZERO, PAGE).unwrap();
                on.exit(pids[n as usize]);
                shared.check_in(cpu);
            };
            let other = {
                let shared = shared.clone();
                thread::spawn(move || open(&shared, 0))
            };
            open(&shared, 1);
            other.join().unwrap();
            let mut machine = finish(shared);
            machine.unlink(mount, "new").unwrap();
            assert_eq!(machine.pool(HugeSize::M2).unwrap().free, HugeCount::new(4), "no page is left behind");
        },
        SCHEDULES,
        3,
    );
}

/// A fork copies an entry while a truncate takes its page. The entry was read, the page was freed, and the copy took a reference
/// to a page that somebody else had by then.
#[test]
fn a_fork_against_a_truncate() {
    shuttle::check_pct(
        || {
            let (shared, pid, fd, _) = mapped();
            let mut machine = shared.into_machine();
            let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Private)).unwrap();
            machine.write_byte(pid, at, 1).unwrap();
            let shared = Arc::new(SharedMachine::from(machine));
            let forking = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let child = shared.on(&mut cpu).fork(pid).unwrap();
                    shared.on(&mut cpu).exit(child);
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            shared.on(&mut cpu).ftruncate(pid, fd, Bytes::ZERO).unwrap();
            shared.check_in(cpu);
            forking.join().unwrap();
            let mut machine = finish(shared);
            machine.exit(pid);
            machine.validate().unwrap();
        },
        SCHEDULES,
        3,
    );
}

/// A pool grows while a page is touched and let go. A page that lay on its shelf before its record was written was taken, and
/// could not be found again when it came back.
#[test]
fn a_new_page_against_a_touch() {
    shuttle::check_pct(
        || {
            let mut machine =
                Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=1").build().unwrap();
            let pid = machine.spawn();
            let at = machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
            let shared = Arc::new(SharedMachine::from(machine));
            let growing = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let all = ResizeNodes::Global(Nodemask::ALL);
                    shared.on(&mut cpu).set_nr_hugepages(HugeSize::M2, HugeCount::new(3), all).unwrap();
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            shared.on(&mut cpu).write_byte(pid, at, 1).unwrap();
            shared.on(&mut cpu).exit(pid);
            shared.check_in(cpu);
            growing.join().unwrap();
            finish(shared);
        },
        SCHEDULES,
        3,
    );
}

/// A mapping makes surplus pages while a resize turns surplus into persistent pages. What the mapping did not need in the end was
/// taken off as surplus, although there was none any more.
#[test]
fn surplus_pages_against_a_resize() {
    shuttle::check_pct(
        || {
            let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(64)).build().unwrap();
            machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(2)).unwrap();
            let pid = machine.spawn();
            let shared = Arc::new(SharedMachine::from(machine));
            let growing = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let mut cpu = shared.check_out(CpuId::new(0)).unwrap();
                    let all = ResizeNodes::Global(Nodemask::ALL);
                    shared.on(&mut cpu).set_nr_hugepages(HugeSize::M2, HugeCount::new(3), all).unwrap();
                    shared.check_in(cpu);
                })
            };
            let mut cpu = shared.check_out(CpuId::new(1)).unwrap();
            // More than the cap: the pages made so far go again.
            let _ = shared.on(&mut cpu).mmap(pid, &MapCall::anonymous(PAGE + PAGE + PAGE, Share::Shared));
            shared.check_in(cpu);
            growing.join().unwrap();
            finish(shared);
        },
        SCHEDULES,
        3,
    );
}
