//! The memory that describes memory.
//!
//! The kernel keeps a descriptor of every base page, and the descriptors of a huge page fill pages of their own: eight for 2 MiB, 4096 for
//! 1 GiB, of which all but the first say the same. [`optimise`] gives them back: the first page is kept, and the others are all one
//! *shared tail*, a page that every optimised block of its size in its zone reads and nobody writes. [`restore()`] is the way back, for which
//! memory may be lacking.
//!
//! A shared tail is there from the first block that needs it to the last one: [`Vmemmap`] counts its users in the section in which it hands
//! it out, so that of two who make one at the same time one gives his page back, and nobody frees a page that another is about to use.
//! A tail says no more than what is the same for all of them, its zone and its size, and [`Descriptor`] lets nobody ask it for more.
#![no_std]

extern crate alloc;

mod describe;
mod geometry;
mod homes;
mod optimise;
mod pages;
mod restore;
mod saved;
mod state;
mod tails;

pub use describe::{Descriptor, SharedTail};
pub use geometry::{BadGeometry, Geometry, TailWord};
pub use homes::FrameSource;
pub use optimise::{Left, Outcome, optimise, optimise_all};
pub use restore::{NoMetadata, Restored, drop_unused_tails, restore};
pub use saved::VmemmapState;
pub use state::{HugeBlock, MemmapPages, Optimising, Vmemmap};
pub use tails::{TailKey, TailLife};

/// What this room needs: everything the page allocator needs, and a section over its own state.
pub trait Env: page_alloc::Env {
    /// The section of the descriptors and their tails.
    fn with_vmemmap<R>(&mut self, f: impl FnOnce(&mut Vmemmap) -> R) -> R;

    /// Boot put descriptors into these frames. They are memory like other memory from now on, allocated and about to be given back.
    #[doc(alias("free_bootmem_page", "free_reserved_page"))]
    fn release_boot_frames(&mut self, start: units::Pfn, pages: units::PageCount);
}
