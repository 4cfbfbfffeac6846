//! Folio records.

use core::fmt;

use units::{Order, PageCount, Pfn};

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
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Folio {
    /// Who owns it.
    pub kind: FolioKind,
    /// Its size.
    pub order: Order,
    pub(crate) refs: u64,
    mappings: u32,
    pins: u32,
    anonymous: bool,
    /// Something was written to it by a mapping of its own.
    #[cfg_attr(feature = "serde", serde(default))]
    written: bool,
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

/// All folio records, by first frame.
#[doc(alias("mem_map", "vmemmap"))]
#[derive(Clone, Debug)]
pub struct MemMap {
    folios: Table,
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
        Self { folios: Table::new() }
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
        self.folios.get(pfn)
    }

    /// The folio that a frame is a part of.
    #[doc(alias("page_folio", "pfn_folio"))]
    #[must_use]
    pub fn find(&self, pfn: Pfn) -> Option<(Pfn, &Folio)> {
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
        if let Some(folio) = self.folio(pfn) {
            folio.refs += n;
        }
    }

    /// Drops `n` references; says so if they were the last.
    #[doc(alias = "folio_put_testzero")]
    #[inline]
    pub fn put_refs(&mut self, pfn: Pfn, n: u64) -> Option<Last> {
        let folio = self.folio(pfn)?;
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
        if let Some(folio) = self.folio(pfn) {
            debug_assert_eq!(folio.refs, 0, "{pfn} is in use");
            folio.kind = kind;
        }
    }

    /// What is in it is nowhere else from now on.
    #[doc(alias = "folio_mark_dirty")]
    pub fn mark_written(&mut self, pfn: Pfn) {
        if let Some(folio) = self.folio(pfn) {
            folio.written = true;
        }
    }

    /// Takes a reference that keeps the folio where it is.
    #[doc(alias("pin_user_pages", "try_grab_folio"))]
    pub fn pin(&mut self, pfn: Pfn) {
        if let Some(folio) = self.folio(pfn) {
            folio.pins += 1;
            folio.refs += 1;
        }
    }

    /// A reference that somebody has keeps the folio where it is from now on.
    pub fn keep(&mut self, pfn: Pfn) {
        if let Some(folio) = self.folio(pfn) {
            debug_assert!(folio.refs > u64::from(folio.pins), "{pfn} has no reference to keep it by");
            folio.pins += 1;
        }
    }

    /// Such a reference is one like others from now on, to be dropped.
    #[doc(alias("unpin_user_pages", "gup_put_folio"))]
    pub fn unpin(&mut self, pfn: Pfn) {
        if let Some(folio) = self.folio(pfn) {
            debug_assert!(folio.pins > 0, "{pfn} is not pinned");
            folio.pins = folio.pins.saturating_sub(1);
        }
    }

    /// A page-table entry now maps the folio. The entry's reference is counted apart, with [`MemMap::get_refs`].
    #[doc(alias("hugetlb_add_anon_rmap", "hugetlb_add_file_rmap"))]
    #[inline]
    pub fn add_mapping(&mut self, pfn: Pfn, owner: MappedBy) {
        if let Some(folio) = self.folio(pfn) {
            folio.mappings += 1;
            folio.anonymous |= owner == MappedBy::Anonymous;
        }
    }

    /// A page-table entry is gone; returns how many are left.
    #[doc(alias = "hugetlb_remove_rmap")]
    #[inline]
    pub fn remove_mapping(&mut self, pfn: Pfn) -> u32 {
        let Some(folio) = self.folio(pfn) else { return 0 };
        debug_assert!(folio.mappings > 0, "{pfn} is not mapped");
        folio.mappings = folio.mappings.saturating_sub(1);
        folio.mappings
    }

    /// All records in ascending order of frame.
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
        Self { folios }
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
            if u64::from(folio.mappings) + u64::from(folio.pins) > folio.refs {
                return Err(Broken(alloc::format!(
                    "folio {pfn} has {} mappings, {} pins and {} references",
                    folio.mappings,
                    folio.pins,
                    folio.refs
                )));
            }
            end = pfn.offset(folio.order.pages());
        }
        Ok(())
    }

    /// Base pages in allocated folios.
    #[must_use]
    pub fn allocated(&self) -> PageCount {
        self.folios.values().map(|folio| folio.order.pages()).sum()
    }

    #[inline]
    fn folio(&mut self, pfn: Pfn) -> Option<&mut Folio> {
        let folio = self.folios.get_mut(pfn);
        debug_assert!(folio.is_some(), "{pfn} is not an allocated folio");
        folio
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
