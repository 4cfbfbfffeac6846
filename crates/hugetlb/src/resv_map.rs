//! Reservation maps and the protocol of one page.
//!
//! The two kinds of map read their entries in opposite ways. In the map of a *shared* file an entry means that the page is
//! reserved or already there; in the map of a *private* owner it means that the reservation was spent. [`Holder`] hides the
//! difference: [`needs`] opens a [`Ticket`] that says whether the page is promised, and exactly one of [`commit`], [`end`],
//! [`give`] or [`take_away`] closes it. A ticket is not `Clone`, and a map at rest has none open.

use alloc_crate::collections::BTreeMap;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;

use units::{CgroupId, HugeCount, HugeIndex, HugeRange, Name, Pfn, ResvMapId, Site};

use crate::{Env, RegionSet};

/// Whose map it is.
#[doc(alias("HPAGE_RESV_OWNER", "VM_MAYSHARE"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum MapKind {
    /// A file's: an entry means reserved or instantiated.
    Shared,
    /// An owner's: an entry means consumed.
    Private {
        /// Areas that share the map: it ends with the last of them.
        areas: u32,
        /// Who was charged for the whole mapping.
        rsvd_owner: Option<CgroupId>,
    },
}

/// What is promised of one file or one private mapping.
#[doc(alias = "resv_map")]
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ResvMap {
    /// Whose it is.
    pub kind: MapKind,
    pub(crate) regions: RegionSet,
    /// Pages that the owner let go while somebody else maps them: the reservation returns when the last mapping goes.
    pub(crate) owed: BTreeMap<HugeIndex, Pfn>,
    open: u64,
}

/// No descriptor could be had for a region; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no descriptor for a region of the reservation map")]
pub struct NoDescriptor;

impl ResvMap {
    /// An empty map.
    #[must_use]
    pub const fn new(kind: MapKind) -> Self {
        Self { kind, regions: RegionSet::new(), owed: BTreeMap::new(), open: 0 }
    }

    /// Its entries.
    #[must_use]
    pub const fn regions(&self) -> &RegionSet {
        &self.regions
    }

    /// Every place where it names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let mut names: Vec<_> = self.regions.owners().map(Name::from).collect();
        if let MapKind::Private { rsvd_owner: Some(owner), .. } = &mut self.kind {
            names.push(owner.into());
        }
        names
    }

    /// Recounts: canonical regions, no ticket open, nothing owed that is not consumed.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        if !self.regions.is_canonical() {
            return Err("regions are not canonical".into());
        }
        if self.open != 0 {
            return Err(alloc_crate::format!("{} tickets were never closed", self.open));
        }
        if let Some((index, _)) = self.owed.iter().find(|(index, _)| !self.regions.contains(**index)) {
            return Err(alloc_crate::format!("{index} is owed but was never consumed"));
        }
        Ok(())
    }
}

/// The reservations that an area can draw on.
#[doc(alias("vma_resv_map", "is_vma_resv_set"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The map of the shared file.
    Shared(ResvMapId),
    /// The area's own map.
    Owner(ResvMapId),
    /// None at all: a child's private area, or one mapped without reservation.
    Nothing,
}

/// The question of one page, asked and not yet settled.
#[doc(alias = "vma_resv_mode")]
#[must_use]
#[derive(Debug)]
pub struct Ticket {
    holder: Holder,
    index: HugeIndex,
    reserved: bool,
}

impl Ticket {
    /// Is the page promised to this holder?
    #[must_use]
    pub const fn reserved(&self) -> bool {
        self.reserved
    }
}

/// What a commit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// As the ticket said.
    Done,
    /// Somebody reserved the page meanwhile.
    Raced,
}

/// Is the page at `index` promised to `holder`? Opens a ticket.
pub(crate) fn needs<P: Env>(p: &mut P, holder: Holder, index: HugeIndex) -> Result<Ticket, NoDescriptor> {
    let reserved = match holder {
        Holder::Nothing => false,
        Holder::Shared(map) => open(p, map, index)?,
        Holder::Owner(map) => !open(p, map, index)?,
    };
    Ok(Ticket { holder, index, reserved })
}

/// The page was instantiated: a promise, if there was one, is now spent.
pub(crate) fn commit<P: Env>(p: &mut P, ticket: Ticket) -> Commit {
    let added = close_with(p, &ticket, |map, page| map.regions.insert(page, None));
    match ticket.holder {
        Holder::Shared(_) if !ticket.reserved && added.is_zero() => Commit::Raced,
        _ => Commit::Done,
    }
}

/// Nothing happened after all.
pub(crate) fn end<P: Env>(p: &mut P, ticket: Ticket) {
    close_with(p, &ticket, |_, _| HugeCount::ZERO);
}

/// The page becomes (again) one that is promised.
pub(crate) fn give<P: Env>(p: &mut P, ticket: Ticket) {
    close_with(p, &ticket, |map, page| match map.kind {
        MapKind::Shared => map.regions.insert(page, None),
        MapKind::Private { .. } => {
            map.owed.remove(&page.start);
            map.regions.remove(page, |_| ())
        }
    });
}

/// The page is no longer promised. Fails without a change where a region would have to be split and cannot.
pub(crate) fn take_away<P: Env>(p: &mut P, ticket: Ticket) -> Result<(), NoDescriptor> {
    let splits = match ticket.holder {
        Holder::Shared(map) => {
            p.with_resv_map(map, |map| map.regions.remove_splits(HugeRange::one(ticket.index))).unwrap_or(false)
        }
        Holder::Owner(_) | Holder::Nothing => false,
    };
    if splits && p.refused(Site::RegionDescriptor) {
        end(p, ticket);
        return Err(NoDescriptor);
    }
    close_with(p, &ticket, |map, page| match map.kind {
        MapKind::Shared => map.regions.remove(page, |_| ()),
        MapKind::Private { .. } => map.regions.insert(page, None),
    });
    Ok(())
}

fn open<P: Env>(p: &mut P, map: ResvMapId, index: HugeIndex) -> Result<bool, NoDescriptor> {
    let entry = p.with_resv_map(map, |map| {
        map.open += 1;
        map.regions.contains(index)
    });
    let entry = entry.unwrap_or(false);
    // A descriptor is for an entry to come: who finds one needs none, and whoever undoes relies on that.
    if !entry && p.refused(Site::RegionDescriptor) {
        p.with_resv_map(map, |map| map.open -= 1);
        return Err(NoDescriptor);
    }
    Ok(entry)
}

fn close_with<P: Env>(p: &mut P, ticket: &Ticket, f: impl FnOnce(&mut ResvMap, HugeRange) -> HugeCount) -> HugeCount {
    let (Holder::Shared(id) | Holder::Owner(id)) = ticket.holder else { return HugeCount::ZERO };
    let page = HugeRange::one(ticket.index);
    let changed = p.with_resv_map(id, |map| {
        map.open -= 1;
        f(map, page)
    });
    changed.unwrap_or(HugeCount::ZERO)
}
