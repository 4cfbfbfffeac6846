//! What the parameters are read against.

use units::{HugeSize, Nodemask, Order, PageShift};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// x86-64, whose base page has 4 KiB.
    X86_64,
    /// arm64, with the base page size that the machine was built for.
    Arm64(PageShift),
}

impl Arch {
    /// The base page size.
    #[must_use]
    pub const fn base_page(self) -> PageShift {
        match self {
            Self::X86_64 => PageShift::K4,
            Self::Arm64(base) => base,
        }
    }

    /// Every huge page size of the architecture, the largest first.
    #[must_use]
    pub fn sizes(self) -> &'static [HugeSize] {
        match self {
            Self::X86_64 => &[HugeSize::G1, HugeSize::M2],
            Self::Arm64(PageShift::K16) => &[HugeSize::G1, HugeSize::M32, HugeSize::M2],
            Self::Arm64(PageShift::K64) => &[HugeSize::G16, HugeSize::M512, HugeSize::M2],
            Self::Arm64(_) => &[HugeSize::G1, HugeSize::M32, HugeSize::M2, HugeSize::K64],
        }
    }

    /// The size that one entry of the second page table level maps; the default size.
    #[must_use]
    pub fn pmd_size(self) -> HugeSize {
        match self {
            Self::Arm64(PageShift::K16) => HugeSize::M32,
            Self::Arm64(PageShift::K64) => HugeSize::M512,
            Self::X86_64 | Self::Arm64(_) => HugeSize::M2,
        }
    }

    /// The largest order of the buddy allocator unless the machine says otherwise: 4 MiB, 32 MiB or 512 MiB.
    #[must_use]
    pub fn largest_buddy_order(self) -> Order {
        match self {
            Self::Arm64(PageShift::K16) => Order::new(11),
            Self::Arm64(PageShift::K64) => Order::new(13),
            Self::X86_64 | Self::Arm64(_) => Order::new(10),
        }
    }
}

/// Whether the processor maps 1 GiB pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GigabytePages {
    /// It does.
    Supported,
    /// It does not, and the size does not exist.
    Unsupported,
}

/// Whether gigantic pages can be allocated and freed after boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeGigantic {
    /// They can: contiguous ranges can be allocated.
    Supported,
    /// They can be had at boot alone.
    Unsupported,
}

/// Whether `hugepages=` may name nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeForm {
    /// It may.
    Supported,
    /// Such a parameter is ignored.
    Unsupported,
}

/// The machine that a command line is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The architecture with its base page size.
    pub arch: Arch,
    /// Nodes that are there at boot.
    pub online: Nodemask,
    /// Blocks above this order are gigantic: the buddy allocator does not have them.
    pub largest_buddy_order: Order,
    /// Whether the processor maps 1 GiB pages. Of the two architectures only x86-64 has processors that do not.
    pub gigabyte_pages: GigabytePages,
    /// Whether gigantic pages can be allocated after boot.
    pub runtime_gigantic: RuntimeGigantic,
    /// Whether `hugepages=` may name nodes.
    pub node_form: NodeForm,
}

impl Platform {
    /// A machine of `arch` that has all its sizes and allocates gigantic pages at run time.
    #[must_use]
    pub fn new(arch: Arch, online: Nodemask) -> Self {
        Self {
            arch,
            online,
            largest_buddy_order: arch.largest_buddy_order(),
            gigabyte_pages: GigabytePages::Supported,
            runtime_gigantic: RuntimeGigantic::Supported,
            node_form: NodeForm::Supported,
        }
    }

    /// The same machine with a processor that has no 1 GiB pages (x86-64 without `pdpe1gb`).
    #[must_use]
    pub fn without_gigabyte_pages(self) -> Self {
        Self { gigabyte_pages: GigabytePages::Unsupported, ..self }
    }

    /// The same machine where gigantic pages can be had at boot alone.
    #[must_use]
    pub fn without_runtime_gigantic(self) -> Self {
        Self { runtime_gigantic: RuntimeGigantic::Unsupported, ..self }
    }

    /// The huge page sizes that this machine has, the largest first.
    pub fn sizes(&self) -> impl Iterator<Item = HugeSize> + use<> {
        let missing = match (self.arch, self.gigabyte_pages) {
            (Arch::X86_64, GigabytePages::Unsupported) => Some(HugeSize::G1),
            _ => None,
        };
        self.arch.sizes().iter().copied().filter(move |&size| Some(size) != missing)
    }

    /// `size` in base pages, where this machine has that size.
    #[must_use]
    pub fn order(&self, size: HugeSize) -> Option<Order> {
        if self.sizes().any(|s| s == size) { size.order(self.arch.base_page()) } else { None }
    }

    /// Is a block of `order` out of the buddy allocator's reach?
    #[must_use]
    pub fn is_gigantic(&self, order: Order) -> bool {
        order > self.largest_buddy_order
    }

    /// The sizes that are registered whatever the command line says, in that order.
    ///
    /// x86-64 registers 1 GiB only where such pages can be allocated at run time; the PMD size is always there.
    pub(super) fn automatic_sizes(&self) -> impl Iterator<Item = HugeSize> + use<> {
        let pmd = self.arch.pmd_size();
        let larger = !matches!((self.arch, self.runtime_gigantic), (Arch::X86_64, RuntimeGigantic::Unsupported));
        self.sizes().filter(move |&size| size == pmd || larger)
    }

    /// The unit of `hugetlb_cma=`: the architecture's largest size, where the machine has it.
    pub(super) fn cma_unit(&self) -> Option<HugeSize> {
        self.sizes().next().filter(|&size| size == self.arch.sizes()[0])
    }
}
