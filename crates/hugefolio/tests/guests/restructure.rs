//! Splitting and merging without anybody who has a use for it: a folio of the pool, and references to its pages.

use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Bytes, Context, FolioKind, HugeCount, HugeSize, Machine, MergeError, NodeId, Nodemask, Order, PageCount,
    Pfn, Placement, ResizeNodes, Site, SplitError,
};
use hugetlb::restructure::{self, prepare_merge, prepare_split};
use hugetlb::{AllocFlags, AllocRequest};
use memmap::Env as _;

const NODE: NodeId = NodeId::new(0);

fn machine(page: HugeSize, pages: u64) -> Machine {
    let mut machine = Machine::builder().node(NODE, Bytes::gib(4)).cmdline("hugetlb_free_vmemmap=on").build().unwrap();
    machine.set_nr_hugepages(page, HugeCount::new(pages), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    machine
}

/// A page of the pool to each base page of which there is one reference.
fn taken(machine: &mut Machine, page: HugeSize) -> Pfn {
    let hstate = machine.hstates().iter().find(|h| h.size == page).unwrap().id;
    let request = AllocRequest {
        hstate,
        placement: Placement::local(NODE),
        allowed: Nodemask::ALL,
        flags: AllocFlags::empty(),
        cgroup: None,
    };
    let folio = hugetlb::hugetlb_alloc_folio(machine, &request).unwrap();
    let pages = machine.folio(folio.pfn).unwrap().1.order.pages();
    machine.with_memmap(folio.pfn, |map| map.get_refs(folio.pfn, pages.get() - 1));
    folio.pfn
}

fn at(first: Pfn, page: u64) -> Pfn {
    first.offset(PageCount::new(page))
}

fn order(machine: &Machine, pfn: Pfn) -> u8 {
    machine.folio(pfn).unwrap().1.order.get()
}

fn refs(machine: &Machine, pfn: Pfn) -> u64 {
    machine.folio(pfn).unwrap().1.refs()
}

fn descriptors(machine: &Machine) -> u64 {
    let pages = machine.vmemmap().pages();
    pages.boot.get() + pages.allocated.get()
}

#[test]
fn in_steps_and_back() {
    let mut m = machine(HugeSize::G1, 1);
    let first = taken(&mut m, HugeSize::G1);
    let start = descriptors(&m);
    restructure::split(&mut m, first, Order::new(9)).unwrap();
    assert_eq!((order(&m, at(first, 512)), refs(&m, at(first, 512)), descriptors(&m) - start), (9, 512, 4095));
    restructure::split(&mut m, at(first, 512), Order::ZERO).unwrap();
    assert_eq!((order(&m, at(first, 513)), refs(&m, at(first, 513)), order(&m, first)), (0, 1, 9));
    // Pieces of 8 KiB, and pieces of unlike sizes, become one.
    restructure::merge(&mut m, at(first, 512), Order::new(1)).unwrap();
    assert_eq!((order(&m, at(first, 513)), order(&m, at(first, 514))), (1, 0));
    restructure::merge(&mut m, at(first, 512), Order::new(9)).unwrap();
    assert_eq!(refs(&m, at(first, 700)), 512);
    for (from, to) in [(first, 19), (at(first, 512), 18), (at(first, 512), 9)] {
        let refused = restructure::merge(&mut m, from, Order::new(to));
        assert!(matches!(refused, Err(MergeError::Misfit { .. })), "{refused:?}");
    }
    assert_eq!(
        restructure::split(&mut m, first, Order::new(9)),
        Err(SplitError::NotSmaller { from: Order::new(9), to: Order::new(9) })
    );
    restructure::merge(&mut m, first, Order::new(18)).unwrap();
    assert_eq!((order(&m, at(first, 99)), refs(&m, first), descriptors(&m)), (18, 1 << 18, start));
    assert!(matches!(restructure::merge(&mut m, first, Order::new(18)), Err(MergeError::NoPiece(_))));
    hugetlb::put_folio(&mut m, first, 1 << 18);
    m.validate().unwrap();
    assert_eq!(m.pool(HugeSize::G1).unwrap().free, HugeCount::new(1));
}

#[test]
fn somebody_else_keeps_a_folio_as_it_is() {
    let mut m = machine(HugeSize::M2, 1);
    let first = taken(&mut m, HugeSize::M2);
    m.with_memmap(first, |map| map.pin(first));
    let refused = restructure::split(&mut m, first, Order::ZERO).unwrap_err();
    assert!(matches!(refused, SplitError::Referenced(held) if (held.refs, held.expected) == (513, 512)));
    assert_eq!((refused.errno(), order(&m, first)), (Errno::EAGAIN, 9));
    m.with_memmap(first, |map| map.unpin(first));
    hugetlb::put_folio(&mut m, first, 1);
    restructure::split(&mut m, first, Order::ZERO).unwrap();
    // The lowest of two that are held is told.
    m.with_memmap(at(first, 7), |map| {
        map.pin(at(first, 7));
        map.pin(at(first, 9));
    });
    let refused = restructure::merge(&mut m, first, Order::new(9)).unwrap_err();
    assert!(matches!(refused, MergeError::Referenced(held) if held.pfn == at(first, 7) && held.refs == 2));
    assert_eq!((refs(&m, first), refs(&m, at(first, 7))), (1, 2));
}

#[test]
fn what_is_abandoned_is_as_before() {
    let mut m = machine(HugeSize::M2, 2);
    let first = taken(&mut m, HugeSize::M2);
    let before = descriptors(&m);
    let prepared = prepare_split(&mut m, first, Order::ZERO).unwrap();
    assert_eq!((refs(&m, first), descriptors(&m) - before), (0, 7));
    prepared.abandon(&mut m);
    assert_eq!((refs(&m, first), descriptors(&m)), (512, before));
    // Without a page to optimise it again it keeps all its descriptors. It was forgotten once that it had been optimised.
    let prepared = prepare_split(&mut m, first, Order::ZERO).unwrap();
    m.faults().fail_nth(Some(Site::VmemmapPage), 0);
    prepared.abandon(&mut m);
    assert_eq!((refs(&m, first), descriptors(&m) - before), (512, 7));
    restructure::split(&mut m, first, Order::ZERO).unwrap();
    let prepared = prepare_merge(&mut m, first, Order::new(9)).unwrap();
    assert_eq!(refs(&m, at(first, 3)), 0);
    prepared.abandon(&mut m);
    assert_eq!((refs(&m, at(first, 3)), order(&m, first)), (1, 0));
    restructure::merge(&mut m, first, Order::new(9)).unwrap();
    assert_eq!(descriptors(&m), before);
    hugetlb::put_folio(&mut m, first, 512);
    m.validate().unwrap();
}

#[test]
fn nothing_is_asked_for_but_descriptors() {
    let mut m = machine(HugeSize::M2, 1);
    let first = taken(&mut m, HugeSize::M2);
    for site in Site::ALL.into_iter().filter(|site| ![Site::VmemmapPage, Site::Frame].contains(site)) {
        m.faults().fail_nth(Some(site), 0);
        restructure::split(&mut m, first, Order::ZERO).unwrap();
        restructure::merge(&mut m, first, Order::new(9)).unwrap();
        assert!(m.faults().is_armed(), "{site:?} was asked");
    }
    for nth in 0.. {
        m.faults().fail_nth(Some(Site::VmemmapPage), nth);
        let split = restructure::split(&mut m, first, Order::ZERO);
        if m.faults().is_armed() {
            assert_eq!((split, nth), (Ok(()), 7));
            break;
        }
        let refused = split.unwrap_err();
        assert!(matches!(refused, SplitError::Metadata(_)) && refused.errno() == Errno::ENOMEM, "{refused:?}");
        assert_eq!((order(&m, first), refs(&m, first)), (9, 512));
    }
    m.faults().clear();
}

#[test]
fn a_broken_page_is_in_the_way() {
    let mut m = machine(HugeSize::M2, 1);
    let first = taken(&mut m, HugeSize::M2);
    let page = hugetlb::folio_at(&mut m, first).unwrap();
    hugetlb::record_poison(&mut m, page, at(first, 3));
    let refused = restructure::split(&mut m, first, Order::ZERO).unwrap_err();
    assert_eq!((refused, refused.errno()), (SplitError::Poisoned { pfn: at(first, 3) }, Errno::EHWPOISON));
}

/// Neighbours of a broken page were lost with it.
#[test]
fn sound_pages_of_a_broken_one_are_of_use_again() {
    let mut m = machine(HugeSize::M2, 1);
    let first = taken(&mut m, HugeSize::M2);
    let page = hugetlb::folio_at(&mut m, first).unwrap();
    restructure::split(&mut m, first, Order::ZERO).unwrap();
    let spare = m.spare_pages(NODE).get();
    hugetlb::record_poison(&mut m, page, at(first, 3));
    let refused = restructure::merge(&mut m, first, Order::new(9)).unwrap_err();
    assert_eq!(refused.errno(), Errno::EHWPOISON);
    restructure::merge(&mut m, at(first, 4), Order::new(2)).unwrap();
    restructure::release_pieces(&mut m, first, PageCount::new(512));
    m.validate().unwrap();
    assert_eq!(m.pool(HugeSize::M2).unwrap().nr, HugeCount::ZERO);
    assert_eq!(m.spare_pages(NODE).get() - spare, 511);
    assert_eq!(m.folio(at(first, 3)).unwrap().1.kind, FolioKind::Poisoned);
}

/// A file was closed in an interrupt, and its pages were put together whenever a queue got there: nobody could tell when the counters would be right.
#[test]
fn the_last_piece_in_an_interrupt_waits() {
    let mut m = machine(HugeSize::M2, 1);
    let first = taken(&mut m, HugeSize::M2);
    restructure::split(&mut m, first, Order::new(3)).unwrap();
    let full = descriptors(&m);
    // In any order, one by one and many at once.
    hugetlb::put_folio(&mut m, at(first, 504), 8);
    restructure::release_pieces(&mut m, at(first, 8), PageCount::new(496));
    assert_eq!(m.pool(HugeSize::M2).unwrap().free, HugeCount::ZERO);
    hugetlb::put_folio_in(&mut m, first, 8, Context::Atomic);
    m.validate().unwrap();
    assert_eq!((m.pool(HugeSize::M2).unwrap().free, m.deferred().iter().count()), (HugeCount::ZERO, 1));
    m.quiesce();
    m.validate().unwrap();
    assert_eq!((m.pool(HugeSize::M2).unwrap().free, full - descriptors(&m)), (HugeCount::new(1), 7));
}

#[test]
fn a_split_gigabyte_is_a_few_runs() {
    let mut m = machine(HugeSize::G1, 1);
    let first = taken(&mut m, HugeSize::G1);
    restructure::split(&mut m, first, Order::ZERO).unwrap();
    assert_eq!(m.pieces_of(first).count(), 1);
    m.with_memmap(at(first, 1000), |map| map.pin(at(first, 1000)));
    assert_eq!(m.pieces_of(first).map(|(_, pages, _)| pages.get()).collect::<Vec<_>>(), [1000, 1, (1 << 18) - 1001]);
    m.with_memmap(at(first, 1000), |map| map.unpin(at(first, 1000)));
    hugetlb::put_folio(&mut m, at(first, 1000), 1);
    assert_eq!(m.pieces_of(first).count(), 1);
}
