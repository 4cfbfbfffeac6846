//! Holes, and the size.

use core::ops::Range;

use hugetlb::restructure::{self, MergeError};
use memmap::Referenced;
use units::{Access, Blame, Bytes, GmemId, GuestStep, Ledger, Order, PageIndex, Scope};

use crate::folios::{self, Cached, Structure};
use crate::{Env, stage2};

/// Why there is no hole. Nothing is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PunchError {
    /// The file is gone.
    #[error("no such file")]
    NoFile,
    /// Not whole pages of the size that the file is made of, or none.
    #[error("{from} to {to} are not whole pages of {page} of the file")]
    Unaligned {
        /// The first page.
        from: PageIndex,
        /// The one behind the last.
        to: PageIndex,
        /// What the file is made of.
        page: Order,
    },
    /// Somebody holds a part of a huge page.
    #[error("{} references are to the page at {}, and {} were expected", .0.refs, .0.pfn, .0.expected)]
    Held(Referenced),
}

impl Blame for PunchError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoFile | Self::Unaligned { .. } => None,
            Self::Held(_) => Some(Ledger::PinnedFolio),
        }
    }
}

/// Removes whole pages. What is allotted to the file stays so, and attributes stay what they are. A huge page a part of which somebody
/// holds stays, and with it all others of the range; a base page goes to its last holder.
///
/// # Errors
/// Not whole pages, or the page that somebody holds.
#[doc(alias = "kvm_gmem_punch_hole")]
pub fn punch<P: Env>(p: &mut P, id: GmemId, range: Range<PageIndex>) -> Result<(), PunchError> {
    let (pages, page) = p.with_gmem(id, |file| (file.pages, file.backing.order())).ok_or(PunchError::NoFile)?;
    let Range { start: from, end: to } = range;
    let whole = |at: PageIndex| at.get().is_multiple_of(page.pages().get());
    if from >= to || !whole(from) || !whole(to) {
        return Err(PunchError::Unaligned { from, to, page });
    }
    let range = from.get().min(pages.get())..to.get().min(pages.get());
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        folios::unmap_host(p, id, range.clone());
        if page > Order::ZERO {
            put_together(p, id, &range)?;
        }
        stage2::tell(p, id, &range, GuestStep::InvalidateBegin);
        stage2::unmap(p, id, range.clone());
        let mut rest = range.clone();
        while let Some(cached) = folios::next_cached(p, id, &mut rest) {
            folios::remove(p, id, cached.index(), cached.pfn);
        }
        stage2::tell(p, id, &range, GuestStep::InvalidateEnd);
        Ok(())
    })
}

/// Nobody holds any of it: all is looked at before anything is changed. One that cannot be merged, since a page of it is broken, leaves
/// in pieces.
fn put_together<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>) -> Result<(), PunchError> {
    if let Some((_, held)) = folios::first_held(p, id, range) {
        return Err(PunchError::Held(held));
    }
    let mut rest = range.clone();
    while let Some(Cached { around, order, pfn, .. }) = folios::next_cached(p, id, &mut rest) {
        if folios::structure(p, pfn) == Structure::Pieces {
            stage2::unmap(p, id, around);
            if let Err(MergeError::Referenced(held)) = restructure::merge(p, pfn, order) {
                return Err(PunchError::Held(held));
            }
        }
    }
    Ok(())
}

/// The size of a file of guest memory never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file has {have} and keeps them; {asked} were asked for")]
pub struct ResizeError {
    /// Its size.
    pub have: Bytes,
    /// The size asked for.
    pub asked: Bytes,
}

/// Sets the size that the file has.
///
/// # Errors
/// It is another one.
#[doc(alias = "kvm_gmem_setattr")]
pub fn truncate<P: Env>(p: &mut P, id: GmemId, size: Bytes) -> Result<(), ResizeError> {
    let shift = p.with_vmemmap(|vmemmap| vmemmap.geometry().shift());
    let have = shift.total(p.with_gmem(id, |file| file.pages).unwrap_or_default());
    if size == have { Ok(()) } else { Err(ResizeError { have, asked: size }) }
}
