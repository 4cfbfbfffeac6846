//! Whole paths through the facade, as a program takes them.

#![expect(missing_docs, reason = "the macros of the harness make items without documentation")]

use std::hint::black_box;

use bench::replay::{Script, replay as replay_all, scripts};
use bench::setup::{
    NODE, Task, TouchedGuest, empty_machine, guest, machine, mapping, optimising_machine, promised_file, region_set,
    reserved_page, touched_guest,
};
use bench::table::{MACHINES, OPERATIONS};
use gungraun::prelude::*;
use hugefolio::{
    Admin, Advice, Attribute, Bytes, Calls, ConvertCall, Fd, GuestMemory, HugeSize, Machine, MapCall, Pid, ResizeNodes,
    Share,
};
use hugetlb::RegionSet;
use units::{HugeCount, HugeRange, Nodemask, Vaddr};

#[library_benchmark]
#[bench::empty(args = (0), setup = machine)]
#[bench::thousand(args = (1_000), setup = machine)]
#[bench::optimised(args = (0), setup = optimising_machine)]
fn grow_and_shrink(machine: Machine) -> Machine {
    resize(machine, 1)
}

#[library_benchmark]
#[bench::whole(args = (0), setup = machine)]
#[bench::optimised(args = (0), setup = optimising_machine)]
fn grow_and_shrink_by_eight(machine: Machine) -> Machine {
    resize(machine, 8)
}

#[inline(always)]
fn resize(mut machine: Machine, by: u32) -> Machine {
    let pages = machine.pool(HugeSize::M2).expect("there is a pool of 2 MiB pages").nr;
    let everywhere = ResizeNodes::Global(Nodemask::of(NODE));
    for _ in 0..OPERATIONS / by {
        for count in [pages + HugeCount::new(by.into()), pages] {
            black_box(machine.set_nr_hugepages(HugeSize::M2, black_box(count), everywhere)).expect("the node exists");
        }
    }
    machine
}

#[library_benchmark]
#[bench::gigabyte(args = (1), setup = guest)]
fn share_and_unshare((mut machine, pid, fd): (Machine, Pid, Fd)) -> Machine {
    for n in 0..u64::from(OPERATIONS) {
        let page = Bytes::new((n * 257 % (1 << 18)) << 12);
        for to in [Attribute::Shared, Attribute::Private] {
            let call = ConvertCall::new(black_box(page), Bytes::kib(4), to);
            black_box(machine.gmem_convert(pid, fd, &call)).expect("nobody holds the page");
        }
    }
    machine
}

#[library_benchmark]
#[bench::gigabyte(args = (1), setup = touched_guest)]
fn merge_and_split((mut machine, pid, fd, _): TouchedGuest) -> Machine {
    for to in [Attribute::Private, Attribute::Shared] {
        let call = ConvertCall::new(Bytes::ZERO, Bytes::gib(1), to);
        black_box(machine.gmem_convert(pid, fd, &call)).expect("nobody holds a page");
    }
    machine
}

#[library_benchmark]
#[bench::gigabyte(args = (0), setup = touched_guest)]
fn touch_by_the_host((mut machine, pid, _, view): TouchedGuest) -> Machine {
    for n in 0..u64::from(OPERATIONS) {
        let page = Bytes::new((n * 257 % (1 << 18)) << 12);
        black_box(machine.gmem_read(pid, view, black_box(page))).expect("it is shared");
    }
    machine
}

#[library_benchmark]
#[bench::reserved(args = (64), setup = reserved_page)]
fn fault_and_unmap((mut task, at): (Task, Vaddr)) -> Task {
    for _ in 0..OPERATIONS {
        task.machine.write_byte(task.pid, black_box(at), 1).expect("the page is promised");
        let len = HugeSize::M2.bytes();
        task.machine.madvise(task.pid, black_box(at), len, Advice::DontNeed).expect("the page is mapped");
    }
    task
}

#[library_benchmark]
#[bench::private(args = (Share::Private), setup = mapping)]
#[bench::shared(args = (Share::Shared), setup = mapping)]
fn map_and_unmap((mut task, call): (Task, MapCall)) -> Task {
    for _ in 0..OPERATIONS {
        let at = task.machine.mmap(task.pid, black_box(&call)).expect("the pool has sixteen pages");
        task.machine.munmap(task.pid, at, call.len).expect("it was just mapped");
    }
    task
}

#[library_benchmark]
#[bench::promised(args = (64), setup = promised_file)]
fn map_file_and_unmap((mut task, call): (Task, MapCall)) -> Task {
    for _ in 0..OPERATIONS {
        let at = task.machine.mmap(task.pid, black_box(&call)).expect("the file has its pages promised");
        task.machine.munmap(task.pid, at, call.len).expect("it was just mapped");
    }
    task
}

#[library_benchmark]
#[bench::few(args = (10), setup = region_set)]
#[bench::thousand(args = (1_000), setup = region_set)]
#[bench::many(args = (100_000), setup = region_set)]
fn regions((mut set, places): (RegionSet, Vec<HugeRange>)) -> (RegionSet, Vec<HugeRange>) {
    for &place in &places {
        black_box(set.insert(place, None));
        black_box(set.remove(place, |_| ()));
    }
    (set, places)
}

#[library_benchmark]
#[bench::recorded(args = (), setup = scripts)]
fn replay(scripts: Vec<Script>) -> Vec<Script> {
    black_box(replay_all(&scripts));
    scripts
}

#[library_benchmark]
#[bench::empty(args = (MACHINES as usize), setup = Vec::with_capacity)]
fn creation(mut machines: Vec<Machine>) -> Vec<Machine> {
    for _ in 0..MACHINES {
        machines.push(empty_machine());
    }
    machines
}

library_benchmark_group!(
    name = paths,
    benchmarks = [
        grow_and_shrink,
        grow_and_shrink_by_eight,
        share_and_unshare,
        merge_and_split,
        touch_by_the_host,
        fault_and_unmap,
        map_and_unmap,
        map_file_and_unmap,
        regions,
        replay,
        creation
    ]
);

main!(library_benchmark_groups = paths);
