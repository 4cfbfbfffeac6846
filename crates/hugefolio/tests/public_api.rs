//! The public items of the library, with their signatures, are those that `public-api.txt` lists.
//!
//! The list is made from the sources: the facade's own public items and, through its `pub use`, those of the rooms, macros
//! expanded. A change of the list is a change for users: it belongs in the changelog.

mod api;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use api::{Api, Sources, list};

const CRATE: &str = "hugefolio";
const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/public-api.txt");
const UPDATE: &str = "UPDATE_EXPECT=1 cargo test -p hugefolio --test public_api";

/// The folder of all rooms.
fn rooms() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a room lies in the folder of all rooms")
}

#[test]
fn public_items_are_those_that_are_written_down() {
    let found = list(&Sources::on_disk(rooms()), CRATE).lines;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(EXPECTED, found.join("\n") + "\n").expect("the list can be written");
        return;
    }
    let written = std::fs::read_to_string(EXPECTED).unwrap_or_default();
    let written: Vec<String> = written.lines().map(str::to_owned).collect();
    if let Some(report) = difference(&written, &found) {
        panic!(
            "the public API is not what tests/public-api.txt says:\n{report}\
             if that is meant, say it in CHANGELOG.md and update the list:\n    {UPDATE}\n"
        );
    }
}

/// A public function that takes or answers a type that users cannot name is of little use to them.
#[test]
fn what_public_items_mention_can_be_named() {
    let nameless = list(&Sources::on_disk(rooms()), CRATE).nameless;
    assert!(nameless.is_empty(), "let crates/hugefolio/src/lib.rs re-export:\n  {}", nameless.join("\n  "));
}

/// Which items were added, removed or changed; nothing if none.
fn difference(written: &[String], found: &[String]) -> Option<String> {
    let mut by_path: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for line in written.iter().filter(|line| !found.contains(line)) {
        by_path.entry(path_in(line)).or_default().0.push(line);
    }
    for line in found.iter().filter(|line| !written.contains(line)) {
        by_path.entry(path_in(line)).or_default().1.push(line);
    }
    let mut report = String::new();
    for (path, change) in &by_path {
        let _ = match (change.0.as_slice(), change.1.as_slice()) {
            ([was], [is]) => writeln!(report, "  changed: {path}\n      was: {was}\n      is:  {is}"),
            (removed, added) => {
                removed.iter().for_each(|line| report += &format!("  removed: {line}\n"));
                added.iter().for_each(|line| report += &format!("  added:   {line}\n"));
                Ok(())
            }
        };
    }
    (!report.is_empty()).then_some(report)
}

/// The path of the item that a line is about.
fn path_in(line: &str) -> &str {
    let words = line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    words.map(|word| word.trim_end_matches(':')).find(|word| word.split("::").next() == Some(CRATE)).unwrap_or(line)
}

/// A small crate whose facade re-exports from a room; `change` is replaced in the room's source.
fn planted(change: (&str, &str)) -> Api {
    const ROOM: &str = "
        mod deep;
        pub use deep::{Deep as Renamed, free};
        macro_rules! unit { ($(#[$doc:meta])* $name:ident($int:ty)) => {
            $(#[$doc])* #[derive(Clone, Copy)] pub struct $name($int);
            impl $name { pub const fn get(self) -> $int { self.0 } fn private(self) {} }
            impl core::ops::Add for $name { type Output = Self; }
        } }
        unit!(/** A length. */ Length(u64));
        macro_rules! names { ($($name:ident = $n:literal),* $(,)?) => { pub enum Name { $($name = $n),* } } }
        names! { ONE = 1, TWO = 2 }
        bitflags::bitflags! { pub struct Flags: u8 { const A = 1 << 0; } }
        pub trait Blame { fn needed(&self) -> Option<u8>; fn given(&self) {} }
        #[non_exhaustive] pub enum Refusal<'a> { Pool { free: u64 }, Other(&'a str) }
        impl Blame for Refusal<'_> {}
        pub struct Open { pub size: u64, hidden: u8 }
        #[cfg(test)] pub struct OnlyInTests;
    ";
    const DEEP: &str = "
        pub struct Deep<T>(pub T);
        impl<T: Clone> Deep<T> { pub fn take(&mut self, n: usize) -> Result<Vec<T>, ()> { todo!() } }
        pub fn free<P: FnOnce() -> u8>(p: P) where P: Sized {}
    ";
    const FACADE: &str =
        "pub use room::{Blame, Flags, Length, Name, Open, Refusal, Renamed}; pub mod inner { pub use room::free; }";
    let (from, to) = change;
    assert!(from.is_empty() || ROOM.contains(from) || DEEP.contains(from), "{from} is there to be replaced");
    let files = [
        ("facade/src/lib.rs", FACADE.to_owned()),
        ("room/src/lib.rs", if from.is_empty() { ROOM.to_owned() } else { ROOM.replace(from, to) }),
        ("room/src/deep.rs", if from.is_empty() { DEEP.to_owned() } else { DEEP.replace(from, to) }),
    ];
    list(&Sources::planted(&files), "facade")
}

#[test]
fn items_are_listed_through_re_exports_and_macros() {
    let expected = [
        "#[non_exhaustive] pub enum facade::Refusal<'a>",
        "facade::Name::ONE = 1",
        "facade::Name::TWO = 2",
        "facade::Refusal::Other(&'a str)",
        "facade::Refusal::Pool { free: u64 }",
        "fn facade::Blame::given(&self) { .. }",
        "fn facade::Blame::needed(&self) -> Option<u8>",
        "impl Add for facade::Length",
        "impl Blame for facade::Refusal<'_>",
        "impl Clone for facade::Length",
        "impl Copy for facade::Length",
        "pub const facade::Flags::A: Self",
        "pub const fn facade::Length::get(self) -> u64",
        "pub enum facade::Name",
        "pub facade::Open::size: u64",
        "pub fn facade::Renamed::take(&mut self, n: usize) -> Result<Vec<T>, ()>",
        "pub fn facade::inner::free<P: FnOnce() -> u8>(p: P) where P: Sized",
        "pub mod facade::inner",
        "pub struct facade::Flags(_)",
        "pub struct facade::Length(_)",
        "pub struct facade::Open { .. }",
        "pub struct facade::Renamed<T>(pub T)",
        "pub trait facade::Blame",
    ];
    let mut found = planted(("", "")).lines;
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_kind_of_change_is_seen() {
    let before = planted(("", "")).lines;
    let changes = [
        ("n: usize", "n: u32"),
        ("pub fn take", "fn take"),
        ("Option<u8>", "Option<u16>"),
        ("fn given(&self) {}", "fn given(&self);"),
        ("derive(Clone, Copy)", "derive(Clone)"),
        ("ONE = 1", "ONE = 7"),
        ("const A = 1 << 0;", "const A = 1 << 0; const B = 1 << 1;"),
        ("#[non_exhaustive] ", ""),
        ("free: u64 ", ""),
        ("size: u64", "size: u32"),
        ("hidden: u8", ""),
        ("where P: Sized", ""),
        ("impl Blame for Refusal<'_> {}", ""),
        ("$name($int);", "$name(pub $int);"),
    ];
    for change in changes {
        assert_ne!(planted(change).lines, before, "{change:?}");
    }
    assert_eq!(planted(("fn private(self) {}", "fn other(self) {}")).lines, before, "what is private is not listed");
    let after = planted(("n: usize", "n: u32")).lines;
    let [was, is] =
        ["usize", "u32"].map(|n| format!("pub fn facade::Renamed::take(&mut self, n: {n}) -> Result<Vec<T>, ()>"));
    assert!(before.contains(&was) && after.contains(&is));
}

#[test]
fn a_type_without_a_public_name_is_found() {
    assert_eq!(planted(("", "")).nameless, [""; 0]);
    let hidden = planted(("n: usize", "n: &crate::Hidden")).nameless;
    assert_eq!(hidden, [""; 0], "it is no item at all");
    let hidden = planted(("impl<T: Clone> Deep<T>", "pub struct Hidden; impl Deep<Hidden>")).nameless;
    assert_eq!(hidden, [""; 0], "nobody mentions it");
    let hidden = planted(("pub T);", "pub self::Hidden, T); pub struct Hidden;")).nameless;
    assert_eq!(hidden, ["self::Hidden in facade::Renamed"]);
}
