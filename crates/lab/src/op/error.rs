//! Why a line is not an operation.

use super::argument::ValueError;

/// Why a line or a record is not an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// There is no verb.
    #[error("there is no operation here")]
    NoVerb,
    /// The verb is not in the table.
    #[error("unknown operation `{word}`{}", did_you_mean(nearest.as_deref()))]
    UnknownVerb {
        /// The word in the verb's place.
        word: String,
        /// The verb that may be meant.
        nearest: Option<String>,
    },
    /// A verb of a process without one.
    #[error("`{verb}` is done by a process, and none is named; write `a0 {verb} ...`, in JSON \"p\": 0")]
    NoActor {
        /// The verb.
        verb: &'static str,
    },
    /// A verb without process, given one.
    #[error("`{verb}` is done by no process; leave out `{actor}`")]
    UnwantedActor {
        /// The verb.
        verb: &'static str,
        /// The word in the process's place.
        actor: String,
    },
    /// A required argument is not there.
    #[error("`{verb}` needs `{argument}`: {expects}")]
    Missing {
        /// The verb.
        verb: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// What may stand there.
        expects: &'static str,
    },
    /// The verb has no such argument.
    #[error("`{verb}` has no argument `{word}`{}", did_you_mean_or_list(nearest.as_deref(), arguments))]
    UnknownArgument {
        /// The verb.
        verb: &'static str,
        /// The key or word given.
        word: String,
        /// The argument that may be meant.
        nearest: Option<String>,
        /// Every argument of the verb.
        arguments: String,
        /// Which word of the line it is.
        at: usize,
    },
    /// An argument is given twice.
    #[error("`{argument}` is given twice; keep one")]
    Twice {
        /// The argument's name.
        argument: &'static str,
        /// Which word of the line it is.
        at: usize,
    },
    /// An argument has a value of the wrong kind.
    #[error("{problem}; `{argument}` of `{verb}` is {expects}{}", did_you_mean(problem.nearest.as_deref()))]
    BadValue {
        /// The verb.
        verb: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The argument's JSON key.
        key: &'static str,
        /// What is wrong.
        problem: ValueError,
        /// What may stand there.
        expects: &'static str,
        /// Which word of the line it is.
        at: usize,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn did_you_mean_or_list(nearest: Option<&str>, arguments: &str) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if arguments.is_empty() => "; it takes none".to_owned(),
        None => format!("; it takes {arguments}"),
    }
}

impl OpError {
    /// Which word of a scenario line is wrong, counted from the verb (0); `None` for the whole line.
    pub fn word(&self) -> Option<usize> {
        match self {
            OpError::UnknownVerb { .. } => Some(0),
            OpError::UnknownArgument { at, .. } | OpError::Twice { at, .. } | OpError::BadValue { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Which key of a JSON line is wrong; `None` for the whole line.
    pub fn key(&self) -> Option<&str> {
        match self {
            OpError::UnknownVerb { .. } => Some("op"),
            OpError::UnwantedActor { .. } => Some("p"),
            OpError::UnknownArgument { word, .. } => Some(word),
            OpError::BadValue { key, .. } => Some(key),
            _ => None,
        }
    }
}
