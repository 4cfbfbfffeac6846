//! What an expectation can ask for, and how it is written.

use std::fmt;

use hugefolio::text::VmstatItem;

use super::error::LineError;
use super::guest_query::GuestQuery;
use super::lex::{At, Token};
use super::piece_query::{PieceQuery, TablesQuery};
use super::zone_query::{EVENT_WORDS, ZoneQuery};
use crate::op::{Actor, CgroupName, FileName, MapName, MountName, Node, SizeName, Value, Verbatim, nearest};
use crate::target::Extras;

/// A counter of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolCounter {
    /// All huge pages.
    Nr,
    /// Free ones.
    Free,
    /// Promised ones.
    Resv,
    /// Those above the persistent number.
    Surplus,
}

const POOL_COUNTERS: [(&str, &str, PoolCounter); 4] = [
    ("nr_hugepages", "HugePages_Total", PoolCounter::Nr),
    ("free_hugepages", "HugePages_Free", PoolCounter::Free),
    ("resv_hugepages", "HugePages_Rsvd", PoolCounter::Resv),
    ("surplus_hugepages", "HugePages_Surp", PoolCounter::Surplus),
];

impl PoolCounter {
    /// The name of the counter's file in sysfs.
    pub fn sysfs_name(self) -> &'static str {
        POOL_COUNTERS.iter().find(|(.., counter)| *counter == self).map_or("", |(sysfs, ..)| *sysfs)
    }

    /// The name of the counter in /proc/meminfo.
    pub fn meminfo_name(self) -> &'static str {
        POOL_COUNTERS.iter().find(|(.., counter)| *counter == self).map_or("", |(_, meminfo, _)| *meminfo)
    }
}

/// The fields of statfs(2).
pub const STATFS_FIELDS: [&str; 6] = ["f_bsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree"];
/// The files of a control group that a query may name, after the page size.
pub const CGROUP_FILES: [&str; 4] = ["current", "rsvd.current", "events max", "events.local max"];
/// What a query may name of a control group's memory.
pub const MEMORY_FILES: [&str; 3] = ["stat hugetlb", "events max", "events.local max"];
/// The fields of a mapping's smaps.
pub const SMAPS_FIELDS: [&str; 3] = ["vmas", "Shared_Hugetlb", "Private_Hugetlb"];
/// The fields of a file.
pub const FSTAT_FIELDS: [&str; 4] = ["size", "blocks", "blksize", "nlink"];

/// What an expectation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// A pool's counter by its sysfs name; the default page size and all nodes if none are named.
    Pool {
        /// The counter.
        counter: PoolCounter,
        /// The page size.
        size: Option<SizeName>,
        /// The node.
        node: Option<Node>,
    },
    /// A counter of the default pool by its name in /proc/meminfo.
    Meminfo(PoolCounter),
    /// A control group's counter: `g0/hugetlb.2MB.current`.
    Cgroup {
        /// The group.
        cg: CgroupName,
        /// The page size.
        size: SizeName,
        /// One of [`CGROUP_FILES`].
        file: &'static str,
    },
    /// What the memory controller says of a control group: `g0/memory.stat hugetlb`.
    Memory {
        /// The group.
        cg: CgroupName,
        /// One of [`MEMORY_FILES`].
        file: &'static str,
    },
    /// A field of statfs(2) of a mount.
    Statfs {
        /// The mount.
        mount: MountName,
        /// One of [`STATFS_FIELDS`].
        field: &'static str,
    },
    /// A counter of /proc/vmstat, by its name there.
    Vmstat(VmstatItem),
    /// How many pages are shared tails of descriptors.
    Tails,
    /// The content of a file of /proc or /sys.
    File(Verbatim),
    /// `HugetlbPages` in a process's status, in kilobytes.
    HugetlbPages(Actor),
    /// How the pages of a mapping are mapped, one letter each.
    Pagemap {
        /// The process.
        actor: Actor,
        /// The mapping.
        map: MapName,
    },
    /// A field of a mapping's smaps.
    Smaps {
        /// The process.
        actor: Actor,
        /// The mapping.
        map: MapName,
        /// One of [`SMAPS_FIELDS`].
        field: &'static str,
    },
    /// A field of an open file.
    Fstat {
        /// The process.
        actor: Actor,
        /// The descriptor.
        file: FileName,
        /// One of [`FSTAT_FIELDS`].
        field: &'static str,
    },
    /// Something of a zone that the scenario describes.
    Zone(ZoneQuery),
    /// Something of a file of guest memory.
    Guest(GuestQuery),
    /// What a process has at an address.
    Piece(PieceQuery),
    /// Something of page tables by themselves.
    Tables(TablesQuery),
    /// How often something happened in the last operation, one of [`EVENT_WORDS`].
    Event(&'static str),
    /// What the last operation answered besides its result, by the field's name, such as `rd` or `done`.
    Last(&'static str),
}

/// How the value of a query is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    Bytes,
    Kilobytes,
    Text,
}

impl Query {
    pub(super) fn unit(&self) -> Unit {
        match self {
            Query::Pool { .. } | Query::Meminfo(_) | Query::Vmstat(_) | Query::Tails => Unit::Count,
            Query::Cgroup { file, .. } if file.ends_with("current") => Unit::Bytes,
            Query::Memory { file, .. } if file.ends_with("hugetlb") => Unit::Bytes,
            Query::Cgroup { .. } | Query::Memory { .. } => Unit::Count,
            Query::Statfs { field, .. } | Query::Fstat { field, .. } => match *field {
                "f_bsize" | "size" | "blksize" => Unit::Bytes,
                _ => Unit::Count,
            },
            Query::HugetlbPages(_) => Unit::Kilobytes,
            Query::Smaps { field: "vmas", .. } => Unit::Count,
            Query::Smaps { .. } => Unit::Kilobytes,
            Query::File(_) | Query::Pagemap { .. } => Unit::Text,
            Query::Zone(query) if query.field.is_text() => Unit::Text,
            Query::Guest(query) if query.field.is_text() => Unit::Text,
            Query::Piece(query) => query.field.unit(),
            Query::Zone(_) | Query::Guest(_) | Query::Event(_) | Query::Tables(_) => Unit::Count,
            Query::Last(name) => match *name {
                "rd" | "vec" | "pm" | "lim" | "numa" | "zone" | "mt" | "asked" | "events" | "why" | "steps"
                | "what" | "flushed" => Unit::Text,
                "size" | "blksize" | "n" | "copied" | "at" => Unit::Bytes,
                name if name.ends_with("_kb") => Unit::Kilobytes,
                _ => Unit::Count,
            },
        }
    }

    /// The process that is asked.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Query::HugetlbPages(actor)
            | Query::Pagemap { actor, .. }
            | Query::Smaps { actor, .. }
            | Query::Fstat { actor, .. } => Some(*actor),
            Query::Guest(query) => Some(query.actor),
            Query::Piece(query) => Some(query.actor),
            _ => None,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Pool { counter, size, node } => {
                f.write_str(counter.sysfs_name())?;
                size.map_or(Ok(()), |size| write!(f, " {}", size.to_text()))?;
                node.map_or(Ok(()), |node| write!(f, " node={}", node.get()))
            }
            Query::Meminfo(counter) => f.write_str(counter.meminfo_name()),
            Query::Memory { cg, file } => write!(f, "{cg}/memory.{file}"),
            Query::Cgroup { cg, size, file } => {
                write!(f, "{cg}/hugetlb.{}.{file}", cgroup_size(*size))
            }
            Query::Statfs { mount, field } => write!(f, "statfs {mount} {field}"),
            Query::Vmstat(item) => write!(f, "vmstat {}", item.name()),
            Query::Tails => f.write_str("shared_tails"),
            Query::File(path) => f.write_str(&path.0),
            Query::HugetlbPages(actor) => write!(f, "{actor} HugetlbPages"),
            Query::Pagemap { actor, map } => write!(f, "{actor} pagemap {map}"),
            Query::Smaps { actor, map, field } => write!(f, "{actor} smaps {map} {field}"),
            Query::Fstat { actor, file, field } => write!(f, "{actor} fstat {file} {field}"),
            Query::Zone(query) => write!(f, "{query}"),
            Query::Guest(query) => write!(f, "{query}"),
            Query::Piece(query) => write!(f, "{query}"),
            Query::Tables(query) => write!(f, "{query}"),
            Query::Event(word) => write!(f, "event {word}"),
            Query::Last(name) => f.write_str(name),
        }
    }
}

fn cgroup_size(size: SizeName) -> &'static str {
    match size {
        SizeName::G1 => "1GB",
        _ => "2MB",
    }
}

pub(super) fn query(tokens: &[Token<'_>], end: usize) -> Result<Query, At<LineError>> {
    let actor = tokens.first().and_then(|token| <Actor as Value>::from_text(token.text).ok());
    let words = if actor.is_some() { &tokens[1..] } else { tokens };
    let first = words.first().ok_or((end, LineError::NoComparison))?;
    match actor {
        Some(actor) => query_of_actor(actor, first, &words[1..], end),
        None => query_of_machine(first, &words[1..], end),
    }
}

fn name<T: Value>(token: &Token<'_>) -> Result<T, At<LineError>> {
    T::from_text(token.text)
        .map_err(|_| (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects: T::EXPECTS }))
}

fn field(token: &Token<'_>, fields: &'static [&'static str]) -> Result<&'static str, At<LineError>> {
    fields.iter().find(|field| **field == token.text).copied().ok_or_else(|| unknown(token, fields.iter().copied()))
}

fn unknown<'a>(token: &Token<'_>, known: impl Iterator<Item = &'a str>) -> At<LineError> {
    let nearest = nearest(token.text, known).map(str::to_owned);
    (token.column, LineError::UnknownQuery { word: token.text.to_owned(), nearest })
}

const ACTOR_QUERIES: [&str; 6] = ["HugetlbPages", "pagemap", "smaps", "fstat", "gmem", "piece"];

fn query_of_actor(actor: Actor, first: &Token<'_>, words: &[Token<'_>], end: usize) -> Result<Query, At<LineError>> {
    let form = |form: &'static str| Err((end, LineError::QueryForm(form)));
    match (first.text, words) {
        ("HugetlbPages", []) => Ok(Query::HugetlbPages(actor)),
        ("HugetlbPages", _) => form("expect a0 HugetlbPages = 2048 kB"),
        ("pagemap", [map]) => Ok(Query::Pagemap { actor, map: name(map)? }),
        ("pagemap", _) => form("expect a0 pagemap A = aa.."),
        ("smaps", [map, of]) => Ok(Query::Smaps { actor, map: name(map)?, field: field(of, &SMAPS_FIELDS)? }),
        ("smaps", _) => form("expect a0 smaps A Private_Hugetlb = 2048 kB"),
        ("fstat", [file, of]) => Ok(Query::Fstat { actor, file: name(file)?, field: field(of, &FSTAT_FIELDS)? }),
        ("fstat", _) => form("expect a0 fstat F size = 2M"),
        ("gmem", _) => GuestQuery::parse(actor, words, end).map(Query::Guest),
        ("piece", _) => PieceQuery::parse(actor, words, end).map(Query::Piece),
        _ if query_of_machine(first, words, end).is_ok() => Err((
            first.column,
            LineError::QueryActor("this is asked of the machine, not of a process; leave the process out"),
        )),
        _ => Err(unknown(first, ACTOR_QUERIES.into_iter())),
    }
}

fn query_of_machine(first: &Token<'_>, words: &[Token<'_>], end: usize) -> Result<Query, At<LineError>> {
    let form = |form: &'static str| Err((end, LineError::QueryForm(form)));
    if let Some((.., counter)) = POOL_COUNTERS.iter().find(|(sysfs, ..)| *sysfs == first.text) {
        return pool_query(*counter, words);
    }
    if let Some((.., counter)) = POOL_COUNTERS.iter().find(|(_, meminfo, _)| *meminfo == first.text) {
        return if words.is_empty() { Ok(Query::Meminfo(*counter)) } else { form("expect HugePages_Free = 3") };
    }
    if let Some((cg, file)) = first.text.rsplit_once("/hugetlb.").filter(|(cg, _)| !cg.starts_with("/sys")) {
        return cgroup_query(first, cg, file, words);
    }
    if let Some((cg, file)) = first.text.rsplit_once("/memory.").filter(|(cg, _)| !cg.starts_with("/sys")) {
        return memory_query(first, cg, file, words);
    }
    if first.text.starts_with('/') {
        return if words.is_empty() {
            Ok(Query::File(Verbatim(first.text.to_owned())))
        } else {
            form("expect /sys/FILE = VALUE")
        };
    }
    match (first.text, words) {
        ("statfs", [mount, of]) => Ok(Query::Statfs { mount: name(mount)?, field: field(of, &STATFS_FIELDS)? }),
        ("statfs", _) => form("expect statfs M0 f_bfree = 3"),
        ("vmstat", [word]) => vmstat_item(word).map(Query::Vmstat),
        ("vmstat", _) => form("expect vmstat nr_memmap_pages = 4"),
        ("shared_tails", []) => Ok(Query::Tails),
        ("shared_tails", _) => form("expect shared_tails = 1"),
        ("tables", _) => TablesQuery::parse(words, end).map(Query::Tables),
        ("zone", [_, ..]) => ZoneQuery::parse(words, end).map(Query::Zone),
        ("event", [word]) => field(word, &EVENT_WORDS).map(Query::Event),
        ("event", _) => form("expect event extfrag = 1"),
        (text, []) if Extras::NAMES.contains(&text) => field(first, Extras::NAMES).map(Query::Last),
        (text, _) if Extras::NAMES.contains(&text) => form("expect rd = 5,6"),
        (text, _) if ACTOR_QUERIES.contains(&text) => Err((
            first.column,
            LineError::QueryActor("this is asked of a process; write it first, such as `expect a0 ...`"),
        )),
        _ => {
            let counters = POOL_COUNTERS.iter().flat_map(|(sysfs, meminfo, _)| [*sysfs, *meminfo]);
            Err(unknown(first, counters.chain(MACHINE_QUERIES).chain(Extras::NAMES.iter().copied())))
        }
    }
}

/// The first words of queries of the machine that are no counter of a pool.
const MACHINE_QUERIES: [&str; 7] = ["statfs", "refused-by", "vmstat", "shared_tails", "zone", "event", "tables"];

fn vmstat_item(word: &Token<'_>) -> Result<VmstatItem, At<LineError>> {
    let lists = [VmstatItem::ZONE, VmstatItem::NODE, VmstatItem::MACHINE];
    let names = lists.into_iter().flatten().map(|item| item.name());
    VmstatItem::named(word.text).ok_or_else(|| unknown(word, names))
}

fn pool_query(counter: PoolCounter, words: &[Token<'_>]) -> Result<Query, At<LineError>> {
    let (mut size, mut node) = (None, None);
    for word in words {
        match word.text.strip_prefix("node=") {
            Some(text) => node = Some(name(&Token { text, ..*word })?),
            None => size = Some(name(word)?),
        }
    }
    Ok(Query::Pool { counter, size, node })
}

fn cgroup_query(first: &Token<'_>, cg: &str, file: &str, words: &[Token<'_>]) -> Result<Query, At<LineError>> {
    let form = (
        first.column,
        LineError::QueryForm("expect g0/hugetlb.2MB.current = 2M, or .rsvd.current, .events max, .events.local max"),
    );
    let (size, file) = file.split_once('.').ok_or(form.clone())?;
    let size = match size {
        "2MB" => SizeName::M2,
        "1GB" => SizeName::G1,
        _ => return Err(form),
    };
    let file = words.iter().fold(file.to_owned(), |file, word| format!("{file} {}", word.text));
    let file = CGROUP_FILES.iter().find(|known| **known == file).copied().ok_or(form)?;
    Ok(Query::Cgroup { cg: name(&Token { text: cg, ..*first })?, size, file })
}

fn memory_query(first: &Token<'_>, cg: &str, file: &str, words: &[Token<'_>]) -> Result<Query, At<LineError>> {
    let file = words.iter().fold(file.to_owned(), |file, word| format!("{file} {}", word.text));
    let form =
        LineError::QueryForm("expect g0/memory.stat hugetlb = 2M, or memory.events max, memory.events.local max");
    let file = MEMORY_FILES.iter().find(|known| **known == file).copied().ok_or((first.column, form))?;
    Ok(Query::Memory { cg: name(&Token { text: cg, ..*first })?, file })
}
