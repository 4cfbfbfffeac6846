//! What each room does most often, by itself.

#![expect(missing_docs, reason = "the macros of the harness make items without documentation")]

use std::hint::black_box;

use bench::setup::{
    AVAILABLE, Mapped, NODE, POOL, SOMEWHERE, block, cached, empty_tables, gigabyte, groups, machine, memory_map,
    mixed_gigabyte, optimised, places_in_gigabyte, scattered, watched_gigabyte, why_no_gigabyte, zone,
};
use bench::table::OPERATIONS;
use charge::{Charges, Counter};
use filemap::{add_to_cache, remove_from_cache};
use gungraun::prelude::*;
use hugefolio::{Admin, Calls, Fd, HugeSize, Machine, Pid};
use hugetlb::{HugeFolio, acct_release, acct_reserve, hugetlb_alloc_folio, put_folio};
use memmap::{FolioKind, MemMap};
use paging::Grain;
use paging::arch::X86_64;
use units::{Bytes, CgroupId, HugeCount, HugeIndex, InodeId, Nodemask, Order, Pfn, Vaddr};
use vmemmap::{HugeBlock, optimise, restore};
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

#[library_benchmark]
#[bench::small(setup = places_in_gigabyte)]
fn walk_to_page(((mem, tables), places): (Mapped, Vec<Vaddr>)) -> (Mapped, u64) {
    let frames = black_box(&places).iter().filter_map(|&addr| tables.translate(&mem, addr));
    let sum = frames.fold(0, |sum, (pfn, _)| sum ^ pfn.get());
    ((mem, tables), sum)
}

#[library_benchmark]
#[bench::small(setup = empty_tables)]
fn map_gigabyte((mut mem, tables): Mapped) -> Mapped {
    let mapped = tables.map_range(&mut mem, black_box(gigabyte()), black_box(SOMEWHERE), Grain::page::<X86_64>());
    mapped.expect("new tables are empty");
    (mem, tables)
}

#[library_benchmark]
#[bench::mixed(setup = mixed_gigabyte)]
fn collapse_gigabyte((mut mem, tables): Mapped) -> Mapped {
    let whole = Grain::new::<X86_64>(Bytes::gib(1)).expect("1 GiB is a page");
    let collapsed = tables.collapse(&mut mem, &mut |_| (), gigabyte().start, whole, black_box(SOMEWHERE));
    assert!(black_box(collapsed).is_ok(), "all of it is one page");
    (mem, tables)
}

#[library_benchmark]
#[bench::first(setup = watched_gigabyte)]
fn continue_part((mut machine, pid, uffd, at): (Box<Machine>, Pid, Fd, Vaddr)) -> Box<Machine> {
    let mapped = machine.uffd_continue(pid, uffd, black_box(at), Bytes::kib(4));
    mapped.expect("the file has the page");
    machine
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
#[bench::huge(args = (9), setup = optimised)]
#[bench::gigantic(args = (18), setup = optimised)]
fn restore_and_optimise((mut machine, block): (Machine, HugeBlock)) -> Machine {
    for _ in 0..OPERATIONS {
        black_box(restore(&mut machine, black_box(block.pfn))).expect("memory is free");
        let _ = black_box(optimise(&mut machine, black_box(block)));
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
        walk_to_page,
        map_gigabyte,
        collapse_gigabyte,
        continue_part,
        alloc_and_free,
        restore_and_optimise,
        alloc_and_put,
        reserve_and_release,
        add_and_remove,
        look_at_pool,
        why
    ]
);

main!(library_benchmark_groups = rooms);
