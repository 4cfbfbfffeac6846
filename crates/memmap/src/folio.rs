//! Folio records.

use alloc::vec::Vec;
use core::fmt;

use units::{Order, PageCount, Pfn};

use crate::pieces::Splits;
use crate::table::Table;

/// Where a huge folio's own data live: a slot of its hstate's slab, which belongs to the pool and not to this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HugeSlot {
    /// The hstate.
    pub hstate: units::HstateId,
    /// The slot in that hstate's slab.
    pub slot: u32,
}

/// Who a folio belongs to once nobody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FolioKind {
    /// An ordinary block: back to the page allocator.
    Page,
    /// A huge page: back to its pool.
    Huge(HugeSlot),
    /// A huge page that has left its pool and waits for descriptors of its own: neither huge nor free. Its data are where they were.
    Leaving(HugeSlot),
    /// A piece of a huge page that was split: it waits for its siblings.
    Piece(HugeSlot),
    /// Memory with a hardware error: nobody gets it.
    #[doc(alias = "PG_hwpoison")]
    Poisoned,
}

/// The last reference went away: what to do with the folio is for the room that knows its kind.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Last(pub FolioKind);

/// One allocated block.
#[doc(alias = "folio")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Folio {
    /// Who owns it.
    pub kind: FolioKind,
    /// Its size.
    pub order: Order,
    pub(crate) refs: u64,
    pub(crate) mappings: u32,
    pub(crate) pins: u32,
    pub(crate) anonymous: bool,
    /// Something was written to it by a mapping of its own.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) written: bool,
}

impl Folio {
    /// References: the page cache holds one per base page, a mapping one each, a path that works on the folio one.
    #[doc(alias = "folio_ref_count")]
    #[must_use]
    pub const fn refs(&self) -> u64 {
        self.refs
    }

    /// Page-table entries that map it, in all address spaces.
    #[doc(alias = "folio_mapcount")]
    #[must_use]
    pub const fn mapcount(&self) -> u32 {
        self.mappings
    }

    /// Would something be lost with it? A file's page always counts as written.
    #[doc(alias = "folio_test_dirty")]
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.written || !self.anonymous
    }

    /// References of those who keep it where it is while they, or a device, use it. They are among [`Folio::refs`].
    #[doc(alias("FOLL_PIN", "folio_maybe_dma_pinned"))]
    #[must_use]
    pub const fn pins(&self) -> u32 {
        self.pins
    }

    /// Does it belong to a private mapping rather than to a file?
    #[doc(alias = "folio_test_anon")]
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Has every mapping and every pin its reference?
    pub(crate) fn is_sound(&self) -> bool {
        u64::from(self.mappings) + u64::from(self.pins) <= self.refs
    }
}

/// A broken invariant, as found by a recount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub alloc::string::String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Broken {}

/// How many references a folio can have where they are counted in 31 bits.
pub const REFS_MAX: u64 = (1 << 31) - 1;

/// A folio has as many references as can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRefs {
    /// The folio.
    pub pfn: Pfn,
    /// How many it has.
    pub refs: u64,
    /// How many more were asked for.
    pub wanted: u64,
    /// How many it can have.
    pub max: u64,
}

impl fmt::Display for TooManyRefs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pfn, refs, wanted, max } = self;
        write!(
            f,
            "the folio at {pfn} has {refs} references of the {max} that it can have, {wanted} too many were asked for"
        )
    }
}

impl core::error::Error for TooManyRefs {}

/// All folio records, by first frame.
#[doc(alias("mem_map", "vmemmap"))]
#[derive(Clone, Debug)]
pub struct MemMap {
    pub(crate) folios: Table,
    pub(crate) splits: Splits,
    /// So many references a folio can have.
    pub(crate) refs_max: u64,
}

impl Default for MemMap {
    fn default() -> Self {
        Self::new()
    }
}

impl MemMap {
    /// Nothing allocated.
    #[must_use]
    pub fn new() -> Self {
        Self { folios: Table::new(), splits: Splits::NONE, refs_max: REFS_MAX }
    }

    /// The same map, in which a folio can have no more references than that.
    #[must_use]
    pub fn with_refs_max(mut self, refs_max: u64) -> Self {
        self.refs_max = refs_max;
        self
    }

    /// How many records there are, not counting those of pieces.
    #[must_use]
    pub const fn records(&self) -> usize {
        self.folios.len()
    }

    /// Records a block that just came from the page allocator: frozen, no references.
    #[inline]
    pub fn claim(&mut self, pfn: Pfn, order: Order, kind: FolioKind) {
        let old = self
            .folios
            .insert(pfn, Folio { kind, order, refs: 0, mappings: 0, pins: 0, anonymous: false, written: false });
        debug_assert!(old.is_none(), "{pfn} was handed out twice");
    }

    /// Forgets a block that goes back to the page allocator.
    #[inline]
    pub fn release(&mut self, pfn: Pfn) {
        let old = self.folios.remove(pfn);
        debug_assert!(old.is_some_and(|f| f.refs == 0 && f.mappings == 0), "{pfn} released while in use");
    }

    /// The record of an allocated folio.
    #[must_use]
    #[inline]
    pub fn get(&self, pfn: Pfn) -> Option<&Folio> {
        self.folios
            .get(pfn)
            .or_else(|| self.splits.find(pfn).filter(|&(start, _)| start == pfn).map(|(_, piece)| piece))
    }

    /// The folio that a frame is a part of.
    #[doc(alias("page_folio", "pfn_folio"))]
    #[must_use]
    pub fn find(&self, pfn: Pfn) -> Option<(Pfn, &Folio)> {
        if let Some(piece) = self.splits.find(pfn) {
            return Some(piece);
        }
        (0..Self::ORDERS).find_map(|order| {
            let start = Pfn::new(pfn.get() >> order << order);
            let folio = self.folios.get(start)?;
            (u32::from(folio.order.get()) >= order).then_some((start, folio))
        })
    }

    /// No folio has an order as large as that.
    const ORDERS: u32 = 32;

    /// Takes `n` references.
    #[doc(alias("folio_get", "folio_ref_add"))]
    #[inline]
    pub fn get_refs(&mut self, pfn: Pfn, n: u64) {
        self.change(pfn, |folio| folio.refs += n);
    }

    /// Takes `n` references if so many can be counted: whoever lets somebody else say how often a folio is mapped asks first.
    ///
    /// # Errors
    /// They cannot; none is taken.
    #[doc(alias("try_get_folio", "folio_ref_try_add", "try_grab_folio"))]
    #[inline]
    pub fn try_get_refs(&mut self, pfn: Pfn, n: u64) -> Result<(), TooManyRefs> {
        let max = self.refs_max;
        let refused = self.change(pfn, |folio| {
            let fits = folio.refs.checked_add(n).is_some_and(|refs| refs <= max);
            if fits {
                folio.refs += n;
            }
            (!fits).then_some(TooManyRefs { pfn, refs: folio.refs, wanted: n, max })
        });
        refused.flatten().map_or(Ok(()), Err)
    }

    /// Drops `n` references; says so if they were the last.
    #[doc(alias = "folio_put_testzero")]
    #[inline]
    pub fn put_refs(&mut self, pfn: Pfn, n: u64) -> Option<Last> {
        let Some(folio) = self.folios.get_mut(pfn) else { return self.put_piece(pfn, n) };
        debug_assert!(folio.refs >= n, "{pfn}: {n} references dropped of {}", folio.refs);
        folio.refs = folio.refs.saturating_sub(n);
        if folio.refs > 0 {
            return None;
        }
        debug_assert_eq!(folio.mappings, 0, "{pfn} has no reference but is mapped");
        (folio.anonymous, folio.written) = (false, false);
        Some(Last(folio.kind))
    }

    /// A folio that nobody refers to is of another kind from now on.
    pub fn set_kind(&mut self, pfn: Pfn, kind: FolioKind) {
        self.change(pfn, |folio| {
            debug_assert_eq!(folio.refs, 0, "{pfn} is in use");
            folio.kind = kind;
        });
    }

    /// What is in it is nowhere else from now on.
    #[doc(alias = "folio_mark_dirty")]
    pub fn mark_written(&mut self, pfn: Pfn) {
        self.change(pfn, |folio| folio.written = true);
    }

    /// Takes a reference that keeps the folio where it is.
    #[doc(alias("pin_user_pages", "try_grab_folio"))]
    pub fn pin(&mut self, pfn: Pfn) {
        self.change(pfn, |folio| {
            folio.pins += 1;
            folio.refs += 1;
        });
    }

    /// A reference that somebody has keeps the folio where it is from now on.
    pub fn keep(&mut self, pfn: Pfn) {
        self.change(pfn, |folio| {
            debug_assert!(folio.refs > u64::from(folio.pins), "{pfn} has no reference to keep it by");
            folio.pins += 1;
        });
    }

    /// Such a reference is one like others from now on, to be dropped.
    #[doc(alias("unpin_user_pages", "gup_put_folio"))]
    pub fn unpin(&mut self, pfn: Pfn) {
        self.change(pfn, |folio| {
            debug_assert!(folio.pins > 0, "{pfn} is not pinned");
            folio.pins = folio.pins.saturating_sub(1);
        });
    }

    /// A page-table entry now maps the folio. The entry's reference is counted apart, with [`MemMap::get_refs`].
    #[doc(alias("hugetlb_add_anon_rmap", "hugetlb_add_file_rmap"))]
    #[inline]
    pub fn add_mapping(&mut self, pfn: Pfn, owner: MappedBy) {
        self.change(pfn, |folio| {
            folio.mappings += 1;
            folio.anonymous |= owner == MappedBy::Anonymous;
        });
    }

    /// A page-table entry is gone; returns how many are left.
    #[doc(alias = "hugetlb_remove_rmap")]
    #[inline]
    pub fn remove_mapping(&mut self, pfn: Pfn) -> u32 {
        let left = self.change(pfn, |folio| {
            debug_assert!(folio.mappings > 0, "{pfn} is not mapped");
            folio.mappings = folio.mappings.saturating_sub(1);
            folio.mappings
        });
        left.unwrap_or(0)
    }

    /// All records of whole folios, in ascending order of frame. See [`MemMap::pieces`] for the others.
    pub fn iter(&self) -> impl Iterator<Item = (Pfn, &Folio)> {
        self.folios.sorted().into_iter()
    }

    /// The map that has these records.
    #[must_use]
    pub fn from_records(records: impl IntoIterator<Item = (Pfn, Folio)>) -> Self {
        let mut folios = Table::new();
        for (pfn, folio) in records {
            folios.insert(pfn, folio);
        }
        Self { folios, splits: Splits::NONE, refs_max: REFS_MAX }
    }

    /// The maps of so many parts of memory; `part` says which one a frame lies in. No folio may lie in two.
    #[must_use]
    pub fn take_apart(self, parts: usize, part: impl Fn(Pfn) -> usize) -> Vec<Self> {
        let new = || Self::new().with_refs_max(self.refs_max);
        let mut maps: Vec<Self> = (0..parts).map(|_| new()).collect();
        for (pfn, folio) in self.folios.into_records() {
            maps[part(pfn)].folios.insert(pfn, folio);
        }
        for (pfn, split) in self.splits.0 {
            maps[part(pfn)].splits.0.insert(pfn, split);
        }
        maps
    }

    /// The map of all memory, of those of its parts.
    #[must_use]
    pub fn put_together(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_default();
        for Self { folios, splits, .. } in parts {
            folios.into_records().for_each(|(pfn, folio)| _ = all.folios.insert(pfn, folio));
            all.splits.0.extend(splits.0);
        }
        all
    }

    /// Recounts: no two folios overlap, every folio starts at a multiple of its size, no mapping or pin lacks its reference.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        let mut end = Pfn::new(0);
        for (pfn, folio) in self.iter() {
            if pfn < end {
                return Err(Broken(alloc::format!("folio {pfn} starts inside the one before it")));
            }
            if !pfn.is_aligned(folio.order) {
                return Err(Broken(alloc::format!("folio {pfn} is not aligned to {}", folio.order)));
            }
            if !folio.is_sound() {
                return Err(Broken(alloc::format!(
                    "folio {pfn} has {} mappings, {} pins and {} references",
                    folio.mappings,
                    folio.pins,
                    folio.refs
                )));
            }
            end = pfn.offset(folio.order.pages());
        }
        self.splits.validate()?;
        match self.splits.iter().find(|&(first, split)| !self.is_apart(first, split.order)) {
            Some((first, _)) => Err(Broken(alloc::format!("the pieces of {first} lie in another folio, or askew"))),
            None => Ok(()),
        }
    }

    /// Is a folio in pieces aligned, and does no whole folio and no other one in pieces reach into it?
    fn is_apart(&self, first: Pfn, order: Order) -> bool {
        let past = first.offset(order.pages());
        let whole = |(pfn, folio): (Pfn, &Folio)| pfn >= past || pfn.offset(folio.order.pages()) <= first;
        let other = |(pfn, split): (Pfn, &crate::Split)| {
            pfn == first || pfn >= past || pfn.offset(split.order.pages()) <= first
        };
        first.is_aligned(order) && self.iter().all(whole) && self.splits.iter().all(other)
    }

    /// Base pages in allocated folios.
    #[must_use]
    pub fn allocated(&self) -> PageCount {
        self.folios.values().map(|folio| folio.order.pages()).sum::<PageCount>() + self.splits.pages()
    }

    #[inline]
    pub(crate) fn change<R>(&mut self, pfn: Pfn, change: impl FnOnce(&mut Folio) -> R) -> Option<R> {
        if let Some(folio) = self.folios.get_mut(pfn) {
            return Some(change(folio));
        }
        let changed = self.splits.change(pfn, change);
        debug_assert!(changed.is_some(), "{pfn} is not an allocated folio");
        changed
    }
}

/// What kind of mapping an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappedBy {
    /// A page of a file's cache.
    File,
    /// A page of its own, private to those who inherited it.
    Anonymous,
}
