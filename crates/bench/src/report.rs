//! The figures beside what they should be.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::table::{
    BLOCKS_BYTES, CREATION_BYTES, FRAME_BYTES, FULL_EXTREMES, FULL_RATIO, GUEST_BYTES, OPTIMISED_BATCH,
    OPTIMISED_EXTREMES, OPTIMISED_RATIO, REGION_EXTREMES, REGION_RATIO, ROWS, Row, ZONE_BYTES,
};

/// What the measured part of a bench took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    instructions: u64,
    /// Instructions that lock the bus, where these were counted.
    locked: Option<u64>,
}

/// What every bench took, by function and case.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<(String, String), Cost>);

/// Why the summaries of the benches are of no use.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFigures {
    /// A line is not the summary of a bench.
    Line(usize),
    /// A bench of the table was not run.
    Missing(&'static str, &'static str),
}

impl fmt::Display for BadFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line} is not the summary of a bench"),
            Self::Missing(function, case) => write!(f, "there is no figure of {function}::{case}: run all benches"),
        }
    }
}

impl std::error::Error for BadFigures {}

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    title: String,
    figure: String,
    locked: String,
    beside: String,
    target: String,
    met: Option<bool>,
}

/// Bytes asked of the allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// A machine of 24 GiB with empty pools.
    pub machine: u64,
    /// A zone of 4 TiB.
    pub zone: u64,
    /// The same once every block of 2 MiB was handed out.
    pub blocks: u64,
    /// What each frame costs in a pageblock in pieces, beside that of the pageblock.
    pub frame: u64,
    /// What a machine keeps for 64 GiB of private memory of a guest.
    pub guest: u64,
}

/// The table of all benches.
#[derive(Debug)]
pub struct Report(Vec<Line>);

impl Figures {
    /// Reads the summaries that the runner of the benches prints, one JSON object a line.
    ///
    /// # Errors
    /// A line that is something else.
    pub fn read(summaries: &str) -> Result<Self, BadFigures> {
        let mut figures = Self::default();
        for (number, line) in summaries.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let summary: Value = serde_json::from_str(line).map_err(|_| BadFigures::Line(number + 1))?;
            let (key, cost) = figure(&summary).ok_or(BadFigures::Line(number + 1))?;
            figures.0.insert(key, cost);
        }
        Ok(figures)
    }

    fn of(&self, function: &'static str, case: &'static str) -> Result<Cost, BadFigures> {
        let key = (function.to_owned(), case.to_owned());
        self.0.get(&key).copied().ok_or(BadFigures::Missing(function, case))
    }
}

fn figure(summary: &Value) -> Option<((String, String), Cost)> {
    let name = |key| Some(summary.get(key)?.as_str()?.to_owned());
    let callgrind = summary.get("profiles")?.as_array()?.first()?;
    let instructions = callgrind.pointer("/data/total/metrics/Ir/values/new")?.as_u64()?;
    let locked = callgrind.pointer("/data/total/metrics/Ge/values/new").and_then(Value::as_u64);
    Some(((name("function_name")?, name("id")?), Cost { instructions, locked }))
}

impl Report {
    /// The table of `figures`, of the ratios between some of them, and of the memory that is asked for.
    ///
    /// # Errors
    /// A bench was not run.
    pub fn new(figures: &Figures, memory: Memory) -> Result<Self, BadFigures> {
        let mut lines = Vec::new();
        for row in &ROWS {
            let beside = row.beside.map(|function| figures.of(function, row.case)).transpose()?;
            lines.push(line(row, figures.of(row.function, row.case)?, beside));
            for (extremes, title, most) in [
                (REGION_EXTREMES, "region insert + remove, dearest set : cheapest set", REGION_RATIO),
                (OPTIMISED_EXTREMES, "pool, page by page: descriptors optimised : as they are", OPTIMISED_RATIO),
                (OPTIMISED_BATCH, "pool, by eight pages: descriptors optimised : as they are", OPTIMISED_RATIO),
                (FULL_EXTREMES, "zone of 4 TiB: 99 % in use : 1 % in use", FULL_RATIO),
            ] {
                if (row.function, row.case) == extremes[1] {
                    let [few, many] = extremes.map(|(function, case)| figures.of(function, case));
                    lines.push(ratio(title, most, few?.instructions, many?.instructions));
                }
            }
        }
        lines.extend([
            bytes(
                "machine of 24 GiB with empty pools: bytes asked of the allocator",
                memory.machine,
                CREATION_BYTES - 1,
            ),
            bytes("zone of 4 TiB: bytes asked of the allocator", memory.zone, ZONE_BYTES),
            bytes("zone of 4 TiB: the same once every 2 MiB were handed out", memory.blocks, BLOCKS_BYTES),
            bytes("zone: bytes for each frame of a pageblock in pieces", memory.frame, FRAME_BYTES),
            bytes("guest: bytes kept for 64 GiB of private memory in pages of 1 GiB", memory.guest, GUEST_BYTES),
        ]);
        Ok(Self(lines))
    }

    /// Is every target met?
    #[must_use]
    pub fn all_met(&self) -> bool {
        self.0.iter().all(|line| line.met != Some(false))
    }
}

fn line(row: &Row, cost: Cost, beside: Option<Cost>) -> Line {
    let operations = u64::from(row.operations);
    let each = |n: u64| grouped(n.div_ceil(operations));
    Line {
        title: row.title.to_owned(),
        figure: each(cost.instructions),
        locked: cost.locked.map_or_else(String::new, |locked| grouped(locked / operations)),
        beside: beside.map_or_else(String::new, |other| {
            let locked = other.locked.map_or_else(String::new, |locked| format!(" ({})", locked / operations));
            format!("{}{locked}", each(other.instructions))
        }),
        target: row.limit.map_or_else(String::new, |limit| format!("<= {}", grouped(limit))),
        met: row.limit.map(|limit| cost.instructions <= limit * operations),
    }
}

fn bytes(title: &str, asked: u64, most: u64) -> Line {
    Line {
        title: title.to_owned(),
        figure: grouped(asked),
        locked: String::new(),
        beside: String::new(),
        target: format!("<= {}", grouped(most)),
        met: Some(asked <= most),
    }
}

fn ratio(title: &str, most: u64, few: u64, many: u64) -> Line {
    let hundredths = (many * 100).div_ceil(few.max(1));
    let shown = |n: u64| format!("{}.{:02}", n / 100, n % 100);
    Line {
        title: title.to_owned(),
        figure: shown(hundredths),
        locked: String::new(),
        beside: String::new(),
        target: format!("<= {}", shown(most)),
        met: Some(hundredths <= most),
    }
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|line| line.title.len()).max().unwrap_or(0);
        let heads = ["bench", "instructions", "locked", "buddy crate (locked)", "target"];
        writeln!(f, "{:width$}  {:>12}  {:>6}  {:>20}  {:>9}", heads[0], heads[1], heads[2], heads[3], heads[4])?;
        for Line { title, figure, locked, beside, target, met } in &self.0 {
            let verdict = match met {
                Some(true) => "  ok",
                Some(false) => "  MISSED",
                None => "",
            };
            writeln!(
                f,
                "{}",
                format!("{title:width$}  {figure:>12}  {locked:>6}  {beside:>20}  {target:>9}{verdict}").trim_end()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(function: &str, case: &str, instructions: u64) -> String {
        let metrics = serde_json::json!({ "Ir": { "values": { "new": instructions } } });
        let profile = serde_json::json!({ "data": { "total": { "metrics": metrics } } });
        serde_json::json!({ "function_name": function, "id": case, "profiles": [profile] }).to_string()
    }

    fn summaries(instructions: impl Fn(&Row) -> u64) -> String {
        let of = |row: &Row| {
            let own = summary(row.function, row.case, instructions(row));
            let beside = row
                .beside
                .map_or_else(String::new, |function| summary(function, row.case, 12 * u64::from(row.operations)));
            format!("{own}\n{beside}\n")
        };
        ROWS.iter().map(of).collect()
    }

    fn report(summaries: &str, machine: u64) -> Result<Report, BadFigures> {
        Report::new(&Figures::read(summaries)?, Memory { machine, ..Memory::default() })
    }

    #[test]
    fn a_target_is_met_up_to_its_last_instruction() {
        // Where a ratio is asked for the others stand beside it.
        let usual = |row: &Row| if (row.function, row.case) == OPTIMISED_EXTREMES[1] { 600 } else { 1_234 };
        let at = |slack: u64| summaries(|row| u64::from(row.operations) * row.limit.unwrap_or(usual(row)) + slack);
        let met = report(&at(0), CREATION_BYTES - 1).unwrap();
        assert!(met.all_met(), "{met}");
        let limits = ROWS.iter().filter(|row| row.limit.is_some()).count();
        assert_eq!(met.to_string().matches("  ok").count(), limits + 9, "and four ratios and five sizes");
        assert!(met.to_string().contains("  12  "), "the other allocator");
        assert!(met.to_string().contains("1,234"));
        let missed = report(&at(1), CREATION_BYTES).unwrap();
        assert_eq!((missed.all_met(), missed.to_string().matches("MISSED").count()), (false, limits + 1));
        assert!(missed.to_string().contains("601"));
    }

    #[test]
    fn the_ratio_is_that_of_the_extremes() {
        let many = |row: &Row| u64::from((row.function, row.case) == REGION_EXTREMES[1]);
        let of = |extra: u64| report(&summaries(|row| 500 + many(row) * extra), 0).unwrap();
        assert!(of(1_500).all_met() && of(1_500).to_string().contains("4.00"));
        assert!(!of(1_501).all_met());
    }

    #[test]
    fn what_is_no_figure_is_named() {
        assert_eq!(report("{}", 0).unwrap_err(), BadFigures::Line(1));
        assert_eq!(report("\nnothing", 0).unwrap_err(), BadFigures::Line(2));
        let first = summary(ROWS[0].function, ROWS[0].case, 1);
        assert_eq!(report(&first, 0).unwrap_err(), BadFigures::Missing(ROWS[1].function, ROWS[1].case));
    }
}
