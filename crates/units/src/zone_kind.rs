//! The kinds of zones.

use core::fmt;
use core::ops::{Index, IndexMut};

/// A kind of zone: which devices and requests its frames are good for. In the kernel's order: a request that may use one kind
/// may use all before it.
#[doc(alias = "zone_type")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ZoneKind {
    /// The first 16 MiB, for devices with 24 bits of address.
    #[doc(alias = "ZONE_DMA")]
    Dma,
    /// Below 4 GiB.
    #[doc(alias = "ZONE_DMA32")]
    Dma32,
    /// What the kernel maps for itself: most memory.
    #[default]
    #[doc(alias = "ZONE_NORMAL")]
    Normal,
    /// What it does not (32 bits only).
    #[doc(alias = "ZONE_HIGHMEM")]
    HighMem,
    /// Only pages that can move.
    #[doc(alias = "ZONE_MOVABLE")]
    Movable,
    /// Memory of devices, which nobody allocates.
    #[doc(alias = "ZONE_DEVICE")]
    Device,
}

impl ZoneKind {
    /// How many kinds there are.
    #[doc(alias = "MAX_NR_ZONES")]
    pub const COUNT: usize = 6;
    /// Every kind, in order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Dma, Self::Dma32, Self::Normal, Self::HighMem, Self::Movable, Self::Device];
    /// The kinds that a machine of 64 bits has.
    pub const OF_64_BITS: [Self; 5] = [Self::Dma, Self::Dma32, Self::Normal, Self::Movable, Self::Device];

    /// The name as files print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dma => "DMA",
            Self::Dma32 => "DMA32",
            Self::Normal => "Normal",
            Self::HighMem => "HighMem",
            Self::Movable => "Movable",
            Self::Device => "Device",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Can the kernel keep its own data there? Not in high memory, movable or device zones.
    #[must_use]
    pub const fn is_for_kernel(self) -> bool {
        matches!(self, Self::Dma | Self::Dma32 | Self::Normal)
    }
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One value for each kind of zone of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct PerZone<T>([T; ZoneKind::COUNT]);

impl<T> PerZone<T> {
    /// The value that `f` gives for each kind.
    pub fn from_fn(f: impl FnMut(ZoneKind) -> T) -> Self {
        Self(ZoneKind::ALL.map(f))
    }

    /// Kinds and values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ZoneKind, &T)> {
        ZoneKind::ALL.into_iter().zip(&self.0)
    }
}

impl<T> Index<ZoneKind> for PerZone<T> {
    type Output = T;
    fn index(&self, kind: ZoneKind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<ZoneKind> for PerZone<T> {
    fn index_mut(&mut self, kind: ZoneKind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn names_lead_back_and_pad() {
        for kind in ZoneKind::ALL {
            assert_eq!(ZoneKind::named(kind.name()), Some(kind));
        }
        assert_eq!((ZoneKind::named("normal"), format!("{:>8}|", ZoneKind::Dma)), (None, "     DMA|".into()));
        let mut table = PerZone::from_fn(|kind| kind as u8);
        table[ZoneKind::Movable] = 9;
        let values: std::vec::Vec<u8> = table.iter().map(|(_, &n)| n).collect();
        assert_eq!(values, [0, 1, 2, 3, 9, 5]);
    }
}
