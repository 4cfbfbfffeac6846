//! The files through which an administrator says how much memory stays free, and has it compacted.

use std::fmt;
use std::str::FromStr;

use units::{Bytes, NodeId, Nodemask, PerZone, ZoneKind};
use zone::tuning::HighFraction;
use zone::watermark::{BoostFactor, KnobRange, ReserveRatios, ScaleFactor};

use super::knob::Access;
use super::write::{WriteError, Written, invalid, length, sysctl_count, sysctl_numbers};

const SYSCTLS: &str = "/proc/sys/vm/";
const NODES: &str = "/sys/devices/system/node/node";

/// A file about ordinary pages that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageKnob {
    /// How much memory is kept free.
    MinFreeKbytes,
    /// The gap between marks.
    WatermarkScaleFactor,
    /// How far marks are raised when blocks were mixed.
    WatermarkBoostFactor,
    /// What low zones keep from requests that could go higher.
    LowmemReserveRatio,
    /// The share of a zone that processors may keep.
    PercpuPagelistHighFraction,
    /// Compacts all nodes.
    CompactMemory,
    /// Compacts one node: `compact` in its folder.
    CompactNode(NodeId),
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKnobWrite {
    /// So much is kept free.
    MinFree(Bytes),
    /// This gap.
    Scale(ScaleFactor),
    /// This boost.
    Boost(BoostFactor),
    /// These ratios.
    Ratios(ReserveRatios),
    /// This fraction.
    Fraction(HighFraction),
    /// Compact all nodes.
    CompactAll,
    /// Compact this one.
    Compact(NodeId),
}

/// Why a file about pages does not take a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageKnobError {
    /// Not what it reads.
    #[error(transparent)]
    Text(#[from] WriteError),
    /// Outside its range.
    #[error(transparent)]
    Range(#[from] KnobRange),
    /// It can only be written.
    #[error("{0} can only be written")]
    WriteOnly(PageKnob),
    /// There is no such node.
    #[error("{0} is not there")]
    NoSuchNode(NodeId),
}

/// Not one of these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a file about ordinary pages")]
pub struct NoPageKnob;

impl PageKnob {
    const SYSCTLS: [Self; 6] = [
        Self::MinFreeKbytes,
        Self::WatermarkScaleFactor,
        Self::WatermarkBoostFactor,
        Self::LowmemReserveRatio,
        Self::PercpuPagelistHighFraction,
        Self::CompactMemory,
    ];

    /// The file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinFreeKbytes => "min_free_kbytes",
            Self::WatermarkScaleFactor => "watermark_scale_factor",
            Self::WatermarkBoostFactor => "watermark_boost_factor",
            Self::LowmemReserveRatio => "lowmem_reserve_ratio",
            Self::PercpuPagelistHighFraction => "percpu_pagelist_high_fraction",
            Self::CompactMemory => "compact_memory",
            Self::CompactNode(_) => "compact",
        }
    }

    /// Who may open it for what.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::CompactMemory | Self::CompactNode(_) => Access::WriteOnly,
            _ => Access::ReadWrite,
        }
    }

    /// What writing `text` asks for, where the ratios are `now`; nothing at all where the text is empty.
    ///
    /// # Errors
    /// The text is not what the file takes.
    pub fn read_write(self, text: &[u8], now: ReserveRatios) -> Result<Option<Written<PageKnobWrite>>, PageKnobError> {
        if let Self::CompactNode(node) = self {
            let all = Written { value: PageKnobWrite::Compact(node), consumed: length(text) };
            return Ok((!text.is_empty()).then_some(all));
        }
        if self == Self::LowmemReserveRatio {
            let written = Written { value: PageKnobWrite::Ratios(ratios(text, now)), consumed: length(text) };
            return Ok((!text.is_empty()).then_some(written));
        }
        let Some(written) = sysctl_count(text)? else { return Ok(None) };
        // All of them are signed numbers of 32 bits.
        let n = u32::try_from(written.value.get()).ok().filter(|&n| i32::try_from(n).is_ok());
        let n = n.ok_or_else(|| invalid(text, "one number from 0 to 2^31 - 1"))?;
        let value = match self {
            Self::MinFreeKbytes => PageKnobWrite::MinFree(Bytes::kib(n.into())),
            Self::WatermarkScaleFactor => PageKnobWrite::Scale(ScaleFactor::new(n.into())?),
            Self::WatermarkBoostFactor => PageKnobWrite::Boost(BoostFactor(n)),
            Self::PercpuPagelistHighFraction => PageKnobWrite::Fraction(HighFraction::new(n.into())?),
            _ if n == 1 => PageKnobWrite::CompactAll,
            _ => return Err(KnobRange { knob: "compact_memory", value: n.into(), takes: "1 alone" }.into()),
        };
        Ok(Some(Written { value, consumed: written.consumed }))
    }
}

/// The numbers that are there take the place of the first ratios, up to what cannot be read; below one there is no ratio.
#[doc(alias = "lowmem_reserve_ratio_sysctl_handler")]
fn ratios(text: &[u8], now: ReserveRatios) -> ReserveRatios {
    let mut ratios: PerZone<u32> = now.0;
    for (kind, n) in ZoneKind::OF_64_BITS.into_iter().zip(sysctl_numbers(text)) {
        ratios[kind] = u32::try_from(n).unwrap_or(0);
    }
    ReserveRatios(ratios)
}

impl FromStr for PageKnob {
    type Err = NoPageKnob;

    fn from_str(path: &str) -> Result<Self, NoPageKnob> {
        if let Some(name) = path.strip_prefix(SYSCTLS) {
            return Self::SYSCTLS.into_iter().find(|knob| knob.name() == name).ok_or(NoPageKnob);
        }
        let node = path.strip_prefix(NODES).and_then(|rest| rest.strip_suffix("/compact"));
        let node = node.and_then(|digits| digits.parse().ok()).filter(|&n| n < Nodemask::CAPACITY);
        node.map(|n| Self::CompactNode(NodeId::new(n))).ok_or(NoPageKnob)
    }
}

impl fmt::Display for PageKnob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CompactNode(node) => write!(f, "{NODES}{}/compact", node.get()),
            knob => write!(f, "{SYSCTLS}{}", knob.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &str, text: &str) -> Result<PageKnobWrite, PageKnobError> {
        let knob: PageKnob = path.parse().unwrap();
        assert_eq!(knob.to_string(), path);
        Ok(knob.read_write(text.as_bytes(), ReserveRatios::default())?.unwrap().value)
    }

    #[test]
    fn each_file_has_its_range() {
        let scale = |text| written("/proc/sys/vm/watermark_scale_factor", text);
        assert_eq!(scale("10\n"), Ok(PageKnobWrite::Scale(ScaleFactor::default())));
        assert!(scale("0").is_err() && scale("3001").is_err() && scale("x").is_err());
        let fraction = |text| written("/proc/sys/vm/percpu_pagelist_high_fraction", text);
        assert!(fraction("7").is_err() && fraction("8").is_ok() && fraction("0").is_ok());
        let min = |text| written("/proc/sys/vm/min_free_kbytes", text);
        assert_eq!(min("67584"), Ok(PageKnobWrite::MinFree(Bytes::kib(67_584))));
        assert!(min("-1").is_err() && min("4294967296").is_err());
        assert!(written("/proc/sys/vm/compact_memory", "2").is_err());
        assert_eq!(written("/proc/sys/vm/compact_memory", "1"), Ok(PageKnobWrite::CompactAll));
        let node = written("/sys/devices/system/node/node3/compact", "whatever");
        assert_eq!(node, Ok(PageKnobWrite::Compact(NodeId::new(3))));
        assert!("/proc/sys/vm/nr_hugepages".parse::<PageKnob>().is_err());
    }

    #[test]
    fn ratios_take_what_can_be_read_and_refuse_nothing() {
        let ratios = |text: &str| match written("/proc/sys/vm/lowmem_reserve_ratio", text) {
            Ok(PageKnobWrite::Ratios(ratios)) => ZoneKind::OF_64_BITS.map(|kind| ratios.0[kind]),
            other => panic!("{other:?}"),
        };
        assert_eq!(ratios("128"), [128, 256, 32, 0, 0]);
        assert_eq!(ratios("1 2 3 4 5 6"), [1, 2, 3, 4, 5]);
        assert_eq!(ratios("-5 64"), [0, 64, 32, 0, 0]);
        assert_eq!(ratios("x"), [256, 256, 32, 0, 0]);
        assert_eq!(ratios("300 x"), [300, 256, 32, 0, 0]);
    }
}
