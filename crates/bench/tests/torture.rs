//! Allocators under the trial, and one that fails it.
//!
//! `TORTURE_TAKES=100000000 cargo test --release -p hugefolio-bench --test torture` tries longer; `TORTURE_SEED` repeats a trial.

use bench::frames::{BuddySystem, Frames, OneZone};
use bench::setup::NODE;
use bench::threads::SharedZone;
use bench::torture::{HandedOutTwice, SharedFrames, Trial, torture};
use hugefolio::{CpuHandle, Machine, SharedMachine};
use sync::Rank;
use sync::locks::Section;
use units::{Bytes, CpuId, Order, PageCount, Pfn};

const FRAMES: PageCount = PageCount::new(64 << 9);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn trial(threads: u8) -> Trial {
    let (takes, seed) = (number("TORTURE_TAKES", 400_000), number("TORTURE_SEED", 1));
    Trial { frames: FRAMES, threads, takes, largest: Order::new(10), seed }
}

fn run<S: SharedFrames>(frames: &S, trial: Trial) {
    match torture(frames, trial) {
        Ok(taken) => assert!(taken > trial.takes / 2, "only {taken} blocks were to be had"),
        Err(twice) => panic!(
            "{twice}; TORTURE_TAKES={} TORTURE_SEED={} cargo test --release -p hugefolio-bench --test torture",
            trial.takes, trial.seed
        ),
    }
}

/// Any lock of the machine may be taken while this one is held.
const OUTERMOST: Rank = Rank(0, 0);

/// One handle for all threads.
struct Behind<F>(Section<F>);

impl<F: Frames> Frames for &Behind<F> {
    fn add(&mut self, start: Pfn, end: Pfn) {
        self.0.with(|frames| frames.add(start, end));
    }

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.0.with(|frames| frames.alloc(order))
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        self.0.with(|frames| frames.free(pfn, order));
    }
}

impl<F: Frames + Send> SharedFrames for Behind<F> {
    type Handle<'a>
        = &'a Self
    where
        F: 'a;

    fn handle(&self, _: u8) -> &Self {
        self
    }
}

/// A shared machine, and a processor for each thread.
struct Processors(SharedMachine);

struct Processor<'a> {
    machine: &'a SharedMachine,
    cpu: Option<CpuHandle>,
}

impl Frames for Processor<'_> {
    fn add(&mut self, _: Pfn, _: Pfn) {}

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let mut on = self.machine.on(self.cpu.as_mut()?);
        page_alloc::alloc(&mut on, &bench::setup::block(order)).ok().map(|block| block.pfn)
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        let cpu = self.cpu.as_mut().expect("it is given back at the end");
        let mut on = self.machine.on(cpu);
        let zone = page_alloc::zone_of(&mut on, pfn).expect("a frame of the machine");
        page_alloc::free(&mut on, zone, pfn, order).expect("it was handed out");
    }
}

impl Drop for Processor<'_> {
    fn drop(&mut self) {
        self.cpu.take().into_iter().for_each(|cpu| self.machine.check_in(cpu));
    }
}

impl SharedFrames for Processors {
    type Handle<'a> = Processor<'a>;

    fn handle(&self, n: u8) -> Processor<'_> {
        let cpu = self.0.check_out(CpuId::new(n.into())).expect("each thread has its own");
        Processor { machine: &self.0, cpu: Some(cpu) }
    }
}

#[test]
fn a_zone_with_one_handle_for_all() {
    let frames = Behind(Section::new(OUTERMOST, OneZone::new(FRAMES)));
    run(&frames, trial(4));
    let mut one = frames.0.into_inner();
    one.zone.drain(&mut one.lists);
    one.zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(one.zone.free(), one.zone.managed());
}

#[test]
fn a_zone_with_lists_for_each() {
    for threads in 2..=4 {
        let mut zone = bench::frames::marked_zone(FRAMES);
        zone.set_marks(zone::watermark::Watermarks::default());
        let frames = SharedZone::of(zone);
        run(&frames, trial(threads));
        let zone = frames.into_inner();
        zone.validate().unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(zone.free(), zone.managed());
    }
}

#[test]
fn a_shared_machine_with_a_processor_for_each() {
    let memory = Bytes::new(FRAMES.get() << 12);
    let machine = Machine::builder().node(NODE, memory).build().expect("a small machine");
    let frames = Processors(machine.into());
    run(&frames, trial(4));
    let machine = frames.0.into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    assert!(machine.pages().zones().all(|(zone, _)| zone.free() == zone.managed()));
}

#[test]
fn the_buddy_crate() {
    run(&Behind(Section::new(OUTERMOST, BuddySystem::new(FRAMES))), trial(4));
}

/// Hands every thousandth block out once more.
struct Forgetful(OneZone, Vec<(Pfn, Order)>, u64);

impl Frames for Forgetful {
    fn add(&mut self, start: Pfn, end: Pfn) {
        self.0.add(start, end);
    }

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.2 += 1;
        let again = self.1.iter().find(|&&(_, of)| of == order).filter(|_| self.2.is_multiple_of(1_000));
        let block = again.map(|&(pfn, _)| pfn).or_else(|| self.0.alloc(order))?;
        self.1.push((block, order));
        Some(block)
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        self.1.retain(|&block| block != (pfn, order));
        self.0.free(pfn, order);
    }
}

/// Without this nobody would know whether the trial can fail.
#[test]
fn a_double_hand_out_is_caught() {
    let frames = Behind(Section::new(OUTERMOST, Forgetful(OneZone::new(FRAMES), Vec::new(), 0)));
    let caught = torture(&frames, Trial { takes: 100_000, ..trial(2) });
    assert!(matches!(caught, Err(HandedOutTwice { owner: Some(_), .. })), "{caught:?}");
}
