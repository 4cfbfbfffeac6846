//! Taking a folio apart.

use memmap::Referenced;
use units::{Blame, Event, Ledger, Order, Pfn};
use vmemmap::{NoMetadata, Restored};

use super::{Part, broken_in, freeze, page_of, part_at};
use crate::Env;
use crate::surplus::optimise;

/// Why a folio stays in one piece. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// No huge folio begins there, and no piece of one.
    #[error("no huge folio begins at {0}, and no piece of one")]
    NoFolio(Pfn),
    /// The pieces would be no smaller.
    #[error("a folio of {from} cannot be split into pieces of {to}: choose a smaller size")]
    NotSmaller {
        /// Its size.
        from: Order,
        /// The size asked for.
        to: Order,
    },
    /// One of its pages is broken.
    #[error("{pfn} of the folio is broken")]
    Poisoned {
        /// The page.
        pfn: Pfn,
    },
    /// Somebody refers to it beside whoever holds one reference for each of its pages.
    #[error("{} references are to the folio at {}, and {} were expected", .0.refs, .0.pfn, .0.expected)]
    Referenced(Referenced),
    /// Its descriptors would need memory.
    #[error(transparent)]
    Metadata(#[from] NoMetadata),
}

impl Blame for SplitError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Referenced(_) => Some(Ledger::PinnedFolio),
            Self::Metadata(lacking) => lacking.ledger(),
            Self::NoFolio(_) | Self::NotSmaller { .. } | Self::Poisoned { .. } => None,
        }
    }
}

/// A folio about to be split: frozen, with all its descriptors. It is committed or abandoned.
#[must_use = "the folio is frozen until this is committed or abandoned"]
#[derive(Debug)]
pub struct PreparedSplit {
    pfn: Pfn,
    part: Part,
    to: Order,
    restored: Restored,
}

/// Prepares the folio that begins at `pfn`, whole or a piece itself, for being split into pieces of `to`. Whoever asks holds one reference for
/// each of its base pages.
///
/// # Errors
/// Somebody else refers to it, a page of it is broken, there is no memory for its descriptors, or the request makes no sense.
pub fn prepare_split<P: Env>(p: &mut P, pfn: Pfn, to: Order) -> Result<PreparedSplit, SplitError> {
    let part = part_at(p, pfn).ok_or(SplitError::NoFolio(pfn))?;
    if to >= part.order {
        return Err(SplitError::NotSmaller { from: part.order, to });
    }
    if let Some(pfn) = broken_in(p, part.slot, pfn, part.order) {
        return Err(SplitError::Poisoned { pfn });
    }
    let refs = part.order.pages().get();
    freeze(p, pfn, |map| map.freeze(pfn, refs)).map_err(SplitError::Referenced)?;
    // A shared tail must never be written, and each piece has a descriptor of its own.
    let restored = match part.of {
        Some(_) => Restored::Whole,
        None => match vmemmap::restore(p, pfn) {
            Ok(restored) => restored,
            Err(lacking) => {
                p.with_memmap(pfn, |map| map.thaw(pfn, refs));
                return Err(lacking.into());
            }
        },
    };
    Ok(PreparedSplit { pfn, part, to, restored })
}

impl PreparedSplit {
    /// Splits it.
    pub fn commit<P: Env>(self, p: &mut P) {
        let Self { pfn, part, to, .. } = self;
        p.with_memmap(pfn, |map| map.split(pfn, to));
        p.emit(|| Event::Split { hstate: part.slot.hstate, folio: pfn, from: part.order, to });
    }

    /// Leaves it as it was; if it cannot have its descriptors optimised again, it keeps them all.
    pub fn abandon<P: Env>(self, p: &mut P) {
        let Self { pfn, part, restored, .. } = self;
        if let Restored::Filled(_) = restored {
            let zone = page_of(p, part.slot).zone_ref();
            optimise(p, pfn, part.order, zone);
        }
        p.with_memmap(pfn, |map| map.thaw(pfn, part.order.pages().get()));
    }
}

/// Splits the folio that begins at `pfn` into pieces of `to`.
///
/// # Errors
/// As [`prepare_split`].
#[doc(alias("split_folio", "restructure"))]
pub fn split<P: Env>(p: &mut P, pfn: Pfn, to: Order) -> Result<(), SplitError> {
    prepare_split(p, pfn, to)?.commit(p);
    Ok(())
}
