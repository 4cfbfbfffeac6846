//! Moving a page: its contents, its mappings and all that stands for it.

use hugetlb::{HugeFolio, IsolateError, Isolated, NoTarget, Target};
use memmap::MappedBy;
use units::{Blame, Event, HugeIndex, InodeId, Ledger, Pfn};

use crate::rmap::{alone, places_of};
use crate::{Entry, Env};

/// What became of a page that was to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// There is no huge page.
    NotHuge,
    /// Nobody used it any more: it was given back.
    Freed,
    /// It lies here now.
    Moved {
        /// The first frame of the new one.
        to: Pfn,
    },
}

/// Why a page stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// It cannot be moved now.
    #[error(transparent)]
    Isolate(#[from] IsolateError),
    /// There is nowhere to move to.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// It counts against the limits of a mount and is in no file: private, or on its way out.
    #[error(
        "the page at {0} counts against the limits of a mount and is in no file: private pages of such a mount stay"
    )]
    Truncated(Pfn),
    /// Others than its mappings and its file refer to it.
    #[error("{extra} references to the page at {pfn} are neither of a mapping nor of its file, {pins} of them pins")]
    Referenced {
        /// The page.
        pfn: Pfn,
        /// References that cannot be moved.
        extra: u64,
        /// Pins.
        pins: u32,
    },
}

impl Blame for MigrateError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Isolate(error) => error.ledger(),
            Self::NoTarget(error) => error.ledger(),
            Self::Truncated(_) | Self::Referenced { .. } => Some(Ledger::PinnedFolio),
        }
    }
}

/// Moves the huge page that a frame is a part of.
///
/// # Errors
/// Why it stays; nothing is changed.
#[doc(alias("migrate_pages", "unmap_and_move_huge_page", "migrate_huge_page_move_mapping"))]
pub fn migrate<P: Env>(p: &mut P, pfn: Pfn, target: &Target) -> Result<Migrated, MigrateError> {
    let Some(folio) = hugetlb::folio_of(p, pfn) else { return Ok(Migrated::NotHuge) };
    let isolated = hugetlb::isolate(p, folio)?;
    migrate_isolated(p, isolated, target, |_, _| ())
}

/// As [`migrate`], for a page that is isolated already. `given_up` is told of the old page once nothing stands for it any more, just before
/// it goes.
///
/// # Errors
/// Why it stays; it can be moved by others again.
pub fn migrate_isolated<P: Env>(
    p: &mut P,
    isolated: Isolated,
    target: &Target,
    given_up: impl FnOnce(&mut P, HugeFolio),
) -> Result<Migrated, MigrateError> {
    let from = isolated.folio();
    // Ours may be the last reference; then there is nothing to move.
    if p.with_memmap(from.pfn, |map| map.get(from.pfn).is_none_or(|record| record.refs() == 1)) {
        given_up(p, from);
        hugetlb::put_back(p, isolated);
        return Ok(Migrated::Freed);
    }
    let to = match hugetlb::alloc_target(p, from.hstate, target) {
        Ok(to) => to,
        Err(refusal) => {
            hugetlb::put_back(p, isolated);
            return Err(refusal.into());
        }
    };
    let (inode, index) = isolated.home();
    let moved = alone(p, inode, |p| {
        may_move(p, from, inode, index)?;
        move_page(p, from, to, inode, index);
        Ok(())
    });
    if moved.is_ok() {
        p.emit(|| Event::Migrated { hstate: from.hstate, from: from.pfn, to: to.pfn });
        given_up(p, from);
    }
    hugetlb::put_back(p, isolated);
    // The new page has the references of its mappings and its file by now; one that nobody needs goes.
    hugetlb::put_folio(p, to.pfn, 1);
    moved.map(|()| Migrated::Moved { to: to.pfn })
}

/// Every reference but the mover's must be one that can be moved.
fn may_move<P: Env>(p: &mut P, from: HugeFolio, inode: InodeId, index: HugeIndex) -> Result<(), MigrateError> {
    let cached = p.with_cache(inode, |cache| cache.get(index)).flatten() == Some(from.pfn);
    let found = p.with_memmap(from.pfn, |map| map.get(from.pfn).map(|r| (r.refs(), r.mapcount(), r.pins())));
    let (refs, mapcount, pins) = found.unwrap_or_default();
    let subpool = p.with_records(from.at(), |records| records.subpool_of(from));
    // As on Linux, which cannot tell a private page of such a mount from one that is being taken out of its file.
    if subpool.is_some() && !cached {
        return Err(MigrateError::Truncated(from.pfn));
    }
    let of_cache = if cached { p.hstate(from.hstate).cache_refs() } else { 0 };
    let extra = refs.saturating_sub(1 + u64::from(mapcount) + of_cache);
    if extra > 0 { Err(MigrateError::Referenced { pfn: from.pfn, extra, pins }) } else { Ok(()) }
}

fn move_page<P: Env>(p: &mut P, from: HugeFolio, to: HugeFolio, inode: InodeId, index: HugeIndex) {
    let size = p.hstate(from.hstate).size;
    memmap::copy(p, from.pfn, to.pfn, size.bytes());
    hugetlb::move_state(p, from, to);
    let (dirty, anonymous) = p.with_memmap(from.pfn, |map| {
        let old = map.get(from.pfn).map(|folio| (folio.is_dirty(), folio.is_anonymous()));
        old.unwrap_or_default()
    });
    if dirty {
        p.with_memmap(to.pfn, |map| map.mark_written(to.pfn));
    }
    let by = if anonymous { MappedBy::Anonymous } else { MappedBy::File };
    for (area, addr, entries) in places_of(p, inode, index, from.pfn) {
        p.with_memmap(to.pfn, |map| {
            map.get_refs(to.pfn, entries.into());
            (0..entries).for_each(|_| map.add_mapping(to.pfn, by));
        });
        p.with_memmap(from.pfn, |map| (0..entries).for_each(|_| _ = map.remove_mapping(from.pfn)));
        p.with_table(area.mm, |table| match table.get(addr) {
            Some(entry) => _ = table.set(addr, Entry { pfn: to.pfn, ..entry }),
            None => table.move_pieces(addr, to.pfn),
        });
        hugetlb::put_folio(p, from.pfn, entries.into());
    }
    filemap::replace_in_cache(p, inode, index, from, to);
}
