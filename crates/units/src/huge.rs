//! Sizes of huge pages.

use core::fmt;

use crate::{Bytes, HugeCount, HugeIndex, Order, PageShift};

/// The size of one huge page, a power of two of bytes.
#[doc(alias("huge_page_size", "huge_page_shift"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HugeSize(u8);

impl HugeSize {
    /// 64 KiB (arm64, contiguous PTEs).
    pub const K64: Self = Self(16);
    /// 2 MiB.
    pub const M2: Self = Self(21);
    /// 32 MiB (arm64).
    pub const M32: Self = Self(25);
    /// 512 MiB (arm64, 64 KiB base pages).
    pub const M512: Self = Self(29);
    /// 1 GiB.
    pub const G1: Self = Self(30);
    /// 16 GiB (arm64, 64 KiB base pages).
    pub const G16: Self = Self(34);

    /// The size of `1 << shift` bytes, or nothing below 4 KiB or above 4 EiB.
    #[must_use]
    pub const fn from_shift(shift: u8) -> Option<Self> {
        if shift >= 12 && shift <= 62 { Some(Self(shift)) } else { None }
    }

    /// The size of exactly `bytes`, or nothing where that is no power of two.
    #[must_use]
    pub const fn from_bytes(bytes: Bytes) -> Option<Self> {
        if !bytes.get().is_power_of_two() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "trailing zeros of a u64 are below 64")]
        Self::from_shift(bytes.get().trailing_zeros() as u8)
    }

    /// log2 of the size in bytes.
    #[must_use]
    pub const fn shift(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes::new(1 << self.0)
    }

    /// The size in KiB, as in `hugepages-2048kB`.
    #[must_use]
    pub const fn kib(self) -> u64 {
        1 << (self.0 - 10)
    }

    /// The size as an order of base pages, or nothing for less than a page or more than [`Order::MAX`].
    #[must_use]
    pub const fn order(self, base: PageShift) -> Option<Order> {
        match self.0.checked_sub(base.get()) {
            Some(n) => Order::try_new(n),
            None => None,
        }
    }

    /// The huge page that holds the byte at `offset`.
    #[must_use]
    pub const fn index_floor(self, offset: Bytes) -> HugeIndex {
        HugeIndex::new(offset.get() >> self.0)
    }

    /// The first huge page that starts at or after `offset`.
    #[must_use]
    pub const fn index_ceil(self, offset: Bytes) -> HugeIndex {
        let whole = offset.get() >> self.0;
        HugeIndex::new(if offset.is_multiple_of(self.bytes()) { whole } else { whole + 1 })
    }

    /// How many whole huge pages fit into `bytes`.
    #[must_use]
    pub const fn count_floor(self, bytes: Bytes) -> HugeCount {
        HugeCount::new(bytes.get() >> self.0)
    }

    /// The bytes of `count` huge pages.
    #[must_use]
    pub const fn total(self, count: HugeCount) -> Bytes {
        Bytes::new(count.get() << self.0)
    }

    /// The file offset at which `index` starts.
    #[must_use]
    pub const fn offset_of(self, index: HugeIndex) -> Bytes {
        Bytes::new(index.get() << self.0)
    }
}

impl fmt::Display for HugeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..20 => write!(f, "{}K", 1u64 << (self.0 - 10)),
            20..30 => write!(f, "{}M", 1u64 << (self.0 - 20)),
            _ => write!(f, "{}G", 1u64 << (self.0 - 30)),
        }
    }
}
