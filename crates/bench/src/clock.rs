//! Wall-clock times, for information: they differ from run to run and from machine to machine, so nothing is decided on them.

#![expect(clippy::disallowed_types, reason = "this is the one place that looks at a clock, and only to print it")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The median over `runs` runs of `f`, at least one; what `f` returns is dropped outside the measured time.
pub fn median<R>(runs: usize, mut f: impl FnMut() -> R) -> Duration {
    let time = |_| {
        let start = Instant::now();
        let result = black_box(f());
        let took = start.elapsed();
        drop(result);
        took
    };
    let mut times: Vec<Duration> = (0..runs.max(1)).map(time).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// How much longer `many` takes than `one`, in hundredths, by the shortest of so many runs of each in turn: whatever else a machine does only
/// makes runs longer, and those of several threads more so.
pub fn ratio_of_least(runs: usize, mut one: impl FnMut(), mut many: impl FnMut()) -> u128 {
    let mut least = [Duration::MAX; 2];
    for _ in 0..runs.max(1) {
        least = [least[0].min(median(1, &mut one)), least[1].min(median(1, &mut many))];
    }
    least[1].as_nanos() * 100 / least[0].as_nanos().max(1)
}
