//! What a pool keeps of its folios, by slot.
//!
//! The ledger counts, and hands out slots; what is kept in a slot has sections of its own, so that whoever works on a folio meets those who work
//! on others at the counters alone.

use alloc_crate::collections::BTreeMap;
use alloc_crate::vec::Vec;

use memmap::HugeSlot;
use units::{HstateId, HugeIndex, InodeId, PageCount, SubpoolId};

use crate::HugeFolio;
use crate::poison::RawPoison;
use crate::record::Record;

/// The records of a pool's folios, or of some of them, and what is known of broken memory in these folios.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Records {
    list: Vec<Record>,
    /// By slot.
    pub(crate) poison: BTreeMap<u32, RawPoison>,
    /// It has every so manieth slot.
    #[cfg_attr(feature = "serde", serde(skip, default = "every"))]
    stride: u32,
}

const fn every() -> u32 {
    1
}

impl Default for Records {
    fn default() -> Self {
        Self { list: Vec::new(), poison: BTreeMap::new(), stride: every() }
    }
}

impl Records {
    /// The records in so many parts, of which number `slot % parts` has what is in `slot`.
    ///
    /// # Panics
    /// There are no parts, or it is a part already.
    #[must_use]
    pub fn take_apart(self, parts: u32) -> Vec<Self> {
        assert!(parts > 0 && self.stride == 1, "whole records become parts");
        let mut all: Vec<Self> = (0..parts).map(|_| Self { stride: parts, ..Self::default() }).collect();
        for (slot, record) in (0..).zip(self.list) {
            all[(slot % parts) as usize].put(slot, record);
        }
        for (slot, poison) in self.poison {
            all[(slot % parts) as usize].poison.insert(slot, poison);
        }
        all
    }

    /// The records of all parts, in order.
    #[must_use]
    pub fn put_together(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for (first, part) in (0..).zip(parts) {
            let slots = (first..).step_by(part.stride as usize);
            slots.zip(part.list).for_each(|(slot, record)| all.put(slot, record));
            all.poison.extend(part.poison);
        }
        all
    }

    #[inline]
    fn put(&mut self, slot: u32, record: Record) {
        let at = self.index(slot);
        if at >= self.list.len() {
            self.list.resize_with(at + 1, Record::default);
        }
        self.list[at] = record;
    }

    #[inline]
    const fn index(&self, slot: u32) -> usize {
        // Whole records are the common case, and nothing divides for them.
        if self.stride == 1 { slot as usize } else { (slot / self.stride) as usize }
    }

    /// Writes down where a new page lies. Before it lies on the shelf: whoever has a claim may take it from there at once.
    #[inline]
    pub(crate) fn place(&mut self, folio: HugeFolio) {
        self.put(folio.slot, Record::new(folio));
    }

    #[inline]
    pub(crate) fn record(&mut self, folio: HugeFolio) -> &mut Record {
        let at = self.index(folio.slot);
        &mut self.list[at]
    }

    #[inline]
    fn get(&self, slot: u32) -> &Record {
        &self.list[self.index(slot)]
    }

    /// Is the folio still what its slot is about? Whoever found it by its frames has to ask, unless he keeps it from going.
    #[inline]
    pub(crate) fn holds(&self, folio: HugeFolio) -> bool {
        self.get(folio.slot).pfn == folio.pfn
    }

    /// All records, in the order of their slots, of those that are whole.
    pub(crate) const fn all(&self) -> &[Record] {
        self.list.as_slice()
    }

    pub(crate) const fn all_mut(&mut self) -> &mut [Record] {
        self.list.as_mut_slice()
    }

    /// The folio whose data are kept in `slot`.
    #[must_use]
    #[inline]
    pub fn folio(&self, hstate: HstateId, slot: u32) -> HugeFolio {
        self.get(slot).folio(hstate, slot)
    }

    /// The file and index at which a folio is mapped or cached; nothing while it is free or on its way there.
    #[doc(alias("folio_mapping", "folio_index"))]
    #[must_use]
    pub fn home(&self, folio: HugeFolio) -> Option<(InodeId, HugeIndex)> {
        self.get(folio.slot).home
    }

    /// Pages of a folio that was split that nobody has any more, and that wait for the others.
    #[doc(alias = "nr_waiting")]
    #[must_use]
    pub fn waiting(&self, folio: HugeFolio) -> PageCount {
        self.get(folio.slot).waiting
    }

    /// The limits of the mount that a folio counts against.
    #[doc(alias = "hugetlb_folio_subpool")]
    #[must_use]
    pub fn subpool_of(&self, folio: HugeFolio) -> Option<SubpoolId> {
        self.get(folio.slot).subpool
    }
}

impl HugeFolio {
    /// Where its data are kept.
    #[must_use]
    #[inline]
    pub const fn at(&self) -> HugeSlot {
        HugeSlot { hstate: self.hstate, slot: self.slot }
    }
}

#[cfg(test)]
mod tests {
    use units::{NodeId, Pfn, ZoneKind};

    use super::*;

    /// Slots mean the same in parts as in the whole, whatever their number.
    #[test]
    fn in_parts_and_together_again_they_are_what_they_were() {
        let hstate = HstateId::new(0);
        let folio = |slot| HugeFolio {
            pfn: Pfn::new(u64::from(slot) * 512),
            hstate,
            node: NodeId::new(0),
            zone: ZoneKind::Normal,
            source: page_alloc::Source::Ordinary,
            slot,
        };
        for (count, parts) in [(0, 4), (3, 4), (8, 4), (21, 4), (21, 1)] {
            let mut whole = Records::default();
            (0..count).map(folio).for_each(|folio| whole.place(folio));
            let mut apart = whole.take_apart(parts);
            for slot in 0..count + 5 {
                let part = &mut apart[(slot % parts) as usize];
                part.place(folio(slot));
                part.poison.entry(slot).or_default();
                assert_eq!(part.folio(hstate, slot), folio(slot));
            }
            let whole = Records::put_together(apart);
            assert_eq!(whole.all().len(), (count + 5) as usize);
            for slot in 0..count + 5 {
                assert_eq!(whole.folio(hstate, slot), folio(slot));
                assert!(whole.is_poisoned(folio(slot).at()));
            }
        }
    }
}
