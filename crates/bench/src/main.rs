//! Puts the figures of the benches beside their targets: `hugefolio-bench SUMMARIES`, where SUMMARIES is what the benches
//! printed with `--output-format=json`. Ends with 1 if a target is missed and with 2 if there are no figures. `hugefolio-bench --times`
//! shows what the clock says, and nothing else.

use std::process::ExitCode;

use bench::clock::{median, ratio_of_least};
use bench::counting::Counting;
use bench::faults::TwoTasks;
use bench::frames::OneZone;
use bench::replay::{replay, scripts};
use bench::report::{Figures, Memory, Report};
use bench::setup::{empty_machine, fill_guest, large_host, scattered, why_no_gigabyte};
use bench::table::STEPS;
use bench::threads::{Nothing, SharedBuddy, SharedZone, Work, ZoneEach, run};
use bench::torture::SharedFrames;
use units::{Bytes, Migratetype, NodeId, Order, PageCount, PageShift};
use zone::{AllocFlags, Want, Zone};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

fn main() -> ExitCode {
    let report = match std::env::args().nth(1) {
        Some(times) if times == "--times" => {
            print_times();
            return ExitCode::SUCCESS;
        }
        Some(path) => report(&path),
        None => Err("usage: hugefolio-bench SUMMARIES | --times".to_owned()),
    };
    match report {
        Ok(report) => {
            println!("{report}");
            print_times();
            if report.all_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn report(path: &str) -> Result<Report, String> {
    let summaries = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let report = Figures::read(&summaries).and_then(|figures| Report::new(&figures, memory()));
    report.map_err(|error| format!("{path}: {error}"))
}

const LARGE: PageCount = PageShift::K4.pages_floor(Bytes::gib(4096));

fn memory() -> Memory {
    let (_machine, machine) = ALLOCATOR.bytes_asked_by(empty_machine);
    let (mut frames, zone) = ALLOCATOR.bytes_kept_by(|| OneZone::new(LARGE));
    // Past the lists of a processor, whose memory is not the zone's, and past the marks: everything is handed out.
    let ((), blocks) = ALLOCATOR.bytes_kept_by(|| take(&mut frames.zone, Order::new(9), LARGE.get() >> 9));
    let mut small = OneZone::new(LARGE).zone;
    let pages = 1_024 << 9;
    let ((), whole) = ALLOCATOR.bytes_kept_by(|| take(&mut small, Order::new(9), 1));
    let ((), pieces) = ALLOCATOR.bytes_kept_by(|| take(&mut small, Order::ZERO, pages));
    let (mut host, pid) = large_host();
    let ((), guest) = ALLOCATOR.bytes_kept_by(|| fill_guest(&mut host, pid));
    // The records of whole pageblocks come by the stretch of 1 GiB.
    Memory { machine, zone, blocks: zone + blocks, frame: pieces.saturating_sub(2 * whole).div_ceil(pages), guest }
}

fn take(zone: &mut Zone, order: Order, blocks: u64) {
    let want = Want { order, migratetype: Migratetype::Movable, flags: AllocFlags::NONE };
    for _ in 0..blocks {
        zone.take(want).expect("all is free");
    }
}

fn print_times() {
    let creation = median(1_001, empty_machine);
    let zone = median(101, || OneZone::new(LARGE));
    let scripts = scripts();
    let replayed = median(11, || replay(&scripts));
    let steps = u128::from(STEPS) * 1_000_000_000 / replayed.as_nanos().max(1);
    println!("for information, by the clock of this machine (medians):");
    println!("  machine of 24 GiB with empty pools: created in {} ns (aim: under 50,000 ns)", creation.as_nanos());
    println!("  zone of 4 TiB: made in {} ns (aim: under 1,000,000 ns)", zone.as_nanos());
    println!("  recorded steps per second: {steps}");
    let machine = scattered(1_024);
    let why = median(11, || why_no_gigabyte(&machine));
    println!(
        "  why is there no 1 GiB page, 1 TiB with 1,000,000 blocks: {} ns (aim: under 50,000,000 ns)",
        why.as_nanos()
    );
    print_threads();
    print_faults();
}

/// The other allocator splits and merges its whole memory for each pair, unless somebody else has a page: two threads may be faster there
/// than one.
fn print_threads() {
    let pages = PageShift::K4.pages_floor(Bytes::gib(1));
    let (one, each, buddy) = (SharedZone::new(pages), ZoneEach::new(pages), SharedBuddy::new(pages));
    println!(
        "two threads, per pair of order 0 over one thread (the shortest of 101 runs of each; where other work keeps a core busy they say little):"
    );
    let shown = |n: u128| format!("{}.{:02}", n / 100, n % 100);
    let line = |title, zone: u128, buddy: Option<u128>, aim| {
        let beside = buddy.map_or_else(String::new, |n| format!("; buddy crate {}", shown(n)));
        println!("  {title}: {} (aim: at most {aim}{beside})", shown(zone));
    };
    println!("  arithmetic, for comparison: {}", shown(slowdown(&Nothing, Work::Private)));
    line("private work, one zone", slowdown(&one, Work::Private), Some(slowdown(&buddy, Work::Private)), "1.10");
    line("private work, a zone each", slowdown(&each, Work::Private), None, "1.10");
    line("freed by the other thread", slowdown(&one, Work::Crossed), Some(slowdown(&buddy, Work::Crossed)), "2.00");
}

/// How much more two threads do than one in the same time.
fn print_faults() {
    println!("two threads, reserved fault + unmap, as many times what one does (the shortest of 31 runs of each):");
    let apart = TwoTasks::new(|node| node);
    let together = TwoTasks::new(|_| NodeId::new(0));
    for (title, tasks, cpus, aim) in [("a node each", apart, [0, 2], "1.80"), ("one node", together, [0, 1], "1.30")] {
        let longer = ratio_of_least(31, || tasks.run(&cpus[..1]), || tasks.run(&cpus));
        let more = 20_000 / longer.max(1);
        println!("  {title}: {}.{:02} (aim: at least {aim})", more / 100, more % 100);
    }
}

fn slowdown<S: SharedFrames>(frames: &S, work: Work) -> u128 {
    ratio_of_least(101, || run(frames, 1, work), || run(frames, 2, work))
}
