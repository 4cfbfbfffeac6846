//! Machines of other shapes: several nodes, other architectures, what the boot line says.

use hugefolio::boot::{Arch, RuntimeGigantic};
use hugefolio::errno::{Errno, ToErrno};
use hugefolio::{
    Admin, Bytes, Calls, Credentials, HugeCount, HugeSize, Machine, MapCall, Mempolicy, NodeId, Nodemask, Origin,
    PageShift, ResizeError, ResizeNodes, Share, Writer,
};

const fn count(n: u64) -> HugeCount {
    HugeCount::new(n)
}

fn two_nodes(cmdline: &str) -> Machine {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::gib(1)).node(NodeId::new(1), Bytes::gib(1));
    builder.cmdline(cmdline).build().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_boot_line_fills_the_pools() {
    let mut machine = Machine::builder()
        .node(NodeId::new(0), Bytes::gib(8))
        .cmdline("hugepages=8 hugepagesz=1G hugepages=2")
        .build()
        .unwrap();
    assert_eq!(machine.pool(HugeSize::M2).unwrap().nr, count(8));
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, count(2));
    let meminfo = machine.read_file("/proc/meminfo").unwrap();
    assert_eq!(
        meminfo,
        "HugePages_Total:       8\nHugePages_Free:        8\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n\
         Hugepagesize:       2048 kB\nHugetlb:         2113536 kB\n"
    );
    machine.validate().unwrap();
}

#[test]
fn free_blocks_are_told_as_the_kernel_tells_them() {
    let builder = Machine::builder().node(NodeId::new(0), Bytes::mib(23)).node(NodeId::new(1), Bytes::mib(8));
    let mut machine = builder.cmdline("hugepages=0:1,1:1").build().unwrap();
    let read = |machine: &mut Machine, path| machine.read_file(path).unwrap();
    assert_eq!(
        read(&mut machine, "/proc/buddyinfo"),
        "Node 0, zone      DMA      0      0      0      0      0      0      0      0      0      0      4 \n\
         Node 0, zone    DMA32      0      0      0      0      0      0      0      0      1      0      1 \n\
         Node 1, zone   Normal      0      0      0      0      0      0      0      0      0      1      1 \n"
    );
    assert_eq!(
        read(&mut machine, "/sys/kernel/debug/extfrag/unusable_index").lines().nth(1),
        Some("Node 0, zone    DMA32 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.200 0.200 ")
    );
    let suitable = "-1.000 ".repeat(11);
    let zones = ["     DMA", "   DMA32"].map(|zone| format!("Node 0, zone {zone} {suitable}\n")).concat();
    let index = format!("{zones}Node 1, zone   Normal {suitable}\n");
    assert_eq!(read(&mut machine, "/sys/kernel/debug/extfrag/extfrag_index"), index);
    machine.write_file("/proc/sys/vm/nr_hugepages", "0").unwrap();
    assert_eq!(
        read(&mut machine, "/proc/buddyinfo").lines().last(),
        Some("Node 1, zone   Normal      0      0      0      0      0      0      0      0      0      0      2 ")
    );
}

#[test]
fn a_boot_line_that_asks_for_too_much_lowers_the_target() {
    let mut machine = Machine::builder().node(NodeId::new(0), Bytes::mib(64)).cmdline("hugepages=100").build().unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    // The marks of two zones cost a page each.
    assert_eq!((pool.nr, pool.max), (count(30), count(30)));
}

#[test]
fn a_node_s_file_changes_that_node_alone() {
    let mut machine = two_nodes("hugepages=0:4,1:2");
    let nodes = |machine: &mut Machine| {
        let pool = machine.pool(HugeSize::M2).unwrap();
        pool.nodes.iter().map(|(_, n)| (n.nr.get(), n.surplus.get())).collect::<Vec<_>>()
    };
    assert_eq!(nodes(&mut machine), [(4, 0), (2, 0)]);
    let pid = machine.spawn();
    let four = MapCall::anonymous(HugeSize::M2.total(count(4)), Share::Private);
    let at = machine.mmap(pid, &four).unwrap();
    for n in 0..4 {
        machine.write_byte(pid, at + HugeSize::M2.total(count(n)), 1).unwrap();
    }
    // All four of node 0 are in use: they become surplus, and leave when they are freed.
    let file = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages";
    machine.write_file(file, "0").unwrap();
    assert_eq!(nodes(&mut machine), [(4, 4), (2, 0)]);
    machine.write_file("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "3").unwrap();
    assert_eq!(nodes(&mut machine), [(4, 4), (3, 0)]);
    assert_eq!(machine.read_file("/proc/sys/vm/nr_hugepages").unwrap(), "3\n");
    machine.exit(pid);
    assert_eq!(nodes(&mut machine), [(0, 0), (3, 0)]);
    machine.validate().unwrap();
}

#[test]
fn the_mempolicy_file_heeds_the_writer() {
    let mut machine = two_nodes("");
    let writer = Writer {
        local: NodeId::new(0),
        policy: Mempolicy::Bind { nodes: Nodemask::of(NodeId::new(1)), home: None }.into(),
        ..Writer::default()
    };
    machine.write_file_as(&writer, "/proc/sys/vm/nr_hugepages_mempolicy", "4").unwrap();
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!(pool.nodes.iter().map(|(_, n)| n.nr.get()).collect::<Vec<_>>(), [0, 4]);
}

#[test]
fn an_interleaving_task_spreads_its_pages_and_a_bound_one_finds_none() {
    let mut machine = two_nodes("hugepages=0:4,1:4");
    let both = Nodemask::first(2);
    let origin = |policy: Mempolicy| Origin {
        local: NodeId::new(0),
        allowed: both,
        policy: policy.into(),
        cgroup: None,
        credentials: Credentials::root(),
    };
    let pid = machine.spawn_as(origin(Mempolicy::Interleave(both))).unwrap();
    let four = MapCall::anonymous(HugeSize::M2.total(count(4)), Share::Private);
    let at = machine.mmap(pid, &four).unwrap();
    for n in 0..4 {
        machine.write_byte(pid, at + HugeSize::M2.total(count(n)), 1).unwrap();
    }
    let pool = machine.pool(HugeSize::M2).unwrap();
    assert_eq!(pool.nodes.iter().map(|(_, n)| n.free.get()).collect::<Vec<_>>(), [2, 2]);

    let bound = Mempolicy::Bind { nodes: Nodemask::of(NodeId::new(1)), home: None };
    let pid = machine.spawn_as(origin(bound)).unwrap();
    let refused = machine.mmap(pid, &four).unwrap_err();
    assert_eq!(refused.errno(), Errno::ENOMEM, "only two pages are free on its node");
    machine.validate().unwrap();
}

#[test]
fn gigantic_pages_from_boot_alone() {
    let mut machine = Machine::builder()
        .node(NodeId::new(0), Bytes::gib(4))
        .runtime_gigantic(RuntimeGigantic::Unsupported)
        .cmdline("hugepagesz=1G hugepages=2")
        .build()
        .unwrap();
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, count(2));
    let refused = machine.set_nr_hugepages(HugeSize::G1, count(1), ResizeNodes::Global(Nodemask::ALL)).unwrap_err();
    assert_eq!(refused.errno(), Errno::EINVAL);
    assert!(refused.to_string().contains("boot"), "{refused} / {:?}", ResizeError::BootOnly);
    assert_eq!(machine.pool(HugeSize::G1).unwrap().nr, count(2));
}

#[test]
fn every_size_of_every_architecture_can_be_mapped_and_touched() {
    let arm = [PageShift::K4, PageShift::K16, PageShift::K64].map(Arch::Arm64);
    for arch in [Arch::X86_64].into_iter().chain(arm) {
        let sizes = arch.sizes();
        let memory = Bytes::new(sizes[0].bytes().get() * 4);
        let mut machine = Machine::builder().arch(arch).node(NodeId::new(0), memory).build().unwrap();
        for &size in sizes {
            machine.set_nr_hugepages(size, count(2), ResizeNodes::Global(Nodemask::ALL)).unwrap();
            let pid = machine.spawn();
            let call = MapCall {
                source: hugefolio::MapSource::Anonymous(Some(size)),
                ..MapCall::anonymous(size.total(count(2)), Share::Private)
            };
            let at = machine.mmap(pid, &call).unwrap_or_else(|error| panic!("{arch:?} {size}: {error}"));
            machine.write_byte(pid, at + size.bytes(), 5).unwrap();
            assert_eq!(machine.read_byte(pid, at + size.bytes()), Ok(5));
            let pool = machine.pool(size).unwrap();
            assert_eq!((pool.nr, pool.free, pool.resv), (count(2), count(1), count(1)), "{arch:?} {size}");
            machine.exit(pid);
            machine.set_nr_hugepages(size, count(0), ResizeNodes::Global(Nodemask::ALL)).unwrap();
            assert_eq!(machine.pool(size).unwrap().nr, count(0));
            machine.validate().unwrap_or_else(|broken| panic!("{arch:?} {size}: {broken}"));
        }
    }
}
