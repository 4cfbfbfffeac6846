//! Descriptors of huge pages, on a small machine.

mod model;
mod tails;
mod world;
