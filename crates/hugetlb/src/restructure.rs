//! Huge folios taken apart into smaller ones, and put together again.
//!
//! A huge page stays one page of its pool, whatever it is split into: the pool counts it as in use until the last of its pieces is let go, by
//! whoever held that one, and in whatever order. Then the pieces are one folio again and it goes home. What the pool keeps of the page
//! (its payers, its mount) stays with the page's own record meanwhile, so that splitting asks for no memory but that of descriptors.
//!
//! Whoever splits or merges holds one reference for each base page of the folio, as a page cache does, and nobody else holds any. Each
//! piece then has as many as it has base pages. Both operations are prepared, which may fail and can be taken back, and committed,
//! which cannot fail.
//!
//! 1. [`prepare_split`] freezes the folio and gives it all its descriptors; [`PreparedSplit::commit`] makes the pieces.
//! 2. [`prepare_merge`] freezes the pieces; [`PreparedMerge::commit`] makes one folio of them, whose descriptors are optimised again if there
//!    is memory for that.
//! 3. [`release_pieces`] lets many pieces go at once; a piece that [`crate::put_folio`] finds without references is let go as well.

mod merge;
mod release;
mod split;

pub use merge::{MergeError, PreparedMerge, merge, prepare_merge};
pub use release::release_pieces;
pub(crate) use release::{gather, piece_released};
pub use split::{PreparedSplit, SplitError, prepare_split, split};

use memmap::{HugeSlot, Referenced};
use units::{Order, Pfn};

use crate::{Env, HugeFolio};

/// How often a folio is frozen in vain, before whoever holds another reference is taken to keep it.
pub const FREEZE_TRIES: u32 = if cfg!(shuttle) { 2 } else { 1000 };

/// Freezes with patience: a reference that somebody took to look at a folio is gone soon.
fn freeze<P: Env>(
    p: &mut P,
    pfn: Pfn,
    mut attempt: impl FnMut(&mut memmap::MemMap) -> Result<(), Referenced>,
) -> Result<(), Referenced> {
    let mut tries = 1;
    loop {
        match p.with_memmap(pfn, &mut attempt) {
            Err(_) if tries < FREEZE_TRIES => tries += 1,
            frozen => return frozen,
        }
    }
}

/// A folio, whole or a piece, and the page of a pool that it is or is a part of.
#[derive(Clone, Copy, Debug)]
struct Part {
    order: Order,
    slot: HugeSlot,
    /// The first frame and the size of the whole; nothing where the folio is the whole.
    of: Option<(Pfn, Order)>,
}

fn part_at<P: Env>(p: &mut P, pfn: Pfn) -> Option<Part> {
    p.with_memmap(pfn, |map| {
        let folio = map.get(pfn)?;
        match folio.kind {
            memmap::FolioKind::Huge(slot) => Some(Part { order: folio.order, slot, of: None }),
            memmap::FolioKind::Piece(slot) => {
                let of = map.split_around(pfn).map(|(first, order, _)| (first, order));
                Some(Part { order: folio.order, slot, of })
            }
            _ => None,
        }
    })
}

fn page_of<P: Env>(p: &mut P, slot: HugeSlot) -> HugeFolio {
    p.with_records(slot, |records| records.folio(slot.hstate, slot.slot))
}

/// The lowest broken frame of a range.
fn broken_in<P: Env>(p: &mut P, slot: HugeSlot, first: Pfn, order: Order) -> Option<Pfn> {
    p.with_records(slot, |records| {
        if !records.has_poison() {
            return None;
        }
        let page = records.folio(slot.hstate, slot.slot);
        records.first_broken(page, first).filter(|&pfn| pfn < first.offset(order.pages()))
    })
}
