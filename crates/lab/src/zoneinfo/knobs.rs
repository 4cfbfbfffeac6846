//! The knobs that the lines of zoneinfo follow from.

use std::str::FromStr;

use hugefolio::tuning::HighFraction;
use hugefolio::watermark::{KnobRange, ReserveRatios, ScaleFactor};
use hugefolio::{Bytes, PerZone, ZoneKind};
use thiserror::Error;

/// The knobs of marks, protections and lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// `min_free_kbytes`.
    pub min_free: Bytes,
    /// `watermark_scale_factor`.
    pub scale: ScaleFactor,
    /// `lowmem_reserve_ratio`: a number for each zone that the kernel was built with.
    pub reserve_ratios: Vec<u32>,
    /// `percpu_pagelist_high_fraction`.
    pub fraction: HighFraction,
}

/// The knobs could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KnobsError {
    /// A knob is not there.
    #[error("there is no line `{0} = ...`: give what `sysctl vm` prints")]
    Missing(&'static str),
    /// A knob has no number, or one too large.
    #[error("`{knob} = {found}`: numbers were expected")]
    NoNumber {
        /// The knob.
        knob: &'static str,
        /// What is there instead.
        found: String,
    },
    /// A knob has a number that it cannot have.
    #[error(transparent)]
    Range(#[from] KnobRange),
}

impl Knobs {
    /// Every knob that is needed, by its name in `/proc/sys/vm`.
    pub const NAMES: [&'static str; 4] =
        ["min_free_kbytes", "watermark_scale_factor", "lowmem_reserve_ratio", "percpu_pagelist_high_fraction"];

    /// The ratios by zone, for a kernel with these zones.
    pub(super) fn ratios(&self, zones: &[ZoneKind]) -> ReserveRatios {
        let mut ratios = PerZone::default();
        for (&zone, &ratio) in zones.iter().zip(&self.reserve_ratios) {
            ratios[zone] = ratio;
        }
        ReserveRatios(ratios)
    }
}

/// The values of `knob`, as `sysctl` prints it.
fn values(text: &str, knob: &'static str) -> Result<Vec<u64>, KnobsError> {
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        (name.strip_prefix("vm.").unwrap_or(name) == knob).then_some(value)
    });
    let value = value.ok_or(KnobsError::Missing(knob))?;
    let numbers: Option<Vec<u64>> = value.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let bad = || KnobsError::NoNumber { knob, found: value.trim().chars().take(60).collect() };
    numbers.filter(|numbers| !numbers.is_empty()).ok_or_else(bad)
}

impl FromStr for Knobs {
    type Err = KnobsError;

    /// Reads lines `name = value`, as `sysctl` prints them, with or without `vm.` before the name; other knobs are passed over.
    fn from_str(text: &str) -> Result<Self, KnobsError> {
        let [min_free, scale, ratios, fraction] = Self::NAMES;
        let one = |knob| values(text, knob).map(|numbers| numbers[0]);
        let too_large = |knob, n: u64| KnobsError::NoNumber { knob, found: n.to_string() };
        let kib = one(min_free)?;
        let reserve_ratios = values(text, ratios)?
            .into_iter()
            .map(|n| u32::try_from(n).map_err(|_| too_large(ratios, n)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            min_free: kib.checked_mul(1024).map(Bytes::new).ok_or_else(|| too_large(min_free, kib))?,
            scale: ScaleFactor::new(one(scale)?)?,
            reserve_ratios,
            fraction: HighFraction::new(one(fraction)?)?,
        })
    }
}
