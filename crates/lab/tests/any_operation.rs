//! Operations with any arguments at all: nothing panics, and every recount holds.
//!
//! `HUGEFOLIO_ANY_SEED` replays one seed.

use lab::instance::Instance;
use lab::op::{Draws, Op};
use lab::target::Target;

/// Bytes from a seed: an operation is drawn from them.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..48)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn run(seed: u64) {
    let mut instance = Instance::new();
    for n in 0..150u64 {
        let bytes = bytes(seed * 1_000 + n);
        let op = Op::draw(&mut Draws::new(&bytes));
        instance.step(&op);
        instance.counters();
        if let Err(broken) = instance.machine().validate() {
            panic!("seed {seed}, step {n}, {op}: {broken}");
        }
    }
    instance.end();
    if let Err(broken) = instance.machine().validate() {
        panic!("seed {seed}, after the end: {broken}");
    }
}

#[test]
fn nothing_panics() {
    match std::env::var("HUGEFOLIO_ANY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..150).for_each(run),
    }
}
