//! Header lines that describe memory as it stands: zones, their free lists, types, marks, and what processors keep.

use std::fmt;

use hugefolio::Migratetype;

use super::error::LineError;
use super::lex::{At, Token};
use crate::op::{FrameRange, Value, ZoneName, nearest};

/// A line about memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLine {
    pub(super) word: &'static str,
    pub(super) at: Option<ZoneName>,
    pub(super) node: Option<u8>,
    pub(super) order: Option<u8>,
    pub(super) migratetype: Option<Migratetype>,
    pub(super) frames: Vec<FrameRange>,
    pub(super) options: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    At,
    Node,
    Order,
    Type,
    Frames,
}

#[derive(Clone, Copy)]
enum Takes {
    Number,
    /// From so many to so many numbers.
    Numbers(usize, usize),
    /// One of these.
    Word(&'static [&'static str]),
    /// Several of these.
    Words(&'static [&'static str]),
    /// Nothing: the word alone.
    Nothing,
}

struct Form {
    word: &'static str,
    fields: &'static [Field],
    options: &'static [(&'static str, Takes)],
}

const ON_OFF: Takes = Takes::Word(&["on", "off"]);
/// What may be done on a private node.
pub(super) const CAPS: [&str; 6] = ["reclaim", "mempolicy", "hotunplug", "tiering", "pin", "migrate"];

static FORMS: [Form; 8] = [
    Form {
        word: "memory",
        fields: &[],
        options: &[
            ("cpus", Takes::Numbers(1, 64)),
            ("largest", Takes::Number),
            ("pageblock", Takes::Number),
            ("section", Takes::Number),
            ("grouping", ON_OFF),
            ("compaction", ON_OFF),
            ("defrag", ON_OFF),
            ("near_reclaim", ON_OFF),
            ("killer", ON_OFF),
            ("counters", Takes::Word(&["exact", "by-processor"])),
        ],
    },
    Form { word: "private", fields: &[Field::Node], options: &[("caps", Takes::Words(&CAPS))] },
    Form {
        word: "zone",
        fields: &[Field::At, Field::Frames],
        options: &[
            ("marks", Takes::Numbers(3, 4)),
            ("protection", Takes::Numbers(1, 6)),
            ("boost", Takes::Number),
            ("boost_factor", Takes::Number),
            ("lists", Takes::Numbers(3, 3)),
            ("allocated", Takes::Nothing),
        ],
    },
    Form { word: "block", fields: &[Field::At, Field::Type, Field::Frames], options: &[] },
    Form { word: "free", fields: &[Field::At, Field::Order, Field::Type, Field::Frames], options: &[] },
    Form { word: "used", fields: &[Field::At, Field::Order, Field::Frames], options: &[] },
    Form { word: "movable", fields: &[Field::At, Field::Order, Field::Frames], options: &[] },
    Form {
        word: "pcp",
        fields: &[Field::At, Field::Order, Field::Type, Field::Frames],
        options: &[("cpu", Takes::Number), ("high", Takes::Number)],
    },
];

/// The words of these lines, each with its form.
pub const MEMORY_FORMS: [(&str, &str); 8] = [
    (
        "memory",
        "memory cpus=0,0,1 largest=10 pageblock=9 section=15 grouping=off compaction=off defrag=on near_reclaim=on killer=off counters=by-processor",
    ),
    ("private", "private 2 caps=reclaim,tiering"),
    (
        "zone",
        "zone 0:Normal 0..4096 marks=32,40,48 protection=0,0,0,64 boost=0 boost_factor=15000 lists=7,28,200 allocated",
    ),
    ("block", "block 0:Normal Unmovable 512..1024"),
    ("free", "free 0:Normal 3 Movable 8,24,1024..2048"),
    ("used", "used 0:Normal 0 7"),
    ("movable", "movable 0:Normal 0 16..32"),
    ("pcp", "pcp 0:Normal 0 Movable 40,41 cpu=0 high=28"),
];

impl MemoryLine {
    /// The line's word.
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// The zone that it is about.
    pub fn zone(&self) -> Option<ZoneName> {
        self.at
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Numbers of an option; they were looked at when the line was read.
    pub(super) fn numbers(&self, name: &str) -> Vec<u64> {
        self.option(name).map_or_else(Vec::new, |text| text.split(',').filter_map(|n| n.parse().ok()).collect())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.numbers(name).first().copied()
    }

    pub(super) fn is(&self, name: &str, word: &str) -> bool {
        self.option(name) == Some(word)
    }

    /// Reads a line whose first word is one of [`MEMORY_FORMS`].
    pub(super) fn parse(tokens: &[Token<'_>]) -> Option<Result<Self, At<LineError>>> {
        let first = tokens.first()?;
        let form = FORMS.iter().find(|form| form.word == first.text)?;
        Some(read(form, first, &tokens[1..]))
    }
}

fn bad(token: &Token<'_>, problem: String, mend: impl Into<String>) -> At<LineError> {
    (token.column, LineError::Machine { problem, mend: mend.into() })
}

fn read(form: &'static Form, first: &Token<'_>, words: &[Token<'_>]) -> Result<MemoryLine, At<LineError>> {
    let mut line = MemoryLine {
        word: form.word,
        at: None,
        node: None,
        order: None,
        migratetype: None,
        frames: Vec::new(),
        options: Vec::new(),
    };
    let shape = MEMORY_FORMS.iter().find(|(word, _)| *word == form.word).map_or("", |(_, form)| form);
    if words.len() < form.fields.len() {
        return Err((first.column, LineError::HeaderForm(shape)));
    }
    let (fields, options) = words.split_at(form.fields.len());
    for (field, token) in form.fields.iter().zip(fields) {
        line.read_field(*field, token)?;
    }
    for token in options {
        let option = read_option(form, token, shape)?;
        if line.option(option.0).is_some() {
            return Err(bad(token, format!("`{}` is given twice", option.0), "keep one"));
        }
        line.options.push(option);
    }
    line.options.sort_by_key(|(name, _)| form.options.iter().position(|(known, _)| known == name));
    Ok(line)
}

fn read_option(form: &'static Form, token: &Token<'_>, shape: &str) -> Result<(&'static str, String), At<LineError>> {
    let (name, value) = token.text.split_once('=').unwrap_or((token.text, ""));
    let Some((name, takes)) = form.options.iter().find(|(known, _)| *known == name) else {
        let near = nearest(name, form.options.iter().map(|(known, _)| *known));
        let mend =
            near.map_or_else(|| format!("the line is written `{shape}`"), |near| format!("did you mean `{near}`?"));
        return Err(bad(token, format!("`{}` takes no `{name}`", form.word), mend));
    };
    let numbers =
        || value.split(',').map(|n| n.parse::<u64>().ok().filter(|&n| n < 1 << 52)).collect::<Option<Vec<_>>>();
    let (fits, expects) = match *takes {
        Takes::Number => (numbers().is_some_and(|n| n.len() == 1), "a number".to_owned()),
        Takes::Numbers(least, most) => (
            numbers().is_some_and(|n| (least..=most).contains(&n.len())),
            if least == most { format!("{least} numbers") } else { format!("{least} to {most} numbers") },
        ),
        Takes::Word(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
        Takes::Words(words) => {
            (value.split(',').all(|w| words.contains(&w)), format!("a list of {}", words.join(", ")))
        }
        Takes::Nothing => (!token.text.contains('='), "the word alone".to_owned()),
    };
    if !fits {
        return Err(bad(token, format!("`{}` is not what `{name}` takes", token.text), format!("write {expects}")));
    }
    Ok((name, value.to_owned()))
}

impl MemoryLine {
    fn read_field(&mut self, field: Field, token: &Token<'_>) -> Result<(), At<LineError>> {
        let not = |error: crate::op::ValueError, expects: &str| {
            let mend =
                error.nearest.map_or_else(|| format!("write {expects}"), |near| format!("did you mean `{near}`?"));
            bad(token, error.problem, mend)
        };
        let none = |what: &str, mend: String| bad(token, format!("`{}` is not {what}", token.text), mend);
        match field {
            Field::At => {
                let zone = <ZoneName as Value>::from_text(token.text);
                self.at = Some(zone.map_err(|error| not(error, <ZoneName as Value>::EXPECTS))?);
            }
            Field::Node => {
                let node = token.text.parse().ok().filter(|&n: &u8| n < 64);
                self.node = Some(node.ok_or_else(|| none("a node", "write a number from 0 to 63".to_owned()))?);
            }
            Field::Order => {
                let order = token.text.parse().ok().filter(|&n: &u8| n <= 30);
                self.order = Some(order.ok_or_else(|| none("an order", "write a number from 0 to 30".to_owned()))?);
            }
            Field::Type => {
                let known = Migratetype::ALL.into_iter().find(|t| t.name() == token.text);
                let mend = || match nearest(token.text, Migratetype::ALL.map(Migratetype::name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write one of {}", Migratetype::ALL.map(Migratetype::name).join(", ")),
                };
                self.migratetype = Some(known.ok_or_else(|| none("a type of pageblocks", mend()))?);
            }
            Field::Frames => {
                for text in token.text.split(',') {
                    let frames = <FrameRange as Value>::from_text(text);
                    self.frames.push(frames.map_err(|error| not(error, <FrameRange as Value>::EXPECTS))?);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for MemoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        self.at.map_or(Ok(()), |at| write!(f, " {at}"))?;
        self.node.map_or(Ok(()), |node| write!(f, " {node}"))?;
        self.order.map_or(Ok(()), |order| write!(f, " {order}"))?;
        self.migratetype.map_or(Ok(()), |t| write!(f, " {}", t.name()))?;
        let frames: Vec<String> = self.frames.iter().map(FrameRange::to_string).collect();
        if !frames.is_empty() {
            write!(f, " {}", frames.join(","))?;
        }
        self.options.iter().try_for_each(|(name, value)| {
            if value.is_empty() { write!(f, " {name}") } else { write!(f, " {name}={value}") }
        })
    }
}
