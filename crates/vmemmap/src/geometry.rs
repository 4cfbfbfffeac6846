//! How descriptors lie in memory, and how the one of a tail says where its head is.

use core::fmt;

use units::{Bytes, Order, PageCount, PageShift, Pfn, Vaddr};

/// Descriptors that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a descriptor of {descriptor} does not fit into a base page of {page}: choose a size from 8 B to that of the page"
)]
pub struct BadGeometry {
    /// The size of a descriptor.
    pub descriptor: Bytes,
    /// The size of a base page.
    pub page: Bytes,
}

/// The size of base pages and of their descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Geometry {
    shift: PageShift,
    descriptor: Bytes,
}

impl Geometry {
    /// Base pages of 4 KiB with descriptors of 64 bytes.
    pub const X86_64: Self = Self { shift: PageShift::K4, descriptor: Bytes::new(64) };

    /// # Errors
    /// A descriptor is smaller than a word, or larger than a page.
    pub const fn new(shift: PageShift, descriptor: Bytes) -> Result<Self, BadGeometry> {
        if descriptor.get() < 8 || descriptor.get() > shift.bytes().get() {
            return Err(BadGeometry { descriptor, page: shift.bytes() });
        }
        Ok(Self { shift, descriptor })
    }

    /// The size of base pages.
    #[must_use]
    pub const fn shift(self) -> PageShift {
        self.shift
    }

    /// The size of a descriptor.
    #[must_use]
    pub const fn descriptor(self) -> Bytes {
        self.descriptor
    }

    /// Can a tail say where its head is without naming it? Then tails of one size are all alike.
    #[doc(alias = "compound_info_has_mask")]
    #[must_use]
    pub const fn has_mask(self) -> bool {
        self.descriptor.get().is_power_of_two()
    }

    /// Pages that the descriptors of so many frames fill, a last one in part.
    #[must_use]
    pub const fn pages_ceil(self, frames: PageCount) -> PageCount {
        let page = self.shift.bytes().get();
        // Frames in the order of one page's bytes at a time: no product overflows.
        let (whole, rest) = (frames.get() / page, frames.get() % page);
        PageCount::new(whole * self.descriptor.get() + (rest * self.descriptor.get()).div_ceil(page))
    }

    /// Pages that optimising a block gives back.
    ///
    /// ```
    /// use units::{Bytes, Order, PageShift};
    /// use vmemmap::Geometry;
    ///
    /// assert_eq!(Geometry::X86_64.freeable(Order::new(9)).get(), 7);
    /// assert_eq!(Geometry::X86_64.freeable(Order::new(18)).get(), 4095);
    /// let arm = Geometry::new(PageShift::K16, Bytes::new(64)).unwrap();
    /// assert_eq!(arm.freeable(Order::new(7)).get(), 0);
    /// ```
    #[doc(alias("hugetlb_vmemmap_optimizable_size", "vmemmap_optimize_mode"))]
    #[must_use]
    pub const fn freeable(self, order: Order) -> PageCount {
        if self.has_mask() { self.block_pages(order).saturating_sub(PageCount::new(1)) } else { PageCount::ZERO }
    }

    /// Pages that the descriptors of a block fill, where their size is a power of two: a page, or a power of two of them.
    #[inline]
    pub(crate) const fn block_pages(self, order: Order) -> PageCount {
        let bits = order.get() as u32 + self.descriptor.get().trailing_zeros();
        let pages = match bits.checked_sub(self.shift.get() as u32) {
            Some(bits) if bits < 64 => 1 << bits,
            _ => 1,
        };
        PageCount::new(pages)
    }

    /// The page that the descriptor of a frame begins in, counted from that of frame 0.
    pub(crate) const fn page_of(self, pfn: Pfn) -> u64 {
        if self.has_mask() {
            return pfn.get() >> (self.shift.get() as u32 - self.descriptor.get().trailing_zeros());
        }
        let page = self.shift.bytes().get();
        let (whole, rest) = (pfn.get() / page, pfn.get() % page);
        whole * self.descriptor.get() + rest * self.descriptor.get() / page
    }

    /// The first frame whose descriptor begins in a page.
    pub(crate) const fn first_of(self, page: u64) -> Pfn {
        let size = self.shift.bytes().get();
        let (whole, rest) = (page / self.descriptor.get(), page % self.descriptor.get());
        Pfn::new(whole * size + (rest * size).div_ceil(self.descriptor.get()))
    }

    /// What the tails of a block say of their head, where it does not depend on the block.
    #[doc(alias("compound_info", "set_compound_head"))]
    #[must_use]
    pub const fn tail_word(self, order: Order) -> Option<TailWord> {
        if !self.has_mask() {
            return None;
        }
        let size = order.get() as u32 + self.descriptor.get().trailing_zeros();
        let below = match 1u64.checked_shl(size) {
            Some(bit) => bit - 1,
            None => u64::MAX,
        };
        Some(TailWord(!below | 1))
    }

    /// What a tail says that names its head.
    #[must_use]
    pub const fn tail_word_of(self, head: Vaddr) -> TailWord {
        TailWord(head.get() | 1)
    }
}

/// The word of a descriptor by which a tail is known and its head is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TailWord(u64);

impl TailWord {
    /// Of a page that is no tail.
    pub const NONE: Self = Self(0);

    /// The word as a descriptor holds it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Is it the descriptor of a tail?
    #[doc(alias = "PageTail")]
    #[must_use]
    pub const fn is_tail(self) -> bool {
        self.0 & 1 == 1
    }

    /// The head of the page whose descriptor lies at `at`, by a mask. A page that is no tail is its own head.
    ///
    /// ```
    /// use units::{Order, Vaddr};
    /// use vmemmap::Geometry;
    ///
    /// let word = Geometry::X86_64.tail_word(Order::new(9)).unwrap();
    /// assert_eq!(word.get(), 0xffff_ffff_ffff_8001);
    /// let memmap = 0xffff_ea00_0000_0000;
    /// assert_eq!(word.head_by_mask(Vaddr::new(memmap + (512 + 200) * 64)).get(), memmap + 512 * 64);
    /// ```
    #[doc(alias = "compound_head")]
    #[must_use]
    pub const fn head_by_mask(self, at: Vaddr) -> Vaddr {
        // Without a branch: all ones for what is no tail.
        let mask = self.0 | (self.0 & 1).wrapping_sub(1);
        Vaddr::new(at.get() & mask)
    }

    /// The head of such a page, by name.
    #[must_use]
    pub const fn head_by_name(self, at: Vaddr) -> Vaddr {
        if self.is_tail() { Vaddr::new(self.0 - 1) } else { at }
    }
}

impl fmt::Debug for TailWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tail:{:#x}", self.0)
    }
}
