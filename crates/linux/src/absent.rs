//! In place of the running kernel, where there is none.

use lab::op::Op;
use lab::target::{Answer, BeginError, Counters, Header, Target};

use crate::{Damage, StartError};

/// The running kernel, of which this system has none: there is no value of this type.
#[derive(Debug)]
pub enum Running {}

impl Running {
    /// Says that this is another system.
    ///
    /// # Errors
    /// Always [`StartError::NotHere`].
    pub fn start() -> Result<Self, StartError> {
        Err(StartError::NotHere)
    }

    /// What a script needs and the host has not.
    pub fn lacks(&self, _header: &Header, _ops: &[&Op]) -> Option<String> {
        match *self {}
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        match *self {}
    }

    /// Whether the user wants an end.
    pub fn is_interrupted(&self) -> bool {
        match *self {}
    }

    /// What was repaired after scripts.
    pub fn repairs(&self) -> &[String] {
        match *self {}
    }

    /// Puts the host back.
    ///
    /// # Errors
    /// Something could not be put back.
    pub fn close(self) -> Result<(), Damage> {
        match self {}
    }
}

impl Target for Running {
    fn name(&self) -> &str {
        match *self {}
    }
    fn begin(&mut self, _header: &Header) -> Result<(), BeginError> {
        match *self {}
    }
    fn step(&mut self, _op: &Op) -> Answer {
        match *self {}
    }
    fn counters(&mut self) -> Counters {
        match *self {}
    }
    fn end(&mut self) -> Counters {
        match *self {}
    }
}
