//! Threads on one machine, under many schedules.
#![allow(dead_code, reason = "each test uses a part of it")]

use hugefolio::{CpuId, Machine, OnCpu, SharedMachine};
use shuttle::scheduler::PctScheduler;
use shuttle::sync::Arc;
use shuttle::thread;

/// Runs a test under `usual` schedules, or as many as HUGEFOLIO_SCHEDULES says, each with at most three changes of the thread that runs first.
pub(crate) fn under_schedules(usual: usize, test: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("HUGEFOLIO_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    println!(
        "{schedules} schedules; ten thousand with: HUGEFOLIO_SCHEDULES=10000 RUSTFLAGS=\"--cfg shuttle\" cargo test -p hugefolio --test {} --target-dir \
         target/shuttle",
        env!("CARGO_CRATE_NAME")
    );
    let mut config = shuttle::Config::new();
    // A machine takes more stack than threads have there.
    config.stack_size = 1 << 18;
    shuttle::Runner::new(PctScheduler::new(3, schedules), config).run(test);
}

/// Two threads at once, each on its own processor; the machine they leave, recounted.
pub(crate) fn race(
    machine: Machine,
    one: impl FnOnce(&mut OnCpu<'_>) + Send + 'static,
    other: impl FnOnce(&mut OnCpu<'_>),
) -> Machine {
    let shared = Arc::new(SharedMachine::from(machine));
    let spawned = {
        let shared = shared.clone();
        thread::spawn(move || on_cpu(&shared, CpuId::new(0), one))
    };
    on_cpu(&shared, CpuId::new(1), other);
    spawned.join().expect("a panic ends a run");
    recounted(shared)
}

/// What one thread does.
pub(crate) type Part = Box<dyn FnOnce(&mut OnCpu<'_>) + Send>;

/// Each part on a thread and a processor of its own; the machine that they leave, recounted.
pub(crate) fn race_all(machine: Machine, parts: Vec<Part>) -> Machine {
    let shared = Arc::new(SharedMachine::from(machine));
    let threads: Vec<_> = (0..)
        .zip(parts)
        .map(|(n, part)| {
            let shared = shared.clone();
            thread::spawn(move || on_cpu(&shared, CpuId::new(n), part))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a panic ends a run"));
    recounted(shared)
}

fn on_cpu(shared: &SharedMachine, cpu: CpuId, calls: impl FnOnce(&mut OnCpu<'_>)) {
    let mut cpu = shared.check_out(cpu).expect("nobody else has the processor");
    calls(&mut shared.on(&mut cpu));
    shared.check_in(cpu);
}

fn recounted(shared: Arc<SharedMachine>) -> Machine {
    let machine = Arc::into_inner(shared).expect("all threads are done").into_machine();
    machine.validate().unwrap_or_else(|broken| panic!("{broken}"));
    machine
}
