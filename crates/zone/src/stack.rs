//! Blocks on one list of a processor.

use alloc::vec::Vec;

/// Places of blocks from `start` on: the last one is the hottest.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    places: Vec<u32>,
    start: usize,
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.coldest_first() == other.coldest_first()
    }
}

impl Eq for Stack {}

impl Stack {
    pub(crate) const EMPTY: Self = Self { places: Vec::new(), start: 0 };
    const FEWEST: usize = 64;

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.start
    }

    pub(crate) fn coldest_first(&self) -> &[u32] {
        &self.places[self.start..]
    }

    /// Adds a block where there is room for it; otherwise nothing was done.
    #[inline]
    pub(crate) fn push_quietly(&mut self, place: u32) -> bool {
        let room = self.places.len() < self.places.capacity();
        if room {
            self.places.push(place);
        }
        room
    }

    pub(crate) fn push(&mut self, place: u32) {
        if self.places.is_empty() {
            self.places.reserve(Self::FEWEST);
        }
        self.places.push(place);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.places.len() <= self.start { None } else { self.places.pop() }
    }

    /// Takes the coldest blocks off.
    pub(crate) fn drop_coldest(&mut self, blocks: usize) {
        self.start += blocks;
        if self.start >= self.places.len() {
            self.places.clear();
            self.start = 0;
        } else if self.start > self.places.len() / 2 {
            self.places.drain(..self.start);
            self.start = 0;
        }
    }

    /// Room for so many blocks on an empty list, filled from the hottest down: see [`Fill`].
    pub(crate) fn fill(&mut self, most: usize) -> Fill<'_> {
        self.places.clear();
        self.places.resize(most, 0);
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
    pub(crate) const fn room(&self) -> usize {
        self.stack.start
    }

    #[inline]
    pub(crate) fn add(&mut self, place: u32) {
        if let Some(at) = self.stack.start.checked_sub(1) {
            self.stack.places[at] = place;
            self.stack.start = at;
        }
    }

    /// The places of `n` more blocks, in descending order of taking.
    #[inline]
    pub(crate) fn next(&mut self, n: usize) -> &mut [u32] {
        let end = self.stack.start;
        self.stack.start = end.saturating_sub(n);
        &mut self.stack.places[self.stack.start..end]
    }
}
