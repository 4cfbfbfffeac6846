//! What one attempt to take pages may do.

/// Rights and wishes of one attempt. They follow from a request and from how far its path has come; callers of the page allocator
/// cannot state them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AllocFlags(u16);

impl AllocFlags {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// No mark counts.
    #[doc(alias = "ALLOC_NO_WATERMARKS")]
    pub const NO_WATERMARKS: Self = Self(1);
    /// On behalf of a process that is being killed to free memory.
    #[doc(alias = "ALLOC_OOM")]
    pub const OOM: Self = Self(1 << 1);
    /// The caller cannot wait.
    #[doc(alias = "ALLOC_NON_BLOCK")]
    pub const NON_BLOCK: Self = Self(1 << 2);
    /// Half of what lies below the minimum.
    #[doc(alias = "ALLOC_MIN_RESERVE")]
    pub const MIN_RESERVE: Self = Self(1 << 3);
    /// Only where the task's cpuset allows.
    #[doc(alias = "ALLOC_CPUSET")]
    pub const CPUSET: Self = Self(1 << 4);
    /// Pages of areas of contiguous memory will do.
    #[doc(alias = "ALLOC_CMA")]
    pub const CMA: Self = Self(1 << 5);
    /// Rather another zone than a block of another type.
    #[doc(alias = "ALLOC_NOFRAGMENT")]
    pub const NOFRAGMENT: Self = Self(1 << 6);
    /// From the blocks kept for urgent requests.
    #[doc(alias = "ALLOC_HIGHATOMIC")]
    pub const HIGHATOMIC: Self = Self(1 << 7);
    /// Background reclaim may be woken.
    #[doc(alias = "ALLOC_KSWAPD")]
    pub const KSWAPD: Self = Self(1 << 8);
    /// The rights to go below a mark.
    #[doc(alias = "ALLOC_RESERVES")]
    pub const RESERVES: Self = Self(Self::NON_BLOCK.0 | Self::MIN_RESERVE.0 | Self::HIGHATOMIC.0 | Self::OOM.0);

    /// These and those.
    #[must_use]
    #[inline]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// These without those.
    #[must_use]
    #[inline]
    pub const fn without(self, less: Self) -> Self {
        Self(self.0 & !less.0)
    }

    /// Those that are in both.
    #[must_use]
    #[inline]
    pub const fn and(self, both: Self) -> Self {
        Self(self.0 & both.0)
    }

    /// Are all of `those` here?
    #[must_use]
    #[inline]
    pub const fn contains(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }

    /// Is any of `those` here?
    #[must_use]
    #[inline]
    pub const fn intersects(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }
}
