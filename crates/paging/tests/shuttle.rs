//! Tables that threads share, under schedules that nobody would think of.
//!
//! Run with `cargo xtask ci shuttle`. A failing schedule prints the string that replays it.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

#[path = "toy/mod.rs"]
mod toy;

use paging::{
    Arch, Collapsed, Entry, Grain, Leaf, LeafFlags, Level, MapRefusal, Notes, PageTables, Recheck, SharedTables,
    TableMemory, Tables, recheck, walk,
};
use shuttle::sync::Arc;
use shuttle::thread;
use sync::Rank;
use sync::locks::Gate;
use toy::Toy;
use units::{PageCount, Pfn, Vaddr, VaddrRange};

type A = Toy<1, false>;
type Shared = Arc<SharedTables<A>>;

const SCHEDULES: usize = 10_000;

fn under_schedules(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_pct(test, SCHEDULES, 3);
}

fn grain(level: Level) -> Grain {
    Grain::single::<A>(level)
}

/// The `n`th base page of eight.
fn page(n: u64) -> Vaddr {
    Vaddr::new(n << 12)
}

fn leaf(n: u64) -> Leaf {
    Leaf::new(Pfn::new(0x10 + n), LeafFlags::WRITE)
}

/// The four pages of the first entry of the first table.
fn huge() -> VaddrRange {
    VaddrRange::new(page(0), page(4))
}

/// Two threads on the same tables; what both answered. Afterwards everything is counted again.
fn race<R: Send + 'static, S>(
    prepare: impl FnOnce(&mut &SharedTables<A>, PageTables<A>),
    one: impl FnOnce(&mut &SharedTables<A>, PageTables<A>) -> R + Send + 'static,
    other: impl FnOnce(&mut &SharedTables<A>, PageTables<A>) -> S,
) -> (Shared, PageTables<A>, R, S) {
    let shared: Shared = Arc::new(SharedTables::new(PageCount::new(10)));
    let tables = PageTables::<A>::new(&mut &*shared).unwrap();
    prepare(&mut &*shared, tables);
    let spawned = {
        let shared = shared.clone();
        thread::spawn(move || one(&mut &*shared, tables))
    };
    let answer = other(&mut &*shared, tables);
    let first = spawned.join().unwrap();
    let tally = tables.validate(&&*shared).unwrap();
    for level in [Level::Pte, Level::Pmd, Level::Pud] {
        assert_eq!(shared.linked_tables(level), PageCount::new(tally.tables[level.index()]), "{level:?}");
    }
    assert_eq!(shared.used(), PageCount::new(tally.tables.iter().sum()), "no table is lost");
    (shared, tables, first, answer)
}

fn map_one(n: u64) -> impl FnOnce(&mut &SharedTables<A>, PageTables<A>) -> Result<(), MapRefusal> + Send {
    move |mem, tables| tables.map(mem, page(n), grain(Level::Pte), leaf(n))
}

/// Two pages that need the same tables are mapped at once: both are mapped, and each table is made for good once. If the entry were written
/// without a look at what it is by then, the second table would hide the page in the first.
#[test]
fn two_who_make_the_same_tables() {
    under_schedules(|| {
        let (shared, tables, one, other) = race(|_, _| (), map_one(0), map_one(1));
        assert_eq!((one, other), (Ok(()), Ok(())));
        assert_eq!(
            (shared.linked_tables(Level::Pmd), shared.linked_tables(Level::Pte)),
            (PageCount::new(1), PageCount::new(1))
        );
        for n in 0..2 {
            assert_eq!(tables.find(&&*shared, page(n)).entry, Entry::Leaf(leaf(n)));
        }
    });
}

#[test]
fn two_who_map_the_same_page() {
    under_schedules(|| {
        let (.., one, other) = race(|_, _| (), map_one(0), map_one(0));
        assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1, "{one:?} {other:?}");
    });
}

/// Two divide one page at once. One table takes its place; whoever came second had made one, too, and kept it for nobody.
#[test]
fn two_who_divide_the_same_page() {
    under_schedules(|| {
        let map_two = |mem: &mut &SharedTables<A>, tables: PageTables<A>| {
            tables.map(mem, page(0), grain(Level::Pmd), leaf(0)).unwrap();
        };
        let divide = |mem: &mut &SharedTables<A>, tables: PageTables<A>| {
            let owed = tables.split(mem, &mut |_| (), page(0), grain(Level::Pte)).unwrap();
            owed.settle(&mut |_| ());
        };
        let (shared, tables, ..) = race(map_two, divide, divide);
        assert_eq!(shared.linked_tables(Level::Pte), PageCount::new(1));
        for n in 0..2 {
            assert_eq!(tables.find(&&*shared, page(n)).entry, Entry::Leaf(leaf(n)));
        }
    });
}

/// Somebody finds nothing where a page of the huge size fits. Before he is in the section, somebody else has put a table there. He must see that
/// and write nothing.
#[test]
fn nothing_becomes_a_table() {
    under_schedules(|| {
        let huge = |mem: &mut &SharedTables<A>, tables: PageTables<A>| {
            let top = tables.top(page(0));
            let found = walk::<A, _>(mem, top, page(0), grain(Level::Pud), Tables::AsTheyAre).unwrap();
            let Entry::None = found.entry else { return false };
            mem.section(found.place.section(), |mem| match recheck::<A, _>(mem, &found) {
                Recheck::Same => {
                    mem.store(found.place.slot(), A::leaf(Level::Pud, Leaf::new(Pfn::new(0x10), LeafFlags::WRITE)));
                    true
                }
                Recheck::Split => false,
                Recheck::Changed(entry) => panic!("{entry:?}"),
            })
        };
        let (shared, tables, whole, small) = race(|_, _| (), huge, map_one(1));
        assert_eq!(whole, small.is_err(), "one of the two: {small:?}");
        let found = tables.find(&&*shared, page(1));
        assert_eq!(found.place.grain().level(), if whole { Level::Pud } else { Level::Pte });
    });
}

/// What is finer becomes one page while somebody faults another part in. Tables go in this, so whoever walks keeps them by the gate of the address
/// space, as a reader.
#[test]
fn a_collapse_against_a_fault() {
    const RANK: Rank = Rank(1, 0);
    under_schedules(|| {
        let gate = Arc::new(Gate::default());
        let gate_of_fault = gate.clone();
        let whole = leaf(0);
        let (shared, tables, collapsed, fault) = race(
            |mem, tables| tables.map(mem, page(0), grain(Level::Pte), leaf(0)).unwrap(),
            move |mem, tables| {
                gate.write(RANK, || tables.collapse(mem, &mut |_| (), page(0), grain(Level::Pud), whole).unwrap())
            },
            move |mem, tables| {
                gate_of_fault.read(RANK, || match tables.find(mem, page(3)).entry {
                    Entry::None => tables.map(mem, page(3), grain(Level::Pte), leaf(3)).is_ok(),
                    _ => false,
                })
            },
        );
        let part = u64::from(fault);
        assert_eq!(collapsed, Collapsed::Whole { leaves: 1 + part, tables: [1 + part, 1, 0, 0, 0] });
        let found = tables.find(&&*shared, page(3));
        assert_eq!((found.place.grain().level(), found.entry), (Level::Pud, Entry::Leaf(whole)));
    });
}

/// The memory of one part of a page breaks: the page is divided and that part taken out, while somebody takes all of it away. Every part goes exactly
/// once.
#[test]
fn a_broken_part_against_an_unmap() {
    under_schedules(|| {
        let (shared, tables, broken, (rest, notes)) = race(
            |mem, tables| tables.map(mem, page(0), grain(Level::Pud), leaf(0)).unwrap(),
            move |mem, tables| match tables.poison(mem, &mut |_| (), page(2)) {
                Ok(owed) => {
                    owed.settle(&mut |_| ());
                    1
                }
                Err(_) => 0,
            },
            move |mem, tables| {
                let (mut pages, mut notes) = (0, 0);
                let owed = tables.unmap(mem, huge(), Notes::Keep, |_, grain, was| match was {
                    Entry::Leaf(_) => pages += grain.size().get() >> 12,
                    Entry::Hwpoison(_) => notes += 1,
                    other => panic!("{other:?}"),
                });
                owed.into_iter().for_each(|owed| owed.settle(&mut |_| ()));
                (pages, notes)
            },
        );
        assert_eq!(broken + rest, 4, "{broken} {rest}");
        let left = tables.find(&&*shared, page(2)).entry;
        assert_eq!(u64::from(matches!(left, Entry::Hwpoison(_))) + notes, broken, "{left:?}");
    });
}

/// Two parts of one page break at once: both are taken out, and each table is made once.
#[test]
fn two_parts_of_a_page_break() {
    under_schedules(|| {
        let breaks = |n| {
            move |mem: &mut &SharedTables<A>, tables: PageTables<A>| {
                tables.poison(mem, &mut |_| (), page(n)).map(|owed| owed.settle(&mut |_| ()))
            }
        };
        let (shared, tables, one, other) =
            race(|mem, tables| tables.map(mem, page(0), grain(Level::Pud), leaf(0)).unwrap(), breaks(0), breaks(1));
        assert_eq!((one, other), (Ok(()), Ok(())));
        let tally = tables.validate(&&*shared).unwrap();
        assert_eq!((tally.others, tally.pages), (2, PageCount::new(2)));
    });
}
