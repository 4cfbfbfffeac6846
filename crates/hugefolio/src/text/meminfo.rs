//! The huge pages of the machine and of a node: meminfo and the out-of-memory report.

use std::fmt;
use std::str::FromStr;

use units::{Bytes, HugeCount, HugeSize, NodeId, Nodemask};

use super::line::{ReportError, after, bad, count, kib, number};

/// The HugeTLB lines of `/proc/meminfo`. They are about the default pool, but for the last one.
#[doc(alias = "hugetlb_report_meminfo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugetlbMeminfo {
    /// `HugePages_Total`: pages of the pool, surplus ones included.
    pub total: HugeCount,
    /// `HugePages_Free`.
    pub free: HugeCount,
    /// `HugePages_Rsvd`: promised and not yet taken.
    pub reserved: HugeCount,
    /// `HugePages_Surp`: pages beyond the administrator's target.
    pub surplus: HugeCount,
    /// `Hugepagesize`.
    pub size: HugeSize,
    /// `Hugetlb`: memory in all pools, of every size.
    pub hugetlb: Bytes,
}

impl fmt::Display for HugetlbMeminfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "HugePages_Total:   {:5}", self.total.get())?;
        writeln!(f, "HugePages_Free:    {:5}", self.free.get())?;
        writeln!(f, "HugePages_Rsvd:    {:5}", self.reserved.get())?;
        writeln!(f, "HugePages_Surp:    {:5}", self.surplus.get())?;
        writeln!(f, "Hugepagesize:   {:8} kB", self.size.kib())?;
        writeln!(f, "Hugetlb:        {:8} kB", self.hugetlb.get() >> 10)
    }
}

impl FromStr for HugetlbMeminfo {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        let size = kib(text, "Hugepagesize:")?;
        Ok(Self {
            total: count(text, "HugePages_Total:")?,
            free: count(text, "HugePages_Free:")?,
            reserved: count(text, "HugePages_Rsvd:")?,
            surplus: count(text, "HugePages_Surp:")?,
            size: HugeSize::from_bytes(size)
                .ok_or_else(|| bad("Hugepagesize:", &format!("{} kB", size.get() >> 10), "a power of two"))?,
            hugetlb: kib(text, "Hugetlb:")?,
        })
    }
}

/// The lines of `/proc/meminfo` about memory that is lent until a range of it is needed. They come before those of HugeTLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmaMeminfo {
    /// `CmaTotal`: memory in areas.
    pub total: Bytes,
    /// `CmaFree`: what is free of it.
    pub free: Bytes,
}

impl fmt::Display for CmaMeminfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "CmaTotal:       {:8} kB", self.total.get() >> 10)?;
        writeln!(f, "CmaFree:        {:8} kB", self.free.get() >> 10)
    }
}

impl FromStr for CmaMeminfo {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        Ok(Self { total: kib(text, "CmaTotal:")?, free: kib(text, "CmaFree:")? })
    }
}

/// The HugeTLB lines of `/sys/devices/system/node/nodeN/meminfo`: the default pool on one node.
#[doc(alias = "hugetlb_report_node_meminfo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHugepages {
    /// The node.
    pub node: NodeId,
    /// Pages of the pool that lie there.
    pub total: HugeCount,
    /// Those that are free.
    pub free: HugeCount,
    /// Those beyond the administrator's target.
    pub surplus: HugeCount,
}

impl fmt::Display for NodeHugepages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.get();
        writeln!(f, "Node {node} HugePages_Total: {:5}", self.total.get())?;
        writeln!(f, "Node {node} HugePages_Free:  {:5}", self.free.get())?;
        writeln!(f, "Node {node} HugePages_Surp:  {:5}", self.surplus.get())
    }
}

impl FromStr for NodeHugepages {
    type Err = ReportError;

    fn from_str(text: &str) -> Result<Self, ReportError> {
        let first = text.lines().find(|line| line.contains(" HugePages_Total:"));
        let number = first.and_then(|line| line.strip_prefix("Node ")).and_then(|rest| rest.split(' ').next());
        let node = node_id(number.ok_or_else(|| ReportError::Missing { label: "Node N HugePages_Total:".into() })?)?;
        let labelled = |name: &str| count(text, &format!("Node {} HugePages_{name}:", node.get()));
        Ok(Self { node, total: labelled("Total")?, free: labelled("Free")?, surplus: labelled("Surp")? })
    }
}

/// One line of the kernel's memory report (out of memory, SysRq-m): one pool on one node.
#[doc(alias = "hugetlb_show_meminfo_node")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShowMemLine {
    /// The node.
    pub node: NodeId,
    /// Pages of the pool that lie there.
    pub total: HugeCount,
    /// Those that are free.
    pub free: HugeCount,
    /// Those beyond the administrator's target.
    pub surplus: HugeCount,
    /// Which pool.
    pub size: HugeSize,
}

impl fmt::Display for ShowMemLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Node {} hugepages_total={} hugepages_free={} hugepages_surp={} hugepages_size={}kB",
            self.node.get(),
            self.total.get(),
            self.free.get(),
            self.surplus.get(),
            self.size.kib()
        )
    }
}

impl FromStr for ShowMemLine {
    type Err = ReportError;

    fn from_str(line: &str) -> Result<Self, ReportError> {
        let words: Vec<&str> = after(line, "Node ")?.split_ascii_whitespace().collect();
        let value = |name: &'static str| {
            let word = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            word.ok_or_else(|| ReportError::Missing { label: format!("{name}=") })
        };
        let pages = |name: &'static str| {
            let text = value(name)?;
            number(text).map(HugeCount::new).ok_or_else(|| bad(name, text, "a number"))
        };
        let size = value("hugepages_size")?;
        let bytes = size.strip_suffix("kB").and_then(number).and_then(|kib| kib.checked_mul(1024)).map(Bytes::new);
        Ok(Self {
            node: node_id(words.first().copied().unwrap_or_default())?,
            total: pages("hugepages_total")?,
            free: pages("hugepages_free")?,
            surplus: pages("hugepages_surp")?,
            size: bytes.and_then(HugeSize::from_bytes).ok_or_else(|| bad("hugepages_size", size, "a size in kB"))?,
        })
    }
}

fn node_id(text: &str) -> Result<NodeId, ReportError> {
    let node = number(text).and_then(|n| u8::try_from(n).ok()).filter(|&n| n < Nodemask::CAPACITY);
    node.map(NodeId::new).ok_or_else(|| bad("Node ", text, "a node below 64"))
}
