//! Broken memory under huge pages.

use alloc::vec::Vec;

use hugetlb::{DissolveError, Found, HugeFolio, Target, UnpoisonError};
use memmap::{MappedBy, TooManyRefs};
use units::{Blame, Bytes, Ledger, MmId, PageCount, Pfn, Scope, Site, Vaddr};

use crate::migrate::{MigrateError, Migrated, migrate_isolated};
use crate::rmap::{alone, places_of};
use crate::{Env, VmaFlags};

/// When somebody hears that memory of his broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warned {
    /// Not until he accesses it again.
    ByAccess,
    /// At once, since it was his access that broke it: he cannot go on (`BUS_MCEERR_AR`).
    Required,
    /// At once, as he may do something about it (`BUS_MCEERR_AO`).
    Optional,
}

/// Somebody who had a broken page mapped. His next access ends in a signal, whether he was told before or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The address space.
    pub mm: MmId,
    /// Start of the page there.
    pub addr: Vaddr,
    /// How much of it he lost: the huge page, or the base page where pages may be mapped in pieces.
    #[doc(alias = "si_addr_lsb")]
    pub size: Bytes,
    /// When he hears of it.
    pub warned: Warned,
}

/// What became of a huge page one of whose base pages broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// There is no huge page at that frame.
    NotHuge,
    /// It was known already, or another page of the same folio was.
    Known,
    /// It was free, and is ordinary memory now, without the broken page.
    Dissolved,
    /// It is free and stays in its pool, where nobody gets it.
    Kept(DissolveError),
    /// Its file still has it; whoever touches it gets a signal. It counts as used for ever, after the file too.
    Cached,
    /// Somebody still refers to it, without a mapping: it is poisoned when it comes back.
    Referenced,
}

/// The account of one failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFailure {
    /// What became of the page.
    pub outcome: Failed,
    /// Who had it mapped.
    pub victims: Vec<Victim>,
}

/// A base page broke: nobody is to use it again. A free huge page is dissolved around it; one in use is unmapped everywhere, but where pages may be
/// mapped in pieces the base page alone is. If something was lost with it, `tell` says when those who had it mapped hear of that; what was never written can be read again from where it came.
#[doc(alias("try_memory_failure_hugetlb", "me_huge_page"))]
pub fn memory_failure<P: Env>(p: &mut P, pfn: Pfn, tell: impl Fn(MmId) -> Warned) -> MemoryFailure {
    hugetlb::settle(p, pfn);
    let failed = while_it_is_whole(p, pfn, |p, folio| fail(p, (folio, pfn), tell));
    failed.flatten().unwrap_or(MemoryFailure { outcome: Failed::NotHuge, victims: Vec::new() })
}

/// Runs `f` with the huge page around `pfn`, which nobody splits or gives up meanwhile to make his pool smaller. Nothing where there is none.
fn while_it_is_whole<P: Env, R>(p: &mut P, pfn: Pfn, f: impl FnOnce(&mut P, HugeFolio) -> R) -> Option<R> {
    let mut f = Some(f);
    loop {
        let hstate = hugetlb::folio_of(p, pfn)?.hstate;
        let size = p.hstate(hstate).size;
        let done = p.scope(Scope::Resize(size), |p| {
            let folio = hugetlb::folio_of(p, pfn).filter(|folio| folio.hstate == hstate)?;
            f.take().map(|f| f(p, folio))
        });
        if done.is_some() {
            return done;
        }
    }
}

/// Nothing where the huge page left its pool before that was written down.
fn fail<P: Env>(p: &mut P, (folio, pfn): (HugeFolio, Pfn), tell: impl Fn(MmId) -> Warned) -> Option<MemoryFailure> {
    let without_victims = |outcome| Some(MemoryFailure { outcome, victims: Vec::new() });
    let known = hugetlb::record_poison(p, folio, pfn)?;
    // A reference, so that it is not given back before all is done.
    let mut in_use = hugetlb::take_reference(p, folio);
    if known != Found::Sound {
        // In pieces it may have been mapped still.
        let taken = if in_use && known == Found::OtherPage { unmap_poisoned(p, (folio, pfn), tell) } else { None };
        if in_use {
            hugetlb::put_folio(p, folio.pfn, 1);
        }
        let outcome = if taken.is_some() { Failed::Cached } else { Failed::Known };
        return Some(MemoryFailure { outcome, victims: taken.unwrap_or_default() });
    }
    if !in_use && hugetlb::set_aside(p, folio) {
        return without_victims(dissolve(p, folio));
    }
    // Somebody may have taken it from its shelf just now.
    in_use = in_use || hugetlb::take_reference(p, folio);
    if !in_use {
        return without_victims(Failed::Referenced);
    }
    let victims = unmap_poisoned(p, (folio, pfn), tell).unwrap_or_default();
    let outcome = let_go(p, folio);
    Some(MemoryFailure { outcome, victims })
}

fn dissolve<P: Env>(p: &mut P, folio: HugeFolio) -> Failed {
    match hugetlb::dissolve(p, folio.pfn) {
        Ok(_) => Failed::Dissolved,
        Err(DissolveError::InUse { .. }) => Failed::Referenced,
        Err(error) => Failed::Kept(error),
    }
}

/// Takes a folio out of every address space and leaves a note that its memory is broken; of one that may be mapped in pieces, the base page `pfn`.
/// Nothing where nobody had it mapped.
#[doc(alias = "hwpoison_user_mappings")]
fn unmap_poisoned<P: Env>(
    p: &mut P,
    (folio, pfn): (HugeFolio, Pfn),
    tell: impl Fn(MmId) -> Warned,
) -> Option<Vec<Victim>> {
    let (home, certain) = p.with_records(folio.at(), |records| (records.home(folio), records.knows_broken(folio)));
    let (inode, index) = home?;
    let dirty = p.with_memmap(folio.pfn, |map| map.get(folio.pfn).is_some_and(memmap::Folio::is_dirty));
    let warned = |mm| if dirty { tell(mm) } else { Warned::ByAccess };
    let offset = p.page_shift().total(PageCount::new(pfn.get() - folio.pfn.get()));
    let victims = alone(p, inode, |p| {
        let mut victims = Vec::new();
        for (area, addr, entries) in places_of(p, inode, index, folio.pfn) {
            let in_pieces = certain && may_be_in_pieces(p, area.mm, addr);
            let (addr, size) =
                match if in_pieces { take_part(p, area.mm, (addr, folio), offset) } else { Part::NotTaken } {
                    Part::Taken => (addr + offset, p.page_shift().bytes()),
                    Part::NotMapped => continue,
                    Part::NotTaken => {
                        p.with_table(area.mm, |table| table.poison(addr));
                        drop_mappings(p, folio, entries);
                        (addr, p.hstate(folio.hstate).size.bytes())
                    }
                };
            victims.push(Victim { mm: area.mm, addr, size, warned: warned(area.mm) });
        }
        victims
    });
    (!victims.is_empty()).then_some(victims)
}

fn may_be_in_pieces<P: Env>(p: &mut P, mm: MmId, addr: Vaddr) -> bool {
    p.with_vmas(mm, |vmas| vmas.find(addr).is_some_and(|vma| vma.flags.contains(VmaFlags::PIECES))) == Some(true)
}

/// What became of a base page that was to be taken out of a page.
enum Part {
    /// It was mapped.
    Taken,
    /// It was not.
    NotMapped,
    /// It cannot be taken out alone.
    NotTaken,
}

/// Takes a base page out of the place of a folio, which is divided for that.
#[doc(alias = "hugetlb_split_to_shift")]
fn take_part<P: Env>(p: &mut P, mm: MmId, (addr, folio): (Vaddr, HugeFolio), offset: Bytes) -> Part {
    let size = p.hstate(folio.hstate).size;
    let Some(piece) = p.with_table(mm, |table| table.piece_at(addr, size, offset)) else { return Part::NotMapped };
    if !piece.state.is_page() {
        return Part::NotMapped;
    }
    if piece.size > p.page_shift().bytes() && p.refused(Site::TablePage) {
        return Part::NotTaken;
    }
    let paging = p.paging();
    // Nobody looks now, so they may be divided before it is known whether so many references can be had. If not, all of the page goes.
    let Some(taken) = p.with_table(mm, |table| table.poison_part(paging, addr, offset)).flatten() else {
        return Part::NotTaken;
    };
    let more = taken.after.saturating_sub(taken.before);
    let refused = p.with_memmap(folio.pfn, |map| {
        map.try_get_refs(folio.pfn, more.into())?;
        (0..more).for_each(|_| map.add_mapping(folio.pfn, MappedBy::File));
        Ok::<_, TooManyRefs>(())
    });
    if refused.is_err() {
        return Part::NotTaken;
    }
    drop_mappings(p, folio, taken.before.saturating_sub(taken.after));
    Part::Taken
}

fn drop_mappings<P: Env>(p: &mut P, folio: HugeFolio, entries: u32) {
    p.with_memmap(folio.pfn, |map| (0..entries).for_each(|_| _ = map.remove_mapping(folio.pfn)));
    if entries > 0 {
        hugetlb::put_folio(p, folio.pfn, entries.into());
    }
}

/// Ends the reference that a failure held: what nobody else has is dissolved. A file's page is kept by it for good, so that it never comes
/// back from the file to be of use.
fn let_go<P: Env>(p: &mut P, folio: HugeFolio) -> Failed {
    let home = p.with_records(folio.at(), |records| records.home(folio));
    let cached =
        home.is_some_and(|(inode, index)| p.with_cache(inode, |cache| cache.get(index)).flatten() == Some(folio.pfn));
    if cached {
        p.with_memmap(folio.pfn, |map| map.keep(folio.pfn));
        return Failed::Cached;
    }
    let left = p.with_memmap(folio.pfn, |map| map.get(folio.pfn).map_or(0, memmap::Folio::refs)).saturating_sub(1);
    hugetlb::put_folio(p, folio.pfn, 1);
    // Surplus pages have left with their last reference.
    if left == 0 { dissolve(p, folio) } else { Failed::Referenced }
}

/// Trusts a page again.
///
/// # Errors
/// It is not marked as broken, or its huge page is in use or cannot be trusted.
#[doc(alias = "unpoison_memory")]
pub fn unpoison<P: Env>(p: &mut P, pfn: Pfn) -> Result<(), UnpoisonError> {
    hugetlb::settle(p, pfn);
    // Whoever is writing down that it broke is done before that, or begins after it.
    while_it_is_whole(p, pfn, |p, folio| hugetlb::unpoison_folio(p, folio, pfn))
        .unwrap_or_else(|| hugetlb::unpoison_ordinary(p, pfn))
}

/// What became of a page that is to be used no longer, before it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftOfflined {
    /// There is no huge page at that frame.
    NotHuge,
    /// It is known to be broken: nothing was left to do.
    Known,
    /// Its huge page was free.
    Dissolved,
    /// Its huge page was moved first.
    Moved {
        /// Where to: first frame.
        to: Pfn,
    },
}

/// Why a page is still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SoftOfflineError {
    /// Its huge page cannot be moved.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// Its huge page is free, and cannot leave its pool.
    #[error(transparent)]
    Dissolve(#[from] DissolveError),
}

impl Blame for SoftOfflineError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Migrate(error) => error.ledger(),
            Self::Dissolve(error) => error.ledger(),
        }
    }
}

/// Takes a base page that still works out of use: moves its huge page if somebody has it, and dissolves it.
///
/// # Errors
/// Why it stays in use. If its huge page moved before that, it did.
#[doc(alias("soft_offline_page", "soft_offline_in_use_page", "page_handle_poison"))]
pub fn soft_offline<P: Env>(p: &mut P, pfn: Pfn, target: &Target) -> Result<SoftOfflined, SoftOfflineError> {
    hugetlb::settle(p, pfn);
    let free = while_it_is_whole(p, pfn, |p, folio| {
        if p.with_records(folio.at(), |records| records.is_poisoned(folio.at())) {
            return Ok(Ok(SoftOfflined::Known));
        }
        if p.with_memmap(folio.pfn, |map| map.get(folio.pfn).is_some_and(|record| record.refs() > 0)) {
            return Err(folio);
        }
        if hugetlb::mark_poison(p, folio, pfn).is_none() {
            return Ok(Ok(SoftOfflined::NotHuge));
        }
        hugetlb::set_aside(p, folio);
        Ok(offline_free(p, pfn))
    });
    match free {
        None => Ok(SoftOfflined::NotHuge),
        Some(Ok(done)) => done,
        Some(Err(in_use)) => offline_used(p, in_use, pfn, target),
    }
}

/// Moves a page that somebody uses, and then it is free.
fn offline_used<P: Env>(
    p: &mut P,
    folio: HugeFolio,
    pfn: Pfn,
    target: &Target,
) -> Result<SoftOfflined, SoftOfflineError> {
    let isolated = hugetlb::isolate(p, folio).map_err(MigrateError::from)?;
    let given_up = |p: &mut P, folio| _ = hugetlb::mark_poison(p, folio, pfn);
    let moved = migrate_isolated(p, isolated, target, given_up)?;
    // A page that was made for the move took the old one's place, which has left the pool.
    let rest = while_it_is_whole(p, pfn, |p, _| offline_free(p, pfn)).unwrap_or(Ok(SoftOfflined::Dissolved));
    match moved {
        Migrated::Moved { to } => rest.map(|_| SoftOfflined::Moved { to }),
        Migrated::NotHuge | Migrated::Freed => rest,
    }
}

/// Dissolves the free huge page around a page that is marked already. If that cannot be, the mark goes.
fn offline_free<P: Env>(p: &mut P, pfn: Pfn) -> Result<SoftOfflined, SoftOfflineError> {
    let Some(folio) = hugetlb::folio_of(p, pfn) else { return Ok(SoftOfflined::Dissolved) };
    match hugetlb::dissolve(p, pfn) {
        Ok(_) => Ok(SoftOfflined::Dissolved),
        Err(error) => {
            hugetlb::spare(p, folio, pfn);
            Err(error.into())
        }
    }
}
