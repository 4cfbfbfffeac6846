//! Which private mappings went through fork: Linux 6.18 looks for the sharers of such a page at the address that it had, and may never
//! end after it has moved.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    range: Range<u64>,
    forked: bool,
}

/// The private mappings of a process, by address.
#[derive(Debug, Default)]
pub(super) struct Private {
    pieces: Vec<Piece>,
}

impl Private {
    /// Every private mapping is now in a second process too.
    pub(super) fn fork(&mut self) {
        self.pieces.iter_mut().for_each(|piece| piece.forked = true);
    }

    /// Something shared, or nothing, is there now.
    pub(super) fn clear(&mut self, range: &Range<u64>) {
        self.take(range);
    }

    /// A new private mapping is there now.
    pub(super) fn set(&mut self, range: Range<u64>) {
        self.take(&range);
        self.pieces.push(Piece { range, forked: false });
    }

    /// A mapping moves: what was in `from` is at `to`.
    pub(super) fn shift(&mut self, from: &Range<u64>, to: &Range<u64>) {
        let moved = self.take(from);
        self.take(to);
        self.pieces.extend(moved.into_iter().map(|Piece { range, forked }| {
            let at = |address: u64| to.start + (address - from.start);
            Piece { range: at(range.start)..at(range.end).min(to.end), forked }
        }));
        self.pieces.retain(|piece| !piece.range.is_empty());
    }

    /// Whether a page in `range` may be in two processes.
    pub(super) fn is_forked(&self, range: &Range<u64>) -> bool {
        self.pieces.iter().any(|piece| piece.forked && piece.range.start < range.end && range.start < piece.range.end)
    }

    /// Takes out what lies in `range`.
    fn take(&mut self, range: &Range<u64>) -> Vec<Piece> {
        let mut kept = Vec::new();
        let mut taken = Vec::new();
        for Piece { range: whole, forked } in self.pieces.drain(..) {
            let below = whole.start..whole.end.min(range.start);
            let inside = whole.start.max(range.start)..whole.end.min(range.end);
            let above = whole.start.max(range.end)..whole.end;
            kept.extend([below, above].into_iter().filter(|r| !r.is_empty()).map(|range| Piece { range, forked }));
            taken.extend(Some(inside).filter(|r| !r.is_empty()).map(|range| Piece { range, forked }));
        }
        self.pieces = kept;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_through_fork_is_known_by_its_pages_wherever_they_move() {
        let mut private = Private::default();
        private.set(10..20);
        private.fork();
        private.set(12..14);
        assert!(private.is_forked(&(10..12)) && !private.is_forked(&(12..14)) && private.is_forked(&(13..15)));
        private.clear(&(14..16));
        assert!(!private.is_forked(&(12..16)));
        private.shift(&(10..20), &(110..115));
        assert!(!private.is_forked(&(0..100)));
        assert!(private.is_forked(&(110..112)) && !private.is_forked(&(112..120)));
    }
}
