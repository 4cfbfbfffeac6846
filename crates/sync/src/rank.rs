//! The nesting order of exclusion.

use alloc::vec::Vec;

/// A place in the nesting order: what is entered later must have a higher rank than everything held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u8, pub u8);

/// What one flow of control holds, outermost first.
#[derive(Clone, Debug, Default)]
pub struct RankStack {
    held: Vec<Rank>,
}

impl RankStack {
    /// Nothing held.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Enters.
    ///
    /// # Panics
    /// On an inversion, which would be a deadlock waiting for its second thread.
    pub fn enter(&mut self, rank: Rank) {
        let top = self.held.last();
        assert!(top.is_none_or(|&top| top < rank), "lock order: {rank:?} entered inside {:?}", self.held);
        self.held.push(rank);
    }

    /// Leaves what was entered last.
    pub fn leave(&mut self) {
        let left = self.held.pop();
        debug_assert!(left.is_some(), "left more often than entered");
    }

    /// Is nothing held?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "lock order")]
    fn an_inversion_is_found_with_one_thread() {
        let mut stack = RankStack::new();
        stack.enter(Rank(4, 0));
        stack.enter(Rank(2, 0));
    }

    /// Two threads that each hold one of two and want the other one wait for ever, although neither went down.
    #[test]
    #[should_panic(expected = "lock order")]
    fn two_of_one_rank_are_never_held() {
        let mut stack = RankStack::new();
        stack.enter(Rank(4, 0));
        stack.enter(Rank(4, 0));
    }

    #[test]
    fn leaving_makes_room_again() {
        let mut stack = RankStack::new();
        stack.enter(Rank(4, 0));
        stack.leave();
        stack.enter(Rank(2, 0));
        stack.leave();
        assert!(stack.is_empty());
    }
}
