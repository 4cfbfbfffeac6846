//! Pages in pieces on threads, every interleaving that a schedule can give.
//!
//! Run with `cargo xtask ci shuttle`. A failing schedule prints the string that replays it.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::{
    Admin, Advice, Bytes, Calls, Cause, Failed, Fd, HugeSize, Machine, MapCall, MountOptions, Moves, NodeId, OpenCall,
    Pid, PieceState, Share, UffdModes, Vaddr, WriteProtection,
};
use shuttle::sync::{Arc, Mutex};

use schedules::{race, under_schedules};

const SCHEDULES: usize = 10_000;
const PAGE: Bytes = HugeSize::M2.bytes();

fn machine(cmdline: &str) -> Machine {
    Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline(cmdline).build().unwrap()
}

/// Both mappings of a file of one page, which is in its cache: one in pieces and watched, the other that brought the page.
fn in_pieces() -> (Machine, Pid, Fd, Vaddr) {
    let mut machine = machine("hugepages=1");
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared)).unwrap();
    let other = machine.mmap(pid, &MapCall::file(fd, PAGE, Share::Shared)).unwrap();
    machine.write_byte(pid, other, 7).unwrap();
    machine.munmap(pid, other, PAGE).unwrap();
    machine.madvise(pid, at, PAGE, Advice::Split).unwrap();
    let uffd = machine.userfaultfd(pid).unwrap();
    machine.uffd_register(pid, uffd, at, PAGE, UffdModes::MINOR).unwrap();
    (machine, pid, uffd, at)
}

const BASE: Bytes = Bytes::kib(4);

/// Two parts of one page are mapped at once, where no table is yet. Both are, each with a reference, and the tables are made once.
#[test]
fn two_parts_of_one_page() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, uffd, at) = in_pieces();
        let mut machine = race(
            machine,
            move |on| on.uffd_continue(pid, uffd, at, BASE).unwrap(),
            |on| on.uffd_continue(pid, uffd, at + BASE, BASE).unwrap(),
        );
        assert_eq!(machine.hugetlb_pages(pid), Some(BASE + BASE));
    });
}

/// Of two who map the same part one is told that it is there.
#[test]
fn the_same_part_twice() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, uffd, at) = in_pieces();
        let first = Arc::new(Mutex::new(false));
        let told = first.clone();
        let mut second = false;
        let mut machine = race(
            machine,
            move |on| *told.lock().unwrap() = on.uffd_continue(pid, uffd, at, BASE).is_ok(),
            |on| second = on.uffd_continue(pid, uffd, at, BASE).is_ok(),
        );
        assert_ne!(*first.lock().unwrap(), second, "exactly one of them");
        assert_eq!(machine.hugetlb_pages(pid), Some(BASE));
    });
}

/// Pieces become one entry while another part is mapped: before, and then it is a part of the whole, or after, and then it is there already.
#[test]
fn a_collapse_against_a_part() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, uffd, at) = in_pieces();
        machine.uffd_continue(pid, uffd, at, BASE).unwrap();
        let mut machine = race(
            machine,
            move |on| on.madvise(pid, at, PAGE, Advice::Collapse).unwrap(),
            |on| _ = on.uffd_continue(pid, uffd, at + BASE, BASE),
        );
        assert_eq!(machine.hugetlb_pages(pid), Some(PAGE));
    });
}

/// Memory breaks under a page whose parts are being mapped, and the area goes. Nothing of it is left behind.
#[test]
fn broken_memory_against_a_part_and_its_area() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, uffd, at) = in_pieces();
        machine.uffd_continue(pid, uffd, at, BASE).unwrap();
        let page = machine.frame_at(pid, at).unwrap();
        let mut machine = race(
            machine,
            move |on| _ = on.memory_failure(page, Cause::Test),
            |on| {
                let _ = on.uffd_continue(pid, uffd, at + BASE, BASE);
                on.munmap(pid, at, PAGE).unwrap();
            },
        );
        assert_eq!(machine.hugetlb_pages(pid), Some(Bytes::ZERO));
    });
}

/// What is at an address.
fn state(machine: &mut Machine, pid: Pid, at: Vaddr) -> PieceState {
    machine.mapping_at(pid, at).unwrap().piece.state
}

/// A page mapped as a whole that may be in pieces, which nobody watches; the frame of its first base page.
fn whole() -> (Machine, Pid, Vaddr, hugefolio::Pfn) {
    let (mut machine, pid, uffd, at) = in_pieces();
    machine.uffd_unregister(pid, uffd, at, PAGE).unwrap();
    assert_eq!(machine.read_byte(pid, at), Ok(7));
    let frame = machine.frame_at(pid, at).unwrap();
    (machine, pid, at, frame)
}

/// A base page breaks in a page that is divided for that, while all of it is unmapped. Each part goes once: all references are gone afterwards but
/// those of the file and the one that keeps broken memory.
#[test]
fn poison_against_unmap() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, at, frame) = whole();
        let mut machine = race(
            machine,
            move |on| assert_eq!(on.memory_failure(frame, Cause::Test).outcome, Failed::Cached),
            |on| on.munmap(pid, at, PAGE).unwrap(),
        );
        assert_eq!(machine.hugetlb_pages(pid), Some(Bytes::ZERO));
        assert_eq!(machine.folio(frame).map(|(_, folio)| (folio.refs(), folio.mapcount())), Some((513, 0)));
    });
}

/// The same, while pieces are dropped and faulted in again: what broke is never mapped, and what did not is.
#[test]
fn poison_against_a_fault() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, at, frame) = whole();
        let mut machine = race(
            machine,
            move |on| _ = on.memory_failure(frame, Cause::Test),
            |on| {
                on.madvise(pid, at, PAGE, Advice::DontNeed).unwrap();
                assert_eq!(on.read_byte(pid, at + BASE), Ok(0));
            },
        );
        assert!(machine.read_byte(pid, at).is_err());
        assert_eq!(machine.read_byte(pid, at + BASE), Ok(0));
        assert_eq!(machine.mapping_at(pid, at).unwrap().mapcount, 0);
    });
}

/// Pieces become one entry while one of them breaks: before, and then they stay pieces, or after, and then the entry is divided again.
#[test]
fn poison_against_a_collapse() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, uffd, at) = in_pieces();
        machine.uffd_continue(pid, uffd, at, BASE + BASE).unwrap();
        let frame = machine.frame_at(pid, at).unwrap();
        let mut machine = race(
            machine,
            move |on| assert_eq!(on.memory_failure(frame, Cause::Test).victims.len(), 1),
            |on| on.madvise(pid, at, PAGE, Advice::Collapse).unwrap(),
        );
        assert_eq!(state(&mut machine, pid, at), PieceState::Broken);
        assert!(state(&mut machine, pid, at + BASE).is_page());
    });
}

/// Two base pages of one page break at once. Both are taken out, and somebody hears of each.
#[test]
fn two_parts_break() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, at, frame) = whole();
        let heard = Arc::new(Mutex::new(0));
        let told = heard.clone();
        let mut second = 0;
        let mut machine = race(
            machine,
            move |on| *told.lock().unwrap() = on.memory_failure(frame, Cause::Test).victims.len(),
            |on| {
                let next = frame.offset(hugefolio::PageCount::new(1));
                second = on.memory_failure(next, Cause::Test).victims.len();
            },
        );
        assert_eq!((*heard.lock().unwrap(), second), (1, 1));
        assert_eq!(machine.hugetlb_pages(pid), Some(Bytes::mib(2) - BASE - BASE));
        let states = [at, at + BASE].map(|at| state(&mut machine, pid, at));
        assert_eq!(states, [PieceState::Broken; 2]);
    });
}

/// A part is mapped while a userfaultfd begins to protect the page: whoever is second, the part is protected afterwards.
#[test]
fn write_protection_against_a_part() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, uffd, at) = in_pieces();
        machine.uffd_register(pid, uffd, at, PAGE, UffdModes::MINOR | UffdModes::WRITE_PROTECT).unwrap();
        let mut machine = race(
            machine,
            move |on| on.uffd_write_protect(pid, uffd, at, PAGE, WriteProtection::Set).unwrap(),
            |on| on.uffd_continue(pid, uffd, at, BASE).unwrap(),
        );
        assert_eq!(state(&mut machine, pid, at), PieceState::Page { writable: false, uffd_wp: true });
        assert!(machine.write_byte(pid, at, 1).is_err());
    });
}
