//! Every test that the list of conditions names is there.

use std::path::Path;

/// The tables and how many rows each has.
const TABLES: [(&str, usize); 3] = [("## Conditions", 25), ("## Mistakes of the past", 22), ("## Worked numbers", 11)];

struct Row<'a> {
    table: &'a str,
    number: usize,
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

/// Of each link to a file of tests: where it leads, and the names behind it.
fn tests(proof: &str) -> Vec<(&str, Vec<&str>)> {
    let links = proof.split("; ").filter_map(|part| part.split_once("](")?.1.split_once("): "));
    links.map(|(file, names)| (file, names.split(", ").map(|name| name.trim_matches('`')).collect())).collect()
}

/// Is there a test of that name?
fn has_test(source: &str, name: &str) -> bool {
    let before = |at: usize| source[..at].trim_end().ends_with("#[test]");
    source.match_indices(&format!("fn {name}(")).any(|(at, _)| before(at))
}

#[test]
fn every_condition_is_proved_by_tests_that_are_there() {
    let behaviour = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/behaviour");
    let page = std::fs::read_to_string(behaviour.join("page-allocator-tests.md")).expect("the list can be read");
    let rows = rows(&page);
    for (table, count) in TABLES {
        let numbers: Vec<usize> = rows.iter().filter(|row| row.table == table).map(|row| row.number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "the rows of {table}");
    }
    for Row { table, number, proof } in rows {
        let tests = tests(proof);
        let is_text = proof.starts_with("[what its files show](page-allocator.md");
        assert!(!tests.is_empty() || is_text, "row {number} of {table} names no test");
        for (file, names) in tests {
            let source = std::fs::read_to_string(behaviour.join(file)).unwrap_or_else(|_| panic!("there is no {file}"));
            for name in names {
                assert!(has_test(&source, name), "row {number} of {table}: {file} has no test {name}");
            }
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    let source = "#[test]\nfn there() {}\nfn no_test() {}\n";
    assert!(has_test(source, "there") && !has_test(source, "no_test") && !has_test(source, "the"));
    let proof = "[a](x/a.rs): `one`, `two`; [b](b.rs): `three`";
    assert_eq!(tests(proof), [("x/a.rs", vec!["one", "two"]), ("b.rs", vec!["three"])]);
    let row = &rows("## T\n| | | |\n|---|---|---|\n| 3 | what | [a](b): `c` |\n")[0];
    assert_eq!((row.table, row.number, row.proof), ("## T", 3, "[a](b): `c`"));
}
