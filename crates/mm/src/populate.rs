//! Touching pages ahead of use.

use hugetlbfs::Origin;
use units::{Access, Blame, Bytes, HugeCount, Ledger, MmId, Scope, Vaddr, VaddrRange};

use crate::fault::fault_in_space;
use crate::{Env, FaultError, Prot, Touch, Vma};

/// Why populating stopped; the pages before it stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// Nothing is mapped there.
    #[error("nothing is mapped at {0}")]
    Hole(Vaddr),
    /// The area does not permit the access.
    #[error("the area at {0} does not permit that access")]
    Protection(Vaddr),
    /// The page cannot be had.
    #[error("at {at}: {error}")]
    Fault {
        /// Where.
        at: Vaddr,
        /// Why.
        error: FaultError,
    },
}

impl Blame for PopulateError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Fault { error, .. } => error.ledger(),
            Self::Hole(_) | Self::Protection(_) => None,
        }
    }
}

/// Why a range cannot be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MlockError {
    /// The range ends beyond all numbers.
    #[error("the range at {0} ends beyond all numbers")]
    BadRange(Vaddr),
    /// Nothing is mapped there.
    #[error("nothing is mapped at {0}")]
    Hole(Vaddr),
    /// A page cannot be had.
    #[error(transparent)]
    Populate(#[from] PopulateError),
}

/// How far back a touch counts as progress. A failure after progress is tried once more before it counts, as the first attempt had
/// only cut the progress short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// From the start of the area on: areas are populated one by one.
    InArea,
    /// From the start of the call on.
    InCall,
}

/// Touches every page of `range` that its areas permit.
pub(crate) fn populate<P: Env>(p: &mut P, mm: MmId, origin: &Origin, range: VaddrRange) -> Result<(), PopulateError> {
    populate_with(p, mm, origin, range, Progress::InArea, |vma| {
        // A shared page needs no private copy, so reading it in will do.
        Some(if vma.prot.contains(Prot::WRITE) && !vma.is_shared() { Touch::Write } else { Touch::Read })
    })
}

/// As [`populate`], with the access that `touch` chooses for each area; it may refuse one.
pub(crate) fn populate_with<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    range: VaddrRange,
    counts: Progress,
    touch: impl Fn(&Vma) -> Option<Touch>,
) -> Result<(), PopulateError> {
    let mut at = range.start;
    let mut progress = None;
    while at < range.end {
        let found = p.with_vmas(mm, |vmas| vmas.find(at).copied()).flatten();
        let vma = found.ok_or(PopulateError::Hole(at))?;
        let touch = touch(&vma).ok_or(PopulateError::Protection(at))?;
        let mut done = fault_in_space(p, mm, origin, at, touch);
        if done.is_err() && progress.is_some_and(|area| counts == Progress::InCall || area == vma.id) {
            done = fault_in_space(p, mm, origin, at, touch);
        }
        match done {
            Ok(_) => progress = Some(vma.id),
            Err(FaultError::Protection(at) | FaultError::ExecuteOnly(at)) => return Err(PopulateError::Protection(at)),
            Err(error) => return Err(PopulateError::Fault { at, error }),
        }
        at = at.align_down(vma.size.bytes()) + vma.size.total(HugeCount::new(1));
    }
    Ok(())
}

/// Locks a range: huge pages are never swapped, so this only touches them.
///
/// # Errors
/// A bad range, a hole, or a page that cannot be had; pages touched before stay.
#[doc(alias = "do_mlock")]
pub fn mlock<P: Env>(p: &mut P, mm: MmId, origin: &Origin, start: Vaddr, len: Bytes) -> Result<(), MlockError> {
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| {
        let range = lock_range(p, mm, start, len)?;
        Ok(populate(p, mm, origin, range)?)
    })
}

/// Unlocks a range, which changes nothing.
///
/// # Errors
/// A bad range or a hole.
pub fn munlock<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes) -> Result<(), MlockError> {
    p.scope(Scope::AddressSpace(mm, Access::Write), |p| lock_range(p, mm, start, len).map(|_| ()))
}

fn lock_range<P: Env>(p: &mut P, mm: MmId, start: Vaddr, len: Bytes) -> Result<VaddrRange, MlockError> {
    let base = p.page_shift().bytes();
    let from = start.align_down(base);
    let len = len.checked_add(start.since(from)).ok_or(MlockError::BadRange(start))?;
    let range = p.page_range(from, len).ok_or(MlockError::BadRange(start))?;
    match first_hole(p, mm, range) {
        Some(hole) => Err(MlockError::Hole(hole)),
        None => Ok(range),
    }
}

/// The first address of `range` where nothing is mapped.
pub(crate) fn first_hole<P: Env>(p: &mut P, mm: MmId, range: VaddrRange) -> Option<Vaddr> {
    p.with_vmas(mm, |vmas| {
        let mut at = range.start;
        for vma in vmas.over(range) {
            if at < vma.range.start {
                break;
            }
            at = vma.range.end;
        }
        (at < range.end).then_some(at)
    })
    .unwrap_or(Some(range.start))
}
