//! Races that kernels lost before, on threads, every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`. The number of schedules is that of HUGEFOLIO_SCHEDULES.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::{
    Admin, Bytes, CallError, Calls, FallocateMode, FaultError, Fd, HugeCount, HugeSize, Machine, MapCall, MapFlags,
    MountId, MountOptions, Moves, NodeId, OnCpu, OpenCall, Pid, Share, Touch, UffdModes, UmountMode, Vaddr,
};

use schedules::{race, under_schedules};

const SCHEDULES: usize = 2_000;
const PAGE: Bytes = HugeSize::M2.bytes();

/// A machine with so many pages, and two processes that have one file open.
struct Two {
    machine: Machine,
    mount: MountId,
    pids: [Pid; 2],
    fds: [Fd; 2],
}

fn two(count: u64) -> Two {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(64));
    let mut machine = builder.cmdline(&format!("hugepages={count}")).build().unwrap();
    let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
    options.max = Some(HugeCount::new(8));
    let mount = machine.mount(&options).unwrap();
    let group = machine.create_cgroup("g").unwrap();
    let pids = [(); 2].map(|()| machine.spawn_in(Some(group)).unwrap());
    let fds = pids.map(|pid| machine.open(pid, &OpenCall::create(mount, "file")).unwrap());
    Two { machine, mount, pids, fds }
}

/// Nobody has anything any more, and nothing is missing.
fn assert_all_is_given_back(machine: &mut Machine, mount: MountId, pids: [Pid; 2], count: u64) {
    pids.iter().for_each(|&pid| assert!(machine.exit(pid)));
    machine.unlink(mount, "file").unwrap();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!([pool.nr, pool.free, pool.resv].map(HugeCount::get), [count, count, 0]);
    assert_eq!(machine.statfs(mount).unwrap().free_blocks, 8);
    let group = machine.cgroup("g").unwrap().unwrap();
    let view = machine.cgroup_view(group, HugeSize::M2).unwrap();
    assert_eq!((view.usage.get(), view.rsvd.get()), (0, 0));
}

fn map(on: &mut OnCpu<'_>, pid: Pid, fd: Fd, count: u64) -> Vaddr {
    on.mmap(pid, &MapCall::file(fd, HugeSize::M2.total(HugeCount::new(count)), Share::Shared)).unwrap()
}

/// The list of what is promised of a file was changed by two at once, without a lock of its own: it ended in a circle, or the number of
/// promised pages fell below zero.
#[test]
fn two_promise_and_release_parts_of_one_file() {
    under_schedules(SCHEDULES, || {
        let Two { machine, mount, pids, fds } = two(4);
        let work = move |on: &mut OnCpu<'_>, n: usize| {
            let at = map(on, pids[n], fds[n], 2 + n as u64);
            on.write_byte(pids[n], at + PAGE, 1).unwrap();
            on.munmap(pids[n], at, PAGE).unwrap();
            map(on, pids[n], fds[n], 3);
        };
        let mut machine = race(machine, move |on| work(on, 0), |on| work(on, 1));
        assert_all_is_given_back(&mut machine, mount, pids, 4);
    });
}

/// A page was touched without a promise while somebody promised it: the map had the entry already, and what was taken for the promise, its
/// charge and its place in the mount, was never given back.
#[test]
fn a_promise_against_a_touch_without_one() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, fds } = two(4);
        let call = MapCall::file(fds[0], PAGE + PAGE, Share::Shared).with_flags(MapFlags::NORESERVE);
        let at = machine.mmap(pids[0], &call).unwrap();
        let mut machine =
            race(machine, move |on| on.write_byte(pids[0], at, 1).unwrap(), |on| _ = map(on, pids[1], fds[1], 2));
        let pool = machine.pool(HugeSize::M2).unwrap();
        assert_eq!((pool.free.get(), pool.resv.get()), (3, 1), "one page is there, the other is promised once");
        assert_all_is_given_back(&mut machine, mount, pids, 4);
    });
}

/// Whether pages suffice was looked at in one section and noted in another: both of two who each wanted two of three pages were told yes,
/// and one of them died of it.
#[test]
fn two_promises_for_more_than_there_is() {
    under_schedules(SCHEDULES, || {
        let Two { machine, mount, pids, .. } = two(3);
        let work = move |on: &mut OnCpu<'_>, pid: Pid| {
            let Ok(at) = on.mmap(pid, &MapCall::anonymous(PAGE + PAGE, Share::Private)) else { return };
            for page in [at, at + PAGE] {
                on.write_byte(pid, page, 1).expect("what was promised can be touched");
            }
        };
        let mut machine = race(machine, move |on| work(on, pids[0]), |on| work(on, pids[1]));
        assert_eq!(machine.pool(HugeSize::M2).unwrap().free.get(), 1, "one of them has its pages");
        assert_all_is_given_back(&mut machine, mount, pids, 3);
    });
}

/// Two touched one page with one page left. Both allocated, one got it, and the other one was killed although the page was there.
#[test]
fn two_touch_one_page_with_one_page_left() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, fds } = two(1);
        let call = |fd| MapCall::file(fd, PAGE, Share::Shared).with_flags(MapFlags::NORESERVE);
        let ats = [0, 1].map(|n| machine.mmap(pids[n], &call(fds[n])).unwrap());
        let touch = move |on: &mut OnCpu<'_>, n: usize| on.write_byte(pids[n], ats[n], 1).unwrap();
        let mut machine = race(machine, move |on| touch(on, 0), |on| touch(on, 1));
        assert_all_is_given_back(&mut machine, mount, pids, 1);
    });
}

/// The same with two threads of one process and a private page.
#[test]
fn two_threads_touch_one_private_page_with_one_page_left() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, .. } = two(1);
        let call = MapCall::anonymous(PAGE, Share::Private).with_flags(MapFlags::NORESERVE);
        let at = machine.mmap(pids[0], &call).unwrap();
        let touch = move |on: &mut OnCpu<'_>| on.write_byte(pids[0], at, 1).unwrap();
        let mut machine = race(machine, touch, touch);
        assert_all_is_given_back(&mut machine, mount, pids, 1);
    });
}

/// The cap on surplus pages was looked at before a page was made and not after: two who made one at once had both.
#[test]
fn two_make_the_last_surplus_page() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, .. } = two(0);
        machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(1)).unwrap();
        let call = MapCall::anonymous(PAGE, Share::Private).with_flags(MapFlags::NORESERVE);
        let ats = pids.map(|pid| machine.mmap(pid, &call).unwrap());
        let touch = move |on: &mut OnCpu<'_>, n: usize| _ = on.write_byte(pids[n], ats[n], 1);
        let mut machine = race(machine, move |on| touch(on, 0), |on| touch(on, 1));
        let pool = machine.pool(HugeSize::M2).unwrap();
        assert_eq!((pool.nr.get(), pool.surplus.get()), (1, 1), "the cap is one");
        assert_all_is_given_back(&mut machine, mount, pids, 0);
    });
}

/// A hole was made while its page was touched. It left the page in the hole, counted it twice, or took it out of the file while it was mapped.
#[test]
fn a_hole_against_a_touch() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, fds } = two(2);
        let call = |fd| MapCall::file(fd, PAGE, Share::Shared);
        let ats = [0, 1].map(|n| machine.mmap(pids[n], &call(fds[n])).unwrap());
        machine.write_byte(pids[0], ats[0], 1).unwrap();
        let mut machine = race(
            machine,
            move |on| on.fallocate(pids[0], fds[0], FallocateMode::PunchHole, Bytes::ZERO, PAGE).unwrap(),
            |on| on.write_byte(pids[1], ats[1], 2).unwrap(),
        );
        let there = machine.frame_at(pids[1], ats[1]);
        assert!(there.is_none() || machine.read_byte(pids[1], ats[1]) == Ok(2), "the touch came last");
        assert_all_is_given_back(&mut machine, mount, pids, 2);
    });
}

/// A page was pinned while its file became empty: whoever had looked it up took his reference to a page that was somebody else's by then.
#[test]
fn a_pin_against_a_truncate() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, fds } = two(2);
        let at = machine.mmap(pids[0], &MapCall::file(fds[0], PAGE, Share::Shared)).unwrap();
        machine.write_byte(pids[0], at, 1).unwrap();
        let mut machine = race(
            machine,
            move |on| {
                if let Ok(pin) = on.pin(pids[0], at, Touch::Read) {
                    on.unpin(pin);
                }
            },
            |on| on.ftruncate(pids[1], fds[1], Bytes::ZERO).unwrap(),
        );
        assert_all_is_given_back(&mut machine, mount, pids, 2);
    });
}

/// A touch of a place that somebody watches told him, let go of its locks, and then went on with the area, which was gone.
#[test]
fn a_watched_touch_against_the_end_of_its_area() {
    under_schedules(SCHEDULES, || {
        let Two { mut machine, mount, pids, .. } = two(1);
        let at = machine.mmap(pids[0], &MapCall::anonymous(PAGE, Share::Private)).unwrap();
        let fd = machine.userfaultfd(pids[0]).unwrap();
        machine.uffd_register(pids[0], fd, at, PAGE, UffdModes::MISSING).unwrap();
        let mut machine = race(
            machine,
            move |on| {
                let touched = on.write_byte(pids[0], at, 1);
                let told = CallError::Failed(FaultError::UserfaultMissing { addr: at });
                assert!(touched == Err(told) || touched == Err(CallError::Failed(FaultError::NoArea(at))));
            },
            |on| on.munmap(pids[0], at, PAGE).unwrap(),
        );
        assert_all_is_given_back(&mut machine, mount, pids, 1);
    });
}

/// A page had gone back to its mount's limits, where it was the minimum again, and was not in its pool yet when the mount ended: the minimum was
/// given back, although no page stood for it.
#[test]
fn a_mount_ends_while_its_last_page_comes_back() {
    under_schedules(SCHEDULES, || {
        let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=1");
        let mut machine = builder.build().unwrap();
        let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
        options.min = Some(HugeCount::new(1));
        let mount = machine.mount(&options).unwrap();
        let pid = machine.spawn();
        let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
        let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared)).unwrap();
        // A device has the page, and nobody else: the file is gone.
        let pin = machine.pin(pid, at, Touch::Write).unwrap();
        machine.exit(pid);
        machine.unlink(mount, "file").unwrap();
        let mut machine = race(machine, move |on| on.unpin(pin), |on| on.umount(mount, UmountMode::Strict).unwrap());
        let pool = machine.pool(HugeSize::M2).unwrap();
        assert_eq!([pool.nr, pool.free, pool.resv].map(HugeCount::get), [1, 1, 0]);
    });
}
