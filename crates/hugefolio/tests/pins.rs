//! Pins that processes have: by kind, what each stops, and where the pages may lie.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, AllocRefusal, ByteRange, Bytes, CallError, Calls, Cause, Context, FaultError, Fd, Frame, HugeCount,
    HugeSize, Ledger, Machine, MapCall, MapFlags, MemfdFlags, MigrateError, MovePageError, MoveScope, Moves, NodeId,
    Nodemask, OfflineError, OpenCall, PageCount, Pid, PinError, PinFileError, PinKind, Prot, ResizeNodes, Seals, Share,
    SoftOfflined, Touch, UmountMode, Vaddr, ZoneKind,
};

const N0: NodeId = NodeId::new(0);
const N1: NodeId = NodeId::new(1);
const M2: HugeSize = HugeSize::M2;
const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);
const ONE: HugeCount = HugeCount::new(1);

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

fn pool(machine: &mut Machine) -> [u64; 4] {
    machine.validate().unwrap();
    let pool = machine.pool(M2).unwrap();
    [pool.nr, pool.free, pool.resv, pool.surplus].map(HugeCount::get)
}

/// One node whose pool has `count` pages, and a process.
fn idle(cmdline: &str, count: u64) -> (Machine, Pid) {
    let mut machine = Machine::builder().node(N0, Bytes::gib(4)).cmdline(cmdline).build().unwrap();
    machine.set_nr_hugepages(M2, HugeCount::new(count), ALL).unwrap();
    let pid = machine.spawn();
    (machine, pid)
}

/// The same with a private mapping of `mapped` pages, each with its number in it.
fn machine(cmdline: &str, count: u64, mapped: u64) -> (Machine, Pid, Vaddr) {
    let (mut machine, pid) = idle(cmdline, count);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(mapped), Share::Private)).unwrap();
    (0..mapped).for_each(|n| machine.write_byte(pid, at + pages(n), u8::try_from(n).unwrap() + 1).unwrap());
    (machine, pid, at)
}

fn zone(machine: &mut Machine, pid: Pid, at: Vaddr) -> ZoneKind {
    let pfn = machine.frame_at(pid, at).unwrap();
    let zones = machine.pages().zones().map(|(zone, _)| zone.layout().clone());
    let mut of = zones.filter(|zone| zone.spans.iter().any(|&(start, end)| start <= pfn && pfn < end));
    of.next().unwrap().kind
}

/// A plain reference keeps a page where it is, and nothing else: a child shares the page.
#[test]
fn a_reference_stops_moves_and_no_sharing() {
    for (kind, child_shares) in [(PinKind::Reference, true), (PinKind::Transfer, false), (PinKind::LongTerm, false)] {
        let (mut machine, pid, at) = machine("", 4, 1);
        let pin = machine.pin_pages_of(pid, at, ONE, Touch::Read, kind).unwrap();
        let refused = machine.move_page(pid, at, N0, MoveScope::All);
        assert_eq!(refused, Ok(N0), "it is there already");
        let child = machine.fork(pid).unwrap();
        let same = machine.frame_at(child, at) == machine.frame_at(pid, at);
        assert_eq!(same, child_shares, "{kind:?}");
        assert_eq!(machine.read_byte(child, at).unwrap(), 1);
        machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
        assert!(machine.unpin_pages_of(pid, pin, Context::Sleepable).is_err());
        machine.exit(child);
        machine.exit(pid);
        assert_eq!(pool(&mut machine), [4, 4, 0, 0]);
    }
}

/// What is unmapped or has lost its process stays with the device; a process that exits lets go of it.
#[test]
fn a_pinned_page_outlives_its_mapping() {
    let (mut machine, pid, at) = machine("", 4, 2);
    let pin = machine.pin_pages_of(pid, at, HugeCount::new(2), Touch::Write, PinKind::LongTerm).unwrap();
    machine.munmap(pid, at, pages(2)).unwrap();
    assert_eq!(pool(&mut machine), [4, 2, 0, 0]);
    machine.unpin_pages_of(pid, pin, Context::Atomic).unwrap();
    assert_eq!(pool(&mut machine), [4, 4, 0, 0]);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.pin_pages_of(pid, at, ONE, Touch::Read, PinKind::Reference).unwrap();
    machine.exit(pid);
    assert_eq!(pool(&mut machine), [4, 4, 0, 0]);
}

/// All pages or none; those that were brought in stay in.
#[test]
fn a_range_is_pinned_as_a_whole() {
    let (mut machine, pid) = idle("", 1);
    let call = MapCall::anonymous(pages(2), Share::Private).with_flags(MapFlags::NORESERVE);
    let at = machine.mmap(pid, &call).unwrap();
    let refused = machine.pin_pages_of(pid, at, HugeCount::new(2), Touch::Write, PinKind::Transfer);
    let Err(CallError::Failed(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.errno(), Errno::EFAULT);
    let pfn = machine.frame_at(pid, at).unwrap();
    assert!(matches!(machine.frame(pfn), Frame::Huge { refs: 1, .. }));
    let beyond = machine.pin_pages_of(pid, at + pages(2), ONE, Touch::Read, PinKind::Transfer);
    assert!(matches!(beyond, Err(CallError::Failed(PinError::Fault(FaultError::NoArea(_))))));
    machine.validate().unwrap();
}

/// Memory that must stay movable, for unplugging, loses a page that is pinned for long, and no other.
#[test]
fn a_long_pin_brings_the_page_out_of_movable_memory() {
    let (mut machine, pid, at) = machine("movablecore=1G", 2, 2);
    assert_eq!(zone(&mut machine, pid, at), ZoneKind::Movable);
    let short = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::Transfer).unwrap();
    assert_eq!(zone(&mut machine, pid, at), ZoneKind::Movable);
    // Somebody else's pin keeps it where it may not be pinned for long.
    let refused = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm);
    let Err(CallError::Failed(error @ PinError::Stays { why: MigrateError::Referenced { pins: 1, .. }, .. })) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((error.errno(), hugefolio::Blame::ledger(&error)), (Errno::ENOMEM, Some(Ledger::PinnedFolio)));
    machine.unpin_pages_of(pid, short, Context::Sleepable).unwrap();
    let long = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm).unwrap();
    assert_ne!(zone(&mut machine, pid, at), ZoneKind::Movable);
    assert_eq!(zone(&mut machine, pid, at + pages(1)), ZoneKind::Movable);
    assert_eq!((machine.read_byte(pid, at).unwrap(), pool(&mut machine)), (1, [2, 0, 0, 0]));
    machine.unpin_pages_of(pid, long, Context::Sleepable).unwrap();
    machine.exit(pid);
    assert_eq!(pool(&mut machine), [2, 2, 0, 0]);
}

/// An absent page that is to be pinned for long is had where it may stay, or not at all: what is promised may lie in movable memory alone.
#[test]
fn an_absent_page_comes_where_it_may_stay() {
    let (mut machine, pid) = idle("movablecore=1G", 1);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    assert_eq!(pool(&mut machine), [1, 1, 1, 0]);
    let refused = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm);
    let Err(CallError::Failed(PinError::Fault(FaultError::Refused(AllocRefusal::Node { available, .. })))) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((available, pool(&mut machine)), (ONE, [1, 1, 1, 0]));
    machine.set_nr_overcommit(M2, ONE).unwrap();
    machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm).unwrap();
    assert_ne!(zone(&mut machine, pid, at), ZoneKind::Movable);
    assert_eq!(pool(&mut machine), [2, 1, 0, 1]);
    machine.exit(pid);
    machine.validate().unwrap();
}

/// Memory with a pinned page in it stays: what may be pinned there may be so for a moment, and that is enough.
#[test]
fn memory_with_a_pinned_page_does_not_go() {
    let (mut machine, pid, at) = machine("movablecore=1G", 2, 1);
    let block = PageCount::new(1 << 15);
    let start = hugefolio::Pfn::new(machine.frame_at(pid, at).unwrap().get() / block.get() * block.get());
    let pin = machine.pin_pages_of(pid, at, ONE, Touch::Read, PinKind::Transfer).unwrap();
    let refused = machine.offline_memory(start, block);
    assert!(matches!(refused, Err(OfflineError::Huge(_) | OfflineError::Busy(_))), "{refused:?}");
    machine.validate().unwrap();
    machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
    machine.offline_memory(start, block).unwrap();
    assert_eq!(machine.read_byte(pid, at).unwrap(), 1);
    machine.validate().unwrap();
}

/// A page that is pinned and breaks is unmapped, and poisoned once it comes back; one that is to be used no longer stays.
#[test]
fn a_pinned_page_that_breaks() {
    let (mut machine, pid, at) = machine("", 4, 1);
    let pin = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm).unwrap();
    let pfn = machine.frame_at(pid, at).unwrap();
    assert!(machine.soft_offline(pfn).is_err());
    let failure = machine.memory_failure(pfn, Cause::Test);
    assert_eq!((failure.outcome, failure.victims.len()), (hugefolio::Failed::Referenced, 1));
    assert!(machine.dissolve(pfn).is_err());
    machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
    assert_eq!(machine.soft_offline(pfn), Ok(SoftOfflined::Known));
    machine.validate().unwrap();
}

/// A page of a file that many share is the caller's own before it is pinned to be read from for long; for a moment the file's will do.
#[test]
fn a_reader_of_a_file_gets_a_page_of_his_own_for_long() {
    let (mut machine, pid) = idle("", 4);
    let fd = sealed(&mut machine, pid, 1, Seals::empty());
    let shared = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    machine.write_byte(pid, shared, 7).unwrap();
    let call = MapCall { prot: Prot::READ, ..MapCall::file(fd, pages(1), Share::Private) };
    let own = machine.mmap(pid, &call).unwrap();
    let pin = machine.pin_pages_of(pid, own, ONE, Touch::Read, PinKind::Transfer).unwrap();
    assert_eq!(machine.frame_at(pid, own), machine.frame_at(pid, shared));
    machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
    machine.pin_pages_of(pid, own, ONE, Touch::Read, PinKind::LongTerm).unwrap();
    assert_ne!(machine.frame_at(pid, own), machine.frame_at(pid, shared));
    machine.write_byte(pid, shared, 8).unwrap();
    assert_eq!(machine.read_byte(pid, own).unwrap(), 7);
    assert!(machine.write_byte(pid, own, 1).is_err());
    machine.validate().unwrap();
}

/// A memory file of so many pages with seals.
fn sealed(machine: &mut Machine, pid: Pid, n: u64, seals: Seals) -> Fd {
    let fd = machine.memfd(pid, None, MemfdFlags::default() | MemfdFlags::ALLOW_SEALING).unwrap();
    machine.ftruncate(pid, fd, pages(n)).unwrap();
    machine.add_seals(pid, fd, seals).unwrap();
    fd
}

fn range(first: u64, n: u64) -> ByteRange {
    ByteRange { offset: pages(first), len: pages(n) }
}

/// A device that pinned pages of a memory file before anybody touched them took them from what was promised to others; where nothing was promised
/// the count of promises went below zero, and the file's mount and group were told of nothing. Here each page is promised first: it is had above
/// what others were promised, and the file has it and its promise from then on.
#[test]
fn a_device_promises_itself_absent_pages_first() {
    let (mut machine, pid) = idle("", 2);
    let fd = sealed(&mut machine, pid, 2, Seals::SHRINK);
    let pin = machine.pin_file(pid, fd, range(0, 1)).unwrap();
    assert_eq!(pool(&mut machine), [2, 1, 0, 0]);
    let owner = machine.spawn();
    let promised = machine.mmap(owner, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    let refused = machine.pin_file(pid, fd, range(0, 2));
    let Err(CallError::Failed(error)) = refused else { panic!("{refused:?}") };
    assert_eq!((error.errno(), hugefolio::Blame::ledger(&error)), (Errno::ENOMEM, Some(Ledger::Reservation)));
    assert_eq!(pool(&mut machine), [2, 1, 1, 0], "what was had is pinned once");
    machine.write_byte(owner, promised, 1).unwrap();
    machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
    assert_eq!(pool(&mut machine), [2, 0, 0, 0], "the file has its page still");
    machine.close(pid, fd).unwrap();
    assert_eq!(pool(&mut machine), [2, 1, 0, 0]);
    machine.exit(owner);
    assert_eq!(pool(&mut machine), [2, 2, 0, 0]);
}

/// What a page was promised for is spent by the device like by anybody else, and no page of a movable zone will do.
#[test]
fn a_device_takes_a_promised_page_where_it_may_stay() {
    let (mut machine, pid) = idle("", 1);
    let fd = sealed(&mut machine, pid, 1, Seals::SHRINK);
    machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    assert_eq!(pool(&mut machine), [1, 1, 1, 0]);
    machine.pin_file(pid, fd, range(0, 1)).unwrap();
    assert_eq!(pool(&mut machine), [1, 0, 0, 0]);

    let (mut machine, pid) = idle("movablecore=1G", 1);
    let fd = sealed(&mut machine, pid, 1, Seals::SHRINK);
    let refused = machine.pin_file(pid, fd, range(0, 1));
    assert!(matches!(refused, Err(CallError::Failed(PinFileError::Pin(PinError::File(_))))), "{refused:?}");
    assert_eq!(pool(&mut machine), [1, 1, 0, 0]);
    // What the file has already is moved out.
    let at = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    machine.write_byte(pid, at, 3).unwrap();
    assert_eq!(zone(&mut machine, pid, at), ZoneKind::Movable);
    machine.pin_file(pid, fd, range(0, 1)).unwrap();
    assert_ne!(zone(&mut machine, pid, at), ZoneKind::Movable);
    assert_eq!(machine.read_byte(pid, at).unwrap(), 3);
    machine.exit(pid);
    assert_eq!(pool(&mut machine), [1, 1, 0, 0]);
}

#[test]
fn which_files_and_ranges_a_device_gets() {
    let (mut machine, pid) = idle("", 2);
    let bad = |machine: &mut Machine, fd, range| {
        let Err(CallError::Failed(error)) = machine.pin_file(pid, fd, range) else { panic!("{range:?} is pinned") };
        error.errno()
    };
    let unsealed = sealed(&mut machine, pid, 1, Seals::empty());
    assert_eq!(bad(&mut machine, unsealed, range(0, 1)), Errno::EINVAL);
    let unwritable = sealed(&mut machine, pid, 1, Seals::SHRINK | Seals::WRITE);
    assert_eq!(bad(&mut machine, unwritable, range(0, 1)), Errno::EINVAL);
    let good = sealed(&mut machine, pid, 1, Seals::SHRINK);
    for (offset, len) in [(0, 0), (0, 4097), (1, 4096), (4096, pages(1).get())] {
        let range = ByteRange { offset: Bytes::new(offset), len: Bytes::new(len) };
        assert_eq!(bad(&mut machine, good, range), Errno::EINVAL);
    }
    assert_eq!(bad(&mut machine, Fd::new(99), range(0, 1)), Errno::EBADFD);
    let part = ByteRange { offset: Bytes::new(4096), len: Bytes::new(4096) };
    machine.pin_file(pid, good, part).unwrap();
    assert_eq!(pool(&mut machine), [2, 1, 0, 0]);
}

/// A mount that was gone with its files had given its minimum back, and the last page of it, which a device had still, came back to limits that
/// were no more. They last until that page is free.
#[test]
fn limits_of_a_mount_last_as_long_as_its_pages() {
    let (mut machine, pid) = idle("", 4);
    let mount = machine.mount_with("size=4M,min_size=4M").unwrap();
    let fd = machine.open(pid, &OpenCall::create(mount, "file")).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, pages(1), Share::Shared)).unwrap();
    let pin = machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm).unwrap();
    assert_eq!(pool(&mut machine), [4, 3, 1, 0]);
    machine.munmap(pid, at, pages(1)).unwrap();
    machine.close(pid, fd).unwrap();
    machine.unlink(mount, "file").unwrap();
    machine.umount(mount, UmountMode::Strict).unwrap();
    assert_eq!(pool(&mut machine), [4, 3, 1, 0]);
    machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
    assert_eq!(pool(&mut machine), [4, 4, 0, 0]);
}

/// Pins are of a machine's state.
#[test]
fn a_saved_machine_has_its_pins() {
    let (mut machine, pid, at) = machine("", 4, 2);
    machine.pin_pages_of(pid, at, ONE, Touch::Write, PinKind::LongTerm).unwrap();
    let id = machine.pin_pages_of(pid, at + pages(1), ONE, Touch::Read, PinKind::Reference).unwrap();
    let (state, renamed) = machine.state();
    let mut again = Machine::from_state(state).unwrap();
    let mut pid = pid;
    renamed.rename(hugefolio::Name::Process(&mut pid));
    again.unpin_pages_of(pid, id, Context::Sleepable).unwrap();
    again.munmap(pid, at, pages(2)).unwrap();
    assert_eq!(pool(&mut again), [4, 3, 0, 0]);
    again.exit(pid);
    assert_eq!(pool(&mut again), [4, 4, 0, 0]);
}

/// The move that a pin refuses, on two nodes.
#[test]
fn no_pin_of_any_kind_moves() {
    for kind in [PinKind::Reference, PinKind::Transfer, PinKind::LongTerm] {
        let mut machine = Machine::builder().node(N0, Bytes::mib(256)).node(N1, Bytes::mib(256)).build().unwrap();
        machine.set_nr_hugepages(M2, HugeCount::new(4), ALL).unwrap();
        let pid = machine.spawn();
        let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
        let pin = machine.pin_pages_of(pid, at, ONE, Touch::Write, kind).unwrap();
        let refused = machine.move_page(pid, at, N1, MoveScope::Own);
        let Err(CallError::Failed(MovePageError::Migrate(MigrateError::Referenced { extra: 1, pins, .. }))) = refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!(pins, u32::from(kind != PinKind::Reference));
        machine.unpin_pages_of(pid, pin, Context::Sleepable).unwrap();
        assert_eq!(machine.move_page(pid, at, N1, MoveScope::Own), Ok(N1));
    }
}
