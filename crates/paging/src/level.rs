//! Which table an entry is in, and how much it maps: two things, since neighbours can be joined.

use core::fmt;

use units::{Bytes, Vaddr, VaddrRange};

use crate::arch::Arch;

/// The table that holds an entry, from the bottom up.
///
/// With four levels the top one is [`Level::P4d`], with three it is [`Level::Pud`].
#[doc(alias("pgtable_level", "HUGETLB_LEVEL_PTE"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Entries of one base page each. There is no table below.
    Pte,
    /// Entries of 2 MiB where base pages have 4 KiB.
    Pmd,
    /// Entries of 1 GiB where base pages have 4 KiB.
    Pud,
    /// Entries of 512 GiB where base pages have 4 KiB.
    P4d,
    /// Entries of 256 TiB where base pages have 4 KiB.
    Pgd,
}

impl Level {
    /// All of them, bottom up.
    pub const ALL: [Self; 5] = [Self::Pte, Self::Pmd, Self::Pud, Self::P4d, Self::Pgd];

    /// The table that an entry of this one can lead to.
    #[inline]
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Pte => None,
            Self::Pmd => Some(Self::Pte),
            Self::Pud => Some(Self::Pmd),
            Self::P4d => Some(Self::Pud),
            Self::Pgd => Some(Self::P4d),
        }
    }

    /// Its place in [`Level::ALL`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How much an entry maps, and in which table it is: `shift` is at least that of the level and less than that of the level above. Where
/// it is more than the level's own, so many neighbours are joined.
#[doc(alias("hugetlb_pte", "hugetlb_pte_size"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grain {
    level: Level,
    shift: u8,
}

/// No entry of this architecture maps so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{arch} has no entry that maps {size}: its sizes are {sizes:x?} B")]
pub struct NoSuchGrain {
    /// What was asked for.
    pub size: Bytes,
    /// The architecture.
    pub arch: &'static str,
    /// What there is, in bytes; zero where there are fewer.
    pub sizes: [u64; 5],
}

impl NoSuchGrain {
    #[cold]
    fn of<A: Arch>(size: Bytes) -> Self {
        let mut sizes = [0; 5];
        sizes.iter_mut().zip(Grain::all::<A>()).for_each(|(size, grain)| *size = grain.size().get());
        Self { size, arch: A::NAME, sizes }
    }
}

impl Grain {
    /// The grain of a leaf of that size.
    ///
    /// # Errors
    /// Where no leaf has it.
    #[doc(alias = "hugetlb_pte_populate")]
    pub fn new<A: Arch>(size: Bytes) -> Result<Self, NoSuchGrain> {
        let of = |level: Level| {
            if level > A::LEAF_MAX {
                return None;
            }
            let joined = Self::joined::<A>(level).filter(|grain| grain.size() == size);
            joined.or(Some(Self::single::<A>(level)).filter(|grain| grain.size() == size))
        };
        let found = of(Level::Pte).or_else(|| of(Level::Pmd)).or_else(|| of(Level::Pud));
        found.ok_or_else(|| NoSuchGrain::of::<A>(size))
    }

    /// All that leaves of this architecture have, from the smallest to the largest.
    pub fn all<A: Arch>() -> impl DoubleEndedIterator<Item = Self> {
        let of = |level: Level| {
            let leaf = level <= A::LEAF_MAX;
            let joined = A::joined_shift(level).filter(|_| leaf).map(|shift| Self { level, shift });
            [leaf.then(|| Self::single::<A>(level)), joined]
        };
        [Level::Pte, Level::Pmd, Level::Pud].into_iter().flat_map(of).flatten()
    }

    /// One base page.
    #[inline]
    #[must_use]
    pub fn page<A: Arch>() -> Self {
        Self::single::<A>(Level::Pte)
    }

    /// What one entry of that level maps by itself.
    #[inline]
    #[must_use]
    pub fn single<A: Arch>(level: Level) -> Self {
        Self { level, shift: A::shift(level) }
    }

    /// What a group of joined entries of that level maps, where there are such.
    #[inline]
    #[must_use]
    pub fn joined<A: Arch>(level: Level) -> Option<Self> {
        A::joined_shift(level).map(|shift| Self { level, shift })
    }

    /// The table that holds such entries.
    #[inline]
    #[must_use]
    pub const fn level(self) -> Level {
        self.level
    }

    /// log2 of [`Grain::size`].
    #[inline]
    #[must_use]
    pub const fn shift(self) -> u8 {
        self.shift
    }

    /// How much is mapped.
    #[inline]
    #[must_use]
    pub const fn size(self) -> Bytes {
        Bytes::new(1 << self.shift)
    }

    /// How many entries that takes.
    #[inline]
    #[must_use]
    pub fn entries<A: Arch>(self) -> u16 {
        1 << (self.shift - A::shift(self.level))
    }

    /// Is this a group of joined entries?
    #[inline]
    #[must_use]
    pub fn is_joined<A: Arch>(self) -> bool {
        self.shift != A::shift(self.level)
    }

    /// The addresses that an entry of this grain over `addr` maps.
    #[inline]
    #[must_use]
    pub const fn around(self, addr: Vaddr) -> VaddrRange {
        let start = addr.align_down(self.size()).get();
        // The last entry ends where the numbers do.
        VaddrRange { start: Vaddr::new(start), end: Vaddr::new(start.saturating_add(self.size().get())) }
    }
}

impl PartialOrd for Grain {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Grain {
    /// By how much they map.
    #[inline]
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.shift.cmp(&other.shift)
    }
}

impl fmt::Display for Grain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.level, self.shift)
    }
}
