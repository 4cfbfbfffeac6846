//! Operations as words of a scenario line.

use super::argument::{Argument, Place};
use super::error::OpError;
use super::name::Actor;
use super::table::{ArgumentInfo, Sink, Source, Verb};
use super::text::nearest;

/// An argument word of a line: `word`, `key=word`, or the word after the line's ` = `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a> {
    /// Its text.
    pub text: &'a str,
    /// Which word of the line it is, counted from the verb.
    pub at: usize,
    /// Whether it stands after the line's equals sign.
    pub after_equals: bool,
}

/// Reads an operation from the words of a line.
pub(crate) struct WordSource<'a> {
    actor: Option<Actor>,
    words: &'a [Word<'a>],
    sorted: Vec<Option<(&'a str, usize)>>,
    asked: usize,
    verb: &'static Verb,
}

fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain.then_some((key, value))
}

impl<'a> WordSource<'a> {
    pub(crate) fn new(actor: Option<Actor>, words: &'a [Word<'a>]) -> Self {
        Self { actor, words, sorted: Vec::new(), asked: 0, verb: super::Nop::VERB }
    }

    /// Which argument `word` is, and its text without the key.
    fn place_of(&self, word: &Word<'a>) -> Result<(usize, &'a str), OpError> {
        let arguments = self.verb.arguments;
        let named = |key: &str| arguments.iter().position(|argument| argument.name == key);
        if word.after_equals {
            let index = arguments.iter().position(|argument| argument.place == Place::AfterEquals);
            return index.map(|index| (index, word.text)).ok_or_else(|| self.unknown(word, "="));
        }
        if let Some((key, value)) = key_and_value(word.text) {
            return named(key).map(|index| (index, value)).ok_or_else(|| self.unknown(word, key));
        }
        if let Some(index) = named(word.text).filter(|index| arguments[*index].place == Place::Word) {
            return Ok((index, "1"));
        }
        arguments
            .iter()
            .enumerate()
            .position(|(index, argument)| argument.place == Place::Positional && self.sorted[index].is_none())
            .map(|index| (index, word.text))
            .ok_or_else(|| self.unknown(word, word.text))
    }

    fn unknown(&self, word: &Word<'_>, key: &str) -> OpError {
        let names: Vec<&str> = self.verb.arguments.iter().map(|argument| argument.name).collect();
        OpError::UnknownArgument {
            verb: self.verb.name,
            word: key.to_owned(),
            nearest: nearest(key, names.iter().copied()).map(str::to_owned),
            arguments: names.join(", "),
            at: word.at,
        }
    }
}

impl Source for WordSource<'_> {
    fn begin(&mut self, verb: &'static Verb) -> Result<(), OpError> {
        self.verb = verb;
        self.sorted = vec![None; verb.arguments.len()];
        if let Some(actor) = self.actor.filter(|_| !verb.by_actor) {
            return Err(OpError::UnwantedActor { verb: verb.name, actor: actor.to_string() });
        }
        for word in self.words {
            let (index, text) = self.place_of(word)?;
            if self.sorted[index].replace((text, word.at)).is_some() {
                return Err(OpError::Twice { argument: verb.arguments[index].name, at: word.at });
            }
        }
        Ok(())
    }

    fn actor(&mut self) -> Result<Actor, OpError> {
        self.actor.ok_or(OpError::NoActor { verb: self.verb.name })
    }

    fn next<A: Argument>(&mut self, usual: Option<A>) -> Result<A, OpError> {
        let info = &self.verb.arguments[self.asked];
        let word = self.sorted[self.asked];
        self.asked += 1;
        match word {
            Some((text, at)) => A::parse(text).map_err(|problem| OpError::BadValue {
                verb: self.verb.name,
                argument: info.name,
                key: info.keys[0],
                problem,
                expects: info.expects,
                at,
            }),
            None => left_out(self.verb, info, usual),
        }
    }
}

/// The value of an argument that is not there.
pub(crate) fn left_out<A: Argument>(verb: &'static Verb, info: &ArgumentInfo, usual: Option<A>) -> Result<A, OpError> {
    usual.or_else(A::absent).ok_or(OpError::Missing { verb: verb.name, argument: info.name, expects: info.expects })
}

/// One argument of an operation, as text.
#[derive(Debug)]
pub(crate) struct WordOut {
    pub(crate) info: &'static ArgumentInfo,
    /// Its word; `None` if it is left out.
    pub(crate) text: Option<String>,
    /// Whether it has its usual value, which a line does not show.
    pub(crate) usual: bool,
}

/// Prints an operation as words.
#[derive(Debug, Default)]
pub(crate) struct WordSink {
    pub(crate) actor: Option<Actor>,
    pub(crate) words: Vec<WordOut>,
    verb: Option<&'static Verb>,
}

impl Sink for WordSink {
    fn begin(&mut self, verb: &'static Verb) {
        self.verb = Some(verb);
    }

    fn actor(&mut self, actor: Actor) {
        self.actor = Some(actor);
    }

    fn next<A: Argument + PartialEq>(&mut self, argument: &A, usual: Option<A>) {
        let info = self.verb.map(|verb| &verb.arguments[self.words.len()]);
        let info = info.expect("`begin` comes before the first argument");
        let usual = usual.as_ref() == Some(argument);
        self.words.push(WordOut { info, text: argument.print(), usual });
    }
}

impl WordSink {
    /// The operation as its verb and arguments.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        if let Some(actor) = self.actor {
            line.push_str(&format!("{actor} "));
        }
        line.push_str(self.verb.map_or("", |verb| verb.name));
        for word in self.words.iter().filter(|word| !word.usual) {
            let Some(text) = &word.text else { continue };
            line.push(' ');
            match word.info.place {
                Place::Positional => line.push_str(text),
                Place::Word if text == "1" => line.push_str(word.info.name),
                Place::Keyed | Place::Word => line.push_str(&format!("{}={text}", word.info.name)),
                Place::AfterEquals => line.push_str(&format!("= {text}")),
            }
        }
        line
    }
}
