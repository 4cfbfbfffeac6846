//! Whole paths on threads, every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`, which is
//! `RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle --target-dir target/shuttle`. A failing schedule prints the
//! string that replays it. The number of schedules is that of HUGEFOLIO_SCHEDULES.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::{
    Admin, Bytes, CallError, Calls, FallocateMode, FaultError, Fd, HugeCount, HugeSize, Machine, MapCall, MountOptions,
    NodeId, Nodemask, OnCpu, OpenCall, Pid, ResizeNodes, Share, Vaddr,
};

use schedules::{race, under_schedules};

const SCHEDULES: usize = 2_000;
const PAGE: Bytes = HugeSize::M2.bytes();

fn machine(cmdline: &str) -> Machine {
    Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline(cmdline).build().unwrap()
}

/// A pool of four pages, and a file of two that a process has mapped shared: both pages are reserved.
fn mapped() -> (Machine, Pid, Fd, Vaddr) {
    let mut machine = machine("hugepages=4");
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, PAGE + PAGE, Share::Shared)).unwrap();
    assert_eq!(machine.pool(HugeSize::M2).unwrap().resv, HugeCount::new(2));
    (machine, pid, fd, at)
}

/// Writes the number of pages.
fn resize(on: &mut OnCpu<'_>, count: HugeCount) {
    on.set_nr_hugepages(HugeSize::M2, count, ResizeNodes::Global(Nodemask::ALL)).unwrap();
}

/// A reserved page is instantiated while its file becomes empty. Whoever is first, the reservation and the page are given back
/// exactly once: a fault that spent a reservation which truncation counted as unused would drive `resv` below zero.
#[test]
fn a_reserved_fault_against_a_truncate() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, fd, at) = mapped();
        let mut machine = race(
            machine,
            move |on| {
                let touched = on.write_byte(pid, at, 1);
                assert!(matches!(touched, Ok(()) | Err(CallError::Failed(FaultError::BeyondEof { .. }))));
            },
            |on| on.ftruncate(pid, fd, Bytes::ZERO).unwrap(),
        );
        let pool = machine.pool(HugeSize::M2).unwrap();
        assert_eq!((pool.nr, pool.free, pool.resv), (HugeCount::new(4), HugeCount::new(4), HugeCount::ZERO));
    });
}

/// Two processes write to the pages they share since a fork, with one page left for copies: one copies, or the owner takes the
/// page from the child. Nobody's count is lost.
#[test]
fn two_copies_with_one_page_left() {
    under_schedules(SCHEDULES, || {
        let mut machine = machine("hugepages=2");
        let parent = machine.spawn();
        let at = machine.mmap(parent, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
        machine.write_byte(parent, at, 1).unwrap();
        let child = machine.fork(parent).unwrap();
        let mut machine = race(
            machine,
            move |on| {
                let _ = on.write_byte(child, at, 2);
            },
            |on| on.write_byte(parent, at, 3).unwrap(),
        );
        assert_eq!(machine.read_byte(parent, at), Ok(3));
        machine.exit(parent);
        machine.exit(child);
        machine.validate().unwrap();
        assert_eq!(machine.pool(HugeSize::M2).unwrap().free, HugeCount::new(2));
    });
}

/// The pool shrinks to nothing while a page is reserved: the reservation is kept or was refused, never broken.
#[test]
fn a_reservation_against_a_shrink() {
    under_schedules(SCHEDULES, || {
        let mut machine = machine("hugepages=1");
        let pid = machine.spawn();
        race(
            machine,
            |on| resize(on, HugeCount::ZERO),
            |on| {
                if let Ok(at) = on.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)) {
                    on.write_byte(pid, at, 1).expect("what was promised can be touched");
                }
            },
        );
    });
}

/// Two processes make the same file. Both looked, neither found it, both made one, and the second took the name from the first:
/// a file that nobody could reach kept its pages for ever.
#[test]
fn two_makers_of_one_file() {
    under_schedules(SCHEDULES, || {
        let (mut machine, ..) = mapped();
        let hstate = machine.hstates().default_hstate().id;
        let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
        let make = move |on: &mut OnCpu<'_>, pid: Pid| {
            let fd = on.open(pid, &OpenCall::create(mount, "new")).unwrap();
            on.fallocate(pid, fd, FallocateMode::Extend, Bytes::ZERO, PAGE).unwrap();
            on.exit(pid);
        };
        let (one, other) = (machine.spawn(), machine.spawn());
        let mut machine = race(machine, move |on| make(on, one), |on| make(on, other));
        machine.unlink(mount, "new").unwrap();
        assert_eq!(machine.pool(HugeSize::M2).unwrap().free, HugeCount::new(4), "no page is left behind");
    });
}

/// A fork copies an entry while a truncate takes its page. The entry was read, the page was freed, and the copy took a reference
/// to a page that somebody else had by then.
#[test]
fn a_fork_against_a_truncate() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, fd, _) = mapped();
        let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Private)).unwrap();
        machine.write_byte(pid, at, 1).unwrap();
        let mut machine = race(
            machine,
            move |on| {
                let child = on.fork(pid).unwrap();
                on.exit(child);
            },
            |on| on.ftruncate(pid, fd, Bytes::ZERO).unwrap(),
        );
        machine.exit(pid);
        machine.validate().unwrap();
    });
}

/// A pool grows while a page is touched and let go. A page that lay on its shelf before its record was written was taken, and
/// could not be found again when it came back.
#[test]
fn a_new_page_against_a_touch() {
    under_schedules(SCHEDULES, || {
        let mut machine = machine("hugepages=1");
        let pid = machine.spawn();
        let at = machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
        race(
            machine,
            |on| resize(on, HugeCount::new(3)),
            |on| {
                on.write_byte(pid, at, 1).unwrap();
                on.exit(pid);
            },
        );
    });
}

/// A mapping makes surplus pages while a resize turns surplus into persistent pages. What the mapping did not need in the end was
/// taken off as surplus, although there was none any more.
#[test]
fn surplus_pages_against_a_resize() {
    under_schedules(SCHEDULES, || {
        let mut machine = machine("");
        machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(2)).unwrap();
        let pid = machine.spawn();
        race(
            machine,
            |on| resize(on, HugeCount::new(3)),
            |on| {
                // More than the cap: the pages made so far go again.
                let _ = on.mmap(pid, &MapCall::anonymous(PAGE + PAGE + PAGE, Share::Shared));
            },
        );
    });
}
