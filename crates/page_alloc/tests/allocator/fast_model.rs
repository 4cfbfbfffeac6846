//! One walk along a zone list against its rules written down once more, on machines drawn at random.

use page_alloc::{Cpusets, Defrag, Dirty, PageRequest, Rules, Task, TaskSite, Zones};
use policy::ZoneRef;
use units::{GfpFlags, Migratetype, Nodemask, Order, PageCount, ZoneKind};
use zone::watermark::Protection;
use zone::{BelowHigh, ZonePressure, ZoneState};

use crate::common::{Dice, at, first, free, full, machine_with, marked, node, typed};

use Migratetype::{Movable, Unmovable};

/// What the rules look at in one zone.
#[derive(Clone, Copy, Debug)]
struct Small {
    node: u8,
    kind: ZoneKind,
    unmovable: u64,
    movable: u64,
    low: u64,
    high: u64,
    kept: u64,
    seen_below: bool,
}

#[derive(Clone, Debug)]
struct Wish {
    gfp: GfpFlags,
    node: u8,
    mask: Option<u64>,
    allowed: u64,
    interrupt: bool,
}

#[derive(Clone, Debug)]
struct World {
    nodes: u8,
    zones: Vec<Small>,
    dirty: [bool; 2],
    cpusets: bool,
    defrag: bool,
}

impl World {
    /// Near to far, of each node from the highest zone down.
    fn list(&self, from: u8, this_node: bool) -> Vec<Small> {
        let nodes = if this_node || self.nodes == 1 { vec![from] } else { vec![from, 1 - from] };
        let mut list = Vec::new();
        for node in nodes {
            let mut zones: Vec<Small> = self.zones.iter().filter(|zone| zone.node == node).copied().collect();
            zones.sort_by_key(|zone| core::cmp::Reverse(zone.kind));
            list.extend(zones);
        }
        list
    }

    /// The zone that serves the wish.
    fn serves(&self, wish: &Wish) -> Option<(u8, ZoneKind)> {
        let has = |flag| wish.gfp.contains(flag);
        let highest = match (has(GfpFlags::HIGHMEM) && has(GfpFlags::MOVABLE), has(GfpFlags::DMA32)) {
            (true, _) => ZoneKind::Movable,
            (_, true) => ZoneKind::Dma32,
            _ => ZoneKind::Normal,
        };
        let mut mask = wish.mask;
        let mut ask_each = self.cpusets;
        if self.cpusets && !wish.interrupt && mask.is_none() {
            (mask, ask_each) = (Some(wish.allowed), false);
        }
        let list: Vec<Small> = self.list(wish.node, has(GfpFlags::THISNODE));
        let list: Vec<Small> = list
            .into_iter()
            .filter(|zone| zone.kind <= highest && mask.is_none_or(|mask| mask >> zone.node & 1 == 1))
            .collect();
        let preferred = *list.first()?;
        let below = self.zones.iter().any(|zone| zone.node == preferred.node && zone.kind == ZoneKind::Dma32);
        // On a machine of one node there is nowhere else to go, so mixing waits for the end of the list.
        let whole = self.defrag || preferred.kind == ZoneKind::Normal && (below || self.nodes == 1);
        let mut seen: Vec<bool> = list.iter().map(|zone| zone.seen_below).collect();
        let mixing: &[bool] = if self.defrag {
            &[false]
        } else if whole {
            &[false, true]
        } else {
            &[true]
        };
        for &mixes in mixing {
            for (place, zone) in list.iter().enumerate() {
                if ask_each && !wish.interrupt && wish.allowed >> zone.node & 1 == 0 {
                    continue;
                }
                if has(GfpFlags::WRITE) && self.dirty[usize::from(zone.node)] {
                    continue;
                }
                if !mixes && !self.defrag && zone.node != preferred.node {
                    break;
                }
                let pages = zone.unmovable + zone.movable;
                let kept = if highest > zone.kind { zone.kept } else { 0 };
                let above_high = !seen[place] && pages > zone.high + kept;
                seen[place] |= !above_high;
                if !above_high && pages <= zone.low + kept {
                    continue;
                }
                let own = if has(GfpFlags::MOVABLE) { zone.movable } else { zone.unmovable };
                if own > 0 || mixes && pages > 0 {
                    return Some((zone.node, zone.kind));
                }
            }
        }
        None
    }
}

fn world(dice: &mut Dice) -> World {
    let mut zones = Vec::new();
    let nodes = if dice.once_in(3) { 1 } else { 2 };
    for node in 0..nodes {
        for kind in [ZoneKind::Dma32, ZoneKind::Normal, ZoneKind::Movable] {
            if dice.once_in(4) {
                continue;
            }
            let low = dice.roll(4);
            let zone = Small {
                node,
                kind,
                unmovable: dice.roll(4) * dice.roll(2),
                movable: dice.roll(4) * dice.roll(2),
                low,
                high: low + dice.roll(4),
                kept: dice.roll(3),
                seen_below: dice.once_in(3),
            };
            zones.push(zone);
        }
    }
    let dirty = [dice.once_in(3), dice.once_in(3)];
    World { nodes, zones, dirty, cpusets: dice.once_in(2), defrag: dice.once_in(5) }
}

fn wish(dice: &mut Dice, nodes: u8) -> Wish {
    let bases = [
        GfpFlags::KERNEL,
        GfpFlags::HIGHUSER,
        GfpFlags::HIGHUSER_MOVABLE,
        GfpFlags::KERNEL | GfpFlags::DMA32,
        GfpFlags::KERNEL | GfpFlags::MOVABLE,
    ];
    let mut gfp = bases[usize::try_from(dice.roll(5)).expect("few")];
    if dice.once_in(4) {
        gfp |= GfpFlags::WRITE;
    }
    if dice.once_in(6) {
        gfp |= GfpFlags::THISNODE;
    }
    let node = u8::try_from(dice.roll(nodes.into())).expect("two");
    let mask = dice.once_in(3).then(|| 1 + dice.roll(3));
    Wish { gfp, node, mask, allowed: 1 + dice.roll(3), interrupt: dice.once_in(5) }
}

fn state(small: &Small) -> ZoneState {
    let zone = at(small.node, small.kind);
    let pages = |from: u64, count: u64| (0..count).map(|n| from + 2 * n).collect::<Vec<_>>();
    let state = free(typed(full(zone, 4), 0, Unmovable), 0, Unmovable, &pages(0, small.unmovable));
    let mut state = marked(free(state, 0, Movable, &pages(512, small.movable)), 0, small.low, small.high);
    let kept = small.kept;
    state.protection = Protection::from_fn(|kind| PageCount::new(if kind > small.kind { kept } else { 0 }));
    state
}

fn mask_of(bits: u64) -> Nodemask {
    (0..2u8).filter(|n| bits >> n & 1 == 1).map(node).collect()
}

#[test]
fn every_walk_ends_where_the_rules_say() {
    let mut dice = Dice(0x0dd_ba11);
    let mut served = [[0u32; 2]; 2];
    for round in 0..6000u32 {
        let world = world(&mut dice);
        if world.zones.is_empty() {
            continue;
        }
        let rules = Rules {
            cpusets: if world.cpusets { Cpusets::On } else { Cpusets::Off },
            defrag: if world.defrag { Defrag::On } else { Defrag::Off },
            ..Rules::default()
        };
        let here = world.zones.iter().map(|zone| zone.node).collect::<std::collections::BTreeSet<_>>();
        let more = world.nodes - u8::try_from(here.len()).expect("two nodes");
        let mut machine = machine_with(world.zones.iter().map(state).collect(), rules, more);
        for small in &world.zones {
            let below_high = if small.seen_below { BelowHigh::Yes } else { BelowHigh::No };
            let zone: ZoneRef = at(small.node, small.kind);
            let pressure = ZonePressure { below_high, ..ZonePressure::default() };
            machine.with_zone(zone, |parts| parts.zone.set_pressure(pressure)).expect("a zone");
        }
        for n in 0..world.nodes {
            let dirty = if world.dirty[usize::from(n)] { Dirty::Over } else { Dirty::Within };
            machine.with_node(node(n), |state| state.dirty = dirty);
        }
        let wish = wish(&mut dice, world.nodes);
        let site = if wish.interrupt { TaskSite::Interrupt } else { TaskSite::Task };
        let task = Task { site, allowed: mask_of(wish.allowed), ..Task::default() };
        let nodemask = wish.mask.map(mask_of);
        let request = PageRequest { task, nodemask, ..PageRequest::new(Order::ZERO, wish.gfp, node(wish.node)) };
        let got = first(&mut machine, &request).map(|block| (block.zone.node.get(), block.zone.kind));
        assert_eq!(got, world.serves(&wish), "round {round}: {wish:?} on {world:?}");
        served[usize::from(got.is_some())][usize::from(world.nodes - 1)] += 1;
    }
    assert!(served.as_flattened().iter().all(|&n| n > 300), "both ends are met, on one node and on two: {served:?}");
}
