//! The free blocks of one order, as runs.

use alloc::collections::BTreeMap;

use units::{Order, PageCount, Pfn};

/// Frames of free blocks that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: Pfn,
    /// The first frame behind them.
    end: Pfn,
}

impl Run {
    const NONE: Self = Self { start: Pfn::new(0), end: Pfn::new(0) };

    #[inline]
    fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Free blocks of one order.
///
/// Blocks are taken from the highest run and mostly come back to it, so that run is kept beside the others: to take a block
/// and give it back moves an edge and changes no tree.
#[derive(Clone, Debug)]
pub(crate) struct FreeArea {
    /// Of one block.
    size: PageCount,
    /// Empty only where there is no run at all.
    highest: Run,
    /// The other runs: the first frame behind each by its first one.
    below: BTreeMap<Pfn, Pfn>,
}

impl FreeArea {
    pub(crate) const fn new(order: Order) -> Self {
        Self { size: order.pages(), highest: Run::NONE, below: BTreeMap::new() }
    }

    /// The size of one block.
    #[inline]
    pub(crate) const fn size(&self) -> PageCount {
        self.size
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.runs().map(|(start, end)| (end.get() - start.get()) / self.size.get()).sum()
    }

    /// Every run: its first frame and the first frame behind it.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = (Pfn, Pfn)> {
        let highest = (!self.is_empty()).then_some((self.highest.start, self.highest.end));
        self.below.iter().map(|(&start, &end)| (start, end)).chain(highest)
    }

    /// Takes the highest block.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Pfn> {
        if self.is_empty() {
            return None;
        }
        self.highest.end = Pfn::new(self.highest.end.get() - self.size.get());
        let block = self.highest.end;
        if self.highest.is_empty() {
            self.next_highest();
        }
        Some(block)
    }

    /// Adds the first block.
    #[inline]
    pub(crate) fn fill(&mut self, start: Pfn) {
        debug_assert!(self.is_empty(), "{start} is not the first");
        self.highest = Run { start, end: start.offset(self.size) };
    }

    /// Adds the blocks from `start` to `end`, which must not be here yet.
    #[inline]
    pub(crate) fn insert(&mut self, start: Pfn, end: Pfn) {
        if self.is_empty() {
            self.highest = Run { start, end };
        } else if self.highest.end == start {
            self.highest.end = end;
        } else {
            self.insert_apart(Run { start, end });
        }
    }

    /// Takes the blocks from `start` to `end`, if all of them are here.
    #[inline]
    pub(crate) fn remove(&mut self, start: Pfn, end: Pfn) -> bool {
        if (self.highest.start, self.highest.end) == (start, end) {
            self.next_highest();
            return true;
        }
        self.remove_part(Run { start, end })
    }

    /// The highest run is used up.
    #[inline]
    fn next_highest(&mut self) {
        self.highest = if self.below.is_empty() { Run::NONE } else { self.highest_below() };
    }

    #[inline(never)]
    fn highest_below(&mut self) -> Run {
        self.below.pop_last().map_or(Run::NONE, |(start, end)| Run { start, end })
    }

    /// Adds a run that does not begin where the highest one ends.
    #[inline(never)]
    fn insert_apart(&mut self, mut added: Run) {
        if added.start > self.highest.start {
            self.below.insert(self.highest.start, self.highest.end);
            self.highest = added;
            return;
        }
        if let Some((&start, &end)) = self.below.range(..added.start).next_back()
            && end == added.start
        {
            self.below.remove(&start);
            added.start = start;
        }
        if added.end == self.highest.start {
            self.highest.start = added.start;
        } else {
            let end = self.below.remove(&added.end).unwrap_or(added.end);
            self.below.insert(added.start, end);
        }
    }

    #[inline(never)]
    fn remove_part(&mut self, taken: Run) -> bool {
        if taken.start >= self.highest.start {
            if taken.end > self.highest.end {
                return false;
            }
            let before = Run { end: taken.start, ..self.highest };
            self.highest.start = taken.end;
            if self.highest.is_empty() {
                self.highest = before;
            } else if !before.is_empty() {
                self.below.insert(before.start, before.end);
            }
            return true;
        }
        let Some((&start, &end)) = self.below.range(..=taken.start).next_back() else { return false };
        if taken.end > end {
            return false;
        }
        if start == taken.start {
            self.below.remove(&start);
        } else {
            self.below.insert(start, taken.start);
        }
        if taken.end < end {
            self.below.insert(taken.end, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn runs(area: &FreeArea) -> Vec<(u64, u64)> {
        area.runs().map(|(start, end)| (start.get(), end.get())).collect()
    }

    #[test]
    fn runs_join_at_both_ends_and_are_cut_in_the_middle() {
        let mut area = FreeArea::new(Order::new(1));
        let insert = |area: &mut FreeArea, start, end| area.insert(Pfn::new(start), Pfn::new(end));
        let remove = |area: &mut FreeArea, start, end| area.remove(Pfn::new(start), Pfn::new(end));
        for start in [0, 8, 4, 2] {
            insert(&mut area, start, start + 2);
        }
        assert_eq!((runs(&area), area.blocks()), (alloc::vec![(0, 6), (8, 10)], 4));
        insert(&mut area, 6, 8);
        assert_eq!(runs(&area), [(0, 10)]);
        assert!(remove(&mut area, 2, 6));
        assert!(!remove(&mut area, 4, 6));
        assert_eq!((runs(&area), area.blocks()), (alloc::vec![(0, 2), (6, 10)], 3));
        assert!(remove(&mut area, 0, 2));
        insert(&mut area, 12, 18);
        assert!(remove(&mut area, 14, 16));
        assert_eq!(runs(&area), [(6, 10), (12, 14), (16, 18)]);
        let popped: Vec<u64> = core::iter::from_fn(|| area.pop()).map(Pfn::get).collect();
        assert_eq!((popped, area.blocks()), (alloc::vec![16, 12, 8, 6], 0));
        assert!(!remove(&mut area, 6, 8));
    }
}
