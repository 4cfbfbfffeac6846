//! Which attempts fail.

use std::panic::Location;

use units::Site;

/// Makes named sites fail, so that every error path can be walked. A site is asked before anything is changed.
#[doc(alias = "fault_attr")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FaultPlan {
    /// Attempts still to come before the next refusal, for one site or for all together.
    countdown: Option<(Option<Site>, u64)>,
    asked: u64,
    /// The site whose next attempt is refused once that refusal has come.
    #[cfg_attr(feature = "serde", serde(default))]
    then: Option<Site>,
    /// Whether every attempt is refused.
    #[cfg_attr(feature = "serde", serde(default))]
    all: bool,
    #[cfg_attr(feature = "serde", serde(skip))]
    refused: Option<RefusedAt>,
}

/// The attempt that was refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAt {
    /// At which site.
    pub site: Site,
    /// The line that asked.
    pub place: &'static Location<'static>,
}

impl FaultPlan {
    /// The `nth` attempt from now on (0 is the next one) at `site`, or at any site, is refused; the others are not.
    pub fn fail_nth(&mut self, site: Option<Site>, nth: u64) {
        self.countdown = Some((site, nth));
        self.then = None;
    }

    /// As [`fail_nth`](Self::fail_nth) at any site; what undoes the effects then fails too, at its first attempt at `then`.
    pub fn fail_nth_then(&mut self, nth: u64, then: Site) {
        self.fail_nth(None, nth);
        self.then = Some(then);
    }

    /// Every attempt is refused from now on.
    pub const fn refuse_all(&mut self) {
        self.all = true;
    }

    /// Nothing is refused any more.
    pub fn clear(&mut self) {
        self.all = false;
        self.countdown = None;
        self.then = None;
    }

    /// How many attempts at any site were made so far.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.asked
    }

    /// The attempt that was refused last, and where in the code it was made.
    #[must_use]
    pub const fn last_refused(&self) -> Option<RefusedAt> {
        self.refused
    }

    /// Is a refusal still to come?
    #[must_use]
    pub const fn is_armed(&self) -> bool {
        self.countdown.is_some() || self.all
    }

    #[inline]
    #[track_caller]
    pub(crate) fn refuses(&mut self, site: Site) -> bool {
        self.asked += 1;
        if self.all {
            self.refused = Some(RefusedAt { site, place: Location::caller() });
            return true;
        }
        match &mut self.countdown {
            Some((only, left)) if only.is_none_or(|only| only == site) => {
                if *left > 0 {
                    *left -= 1;
                    return false;
                }
                self.countdown = self.then.take().map(|site| (Some(site), 0));
                self.refused = Some(RefusedAt { site, place: Location::caller() });
                true
            }
            _ => false,
        }
    }
}
