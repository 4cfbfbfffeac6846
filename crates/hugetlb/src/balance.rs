//! The counters of a pool that decide about a request, as numbers, and the rules over them. Whoever predicts what a pool will
//! answer asks the same rules as the pool itself.

use units::HugeCount;

use crate::SurplusRefusal;

/// On whose account a free page is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// One of the reserved ones; spends the reservation.
    Reserved,
    /// One that nobody has reserved.
    Available,
}

/// What a pool has, and what it may still make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Free pages, reserved ones included.
    pub free: HugeCount,
    /// Reserved pages.
    pub resv: HugeCount,
    /// Pages beyond the persistent ones.
    pub surplus: HugeCount,
    /// How many surplus pages new allocations may reach.
    pub overcommit: HugeCount,
}

impl Balance {
    /// Surplus pages that have to be made before `count` more pages can be reserved.
    #[must_use]
    #[inline]
    pub const fn shortfall(self, count: HugeCount) -> HugeCount {
        self.resv.saturating_add(count).saturating_sub(self.free)
    }

    /// How many more surplus pages the cap permits.
    ///
    /// # Errors
    /// It permits none.
    #[inline]
    pub fn surplus_room(self) -> Result<HugeCount, SurplusRefusal> {
        let room = self.overcommit.saturating_sub(self.surplus);
        if room.is_zero() {
            return Err(SurplusRefusal::Overcommit { surplus: self.surplus, limit: self.overcommit });
        }
        Ok(room)
    }

    /// How many pages in a row can be claimed from a node that has `free` free ones.
    #[must_use]
    #[inline]
    pub fn claimable(self, free: HugeCount, claim: Claim) -> HugeCount {
        let on_account = match claim {
            Claim::Reserved => self.resv,
            Claim::Available => self.free.saturating_sub(self.resv),
        };
        on_account.min(free)
    }
}
