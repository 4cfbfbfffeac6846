//! Types of page blocks.

use core::fmt;

/// What may lie in a block of pages, so that what cannot move does not come to lie everywhere.
///
/// The kernel's number of a type depends on how it was built: without CMA, [`Migratetype::Isolate`] takes CMA's number. So none is
/// given here; [`Migratetype::ALL`] and [`Migratetype::WITHOUT_CMA`] list the types in the order of their numbers.
#[doc(alias = "migratetype")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Migratetype {
    /// Data of the kernel that stays where it is.
    #[doc(alias = "MIGRATE_UNMOVABLE")]
    Unmovable,
    /// Pages that can be copied elsewhere.
    #[doc(alias = "MIGRATE_MOVABLE")]
    Movable,
    /// Caches that can be dropped.
    #[doc(alias = "MIGRATE_RECLAIMABLE")]
    Reclaimable,
    /// Kept for larger requests that cannot wait.
    #[doc(alias = "MIGRATE_HIGHATOMIC")]
    HighAtomic,
    /// Lent to movable pages until a driver needs a contiguous range.
    #[doc(alias = "MIGRATE_CMA")]
    Cma,
    /// Nothing is allocated from it.
    #[doc(alias = "MIGRATE_ISOLATE")]
    Isolate,
}

impl Migratetype {
    /// Every type there can be: those of a kernel with CMA.
    pub const ALL: [Self; 6] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Cma, Self::Isolate];
    /// The types of a kernel without CMA.
    pub const WITHOUT_CMA: [Self; 5] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Isolate];

    /// How many types there can be.
    #[doc(alias = "MIGRATE_TYPES")]
    pub const COUNT: usize = Self::ALL.len();
    /// The types that a request can have, and that processors keep lists of.
    #[doc(alias = "MIGRATE_PCPTYPES")]
    pub const OF_REQUESTS: [Self; 3] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// Its place in [`Migratetype::ALL`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// May blocks of this type merge with neighbours of another such type? Those of the requests may.
    #[doc(alias = "migratetype_is_mergeable")]
    #[must_use]
    #[inline]
    pub const fn is_mergeable(self) -> bool {
        (self as usize) < Self::OF_REQUESTS.len()
    }

    /// The name as files print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }
}

impl fmt::Display for Migratetype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
