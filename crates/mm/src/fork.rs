//! What a child inherits.

use alloc::vec::Vec;
use hugetlbfs::Hold;
use memmap::MappedBy;

use units::{Access, InodeId, MmId, Scope, Site};

use crate::{Entry, Env, Vma, VmaFlags, exit_space};

/// No page for the child's page table; the child is gone again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no page for the child's page table")]
pub struct ForkError;

/// Copies an address space. Shared areas are shared and start unmapped; private areas share their pages until somebody writes. No
/// reservation is inherited: only the owner's touch is promised. Nor does a userfaultfd watch the child.
///
/// # Errors
/// The fault plan refuses a table page; nothing is left of the child.
#[doc(alias("dup_mmap", "copy_hugetlb_page_range"))]
pub fn fork_space<P: Env>(p: &mut P, parent: MmId) -> Result<MmId, ForkError> {
    let child = p.new_space();
    let copied = p.scope(Scope::AddressSpace(parent, Access::Write), |p| {
        let areas = p.with_vmas(parent, |vmas| vmas.iter().copied().collect::<alloc::vec::Vec<_>>());
        for vma in areas.unwrap_or_default() {
            if !vma.flags.contains(VmaFlags::DONT_FORK) {
                copy_area(p, parent, child, &vma)?;
            }
        }
        Ok(())
    });
    if copied.is_err() {
        exit_space(p, child);
    }
    copied.map(|()| child)
}

fn copy_area<P: Env>(p: &mut P, parent: MmId, child: MmId, vma: &Vma) -> Result<(), ForkError> {
    let copy = Vma { id: p.new_vma_id(), owner: None, uffd: None, flags: vma.flags - VmaFlags::UNMAPPED, ..*vma };
    hugetlbfs::hold(p, vma.inode, Hold::Area);
    p.scope(Scope::FileMapping(vma.inode, Access::Write), |p| {
        p.with_mappings(vma.inode, |m| m.insert_behind(vma.id, copy.as_mapped(child)));
        p.with_vmas(child, |vmas| vmas.insert(copy));
    });
    if !vma.flags.contains(VmaFlags::ANON) {
        return Ok(());
    }
    if p.refused(Site::TablePage) {
        return Err(ForkError);
    }
    // Inside the file mapping, as a truncate takes pages out of the parent without its address space.
    in_tables(p, vma.inode, |p| {
        let found = p.with_table(parent, |table| {
            table.write_protect(vma.range);
            (table.parts_over(vma.range), table.over(vma.range).collect::<Vec<_>>())
        });
        let (parts, entries) = found.unwrap_or_default();
        // Tables without entries are copied too.
        p.with_table(child, |table| parts.iter().for_each(|part| table.reach(part.start)));
        for (addr, entry) in entries {
            p.with_memmap(|map| {
                map.get_refs(entry.pfn, 1);
                // The folio stays what it is, anonymous or the file's.
                map.add_mapping(entry.pfn, MappedBy::File);
            });
            p.with_table(child, |table| table.set(addr, Entry { writable: false, uffd_wp: false, ..entry }));
        }
    });
    Ok(())
}

/// Runs `f` while nobody else changes the tables behind the areas of a file.
fn in_tables<P: Env>(p: &mut P, inode: InodeId, f: impl FnOnce(&mut P)) {
    p.scope(Scope::VmaLock(inode, Access::Write), |p| p.scope(Scope::FileMapping(inode, Access::Write), f));
}
