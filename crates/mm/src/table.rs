//! What is mapped in one address space.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use crate::pieces::Pieces;
use units::{Bytes, HugeSize, Pfn, Vaddr, VaddrRange};

/// One huge page mapped.
#[doc(alias = "pte_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Entry {
    /// The folio.
    pub pfn: Pfn,
    /// May it be written without a fault?
    pub writable: bool,
    /// Write-protected by a userfaultfd.
    pub uffd_wp: bool,
    /// It could be written, or was filled by a userfaultfd: what it maps counts as written.
    #[doc(alias = "huge_pte_dirty")]
    #[cfg_attr(feature = "serde", serde(default))]
    pub dirty: bool,
    /// Its size.
    pub size: HugeSize,
}

/// The present entries of one address space, by address. Each is one leaf, whatever its size.
#[doc(alias = "pgd_t")]
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PageTable {
    pub(crate) entries: BTreeMap<Vaddr, Entry>,
    /// Parts of the address space whose page of table exists, entries or not. Only `mincore` can tell.
    parts: BTreeSet<Vaddr>,
    /// Places without a page whose next page is to be write-protected. Never where there is an entry.
    pub(crate) markers: BTreeSet<Vaddr>,
    /// Places whose page turned out to have broken memory. Never where there is an entry or a marker.
    #[doc(alias("hwpoison_entry", "PTE_MARKER_POISONED"))]
    pub(crate) poisoned: BTreeSet<Vaddr>,
    /// Huge pages that are mapped in pieces, by the place of the whole page. Never where there is an entry, a marker or a poisoned page.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "BTreeMap::is_empty"))]
    pub(crate) pieces: BTreeMap<Vaddr, Pieces>,
    pub(crate) mapped: Bytes,
}

/// What one page of table maps: 1 GiB.
const PART: Bytes = Bytes::gib(1);

impl PageTable {
    /// Nothing mapped.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            parts: BTreeSet::new(),
            markers: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            pieces: BTreeMap::new(),
            mapped: Bytes::ZERO,
        }
    }

    /// The entry at `addr`, which is the start of a page.
    #[must_use]
    pub fn get(&self, addr: Vaddr) -> Option<Entry> {
        self.entries.get(&addr).copied()
    }

    /// Maps a page; the old entry, if there was one. A marker goes.
    pub fn set(&mut self, addr: Vaddr, entry: Entry) -> Option<Entry> {
        let old = self.entries.insert(addr, Entry { dirty: entry.dirty | entry.writable, ..entry });
        self.markers.remove(&addr);
        self.reach(addr);
        self.mapped += entry.size.bytes();
        if let Some(old) = old {
            self.mapped -= old.size.bytes();
        }
        old
    }

    /// A fault has come as far as the table of `addr`: its page exists from now on.
    pub fn reach(&mut self, addr: Vaddr) {
        self.parts.insert(addr.align_down(PART));
    }

    /// Does the page of table for `addr` exist?
    #[must_use]
    pub fn is_reached(&self, addr: Vaddr) -> bool {
        self.parts.contains(&addr.align_down(PART))
    }

    /// The parts of the address space over `range` whose page of table exists.
    #[must_use]
    pub fn parts_over(&self, range: VaddrRange) -> Vec<VaddrRange> {
        let parts = self.parts.range(range.start.align_down(PART)..range.end);
        parts.map(|&start| VaddrRange::new(start, start + PART)).collect()
    }

    /// The page of table of a part goes; it has no entries.
    pub fn drop_part(&mut self, start: Vaddr) {
        self.parts.remove(&start);
    }

    /// Unmaps a page.
    pub fn take(&mut self, addr: Vaddr) -> Option<Entry> {
        let old = self.entries.remove(&addr)?;
        self.mapped -= old.size.bytes();
        Some(old)
    }

    /// Unmaps everything in `range`; the entries in order.
    pub fn take_range(&mut self, range: VaddrRange) -> Vec<(Vaddr, Entry)> {
        let taken: Vec<_> = self.over(range).collect();
        for &(addr, _) in &taken {
            self.take(addr);
        }
        taken
    }

    /// The entries in `range`, in order.
    pub fn over(&self, range: VaddrRange) -> impl Iterator<Item = (Vaddr, Entry)> {
        self.entries.range(range.start..range.end).map(|(&addr, &entry)| (addr, entry))
    }

    /// Takes the right to write away in `range`.
    pub fn write_protect(&mut self, range: VaddrRange) {
        for (_, entry) in self.entries.range_mut(range.start..range.end) {
            entry.writable = false;
        }
        for (_, pieces) in self.pieces.range_mut(range.start..range.end) {
            pieces.write_protect();
        }
    }

    /// Lets the page at `addr` be written.
    pub fn make_writable(&mut self, addr: Vaddr) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            (entry.writable, entry.dirty) = (true, true);
            entry.uffd_wp = false;
        }
    }

    /// A userfaultfd write-protects the pages of `range`, which are of that size, and those still to come.
    #[doc(alias("huge_pte_mkuffd_wp", "make_pte_marker"))]
    pub fn watch_writes(&mut self, range: VaddrRange, page: Bytes) {
        let mut at = range.start;
        while at < range.end {
            self.reach(at);
            match (self.entries.get_mut(&at), self.pieces.get_mut(&at)) {
                (Some(entry), _) => (entry.writable, entry.uffd_wp) = (false, true),
                (None, Some(pieces)) => pieces.watch_writes(),
                (None, None) if self.poisoned.contains(&at) => (),
                (None, None) => _ = self.markers.insert(at),
            }
            at = at + page;
        }
    }

    /// The userfaultfd's protection of `range` ends.
    #[doc(alias = "huge_pte_clear_uffd_wp")]
    pub fn unwatch_writes(&mut self, range: VaddrRange) {
        for (_, entry) in self.entries.range_mut(range.start..range.end) {
            entry.uffd_wp = false;
        }
        self.pieces.range_mut(range.start..range.end).for_each(|(_, pieces)| pieces.unwatch_writes());
        self.drop_markers(range);
    }

    /// The next page at `addr` is to be write-protected.
    pub fn leave_marker(&mut self, addr: Vaddr) {
        debug_assert!(!self.entries.contains_key(&addr), "a marker at {addr}, where there is a page");
        self.markers.insert(addr);
    }

    /// Will the next page at `addr` be write-protected?
    #[must_use]
    pub fn has_marker(&self, addr: Vaddr) -> bool {
        self.markers.contains(&addr)
    }

    /// Takes the markers out of `range`; where they were, in order.
    pub fn drop_markers(&mut self, range: VaddrRange) -> Vec<Vaddr> {
        let dropped: Vec<_> = self.markers.range(range.start..range.end).copied().collect();
        for addr in &dropped {
            self.markers.remove(addr);
        }
        dropped
    }

    /// The page at `addr` has broken memory: it is unmapped, and whoever comes there is told.
    #[doc(alias = "make_hwpoison_entry")]
    pub fn poison(&mut self, addr: Vaddr) {
        self.take(addr);
        self.take_pieces(addr);
        self.markers.remove(&addr);
        self.poisoned.insert(addr);
    }

    /// Was the page at `addr` taken away because its memory broke?
    #[doc(alias = "is_hwpoison_entry")]
    #[must_use]
    pub fn is_poisoned(&self, addr: Vaddr) -> bool {
        !self.poisoned.is_empty() && self.poisoned.contains(&addr)
    }

    /// Forgets what broke in `range`; where that was, in order.
    pub fn drop_poison(&mut self, range: VaddrRange) -> Vec<Vaddr> {
        let dropped: Vec<_> = self.poison_over(range).collect();
        for addr in &dropped {
            self.poisoned.remove(addr);
        }
        dropped
    }

    /// Where pages of `range` broke, in order.
    pub fn poison_over(&self, range: VaddrRange) -> impl Iterator<Item = Vaddr> {
        self.poisoned.range(range.start..range.end).copied()
    }

    /// All markers in order.
    pub fn markers(&self) -> impl Iterator<Item = Vaddr> {
        self.markers.iter().copied()
    }

    /// Recounts: nothing lies beyond `task_size`, every entry in a part that exists, and `mapped` is what the entries map.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self, task_size: Vaddr) -> Result<(), String> {
        let all = self
            .parts
            .iter()
            .chain(&self.markers)
            .chain(&self.poisoned)
            .chain(self.entries.keys())
            .chain(self.pieces.keys());
        if let Some(addr) = all.into_iter().find(|&&addr| addr > task_size) {
            return Err(alloc::format!("{addr} lies beyond the address space"));
        }
        if let Some(part) = self.parts.iter().find(|part| !part.is_aligned(PART)) {
            return Err(alloc::format!("a part begins at {part}"));
        }
        let mut mapped = Bytes::ZERO;
        for (&addr, entry) in &self.entries {
            if !self.is_reached(addr) {
                return Err(alloc::format!("no page of table for the entry at {addr}"));
            }
            mapped = mapped.saturating_add(entry.size.bytes());
        }
        for (&addr, pieces) in &self.pieces {
            pieces.validate()?;
            let alone = !self.entries.contains_key(&addr) && !self.markers.contains(&addr);
            if !alone
                || self.poisoned.contains(&addr)
                || pieces.leaves() + pieces.broken() == 0
                || !addr.is_aligned(pieces.size().bytes())
            {
                return Err(alloc::format!("pieces at {addr} that are none, or beside something else"));
            }
            mapped = mapped.saturating_add(pieces.mapped());
        }
        if mapped == self.mapped { Ok(()) } else { Err(alloc::format!("{mapped} are mapped, not {}", self.mapped)) }
    }

    /// Bytes mapped (`HugetlbPages:` of `/proc/PID/status`).
    #[doc(alias("hugetlb_usage", "hugetlb_count_add", "HugetlbPages"))]
    #[must_use]
    pub const fn mapped(&self) -> Bytes {
        self.mapped
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (Vaddr, Entry)> {
        self.entries.iter().map(|(&addr, &entry)| (addr, entry))
    }
}
