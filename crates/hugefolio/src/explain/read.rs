//! Pools, nodes and free memory, from text.

use std::collections::BTreeMap;

use hugetlb::{Balance, NodeCounts};
use units::{Bytes, HugeCount, HugeSize, NodeId, Nodemask, Order, PageCount, PageShift};

use super::files::{HostError, HostFiles, HostProblem, Page, error, names_in};
use super::group::{Seat, groups, seat};
use super::host::{Host, HostNode, HostPool, LARGEST_MEMORY, Question};
use super::marks::{kept, take_out};
use super::mounts::{mount, mount_table};
use crate::text::{Buddyinfo, FreeBlocks, KnobPath, NodeKnob, PoolKnob, number};

const POOLS: &str = "/sys/kernel/mm/hugepages";
const NODES: &str = "/sys/devices/system/node";
const MEMINFO: &str = "/proc/meminfo";
const BUDDYINFO: &str = "/proc/buddyinfo";
const STATUS: &str = "/proc/self/status";

impl Host {
    /// Reads what a host's files say about the question.
    ///
    /// # Errors
    /// The first file, and its line, that is missing or not what the kernel writes.
    pub fn read(files: &mut dyn HostFiles, question: &Question) -> Result<Self, HostError> {
        let meminfo = Page::need(files, MEMINFO, "every kernel has it")?;
        let default = default_size(&meminfo)?;
        let free = buddyinfo(files)?;
        let pools = pools(files, free.nodes.keys().copied().collect())?;
        let table = mount_table(files)?;
        let seat = seat(files, &table, question.cgroup.as_deref())?;
        let sizes: Vec<HugeSize> = pools.iter().map(|pool| pool.size).collect();
        Ok(Self {
            default,
            base: free.base,
            largest: free.largest,
            nodes: free.nodes.into_values().collect(),
            allowed: allowed(files, question.cgroup.as_ref().and(seat.as_ref()))?,
            groups: groups(files, seat.as_ref(), &sizes)?,
            mount: question.mount.as_deref().map(|dir| mount(files, &table, dir, &sizes)).transpose()?,
            pools,
        })
    }
}

fn default_size(meminfo: &Page) -> Result<HugeSize, HostError> {
    let (line, value) = meminfo.after("Hugepagesize:")?;
    let kib = value.strip_suffix("kB").and_then(|n| number(n.trim_end())).and_then(|n| n.checked_mul(1024));
    kib.and_then(|bytes| HugeSize::from_bytes(Bytes::new(bytes)))
        .ok_or_else(|| meminfo.bad(line, value, "a power of two in kB"))
}

fn pools(files: &mut dyn HostFiles, nodes: Nodemask) -> Result<Vec<HostPool>, HostError> {
    let names =
        names_in(files, POOLS)?.ok_or_else(|| error(POOLS, HostProblem::NoFile("a kernel with huge pages has it")))?;
    let mut pools = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("hugepages-")) {
        let folder = format!("{POOLS}/{name}");
        let size = match KnobPath::parse(&format!("{folder}/{}", PoolKnob::NrHugepages.name())) {
            Ok(KnobPath::Pool { size, .. }) => size,
            _ => {
                return Err(error(
                    &folder,
                    HostProblem::BadLine { found: name.clone(), expected: "a size as in 2048kB".to_owned() },
                ));
            }
        };
        pools.push(pool(files, size, nodes)?);
    }
    pools.sort_by_key(|pool| pool.size);
    Ok(pools)
}

fn pool(files: &mut dyn HostFiles, size: HugeSize, nodes: Nodemask) -> Result<HostPool, HostError> {
    let of = |knob| KnobPath::Pool { size, knob }.to_string();
    let nr = memory(files, &of(PoolKnob::NrHugepages), size)?;
    let balance = Balance {
        free: memory(files, &of(PoolKnob::FreeHugepages), size)?,
        resv: memory(files, &of(PoolKnob::ResvHugepages), size)?,
        surplus: memory(files, &of(PoolKnob::SurplusHugepages), size)?,
        overcommit: count(files, &of(PoolKnob::NrOvercommitHugepages))?,
    };
    let contradiction =
        |what: String| error(&format!("{POOLS}/hugepages-{}kB", size.kib()), HostProblem::Contradiction(what));
    if balance.free > nr || balance.surplus > nr {
        let (free, surplus) = (balance.free.get(), balance.surplus.get());
        return Err(contradiction(format!("{free} free and {surplus} surplus pages of {} cannot be", nr.get())));
    }
    let nodes = node_pools(
        files,
        size,
        nodes,
        NodeCounts { nr, free: balance.free, surplus: balance.surplus, ..NodeCounts::default() },
    )?;
    let sum = |of: fn(&NodeCounts) -> HugeCount| {
        nodes.iter().fold(HugeCount::ZERO, |sum, (_, counts)| sum.saturating_add(of(counts)))
    };
    let (on_nodes, free_there) = (sum(|counts| counts.nr), sum(|counts| counts.free));
    if (on_nodes, free_there) != (nr, balance.free) {
        let there = format!("the nodes have {} pages, {} of them free", on_nodes.get(), free_there.get());
        return Err(contradiction(format!("{there}, the pool has {}, {} free", nr.get(), balance.free.get())));
    }
    Ok(HostPool { size, nr, balance, nodes })
}

/// The pool by node. A kernel without NUMA has no folders for them: all pages lie on the one node.
fn node_pools(
    files: &mut dyn HostFiles,
    size: HugeSize,
    nodes: Nodemask,
    all: NodeCounts,
) -> Result<Vec<(NodeId, NodeCounts)>, HostError> {
    let there = names_in(files, NODES)?.is_some_and(|names| names.iter().any(|name| name.starts_with("node")));
    if !there {
        return Ok(vec![(NodeId::new(0), all)]);
    }
    let mut pools = Vec::new();
    for node in nodes.iter() {
        let of = |knob| KnobPath::Node { node, size, knob }.to_string();
        let counts = NodeCounts {
            nr: memory(files, &of(NodeKnob::NrHugepages), size)?,
            free: memory(files, &of(NodeKnob::FreeHugepages), size)?,
            surplus: memory(files, &of(NodeKnob::SurplusHugepages), size)?,
            ..NodeCounts::default()
        };
        pools.push((node, counts));
    }
    Ok(pools)
}

fn count(files: &mut dyn HostFiles, path: &str) -> Result<HugeCount, HostError> {
    Page::need(files, path, "every pool has it")?.count()
}

/// A count of pages that exist.
fn memory(files: &mut dyn HostFiles, path: &str, size: HugeSize) -> Result<HugeCount, HostError> {
    let page = Page::need(files, path, "every pool has it")?;
    let count = page.count()?;
    if Host::fits(size, count) {
        return Ok(count);
    }
    Err(page.bad(1, page.text().trim_end(), "no more pages than an address can name"))
}

/// What `/proc/buddyinfo` says.
struct FreeMemory {
    base: PageShift,
    largest: Order,
    nodes: BTreeMap<NodeId, HostNode>,
}

fn buddyinfo(files: &mut dyn HostFiles) -> Result<FreeMemory, HostError> {
    let page = Page::need(files, BUDDYINFO, "surplus pages come from the memory that it shows")?;
    let text: Buddyinfo = page.text().parse().map_err(|wrong| page.wrong(wrong))?;
    let mut nodes: BTreeMap<NodeId, HostNode> = BTreeMap::new();
    let kept = kept(files)?;
    let columns = text.0.first().map_or(0, |row| row.blocks.len());
    for (FreeBlocks { node, zone, mut blocks }, (n, line)) in text.0.into_iter().zip(page.lines()) {
        if blocks.len() != columns || blocks.len() > 31 {
            return Err(page.bad(n, line, "as many numbers as in the first line, and no more than 31"));
        }
        let kept = take_out(&mut blocks, kept.get(&(node, zone)).copied().unwrap_or_default());
        let fresh = || HostNode { node, blocks: vec![0; columns], zones: 0, kept: PageCount::ZERO };
        let there = nodes.entry(node).or_insert_with(fresh);
        for (sum, blocks) in there.blocks.iter_mut().zip(blocks) {
            *sum = sum.saturating_add(blocks);
        }
        there.zones += 1;
        there.kept = there.kept.saturating_add(kept);
        let (base, free) = (base_page(columns), there.free().saturating_add(there.kept));
        if free.get() > LARGEST_MEMORY.get() >> base.get() {
            return Err(page.bad(n, line, "no more memory than an address can name"));
        }
    }
    let largest = u8::try_from(columns).ok().and_then(|n| n.checked_sub(1)).and_then(Order::try_new);
    let largest = largest.ok_or_else(|| error(BUDDYINFO, HostProblem::NoLine { label: "Node 0, zone".into() }))?;
    Ok(FreeMemory { base: base_page(columns), largest, nodes })
}

/// Nothing in the text says how large a base page is, but the number of orders differs: 11 with 4 KiB, 12 with 16, 14 with 64.
const fn base_page(columns: usize) -> PageShift {
    match columns {
        ..12 => PageShift::K4,
        12..14 => PageShift::K16,
        _ => PageShift::K64,
    }
}

/// The nodes that the task may allocate from: those of the group asked about if it says, or else its own.
fn allowed(files: &mut dyn HostFiles, seat: Option<&Seat>) -> Result<Nodemask, HostError> {
    if let Some(seat) = seat
        && let Some(page) = Page::find(files, &format!("{}/cpuset.mems.effective", seat.folder()))?
    {
        let expected = "nodes, as in 0-1,3";
        let line = page.only_line(expected)?;
        return node_list(line).ok_or_else(|| page.bad(1, line, expected));
    }
    let page = Page::need(files, STATUS, "it says which nodes may be used")?;
    let (n, value) = page.after("Mems_allowed_list:")?;
    node_list(value).ok_or_else(|| page.bad(n, value, "nodes, as in 0-1,3"))
}

/// `0-1,3`. Nodes beyond those that can be counted are of no use and are left out.
fn node_list(text: &str) -> Option<Nodemask> {
    let mut nodes = Nodemask::EMPTY;
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= 1024 {
            return None;
        }
        let known = (first..=last).filter_map(|n| u8::try_from(n).ok()).filter(|&n| n < Nodemask::CAPACITY);
        nodes = known.map(NodeId::new).fold(nodes, Nodemask::with);
    }
    Some(nodes)
}
