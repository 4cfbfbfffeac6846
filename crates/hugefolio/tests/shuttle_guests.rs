//! Guest memory on threads, every interleaving that a schedule can give: who converts a page, who touches it, and who lets it go.
//!
//! Run with `cargo xtask ci shuttle`. The number of schedules is that of HUGEFOLIO_SCHEDULES; ten thousand are
//! `HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle_guests --target-dir target/shuttle`.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod schedules;

use hugefolio::boot::Arch;
use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Attribute, Bytes, Calls, Context, ConvertCall, Fd, GmemFlags, GmemView, GuestMemory, HugeCount, HugeSize,
    Machine, NodeId, Nodemask, OnCpu, PageShift, Pid, ResizeNodes,
};

use schedules::{race_all, under_schedules};

const SCHEDULES: usize = 300;
const NODE: NodeId = NodeId::new(0);
/// Sixteen base pages: the fewest that are a huge page.
const PAGE: HugeSize = HugeSize::K64;

/// A machine with two huge pages, and a guest that has one of them.
fn guest() -> (Machine, Pid, Fd, GmemView) {
    let builder = Machine::builder().node(NODE, Bytes::mib(16)).arch(Arch::Arm64(PageShift::K4));
    let mut machine = builder.build().unwrap();
    machine.set_nr_hugepages(PAGE, HugeCount::new(2), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    let pid = machine.spawn();
    let fd = machine.gmem_create(pid, PAGE.bytes(), GmemFlags::MMAP | GmemFlags::HUGETLB, Some(PAGE)).unwrap();
    let view = machine.gmem_map(pid, fd, Bytes::ZERO, PAGE.bytes()).unwrap();
    (machine, pid, fd, view)
}

fn at(page: u64) -> Bytes {
    Bytes::new(page << 12)
}

fn convert(on: &mut OnCpu<'_>, pid: Pid, fd: Fd, page: u64, to: Attribute) {
    let done = on.gmem_convert(pid, fd, &ConvertCall::new(at(page), at(1), to));
    // Somebody may hold the page at that moment.
    assert!(done.as_ref().is_ok_and(|()| true) || done.as_ref().is_err_and(|e| e.errno() == Errno::EAGAIN), "{done:?}");
}

/// Free and reserved pages of the pool.
fn pool(machine: &mut Machine) -> [u64; 2] {
    machine.validate().unwrap();
    let pool = machine.pool(PAGE).unwrap();
    [pool.free, pool.resv].map(HugeCount::get)
}

/// Two convert pages of one huge page, and guest and host touch it. It was taken twice once, which an allotment of exactly what is needed refused; here nobody is
/// refused, and one page is taken.
#[test]
fn two_convert_what_two_touch() {
    under_schedules(SCHEDULES, || {
        let (machine, pid, fd, view) = guest();
        let mut machine = race_all(
            machine,
            vec![
                Box::new(move |on| {
                    convert(on, pid, fd, 3, Attribute::Shared);
                    convert(on, pid, fd, 3, Attribute::Private);
                }),
                Box::new(move |on| convert(on, pid, fd, 5, Attribute::Shared)),
                Box::new(move |on| {
                    on.guest_access(pid, fd, at(9), Some(7)).unwrap();
                }),
                Box::new(move |on| {
                    // It is private, or it is not, as long as the touch takes.
                    let _ = on.gmem_read(pid, view, at(5));
                    assert_eq!(on.guest_access(pid, fd, at(3), None).unwrap().value, 0);
                }),
            ],
        );
        assert_eq!(pool(&mut machine), [1, 0]);
        assert_eq!(machine.guest_access(pid, fd, at(9), None).unwrap().value, 7);
        machine.exit(pid);
        assert_eq!(pool(&mut machine), [2, 0]);
    });
}

/// A file ends while two of its pages are let go elsewhere. Whoever is last sends the huge page home, once, and ends what was allotted, once: two who both found nothing
/// in use have given the reservation back twice.
#[test]
fn a_file_ends_while_pins_do() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, fd, view) = guest();
        machine.gmem_convert(pid, fd, &ConvertCall::new(Bytes::ZERO, PAGE.bytes(), Attribute::Shared)).unwrap();
        let first = machine.gmem_pin(pid, view, at(3)).unwrap();
        let second = machine.gmem_pin(pid, view, at(8)).unwrap();
        let mut machine = race_all(
            machine,
            vec![
                Box::new(move |on| {
                    on.exit(pid);
                }),
                Box::new(move |on| on.gmem_unpin(first, Context::Sleepable)),
                Box::new(move |on| {
                    on.gmem_unpin(second, Context::Atomic);
                    on.quiesce();
                }),
            ],
        );
        machine.quiesce();
        assert_eq!(pool(&mut machine), [2, 0]);
    });
}

/// A page is pinned while it is made private: one of the two is refused, and never is a page private that somebody has.
#[test]
fn a_pin_and_a_conversion() {
    under_schedules(SCHEDULES, || {
        let (mut machine, pid, fd, view) = guest();
        machine.gmem_convert(pid, fd, &ConvertCall::new(at(3), at(1), Attribute::Shared)).unwrap();
        let mut machine = race_all(
            machine,
            vec![
                Box::new(move |on| convert(on, pid, fd, 3, Attribute::Private)),
                Box::new(move |on| {
                    if let Ok(pin) = on.gmem_pin(pid, view, at(3)) {
                        let file = on.gmem_of(pid, fd).unwrap();
                        let attribute =
                            gmem::Env::with_gmem(on, file, |file| file.attribute(hugefolio::PageIndex::new(3)));
                        assert_eq!(attribute.flatten(), Some(Attribute::Shared));
                        on.gmem_unpin(pin, Context::Sleepable);
                    }
                }),
            ],
        );
        pool(&mut machine);
        machine.exit(pid);
        assert_eq!(pool(&mut machine), [2, 0]);
    });
}
