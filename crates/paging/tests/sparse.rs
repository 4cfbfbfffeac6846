//! Tables that take memory only where something is in them, beside tables that are there in full.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use paging::arch::{Arm64K16, Arm64K64, X86_64};
use paging::{
    Arch, AtLevel, Entry, Grain, HeapTables, Leaf, LeafFlags, Level, Marker, PageTables, SparseTables, TableMemory,
};
use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};

const STEPS: u64 = 4_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn contents<A: Arch, M: TableMemory>(mem: &M, tree: PageTables<A, AtLevel>) -> Vec<(Vaddr, Grain, Entry)> {
    let all = VaddrRange::new(Vaddr::new(0), Vaddr::new(A::reach(tree.level()).get()));
    let some = |entry: Entry| !matches!(entry, Entry::None | Entry::Table(_));
    tree.over(mem, all)
        .map(|(at, found)| (at, found.place.grain(), found.entry))
        .filter(|found| some(found.2))
        .collect()
}

/// One step of a history, done to either tables; what came of it.
fn step<A: Arch, M: TableMemory>(mem: &mut M, tree: PageTables<A, AtLevel>, dice: [u64; 3], huge: Grain) -> String {
    let grains: Vec<_> = Grain::all::<A>().filter(|grain| *grain < huge).collect();
    let grain = grains[usize::try_from(dice[1]).unwrap() % grains.len()];
    let at = Vaddr::new(dice[2] * A::PAGE.bytes().get()).align_down(grain.size());
    let part = grain.around(at);
    let leaf = Leaf::new(Pfn::new(at.get() >> A::PAGE.get()), LeafFlags::WRITE);
    match dice[0] {
        0..5 => format!("{:?}", tree.map(mem, at, grain, leaf)),
        5 => format!(
            "{:?}",
            tree.unmap(mem, part, paging::Notes::Keep, |_, _, _| ()).map(|owed| owed.settle(&mut |_| ()))
        ),
        6 => format!("{:?}", tree.poison(mem, &mut |_| (), at).map(|owed| owed.settle(&mut |_| ()))),
        7 => format!("{:?}", { tree.note(mem, part, Marker::UFFD_WP) }),
        8 => format!("{:?}", { tree.forget(mem, part, Marker::UFFD_WP) }),
        _ => format!("{:?}", {
            let whole = Leaf::new(Pfn::new(0), LeafFlags::empty());
            tree.collapse(mem, &mut |_| (), Vaddr::new(0), huge, whole)
        }),
    }
}

fn run<A: Arch>(huge: Bytes, steps: u64, seed: u64) {
    let huge = Grain::new::<A>(huge).unwrap();
    let mut full = HeapTables::<A>::new(PageCount::new(2_000));
    let mut sparse = SparseTables::<A>::new();
    let trees = [
        PageTables::<A, AtLevel>::new_below(&mut full, huge.level()).unwrap(),
        PageTables::<A, AtLevel>::new_below(&mut sparse, huge.level()).unwrap(),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
    let pages = A::PAGE.pages_floor(huge.size()).get();
    for n in 0..steps {
        let near = if random.below(2) == 0 { 40 } else { pages };
        let dice = [random.below(10), random.below(4), random.below(near)];
        // Collapses are rare, or nothing would grow.
        let dice = if dice[0] == 9 && random.below(20) > 0 { [0, dice[1], dice[2]] } else { dice };
        let came = step(&mut sparse, trees[1], dice, huge);
        assert_eq!(came, step(&mut full, trees[0], dice, huge), "step {n}: {dice:?}");
        if n % 50 == 0 || steps < 50 {
            assert_eq!(contents(&sparse, trees[1]), contents(&full, trees[0]), "step {n}");
            assert_eq!(trees[1].validate(&sparse).unwrap(), trees[0].validate(&full).unwrap());
        }
        for level in [Level::Pud, Level::Pmd, Level::Pte] {
            assert_eq!(sparse.linked_tables(level), full.linked_tables(level));
        }
        assert_eq!(sparse.used(), full.used());
    }
}

#[test]
fn what_is_almost_empty_holds_the_same() {
    run::<X86_64>(Bytes::gib(1), STEPS, 0);
    run::<X86_64>(Bytes::mib(2), STEPS, 0);
    // Here the first table holds a group.
    run::<Arm64K16>(Bytes::gib(1), STEPS, 0);
    run::<Arm64K16>(Bytes::mib(2), STEPS, 0);
}

/// The first entries are a list, and what they are in has lines from the one on that is too many.
#[test]
fn what_has_a_few_entries_holds_the_same() {
    for seed in 0..300 {
        run::<X86_64>(Bytes::gib(1), 12, seed << 17);
        run::<X86_64>(Bytes::mib(2), 20, seed << 17);
        run::<Arm64K64>(Bytes::mib(512), 12, seed << 17);
    }
}

/// A page that broke is an entry of its own, and what was one page around it is as coarse as can be.
#[test]
fn a_broken_page_is_divided_out() {
    let mut mem = SparseTables::<X86_64>::new();
    let tree = PageTables::<X86_64, AtLevel>::new_below(&mut mem, Level::Pud).unwrap();
    let whole = Grain::new::<X86_64>(Bytes::gib(1)).unwrap();
    tree.map(&mut mem, Vaddr::new(0), whole, Leaf::new(Pfn::new(0), LeafFlags::WRITE)).unwrap();
    let at = Vaddr::new(1_000 << 12);
    let owed = tree.poison(&mut mem, &mut |_| (), at).unwrap();
    assert_eq!(owed.range(), Some(whole.around(at)));
    owed.settle(&mut |_| ());
    assert_eq!(tree.find(&mem, at).entry, Entry::Hwpoison(Pfn::new(1_000)));
    let tally = tree.validate(&mem).unwrap();
    assert_eq!((tally.leaves, tally.others), ([511, 511, 0, 0, 0], 1));
    // Nobody is to find out twice.
    assert!(tree.poison(&mut mem, &mut |_| (), at).is_err());
}
