//! Files of `/proc` and `/sys`, read and written as text.

use charge::{HandOnError, LimitError};
use hugetlb::{Hstate, Hstates};
use policy::PolicyInForce;
use units::{Bytes, HugeSize, NodeId, Nodemask, PageCount};
use vmemmap::Optimising;

use super::{CpusetError, Env, NoSuchSize, cgroup, cpuset};
use crate::text::{
    CgroupPath, CgroupPathError, CmaMeminfo, CpusetPath, HugetlbMeminfo, KnobPath, KnobPathError, KnobValue, KnobWrite,
    NodeHugepages, NodeKnob, PageKnob, PageKnobError, PoolKnob, Switch, SysctlKnob, WeightFile, WriteError, Written,
    length,
};
use crate::{DemoteError, ResizeError, ResizeNodes};

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
    /// The pool did not demote.
    #[error(transparent)]
    Demote(#[from] DemoteError),
    /// The file cannot be read.
    #[error("{0} can only be written")]
    WriteOnly(KnobPath),
    /// A machine of this kind does not have the file.
    #[error("this machine has no {0}: no page of its pools can be treated so")]
    NoSuchFile(KnobPath),
    /// Not one of the files of a control group.
    #[error(transparent)]
    NoCgroupFile(#[from] CgroupPathError),
    /// There is no such group, or it does not have this file: one about pages is only where the parent hands the controller on.
    #[error("{0} does not exist: there is no such group, or it does not have the controller")]
    NoCgroup(CgroupPath),
    /// The file cannot be opened for writing.
    #[error("{0} can only be read")]
    ReadOnlyCgroupFile(CgroupPath),
    /// A limit that cannot be.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The controller cannot be handed on, or not be kept.
    #[error(transparent)]
    HandOn(#[from] HandOnError),
    /// Nodes that a group cannot be kept to.
    #[error(transparent)]
    Cpuset(#[from] CpusetError),
    /// The file of a group's nodes cannot be written.
    #[error("{0} can only be read")]
    ReadOnlyCpusetFile(CpusetPath),
    /// A file about ordinary pages.
    #[error(transparent)]
    Pages(#[from] PageKnobError),
    /// The groups below the root have the controller in every machine.
    #[error("the root hands the controller on in every machine")]
    RootKeepsController,
}

/// Under whose policy a file is written.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The node the writer runs on.
    pub local: NodeId,
    /// Its policy, which the `_mempolicy` files heed.
    pub policy: PolicyInForce,
    /// The nodes that it may use: a pool grows on no others.
    pub allowed: Nodemask,
}

impl Default for Writer {
    fn default() -> Self {
        Self { local: NodeId::new(0), policy: PolicyInForce::default(), allowed: Nodemask::ALL }
    }
}

/// Writes text to a file; returns how much of it the file took.
pub(super) fn write<P: Env>(p: &mut P, path: &str, text: &[u8], writer: &Writer) -> Result<Bytes, KnobError> {
    if let Ok(path) = path.parse::<CpusetPath>() {
        return cpuset::write(p, &path, text);
    }
    if CgroupPath::is_below_root(path) {
        return cgroup::write(p, path, text);
    }
    if let Ok(knob) = path.parse::<PageKnob>() {
        return Ok(super::pages::write(p, knob, text)?);
    }
    if let Ok(file) = path.parse::<WeightFile>() {
        return write_weight(p, file, text);
    }
    let path = KnobPath::parse(path)?;
    let id = target(p, path)?.id;
    let Some(Written { value, consumed }) = path.read_write(text)? else { return Ok(Bytes::ZERO) };
    match value {
        KnobWrite::Switch(switch) => p.with_vmemmap(|vmemmap| {
            vmemmap.optimising = match switch {
                Switch::On => Optimising::On,
                Switch::Off => Optimising::Off,
            };
        }),
        KnobWrite::Group(group) => p.with_sysctls(|sysctls| sysctls.shm_group = group),
        KnobWrite::Size(to) => {
            let target = p.with_hstates(|all| all.by_size(to)).map(|h| h.id);
            hugetlb::set_demote_size(p, id, to, target)?;
        }
        KnobWrite::Count(count) => match (what(path), nodes_of(path, writer)) {
            (Counted::Overcommit, _) => hugetlb::set_overcommit(p, id, count)?,
            (Counted::Demote, nodes) => hugetlb::demote(p, id, count, nodes)?,
            (Counted::Nr, nodes) => hugetlb::set_max_within(p, id, count, nodes, writer.allowed)?,
        },
    }
    Ok(consumed)
}

#[doc(alias = "node_store")]
fn write_weight<P: Env>(p: &mut P, file: WeightFile, text: &[u8]) -> Result<Bytes, KnobError> {
    with_node(p, file)?;
    if text.is_empty() {
        return Ok(Bytes::ZERO);
    }
    let weight = file.read_write(text)?;
    p.with_sysctls(|sysctls| sysctls.weights.set(file.0, weight));
    Ok(length(text))
}

fn show_weight<P: Env>(p: &mut P, file: WeightFile) -> Result<String, KnobError> {
    with_node(p, file)?;
    Ok(format!("{}\n", p.with_sysctls(|sysctls| sysctls.weights.get(file.0))))
}

/// A node without memory has no file.
fn with_node<P: Env>(p: &mut P, file: WeightFile) -> Result<(), KnobError> {
    let there = p.with_topology(|t| t.nodes().contains(file.0));
    if there { Ok(()) } else { Err(ResizeError::NoSuchNode(file.0).into()) }
}

/// What a count that is written is a count of.
enum Counted {
    Nr,
    Overcommit,
    Demote,
}

const fn what(path: KnobPath) -> Counted {
    match path {
        KnobPath::Sysctl(SysctlKnob::NrOvercommitHugepages)
        | KnobPath::Pool { knob: PoolKnob::NrOvercommitHugepages, .. } => Counted::Overcommit,
        KnobPath::Pool { knob: PoolKnob::Demote, .. } | KnobPath::Node { knob: NodeKnob::Demote, .. } => {
            Counted::Demote
        }
        _ => Counted::Nr,
    }
}

/// The nodes that a count is about: the file's own, those of the writer's policy where the file heeds it, or all.
fn nodes_of(path: KnobPath, writer: &Writer) -> ResizeNodes {
    let by_policy = || writer.policy.resize_nodes(writer.local).unwrap_or(Nodemask::ALL);
    match path {
        KnobPath::Node { node, .. } => ResizeNodes::Node(node),
        KnobPath::Sysctl(SysctlKnob::NrHugepagesMempolicy)
        | KnobPath::Pool { knob: PoolKnob::NrHugepagesMempolicy, .. } => ResizeNodes::Global(by_policy()),
        _ => ResizeNodes::Global(Nodemask::ALL),
    }
}

/// What a file shows.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Result<String, KnobError> {
    if path == "/proc/meminfo" {
        let lent = cma_meminfo(p).map_or_else(String::new, |lines| lines.to_string());
        return Ok(format!("{lent}{}", meminfo(p)));
    }
    if let Some(node) = node_of_meminfo(path) {
        return node_meminfo(p, node).map(|lines| lines.to_string());
    }
    if let Some(text) = super::pages::read(p, path) {
        return Ok(text);
    }
    if let Ok(knob) = path.parse::<PageKnob>() {
        return Ok(super::pages::show(p, knob)?);
    }
    if let Ok(file) = path.parse::<WeightFile>() {
        return show_weight(p, file);
    }
    if let Ok(path) = path.parse::<CpusetPath>() {
        return cpuset::read(p, &path);
    }
    if CgroupPath::is_below_root(path) {
        return cgroup::read(p, path);
    }
    let path = KnobPath::parse(path)?;
    let id = target(p, path)?.id;
    let sysctls = p.with_sysctls(|sysctls| *sysctls);
    let optimising = match p.with_vmemmap(|vmemmap| vmemmap.optimising) {
        Optimising::On => Switch::On,
        Optimising::Off => Switch::Off,
    };
    let demote_to = p.with_pool(id, |pool| pool.demote_to()).map(|to| p.hstate(to).size);
    let value = p.with_pool(id, |pool| match path {
        KnobPath::Sysctl(knob) => Some(match knob {
            SysctlKnob::NrHugepages | SysctlKnob::NrHugepagesMempolicy => KnobValue::Count(pool.max()),
            SysctlKnob::NrOvercommitHugepages => KnobValue::Count(pool.overcommit()),
            SysctlKnob::HugetlbShmGroup => KnobValue::Group(sysctls.shm_group),
            SysctlKnob::HugetlbOptimizeVmemmap => KnobValue::Switch(optimising),
        }),
        KnobPath::Pool { knob, .. } => match knob {
            PoolKnob::NrHugepages | PoolKnob::NrHugepagesMempolicy => Some(KnobValue::Count(pool.nr())),
            PoolKnob::FreeHugepages => Some(KnobValue::Count(pool.free())),
            PoolKnob::ResvHugepages => Some(KnobValue::Count(pool.resv())),
            PoolKnob::SurplusHugepages => Some(KnobValue::Count(pool.surplus())),
            PoolKnob::NrOvercommitHugepages => Some(KnobValue::Count(pool.overcommit())),
            PoolKnob::DemoteSize => demote_to.map(KnobValue::Size),
            PoolKnob::Demote => None,
        },
        KnobPath::Node { node, knob, .. } => match knob {
            NodeKnob::NrHugepages => Some(KnobValue::Count(pool.node(node).nr)),
            NodeKnob::FreeHugepages => Some(KnobValue::Count(pool.node(node).free)),
            NodeKnob::SurplusHugepages => Some(KnobValue::Count(pool.node(node).surplus)),
            NodeKnob::DemoteSize => demote_to.map(KnobValue::Size),
            NodeKnob::Demote => None,
        },
    });
    value.map(|value| value.to_string()).ok_or(KnobError::WriteOnly(path))
}

/// The pool that a file is about. A folder exists only for a pool, demote files only where pages can be demoted, and the switch of
/// descriptors only where some page has redundant ones.
fn target<P: Env>(p: &mut P, path: KnobPath) -> Result<Hstate, KnobError> {
    let by_size = |p: &mut P, size: HugeSize| p.with_hstates(|all| all.by_size(size)).ok_or(NoSuchSize(size.into()));
    let (hstate, needs_demotion) = match path {
        KnobPath::Sysctl(SysctlKnob::HugetlbOptimizeVmemmap) if !any_optimisable(p) => {
            return Err(KnobError::NoSuchFile(path));
        }
        KnobPath::Sysctl(_) => (p.with_hstates(Hstates::default_hstate), false),
        KnobPath::Pool { size, knob } => (by_size(p, size)?, knob.needs_demotion()),
        KnobPath::Node { node, size, knob } => {
            if !p.with_topology(|t| t.nodes().contains(node)) {
                return Err(ResizeError::NoSuchNode(node).into());
            }
            (by_size(p, size)?, knob.needs_demotion())
        }
    };
    if needs_demotion && hstate.demote_to.is_none() {
        return Err(KnobError::NoSuchFile(path));
    }
    Ok(hstate)
}

/// Does some page have more descriptors than fit into one base page?
fn any_optimisable<P: Env>(p: &mut P) -> bool {
    let base = p.page_shift().bytes();
    p.with_hstates(|all| all.iter().any(|h| h.order.pages().get() * DESCRIPTOR.get() > base.get()))
}

/// What a base page's descriptor takes.
const DESCRIPTOR: Bytes = Bytes::new(64);

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

/// A machine shows what is lent once some memory is.
fn cma_meminfo<P: Env>(p: &mut P) -> Option<CmaMeminfo> {
    let shift = p.page_shift().get();
    let total = p.with_cma(|areas| areas.total());
    if total.is_zero() {
        return None;
    }
    let free = super::pages::zones(p).into_iter().filter_map(|zone| p.with_zone(zone, |parts| parts.zone.free_cma()));
    let free: PageCount = free.sum();
    Some(CmaMeminfo { total: Bytes::new(total.get() << shift), free: Bytes::new(free.get() << shift) })
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
