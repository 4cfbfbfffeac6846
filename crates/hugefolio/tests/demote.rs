//! Free pages of a pool become pages of a smaller one.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use hugefolio::{
    Admin, Bytes, Calls, DemoteCallError, DemoteError, HugeCount, HugeSize, Machine, MapCall, MapSource, NodeId,
    Nodemask, ResizeNodes, Share,
};

const ALL: ResizeNodes = ResizeNodes::Global(Nodemask::ALL);

fn machine(nodes: &[u64], cmdline: &str) -> Machine {
    let numbered = nodes.iter().zip(0..);
    let builder = numbered.fold(Machine::builder(), |b, (&gib, n)| b.node(NodeId::new(n), Bytes::gib(gib)));
    builder.cmdline(cmdline).build().unwrap()
}

/// Total, free, reserved and surplus pages, and the administrator's target.
fn counters(machine: &mut Machine, size: HugeSize) -> [u64; 5] {
    machine.validate().unwrap();
    let pool = machine.pool(size).unwrap();
    [pool.nr, pool.free, pool.resv, pool.surplus, pool.max].map(HugeCount::get)
}

fn demote(machine: &mut Machine, count: u64) {
    machine.demote(HugeSize::G1, HugeCount::new(count), ALL).unwrap();
}

fn set(machine: &mut Machine, size: HugeSize, count: u64) {
    machine.set_nr_hugepages(size, HugeCount::new(count), ALL).unwrap();
}

/// Linux checks that some free page is not reserved, and then takes reserved ones along.
#[test]
fn reserved_pages_stay() {
    let mut machine = machine(&[8], "hugepagesz=1G hugepages=3");
    let process = machine.spawn();
    let source = MapSource::Anonymous(Some(HugeSize::G1));
    let call = MapCall { source, ..MapCall::anonymous(Bytes::gib(2), Share::Private) };
    let at = machine.mmap(process, &call).unwrap();
    demote(&mut machine, 3);
    assert_eq!(counters(&mut machine, HugeSize::G1), [2, 2, 2, 0, 2]);
    assert_eq!(counters(&mut machine, HugeSize::M2), [512, 512, 0, 0, 512]);
    demote(&mut machine, 1);
    assert_eq!(counters(&mut machine, HugeSize::G1), [2, 2, 2, 0, 2]);
    machine.write_byte(process, at, 1).unwrap();
    machine.munmap(process, at, Bytes::gib(2)).unwrap();
    demote(&mut machine, 7);
    assert_eq!(counters(&mut machine, HugeSize::G1), [0; 5]);
    assert_eq!(counters(&mut machine, HugeSize::M2), [1536, 1536, 0, 0, 1536]);
}

/// Surplus pages of the smaller pool stay surplus: what comes from a larger page is the administrator's.
#[test]
fn surplus_of_the_smaller_pool_stays() {
    let mut machine = machine(&[8], "hugepagesz=1G hugepages=1");
    machine.set_nr_overcommit(HugeSize::M2, HugeCount::new(2)).unwrap();
    let process = machine.spawn();
    let at = machine.mmap(process, &MapCall::anonymous(Bytes::mib(4), Share::Private)).unwrap();
    machine.write_byte(process, at, 1).unwrap();
    assert_eq!(counters(&mut machine, HugeSize::M2), [2, 1, 1, 2, 0]);
    demote(&mut machine, 1);
    assert_eq!(counters(&mut machine, HugeSize::M2), [514, 513, 1, 2, 512]);
    machine.exit(process);
    assert_eq!(counters(&mut machine, HugeSize::M2), [512, 512, 0, 0, 512]);
}

/// A window of 1 GiB with anything left in it is none, and the first one is never one: a part of it is DMA memory.
#[test]
fn leftovers_keep_their_window() {
    let mut machine = machine(&[3], "hugepagesz=1G hugepages=2");
    demote(&mut machine, 2);
    set(&mut machine, HugeSize::M2, 1);
    set(&mut machine, HugeSize::G1, 2);
    assert_eq!(counters(&mut machine, HugeSize::G1), [1, 1, 0, 0, 1]);
    set(&mut machine, HugeSize::M2, 0);
    set(&mut machine, HugeSize::G1, 2);
    assert_eq!(counters(&mut machine, HugeSize::G1), [2, 2, 0, 0, 2]);
}

/// Pages of one node, counted against reservations of all.
#[test]
fn a_node_demotes_its_own() {
    let mut machine = machine(&[4, 4], "hugepagesz=1G hugepages=0:1,1:2");
    let one = ResizeNodes::Node(NodeId::new(1));
    machine.demote(HugeSize::G1, HugeCount::new(9), one).unwrap();
    assert_eq!(counters(&mut machine, HugeSize::G1), [1, 1, 0, 0, 1]);
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!(pool.nodes.iter().map(|(_, counts)| counts.nr.get()).collect::<Vec<_>>(), [0, 1024]);
    let none = machine.demote(HugeSize::G1, HugeCount::new(1), ResizeNodes::Node(NodeId::new(2)));
    assert_eq!(none, Err(DemoteCallError::Demote(DemoteError::NoSuchNode(NodeId::new(2)))));
    machine.write_file("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/demote", "1\n").unwrap();
    assert_eq!(counters(&mut machine, HugeSize::M2), [1536, 1536, 0, 0, 1536]);
}

#[test]
fn a_size_that_cannot_be() {
    let mut machine = machine(&[4], "");
    let to = |machine: &mut Machine, from, to| match machine.set_demote_size(from, to) {
        Err(DemoteCallError::Demote(error)) => Some(error),
        _ => None,
    };
    let (m2, g1) = (HugeSize::M2, HugeSize::G1);
    assert_eq!(to(&mut machine, g1, m2), None);
    assert_eq!(to(&mut machine, g1, g1), Some(DemoteError::NotSmaller { page: g1, to: g1 }));
    assert_eq!(to(&mut machine, g1, HugeSize::K64), Some(DemoteError::NoSuchSize(HugeSize::K64)));
    assert_eq!(to(&mut machine, m2, m2), Some(DemoteError::NoTarget(m2)));
}

/// On arm64 a page of 1 GiB can become pages of 32 MiB, but not of 64 KiB, which no middle table maps.
#[test]
fn the_size_can_be_chosen() {
    let arm = hugefolio::boot::Arch::Arm64(hugefolio::PageShift::K4);
    let builder = Machine::builder().arch(arm).node(NodeId::new(0), Bytes::gib(4));
    let mut machine = builder.cmdline("hugepagesz=1G hugepages=2").build().unwrap();
    let file = "/sys/kernel/mm/hugepages/hugepages-1048576kB/demote_size";
    assert_eq!(machine.read_file(file).unwrap(), "32768kB\n");
    demote(&mut machine, 1);
    assert_eq!(counters(&mut machine, HugeSize::M32)[0], 32);
    machine.write_file(file, "2M\n").unwrap();
    assert_eq!(machine.read_file(file).unwrap(), "2048kB\n");
    demote(&mut machine, 1);
    assert_eq!(counters(&mut machine, HugeSize::M2)[0], 512);
    let error = machine.set_demote_size(HugeSize::G1, HugeSize::K64).unwrap_err();
    assert_eq!(error, DemoteCallError::Demote(DemoteError::BelowPmd { to: HugeSize::K64, least: HugeSize::M2 }));
}

/// What was written in a page is in the memory, whoever splits it: the parts are zeroed when they are touched.
#[test]
fn parts_are_zero_when_they_are_used() {
    let mut machine = machine(&[4], "hugepagesz=1G hugepages=1");
    let process = machine.spawn();
    let source = MapSource::Anonymous(Some(HugeSize::G1));
    let call = MapCall { source, ..MapCall::anonymous(Bytes::gib(1), Share::Private) };
    let at = machine.mmap(process, &call).unwrap();
    machine.write_byte(process, at, 7).unwrap();
    machine.munmap(process, at, Bytes::gib(1)).unwrap();
    demote(&mut machine, 1);
    let at = machine.mmap(process, &MapCall::anonymous(Bytes::gib(1), Share::Private)).unwrap();
    for n in 0..512 {
        let addr = hugefolio::Vaddr::new(at.get() + n * HugeSize::M2.bytes().get());
        assert_eq!(machine.read_byte(process, addr).unwrap(), 0);
    }
    machine.validate().unwrap();
}

/// The switch of descriptors is there where a page has some to give, and shows 1 for any number but 0.
#[test]
fn the_switch_of_descriptors() {
    let mut machine = machine(&[4], "hugetlb_free_vmemmap=on");
    let file = "/proc/sys/vm/hugetlb_optimize_vmemmap";
    assert_eq!(machine.read_file(file).unwrap(), "1\n");
    for (written, shown) in [("0", "0\n"), ("2", "1\n"), ("-1", "1\n"), ("0\n", "0\n")] {
        machine.write_file(file, written).unwrap();
        assert_eq!(machine.read_file(file).unwrap(), shown, "{written:?}");
    }
    for refused in ["abc", "4294967296"] {
        assert!(machine.write_file(file, refused).is_err(), "{refused}");
    }
    machine.write_file("/proc/sys/vm/hugetlb_shm_group", "7").unwrap();
    assert_eq!(machine.read_file("/proc/sys/vm/hugetlb_shm_group").unwrap(), "7\n");
}
