//! Where a host's text comes from, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;
use units::HugeCount;

use crate::text::{TextError, number};

/// The files of a host. Paths are absolute, as on the host itself.
pub trait HostFiles {
    /// What a file says; nothing where there is no such file.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String>;

    /// The names in a folder, in any order; nothing where there is no such folder.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String>;
}

/// The largest file that is read; more is no text of a kernel about huge pages.
const LARGEST_FILE: usize = 1 << 20;

/// A host's text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    /// Which file.
    pub file: String,
    /// Which of its lines, from 1; nothing where it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: HostProblem,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for HostError {}

/// What can be wrong with a host's text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostProblem {
    /// It is not there.
    #[error("there is no such file; {0}")]
    NoFile(&'static str),
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is too long.
    #[error("longer than {} bytes, which no file about huge pages is", LARGEST_FILE)]
    TooLong,
    /// It is no text.
    #[error("not text: give the kernel's file as it is")]
    NotText,
    /// A line is missing.
    #[error("there is no line `{label}`: is this the right file, of a kernel with huge pages?")]
    NoLine {
        /// What the line starts with.
        label: String,
    },
    /// A line is not what it should be.
    #[error("`{found}` where {expected} was expected")]
    BadLine {
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// Numbers of several files cannot all be true.
    #[error("{0}: read it again while nothing changes")]
    Contradiction(String),
    /// A path that does not stay where it belongs.
    #[error("give an absolute path without `..`")]
    BadPath,
}

/// A file that is text.
pub(super) struct Page {
    file: String,
    text: String,
}

impl Page {
    /// Reads a file that must be there.
    pub(super) fn need(files: &mut dyn HostFiles, path: &str, why: &'static str) -> Result<Self, HostError> {
        Self::find(files, path)?.ok_or_else(|| error(path, HostProblem::NoFile(why)))
    }

    /// Reads a file that may be missing.
    pub(super) fn find(files: &mut dyn HostFiles, path: &str) -> Result<Option<Self>, HostError> {
        let bytes = files.read(path).map_err(|reason| error(path, HostProblem::Unreadable(reason)))?;
        let Some(bytes) = bytes else { return Ok(None) };
        if bytes.len() > LARGEST_FILE {
            return Err(error(path, HostProblem::TooLong));
        }
        match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(Some(Self { file: path.to_owned(), text })),
            bad => {
                let bytes = bad.map_or_else(std::string::FromUtf8Error::into_bytes, String::into_bytes);
                let good = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
                let good = good.min(bytes.iter().position(|&b| b == 0).unwrap_or(good));
                let line = 1 + bytes.iter().take(good).filter(|&&b| b == b'\n').count();
                Err(HostError { file: path.to_owned(), line: Some(line), problem: HostProblem::NotText })
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its lines, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The one line that starts with `label`: its number and what follows.
    pub(super) fn after(&self, label: &str) -> Result<(usize, &str), HostError> {
        let mut found = self.lines().filter_map(|(n, line)| Some((n, line.strip_prefix(label)?)));
        let Some((n, rest)) = found.next() else {
            return Err(self.lacks(label));
        };
        match found.next() {
            Some((again, rest)) => Err(self.bad(again, rest, "one such line and no second")),
            None => Ok((n, rest.trim())),
        }
    }

    /// The only line.
    pub(super) fn only_line(&self, expected: &'static str) -> Result<&str, HostError> {
        let mut lines = self.text.lines();
        let first = lines.next().unwrap_or_default();
        if first.is_empty() {
            return Err(self.bad(1, first, expected));
        }
        lines.next().map_or(Ok(first), |second| Err(self.bad(2, second, "the end of the file")))
    }

    /// The number that is its only line.
    pub(super) fn count(&self) -> Result<HugeCount, HostError> {
        let expected = "a number below 2^64";
        let line = self.only_line(expected)?;
        number(line).map(HugeCount::new).ok_or_else(|| self.bad(1, line, expected))
    }

    /// What a reader of the whole text says of it.
    pub(super) fn wrong(&self, wrong: TextError) -> HostError {
        let problem = HostProblem::BadLine { found: shown(&wrong.found), expected: wrong.expected };
        HostError { file: self.file.clone(), line: Some(wrong.line), problem }
    }

    /// A line that is not there.
    pub(super) fn lacks(&self, label: &str) -> HostError {
        error(&self.file, HostProblem::NoLine { label: label.to_owned() })
    }

    /// A line that is not what it should be.
    pub(super) fn bad(&self, line: usize, found: &str, expected: &'static str) -> HostError {
        let problem = HostProblem::BadLine { found: shown(found), expected: expected.to_owned() };
        HostError { file: self.file.clone(), line: Some(line), problem }
    }
}

/// At most the first 60 characters, with everything unprintable escaped.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(60).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    format!("{}{more}", start.escape_debug())
}

pub(super) fn error(file: &str, problem: HostProblem) -> HostError {
    HostError { file: file.to_owned(), line: None, problem }
}

pub(super) fn names_in(files: &mut dyn HostFiles, folder: &str) -> Result<Option<Vec<String>>, HostError> {
    let mut names = files.list(folder).map_err(|reason| error(folder, HostProblem::Unreadable(reason)))?;
    if let Some(names) = &mut names {
        names.sort_unstable();
    }
    Ok(names)
}

/// A host's files in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedHost {
    files: BTreeMap<String, Vec<u8>>,
}

impl SavedHost {
    /// Writes a file.
    pub fn insert(&mut self, path: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), text.into());
    }

    /// Removes a file; says whether there was one.
    pub fn remove(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// All files, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_slice()))
    }
}

impl HostFiles for SavedHost {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.files.get(path).cloned())
    }

    fn list(&mut self, folder: &str) -> Result<Option<Vec<String>>, String> {
        let start = format!("{}/", folder.trim_end_matches('/'));
        let inside = self.files.range(start.clone()..).map_while(|(path, _)| path.strip_prefix(&start));
        let mut names: Vec<String> = inside.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        Ok((!names.is_empty()).then_some(names))
    }
}
