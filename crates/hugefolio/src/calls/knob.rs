//! Files of `/proc` and `/sys`, read and written as text.

use hugetlb::{Hstate, Hstates};
use policy::Mempolicy;
use units::{Bytes, HugeSize, NodeId, Nodemask};

use super::{Env, NoSuchSize};
use crate::text::{
    HugetlbMeminfo, KnobPath, KnobPathError, KnobValue, KnobWrite, NodeHugepages, NodeKnob, PoolKnob, SysctlKnob,
    WriteError, Written,
};
use crate::{ResizeError, ResizeNodes};

/// Why a file cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KnobError {
    /// Not one of the files.
    #[error(transparent)]
    NoFile(#[from] KnobPathError),
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// Not what the file takes.
    #[error(transparent)]
    Text(#[from] WriteError),
    /// The pool refused.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// The file cannot be read.
    #[error("{0} can only be written")]
    WriteOnly(KnobPath),
    /// The file belongs to a part of Linux that this machine does not have.
    #[error("{0} belongs to a part of Linux that this machine does not have")]
    NotModelled(KnobPath),
}

/// Under whose policy a file is written.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The node the writer runs on.
    pub local: NodeId,
    /// Its policy, which the `_mempolicy` files heed.
    pub policy: Mempolicy,
}

impl Default for Writer {
    fn default() -> Self {
        Self { local: NodeId::new(0), policy: Mempolicy::Default }
    }
}

/// Writes text to a file; returns how much of it the file took.
pub(super) fn write<P: Env>(p: &mut P, path: &str, text: &[u8], writer: &Writer) -> Result<Bytes, KnobError> {
    let path = KnobPath::parse(path)?;
    let asked = path.read_write(text)?;
    let target = target(p, path)?;
    let Some(Written { value, consumed }) = asked else { return Ok(Bytes::ZERO) };
    let KnobWrite::Count(count) = value else { return Err(KnobError::NotModelled(path)) };
    let nodes = match (path, target.knob) {
        (_, Knob::Overcommit) => {
            hugetlb::set_overcommit(p, target.hstate.id, count)?;
            return Ok(consumed);
        }
        (KnobPath::Node { node, .. }, Knob::Nr) => ResizeNodes::Node(node),
        (_, Knob::Nr) => ResizeNodes::Global(Nodemask::ALL),
        (_, Knob::NrMempolicy) => {
            ResizeNodes::Global(writer.policy.resize_nodes(writer.local).unwrap_or(Nodemask::ALL))
        }
        (_, Knob::Other) => return Err(KnobError::NotModelled(path)),
    };
    hugetlb::set_max(p, target.hstate.id, count, nodes)?;
    Ok(consumed)
}

/// What a file shows.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Result<String, KnobError> {
    if path == "/proc/meminfo" {
        return Ok(meminfo(p).to_string());
    }
    if let Some(node) = node_of_meminfo(path) {
        return node_meminfo(p, node).map(|lines| lines.to_string());
    }
    let path = KnobPath::parse(path)?;
    let id = target(p, path)?.hstate.id;
    let count = p.with_pool(id, |pool| match path {
        KnobPath::Sysctl(SysctlKnob::NrHugepages | SysctlKnob::NrHugepagesMempolicy) => Some(pool.max()),
        KnobPath::Sysctl(SysctlKnob::NrOvercommitHugepages) => Some(pool.overcommit()),
        KnobPath::Sysctl(_) => None,
        KnobPath::Pool { knob, .. } => match knob {
            PoolKnob::NrHugepages | PoolKnob::NrHugepagesMempolicy => Some(pool.nr()),
            PoolKnob::FreeHugepages => Some(pool.free()),
            PoolKnob::ResvHugepages => Some(pool.resv()),
            PoolKnob::SurplusHugepages => Some(pool.surplus()),
            PoolKnob::NrOvercommitHugepages => Some(pool.overcommit()),
            PoolKnob::Demote | PoolKnob::DemoteSize => None,
        },
        KnobPath::Node { node, knob, .. } => match knob {
            NodeKnob::NrHugepages => Some(pool.node(node).nr),
            NodeKnob::FreeHugepages => Some(pool.node(node).free),
            NodeKnob::SurplusHugepages => Some(pool.node(node).surplus),
            NodeKnob::Demote | NodeKnob::DemoteSize => None,
        },
    });
    if let Some(count) = count {
        return Ok(KnobValue::Count(count).to_string());
    }
    match path {
        KnobPath::Pool { knob: PoolKnob::Demote, .. } | KnobPath::Node { knob: NodeKnob::Demote, .. } => {
            Err(KnobError::WriteOnly(path))
        }
        _ => Err(KnobError::NotModelled(path)),
    }
}

enum Knob {
    Nr,
    NrMempolicy,
    Overcommit,
    Other,
}

struct Target {
    hstate: Hstate,
    knob: Knob,
}

/// Which pool a file is about. A folder exists only for a pool, and demote files only where pages can be demoted.
fn target<P: Env>(p: &mut P, path: KnobPath) -> Result<Target, KnobError> {
    let by_size = |p: &mut P, size: HugeSize| p.with_hstates(|all| all.by_size(size)).ok_or(NoSuchSize(size));
    Ok(match path {
        KnobPath::Sysctl(knob) => Target {
            hstate: p.with_hstates(Hstates::default_hstate),
            knob: match knob {
                SysctlKnob::NrHugepages => Knob::Nr,
                SysctlKnob::NrHugepagesMempolicy => Knob::NrMempolicy,
                SysctlKnob::NrOvercommitHugepages => Knob::Overcommit,
                SysctlKnob::HugetlbShmGroup | SysctlKnob::HugetlbOptimizeVmemmap => Knob::Other,
            },
        },
        KnobPath::Pool { size, knob } => Target {
            hstate: by_size(p, size)?,
            knob: match knob {
                PoolKnob::NrHugepages => Knob::Nr,
                PoolKnob::NrHugepagesMempolicy => Knob::NrMempolicy,
                PoolKnob::NrOvercommitHugepages => Knob::Overcommit,
                _ => Knob::Other,
            },
        },
        KnobPath::Node { node, size, knob } => {
            if !p.with_topology(|t| t.nodes().contains(node)) {
                return Err(ResizeError::NoSuchNode(node).into());
            }
            let knob = if knob == NodeKnob::NrHugepages { Knob::Nr } else { Knob::Other };
            Target { hstate: by_size(p, size)?, knob }
        }
    })
}

fn meminfo<P: Env>(p: &mut P) -> HugetlbMeminfo {
    let default = p.with_hstates(Hstates::default_hstate);
    let all: Vec<Hstate> = p.with_hstates(|all| all.iter().collect());
    let hugetlb = all.iter().map(|h| h.size.total(p.with_pool(h.id, |pool| pool.nr()))).sum();
    p.with_pool(default.id, |pool| HugetlbMeminfo {
        total: pool.nr(),
        free: pool.free(),
        reserved: pool.resv(),
        surplus: pool.surplus(),
        size: default.size,
        hugetlb,
    })
}

fn node_meminfo<P: Env>(p: &mut P, node: NodeId) -> Result<NodeHugepages, KnobError> {
    if !p.with_topology(|t| t.nodes().contains(node)) {
        return Err(ResizeError::NoSuchNode(node).into());
    }
    let default = p.with_hstates(Hstates::default_hstate);
    let counts = p.with_pool(default.id, |pool| pool.node(node));
    Ok(NodeHugepages { node, total: counts.nr, free: counts.free, surplus: counts.surplus })
}

fn node_of_meminfo(path: &str) -> Option<NodeId> {
    let digits = path.strip_prefix("/sys/devices/system/node/node")?.strip_suffix("/meminfo")?;
    digits.parse().ok().filter(|&n| n < Nodemask::CAPACITY).map(NodeId::new)
}
