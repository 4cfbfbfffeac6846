//! Blocks on one list of a processor.

use alloc::vec::Vec;

use units::Pfn;

/// A block on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    /// Its first frame.
    pub(crate) pfn: Pfn,
    /// Where its mark is found: see [`crate::Zone::frame_at`].
    pub(crate) place: u32,
}

impl Cached {
    const NONE: Self = Self { pfn: Pfn::new(0), place: u32::MAX };
}

/// Blocks from `start` on: the last one is the hottest.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    blocks: Vec<Cached>,
    start: usize,
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.coldest_first() == other.coldest_first()
    }
}

impl Eq for Stack {}

impl Stack {
    pub(crate) const EMPTY: Self = Self { blocks: Vec::new(), start: 0 };
    const FEWEST: usize = 64;

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.blocks.len() - self.start
    }

    #[inline]
    pub(crate) fn coldest_first(&self) -> &[Cached] {
        &self.blocks[self.start..]
    }

    /// Adds a block where there is room for it; otherwise nothing was done.
    #[inline]
    pub(crate) fn push_quietly(&mut self, block: Cached) -> bool {
        let room = self.blocks.len() < self.blocks.capacity();
        if room {
            self.blocks.push(block);
        }
        room
    }

    #[inline]
    pub(crate) fn push(&mut self, block: Cached) {
        if !self.push_quietly(block) {
            self.push_slowly(block);
        }
    }

    #[cold]
    fn push_slowly(&mut self, block: Cached) {
        if self.blocks.is_empty() {
            self.blocks.reserve(Self::FEWEST);
        }
        self.blocks.push(block);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Cached> {
        if self.blocks.len() <= self.start { None } else { self.blocks.pop() }
    }

    /// Takes the coldest blocks off.
    pub(crate) fn drop_coldest(&mut self, blocks: usize) {
        self.start += blocks;
        if self.start >= self.blocks.len() {
            self.blocks.clear();
            self.start = 0;
        } else if self.start > self.blocks.len() / 4 * 3 {
            self.blocks.drain(..self.start);
            self.start = 0;
        }
    }

    /// Room for so many blocks on an empty list, filled from the hottest down: see [`Fill`].
    pub(crate) fn fill(&mut self, most: usize) -> Fill<'_> {
        self.blocks.clear();
        self.blocks.resize(most, Cached::NONE);
        self.start = most;
        Fill { stack: self }
    }
}

/// A list that is being filled: what is added first is taken first.
#[derive(Debug)]
pub(crate) struct Fill<'a> {
    stack: &'a mut Stack,
}

impl Fill<'_> {
    /// How many blocks still fit.
    #[inline]
    pub(crate) const fn room(&self) -> usize {
        self.stack.start
    }

    #[inline]
    pub(crate) fn add(&mut self, block: Cached) {
        if let Some(at) = self.stack.start.checked_sub(1) {
            self.stack.blocks[at] = block;
            self.stack.start = at;
        }
    }

    /// Adds parts of one free block, from the lowest up: so many, each so many frames and places from the one before.
    #[inline]
    pub(crate) fn add_parts(&mut self, first: Cached, parts: usize, frames: u64, places: u32) {
        let end = self.stack.start;
        self.stack.start = end.saturating_sub(parts);
        let mut next = first;
        for at in self.stack.blocks[self.stack.start..end].iter_mut().rev() {
            *at = next;
            next.pfn = Pfn::new(next.pfn.get().wrapping_add(frames));
            next.place = next.place.wrapping_add(places);
        }
    }
}
