//! From a page to those who map it.

use alloc::vec::Vec;

use filemap::MappedArea;
use units::{Access, HugeIndex, HugeRange, InodeId, Pfn, Scope, Vaddr};

use crate::Env;

/// Runs `f` while nobody maps, unmaps or inherits a page of a file: nobody faults it in, changes the tables of an area of the file, or adds
/// and takes areas.
pub(crate) fn alone<P: Env, R>(p: &mut P, inode: InodeId, f: impl FnOnce(&mut P) -> R) -> R {
    p.scope(Scope::Inode(inode, Access::Write), |p| in_tables(p, inode, f))
}

/// Runs `f` while nobody else changes the tables behind the areas of a file.
pub(crate) fn in_tables<P: Env, R>(p: &mut P, inode: InodeId, f: impl FnOnce(&mut P) -> R) -> R {
    p.scope(Scope::VmaLock(inode, Access::Write), |p| p.scope(Scope::FileMapping(inode, Access::Write), f))
}

/// Every place where the page at `index` of a file is mapped as the folio `pfn`, a file's page or a private copy, and by how many entries. Inside
/// [`alone`].
#[doc(alias("rmap_walk", "rmap_walk_file", "rmap_walk_anon"))]
pub(crate) fn places_of<P: Env>(
    p: &mut P,
    inode: InodeId,
    index: HugeIndex,
    pfn: Pfn,
) -> Vec<(MappedArea, Vaddr, u32)> {
    let mut places = Vec::new();
    for area in filemap::areas_over(p, inode, HugeRange::one(index)) {
        let size = p.hstate(area.hstate).size;
        let addr = area.start + size.total(HugeRange::new(area.range.start, index).count());
        let mapped = p.with_table(area.mm, |table| table.folio_at(addr)).flatten();
        if let Some((_, entries)) = mapped.filter(|mapped| mapped.0 == pfn) {
            places.push((area, addr, entries));
        }
    }
    places
}
