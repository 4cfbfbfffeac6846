//! What the benches measure and what they should find.
//!
//! A figure is a count of instructions per operation: the same on every run and on every machine of an architecture, so
//! that a difference is a change of the code. The benches under `benches/` run under callgrind; what is set up here happens
//! outside the measured part. [`table`] says how often each bench repeats its operation and how much it may take;
//! [`report`] puts the figures beside that. `cargo xtask bench` does all of it.

pub mod clock;
pub mod counting;
pub mod faults;
pub mod frames;
pub mod replay;
pub mod report;
pub mod setup;
pub mod table;
pub mod threads;
pub mod torture;
