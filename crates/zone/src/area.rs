//! The free blocks of one order, as runs.

use alloc::collections::BTreeMap;

use units::{Order, PageCount, Pfn};

/// Free blocks of one order. A run is a number of blocks that follow each other.
#[derive(Clone, Debug)]
pub(crate) struct FreeArea {
    order: Order,
    runs: BTreeMap<Pfn, u64>,
    blocks: u64,
}

impl FreeArea {
    pub(crate) const fn new(order: Order) -> Self {
        Self { order, runs: BTreeMap::new(), blocks: 0 }
    }

    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = (Pfn, u64)> {
        self.runs.iter().map(|(&start, &blocks)| (start, blocks))
    }

    /// Takes the highest block.
    pub(crate) fn pop(&mut self) -> Option<Pfn> {
        let mut last = self.runs.last_entry()?;
        let start = *last.key();
        self.blocks -= 1;
        if *last.get() == 1 {
            last.remove();
            return Some(start);
        }
        *last.get_mut() -= 1;
        let before = *last.get();
        Some(start.offset(self.span(before)))
    }

    /// Adds `blocks` blocks from `start` on, which must not be here yet.
    pub(crate) fn insert(&mut self, start: Pfn, blocks: u64) {
        self.blocks += blocks;
        let end = start.offset(self.span(blocks));
        let tail = self.runs.range(end..).next().filter(|(at, _)| **at == end).map(|(_, n)| *n);
        if tail.is_some() {
            self.runs.remove(&end);
        }
        let grown = blocks + tail.unwrap_or(0);
        let (shift, step) = (self.order.get(), start.get());
        if let Some((before, n)) = self.runs.range_mut(..start).next_back()
            && before.get() + (*n << shift) == step
        {
            *n += grown;
        } else {
            self.runs.insert(start, grown);
        }
    }

    /// Takes `blocks` blocks from `start` on, if all of them are here.
    pub(crate) fn remove(&mut self, start: Pfn, blocks: u64) -> bool {
        let Some((&at, &n)) = self.runs.range(..=start).next_back() else { return false };
        let skipped = (start.get() - at.get()) >> self.order.get();
        if skipped + blocks > n {
            return false;
        }
        if skipped == 0 {
            self.runs.remove(&at);
        } else {
            self.runs.insert(at, skipped);
        }
        let left = n - skipped - blocks;
        if left > 0 {
            self.runs.insert(start.offset(self.span(blocks)), left);
        }
        self.blocks -= blocks;
        true
    }

    const fn span(&self, blocks: u64) -> PageCount {
        PageCount::new(blocks << self.order.get())
    }
}
