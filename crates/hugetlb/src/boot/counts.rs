//! The value of `hugepages=`.

use alloc_crate::borrow::ToOwned;
use alloc_crate::collections::BTreeMap;
use alloc_crate::vec::Vec;

use units::{HugeCount, NodeId, Nodemask};

use super::PoolRequest;
use super::message::{BootCause, CountProblem, CountTarget};
use super::platform::{NodeForm, Platform};

/// A count that could be read, with what is to be said about it.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) request: PoolRequest,
    pub(super) remarks: Vec<BootCause>,
}

/// Reads `N` or `node:N[,node:N...]`. `target` is named in refusals.
pub(super) fn read(value: &str, target: CountTarget, platform: &Platform) -> Result<Counts, CountProblem> {
    let mut nodes = BTreeMap::new();
    let mut remarks = Vec::new();
    let mut rest = value;
    loop {
        let (number, after) = decimal(rest, target)?;
        let Some(after) = after.strip_prefix(':') else {
            if !nodes.is_empty() {
                return Err(CountProblem::PlainAfterNode(target));
            }
            trailing(after, &mut remarks);
            return Ok(Counts { request: PoolRequest::Total(HugeCount::new(number)), remarks });
        };
        if platform.node_form == NodeForm::Unsupported {
            return Err(CountProblem::NodesUnsupported);
        }
        let online = platform.online;
        let node = node_in(number, online).ok_or(CountProblem::NoSuchNode { node: number, online, target })?;
        let (count, after) = decimal(after, target)?;
        if nodes.insert(node, HugeCount::new(count)).is_some() {
            remarks.push(CountProblem::NodeRepeated(node).into());
        }
        match after.strip_prefix(',') {
            Some(more) if !more.is_empty() => rest = more,
            _ => {
                trailing(after, &mut remarks);
                return Ok(Counts { request: PoolRequest::PerNode(nodes), remarks });
            }
        }
    }
}

/// The node of that number, where it is one of `nodes`.
pub(super) fn node_in(number: u64, nodes: Nodemask) -> Option<NodeId> {
    let node = u8::try_from(number).ok().filter(|&n| n < Nodemask::CAPACITY).map(NodeId::new)?;
    nodes.contains(node).then_some(node)
}

/// Remarks on what is left over after the last item.
pub(super) fn trailing(rest: &str, remarks: &mut Vec<BootCause>) {
    if !rest.is_empty() {
        remarks.push(BootCause::TrailingText(rest.to_owned()));
    }
}

fn decimal(text: &str, target: CountTarget) -> Result<(u64, &str), CountProblem> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    digits.parse().map(|n| (n, rest)).map_err(|_| CountProblem::BadNumber { found: text.to_owned(), target })
}
