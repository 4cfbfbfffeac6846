//! Pages in pieces where something is lacking, and what a child gets of them.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Advice, Behaviour, Blame, Bytes, CallError, Calls, Cause, CollapseRule, Create, Failed, FaultError, Fd,
    FileAccess, HugeSize, Ledger, Machine, MachineBuilder, MapCall, MemfdFlags, MountOptions, Moves, NodeId, OpenCall,
    PageCount, Pid, PieceState, Prot, Share, Site, Touch, UffdModes, Vaddr,
};

const BASE: Bytes = Bytes::kib(4);

fn builder() -> MachineBuilder {
    Machine::builder().node(NodeId::new(0), Bytes::gib(4)).cmdline("hugepages=4")
}

/// A process that maps a file of one page, which may be in pieces and is there.
fn mapped(machine: &mut Machine, size: HugeSize) -> (Pid, Fd, Vaddr) {
    let pid = machine.spawn();
    let fd = machine.memfd(pid, Some(size), MemfdFlags::empty()).unwrap();
    machine.ftruncate(pid, fd, size.bytes()).unwrap();
    let at = machine.mmap(pid, &MapCall::file(fd, size.bytes(), Share::Shared)).unwrap();
    machine.madvise(pid, at, size.bytes(), Advice::Split).unwrap();
    machine.write_byte(pid, at, 7).unwrap();
    (pid, fd, at)
}

fn refs(machine: &mut Machine, pid: Pid, at: Vaddr) -> u64 {
    machine.mapping_at(pid, at).unwrap().refs.unwrap()
}

/// Without tables, without references to count, or without knowledge of what is broken the base page cannot go alone.
#[test]
fn a_page_goes_as_a_whole_where_it_cannot_be_divided() {
    for lacking in [Some(Site::TablePage), Some(Site::RawPoison), None] {
        let mut builder = builder();
        if lacking.is_none() {
            builder = builder.behaviour(Behaviour { references_max: 600, ..Behaviour::default() });
        }
        let mut machine = builder.build().unwrap();
        let (pid, _, at) = mapped(&mut machine, HugeSize::M2);
        let frame = machine.frame_at(pid, at).unwrap().offset(PageCount::new(9));
        if let Some(site) = lacking {
            machine.faults().fail_nth(Some(site), 0);
        }
        let failure = machine.memory_failure(frame, Cause::Test);
        let victims: Vec<_> = failure.victims.iter().map(|victim| (victim.addr, victim.size)).collect();
        assert_eq!((failure.outcome, victims), (Failed::Cached, vec![(at, HugeSize::M2.bytes())]), "{lacking:?}");
        machine.validate().unwrap();
        let refused = machine.read_byte(pid, at);
        assert_eq!(refused, Err(CallError::Failed(FaultError::Poisoned { addr: at, size: HugeSize::M2.bytes() })));
        assert_eq!(machine.hugetlb_pages(pid), Some(Bytes::ZERO));
    }
}

/// A file of one page that is open for reading alone, mapped so that a child inherits the table: an area through which nothing is written prepares for
/// pages of its own once a userfaultfd was to fill it. One base page of it breaks, the ninth.
fn broken_and_inherited(machine: &mut Machine) -> (Pid, Vaddr) {
    let hstate = machine.hstates().default_hstate().id;
    let mount = machine.mount(&MountOptions::unlimited(hstate)).unwrap();
    let pid = machine.spawn();
    let call = OpenCall::create(mount, "file");
    let fd = machine.open(pid, &call).unwrap();
    let size = HugeSize::M2.bytes();
    let writer = machine.mmap(pid, &MapCall::file(fd, size, Share::Shared)).unwrap();
    machine.write_byte(pid, writer, 7).unwrap();
    machine.munmap(pid, writer, size).unwrap();
    let reader = machine.open(pid, &OpenCall { access: FileAccess::ReadOnly, create: Create::Never, ..call }).unwrap();
    let at = machine.mmap(pid, &MapCall { prot: Prot::READ, ..MapCall::file(reader, size, Share::Shared) }).unwrap();
    machine.madvise(pid, at, size, Advice::Split).unwrap();
    let uffd = machine.userfaultfd(pid).unwrap();
    assert!(machine.uffd_continue(pid, uffd, at, size).is_err());
    assert_eq!(machine.read_byte(pid, at), Ok(7));
    let frame = machine.frame_at(pid, at).unwrap().offset(PageCount::new(9));
    assert_eq!(machine.memory_failure(frame, Cause::Test).victims.len(), 1);
    (pid, at)
}

#[test]
fn a_child_gets_pieces_with_a_table_that_it_inherits() {
    let mut machine = builder().build().unwrap();
    let (pid, at) = broken_and_inherited(&mut machine);
    let parents = machine.mapping_at(pid, at).unwrap();
    // The file's references, one of who keeps broken memory, and one of each piece.
    assert_eq!((parents.leaves, parents.refs), (511, Some(512 + 1 + 511)));
    let child = machine.fork(pid).unwrap();
    machine.validate().unwrap();
    let childs = machine.mapping_at(child, at).unwrap();
    assert_eq!((childs.leaves, childs.refs, childs.mapcount), (511, Some(512 + 1 + 2 * 511), 2));
    assert_eq!(machine.read_byte(child, at), Ok(7));
    let broken = at + Bytes::kib(36);
    assert_eq!(machine.mapping_at(child, broken).unwrap().piece.state, PieceState::Broken);
    let refused = machine.read_byte(child, broken);
    assert_eq!(refused, Err(CallError::Failed(FaultError::Poisoned { addr: broken, size: BASE })));
    machine.exit(child);
    machine.validate().unwrap();
    assert_eq!(machine.mapping_at(pid, at), Some(parents));
}

/// There is no child whose pieces could not be counted, and nothing is left of it.
#[test]
fn a_child_whose_pieces_cannot_be_counted() {
    let behaviour = Behaviour { references_max: 512 + 1 + 2 * 511 - 1, ..Behaviour::default() };
    let mut machine = builder().behaviour(behaviour).build().unwrap();
    let (pid, at) = broken_and_inherited(&mut machine);
    let before = machine.mapping_at(pid, at);
    let refused = machine.fork(pid).unwrap_err();
    assert_eq!((refused.errno(), refused.ledger()), (Errno::ENOMEM, Some(Ledger::References)));
    machine.validate().unwrap();
    assert_eq!(machine.mapping_at(pid, at), before);
}

/// The example of the guard: one reference short of the limit, the second of two leaves is refused and the first one stays.
#[test]
fn references_are_counted_no_further_than_they_can() {
    let mut machine = builder().behaviour(Behaviour { references_max: 514, ..Behaviour::default() }).build().unwrap();
    let (pid, fd, at) = mapped(&mut machine, HugeSize::M2);
    let uffd = machine.userfaultfd(pid).unwrap();
    machine.madvise(pid, at, HugeSize::M2.bytes(), Advice::DontNeed).unwrap();
    machine.uffd_register(pid, uffd, at, HugeSize::M2.bytes(), UffdModes::MINOR).unwrap();
    machine.uffd_continue(pid, uffd, at, BASE).unwrap();
    assert_eq!(refs(&mut machine, pid, at), 513);
    let refused = machine.uffd_continue(pid, uffd, at + BASE, BASE + BASE).unwrap_err();
    assert_eq!((refused.errno(), refused.ledger()), (Errno::EAGAIN, Some(Ledger::References)));
    let refused = machine.uffd_continue(pid, uffd, at + BASE + BASE, BASE).unwrap_err();
    assert_eq!((refused.errno(), refused.ledger()), (Errno::EFAULT, Some(Ledger::References)));
    assert_eq!(machine.hugetlb_pages(pid), Some(BASE + BASE));
    let refused = machine.pin(pid, at, Touch::Read).unwrap_err();
    assert_eq!((refused.errno(), refused.ledger()), (Errno::ENOMEM, Some(Ledger::References)));
    let other = machine.mmap(pid, &MapCall::file(fd, HugeSize::M2.bytes(), Share::Shared)).unwrap();
    assert!(machine.read_byte(pid, other).is_err());
    machine.validate().unwrap();
    // A collapse gives references back.
    machine.madvise(pid, at, HugeSize::M2.bytes(), Advice::Collapse).unwrap();
    assert_eq!(machine.read_byte(pid, other), Ok(7));
    machine.validate().unwrap();
}

/// Each rule of a collapse on a page with broken memory.
#[test]
fn a_collapse_by_each_rule() {
    for (rule, errno) in
        [(CollapseRule::Released, None), (CollapseRule::First, Some(Errno::EHWPOISON)), (CollapseRule::Second, None)]
    {
        let mut machine = builder().behaviour(Behaviour { collapse: rule, ..Behaviour::default() }).build().unwrap();
        let (pid, fd, at) = mapped(&mut machine, HugeSize::M2);
        let plain = machine.mmap(pid, &MapCall::file(fd, HugeSize::M2.bytes(), Share::Shared)).unwrap();
        let frame = machine.frame_at(pid, at).unwrap();
        machine.memory_failure(frame, Cause::Test);
        let collapse = |machine: &mut Machine, at| {
            machine.madvise(pid, at, HugeSize::M2.bytes(), Advice::Collapse).err().map(|error| error.errno())
        };
        assert_eq!(collapse(&mut machine, at), errno, "{rule:?}");
        assert_eq!(machine.mapping_at(pid, at).unwrap().piece.state, PieceState::Broken);
        let plain = collapse(&mut machine, plain);
        assert_eq!(plain, (rule == CollapseRule::Released).then_some(Errno::EINVAL), "{rule:?}");
        let prot = machine.mprotect(pid, at, HugeSize::M2.bytes(), Prot::READ);
        assert_eq!(prot, Ok(()));
        machine.validate().unwrap();
    }
}
