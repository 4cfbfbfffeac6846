//! Every test and scenario that the list of proofs names is there.

use std::path::{Path, PathBuf};

/// The tables and the numbers of their rows.
const TABLES: [(&str, &[u32]); 3] = [
    ("## Where a page comes from", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    (
        "## Gigantic pages, dissolving, moving, breaking",
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
    ),
    ("## Worked numbers", &[11, 12, 13, 14, 15, 16, 17, 18, 19]),
];

struct Row<'a> {
    table: &'a str,
    number: u32,
    proof: &'a str,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let mut table = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if line.starts_with("## ") {
            table = line;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, number, _, proof, _] = cells[..]
            && let Ok(number) = number.parse()
        {
            rows.push(Row { table, number, proof });
        }
    }
    rows
}

/// Of each link: where it leads, and the names of tests behind it; none behind a scenario.
fn proofs(proof: &str) -> Vec<(&str, Vec<&str>)> {
    let link = |text: &'_ str| -> Option<(usize, usize)> {
        let from = text.find("](")? + 2;
        Some((from, from + text[from..].find(')')?))
    };
    let mut proofs = Vec::new();
    for text in proof.split("; ") {
        let Some((from, to)) = link(text) else { continue };
        let names = text[to + 1..].strip_prefix(": ").unwrap_or_default();
        let names = names.split(", ").map(|name| name.trim_matches('`')).filter(|name| !name.is_empty());
        proofs.push((&text[from..to], names.collect()));
    }
    proofs
}

/// Is there a test of that name?
fn has_test(source: &str, name: &str) -> bool {
    let before = |at: usize| {
        let mut above = source[..at].trim_end().lines().rev().map(str::trim).take_while(|line| line.starts_with("#["));
        above.any(|line| line == "#[test]")
    };
    source.match_indices(&format!("fn {name}(")).any(|(at, _)| before(at))
}

fn behaviour() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/behaviour")
}

#[test]
fn everything_that_proves_a_rule_is_there() {
    let page = std::fs::read_to_string(behaviour().join("placement-and-failure-tests.md"));
    let page = page.expect("the list can be read");
    let rows = rows(&page);
    for (table, expected) in TABLES {
        let numbers: Vec<u32> = rows.iter().filter(|row| row.table == table).map(|row| row.number).collect();
        assert_eq!(numbers, expected, "the rows of {table}");
    }
    assert_all_is_there(rows);
}

#[test]
fn every_known_bug_has_its_proof() {
    let page = std::fs::read_to_string(behaviour().join("known-bugs.md")).expect("the list can be read");
    let rows = rows(&page);
    let numbers: Vec<u32> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    assert_all_is_there(rows);
}

fn assert_all_is_there(rows: Vec<Row<'_>>) {
    for Row { table, number, proof } in rows {
        let proofs = proofs(proof);
        assert!(!proofs.is_empty(), "row {number} of {table} names nothing");
        for (file, names) in proofs {
            let path = file.split('#').next().unwrap_or(file);
            let source =
                std::fs::read_to_string(behaviour().join(path)).unwrap_or_else(|_| panic!("there is no {file}"));
            let is_test = Path::new(path).extension().is_some_and(|extension| extension == "rs");
            assert_eq!(is_test, !names.is_empty(), "row {number} of {table}: {file} names tests, or it is none");
            for name in names {
                assert!(has_test(&source, name), "row {number} of {table}: {file} has no test {name}");
            }
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    let source = "#[test]\n#[should_panic]\nfn there() {}\nfn no_test() {}\n";
    assert!(has_test(source, "there") && !has_test(source, "no_test") && !has_test(source, "the"));
    let proof = "[a](x/a.rs): `one`, `two`; [b](b.scenario); not modelled: [why](page.md#there)";
    assert_eq!(proofs(proof), [("x/a.rs", vec!["one", "two"]), ("b.scenario", vec![]), ("page.md#there", vec![])]);
}
