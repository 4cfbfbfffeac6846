//! What each room does most often, by itself.

#![expect(missing_docs, reason = "the macros of the harness make items without documentation")]

use std::hint::black_box;

use bench::setup::{
    AVAILABLE, NODE, POOL, block, cached, groups, machine, memory_map, scattered, why_no_gigabyte, zone,
};
use bench::table::OPERATIONS;
use charge::{Charges, Counter};
use filemap::{add_to_cache, remove_from_cache};
use gungraun::prelude::*;
use hugefolio::{Admin, HugeSize, Machine};
use hugetlb::{HugeFolio, acct_release, acct_reserve, hugetlb_alloc_folio, put_folio};
use memmap::{FolioKind, MemMap};
use units::{CgroupId, HugeCount, HugeIndex, InodeId, Nodemask, Order, Pfn};
use zone::{Want, Zone};

#[library_benchmark]
#[bench::base(args = (0), setup = zone)]
#[bench::huge(args = (9), setup = zone)]
fn take_and_put((mut zone, want): (Zone, Want)) -> Zone {
    for _ in 0..OPERATIONS {
        let block = zone.take(black_box(want)).expect("the zone is free");
        zone.put(black_box(block), want.order).expect("it was just handed out");
    }
    zone
}

#[library_benchmark]
#[bench::thousand(args = (1_000), setup = memory_map)]
fn claim_and_release((mut map, places): (MemMap, Vec<Pfn>)) -> (MemMap, Vec<Pfn>) {
    for &pfn in &places {
        map.claim(black_box(pfn), Order::new(9), FolioKind::Page);
        map.release(pfn);
    }
    (map, places)
}

#[library_benchmark]
#[bench::nested(args = (2), setup = groups)]
fn charge_and_uncharge((mut charges, group): (Charges, CgroupId)) -> Charges {
    for _ in 0..OPERATIONS {
        let receipt = charges.charge(black_box(Some(group)), Counter::Usage(POOL), HugeCount::new(1));
        charges.uncharge(receipt.expect("there is no limit"));
    }
    charges
}

fn machine_for(order: u8) -> (Machine, Order) {
    (machine(0), Order::new(order))
}

#[library_benchmark]
#[bench::base(args = (0), setup = machine_for)]
#[bench::huge(args = (9), setup = machine_for)]
fn alloc_and_free((mut machine, order): (Machine, Order)) -> Machine {
    for _ in 0..OPERATIONS {
        let block = page_alloc::alloc(&mut machine, black_box(&block(order))).expect("memory is free");
        page_alloc::free(&mut machine, block.zone, block.pfn, order).expect("it was just handed out");
    }
    machine
}

#[library_benchmark]
#[bench::available(args = (64), setup = machine)]
fn alloc_and_put(mut machine: Machine) -> Machine {
    for _ in 0..OPERATIONS {
        let folio = hugetlb_alloc_folio(&mut machine, black_box(&AVAILABLE)).expect("the pool has pages");
        put_folio(&mut machine, folio.pfn, 1);
    }
    machine
}

#[library_benchmark]
#[bench::sixteen(args = (64), setup = machine)]
fn reserve_and_release(mut machine: Machine) -> Machine {
    for _ in 0..OPERATIONS {
        let count = black_box(HugeCount::new(16));
        acct_reserve(&mut machine, POOL, count, NODE, Nodemask::ALL).expect("the pool has pages");
        acct_release(&mut machine, POOL, count);
    }
    machine
}

#[library_benchmark]
#[bench::empty(args = (0), setup = cached)]
#[bench::thousand(args = (1_000), setup = cached)]
fn add_and_remove((mut machine, inode, index, folio): (Machine, InodeId, HugeIndex, HugeFolio)) -> Machine {
    for _ in 0..OPERATIONS {
        add_to_cache(&mut machine, inode, black_box(index), folio).expect("no failure is planned");
        remove_from_cache(&mut machine, inode, black_box(index), 1 << 9);
    }
    machine
}

#[library_benchmark]
#[bench::one_node(args = (64), setup = machine)]
fn look_at_pool(mut machine: Machine) -> Machine {
    for _ in 0..OPERATIONS {
        black_box(machine.pool(black_box(HugeSize::M2))).expect("there is a pool of 2 MiB pages");
    }
    machine
}

#[library_benchmark]
#[bench::scattered(args = (1_024), setup = scattered)]
fn why(machine: Machine) -> Machine {
    black_box(why_no_gigabyte(black_box(&machine)));
    machine
}

library_benchmark_group!(
    name = rooms,
    benchmarks = [
        take_and_put,
        claim_and_release,
        charge_and_uncharge,
        alloc_and_free,
        alloc_and_put,
        reserve_and_release,
        add_and_remove,
        look_at_pool,
        why
    ]
);

main!(library_benchmark_groups = rooms);
