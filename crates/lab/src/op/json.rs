//! Operations as flat JSON objects.

use super::argument::{Argument, Value};
use super::error::OpError;
use super::name::Actor;
use super::record::{Record, Scalar};
use super::table::{Sink, Source, Verb};
use super::text::nearest;
use super::words::left_out;

/// Reads an operation from a record.
pub(crate) struct RecordSource<'a> {
    record: &'a Record,
    verb: &'static Verb,
    asked: usize,
}

impl<'a> RecordSource<'a> {
    pub(crate) fn new(record: &'a Record) -> Self {
        Self { record, verb: super::Nop::VERB, asked: 0 }
    }
}

impl Source for RecordSource<'_> {
    fn begin(&mut self, verb: &'static Verb) -> Result<(), OpError> {
        self.verb = verb;
        let keys = || verb.arguments.iter().flat_map(|argument| argument.keys.iter().copied());
        for (key, value) in self.record.entries() {
            if key == "op" || (verb.by_actor && key == "p") || keys().any(|known| known == key) {
                continue;
            }
            if key == "p" {
                return Err(OpError::UnwantedActor { verb: verb.name, actor: value.to_string() });
            }
            return Err(OpError::UnknownArgument {
                verb: verb.name,
                word: key.to_owned(),
                nearest: nearest(key, keys()).map(str::to_owned),
                arguments: keys().collect::<Vec<_>>().join(", "),
                at: 0,
            });
        }
        Ok(())
    }

    fn actor(&mut self) -> Result<Actor, OpError> {
        let verb = self.verb.name;
        let scalar = self.record.get("p").ok_or(OpError::NoActor { verb })?;
        <Actor as Value>::from_scalar(scalar).map_err(|problem| OpError::BadValue {
            verb,
            argument: "p",
            key: "p",
            problem,
            expects: <Actor as Value>::EXPECTS,
            at: 0,
        })
    }

    fn next<A: Argument>(&mut self, usual: Option<A>) -> Result<A, OpError> {
        let info = &self.verb.arguments[self.asked];
        self.asked += 1;
        match A::from_record(self.record, info.keys) {
            Ok(Some(argument)) => Ok(argument),
            Ok(None) => left_out(self.verb, info, usual),
            Err(problem) => {
                let given = info.keys.iter().find(|key| self.record.get(key).is_some());
                Err(OpError::BadValue {
                    verb: self.verb.name,
                    argument: info.name,
                    key: given.unwrap_or(&info.keys[0]),
                    problem,
                    expects: info.expects,
                    at: 0,
                })
            }
        }
    }
}

/// Prints an operation as a record.
#[derive(Default)]
pub(crate) struct RecordSink {
    pub(crate) record: Record,
    verb: Option<&'static Verb>,
    given: usize,
}

impl Sink for RecordSink {
    fn begin(&mut self, verb: &'static Verb) {
        self.verb = Some(verb);
        self.record.push("op", Scalar::Text(verb.name.to_owned()));
    }

    fn actor(&mut self, actor: Actor) {
        self.record.push("p", actor.to_scalar());
    }

    fn next<A: Argument + PartialEq>(&mut self, argument: &A, _usual: Option<A>) {
        let info = self.verb.map(|verb| &verb.arguments[self.given]);
        let info = info.expect("`begin` comes before the first argument");
        self.given += 1;
        argument.to_record(info.keys, &mut self.record);
    }
}
