//! Huge pages that somebody is about to move.

use memmap::FolioKind;
use units::{Blame, HugeIndex, InodeId, Ledger, Pfn};

use crate::{Env, HugeFolio};

/// Why a page cannot be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsolateError {
    /// It is free, or still on its way to where it will be mapped.
    #[error("the page at {0} is neither mapped nor cached")]
    NotInstalled(Pfn),
    /// Somebody else is moving it; or it was made to take the place of one that moved and stayed on its node, and stays where it is.
    #[error("the page at {0} is being moved, or was made for a move on its own node and stays there")]
    Isolated(Pfn),
    /// Its memory is broken.
    #[error("the page at {0} has broken memory")]
    Poisoned(Pfn),
}

impl Blame for IsolateError {
    fn ledger(&self) -> Option<Ledger> {
        Some(Ledger::PinnedFolio)
    }
}

/// A folio that nobody else moves, and a reference to it. [`put_back`] ends both.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Isolated {
    folio: HugeFolio,
    home: (InodeId, HugeIndex),
}

impl Isolated {
    /// The folio.
    #[must_use]
    pub const fn folio(&self) -> HugeFolio {
        self.folio
    }

    /// The file and index at which it is mapped or cached.
    #[doc(alias("folio_mapping", "folio_index"))]
    #[must_use]
    pub const fn home(&self) -> (InodeId, HugeIndex) {
        self.home
    }
}

/// Takes a reference to a folio that is in use, to move it.
///
/// # Errors
/// It cannot be moved now; nothing is changed.
#[doc(alias("folio_isolate_hugetlb", "isolate_hugetlb"))]
pub fn isolate<P: Env>(p: &mut P, folio: HugeFolio) -> Result<Isolated, IsolateError> {
    let home = p.with_records(folio.at(), |records| {
        if !records.holds(folio) {
            return Err(IsolateError::NotInstalled(folio.pfn));
        }
        if records.is_poisoned(folio.at()) {
            return Err(IsolateError::Poisoned(folio.pfn));
        }
        let record = records.record(folio);
        let home = record.home.ok_or(IsolateError::NotInstalled(folio.pfn))?;
        if record.isolated {
            return Err(IsolateError::Isolated(folio.pfn));
        }
        record.isolated = true;
        Ok(home)
    })?;
    if !take_reference(p, folio) {
        // The mark may have gone with the folio, and its slot be another one's.
        p.with_records(folio.at(), |records| {
            if records.holds(folio) {
                records.record(folio).isolated = false;
            }
        });
        return Err(IsolateError::NotInstalled(folio.pfn));
    }
    Ok(Isolated { folio, home })
}

/// Takes a reference to a folio if there is one already. Its frames may be somebody else's by now.
#[doc(alias = "folio_try_get")]
pub fn take_reference<P: Env>(p: &mut P, folio: HugeFolio) -> bool {
    p.with_memmap(folio.pfn, |map| {
        let in_use =
            map.get(folio.pfn).is_some_and(|there| there.kind == FolioKind::Huge(folio.at()) && there.refs() > 0);
        if in_use {
            map.get_refs(folio.pfn, 1);
        }
        in_use
    })
}

/// Lets others move the folio again, and drops the reference.
#[doc(alias = "folio_putback_hugetlb")]
pub fn put_back<P: Env>(p: &mut P, isolated: Isolated) {
    let Isolated { folio, .. } = isolated;
    p.with_records(folio.at(), |records| records.record(folio).isolated = false);
    crate::put_folio(p, folio.pfn, 1);
}
