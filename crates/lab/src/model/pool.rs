//! The counters of the pool of 2 MiB pages, and the rules by which they move.

/// The counters of the pool, signed because a kernel's own may go below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pool {
    /// All pages.
    pub(super) nr: i64,
    /// Free pages.
    pub(super) free: i64,
    /// Pages promised to mappings.
    pub(super) resv: i64,
    /// Pages above the persistent number.
    pub(super) surplus: i64,
    /// How many surplus pages there may be.
    pub(super) overcommit: u64,
    /// How many huge pages an untouched machine gives.
    pub(super) memory: i64,
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// A reservation was made for it.
    Reserved,
    /// None was.
    Unreserved,
}

/// Whether a page that is freed may leave the pool although a reservation needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FreeRule {
    /// It stays where it is needed.
    KeepsPromises,
    /// It leaves whenever there is surplus, as 6.18 has it.
    SurplusFirst,
}

/// How many huge pages 24 GiB give. Each zone keeps its share of four times the root of all memory in kB, low zones besides one page for
/// every 256 above them. What is left is given two at a time, one to who asked and one for the next, who gets it only if the zone is
/// still above its mark: the last one never is.
fn obtainable() -> i64 {
    let zones: [i64; 3] = [4096, (1 << 20) - 4096, 20 << 18];
    let all: i64 = zones.iter().sum();
    let kept = (all * 4 * 16).isqrt() / 4;
    let of_zone = |n: usize| {
        let above: i64 = zones[n + 1..].iter().sum();
        let left = (zones[n] - kept * zones[n] / all - above / 256) / 512;
        (left - 1 + left % 2).max(0)
    };
    (0..zones.len()).map(of_zone).sum()
}

impl Pool {
    pub(super) fn new() -> Self {
        Pool { nr: 0, free: 0, resv: 0, surplus: 0, overcommit: 0, memory: obtainable() }
    }

    fn persistent(&self) -> i64 {
        self.nr - self.surplus
    }

    /// Whether `more` surplus pages can be had.
    fn may_grow_by(&self, more: i64) -> bool {
        let surplus = u64::try_from(self.surplus + more).unwrap_or(0);
        surplus <= self.overcommit && self.nr + more <= self.memory
    }

    /// The administrator's number: surplus pages become persistent, then pages are allocated; or free pages are
    /// freed, and what still is too many becomes surplus.
    pub(super) fn resize(&mut self, target: u64) {
        let target = i64::try_from(target).unwrap_or(i64::MAX);
        let absorbed = self.surplus.min(target - self.persistent()).max(0);
        self.surplus -= absorbed;
        let wanted = (target - self.persistent()).max(0);
        let grown = wanted.min(self.memory - self.nr);
        self.nr += grown;
        self.free += grown;
        // Pages that reservations or users hold are not freed; the surplus part of the free ones does not count.
        let free_persistent = if self.free > self.persistent() { (self.free - self.surplus).max(0) } else { self.free };
        let needed = self.resv + self.persistent() - free_persistent;
        // The kernel computes unsigned: below zero the floor is enormous and nothing is freed.
        let floor = if needed < 0 { i64::MAX } else { needed.max(target) };
        let freed = (self.persistent() - floor).min(self.free).max(0);
        self.nr -= freed;
        self.free -= freed;
        self.surplus += (self.persistent() - target).max(0);
    }

    /// Reserves `pages`: missing ones are allocated as surplus, all or none.
    pub(super) fn reserve(&mut self, pages: i64) -> bool {
        let missing = (self.resv + pages - self.free).max(0);
        if missing > 0 && !self.may_grow_by(missing) {
            return false;
        }
        self.nr += missing;
        self.free += missing;
        self.surplus += missing;
        self.resv += pages;
        if pages > self.free {
            // Only a kernel whose `resv` went below zero promises more than all free pages; it notices here.
            self.unreserve(pages);
            return false;
        }
        true
    }

    /// Gives reservations back; as many free surplus pages leave.
    pub(super) fn unreserve(&mut self, pages: i64) {
        self.resv -= pages;
        let leaving = pages.min(self.surplus).min(self.free).max(0);
        self.nr -= leaving;
        self.free -= leaving;
        self.surplus -= leaving;
    }

    /// Takes one page into use: a free one, which without reservation must be above what is promised, else a new surplus
    /// page.
    pub(super) fn take(&mut self, claim: Claim) -> bool {
        let may_dequeue = claim == Claim::Reserved || self.free > self.resv;
        if may_dequeue && self.free > 0 {
            self.free -= 1;
        } else if self.may_grow_by(1) {
            self.nr += 1;
            self.surplus += 1;
        } else {
            return false;
        }
        if claim == Claim::Reserved {
            self.resv -= 1;
        }
        true
    }

    /// Frees one page that was in use. A page that `restores` gives its reservation back. While there is surplus
    /// the page leaves the pool, unless a promise needs it.
    pub(super) fn put(&mut self, restores: bool, rule: FreeRule) {
        if restores {
            self.resv += 1;
        }
        let not_needed = rule == FreeRule::SurplusFirst || self.free >= self.resv;
        if self.surplus > 0 && not_needed {
            self.nr -= 1;
            self.surplus -= 1;
        } else {
            self.free += 1;
        }
    }

    /// What always holds in a sound machine.
    pub(super) fn is_sound(&self) -> bool {
        0 <= self.resv && self.resv <= self.free && self.free <= self.nr && 0 <= self.surplus && self.surplus <= self.nr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(nr: i64, free: i64, resv: i64, surplus: i64) -> Pool {
        Pool { nr, free, resv, surplus, overcommit: 0, ..Pool::new() }
    }

    #[test]
    fn a_shrink_leaves_used_and_reserved_pages_as_surplus() {
        let mut shrunk = pool(4, 2, 1, 0);
        for (target, expected) in [(0, pool(3, 1, 1, 3)), (2, pool(3, 1, 1, 1)), (3, pool(3, 1, 1, 0))] {
            shrunk.resize(target);
            assert_eq!(shrunk, expected, "set to {target}");
        }
    }

    #[test]
    fn a_restored_reservation_keeps_its_page() {
        let mut sound = pool(4, 2, 2, 2);
        sound.put(true, FreeRule::KeepsPromises);
        assert_eq!(sound, pool(4, 3, 3, 2));
        let mut kernel = pool(4, 2, 2, 2);
        kernel.put(true, FreeRule::SurplusFirst);
        assert_eq!(kernel, pool(3, 2, 3, 1));
    }
}
