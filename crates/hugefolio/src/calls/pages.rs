//! Files about ordinary pages.

use std::collections::BTreeSet;

use page_alloc::{ListSize, ZoneCounts};
use policy::ZoneRef;
use units::{Bytes, Migratetype, NodeId, PageCount, PerZone, ZoneKind};
use zone::watermark::{MarkInputs, Watermarks, stat_threshold};
use zone::{Level, Zone};

use super::Env;
use crate::text::{
    BlockRow, BlockTable, Buddyinfo, Counters, ExtfragIndex, FreeBlocks, FreeListRow, ListLength, NodePagetypes,
    PageKnob, PageKnobError, PageKnobWrite, Pageset, Pagetypeinfo, PopulatedZone, UnusableIndex, Vmstat, VmstatItem,
    Written, ZonePages, ZoneReport, Zoneinfo,
};

/// The types that files show. That of lent memory is one of them only where some is, as if other machines had kernels without it.
fn types<P: Env>(p: &mut P) -> Vec<Migratetype> {
    let lent = p.with_cma(|areas| areas.iter().len() > 0);
    let mut types = vec![Migratetype::Unmovable, Migratetype::Movable, Migratetype::Reclaimable];
    types.push(Migratetype::HighAtomic);
    types.extend(lent.then_some(Migratetype::Cma));
    types.push(Migratetype::Isolate);
    types
}

/// Rounds in vain after which background reclaim gives a node up.
const HOPELESS: u32 = 16;

/// What a file about free pages shows, if `path` is one.
pub(super) fn read<P: Env>(p: &mut P, path: &str) -> Option<String> {
    match path {
        "/proc/buddyinfo" => Some(buddyinfo(p).to_string()),
        "/proc/pagetypeinfo" => Some(pagetypeinfo(p).to_string()),
        "/proc/zoneinfo" => Some(zoneinfo(p).to_string()),
        "/proc/vmstat" => Some(vmstat(p).to_string()),
        "/sys/kernel/debug/extfrag/extfrag_index" => Some(ExtfragIndex::of(&buddyinfo(p)).to_string()),
        "/sys/kernel/debug/extfrag/unusable_index" => Some(UnusableIndex::of(&buddyinfo(p)).to_string()),
        _ => None,
    }
}

/// What a knob shows.
pub(super) fn show<P: Env>(p: &mut P, knob: PageKnob) -> Result<String, PageKnobError> {
    let sysctls = p.with_sysctls(|sysctls| *sysctls);
    let knobs = sysctls.pages;
    let number = match knob {
        PageKnob::MinFreeKbytes => knobs.min_free.get() >> 10,
        PageKnob::WatermarkScaleFactor => knobs.scale.get().into(),
        PageKnob::WatermarkBoostFactor => sysctls.boost.0.into(),
        PageKnob::PercpuPagelistHighFraction => knobs.fraction.get().into(),
        PageKnob::LowmemReserveRatio => {
            // Whoever looks at the ratios has the protections made again.
            page_alloc::protect(p, &knobs.ratios);
            let ratios = ZoneKind::OF_64_BITS.map(|kind| knobs.ratios.0[kind].to_string());
            return Ok(format!("{}\n", ratios.join("\t")));
        }
        PageKnob::CompactMemory | PageKnob::CompactNode(_) => return Err(PageKnobError::WriteOnly(knob)),
    };
    Ok(format!("{number}\n"))
}

/// Writes a knob; how much of the text it took.
pub(super) fn write<P: Env>(p: &mut P, knob: PageKnob, text: &[u8]) -> Result<Bytes, PageKnobError> {
    if let PageKnob::CompactNode(node) = knob
        && !p.topology().states().online.contains(node)
    {
        return Err(PageKnobError::NoSuchNode(node));
    }
    let now = p.with_sysctls(|sysctls| sysctls.pages);
    let Some(Written { value, consumed }) = knob.read_write(text, now.ratios)? else { return Ok(Bytes::ZERO) };
    let mut knobs = now;
    match value {
        PageKnobWrite::MinFree(min_free) => knobs.min_free = min_free,
        PageKnobWrite::Scale(scale) => knobs.scale = scale,
        PageKnobWrite::Ratios(ratios) => knobs.ratios = ratios,
        PageKnobWrite::Fraction(fraction) => knobs.fraction = fraction,
        PageKnobWrite::Boost(boost) => {
            p.with_sysctls(|sysctls| sysctls.boost = boost);
            for zone in zones(p) {
                let _ = p.with_zone(zone, |parts| parts.zone.set_boost_factor(boost));
            }
        }
        PageKnobWrite::CompactAll => {
            let nodes = p.topology().states().online;
            nodes.iter().for_each(|node| page_alloc::compact_node(p, node));
        }
        PageKnobWrite::Compact(node) => page_alloc::compact_node(p, node),
    }
    p.with_sysctls(|sysctls| sysctls.pages = knobs);
    match value {
        PageKnobWrite::MinFree(_) | PageKnobWrite::Scale(_) => page_alloc::set_marks(p, &knobs),
        PageKnobWrite::Fraction(_) => page_alloc::resize_lists(p, &knobs),
        PageKnobWrite::Ratios(_) => page_alloc::protect(p, &knobs.ratios),
        _ => (),
    }
    Ok(consumed)
}

/// The zones that there are, node by node and from the lowest up.
pub(super) fn zones<P: Env>(p: &mut P) -> Vec<ZoneRef> {
    let nodes = p.topology().states().online;
    let all = nodes.iter().flat_map(|node| ZoneKind::ALL.map(|kind| ZoneRef { node, kind }));
    all.filter(|&zone| p.with_zone(zone, |_| ()).is_some()).collect()
}

fn buddyinfo<P: Env>(p: &mut P) -> Buddyinfo {
    let rows = zones(p).into_iter().filter_map(|zone| {
        let blocks = p.with_zone(zone, |parts| parts.zone.free_blocks().collect())?;
        Some(FreeBlocks { node: zone.node, zone: zone.kind, blocks })
    });
    Buddyinfo(rows.collect())
}

fn pagetypeinfo<P: Env>(p: &mut P) -> Pagetypeinfo {
    let (pageblock, largest) = (p.rules().pageblock, p.rules().largest);
    let nodes = p.topology().states().memory;
    let (all, types) = (zones(p), types(p));
    let of = |p: &mut P, node| {
        let mine: Vec<ZoneRef> = all.iter().copied().filter(|zone| zone.node == node).collect();
        let mut free = Vec::new();
        let mut blocks = BlockTable { types: types.clone(), zones: Vec::new() };
        for zone in mine {
            let ZoneRef { node, kind: zone_kind } = zone;
            let _ = p.with_zone(zone, |parts| {
                free.extend(types.iter().map(|&of| {
                    let lists = parts.zone.free_blocks_of(of).map(ListLength::of).collect();
                    FreeListRow { node, zone: zone_kind, of, lists }
                }));
                blocks.zones.push(BlockRow { node, zone: zone_kind, blocks: blocks_by_type(parts.zone, &types) });
            });
        }
        NodePagetypes { pageblock, orders: largest.get() + 1, free, blocks, mixed: None }
    };
    Pagetypeinfo(nodes.iter().map(|node| of(p, node)).collect())
}

/// How many pageblocks begin in the zone, by type.
fn blocks_by_type(zone: &Zone, types: &[Migratetype]) -> Vec<u64> {
    let size = zone.layout().pageblock.pages().get();
    let mut blocks = vec![0; types.len()];
    let spans = zone.layout().spans.iter();
    let starts = spans.flat_map(|(start, end)| {
        let first = start.get().next_multiple_of(size);
        (first..end.get()).step_by(usize::try_from(size).unwrap_or(usize::MAX))
    });
    for start in starts {
        let of = zone.migratetype(units::Pfn::new(start));
        if let Some(place) = types.iter().position(|&known| known == of) {
            blocks[place] += 1;
        }
    }
    blocks
}

fn zoneinfo<P: Env>(p: &mut P) -> Zoneinfo {
    let nodes = p.topology().states().online;
    let knobs = p.with_sysctls(|sysctls| sysctls.pages);
    let kernel: PageCount = nodes.iter().map(|node| lowmem(&page_alloc::managed_of(p, node))).sum();
    let inputs = MarkInputs { min_free: knobs.min_free, scale: knobs.scale, lowmem: kernel, shift: knobs.shift };
    let mut reports = Vec::new();
    for node in nodes.iter() {
        let mut of_node = zeroes(VmstatItem::NODE);
        let used = huge_pages_in_use(p, node);
        set(&mut of_node, VmstatItem::NrHugetlb, |_| used.get());
        let mut node_counters = Some(of_node);
        for kind in ZoneKind::OF_64_BITS {
            let zone = ZoneRef { node, kind };
            let report = match zone_report(p, zone) {
                Some(report) => ZoneReport { node_counters: node_counters.take(), ..report },
                None => absent_zone(zone, Watermarks::new(kind, PageCount::ZERO, &inputs)),
            };
            reports.push(report);
        }
    }
    Zoneinfo(reports)
}

fn lowmem(managed: &PerZone<PageCount>) -> PageCount {
    managed.iter().filter(|(kind, _)| kind.is_for_kernel()).map(|(_, &pages)| pages).sum()
}

/// A zone without pages has marks all the same.
fn absent_zone(zone: ZoneRef, marks: Watermarks) -> ZoneReport {
    let Watermarks { min, low, high, promo } = marks;
    ZoneReport {
        node: zone.node,
        zone: zone.kind,
        node_counters: None,
        pages: ZonePages { min, low, high, promo, ..ZonePages::default() },
        protection: ZoneKind::OF_64_BITS.map(|_| PageCount::ZERO).to_vec(),
        populated: None,
    }
}

fn zone_report<P: Env>(p: &mut P, zone: ZoneRef) -> Option<ZoneReport> {
    let lists = p.list_sizes(zone);
    let cpus = u32::try_from(p.cpu_nodes().len()).unwrap_or(u32::MAX);
    let shift = p.page_shift();
    let failures = p.with_node(zone.node, |state| state.kswapd.failures);
    let cma = p.with_cma(|areas| areas.of_zone(zone));
    p.with_zone(zone, |parts| {
        let spans = &parts.zone.layout().spans;
        let start = spans.first().map_or(units::Pfn::new(0), |&(start, _)| start);
        let end = spans.last().map_or(start, |&(_, end)| end);
        let mark = |level| parts.zone.mark(level);
        let managed = parts.zone.managed();
        let pages = ZonePages {
            free: parts.zone.free(),
            boost: parts.zone.boost(),
            min: mark(Level::Min),
            low: mark(Level::Low),
            high: mark(Level::High),
            promo: mark(Level::Promo),
            spanned: PageCount::new(end.get() - start.get()),
            present: managed + parts.zone.reserved().iter().map(|(s, e)| PageCount::new(e.get() - s.get())).sum(),
            managed,
            cma,
        };
        let threshold = stat_threshold(cpus, managed, shift);
        let pageset = |list: &ListSize| Pageset {
            cpu: list.cpu,
            count: list.count,
            high: list.high,
            batch: list.tuning.batch,
            high_min: list.tuning.high_min,
            high_max: list.tuning.high_max,
            stat_threshold: threshold,
        };
        ZoneReport {
            node: zone.node,
            zone: zone.kind,
            node_counters: None,
            pages,
            protection: ZoneKind::OF_64_BITS.map(|kind| parts.zone.protection()[kind]).to_vec(),
            populated: Some(PopulatedZone {
                counters: zone_counters(parts.zone, parts.counts),
                pagesets: lists.iter().map(pageset).collect(),
                node_unreclaimable: failures >= HOPELESS,
                start,
            }),
        }
    })
}

fn zeroes(items: &[VmstatItem]) -> Counters {
    Counters(items.iter().map(|item| (item.name().into(), 0)).collect())
}

/// The counters of a zone. What a machine has nothing of is zero.
fn zone_counters(zone: &Zone, counts: &ZoneCounts) -> Counters {
    let value = |item: VmstatItem| match item {
        VmstatItem::NrFreePages => zone.free().get(),
        VmstatItem::NrFreePagesBlocks => zone.free_in_whole_blocks().get(),
        VmstatItem::NrFreeCma => zone.free_cma().get(),
        VmstatItem::NumaHit => counts.hit,
        VmstatItem::NumaMiss => counts.miss,
        VmstatItem::NumaForeign => counts.foreign,
        VmstatItem::NumaLocal => counts.local,
        VmstatItem::NumaOther => counts.other,
        _ => 0,
    };
    Counters(VmstatItem::ZONE.iter().map(|&item| (item.name().into(), value(item))).collect())
}

/// The sums over all zones, and the events that are counted.
fn vmstat<P: Env>(p: &mut P) -> Vmstat {
    let mut sums = zeroes(VmstatItem::ZONE);
    let mut allocated = PerZone::<u64>::default();
    for zone in zones(p) {
        let of = p.with_zone(zone, |parts| (zone_counters(parts.zone, parts.counts), parts.counts.allocated));
        let Some((counters, pages)) = of else { continue };
        sums.0.iter_mut().zip(&counters.0).for_each(|((_, sum), (_, value))| *sum += value);
        allocated[zone.kind] += pages;
    }
    let events = [
        (VmstatItem::PgallocDma, ZoneKind::Dma),
        (VmstatItem::PgallocDma32, ZoneKind::Dma32),
        (VmstatItem::PgallocNormal, ZoneKind::Normal),
        (VmstatItem::PgallocMovable, ZoneKind::Movable),
        (VmstatItem::PgallocDevice, ZoneKind::Device),
    ];
    let events = events.map(|(item, kind)| (item.name().into(), allocated[kind]));
    let mut node = zeroes(VmstatItem::NODE);
    let nodes: BTreeSet<NodeId> = zones(p).into_iter().map(|zone| zone.node).collect();
    for of in nodes {
        let used = huge_pages_in_use(p, of);
        set(&mut node, VmstatItem::NrHugetlb, |sum| sum + used.get());
    }
    let tries = pool_tries(p);
    let pools = [
        (VmstatItem::HtlbBuddyAllocSuccess.name().into(), tries.successes),
        (VmstatItem::HtlbBuddyAllocFail.name().into(), tries.failures),
    ];
    let memmap = p.with_vmemmap(|vmemmap| vmemmap.pages());
    let memmap = [(VmstatItem::NrMemmapPages, memmap.allocated), (VmstatItem::NrMemmapBootPages, memmap.boot)];
    let memmap = memmap.map(|(item, pages)| (item.name().into(), pages.get()));
    let all = sums.0.into_iter().chain(node.0).chain(memmap).chain(events).chain(pools);
    Vmstat(Counters(all.collect()))
}

fn set(counters: &mut Counters, item: VmstatItem, value: impl Fn(u64) -> u64) {
    let of = counters.0.iter_mut().find(|(name, _)| name.as_str() == item.name());
    if let Some((_, counter)) = of {
        *counter = value(*counter);
    }
}

/// Base pages of huge pages that somebody uses.
fn huge_pages_in_use<P: Env>(p: &mut P, node: NodeId) -> PageCount {
    let hstates: Vec<_> = p.with_hstates(|all| all.iter().collect());
    let mut pages = PageCount::ZERO;
    for h in hstates {
        let counts = p.with_pool(h.id, |pool| pool.node(node));
        pages = pages.saturating_add(PageCount::new((counts.nr - counts.free).get() << h.order.get()));
    }
    pages
}

/// How asking for huge pages went, in all pools.
fn pool_tries<P: Env>(p: &mut P) -> hugetlb::Tries {
    let hstates: Vec<_> = p.with_hstates(|all| all.iter().map(|h| h.id).collect());
    let mut all = hugetlb::Tries::default();
    for id in hstates {
        let of = p.with_pool(id, |pool| pool.tries());
        all.successes += of.successes;
        all.failures += of.failures;
    }
    all
}
