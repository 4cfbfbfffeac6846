//! What benches work on.

use std::iter;

use charge::Charges;
use filemap::add_to_cache;
use hugefolio::pages::PageRequest;
use hugefolio::why::{Wanted, Why};
use hugefolio::{
    Admin, Advice, Attribute, Calls, ConvertCall, Fd, GmemFlags, GmemView, GuestMemory, Machine, MapCall, MemfdFlags,
    Pages, ResizeNodes, Share, UffdModes,
};
use hugetlb::{AllocFlags, AllocRequest, HugeFolio, RegionSet, hugetlb_alloc_folio};
use hugetlbfs::{Hold, InodeKind, Seals};
use memmap::{FolioKind, MemMap};
use paging::arch::X86_64;
use paging::{Grain, HeapTables, Leaf, LeafFlags, PageTables};
use policy::Placement;
use units::{
    Bytes, CgroupId, GfpFlags, HstateId, HugeCount, HugeIndex, HugeRange, HugeSize, InodeId, Migratetype, NodeId,
    Nodemask, Order, PageCount, PageShift, Pfn, Pid, Vaddr, VaddrRange, ZoneKind,
};
use zone::{AllocFlags as TakeFlags, Want, Zone, ZoneLayout};

use vmemmap::HugeBlock;

use crate::table::OPERATIONS;

/// The only node.
pub const NODE: NodeId = NodeId::new(0);

/// The pool of 2 MiB pages: gigantic ones are registered before it.
pub const POOL: HstateId = HstateId::new(1);

/// The memory of the machine.
pub const MEMORY: Bytes = Bytes::gib(24);

/// Sixteen huge pages.
pub const SIXTEEN: Bytes = HugeSize::M2.total(HugeCount::new(16));

/// A machine of 24 GiB with empty pools.
#[must_use]
pub fn empty_machine() -> Machine {
    Machine::builder().node(NODE, MEMORY).build().expect("a node of 24 GiB can be")
}

/// The same with `pages` pages of 2 MiB.
#[must_use]
pub fn machine(pages: u32) -> Machine {
    let built = Machine::builder().node(NODE, MEMORY).cmdline(&format!("hugepages={pages}")).build();
    let mut machine = built.expect("a node of 24 GiB can be");
    let nr = machine.pool(HugeSize::M2).map(|pool| pool.nr);
    assert_eq!(nr, Ok(HugeCount::new(u64::from(pages))), "the pool has what was asked for");
    machine
}

/// The same on a machine that optimises descriptors, and has done so before: what boot kept for them is the page allocator's.
#[must_use]
pub fn optimising_machine(pages: u32) -> Machine {
    let mut machine = machine(0);
    machine.write_file("/proc/sys/vm/hugetlb_optimize_vmemmap", "1").expect("the knob is there");
    let everywhere = ResizeNodes::Global(Nodemask::of(NODE));
    for count in [pages + 64, pages] {
        let count = HugeCount::new(count.into());
        machine.set_nr_hugepages(HugeSize::M2, count, everywhere).expect("the node exists");
    }
    machine
}

/// A block that was optimised, restored and optimised again on a machine with others.
#[must_use]
pub fn optimised(order: u8) -> (Machine, HugeBlock) {
    let mut machine = optimising_machine(64);
    let wanted = page_alloc::PageRequest::new(Order::new(order), GfpFlags::HIGHUSER_MOVABLE, NODE);
    let placed = page_alloc::alloc_placed(&mut machine, &wanted, &Placement::local(NODE)).expect("memory is free");
    let block = HugeBlock { pfn: placed.pfn, order: placed.order, zone: placed.zone };
    for _ in 0..2 {
        assert!(
            matches!(vmemmap::optimise(&mut machine, block), vmemmap::Outcome::Optimised(_)),
            "it has pages to give"
        );
        assert!(vmemmap::restore(&mut machine, block.pfn).is_ok(), "memory is free");
    }
    assert!(matches!(vmemmap::optimise(&mut machine, block), vmemmap::Outcome::Optimised(_)), "it has pages to give");
    (machine, block)
}

/// A process on a machine whose pool has some pages.
#[derive(Debug)]
pub struct Task {
    /// The machine.
    pub machine: Machine,
    /// The process.
    pub pid: Pid,
}

impl Task {
    /// On a machine with `pages` pages.
    #[must_use]
    pub fn new(pages: u32) -> Self {
        let mut machine = machine(pages);
        let pid = machine.spawn();
        Self { machine, pid }
    }
}

/// A process that has mapped one page privately and not touched it yet.
#[must_use]
pub fn reserved_page(pages: u32) -> (Task, Vaddr) {
    let mut task = Task::new(pages);
    let call = MapCall::anonymous(HugeSize::M2.bytes(), Share::Private);
    let at = task.machine.mmap(task.pid, &call).expect("the pool has a page");
    (task, at)
}

/// A process that is about to map sixteen pages of nobody's file.
#[must_use]
pub fn mapping(share: Share) -> (Task, MapCall) {
    (Task::new(64), MapCall::anonymous(SIXTEEN, share))
}

/// A process that is about to map a memory file of sixteen pages, all of them promised by a mapping that stays.
#[must_use]
pub fn promised_file(pages: u32) -> (Task, MapCall) {
    let mut task = Task::new(pages);
    let fd: Fd = task.machine.memfd(task.pid, None, MemfdFlags::empty()).expect("there is a default size");
    let call = MapCall::file(fd, SIXTEEN, Share::Shared);
    task.machine.mmap(task.pid, &call).expect("the pool has sixteen pages");
    (task, call)
}

/// A set of `count` regions that do not touch, and places between them for one page each.
#[must_use]
pub fn region_set(count: u32) -> (RegionSet, Vec<HugeRange>) {
    let between = |n: u64, at: u64| HugeRange::one(HugeIndex::new(4 * n + at));
    let mut set = RegionSet::new();
    for n in 0..u64::from(count) {
        set.insert(between(n, 0), None);
    }
    // A large prime spreads the places over the set.
    let places = (0..u64::from(OPERATIONS)).map(|n| between(n * 15_485_863 % u64::from(count), 2)).collect();
    (set, places)
}

/// The only zone of the machine.
#[must_use]
pub fn zone(order: u8) -> (Zone, Want) {
    let end = Pfn::new(0).offset(PageShift::K4.pages_floor(MEMORY));
    let layout = ZoneLayout {
        node: NODE,
        kind: ZoneKind::Normal,
        spans: vec![(Pfn::new(0), end)],
        largest: Order::new(10),
        pageblock: Order::new(9),
    };
    let want = Want { order: Order::new(order), migratetype: Migratetype::Movable, flags: TakeFlags::NONE };
    (Zone::new(layout).expect("one span"), want)
}

/// Records of `count` blocks of 2 MiB, every other one free, and places for one block each.
#[must_use]
pub fn memory_map(count: u64) -> (MemMap, Vec<Pfn>) {
    let block = |n: u64| Pfn::new(0).offset(PageCount::new(n << 9));
    let mut map = MemMap::new();
    for n in 0..count {
        map.claim(block(2 * n), Order::new(9), FolioKind::Page);
    }
    let places = (0..u64::from(OPERATIONS)).map(|n| block(2 * (n * 15_485_863 % count) + 1)).collect();
    (map, places)
}

/// Page tables on the heap, and their root.
pub type Mapped = (HeapTables<X86_64>, PageTables<X86_64>);

/// A page of 1 GiB, or its first part.
pub const SOMEWHERE: Leaf = Leaf::new(Pfn::new(1 << 18), LeafFlags::WRITE);

/// Where it is mapped.
#[must_use]
pub fn gigabyte() -> VaddrRange {
    VaddrRange::new(Vaddr::new(1 << 39), Vaddr::new((1 << 39) + (1 << 30)))
}

/// Nothing mapped, and room for the tables of a gigabyte in the smallest pages.
#[must_use]
pub fn empty_tables() -> Mapped {
    let mut mem = HeapTables::new(PageCount::new(600));
    let tables = PageTables::new(&mut mem).expect("there is room for the first table");
    (mem, tables)
}

/// A gigabyte in pages of that size at most.
#[must_use]
pub fn mapped_gigabyte(shift: u8) -> Mapped {
    let (mut mem, tables) = empty_tables();
    let largest = Grain::new::<X86_64>(Bytes::new(1 << shift)).expect("a size of pages");
    tables.map_range(&mut mem, gigabyte(), SOMEWHERE, largest).expect("new tables are empty");
    (mem, tables)
}

/// A gigabyte in pages of 4 KiB, and where to look.
#[must_use]
pub fn places_in_gigabyte() -> (Mapped, Vec<Vaddr>) {
    let place = |n: u64| gigabyte().start + Bytes::kib(4 * (n * 15_485_863 % (1 << 18)));
    (mapped_gigabyte(12), (0..u64::from(OPERATIONS)).map(place).collect())
}

/// A process that maps a file of one page of 1 GiB, which is there, and may map it in pieces; its userfaultfd and where that is. The machine is in a box, so
/// that handing it over costs nothing.
#[must_use]
pub fn watched_gigabyte() -> (Box<Machine>, Pid, Fd, Vaddr) {
    let size = HugeSize::G1.bytes();
    let builder = Machine::builder().node(NODE, Bytes::gib(4)).cmdline("hugepagesz=1G hugepages=1");
    let mut machine = builder.build().expect("one page fits");
    let pid = machine.spawn();
    let file = machine.memfd(pid, Some(HugeSize::G1), MemfdFlags::empty()).expect("there is such a pool");
    machine.ftruncate(pid, file, size).expect("files can be that large");
    let shared = MapCall::file(file, size, Share::Shared);
    let [at, other] = [(); 2].map(|()| machine.mmap(pid, &shared).expect("the page is promised"));
    machine.write_byte(pid, other, 1).expect("the page is promised");
    machine.madvise(pid, at, size, Advice::Split).expect("shared pages can be mapped in pieces");
    let uffd = machine.userfaultfd(pid).expect("the process is alive");
    machine.uffd_register(pid, uffd, at, size, UffdModes::MINOR).expect("nobody else watches");
    (Box::new(machine), pid, uffd, at)
}

/// A gigabyte in 512 pages of 4 KiB and 511 of 2 MiB.
#[must_use]
pub fn mixed_gigabyte() -> Mapped {
    let (mut mem, tables) = mapped_gigabyte(21);
    let split = tables.split(&mut mem, &mut |_| (), gigabyte().start, Grain::page::<X86_64>());
    split.expect("a page is mapped there").settle(&mut |_| ());
    (mem, tables)
}

/// A group below another one.
#[must_use]
pub fn groups(hstates: u8) -> (Charges, CgroupId) {
    let mut charges = Charges::new(hstates, charge::GroupVersion::V2);
    let outer = charges.create(None, "outer").expect("the root is there");
    let inner = charges.create(Some(outer), "inner").expect("the outer group is there");
    (charges, inner)
}

/// A block for nobody in particular.
#[must_use]
pub fn block(order: Order) -> page_alloc::PageRequest {
    page_alloc::PageRequest::new(order, GfpFlags::HIGHUSER_MOVABLE, NODE)
}

/// A page of the pool that nobody has reserved, at nobody's cost.
pub const AVAILABLE: AllocRequest = AllocRequest {
    hstate: POOL,
    placement: Placement::local(NODE),
    allowed: Nodemask::ALL,
    flags: AllocFlags::empty(),
    cgroup: None,
};

/// A file with `count` pages in its cache, and one page that is not.
#[must_use]
pub fn cached(count: u32) -> (Machine, InodeId, HugeIndex, HugeFolio) {
    let mut machine = machine(count + 1);
    let inode = hugetlbfs::create_inode(&mut machine, InodeKind::Memfd, POOL, None, Seals::SEAL, Hold::Open);
    let folios: Vec<HugeFolio> =
        iter::from_fn(|| hugetlb_alloc_folio(&mut machine, &AVAILABLE).ok()).take(count as usize + 1).collect();
    let middle = count as usize / 2;
    for (n, &folio) in folios.iter().enumerate().filter(|&(n, _)| n != middle) {
        add_to_cache(&mut machine, inode, HugeIndex::new(n as u64), folio).expect("no failure is planned");
    }
    (machine, inode, HugeIndex::new(middle as u64), folios[middle])
}

/// A machine of so many GiB, all of it in blocks of 512 KiB of which every other one is free: a million of them for 1 TiB.
#[must_use]
pub fn scattered(gib: u64) -> Machine {
    let mut machine = Machine::builder().node(NODE, Bytes::gib(gib)).build().expect("a node of that size can be");
    let request = PageRequest::new(Order::new(7), GfpFlags::HIGHUSER_MOVABLE, NODE);
    let mut between = Vec::new();
    while machine.alloc_pages(&request).is_ok() {
        between.extend(machine.alloc_pages(&request));
    }
    for block in between {
        machine.free_pages(block).expect("it is held");
    }
    machine
}

/// What is asked of it.
#[must_use]
pub fn why_no_gigabyte(machine: &Machine) -> Why {
    let order = HugeSize::G1.order(machine.page_shift()).expect("larger than a base page");
    machine.why(&Wanted { candidates: 3, ..Wanted::of(order) })
}

/// A machine that optimises descriptors, and a guest with one private page of 1 GiB that is in memory.
#[must_use]
pub fn guest(_: u32) -> (Machine, Pid, Fd) {
    let built =
        Machine::builder().node(NODE, MEMORY).cmdline("hugetlb_free_vmemmap=on hugepagesz=1G hugepages=1").build();
    let mut machine = built.expect("a node of 24 GiB can be");
    let pid = machine.spawn();
    let flags = GmemFlags::MMAP | GmemFlags::HUGETLB;
    let fd = machine.gmem_create(pid, Bytes::gib(1), flags, Some(HugeSize::G1)).expect("a page of 1 GiB is free");
    machine.guest_access(pid, fd, Bytes::ZERO, Some(1)).expect("it is allotted");
    // What boot kept for its descriptors is the page allocator's from the first time on.
    for to in [Attribute::Shared, Attribute::Private] {
        machine
            .gmem_convert(pid, fd, &ConvertCall::new(Bytes::ZERO, Bytes::kib(4), to))
            .expect("there is memory for descriptors");
    }
    (machine, pid, fd)
}

/// A machine with a guest, and a mapping of it.
pub type TouchedGuest = (Machine, Pid, Fd, GmemView);

/// The same, shared, with a mapping of the host that has touched so much of it: all, or nothing.
#[must_use]
pub fn touched_guest(all: u64) -> TouchedGuest {
    let (mut machine, pid, fd) = guest(0);
    let view = machine.gmem_map(pid, fd, Bytes::ZERO, Bytes::gib(1)).expect("it was made to be mapped");
    machine
        .gmem_convert(pid, fd, &ConvertCall::new(Bytes::ZERO, Bytes::gib(1), Attribute::Shared))
        .expect("there is memory for descriptors");
    for page in 0..all << 18 {
        machine.gmem_read(pid, view, Bytes::new(page << 12)).expect("it is shared");
    }
    (machine, pid, fd, view)
}

/// A machine with 64 free pages of 1 GiB, and a process.
#[must_use]
pub fn large_host() -> (Machine, Pid) {
    let parameters = "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=64";
    let built = Machine::builder().node(NODE, Bytes::gib(72)).cmdline(parameters).build();
    let mut machine = built.expect("a node of 72 GiB can be");
    let pid = machine.spawn();
    (machine, pid)
}

/// All of them become private memory of a guest, every page of which it has mapped.
pub fn fill_guest(machine: &mut Machine, pid: Pid) {
    let flags = GmemFlags::MMAP | GmemFlags::HUGETLB;
    let fd = machine.gmem_create(pid, Bytes::gib(64), flags, Some(HugeSize::G1)).expect("64 pages are free");
    for gib in 0..64 {
        machine.guest_access(pid, fd, Bytes::gib(gib), None).expect("it is allotted");
    }
}
