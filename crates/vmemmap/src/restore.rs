//! Descriptors of its own for every page of a block again.

use page_alloc::NoPages;
use units::{Blame, Ledger, NodeId, PageCount, Pfn};

use crate::Env;
use crate::pages::{put_page, take_singly, take_whole};
use crate::state::Spare;

/// What restoring a block came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It had all its descriptors.
    Whole,
    /// It has them again, and so many pages less are free.
    Filled(PageCount),
}

/// Memory for the descriptors is lacking. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("descriptors need {} pages more, near {node}, of which {} could be had: {why}", .needed.get(), .found.get())]
pub struct NoMetadata {
    /// What is needed.
    pub needed: PageCount,
    /// What could be had, and was given back.
    pub found: PageCount,
    /// Where it was looked for first.
    pub node: NodeId,
    /// Why there was no more.
    pub why: NoPages,
}

impl Blame for NoMetadata {
    fn ledger(&self) -> Option<Ledger> {
        Some(Ledger::Metadata)
    }
}

/// Gives a block back all its descriptors, from any node if need be: all of them or none.
///
/// # Errors
/// Not enough memory for them; the block reads its shared tail as before.
#[doc(alias = "hugetlb_vmemmap_restore_folio")]
pub fn restore<P: Env>(p: &mut P, first: Pfn) -> Result<Restored, NoMetadata> {
    let Some((key, needed)) = p.with_vmemmap(|v| v.needs(first)) else { return Ok(Restored::Whole) };
    let node = key.node;
    let spare = match take_whole(p, node, needed + PageCount::new(1)) {
        Some(frames) => p.with_vmemmap(|v| v.fill_whole(first, &frames)),
        None => match take_singly(p, node, needed) {
            Ok(frames) => p.with_vmemmap(|v| v.fill_behind(first, &frames)),
            Err((found, why)) => return Err(NoMetadata { needed, found, node, why }),
        },
    };
    let Spare { head, tail } = spare;
    for frame in [head, tail].into_iter().flatten() {
        put_page(p, node, frame);
    }
    Ok(Restored::Filled(needed))
}

/// Gives back the tails that were kept and that nobody reads; how many.
pub fn drop_unused_tails<P: Env>(p: &mut P) -> PageCount {
    let mut dropped = PageCount::ZERO;
    while let Some((key, tail)) = p.with_vmemmap(crate::Vmemmap::take_unused_tail) {
        put_page(p, key.node, tail);
        dropped += PageCount::new(1);
    }
    dropped
}
