//! The search on whole machines: the same for a seed, everything is drawn, and what is found becomes short.

use std::collections::BTreeMap;

use lab::op::{Op, VERBS};
use lab::sim::{Finding, STEPS, Sim, World, wrong_with};

/// The first worlds of a seed.
fn worlds(seed: u64, count: u64) -> Vec<World> {
    let mut sim = Sim::new(seed);
    let world = |_| sim.next_world(STEPS).unwrap_or_else(|finding| panic!("{}", finding.shrunk(2000)));
    (0..count).map(world).collect()
}

/// A search that cannot be repeated finds nothing that could be mended.
#[test]
fn a_seed_gives_the_same_always() {
    let text =
        |worlds: Vec<World>| worlds.iter().map(|world| format!("{world}\n{:?}\n", world.done)).collect::<String>();
    let first = text(worlds(7, 20));
    assert_eq!(first, text(worlds(7, 20)));
    assert_ne!(first, text(worlds(8, 20)));
    // A world does not depend on those before it.
    let mut sim = Sim::new(7);
    sim.skip(19);
    let last = sim.next_world(STEPS).expect("it went well before");
    assert!(first.contains(&last.to_string()));
}

/// What huge pages refuse always, and what memory that is described answers to alone.
const NEVER: [&str; 8] =
    ["pwrite", "uffd_zero", "alloc_bulk", "alloc_exact", "mark_movable", "tick", "isolate", "unisolate"];

/// Every operation is drawn and done.
#[test]
fn everything_is_done() {
    let mut done: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 100..106 {
        for world in worlds(seed, 20) {
            world.done.into_iter().for_each(|(verb, count)| *done.entry(verb).or_insert(0) += count);
        }
    }
    println!("{done:?}");
    // Tables of nobody are no part of a machine, and a fill of a page that is missing comes seldom.
    let wanted = VERBS.iter().map(|verb| verb.name).filter(|verb| !verb.starts_with("pt_") && *verb != "uffd_copy");
    let never: Vec<&str> = wanted.filter(|verb| !done.contains_key(verb)).collect();
    assert_eq!(never, NEVER);
}

/// Operations that fail a look are left, and no others.
#[test]
fn what_is_found_becomes_short() {
    let ops = |text: &str| text.lines().map(|line| line.parse::<Op>().expect("an operation")).collect::<Vec<_>>();
    let machine = lab::target::MachineLine::default();
    let fine = ops("set_nr 4\na0 spawn\nnop\na0 mmap A 4M private,anon\na0 touch A p0 write\nnop\na0 exit\n");
    assert_eq!(wrong_with(&machine, &fine), None);
    let finding = Finding { seed: 1, world: 0, machine, ops: fine.clone(), wrong: "nothing".to_owned() };
    assert_eq!(finding.shrunk(100).ops, fine, "nothing is wrong with it");
    let text = finding.scenario().to_string();
    let read = lab::scenario::Scenario::parse("finding", &text).expect("it can be read");
    assert_eq!(read.ops().cloned().collect::<Vec<_>>(), fine);
}

/// What the search found once, as the scenario that it had become.
fn nothing_is_wrong(machine: &str, ops: &str) {
    let scenario =
        lab::scenario::Scenario::parse("found", &format!("machine {machine}\n{ops}")).expect("it can be read");
    let ops: Vec<Op> = scenario.ops().cloned().collect();
    let machine = scenario.header("found").machine.expect("it has a machine");
    assert_eq!(wrong_with(&machine, &ops), None);
}

/// A node counted a surplus page and had none: its own page had been taken for another node's. The pool had surplus pages alone, one node more pages than surplus
/// ones, and a page of it was demoted as the administrator's, who had none: fewer than no persistent pages were left.
#[test]
fn a_pool_of_surplus_pages_demotes_none() {
    nothing_is_wrong(
        "arch=arm64 node=128M node=512M",
        "a1 spawn\n\
         echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages\n\
         a1 memfd x1\n\
         a1 fallocate x1 0..8M\n\
         a1 run_on 1\n\
         echo 7 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages\n\
         a1 mmap m2 8M private,anon\n\
         echo 4 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages\n\
         a1 munmap m2 2M..8M\n\
         a1 ftruncate x1 0\n\
         write /proc/sys/vm/nr_hugepages_mempolicy 0 by=a1\n\
         echo 3 > /sys/kernel/mm/hugepages/hugepages-2048kB/demote\n",
    );
}

/// A machine with so many pages that its text is longer than what is read of a stranger's was called broken, and the search ended.
#[test]
fn a_long_text_of_its_own_is_read() {
    nothing_is_wrong(
        "arch=arm64 node=5G hugepagesz=1G",
        "echo 100000 > /sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages\nnop\n",
    );
}

/// Where a node counts another one's page as its surplus page, that one left its pool as the administrator's, who had none: a guest let a page go of which a part had
/// broken, and the next resize found fewer than no persistent pages.
#[test]
fn a_page_that_another_node_counts_leaves_as_surplus() {
    nothing_is_wrong(
        "node=64M node=256M node=64M node=1G distances=0-1:21,0-2:30,1-2:15 cgroup=v1 hugetlb_free_vmemmap=off hugepagesz=2M hugepages=2",
        "echo 3 > /sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages\n\
         cg_create g1\n\
         echo 3 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages\n\
         a0 spawn cg=g1\n\
         a2 spawn cg=g1\n\
         a2 run_on 1\n\
         a2 set_mempolicy bind nodes=0-2 are=static\n\
         echo 1 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages\n\
         a2 mmap m9 8M private,anon\n\
         echo 2 > /sys/devices/system/node/node2/hugepages/hugepages-2048kB/nr_hugepages\n\
         cg_mems g1 0-1,3\n\
         a0 gmem_create G2 6M pagesize=2M\n\
         a2 fork a1\n\
         write /proc/sys/vm/nr_hugepages_mempolicy 7 by=a2\n\
         a1 shmget s2 6M\n\
         a1 run_on 0\n\
         a1 mmap m7 4M private,anon prot=r\n\
         write /proc/sys/vm/nr_hugepages_mempolicy 5 by=a0\n\
         echo 6 > /sys/devices/system/node/node3/hugepages/hugepages-2048kB/nr_hugepages\n\
         a3 spawn\n\
         a0 gmem_map V1 G2 20K..24K\n\
         echo 7 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages\n\
         a0 gmem_convert G2 0..6M shared\n\
         a0 gmem_pin K1 V1 5\n\
         a0 gmem_fail G2 3\n\
         write /proc/sys/vm/nr_hugepages_mempolicy 0 by=a3\n",
    );
}
