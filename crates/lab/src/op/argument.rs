//! What an argument of an operation must be able to do: be read from and printed as text and JSON.

use super::draw::Draws;
use super::record::{Record, Scalar};

/// Why a word or a JSON value is not an argument of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ValueError {
    /// What is wrong with it, naming the value.
    pub problem: String,
    /// What may stand there instead, when a near word is known.
    pub nearest: Option<String>,
}

impl ValueError {
    /// An error with this text.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), nearest: None }
    }
}

/// Where an argument stands on a scenario line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By its position among the arguments without a key.
    Positional,
    /// As `key=value`.
    Keyed,
    /// As its key alone.
    Word,
    /// At the end of the line, as `= value`.
    AfterEquals,
}

/// Whether an argument must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must be given.
    Required,
    /// It may be left out, which is remembered.
    Optional,
    /// Left out, it has its usual value; that value is not printed in scenarios and always printed in JSON.
    Defaulted,
}

/// A scalar: one word of text, one JSON value.
pub trait Value: Sized {
    /// What may stand there, for messages and the grammar page.
    const EXPECTS: &'static str;
    /// Where it stands when it is optional.
    const PLACE_IF_OPTIONAL: Place = Place::Keyed;
    /// Reads one word.
    ///
    /// # Errors
    /// The word is not a value of this type.
    fn from_text(text: &str) -> Result<Self, ValueError>;
    /// Prints the word that reads back as this value.
    fn to_text(&self) -> String;
    /// Any value of this type.
    fn draw(draws: &mut Draws<'_>) -> Self;
    /// Reads a JSON value; by default a string read as text.
    ///
    /// # Errors
    /// The value has another JSON type or is not of this type.
    fn from_scalar(scalar: &Scalar) -> Result<Self, ValueError> {
        match scalar {
            Scalar::Text(text) => Self::from_text(text),
            Scalar::Number(n) => Err(ValueError::new(format!("{n} is a number where a string is expected"))),
        }
    }
    /// The JSON value.
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.to_text())
    }
}

/// An argument: one word of text, one or two JSON keys.
pub trait Argument: Sized {
    /// What may stand there, for messages and the grammar page.
    const EXPECTS: &'static str;
    /// Where it stands on a scenario line.
    const PLACE: Place = Place::Positional;
    /// Where it stands when it is optional.
    const PLACE_IF_OPTIONAL: Place = Place::Keyed;
    /// Whether it must be given, if the verb names no default.
    const PRESENCE: Presence = Presence::Required;
    /// The value of an argument left out, if it may be.
    fn absent() -> Option<Self> {
        None
    }
    /// Reads one word.
    ///
    /// # Errors
    /// The word is not an argument of this type.
    fn parse(text: &str) -> Result<Self, ValueError>;
    /// Prints the word, or nothing for an argument left out.
    fn print(&self) -> Option<String>;
    /// Any argument of this type.
    fn draw(draws: &mut Draws<'_>) -> Self;
    /// Reads the argument from its keys; `None` when none of them is there.
    ///
    /// # Errors
    /// A value of a key is wrong, or a key that must come with another stands alone.
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError>;
    /// Appends the argument under its keys.
    fn to_record(&self, keys: &[&str], record: &mut Record);
}

impl<V: Value> Argument for V {
    const EXPECTS: &'static str = <V as Value>::EXPECTS;
    const PLACE_IF_OPTIONAL: Place = <V as Value>::PLACE_IF_OPTIONAL;
    fn parse(text: &str) -> Result<Self, ValueError> {
        V::from_text(text)
    }
    fn print(&self) -> Option<String> {
        Some(V::to_text(self))
    }
    fn draw(draws: &mut Draws<'_>) -> Self {
        V::draw(draws)
    }
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        record.get(keys[0]).map(V::from_scalar).transpose()
    }
    fn to_record(&self, keys: &[&str], record: &mut Record) {
        record.push(keys[0], self.to_scalar());
    }
}

impl<A: Argument> Argument for Option<A> {
    const EXPECTS: &'static str = A::EXPECTS;
    const PLACE: Place = A::PLACE_IF_OPTIONAL;
    const PRESENCE: Presence = Presence::Optional;
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        A::parse(text).map(Some)
    }
    fn print(&self) -> Option<String> {
        self.as_ref().and_then(A::print)
    }
    fn draw(draws: &mut Draws<'_>) -> Self {
        (draws.byte() % 2 == 1).then(|| A::draw(draws))
    }
    fn from_record(record: &Record, keys: &[&str]) -> Result<Option<Self>, ValueError> {
        A::from_record(record, keys).map(|found| found.map(Some))
    }
    fn to_record(&self, keys: &[&str], record: &mut Record) {
        if let Some(argument) = self {
            argument.to_record(keys, record);
        }
    }
}
