//! The lines before the first operation.

use std::fmt;

use hugefolio::{Behaviour, CollapseRule, GroupVersion, MemoryAccounting, TailLife};

use super::error::LineError;
use super::lex::{At, Token};
use super::memory::MemoryLine;
use super::nodes;
use crate::op::{nearest, quote, unquote};
use crate::target::{ArchName, MachineLine};

/// A line of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderLine {
    /// `name NAME`: the scenario's name, where it is not that of its file.
    Name(String),
    /// `title "..."`: what it shows.
    Title(String),
    /// `seed N`: the seed of a random script.
    Seed(u64),
    /// `profile NAME`: the profile of a random script.
    Profile(String),
    /// `machine node=24G hugepagesz=2M ...`.
    Machine(MachineLine),
    /// A line that describes memory as it stands.
    Memory(MemoryLine),
}

/// The words of the header, each with its form.
pub const HEADER_FORMS: [(&str, &str); 5] = [
    ("name", "name NAME"),
    ("title", "title \"what it shows\""),
    ("seed", "seed 7"),
    ("profile", "profile NAME"),
    ("machine", "machine node=24G hugepagesz=2M hugepages=4"),
];

/// The interfaces of control groups with their words; the last is v2, mounted with the option of that name.
pub(crate) const GROUP_VERSIONS: [(&str, (GroupVersion, MemoryAccounting)); 3] = [
    ("v2", (GroupVersion::V2, MemoryAccounting::Off)),
    ("v1", (GroupVersion::V1, MemoryAccounting::Off)),
    ("memory_hugetlb_accounting", (GroupVersion::V2, MemoryAccounting::HugePages)),
];

/// What becomes of shared tails that nobody reads.
pub(crate) const TAIL_LIVES: [(&str, TailLife); 2] = [("counted", TailLife::Counted), ("kept", TailLife::Kept)];

/// What `MADV_COLLAPSE` does.
pub(crate) const COLLAPSE_RULES: [(&str, CollapseRule); 3] =
    [("released", CollapseRule::Released), ("first", CollapseRule::First), ("second", CollapseRule::Second)];

/// The boot parameters that a machine line may hold, besides `arch=`, `cgroup=`, `tails=`, `collapse=`, `references=`, `distances=`, and `node=` for each node's memory.
pub const BOOT_PARAMETERS: [&str; 9] = [
    "hugepages",
    "hugepagesz",
    "default_hugepagesz",
    "hugetlb_cma",
    "hugetlb_cma_only",
    "hugetlb_free_vmemmap",
    "hugepage_alloc_threads",
    "kernelcore",
    "movablecore",
];

impl HeaderLine {
    /// The line's word.
    pub fn word(&self) -> &'static str {
        match self {
            HeaderLine::Name(_) => "name",
            HeaderLine::Title(_) => "title",
            HeaderLine::Seed(_) => "seed",
            HeaderLine::Profile(_) => "profile",
            HeaderLine::Machine(_) => "machine",
            HeaderLine::Memory(line) => line.word(),
        }
    }

    /// May there be several of these?
    pub fn repeats(&self) -> bool {
        matches!(self, HeaderLine::Memory(line) if line.word() != "memory")
    }

    /// Reads a line whose first word is one of [`HEADER_FORMS`]; `None` if it is none.
    pub(crate) fn parse(tokens: &[Token<'_>]) -> Option<Result<Self, At<LineError>>> {
        if let Some(line) = MemoryLine::parse(tokens) {
            return Some(line.map(HeaderLine::Memory));
        }
        let first = tokens.first()?;
        let (word, form) = HEADER_FORMS.iter().find(|(word, _)| *word == first.text)?;
        let bad = || (first.column, LineError::HeaderForm(form));
        let line = match (*word, &tokens[1..]) {
            ("machine", words) => machine(words).map(HeaderLine::Machine),
            ("title", [text]) => unquote(text.text).map(HeaderLine::Title).ok_or_else(bad),
            ("name", [name]) => plain(name).map(HeaderLine::Name).ok_or_else(bad),
            ("profile", [name]) => plain(name).map(HeaderLine::Profile).ok_or_else(bad),
            ("seed", [number]) => number.text.parse().map(HeaderLine::Seed).map_err(|_| bad()),
            _ => Err(bad()),
        };
        Some(line)
    }
}

/// Whether a name can stand on a line without quotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn plain(token: &Token<'_>) -> Option<String> {
    is_plain_name(token.text).then(|| token.text.to_owned())
}

fn machine(words: &[Token<'_>]) -> Result<MachineLine, At<LineError>> {
    let mut machine = MachineLine::default();
    for word in words {
        let bad = |problem: String, mend: &str| (word.column, LineError::Machine { problem, mend: mend.to_owned() });
        let (name, value) = word.text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(|| {
            bad(format!("`{}` is not a boot parameter", word.text), "write NAME=VALUE, such as hugepages=4")
        })?;
        if name == "node" {
            nodes::node(&mut machine, value).map_err(|(problem, mend)| bad(problem, mend))?;
        } else if name == "distances" {
            nodes::distances(&mut machine, value).map_err(|(problem, mend)| bad(problem, mend))?;
        } else if name == "arch" {
            let arch = ArchName::ALL.iter().find(|(word, _)| *word == value);
            let words = ArchName::ALL.map(|(word, _)| word).join(", ");
            let bad = || bad(format!("`{value}` is not an architecture"), &format!("write one of {words}"));
            machine.arch = arch.map(|(_, arch)| *arch).ok_or_else(bad)?;
        } else if name == "cgroup" {
            let version = GROUP_VERSIONS.iter().find(|(word, _)| *word == value);
            let words = GROUP_VERSIONS.map(|(word, _)| word).join(", ");
            let bad =
                || bad(format!("`{value}` is not an interface of control groups"), &format!("write one of {words}"));
            (machine.groups, machine.memory) = version.map(|(_, version)| *version).ok_or_else(bad)?;
        } else if name == "tails" {
            let life = TAIL_LIVES.iter().find(|(word, _)| *word == value);
            let words = TAIL_LIVES.map(|(word, _)| word).join(", ");
            let bad = || bad(format!("`{value}` is no life of shared tails"), &format!("write one of {words}"));
            machine.tails = life.map(|(_, life)| *life).ok_or_else(bad)?;
        } else if name == "collapse" {
            let rule = COLLAPSE_RULES.iter().find(|(word, _)| *word == value);
            let words = COLLAPSE_RULES.map(|(word, _)| word).join(", ");
            let bad = || bad(format!("`{value}` is no rule of MADV_COLLAPSE"), &format!("write one of {words}"));
            machine.behaviour.collapse = rule.map(|(_, rule)| *rule).ok_or_else(bad)?;
        } else if name == "references" {
            let bad = |_| bad(format!("`{value}` is no number of references"), "write a number, such as 600");
            machine.behaviour.references_max = value.parse().map_err(bad)?;
        } else if BOOT_PARAMETERS.contains(&name) {
            machine.boot.push(word.text.to_owned());
        } else {
            let mend = match nearest(
                name,
                BOOT_PARAMETERS.into_iter().chain([
                    "node",
                    "distances",
                    "arch",
                    "cgroup",
                    "tails",
                    "collapse",
                    "references",
                ]),
            ) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!(
                    "it takes arch, node, distances, cgroup, tails, collapse, references, {}",
                    BOOT_PARAMETERS.join(", ")
                ),
            };
            return Err(bad(format!("the machine has no parameter `{name}`"), &mend));
        }
    }
    Ok(machine)
}

impl fmt::Display for HeaderLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderLine::Name(name) => write!(f, "name {name}"),
            HeaderLine::Title(title) => write!(f, "title {}", quote(title)),
            HeaderLine::Seed(seed) => write!(f, "seed {seed}"),
            HeaderLine::Memory(line) => write!(f, "{line}"),
            HeaderLine::Profile(profile) => write!(f, "profile {profile}"),
            HeaderLine::Machine(machine) => {
                f.write_str("machine")?;
                if machine.arch != ArchName::default() {
                    write!(f, " arch={}", machine.arch.word())?;
                }
                nodes::print(machine, f)?;
                let groups = (machine.groups, machine.memory);
                if groups != Default::default() {
                    let word = GROUP_VERSIONS.iter().find(|(_, version)| *version == groups);
                    write!(f, " cgroup={}", word.map_or("", |(word, _)| *word))?;
                }
                if machine.tails != TailLife::default() {
                    let word = TAIL_LIVES.iter().find(|(_, life)| *life == machine.tails);
                    write!(f, " tails={}", word.map_or("", |(word, _)| *word))?;
                }
                let usual = Behaviour::default();
                if machine.behaviour.collapse != usual.collapse {
                    let word = COLLAPSE_RULES.iter().find(|(_, rule)| *rule == machine.behaviour.collapse);
                    write!(f, " collapse={}", word.map_or("", |(word, _)| *word))?;
                }
                if machine.behaviour.references_max != usual.references_max {
                    write!(f, " references={}", machine.behaviour.references_max)?;
                }
                machine.boot.iter().try_for_each(|word| write!(f, " {word}"))
            }
        }
    }
}
