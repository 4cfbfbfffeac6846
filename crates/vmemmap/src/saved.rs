//! Descriptors as a value: described, not grown.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use units::{PageCount, Pfn};

use crate::geometry::Geometry;
use crate::homes::{FrameSource, Home};
use crate::state::{Optimising, Vmemmap};
use crate::tails::{Tail, TailKey, TailLife};

/// Everything that a [`Vmemmap`] is. Counts are not in it: they follow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct VmemmapState {
    geometry: Geometry,
    optimising: Optimising,
    tail_life: TailLife,
    flushes: u64,
    /// Pages of descriptors, in runs.
    runs: Vec<Run>,
    /// Optimised blocks by first frame.
    optimised: Vec<(Pfn, TailKey)>,
    /// Shared tails.
    tails: Vec<(TailKey, Pfn)>,
    self_hosted: Vec<(Pfn, Pfn)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
struct Run {
    /// The frame that the first page's first descriptor is of.
    describes: Pfn,
    frame: Pfn,
    pages: PageCount,
    origin: FrameSource,
}

impl Vmemmap {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> VmemmapState {
        let run = |(page, home): (u64, Home)| Run {
            describes: self.geometry.first_of(page),
            frame: home.frame,
            pages: home.pages,
            origin: home.origin,
        };
        VmemmapState {
            geometry: self.geometry,
            optimising: self.optimising,
            tail_life: self.tail_life(),
            flushes: self.flushes(),
            runs: self.homes.iter().map(run).collect(),
            optimised: self.optimised_blocks().collect(),
            tails: self.tails.iter().map(|(key, tail)| (key, tail.frame)).collect(),
            self_hosted: self.self_hosted.clone(),
        }
    }

    /// The descriptors that are in that state.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_state(state: &VmemmapState) -> Result<Self, String> {
        Geometry::new(state.geometry.shift(), state.geometry.descriptor()).map_err(|bad| format!("{bad}"))?;
        let mut all = Self::new(state.geometry, state.tail_life);
        all.optimising = state.optimising;
        all.flushes = state.flushes;
        for run in &state.runs {
            let below = |pfn: Pfn| pfn.get() < Self::FRAMES;
            if run.pages.is_zero() || run.pages.get() >= Self::FRAMES || !below(run.describes) || !below(run.frame) {
                return Err(format!("the run of descriptors from {} on is of no memory", run.describes));
            }
            all.add_run(run.describes, Home { frame: run.frame, pages: run.pages, origin: run.origin })?;
        }
        for &(key, frame) in &state.tails {
            if !all.tails.add(key, Tail { frame, users: 0 }) {
                return Err(format!("{key:?} has two tails"));
            }
        }
        for &(first, key) in &state.optimised {
            all.add_optimised(first, key)?;
        }
        all.self_hosted.clone_from(&state.self_hosted);
        all.validate().map_err(|broken| format!("{broken}"))?;
        Ok(all)
    }
}
