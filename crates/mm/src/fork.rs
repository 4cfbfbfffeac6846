//! What a child inherits.

use alloc::vec::Vec;

use hugetlb::{AllocRefusal, Purpose};
use hugetlbfs::{Hold, Origin};
use memmap::{MappedBy, TooManyRefs};
use page_alloc::Pin;
use units::{Access, Blame, Ledger, MmId, Pfn, Scope, Site, Vaddr};

use crate::fault::{Place, alloc_page, anon_installed, install};
use crate::rmap::in_tables;
use crate::{Entry, Env, Prot, Vma, VmaFlags, exit_space};

/// Why there is no child; what there was of it is gone again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// No page for its page table.
    #[error("no page for the child's page table")]
    NoTablePage,
    /// One of its pages is mapped as often as can be counted.
    #[error(transparent)]
    TooManyRefs(#[from] TooManyRefs),
    /// The parent has a page pinned, of which the child gets a copy at once, and there is none.
    #[error("the parent's page at {addr} is pinned, so the child needs a copy of it: {refusal}")]
    NoCopy {
        /// Where.
        addr: Vaddr,
        /// Why there is no page.
        refusal: AllocRefusal,
    },
}

impl Blame for ForkError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoTablePage => Some(Ledger::Metadata),
            Self::TooManyRefs(_) => Some(Ledger::References),
            Self::NoCopy { refusal, .. } => refusal.ledger(),
        }
    }
}

/// Copies an address space. Shared areas are shared and start unmapped; private areas share their pages until somebody writes. No
/// reservation is inherited: only the owner's touch is promised. Nor does a userfaultfd watch the child. Of a page that somebody pinned the
/// child gets a copy at once, since the parent's must stay its own; `origin`, the parent, pays for it.
///
/// # Errors
/// No page for a table or a copy; nothing is left of the child.
#[doc(alias("dup_mmap", "copy_hugetlb_page_range"))]
pub fn fork_space<P: Env>(p: &mut P, parent: MmId, origin: &Origin) -> Result<MmId, ForkError> {
    let child = p.new_space();
    let copied = p.scope(Scope::AddressSpace(parent, Access::Write), |p| {
        if let Some(tree) = p.with_vmas(parent, |vmas| vmas.child()) {
            p.with_vmas(child, |vmas| *vmas = tree);
        }
        let areas = p.with_vmas(parent, |vmas| vmas.iter().copied().collect::<alloc::vec::Vec<_>>());
        for vma in areas.unwrap_or_default() {
            if !vma.flags.contains(VmaFlags::DONT_FORK) {
                copy_area(p, parent, child, &vma, origin)?;
            }
        }
        Ok(())
    });
    if copied.is_err() {
        exit_space(p, child);
    }
    copied.map(|()| child)
}

fn copy_area<P: Env>(p: &mut P, parent: MmId, child: MmId, vma: &Vma, origin: &Origin) -> Result<(), ForkError> {
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
        return Err(ForkError::NoTablePage);
    }
    // Inside the file mapping, as a truncate takes pages out of the parent without its address space.
    in_tables(p, vma.inode, |p| {
        let found = p.with_table(parent, |table| {
            let before = table.over(vma.range).collect::<Vec<_>>();
            table.write_protect(vma.range);
            let poisoned = table.poison_over(vma.range).collect::<Vec<_>>();
            (table.parts_over(vma.range), before, poisoned)
        });
        let (parts, entries, poisoned) = found.unwrap_or_default();
        // Tables without entries are copied too.
        p.with_table(child, |table| {
            parts.iter().for_each(|part| table.reach(part.start));
            poisoned.iter().for_each(|&addr| table.poison(addr));
        });
        for (addr, entry) in entries {
            if is_pinned(p, entry.pfn) {
                copy_pinned(p, [parent, child], &copy, addr, entry, origin)?;
                continue;
            }
            p.with_memmap(entry.pfn, |map| {
                map.try_get_refs(entry.pfn, 1)?;
                // The folio stays what it is, anonymous or the file's.
                map.add_mapping(entry.pfn, MappedBy::File);
                Ok::<_, TooManyRefs>(())
            })?;
            p.with_table(child, |table| table.set(addr, Entry { writable: false, uffd_wp: false, ..entry }));
        }
        copy_pieces(p, [parent, child], vma)
    })
}

/// Pages in pieces are in the same pieces in the child, and what broke of them is broken there too.
fn copy_pieces<P: Env>(p: &mut P, [parent, child]: [MmId; 2], vma: &Vma) -> Result<(), ForkError> {
    let pieces = p.with_table(parent, |table| {
        table.pieces_over(vma.range).map(|(addr, pieces)| (addr, pieces.child())).collect::<Vec<_>>()
    });
    for (addr, pieces) in pieces.unwrap_or_default() {
        p.with_memmap(pieces.pfn(), |map| {
            map.try_get_refs(pieces.pfn(), pieces.leaves().into())?;
            (0..pieces.leaves()).for_each(|_| map.add_mapping(pieces.pfn(), MappedBy::File));
            Ok::<_, TooManyRefs>(())
        })?;
        p.with_table(child, |table| table.put_pieces(addr, pieces));
    }
    Ok(())
}

/// Is it a page of its own that somebody keeps where it is?
#[doc(alias("folio_needs_cow_for_dma", "folio_maybe_dma_pinned"))]
fn is_pinned<P: Env>(p: &mut P, pfn: Pfn) -> bool {
    p.with_memmap(pfn, |map| map.get(pfn).is_some_and(|folio| folio.is_anonymous() && folio.pins() > 0))
}

/// The child gets a page of its own, and the parent keeps its own as it was.
fn copy_pinned<P: Env>(
    p: &mut P,
    [parent, child]: [MmId; 2],
    area: &Vma,
    addr: Vaddr,
    entry: Entry,
    origin: &Origin,
) -> Result<(), ForkError> {
    let place = Place { mm: child, vma: *area, addr, index: area.index_of(addr), origin, pin: Pin::Short };
    let (folio, _) =
        alloc_page(p, &place, Purpose::Instantiate).map_err(|refusal| ForkError::NoCopy { addr, refusal })?;
    memmap::copy(p, entry.pfn, folio.pfn, area.size.bytes());
    anon_installed(p, &place, folio);
    let writable = area.prot.contains(Prot::WRITE);
    install(
        p,
        &place,
        Entry { pfn: folio.pfn, writable, uffd_wp: false, dirty: true, size: area.size },
        MappedBy::Anonymous,
    );
    if entry.writable {
        p.with_table(parent, |table| table.make_writable(addr));
    }
    Ok(())
}
