//! What deliberate mistakes (`cargo xtask mutants`) showed that nobody looked at.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Arrival, Bytes, CallError, Calls, Cause, CopyCall, FaultError, FillError, FillRefusal, HugeSize, Machine, MapCall,
    MemfdFlags, Moves, NodeId, Payload, Pid, RemapFlags, RemapRequest, Share, Site, UffdCallError, UffdModes, Vaddr,
};

const M2: HugeSize = HugeSize::M2;

const fn pages(n: u64) -> Bytes {
    Bytes::new(n * M2.bytes().get())
}

fn machine(count: u64) -> (Machine, Pid) {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(256));
    let mut machine = builder.cmdline(&format!("hugepages={count}")).build().unwrap();
    let pid = machine.spawn();
    (machine, pid)
}

fn private(machine: &mut Machine, pid: Pid, value: u8) -> Vaddr {
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    machine.write_byte(pid, at, value).unwrap();
    at
}

fn free(machine: &mut Machine) -> u64 {
    use hugefolio::Admin;
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    machine.pool(M2).unwrap().free.get()
}

/// An owner who cannot have a copy takes the page from those who share it. Whoever has his own page in that place shares nothing, and keeps it.
#[test]
fn an_owner_takes_nothing_from_who_has_his_own_copy() {
    let (mut machine, owner) = machine(2);
    let at = private(&mut machine, owner, 1);
    let (early, late) = (machine.fork(owner).unwrap(), machine.fork(owner).unwrap());
    machine.write_byte(early, at, 2).unwrap();
    assert_eq!(free(&mut machine), 0);
    // No page is left for a copy.
    machine.write_byte(owner, at, 3).unwrap();
    assert_eq!(machine.read_byte(early, at), Ok(2), "his page is his own");
    assert_eq!(machine.read_byte(late, at), Err(CallError::Failed(FaultError::Stolen)));
    assert_eq!(free(&mut machine), 0);
}

/// A fork that fails half-way takes back what the child had by then: otherwise an address space that no process has keeps pages for ever.
#[test]
fn a_failed_fork_leaves_no_child() {
    let (mut machine, pid) = machine(4);
    for value in [1, 2] {
        private(&mut machine, pid, value);
    }
    machine.faults().fail_nth(Some(Site::TablePage), 1);
    assert!(machine.fork(pid).is_err());
    assert_eq!(free(&mut machine), 2);
    machine.exit(pid);
    assert_eq!(free(&mut machine), 4, "nobody has the page that was copied already");
}

fn watched(machine: &mut Machine, pid: Pid, at: Vaddr, count: u64, modes: UffdModes) -> hugefolio::Fd {
    let fd = machine.userfaultfd(pid).unwrap();
    machine.uffd_register(pid, fd, at, pages(count), modes).unwrap();
    fd
}

/// A page that a userfaultfd is to fill lies behind the end of its file: it is allocated, as Linux does, and given back.
#[test]
fn nothing_is_filled_in_behind_the_end_of_a_file() {
    let (mut machine, pid) = machine(2);
    let file = machine.memfd(pid, Some(M2), MemfdFlags::empty()).unwrap();
    let at = machine.mmap(pid, &MapCall::file(file, pages(2), Share::Shared)).unwrap();
    machine.ftruncate(pid, file, pages(1)).unwrap();
    let fd = watched(&mut machine, pid, at, 2, UffdModes::MISSING);
    let fill = |machine: &mut Machine, n: u64| {
        let (start, payload) = (at + pages(n), Payload::Bytes(b"new"));
        machine.uffd_copy(pid, fd, &CopyCall { start, len: pages(1), payload, arrival: Arrival::Open })
    };
    let refused = fill(&mut machine, 1).unwrap_err();
    let CallError::Failed(UffdCallError::Failed(FillError { refusal, .. })) = refused else { panic!("{refused:?}") };
    assert!(matches!(refusal, FillRefusal::BeyondEof { .. }), "{refusal}");
    assert_eq!(free(&mut machine), 2);
    fill(&mut machine, 0).unwrap();
    assert_eq!(free(&mut machine), 1);
}

/// A page that is filled in write-protected can be read, and whoever writes is told of.
#[test]
fn a_page_arrives_write_protected() {
    let (mut machine, pid) = machine(1);
    let at = machine.mmap(pid, &MapCall::anonymous(pages(1), Share::Private)).unwrap();
    let fd = watched(&mut machine, pid, at, 1, UffdModes::MISSING | UffdModes::WRITE_PROTECT);
    let payload = Payload::Bytes(b"new");
    machine
        .uffd_copy(pid, fd, &CopyCall { start: at, len: pages(1), payload, arrival: Arrival::WriteProtected })
        .unwrap();
    assert_eq!(machine.read_byte(pid, at), Ok(b'n'));
    let told = FaultError::UserfaultWriteProtected { addr: at };
    assert_eq!(machine.write_byte(pid, at, 1), Err(CallError::Failed(told)));
    assert_eq!(machine.read_byte(pid, at), Ok(b'n'));
}

/// Broken memory goes with its area: where the area is now a touch is told of it, and where it was nothing is left.
#[test]
fn a_broken_place_moves_with_its_area() {
    let (mut machine, pid) = machine(3);
    let at = private(&mut machine, pid, 1);
    let page = machine.frame_at(pid, at).unwrap();
    machine.memory_failure(page, Cause::Test);
    let (flags, to) = (RemapFlags::MAY_MOVE | RemapFlags::FIXED, Vaddr::new(1 << 40));
    let request = RemapRequest { from: at, old_len: pages(1), new_len: pages(1), flags, to };
    machine.mremap(pid, &request).unwrap();
    let touched = machine.read_byte(pid, to);
    assert!(matches!(touched, Err(CallError::Failed(FaultError::Poisoned { addr, .. })) if addr == to), "{touched:?}");
    machine.munmap(pid, to, pages(1)).unwrap();
    let fixed = MapCall { place: hugefolio::Place::Fixed(at), ..MapCall::anonymous(pages(1), Share::Private) };
    machine.mmap(pid, &fixed).unwrap();
    assert_eq!(machine.read_byte(pid, at), Ok(0));
    machine.validate().unwrap();
}
