//! The quick look at a request against the whole way: the same blocks, counts and lists.

use page_alloc::{Access, Attempted, PageAllocator, PageRequest, Rules, Task};
use policy::{NodeSpec, Topology, ZoneRef};
use units::{GfpFlags, Migratetype, NodeId, Nodemask, Order, PageCount, ZoneKind};
use zone::tuning::PcpTuning;
use zone::{PerCpuState, Zone, ZoneState};

use crate::common::{BLOCK, Dice, at, free, full, marked, node, typed};

const ZONES: [ZoneRef; 3] = [at(0, ZoneKind::Dma32), at(0, ZoneKind::Normal), at(1, ZoneKind::Normal)];

fn state(zone: ZoneRef) -> ZoneState {
    let state = typed(typed(full(zone, 16), 0, Migratetype::Unmovable), 512, Migratetype::Cma);
    let state = free(free(state, 9, Migratetype::Unmovable, &[0]), 9, Migratetype::Cma, &[512]);
    marked(free(state, 10, Migratetype::Movable, &[2048, 3072]), 60, 80, 1300)
}

fn machine(watched: bool) -> PageAllocator {
    let mut spec = NodeSpec::normal(PageCount::new(16 * BLOCK));
    let far = spec;
    spec.present[ZoneKind::Dma32] = PageCount::new(16 * BLOCK);
    let nodes = [(node(0), spec), (node(1), far)];
    let topology = Topology::of(nodes.into(), |a, b| if a == b { 10 } else { 20 }).expect("two nodes");
    let zones = ZONES.map(|zone| Zone::from_state(&state(zone)).expect("a zone"));
    let cpus = [node(0), node(1)];
    let mut machine = PageAllocator::new(topology, Rules::default(), &cpus, zones).expect("parts that fit");
    let tuning = PcpTuning { batch: PageCount::new(7), high_min: PageCount::new(40), high_max: PageCount::new(60) };
    for zone in ZONES {
        assert_eq!(machine.set_lists(zone, tuning, &PerCpuState::default()), Ok(()));
    }
    if watched {
        machine.record_events();
    }
    machine
}

fn request(dice: &mut Dice) -> PageRequest {
    let wishes = [
        GfpFlags::KERNEL,
        GfpFlags::ATOMIC,
        GfpFlags::HIGHUSER_MOVABLE,
        GfpFlags::HIGHUSER_MOVABLE,
        GfpFlags::KERNEL | GfpFlags::RECLAIMABLE,
        GfpFlags::KERNEL | GfpFlags::DMA32,
        GfpFlags::KERNEL | GfpFlags::THISNODE,
        GfpFlags::KERNEL | GfpFlags::WRITE,
        GfpFlags::TRANSHUGE | GfpFlags::NORETRY,
        GfpFlags::DMA | GfpFlags::HIGHMEM,
    ];
    let order = Order::new(dice.pick(&[0, 0, 0, 1, 2, 3, 9, 10, 11]));
    let mut request = PageRequest::new(order, dice.pick(&wishes), NodeId::new(dice.pick(&[0, 0, 0, 1, 7])));
    match dice.roll(12) {
        0 => request.nodemask = Some(Nodemask::of(node(1))),
        1 => request.access = Access { cma: true, ..Access::NONE },
        2 => request.task = Task { pin: page_alloc::Pin::Long, ..Task::default() },
        _ => (),
    }
    request
}

#[test]
fn the_quick_look_finds_what_the_walk_would() {
    let (mut quick, mut whole) = (machine(false), machine(true));
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut held = Vec::new();
    let mut served = 0;
    for step in 0..30_000u32 {
        if dice.roll(20) == 0 {
            let cpu = units::CpuId::new(u32::try_from(dice.roll(2)).expect("two"));
            assert_eq!((quick.run_on(cpu), whole.run_on(cpu)), (Ok(()), Ok(())));
        }
        if dice.roll(9) < 4 && !held.is_empty() {
            let place = usize::try_from(dice.roll(held.len() as u64)).expect("few");
            let block: page_alloc::Block = held.swap_remove(place);
            let freed = quick.free(block.zone, block.pfn, block.order);
            assert_eq!((freed, whole.free(block.zone, block.pfn, block.order)), (Ok(()), Ok(())));
        } else {
            let request = request(&mut dice);
            let block = match (quick.alloc(&request), whole.alloc(&request)) {
                (Ok(Attempted::Done(one)), Ok(Attempted::Done(other))) => {
                    assert_eq!(one, other, "step {step}: {request:?}");
                    Some(one)
                }
                (Ok(Attempted::Slow(_)), Ok(Attempted::Slow(_))) => None,
                (Err(one), Err(other)) => {
                    assert_eq!(one, other);
                    None
                }
                (one, other) => panic!("step {step}: {request:?} gave {one:?} and {other:?}"),
            };
            served += u32::from(block.is_some());
            held.extend(block);
        }
        for zone in ZONES {
            assert_eq!(quick.counts(zone), whole.counts(zone), "step {step}");
            let lists = |machine: &PageAllocator| {
                let lists = machine.lists(zone).expect("lists");
                (lists.count(), lists.high(), lists.free_count(), lists.alloc_factor())
            };
            assert_eq!(lists(&quick), lists(&whole), "step {step}");
            let of = |machine: &PageAllocator| machine.zone(zone).map(|z| (z.free(), z.boost(), z.pressure()));
            assert_eq!(of(&quick), of(&whole), "step {step}");
        }
    }
    assert!(served > 5000, "{served} were served");
    for zone in ZONES {
        assert_eq!(quick.zone(zone).map(Zone::state), whole.zone(zone).map(Zone::state));
    }
}
