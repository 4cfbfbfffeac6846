//! States of zones as text: saved, loaded and compared.
//!
//! A saved zone is one JSON object with a `version`. Frames and pages are numbers, blocks that follow each other are runs of a first and a
//! last one, and types have the names that `/proc/pagetypeinfo` prints. What is loaded is checked as a whole; what cannot be is refused with
//! the reason, and sizes have a limit that the reader sets.

use std::collections::BTreeMap;
use std::fmt;

use hugefolio::tuning::PcpTuning;
use hugefolio::watermark::{BoostFactor, Watermarks};
use hugefolio::{
    BadFree, BelowHigh, CacheSlice, FreeBlocks, Grouping, LastFree, Migratetype, NodeId, Order, PageCount, PerCpuPages,
    PerCpuState, PerZone, Pfn, Reclaim, StateError, Zone, ZoneKind, ZoneLayout, ZonePressure, ZoneState,
};
use serde::{Deserialize, Serialize};

/// A node has a bit in a mask.
const NODES: u8 = 64;

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// A zone and what processors keep of it, as text has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedZone {
    /// [`VERSION`].
    pub version: u32,
    /// Its node.
    pub node: u8,
    /// Which of the node's zones: `DMA32`, `Normal`, `Movable` ...
    pub zone: String,
    /// Its frames: first, and first past the end.
    pub spans: Vec<(u64, u64)>,
    /// The largest order.
    pub largest: u8,
    /// The order of a pageblock.
    pub pageblock: u8,
    /// Pageblocks that are not movable, by their first frame.
    #[serde(default)]
    pub types: Vec<(u64, String)>,
    /// Pageblocks that are isolated.
    #[serde(default)]
    pub isolated: Vec<u64>,
    /// Free lists from head to tail.
    #[serde(default)]
    pub free: Vec<SavedList>,
    /// Frames that boot kept: first, and first past the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<(u64, u64)>,
    /// Allocated blocks whose owners can move them.
    #[serde(default)]
    pub movable: Vec<SavedBlocks>,
    /// Other allocated blocks.
    #[serde(default)]
    pub used: Vec<SavedBlocks>,
    /// The marks `min`, `low`, `high` and `promo`, without boost.
    #[serde(default)]
    pub marks: [u64; 4],
    /// What is kept from requests by their highest zone, from the lowest zone on.
    #[serde(default)]
    pub protection: Vec<u64>,
    /// By how much the marks are raised.
    #[serde(default)]
    pub boost: u64,
    /// `watermark_boost_factor`.
    #[serde(default)]
    pub boost_factor: u32,
    /// What was seen when pages were last asked for.
    #[serde(default)]
    pub seen: SavedSeen,
    /// Are pages grouped by mobility?
    pub grouping: SavedGrouping,
    /// What processors keep.
    #[serde(default)]
    pub processors: Vec<SavedLists>,
}

/// How scarce pages of a zone were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSeen {
    /// It was below its high mark.
    #[serde(default)]
    pub below_high: bool,
    /// Background reclaim works on it.
    #[serde(default)]
    pub reclaimed: bool,
    /// Its marks were raised, and background reclaim does not know.
    #[serde(default)]
    pub boosted: bool,
}

/// Whether pages are grouped by mobility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedGrouping {
    /// They are.
    ByMobility,
    /// There is too little memory for it.
    Off,
}

/// One free list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedList {
    /// The order of its blocks.
    pub order: u8,
    /// Their type.
    #[serde(rename = "type")]
    pub migratetype: String,
    /// Runs from head to tail, upwards or downwards.
    pub runs: Vec<(u64, u64)>,
}

/// Allocated blocks of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedBlocks {
    /// Their order.
    pub order: u8,
    /// Runs upwards.
    pub runs: Vec<(u64, u64)>,
}

/// What one processor keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedLists {
    /// Batch, least and most pages.
    pub tuning: [u64; 3],
    /// Frame, order and type of its blocks, from head to tail.
    #[serde(default)]
    pub pages: Vec<(u64, u8, String)>,
    /// Above so many pages some go back.
    pub high: u64,
    /// Doublings of the next batch.
    #[serde(default)]
    pub alloc_factor: u32,
    /// Pages freed lately.
    #[serde(default)]
    pub free_count: u64,
    /// Was a block of some pages freed last?
    #[serde(default)]
    pub last_free_was_a_block: bool,
    /// Is its cache large?
    #[serde(default)]
    pub large_cache: bool,
}

/// How large a loaded zone may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames from its first to its last one, holes included.
    pub frames: PageCount,
}

impl Default for Limits {
    /// 64 GiB in pages of 4 KiB.
    fn default() -> Self {
        Self { frames: PageCount::new(1 << 24) }
    }
}

/// Why a text is no zone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is not the JSON of a saved zone.
    #[error("{0}")]
    Text(#[from] serde_json::Error),
    /// It is of another version.
    #[error("version {0}: only version {VERSION} is read")]
    Version(u32),
    /// It is larger than the reader permits.
    #[error("{what} has {found} frames or blocks: at most {most} are read")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// How many.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// A word that is not one of its place.
    #[error("`{word}` is not {what}")]
    Word {
        /// The word.
        word: String,
        /// What was expected.
        what: &'static str,
    },
    /// An order above all orders.
    #[error("order {0}: the largest is {max}", max = Order::MAX.get())]
    Order(u8),
    /// The parts contradict each other.
    #[error("{0}")]
    State(#[from] StateError),
    /// A processor cannot keep that.
    #[error("what processor {0} keeps: {1}")]
    Lists(usize, BadFree),
}

impl SavedZone {
    /// A zone as it stands. What processors keep of it comes with [`SavedZone::with_lists`].
    #[must_use]
    pub fn of(state: &ZoneState) -> Self {
        let runs = |runs: &[(Pfn, Pfn)]| runs.iter().map(|(first, last)| (first.get(), last.get())).collect();
        Self {
            version: VERSION,
            node: state.layout.node.get(),
            zone: state.layout.kind.to_string(),
            spans: runs(&state.layout.spans),
            largest: state.layout.largest.get(),
            pageblock: state.layout.pageblock.get(),
            types: state.types.iter().map(|(pfn, t)| (pfn.get(), t.name().to_owned())).collect(),
            isolated: state.isolated.iter().map(|pfn| pfn.get()).collect(),
            free: state
                .free
                .iter()
                .map(|list| SavedList {
                    order: list.order.get(),
                    migratetype: list.migratetype.name().to_owned(),
                    runs: runs(&list.runs),
                })
                .collect(),
            reserved: runs(&state.reserved),
            movable: blocks_of(&state.movable),
            used: blocks_of(&state.used),
            marks: [state.marks.min, state.marks.low, state.marks.high, state.marks.promo].map(PageCount::get),
            protection: state.protection.iter().map(|(_, pages)| pages.get()).collect(),
            boost: state.boost.get(),
            boost_factor: state.boost_factor.0,
            seen: SavedSeen {
                below_high: state.pressure.below_high == BelowHigh::Yes,
                reclaimed: state.pressure.reclaim == Reclaim::Active,
                boosted: state.boosted,
            },
            grouping: match state.grouping {
                Grouping::ByMobility => SavedGrouping::ByMobility,
                Grouping::Off => SavedGrouping::Off,
            },
            processors: Vec::new(),
        }
    }

    /// The same with what one more processor keeps.
    #[must_use]
    pub fn with_lists(mut self, tuning: &PcpTuning, state: &PerCpuState) -> Self {
        self.processors.push(SavedLists {
            tuning: [tuning.batch, tuning.high_min, tuning.high_max].map(PageCount::get),
            pages: state.pages.iter().map(|(pfn, o, t)| (pfn.get(), o.get(), t.name().to_owned())).collect(),
            high: state.high.get(),
            alloc_factor: state.alloc_factor,
            free_count: state.free_count.get(),
            last_free_was_a_block: state.last_free == LastFree::Block,
            large_cache: state.cache == CacheSlice::Large,
        });
        self
    }

    /// Reads a saved zone.
    ///
    /// # Errors
    /// Text that is not one, of another version, or larger than permitted.
    pub fn parse(text: &str, limits: Limits) -> Result<Self, LoadError> {
        let saved: Self = serde_json::from_str(text)?;
        saved.check(limits)?;
        Ok(saved)
    }

    /// Is it a zone that may be read? So many frames it spans.
    pub(crate) fn check(&self, limits: Limits) -> Result<PageCount, LoadError> {
        if self.version != VERSION {
            return Err(LoadError::Version(self.version));
        }
        if self.node >= NODES {
            return Err(word(&self.node.to_string(), "a node (0 to 63)"));
        }
        self.check_sizes(limits)
    }

    fn check_sizes(&self, limits: Limits) -> Result<PageCount, LoadError> {
        let most = limits.frames.get();
        let check = |what, found| if found > most { Err(LoadError::TooLarge { what, found, most }) } else { Ok(()) };
        let first = self.spans.iter().map(|span| span.0).min().unwrap_or(0);
        let end = self.spans.iter().map(|span| span.1).max().unwrap_or(0);
        check("the zone", end.saturating_sub(first))?;
        let blocks = |order: u8, runs: &[(u64, u64)]| {
            let of_run = |&(a, b): &(u64, u64)| a.abs_diff(b).checked_shr(order.into()).unwrap_or(0).saturating_add(1);
            runs.iter().map(of_run).fold(0, u64::saturating_add)
        };
        check("the free lists", self.free.iter().map(|l| blocks(l.order, &l.runs)).fold(0, u64::saturating_add))?;
        let allocated = self.movable.iter().chain(&self.used);
        check("what is allocated", allocated.map(|l| blocks(l.order, &l.runs)).fold(0, u64::saturating_add))?;
        Ok(PageCount::new(end.saturating_sub(first)))
    }

    /// The state that it describes.
    ///
    /// # Errors
    /// A word or an order that there is not.
    pub fn state(&self) -> Result<ZoneState, LoadError> {
        let mut state = ZoneState::allocated(ZoneLayout {
            node: NodeId::new(self.node),
            kind: kind(&self.zone)?,
            spans: self.spans.iter().map(|&(start, end)| (Pfn::new(start), Pfn::new(end))).collect(),
            largest: order(self.largest)?,
            pageblock: order(self.pageblock)?,
        });
        for (pfn, name) in &self.types {
            state.types.push((Pfn::new(*pfn), migratetype(name)?));
        }
        state.isolated = self.isolated.iter().map(|&pfn| Pfn::new(pfn)).collect();
        for SavedList { order: of, migratetype: name, runs } in &self.free {
            let runs = runs.iter().map(|&(first, last)| (Pfn::new(first), Pfn::new(last))).collect();
            state.free.push(FreeBlocks { order: order(*of)?, migratetype: migratetype(name)?, runs });
        }
        state.reserved = self.reserved.iter().map(|&(start, end)| (Pfn::new(start), Pfn::new(end))).collect();
        state.movable = blocks(&self.movable)?;
        state.used = blocks(&self.used)?;
        let [min, low, high, promo] = self.marks.map(PageCount::new);
        state.marks = Watermarks { min, low, high, promo };
        let kept = |kind: ZoneKind| self.protection.get(kind as usize).copied().unwrap_or(0);
        state.protection = PerZone::from_fn(|kind| PageCount::new(kept(kind)));
        (state.boost, state.boost_factor) = (PageCount::new(self.boost), BoostFactor(self.boost_factor));
        let SavedSeen { below_high, reclaimed, boosted } = self.seen;
        state.boosted = boosted;
        state.pressure = ZonePressure {
            below_high: if below_high { BelowHigh::Yes } else { BelowHigh::No },
            reclaim: if reclaimed { Reclaim::Active } else { Reclaim::Idle },
        };
        state.grouping = match self.grouping {
            SavedGrouping::ByMobility => Grouping::ByMobility,
            SavedGrouping::Off => Grouping::Off,
        };
        Ok(state)
    }

    /// The zone, and the lists of its processors.
    ///
    /// # Errors
    /// Parts that contradict each other.
    pub fn build(&self) -> Result<(Zone, Vec<PerCpuPages>), LoadError> {
        let mut zone = Zone::from_state(&self.state()?)?;
        let huge = order(self.pageblock)?;
        let mut all = Vec::new();
        for (n, saved) in self.processors.iter().enumerate() {
            let (tuning, state) = saved.described()?;
            let lists = zone.lists(huge, tuning, &state);
            all.push(lists.map_err(|error| LoadError::Lists(n, error))?);
        }
        Ok((zone, all))
    }

    /// What is not the same in another one, line by line: `-` is here alone, `+` there alone.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Diff {
        Diff::of(self.lines(), other.lines())
    }

    /// One line for each thing that can differ.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("zone {} of node {}, orders {} and {}", self.zone, self.node, self.largest, self.pageblock),
            format!("spans {:?}", self.spans),
            format!("reserved {:?}", self.reserved),
            format!("marks {:?} boost {} factor {}", self.marks, self.boost, self.boost_factor),
            format!("protection {:?}", self.protection),
            format!("seen {:?}", self.seen),
            format!("grouping {:?}", self.grouping),
        ];
        lines.extend(self.types.iter().map(|(pfn, name)| format!("pageblock {pfn} {name}")));
        lines.extend(self.isolated.iter().map(|pfn| format!("pageblock {pfn} isolated")));
        lines.extend(self.free.iter().map(|l| format!("free {} order {}: {:?}", l.migratetype, l.order, l.runs)));
        lines.extend(self.movable.iter().map(|l| format!("movable order {}: {:?}", l.order, l.runs)));
        lines.extend(self.used.iter().map(|l| format!("used order {}: {:?}", l.order, l.runs)));
        lines.extend(self.processors.iter().enumerate().map(|(n, lists)| format!("processor {n}: {lists:?}")));
        lines
    }
}

impl SavedLists {
    /// The bounds of the lists, and the lists.
    pub(crate) fn described(&self) -> Result<(PcpTuning, PerCpuState), LoadError> {
        let pages = self.pages.iter().map(|(pfn, of, name)| Ok((Pfn::new(*pfn), order(*of)?, migratetype(name)?)));
        let state = PerCpuState {
            pages: pages.collect::<Result<_, LoadError>>()?,
            high: PageCount::new(self.high),
            alloc_factor: self.alloc_factor,
            free_count: PageCount::new(self.free_count),
            last_free: if self.last_free_was_a_block { LastFree::Block } else { LastFree::Single },
            cache: if self.large_cache { CacheSlice::Large } else { CacheSlice::Small },
        };
        let [batch, high_min, high_max] = self.tuning.map(PageCount::new);
        Ok((PcpTuning { batch, high_min, high_max }, state))
    }
}

impl fmt::Display for SavedZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// How two saved zones differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// What only the first one has.
    pub here: Vec<String>,
    /// What only the second one has.
    pub there: Vec<String>,
}

impl Diff {
    /// The lines that only one of them has, each as often as the other one has it less often.
    pub(crate) fn of(here: Vec<String>, there: Vec<String>) -> Self {
        let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
        here.iter().for_each(|line| *balance.entry(line).or_default() += 1);
        there.iter().for_each(|line| *balance.entry(line).or_default() -= 1);
        let mut left = balance.clone();
        let mut only = |of: &[String], sign: i64| {
            let mut kept = Vec::new();
            for line in of {
                if let Some(n) = left.get_mut(line.as_str()).filter(|n| n.signum() == sign) {
                    *n -= sign;
                    kept.push(line.clone());
                }
            }
            kept
        };
        Self { here: only(&here, 1), there: only(&there, -1) }
    }

    /// Are they the same?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.there.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.here.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
        self.there.iter().try_for_each(|line| writeln!(f, "+ {line}"))
    }
}

/// Blocks in ascending order of frame, as runs of those that follow each other.
fn blocks_of(blocks: &[(Pfn, Order)]) -> Vec<SavedBlocks> {
    let mut all: Vec<SavedBlocks> = Vec::new();
    for &(pfn, order) in blocks {
        let (pfn, size) = (pfn.get(), order.pages().get());
        match all.last_mut().filter(|last| last.order == order.get()).map(|last| &mut last.runs) {
            Some(runs) => match runs.last_mut() {
                Some((_, last)) if *last + size == pfn => *last = pfn,
                _ => runs.push((pfn, pfn)),
            },
            None => all.push(SavedBlocks { order: order.get(), runs: vec![(pfn, pfn)] }),
        }
    }
    all
}

fn blocks(saved: &[SavedBlocks]) -> Result<Vec<(Pfn, Order)>, LoadError> {
    let mut all = Vec::new();
    for SavedBlocks { order: of, runs } in saved {
        let of = order(*of)?;
        for &(first, last) in runs {
            let count = last.saturating_sub(first) >> of.get();
            all.extend((0..=count).map(|n| (Pfn::new(first.saturating_add(n << of.get())), of)));
        }
    }
    Ok(all)
}

fn word(word: &str, what: &'static str) -> LoadError {
    LoadError::Word { word: word.to_owned(), what }
}

fn order(n: u8) -> Result<Order, LoadError> {
    Order::try_new(n).ok_or(LoadError::Order(n))
}

fn migratetype(name: &str) -> Result<Migratetype, LoadError> {
    Migratetype::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| word(name, "a migratetype"))
}

fn kind(name: &str) -> Result<ZoneKind, LoadError> {
    ZoneKind::ALL.into_iter().find(|kind| kind.to_string() == name).ok_or_else(|| word(name, "a kind of zone"))
}
