//! Writing to a page that is mapped read-only: reuse, copy, or take it from others.

use filemap::Markers;
use hugetlb::Purpose;
use memmap::MappedBy;
use units::{Access, Event, HugeRange, OwnerPage, Pfn, Scope, Site};

use crate::fault::{Place, alloc_page, anon_installed, prepare_anon};
use crate::{Entry, Env, FaultError, VmaFlags};

/// What a page that is shared is copied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copying {
    /// To be written.
    Write,
    /// To be one's own, while it is read: it may be written no more than before.
    #[doc(alias = "FAULT_FLAG_UNSHARE")]
    Unshare,
}

/// Makes the page at `place` writable. A shared page simply becomes so; an anonymous page that nobody else maps is reused;
/// otherwise the area gets a copy. The owner of reservations never fails for want of a page: it takes the page from its children.
pub(crate) fn write_to_protected<P: Env>(p: &mut P, place: &Place<'_>, entry: Entry) -> Result<Pfn, FaultError> {
    let vma = &place.vma;
    let (anonymous, mapcount) = p
        .with_memmap(entry.pfn, |map| map.get(entry.pfn).map(|f| (f.is_anonymous(), f.mapcount())))
        .unwrap_or((false, 0));
    if vma.is_shared() || (anonymous && mapcount == 1) {
        p.with_memmap(entry.pfn, |map| map.mark_written(entry.pfn));
        p.with_table(place.mm, |table| table.make_writable(place.addr));
        return Ok(entry.pfn);
    }
    copy(p, place, entry, Copying::Write)
}

/// Gives the area a page of its own in place of one that others have too.
pub(crate) fn copy<P: Env>(p: &mut P, place: &Place<'_>, entry: Entry, what: Copying) -> Result<Pfn, FaultError> {
    let vma = &place.vma;
    let write = what == Copying::Write;
    let anonymous = p.with_memmap(entry.pfn, |map| map.get(entry.pfn).is_some_and(memmap::Folio::is_anonymous));
    let from_owner = vma.owner.is_some() && anonymous;
    let purpose = if from_owner { Purpose::CowFromOwner } else { Purpose::Instantiate };
    if p.refused(Site::TablePage) {
        return Err(FaultError::NoTablePage);
    }
    match alloc_page(p, place, purpose) {
        Ok((folio, _)) => {
            prepare_anon(p, place.mm, &place.vma);
            memmap::copy(p, entry.pfn, folio.pfn, vma.size.bytes());
            anon_installed(p, place, folio);
            let uffd_wp = entry.uffd_wp && !write;
            let copy = Entry { pfn: folio.pfn, writable: write, uffd_wp, dirty: write, size: vma.size };
            p.with_memmap(copy.pfn, |map| {
                map.add_mapping(copy.pfn, MappedBy::Anonymous);
                if write {
                    map.mark_written(copy.pfn);
                }
            });
            p.with_memmap(entry.pfn, |map| map.remove_mapping(entry.pfn));
            p.with_table(place.mm, |table| table.set(place.addr, copy));
            hugetlb::put_folio(p, entry.pfn, 1);
            Ok(folio.pfn)
        }
        Err(_) if from_owner && steal(p, place, entry.pfn) => {
            if write {
                p.with_memmap(entry.pfn, |map| map.mark_written(entry.pfn));
                p.with_table(place.mm, |table| table.make_writable(place.addr));
            }
            Ok(entry.pfn)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Takes the folio out of every other private area that has no reservations of its own; those areas get no further pages.
/// Says whether the owner is now the only one that maps it.
fn steal<P: Env>(p: &mut P, place: &Place<'_>, pfn: Pfn) -> bool {
    let page = HugeRange::one(place.index);
    p.scope(Scope::FileMapping(place.vma.inode, Access::Write), |p| {
        for area in filemap::areas_over(p, place.vma.inode, page) {
            if area.shared || area.owner.is_some() || area.vma == place.vma.id {
                continue;
            }
            let addr = area.start + place.vma.size.total(HugeRange::new(area.range.start, place.index).count());
            let maps_it = p.with_table(area.mm, |t| t.get(addr)).flatten().is_some_and(|e| e.pfn == pfn);
            if !maps_it {
                continue;
            }
            p.unmap_area_range(&area, page, Markers::Keep);
            p.with_vmas(area.mm, |vmas| vmas.update_by_id(area.vma, |vma| vma.flags |= VmaFlags::UNMAPPED));
            if let Some(map) = place.vma.owner {
                let page = OwnerPage { hstate: place.vma.hstate, map, index: place.index };
                p.emit(|| Event::Stolen { page, from: area.mm });
            }
        }
    });
    p.with_memmap(pfn, |map| map.get(pfn).is_some_and(|folio| folio.mapcount() == 1))
}
