//! References that are dropped where nobody may wait: what happens at once, and what is put off.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::pages::{ContigError, PageRequest};
use hugefolio::{
    Admin, Bytes, Calls, Context, Deferred, Dissolved, Event, Frame, GfpFlags, HugeCount, HugeSize, Machine, MapCall,
    Moves, NodeId, Nodemask, Order, Pages, Pfn, Pin, ResizeNodes, Share, Touch,
};

const NODE: NodeId = NodeId::new(0);
const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);
const ORDER: Order = Order::new(9);

/// A machine on which a device alone still has a surplus page: whoever mapped it has exited.
fn pinned(cmdline: &str) -> (Machine, Pin) {
    let mut machine = Machine::builder().node(NODE, Bytes::mib(256)).cmdline(cmdline).build().unwrap();
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(4)).unwrap();
    let pid = machine.spawn();
    let at = machine.mmap(pid, &MapCall::anonymous(HugeSize::M2.bytes(), Share::Private)).unwrap();
    let pin = machine.pin(pid, at, Touch::Write).unwrap();
    machine.exit(pid);
    assert_eq!(pool(&mut machine), [1, 0, 1]);
    machine.record_events();
    (machine, pin)
}

/// The same, and then the device has let go in an interrupt.
fn let_go(cmdline: &str) -> (Machine, Pfn) {
    let (mut machine, pin) = pinned(cmdline);
    let folio = pin.folio();
    machine.unpin_in(pin, Context::Atomic);
    (machine, folio)
}

/// Total, free and surplus.
fn pool(machine: &mut Machine) -> [u64; 3] {
    machine.validate().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    [pool.nr, pool.free, pool.surplus].map(HugeCount::get)
}

fn waiting(machine: &Machine) -> Vec<Pfn> {
    machine.deferred().iter().map(Deferred::pfn).collect()
}

const SHARED_TAILS: &str = "hugetlb_free_vmemmap=on";

/// Counters change at once. The memory is nobody's until somebody who may wait has found descriptors for it.
#[test]
fn a_page_that_shares_descriptors_waits_for_its_own() {
    let (mut machine, folio) = let_go(SHARED_TAILS);
    assert_eq!(pool(&mut machine), [0, 0, 0]);
    assert_eq!((machine.frame(folio), waiting(&machine)), (Frame::Leaving, vec![folio]));
    assert!(machine.take_events().iter().any(|event| matches!(event, Event::PutOff { .. })));
    let spare = machine.spare_pages(NODE);
    machine.quiesce();
    assert_eq!((machine.frame(folio), waiting(&machine), pool(&mut machine)), (Frame::Free, vec![], [0, 0, 0]));
    assert!(machine.spare_pages(NODE) > spare);
}

#[test]
fn one_that_does_not_is_free_at_once() {
    let (mut machine, folio) = let_go("");
    assert_eq!((machine.frame(folio), waiting(&machine), pool(&mut machine)), (Frame::Free, vec![], [0, 0, 0]));
    let (mut machine, pin) = pinned(SHARED_TAILS);
    let folio = pin.folio();
    machine.unpin(pin);
    assert_eq!((machine.frame(folio), waiting(&machine), pool(&mut machine)), (Frame::Free, vec![], [0, 0, 0]));
}

/// A page that stays in its pool needs nothing.
#[test]
fn a_page_of_the_pool_is_there_at_once() {
    let (mut machine, pin) = pinned(SHARED_TAILS);
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(1), ALL).unwrap();
    machine.unpin_in(pin, Context::Atomic);
    assert_eq!((waiting(&machine), pool(&mut machine)), (vec![], [1, 1, 0]));
}

/// A page that had left its pool in an interrupt was neither a huge page nor free until a worker came to it. Who needed its frames took it for
/// something that stays, and had no range although nothing was in the way. Now he waits for the worker.
#[test]
fn a_range_waits_for_what_is_put_off() {
    let (mut machine, folio) = let_go(SHARED_TAILS);
    let block = machine.take_frames(folio, ORDER, GfpFlags::KERNEL).unwrap();
    assert_eq!((machine.block(block).unwrap().pfn, waiting(&machine)), (folio, vec![]));
    machine.free_pages(block).unwrap();
    assert_eq!(pool(&mut machine), [0, 0, 0]);
    // What is pinned is in the way all the same.
    let (mut machine, pin) = pinned(SHARED_TAILS);
    assert_eq!(machine.take_frames(pin.folio(), ORDER, GfpFlags::KERNEL), Err(ContigError::Busy(pin.folio())));
    machine.unpin_in(pin, Context::Atomic);
}

/// A resize begins and ends with nothing put off, and whoever asks for a page by its frame finds what is left of it.
#[test]
fn others_wait_too() {
    let (mut machine, _) = let_go(SHARED_TAILS);
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(1000), ALL).unwrap();
    let (mut other, pin) = pinned(SHARED_TAILS);
    other.unpin(pin);
    other.set_nr_hugepages(HugeSize::M2, HugeCount::new(1000), ALL).unwrap();
    assert_eq!((waiting(&machine), pool(&mut machine)), (vec![], pool(&mut other)));
    let (mut machine, folio) = let_go(SHARED_TAILS);
    assert_eq!(machine.dissolve(folio), Ok(Dissolved::NotHuge));
    assert_eq!((machine.frame(folio), waiting(&machine)), (Frame::Free, vec![]));
    machine.validate().unwrap();
}

/// No memory for its descriptors: it is in its pool again, surplus and free.
#[test]
fn a_page_whose_descriptors_cannot_be_had_comes_back() {
    let (mut machine, folio) = let_go(SHARED_TAILS);
    let request = PageRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::MEMALLOC | GfpFlags::NOWARN, NODE);
    while machine.alloc_pages(&request).is_ok() {}
    assert_eq!(pool(&mut machine), [0, 0, 0]);
    machine.quiesce();
    assert_eq!((waiting(&machine), pool(&mut machine)), (vec![], [1, 1, 1]));
    assert!(matches!(machine.frame(folio), Frame::Huge { refs: 0, .. }));
}

/// What waits is of the machine's state.
#[test]
fn a_saved_machine_has_it() {
    let (machine, folio) = let_go(SHARED_TAILS);
    let (state, _) = machine.state();
    let mut copy = Machine::from_state(state).unwrap();
    assert_eq!((copy.frame(folio), waiting(&copy)), (Frame::Leaving, vec![folio]));
    copy.quiesce();
    assert_eq!((copy.frame(folio), pool(&mut copy)), (Frame::Free, [0, 0, 0]));
}

/// A block above the largest order was once taken as one block and left as base pages, where something had to be moved out of its range first and
/// nobody had asked for a block that stays whole: no recount held any more, and nothing could give it back.
#[test]
fn a_block_out_of_which_something_moved_is_one_block() {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::gib(4)).build().unwrap();
    let request = |order, gfp| PageRequest::new(Order::new(order), gfp, NodeId::new(0));
    let base = machine.alloc_pages(&request(0, GfpFlags::HIGHUSER_MOVABLE)).unwrap();
    let at = machine.block(base).unwrap().pfn;
    let large = machine.alloc_pages(&request(11, GfpFlags::KERNEL)).unwrap();
    machine.validate().unwrap();
    assert_eq!(machine.block(large).unwrap().pfn, at, "the page was in the first range, and left it");
    machine.free_pages(large).unwrap();
    machine.free_pages(base).unwrap();
    machine.validate().unwrap();
}
