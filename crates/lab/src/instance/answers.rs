//! Errors of the library as answers.

use std::fmt::Display;

use hugefolio::errno::{Signal, ToErrno, signal};
use hugefolio::{Blame, CallError, FaultError};

use crate::target::{Answer, Refusal, StepResult};

/// A failed call without a ledger behind it.
pub(super) fn failed(error: &impl ToErrno) -> Answer {
    StepResult::Errno(error.errno().name().to_owned()).into()
}

/// A failed call, and the ledger that refused if one did.
pub(super) fn refused(error: &(impl ToErrno + Blame + Display)) -> Answer {
    Answer { refusal: refusal(error), ..failed(error) }
}

/// `ok`, or the error.
pub(super) fn done<T>(result: Result<T, impl ToErrno>) -> Answer {
    match result {
        Ok(_) => Answer::ok(),
        Err(error) => failed(&error),
    }
}

/// `ok`, or the error with its ledger.
pub(super) fn settled<T>(result: Result<T, impl ToErrno + Blame + Display>) -> Answer {
    match result {
        Ok(_) => Answer::ok(),
        Err(error) => refused(&error),
    }
}

/// The signal that a failed access raises, and its code.
pub(super) fn raised(error: &CallError<FaultError>) -> (StepResult, u8) {
    match error {
        CallError::NoProcess => (StepResult::Died, 0),
        CallError::Failed(fault) => match signal(fault) {
            Signal::Sigbus(code) => (StepResult::Sigbus, code),
            Signal::Sigsegv(code) => (StepResult::Sigsegv, code),
        },
    }
}

pub(super) fn refusal(error: &(impl Blame + Display)) -> Option<Refusal> {
    error.ledger().map(|ledger| Refusal { ledger, text: error.to_string() })
}
