//! Expectations: `expect [actor] query OP value` and `expect refused-by LEDGER`.

use std::cmp::Ordering;
use std::fmt;

use units::Ledger;

use super::error::LineError;
use super::lex::{At, Token};
use super::zone_query::{EVENT_WORDS, ZoneQuery};
use crate::op::{Actor, CgroupName, FileName, MapName, MountName, Node, Size, SizeName, Value, Verbatim, nearest};
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
    /// How often something happened in the last operation, one of [`EVENT_WORDS`].
    Event(&'static str),
    /// What the last operation answered besides its result, by the field's name, such as `rd` or `done`.
    Last(&'static str),
}

/// How the value of a query is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Bytes,
    Kilobytes,
    Text,
}

impl Query {
    fn unit(&self) -> Unit {
        match self {
            Query::Pool { .. } | Query::Meminfo(_) => Unit::Count,
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
            Query::Zone(_) | Query::Event(_) => Unit::Count,
            Query::Last(name) => match *name {
                "rd" | "vec" | "pm" | "lim" | "numa" | "zone" | "mt" | "asked" | "events" | "why" => Unit::Text,
                "size" | "blksize" | "n" | "copied" => Unit::Bytes,
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
            Query::File(path) => f.write_str(&path.0),
            Query::HugetlbPages(actor) => write!(f, "{actor} HugetlbPages"),
            Query::Pagemap { actor, map } => write!(f, "{actor} pagemap {map}"),
            Query::Smaps { actor, map, field } => write!(f, "{actor} smaps {map} {field}"),
            Query::Fstat { actor, file, field } => write!(f, "{actor} fstat {file} {field}"),
            Query::Zone(query) => write!(f, "{query}"),
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

/// A value that a query has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A number.
    Number(i64),
    /// Text.
    Text(String),
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Known::Number(n) => write!(f, "{n}"),
            Known::Text(text) => f.write_str(text),
        }
    }
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison(&'static str);

const COMPARISONS: [&str; 6] = ["=", "!=", "<", "<=", ">", ">="];

impl Comparison {
    /// Equality.
    pub const EQUAL: Comparison = Comparison("=");

    fn from_text(text: &str) -> Option<Self> {
        COMPARISONS.iter().find(|known| **known == text).map(|known| Self(known))
    }

    /// Whether `known` compares so with `value`.
    pub fn holds(self, known: &Known, value: &Known) -> bool {
        let order = match (known, value) {
            (Known::Number(a), Known::Number(b)) => a.cmp(b),
            (a, b) => a.to_string().cmp(&b.to_string()),
        };
        match self.0 {
            "=" => order == Ordering::Equal,
            "!=" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What must hold after an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// A query has a value.
    Compare {
        /// The query.
        query: Query,
        /// How it is compared.
        comparison: Comparison,
        /// With what.
        value: Known,
    },
    /// The last operation was refused by this ledger.
    RefusedBy(Ledger),
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expectation::RefusedBy(ledger) => write!(f, "expect refused-by {ledger}"),
            Expectation::Compare { query, comparison, value } => {
                write!(f, "expect {query} {} ", comparison.0)?;
                match (value, query.unit()) {
                    (Known::Number(n), Unit::Bytes) => write!(f, "{}", Size::bytes(*n)),
                    (Known::Number(n), Unit::Kilobytes) => write!(f, "{n} kB"),
                    (Known::Number(n), _) => write!(f, "{n}"),
                    (Known::Text(text), _) => f.write_str(&Verbatim(text.clone()).to_text()),
                }
            }
        }
    }
}

impl Expectation {
    /// The process that is asked.
    pub fn actor(&self) -> Option<Actor> {
        match self {
            Expectation::Compare { query, .. } => query.actor(),
            Expectation::RefusedBy(_) => None,
        }
    }

    /// Reads the words after `expect`; `end` is the column after the line.
    pub(crate) fn parse(tokens: &[Token<'_>], end: usize) -> Result<Self, At<LineError>> {
        if let [first, rest @ ..] = tokens
            && first.text == "refused-by"
        {
            let [word] = rest else {
                return Err((end, LineError::QueryForm("expect refused-by LEDGER")));
            };
            return ledger(word.text).map(Expectation::RefusedBy).map_err(|error| (word.column, error));
        }
        let operator = tokens.iter().position(|token| Comparison::from_text(token.text).is_some());
        let operator = operator.ok_or((end, LineError::NoComparison))?;
        let query = query(&tokens[..operator], tokens[operator].column)?;
        let comparison = Comparison::from_text(tokens[operator].text).unwrap_or(Comparison::EQUAL);
        let value = value(query.unit(), &tokens[operator + 1..], end)?;
        if matches!(value, Known::Text(_)) && !matches!(comparison.0, "=" | "!=") {
            return Err((tokens[operator].column, LineError::TextOrder(comparison.0)));
        }
        Ok(Expectation::Compare { query, comparison, value })
    }
}

fn ledger(word: &str) -> Result<Ledger, LineError> {
    let names = || Ledger::ALL.iter().map(|ledger| ledger.name());
    Ledger::ALL.iter().find(|ledger| ledger.name() == word).copied().ok_or_else(|| LineError::UnknownLedger {
        word: word.to_owned(),
        nearest: nearest(word, names()).map(str::to_owned),
    })
}

fn value(unit: Unit, tokens: &[Token<'_>], end: usize) -> Result<Known, At<LineError>> {
    let expects = match unit {
        Unit::Count => "a number",
        Unit::Bytes => "a size in bytes, such as 2M",
        Unit::Kilobytes => "a number of kilobytes, such as 2048 kB",
        Unit::Text => "one word, or text between double quotes",
    };
    let bad = |token: &Token<'_>| (token.column, LineError::BadExpectedValue { value: token.text.to_owned(), expects });
    let word = match tokens {
        [word] => word,
        [word, kb] if unit == Unit::Kilobytes && kb.text == "kB" => word,
        [_, extra, ..] => return Err(bad(extra)),
        [] => {
            return Err((end, LineError::BadExpectedValue { value: String::new(), expects }));
        }
    };
    if unit == Unit::Text {
        return Verbatim::from_text(word.text).map(|text| Known::Text(text.0)).map_err(|_| bad(word));
    }
    <Size as Value>::from_text(word.text).map(|size| Known::Number(size.signed())).map_err(|_| bad(word))
}

fn query(tokens: &[Token<'_>], end: usize) -> Result<Query, At<LineError>> {
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

const ACTOR_QUERIES: [&str; 4] = ["HugetlbPages", "pagemap", "smaps", "fstat"];

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
            Err(unknown(
                first,
                counters.chain(["statfs", "refused-by", "zone", "event"]).chain(Extras::NAMES.iter().copied()),
            ))
        }
    }
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

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    fn printed(line: &str) -> String {
        let text = format!("a0 spawn\n{line}\n");
        match Scenario::parse("x", &text) {
            Ok(scenario) => scenario.lines[1].to_string(),
            Err(problems) => problems[0].to_string(),
        }
    }

    #[test]
    fn canonical_expectations_print_as_they_are_written() {
        for line in [
            "expect free_hugepages = 3",
            "expect resv_hugepages 1G = 0",
            "expect nr_hugepages 2M node=1 >= 4",
            "expect nr_hugepages 64K = 2",
            "expect nr_hugepages log:21 = 0",
            "expect HugePages_Rsvd = 1",
            "expect g0/g1/hugetlb.2MB.rsvd.current = 4M",
            "expect g0/memory.stat hugetlb = 4M",
            "expect g0/g1/memory.events.local max = 18",
            "expect g0/hugetlb.1GB.events max = 2",
            "expect g0/hugetlb.2MB.events.local max != 0",
            "expect statfs M0 f_bfree = 12",
            "expect statfs M0 f_bsize = 2M",
            "expect /sys/kernel/mm/hugepages/hugepages-2048kB/demote_size = 64kB",
            "expect a0 HugetlbPages = 4096 kB",
            "expect a0 pagemap A = aab.",
            "expect a0 smaps A Private_Hugetlb = 2048 kB",
            "expect a0 smaps A vmas = 2",
            "expect a0 fstat F size = 8M",
            "expect rd = 5,6",
            "expect done < 4",
            "expect zone 0:Normal free >= 4",
            "expect zone 1:DMA32 list 3 Movable = 8,24",
            "expect zone 0:Normal page 77 = used:77:0",
            "expect event extfrag = 1",
            "expect zone = 0:Normal",
            "expect refused-by surplus-cap",
        ] {
            assert_eq!(printed(line), line);
        }
    }

    #[test]
    fn other_ways_to_write_a_value_print_canonically() {
        assert_eq!(printed("expect  free_hugepages   =  0002"), "expect free_hugepages = 2");
        assert_eq!(printed("expect a0 HugetlbPages = 4K"), "expect a0 HugetlbPages = 4096 kB");
        assert_eq!(printed("expect g0/hugetlb.2MB.current = 2097152"), "expect g0/hugetlb.2MB.current = 2M");
    }

    #[test]
    fn a_wrong_expectation_says_where_and_what_to_write() {
        for (line, message) in [
            ("expect free_hugepage = 3", "x:2:8: `free_hugepage` is not a query; did you mean `free_hugepages`?"),
            ("expect free_hugepages=3", "x:2:24: the expectation compares nothing"),
            ("expect free_hugepages = three", "x:2:25: `three` is not a number"),
            ("expect a0 pagemap A < aa", "x:2:21: `<` compares numbers"),
            ("expect pagemap A = aa", "x:2:8: this is asked of a process"),
            ("expect a0 free_hugepages = 3", "x:2:11: this is asked of the machine"),
            ("expect statfs M0 bfree = 3", "x:2:18: `bfree` is not a query; did you mean `f_bfree`?"),
            ("expect zone 0:Normal fre = 3", "x:2:22: `fre` is not a query; did you mean `free`?"),
            ("expect zone 0:Norml free = 3", "x:2:13: `0:Norml` is not a zone as NODE:KIND"),
            ("expect event extfrg = 3", "x:2:14: `extfrg` is not a query; did you mean `extfrag`?"),
            ("expect refused-by pol", "x:2:19: `pol` is not a ledger; did you mean `pool`?"),
            ("expect g0/hugetlb.2MB.usage = 3", "x:2:8: this query is written"),
        ] {
            let printed = printed(line);
            assert!(printed.starts_with(message), "{printed}");
        }
    }
}
