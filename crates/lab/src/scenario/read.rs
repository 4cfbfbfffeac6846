//! Reading scenarios and scripts from files.

use std::io::BufRead;
use std::path::Path;

use super::error::LineError;
use super::header::{HeaderLine, is_plain_name};
use super::lex::{At, Lexed, lex};
use super::{Expectation, Item, Line, Scenario, Step, Wanted};
use crate::input::{BadInput, Lines, Problem, open};
use crate::limits::Limits;
use crate::op::{Op, Record, Scalar};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The scenario language.
    Scenario,
    /// One flat JSON object a line.
    JsonLines,
}

impl Format {
    /// The format that a file's name tells: `.jsonl` and `.json` are JSON lines, all others scenarios.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl" | "json") => Format::JsonLines,
            _ => Format::Scenario,
        }
    }
}

/// The most problems of one file that are reported.
const PROBLEMS_LIMIT: usize = 20;

impl Scenario {
    /// Reads a file in the format that its name tells.
    ///
    /// # Errors
    /// Every problem of the file, at most 20.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        Self::read_within(path, Limits::default())
    }

    /// As [`Self::read`], with limits of one's own.
    ///
    /// # Errors
    /// Every problem of the file, at most 20.
    pub fn read_within(path: &Path, limits: Limits) -> Result<Self, Vec<Problem>> {
        let source = open(path).map_err(|problem| vec![problem])?;
        Self::read_lines(path, Format::of(path), Lines::within(path, source, limits))
    }

    /// Reads from `source`; `path` names it in problems.
    ///
    /// # Errors
    /// Every problem of the source, at most 20.
    pub fn read_from(path: &Path, format: Format, source: impl BufRead) -> Result<Self, Vec<Problem>> {
        Self::read_lines(path, format, Lines::new(path, source))
    }

    fn read_lines(path: &Path, format: Format, mut lines: Lines<'_, impl BufRead>) -> Result<Self, Vec<Problem>> {
        let mut scenario = Scenario::default();
        let mut problems = Vec::new();
        while let Some(next) = lines.advance() {
            let read = next.and_then(|(number, text)| {
                let read = match format {
                    Format::Scenario => {
                        scenario.add_scenario_line(number, text).map_err(|(c, e)| (c, BadInput::Line(e)))
                    }
                    Format::JsonLines => scenario.add_json_line(number, text),
                };
                read.map_err(|(column, what)| Problem { place: Some((number, column)), ..Problem::of_file(path, what) })
            });
            problems.extend(read.err());
            if problems.len() == PROBLEMS_LIMIT {
                return Err(problems);
            }
        }
        if problems.is_empty() && scenario.ops().next().is_none() {
            problems.push(Problem::at(path, 1, 1, BadInput::Empty));
        }
        if problems.is_empty() { Ok(scenario) } else { Err(problems) }
    }

    /// Reads the text of a scenario, such as one that a test holds.
    ///
    /// # Errors
    /// Every problem of the text, at most 20; they name the file `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        Self::read_from(Path::new(name), Format::Scenario, text.as_bytes())
    }

    fn add_scenario_line(&mut self, number: usize, text: &str) -> Result<(), At<LineError>> {
        let lexed = lex(text)?;
        let item = self.item(&lexed, text.chars().count() + 1)?;
        self.lines.push(Line { number, item, comment: lexed.comment.map(str::to_owned) });
        Ok(())
    }

    fn item(&self, lexed: &Lexed<'_>, end: usize) -> Result<Item, At<LineError>> {
        let Some(first) = lexed.tokens.first() else {
            return Ok(Item::Blank);
        };
        if first.text == "expect" {
            return Expectation::parse(&lexed.tokens[1..], end).map(Item::Expect);
        }
        let Some(header) = HeaderLine::parse(&lexed.tokens) else {
            return Step::parse(&lexed.tokens).map(Item::Step);
        };
        let header = header?;
        self.may_stand_here(&header).map_err(|error| (first.column, error))?;
        Ok(Item::Header(header))
    }

    fn may_stand_here(&self, header: &HeaderLine) -> Result<(), LineError> {
        let fits = self.lines.iter().all(|line| match &line.item {
            Item::Blank => true,
            Item::Header(other) => header.repeats() || other.word() != header.word(),
            Item::Step(_) | Item::Expect(_) => false,
        });
        if fits { Ok(()) } else { Err(LineError::HeaderPlace(header.word())) }
    }

    fn add_json_line(&mut self, number: usize, text: &str) -> Result<(), At<BadInput>> {
        if text.trim_start().is_empty() || text.trim_start().starts_with('#') {
            return Ok(());
        }
        let record: Record = serde_json::from_str(text)
            .map_err(|error| (char_column(text, error.column()), BadInput::Json(json_reason(&error))))?;
        let bad_line = |key: &str, error: LineError| (column_of_key(text, key), BadInput::Line(error));
        let mut add = |item| self.lines.push(Line { number, item, comment: None });
        if record.get("script").is_none() {
            let op = Op::from_record(&record).map_err(|error| {
                let column = column_of_key(text, error.key().unwrap_or_default());
                (column, BadInput::Line(error.into()))
            })?;
            add(Item::Step(Step { op, wanted: Wanted::Any }));
            return Ok(());
        }
        for (key, line) in json_header(&record).map_err(|(key, error)| bad_line(key, error))? {
            self.may_stand_here(&line).map_err(|error| bad_line(key, error))?;
            self.lines.push(Line { number, item: Item::Header(line), comment: None });
        }
        Ok(())
    }
}

type KeyedHeaderLine = (&'static str, HeaderLine);

fn json_header(record: &Record) -> Result<Vec<KeyedHeaderLine>, (&'static str, LineError)> {
    let mut lines = Vec::new();
    let text = |key: &'static str| match record.get(key) {
        Some(Scalar::Text(text)) => Ok(Some(text.clone())),
        Some(Scalar::Number(_)) => Err((key, LineError::HeaderForm(r#"{"script": "name", "desc": "what it shows"}"#))),
        None => Ok(None),
    };
    let plain = |key: &'static str| match text(key)? {
        Some(name) if !is_plain_name(&name) => {
            Err((key, LineError::HeaderForm(r#"{"script": "letters_digits_-_.", ...}"#)))
        }
        name => Ok(name),
    };
    lines.extend(plain("script")?.map(|name| ("script", HeaderLine::Name(name))));
    lines.extend(text("desc")?.filter(|text| !text.is_empty()).map(|title| ("desc", HeaderLine::Title(title))));
    if let Some(scalar) = record.get("seed") {
        let seed = match scalar {
            Scalar::Number(seed) => u64::try_from(*seed).ok(),
            Scalar::Text(_) => None,
        };
        let seed = seed.ok_or(("seed", LineError::HeaderForm(r#"{"seed": 7, ...}"#)))?;
        lines.push(("seed", HeaderLine::Seed(seed)));
    }
    lines.extend(plain("profile")?.map(|name| ("profile", HeaderLine::Profile(name))));
    if let Some(machine) = text("machine")? {
        let line = format!("machine {machine}");
        let lexed = lex(&line).map_err(|(_, error)| ("machine", error))?;
        let read = HeaderLine::parse(&lexed.tokens);
        let read = read.unwrap_or(Err((1, LineError::HeaderForm("machine node=24G hugepages=4"))));
        lines.push(("machine", read.map_err(|(_, error)| ("machine", error))?));
    }
    if let Some(memory) = text("memory")? {
        for part in memory.split("; ") {
            let lexed = lex(part).map_err(|(_, error)| ("memory", error))?;
            let read = HeaderLine::parse(&lexed.tokens).filter(|_| part.len() < super::super::input::LINE_LIMIT);
            let read =
                read.unwrap_or(Err((1, LineError::HeaderForm("zone 0:Normal 0..4096; free 0:Normal 0 Movable 7"))));
            lines.push(("memory", read.map_err(|(_, error)| ("memory", error))?));
        }
    }
    Ok(lines)
}

/// The column of the first character of `"key"`, or of the object.
fn column_of_key(line: &str, key: &str) -> usize {
    let of_key = line.find(&format!("\"{key}\"")).filter(|_| !key.is_empty());
    let index = of_key.or_else(|| line.find('{')).unwrap_or(0);
    line[..index].chars().count() + 1
}

/// The character column that belongs to a byte column, both from 1.
fn char_column(line: &str, byte_column: usize) -> usize {
    let boundary = line.char_indices().map(|(index, _)| index).take_while(|index| *index < byte_column).count();
    boundary.max(1)
}

fn json_reason(error: &serde_json::Error) -> String {
    let mut reason = error.to_string();
    if let Some(place) = reason.rfind(" at line ") {
        reason.truncate(place);
    }
    match error.classify() {
        serde_json::error::Category::Eof => {
            format!("{reason}: the line ends before its object does; write one whole object a line")
        }
        serde_json::error::Category::Syntax => {
            format!("{reason}; write one flat JSON object a line")
        }
        _ => reason,
    }
}
