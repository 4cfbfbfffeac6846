//! States of whole machines as text: saved, loaded and compared.
//!
//! A saved machine is one JSON object with a `version`: the machine, its zones in the form of [`crate::pages`], and the names that a
//! scenario gave to what is in it. Objects are named by their places (`inode:3`), so that nothing shows what was removed before. What
//! is loaded may come from anybody: its size has limits, every name must have its object, and the machine is recounted before it is
//! handed out.

use std::fmt;

use hugefolio::{Machine, MachineState, MachineStateError, NodeId, PageCount, ZoneOfMachine};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::instance::SavedNames;
use crate::pages::{self, Diff, LoadError, SavedZone};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// A whole machine, as text has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMachine {
    /// [`VERSION`].
    pub version: u32,
    /// All but its zones.
    pub machine: MachineState,
    /// Its zones, each with what processors keep of it.
    pub zones: Vec<SavedZone>,
    /// What a scenario calls it.
    #[serde(default)]
    pub names: SavedNames,
}

/// How large a loaded machine may be; what it may take afterwards is [`crate::limits::Limits`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text. Whatever is in a list takes some.
    pub bytes: usize,
    /// Frames of all zones, holes included, since a few bytes of text name many.
    pub frames: PageCount,
}

impl Default for Limits {
    /// 64 MiB of text, and 1 TiB in pages of 4 KiB with those that describe it.
    fn default() -> Self {
        Self { bytes: 64 << 20, frames: PageCount::new((1 << 28) + (1 << 23)) }
    }
}

/// Why a text is no machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadMachine {
    /// It is too long.
    #[error("{found} bytes are too many: at most {most} are read")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// It is not the JSON of a saved machine.
    #[error("{0}")]
    Text(#[from] serde_json::Error),
    /// It is of another version.
    #[error("version {0}: only version {VERSION} is read")]
    Version(u32),
    /// One of its zones cannot be.
    #[error("zone {0}: {1}")]
    Zone(usize, LoadError),
    /// The rest cannot be.
    #[error("{0}")]
    Machine(#[from] MachineStateError),
    /// A name of the scenario means nothing that is there.
    #[error("names: {0}")]
    Names(String),
}

impl SavedMachine {
    /// A machine as it stands.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self::with_names(machine, SavedNames::default())
    }

    /// The same with the names of a scenario, as the machine itself knows them.
    pub(crate) fn with_names(machine: &Machine, mut names: SavedNames) -> Self {
        let (state, renamed) = machine.state();
        names.objects().into_iter().for_each(|name| renamed.rename(name));
        let zone = |of: &ZoneOfMachine| {
            of.lists.iter().fold(SavedZone::of(&of.zone), |zone, (tuning, lists)| zone.with_lists(tuning, lists))
        };
        Self { version: VERSION, zones: state.zones.iter().map(zone).collect(), machine: state, names }
    }

    /// Reads a saved machine. Nothing is believed yet.
    ///
    /// # Errors
    /// Text that is not one, of another version, or larger than permitted.
    pub fn parse(text: &str, limits: Limits) -> Result<Self, BadMachine> {
        if text.len() > limits.bytes {
            return Err(BadMachine::TooLong { found: text.len(), most: limits.bytes });
        }
        let saved: Self = serde_json::from_str(text)?;
        if saved.version != VERSION {
            return Err(BadMachine::Version(saved.version));
        }
        let mut left = limits.frames;
        for (n, zone) in saved.zones.iter().enumerate() {
            let frames = zone.check(pages::Limits { frames: left }).map_err(|error| BadMachine::Zone(n, error))?;
            left = left.saturating_sub(frames);
        }
        Ok(saved)
    }

    /// The machine, recounted.
    ///
    /// # Errors
    /// What is not there, cannot be, or contradicts something else.
    pub fn build(&self) -> Result<Machine, BadMachine> {
        let mut state = self.machine.clone();
        for (n, zone) in self.zones.iter().enumerate() {
            let bad = |error| BadMachine::Zone(n, error);
            let lists = zone.processors.iter().map(|lists| lists.described().map_err(bad)).collect::<Result<_, _>>()?;
            state.zones.push(ZoneOfMachine { zone: zone.state().map_err(bad)?, lists });
        }
        Ok(Machine::from_state(state)?)
    }

    /// What is not the same in another one, line by line, one thing that can differ in each.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Diff {
        let mut diff = Diff::of(self.lines(), other.lines());
        let nodes = |of: &Self| of.zones.iter().map(|zone| (zone.node, zone.zone.clone())).collect::<Vec<_>>();
        if nodes(self) != nodes(other) {
            diff.here.push(format!("zones {:?}", nodes(self)));
            diff.there.push(format!("zones {:?}", nodes(other)));
        }
        for (here, there) in self.zones.iter().zip(&other.zones) {
            let place = |line: String| format!("{} {} {line}", NodeId::new(here.node), here.zone);
            let zone = here.diff(there);
            diff.here.extend(zone.here.into_iter().map(place));
            diff.there.extend(zone.there.into_iter().map(place));
        }
        diff
    }

    /// One line for each value, or for each object that has no parts, with the way to it: `pool 2M resv: 3`.
    fn lines(&self) -> Vec<String> {
        let mut say = Lines { pools: self.machine.sizes().map(|size| size.to_string()).collect(), lines: Vec::new() };
        for (what, value) in [("", serde_json::to_value(&self.machine)), ("name", serde_json::to_value(&self.names))] {
            // Every map of a state has keys that are text.
            value.iter().for_each(|value| say.value(what, value));
        }
        say.lines
    }
}

struct Lines {
    /// The sizes of the pools.
    pools: Vec<String>,
    lines: Vec<String>,
}

impl Lines {
    fn value(&mut self, way: &str, value: &Value) {
        match value {
            Value::Object(fields) if is_record(fields) => {
                let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
                self.lines.push(format!("{way}: {}", fields.join(" ")));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| self.value(&self.further(way, key), value));
            }
            Value::Array(all) if depth(value) > 1 => {
                all.iter().enumerate().for_each(|(n, value)| self.value(&self.further(way, &n.to_string()), value));
            }
            one => self.lines.push(format!("{way}: {}", plain(one))),
        }
    }

    /// The way to a part, in the words of the project.
    fn further(&self, way: &str, key: &str) -> String {
        let last = way.rsplit(' ').next().unwrap_or_default();
        let number = key.parse::<u64>().ok();
        let word = match (last, number) {
            ("pool", Some(n)) => self.pools.get(usize::try_from(n).unwrap_or(usize::MAX)).cloned(),
            ("folio", Some(pfn)) => Some(format!("{pfn:#x}")),
            ("area" | "entry" | "byte", Some(at)) => Some(format!("{at:#x}")),
            _ => None,
        };
        let word = word.as_deref().unwrap_or_else(|| one_of(key));
        if way.is_empty() || word.is_empty() { format!("{way}{word}") } else { format!("{way} {word}") }
    }
}

/// Is it one thing with properties, and no collection of things?
fn is_record(fields: &Map<String, Value>) -> bool {
    let is_property = |(key, value): (&String, &Value)| {
        let deepest = if value.is_array() { 1 } else { 2 };
        let is_list = value.as_object().is_some_and(|of| of.keys().any(|key| key.parse::<u64>().is_ok()));
        depth(value) <= deepest && !is_list && key.parse::<u64>().is_err()
    };
    !fields.is_empty() && fields.iter().all(is_property)
}

/// How far parts lie in each other; none have what is no list and no object.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(plain).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// The word for one of those that a part of a machine lists; nothing for a part that goes without saying.
fn one_of(part: &str) -> &str {
    match part {
        "ledger" | "inode" | "cache" => "",
        "folios" => "folio",
        "pools" => "pool",
        "shelves" => "shelf of node",
        "records" => "slot",
        "inodes" => "file",
        "mapped_by" => "mapped from page",
        "maps" => "map",
        "regions" => "region from",
        "subpools" => "subpool",
        "mounts" => "mount",
        "spaces" => "space",
        "areas" => "area",
        "uffds" => "uffd",
        "processes" => "process",
        "tree" => "group",
        "nodes" => "node",
        "bytes" => "byte",
        "entries" => "entry",
        other => other,
    }
}

impl fmt::Display for SavedMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}
