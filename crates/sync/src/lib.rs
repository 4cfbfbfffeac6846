//! The only room that names a lock, an atomic or a thread.
//!
//! [`cells`] has words that threads share without a lock.
//! [`Rank`] and [`RankStack`] are plain data: a single owner checks its nesting with them. [`locks`], with the feature of that
//! name, holds the locks behind a shared machine; they are `parking_lot`'s, or shuttle's under `--cfg shuttle`.
#![no_std]

extern crate alloc;
#[cfg(feature = "locks")]
extern crate std;

pub mod cells;
#[cfg(feature = "locks")]
pub mod locks;
mod rank;

pub use rank::{Rank, RankStack};
