//! What operations on ordinary pages are given: zones, frames, wishes, and the answers of those whom a request asks.

use hugefolio::{GfpFlags, ZoneKind};

use super::argument::{Value, ValueError};
use super::draw::Draws;
use super::text::nearest;

/// A zone of a node, `0:Normal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ZoneName {
    /// The node.
    pub node: u8,
    /// Which of its zones.
    pub kind: ZoneKind,
}

impl std::fmt::Display for ZoneName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.node, self.kind.name())
    }
}

impl Value for ZoneName {
    const EXPECTS: &'static str = "a zone as NODE:KIND, such as 0:Normal";
    fn draw(draws: &mut Draws<'_>) -> Self {
        Self { node: draws.byte() % 3, kind: *draws.of(&ZoneKind::ALL) }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let bad = |problem: String, word: &str| ValueError {
            nearest: nearest(word, ZoneKind::ALL.map(ZoneKind::name)).map(str::to_owned),
            ..ValueError::new(problem)
        };
        let (node, kind) = text.split_once(':').ok_or_else(|| ValueError::new(format!("`{text}` is not a zone")))?;
        let number = node.parse().ok().filter(|&n: &u8| n < 64);
        let node = number.ok_or_else(|| ValueError::new(format!("`{node}` is not a node, 0 to 63")))?;
        let named = ZoneKind::named(kind).ok_or_else(|| bad(format!("`{kind}` is not a kind of zone"), kind))?;
        Ok(Self { node, kind: named })
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Frames of memory: the first one and the first one behind, `512..1024`, or one alone, `512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameRange {
    /// The first frame.
    pub first: u64,
    /// The first one behind.
    pub end: u64,
}

impl FrameRange {
    /// No frame lies beyond, so that sums of a few frames can be counted.
    const LARGEST: u64 = 1 << 52;

    /// How many frames.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end - self.first
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end == self.first
    }
}

impl std::fmt::Display for FrameRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.len() == 1 { write!(f, "{}", self.first) } else { write!(f, "{}..{}", self.first, self.end) }
    }
}

fn frame(text: &str) -> Result<u64, ValueError> {
    let hex = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    let number = hex.unwrap_or_else(|| text.parse());
    number
        .ok()
        .filter(|&n| n < FrameRange::LARGEST)
        .ok_or_else(|| ValueError::new(format!("`{text}` is not the number of a frame")))
}

impl Value for FrameRange {
    const EXPECTS: &'static str = "frames, such as 512 or 512..1024";
    fn draw(draws: &mut Draws<'_>) -> Self {
        let first = u64::from(draws.byte()) * *draws.of(&[1, 32, 512]);
        Self { first, end: first + u64::from(draws.byte()) * *draws.of(&[1, 32, 512]) }
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let Some((first, end)) = text.split_once("..") else {
            let first = frame(text)?;
            return Ok(Self { first, end: first + 1 });
        };
        let (first, end) = (frame(first)?, frame(end)?);
        if first > end {
            return Err(ValueError::new(format!("the range `{text}` ends before it begins")));
        }
        Ok(Self { first, end })
    }
    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// What a request wishes and permits, as traces print it: `GFP_KERNEL|__GFP_COMP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gfp(pub GfpFlags);

impl Value for Gfp {
    const EXPECTS: &'static str = "flags as the kernel's traces print them, such as GFP_KERNEL|__GFP_COMP";
    fn draw(draws: &mut Draws<'_>) -> Self {
        let sets = [
            GfpFlags::KERNEL,
            GfpFlags::ATOMIC,
            GfpFlags::HIGHUSER_MOVABLE,
            GfpFlags::NOWAIT,
            GfpFlags::USER,
            GfpFlags::empty(),
        ];
        let further = [GfpFlags::empty(), GfpFlags::NOFAIL, GfpFlags::RECLAIMABLE, GfpFlags::THISNODE, GfpFlags::COMP];
        Self(*draws.of(&sets) | *draws.of(&further))
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let word = text.split('|').find(|word| GfpFlags::named(word).is_none());
        let sets =
            ["GFP_KERNEL", "GFP_ATOMIC", "GFP_NOWAIT", "GFP_USER", "GFP_HIGHUSER_MOVABLE", "GFP_NOIO", "GFP_NOFS"];
        GfpFlags::named(text).map(Self).ok_or_else(|| ValueError {
            nearest: nearest(word.unwrap_or_default(), sets).map(str::to_owned),
            ..ValueError::new(format!("`{}` is not a flag", word.unwrap_or(text)))
        })
    }
    fn to_text(&self) -> String {
        self.0.to_string()
    }
}

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// So many pages were reclaimed.
    Reclaimed(u32),
    /// Compaction ended with this word of [`COMPACTED`].
    Compacted(&'static str),
    /// Is nobody else killing?
    Locked(bool),
    /// Was a process killed?
    Killed(bool),
    /// The mappings of so many pages were changed.
    Flipped(u32),
    /// What came of moving a block, a word of [`MOVED`].
    Moved(&'static str),
    /// Before the next reply, somebody gives this block back.
    Frees(String),
}

/// How compaction ends.
pub const COMPACTED: [&str; 4] = ["skipped", "deferred", "success", "failure"];
/// What comes of moving a block.
pub const MOVED: [&str; 3] = ["done", "busy", "signal"];
const YES: [&str; 2] = ["no", "yes"];

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reclaimed(pages) => write!(f, "reclaim:{pages}"),
            Self::Compacted(how) => write!(f, "compact:{how}"),
            Self::Locked(yes) => write!(f, "lock:{}", YES[usize::from(*yes)]),
            Self::Killed(yes) => write!(f, "kill:{}", YES[usize::from(*yes)]),
            Self::Flipped(pages) => write!(f, "flip:{pages}"),
            Self::Moved(how) => write!(f, "move:{how}"),
            Self::Frees(block) => write!(f, "free:{block}"),
        }
    }
}

impl Reply {
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::new(format!("`{text}` is not an answer"));
        let (what, how) = text.split_once(':').ok_or_else(bad)?;
        let number = || how.parse().map_err(|_| ValueError::new(format!("`{how}` is not a number of pages")));
        let word = |words: &[&'static str]| {
            words.iter().find(|word| **word == how).copied().ok_or_else(|| ValueError {
                nearest: nearest(how, words.iter().copied()).map(str::to_owned),
                ..ValueError::new(format!("`{how}` is no answer to `{what}`, which is one of {}", words.join(", ")))
            })
        };
        Ok(match what {
            "reclaim" => Self::Reclaimed(number()?),
            "compact" => Self::Compacted(word(&COMPACTED)?),
            "lock" => Self::Locked(word(&YES)? == "yes"),
            "kill" => Self::Killed(word(&YES)? == "yes"),
            "flip" => Self::Flipped(number()?),
            "move" => Self::Moved(word(&MOVED)?),
            "free" => Self::Frees(super::BlockName::new(how)?.as_str().to_owned()),
            _ => {
                let known = ["reclaim", "compact", "lock", "kill", "flip", "move", "free"];
                let near = nearest(what, known).map(str::to_owned);
                return Err(ValueError { nearest: near, ..bad() });
            }
        })
    }
}

/// Replies in the order in which they are given: each question takes the first one that is left of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies(pub Vec<Reply>);

impl Replies {
    /// The most that one operation takes.
    const MOST: usize = 1000;
}

impl Value for Replies {
    const EXPECTS: &'static str = "answers, such as reclaim:4,compact:deferred,lock:yes,kill:no,flip:512,move:done or free:A; reclaim:0*16 is \
                                   sixteen of them";
    fn draw(draws: &mut Draws<'_>) -> Self {
        let one = |draws: &mut Draws<'_>| match draws.byte() % 7 {
            0 => Reply::Reclaimed(u32::from(draws.byte())),
            1 => Reply::Compacted(draws.of::<&str>(&COMPACTED)),
            2 => Reply::Locked(draws.byte() % 2 == 1),
            3 => Reply::Killed(draws.byte() % 2 == 1),
            4 => Reply::Flipped(u32::from(draws.byte())),
            5 => Reply::Moved(draws.of::<&str>(&MOVED)),
            _ => Reply::Frees((*draws.of(&["A", "B"])).to_owned()),
        };
        let count = 1 + draws.byte() % 4;
        Self((0..count).map(|_| one(draws)).collect())
    }
    fn from_text(text: &str) -> Result<Self, ValueError> {
        let mut all = Vec::new();
        for word in text.split(',') {
            let (reply, times) = match word.split_once('*') {
                Some((reply, times)) => (reply, times.parse().unwrap_or(0)),
                None => (word, 1usize),
            };
            if times == 0 || all.len() + times.min(Self::MOST) > Self::MOST {
                return Err(ValueError::new(format!(
                    "`{word}` stands for none or for more than {} answers",
                    Self::MOST
                )));
            }
            let reply = Reply::from_text(reply)?;
            all.extend(std::iter::repeat_n(reply, times));
        }
        Ok(Self(all))
    }
    fn to_text(&self) -> String {
        let mut words: Vec<(String, usize)> = Vec::new();
        for reply in &self.0 {
            let word = reply.to_string();
            match words.last_mut().filter(|(last, _)| *last == word) {
                Some((_, times)) => *times += 1,
                None => words.push((word, 1)),
            }
        }
        let one = |(word, times): &(String, usize)| if *times == 1 { word.clone() } else { format!("{word}*{times}") };
        words.iter().map(one).collect::<Vec<_>>().join(",")
    }
}
