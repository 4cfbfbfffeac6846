//! The instance: a machine of this library as a target.

use crate::conform::Observable;
use crate::op::Op;
use crate::target::{Answer, BeginError, Counters, Header, Target};

/// A machine that runs operations.
#[derive(Debug, Default)]
pub struct Instance {
    counters: Counters,
}

impl Instance {
    /// An instance without a machine; `begin` builds one.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Target for Instance {
    fn name(&self) -> &str {
        "instance"
    }

    fn begin(&mut self, _header: &Header) -> Result<(), BeginError> {
        self.counters = Counters::default();
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Answer {
        Answer::not_modelled(format!("`{}` is not built yet", op.verb().name))
    }

    fn counters(&mut self) -> Counters {
        self.counters.clone()
    }

    fn end(&mut self) -> Counters {
        self.counters.clone()
    }
}

impl Observable for Instance {
    type Observation = ();

    fn observe(&mut self) -> Self::Observation {}
}
