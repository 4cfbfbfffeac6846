//! Numbers worked out by hand: how many tables, entries and pages.
#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

use paging::arch::{Arm64K4, Arm64K16, Arm64K64, X86_64, X86_64La57};
use paging::{
    Arch, CollapseRefusal, Collapsed, Entry, Grain, HeapTables, Leaf, LeafFlags, Level, MapRefusal, Marker, Migration,
    Notes, PageTables, StepRefusal, Swap, TableMemory, Tables, Word, walk,
};
use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};

/// Where a page of 1 GiB is mapped, and its first frame.
const ADDR: Vaddr = Vaddr::new(0x40_0000_0000);
const FRAME: u64 = 1 << 20;

struct Space<A: Arch> {
    mem: HeapTables<A>,
    tables: PageTables<A>,
}

impl<A: Arch> Space<A> {
    fn new() -> Self {
        let mut mem = HeapTables::new(PageCount::new(1_100));
        let tables = PageTables::new(&mut mem).unwrap();
        Self { mem, tables }
    }

    /// Tables of the two lowest levels.
    fn counts(&self) -> (u64, u64) {
        (self.mem.linked_tables(Level::Pmd).get(), self.mem.linked_tables(Level::Pte).get())
    }

    fn map_range(&mut self, from: u64, to: u64, largest: Bytes) -> u64 {
        let range = VaddrRange::new(ADDR + Bytes::new(from), ADDR + Bytes::new(to));
        let leaf = Leaf::new(Pfn::new(FRAME + (from >> A::PAGE.get())), LeafFlags::WRITE);
        self.tables.map_range(&mut self.mem, range, leaf, grain::<A>(largest)).unwrap()
    }
}

fn grain<A: Arch>(size: Bytes) -> Grain {
    Grain::new::<A>(size).unwrap()
}

fn whole() -> Leaf {
    Leaf::new(Pfn::new(FRAME), LeafFlags::WRITE)
}

const G1: Bytes = Bytes::gib(1);
const M2: Bytes = Bytes::mib(2);
const K4: Bytes = Bytes::kib(4);

#[test]
fn a_gigabyte_in_pieces_is_1023_entries_and_one_entry_again() {
    let mut space = Space::<X86_64>::new();
    assert_eq!(space.map_range(0, 4096, G1), 1);
    assert_eq!(space.counts(), (1, 1));
    let found = space.tables.find(&space.mem, ADDR);
    assert_eq!((found.place.grain().level(), found.place.grain().shift()), (Level::Pte, 12));
    // The rest is 511 pages of 4 KiB and 511 of 2 MiB, and needs no further table.
    assert_eq!(space.map_range(4096, 1 << 30, G1), 511 + 511);
    assert_eq!(space.counts(), (1, 1));
    assert_eq!(space.tables.validate(&space.mem).unwrap().pages, PageCount::new(262_144));

    let mut flushed = Vec::new();
    let collapsed =
        space.tables.collapse(&mut space.mem, &mut |range| flushed.push(range), ADDR, grain::<X86_64>(G1), whole());
    assert_eq!(collapsed, Ok(Collapsed::Whole { leaves: 1_023, tables: [1, 1, 0, 0, 0] }));
    assert_eq!(flushed, [VaddrRange::new(ADDR, ADDR + G1)], "one flush, before any table goes");
    assert_eq!(space.counts(), (0, 0));
    let again = space.tables.collapse(&mut space.mem, &mut |_| panic!("no flush"), ADDR, grain::<X86_64>(G1), whole());
    assert_eq!(again, Ok(Collapsed::AsItWas));
}

#[test]
fn a_collapse_maps_the_holes_too() {
    let mut space = Space::<X86_64>::new();
    space.map_range(0, 4096, G1);
    let collapsed = space.tables.collapse(&mut space.mem, &mut |_| (), ADDR, grain::<X86_64>(G1), whole());
    assert_eq!(collapsed, Ok(Collapsed::Whole { leaves: 1, tables: [1, 1, 0, 0, 0] }));
    let (pfn, _) = space.tables.translate(&space.mem, ADDR + Bytes::new(0x1234_5678)).unwrap();
    assert_eq!(pfn, Pfn::new(FRAME + 0x12345));
}

#[test]
fn a_collapse_that_would_hide_something_changes_nothing() {
    let mut space = Space::<X86_64>::new();
    space.map_range(0, 4096, G1);
    let huge = grain::<X86_64>(G1);
    let at = ADDR + Bytes::new(0x5000);
    let slot = space.tables.find(&space.mem, at).place.slot();
    let others = [
        Entry::Hwpoison(Pfn::new(FRAME + 5)),
        Entry::Marker(Marker::POISONED),
        Entry::Migration(Migration { pfn: Pfn::new(FRAME + 5), writable: false }),
        Entry::Swap(Swap::new(1).unwrap()),
    ];
    for entry in others {
        space.mem.store(slot, X86_64::encode(Level::Pte, entry));
        let refused =
            space.tables.collapse(&mut space.mem, &mut |_| panic!("no flush"), ADDR, huge, whole()).unwrap_err();
        assert_eq!(refused, CollapseRefusal::Occupied { addr: at, entry });
        assert_eq!(space.counts(), (1, 1));
    }
    let elsewhere = Leaf::new(Pfn::new(7), LeafFlags::empty());
    space.mem.store(slot, X86_64::leaf(Level::Pte, elsewhere));
    let refused = space.tables.collapse(&mut space.mem, &mut |_| panic!("no flush"), ADDR, huge, whole());
    assert_eq!(refused, Err(CollapseRefusal::Elsewhere { addr: at, found: elsewhere }));
    // A note about writes is no such thing.
    space.mem.store(slot, X86_64::encode(Level::Pte, Entry::Marker(Marker::UFFD_WP)));
    assert!(space.tables.collapse(&mut space.mem, &mut |_| (), ADDR, huge, whole()).is_ok());
}

#[test]
fn a_walk_ends_at_a_larger_page_and_makes_nothing() {
    let mut space = Space::<X86_64>::new();
    space.map_range(0, 1 << 30, G1);
    let (top, page) = (space.tables.top(ADDR), Grain::page::<X86_64>());
    let found = walk::<X86_64, _>(&mut space.mem, top, ADDR, page, Tables::Make).unwrap();
    assert_eq!((found.place.grain().level(), found.place.grain().shift()), (Level::Pud, 30));
    assert_eq!(found.entry, Entry::Leaf(whole()));
    assert_eq!(space.counts(), (0, 0));
    assert_eq!(space.tables.find(&space.mem, ADDR + Bytes::new(0x3fff_ffff)), found);
}

#[test]
fn a_page_on_its_way_stops_who_makes_tables_and_nobody_else() {
    let mut space = Space::<X86_64>::new();
    let huge = grain::<X86_64>(G1);
    let place = space.tables.reach(&mut space.mem, ADDR, huge, None).unwrap().place;
    let moving = Entry::Migration(Migration { pfn: Pfn::new(FRAME), writable: true });
    space.mem.store(place.slot(), X86_64::encode(Level::Pud, moving));
    let stopped = space.tables.reach(&mut space.mem, ADDR, huge, Some(grain::<X86_64>(K4))).unwrap_err();
    assert_eq!(stopped.why, StepRefusal::Occupied(moving));
    assert_eq!(space.tables.find(&space.mem, ADDR).entry, moving);
    assert_eq!(space.counts(), (0, 0));
}

#[test]
fn a_note_is_kept_by_everything_that_comes_in_its_place() {
    let mut space = Space::<X86_64>::new();
    let (huge, page) = (grain::<X86_64>(G1), grain::<X86_64>(K4));
    let place = space.tables.reach(&mut space.mem, ADDR, huge, None).unwrap().place;
    let note = Entry::Marker(Marker::UFFD_WP);
    space.mem.store(place.slot(), X86_64::encode(Level::Pud, note));
    let found = space.tables.reach(&mut space.mem, ADDR, huge, Some(page)).unwrap();
    assert_eq!((found.entry, space.counts()), (note, (1, 1)));
    let notes = space.tables.over(&space.mem, VaddrRange::new(ADDR, ADDR + G1));
    assert_eq!(
        notes.filter(|(_, found)| found.entry == note).count(),
        512 + 511,
        "512 in each table, one of them the way"
    );
    // The page that comes is write-protected.
    space.tables.map(&mut space.mem, ADDR, page, whole()).unwrap();
    let expected = Leaf::new(Pfn::new(FRAME), LeafFlags::UFFD_WP);
    assert_eq!(space.tables.find(&space.mem, ADDR).entry, Entry::Leaf(expected));
    // Taking pages away leaves notes, unless they are to go.
    let range = VaddrRange::new(ADDR, ADDR + M2);
    for (notes, left) in [(Notes::Keep, 511), (Notes::Drop, 0)] {
        let owed = space.tables.unmap(&mut space.mem, range, notes, |_, _, _| ()).unwrap();
        owed.settle(&mut |_| ());
        let over = space.tables.over(&space.mem, range);
        assert_eq!(over.filter(|(_, found)| found.entry == note).count(), left);
    }
}

#[test]
fn one_part_is_divided_out_and_the_rest_stays_coarse() {
    let mut space = Space::<X86_64>::new();
    space.map_range(0, 1 << 30, G1);
    let part = ADDR + Bytes::new(1000 * 4096);
    let owed = space.tables.split(&mut space.mem, &mut |_| (), part, grain::<X86_64>(K4)).unwrap();
    assert_eq!(owed.range(), Some(VaddrRange::new(ADDR, ADDR + G1)));
    owed.settle(&mut |_| ());
    let tally = space.tables.validate(&space.mem).unwrap();
    assert_eq!((tally.leaves, tally.pages), ([512, 511, 0, 0, 0], PageCount::new(262_144)));
    // Taking it out leaves its 262,143 neighbours.
    let range = VaddrRange::new(part, part + K4);
    space.tables.unmap(&mut space.mem, range, Notes::Keep, |_, _, _| ()).unwrap().settle(&mut |_| ());
    assert_eq!(space.tables.validate(&space.mem).unwrap().pages, PageCount::new(262_143));
    assert_eq!(space.tables.translate(&space.mem, part), None);
    assert!(space.tables.translate(&space.mem, part + K4).is_some());
}

#[test]
fn a_group_with_one_entry_in_use_takes_no_page() {
    let mut space = Space::<Arm64K4>::new();
    let group = grain::<Arm64K4>(Bytes::kib(64));
    // The fourth entry of the first group is there.
    space.map_range(3 * 4096, 4 * 4096, K4);
    let before = space.tables.validate(&space.mem).unwrap();
    let refused = space.tables.map(&mut space.mem, ADDR, group, whole()).unwrap_err();
    assert!(matches!(refused, MapRefusal::Occupied { entry: Entry::Leaf(_), .. }), "{refused}");
    assert_eq!(space.tables.validate(&space.mem).unwrap(), before, "no hint, no entry");
    // A fault there has the grain of one entry; in the next group, which is empty, it has that of the group.
    let in_group = |at: Vaddr| space.tables.find_in(&space.mem, at, group).unwrap().place.grain();
    assert_eq!((in_group(ADDR), in_group(ADDR + Bytes::kib(64))), (grain::<Arm64K4>(K4), group));
    // The empty one takes it, in 16 entries that all have the hint.
    space.map_range(0x1_0000, 0x2_0000, Bytes::kib(64));
    let slot = space.tables.find(&space.mem, ADDR + Bytes::kib(64)).place.slot();
    for n in 0..16 {
        let Entry::Leaf(leaf) = Arm64K4::decode(Level::Pte, space.mem.load(slot.offset(n))) else {
            panic!("entry {n}")
        };
        assert_eq!((leaf.pfn, leaf.joined), (Pfn::new(FRAME + 16 + u64::from(n)), true));
    }
}

/// What ends inside of a page would change half of it: it is refused at either end, before anything is changed.
#[test]
fn a_change_that_ends_inside_of_a_page_is_refused() {
    let mut space = Space::<X86_64>::new();
    let mib = |n: u64| n << 20;
    space.map_range(0, mib(4), Bytes::mib(2));
    for (from, to) in [(0, 3), (1, 4), (1, 3)] {
        let range = VaddrRange::new(ADDR + Bytes::mib(from), ADDR + Bytes::mib(to));
        let unmapped =
            space.tables.unmap(&mut space.mem, range, Notes::Drop, |_, _, _| panic!("something is unmapped"));
        assert!(unmapped.is_err(), "{range}");
        let protected = space.tables.protect(&mut space.mem, &mut |_| (), range, |_| panic!("something is protected"));
        assert!(protected.is_err(), "{range}");
    }
    let range = VaddrRange::new(ADDR, ADDR + Bytes::mib(4));
    let mut gone = 0;
    space.tables.unmap(&mut space.mem, range, Notes::Drop, |_, _, _| gone += 1).unwrap().settle(&mut |_| ());
    assert_eq!(gone, 2);
}

#[test]
fn every_architecture_has_its_sizes() {
    fn sizes<A: Arch>() -> Vec<u64> {
        Grain::all::<A>().map(|grain| grain.size().get() >> 10).collect()
    }
    assert_eq!(sizes::<X86_64>(), [4, 2 << 10, 1 << 20]);
    assert_eq!(sizes::<X86_64La57>(), [4, 2 << 10, 1 << 20]);
    assert_eq!(sizes::<Arm64K4>(), [4, 64, 2 << 10, 32 << 10, 1 << 20]);
    assert_eq!(sizes::<Arm64K16>(), [16, 2 << 10, 32 << 10, 1 << 20]);
    assert_eq!(sizes::<Arm64K64>(), [64, 2 << 10, 512 << 10, 16 << 20]);
    let none = Grain::new::<Arm64K16>(Bytes::kib(64)).unwrap_err();
    assert!(none.to_string().starts_with("arm64 with pages of 16 KiB has no entry that maps 65536 B"), "{none}");
}

#[test]
fn bits_are_those_of_the_manuals() {
    let user = LeafFlags::WRITE | LeafFlags::USER | LeafFlags::ACCESSED | LeafFlags::DIRTY;
    let leaf = |flags| Leaf::new(Pfn::new(0x200), flags);
    assert_eq!(X86_64::leaf(Level::Pte, leaf(user)), Word::new(0x20_0067));
    assert_eq!(X86_64::leaf(Level::Pmd, leaf(user | LeafFlags::NO_EXECUTE)), Word::new(0x8000_0000_0020_00e7));
    // A page of arm64 that may be written and was not: the processor may take bit 7 away.
    assert_eq!(Arm64K4::leaf(Level::Pte, leaf(LeafFlags::WRITE | LeafFlags::USER)), Word::new(0x28_0000_0020_0bc3));
    assert_eq!(Arm64K4::leaf(Level::Pmd, leaf(user)), Word::new(0x28_0000_0020_0f41));
}

/// Whatever the bits are, they say something, and what they say has these bits again.
#[test]
fn every_entry_is_read_as_it_was_written() {
    fn check<A: Arch>() {
        for level in Level::ALL.into_iter().filter(|&level| level <= A::LEAF_MAX) {
            let pfn = Pfn::new(3 << (A::shift(level) - A::PAGE.get()));
            for bits in 0..256_u64 {
                let spread = [1, 2, 4, 5, 6, 8, 10, 63];
                let flags = (0..8).map(|n| (bits >> n & 1) << spread[n]).sum();
                let flags = LeafFlags::from_bits(flags).unwrap();
                for joined in [false, A::joined_shift(level).is_some()] {
                    let leaf = Leaf { pfn, flags, joined };
                    assert_eq!(A::decode(level, A::leaf(level, leaf)), Entry::Leaf(leaf), "{} {level:?}", A::NAME);
                }
            }
        }
        let mut bits = 1_u64;
        for n in 0..100_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(n);
            let level = Level::ALL[usize::try_from(n).unwrap() % 3];
            let word = Word::new(bits >> (n % 64));
            match A::decode(level, word) {
                Entry::Leaf(_) | Entry::Table(_) => {}
                entry => assert_eq!(A::decode(level, A::encode(level, entry)), entry),
            }
        }
    }
    check::<X86_64>();
    check::<X86_64La57>();
    check::<Arm64K4>();
    check::<Arm64K16>();
    check::<Arm64K64>();
}

#[test]
fn what_hardware_would_refuse_is_neither_followed_nor_overwritten() {
    // A page at the level above 1 GiB, and a block of arm64 where only pages are.
    assert!(matches!(X86_64::decode(Level::P4d, Word::new(0x81)), Entry::Swap(_)));
    assert!(matches!(Arm64K4::decode(Level::Pte, Word::new(0x1)), Entry::Swap(_)));
    assert!(matches!(Arm64K64::decode(Level::Pud, Word::new(0x1)), Entry::Swap(_)));
}

#[test]
fn addresses_and_frames_that_cannot_be_are_refused() {
    let mut space = Space::<X86_64>::new();
    let page = grain::<X86_64>(K4);
    let mut map = |addr: u64, grain: Grain, pfn: u64| {
        space.tables.map(&mut space.mem, Vaddr::new(addr), grain, Leaf::new(Pfn::new(pfn), LeafFlags::empty()))
    };
    assert_eq!(map(1 << 47, page, 0), Err(MapRefusal::Unmappable(Vaddr::new(1 << 47))));
    assert_eq!(map(0x1234, page, 0), Err(MapRefusal::Misaligned { addr: Vaddr::new(0x1234), grain: page }));
    let huge = grain::<X86_64>(M2);
    assert_eq!(map(0, huge, 1), Err(MapRefusal::MisalignedFrame { pfn: Pfn::new(1), grain: huge }));
    assert_eq!(map(0, page, 1 << 40), Err(MapRefusal::BeyondMemory(Pfn::new(1 << 40))));
    assert_eq!(map(0, page, u64::MAX), Err(MapRefusal::BeyondMemory(Pfn::new(u64::MAX))));
    assert_eq!(map(0xffff_ffff_ffff_f000, page, 5), Ok(()), "the last page of all");
    assert_eq!(space.tables.translate(&space.mem, Vaddr::new(u64::MAX)), Some((Pfn::new(5), LeafFlags::empty())));
}
