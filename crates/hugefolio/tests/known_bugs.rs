//! What went wrong in kernels before, told again to this one. The list of all of them is docs/behaviour/known-bugs.md.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Admin, Arrival, Bytes, CallError, Calls, Cause, CgroupId, CopyCall, FallocateMode, FaultError, Fd, FillError,
    FillRefusal, HugeCount, HugeSize, Machine, MapCall, MountId, MountOptions, Moves, NodeId, OpenCall, PageState,
    Payload, Pid, RemapFlags, RemapRequest, Share, Site, UffdCallError, UffdModes, Vaddr,
};

const M2: HugeSize = HugeSize::M2;

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

/// A machine with so many pages, and a process that has a file.
fn with_file(count: u64) -> (Machine, MountId, Pid, Fd) {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(256));
    let mut machine = builder.cmdline(&format!("hugepages={count}")).build().unwrap();
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    (machine, mount, pid, fd)
}

/// So many pages of a file, from one on.
fn from(fd: Fd, first: u64, count: u64) -> MapCall {
    MapCall { offset: pages(first), ..MapCall::file(fd, pages(count), Share::Shared) }
}

/// Total, free, reserved.
fn counts(machine: &mut Machine) -> [u64; 3] {
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    let pool = machine.pool(M2).unwrap();
    [pool.nr, pool.free, pool.resv].map(HugeCount::get)
}

fn is_there(machine: &mut Machine, pid: Pid, at: Vaddr) -> bool {
    matches!(machine.page_state(pid, at), Some(PageState::Present { .. }))
}

/// Who mapped a page alone wrote to it where it was, and nobody had asked whether it was a file's: a private write was in the file. A page that
/// was somebody's own before it came to the file must not be taken for one that still is.
#[test]
fn a_page_that_was_private_before_is_the_files_now() {
    let (mut machine, _, pid, fd) = with_file(2);
    let own = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, own, 7).unwrap();
    let page = machine.frame_at(pid, own).unwrap();
    machine.munmap(pid, own, pages(1)).unwrap();
    machine.fallocate(pid, fd, FallocateMode::Extend, Bytes::ZERO, pages(1)).unwrap();
    let private = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Private)).unwrap();
    assert_eq!(machine.read_byte(pid, private), Ok(0));
    assert_eq!(machine.frame_at(pid, private), Some(page), "the file has that very page");
    machine.write_byte(pid, private, 9).unwrap();
    assert_eq!(machine.pread(pid, fd, Bytes::ZERO, Bytes::new(1), 1).unwrap().1, [0]);
    assert_eq!(machine.read_byte(pid, private), Ok(9));
    assert_eq!(counts(&mut machine), [2, 0, 0]);
}

/// The end of what an area loses to a hole was counted once too far: with the page of the hole went the one behind it, out of the address
/// space although it stayed in the file. The areas that end and begin at the hole must keep what they have.
#[test]
fn a_hole_between_two_mapped_neighbours() {
    let (mut machine, _, pid, fd) = with_file(3);
    let whole = machine.mmap(pid, &MapCall::file(fd, pages(3), Share::Shared)).unwrap();
    for n in 0..3 {
        machine.write_byte(pid, whole + pages(n), 7).unwrap();
    }
    let before = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    let behind = machine.mmap(pid, &from(fd, 2, 1)).unwrap();
    for at in [before, behind] {
        assert_eq!(machine.read_byte(pid, at), Ok(7));
    }
    machine.fallocate(pid, fd, FallocateMode::PunchHole, pages(1), pages(1)).unwrap();
    let there = [whole, whole + pages(1), whole + pages(2), before, behind];
    assert_eq!(there.map(|at| is_there(&mut machine, pid, at)), [true, false, true, true, true]);
    assert_eq!(counts(&mut machine), [3, 1, 0]);
    assert_eq!(machine.read_byte(pid, whole + pages(1)), Ok(0), "what comes back is empty");
    assert_eq!(counts(&mut machine), [3, 0, 0]);
}

/// A hole in the middle of what a file was promised needs one more descriptor, and got none: the page was gone by then, its place in the map
/// said "promised", and nothing stood for the promise. The next touch there found another process's pages all it could get, or none. The descriptor is
/// asked for first, and without it the page stays.
#[test]
fn a_hole_that_cannot_split_its_region_keeps_the_promise() {
    let (mut machine, _, pid, fd) = with_file(3);
    let at = machine.mmap(pid, &MapCall::file(fd, pages(3), Share::Shared)).unwrap();
    machine.write_byte(pid, at + pages(1), 7).unwrap();
    assert_eq!(counts(&mut machine), [3, 2, 2]);
    machine.faults().fail_nth(Some(Site::RegionDescriptor), 0);
    assert!(machine.fallocate(pid, fd, FallocateMode::PunchHole, pages(1), pages(1)).is_err());
    assert_eq!(counts(&mut machine), [3, 2, 2], "the page stays where it is");
    assert_eq!(machine.read_byte(pid, at + pages(1)), Ok(7));
    assert_eq!(counts(&mut machine), [3, 2, 2], "it was in the file, and no other was taken for it");
    let other = machine.spawn();
    assert!(machine.mmap(other, &MapCall::anonymous(pages(1), Share::Private)).is_err());
    for n in 0..3 {
        machine.write_byte(pid, at + pages(n), 8).unwrap();
    }
    machine.exit(pid);
    assert_eq!(counts(&mut machine), [3, 0, 0]);
}

fn reserved_by(machine: &mut Machine, group: CgroupId) -> u64 {
    machine.cgroup_view(group, M2).unwrap().rsvd.get()
}

/// Regions of two groups became one and the charge of one of them was never given back; areas that were split or moved had a reference to the
/// group too few, and dropped it twice. Each group pays for its own parts until they are gone, and nothing is left of it then.
#[test]
fn groups_that_pay_for_neighbouring_parts() {
    let (mut machine, mount, one, fd) = with_file(12);
    let groups = ["one", "two"].map(|name| machine.create_cgroup(name).unwrap());
    let other = machine.spawn();
    machine.attach(one, Some(groups[0])).unwrap();
    machine.attach(other, Some(groups[1])).unwrap();
    let same = machine.open(other, &OpenCall::create(mount, "file")).unwrap();
    let paid = |machine: &mut Machine| groups.map(|group| reserved_by(machine, group));
    // Neighbours in one file.
    machine.mmap(one, &MapCall::file(fd, pages(2), Share::Shared)).unwrap();
    machine.mmap(other, &from(same, 2, 2)).unwrap();
    assert_eq!(paid(&mut machine), [2, 2]);
    // A private area in three parts, the middle one elsewhere, and a child that has none of the promises.
    let at = machine.mmap(one, &MapCall::anonymous(pages(3), Share::Private)).unwrap();
    machine.write_byte(one, at, 1).unwrap();
    assert_eq!(paid(&mut machine), [5, 2]);
    let flags = RemapFlags::MAY_MOVE | RemapFlags::FIXED;
    let (from, to) = (at + pages(1), Vaddr::new(1 << 40));
    machine.mremap(one, &RemapRequest { from, old_len: pages(1), new_len: pages(1), flags, to }).unwrap();
    let child = machine.fork(one).unwrap();
    machine.munmap(one, at, pages(1)).unwrap();
    machine.munmap(one, to, pages(1)).unwrap();
    assert_eq!(paid(&mut machine), [3, 2], "two of three parts are gone");
    // A hole at the border takes a page of each.
    machine.fallocate(one, fd, FallocateMode::Extend, Bytes::ZERO, pages(4)).unwrap();
    machine.fallocate(one, fd, FallocateMode::PunchHole, pages(1), pages(2)).unwrap();
    assert_eq!(paid(&mut machine), [2, 1]);
    for pid in [child, one, other] {
        machine.exit(pid);
    }
    assert_eq!(paid(&mut machine), [1, 1], "the file's own, which its name keeps");
    groups.iter().for_each(|&group| machine.remove_cgroup(group).unwrap());
    machine.unlink(mount, "file").unwrap();
    assert_eq!(counts(&mut machine), [12, 12, 0]);
    assert_eq!(machine.charges().ids().count(), 0, "nothing is left of any group");
}

/// The mark that stands for broken memory was overwritten by the page that a userfaultfd put there: whoever lost data was not told any more.
#[test]
fn a_place_with_broken_memory_is_not_filled() {
    let (mut machine, _, pid, _) = with_file(3);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let fd = machine.userfaultfd(pid).unwrap();
    machine.uffd_register(pid, fd, at, pages(1), UffdModes::MISSING).unwrap();
    let page = machine.frame_at(pid, at).unwrap();
    machine.memory_failure(page, Cause::Test);
    let before = counts(&mut machine);
    let call = CopyCall { start: at, len: pages(1), payload: Payload::Bytes(b"new"), arrival: Arrival::Open };
    let refused = machine.uffd_copy(pid, fd, &call).unwrap_err();
    let exists = FillError { filled: Bytes::ZERO, refusal: FillRefusal::Exists(at) };
    assert_eq!(refused, CallError::Failed(UffdCallError::Failed(exists)));
    assert_eq!(machine.read_byte(pid, at), Err(CallError::Failed(FaultError::Poisoned { addr: at, size: pages(1) })));
    assert_eq!(counts(&mut machine), before);
}

/// A touch without an own reservation was refused after it had taken a place of the mount from what is everybody's, and gave back a reservation
/// that had never been made: each failing touch made one page more look promised, or one fewer.
#[test]
fn a_refused_touch_gives_no_reservation_back_that_was_none() {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(256)).cmdline("hugepages=4");
    let mut machine = builder.build().unwrap();
    let mut options = MountOptions::unlimited(machine.hstates().default_hstate().id);
    (options.max, options.min) = (Some(HugeCount::new(4)), Some(HugeCount::new(1)));
    let mount = machine.mount(&options).unwrap();
    let (pid, other) = (machine.spawn(), machine.spawn());
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    let call = MapCall::file(fd, pages(3), Share::Shared).with_flags(hugefolio::MapFlags::NORESERVE);
    let at = machine.mmap(pid, &call).unwrap();
    // Everything but the mount's minimum belongs to somebody else.
    machine.mmap(other, &MapCall::anonymous(pages(3), Share::Private)).unwrap();
    machine.write_byte(pid, at, 1).unwrap();
    let before = (counts(&mut machine), machine.statfs(mount));
    assert_eq!(before.0, [4, 3, 3]);
    for _ in 0..5 {
        assert!(machine.write_byte(pid, at + pages(1), 1).is_err());
        assert_eq!((counts(&mut machine), machine.statfs(mount)), before);
    }
    machine.exit(other);
    machine.write_byte(pid, at + pages(1), 1).unwrap();
    assert_eq!(counts(&mut machine), [4, 2, 0]);
}
