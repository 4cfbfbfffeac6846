//! What a file has in memory and who maps it.
//!
//! [`PageCache`]: the folios of a file by index; the cache holds one reference per base page of each. [`FileMappings`]: the areas
//! that map a file, so that a page can be taken out of every address space.
#![no_std]

extern crate alloc;

mod cache;
mod mappings;

pub use cache::{NoCacheNode, PageCache, add_to_cache, remove_from_cache, replace_in_cache};
pub use mappings::{FileMappings, MappedArea, areas_over};

use units::{HugeRange, InodeId};

/// What stays where pages are taken out of an area whose writes a userfaultfd watches.
#[doc(alias("zap_flags_t", "ZAP_FLAG_DROP_MARKER"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markers {
    /// Where a page was write-protected a marker stays, so that the page that comes next is so again.
    Keep,
    /// Nothing: the place itself is gone.
    Drop,
}

/// What this room needs: the pools below, sections over caches and mappings, and what only address spaces can do.
pub trait Env: hugetlb::Env {
    /// The section of one file's page cache; nothing where the file is gone.
    fn with_cache<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut PageCache) -> R) -> Option<R>;

    /// The section of one file's mappings.
    fn with_mappings<R>(&mut self, inode: InodeId, f: impl FnOnce(&mut FileMappings) -> R) -> Option<R>;

    /// Upcall, inside the file-mapping scope: take the pages of `range` out of `area`, private copies included.
    fn unmap_area_range(&mut self, area: &MappedArea, range: HugeRange, markers: Markers);
}
