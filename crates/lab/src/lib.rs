//! Operations as data, targets that run them, the scenario language, and conformance to the recorded kernel.

pub mod conform;
pub mod defects;
pub mod fuzz;
pub mod generate;
pub mod grammar;
pub mod hvo;
pub mod input;
pub mod instance;
pub mod ktap;
pub mod limits;
pub mod machine_state;
pub mod model;
pub mod op;
pub mod pages;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod target;
pub mod zoneinfo;
