//! How the verb table becomes types, readers, printers and descriptions.

use super::argument::{Argument, Place, Presence};
use super::error::OpError;
use super::name::Actor;
use super::record::Record;
use super::text::nearest;

/// One verb of the table: everything that a printer, a reader or a help page needs to know.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its word in scenarios and the value of `op` in JSON.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether a process does it.
    pub by_actor: bool,
    /// Its arguments in order.
    pub arguments: &'static [ArgumentInfo],
    /// The files that `echo VALUE > FILE` writes for the same operation; `{argument}` stands for an argument.
    pub files: &'static [&'static str],
}

/// One argument of a verb.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentInfo {
    /// Its key in scenarios.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Its keys in JSON.
    pub keys: &'static [&'static str],
    /// What may stand there.
    pub expects: &'static str,
    /// Where it stands on a line.
    pub place: Place,
    /// Whether it must be given.
    pub presence: Presence,
}

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

/// The arguments of one operation, sorted to their places: one optional word for each argument of the verb.
pub(crate) struct Arguments<'a> {
    verb: &'static Verb,
    words: Vec<Option<(&'a str, usize)>>,
}

fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once('=')?;
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain.then_some((key, value))
}

impl<'a> Arguments<'a> {
    pub(crate) fn sort(verb: &'static Verb, words: &[Word<'a>]) -> Result<Self, OpError> {
        let mut sorted = Self { verb, words: vec![None; verb.arguments.len()] };
        for word in words {
            let (index, text) = sorted.place_of(word)?;
            if sorted.words[index].replace((text, word.at)).is_some() {
                return Err(OpError::Twice { argument: verb.arguments[index].name, at: word.at });
            }
        }
        Ok(sorted)
    }

    fn place_of(&self, word: &Word<'a>) -> Result<(usize, &'a str), OpError> {
        let arguments = self.verb.arguments;
        let of_place = |place: Place| arguments.iter().position(|argument| argument.place == place);
        let named = |key: &str| arguments.iter().position(|argument| argument.name == key);
        if word.after_equals {
            return of_place(Place::AfterEquals).map(|index| (index, word.text)).ok_or_else(|| self.unknown(word, "="));
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
            .position(|(index, argument)| argument.place == Place::Positional && self.words[index].is_none())
            .map(|index| (index, word.text))
            .ok_or_else(|| self.unknown(word, word.text))
    }

    fn unknown(&self, word: &Word<'_>, key: &str) -> OpError {
        let mut error = unknown_argument(self.verb, key, |argument| argument.name);
        if let OpError::UnknownArgument { at, .. } = &mut error {
            *at = word.at;
        }
        error
    }

    /// The argument with this index of the verb.
    pub(crate) fn take<A: Argument>(&self, index: usize, default: Option<A>) -> Result<A, OpError> {
        let info = &self.verb.arguments[index];
        match self.words[index] {
            Some((text, at)) => A::parse(text).map_err(|problem| OpError::BadValue {
                verb: self.verb.name,
                argument: info.name,
                key: info.keys[0],
                problem,
                expects: info.expects,
                at,
            }),
            None => or_absent(self.verb, info, default),
        }
    }
}

fn unknown_argument(verb: &'static Verb, word: &str, name: fn(&ArgumentInfo) -> &'static str) -> OpError {
    let names: Vec<&str> = verb.arguments.iter().map(name).collect();
    OpError::UnknownArgument {
        verb: verb.name,
        word: word.to_owned(),
        nearest: nearest(word, names.iter().copied()).map(str::to_owned),
        arguments: names.join(", "),
        at: 0,
    }
}

fn or_absent<A: Argument>(verb: &'static Verb, info: &ArgumentInfo, default: Option<A>) -> Result<A, OpError> {
    default.or_else(A::absent).ok_or(OpError::Missing { verb: verb.name, argument: info.name, expects: info.expects })
}

/// Refuses keys of `record` that the verb does not have.
pub(crate) fn check_keys(verb: &'static Verb, record: &Record) -> Result<(), OpError> {
    for (key, value) in record.entries() {
        let known =
            key == "op" || (verb.by_actor && key == "p") || verb.arguments.iter().any(|a| a.keys.contains(&key));
        if key == "p" && !known {
            return Err(OpError::UnwantedActor { verb: verb.name, actor: value.to_string() });
        }
        if !known {
            let keys: Vec<&str> = verb.arguments.iter().flat_map(|a| a.keys.iter().copied()).collect();
            return Err(OpError::UnknownArgument {
                verb: verb.name,
                word: key.to_owned(),
                nearest: nearest(key, keys.iter().copied()).map(str::to_owned),
                arguments: keys.join(", "),
                at: 0,
            });
        }
    }
    Ok(())
}

/// The actor of a record whose verb needs one.
pub(crate) fn actor_of(verb: &'static Verb, record: &Record) -> Result<Actor, OpError> {
    let info = ArgumentInfo {
        name: "p",
        doc: "",
        keys: &["p"],
        expects: <Actor as Argument>::EXPECTS,
        place: Place::Positional,
        presence: Presence::Required,
    };
    record_argument(verb, &info, record, None).map_err(|error| match error {
        OpError::Missing { verb, .. } => OpError::NoActor { verb },
        other => other,
    })
}

/// The argument `info` of a record.
pub(crate) fn record_argument<A: Argument>(
    verb: &'static Verb,
    info: &ArgumentInfo,
    record: &Record,
    default: Option<A>,
) -> Result<A, OpError> {
    match A::from_record(record, info.keys) {
        Ok(Some(argument)) => Ok(argument),
        Ok(None) => or_absent(verb, info, default),
        Err(problem) => Err(OpError::BadValue {
            verb: verb.name,
            argument: info.name,
            key: info.keys.iter().find(|key| record.get(key).is_some()).copied().unwrap_or(info.keys[0]),
            problem,
            expects: info.expects,
            at: 0,
        }),
    }
}

/// Appends an argument's word to a line, unless it is left out or has its usual value.
pub(crate) fn print_argument<A: Argument + PartialEq>(
    info: &ArgumentInfo,
    argument: &A,
    usual: Option<&A>,
    line: &mut String,
) {
    let Some(text) = argument.print().filter(|_| usual != Some(argument)) else {
        return;
    };
    line.push(' ');
    match info.place {
        Place::Positional => line.push_str(&text),
        Place::Word if text == "1" => line.push_str(info.name),
        Place::Keyed | Place::Word => {
            line.push_str(info.name);
            line.push('=');
            line.push_str(&text);
        }
        Place::AfterEquals => {
            line.push_str("= ");
            line.push_str(&text);
        }
    }
}

/// Turns the verb table into one struct for each verb, the enum of all of them, and their descriptions.
macro_rules! verbs {
    (@presence $ty:ty) => { <$ty as Argument>::PRESENCE };
    (@presence $ty:ty, $default:expr) => { Presence::Defaulted };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
    (@actor $operation:ident) => { None };
    (@actor $operation:ident $actor:ident) => { Some($operation.$actor) };
    (@by_actor) => { false };
    (@by_actor $actor:ident) => { true };
    ($(
        $(#[doc = $doc:literal])+
        $verb:ident = $name:literal $(by $actor:ident)? {
            $($(#[doc = $adoc:literal])+ $argument:ident: $ty:ty [$($key:literal),+] $(or $default:expr)?;)*
        } $(writes $($file:literal),+)?
    )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $verb {
                $(
                    /// The process that does it.
                    pub $actor: Actor,
                )?
                $($(#[doc = $adoc])+ pub $argument: $ty,)*
            }

            impl $verb {
                /// The verb's entry in the table.
                pub const VERB: &'static Verb = &Verb {
                    name: $name,
                    doc: concat!($($doc, "\n"),+),
                    by_actor: verbs!(@by_actor $($actor)?),
                    arguments: &[$(ArgumentInfo {
                        name: stringify!($argument),
                        doc: concat!($($adoc, "\n"),+),
                        keys: &[$($key),+],
                        expects: <$ty as Argument>::EXPECTS,
                        place: <$ty as Argument>::PLACE,
                        presence: verbs!(@presence $ty $(, $default)?),
                    }),*],
                    files: &[$($($file),+)?],
                };

                #[expect(clippy::allow_attributes, reason = "a verb may have no arguments, and then nothing is unused but these")]
                #[allow(unused_variables, unused_mut, unused_assignments, reason = "a verb may have no arguments")]
                fn from_record(record: &Record) -> Result<Self, OpError> {
                    check_keys(Self::VERB, record)?;
                    let mut infos = Self::VERB.arguments.iter();
                    Ok(Self {
                        $($actor: actor_of(Self::VERB, record)?,)?
                        $($argument: record_argument(
                            Self::VERB,
                            infos.next().expect("the table has an entry for each argument"),
                            record,
                            verbs!(@default $($default)?),
                        )?,)*
                    })
                }

                #[expect(clippy::allow_attributes, reason = "a verb may have no arguments, and then nothing is unused but these")]
                #[allow(unused_variables, unused_mut, unused_assignments, reason = "a verb may have no arguments")]
                fn from_words(actor: Option<Actor>, words: &[Word<'_>]) -> Result<Self, OpError> {
                    let arguments = Arguments::sort(Self::VERB, words)?;
                    let mut indexes = 0..Self::VERB.arguments.len();
                    Ok(Self {
                        $($actor: actor.ok_or(OpError::NoActor { verb: $name })?,)?
                        $($argument: arguments.take(
                            indexes.next().expect("the table has an entry for each argument"),
                            verbs!(@default $($default)?),
                        )?,)*
                    })
                }

                #[expect(clippy::allow_attributes, reason = "a verb may have no arguments, and then nothing is unused but these")]
                #[allow(unused_variables, unused_mut, unused_assignments, reason = "a verb may have no arguments")]
                fn to_record(&self, record: &mut Record) {
                    $(record.push("p", Value::to_scalar(&self.$actor));)?
                    let mut infos = Self::VERB.arguments.iter();
                    $(Argument::to_record(
                        &self.$argument,
                        infos.next().expect("the table has an entry for each argument").keys,
                        record,
                    );)*
                }

                #[expect(clippy::allow_attributes, reason = "a verb may have no arguments, and then nothing is unused but these")]
                #[allow(unused_variables, unused_mut, unused_assignments, reason = "a verb may have no arguments")]
                fn print(&self, line: &mut String) {
                    $(line.push_str(&format!("{} ", self.$actor));)?
                    line.push_str($name);
                    let mut infos = Self::VERB.arguments.iter();
                    $(print_argument(
                        infos.next().expect("the table has an entry for each argument"),
                        &self.$argument,
                        verbs!(@default $($default)?).as_ref(),
                        line,
                    );)*
                }
            }

            impl From<$verb> for Op {
                fn from(operation: $verb) -> Op {
                    Op::$verb(operation)
                }
            }
        )*

        /// One operation.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Op {
            $($(#[doc = $doc])+ $verb($verb),)*
        }

        /// Every verb, in the order of the grammar page.
        pub static VERBS: &[&Verb] = &[$($verb::VERB),*];

        impl Op {
            /// The verb's entry in the table.
            pub fn verb(&self) -> &'static Verb {
                match self { $(Op::$verb(_) => $verb::VERB,)* }
            }

            /// The process that does it.
            #[expect(clippy::allow_attributes, reason = "only verbs without a process leave the operation unused")]
            #[allow(unused_variables, reason = "only verbs without a process leave the operation unused")]
            pub fn actor(&self) -> Option<Actor> {
                match self { $(Op::$verb(operation) => verbs!(@actor operation $($actor)?),)* }
            }

            fn read_record(name: &str, record: &Record) -> Result<Op, OpError> {
                match name {
                    $($name => $verb::from_record(record).map(Op::$verb),)*
                    other => Err(unknown_verb(other)),
                }
            }

            fn read_words(name: &str, actor: Option<Actor>, words: &[Word<'_>]) -> Result<Op, OpError> {
                match name {
                    $($name => $verb::from_words(actor, words).map(Op::$verb),)*
                    other => Err(unknown_verb(other)),
                }
            }

            fn fill_record(&self, record: &mut Record) {
                match self { $(Op::$verb(operation) => operation.to_record(record),)* }
            }

            fn print(&self, line: &mut String) {
                match self { $(Op::$verb(operation) => operation.print(line),)* }
            }
        }
    };
}
pub(crate) use verbs;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::VERBS;

    #[test]
    fn a_usual_value_can_be_left_out_only_at_the_end() {
        for verb in VERBS {
            let positional: Vec<Presence> = verb
                .arguments
                .iter()
                .filter(|argument| argument.place == Place::Positional)
                .map(|argument| argument.presence)
                .collect();
            let first_usual = positional.iter().position(|p| *p == Presence::Defaulted);
            let required_after = first_usual.is_some_and(|first| positional[first..].contains(&Presence::Required));
            let usual = positional.iter().filter(|p| **p == Presence::Defaulted).count();
            assert!(!required_after && usual <= 1, "{}", verb.name);
        }
    }

    #[test]
    fn names_and_keys_are_given_once() {
        for (index, verb) in VERBS.iter().enumerate() {
            assert!(VERBS[..index].iter().all(|other| other.name != verb.name), "{}", verb.name);
            let names: Vec<&str> = verb.arguments.iter().map(|argument| argument.name).collect();
            let keys: Vec<&str> = verb.arguments.iter().flat_map(|a| a.keys.iter().copied()).collect();
            for list in [names, keys] {
                for (at, word) in list.iter().enumerate() {
                    assert!(!list[..at].contains(word), "{} {word}", verb.name);
                }
            }
        }
    }
}
