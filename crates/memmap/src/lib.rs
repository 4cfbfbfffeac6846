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

use units::Scopes;

/// What this room needs: sections over its own state.
pub trait Env: Scopes {
    /// The section of the folio records.
    fn with_memmap<R>(&mut self, f: impl FnOnce(&mut MemMap) -> R) -> R;
    /// The section of page contents.
    fn with_contents<R>(&mut self, f: impl FnOnce(&mut Contents) -> R) -> R;
}
