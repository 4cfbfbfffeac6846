//! The Kernel Test Anything Protocol: one line a scenario, diagnostics as comments before it.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes the results of scenarios as they come.
#[derive(Debug)]
pub struct Ktap<W> {
    out: W,
    passed: usize,
    failed: usize,
}

impl<W: Write> Ktap<W> {
    /// Begins a report on `count` scenarios.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn begin(mut out: W, count: usize) -> io::Result<Self> {
        writeln!(out, "KTAP version 1\n1..{count}")?;
        Ok(Self { out, passed: 0, failed: 0 })
    }

    /// Adds a comment, line by line.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn diagnostic(&mut self, text: impl Display) -> io::Result<()> {
        text.to_string().lines().try_for_each(|line| writeln!(self.out, "# {line}"))
    }

    /// Adds the line of a scenario that passed.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn ok(&mut self, name: &str) -> io::Result<()> {
        self.passed += 1;
        writeln!(self.out, "ok {} - {name}", self.passed + self.failed)
    }

    /// Adds the line of a scenario that failed.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn not_ok(&mut self, name: &str) -> io::Result<()> {
        self.failed += 1;
        writeln!(self.out, "not ok {} - {name}", self.passed + self.failed)
    }

    /// Ends the report with the totals.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn end(mut self) -> io::Result<()> {
        let (passed, failed) = (self.passed, self.failed);
        writeln!(self.out, "# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:0 error:0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_first_column_and_comments_before_them() {
        let mut bytes = Vec::new();
        let mut ktap = Ktap::begin(&mut bytes, 2).unwrap();
        ktap.ok("short_pool").unwrap();
        ktap.diagnostic("line 3: a0 touch A p0\n  came: SIGBUS").unwrap();
        ktap.not_ok("reserved").unwrap();
        ktap.end().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            "KTAP version 1\n1..2\nok 1 - short_pool\n# line 3: a0 touch A p0\n#   came: SIGBUS\nnot ok 2 - reserved\n\
             # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0\n"
        );
    }
}
