//! Sets of page ranges of one file, each range with the group that pays for it.

use alloc_crate::collections::BTreeMap;

use units::{CgroupId, HugeCount, HugeIndex, HugeRange};

/// Sorted ranges that do not overlap; neighbours with the same owner are one range.
#[doc(alias = "file_region")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct RegionSet {
    regions: BTreeMap<HugeIndex, Region>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Region {
    end: HugeIndex,
    owner: Option<CgroupId>,
}

/// A range that was taken out, with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The pages.
    pub range: HugeRange,
    /// Who was charged for them.
    pub owner: Option<CgroupId>,
}

impl RegionSet {
    /// No range.
    #[must_use]
    pub const fn new() -> Self {
        Self { regions: BTreeMap::new() }
    }

    /// How many ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Is there no range?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Is `index` in the set?
    #[must_use]
    pub fn contains(&self, index: HugeIndex) -> bool {
        self.regions.range(..=index).next_back().is_some_and(|(_, region)| index < region.end)
    }

    /// How many pages of `range` are in the set.
    #[doc(alias("region_count", "region_chg"))]
    #[must_use]
    pub fn count(&self, range: HugeRange) -> HugeCount {
        self.pieces(range).map(|piece| piece.range.count()).sum()
    }

    /// The parts of the set inside `range`, in order.
    pub fn pieces(&self, range: HugeRange) -> impl Iterator<Item = Piece> {
        let first = self.regions.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        self.regions.range(first..range.end.max(first)).filter_map(move |(&start, region)| {
            let part = HugeRange::new(start, region.end).intersect(range);
            (!part.is_empty()).then_some(Piece { range: part, owner: region.owner })
        })
    }

    /// Adds the pages of `range` that are missing, in the name of `owner`; returns how many that were.
    #[doc(alias = "region_add")]
    pub fn insert(&mut self, range: HugeRange, owner: Option<CgroupId>) -> HugeCount {
        let mut added = HugeCount::ZERO;
        let mut at = range.start;
        while at < range.end {
            let covered = self.regions.range(..=at).next_back().map(|(_, region)| region.end).filter(|&end| at < end);
            if let Some(end) = covered {
                at = end;
                continue;
            }
            let next = self.regions.range(at..).next().map_or(range.end, |(&start, _)| start.min(range.end));
            self.add_missing(HugeRange::new(at, next), owner);
            added += HugeRange::new(at, next).count();
            at = next;
        }
        added
    }

    /// Does taking out `range` leave a region in two parts? Only that needs a new descriptor.
    #[must_use]
    pub fn remove_splits(&self, range: HugeRange) -> bool {
        self.regions.range(..range.start).next_back().is_some_and(|(_, region)| range.end < region.end)
    }

    /// Takes `range` out; `gone` hears of each piece, in order. Returns how many pages that were.
    #[doc(alias = "region_del")]
    pub fn remove(&mut self, range: HugeRange, mut gone: impl FnMut(Piece)) -> HugeCount {
        let mut removed = HugeCount::ZERO;
        if range.is_empty() {
            return removed;
        }
        if let Some((_, region)) = self.regions.range_mut(..range.start).next_back()
            && range.start < region.end
        {
            let old = *region;
            region.end = range.start;
            let cut = HugeRange::new(range.start, old.end.min(range.end));
            removed += cut.count();
            gone(Piece { range: cut, owner: old.owner });
            if range.end < old.end {
                self.regions.insert(range.end, old);
                return removed;
            }
        }
        while let Some((&start, &region)) = self.regions.range(range.start..range.end).next() {
            self.regions.remove(&start);
            let cut = HugeRange::new(start, region.end.min(range.end));
            removed += cut.count();
            gone(Piece { range: cut, owner: region.owner });
            if range.end < region.end {
                self.regions.insert(range.end, region);
            }
        }
        removed
    }

    /// Whoever is charged for a range.
    pub(crate) fn owners(&mut self) -> impl Iterator<Item = &mut CgroupId> {
        self.regions.values_mut().filter_map(|region| region.owner.as_mut())
    }

    /// Recounts: sorted, disjoint, nothing empty, no neighbours of one owner left apart.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let nonempty = self.regions.iter().all(|(&start, region)| start < region.end);
        let mut pairs = self.regions.iter().zip(self.regions.iter().skip(1));
        nonempty && pairs.all(|((_, a), (&start, b))| a.end < start || (a.end == start && a.owner != b.owner))
    }

    /// `range` touches nothing but perhaps its neighbours.
    fn add_missing(&mut self, range: HugeRange, owner: Option<CgroupId>) {
        let after = self.regions.get(&range.end).filter(|region| region.owner == owner).map(|region| region.end);
        if after.is_some() {
            self.regions.remove(&range.end);
        }
        let end = after.unwrap_or(range.end);
        match self.regions.range_mut(..range.start).next_back() {
            Some((_, before)) if before.end == range.start && before.owner == owner => before.end = end,
            _ => {
                self.regions.insert(range.start, Region { end, owner });
            }
        }
    }
}
