//! `docs/kernel-map.md` is true: what stands on its left is in the sources, every search alias of the sources is in it, and its
//! index of the kernel's names is made from its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kernel-map.md");
/// What follows in the page is made.
const MARK: &str = "<!-- back -->\n";

/// The sources of every room, by room.
fn rooms() -> BTreeMap<String, Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a room lies in the folder of all rooms");
    let mut rooms = BTreeMap::new();
    for room in std::fs::read_dir(folder).expect("the folder of all rooms can be read") {
        let room = room.expect("a room").path();
        let mut texts = Vec::new();
        read_all(&room.join("src"), &mut texts);
        rooms.insert(room.file_name().expect("a name").to_string_lossy().into_owned(), texts);
    }
    rooms
}

fn read_all(folder: &PathBuf, texts: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a file").path()) {
        if path.is_dir() {
            read_all(&path, texts);
        } else {
            texts.push(std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// The pieces of `text` in monospace.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Each row of the tables of names: what it is here, and the kernel's names for it.
fn rows(page: &str) -> Vec<(&str, Vec<&str>)> {
    let tables = page.split(MARK).next().unwrap_or(page);
    let cells = tables.lines().filter_map(|line| {
        let mut cells = line.split('|').skip(1);
        Some((cells.next()?, cells.next()?))
    });
    cells
        .filter_map(|(ours, theirs)| {
            let path =
                names(ours).first().copied().filter(|path| path.contains("::") && !path.starts_with("Scope::"))?;
            Some((path, names(theirs)))
        })
        .collect()
}

/// Is there an item with the last name of `path`, and are its modules and types there too?
fn exists(rooms: &BTreeMap<String, Vec<String>>, path: &str) -> bool {
    let mut parts = path.split("::");
    let Some(texts) = parts.next().and_then(|room| rooms.get(room)) else { return false };
    parts.all(|part| {
        let declared = ["fn", "struct", "enum", "trait", "mod", "const", "type"].map(|word| format!("{word} {part}"));
        let others = [format!("pub {part}:"), format!("    {part}, \""), format!("    {part}(")];
        texts.iter().any(|text| {
            let word = |found: &String| {
                text.match_indices(found.as_str())
                    .any(|(at, _)| !text[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            declared.iter().any(word) || others.iter().any(|other| text.contains(other.as_str()))
        })
    })
}

#[test]
fn what_stands_on_the_left_exists() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let rooms = rooms();
    let rows = rows(&page);
    assert!(rows.len() > 100, "the tables are read");
    let gone: Vec<&str> = rows.iter().map(|(path, _)| *path).filter(|path| !exists(&rooms, path)).collect();
    assert!(gone.is_empty(), "docs/kernel-map.md names what is not in the sources: {}", gone.join(", "));
    assert!(!exists(&rooms, "hugetlb::Pool::no_such_method") && !exists(&rooms, "no_room::Pool"));
}

#[test]
fn every_search_alias_is_in_the_page() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let known: BTreeSet<&str> = rows(&page).into_iter().flat_map(|(_, theirs)| theirs).collect();
    let mut missing = Vec::new();
    for (room, texts) in rooms() {
        for line in texts.iter().flat_map(|text| text.lines()).filter(|line| line.trim().starts_with("#[doc(alias")) {
            let aliases = line.split('"').skip(1).step_by(2);
            missing.extend(aliases.filter(|alias| !known.contains(alias)).map(|alias| format!("{alias} ({room})")));
        }
    }
    assert!(missing.is_empty(), "aliases that docs/kernel-map.md does not have: {}", missing.join(", "));
}

#[test]
fn the_index_is_made_from_the_tables() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let (tables, index) = page.split_once(MARK).expect("the page has its mark");
    let mut by_name: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
    for (path, theirs) in rows(&page) {
        for name in theirs {
            by_name.entry((name.trim_start_matches('_').to_lowercase(), name)).or_default().push(path);
        }
    }
    let mut made = "\n| kernel | here |\n|---|---|\n".to_owned();
    for ((_, name), paths) in by_name {
        let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
        writeln!(made, "| `{name}` | {} |", paths.join(", ")).expect("text can be made longer");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        // In one step, as the other tests read the page meanwhile.
        let new = format!("{PAGE}.new");
        std::fs::write(&new, format!("{tables}{MARK}{made}")).expect("the page can be written");
        std::fs::rename(new, PAGE).expect("the page can be replaced");
    } else {
        assert!(index == made, "make the index again: UPDATE_EXPECT=1 cargo test -p hugefolio --test kernel_map");
    }
}
