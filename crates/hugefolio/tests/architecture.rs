//! What `ARCHITECTURE.md` says of ranks and rooms is so.

use std::path::Path;

use slotmap::Key;
use units::{Access, GmemId, HugeIndex, HugeSize, InodeId, MmId, PageIndex, Pfn, Scope};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a table whose first column is a rank: the rank and the first name in monospace.
fn ranked(page: &str) -> Vec<(u8, String)> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let rank = cells.next()?.parse().ok()?;
        Some((rank, cells.next()?.split('`').nth(1)?.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn the_table_has_the_ranks_of_scopes() {
    let (mm, inode, file) = (MmId::null(), InodeId::null(), GmemId::null());
    let scopes = [
        ("Resize(size)", Scope::Resize(HugeSize::M2)),
        ("AddressSpace(mm, access)", Scope::AddressSpace(mm, Access::Read)),
        ("Inode(inode, access)", Scope::Inode(inode, Access::Read)),
        ("Gmem(file, access)", Scope::Gmem(file, Access::Read)),
        ("FaultMutex(inode, index)", Scope::FaultMutex(inode, HugeIndex::ZERO)),
        ("GmemFault(file, index)", Scope::GmemFault(file, PageIndex::ZERO)),
        ("VmaLock(inode, access)", Scope::VmaLock(inode, Access::Read)),
        ("FileMapping(inode, access)", Scope::FileMapping(inode, Access::Read)),
        ("Folio(pfn)", Scope::Folio(Pfn::new(0))),
    ];
    let expected = scopes.map(|(name, scope)| (scope.rank().0, name.to_owned()));
    let table: Vec<_> = ranked(&text("ARCHITECTURE.md")).into_iter().filter(|(rank, _)| *rank < 20).collect();
    assert_eq!(table, expected);
}

#[test]
fn the_table_has_the_ranks_of_sections() {
    let source = text("crates/hugefolio/src/shared.rs");
    let ranks = source.lines().filter_map(|line| {
        let (_, rank) = line.trim().strip_prefix("pub(crate) const ")?.split_once(": Rank = Rank(")?;
        rank.split(',').next()?.parse::<u8>().ok()
    });
    let table: Vec<_> = ranked(&text("ARCHITECTURE.md")).into_iter().filter(|(rank, _)| *rank >= 20).collect();
    assert_eq!(table.iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), ranks.collect::<Vec<_>>());
    let implementor = text("crates/hugefolio/src/shared_env.rs") + &source;
    for (_, section) in table {
        assert!(implementor.contains(&format!("fn {section}")), "{section} is a section");
    }
}

#[test]
fn every_room_has_its_heading() {
    let page = text("ARCHITECTURE.md");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let named = |room: &str| headings.iter().any(|heading| heading.split([' ', ',']).any(|word| word == room));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for room in std::fs::read_dir(folder).expect("the folder of all rooms can be read") {
        let room = room.expect("a room").file_name().to_string_lossy().into_owned();
        assert!(named(&room), "the room `{room}` has no heading in ARCHITECTURE.md");
    }
}
