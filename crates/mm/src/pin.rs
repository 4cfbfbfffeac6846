//! Pages that have to stay where they are while a device, or somebody outside, uses them.

use alloc::vec::Vec;

use hugetlb::{Fallback, Target};
use hugetlbfs::{Origin, PageForPinError};
use memmap::TooManyRefs;
use policy::Placement;
use units::{Access, Blame, Context, HugeRange, InodeId, Ledger, MmId, Pfn, Scope, Vaddr};

use crate::cow::{Copying, copy};
use crate::fault::{Place, at_place, fault_for};
use crate::{Env, FaultError, MigrateError, Prot, Touch, migrate};

/// What a page is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum PinKind {
    /// To look at it, as a pipe does: a reference like others. It cannot move meanwhile, but a child shares it.
    #[doc(alias("FOLL_GET", "vmsplice", "get_user_pages"))]
    Reference,
    /// To read from it or write to it once, as direct I/O does.
    #[doc(alias("FOLL_PIN", "O_DIRECT"))]
    Transfer,
    /// For as long as a device likes. It is moved out of memory that must stay free to be had again first.
    #[doc(alias("FOLL_LONGTERM", "VFIO_IOMMU_MAP_DMA", "IORING_REGISTER_BUFFERS"))]
    LongTerm,
}

/// A page that somebody keeps, as a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PinNote {
    /// The first frame of the folio that it is a part of, all of which is kept.
    pub folio: Pfn,
    /// The base page that was asked for.
    pub page: Pfn,
    /// What for.
    pub kind: PinKind,
}

/// A pinned page: it is not moved, not freed and not taken away until [`unpin`].
#[doc(alias("FOLL_PIN", "pin_user_pages"))]
#[must_use]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin(PinNote);

impl Pin {
    /// The base page that was asked for.
    #[must_use]
    pub const fn page(&self) -> Pfn {
        self.0.page
    }

    /// The first frame of the folio that it is a part of, all of which is pinned.
    #[must_use]
    pub const fn folio(&self) -> Pfn {
        self.0.folio
    }

    /// Writes the pin down. Whoever keeps the note owes its end.
    #[must_use]
    pub const fn into_note(self) -> PinNote {
        self.0
    }

    /// The pin that was written down.
    pub const fn from_note(note: PinNote) -> Self {
        Self(note)
    }
}

/// Why a page cannot be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Why the access fails.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// It has as many references as can be counted.
    #[error(transparent)]
    TooManyRefs(#[from] TooManyRefs),
    /// There is no such page of the file, and none can be had.
    #[error(transparent)]
    File(#[from] PageForPinError),
    /// It lies where no page may be pinned for long, and cannot be moved.
    #[error("the page at {pfn} lies where none may be pinned for long, and stays there: {why}")]
    Stays {
        /// The first frame of its folio.
        pfn: Pfn,
        /// Why it cannot be moved.
        why: MigrateError,
    },
}

impl Blame for PinError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Fault(error) => error.ledger(),
            Self::File(error) => error.ledger(),
            Self::TooManyRefs(_) => Some(Ledger::References),
            Self::Stays { why, .. } => why.ledger(),
        }
    }
}

/// Pins the page at `addr`, which is faulted in as by an access. A private page that others share is copied first, so that what is pinned is
/// the caller's own.
///
/// # Errors
/// Why the access fails, or why the page cannot be where it may stay.
#[doc(alias("pin_user_pages_fast", "get_user_pages"))]
pub fn pin<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    addr: Vaddr,
    touch: Touch,
    kind: PinKind,
) -> Result<Pin, PinError> {
    loop {
        let pin = p.scope(Scope::AddressSpace(mm, Access::Read), |p| grab(p, mm, origin, addr, touch, kind))?;
        match bring_out(p, pin, origin)? {
            Some(pin) => return Ok(pin),
            None => continue,
        }
    }
}

/// Pins pages of a file, which become the file's if they are absent: for as long as a device likes.
///
/// # Errors
/// A page that cannot be had or cannot stay; pages that were had before it are the file's, and none is pinned.
#[doc(alias("memfd_pin_folios", "udmabuf_create"))]
pub fn pin_file<P: Env>(p: &mut P, inode: InodeId, range: HugeRange, origin: &Origin) -> Result<Vec<Pin>, PinError> {
    let mut pins = Vec::new();
    for index in range.iter() {
        let pin = loop {
            let had = hugetlbfs::page_for_pin(p, inode, index, origin).map_err(PinError::from).and_then(|pfn| {
                p.with_memmap(pfn, |map| map.keep(pfn));
                bring_out(p, Pin(PinNote { folio: pfn, page: pfn, kind: PinKind::LongTerm }), origin)
            });
            match had {
                Ok(Some(pin)) => break pin,
                Ok(None) => {}
                Err(error) => {
                    pins.into_iter().rev().for_each(|pin| unpin(p, pin));
                    return Err(error);
                }
            }
        };
        pins.push(pin);
    }
    Ok(pins)
}

/// A page that is to be pinned for long may stay where it is, or else is moved: then there is no pin, and one tries again.
#[doc(alias("check_and_migrate_movable_pages", "migrate_longterm_unpinnable_folios"))]
fn bring_out<P: Env>(p: &mut P, pin: Pin, origin: &Origin) -> Result<Option<Pin>, PinError> {
    let folio = hugetlb::folio_at(p, pin.folio()).filter(|_| pin.0.kind == PinKind::LongTerm);
    let Some(folio) = folio.filter(|&folio| !hugetlb::may_stay(p, folio)) else { return Ok(Some(pin)) };
    unpin(p, pin);
    let target = Target {
        placement: Placement::local(folio.node),
        allowed: origin.allowed,
        fallback: Fallback::Refused,
        pin: page_alloc::Pin::Long,
    };
    match migrate(p, folio.pfn, &target) {
        Ok(_) => Ok(None),
        Err(why) => Err(PinError::Stays { pfn: folio.pfn, why }),
    }
}

/// Takes a page of an address space, inside its scope.
fn grab<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    addr: Vaddr,
    touch: Touch,
    kind: PinKind,
) -> Result<Pin, PinError> {
    let stay = if kind == PinKind::LongTerm { page_alloc::Pin::Long } else { page_alloc::Pin::Short };
    loop {
        let found = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten();
        let vma = found.ok_or(FaultError::NoArea(addr))?;
        let start = addr.align_down(vma.size.bytes());
        let absent = p.with_table(mm, |table| table.get(start)).flatten().is_none();
        // Processors let whoever may write read what is there; the kernel brings nothing in for that.
        if touch == Touch::Read && absent && !vma.prot.contains(Prot::READ) {
            return Err(FaultError::Protection(addr).into());
        }
        let hit = fault_for(p, mm, origin, addr, touch, stay)?;
        let place = Place { mm, vma, addr: start, index: vma.index_of(addr), origin, pin: stay };
        if must_unshare(p, &place, hit.pfn, touch, kind) {
            unshare(p, &place)?;
            continue;
        }
        // A file may have lost the page since; inside its mapping it cannot.
        let pinned = p.scope(Scope::FileMapping(vma.inode, Access::Read), |p| {
            let mapped = p.with_table(mm, |table| table.folio_at(start)).flatten();
            let there = mapped.is_some_and(|(pfn, _)| pfn == hit.pfn);
            if there {
                p.with_memmap(hit.pfn, |map| {
                    map.try_get_refs(hit.pfn, 1)?;
                    if kind != PinKind::Reference {
                        map.keep(hit.pfn);
                    }
                    Ok::<_, TooManyRefs>(())
                })?;
            }
            Ok::<_, PinError>(there)
        });
        if pinned? {
            let page = hit.pfn.offset(p.page_shift().pages_floor(hit.offset));
            return Ok(Pin(PinNote { folio: hit.pfn, page, kind }));
        }
    }
}

/// Is it a page that others may write to, or that is the file's while the caller will have his own? Who only looks at it does not mind.
#[doc(alias = "gup_must_unshare")]
fn must_unshare<P: Env>(p: &mut P, place: &Place<'_>, pfn: Pfn, touch: Touch, kind: PinKind) -> bool {
    if place.vma.is_shared() || touch == Touch::Write || kind == PinKind::Reference {
        return false;
    }
    let found = p.with_memmap(pfn, |map| map.get(pfn).map(|folio| (folio.is_anonymous(), folio.mapcount())));
    found.is_some_and(|(anonymous, mapcount)| if anonymous { mapcount > 1 } else { kind == PinKind::LongTerm })
}

/// The caller gets a page of his own.
fn unshare<P: Env>(p: &mut P, place: &Place<'_>) -> Result<(), FaultError> {
    at_place(p, place, |p| {
        let entry = p.with_table(place.mm, |table| table.get(place.addr)).flatten();
        let Some(entry) = entry else { return Ok(()) };
        copy(p, place, entry, Copying::Unshare).map(|_| ())
    })
}

/// Ends a pin; a page that nobody else has goes home.
#[doc(alias = "unpin_user_page")]
pub fn unpin<P: Env>(p: &mut P, pin: Pin) {
    unpin_in(p, pin, Context::Sleepable);
}

/// As [`unpin`], where perhaps nobody may wait: a device lets go in an interrupt.
#[doc(alias = "bio_release_pages")]
pub fn unpin_in<P: Env>(p: &mut P, pin: Pin, context: Context) {
    let PinNote { folio, kind, .. } = pin.0;
    if kind != PinKind::Reference {
        p.with_memmap(folio, |map| map.unpin(folio));
    }
    hugetlb::put_folio_in(p, folio, 1, context);
}
