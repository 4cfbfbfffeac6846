//! What memory policies make of requests.

use page_alloc::{Cpusets, PageAllocator, PageRequest, Placed, Purchase, Rules, Task, Zones, place};
use policy::{Mempolicy, ZoneRef};
use units::{GfpFlags, HugeIndex, Migratetype, Nodemask, Order, ZoneKind};
use zone::ZoneState;

use crate::common::{at, first, free, full, machine, machine_with, marked, node, request, singles, typed};

use Migratetype::{Movable, Unmovable};
use ZoneKind::{Dma32, Normal};

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn some(zone: ZoneRef) -> ZoneState {
    marked(singles(typed(full(zone, 4), 0, Unmovable), Unmovable, 8), 0, 1, 2)
}

fn mask(nodes: &[u8]) -> Nodemask {
    nodes.iter().map(|&n| node(n)).collect()
}

fn placed(machine: &PageAllocator, ask: &PageRequest, policy: &Mempolicy) -> Placed {
    let placement = policy.interpret(node(0), ask.task.allowed, HugeIndex::ZERO, &policy::Weights::EVEN);
    place(ask, &placement, Purchase::Other, machine.topology())
}

/// Where the page comes from, by the first request or the second.
fn from(machine: &mut PageAllocator, placed: &Placed) -> (Option<ZoneRef>, u8) {
    match first(machine, &placed.first) {
        Some(block) => (Some(block.zone), 1),
        None => (placed.then.and_then(|then| first(machine, &then)).map(|block| block.zone), 2),
    }
}

/// Low memory is where it is: a policy that binds to a node without it does not count for it.
#[test]
fn nasty_a_mask_does_not_bind_low_memory() {
    let zones = || vec![some(at(0, Dma32)), some(at(0, Normal)), some(at(1, Normal))];
    let bind = Mempolicy::Bind { nodes: mask(&[1]), home: None };
    for (gfp, zone) in [(KERNEL, at(1, Normal)), (KERNEL | GfpFlags::DMA32, at(0, Dma32))] {
        let mut machine = machine(zones());
        let placed = placed(&machine, &request(0, gfp), &bind);
        assert_eq!(from(&mut machine, &placed), (Some(zone), 1), "{gfp}");
    }
}

/// A node of movable memory alone: what cannot move is not bound to it, what can is.
#[test]
fn nasty_bound_to_movable_memory_alone() {
    let zones = || vec![some(at(0, Normal)), some(at(1, ZoneKind::Movable))];
    let bind = Mempolicy::Bind { nodes: mask(&[1]), home: None };
    for (gfp, zone) in [(KERNEL, at(0, Normal)), (USER, at(1, ZoneKind::Movable))] {
        let mut machine = machine(zones());
        let placed = placed(&machine, &request(0, gfp), &bind);
        assert_eq!(from(&mut machine, &placed).0, Some(zone), "{gfp}");
    }
    // With a cpuset of that node besides, a user's request for kernel memory has no zone that it may use.
    let rules = Rules { cpusets: Cpusets::Insane, ..Rules::default() };
    let mut machine = machine_with(zones(), rules, 0);
    let task = Task { allowed: mask(&[1]), ..Task::default() };
    let placed = placed(&machine, &PageRequest { task, ..request(0, GfpFlags::USER) }, &bind);
    assert_eq!(from(&mut machine, &placed).0, None);
}

#[test]
fn nasty_preferred_nodes_must_have_it_at_hand() {
    let many = Mempolicy::PreferredMany { nodes: mask(&[1]), home: None };
    for (there, pass) in [(some(at(1, Normal)), 1), (full(at(1, Normal), 4), 2)] {
        let mut machine = machine(vec![some(at(0, Normal)), there]);
        let placed = placed(&machine, &request(0, KERNEL | GfpFlags::NOFAIL), &many);
        let gfp = placed.first.gfp;
        assert!(!gfp.intersects(GfpFlags::DIRECT_RECLAIM | GfpFlags::NOFAIL) && gfp.contains(GfpFlags::NOWARN));
        assert_eq!(placed.then.map(|then| then.gfp), Some(KERNEL | GfpFlags::NOFAIL), "the second one may do all");
        assert_eq!(from(&mut machine, &placed), (Some(at(2 - pass, Normal)), pass));
    }
}

/// A huge page of an area is worth staying for, without effort; interleaving says where by itself.
#[test]
fn nasty_a_huge_page_of_an_area() {
    let machine = machine(vec![free(full(at(0, Normal), 4), 9, Movable, &[0]), some(at(1, Normal))]);
    let (huge, index) = (Order::new(9), HugeIndex::ZERO);
    let ask = |policy: &Mempolicy, gfp, purchase| {
        let placement = policy.interpret(node(0), Nodemask::ALL, index, &policy::Weights::EVEN);
        place(&request(9, gfp), &placement, purchase, machine.topology())
    };
    let area = Purchase::OfArea { huge };
    let thp = GfpFlags::TRANSHUGE | GfpFlags::RETRY_MAYFAIL;
    let near = ask(&Mempolicy::Default, thp, area);
    let only = GfpFlags::TRANSHUGE | GfpFlags::THISNODE | GfpFlags::NORETRY;
    assert_eq!((near.first.gfp, near.then.map(|then| then.gfp)), (only, Some(thp)));
    assert_eq!(ask(&Mempolicy::Default, GfpFlags::TRANSHUGE_LIGHT, area).then, None, "who cannot wait has one try");
    let turns = ask(&Mempolicy::Interleave(mask(&[0, 1])), thp, area);
    assert_eq!((turns.first.gfp, turns.then), (thp, None));
    let away = ask(&Mempolicy::Bind { nodes: mask(&[1]), home: None }, thp, area);
    assert_eq!((away.first.gfp, away.first.nodemask, away.then), (thp, Some(mask(&[1])), None));
    assert_eq!(ask(&Mempolicy::Default, thp, Purchase::Other).then, None);
}
