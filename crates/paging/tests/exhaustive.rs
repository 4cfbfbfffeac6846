//! Every combination of entries on a small tree, every walk over it, and what a table says that it must do.
//!
//! The tree has three levels with two entries a table, and one of them is given everything that can be in it, down to the last entry.
//! [`RULES`] says what each kind of entry means to a walk; the walk itself is not asked.

#![expect(clippy::unwrap_used, reason = "what cannot be fails the test")]

#[path = "toy/mod.rs"]
mod toy;

use paging::{
    Arch, Entry, Grain, HeapTables, Leaf, LeafFlags, Level, Marker, Migration, PageTables, Slot, StepRefusal, Swap,
    Table, TableMemory, Tables, find_from, walk,
};
use toy::Toy;
use units::{PageCount, Pfn, Vaddr};

type A = Toy<1, false>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Marker,
    Migration,
    Hwpoison,
    Swap,
    Leaf,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It ends here, well.
    Ends,
    /// It goes on in the table.
    GoesOn,
    /// It makes an empty table and goes on.
    Makes,
    /// It makes a table that says the same in every entry, and goes on.
    Copies,
    /// It says that the entry is in use.
    Refuses,
}

/// What an entry means to a walk that has not come down far enough: if it may make no tables, and if it may.
const RULES: [(Kind, Does, Does); 7] = [
    (Kind::None, Does::Ends, Does::Makes),
    (Kind::Marker, Does::Ends, Does::Copies),
    (Kind::Migration, Does::Ends, Does::Refuses),
    (Kind::Hwpoison, Does::Ends, Does::Refuses),
    (Kind::Swap, Does::Ends, Does::Refuses),
    (Kind::Leaf, Does::Ends, Does::Ends),
    (Kind::Table, Does::GoesOn, Does::GoesOn),
];

/// What is in one entry, and below.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: Kind,
    below: Vec<Node>,
}

fn plain(kind: Kind) -> Node {
    Node { kind, below: Vec::new() }
}

/// Everything that an entry of that level can be.
fn everything(level: Level) -> Vec<Node> {
    let mut all: Vec<Node> = RULES.iter().map(|rule| rule.0).filter(|&k| k != Kind::Table).map(plain).collect();
    if let Some(below) = level.below() {
        let parts = everything(below);
        for left in &parts {
            let with = |right: &Node| Node { kind: Kind::Table, below: vec![left.clone(), right.clone()] };
            all.extend(parts.iter().map(with));
        }
    }
    all
}

/// The entry that stands for a kind; its frame says where it is.
fn entry(kind: Kind, pfn: Pfn) -> Entry {
    match kind {
        Kind::None => Entry::None,
        Kind::Marker => Entry::Marker(Marker::UFFD_WP),
        Kind::Migration => Entry::Migration(Migration { pfn, writable: true }),
        Kind::Hwpoison => Entry::Hwpoison(pfn),
        Kind::Swap => Entry::Swap(Swap::new(7).unwrap()),
        Kind::Leaf => Entry::Leaf(Leaf::new(pfn, LeafFlags::WRITE)),
        Kind::Table => unreachable!("a table is built"),
    }
}

fn kind(entry: Entry) -> Kind {
    match entry {
        Entry::None => Kind::None,
        Entry::Marker(_) => Kind::Marker,
        Entry::Migration(_) => Kind::Migration,
        Entry::Hwpoison(_) => Kind::Hwpoison,
        Entry::Swap(_) => Kind::Swap,
        Entry::Leaf(_) => Kind::Leaf,
        Entry::Table(_) => Kind::Table,
    }
}

/// Writes a node into a slot, by hand.
fn build(mem: &mut HeapTables<A>, slot: Slot, level: Level, node: &Node) {
    let word = match (node.kind, level.below()) {
        (Kind::Table, Some(below)) => {
            let table = mem.alloc_table(below).unwrap();
            mem.linked(below);
            for (index, part) in (0..).zip(&node.below) {
                build(mem, Slot { table, index }, below, part);
            }
            A::table(table)
        }
        (kind, _) => A::encode(level, entry(kind, Pfn::new(1 << 8))),
    };
    mem.store(slot, word);
}

/// Reads it back.
fn read(mem: &HeapTables<A>, slot: Slot, level: Level) -> Node {
    let entry = A::decode(level, mem.load(slot));
    let below = match (entry, level.below()) {
        (Entry::Table(table), Some(below)) => (0..2).map(|index| read(mem, Slot { table, index }, below)).collect(),
        _ => Vec::new(),
    };
    Node { kind: kind(entry), below }
}

/// What must come of a walk.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    level: Level,
    kind: Kind,
    refused: bool,
    after: Node,
}

/// Follows the rules from a node of `level` to the part that `path` names, highest first, until the target's level.
fn told(node: &Node, level: Level, path: &[usize], target: Level, tables: Tables) -> Outcome {
    let end = |refused| Outcome { level, kind: node.kind, refused, after: node.clone() };
    let rule = RULES.iter().find(|rule| rule.0 == node.kind).unwrap();
    let does = if tables == Tables::Make { rule.2 } else { rule.1 };
    let (Some(below), true) = (level.below(), level > target) else { return end(false) };
    let parts = match does {
        Does::Ends => return end(false),
        Does::Refuses => return end(true),
        Does::GoesOn => node.below.clone(),
        Does::Makes => vec![plain(Kind::None); 2],
        Does::Copies => vec![plain(node.kind); 2],
    };
    let mut outcome = told(&parts[path[0]], below, &path[1..], target, tables);
    let mut after = parts;
    after[path[0]] = outcome.after;
    outcome.after = Node { kind: Kind::Table, below: after };
    outcome
}

/// A tree with `node` as the second entry of its first table.
fn tree(node: &Node) -> (HeapTables<A>, PageTables<A>, Slot) {
    let mut mem = HeapTables::new(PageCount::new(16));
    let tables = PageTables::new(&mut mem).unwrap();
    let slot = Slot { table: tables.root(), index: 1 };
    build(&mut mem, slot, Level::Pud, node);
    (mem, tables, slot)
}

fn address(path: [usize; 2]) -> Vaddr {
    let page = 0b100 | path[0] << 1 | path[1];
    Vaddr::new((page as u64) << 12 | 0x123)
}

#[test]
fn every_walk_over_every_tree_does_what_the_rules_say() {
    let all = everything(Level::Pud);
    assert_eq!(all.len(), 6 + (6 + 36) * (6 + 36));
    for node in &all {
        for path in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            for target in [Level::Pud, Level::Pmd, Level::Pte] {
                for may in [Tables::AsTheyAre, Tables::Make] {
                    let (mut mem, tables, slot) = tree(node);
                    let addr = address(path);
                    let grain = Grain::single::<A>(target);
                    let walked = walk::<A, _>(&mut mem, tables.top(addr), addr, grain, may);
                    let refused = walked.is_err();
                    let (place, found) = match walked {
                        Ok(found) => (found.place, found.entry),
                        Err(stopped) => match stopped.why {
                            StepRefusal::Occupied(entry) => (stopped.place, entry),
                            why => panic!("{why}"),
                        },
                    };
                    let after = read(&mem, slot, Level::Pud);
                    let outcome = Outcome { level: place.grain().level(), kind: kind(found), refused, after };
                    let case = format!("{node:?} at {addr} towards {target:?}, {may:?}");
                    assert_eq!(outcome, told(node, Level::Pud, &path, target, may), "{case}");
                    check_counts(&mem, &tables, &case);
                }
            }
        }
    }
}

/// Tables were counted as they came, and none was lost.
fn check_counts(mem: &HeapTables<A>, tables: &PageTables<A>, case: &str) {
    let tally = tables.validate(mem).unwrap_or_else(|broken| panic!("{case}: {broken}"));
    for level in [Level::Pte, Level::Pmd, Level::Pud] {
        assert_eq!(mem.linked_tables(level), PageCount::new(tally.tables[level.index()]), "{case}");
    }
    assert_eq!(mem.used(), PageCount::new(tally.tables.iter().sum()), "{case}");
}

#[test]
fn what_is_found_without_making_tables_is_found_by_every_way() {
    for node in &everything(Level::Pud) {
        for path in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            let (mut mem, tables, slot) = tree(node);
            let addr = address(path);
            let must = told(node, Level::Pud, &path, Level::Pte, Tables::AsTheyAre);
            let found = tables.find(&mem, addr);
            assert_eq!((found.place.grain().level(), kind(found.entry)), (must.level, must.kind), "{node:?}");
            for huge in [Level::Pud, Level::Pmd, Level::Pte] {
                let grain = Grain::single::<A>(huge);
                let reaches = must.level <= huge;
                let within = tables.find_in(&mem, addr, grain);
                assert_eq!(within.ok(), reaches.then_some(found), "{node:?} in {grain}");
                let made = told(node, Level::Pud, &path, huge, Tables::Make);
                let reached = tables.reach(&mut mem, addr, grain, None);
                let stops = made.refused || made.level > huge;
                assert_eq!(reached.is_err(), stops, "{node:?} in {grain}");
                assert_eq!(read(&mem, slot, Level::Pud), made.after, "{node:?} in {grain}");
                (mem, _, _) = tree(node);
            }
        }
    }
}

#[test]
fn a_table_that_cannot_be_had_leaves_everything_as_it_was() {
    for node in &everything(Level::Pud) {
        let (full, tables, slot) = tree(node);
        let used = full.used();
        for more in 0..2 {
            let mut mem = HeapTables::new(used + PageCount::new(more));
            let same = PageTables::<A>::new(&mut mem).unwrap();
            assert_eq!(same.root(), tables.root());
            build(&mut mem, slot, Level::Pud, node);
            let addr = address([1, 0]);
            let made = told(node, Level::Pud, &[1, 0], Level::Pte, Tables::Make);
            let needed = count(&made.after) - count(node);
            let walked = walk::<A, _>(&mut mem, tables.top(addr), addr, Grain::page::<A>(), Tables::Make);
            if needed > more && !made.refused {
                let stopped = walked.unwrap_err();
                assert!(matches!(stopped.why, StepRefusal::NoTable(_)), "{node:?}: {stopped}");
                let found = find_from::<A, _>(&mem, stopped.place, addr);
                assert_eq!(found, tables.find(&mem, addr), "the last place is valid");
            }
            check_counts(&mem, &tables, "memory is lacking");
        }
    }
}

fn count(node: &Node) -> u64 {
    u64::from(node.kind == Kind::Table) + node.below.iter().map(count).sum::<u64>()
}

#[test]
fn a_table_number_is_what_it_says() {
    assert_eq!(Table::new(Pfn::new(3)).to_string(), "table at pfn:0x3");
}
