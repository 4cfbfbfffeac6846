//! The caller's wishes towards the page allocator.

use core::fmt;

bitflags::bitflags! {
    /// What the caller of the page allocator wishes and permits. The allocator's own licence is decided from it.
    ///
    /// It prints as the kernel's traces print it.
    #[doc(alias = "gfp_t")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct GfpFlags: u32 {
        /// For devices with 24 bits of address.
        const DMA = 1;
        /// Memory that the kernel does not map will do.
        const HIGHMEM = 1 << 1;
        /// For devices with 32 bits of address.
        const DMA32 = 1 << 2;
        /// The pages can move.
        const MOVABLE = 1 << 3;
        /// The pages can be dropped.
        const RECLAIMABLE = 1 << 4;
        /// Urgent: half of what lies below the minimum.
        const HIGH = 1 << 5;
        /// Reclaim may start input and output.
        const IO = 1 << 6;
        /// Reclaim may call into file systems.
        const FS = 1 << 7;
        /// Zeroed.
        const ZERO = 1 << 8;
        /// May wait for reclaim and compaction.
        const DIRECT_RECLAIM = 1 << 10;
        /// May wake background reclaim.
        const KSWAPD_RECLAIM = 1 << 11;
        /// Will be written to soon: not all on one node.
        const WRITE = 1 << 12;
        /// Say nothing on failure.
        const NOWARN = 1 << 13;
        /// Try hard, but fail rather than loop or kill.
        const RETRY_MAYFAIL = 1 << 14;
        /// Never fail.
        const NOFAIL = 1 << 15;
        /// Give up after the first round.
        const NORETRY = 1 << 16;
        /// Everything there is: it helps to free memory.
        const MEMALLOC = 1 << 17;
        /// Hand out the block as one folio.
        const COMP = 1 << 18;
        /// Nothing of the reserves; goes before [`GfpFlags::MEMALLOC`].
        const NOMEMALLOC = 1 << 19;
        /// Only where the task's cpuset allows, strictly.
        const HARDWALL = 1 << 20;
        /// Only from the preferred node.
        const THISNODE = 1 << 21;
        /// Charge the task's control group.
        const ACCOUNT = 1 << 22;
        /// Zero the tags of memory too.
        const ZEROTAGS = 1 << 23;
        /// No record of who allocated it.
        const NO_OBJ_EXT = 1 << 24;

        /// May reclaim in every way.
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
        /// Cannot wait and must not fail lightly.
        const ATOMIC = Self::HIGH.bits() | Self::KSWAPD_RECLAIM.bits();
        /// The kernel's own data.
        const KERNEL = Self::RECLAIM.bits() | Self::IO.bits() | Self::FS.bits();
        /// The same, charged.
        const KERNEL_ACCOUNT = Self::KERNEL.bits() | Self::ACCOUNT.bits();
        /// Cannot wait, and can do without.
        const NOWAIT = Self::KSWAPD_RECLAIM.bits() | Self::NOWARN.bits();
        /// Inside of input and output.
        const NOIO = Self::RECLAIM.bits();
        /// Inside of a file system.
        const NOFS = Self::RECLAIM.bits() | Self::IO.bits();
        /// Memory of a user that the kernel accesses.
        const USER = Self::KERNEL.bits() | Self::HARDWALL.bits();
        /// User memory; any zone will do.
        const HIGHUSER = Self::USER.bits() | Self::HIGHMEM.bits();
        /// User memory that can move.
        const HIGHUSER_MOVABLE = Self::HIGHUSER.bits() | Self::MOVABLE.bits();
        /// A transparent huge page, if it costs nothing.
        const TRANSHUGE_LIGHT = (Self::HIGHUSER_MOVABLE.bits() | Self::COMP.bits() | Self::NOMEMALLOC.bits()
            | Self::NOWARN.bits()) & !Self::RECLAIM.bits();
        /// A transparent huge page that is worth waiting for.
        const TRANSHUGE = Self::TRANSHUGE_LIGHT.bits() | Self::DIRECT_RECLAIM.bits();
    }
}

/// Sets of flags with a name of their own, in the order in which a name is looked for.
const SETS: [(GfpFlags, &str); 14] = [
    (GfpFlags::TRANSHUGE, "GFP_TRANSHUGE"),
    (GfpFlags::TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
    (GfpFlags::HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
    (GfpFlags::HIGHUSER, "GFP_HIGHUSER"),
    (GfpFlags::USER, "GFP_USER"),
    (GfpFlags::KERNEL_ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (GfpFlags::KERNEL, "GFP_KERNEL"),
    (GfpFlags::NOFS, "GFP_NOFS"),
    (GfpFlags::ATOMIC, "GFP_ATOMIC"),
    (GfpFlags::NOIO, "GFP_NOIO"),
    (GfpFlags::NOWAIT, "GFP_NOWAIT"),
    (GfpFlags::DMA, "GFP_DMA"),
    (GfpFlags::DMA32, "GFP_DMA32"),
    (GfpFlags::RECLAIM, "__GFP_RECLAIM"),
];

/// Single flags, in the order of their bits.
const SINGLE: [(GfpFlags, &str); 24] = [
    (GfpFlags::DMA, "DMA"),
    (GfpFlags::HIGHMEM, "HIGHMEM"),
    (GfpFlags::DMA32, "DMA32"),
    (GfpFlags::MOVABLE, "MOVABLE"),
    (GfpFlags::RECLAIMABLE, "RECLAIMABLE"),
    (GfpFlags::HIGH, "HIGH"),
    (GfpFlags::IO, "IO"),
    (GfpFlags::FS, "FS"),
    (GfpFlags::ZERO, "ZERO"),
    (GfpFlags::DIRECT_RECLAIM, "DIRECT_RECLAIM"),
    (GfpFlags::KSWAPD_RECLAIM, "KSWAPD_RECLAIM"),
    (GfpFlags::WRITE, "WRITE"),
    (GfpFlags::NOWARN, "NOWARN"),
    (GfpFlags::RETRY_MAYFAIL, "RETRY_MAYFAIL"),
    (GfpFlags::NOFAIL, "NOFAIL"),
    (GfpFlags::NORETRY, "NORETRY"),
    (GfpFlags::MEMALLOC, "MEMALLOC"),
    (GfpFlags::COMP, "COMP"),
    (GfpFlags::NOMEMALLOC, "NOMEMALLOC"),
    (GfpFlags::HARDWALL, "HARDWALL"),
    (GfpFlags::THISNODE, "THISNODE"),
    (GfpFlags::ACCOUNT, "ACCOUNT"),
    (GfpFlags::ZEROTAGS, "ZEROTAGS"),
    (GfpFlags::NO_OBJ_EXT, "NO_OBJ_EXT"),
];

impl GfpFlags {
    /// The flags that a trace prints so. Numbers are not read: the bit of a flag depends on how a kernel was built.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        if matches!(text, "none" | "0") {
            return Some(Self::empty());
        }
        text.split('|').try_fold(Self::empty(), |all, name| {
            let set = SETS.iter().find(|(_, set)| *set == name).map(|&(flags, _)| flags);
            let single = || {
                let bare = name.strip_prefix("__GFP_")?;
                SINGLE.iter().find(|(_, single)| *single == bare).map(|&(flag, _)| flag)
            };
            Some(all | set.or_else(single)?)
        })
    }
}

impl fmt::Display for GfpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut left = *self;
        let mut separator = "";
        for (flags, name) in SETS {
            if left.contains(flags) {
                write!(f, "{separator}{name}")?;
                (left, separator) = (left.difference(flags), "|");
            }
        }
        for (flag, name) in SINGLE {
            if left.contains(flag) {
                write!(f, "{separator}__GFP_{name}")?;
                (left, separator) = (left.difference(flag), "|");
            }
        }
        if left.is_empty() { Ok(()) } else { write!(f, "{separator}{:#x}", left.bits()) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::GfpFlags;

    #[test]
    fn flags_print_as_traces_do_and_are_read_back() {
        for (flags, text) in [
            (GfpFlags::empty(), "none"),
            (
                GfpFlags::HIGHUSER_MOVABLE | GfpFlags::COMP | GfpFlags::ZERO,
                "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP",
            ),
            (GfpFlags::KERNEL | GfpFlags::NOWARN | GfpFlags::NORETRY, "GFP_KERNEL|__GFP_NOWARN|__GFP_NORETRY"),
            (GfpFlags::ATOMIC | GfpFlags::DMA, "GFP_ATOMIC|GFP_DMA"),
            (GfpFlags::TRANSHUGE | GfpFlags::KSWAPD_RECLAIM, "GFP_TRANSHUGE|__GFP_KSWAPD_RECLAIM"),
            (GfpFlags::NOWAIT, "GFP_NOWAIT"),
            (GfpFlags::MOVABLE, "__GFP_MOVABLE"),
        ] {
            assert_eq!((format!("{flags}").as_str(), GfpFlags::named(text)), (text, Some(flags)));
        }
        assert_eq!((GfpFlags::named("GFP_FAST"), GfpFlags::named("0x1")), (None, None));
        assert_eq!(format!("{}", GfpFlags::from_bits_retain(1 << 31 | 1)), "GFP_DMA|0x80000000");
    }
}
