//! Every bench: its name, its title, how many operations it makes, and how much one of them may take.

/// How often a bench repeats its operation, unless its row says otherwise.
pub const OPERATIONS: u32 = 1_000;

/// How many single pages are taken at once.
pub const BULK: u32 = 1_000_000;

/// How many huge pages are taken at once: 16 GiB.
pub const BULK_HUGE: u32 = 8_192;

/// How much dearer a huge page may be in a zone that is nearly full than in one that is nearly empty, in hundredths.
pub const FULL_RATIO: u64 = 120;

/// How many machines the creation bench makes.
pub const MACHINES: u32 = 100;

/// Operations of the replayed scripts.
pub const STEPS: u32 = 4_685;

/// How many bytes a machine of 24 GiB with empty pools may ask the allocator for.
pub const CREATION_BYTES: u64 = 64 << 10;

/// How many bytes a zone of 4 TiB may ask for when it is made.
pub const ZONE_BYTES: u64 = 4 << 20;

/// And once every block of 2 MiB of it was handed out.
pub const BLOCKS_BYTES: u64 = 64 << 20;

/// How many bytes more a frame may cost where its pageblock is in pieces.
pub const FRAME_BYTES: u64 = 8;

/// How many bytes may be kept for 64 GiB of private memory of a guest.
pub const GUEST_BYTES: u64 = 64 << 10;

/// How much dearer an insert and a remove may be in the largest set of regions than in the smallest, in hundredths.
pub const REGION_RATIO: u64 = 400;

/// How much dearer a resize may be where descriptors are optimised, in hundredths.
pub const OPTIMISED_RATIO: u64 = 110;

/// One case of one bench.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The bench's function.
    pub function: &'static str,
    /// The case, as its attribute names it.
    pub case: &'static str,
    /// What a reader calls it.
    pub title: &'static str,
    /// How many operations the measured part makes.
    pub operations: u32,
    /// The most instructions that one operation may take, where there is a target.
    pub limit: Option<u64>,
    /// The bench of another allocator that does the same.
    pub beside: Option<&'static str>,
}

const fn row(function: &'static str, case: &'static str, title: &'static str) -> Row {
    Row { function, case, title, operations: OPERATIONS, limit: None, beside: None }
}

impl Row {
    const fn at_most(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    const fn beside(self, function: &'static str) -> Self {
        Self { beside: Some(function), ..self }
    }

    const fn of(self, operations: u32) -> Self {
        Self { operations, ..self }
    }
}

/// The smallest and the largest set of regions, whose figures are compared.
pub const REGION_EXTREMES: [(&str, &str); 2] = [("regions", "few"), ("regions", "many")];

/// A zone of which a hundredth is in use, and one of which all but a hundredth is.
pub const FULL_EXTREMES: [(&str, &str); 2] = [("zone_pair", "empty_huge"), ("zone_pair", "full_huge")];

/// A resize by one page with descriptors as they are, and one where they are optimised and restored.
pub const OPTIMISED_EXTREMES: [(&str, &str); 2] = [("grow_and_shrink", "empty"), ("grow_and_shrink", "optimised")];

/// The same by eight pages at once.
pub const OPTIMISED_BATCH: [(&str, &str); 2] =
    [("grow_and_shrink_by_eight", "whole"), ("grow_and_shrink_by_eight", "optimised")];

/// All benches in the order in which they are shown: whole paths, then room by room.
pub const ROWS: [Row; 45] = [
    row("grow_and_shrink", "empty", "pool: grow + shrink by a 2 MiB page, pool empty").at_most(600),
    row("grow_and_shrink", "thousand", "pool: grow + shrink by a 2 MiB page, pool of 1,000").at_most(600),
    row("grow_and_shrink", "optimised", "pool: the same with descriptors optimised, pool empty"),
    row("grow_and_shrink_by_eight", "whole", "pool: grow + shrink by 8 pages of 2 MiB, each"),
    row("grow_and_shrink_by_eight", "optimised", "pool: the same with descriptors optimised, each"),
    row("share_and_unshare", "gigabyte", "guest: 4 KiB of 1 GiB shared and private again").at_most(3_000),
    row("merge_and_split", "gigabyte", "guest: 1 GiB that the host has touched private and shared again, each page")
        .of(1 << 18)
        .at_most(40),
    row("touch_by_the_host", "gigabyte", "guest: the host touches a shared page for the first time"),
    row("fault_and_unmap", "reserved", "reserved fault + unmap of a 2 MiB page"),
    row("map_and_unmap", "private", "mmap + munmap of 16 reserved pages, private"),
    row("map_and_unmap", "shared", "mmap + munmap of 16 reserved pages, shared"),
    row("map_file_and_unmap", "promised", "mmap + munmap of 16 reserved pages, file that has them promised"),
    row("regions", "few", "region insert + remove, 10 regions"),
    row("regions", "thousand", "region insert + remove, 1,000 regions"),
    row("regions", "many", "region insert + remove, 100,000 regions"),
    row("replay", "recorded", "recorded step, with all counters read after it").of(STEPS),
    row("creation", "empty", "machine of 24 GiB with empty pools: creation").of(MACHINES),
    row("zone_pair", "base", "zone and lists, low mark: hot pair, order 0").at_most(100).beside("buddy_pair"),
    row("zone_pair", "huge", "zone and lists, low mark: hot pair, order 9").at_most(120).beside("buddy_pair"),
    row("range_pair", "gigantic", "zone: pair of 1 GiB").at_most(400).beside("buddy_pair"),
    row("zone_bulk", "in_order", "zone and lists, low mark: 1,000,000 pages, freed in order")
        .of(BULK)
        .at_most(130)
        .beside("buddy_bulk"),
    row("zone_bulk", "random", "zone and lists, low mark: 1,000,000 pages, freed at random")
        .of(BULK)
        .at_most(160)
        .beside("buddy_bulk"),
    row("zone_bulk", "huge", "zone and lists, low mark: 16 GiB in order 9")
        .of(BULK_HUGE)
        .at_most(160)
        .beside("buddy_bulk"),
    row("zone_pair", "empty_huge", "zone of 4 TiB, 1 % in use: hot pair, order 9"),
    row("zone_pair", "full_huge", "zone of 4 TiB, 99 % in use: hot pair, order 9"),
    row("instance_pair", "base", "page allocator, request to zone: hot pair, order 0"),
    row("instance_pair", "huge", "page allocator, request to zone: hot pair, order 9"),
    row("take_and_put", "base", "zone: take + put of a base page"),
    row("take_and_put", "huge", "zone: take + put of a block of 2 MiB"),
    row("claim_and_release", "thousand", "memmap: claim + release of a folio among 1,000"),
    row("charge_and_uncharge", "nested", "charge: charge + uncharge, two groups deep"),
    row("walk_to_page", "small", "paging: walk to a page of 4 KiB").at_most(60),
    row("map_gigabyte", "small", "paging: 1 GiB mapped in pages of 4 KiB, a page").of(1 << 18).at_most(15),
    row("collapse_gigabyte", "mixed", "paging: 1 GiB of 1,023 pages made one, a page").of(1_023).at_most(20),
    row("continue_part", "first", "mm: CONTINUE of 4 KiB into an empty mapping of 1 GiB").of(1).at_most(600),
    row("alloc_and_free", "base", "page_alloc: alloc + free of a base page"),
    row("alloc_and_free", "huge", "page_alloc: alloc + free of a block of 2 MiB"),
    row("restore_and_optimise", "huge", "vmemmap: restore + optimise of a 2 MiB page").at_most(400),
    row("restore_and_optimise", "gigantic", "vmemmap: restore + optimise of a 1 GiB page").at_most(2_000),
    row("alloc_and_put", "available", "hugetlb: alloc + free of a page of the pool"),
    row("reserve_and_release", "sixteen", "hugetlb: reserve + release of 16 pages"),
    row("add_and_remove", "empty", "filemap: add + remove of a page, file otherwise empty"),
    row("add_and_remove", "thousand", "filemap: add + remove of a page among 1,000"),
    row("look_at_pool", "one_node", "facade: the counters of a pool"),
    row("why", "scattered", "facade: why is there no 1 GiB page, 1 TiB with 1,000,000 blocks").of(1),
];
