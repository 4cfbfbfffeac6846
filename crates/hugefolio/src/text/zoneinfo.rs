//! Every zone's sizes, marks, counters and lists: `/proc/zoneinfo`.

use std::fmt;
use std::str::FromStr;

use units::{CpuId, NodeId, PageCount, Pfn, ZoneKind};

use super::counter::Counters;
use super::cursor::{Cursor, TextError, read};

/// `/proc/zoneinfo`: every zone of every node, those without pages too.
#[doc(alias("zoneinfo_show", "zoneinfo_show_print"))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zoneinfo(pub Vec<ZoneReport>);

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneReport {
    /// The node.
    pub node: NodeId,
    /// The zone.
    pub zone: ZoneKind,
    /// The node's counters, which stand with its first zone that has pages.
    pub node_counters: Option<Counters>,
    /// Sizes and marks.
    pub pages: ZonePages,
    /// What is kept from requests that could have used the zone of the same place in the list.
    pub protection: Vec<PageCount>,
    /// More, where the zone has pages.
    pub populated: Option<PopulatedZone>,
}

/// Sizes and marks of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZonePages {
    /// Free pages.
    pub free: PageCount,
    /// By how much the marks are raised; all of them include it.
    pub boost: PageCount,
    /// The lowest mark.
    pub min: PageCount,
    /// Reclaim in the background begins below.
    pub low: PageCount,
    /// And ends above.
    pub high: PageCount,
    /// Pages are promoted from slower memory above.
    pub promo: PageCount,
    /// From the first frame to the last, holes included.
    pub spanned: PageCount,
    /// Frames that exist.
    pub present: PageCount,
    /// Frames that the allocator was given.
    pub managed: PageCount,
    /// Frames of contiguous areas.
    pub cma: PageCount,
}

/// What a zone with pages has beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PopulatedZone {
    /// The zone's counters.
    pub counters: Counters,
    /// The lists of each processor that is online.
    pub pagesets: Vec<Pageset>,
    /// Has background reclaim given the node up?
    pub node_unreclaimable: bool,
    /// The first frame.
    pub start: Pfn,
}

/// One processor's lists of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pageset {
    /// The processor.
    pub cpu: CpuId,
    /// Pages on its lists.
    pub count: PageCount,
    /// How many there may be now. It follows the load, and may lie outside the bounds until the lists are next used.
    pub high: PageCount,
    /// Pages moved at a time.
    pub batch: PageCount,
    /// The lower bound of `high`.
    pub high_min: PageCount,
    /// The upper bound of `high`.
    pub high_max: PageCount,
    /// The counters of the zone may be off by so much.
    pub stat_threshold: PageCount,
}

const SIZES: [&str; 9] = [
    "boost    ",
    "min      ",
    "low      ",
    "high     ",
    "promo    ",
    "spanned  ",
    "present  ",
    "managed  ",
    "cma      ",
];

const LISTS: [&str; 5] = ["count:    ", "high:     ", "batch:    ", "high_min: ", "high_max: "];

impl ZonePages {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, TextError> {
        cursor.expect("  pages free     ")?;
        let free = cursor.pages()?;
        let mut sizes = [PageCount::ZERO; SIZES.len()];
        for (size, label) in sizes.iter_mut().zip(SIZES) {
            cursor.expect("\n        ")?;
            cursor.expect(label)?;
            *size = cursor.pages()?;
        }
        let [boost, min, low, high, promo, spanned, present, managed, cma] = sizes;
        Ok(Self { free, boost, min, low, high, promo, spanned, present, managed, cma })
    }
}

impl fmt::Display for ZonePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  pages free     {}", self.free.get())?;
        let &Self { boost, min, low, high, promo, spanned, present, managed, cma, .. } = self;
        let sizes = [boost, min, low, high, promo, spanned, present, managed, cma];
        SIZES.iter().zip(sizes).try_for_each(|(label, size)| write!(f, "\n        {label}{}", size.get()))
    }
}

impl Pageset {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, TextError> {
        let cpu = CpuId::new(cursor.small_number()?);
        let mut lists = [PageCount::ZERO; LISTS.len()];
        for (value, label) in lists.iter_mut().zip(LISTS) {
            cursor.expect("\n              ")?;
            cursor.expect(label)?;
            *value = cursor.pages()?;
        }
        cursor.expect("\n  vm stats threshold: ")?;
        let stat_threshold = cursor.pages()?;
        cursor.expect("\n")?;
        let [count, high, batch, high_min, high_max] = lists;
        Ok(Self { cpu, count, high, batch, high_min, high_max, stat_threshold })
    }
}

impl fmt::Display for Pageset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n    cpu: {}", self.cpu.get())?;
        let values = [self.count, self.high, self.batch, self.high_min, self.high_max];
        LISTS.iter().zip(values).try_for_each(|(label, n)| write!(f, "\n              {label}{}", n.get()))?;
        write!(f, "\n  vm stats threshold: {}", self.stat_threshold.get())
    }
}

impl PopulatedZone {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, TextError> {
        let counters = Counters::read_indented(cursor)?;
        cursor.expect("  pagesets\n")?;
        let mut pagesets = Vec::new();
        while cursor.eat("    cpu: ") {
            pagesets.push(Pageset::parse(cursor)?);
        }
        cursor.expect("  node_unreclaimable:  ")?;
        let node_unreclaimable = cursor.known("0 or 1", |word| match word {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })?;
        cursor.expect("\n  start_pfn:           ")?;
        let start = Pfn::new(cursor.number()?);
        cursor.expect("\n")?;
        Ok(Self { counters, pagesets, node_unreclaimable, start })
    }
}

impl fmt::Display for PopulatedZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counters.print_indented(f)?;
        f.write_str("\n  pagesets")?;
        self.pagesets.iter().try_for_each(|set| write!(f, "{set}"))?;
        write!(f, "\n  node_unreclaimable:  {}", u8::from(self.node_unreclaimable))?;
        write!(f, "\n  start_pfn:           {}", self.start.get())
    }
}

impl ZoneReport {
    fn parse(cursor: &mut Cursor<'_>) -> Result<Self, TextError> {
        let (node, zone) = cursor.node_and_zone()?;
        cursor.expect("\n")?;
        let node_counters =
            if cursor.eat("  per-node stats\n") { Some(Counters::read_indented(cursor)?) } else { None };
        let pages = ZonePages::parse(cursor)?;
        cursor.expect("\n        protection: (")?;
        let mut protection = vec![cursor.pages()?];
        while cursor.eat(", ") {
            protection.push(cursor.pages()?);
        }
        cursor.expect(")\n")?;
        let populated =
            if cursor.at_end() || cursor.sees("Node ") { None } else { Some(PopulatedZone::parse(cursor)?) };
        Ok(Self { node, zone, node_counters, pages, protection, populated })
    }
}

impl fmt::Display for ZoneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node {}, zone {:>8}", self.node.get(), self.zone)?;
        if let Some(counters) = &self.node_counters {
            f.write_str("\n  per-node stats")?;
            counters.print_indented(f)?;
        }
        write!(f, "{}\n        protection: (", self.pages)?;
        for (i, pages) in self.protection.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, pages.get())?;
        }
        f.write_str(")")?;
        if let Some(populated) = &self.populated {
            write!(f, "{populated}")?;
        }
        f.write_str("\n")
    }
}

impl fmt::Display for Zoneinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|zone| write!(f, "{zone}"))
    }
}

impl FromStr for Zoneinfo {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        read(text, |cursor| {
            let mut zones = Vec::new();
            while !cursor.at_end() {
                zones.push(ZoneReport::parse(cursor)?);
            }
            Ok(Self(zones))
        })
    }
}
