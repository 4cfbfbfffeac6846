//! Pages that become private or shared.
//!
//! A range is converted batch by batch, a batch being what was allocated at once. Each is prepared: what may fail comes before the guest is
//! told, and leaves the attributes as they were. Then the guest's mappings go, and from there on nothing fails. Batches before one that fails
//! stay converted, and the error says where it stopped.

use alloc::vec::Vec;
use core::ops::Range;

use hugetlb::restructure::{self, SplitError};
use memmap::Referenced;
use units::{Access, Blame, GmemId, GuestStep, Ledger, Order, PageIndex, Scope, Site};

use crate::file::Attribute;
use crate::folios::{self, Cached, Structure};
use crate::{Env, stage2};

/// Why a range was not converted, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The file is gone.
    #[error("no such file")]
    NoFile,
    /// No pages of the file.
    #[error("{0} to {1} are no pages of the file")]
    Outside(PageIndex, PageIndex),
    /// Pages from there on are as they were; those before are converted.
    #[error("stopped at page {at}: {why}")]
    Stopped {
        /// The first page that stands in the way.
        at: PageIndex,
        /// Why.
        why: ConvertRefusal,
    },
}

/// Why a batch was not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertRefusal {
    /// No memory to write the attributes down.
    #[error("no memory for attributes")]
    Attributes,
    /// No memory for the nodes of the page cache.
    #[error("no memory to note every page")]
    CacheNode,
    /// Somebody holds a page that is to be private.
    #[error("{} references are to the page at {}, and {} were expected", .0.refs, .0.pfn, .0.expected)]
    Held(Referenced),
    /// A huge page cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
}

impl Blame for ConvertRefusal {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Attributes | Self::CacheNode => Some(Ledger::Metadata),
            Self::Held(_) => Some(Ledger::PinnedFolio),
            Self::Split(refusal) => refusal.ledger(),
        }
    }
}

impl Blame for ConvertError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoFile | Self::Outside(..) => None,
            Self::Stopped { why, .. } => why.ledger(),
        }
    }
}

/// Converts a range. Contents stay; pages that are not there yet are what the range says when they come.
///
/// # Errors
/// The first page that stands in the way, and the ledger that refused.
#[doc(alias("kvm_gmem_set_attributes", "KVM_SET_MEMORY_ATTRIBUTES2"))]
pub fn convert<P: Env>(p: &mut P, id: GmemId, range: Range<PageIndex>, to: Attribute) -> Result<(), ConvertError> {
    let pages = p.with_gmem(id, |file| file.pages).ok_or(ConvertError::NoFile)?;
    if range.is_empty() || range.end.get() > pages.get() {
        return Err(ConvertError::Outside(range.start, range.end));
    }
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let range = range.start.get()..range.end.get();
        if p.with_gmem(id, |file| file.attributes.is_all(range.clone(), &to)) == Some(true) {
            return Ok(());
        }
        if p.refused(Site::Attributes) {
            return Err(ConvertError::Stopped { at: PageIndex::new(range.start), why: ConvertRefusal::Attributes });
        }
        let mut at = range.start;
        while at < range.end {
            let batch = next_batch(p, id, at..range.end);
            at = batch.end;
            prepare(p, id, &batch, to).map_err(|(at, why)| ConvertError::Stopped { at, why })?;
            commit(p, id, batch, to);
        }
        Ok(())
    })
}

/// Huge pages are converted one by one; base pages, and a stretch of which nothing is allocated, all at once.
fn next_batch<P: Env>(p: &mut P, id: GmemId, range: Range<u64>) -> Range<u64> {
    let end = p.with_gmem(id, |file| {
        if file.backing.order() == Order::ZERO {
            return range.end;
        }
        let around = file.around(PageIndex::new(range.start));
        if file.cache.contains_key(&PageIndex::new(around.start)) {
            return around.end;
        }
        let next = file.cache.range(PageIndex::new(around.end)..).next();
        next.map_or(range.end, |(index, _)| index.get())
    });
    range.start..end.unwrap_or(range.end).min(range.end)
}

/// All that can fail.
fn prepare<P: Env>(
    p: &mut P,
    id: GmemId,
    batch: &Range<u64>,
    to: Attribute,
) -> Result<(), (PageIndex, ConvertRefusal)> {
    match to {
        Attribute::Private => {
            folios::unmap_host(p, id, batch.clone());
            match folios::first_held(p, id, batch) {
                Some((at, held)) => Err((at, ConvertRefusal::Held(held))),
                None => Ok(()),
            }
        }
        Attribute::Shared => {
            let mut rest = batch.clone();
            while let Some(cached) = folios::next_cached(p, id, &mut rest) {
                split_for_sharing(p, id, cached).map_err(|why| (PageIndex::new(batch.start), why))?;
            }
            Ok(())
        }
    }
}

/// The guest's leaves first: none is ever larger than its folio.
fn split_for_sharing<P: Env>(p: &mut P, id: GmemId, cached: Cached) -> Result<(), ConvertRefusal> {
    let Cached { around, order, pfn, .. } = cached;
    if order == Order::ZERO {
        return Ok(());
    }
    let whole = (folios::structure(p, pfn) == Structure::Whole).then_some(pfn);
    let larger = if whole.is_some() { Vec::new() } else { folios::larger_pieces(p, pfn) };
    if whole.is_none() && larger.is_empty() {
        return Ok(());
    }
    if p.refused(Site::CacheNode) {
        return Err(ConvertRefusal::CacheNode);
    }
    stage2::split(p, id, around, Order::ZERO);
    for folio in whole.into_iter().chain(larger) {
        restructure::split(p, folio, Order::ZERO)?;
    }
    Ok(())
}

/// Splits the folio that a private page is in into smaller ones, of which the guest maps each by itself.
///
/// # Errors
/// There is no page, or its folio cannot be split so.
pub fn split<P: Env>(p: &mut P, id: GmemId, index: PageIndex, to: Order) -> Result<(), SplitByHandError> {
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        let pfn = p.with_gmem(id, |file| file.frame(index)).flatten().ok_or(SplitByHandError::NoPage(index))?;
        let found = p.with_memmap(pfn, |map| map.find(pfn).map(|(start, folio)| (start, folio.order)));
        let (start, order) = found.ok_or(SplitByHandError::NoPage(index))?;
        if order <= to {
            return Err(SplitError::NotSmaller { from: order, to }.into());
        }
        let first = index.get() - (pfn.get() - start.get());
        stage2::split(p, id, first..first + order.pages().get(), to);
        Ok(restructure::split(p, start, to)?)
    })
}

/// Why a folio is not split into smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitByHandError {
    /// The page is not in memory.
    #[error("page {0} is not in memory")]
    NoPage(PageIndex),
    /// It cannot be.
    #[error(transparent)]
    Split(#[from] SplitError),
}

impl Blame for SplitByHandError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoPage(_) => None,
            Self::Split(refusal) => refusal.ledger(),
        }
    }
}

/// Past the point of no return: the attributes are stored before pages are put together, since only those say whether they can be.
fn commit<P: Env>(p: &mut P, id: GmemId, batch: Range<u64>, to: Attribute) {
    stage2::tell(p, id, &batch, GuestStep::InvalidateBegin);
    let mut rest = batch.clone();
    while let Some(run) = next_changing(p, id, &mut rest, to) {
        stage2::unmap(p, id, run);
    }
    p.with_gmem(id, |file| file.attributes.set(batch.clone(), to));
    stage2::tell(p, id, &batch, GuestStep::AttributesStored);
    stage2::tell(p, id, &batch, GuestStep::InvalidateEnd);
    if to == Attribute::Private {
        merge_in(p, id, &batch);
    }
}

/// Takes from the front of a range up to the end of the first part that is not yet what it is to be: only from there the guest is unmapped.
fn next_changing<P: Env>(p: &mut P, id: GmemId, rest: &mut Range<u64>, to: Attribute) -> Option<Range<u64>> {
    if rest.is_empty() {
        return None;
    }
    let run = p.with_gmem(id, |file| {
        let mut runs = file.attributes.overlapping(rest.clone());
        runs.find(|&(_, &attribute)| attribute != to).map(|(run, _)| run)
    });
    let run = run.flatten()?;
    rest.start = run.end;
    Some(run)
}

/// Puts together what lies in a range and is private all around. Where a page is broken, or somebody still looks at it, it stays in pieces,
/// which is slower and nothing else.
fn merge_in<P: Env>(p: &mut P, id: GmemId, range: &Range<u64>) {
    let mut rest = range.clone();
    while let Some(Cached { around, order, pfn, .. }) = folios::next_cached(p, id, &mut rest) {
        let private = order > Order::ZERO && p.with_gmem(id, |file| file.is_private(around)) == Some(true);
        if private && folios::structure(p, pfn) == Structure::Pieces {
            let _ = restructure::merge(p, pfn, order);
        }
    }
}

/// Tries again to put together whatever is private and in pieces.
pub fn merge_private<P: Env>(p: &mut P, id: GmemId) {
    p.scope(Scope::Gmem(id, Access::Write), |p| {
        if let Some(pages) = p.with_gmem(id, |file| file.pages) {
            merge_in(p, id, &(0..pages.get()));
        }
    });
}
