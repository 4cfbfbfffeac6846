//! What went wrong in earlier forms of this, in review or in use, and what it must do instead.

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Attribute, Bytes, Calls, Context, ConvertCall, Counter, Event, Fd, GmemFlags, GuestMemory, GuestStep,
    HugeCount, HugeSize, Machine, Mempolicy, NodeId, Nodemask, Pfn, Pid, PolicyInForce, ResizeNodes, Site, Wish,
};

const PAGE: Bytes = Bytes::kib(4);
const HUGE: GmemFlags = GmemFlags::MMAP.union(GmemFlags::HUGETLB);

fn guest(pages: u64, of: u64) -> (Machine, Pid, Fd) {
    let mut machine =
        Machine::builder().node(NodeId::new(0), Bytes::gib(1)).cmdline("hugetlb_free_vmemmap=on").build().unwrap();
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(pages), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    let pid = machine.spawn();
    let fd = machine.gmem_create(pid, Bytes::mib(2 * of), HUGE, Some(HugeSize::M2)).unwrap();
    (machine, pid, fd)
}

fn page(n: u64) -> Bytes {
    Bytes::new(n * PAGE.get())
}

fn convert(m: &mut Machine, pid: Pid, fd: Fd, from: u64, to: u64, attribute: Attribute) -> Result<(), Errno> {
    let call = ConvertCall::new(page(from), page(to - from), attribute);
    let done = m.gmem_convert(pid, fd, &call).map_err(|error| error.errno());
    m.validate().unwrap();
    done
}

fn order(m: &mut Machine, pid: Pid, fd: Fd, n: u64) -> u8 {
    let file = m.gmem_of(pid, fd).unwrap();
    let pfn = m.gmem(file).unwrap().frame(hugefolio::PageIndex::new(n)).unwrap();
    m.folio(pfn).unwrap().1.order.get()
}

fn descriptors(m: &Machine) -> u64 {
    m.vmemmap().pages().boot.get() + m.vmemmap().pages().allocated.get()
}

/// What was saved of a page when it was split said that it is optimised; put together, it was not optimised again, and the next split found
/// descriptors that were not there.
#[test]
fn a_page_is_split_and_merged_again_and_again() {
    let (mut m, pid, fd) = guest(1, 1);
    m.guest_access(pid, fd, page(0), None).unwrap();
    let start = descriptors(&m);
    for _ in 0..3 {
        convert(&mut m, pid, fd, 5, 6, Attribute::Shared).unwrap();
        assert_eq!((descriptors(&m) - start, order(&mut m, pid, fd, 0)), (7, 0));
        convert(&mut m, pid, fd, 5, 6, Attribute::Private).unwrap();
        assert_eq!((descriptors(&m) - start, order(&mut m, pid, fd, 0)), (0, 9));
    }
}

/// Restored for a split that then failed, a page stayed without its optimisation for ever.
#[test]
fn a_split_that_fails_leaves_the_page_optimised() {
    let (mut m, pid, fd) = guest(1, 1);
    m.guest_access(pid, fd, page(0), None).unwrap();
    let start = descriptors(&m);
    for nth in 0..7 {
        m.faults().fail_nth(Some(Site::VmemmapPage), nth);
        assert_eq!(convert(&mut m, pid, fd, 5, 6, Attribute::Shared), Err(Errno::ENOMEM));
        assert_eq!((descriptors(&m), order(&mut m, pid, fd, 0)), (start, 9));
    }
    m.faults().fail_nth(Some(Site::CacheNode), 0);
    assert_eq!(convert(&mut m, pid, fd, 5, 6, Attribute::Shared), Err(Errno::ENOMEM));
    m.faults().fail_nth(Some(Site::Attributes), 0);
    assert_eq!(convert(&mut m, pid, fd, 5, 6, Attribute::Shared), Err(Errno::ENOMEM));
    assert_eq!((descriptors(&m), order(&mut m, pid, fd, 0)), (start, 9));
}

/// A rollback counted down past the first page of the file, and its own result hid that of the conversion. Nothing is rolled back here: what comes
/// before the page in the way stays converted, at page 0 as anywhere.
#[test]
fn what_was_converted_before_a_refusal_stays() {
    let (mut m, pid, fd) = guest(3, 3);
    m.gmem_allocate(pid, fd, Bytes::ZERO, Bytes::mib(6)).unwrap();
    convert(&mut m, pid, fd, 0, 1536, Attribute::Shared).unwrap();
    let view = m.gmem_map(pid, fd, Bytes::ZERO, Bytes::mib(6)).unwrap();
    let pin = m.gmem_pin(pid, view, page(600)).unwrap();
    let call = ConvertCall::new(page(0), page(1536), Attribute::Private);
    let refused = m.gmem_convert(pid, fd, &call).unwrap_err();
    assert!(refused.to_string().contains("stopped at page idx:600"), "{refused}");
    let file = m.gmem_of(pid, fd).unwrap();
    let runs: Vec<_> =
        m.gmem(file).unwrap().attributes().map(|(run, is)| (run.start.get(), run.end.get(), is)).collect();
    assert_eq!(runs, [(0, 512, Attribute::Private), (512, 1536, Attribute::Shared)]);
    m.gmem_unpin(pin, Context::Sleepable);
    let pin = m.gmem_pin(pid, view, page(512)).unwrap();
    assert_eq!(convert(&mut m, pid, fd, 0, 1536, Attribute::Private), Err(Errno::EAGAIN));
    m.gmem_unpin(pin, Context::Sleepable);
    convert(&mut m, pid, fd, 0, 1536, Attribute::Private).unwrap();
}

/// A folio was split while the guest still had all of it mapped by one leaf.
#[test]
fn the_guests_leaf_is_split_before_the_folio() {
    let (mut m, pid, fd) = guest(1, 1);
    assert_eq!(m.guest_access(pid, fd, page(0), None).unwrap().page.leaf.get(), 9);
    m.record_events();
    convert(&mut m, pid, fd, 5, 6, Attribute::Shared).unwrap();
    let events = m.take_events();
    let at = |what: fn(&Event) -> bool| events.iter().position(what).unwrap();
    let leaves = at(|e| matches!(e, Event::Guest { step: GuestStep::LeavesSplit, .. }));
    let split = at(|e| matches!(e, Event::Split { .. }));
    let unmapped = at(|e| matches!(e, Event::Guest { step: GuestStep::Unmapped, .. }));
    let stored = at(|e| matches!(e, Event::Guest { step: GuestStep::AttributesStored, .. }));
    assert!(leaves < split && split < unmapped && unmapped < stored, "{events:?}");
}

/// The attribute was stored after pages were put together, so that one was still shared when that was asked, and they never were.
#[test]
fn attributes_are_stored_before_pages_are_put_together() {
    let (mut m, pid, fd) = guest(1, 1);
    convert(&mut m, pid, fd, 0, 512, Attribute::Shared).unwrap();
    m.guest_access(pid, fd, page(0), None).unwrap();
    convert(&mut m, pid, fd, 0, 511, Attribute::Private).unwrap();
    assert_eq!(order(&mut m, pid, fd, 0), 0);
    convert(&mut m, pid, fd, 511, 512, Attribute::Private).unwrap();
    assert_eq!(order(&mut m, pid, fd, 0), 9);
}

/// How large a leaf may be was computed from the page that was touched instead of the first page of what it lies in.
#[test]
fn a_leaf_is_as_large_as_both_sides_are_aligned() {
    let (mut m, pid, fd) = guest(2, 2);
    assert_eq!(m.guest_access(pid, fd, page(700), None).unwrap().page.leaf.get(), 9);
    for (bound, leaf) in [(512, 9), (1 << 18, 9), (256, 0), (1, 0), (1024 + 512, 9)] {
        m.gmem_bind(pid, fd, Some(Pfn::new(bound))).unwrap();
        assert_eq!(m.guest_access(pid, fd, page(700), None).unwrap().page.leaf.get(), leaf, "bound at {bound}");
    }
    m.gmem_bind(pid, fd, None).unwrap();
    assert_eq!(m.guest_access(pid, fd, page(700), None).unwrap_err().errno(), Errno::EFAULT);
}

/// Two who touched one huge page for the first time both took one, and the second found the allotment empty.
#[test]
fn a_second_touch_takes_no_second_page() {
    let (mut m, pid, fd) = guest(1, 1);
    for n in 0..512 {
        m.guest_access(pid, fd, page(n), None).unwrap();
    }
    m.validate().unwrap();
    assert_eq!(m.pool(HugeSize::M2).unwrap().resv, HugeCount::ZERO);
}

/// The charge for what was reserved ended with the file, while pages of it were still pinned.
#[test]
fn the_charge_ends_with_the_last_page_and_not_with_the_file() {
    let (mut m, _, _) = guest(4, 1);
    let group = m.create_cgroup("/g").unwrap();
    let pid = m.spawn_in(Some(group)).unwrap();
    let fd = m.gmem_create(pid, Bytes::mib(4), HUGE, Some(HugeSize::M2)).unwrap();
    convert(&mut m, pid, fd, 0, 1, Attribute::Shared).unwrap();
    let view = m.gmem_map(pid, fd, Bytes::ZERO, PAGE).unwrap();
    let pin = m.gmem_pin(pid, view, Bytes::ZERO).unwrap();
    m.exit(pid);
    m.validate().unwrap();
    let hstate = m.hstates().iter().find(|h| h.size == HugeSize::M2).unwrap().id;
    assert_eq!(m.charges().charged(group, Counter::Rsvd(hstate)), HugeCount::new(2));
    // The group may go before the page does.
    m.gmem_unpin(pin, Context::Sleepable);
    m.validate().unwrap();
    assert_eq!(m.charges().charged(group, Counter::Rsvd(hstate)), HugeCount::ZERO);
    let pool = m.pool(HugeSize::M2).unwrap();
    assert_eq!((pool.free, pool.resv), (HugeCount::new(4), HugeCount::new(1)));
}

/// Putting pages together failed half-way, and what was done about it used what had been freed. It is one step here, which whoever holds a page
/// prevents as a whole.
#[test]
fn pages_that_cannot_be_put_together_stay_as_they_are() {
    let (mut m, pid, fd) = guest(1, 1);
    m.guest_access(pid, fd, page(0), None).unwrap();
    convert(&mut m, pid, fd, 3, 4, Attribute::Shared).unwrap();
    m.gmem_memory_failure(pid, fd, page(9)).unwrap();
    convert(&mut m, pid, fd, 3, 4, Attribute::Private).unwrap();
    assert_eq!(order(&mut m, pid, fd, 0), 0);
    m.gmem_merge(pid, fd).unwrap();
    assert_eq!(order(&mut m, pid, fd, 0), 0);
    assert_eq!(m.guest_access(pid, fd, page(9), None).unwrap_err().errno(), Errno::EHWPOISON);
    m.guest_access(pid, fd, page(10), None).unwrap();
    convert(&mut m, pid, fd, 3, 4, Attribute::Shared).unwrap();
}

#[test]
fn a_broken_page_of_a_guest() {
    let (mut m, pid, fd) = guest(2, 2);
    m.gmem_allocate(pid, fd, Bytes::ZERO, Bytes::mib(4)).unwrap();
    m.guest_access(pid, fd, page(0), None).unwrap();
    m.gmem_memory_failure(pid, fd, page(9)).unwrap();
    // All of a whole folio, and none of it is split any more.
    assert_eq!(m.guest_access(pid, fd, page(0), None).unwrap_err().errno(), Errno::EHWPOISON);
    assert_eq!(convert(&mut m, pid, fd, 0, 1, Attribute::Shared), Err(Errno::EHWPOISON));
    convert(&mut m, pid, fd, 512, 1024, Attribute::Shared).unwrap();
    let view = m.gmem_map(pid, fd, Bytes::ZERO, Bytes::mib(4)).unwrap();
    m.gmem_memory_failure(pid, fd, page(600)).unwrap();
    assert_eq!(m.gmem_read(pid, view, page(600)).unwrap_err().errno(), Errno::EHWPOISON);
    m.gmem_read(pid, view, page(601)).unwrap();
    assert_eq!(m.gmem_memory_failure(pid, fd, page(5000)).unwrap_err().errno(), Errno::ENOENT);
    // While the file lasts its pages are reserved, so they stay in their pool when they are let go, aside. They leave it first, and only what is
    // broken is lost.
    m.exit(pid);
    m.validate().unwrap();
    let pool = m.pool(HugeSize::M2).unwrap();
    assert_eq!((pool.resv, pool.nr, pool.free), (HugeCount::ZERO, HugeCount::new(2), HugeCount::new(2)));
    let spare = |m: &Machine| m.spare_pages(NodeId::new(0)).get() + descriptors(m) + m.vmemmap().tail_pages().get();
    let before = spare(&m);
    m.set_nr_hugepages(HugeSize::M2, HugeCount::ZERO, ResizeNodes::Global(Nodemask::ALL)).unwrap();
    m.validate().unwrap();
    assert_eq!(spare(&m) - before, 2 * 512 - 2);
}

#[test]
fn the_policy_of_the_file_goes_first() {
    let (near, far) = (NodeId::new(0), NodeId::new(1));
    let mut m =
        Machine::builder().node(near, Bytes::gib(1)).node(far, Bytes::gib(1)).cmdline("hugepages=8").build().unwrap();
    let pid = m.spawn();
    let fd = m.gmem_create(pid, Bytes::mib(8), HUGE, Some(HugeSize::M2)).unwrap();
    let wish = Mempolicy::Bind { nodes: Nodemask::of(far), home: None };
    let bound = PolicyInForce::new(&Wish::from(wish), Nodemask::ALL, m.topology().nodes()).unwrap();
    m.gmem_policy(pid, fd, Bytes::mib(2), Bytes::mib(4), Some(bound)).unwrap();
    m.gmem_policy(pid, fd, Bytes::mib(4), Bytes::mib(2), None).unwrap();
    m.gmem_allocate(pid, fd, Bytes::ZERO, Bytes::mib(8)).unwrap();
    let file = m.gmem_of(pid, fd).unwrap();
    let node =
        |pfn: Pfn| m.pages().zones().find(|(zone, _)| zone.find(pfn).is_some()).map(|(zone, _)| zone.node()).unwrap();
    let nodes: Vec<_> = m.gmem(file).unwrap().cached().map(|(_, pfn)| node(pfn)).collect();
    assert_eq!(nodes, [near, far, near, near]);
}

/// Pages in pieces, those of a file that is gone among them, and one that waits for being put together, are part of a machine's state.
#[test]
fn a_machine_with_guests_is_saved_and_read() {
    let (mut m, pid, fd) = guest(2, 1);
    convert(&mut m, pid, fd, 3, 5, Attribute::Shared).unwrap();
    let view = m.gmem_map(pid, fd, Bytes::ZERO, Bytes::mib(2)).unwrap();
    let pin = m.gmem_pin(pid, view, page(3)).unwrap();
    let again = |m: &Machine| {
        let state = m.state().0;
        let read = Machine::from_state(state.clone()).unwrap();
        assert_eq!(format!("{:?}", read.state().0), format!("{state:?}"));
        read
    };
    assert_eq!(order(&mut again(&m), pid, fd, 0), 0);
    m.exit(pid);
    again(&m);
    m.gmem_unpin(pin, Context::Atomic);
    let mut read = again(&m);
    read.quiesce();
    read.validate().unwrap();
    let pool = read.pool(HugeSize::M2).unwrap();
    assert_eq!((pool.free, pool.resv), (HugeCount::new(2), HugeCount::ZERO));
}

/// Base pages are never split, and a hole gives one that is pinned to whoever pins it.
#[test]
fn a_file_of_base_pages() {
    let mut m = Machine::builder().node(NodeId::new(0), Bytes::gib(1)).build().unwrap();
    let spare = m.spare_pages(NodeId::new(0));
    let pid = m.spawn();
    let fd = m.gmem_create(pid, Bytes::kib(64), GmemFlags::MMAP | GmemFlags::INIT_SHARED, None).unwrap();
    let view = m.gmem_map(pid, fd, Bytes::ZERO, Bytes::kib(64)).unwrap();
    m.gmem_write(pid, view, page(3), 7).unwrap();
    let pin = m.gmem_pin(pid, view, page(3)).unwrap();
    m.guest_access(pid, fd, page(4), Some(9)).unwrap();
    assert_eq!(convert(&mut m, pid, fd, 0, 16, Attribute::Private), Err(Errno::EAGAIN));
    m.gmem_punch(pid, fd, page(3), PAGE).unwrap();
    m.validate().unwrap();
    m.gmem_unpin(pin, Context::Sleepable);
    m.gmem_memory_failure(pid, fd, page(4)).unwrap();
    m.validate().unwrap();
    let child = m.fork(pid).unwrap();
    m.exit(pid);
    m.validate().unwrap();
    m.exit(child);
    m.validate().unwrap();
    assert_eq!(spare.get() - m.spare_pages(NodeId::new(0)).get(), 1, "the broken page is lost");
}
