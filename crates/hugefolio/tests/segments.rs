//! System V segments of huge pages.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Blame, Bytes, Calls, FaultPlan, FileAccess, HugeSize, Ledger, Machine, NodeId, Pid, Place, Promise,
    SegmentCall, Vaddr,
};

fn machine(pages: u64) -> (Machine, Pid) {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::gib(1));
    let mut machine = builder.cmdline(&format!("hugepages={pages}")).build().unwrap();
    let process = machine.spawn();
    (machine, process)
}

fn free_and_reserved(machine: &mut Machine) -> (u64, u64) {
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    (pool.free.get(), pool.resv.get())
}

#[test]
fn a_segment_is_promised_when_it_is_made_and_lives_until_its_last_user() {
    let (mut machine, process) = machine(4);
    let segment = machine.shmget(process, &SegmentCall::new(Bytes::new(4_194_305))).unwrap();
    assert_eq!(free_and_reserved(&mut machine), (4, 3));
    let refused = machine.shmget(process, &SegmentCall::new(Bytes::mib(4))).unwrap_err();
    assert_eq!((refused.ledger(), free_and_reserved(&mut machine)), (Some(Ledger::Reservation), (4, 3)));

    let at = machine.shmat(process, segment, Place::Anywhere, FileAccess::ReadWrite).unwrap();
    machine.write_byte(process, at, 7).unwrap();
    let child = machine.fork(process).unwrap();
    machine.shmrm(segment).unwrap();
    machine.shmrm(segment).unwrap();
    machine.exit(process);
    assert_eq!(free_and_reserved(&mut machine), (3, 2));

    // Removed, but attached: it can be attached once more.
    let again = machine.shmat(child, segment, Place::Anywhere, FileAccess::ReadOnly).unwrap();
    assert_eq!(machine.read_byte(child, again).unwrap(), 7);
    assert!(machine.write_byte(child, again, 1).is_err());
    machine.shmdt(child, at).unwrap();
    assert_eq!(machine.shmdt(child, at).unwrap_err().errno(), Errno::EINVAL);
    machine.shmdt(child, again).unwrap();
    assert_eq!(free_and_reserved(&mut machine), (4, 0));
    let gone = machine.shmat(child, segment, Place::Anywhere, FileAccess::ReadWrite).unwrap_err();
    assert_eq!((gone.errno(), machine.shmrm(segment).unwrap_err().errno()), (Errno::EINVAL, Errno::EINVAL));
}

/// A hole in what was attached, and a part that moved elsewhere.
#[test]
fn detaching_takes_what_is_left_in_place() {
    let (mut machine, process) = machine(3);
    let segment = machine.shmget(process, &SegmentCall::new(Bytes::mib(6))).unwrap();
    let at = Vaddr::new(1 << 32);
    machine.shmat(process, segment, Place::FixedNoReplace(at), FileAccess::ReadWrite).unwrap();
    let page = HugeSize::M2.bytes();
    machine.munmap(process, Vaddr::new(at.get() + page.get()), page).unwrap();
    for n in [0, 2] {
        machine.write_byte(process, Vaddr::new(at.get() + n * page.get()), 1).unwrap();
    }
    machine.shmdt(process, at).unwrap();
    assert_eq!(machine.hugetlb_pages(process), Some(Bytes::ZERO));
    machine.shmrm(segment).unwrap();
    assert_eq!(free_and_reserved(&mut machine), (3, 0));
}

#[test]
fn without_a_promise_a_touch_can_fail() {
    let (mut machine, process) = machine(1);
    let call = SegmentCall { promise: Promise::Never, ..SegmentCall::new(Bytes::mib(4)) };
    let segment = machine.shmget(process, &call).unwrap();
    let at = machine.shmat(process, segment, Place::Anywhere, FileAccess::ReadWrite).unwrap();
    assert_eq!(free_and_reserved(&mut machine), (1, 0));
    machine.write_byte(process, at, 1).unwrap();
    let second = Vaddr::new(at.get() + HugeSize::M2.bytes().get());
    assert_eq!(machine.write_byte(process, second, 1).unwrap_err().ledger(), Some(Ledger::Pool));
    for len in [0, u64::MAX] {
        let refused = machine.shmget(process, &SegmentCall::new(Bytes::new(len))).unwrap_err();
        assert_eq!(refused.errno(), Errno::EINVAL);
    }
    let taken = machine.shmat(process, segment, Place::FixedNoReplace(at), FileAccess::ReadWrite).unwrap_err();
    assert_eq!(taken.errno(), Errno::EINVAL);
    machine.exit(process);
    machine.shmrm(segment).unwrap();
    assert_eq!(free_and_reserved(&mut machine), (1, 0));
}

/// A segment that could not be promised was left behind as a file that nobody has a name for: it kept its map and its inode for ever.
#[test]
fn a_refused_segment_leaves_no_file() {
    let (mut machine, process) = machine(2);
    // The plan of failures counts what was asked; everything else of the machine is told.
    let told = |machine: &Machine| {
        let mut machine = machine.clone();
        *machine.faults() = FaultPlan::default();
        format!("{:?}", machine.state().0)
    };
    let before = told(&machine);
    assert!(machine.shmget(process, &SegmentCall::new(Bytes::mib(6))).is_err());
    assert_eq!((told(&machine), free_and_reserved(&mut machine)), (before, (2, 0)));
}
