//! Descriptors of huge pages, on a small machine.

mod blocks;
mod model;
mod tails;
mod world;
