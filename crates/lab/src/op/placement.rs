//! Arguments of operations on where pages lie: memory policies and sets of nodes.

use super::argument::{Value, ValueError};
use super::draw::Draws;
use super::record::Scalar;
use super::text::nearest;

/// The mode of a memory policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    /// MPOL_DEFAULT.
    Default,
    /// MPOL_LOCAL.
    Local,
    /// MPOL_PREFERRED.
    Preferred,
    /// MPOL_PREFERRED_MANY.
    PreferredMany,
    /// MPOL_BIND.
    Bind,
    /// MPOL_INTERLEAVE.
    Interleave,
    /// MPOL_WEIGHTED_INTERLEAVE.
    WeightedInterleave,
}

const MODES: &[(&str, PolicyMode)] = &[
    ("default", PolicyMode::Default),
    ("local", PolicyMode::Local),
    ("preferred", PolicyMode::Preferred),
    ("preferred_many", PolicyMode::PreferredMany),
    ("bind", PolicyMode::Bind),
    ("interleave", PolicyMode::Interleave),
    ("weighted_interleave", PolicyMode::WeightedInterleave),
];

impl Value for PolicyMode {
    const EXPECTS: &'static str =
        "a policy: default, local, preferred, preferred_many, bind, interleave, weighted_interleave";
    fn draw(draws: &mut Draws<'_>) -> Self {
        draws.of(MODES).1
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        MODES.iter().find(|(word, _)| *word == text).map(|(_, mode)| *mode).ok_or_else(|| ValueError {
            nearest: nearest(text, MODES.iter().map(|(word, _)| *word)).map(str::to_owned),
            ..ValueError::new(format!("`{text}` is not a policy"))
        })
    }
    fn to_text(&self) -> String {
        MODES.iter().find(|(_, mode)| mode == self).map_or("", |(word, _)| *word).to_owned()
    }
}

/// What the nodes of a policy mean once the process may use other ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodesAre {
    /// MPOL_F_STATIC_NODES.
    Static,
    /// MPOL_F_RELATIVE_NODES.
    Relative,
}

const MEANINGS: &[(&str, NodesAre)] = &[("static", NodesAre::Static), ("relative", NodesAre::Relative)];

impl Value for NodesAre {
    const EXPECTS: &'static str = "what nodes mean: static or relative";
    fn draw(draws: &mut Draws<'_>) -> Self {
        draws.of(MEANINGS).1
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let known = MEANINGS.iter().find(|(word, _)| *word == text);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| ValueError::new(format!("nodes are not `{text}`")))
    }
    fn to_text(&self) -> String {
        MEANINGS.iter().find(|(_, meaning)| meaning == self).map_or("", |(word, _)| *word).to_owned()
    }
}

/// What a page is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinFor {
    /// To look at it, as a pipe does: a plain reference (FOLL_GET).
    Pipe,
    /// One transfer of O_DIRECT (FOLL_PIN).
    Direct,
    /// A device, for as long as it likes (FOLL_PIN and FOLL_LONGTERM).
    Vfio,
}

const PURPOSES: &[(&str, PinFor)] = &[("pipe", PinFor::Pipe), ("direct", PinFor::Direct), ("vfio", PinFor::Vfio)];

impl Value for PinFor {
    const EXPECTS: &'static str = "what for: pipe (a reference), direct (one transfer), vfio (for long)";
    fn draw(draws: &mut Draws<'_>) -> Self {
        draws.of(PURPOSES).1
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let known = PURPOSES.iter().find(|(word, _)| *word == text);
        known.map(|(_, purpose)| *purpose).ok_or_else(|| ValueError {
            nearest: nearest(text, PURPOSES.iter().map(|(word, _)| *word)).map(str::to_owned),
            ..ValueError::new(format!("nothing is pinned for `{text}`"))
        })
    }
    fn to_text(&self) -> String {
        PURPOSES.iter().find(|(_, purpose)| purpose == self).map_or("", |(word, _)| *word).to_owned()
    }
}

/// A set of nodes below 64, such as `0,2-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeList(u64);

impl NodeList {
    /// The nodes in order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |node| self.0 >> node & 1 == 1)
    }

    /// A bit for each.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl Value for NodeList {
    const EXPECTS: &'static str = "nodes: numbers and ranges below 64 with commas, such as 0,2-3, or none";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self(u64::from(draws.byte() % 16))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        if text == "none" {
            return Ok(Self(0));
        }
        let number =
            |word: &str| word.parse::<u32>().ok().filter(|n| *n < 64 && word.bytes().all(|b| b.is_ascii_digit()));
        let part = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| (first..=last).fold(0, |bits, node| bits | 1 << node))
        };
        let bits = text.split(',').map(part).try_fold(0u64, |bits, part| Some(bits | part?));
        bits.map(Self).ok_or_else(|| ValueError::new(format!("`{text}` is not a list of nodes")))
    }
    fn to_text(&self) -> String {
        if self.0 == 0 {
            return "none".to_owned();
        }
        let mut parts: Vec<String> = Vec::new();
        let mut node = 0;
        while node < 64 {
            let run = (self.0 >> node).trailing_ones();
            match run {
                0 => node += 1,
                1 => parts.push(node.to_string()),
                _ => parts.push(format!("{node}-{}", node + run - 1)),
            }
            node += run;
        }
        parts.join(",")
    }
    fn to_scalar(&self) -> Scalar {
        Scalar::Text(self.to_text())
    }
}
