//! What is mapped: page tables of x86-64 and arm64, for an address space of a machine, for a guest, or for a kernel.
//!
//! [`PageTables`] is the root of a tree; its tables are in a [`TableMemory`], which says how a table is had and how an entry is read and
//! written, and nothing else. So the same code fills tables on the heap ([`HeapTables`], or [`SparseTables`] where little is in
//! them), in a guest's memory, or in frames. [`Arch`] says how
//! entries look; [`X86_64`](arch::X86_64), [`Arm64K4`](arch::Arm64K4) and others are types without values.
//!
//! ```
//! use paging::arch::X86_64;
//! use paging::{Entry, Grain, HeapTables, Leaf, LeafFlags, PageTables};
//! use units::{Bytes, PageCount, Pfn, Vaddr, VaddrRange};
//!
//! let mut mem = HeapTables::<X86_64>::new(PageCount::new(100));
//! let tables = PageTables::<X86_64>::new(&mut mem)?;
//! // 3 MiB of frames from 2 MiB on: one page of 2 MiB, and 256 of 4 KiB.
//! let range = VaddrRange::new(Vaddr::new(0x20_0000), Vaddr::new(0x50_0000));
//! let leaf = Leaf::new(Pfn::new(0x200), LeafFlags::WRITE);
//! let entries = tables.map_range(&mut mem, range, leaf, Grain::new::<X86_64>(Bytes::gib(1))?)?;
//! assert_eq!(entries, 1 + 256);
//!
//! let found = tables.find(&mem, Vaddr::new(0x40_1234));
//! assert_eq!(found.place.grain().size(), Bytes::kib(4));
//! assert_eq!(found.entry, Entry::Leaf(Leaf::new(Pfn::new(0x401), LeafFlags::WRITE)));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # One load, then a decision
//!
//! Entries change under whoever reads them: another thread, the processor. [`TableMemory::load`] reads an entry once; [`Arch::decode`] makes an
//! [`Entry`] of it, which has a variant for everything that can be there; and what is done next is decided from that value. Only
//! [`Entry::Table`] is a table. What is not nothing and not a page, such as the note that a page is being moved, is neither followed nor
//! overwritten.
//!
//! # Level and grain
//!
//! A [`Level`] says which table an entry is in; a [`Grain`] says besides how much it maps, which is more where arm64 joins neighbours. A
//! [`Place`] is an entry with its grain. [`step`] goes one level down from a place, the *parent*, and makes the table that is missing;
//! [`walk`] repeats that; [`PageTables::find`] goes as far as there are tables and never fails.
//!
//! # Who may call what
//!
//! Walks need no section. Whoever changes an entry that it found goes into the section of the place and asks [`recheck`] first: nothing may have
//! become a table meanwhile. Two who make a table for one place both succeed, and one of them gives its own back. Tables leave a tree in
//! [`PageTables::collapse`] and [`PageTables::destroy`] alone; nobody else may be walking then.
//!
//! What processors remember of an entry is not gone with the entry: functions that take something away return a [`FlushOwed`].
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "shared"))]
extern crate std;

pub mod arch;
mod entry;
mod flush;
mod heap;
mod level;
mod map;
mod memory;
mod notes;
mod over;
mod recount;
mod resize;
#[cfg(feature = "shared")]
mod shared;
mod sparse;
mod start;
mod walk;

pub use arch::Arch;
pub use entry::{Entry, Leaf, LeafFlags, Marker, Migration, Swap, Word};
pub use flush::FlushOwed;
pub use heap::HeapTables;
pub use level::{Grain, Level, NoSuchGrain};
pub use map::{MapRefusal, MapStopped, Notes, Protected, Straddles};
pub use memory::{Section, Slot, Table, TableMemory, Tlb};
pub use over::Over;
pub use recount::Tally;
pub use resize::{CollapseRefusal, Collapsed, SplitRefusal};
#[cfg(feature = "shared")]
pub use shared::SharedTables;
pub use sparse::SparseTables;
pub use start::{AtLevel, AtTop, Start};
pub use walk::{
    Found, NoTableYet, PageTables, Place, Recheck, StepRefusal, Tables, WalkStopped, find_from, recheck, step, walk,
};
