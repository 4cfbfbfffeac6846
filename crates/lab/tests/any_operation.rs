//! Operations with any arguments at all: nothing panics, and every recount holds.
//!
//! `HUGEFOLIO_ANY_SEED` replays one seed.

use lab::instance::Instance;
use lab::op::{Draws, Op};
use lab::scenario::Scenario;
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

/// Machines of several kinds in turn: that of the recordings, one whose groups account memory, two nodes, one with little memory and
/// other sizes, and groups of cgroup v1.
const MACHINES: [&str; 5] = [
    "nop\n",
    "machine cgroup=memory_hugetlb_accounting hugepages=8\nnop\n",
    "machine node=256M node=128M cgroup=memory_hugetlb_accounting hugepages=0:4,1:2\nnop\n",
    "machine arch=arm64-16K node=300M hugepagesz=32M hugepages=3\nnop\n",
    "machine node=3G cgroup=v1 hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=4\nnop\n",
];

fn run(seed: u64) {
    let mut instance = Instance::new();
    let kind = usize::try_from(seed).unwrap_or(0) % MACHINES.len();
    let scenario = Scenario::parse("any", MACHINES[kind]).expect("a line of a header");
    instance.begin(&scenario.header("any")).expect("there is such a machine");
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
