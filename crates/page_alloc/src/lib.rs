//! The path for ordinary pages.
//!
//! A [`Request`] says what is wanted and what is permitted; the answer is a block of frames or a [`NoPages`] that says which
//! ledger refused. Huge pages ask here for their memory like everybody else.
#![no_std]

mod path;

pub use path::{NoPages, Request, alloc, free};

/// What this room needs: the folio records, the topology and the zones.
pub trait Env: memmap::Env + policy::Env + zone::Env {}
