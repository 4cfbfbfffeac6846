//! Operations as data, targets that run them, the scenario language, and conformance to the recorded kernel.

pub mod input;
pub mod instance;
pub mod op;
pub mod scenario;
pub mod target;
