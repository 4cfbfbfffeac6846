//! Pages that boot allocates, and what is said when there are fewer than asked for. The lines are those of a Linux 6.18's log.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::boot::{BootMessage, Parameter};
use hugefolio::{Admin, Bytes, HugeCount, HugeSize, Machine, NodeId, Nodemask, ResizeNodes};

fn build(cmdline: &str) -> (Machine, Vec<BootMessage>) {
    let node = |n| NodeId::new(n);
    let builder = Machine::builder().node(node(0), Bytes::gib(4)).node(node(1), Bytes::gib(4)).cmdline(cmdline);
    let (machine, messages) = builder.build_verbose().unwrap();
    machine.validate().unwrap();
    (machine, messages)
}

/// Pages on both nodes, and the target.
fn pool(machine: &mut Machine, size: HugeSize) -> ([u64; 2], u64) {
    let pool = machine.pool(size).unwrap();
    let on = |n: u8| pool.nodes.iter().find(|(at, _)| at.get() == n).map_or(0, |(_, counts)| counts.nr.get());
    ([on(0), on(1)], pool.max.get())
}

#[test]
fn a_shortfall_lowers_the_target_and_is_said() {
    let (mut machine, messages) = build("hugepagesz=1G hugepages=20");
    let (nr, max) = pool(&mut machine, HugeSize::G1);
    assert_eq!((nr.iter().sum::<u64>(), max), (7, 7));
    assert_eq!(
        messages[0].cause.to_string(),
        "allocating 20 of page size 1.00 GiB failed.  Only allocated 7 hugepages."
    );
    assert_eq!((messages[0].parameter, messages[0].value.as_str()), (Parameter::Hugepages, "20"));
}

#[test]
fn each_node_falls_short_by_itself() {
    let (mut machine, messages) = build("hugepagesz=1G hugepages=0:9,1:1 hugepagesz=2M hugepages=0:10,1:3000");
    assert_eq!(pool(&mut machine, HugeSize::G1), ([3, 1], 4));
    let ([a, b], max) = pool(&mut machine, HugeSize::M2);
    assert!(a == 10 && b < 3000 && max == a + b);
    let said: Vec<String> = messages.iter().map(|message| message.cause.to_string()).collect();
    assert_eq!(said[0], "allocating 9 of page size 1.00 GiB failed node0.  Only allocated 3 hugepages.");
    assert_eq!(said[1], format!("allocating 3000 of page size 2.00 MiB failed node1.  Only allocated {b} hugepages."));
    assert_eq!((said.len(), messages[1].value.as_str()), (2, "0:10,1:3000"));
}

/// Threads of Linux each begin at the first node, so that ten pages lie 5 and 5, 6 and 4 or 7 and 3 by their number.
#[test]
fn the_number_of_threads_makes_no_difference() {
    let state = |cmdline: &str| {
        let (machine, messages) = build(cmdline);
        assert!(messages.is_empty(), "{messages:?}");
        format!("{:?}", machine.state().0)
    };
    let one = state("hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=101");
    for threads in 1..=16 {
        assert_eq!(
            state(&format!("hugepage_alloc_threads={threads} hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=101")),
            one
        );
    }
    let (_, messages) = build("hugepage_alloc_threads=0");
    assert_eq!(messages.len(), 1);
}

/// Boot goes round the nodes by itself: whoever grows the pool later begins at the first one.
#[test]
fn the_cursor_is_at_the_first_node_after_boot() {
    let (mut machine, _) = build("hugepages=5");
    assert_eq!(pool(&mut machine, HugeSize::M2), ([3, 2], 5));
    machine.set_nr_hugepages(HugeSize::M2, HugeCount::new(6), ResizeNodes::Global(Nodemask::ALL)).unwrap();
    assert_eq!(pool(&mut machine, HugeSize::M2), ([4, 2], 6));
}
