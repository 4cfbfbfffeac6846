//! Putting pieces together.

use memmap::{HugeSlot, Referenced};
use units::{Blame, Event, Ledger, Order, Pfn};

use super::{broken_in, freeze, page_of};
use crate::Env;
use crate::surplus::optimise;

/// Why pieces stay apart. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// No piece of a folio begins there.
    #[error("no piece of a split folio begins at {0}")]
    NoPiece(Pfn),
    /// They would not be an aligned part of the folio that was split, larger than each of them.
    #[error(
        "pieces from {first} on cannot become one of {to}: choose a larger size, up to the whole of {whole}, and where it begins"
    )]
    Misfit {
        /// The first.
        first: Pfn,
        /// The size asked for.
        to: Order,
        /// The size of what was split.
        whole: Order,
    },
    /// One of them is broken.
    #[error("{pfn} among the pieces is broken")]
    Poisoned {
        /// The page.
        pfn: Pfn,
    },
    /// Somebody refers to one beside whoever holds one reference for each of its pages, or nobody does.
    #[error("{} references are to the piece at {}, and {} were expected", .0.refs, .0.pfn, .0.expected)]
    Referenced(Referenced),
}

impl Blame for MergeError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Referenced(_) => Some(Ledger::PinnedFolio),
            Self::NoPiece(_) | Self::Misfit { .. } | Self::Poisoned { .. } => None,
        }
    }
}

/// Pieces about to become one: frozen. They are committed or abandoned.
#[must_use = "the pieces are frozen until this is committed or abandoned"]
#[derive(Debug)]
pub struct PreparedMerge {
    first: Pfn,
    to: Order,
    whole: Order,
    slot: HugeSlot,
}

/// Prepares the pieces from `first` on for becoming one folio of `to`. Whoever asks holds one reference for each of their base pages.
///
/// # Errors
/// The lowest piece that somebody else refers to, a broken page, or a request that makes no sense.
pub fn prepare_merge<P: Env>(p: &mut P, first: Pfn, to: Order) -> Result<PreparedMerge, MergeError> {
    let found = p.with_memmap(first, |map| {
        let (start, whole, slot) = map.split_around(first)?;
        let smaller = map.get(first).is_some_and(|piece| piece.order < to);
        Some((smaller && to <= whole && (to < whole || start == first), whole, slot))
    });
    let (fits, whole, slot) = found.ok_or(MergeError::NoPiece(first))?;
    if !fits || !first.is_aligned(to) {
        return Err(MergeError::Misfit { first, to, whole });
    }
    if let Some(pfn) = broken_in(p, slot, first, to) {
        return Err(MergeError::Poisoned { pfn });
    }
    freeze(p, first, |map| map.freeze_pieces(first, to)).map_err(MergeError::Referenced)?;
    Ok(PreparedMerge { first, to, whole, slot })
}

impl PreparedMerge {
    /// Merges them.
    pub fn commit<P: Env>(self, p: &mut P) {
        let Self { first, to, whole, slot } = self;
        if to == whole {
            // Nobody writes a descriptor of the pieces any more.
            let zone = page_of(p, slot).zone_ref();
            optimise(p, first, whole, zone);
        }
        p.with_memmap(first, |map| map.merge(first, to));
        p.emit(|| Event::Merged { hstate: slot.hstate, folio: first, to });
    }

    /// Leaves them as they were.
    pub fn abandon<P: Env>(self, p: &mut P) {
        p.with_memmap(self.first, |map| map.thaw_pieces(self.first, self.to));
    }
}

/// Makes one folio of `to` of the pieces from `first` on.
///
/// # Errors
/// As [`prepare_merge`].
pub fn merge<P: Env>(p: &mut P, first: Pfn, to: Order) -> Result<(), MergeError> {
    prepare_merge(p, first, to)?.commit(p);
    Ok(())
}
