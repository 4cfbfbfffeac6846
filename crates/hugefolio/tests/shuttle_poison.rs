//! Memory that breaks, or is to be used no longer, while its page comes back or is handed out: every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`. The number of schedules is that of HUGEFOLIO_SCHEDULES; ten thousand are
//! `HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle_poison --target-dir target/shuttle`. After each, all that there is is
//! counted, and then whatever can be had is taken: nobody may get the page that broke.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::{
    Admin, Advice, Bytes, Calls, Cause, Failed, Frame, GfpFlags, HugeCount, HugeSize, Machine, MapCall, MapFlags,
    MountOptions, Moves, NodeId, Nodemask, OnCpu, OpenCall, Order, Pages as _, Pfn, Pid, Poison, ResizeNodes, Share,
    SoftOfflined, Touch, Vaddr,
};
use shuttle::sync::{Arc, Mutex};

use schedules::{Part, race, race_all, under_schedules};

const SCHEDULES: usize = 500;
const NODE: NodeId = NodeId::new(0);
const PAGE: Bytes = HugeSize::M2.bytes();
const EVERYWHERE: ResizeNodes = ResizeNodes::Global(Nodemask::of(NODE));

/// How a page is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Failure,
    SoftOffline,
}

/// Whose pages the page in use is among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    Persistent(u64),
    Surplus,
}

const USED: [Pages; 3] = [Pages::Surplus, Pages::Persistent(1), Pages::Persistent(2)];
const FREE: [Pages; 2] = [Pages::Persistent(1), Pages::Persistent(2)];

/// Runs a test with each kind of page and each way to lose it, under many schedules.
fn each(pages: &[Pages], test: impl Fn(Pages, Loss) + Copy + Send + Sync + 'static) {
    for &pages in pages {
        for loss in [Loss::Failure, Loss::SoftOffline] {
            under_schedules(SCHEDULES, move || test(pages, loss));
        }
    }
}

/// A machine with a page that a process has, and perhaps others that are free.
fn in_use(pages: Pages) -> (Machine, Pid, Vaddr, Pfn) {
    let mut machine = with_room_for(pages);
    let pid = machine.spawn();
    let at = machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private).with_flags(MapFlags::NORESERVE)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let pfn = machine.frame_at(pid, at).unwrap();
    (machine, pid, at, pfn)
}

fn with_room_for(pages: Pages) -> Machine {
    let count = if let Pages::Persistent(count) = pages { count } else { 0 };
    let mut machine =
        Machine::builder().node(NODE, Bytes::mib(32)).cmdline(&format!("hugepages={count}")).build().unwrap();
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(u64::from(pages == Pages::Surplus))).unwrap();
    machine
}

/// Nobody has the page any more, and nobody gets it where it is known to be lost.
fn assert_nobody_gets_it(machine: &mut Machine, pfn: Pfn, lost: bool) {
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let kept = |frame: Frame| matches!(frame, Frame::Broken | Frame::Huge { poisoned: Poison::Some, refs: 0, .. });
    assert!(!lost || kept(machine.frame(pfn)), "{:?}", machine.frame(pfn));
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(64), EVERYWHERE).unwrap();
    let (pid, pages) = (machine.spawn(), machine.pool(HugeSize::M2).unwrap().nr.get());
    let call = MapCall::anonymous(Bytes::new(pages * PAGE.get()), Share::Private).with_flags(MapFlags::NORESERVE);
    let at = machine.mmap(pid, &call).unwrap();
    for n in 0..pages {
        let _ = machine.write_byte(pid, at + Bytes::new(n * PAGE.get()), 1);
    }
    assert!(!lost || kept(machine.frame(pfn)), "{:?}", machine.frame(pfn));
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
}

/// Loses the page while `other` does something; says whether it is lost, in any way.
fn lose_against(
    machine: Machine,
    (pfn, loss): (Pfn, Loss),
    other: impl FnOnce(&mut OnCpu<'_>) + Send + 'static,
) -> (Machine, bool) {
    let told = Arc::new(Mutex::new(false));
    let tell = told.clone();
    let machine = race(machine, other, move |on| {
        *tell.lock().unwrap() = match loss {
            Loss::Failure => on.memory_failure(pfn, Cause::Test).outcome != Failed::NotHuge,
            Loss::SoftOffline => on.soft_offline(pfn).is_ok_and(|done| done != SoftOfflined::NotHuge),
        };
    });
    let lost = *told.lock().unwrap();
    (machine, lost)
}

/// The owner exits. A page that leaves its pool then was written down as broken for a slot that was no page's any more, or another one's; one that stays lay
/// on its shelf as a sound one.
#[test]
fn against_an_exit() {
    each(&USED, |pages, loss| {
        let (machine, pid, _, pfn) = in_use(pages);
        let (mut machine, lost) = lose_against(machine, (pfn, loss), move |on| assert!(on.exit(pid)));
        assert_nobody_gets_it(&mut machine, pfn, lost);
    });
}

/// A free page is handed out.
#[test]
fn against_a_touch() {
    each(&FREE, |pages, loss| {
        let (mut machine, pid, at, pfn) = in_use(pages);
        machine.munmap(pid, at, PAGE).unwrap();
        let call = MapCall::anonymous(PAGE, Share::Private).with_flags(MapFlags::NORESERVE);
        let at = machine.mmap(pid, &call).unwrap();
        let (mut machine, lost) = lose_against(machine, (pfn, loss), move |on| _ = on.write_byte(pid, at, 1));
        assert!(machine.exit(pid));
        assert_nobody_gets_it(&mut machine, pfn, lost);
    });
}

/// Somebody wants the frames of a free page, for which another one takes its place. The one that broke meanwhile was still counted as broken when it was gone.
#[test]
fn against_who_wants_its_frames() {
    each(&FREE, |pages, loss| {
        let (mut machine, pid, _, pfn) = in_use(pages);
        assert!(machine.exit(pid));
        let (mut machine, lost) = lose_against(machine, (pfn, loss), move |on| want(on, pfn));
        assert_nobody_gets_it(&mut machine, pfn, lost);
    });
}

/// The page in use moves away from its frames.
#[test]
fn against_a_move() {
    each(&USED, |pages, loss| {
        let (machine, pid, _, pfn) = in_use(pages);
        let (mut machine, lost) = lose_against(machine, (pfn, loss), move |on| want(on, pfn));
        assert!(machine.exit(pid));
        assert_nobody_gets_it(&mut machine, pfn, lost);
    });
}

fn want(on: &mut OnCpu<'_>, pfn: Pfn) {
    let _ = on.take_frames(pfn, Order::new(9), GfpFlags::KERNEL);
}

/// A file gives up its page.
#[test]
fn against_a_truncate() {
    each(&[Pages::Persistent(2)], |pages, loss| {
        let mut machine = with_room_for(pages);
        let mount = machine.mount(&MountOptions::unlimited(machine.hstates().default_hstate().id)).unwrap();
        let pid = machine.spawn();
        let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
        let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared)).unwrap();
        machine.write_byte(pid, at, 1).unwrap();
        let pfn = machine.frame_at(pid, at).unwrap();
        let truncate = move |on: &mut OnCpu<'_>| on.ftruncate(pid, fd, Bytes::ZERO).unwrap();
        let (mut machine, _) = lose_against(machine, (pfn, loss), truncate);
        machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert!(machine.exit(pid));
    });
}

/// The pool shrinks, and the page that breaks is one of those that leave.
#[test]
fn against_a_shrink() {
    each(&[Pages::Persistent(2)], |pages, loss| {
        let (mut machine, pid, _, pfn) = in_use(pages);
        assert!(machine.exit(pid));
        let (mut machine, lost) = lose_against(machine, (pfn, loss), |on| {
            on.set_nr_hugepages(HugeSize::M2, HugeCount::ZERO, EVERYWHERE).unwrap();
        });
        assert_nobody_gets_it(&mut machine, pfn, lost);
    });
}

/// A free page is trusted again while it breaks. It was set aside for good then, though nothing was known to be wrong with it. Somebody has promised it to
/// a process, so that it stays in its pool.
#[test]
fn against_trust() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, at, pfn) = promised();
        let (mut machine, _) = lose_against(machine, (pfn, Loss::Failure), move |on| _ = on.unpoison(pfn));
        assert_trust(&mut machine, pid, at, pfn);
    });
}

/// Whoever pinned a page that broke long ago lets it go, and it is trusted again. A surplus page leaves then: nobody had counted it as broken, and was asked to
/// count one less.
#[test]
fn trust_against_an_unpin() {
    for pages in USED {
        under_schedules(SCHEDULES, move || {
            let (mut machine, pid, at, pfn) = in_use(pages);
            let pin = machine.pin(pid, at, Touch::Write).unwrap();
            assert_eq!(machine.memory_failure(pfn, Cause::Test).outcome, Failed::Referenced);
            let mut machine = race(machine, move |on| on.unpin(pin), move |on| _ = on.unpoison(pfn));
            assert!(machine.exit(pid));
            assert_nobody_gets_it(&mut machine, pfn, false);
        });
    }
}

/// A page comes back, breaks, and is trusted again.
#[test]
fn trust_against_an_exit() {
    for pages in USED {
        under_schedules(SCHEDULES, move || {
            let (machine, pid, _, pfn) = in_use(pages);
            let mut machine = lose_and_trust(machine, pfn, move |on| assert!(on.exit(pid)));
            assert_nobody_gets_it(&mut machine, pfn, false);
        });
    }
}

/// The same of a page that stays, since it is promised again.
#[test]
fn trust_against_a_return() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, at, pfn) = promised();
        machine.write_byte(pid, at, 1).unwrap();
        let _ = lose_and_trust(machine, pfn, move |on| on.madvise(pid, at, PAGE, Advice::DontNeed).unwrap());
    });
}

fn lose_and_trust(machine: Machine, pfn: Pfn, other: impl FnOnce(&mut OnCpu<'_>) + Send + 'static) -> Machine {
    let parts: Vec<Part> = vec![
        Box::new(other),
        Box::new(move |on| _ = on.memory_failure(pfn, Cause::Test)),
        Box::new(move |on| _ = on.unpoison(pfn)),
    ];
    race_all(machine, parts)
}

/// One free page that is promised to a process, and where the process will have it.
fn promised() -> (Machine, Pid, Vaddr, Pfn) {
    let (mut machine, pid, at, pfn) = in_use(Pages::Persistent(1));
    machine.munmap(pid, at, PAGE).unwrap();
    let at = machine.mmap(pid, &MapCall::anonymous(PAGE, Share::Private)).unwrap();
    (machine, pid, at, pfn)
}

/// Whoever was promised the page gets it where it is trusted, and only there.
fn assert_trust(machine: &mut Machine, pid: Pid, at: Vaddr, pfn: Pfn) {
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let Frame::Huge { poisoned, .. } = machine.frame(pfn) else { panic!("{:?}", machine.frame(pfn)) };
    assert_eq!(machine.write_byte(pid, at, 1).is_ok(), poisoned == Poison::None);
    assert!(machine.exit(pid));
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
}
