//! Memory set aside for gigantic pages: `hugetlb_cma=`.

use alloc_crate::borrow::ToOwned;
use alloc_crate::collections::BTreeMap;
use alloc_crate::string::String;
use alloc_crate::vec::Vec;
use core::fmt;

use units::{Bytes, HugeSize, NodeId, Nodemask};

use super::counts::{node_in, trailing};
use super::memparse::{Exactness, memparse};
use super::message::{BootCause, CmaProblem};
use super::platform::Platform;

/// What `hugetlb_cma=` asks for, after everything that cannot be had was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CmaRequest {
    /// So much, spread over the online nodes.
    Spread(Bytes),
    /// So much on each of these nodes, at least one gigantic page.
    PerNode(BTreeMap<NodeId, CmaAmount>),
}

/// How much of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmaAmount {
    /// So much.
    Size(Bytes),
    /// So many hundredths of what it has.
    Percent(u8),
}

impl CmaAmount {
    /// How much that is of a node with so much memory.
    #[must_use]
    pub fn of(self, memory: Bytes) -> Bytes {
        match self {
            Self::Size(size) => size,
            Self::Percent(percent) => Bytes::new(memory.get() / 100 * u64::from(percent)),
        }
    }
}

impl fmt::Display for CmaAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "{}", size.get()),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// One area that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmaArea {
    /// Where.
    pub node: NodeId,
    /// How much, in whole gigantic pages.
    pub size: Bytes,
}

/// Whether a node had the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmaOutcome {
    /// It had, and the area is set aside.
    Reserved,
    /// It had not; other nodes are tried.
    Refused,
}

/// How memory is to be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmaPlan {
    request: CmaRequest,
    unit: HugeSize,
}

impl CmaPlan {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &CmaRequest {
        &self.request
    }

    /// The gigantic page that every area is a multiple of.
    #[must_use]
    pub fn unit(&self) -> HugeSize {
        self.unit
    }

    /// Everything that is asked for of nodes with so much memory, before rounding.
    #[must_use]
    pub fn total(&self, memory: impl Fn(NodeId) -> Bytes) -> Bytes {
        match &self.request {
            CmaRequest::Spread(total) => *total,
            CmaRequest::PerNode(nodes) => {
                let of = |(&node, amount): (&NodeId, &CmaAmount)| amount.of(memory(node));
                nodes.iter().map(of).fold(Bytes::ZERO, Bytes::saturating_add)
            }
        }
    }

    /// Sets the areas aside, node by node in ascending order, until the total is reached.
    ///
    /// Without named nodes every node is asked for an equal share, rounded up to gigantic pages, the last one for what is
    /// left; so 3 GiB over four nodes take 1 GiB from each of the first three, and from the fourth if one of them refuses.
    pub fn reserve(
        &self,
        online: Nodemask,
        memory: impl Fn(NodeId) -> Bytes,
        mut take: impl FnMut(CmaArea) -> CmaOutcome,
    ) -> Vec<CmaArea> {
        let total = self.total(&memory);
        let share = self.whole_pages(Bytes::new(total.get().div_ceil(u64::from(online.len().max(1)))));
        let mut areas = Vec::new();
        let mut reserved = Bytes::ZERO;
        for node in online.iter() {
            if reserved >= total {
                break;
            }
            let wanted = match &self.request {
                CmaRequest::Spread(_) => share.min(total - reserved),
                CmaRequest::PerNode(nodes) => match nodes.get(&node) {
                    // Of a share that is less than one page, none is set aside.
                    Some(amount) => amount.of(memory(node)),
                    None => continue,
                },
            };
            if wanted < self.unit.bytes() && matches!(self.request, CmaRequest::PerNode(_)) {
                continue;
            }
            let area = CmaArea { node, size: self.whole_pages(wanted) };
            if take(area) == CmaOutcome::Reserved {
                reserved = reserved.saturating_add(area.size);
                areas.push(area);
            }
        }
        areas
    }

    fn whole_pages(&self, size: Bytes) -> Bytes {
        let unit = self.unit.bytes();
        size.round_up(unit).unwrap_or(Bytes::MAX.round_down(unit))
    }
}

/// What the `hugetlb_cma=` parameters read so far ask for.
#[derive(Debug, Default)]
pub(super) struct CmaParameter {
    /// The value that the state comes from.
    value: Option<String>,
    asked: Asked,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Total(CmaAmount),
    PerNode(BTreeMap<u64, CmaAmount>),
}

/// Something to say about one item of a value.
pub(super) type Remark = (String, BootCause);

impl CmaParameter {
    /// The last value as written.
    pub(super) fn value(&self) -> String {
        self.value.clone().unwrap_or_default()
    }

    /// Reads one `hugetlb_cma=`; the last one counts.
    pub(super) fn read(&mut self, value: &str) -> Vec<Remark> {
        let mut causes = Vec::new();
        if self.value.replace(value.to_owned()).is_some() {
            causes.push(BootCause::Replaces);
        }
        self.asked = read_sizes(value, &mut causes).unwrap_or_else(|problem| {
            causes.push(problem.into());
            Asked::Nothing
        });
        causes.into_iter().map(|cause| (value.to_owned(), cause)).collect()
    }

    /// What is left once nodes and sizes are held against the machine.
    pub(super) fn plan(self, platform: &Platform) -> (Option<CmaPlan>, Vec<Remark>) {
        let mut remarks = Vec::new();
        if self.asked == Asked::Nothing {
            return (None, remarks);
        }
        let value = self.value();
        let Some(unit) = platform.cma_unit() else {
            let largest = platform.arch.sizes()[0];
            remarks.push((value, CmaProblem::Unsupported(largest).into()));
            return (None, remarks);
        };
        let request = match self.asked {
            Asked::Nothing => return (None, remarks),
            Asked::Total(CmaAmount::Size(asked)) if asked < unit.bytes() => {
                remarks.push((value, CmaProblem::TooSmall { asked, unit }.into()));
                return (None, remarks);
            }
            Asked::Total(CmaAmount::Size(total)) => CmaRequest::Spread(total),
            Asked::Total(share) => CmaRequest::PerNode(platform.online.iter().map(|node| (node, share)).collect()),
            Asked::PerNode(nodes) => {
                let fitting = fitting_nodes(nodes, unit, platform, &mut remarks);
                // Where every node was dropped, each was remarked on.
                if fitting.is_empty() {
                    return (None, remarks);
                }
                CmaRequest::PerNode(fitting)
            }
        };
        (Some(CmaPlan { request, unit }), remarks)
    }
}

fn read_sizes(value: &str, causes: &mut Vec<BootCause>) -> Result<Asked, CmaProblem> {
    let mut nodes = BTreeMap::new();
    let mut rest = value;
    loop {
        if let Some((node, after)) = node_prefix(rest) {
            let (size, after) = size(after, causes)?;
            if nodes.insert(node, size).is_some() {
                causes.push(CmaProblem::NodeRepeated(node).into());
            }
            match after.strip_prefix(',') {
                Some(more) if !more.is_empty() => rest = more,
                _ => {
                    trailing(after, causes);
                    return Ok(Asked::PerNode(nodes));
                }
            }
        } else if nodes.is_empty() {
            let (size, after) = size(rest, causes)?;
            trailing(after, causes);
            return Ok(Asked::Total(size));
        } else {
            return Err(CmaProblem::PlainAfterNode);
        }
    }
}

/// `digits:` at the front, where they fit into 64 bits.
fn node_prefix(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_once(':')?;
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    if only_digits { digits.parse().ok().map(|node| (node, rest)) } else { None }
}

fn size<'a>(text: &'a str, causes: &mut Vec<BootCause>) -> Result<(CmaAmount, &'a str), CmaProblem> {
    let number = memparse(text).ok_or(CmaProblem::NotASize)?;
    if let Some(rest) = number.rest.strip_prefix('%') {
        let percent = u8::try_from(number.value).ok().filter(|&percent| percent <= 100);
        return Ok((CmaAmount::Percent(percent.ok_or(CmaProblem::PercentTooLarge(number.value))?), rest));
    }
    let size = Bytes::new(number.value);
    if number.exactness == Exactness::Wrapped {
        causes.push(BootCause::Wrapped(size));
    }
    Ok((CmaAmount::Size(size), number.rest))
}

fn fitting_nodes(
    asked: BTreeMap<u64, CmaAmount>,
    unit: HugeSize,
    platform: &Platform,
    remarks: &mut Vec<Remark>,
) -> BTreeMap<NodeId, CmaAmount> {
    let online = platform.online;
    let mut fitting = BTreeMap::new();
    for (number, amount) in asked {
        let problem = match (node_in(number, online), amount) {
            (None, _) => CmaProblem::NoSuchNode { node: number, online },
            (Some(node), CmaAmount::Size(asked)) if asked < unit.bytes() => {
                CmaProblem::NodeTooSmall { node, asked, unit }
            }
            (Some(node), amount) => {
                fitting.insert(node, amount);
                continue;
            }
        };
        remarks.push((alloc_crate::format!("{number}:{amount}"), problem.into()));
    }
    fitting
}
