//! Where the pages of areas lie: lines of `/proc/PID/numa_maps`.

use std::fmt;

use policy::{Mempolicy, NodesMean, PolicyInForce};
use units::{Bytes, HugeCount, NodeId, Nodemask, Vaddr};

/// Nodes as the kernel lists them, such as `0-2,5`.
#[doc(alias = "nodemask_pr_args")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRanges(pub Nodemask);

impl fmt::Display for NodeRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left: Vec<u8> = self.0.iter().map(NodeId::get).collect();
        left.reverse();
        let mut separator = "";
        while let Some(first) = left.pop() {
            let mut last = first;
            while left.last().is_some_and(|&next| next == last + 1) {
                last = left.pop().unwrap_or(last);
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// A policy as the kernel names it, such as `bind=static:0-1`.
#[doc(alias = "mpol_to_str")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyText(pub PolicyInForce);

impl fmt::Display for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.0 {
            Mempolicy::Local => "local",
            Mempolicy::Preferred(_) => "prefer",
            Mempolicy::PreferredMany { .. } => "prefer (many)",
            Mempolicy::Bind { .. } => "bind",
            Mempolicy::Interleave(_) => "interleave",
            Mempolicy::WeightedInterleave(_) => "weighted interleave",
            _ => "default",
        })?;
        let nodes = self.0.nodes();
        if nodes.is_empty() {
            return Ok(());
        }
        f.write_str(match self.0.nodes_mean() {
            NodesMean::Places => "",
            NodesMean::Static => "=static",
            NodesMean::Relative => "=relative",
        })?;
        write!(f, ":{}", NodeRanges(nodes))
    }
}

/// The line of an area of huge pages.
#[doc(alias = "show_numa_map")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaMapsLine {
    /// Its first address.
    pub start: Vaddr,
    /// Where its pages are to lie.
    pub policy: PolicyInForce,
    /// The file, as the process would find it.
    pub file: String,
    /// Pages mapped.
    pub pages: HugeCount,
    /// Those of them that are anonymous.
    pub anonymous: HugeCount,
    /// Those of them that were written, or belong to a file.
    pub dirty: HugeCount,
    /// The most mappings that one of them has.
    pub most_mappings: u32,
    /// On which nodes they lie.
    pub nodes: Vec<(NodeId, HugeCount)>,
    /// Their size.
    pub page: Bytes,
}

impl fmt::Display for NumaMapsLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x} {} file={} huge", self.start.get(), PolicyText(self.policy), escaped(&self.file))?;
        let counted = |f: &mut fmt::Formatter<'_>, name: &str, count: HugeCount| {
            if count.is_zero() { Ok(()) } else { write!(f, " {name}={}", count.get()) }
        };
        if !self.pages.is_zero() {
            counted(f, "anon", self.anonymous)?;
            counted(f, "dirty", self.dirty)?;
            if self.pages != self.anonymous && self.pages != self.dirty {
                counted(f, "mapped", self.pages)?;
            }
            if self.most_mappings > 1 {
                write!(f, " mapmax={}", self.most_mappings)?;
            }
            for &(node, count) in &self.nodes {
                counted(f, &format!("N{}", node.get()), count)?;
            }
            write!(f, " kernelpagesize_kB={}", self.page.get() >> 10)?;
        }
        writeln!(f)
    }
}

/// Blanks, line ends, backslashes and equals signs are written as octal numbers.
#[doc(alias = "seq_path")]
fn escaped(path: &str) -> String {
    let mut text = String::new();
    for byte in path.chars() {
        match byte {
            ' ' | '\t' | '\n' | '\\' | '=' => text.push_str(&format!("\\{:03o}", u32::from(byte))),
            other => text.push(other),
        }
    }
    text
}
