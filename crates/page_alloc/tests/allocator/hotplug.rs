//! Memory that comes and goes.

use page_alloc::{ContigError, HotplugError, Knobs, Moved, Offline, OfflineQuestion, PageAllocator, Plug, Rules};
use policy::{TopologyError, ZoneRef};
use units::{Bytes, Migratetype, Order, PageCount, PageShift, Pfn, ZoneKind};
use zone::tuning::{HighFraction, PcpTuning};
use zone::watermark::{ReserveRatios, ScaleFactor};
use zone::{Grouping, PerCpuState, ZoneState};

use crate::common::{
    BLOCK, at, checked, first, free, full, machine_with, marked, node, place, request, start_of, typed,
};

use Migratetype::{Movable, Reclaimable, Unmovable};
use ZoneKind::Normal;

const NEAR: ZoneRef = at(0, Normal);
const FAR: ZoneRef = at(1, ZoneKind::Movable);

fn knobs() -> Knobs {
    Knobs {
        min_free: Bytes::kib(128),
        scale: ScaleFactor::default(),
        ratios: ReserveRatios::default(),
        fraction: HighFraction::default(),
        shift: PageShift::K4,
    }
}

/// A pageblock is a section.
fn small(zones: Vec<ZoneState>, more: u8) -> PageAllocator {
    machine_with(zones, Rules { section: Order::new(9), ..Rules::default() }, more)
}

fn plug(zone: ZoneRef, block: u64, blocks: u64) -> Plug {
    Plug { zone, start: Pfn::new(start_of(zone) + block * BLOCK), pages: PageCount::new(blocks * BLOCK) }
}

fn taken_out(
    machine: &mut PageAllocator,
    plug: Plug,
    mut owner: impl FnMut(u64) -> Moved,
) -> (Result<(), HotplugError>, usize) {
    let mut offline: Offline = match machine.offline(plug) {
        Ok(offline) => offline,
        Err(error) => return (Err(error), 0),
    };
    let mut busy = 0;
    let mut question = offline.begin(machine, &knobs());
    loop {
        checked(machine);
        question = match question {
            OfflineQuestion::Done => return (Ok(()), busy),
            OfflineQuestion::Failed(error) => return (Err(error), busy),
            OfflineQuestion::Move(block) => {
                let moved = owner(block.from.get() - start_of(plug.zone));
                offline.answer(machine, &knobs(), moved)
            }
            OfflineQuestion::Busy(_) if busy == 3 => {
                offline.cancel(machine);
                return (Err(HotplugError::Range(ContigError::Interrupted)), busy);
            }
            OfflineQuestion::Busy(_) => {
                busy += 1;
                offline.again(machine, &knobs())
            }
            _ => panic!("{question:?}"),
        };
    }
}

fn movable(mut state: ZoneState, order: u8, frames: &[u64]) -> ZoneState {
    let start = state.layout.spans[0].0.get();
    state.movable.extend(frames.iter().map(|&frame| (Pfn::new(start + frame), Order::new(order))));
    state
}

fn managed(machine: &PageAllocator, zone: ZoneRef) -> Option<u64> {
    machine.zone(zone).map(|zone| zone.managed().get())
}

#[test]
fn nasty_what_comes_must_be_whole() {
    let mut machine = machine_with(vec![full(NEAR, 64)], Rules { section: Order::new(10), ..Rules::default() }, 0);
    let at = |start: u64, pages| Plug { zone: NEAR, start: Pfn::new(start), pages: PageCount::new(pages) };
    let base = start_of(NEAR) + 64 * BLOCK;
    for (start, pages) in [(base + 1, 1023), (base + 512, 1024), (base, 512), (base, 0)] {
        let error = HotplugError::Misaligned { start: Pfn::new(start), pages: PageCount::new(pages) };
        assert_eq!(machine.online(at(start, pages), &knobs()), Err(error));
    }
    assert_eq!(machine.online(at(base + 512, 512), &knobs()), Ok(()), "a pageblock up to the end of a section");
    let there = Err(HotplugError::Present(Pfn::new(base)));
    assert_eq!(machine.online(at(base, 1024), &knobs()), there);
    assert_eq!(managed(&machine, NEAR), Some(65 * BLOCK));
    assert!(matches!(machine.offline(at(base, 1024)), Err(HotplugError::Hole(_))));
}

/// A node gets its first memory: it is in the lists from then on, and loses its place with the last of it.
#[test]
fn nasty_a_node_gets_memory_and_loses_it() {
    let mut machine = small(vec![full(NEAR, 8)], 1);
    assert_eq!(first(&mut machine, &request(0, units::GfpFlags::HIGHUSER_MOVABLE)), None);
    assert_eq!(machine.online(plug(FAR, 1, 4), &knobs()), Ok(()));
    checked(&machine);
    let block = first(&mut machine, &request(0, units::GfpFlags::HIGHUSER_MOVABLE));
    assert_eq!(place(block).map(|(zone, _)| zone), Some(FAR));
    let tuning = machine.lists(FAR).map(|lists| lists.tuning().batch.get());
    assert_eq!((tuning, machine.zone(FAR).map(|zone| zone.marks().min.get())), (Some(1), Some(32)));
    let block = block.expect("a page");
    machine.mark_movable(FAR, block.pfn, block.order);
    let (out, _) = taken_out(&mut machine, plug(FAR, 1, 4), |_| Moved::Moved);
    assert_eq!(out, Err(HotplugError::Range(ContigError::NoMemory(block.pfn))), "there is nowhere to go");
    assert_eq!(machine.free(FAR, block.pfn, block.order), Ok(()));
    assert_eq!(taken_out(&mut machine, plug(FAR, 1, 4), |_| Moved::Moved).0, Ok(()));
    assert_eq!(managed(&machine, FAR), None);
    assert_eq!(first(&mut machine, &request(0, units::GfpFlags::HIGHUSER_MOVABLE)), None);
}

#[test]
fn nasty_the_last_memory_stays() {
    let mut machine = small(vec![free(full(NEAR, 4), 10, Movable, &[0, 1024])], 0);
    let (out, _) = taken_out(&mut machine, plug(NEAR, 0, 4), |_| Moved::Moved);
    assert_eq!(out, Err(HotplugError::Topology(TopologyError::NoNodes)));
    machine.drain_everything();
    assert_eq!(machine.zone(NEAR).map(|zone| zone.free().get()), Some(4 * BLOCK), "all of it is free as before");
}

/// Memory that could not leave was movable afterwards, whatever it had been.
#[test]
fn nasty_regression_types_after_memory_that_stayed() {
    let kinds = [Unmovable, Reclaimable, Movable, Movable];
    let mut state = full(NEAR, 4);
    for (n, kind) in (0..).zip(kinds) {
        state = free(typed(state, n * BLOCK, kind), 4, kind, &[n * BLOCK + 16]);
    }
    let room = free(full(at(1, Normal), 4), 10, Movable, &[0]);
    // The frames around those that are free can move, but for one.
    for n in 0..4 {
        let start = n * BLOCK;
        let frames: Vec<u64> = (start..start + BLOCK).filter(|f| !(start + 16..start + 32).contains(f)).collect();
        let stays = |f: &&u64| !(n == 2 && **f == start + 100);
        let frames: Vec<u64> = frames.iter().filter(stays).copied().collect();
        state = movable(state, 0, &frames);
    }
    let mut machine = small(vec![state, room], 0);
    let tuning = PcpTuning { batch: PageCount::new(7), high_min: PageCount::new(99), high_max: PageCount::new(99) };
    assert_eq!(machine.set_lists(NEAR, tuning, &PerCpuState::default()), Ok(()));
    let mut asked = 0;
    let (out, busy) = taken_out(&mut machine, plug(NEAR, 0, 2), |frame| {
        asked += 1;
        if frame == 700 { Moved::Busy } else { Moved::Moved }
    });
    assert_eq!((out, busy), (Err(HotplugError::Range(ContigError::Interrupted)), 3), "it is tried for ever");
    assert!(asked > 600, "up to the busy one, again and again");
    let zone = machine.zone(NEAR).expect("a zone");
    let types: Vec<_> = (0..4).map(|n| zone.migratetype(Pfn::new(start_of(NEAR) + n * BLOCK))).collect();
    assert_eq!((types, zone.isolated_blocks()), (kinds.to_vec(), 0));
    assert_eq!(machine.lists(NEAR).map(|lists| *lists.tuning()), Some(tuning), "processors keep pages again");
    // What cannot move at all is known before anything moves.
    let (out, busy) = taken_out(&mut machine, plug(NEAR, 2, 1), |_| panic!("nothing is to move"));
    assert_eq!((out.is_err(), busy), (true, 3));
}

/// A part of a zone leaves; what processors kept of it had to come back before, and marks follow from what is left.
#[test]
fn nasty_a_part_of_a_zone_leaves() {
    let state = free(movable(full(NEAR, 16), 0, &[5 * BLOCK]), 0, Movable, &[5 * BLOCK + 2]);
    let state = free(state, 10, Movable, &[0, 1024, 4096, 5120, 6144]);
    let mut machine = small(vec![movable(state, 9, &[14 * BLOCK, 15 * BLOCK])], 0);
    let many = PageCount::new(999);
    let tuning = PcpTuning { batch: PageCount::new(7), high_min: many, high_max: many };
    let pages = vec![(Pfn::new(start_of(NEAR) + 5 * BLOCK + 4), Order::ZERO, Movable)];
    assert_eq!(machine.set_lists(NEAR, tuning, &PerCpuState { pages, ..PerCpuState::default() }), Ok(()));
    let seen = |machine: &PageAllocator| machine.zone(NEAR).map(|zone| (zone.managed().get(), zone.free().get()));
    assert_eq!(seen(&machine), Some((16 * BLOCK, 5 * 1024 + 1)));
    let (out, _) = taken_out(&mut machine, plug(NEAR, 14, 2), |_| Moved::Moved);
    assert_eq!(out, Ok(()));
    checked(&machine);
    // Two huge pages moved into what is left, and the page on the list came back.
    assert_eq!(seen(&machine), Some((14 * BLOCK, 4 * 1024 + 2)));
    assert_eq!(machine.zone(NEAR).map(|zone| zone.marks().min.get()), Some(32), "from the sizes of now");
    assert_eq!(machine.lists(NEAR).map(|lists| lists.tuning().batch.get()), Some(1));
    assert!(machine.zone(NEAR).is_some_and(|zone| zone.find(Pfn::new(start_of(NEAR) + 14 * BLOCK)).is_none()));
}

/// So little memory that pages are not grouped; then more comes, and they are. Old pageblocks keep their types.
#[test]
fn nasty_pages_are_grouped_once_there_is_enough() {
    let rules = Rules { grouping: Grouping::Off, section: Order::new(9), ..Rules::default() };
    let mut machine = machine_with(vec![free(full(NEAR, 4), 10, Movable, &[0, 1024])], rules, 0);
    let user = request(0, units::GfpFlags::HIGHUSER_MOVABLE);
    assert!(first(&mut machine, &user).is_some());
    let kind = |machine: &PageAllocator, block: u64| {
        machine.zone(NEAR).map(|zone| zone.migratetype(Pfn::new(start_of(NEAR) + block * BLOCK)))
    };
    assert_eq!((kind(&machine, 0), kind(&machine, 2)), (Some(Unmovable), Some(Movable)));
    assert_eq!(machine.online(plug(NEAR, 4, 1), &knobs()), Ok(()));
    assert_eq!(machine.zone(NEAR).map(|zone| zone.grouping()), Some(Grouping::Off), "five blocks are too few");
    assert_eq!(machine.online(plug(NEAR, 5, 3), &knobs()), Ok(()));
    assert_eq!(machine.zone(NEAR).map(|zone| zone.grouping()), Some(Grouping::ByMobility));
    let kinds = [0, 2, 4, 5].map(|block| kind(&machine, block));
    assert_eq!(
        kinds,
        [Unmovable, Movable, Unmovable, Unmovable].map(Some),
        "what came before grouping began stays what it is"
    );
    let block = first(&mut machine, &user);
    assert!(place(block).is_some_and(|(_, frame)| frame >= 2 * BLOCK), "movable pages have blocks of their own");
}

/// Pages are grouped from exactly six pageblocks above the high marks on, of memory that ordinary requests can reach.
#[test]
fn nasty_how_much_memory_is_enough_to_group_pages() {
    let rules = Rules { grouping: Grouping::Off, section: Order::new(9), ..Rules::default() };
    for (high, grouping) in [(BLOCK, Grouping::ByMobility), (BLOCK + 1, Grouping::Off)] {
        let zone = free(marked(full(NEAR, 6), 0, 0, high), 10, Movable, &[0]);
        let mut machine = machine_with(vec![zone], rules, 1);
        // The marks count as they are before they are computed anew, and those of the zone that comes are zero.
        assert_eq!(machine.online(plug(FAR, 0, 1), &knobs()), Ok(()));
        checked(&machine);
        let seen = [NEAR, FAR].map(|zone| machine.zone(zone).map(|zone| zone.grouping()));
        assert_eq!(seen, [Some(grouping); 2], "{} pages above the marks", 7 * BLOCK - high);
        let kind = machine.zone(FAR).map(|zone| zone.migratetype(Pfn::new(start_of(FAR))));
        assert_eq!(kind, Some(Unmovable), "it came when nothing was grouped yet");
    }
}

/// The memory of private nodes was counted: pages were grouped on a machine with too little for it.
#[test]
fn nasty_regression_memory_of_private_nodes_groups_nothing() {
    use policy::{DriverId, NodeCaps, NodeSpec, PrivateNode, Topology};
    let near = NodeSpec::normal(PageCount::new(4 * BLOCK));
    let empty = NodeSpec::normal(PageCount::ZERO);
    let mut topology = Topology::of([(node(0), near), (node(1), empty)].into(), |_, _| 10).expect("a machine");
    topology.make_private(node(1), PrivateNode { owner: DriverId(1), caps: NodeCaps::NONE }).expect("no memory yet");
    topology.set_node(node(1), NodeSpec::normal(PageCount::new(8 * BLOCK))).expect("memory comes");
    let zones = [full(NEAR, 4), full(at(1, Normal), 8)].map(|state| zone::Zone::from_state(&state).expect("a zone"));
    let rules = Rules { grouping: Grouping::Off, section: Order::new(9), ..Rules::default() };
    let mut machine = PageAllocator::new(topology, rules, &[node(0)], zones).expect("an instance");
    assert_eq!(machine.online(plug(NEAR, 4, 1), &knobs()), Ok(()));
    assert_eq!(machine.zone(NEAR).map(|zone| zone.grouping()), Some(Grouping::Off), "five pageblocks are too few");
    assert_eq!(machine.online(plug(NEAR, 5, 2), &knobs()), Ok(()));
    assert_eq!(machine.zone(NEAR).map(|zone| zone.grouping()), Some(Grouping::ByMobility));
}
