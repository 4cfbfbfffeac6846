//! What every frame is right now.
//!
//! One record per leaf: a whole allocated folio is one record, whatever its size, and free memory has none (it belongs to its
//! zone). The pieces of a huge folio that was split are kept in runs of equal ones ([`MemMap::split`]). [`Contents`] holds the bytes that somebody wrote; a byte that nobody wrote reads as zero.
#![no_std]

extern crate alloc;

mod contents;
mod folio;
mod pieces;
mod table;

pub use contents::Contents;
pub use folio::{Broken, Folio, FolioKind, HugeSlot, Last, MappedBy, MemMap, REFS_MAX, TooManyRefs};
pub use pieces::{Referenced, Split};

use units::{Bytes, Pfn, Scopes};

/// What this room needs: sections over its own state. Memory is divided into regions, each at least as large as the largest folio, and each
/// region may have sections of its own: whoever enters one says which frame it is about, and may ask inside for that folio alone.
pub trait Env: Scopes {
    /// The section of the records of the region that `pfn` is in.
    fn with_memmap<R>(&mut self, pfn: Pfn, f: impl FnOnce(&mut MemMap) -> R) -> R;
    /// The section of the contents of the region that `pfn` is in.
    fn with_contents<R>(&mut self, pfn: Pfn, f: impl FnOnce(&mut Contents) -> R) -> R;
}

/// Copies a block of `len` bytes over another one. Nobody writes to the former meanwhile: that is the caller's to see to.
#[doc(alias("copy_user_large_folio", "copy_user_huge_page"))]
pub fn copy<P: Env>(p: &mut P, from: Pfn, to: Pfn, len: Bytes) {
    let bytes = p.with_contents(from, |contents| contents.block(from, len));
    p.with_contents(to, |contents| contents.fill(to, len, bytes));
}
