//! Counts, sizes and addresses.

use core::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Nothing, or the first one.
            pub const ZERO: Self = Self(0);
            /// The largest value that can be named.
            pub const MAX: Self = Self(u64::MAX);

            /// Wraps a bare number.
            #[must_use]
            pub const fn new(n: u64) -> Self {
                Self(n)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Is this zero?
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// `self - other`, or zero where that would be negative.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// `self + other`, or the maximum.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// `self + other`, or nothing on overflow.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(n) => Some(Self(n)),
                    None => None,
                }
            }
        }

        impl core::ops::Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl core::ops::Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl core::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl core::ops::SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }

        impl core::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::ZERO, |a, b| a + b)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}", $suffix), self.0)
            }
        }
    };
}

unit!(
    /// A number of base pages.
    #[doc(alias = "nr_pages")]
    PageCount, "", " pages"
);
unit!(
    /// A number of huge pages of one hstate.
    #[doc(alias = "nr_huge_pages")]
    HugeCount, "", " huge pages"
);
unit!(
    /// The index of a huge page within a file, in huge pages of the file's size.
    #[doc(alias("pgoff_t", "vma_hugecache_offset", "linear_page_index"))]
    HugeIndex, "hp:", ""
);
unit!(
    /// The index of a base page within a file.
    #[doc(alias = "pgoff_t")]
    PageIndex, "idx:", ""
);
unit!(
    /// A size or a file offset in bytes.
    #[doc(alias = "loff_t")]
    Bytes, "", " B"
);
unit!(
    /// Time as the caller counts it; nothing here reads a clock.
    Ticks, "tick:", ""
);

/// The number of a physical base-page frame.
#[doc(alias = "pfn")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(u64);

impl Pfn {
    /// Wraps a frame number.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The bare frame number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The frame `pages` further on.
    #[must_use]
    pub const fn offset(self, pages: PageCount) -> Self {
        Self(self.0 + pages.0)
    }

    /// The other half of the block of twice the size.
    #[must_use]
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ (1 << order.0))
    }

    /// Does a block of `order` start here?
    #[must_use]
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & ((1 << order.0) - 1) == 0
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pfn:{:#x}", self.0)
    }
}

/// A virtual address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vaddr(u64);

impl Vaddr {
    /// Wraps an address.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The bare address.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address `bytes` further on, or nothing past the end of the number space.
    #[must_use]
    pub const fn checked_add(self, bytes: Bytes) -> Option<Self> {
        match self.0.checked_add(bytes.0) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The distance from `start`, which must not lie above.
    #[must_use]
    pub const fn since(self, start: Self) -> Bytes {
        Bytes(self.0 - start.0)
    }

    /// Is this a multiple of `size`, a power of two?
    #[must_use]
    pub const fn is_aligned(self, size: Bytes) -> bool {
        self.0 & (size.0 - 1) == 0
    }

    /// The last multiple of `size`, a power of two, at or below.
    #[must_use]
    pub const fn align_down(self, size: Bytes) -> Self {
        Self(self.0 & !(size.0 - 1))
    }
}

impl core::ops::Add<Bytes> for Vaddr {
    type Output = Self;
    fn add(self, bytes: Bytes) -> Self {
        Self(self.0 + bytes.0)
    }
}

impl fmt::Display for Vaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A half-open range of virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaddrRange {
    /// First address inside.
    pub start: Vaddr,
    /// First address outside.
    pub end: Vaddr,
}

impl VaddrRange {
    /// The range from `start` to `end`; empty where `end` lies below.
    #[must_use]
    pub const fn new(start: Vaddr, end: Vaddr) -> Self {
        Self { start, end: if end.0 < start.0 { start } else { end } }
    }

    /// Its length.
    #[must_use]
    pub const fn len(self) -> Bytes {
        Bytes(self.end.0 - self.start.0)
    }

    /// Is nothing inside?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.0 == self.start.0
    }

    /// Is `addr` inside?
    #[must_use]
    pub const fn contains(self, addr: Vaddr) -> bool {
        self.start.0 <= addr.0 && addr.0 < self.end.0
    }

    /// Do the two share an address?
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// The part inside both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for VaddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// A half-open range of huge-page indices of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HugeRange {
    /// First index inside.
    pub start: HugeIndex,
    /// First index outside.
    pub end: HugeIndex,
}

impl HugeRange {
    /// The range from `start` to `end`; empty where `end` lies below.
    #[must_use]
    pub const fn new(start: HugeIndex, end: HugeIndex) -> Self {
        Self { start, end: if end.0 < start.0 { start } else { end } }
    }

    /// One huge page.
    #[must_use]
    pub const fn one(index: HugeIndex) -> Self {
        Self { start: index, end: HugeIndex(index.0 + 1) }
    }

    /// Its pages in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = HugeIndex> {
        (self.start.0..self.end.0).map(HugeIndex)
    }

    /// Everything from `start` on.
    #[must_use]
    pub const fn from(start: HugeIndex) -> Self {
        Self { start, end: HugeIndex::MAX }
    }

    /// How many huge pages.
    #[must_use]
    pub const fn count(self) -> HugeCount {
        HugeCount(self.end.0 - self.start.0)
    }

    /// Is nothing inside?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// Is `index` inside?
    #[must_use]
    pub const fn contains(self, index: HugeIndex) -> bool {
        self.start.0 <= index.0 && index.0 < self.end.0
    }

    /// The part inside both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl HugeIndex {
    /// The index `count` huge pages further on.
    #[must_use]
    pub const fn offset(self, count: HugeCount) -> Self {
        Self(self.0 + count.0)
    }
}

impl fmt::Display for HugeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hp:{}..{}", self.start.0, self.end.0)
    }
}

/// log2 of a block's size in base pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(u8);

impl Order {
    /// One base page.
    pub const ZERO: Self = Self(0);
    /// The largest order that can be named: 4 TiB of 4 KiB pages.
    pub const MAX: Self = Self(30);

    /// An order known to be legal.
    ///
    /// # Panics
    /// Above [`Order::MAX`].
    #[must_use]
    pub const fn new(n: u8) -> Self {
        assert!(n <= Self::MAX.0, "an order is at most 30");
        Self(n)
    }

    /// An order, or nothing above [`Order::MAX`].
    #[must_use]
    pub const fn try_new(n: u8) -> Option<Self> {
        if n <= Self::MAX.0 { Some(Self(n)) } else { None }
    }

    /// The bare exponent.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Base pages of one block.
    #[must_use]
    pub const fn pages(self) -> PageCount {
        PageCount(1 << self.0)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order:{}", self.0)
    }
}

/// log2 of the base page size in bytes: a field of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageShift(u8);

impl PageShift {
    /// 4 KiB base pages.
    pub const K4: Self = Self(12);
    /// 16 KiB base pages (arm64).
    pub const K16: Self = Self(14);
    /// 64 KiB base pages (arm64).
    pub const K64: Self = Self(16);

    /// The bare exponent.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Bytes of one base page.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(1 << self.0)
    }

    /// How many whole base pages fit into `size`.
    #[must_use]
    pub const fn pages_floor(self, size: Bytes) -> PageCount {
        PageCount(size.0 >> self.0)
    }

    /// The bytes of so many base pages.
    #[must_use]
    pub const fn total(self, pages: PageCount) -> Bytes {
        Bytes(pages.0 << self.0)
    }

    /// `size` rounded up to whole base pages, or nothing on overflow.
    #[must_use]
    pub const fn round_up(self, size: Bytes) -> Option<Bytes> {
        size.round_up(self.bytes())
    }
}

impl Bytes {
    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Is this a multiple of `size`, a power of two?
    #[must_use]
    pub const fn is_multiple_of(self, size: Self) -> bool {
        self.0 & (size.0 - 1) == 0
    }

    /// The next multiple of `size`, a power of two, or nothing on overflow.
    #[must_use]
    pub const fn round_up(self, size: Self) -> Option<Self> {
        match self.0.checked_add(size.0 - 1) {
            Some(n) => Some(Self(n & !(size.0 - 1))),
            None => None,
        }
    }

    /// The last multiple of `size`, a power of two, at or below.
    #[must_use]
    pub const fn round_down(self, size: Self) -> Self {
        Self(self.0 & !(size.0 - 1))
    }
}
