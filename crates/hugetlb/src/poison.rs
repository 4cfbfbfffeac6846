//! Broken memory inside huge pages.
//!
//! A folio is poisoned as a whole, and remembers which of its base pages are broken. While it is free it lies on its shelf and counts as
//! free, but nobody gets it. When it leaves its pool, its sound pages go back to the page allocator and the broken ones stay behind, as
//! records that belong to nobody.

use alloc_crate::collections::BTreeSet;
use alloc_crate::vec::Vec;

use memmap::{FolioKind, HugeSlot};
use units::{Event, Order, PageCount, Pfn, Site};

use crate::pool::{Condition, ONE};
use crate::record::Record;
use crate::{Env, HugeFolio, Records};

/// Broken base pages of one folio.
#[doc(alias("raw_hwp_page", "raw_hwp_list_head"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct RawPoison {
    /// Their distances from the first frame.
    pages: BTreeSet<u64>,
    /// One more could not be written down, so that none of the folio can be trusted again.
    #[doc(alias = "raw_hwp_unreliable")]
    unreliable: bool,
}

/// What was known of a folio before one of its pages broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing bad.
    Sound,
    /// Another of its pages is broken.
    OtherPage,
    /// That page is broken.
    SamePage,
}

/// Whether a folio can be sound again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpoisonError {
    /// Nothing is known to be broken.
    #[error("{0} is not known to be broken")]
    NotPoisoned(Pfn),
    /// Somebody maps, caches or refers to the folio.
    #[error("{refs} references are left to the folio of {pfn}")]
    InUse {
        /// The page.
        pfn: Pfn,
        /// References.
        refs: u64,
    },
    /// The folio shares descriptors with others.
    #[error("the descriptors of the folio of {0} are optimised")]
    Optimised(Pfn),
    /// A broken page of the folio could not be written down when it broke.
    #[error("which pages of the folio of {0} are broken is not known any more")]
    Unreliable(Pfn),
}

/// Writes down that a page that works is to be used no longer. The note has room already: there is none in the folio before. Nothing where the folio has
/// left its pool meanwhile.
pub fn mark_poison<P: Env>(p: &mut P, folio: HugeFolio, pfn: Pfn) -> Option<()> {
    let offset = pfn.get() - folio.pfn.get();
    p.with_records(folio.at(), |records| {
        let marked = records.holds(folio);
        marked.then(|| _ = records.poison.entry(folio.slot).or_default().pages.insert(offset))
    })?;
    p.emit(|| Event::Poisoned { pfn });
    Some(())
}

/// Writes down that a page of a folio is broken. Whether it is written down or not, the folio is poisoned from now on. Nothing where the folio has left its
/// pool meanwhile.
#[doc(alias = "folio_set_hugetlb_hwpoison")]
pub fn record_poison<P: Env>(p: &mut P, folio: HugeFolio, pfn: Pfn) -> Option<Found> {
    let offset = pfn.get() - folio.pfn.get();
    let known = p.with_records(folio.at(), |records| {
        let known = match records.poison.get(&folio.slot) {
            None => Found::Sound,
            Some(poison) if poison.pages.contains(&offset) => Found::SamePage,
            Some(_) => Found::OtherPage,
        };
        records.holds(folio).then_some(known)
    })?;
    if known == Found::SamePage {
        return Some(known);
    }
    let refused = p.refused(Site::RawPoison);
    p.with_records(folio.at(), |records| {
        if !records.holds(folio) {
            return None;
        }
        let poison = records.poison.entry(folio.slot).or_default();
        if refused {
            poison.unreliable = true;
        } else {
            poison.pages.insert(offset);
        }
        Some(())
    })?;
    p.emit(|| Event::Poisoned { pfn });
    Some(known)
}

/// Sets a free folio aside so that nobody gets it. Says whether it is; one that somebody has just taken is not.
pub fn set_aside<P: Env>(p: &mut P, folio: HugeFolio) -> bool {
    // Ledger first: with one page less to claim, the shelf has enough for those who have claims already.
    let counted = p.with_pool(folio.hstate, |pool| {
        let node = &mut pool.nodes[folio.node.index()];
        let any = !node.sound().is_zero();
        if any {
            node.poisoned += ONE;
        }
        any
    });
    let aside = counted && p.with_shelf(folio.hstate, folio.node, |shelf| shelf.set_aside(folio));
    if counted && !aside {
        p.with_pool(folio.hstate, |pool| pool.nodes[folio.node.index()].poisoned -= ONE);
    }
    aside
}

/// Makes a folio of the pool sound again. Memory that left its pool is not of it any more.
///
/// # Errors
/// It was never broken, somebody uses it, or it is not known which of its pages were broken.
#[doc(alias("folio_clear_hugetlb_hwpoison", "unpoison_memory"))]
pub fn unpoison_folio<P: Env>(p: &mut P, folio: HugeFolio, pfn: Pfn) -> Result<(), UnpoisonError> {
    let refs = p.with_memmap(folio.pfn, |map| map.get(folio.pfn).map_or(0, memmap::Folio::refs));
    let optimised = p.with_vmemmap(|vmemmap| vmemmap.is_optimised(folio.pfn));
    p.with_records(folio.at(), |records| match records.poison.get(&folio.slot).filter(|_| records.holds(folio)) {
        None => Err(UnpoisonError::NotPoisoned(pfn)),
        Some(_) if optimised => Err(UnpoisonError::Optimised(pfn)),
        Some(_) if refs > 0 => Err(UnpoisonError::InUse { pfn, refs }),
        Some(poison) if poison.unreliable => Err(UnpoisonError::Unreliable(pfn)),
        Some(_) => {
            records.poison.remove(&folio.slot);
            Ok(())
        }
    })?;
    readmit(p, folio);
    p.emit(|| Event::Unpoisoned { pfn });
    Ok(())
}

/// Gives a broken page that is of no huge page back to the page allocator.
///
/// # Errors
/// It is not marked as broken, or was left behind with others of which nothing is certain.
pub fn unpoison_ordinary<P: Env>(p: &mut P, pfn: Pfn) -> Result<(), UnpoisonError> {
    let order = p.with_memmap(pfn, |map| match map.find(pfn) {
        Some((_, folio)) if folio.kind == FolioKind::Poisoned && folio.order > Order::ZERO => {
            Err(UnpoisonError::Unreliable(pfn))
        }
        Some((start, folio)) if folio.kind == FolioKind::Poisoned => {
            let order = folio.order;
            map.release(start);
            Ok(order)
        }
        _ => Err(UnpoisonError::NotPoisoned(pfn)),
    })?;
    if let Some(zone) = page_alloc::zone_of(p, pfn) {
        let freed = page_alloc::free(p, zone, pfn, order);
        debug_assert_eq!(freed, Ok(()), "the page stayed behind, and nobody else has it");
    }
    p.emit(|| Event::Unpoisoned { pfn });
    Ok(())
}

/// A page that was written down as broken is to be used after all.
pub fn spare<P: Env>(p: &mut P, folio: HugeFolio, pfn: Pfn) {
    let sound = p.with_records(folio.at(), |records| {
        records.forget_poison(folio, pfn);
        !records.is_poisoned(folio.at())
    });
    if sound {
        readmit(p, folio);
    }
    p.emit(|| Event::Unpoisoned { pfn });
}

/// A folio that was set aside can be had again. Shelf first: what the ledger lets somebody claim must be there to take.
pub(crate) fn readmit<P: Env>(p: &mut P, folio: HugeFolio) {
    if p.with_shelf(folio.hstate, folio.node, |shelf| shelf.readmit(folio)) {
        p.with_pool(folio.hstate, |pool| pool.nodes[folio.node.index()].poisoned -= ONE);
    }
}

/// The broken base pages of a folio that left its pool stay behind; the others go back to the page allocator.
#[doc(alias = "folio_clear_hugetlb_hwpoison")]
#[cold]
pub(crate) fn keep_poisoned<P: Env>(p: &mut P, folio: HugeFolio, order: Order, poison: &RawPoison) {
    if poison.unreliable {
        p.with_memmap(folio.pfn, |map| map.claim(folio.pfn, order, FolioKind::Poisoned));
        return;
    }
    let broken: Vec<Pfn> = poison.pages.iter().map(|&offset| folio.pfn.offset(PageCount::new(offset))).collect();
    keep_broken(p, folio, folio.pfn, order, &broken);
}

/// Halves a block until its parts are sound, and go back, or are the broken pages.
fn keep_broken<P: Env>(p: &mut P, folio: HugeFolio, pfn: Pfn, order: Order, broken: &[Pfn]) {
    if broken.is_empty() {
        let freed = page_alloc::free(p, folio.zone_ref(), pfn, order);
        debug_assert_eq!(freed, Ok(()), "a part of what the page allocator handed out");
        return;
    }
    let Some(half) = order.get().checked_sub(1).map(Order::new) else {
        p.with_memmap(pfn, |map| map.claim(pfn, Order::ZERO, FolioKind::Poisoned));
        return;
    };
    let split = page_alloc::split(p, folio.zone_ref(), pfn, order, half);
    debug_assert_eq!(split, Ok(()), "a part of what the page allocator handed out");
    let middle = pfn.offset(half.pages());
    let (low, high) = broken.split_at(broken.partition_point(|&page| page < middle));
    keep_broken(p, folio, pfn, half, low);
    keep_broken(p, folio, middle, half, high);
}

impl Records {
    /// What a folio is good for.
    #[inline]
    pub(crate) fn condition(&self, folio: HugeFolio) -> Condition {
        if self.is_poisoned(folio.at()) { Condition::Poisoned } else { Condition::Sound }
    }

    /// The folio leaves the pool, and its slot is nobody's: what is known of it.
    #[inline]
    pub(crate) fn leave(&mut self, folio: HugeFolio) -> Option<RawPoison> {
        self.record(folio).pfn = Record::NOWHERE;
        if self.poison.is_empty() { None } else { self.poison.remove(&folio.slot) }
    }

    fn forget_poison(&mut self, folio: HugeFolio, pfn: Pfn) {
        if self.holds(folio)
            && let Some(poison) = self.poison.get_mut(&folio.slot)
        {
            poison.pages.remove(&(pfn.get() - folio.pfn.get()));
            if poison.pages.is_empty() && !poison.unreliable {
                self.poison.remove(&folio.slot);
            }
        }
    }

    /// Is some memory of any of its folios broken?
    #[must_use]
    #[inline]
    pub fn has_poison(&self) -> bool {
        !self.poison.is_empty()
    }

    /// Is some memory of a folio broken?
    #[doc(alias = "folio_test_hwpoison")]
    #[must_use]
    pub fn is_poisoned(&self, at: HugeSlot) -> bool {
        !self.poison.is_empty() && self.poison.contains_key(&at.slot)
    }

    /// The first frame from `pfn` on, inside the folio, that is broken. Of a folio about which nothing is certain any frame may be.
    #[doc(alias = "is_raw_hwpoison_page_in_hugepage")]
    #[must_use]
    pub fn first_broken(&self, folio: HugeFolio, pfn: Pfn) -> Option<Pfn> {
        let poison = self.poison.get(&folio.slot)?;
        if poison.unreliable {
            return Some(pfn);
        }
        let from = pfn.get() - folio.pfn.get();
        poison.pages.range(from..).next().map(|&offset| folio.pfn.offset(PageCount::new(offset)))
    }

    /// Is it known which memory of a folio is broken?
    #[doc(alias = "folio_test_hugetlb_raw_hwp_unreliable")]
    #[must_use]
    pub fn knows_broken(&self, folio: HugeFolio) -> bool {
        self.poison.get(&folio.slot).is_none_or(|poison| !poison.unreliable)
    }

    /// How many base pages of its folios are known to be broken.
    #[must_use]
    pub fn broken(&self) -> PageCount {
        self.poison.values().map(|poison| PageCount::new(poison.pages.len() as u64)).sum()
    }
}
