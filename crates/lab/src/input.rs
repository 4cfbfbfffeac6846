//! Reading files that may be anything: line by line, with limits, every error with its place.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::limits::Limits;
use crate::scenario::LineError;

/// The longest line in bytes. A longer one is refused without being read whole.
pub const LINE_LIMIT: usize = 64 * 1024;

/// The most lines of a file.
pub const LINES_LIMIT: usize = 100_000;

/// The most bytes of a file.
pub const BYTES_LIMIT: u64 = 16 << 20;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadInput {
    /// The system does not let it be read.
    #[error("cannot be read: {0}; check the name and its permissions")]
    Unreadable(String),
    /// It is a directory.
    #[error("is a directory where a file is expected; name a file inside it")]
    Directory,
    /// A line is too long.
    #[error("the line is longer than {LINE_LIMIT} bytes; one line holds one operation")]
    LineTooLong,
    /// There is too much of it.
    #[error("the file has more than {lines} lines or {bytes} bytes; split it")]
    TooLarge {
        /// The most lines.
        lines: usize,
        /// The most bytes.
        bytes: u64,
    },
    /// A line is not text.
    #[error("this byte is not UTF-8; save the file as UTF-8 text")]
    NotUtf8,
    /// There is nothing in it to run.
    #[error("the file holds no operation; write at least one, such as `a0 spawn`")]
    Empty,
    /// A line of a scenario or script is wrong.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The file is not JSON of the wanted form.
    #[error("{0}")]
    Json(String),
    /// A file that belongs to it is missing or does not fit.
    #[error("{0}")]
    Mismatch(String),
    /// The machine of the header cannot be built.
    #[error("{0}")]
    Machine(String),
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line and column, both from 1; `None` if the whole file is meant.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub what: BadInput,
}

impl Problem {
    /// A problem of a whole file.
    pub fn of_file(file: &Path, what: BadInput) -> Self {
        Self { file: file.display().to_string(), place: None, what }
    }

    /// A problem at a line and column of a file.
    pub fn at(file: &Path, line: usize, column: usize, what: impl Into<BadInput>) -> Self {
        Self { file: file.display().to_string(), place: Some((line, column)), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// Opens a file for reading.
///
/// # Errors
/// There is no such file, it is a directory, or the system refuses.
pub fn open(path: &Path) -> Result<BufReader<File>, Problem> {
    let unreadable = |error: std::io::Error| Problem::of_file(path, BadInput::Unreadable(error.to_string()));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Problem::of_file(path, BadInput::Directory));
    }
    Ok(BufReader::new(file))
}

/// Reads a whole file of at most `limit` bytes. Of one that is longer, `longer` says what to do.
///
/// # Errors
/// It cannot be read, is longer, or is not UTF-8.
pub fn read_small(path: &Path, limit: u64, longer: &str) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::of_file(path, BadInput::Unreadable(error.to_string())))?;
    if bytes.len() as u64 > limit {
        let reason = format!("the file is longer than {limit} bytes; {longer}");
        return Err(Problem::of_file(path, BadInput::Mismatch(reason)));
    }
    String::from_utf8(bytes).map_err(|_| Problem::of_file(path, BadInput::NotUtf8))
}

/// The lines of a file, one at a time.
#[derive(Debug)]
pub struct Lines<'p, R> {
    path: &'p Path,
    source: R,
    buffer: Vec<u8>,
    number: usize,
    bytes: u64,
    limits: Limits,
    broken: bool,
}

impl<'p, R: BufRead> Lines<'p, R> {
    /// The lines that `source` holds; `path` names it in problems.
    pub fn new(path: &'p Path, source: R) -> Self {
        Self::within(path, source, Limits::default())
    }

    /// As [`Self::new`], with limits of one's own.
    pub const fn within(path: &'p Path, source: R, limits: Limits) -> Self {
        Self { path, source, buffer: Vec::new(), number: 0, bytes: 0, limits, broken: false }
    }

    /// The next line with its number, without its end. After a problem nothing more is read, unless the line is merely
    /// not UTF-8.
    pub fn advance(&mut self) -> Option<Result<(usize, &str), Problem>> {
        if self.broken {
            return None;
        }
        self.buffer.clear();
        self.number += 1;
        let limit = LINE_LIMIT as u64 + 1;
        match self.source.by_ref().take(limit).read_until(b'\n', &mut self.buffer) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(self.stop(1, BadInput::Unreadable(error.to_string())))),
        }
        self.bytes += self.buffer.len() as u64;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > LINE_LIMIT {
            return Some(Err(self.stop(LINE_LIMIT + 1, BadInput::LineTooLong)));
        }
        let Limits { lines, bytes, .. } = self.limits;
        if self.number > lines || self.bytes > bytes {
            return Some(Err(self.stop(1, BadInput::TooLarge { lines, bytes })));
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => Some(Ok((self.number, line.trim_end()))),
            Err(error) => {
                let good = &self.buffer[..error.valid_up_to()];
                let column = String::from_utf8_lossy(good).chars().count() + 1;
                Some(Err(Problem::at(self.path, self.number, column, BadInput::NotUtf8)))
            }
        }
    }

    fn stop(&mut self, column: usize, what: BadInput) -> Problem {
        self.broken = true;
        Problem::at(self.path, self.number, column, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An endless line: reading it whole would never end.
    struct Endless;

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }

    #[test]
    fn an_endless_line_is_refused_after_its_limit() {
        let path = Path::new("endless");
        let mut lines = Lines::new(path, BufReader::new(Endless));
        let problem = lines.advance().unwrap().unwrap_err();
        assert_eq!(problem.place, Some((1, LINE_LIMIT + 1)));
        assert_eq!(problem.what, BadInput::LineTooLong);
        assert!(lines.advance().is_none());
    }

    #[test]
    fn a_bad_byte_has_a_column_and_the_next_line_still_reads() {
        let path = Path::new("x");
        let mut lines = Lines::new(path, &b"ab\xff\r\nnext\r\n"[..]);
        assert_eq!(lines.advance().unwrap().unwrap_err().place, Some((1, 3)));
        assert_eq!(lines.advance().unwrap().unwrap(), (2, "next"));
        assert!(lines.advance().is_none());
    }
}
