//! How the verb table becomes types, readers, printers and descriptions.
//!
//! For each verb the table generates a struct with two walks over its arguments in order: `read` takes them from a
//! [`Source`], `write` hands them to a [`Sink`]. Every format is one source or one sink, so none can forget a verb.

use super::argument::{Argument, Place, Presence};
use super::error::OpError;
use super::name::Actor;

/// One verb of the table: everything that a printer, a reader or a help page needs to know.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its word in scenarios and the value of `op` in JSON.
    pub name: &'static str,
    /// What it is about.
    pub about: About,
    /// What it does.
    pub doc: &'static str,
    /// Whether a process does it.
    pub by_actor: bool,
    /// Its arguments in order.
    pub arguments: &'static [ArgumentInfo],
    /// The files that `echo VALUE > FILE` writes for the same operation; `{argument}` stands for an argument,
    /// `{size:kB}` for a page size as sysfs writes it and `{size:B}` as cgroup files do.
    pub files: &'static [&'static str],
}

/// What a verb is about: each is a part of every target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Pools and what else is written to files.
    Knob,
    /// Mounts, and files by their names.
    Mount,
    /// Control groups.
    Group,
    /// Processes.
    Process,
    /// Mappings.
    Memory,
    /// Descriptors.
    File,
    /// System V segments.
    Segment,
    /// userfaultfd.
    Uffd,
    /// Where pages lie.
    Placement,
    /// Ordinary pages.
    Pages,
    /// Memory of guests.
    Guest,
    /// Page tables by themselves.
    Tables,
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

/// Where the arguments of an operation come from, asked in the verb's order.
pub(crate) trait Source {
    /// Before the first argument.
    fn begin(&mut self, verb: &'static Verb) -> Result<(), OpError>;
    /// The process, asked only for verbs that a process does.
    fn actor(&mut self) -> Result<Actor, OpError>;
    /// The next argument; `usual` is its value if it is left out.
    fn next<A: Argument>(&mut self, usual: Option<A>) -> Result<A, OpError>;
}

/// Where the arguments of an operation go, given in the verb's order.
pub(crate) trait Sink {
    /// Before the first argument.
    fn begin(&mut self, verb: &'static Verb);
    /// The process, given only for verbs that a process does.
    fn actor(&mut self, actor: Actor);
    /// The next argument; `usual` is its value if it is left out.
    fn next<A: Argument + PartialEq>(&mut self, argument: &A, usual: Option<A>);
}

/// Turns a part of the verb table into a struct for each verb, with its description.
macro_rules! verbs {
    (@presence $ty:ty) => { <$ty as crate::op::argument::Argument>::PRESENCE };
    (@presence $ty:ty, $usual:expr) => { crate::op::argument::Presence::Defaulted };
    (@usual) => { None };
    (@usual $usual:expr) => { Some($usual) };
    (@by_actor) => { false };
    (@by_actor $actor:ident) => { true };
    (about $about:ident $(
        $(#[doc = $doc:literal])+
        $verb:ident = $name:literal $(by $actor:ident)? {
            $($(#[doc = $adoc:literal])+ $argument:ident: $ty:ty [$($key:literal),+] $(or $usual:expr)?;)*
        } $(writes $($file:literal),+)?
    )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $verb {
                $(
                    /// The process that does it.
                    pub $actor: crate::op::name::Actor,
                )?
                $($(#[doc = $adoc])+ pub $argument: $ty,)*
            }

            impl $verb {
                /// The verb's entry in the table.
                pub const VERB: &'static crate::op::Verb = &crate::op::Verb {
                    name: $name,
                    about: crate::op::About::$about,
                    doc: concat!($($doc, "\n"),+),
                    by_actor: verbs!(@by_actor $($actor)?),
                    arguments: &[$(crate::op::ArgumentInfo {
                        name: stringify!($argument),
                        doc: concat!($($adoc, "\n"),+),
                        keys: &[$($key),+],
                        expects: <$ty as crate::op::argument::Argument>::EXPECTS,
                        place: <$ty as crate::op::argument::Argument>::PLACE,
                        presence: verbs!(@presence $ty $(, $usual)?),
                    }),*],
                    files: &[$($($file),+)?],
                };

                pub(super) fn read<S: crate::op::table::Source>(
                    source: &mut S,
                ) -> Result<Self, crate::op::OpError> {
                    source.begin(Self::VERB)?;
                    Ok(Self {
                        $($actor: source.actor()?,)?
                        $($argument: source.next(verbs!(@usual $($usual)?))?,)*
                    })
                }

                pub(super) fn write<S: crate::op::table::Sink>(&self, sink: &mut S) {
                    sink.begin(Self::VERB);
                    $(sink.actor(self.$actor);)?
                    $(sink.next(&self.$argument, verbs!(@usual $($usual)?));)*
                }
            }

            impl From<$verb> for crate::op::Op {
                fn from(operation: $verb) -> Self {
                    Self::$verb(operation)
                }
            }
        )*
    };
}

/// All verbs, in the order of the grammar page, as one type.
macro_rules! operations {
    ($($verb:ident),+ $(,)?) => {
        /// One operation.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Op {
            $(#[doc = concat!("See [`struct@", stringify!($verb), "`].")] $verb($verb),)+
        }

        /// Every verb, in the order of the grammar page.
        pub static VERBS: &[&Verb] = &[$($verb::VERB),+];

        impl Op {
            /// The verb's entry in the table.
            pub fn verb(&self) -> &'static Verb {
                match self { $(Op::$verb(_) => $verb::VERB,)+ }
            }

            /// What it is about.
            pub fn about(&self) -> About {
                self.verb().about
            }

            fn read<S: Source>(verb: &str, source: &mut S) -> Result<Op, OpError> {
                $(if verb == $verb::VERB.name {
                    return $verb::read(source).map(Op::$verb);
                })+
                Err(unknown_verb(verb))
            }

            fn write<S: Sink>(&self, sink: &mut S) {
                match self { $(Op::$verb(operation) => operation.write(sink),)+ }
            }
        }
    };
}
pub(crate) use operations;
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
            let usual = positional.iter().filter(|p| **p == Presence::Defaulted).count();
            let last = positional.last() == Some(&Presence::Defaulted);
            assert!(usual == 0 || (usual == 1 && last), "{}", verb.name);
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
