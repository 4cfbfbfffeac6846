//! What is put off where nobody may wait.
//!
//! A page whose last reference is dropped in an interrupt comes back to its pool at once: every counter changes then and there. Only giving
//! back the memory of one that leaves its pool may have to wait, since a page that shares descriptors needs memory for its own ones first.
//! Until [`quiesce`] has done that it is neither a huge page nor free. Whoever needs its frames, or resizes its pool, works all of it off
//! first.

use alloc_crate::collections::VecDeque;
use alloc_crate::string::String;

use memmap::FolioKind;
use units::{Context, Event, Pfn, Scope};

use crate::pool::ONE;
use crate::restructure::gather;
use crate::surplus::{Gone, destroy_folio};
use crate::{Env, Hstate, HugeFolio};

/// One piece of work that somebody who may wait has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Deferred {
    /// Give the memory of a page back that its pool does not count any more.
    Destroy(HugeFolio),
    /// Put a page together that was split and all of whose pieces wait.
    #[doc(alias = "page_released")]
    Gather(HugeFolio),
}

impl Deferred {
    /// The first frame of what it is about.
    #[must_use]
    pub const fn pfn(self) -> Pfn {
        match self {
            Self::Destroy(folio) | Self::Gather(folio) => folio.pfn,
        }
    }
}

/// All work that was put off, in the order in which it was.
#[doc(alias("hpage_freelist", "free_hpage_work"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct DeferredWork {
    queue: VecDeque<Deferred>,
}

impl DeferredWork {
    /// Nothing to do.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: VecDeque::new() }
    }

    /// What is to be done, in order.
    pub fn iter(&self) -> impl Iterator<Item = Deferred> {
        self.queue.iter().copied()
    }

    /// Is there nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn put(&mut self, work: Deferred) {
        self.queue.push_back(work);
    }

    fn first(&self) -> Option<Deferred> {
        self.queue.front().copied()
    }

    fn has(&self, work: Deferred) -> bool {
        self.queue.contains(&work)
    }

    fn done(&mut self, work: Deferred) {
        if let Some(place) = self.queue.iter().position(|&one| one == work) {
            self.queue.remove(place);
        }
    }

    /// Nothing is put off twice.
    ///
    /// # Errors
    /// What is.
    pub fn validate(&self) -> Result<(), String> {
        let mut frames: alloc_crate::vec::Vec<Pfn> = self.iter().map(Deferred::pfn).collect();
        frames.sort_unstable();
        match frames.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(alloc_crate::format!("{} waits twice", two[0])),
            None => Ok(()),
        }
    }
}

/// Does all that was put off, and what is put off meanwhile. Where another thread is at some of it, waits until that is done.
#[doc(alias("flush_free_hpage_work", "wait_for_freed_hugetlb_folios", "free_hpage_workfn"))]
pub fn quiesce<P: Env>(p: &mut P) {
    while let Some(work) = p.with_deferred(|deferred| deferred.first()) {
        p.scope(Scope::Folio(work.pfn()), |p| {
            // It stays in the queue until it is done, so that whoever finds the queue empty finds everything done.
            if p.with_deferred(|deferred| deferred.has(work)) {
                work_off(p, work);
                p.with_deferred(|deferred| deferred.done(work));
            }
        });
    }
}

/// Does all that was put off, if the folio of a frame waits for it.
pub fn settle<P: Env>(p: &mut P, pfn: Pfn) {
    let waits = |(_, folio): (Pfn, &memmap::Folio)| matches!(folio.kind, FolioKind::Leaving(_));
    if p.with_memmap(pfn, |map| map.find(pfn).is_some_and(waits)) {
        quiesce(p);
    }
}

fn work_off<P: Env>(p: &mut P, work: Deferred) {
    match work {
        Deferred::Destroy(folio) => {
            p.with_pool(folio.hstate, |pool| pool.leaving -= ONE);
            p.with_memmap(folio.pfn, |map| map.set_kind(folio.pfn, FolioKind::Huge(folio.at())));
            let h = p.hstate(folio.hstate);
            let (Gone::Yes | Gone::No) = destroy_folio(p, h, folio);
        }
        Deferred::Gather(folio) => gather(p, folio),
    }
}

/// As [`destroy_folio`], where perhaps nobody may wait.
#[doc(alias = "update_and_free_hugetlb_folio")]
#[inline]
pub(crate) fn destroy_in<P: Env>(p: &mut P, hstate: Hstate, folio: HugeFolio, context: Context) -> Gone {
    if context == Context::Atomic && p.with_vmemmap(|vmemmap| vmemmap.is_optimised(folio.pfn)) {
        put_off(p, folio);
        return Gone::Yes;
    }
    destroy_folio(p, hstate, folio)
}

#[cold]
fn put_off<P: Env>(p: &mut P, folio: HugeFolio) {
    p.with_pool(folio.hstate, |pool| pool.leaving += ONE);
    p.with_memmap(folio.pfn, |map| map.set_kind(folio.pfn, FolioKind::Leaving(folio.at())));
    p.with_deferred(|deferred| deferred.put(Deferred::Destroy(folio)));
    p.emit(|| Event::PutOff { hstate: folio.hstate, folio: folio.pfn });
}
