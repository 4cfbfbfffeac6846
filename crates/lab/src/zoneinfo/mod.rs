//! The kernel's own arithmetic, checked: from a zoneinfo's sizes, its processors and the knobs, every mark, protection, list size and
//! counter threshold is computed and compared with the line that the kernel printed.
//!
//! ```
//! use lab::zoneinfo::{Host, Knobs, check_zoneinfo};
//!
//! let read = |file| std::fs::read_to_string(format!("../../testdata/linux-6.18-pages/fragmented/{file}"));
//! let knobs: Knobs = read("sysctl")?.parse()?;
//! let zoneinfo = read("zoneinfo")?.parse()?;
//! let check = check_zoneinfo(&zoneinfo, &knobs, &Host::default());
//! assert!(check.differences.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod expected;
mod former;
mod knobs;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use hugefolio::text::Zoneinfo;
use hugefolio::{CpuId, NodeId, PageCount, PageShift, ZoneKind};

pub use knobs::{Knobs, KnobsError};

/// What the lines depend on and zoneinfo does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The size of a base page.
    pub shift: PageShift,
    /// The processors of each node. A node that is not here has all of them if it is the only one, else none.
    pub cpus: BTreeMap<NodeId, u32>,
}

impl Default for Host {
    fn default() -> Self {
        Self { shift: PageShift::K4, cpus: BTreeMap::new() }
    }
}

/// A line of a zone that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Line {
    /// `min`.
    Min,
    /// `low`.
    Low,
    /// `high`.
    High,
    /// `promo`.
    Promo,
    /// The number of `protection` against requests that may go up to a zone.
    Protection(ZoneKind),
    /// `batch` of a processor.
    Batch(CpuId),
    /// `high_min` of a processor.
    HighMin(CpuId),
    /// `high_max` of a processor.
    HighMax(CpuId),
    /// `vm stats threshold` of a processor.
    StatThreshold(CpuId),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Low => f.write_str("low"),
            Self::High => f.write_str("high"),
            Self::Promo => f.write_str("promo"),
            Self::Protection(zone) => write!(f, "protection against {zone}"),
            Self::Batch(cpu) => write!(f, "batch of {cpu}"),
            Self::HighMin(cpu) => write!(f, "high_min of {cpu}"),
            Self::HighMax(cpu) => write!(f, "high_max of {cpu}"),
            Self::StatThreshold(cpu) => write!(f, "vm stats threshold of {cpu}"),
        }
    }
}

/// A line that is not what the formulas give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// Which line.
    pub line: Line,
    /// What the formulas give.
    pub ours: PageCount,
    /// What the kernel printed.
    pub theirs: PageCount,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, zone, line, ours, theirs } = self;
        write!(f, "{node} zone {zone}: {line} is {}, computed {}", theirs.get(), ours.get())
    }
}

/// A zone has grown on demand since its marks were computed, so that they are those of a smaller zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// Its managed pages now.
    pub now: PageCount,
    /// Its managed pages then: every size in here gives all lines as they were printed.
    pub then: RangeInclusive<PageCount>,
}

/// What [`check_zoneinfo`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneinfoCheck {
    /// How many lines were compared.
    pub lines: usize,
    /// Lines that are not what the formulas give.
    pub differences: Vec<Difference>,
    /// The one zone whose marks are explained by a former size.
    pub grown: Option<Grown>,
    /// Zones whose counters are kept exact, since reclaim in the background is awake.
    pub reclaiming: Vec<(NodeId, ZoneKind)>,
}

impl fmt::Display for ZoneinfoCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Grown { node, zone, now, then }) = &self.grown {
            let (least, most) = (then.start().get(), then.end().get());
            let now = now.get();
            writeln!(f, "{node} zone {zone}: marks of {least} to {most} managed pages, {now} now: it grew since")?;
        }
        for (node, zone) in &self.reclaiming {
            writeln!(f, "{node} zone {zone}: counters are kept exact: reclaim is awake")?;
        }
        self.differences.iter().try_for_each(|difference| writeln!(f, "{difference}"))?;
        writeln!(f, "{} lines compared, {} differ", self.lines, self.differences.len())
    }
}

/// Compares every computed line of `zoneinfo`.
///
/// Read the knobs before zoneinfo: reading `lowmem_reserve_ratio` makes the kernel compute the protections from the sizes of now. The
/// marks are computed when a knob is written or memory is plugged, and a zone may have grown since. Where the sizes of now do
/// not give the marks, a smaller size is sought for the highest zone of the kernel's memory; the answer says so.
#[must_use]
pub fn check_zoneinfo(zoneinfo: &Zoneinfo, knobs: &Knobs, host: &Host) -> ZoneinfoCheck {
    let now = expected::check(zoneinfo, knobs, host, None);
    if now.differences.is_empty() {
        return now;
    }
    former::explain(zoneinfo, knobs, host).unwrap_or(now)
}
