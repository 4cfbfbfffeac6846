//! Scopes: outer, long-held exclusion.
//!
//! Exclusion has two shapes. A *section* (`with_pool`, `with_cache`, ...; declared by each room's `Env`) hands out the state of
//! one part to a closure that cannot reach anything else, so sections never nest and never call out. A *scope* guards no
//! data: it hands the environment back, so sections and further scopes run inside it. Scopes nest outer to inner in the
//! order of [`Scope::rank`]; an inversion is a bug that debug builds report on first use, even with one thread.

use crate::{Event, GmemId, HugeIndex, HugeSize, InodeId, MmId, PageIndex, Pfn};

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Together with other readers.
    Read,
    /// Alone.
    Write,
}

/// What is held while a closure runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One hstate's resize. Two at once only larger size first.
    Resize(HugeSize),
    /// An address space: its VMAs do not change under a reader.
    AddressSpace(MmId, Access),
    /// A file's size and its page removal.
    Inode(InodeId, Access),
    /// A file of guest memory: its attributes, how its folios are split, and which of them it has.
    Gmem(GmemId, Access),
    /// Allocation of what such a file has at that index. Hashed, so two are never held.
    GmemFault(GmemId, PageIndex),
    /// Instantiation of one page of one file. Hashed, so two are never held.
    FaultMutex(InodeId, HugeIndex),
    /// The page tables behind the VMAs of one file: readers fault, a writer may tear them down.
    VmaLock(InodeId, Access),
    /// The set of VMAs that map a file.
    FileMapping(InodeId, Access),
    /// One folio.
    Folio(Pfn),
}

impl Scope {
    /// The place in the nesting order; a scope may be entered only inside scopes of lower rank. Equal ranks exclude each other
    /// but for two resizes, which nest larger size first.
    #[must_use]
    pub const fn rank(self) -> (u8, u8) {
        match self {
            Self::Resize(size) => (1, u8::MAX - size.shift()),
            Self::AddressSpace(..) => (2, 0),
            Self::Inode(..) => (3, 0),
            Self::Gmem(..) => (3, 1),
            Self::FaultMutex(..) => (4, 0),
            Self::GmemFault(..) => (4, 1),
            Self::VmaLock(..) => (5, 0),
            Self::FileMapping(..) => (6, 0),
            Self::Folio(..) => (7, 0),
        }
    }
}

/// A named place that a fault plan can make fail, always consulted before anything is changed.
#[doc(alias("fail_page_alloc", "failslab"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Site {
    /// A descriptor of a reservation map's region.
    RegionDescriptor,
    /// A page for a page table.
    TablePage,
    /// A node of a page cache.
    CacheNode,
    /// A page of a huge page's own metadata.
    VmemmapPage,
    /// A charge to a control group.
    Charge,
    /// A charge to the memory controller.
    MemoryCharge,
    /// A block of frames from the page allocator.
    Frame,
    /// A note of a broken page.
    RawPoison,
    /// Memory for the attributes of a file of guest memory.
    Attributes,
    /// What somebody has is to be moved out of the way: whoever has it is asked.
    Move,
}

impl Site {
    /// Every site.
    pub const ALL: [Self; 10] = [
        Self::RegionDescriptor,
        Self::TablePage,
        Self::CacheNode,
        Self::VmemmapPage,
        Self::Charge,
        Self::MemoryCharge,
        Self::Frame,
        Self::RawPoison,
        Self::Attributes,
        Self::Move,
    ];
}

/// What every environment offers to every path: scopes, the fault plan and the event stream.
pub trait Scopes {
    /// Runs `f` while `scope` is held.
    fn scope<R>(&mut self, scope: Scope, f: impl FnOnce(&mut Self) -> R) -> R;

    /// Does the fault plan refuse this attempt at `site`? It remembers where in the code it refused.
    #[track_caller]
    fn refused(&mut self, site: Site) -> bool;

    /// May an attempt from now on be refused? Whoever makes many of a kind at once makes them one by one then, so that each is asked for.
    fn may_refuse(&self) -> bool {
        true
    }

    /// Publishes an event. `event` is built only where somebody listens.
    fn emit(&mut self, event: impl FnOnce() -> Event);
}
