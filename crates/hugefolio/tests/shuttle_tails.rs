//! Shared tails on threads, every interleaving that a schedule can give: four threads optimise and restore in one zone, and every page is counted after it.
//!
//! Run with `cargo xtask ci shuttle`. The number of schedules is that of HUGEFOLIO_SCHEDULES; ten thousand are
//! `HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS="--cfg shuttle" cargo test -p hugefolio --test shuttle_tails --target-dir target/shuttle`.
//!
//! Two early forms of shared tails were wrong: one looked whether there is a tail and set it later, without looking again, so that of two first readers one read a
//! page that nobody knew of; the other counted a reader when it was done, so that the tail went while somebody was about to read it. Both are kept here, and the
//! same test has to find them.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use hugefolio::pages::PageRequest;
use hugefolio::{
    Bytes, CpuId, Descriptor, GfpFlags, Machine, NodeId, OnCpu, Order, PageCount, Pages, Pfn, SharedMachine, TailKey,
    ZoneRef,
};
use shuttle::scheduler::PctScheduler;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use vmemmap::{Env, HugeBlock, Outcome, Restored};

const NODE: NodeId = NodeId::new(0);
const THREADS: usize = 4;
/// Two pages of descriptors: the fewest steps that have a tail.
const ORDER: Order = Order::new(7);

fn schedules() -> usize {
    std::env::var("HUGEFOLIO_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

/// How blocks come to their tail.
trait Tails: Send + Sync + 'static {
    /// The block reads the tail from now on, and has given back one page.
    fn optimise(&self, on: &mut OnCpu<'_>, block: HugeBlock);
    /// It has its page again.
    fn restore(&self, on: &mut OnCpu<'_>, block: HugeBlock);
    /// The page that the block reads, and that everybody knows of.
    fn read_and_known(&self, on: &mut OnCpu<'_>, block: HugeBlock) -> (Pfn, Option<Pfn>);
    /// Tails that there are.
    fn count(&self, machine: &Machine) -> u64;
}

/// As the library does it.
struct Library;

fn key(zone: ZoneRef) -> TailKey {
    TailKey::new(zone, ORDER)
}

impl Tails for Library {
    fn optimise(&self, on: &mut OnCpu<'_>, block: HugeBlock) {
        assert_eq!(vmemmap::optimise(on, block), Outcome::Optimised(PageCount::new(1)));
    }

    fn restore(&self, on: &mut OnCpu<'_>, block: HugeBlock) {
        assert_eq!(vmemmap::restore(on, block.pfn), Ok(Restored::Filled(PageCount::new(1))));
    }

    fn read_and_known(&self, on: &mut OnCpu<'_>, block: HugeBlock) -> (Pfn, Option<Pfn>) {
        let last = block.pfn.offset(PageCount::new(ORDER.pages().get() - 1));
        on.with_vmemmap(|v| match v.descriptor(last) {
            Some(Descriptor::Shared(tail)) => (tail.home(), v.tail(key(block.zone)).map(|(frame, _)| frame)),
            other => panic!("{last} has {other:?}"),
        })
    }

    fn count(&self, machine: &Machine) -> u64 {
        machine.vmemmap().tail_pages().get()
    }
}

/// A way that a tail was handed out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// None: the same bookkeeping, done right.
    None,
    /// Whether there is a tail is looked up, and it is set later.
    SetUnseen,
    /// A reader is counted once it reads.
    CountLate,
}

#[derive(Default)]
struct Slot {
    tail: Option<Pfn>,
    readers: u64,
}

/// Tails of blocks that stand for the library's: each block holds a page, and gives it back while it reads the tail.
struct Naive {
    mistake: Mistake,
    slot: Mutex<Slot>,
    /// What each block reads, or its own page.
    pages: Mutex<Vec<(Pfn, Pfn)>>,
}

impl Naive {
    fn new(mistake: Mistake) -> Self {
        Self { mistake, slot: Mutex::new(Slot::default()), pages: Mutex::new(Vec::new()) }
    }

    fn take(on: &mut OnCpu<'_>) -> Pfn {
        page_alloc::alloc(on, &PageRequest::new(Order::ZERO, GfpFlags::KERNEL, NODE)).unwrap().pfn
    }

    fn put(on: &mut OnCpu<'_>, pfn: Pfn) {
        let zone = page_alloc::zone_of(on, pfn).unwrap();
        page_alloc::free(on, zone, pfn, Order::ZERO).unwrap();
    }

    /// The tail, with one more reader.
    fn use_tail(&self, on: &mut OnCpu<'_>) -> Pfn {
        let counts = u64::from(self.mistake != Mistake::CountLate);
        let found = |slot: &mut Slot| slot.tail.inspect(|_| slot.readers += counts);
        if let Some(tail) = found(&mut self.slot.lock().unwrap()) {
            return tail;
        }
        let page = Self::take(on);
        let mut slot = self.slot.lock().unwrap();
        if self.mistake != Mistake::SetUnseen
            && let Some(tail) = found(&mut slot)
        {
            drop(slot);
            Self::put(on, page);
            return tail;
        }
        slot.tail = Some(page);
        slot.readers += counts;
        page
    }
}

impl Tails for Naive {
    fn optimise(&self, on: &mut OnCpu<'_>, block: HugeBlock) {
        let tail = self.use_tail(on);
        // The block's first page is a new one, and then both that it had go.
        let head = Self::take(on);
        if self.mistake == Mistake::CountLate {
            self.slot.lock().unwrap().readers += 1;
        }
        self.pages.lock().unwrap().push((block.pfn, tail));
        Self::put(on, head);
    }

    fn restore(&self, on: &mut OnCpu<'_>, block: HugeBlock) {
        let last = {
            let mut slot = self.slot.lock().unwrap();
            slot.readers -= 1;
            if slot.readers == 0 { slot.tail.take() } else { None }
        };
        self.pages.lock().unwrap().retain(|&(pfn, _)| pfn != block.pfn);
        if let Some(tail) = last {
            Self::put(on, tail);
        }
    }

    fn read_and_known(&self, _: &mut OnCpu<'_>, block: HugeBlock) -> (Pfn, Option<Pfn>) {
        let read = self.pages.lock().unwrap().iter().find(|&&(pfn, _)| pfn == block.pfn).map(|&(_, tail)| tail);
        (read.unwrap(), self.slot.lock().unwrap().tail)
    }

    fn count(&self, _: &Machine) -> u64 {
        u64::from(self.slot.lock().unwrap().tail.is_some())
    }
}

/// A machine with a block for each thread.
fn machine() -> (Machine, Vec<HugeBlock>) {
    let builder = Machine::builder().node(NODE, Bytes::mib(16)).cmdline("hugetlb_free_vmemmap=on");
    let mut machine = builder.build().unwrap();
    let request = PageRequest::new(ORDER, GfpFlags::KERNEL, NODE);
    let ids: Vec<_> = (0..THREADS).map(|_| machine.alloc_pages(&request).unwrap()).collect();
    let blocks: Vec<HugeBlock> = ids
        .into_iter()
        .map(|id| machine.blocks().get(id).unwrap())
        .map(|held| HugeBlock { pfn: held.pfn, order: held.order, zone: held.zone })
        .collect();
    // What boot kept for these descriptors becomes the allocator's before anything is counted.
    for &block in &blocks {
        assert_eq!(vmemmap::optimise(&mut machine, block), Outcome::Optimised(PageCount::new(1)));
        vmemmap::restore(&mut machine, block.pfn).unwrap();
    }
    (machine, blocks)
}

/// What each thread does with its block.
#[derive(Clone, Copy)]
enum Part {
    Optimise,
    OptimiseAndRestore,
    Twice,
}

/// Four threads, each with a block of its own; the machine that they leave, and how many pages more are free.
fn race<T: Tails>(tails: &Arc<T>, parts: [Part; THREADS]) -> (Machine, i64) {
    let (machine, blocks) = machine();
    let start = machine.spare_pages(NODE).get();
    let shared = Arc::new(SharedMachine::from(machine));
    let threads: Vec<_> = (0..)
        .zip(blocks.into_iter().zip(parts))
        .map(|(n, (block, part))| {
            let (shared, tails) = (shared.clone(), tails.clone());
            thread::spawn(move || {
                let mut cpu = shared.check_out(CpuId::new(n)).unwrap();
                let on = &mut shared.on(&mut cpu);
                let optimise = |on: &mut OnCpu<'_>| {
                    tails.optimise(on, block);
                    let (read, known) = tails.read_and_known(on, block);
                    assert_eq!(Some(read), known, "a block reads a page that is no tail");
                };
                optimise(on);
                if let Part::OptimiseAndRestore | Part::Twice = part {
                    tails.restore(on, block);
                }
                if let Part::Twice = part {
                    optimise(on);
                    tails.restore(on, block);
                }
                shared.check_in(cpu);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let machine = Arc::into_inner(shared).expect("all threads are done").into_machine();
    let more = machine.spare_pages(NODE).get().cast_signed() - start.cast_signed();
    (machine, more)
}

/// All optimise, and one tail is left: it costs a page, and each block gave one back, where it has one to give.
fn first_readers<T: Tails>(tails: T, gain: i64) {
    let tails = Arc::new(tails);
    let (machine, more) = race(&tails, [Part::Optimise; THREADS]);
    assert_eq!(tails.count(&machine), 1);
    assert_eq!(more, gain * 4 - 1);
}

/// All come and go, some twice: nothing is left.
fn teardown<T: Tails>(tails: T) {
    let tails = Arc::new(tails);
    let parts = [Part::OptimiseAndRestore, Part::Twice, Part::OptimiseAndRestore, Part::Twice];
    let (machine, more) = race(&tails, parts);
    assert_eq!((tails.count(&machine), more), (0, 0));
}

fn under_schedules(test: impl Fn() + Send + Sync + 'static) {
    println!(
        "{} schedules; ten thousand with: HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS=\"--cfg shuttle\" cargo test -p hugefolio --test shuttle_tails --target-dir \
         target/shuttle",
        schedules()
    );
    check(test);
}

/// Each schedule has at most three changes of the thread that runs first. A machine takes more stack than threads have there.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    shuttle::Runner::new(PctScheduler::new(3, schedules()), config).run(test);
}

#[test]
fn of_four_first_readers_one_makes_the_tail() {
    under_schedules(|| {
        let tails = Arc::new(Library);
        let (machine, more) = race(&tails, [Part::Optimise; THREADS]);
        machine.validate().unwrap();
        assert_eq!((tails.count(&machine), more), (1, 4 - 1));
    });
}

#[test]
fn the_last_reader_takes_the_tail_with_it() {
    under_schedules(|| {
        let tails = Arc::new(Library);
        let parts = [Part::OptimiseAndRestore, Part::Twice, Part::OptimiseAndRestore, Part::Twice];
        let (machine, more) = race(&tails, parts);
        machine.validate().unwrap();
        assert_eq!((tails.count(&machine), more), (0, 0));
    });
}

#[test]
fn some_stay_and_some_go() {
    under_schedules(|| {
        let tails = Arc::new(Library);
        let (machine, more) = race(&tails, [Part::Optimise, Part::Twice, Part::OptimiseAndRestore, Part::Optimise]);
        machine.validate().unwrap();
        assert_eq!((tails.count(&machine), more), (1, 2 - 1));
    });
}

/// The stand-in without a mistake is found right, so that what is found in the others is their mistake.
#[test]
fn the_stand_in_is_right_without_its_mistakes() {
    under_schedules(|| first_readers(Naive::new(Mistake::None), 0));
    under_schedules(|| teardown(Naive::new(Mistake::None)));
}

/// Finds the mistake, or says that it did not.
fn is_caught(test: impl Fn() + Send + Sync + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| check(test))).is_err()
}

#[test]
fn a_tail_that_is_set_unseen_is_caught() {
    assert!(is_caught(|| first_readers(Naive::new(Mistake::SetUnseen), 0)), "two first readers never met");
}

#[test]
fn a_reader_that_is_counted_late_is_caught() {
    assert!(is_caught(|| teardown(Naive::new(Mistake::CountLate))), "no tail went under a reader");
}
