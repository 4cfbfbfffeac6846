//! Why a line is not a line of a scenario.

use units::Ledger;

use crate::op::{Actor, OpError};

/// Why a line is not a line of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// A string has no end.
    #[error("the string that begins here does not end; close it with a double quote")]
    OpenString,
    /// A character that text files do not hold.
    #[error("the control character {0:?} cannot stand here; remove it")]
    ControlCharacter(char),
    /// It is not an operation.
    #[error(transparent)]
    Op(Box<OpError>),
    /// An echo that writes nothing anywhere.
    #[error("this is not a write; write `echo VALUE > FILE`")]
    BadEcho,
    /// The result after the arrow is none.
    #[error("`{0}` is not a result; write `ok`, an error name such as ENOMEM, SIGBUS, SIGSEGV or `any`")]
    BadResult(String),
    /// More or less than one word stands after the arrow.
    #[error("after `->` stands one result and nothing else, such as `-> ENOMEM`")]
    ResultNotLast,
    /// An expectation has no comparison.
    #[error("the expectation compares nothing; write `expect QUERY = VALUE`, with blanks around one of = != < <= > >=")]
    NoComparison,
    /// The query is not known.
    #[error("`{word}` is not a query{}; write a counter such as free_hugepages, `statfs M f_bfree`, `a0 pagemap A`, or `refused-by LEDGER`", did_you_mean(nearest.as_deref()))]
    UnknownQuery {
        /// The query's word.
        word: String,
        /// The query that may be meant.
        nearest: Option<String>,
    },
    /// The query lacks a word or has one too many.
    #[error("this query is written `{0}`")]
    QueryForm(&'static str),
    /// The query needs a process, or none.
    #[error("{0}")]
    QueryActor(&'static str),
    /// The value does not fit the query.
    #[error("`{value}` is not {expects}")]
    BadExpectedValue {
        /// The value.
        value: String,
        /// What may stand there.
        expects: &'static str,
    },
    /// A text is compared by order.
    #[error("`{0}` compares numbers; compare text with = or !=")]
    TextOrder(&'static str),
    /// No such ledger.
    #[error("`{word}` is not a ledger{}; the ledgers are {}", did_you_mean(nearest.as_deref()), ledgers())]
    UnknownLedger {
        /// The word.
        word: String,
        /// The ledger that may be meant.
        nearest: Option<String>,
    },
    /// A header line stands after the first operation, or twice.
    #[error("`{0}` stands once, and before the first operation; move it up or remove it")]
    HeaderPlace(&'static str),
    /// A header line has another form.
    #[error("this line is written `{0}`")]
    HeaderForm(&'static str),
    /// A word of the machine line is wrong.
    #[error("{problem}; {mend}")]
    Machine {
        /// What is wrong.
        problem: String,
        /// What to write.
        mend: String,
    },
    /// The process was never started.
    #[error("no line before this one starts the process {0}; add `{0} spawn`, or write `-> BADACTOR` if that is meant")]
    UnknownActor(Actor),
    /// There is no such process.
    #[error("`{0}` is not a process; the processes are a0 to a{last}", last = Actor::LIMIT - 1)]
    ActorLimit(String),
    /// An offset or length that no page can have.
    #[error(
        "{what} {value} is not a multiple of {unit}, so the call can only fail; align it, or write `-> EINVAL` if that is meant"
    )]
    Misaligned {
        /// Which number it is.
        what: &'static str,
        /// Its value.
        value: String,
        /// The unit.
        unit: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

fn ledgers() -> String {
    Ledger::ALL.map(Ledger::name).join(", ")
}

impl From<OpError> for LineError {
    fn from(error: OpError) -> Self {
        LineError::Op(Box::new(error))
    }
}
