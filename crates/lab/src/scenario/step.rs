//! An operation as a line: `[actor] verb argument* [= value] [-> RESULT]` or `echo VALUE > FILE [-> RESULT]`.

use std::fmt;
use std::str::FromStr;

use super::error::LineError;
use super::lex::{At, Token, lex};
use crate::op::{Actor, Argument, Op, OpError, Value, Verbatim, Word, Write, Written, write_to};
use crate::target::StepResult;

/// What an operation must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly this result; a line without arrow wants `ok`.
    Result(StepResult),
    /// Nothing in particular.
    Any,
}

impl Wanted {
    /// Success.
    pub const OK: Wanted = Wanted::Result(StepResult::Ok);

    /// Whether `result` is what is wanted.
    pub fn allows(&self, result: &StepResult) -> bool {
        match self {
            Wanted::Any => true,
            Wanted::Result(wanted) => wanted == result,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Result(result) => write!(f, "{result}"),
            Wanted::Any => f.write_str("any"),
        }
    }
}

/// One operation and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The operation.
    pub op: Op,
    /// What it must answer.
    pub wanted: Wanted,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            wanted if *wanted == Wanted::OK => write!(f, "{}", self.op),
            wanted => write!(f, "{} -> {wanted}", self.op),
        }
    }
}

fn wanted<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<(&'t [Token<'a>], Wanted), At<LineError>> {
    let Some(arrow) = tokens.iter().position(|token| token.text == "->") else {
        return Ok((tokens, Wanted::OK));
    };
    let [word] = &tokens[arrow + 1..] else {
        return Err((tokens[arrow].column, LineError::ResultNotLast));
    };
    let wanted = match word.text {
        "any" => Wanted::Any,
        text => StepResult::from_word(text)
            .filter(|result| !matches!(result, StepResult::NotModelled(_)))
            .map(Wanted::Result)
            .ok_or_else(|| (word.column, LineError::BadResult(text.to_owned())))?,
    };
    Ok((&tokens[..arrow], wanted))
}

fn echo(tokens: &[Token<'_>]) -> Result<Op, At<LineError>> {
    let [echo, value, arrow, file] = tokens else {
        return Err((tokens[0].column, LineError::BadEcho));
    };
    if arrow.text != ">" {
        return Err((echo.column, LineError::BadEcho));
    }
    let bad = |token: &Token<'_>, argument: usize, problem| {
        let info = &Write::VERB.arguments[argument];
        let (verb, expects) = ("echo", info.expects);
        let error = OpError::BadValue { verb, argument: info.name, key: info.name, problem, expects, at: 0 };
        (token.column, LineError::from(error))
    };
    let written = <Written as Argument>::parse(value.text).map_err(|problem| bad(value, 1, problem))?;
    let path = <Verbatim as Value>::from_text(file.text).map_err(|problem| bad(file, 0, problem))?;
    Ok(write_to(path, written))
}

fn operation(tokens: &[Token<'_>]) -> Result<Op, At<LineError>> {
    let first = tokens.first().ok_or((1, LineError::from(OpError::NoVerb)))?;
    if first.text == "echo" {
        return echo(tokens);
    }
    let actor = <Actor as Value>::from_text(first.text).ok();
    let digits = first.text.strip_prefix('a').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if actor.is_none() && digits.is_some_and(|digits| !digits.is_empty()) {
        return Err((first.column, LineError::ActorLimit(first.text.to_owned())));
    }
    let tokens = if actor.is_some() { &tokens[1..] } else { tokens };
    let verb = tokens.first().ok_or((first.column, LineError::from(OpError::NoVerb)))?;
    let equals = tokens.iter().position(|token| token.text == "=");
    let words: Vec<Word<'_>> = (1..)
        .zip(&tokens[1..])
        .filter(|(at, _)| Some(*at) != equals)
        .map(|(at, token)| Word { text: token.text, at, after_equals: equals.is_some_and(|equals| at > equals) })
        .collect();
    Op::from_words(actor, verb.text, &words).map_err(|error| {
        let token = error.word().and_then(|at| tokens.get(at)).unwrap_or(first);
        (token.column, LineError::from(error))
    })
}

impl Step {
    pub(crate) fn parse(tokens: &[Token<'_>]) -> Result<Self, At<LineError>> {
        let (tokens, wanted) = wanted(tokens)?;
        Ok(Self { op: operation(tokens)?, wanted })
    }
}

impl FromStr for Op {
    type Err = LineError;

    /// Reads an operation from one line of a scenario.
    fn from_str(line: &str) -> Result<Self, LineError> {
        let lexed = lex(line).map_err(|(_, error)| error)?;
        operation(&lexed.tokens).map_err(|(_, error)| error)
    }
}
