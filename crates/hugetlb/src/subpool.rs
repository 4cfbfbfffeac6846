//! The accounting of one mount with limits.
//!
//! A maximum caps the pages that files of the mount hold or reserve. A minimum is a reservation made at mount time; `rsv` is the
//! part of it not handed out. [`Subpool::take`] and [`Subpool::give_back`] return the net change of *global* reservations,
//! which the caller applies in one ledger section.

use charge::{Counter, Receipt};
use units::{Blame, Event, HstateId, HugeCount, Ledger, MountLimits, MountReturn, SubpoolId};

use crate::{Allotment, Env, acct_release};

/// Counters of a mount that was given `size=` or `min_size=`.
#[doc(alias = "hugepage_subpool")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Subpool {
    pub(crate) max: Option<HugeCount>,
    pub(crate) min: HugeCount,
    pub(crate) used: HugeCount,
    pub(crate) rsv: HugeCount,
    /// Whose they are, if not a mount's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) owner: Option<Allotment>,
    /// Pages that are on their way back: these limits have them, and the pool does not yet. None at rest.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) returning: u32,
    /// The mount is gone, and pages of it are not.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) ended: bool,
}

/// The mount's maximum refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mount allows {max}; {} are used and {} more were asked for", .used.get(), .asked.get())]
pub struct SubpoolFull {
    /// The maximum.
    pub max: HugeCount,
    /// Used at that moment.
    pub used: HugeCount,
    /// Asked for.
    pub asked: HugeCount,
}

impl Blame for SubpoolFull {
    fn ledger(&self) -> Option<Ledger> {
        Some(Ledger::Subpool)
    }
}

impl Subpool {
    /// A subpool whose minimum, if any, has just been reserved.
    #[must_use]
    pub const fn new(max: Option<HugeCount>, min: HugeCount) -> Self {
        Self { max, min, used: HugeCount::ZERO, rsv: min, owner: None, ended: false, returning: 0 }
    }

    /// A subpool as it looks from outside, where the part of the minimum that is not handed out does not show: what use leaves
    /// of it.
    #[must_use]
    pub const fn seen(max: Option<HugeCount>, min: HugeCount, used: HugeCount) -> Self {
        Self { max, min, used, rsv: min.saturating_sub(used), owner: None, ended: false, returning: 0 }
    }

    /// The maximum.
    #[must_use]
    pub const fn max(&self) -> Option<HugeCount> {
        self.max
    }

    /// The minimum.
    #[must_use]
    pub const fn min(&self) -> HugeCount {
        self.min
    }

    /// Pages held or reserved; tracked only where there is a maximum.
    #[must_use]
    pub const fn used(&self) -> HugeCount {
        self.used
    }

    /// The part of the minimum that is not handed out: so many global reservations belong to the mount itself.
    #[must_use]
    pub const fn rsv(&self) -> HugeCount {
        self.rsv
    }

    /// How many more pages the maximum permits.
    ///
    /// # Errors
    /// Fewer than `asked`.
    #[inline]
    pub fn room(&self, asked: HugeCount) -> Result<HugeCount, SubpoolFull> {
        let Some(max) = self.max else { return Ok(HugeCount::MAX) };
        let (used, room) = (self.used, max.saturating_sub(self.used));
        if asked > room { Err(SubpoolFull { max, used, asked }) } else { Ok(room) }
    }

    /// Takes `n` pages; returns how many global reservations the caller has to find for them.
    ///
    /// # Errors
    /// The maximum would be exceeded; nothing is changed.
    #[doc(alias = "hugepage_subpool_get_pages")]
    pub fn take(&mut self, n: HugeCount) -> Result<HugeCount, SubpoolFull> {
        self.room(n)?;
        if self.max.is_some() {
            self.used += n;
        }
        let covered = self.rsv.min(n);
        self.rsv -= covered;
        Ok(n - covered)
    }

    /// Gives `n` pages back, `held` of which own a global reservation; returns how many global reservations to release. The
    /// rest has refilled the minimum.
    #[doc(alias = "hugepage_subpool_put_pages")]
    pub fn give_back(&mut self, n: HugeCount, held: HugeCount) -> HugeCount {
        if self.max.is_some() {
            self.used = self.used.saturating_sub(n);
        }
        if self.max.is_some() && self.used >= self.min {
            return held;
        }
        let refilled = (self.rsv + held).min(self.min).max(self.rsv);
        let released = self.rsv + held - refilled;
        self.rsv = refilled;
        released
    }

    /// Is its mount gone? Then it lasts until the last page of the mount is free.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Has every page of it come back?
    #[doc(alias = "subpool_is_free")]
    fn is_whole(&self) -> bool {
        if self.max.is_some() { self.used.is_zero() } else { self.rsv == self.min }
    }

    /// Every place where it names something.
    pub fn names(&mut self) -> alloc_crate::vec::Vec<units::Name<'_>> {
        let payer = self.owner.as_mut().and_then(|owner| owner.payer.as_mut());
        payer.map(units::Name::from).into_iter().collect()
    }

    /// Is it over with them? Says so once.
    fn take_ended(&mut self) -> bool {
        let over = self.ended && self.returning == 0 && self.is_whole();
        self.ended &= !over;
        over
    }
}

/// Pages that go back to a mount's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Return {
    pub(crate) pages: HugeCount,
    /// How many of them own a global reservation.
    pub(crate) held: HugeCount,
    pub(crate) why: MountReturn,
}

/// Gives pages back to a mount's limits; returns how many global reservations to release, or nothing where the limits are gone.
pub(crate) fn put_pages<P: Env>(p: &mut P, hstate: HstateId, id: SubpoolId, back: Return) -> Option<HugeCount> {
    let Return { pages, held, why } = back;
    let (released, limits) = p.with_subpool(id, |s| {
        let limits = MountLimits { subpool: id, max: s.max, min: s.min, used: s.used, rsv: s.rsv };
        (s.give_back(pages, held), limits)
    })?;
    p.emit(|| Event::MountGotBack { hstate, limits, pages, held, why });
    Some(released)
}

/// As [`put_pages`], and releases the global reservations that this sets free.
pub(crate) fn give_back<P: Env>(p: &mut P, hstate: HstateId, id: SubpoolId, back: Return) {
    if let Some(released) = put_pages(p, hstate, id, back) {
        acct_release(p, hstate, released);
        release_ended(p, hstate, id);
    }
}

/// The mount is gone. Its limits go too, and its minimum is no longer reserved: at once, or with the last page that somebody keeps.
#[doc(alias = "hugepage_put_subpool")]
pub fn end_subpool<P: Env>(p: &mut P, hstate: HstateId, id: SubpoolId) {
    p.with_subpool(id, |subpool| subpool.ended = true);
    release_ended(p, hstate, id);
}

/// A page goes back to limits. Until it is in its pool they do not end: what they would release is not there yet.
#[inline]
pub(crate) fn begin_return<P: Env>(p: &mut P, id: SubpoolId) {
    p.with_subpool(id, |subpool| subpool.returning += 1);
}

/// It is there.
#[inline]
pub(crate) fn end_return<P: Env>(p: &mut P, hstate: HstateId, id: SubpoolId) {
    p.with_subpool(id, |subpool| subpool.returning -= 1);
    release_ended(p, hstate, id);
}

/// Limits of somebody who is gone, and whose last page has come back. All of that is looked at in one section, so they end once.
#[doc(alias = "unlock_or_release_subpool")]
#[inline]
fn release_ended<P: Env>(p: &mut P, hstate: HstateId, id: SubpoolId) {
    if p.with_subpool(id, Subpool::take_ended) == Some(true)
        && let Some(Subpool { rsv, min, owner, .. }) = p.drop_subpool(id)
    {
        p.emit(|| Event::MountEnded { hstate, subpool: id, rsv });
        acct_release(p, hstate, rsv);
        if let Some(payer) = owner.and_then(|owner| owner.payer) {
            let counter = Counter::Rsvd(hstate);
            p.with_charges(|c| c.uncharge(Receipt { owner: Some(payer), counter, pages: min }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn n(n: u64) -> HugeCount {
        HugeCount::new(n)
    }

    #[test]
    fn the_minimum_is_handed_out_first_and_refilled_last() {
        let mut pool = Subpool::new(Some(n(4)), n(2));
        assert_eq!(pool.take(n(3)), Ok(n(1)));
        assert_eq!(pool.take(n(2)), Err(SubpoolFull { max: n(4), used: n(3), asked: n(2) }));
        assert_eq!((pool.give_back(n(1), n(1)), pool.rsv()), (n(1), n(0)));
        assert_eq!((pool.give_back(n(2), n(2)), pool.rsv()), (n(0), n(2)));
    }

    #[test]
    fn a_failed_reservation_leaves_the_minimum_as_it_was() {
        let mut pool = Subpool::new(Some(n(4)), n(2));
        let global = pool.take(n(4)).unwrap();
        assert_eq!((pool.give_back(n(4), n(4) - global), pool), (n(0), Subpool::new(Some(n(4)), n(2))));
    }

    #[test]
    fn a_minimum_alone_does_not_track_use() {
        let mut pool = Subpool::new(None, n(2));
        assert_eq!((pool.take(n(4)), pool.rsv()), (Ok(n(2)), n(0)));
        assert_eq!((pool.give_back(n(1), n(1)), pool.rsv()), (n(0), n(1)));
    }
}
