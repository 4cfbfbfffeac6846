//! Guest memory on a whole machine.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod model;
mod naive;
mod regressions;
mod restructure;
