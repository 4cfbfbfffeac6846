//! The scenario language: a machine, operations with their results, and what must hold after them.
//!
//! ```text
//! title "A child takes the last page of its parent's pool"
//! machine node=1G hugepagesz=2M hugepages=2
//!
//! a0 spawn
//! a0 mmap A 4M private,anon
//! a0 touch A p0..2 write = 5     # both pages are the parent's now
//! a0 fork a1
//! a1 touch A p0 write = 9 -> SIGBUS
//! expect refused-by pool
//! expect a0 pagemap A = bb
//! expect free_hugepages = 0
//! ```

mod check;
mod described;
mod error;
mod expect;
mod guest_query;
mod header;
mod lex;
mod memory;
mod nodes;
mod piece_query;
mod query;
mod read;
mod step;
mod zone_query;

use std::fmt;

pub use described::described;
pub use error::LineError;
pub use expect::{Comparison, Expectation, Known};
pub use guest_query::{GUEST_FIELDS, GUEST_PAGE_FIELDS, GuestField, GuestQuery};
pub use header::{BOOT_PARAMETERS, HEADER_FORMS, HeaderLine};
pub use memory::{MEMORY_FORMS, MemoryLine};
pub use piece_query::{PIECE_FIELDS, PieceField, PieceQuery, TABLES_FIELDS, TablesField, TablesQuery};
pub use query::{CGROUP_FILES, FSTAT_FIELDS, MEMORY_FILES, PoolCounter, Query, SMAPS_FIELDS, STATFS_FIELDS};
pub use read::Format;
pub use step::{Step, Wanted};
pub use zone_query::{EVENT_WORDS, ZONE_FIELDS, ZONE_FORMS, ZoneField, ZoneQuery};

use crate::op::{Op, Record, Scalar};
use crate::target::{Header, Recorded, Target};

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Nothing, or a comment alone.
    Blank,
    /// Something about the scenario or its machine.
    Header(HeaderLine),
    /// An operation.
    Step(Step),
    /// What must hold.
    Expect(Expectation),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// What it says.
    pub item: Item,
    /// The comment at its end.
    pub comment: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.item {
            Item::Blank => String::new(),
            Item::Header(line) => line.to_string(),
            Item::Step(step) => step.to_string(),
            Item::Expect(expectation) => expectation.to_string(),
        };
        let gap = if text.is_empty() { "" } else { "  " };
        match self.comment.as_deref() {
            None => f.write_str(&text),
            Some("") => write!(f, "{text}{gap}#"),
            Some(comment) => write!(f, "{text}{gap}# {comment}"),
        }
    }
}

/// A scenario: its lines in order. Printing it gives its canonical text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// Its lines.
    pub lines: Vec<Line>,
}

impl Scenario {
    /// A scenario of these items.
    pub fn of(items: impl IntoIterator<Item = Item>) -> Self {
        let line = |(number, item)| Line { number, item, comment: None };
        Self { lines: (1..).zip(items).map(line).collect() }
    }

    /// The header, with `name` for a scenario that does not name itself.
    pub fn header(&self, name: &str) -> Header {
        let mut header = Header { script: name.to_owned(), ..Header::default() };
        for line in &self.lines {
            match &line.item {
                Item::Header(HeaderLine::Name(name)) => header.script.clone_from(name),
                Item::Header(HeaderLine::Title(title)) => header.desc.clone_from(title),
                Item::Header(HeaderLine::Seed(seed)) => header.seed = Some(*seed),
                Item::Header(HeaderLine::Profile(profile)) => header.profile = Some(profile.clone()),
                Item::Header(HeaderLine::Machine(machine)) => header.machine = Some(machine.clone()),
                Item::Header(HeaderLine::Memory(memory)) => header.memory.push((line.number, memory.clone())),
                Item::Blank | Item::Step(_) | Item::Expect(_) => {}
            }
        }
        header
    }

    /// The steps with the numbers of their lines.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.lines.iter().filter_map(|line| match &line.item {
            Item::Step(step) => Some((line.number, step)),
            _ => None,
        })
    }

    /// The operations.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.steps().map(|(_, step)| &step.op)
    }

    /// States for every operation the result that `recorded` answers to it. `name` is the script's name if it has none.
    ///
    /// # Errors
    /// There is no recording of this script, or it is of another one.
    pub fn take_results(&mut self, recorded: &mut Recorded, name: &str) -> Result<(), String> {
        recorded.begin(&self.header(name)).map_err(|error| error.to_string())?;
        recorded.fits(&self.ops().collect::<Vec<_>>())?;
        for line in &mut self.lines {
            if let Item::Step(step) = &mut line.item {
                step.wanted = Wanted::Result(recorded.step(&step.op).result);
            }
        }
        Ok(())
    }

    /// The script of JSON lines with the same header and operations. Results, expectations and comments have no place in
    /// it.
    pub fn to_json_lines(&self, name: &str) -> String {
        let header = self.header(name);
        let mut record = Record::new();
        record.push("script", Scalar::Text(header.script));
        record.push("desc", Scalar::Text(header.desc));
        if let Some(seed) = header.seed.and_then(|seed| i64::try_from(seed).ok()) {
            record.push("seed", Scalar::Number(seed));
        }
        if let Some(profile) = header.profile {
            record.push("profile", Scalar::Text(profile));
        }
        if let Some(machine) = header.machine {
            let line = HeaderLine::Machine(machine).to_string();
            record.push("machine", Scalar::Text(line.trim_start_matches("machine").trim_start().to_owned()));
        }
        if !header.memory.is_empty() {
            let lines: Vec<String> = header.memory.iter().map(|(_, line)| line.to_string()).collect();
            record.push("memory", Scalar::Text(lines.join("; ")));
        }
        let mut text = format!("{record}\n");
        self.ops().for_each(|op| text.push_str(&format!("{}\n", op.to_record())));
        text
    }
}

impl fmt::Display for Scenario {
    /// The canonical text: one blank line at most between others, none at either end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = false;
        let mut begun = false;
        for line in &self.lines {
            if line.item == Item::Blank && line.comment.is_none() {
                gap = begun;
                continue;
            }
            if gap {
                writeln!(f)?;
            }
            (gap, begun) = (false, true);
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
