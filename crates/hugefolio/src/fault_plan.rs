//! Which attempts fail.

use units::Site;

/// Makes named sites fail, so that every error path can be walked. A site is asked before anything is changed.
#[doc(alias = "fault_attr")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct FaultPlan {
    /// Attempts still to come before the next refusal, for one site or for all together.
    countdown: Option<(Option<Site>, u64)>,
    asked: u64,
}

impl FaultPlan {
    /// The `nth` attempt from now on (0 is the next one) at `site`, or at any site, is refused; the others are not.
    pub fn fail_nth(&mut self, site: Option<Site>, nth: u64) {
        self.countdown = Some((site, nth));
    }

    /// Nothing is refused any more.
    pub fn clear(&mut self) {
        self.countdown = None;
    }

    /// How many attempts at any site were made so far.
    #[must_use]
    pub const fn asked(&self) -> u64 {
        self.asked
    }

    /// Is a refusal still to come?
    #[must_use]
    pub const fn is_armed(&self) -> bool {
        self.countdown.is_some()
    }

    #[inline]
    pub(crate) fn refuses(&mut self, site: Site) -> bool {
        self.asked += 1;
        match &mut self.countdown {
            Some((only, left)) if only.is_none_or(|only| only == site) => {
                if *left > 0 {
                    *left -= 1;
                    return false;
                }
                self.countdown = None;
                true
            }
            _ => false,
        }
    }
}
