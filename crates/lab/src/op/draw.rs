//! Operations from bytes: what a fuzzer or a random test asks for. Any bytes give operations.

use super::argument::Argument;
use super::error::OpError;
use super::name::Actor;
use super::table::{Source, Verb};

/// A supply of choices made from bytes; when they run out every choice is the first.
#[derive(Debug)]
pub struct Draws<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Draws<'a> {
    /// Choices made from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    /// Whether no byte is left.
    pub fn is_spent(&self) -> bool {
        self.bytes.as_slice().is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    /// One of `choices`, which is not empty.
    pub fn of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    /// The next eight bytes as a number.
    pub fn number(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }
}

/// Draws the arguments of an operation.
pub(crate) struct DrawSource<'d, 'a>(pub(crate) &'d mut Draws<'a>);

impl Source for DrawSource<'_, '_> {
    fn begin(&mut self, _verb: &'static Verb) -> Result<(), OpError> {
        Ok(())
    }

    fn actor(&mut self) -> Result<Actor, OpError> {
        Ok(<Actor as Argument>::draw(self.0))
    }

    fn next<A: Argument>(&mut self, usual: Option<A>) -> Result<A, OpError> {
        match usual.filter(|_| self.0.byte().is_multiple_of(2)) {
            Some(usual) => Ok(usual),
            None => Ok(A::draw(self.0)),
        }
    }
}
