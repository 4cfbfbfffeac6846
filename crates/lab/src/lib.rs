//! Operations as data, targets that run them, the scenario language, and conformance to the recorded kernel.

pub mod op;
pub mod target;
