//! What a huge folio was split into.
//!
//! The pieces of a folio are many and mostly alike, so they are kept in runs of equal ones: splitting 1 GiB makes one run, and a page of it
//! that somebody refers to two more. Whoever asks for a piece sees a record of its own.

use alloc::collections::BTreeMap;
use core::ops::Range;

use units::{Order, PageCount, Pfn, RangeMap};

use crate::{Broken, Folio, FolioKind, HugeSlot, Last, MemMap};

/// A folio in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Split {
    /// The size of the whole.
    pub order: Order,
    /// Where the whole's own data live.
    pub slot: HugeSlot,
    /// By distance from the first frame.
    pieces: RangeMap<Folio>,
}

impl Split {
    fn piece(order: Order, slot: HugeSlot) -> Folio {
        let kind = FolioKind::Piece(slot);
        Folio { kind, order, refs: order.pages().get(), mappings: 0, pins: 0, anonymous: false, written: false }
    }

    fn range(&self) -> Range<u64> {
        0..self.order.pages().get()
    }

    /// The piece that a distance lies in, and where it begins.
    fn at(&self, distance: u64) -> Option<(u64, &Folio)> {
        let piece = self.pieces.get(distance)?;
        Some((distance >> piece.order.get() << piece.order.get(), piece))
    }

    fn validate(&self, first: Pfn) -> Result<(), Broken> {
        let broken = |what: &str| Err(Broken(alloc::format!("the pieces of {first}: {what}")));
        let mut end = 0;
        for (run, piece) in self.pieces.iter() {
            let whole = |at: u64| at.is_multiple_of(piece.order.pages().get());
            if run.start != end || !whole(run.start) || !whole(run.end) || piece.order >= self.order {
                return broken("one is missing, or is not aligned to its size");
            }
            if piece.kind != FolioKind::Piece(self.slot) || !piece.is_sound() {
                return broken("one is of another folio, or is mapped or pinned without a reference");
            }
            end = run.end;
        }
        if end != self.order.pages().get() || !self.pieces.is_canonical() {
            return broken("they do not make up the whole, or there are more runs than need be");
        }
        Ok(())
    }
}

/// Somebody refers to a folio beside those who were expected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// The lowest such folio.
    pub pfn: Pfn,
    /// How many references there are.
    pub refs: u64,
    /// How many were expected.
    pub expected: u64,
}

/// All folios that are in pieces, by first frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Splits(pub(crate) BTreeMap<Pfn, Split>);

impl Splits {
    pub(crate) const NONE: Self = Self(BTreeMap::new());

    #[inline]
    fn around(&self, pfn: Pfn) -> Option<(Pfn, &Split)> {
        let (&first, split) = self.0.range(..=pfn).next_back()?;
        (pfn < first.offset(split.order.pages())).then_some((first, split))
    }

    #[inline]
    fn around_mut(&mut self, pfn: Pfn) -> Option<(Pfn, &mut Split)> {
        let (&first, split) = self.0.range_mut(..=pfn).next_back()?;
        (pfn < first.offset(split.order.pages())).then_some((first, split))
    }

    /// The piece that a frame is a part of, and its first frame.
    #[inline]
    pub(crate) fn find(&self, pfn: Pfn) -> Option<(Pfn, &Folio)> {
        if self.0.is_empty() {
            return None;
        }
        let (first, split) = self.around(pfn)?;
        let (start, piece) = split.at(pfn.get() - first.get())?;
        Some((first.offset(PageCount::new(start)), piece))
    }

    /// Changes the piece that starts at a frame.
    pub(crate) fn change<R>(&mut self, pfn: Pfn, change: impl FnOnce(&mut Folio) -> R) -> Option<R> {
        let (first, split) = self.around_mut(pfn)?;
        let distance = pfn.get() - first.get();
        let (start, piece) = split.at(distance)?;
        let mut changed = piece.clone();
        if start != distance {
            return None;
        }
        let answer = change(&mut changed);
        split.pieces.set(distance..distance + changed.order.pages().get(), changed);
        Some(answer)
    }

    pub(crate) fn pages(&self) -> PageCount {
        self.0.values().map(|split| split.order.pages()).sum()
    }

    pub(crate) fn validate(&self) -> Result<(), Broken> {
        self.0.iter().try_for_each(|(&first, split)| split.validate(first))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pfn, &Split)> {
        self.0.iter().map(|(&first, split)| (first, split))
    }
}

impl MemMap {
    /// Freezes a folio that exactly `expected` references are to: nobody has one until it is thawed, split or merged.
    ///
    /// # Errors
    /// There are others, or somebody maps it.
    #[doc(alias("folio_ref_freeze", "page_ref_freeze"))]
    pub fn freeze(&mut self, pfn: Pfn, expected: u64) -> Result<(), Referenced> {
        let refused = |refs| Err(Referenced { pfn, refs, expected });
        let freeze = |folio: &mut Folio| {
            if folio.refs != expected || folio.mappings > 0 {
                return refused(folio.refs);
            }
            folio.refs = 0;
            Ok(())
        };
        self.change(pfn, freeze).unwrap_or_else(|| refused(0))
    }

    /// Gives a frozen folio its references back.
    #[doc(alias = "folio_ref_unfreeze")]
    pub fn thaw(&mut self, pfn: Pfn, refs: u64) {
        self.change(pfn, |folio| folio.refs = refs);
    }

    /// A frozen folio, whole or a piece of one, becomes pieces of that size, each with one reference for each of its pages.
    pub fn split(&mut self, pfn: Pfn, to: Order) {
        if let Some(whole) = self.folios.remove(pfn) {
            let FolioKind::Huge(slot) = whole.kind else {
                debug_assert!(false, "{pfn} is no huge folio");
                return;
            };
            debug_assert!(whole.refs == 0 && whole.order > to, "{pfn} is in use, or no larger than its pieces");
            let pieces = RangeMap::filled(0..whole.order.pages().get(), Split::piece(to, slot));
            self.splits.0.insert(pfn, Split { order: whole.order, slot, pieces });
        } else if let Some((first, split)) = self.splits.around_mut(pfn) {
            let start = pfn.get() - first.get();
            let Some(order) = split.at(start).map(|(_, piece)| piece.order) else { return };
            let pieces = Split::piece(to, split.slot);
            split.pieces.set(start..start + order.pages().get(), pieces);
        }
    }

    /// Freezes all pieces of an aligned range, to each of which there is one reference for each of its pages.
    ///
    /// # Errors
    /// The lowest that has others, or is mapped; none is frozen then.
    pub fn freeze_pieces(&mut self, first: Pfn, order: Order) -> Result<(), Referenced> {
        if let Some(found) = self.first_referenced(first, order.pages()) {
            return Err(found);
        }
        self.change_pieces(first, order.pages(), |piece| piece.refs = 0);
        Ok(())
    }

    /// The lowest piece of a range that somebody refers to beside those who hold one reference for each of its pages.
    #[must_use]
    pub fn first_referenced(&self, first: Pfn, pages: PageCount) -> Option<Referenced> {
        let (whole, split) = self.splits.around(first)?;
        let start = first.get() - whole.get();
        split.pieces.overlapping(start..start + pages.get()).find_map(|(run, piece)| {
            let expected = piece.order.pages().get();
            let pfn = whole.offset(PageCount::new(run.start));
            (piece.refs != expected || piece.mappings > 0).then_some(Referenced { pfn, refs: piece.refs, expected })
        })
    }

    /// Gives frozen pieces of an aligned range their references back.
    pub fn thaw_pieces(&mut self, first: Pfn, order: Order) {
        self.change_pieces(first, order.pages(), |piece| piece.refs = piece.order.pages().get());
    }

    /// Frozen pieces of an aligned range become one, with one reference for each of its pages.
    pub fn merge(&mut self, first: Pfn, to: Order) {
        let Some((whole, split)) = self.splits.around_mut(first) else { return };
        if split.order > to {
            let start = first.get() - whole.get();
            let piece = Split::piece(to, split.slot);
            split.pieces.set(start..start + to.pages().get(), piece);
        } else {
            self.gather(whole);
            self.thaw(whole, to.pages().get());
        }
    }

    /// The pieces of a folio, to which nobody refers any more, are the whole again, frozen.
    pub fn gather(&mut self, first: Pfn) {
        let Some(Split { order, slot, pieces }) = self.splits.0.remove(&first) else { return };
        debug_assert!(pieces.iter().all(|(_, piece)| piece.refs == 0), "a piece of {first} is in use");
        self.claim(first, order, FolioKind::Huge(slot));
    }

    /// Drops one reference for each page of a range of pieces; how many pages are in pieces to which nobody refers any more.
    pub fn put_pieces(&mut self, first: Pfn, pages: PageCount) -> PageCount {
        let mut released = PageCount::ZERO;
        let Some((whole, split)) = self.splits.around(first) else { return released };
        let start = first.get() - whole.get();
        for (run, piece) in split.pieces.overlapping(start..start + pages.get()) {
            if piece.refs == piece.order.pages().get() {
                released += PageCount::new(run.end - run.start);
            }
        }
        self.change_pieces(first, pages, |piece| piece.refs = piece.refs.saturating_sub(piece.order.pages().get()));
        released
    }

    /// Each piece of a range is mapped once more, by an entry that holds a reference.
    pub fn map_pieces(&mut self, first: Pfn, pages: PageCount) {
        self.change_pieces(first, pages, |piece| {
            piece.refs += 1;
            piece.mappings += 1;
        });
    }

    /// Each piece of a range is mapped once less. Others hold references to all of them, so none of them goes home.
    pub fn unmap_pieces(&mut self, first: Pfn, pages: PageCount) {
        self.change_pieces(first, pages, |piece| {
            debug_assert!(piece.mappings > 0 && piece.refs > 1, "a piece lost more than it had");
            piece.refs = piece.refs.saturating_sub(1);
            piece.mappings = piece.mappings.saturating_sub(1);
        });
    }

    /// A folio in use goes to nobody when it is let go: its memory is broken.
    pub fn mark_broken(&mut self, pfn: Pfn) {
        self.change(pfn, |folio| folio.kind = FolioKind::Poisoned);
    }

    fn change_pieces(&mut self, first: Pfn, pages: PageCount, change: impl Fn(&mut Folio)) {
        let Some((whole, split)) = self.splits.around_mut(first) else { return };
        let start = first.get() - whole.get();
        split.pieces.update(start..start + pages.get(), |piece| {
            let mut changed = piece.clone();
            change(&mut changed);
            changed
        });
    }

    /// The folio in pieces that a frame is of: its first frame, its size, and where its own data live.
    #[must_use]
    pub fn split_around(&self, pfn: Pfn) -> Option<(Pfn, Order, HugeSlot)> {
        self.splits.around(pfn).map(|(first, split)| (first, split.order, split.slot))
    }

    /// All folios that are in pieces.
    pub fn splits(&self) -> impl Iterator<Item = (Pfn, &Split)> {
        self.splits.iter()
    }

    /// Pieces in ascending order, in runs of equal ones: the first frame and the pages of a run, and the record that each piece of it has.
    pub fn pieces(&self) -> impl Iterator<Item = (Pfn, PageCount, &Folio)> {
        self.splits.iter().flat_map(|(first, _)| self.pieces_of(first))
    }

    /// As [`MemMap::pieces`], of the folio that begins there.
    pub fn pieces_of(&self, first: Pfn) -> impl Iterator<Item = (Pfn, PageCount, &Folio)> {
        self.splits.0.get(&first).into_iter().flat_map(move |split| {
            let run = move |(run, piece): (Range<u64>, _)| {
                (first.offset(PageCount::new(run.start)), PageCount::new(run.end - run.start), piece)
            };
            split.pieces.overlapping(split.range()).map(run)
        })
    }

    /// The same map with these folios in pieces.
    #[must_use]
    pub fn with_splits(mut self, splits: impl IntoIterator<Item = (Pfn, Split)>) -> Self {
        self.splits.0.extend(splits);
        self
    }

    /// Drops references of a piece; says so if they were the last.
    #[cold]
    pub(crate) fn put_piece(&mut self, pfn: Pfn, n: u64) -> Option<Last> {
        let put = |piece: &mut Folio| {
            debug_assert!(piece.refs >= n, "{pfn}: {n} references dropped of {}", piece.refs);
            piece.refs = piece.refs.saturating_sub(n);
            (piece.refs == 0).then_some(Last(piece.kind))
        };
        let put = self.splits.change(pfn, put);
        debug_assert!(put.is_some(), "{pfn} is not an allocated folio");
        put.flatten()
    }
}
