//! Folio records by first frame.

use alloc::vec::Vec;

use units::Pfn;

use crate::Folio;

/// A hash table with linear probing: every path looks records up by their exact frame, several times each. Who wants all
/// records gets them sorted, so that the order of the slots shows nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// A power of two of them, never more than three quarters in use.
    slots: Vec<Option<(Pfn, Folio)>>,
    /// One less than there are slots.
    mask: usize,
    len: usize,
    /// Bits of a hash that do not count.
    shift: u32,
}

const FEWEST: usize = 16;

impl Table {
    pub(crate) fn new() -> Self {
        Self::with_slots(FEWEST)
    }

    fn with_slots(slots: usize) -> Self {
        let shift = u64::BITS - slots.trailing_zeros();
        Self { slots: alloc::vec![None; slots], mask: slots - 1, len: 0, shift }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, pfn: Pfn) -> Option<&Folio> {
        let at = self.find(pfn).ok()?;
        self.slots[at].as_ref().map(|(_, folio)| folio)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, pfn: Pfn) -> Option<&mut Folio> {
        let at = self.find(pfn).ok()?;
        self.slots[at].as_mut().map(|(_, folio)| folio)
    }

    /// Adds a record; the one that was there, if any.
    #[inline]
    pub(crate) fn insert(&mut self, pfn: Pfn, folio: Folio) -> Option<Folio> {
        let at = match self.find(pfn) {
            Ok(at) => return self.slots[at].replace((pfn, folio)).map(|(_, old)| old),
            Err(_) if self.len > self.mask / 4 * 3 => {
                self.grow();
                self.find(pfn).unwrap_or_else(|at| at)
            }
            Err(at) => at,
        };
        self.slots[at] = Some((pfn, folio));
        self.len += 1;
        None
    }

    /// Takes a record out. Those behind it move up, so that a search still ends at the first free slot.
    #[inline]
    pub(crate) fn remove(&mut self, pfn: Pfn) -> Option<Folio> {
        let mut hole = self.find(pfn).ok()?;
        let (_, removed) = self.slots[hole].take()?;
        self.len -= 1;
        let mask = self.mask;
        let mut at = (hole + 1) & mask;
        while let Some((pfn, _)) = &self.slots[at] {
            let from_home = at.wrapping_sub(self.home(*pfn)) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.slots.swap(hole, at);
                hole = at;
            }
            at = (at + 1) & mask;
        }
        Some(removed)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Folio> {
        self.slots.iter().flatten().map(|(_, folio)| folio)
    }

    /// All records, in no order.
    pub(crate) fn into_records(self) -> impl Iterator<Item = (Pfn, Folio)> {
        self.slots.into_iter().flatten()
    }

    /// All records in ascending order of frame.
    pub(crate) fn sorted(&self) -> Vec<(Pfn, &Folio)> {
        let mut all: Vec<_> = self.slots.iter().flatten().map(|(pfn, folio)| (*pfn, folio)).collect();
        all.sort_unstable_by_key(|&(pfn, _)| pfn);
        all
    }

    /// The slot of a record, or the free slot where it would go.
    #[inline]
    fn find(&self, pfn: Pfn) -> Result<usize, usize> {
        let mut at = self.home(pfn);
        loop {
            match &self.slots[at] {
                Some((there, _)) if *there == pfn => return Ok(at),
                Some(_) => at = (at + 1) & self.mask,
                None => return Err(at),
            }
        }
    }

    /// Where a search begins. The upper bits of the product depend on all bits of the frame, of which the lower ones are
    /// mostly zero.
    #[inline]
    const fn home(&self, pfn: Pfn) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
        let at = pfn.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_shr(self.shift) as usize;
        at
    }

    #[cold]
    fn grow(&mut self) {
        let mut larger = Self::with_slots(self.slots.len() * 2);
        for (pfn, folio) in self.slots.drain(..).flatten() {
            larger.insert(pfn, folio);
        }
        *self = larger;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use units::Order;

    use super::*;
    use crate::{FolioKind, MemMap};

    /// Frames that collide in all but the largest table, put in and taken out in an order without system.
    #[test]
    fn the_table_has_what_a_map_has() {
        let mut record = MemMap::new();
        record.claim(Pfn::new(0), Order::ZERO, FolioKind::Page);
        let record = record.get(Pfn::new(0)).unwrap().clone();
        let (mut table, mut map) = (Table::new(), BTreeMap::new());
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pfn = Pfn::new((state >> 40) % 96 * 512);
            let mut folio = record.clone();
            folio.refs = state >> 20;
            let (ours, theirs) = match state >> 62 {
                0 => (table.insert(pfn, folio.clone()), map.insert(pfn, folio)),
                _ => (table.remove(pfn), map.remove(&pfn)),
            };
            assert_eq!(ours.map(|f| f.refs), theirs.map(|f| f.refs));
            let listed: Vec<_> = table.sorted().into_iter().map(|(pfn, f)| (pfn, f.refs)).collect();
            assert_eq!(listed, map.iter().map(|(&pfn, f)| (pfn, f.refs)).collect::<Vec<_>>());
            assert!(map.keys().all(|&pfn| table.get(pfn).is_some()) && table.len == map.len());
        }
    }
}
