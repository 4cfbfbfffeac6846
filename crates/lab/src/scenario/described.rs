//! Memory as header lines describe it, built without history.

use std::collections::BTreeMap;

use hugefolio::pages::{Compactor, Counters, Defrag, Killer, NearReclaimMode, PageAllocator, Rules};
use hugefolio::tuning::PcpTuning;
use hugefolio::watermark::{BoostFactor, Watermarks};
use hugefolio::{
    CpuId, DriverId, FreeBlocks, Grouping, Migratetype, NodeCap, NodeCaps, NodeId, NodeSpec, Order, PageCount,
    PerCpuState, PerZone, Pfn, PrivateNode, Topology, Zone, ZoneKind, ZoneLayout, ZoneRef, ZoneState,
};

use super::error::LineError;
use super::memory::{CAPS, MemoryLine};
use crate::op::{FrameRange, ZoneName};

/// Frames of all zones together: 64 GiB of small pages.
const MOST_FRAMES: u64 = 1 << 24;

/// Lines with their numbers.
type Lines<'a> = &'a [(usize, MemoryLine)];
type Wrong = (usize, LineError);

fn wrong<T>(line: usize, problem: impl Into<String>, mend: impl Into<String>) -> Result<T, Wrong> {
    Err((line, LineError::Machine { problem: problem.into(), mend: mend.into() }))
}

/// The page allocator that these lines describe.
///
/// # Errors
/// The line that cannot be, and what to write instead.
pub fn described(lines: &[(usize, MemoryLine)]) -> Result<PageAllocator, (usize, LineError)> {
    let of = |word: &'static str| lines.iter().filter(move |(_, line)| line.word == word);
    let rules = rules(lines)?;
    let mut zones = BTreeMap::new();
    let mut left = MOST_FRAMES;
    for (n, line) in of("zone") {
        let Some(at) = line.at else { continue };
        let frames: u64 = line.frames.iter().map(|range| range.len()).sum();
        if frames > left {
            return wrong(*n, format!("{frames} frames are too many"), format!("all zones have at most {MOST_FRAMES}"));
        }
        left -= frames;
        if zones.insert(at, *n).is_some() {
            return wrong(*n, format!("{at} is described twice"), "give all its frames on one line");
        }
    }
    let Some((_, &first)) = zones.first_key_value() else {
        let line = lines.first().map_or(1, |(n, _)| *n);
        return wrong(line, "no zone is described", "add a line such as `zone 0:Normal 0..4096`");
    };
    if let Some((n, line)) = lines.iter().find(|(_, line)| line.at.is_some_and(|at| !zones.contains_key(&at))) {
        let at = line.at.map(|at| at.to_string()).unwrap_or_default();
        return wrong(*n, format!("no line describes the zone {at}"), format!("add `zone {at} FRAMES`"));
    }
    let topology = topology(lines, first)?;
    let cpus = cpus(lines, &topology);
    let mut built = Vec::new();
    for (n, line) in of("zone") {
        built.push(zone(lines, *n, line, &rules)?);
    }
    let allocator = PageAllocator::new(topology, rules, &cpus, built);
    let mut allocator =
        allocator.or_else(|error| wrong(first, error.to_string(), "change the `memory` line or the zones"))?;
    for (n, line) in of("zone") {
        lists(&mut allocator, lines, *n, line, cpus.len())?;
    }
    let _ = allocator.run_on(CpuId::new(0));
    allocator.record_events();
    Ok(allocator)
}

fn rules(lines: Lines<'_>) -> Result<Rules, Wrong> {
    let mut rules = Rules::default();
    let Some((n, line)) = lines.iter().find(|(_, line)| line.word == "memory") else { return Ok(rules) };
    let order = |name: &str, most: u64, usual: Order| match line.number(name) {
        None => Ok(usual),
        Some(order) if order <= most => Ok(Order::try_new(u8::try_from(order).unwrap_or(u8::MAX)).unwrap_or(usual)),
        Some(order) => wrong(*n, format!("{name}={order} is too large"), format!("write {most} at most")),
    };
    rules.largest = order("largest", 18, rules.largest)?;
    rules.pageblock = order("pageblock", u64::from(rules.largest.get()), rules.pageblock.min(rules.largest))?;
    rules.section = order("section", 30, rules.section)?;
    if line.is("grouping", "off") {
        rules.grouping = Grouping::Off;
    }
    if line.is("compaction", "off") {
        rules.compaction = Compactor::Absent;
    }
    if line.is("defrag", "on") {
        rules.defrag = Defrag::On;
    }
    if line.is("near_reclaim", "on") {
        rules.near_reclaim = NearReclaimMode::On;
    }
    if line.is("killer", "off") {
        rules.killer = Killer::Suspended;
    }
    if line.is("counters", "by-processor") {
        rules.counters = Counters::ByProcessor;
    }
    Ok(rules)
}

fn cpu_nodes(lines: Lines<'_>) -> Vec<u64> {
    lines.iter().find(|(_, line)| line.word == "memory").map_or_else(Vec::new, |(_, line)| line.numbers("cpus"))
}

fn topology(lines: Lines<'_>, first: usize) -> Result<Topology, Wrong> {
    let mut nodes: BTreeMap<NodeId, NodeSpec> = BTreeMap::new();
    let none = || NodeSpec { present: PerZone::default(), cpus: 0, initiator: false, online: true };
    let private: BTreeMap<NodeId, (usize, &MemoryLine)> = lines
        .iter()
        .filter(|(_, line)| line.word == "private")
        .filter_map(|(n, line)| Some((NodeId::new(line.node?), (*n, line))))
        .collect();
    private.keys().for_each(|&node| _ = nodes.entry(node).or_insert_with(none));
    for (_, line) in lines.iter().filter(|(_, line)| line.word == "zone") {
        let Some(at) = line.at else { continue };
        let pages = line.frames.iter().map(|range| range.len()).sum();
        nodes.entry(NodeId::new(at.node)).or_insert_with(none).present[at.kind] = PageCount::new(pages);
    }
    for node in cpu_nodes(lines) {
        let node = NodeId::new(u8::try_from(node).unwrap_or(63).min(63));
        nodes.entry(node).or_insert_with(none).cpus += 1;
    }
    if cpu_nodes(lines).is_empty()
        && let Some(spec) = nodes.values_mut().next()
    {
        spec.cpus = 1;
    }
    let bare = |(&node, &spec): (&NodeId, &NodeSpec)| {
        let owned = private.contains_key(&node);
        (node, if owned { NodeSpec { present: PerZone::default(), ..spec } } else { spec })
    };
    let distance = |a: NodeId, b: NodeId| if a == b { 10 } else { 20 };
    let topology = Topology::of(nodes.iter().map(bare).collect(), distance);
    let mut topology =
        topology.or_else(|error| wrong(first, error.to_string(), "give a node that is not private some memory"))?;
    for (&node, (n, line)) in &private {
        let caps = line.option("caps").map_or_else(Vec::new, |caps| caps.split(',').collect());
        let caps = caps.iter().fold(NodeCaps::NONE, |caps, word| caps.with(cap(word)));
        let made = topology.make_private(node, PrivateNode { owner: DriverId(0), caps });
        made.or_else(|error| wrong(*n, error.to_string(), "change the rights of the node"))?;
        let spec = nodes[&node];
        topology.set_node(node, spec).or_else(|error| wrong(*n, error.to_string(), "change the zones of the node"))?;
    }
    Ok(topology)
}

fn cap(word: &str) -> NodeCap {
    let caps = [
        NodeCap::Reclaim,
        NodeCap::Mempolicy,
        NodeCap::HotUnplug,
        NodeCap::Tiering,
        NodeCap::LongTermPin,
        NodeCap::UserMigrate,
    ];
    let at = CAPS.iter().position(|known| *known == word).unwrap_or_default();
    caps[at]
}

fn cpus(lines: Lines<'_>, topology: &Topology) -> Vec<NodeId> {
    let given: Vec<NodeId> =
        cpu_nodes(lines).iter().map(|&n| NodeId::new(u8::try_from(n).unwrap_or(63).min(63))).collect();
    if given.is_empty() { topology.states().cpu.iter().take(1).collect() } else { given }
}

/// One zone, from its own line and all others about it.
fn zone(lines: Lines<'_>, n: usize, line: &MemoryLine, rules: &Rules) -> Result<Zone, Wrong> {
    let at = line.at.unwrap_or(ZoneName { node: 0, kind: ZoneKind::Normal });
    let pfn = Pfn::new;
    let spans: Vec<_> = line.frames.iter().map(|range| (pfn(range.first), pfn(range.end))).collect();
    let layout = ZoneLayout {
        node: NodeId::new(at.node),
        kind: at.kind,
        spans,
        largest: rules.largest,
        pageblock: rules.pageblock,
    };
    let mut state = ZoneState::allocated(layout);
    let about = || lines.iter().filter(|(_, other)| other.at == Some(at) && other.word != "zone");
    let mut seen: Vec<(FrameRange, usize)> = Vec::new();
    let mut bare = line.option("allocated").is_none();
    for (m, other) in about() {
        for &range in &other.frames {
            check_range(line, *m, other, range)?;
        }
        if other.word == "block" {
            types(&mut state, *m, other, rules)?;
            continue;
        }
        bare = false;
        for range in other.frames.iter().map(|range| extent(other, *range)) {
            let twice = seen.iter().find(|(known, _)| known.first < range.end && range.first < known.end);
            if let Some((_, before)) = twice {
                let problem = format!("frames of {range} stand on line {before} already");
                return wrong(*m, problem, "take them out here or there");
            }
            seen.push((range, *m));
        }
        blocks(&mut state, other);
    }
    if bare {
        everything_free(&mut state);
    }
    state.grouping = rules.grouping;
    knobs(&mut state, line);
    Zone::from_state(&state).or_else(|error| {
        let mend =
            "write free buddies as one block of the next order, and blocks on the list of their pageblock's type";
        wrong(n, format!("{at} cannot be so: {error}"), mend)
    })
}

fn check_range(zone: &MemoryLine, n: usize, line: &MemoryLine, range: FrameRange) -> Result<(), Wrong> {
    if !zone.frames.iter().any(|span| span.first <= range.first && range.end <= span.end) {
        let spans: Vec<String> = zone.frames.iter().map(FrameRange::to_string).collect();
        let mend = format!("write frames of {}", spans.join(" or "));
        return wrong(n, format!("{range} is not inside the zone"), mend);
    }
    let Some(order) = line.order else { return Ok(()) };
    let size = 1u64 << order;
    let whole = range.first.is_multiple_of(size) && (range.len() == 1 || range.len().is_multiple_of(size));
    if whole {
        return Ok(());
    }
    let first = range.first / size * size;
    wrong(
        n,
        format!("{range} is not made of blocks of order {order}"),
        format!("begin at {first}, a multiple of {size}"),
    )
}

fn types(state: &mut ZoneState, n: usize, line: &MemoryLine, rules: &Rules) -> Result<(), Wrong> {
    let Some(migratetype) = line.migratetype else { return Ok(()) };
    let size = rules.pageblock.pages().get();
    for range in &line.frames {
        if range.len() != 1 && !(range.first.is_multiple_of(size) && range.end.is_multiple_of(size)) {
            let problem = format!("{range} is not made of pageblocks");
            return wrong(n, problem, format!("begin and end at multiples of {size}, or name one frame"));
        }
        let mut at = range.first / size * size;
        while at < range.end {
            let first = Pfn::new(at.max(range.first));
            match migratetype {
                Migratetype::Isolate => state.isolated.push(first),
                Migratetype::Movable => (),
                other => state.types.push((first, other)),
            }
            at += size;
        }
    }
    Ok(())
}

/// The frames of the blocks of a range; a range of one frame is one block.
fn extent(line: &MemoryLine, range: FrameRange) -> FrameRange {
    FrameRange { end: range.end.max(range.first + (1 << line.order.unwrap_or(0))), ..range }
}

/// Blocks of an order; a range of one frame is one block.
fn starts(line: &MemoryLine) -> impl Iterator<Item = Pfn> {
    let size = 1u64 << line.order.unwrap_or(0);
    line.frames.iter().flat_map(move |range| {
        let blocks = (range.len() / size).max(1);
        (0..blocks).map(move |n| Pfn::new(range.first + n * size))
    })
}

fn blocks(state: &mut ZoneState, line: &MemoryLine) {
    let order = Order::try_new(line.order.unwrap_or(0)).unwrap_or(Order::ZERO);
    match (line.word, line.migratetype) {
        ("free", Some(migratetype)) => {
            let runs = starts(line).map(|block| (block, block)).collect();
            state.free.push(FreeBlocks { order, migratetype, runs });
        }
        ("used", _) => state.used.extend(starts(line).map(|block| (block, order))),
        ("movable", _) => state.movable.extend(starts(line).map(|block| (block, order))),
        // What a processor keeps is given to it when all zones are there.
        _ => (),
    }
}

/// All of it is free, in blocks as large as types and ends let them be.
fn everything_free(state: &mut ZoneState) {
    let (largest, pageblock) = (state.layout.largest.get(), state.layout.pageblock.get());
    let type_at = |block: u64| {
        let beneath = |&(pfn, t): &(Pfn, Migratetype)| (pfn.get() >> pageblock == block).then_some(t);
        let isolated = state.isolated.iter().any(|pfn| pfn.get() >> pageblock == block);
        let known = state.types.iter().find_map(beneath).unwrap_or(Migratetype::Movable);
        if isolated { Migratetype::Isolate } else { known }
    };
    let mut free: BTreeMap<(u8, Migratetype), Vec<(Pfn, Pfn)>> = BTreeMap::new();
    for &(start, end) in &state.layout.spans {
        let mut at = start.get();
        while at < end.get() {
            let migratetype = type_at(at >> pageblock);
            let fits = |order: &u8| {
                let size = 1u64 << order;
                let alike =
                    || (at >> pageblock..(at + size).div_ceil(1 << pageblock)).all(|b| type_at(b) == migratetype);
                at.is_multiple_of(size) && at + size <= end.get() && alike()
            };
            let order = (0..=largest).rev().find(fits).unwrap_or(0);
            free.entry((order, migratetype)).or_default().push((Pfn::new(at), Pfn::new(at)));
            at += 1 << order;
        }
    }
    state.free = free
        .into_iter()
        .map(|((order, migratetype), runs)| FreeBlocks { order: Order::new(order), migratetype, runs })
        .collect();
}

fn knobs(state: &mut ZoneState, line: &MemoryLine) {
    let pages = |n: u64| PageCount::new(n);
    if let [min, low, high, rest @ ..] = &line.numbers("marks")[..] {
        let promo = rest.first().copied().unwrap_or(high + (high - low.min(high)));
        state.marks = Watermarks { min: pages(*min), low: pages(*low), high: pages(*high), promo: pages(promo) };
    }
    let kept = line.numbers("protection");
    state.protection = PerZone::from_fn(|kind| pages(kept.get(kind as usize).copied().unwrap_or(0)));
    state.boost = pages(line.number("boost").unwrap_or(0));
    if let Some(factor) = line.number("boost_factor") {
        state.boost_factor = BoostFactor(u32::try_from(factor).unwrap_or(u32::MAX));
    }
}

/// What processors keep of a zone.
fn lists(
    allocator: &mut PageAllocator,
    lines: Lines<'_>,
    n: usize,
    zone: &MemoryLine,
    cpus: usize,
) -> Result<(), Wrong> {
    let Some(at) = zone.at else { return Ok(()) };
    let kept = |cpu: u64| {
        lines.iter().filter(move |(_, line)| {
            line.word == "pcp" && line.at == Some(at) && line.number("cpu").unwrap_or(0) == cpu
        })
    };
    let place = ZoneRef { node: NodeId::new(at.node), kind: at.kind };
    let tuning = match &zone.numbers("lists")[..] {
        [batch, least, most] => {
            let [batch, high_min, high_max] = [*batch, *least, *most].map(PageCount::new);
            PcpTuning { batch, high_min, high_max }
        }
        _ => PcpTuning::BOOT,
    };
    for (m, line) in lines.iter().filter(|(_, line)| line.word == "pcp" && line.at == Some(at)) {
        if zone.option("lists").is_none() {
            return wrong(n, "a processor keeps pages of a zone without lists", "add lists=BATCH,LEAST,MOST");
        }
        let cpu = line.number("cpu").unwrap_or(0);
        if cpu >= cpus as u64 {
            return wrong(*m, format!("there is no processor {cpu}"), "add its node to `memory cpus=...`");
        }
    }
    for cpu in 0..cpus {
        let mut state = PerCpuState { high: tuning.high_min, ..PerCpuState::default() };
        let cpu = u32::try_from(cpu).unwrap_or(u32::MAX);
        let mut last = n;
        for (m, line) in kept(cpu.into()) {
            let order = Order::try_new(line.order.unwrap_or(0)).unwrap_or(Order::ZERO);
            let migratetype = line.migratetype.unwrap_or(Migratetype::Movable);
            state.pages.extend(starts(line).map(|block| (block, order, migratetype)));
            state.high = line.number("high").map_or(state.high, PageCount::new);
            last = *m;
        }
        let _ = allocator.run_on(CpuId::new(cpu));
        let set = allocator.set_lists(place, tuning, &state);
        set.or_else(|error| {
            wrong(last, error.to_string(), "write blocks of orders that processors keep, which are free nowhere")
        })?;
    }
    Ok(())
}
