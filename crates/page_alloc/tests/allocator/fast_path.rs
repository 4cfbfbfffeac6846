//! One walk along a zone list, from states that are built as they stand.

use crate::common::{
    BLOCK, at, checked, first, full, machine, machine_with, marked, node, place, request, singles, typed,
};
use page_alloc::{
    Access, Cpusets, Defrag, Dirty, NearReclaim, NearReclaimMode, PageAllocator, PageEvent, PageRequest, Purpose,
    Rules, Task, TaskSite, Zones,
};
use policy::{DriverId, NodeCaps, NodeSpec, PrivateNode, Topology};
use units::{GfpFlags, Migratetype, NodeId, Nodemask, Order, PageCount, Pfn, ZoneKind};
use zone::watermark::Protection;
use zone::{BelowHigh, Zone, ZoneState};

use Migratetype::{Cma, Movable, Unmovable};
use ZoneKind::{Dma32, Normal};

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

/// Pages of the wrong type only.
fn mixed(zone: policy::ZoneRef) -> ZoneState {
    singles(full(zone, 4), Movable, 4)
}

/// Pages of the right type.
fn own(zone: policy::ZoneRef) -> ZoneState {
    singles(typed(full(zone, 4), 0, Unmovable), Unmovable, 4)
}

/// Before blocks are mixed, lower zones of the node are looked at: on a machine of one node always, else if the node has such a zone.
#[test]
fn nasty_where_a_request_would_rather_not_mix() {
    let (normal, dma32, movable) = (at(0, Normal), at(0, Dma32), at(0, ZoneKind::Movable));
    let far = at(1, Normal);
    for (zones, gfp, from) in [
        (vec![mixed(normal), own(dma32)], KERNEL, (dma32, 0)),
        (vec![mixed(normal)], KERNEL, (normal, 0)),
        (vec![mixed(normal), own(dma32), own(far)], KERNEL, (dma32, 0)),
        // The node has nothing of its own type: what is near is mixed before a far node is asked.
        (vec![mixed(normal), full(dma32, 4), own(far)], KERNEL, (normal, 0)),
        (vec![mixed(normal), own(far)], KERNEL, (normal, 0)),
        // Who prefers another zone never minds.
        (vec![own(movable), mixed(normal)], USER, (movable, 0)),
        (vec![own(normal), mixed(dma32)], KERNEL | GfpFlags::DMA32, (dma32, 0)),
    ] {
        let mut instance = machine(zones.clone());
        assert_eq!(place(first(&mut instance, &request(0, gfp))), Some(from), "{gfp} of {} zones", zones.len());
    }
}

/// With `defrag_mode` the first attempt mixes nothing at all.
#[test]
fn nasty_blocks_are_kept_whole_at_all_costs() {
    let rules = Rules { defrag: Defrag::On, ..Rules::default() };
    let zones = || vec![mixed(at(0, Normal)), mixed(at(1, Normal))];
    assert_eq!(place(first(&mut machine_with(zones(), rules, 0), &request(0, KERNEL))), None);
    let with_far = vec![mixed(at(0, Normal)), own(at(1, Normal))];
    let taken = place(first(&mut machine_with(with_far, rules, 0), &request(0, KERNEL)));
    assert_eq!(taken, Some((at(1, Normal), 0)), "a far node goes first");
}

#[test]
fn nasty_nodes_that_have_nothing_to_give() {
    let mut instance = machine_with(vec![own(at(0, Normal)), own(at(1, Normal))], Rules::default(), 1);
    let empty = PageRequest { node: node(2), ..request(0, KERNEL) };
    assert_eq!(place(first(&mut instance, &empty)), Some((at(0, Normal), 0)), "its list begins elsewhere");
    let alone = PageRequest { gfp: KERNEL | GfpFlags::THISNODE, ..empty };
    assert_eq!(first(&mut instance, &alone), None);
    let nowhere = PageRequest { nodemask: Some(Nodemask::of(node(2))), ..request(0, KERNEL) };
    assert_eq!(first(&mut instance, &nowhere), None);
    let masked = PageRequest { nodemask: Some(Nodemask::of(node(1))), ..request(0, KERNEL) };
    assert_eq!(place(first(&mut instance, &masked)), Some((at(1, Normal), 0)));
}

/// All memory of the zone is reserved: it is in the lists, and has nothing.
#[test]
fn nasty_a_zone_with_pages_that_it_does_not_manage() {
    let mut spec = NodeSpec::normal(PageCount::new(4 * BLOCK));
    spec.present[Dma32] = PageCount::new(4 * BLOCK);
    let topology = Topology::of([(node(0), spec)].into(), |_, _| 10).expect("a machine");
    let lower = Zone::from_state(&own(at(0, Dma32))).expect("a zone");
    let mut instance = PageAllocator::new(topology, Rules::default(), &[node(0)], [lower]).expect("an instance");
    assert_eq!(place(first(&mut instance, &request(0, KERNEL))), Some((at(0, Dma32), 0)));
    assert_eq!(instance.zone(at(0, Normal)).map(Zone::managed), None);
}

/// What a zone keeps from requests depends on the highest zone that they could have used, not on the one they are in.
#[test]
fn nasty_low_memory_is_kept_from_those_who_could_go_higher() {
    let kept = |zone| {
        let mut state = own(zone);
        state.protection = Protection::from_fn(|kind| PageCount::new(if kind >= Normal { 4 } else { 0 }));
        vec![state, full(at(0, Normal), 4)]
    };
    let low = at(0, Dma32);
    assert_eq!(first(&mut machine(kept(low)), &request(0, KERNEL)), None);
    let taken = first(&mut machine(kept(low)), &request(0, KERNEL | GfpFlags::DMA32));
    assert_eq!(place(taken), Some((low, 0)));
}

/// A zone seen above its high mark serves without a look at the low one; once seen below, every request looks.
#[test]
fn nasty_a_zone_is_seen_below_its_high_mark() {
    let zone = at(0, Normal);
    let below = |instance: &PageAllocator| instance.zone(zone).map(|zone| zone.pressure().below_high);
    let mut instance = machine(vec![marked(own(zone), 1, 2, 3)]);
    assert!(first(&mut instance, &request(0, KERNEL)).is_some(), "four free pages are above three");
    assert_eq!(below(&instance), Some(BelowHigh::No));
    // One is on the processor's list, and of three free ones none is above the mark.
    let mut instance = machine(vec![marked(singles(typed(full(zone, 4), 0, Unmovable), Unmovable, 3), 1, 2, 3)]);
    assert!(first(&mut instance, &request(0, KERNEL)).is_some(), "but they are above the low one");
    assert_eq!(below(&instance), Some(BelowHigh::Yes));
    assert_eq!(first(&mut instance, &request(1, KERNEL)), None, "and there is no pair");
}

#[test]
fn nasty_pages_to_be_written_avoid_a_dirty_node() {
    let zones = || vec![own(at(0, Dma32)), own(at(0, Normal)), own(at(1, Normal))];
    for (dirty, gfp, from) in [
        (vec![], KERNEL | GfpFlags::WRITE, Some(at(0, Normal))),
        (vec![0], KERNEL, Some(at(0, Normal))),
        (vec![0], KERNEL | GfpFlags::WRITE, Some(at(1, Normal))),
        (vec![0, 1], KERNEL | GfpFlags::WRITE, None),
    ] {
        let mut instance = machine(zones());
        for n in dirty {
            instance.with_node(node(n), |state| state.dirty = Dirty::Over);
        }
        assert_eq!(first(&mut instance, &request(0, gfp)).map(|block| block.zone), from, "{gfp}");
    }
}

#[test]
fn nasty_what_a_cpuset_allows() {
    let rules = Rules { cpusets: Cpusets::On, ..Rules::default() };
    let zones = || vec![own(at(0, Normal)), own(at(1, Normal))];
    let task = Task { allowed: Nodemask::of(node(1)), ..Task::default() };
    let (near, far) = (at(0, Normal), at(1, Normal));
    let irq = Task { site: TaskSite::Interrupt, ..task };
    let mask = Some(Nodemask::of(node(0)));
    for (ask, from) in [
        (PageRequest { task, ..request(0, KERNEL) }, Some(far)),
        // With a mask of its own every node is asked for besides: the two may have nothing in common.
        (PageRequest { task, nodemask: mask, ..request(0, KERNEL) }, None),
        (PageRequest { task: irq, ..request(0, GfpFlags::ATOMIC) }, Some(near)),
    ] {
        let mut instance = machine_with(zones(), rules, 0);
        assert_eq!(first(&mut instance, &ask).map(|block| block.zone), from, "{ask:?}");
        if from.is_some() {
            let Some(PageEvent::Allocated { gfp, .. }) = instance.take_events().pop() else { panic!("no event") };
            assert_eq!(gfp, ask.gfp | GfpFlags::HARDWALL, "the first attempt insists");
        }
    }
    let off = machine(zones());
    let mut off = off;
    let taken = first(&mut off, &PageRequest { task, ..request(0, KERNEL) });
    assert_eq!(taken.map(|block| block.zone), Some(near), "nobody asks without cpusets");
}

/// Memory that a guest has not accepted counts as free: the zone is above its marks, and its lists are empty.
#[test]
fn nasty_all_that_is_free_is_not_accepted() {
    let zone = at(0, Normal);
    let start = crate::common::start_of(zone);
    let blocks = [Pfn::new(start), Pfn::new(start + 1024)];
    let mut instance = machine(vec![full(zone, 4)]);
    instance.parts(zone).expect("a zone").growth.unaccepted = blocks.to_vec();
    assert_eq!(place(first(&mut instance, &request(0, KERNEL))), Some((zone, 1024)));
    let left = instance.parts(zone).expect("a zone").growth.unaccepted.clone();
    assert_eq!(left, [blocks[0]], "one block was enough");
    assert_eq!(place(first(&mut instance, &request(10, KERNEL))), Some((zone, 0)), "nobody fails while there is some");
    assert_eq!(first(&mut instance, &request(10, KERNEL)), None);
    // With marks, the zone is filled up to the highest of them by what is accepted alone.
    let mut instance = machine(vec![marked(full(zone, 8), 100, 200, 700)]);
    let blocks = [0, 1024, 2048].map(|frame| Pfn::new(start + frame));
    instance.parts(zone).expect("a zone").growth.unaccepted = blocks.to_vec();
    assert!(first(&mut instance, &request(0, KERNEL)).is_some());
    assert_eq!(instance.parts(zone).expect("a zone").growth.unaccepted.len(), 1, "two blocks are above 1200");
}

/// Memory without records counts as nothing: a zone that fails its mark gets one more section of it.
#[test]
fn nasty_a_zone_grows_on_demand_until_it_cannot() {
    let zone = at(0, Normal);
    let start = crate::common::start_of(zone);
    let mut instance = machine(vec![marked(full(zone, 4), 1, 2, 3)]);
    instance.parts(zone).expect("a zone").growth.deferred = vec![(Pfn::new(start), Order::new(10))];
    assert_eq!(place(first(&mut instance, &request(10, KERNEL))), Some((zone, 0)), "without a second look at the mark");
    assert_eq!(first(&mut instance, &request(0, KERNEL)), None);
}

#[test]
fn nasty_a_near_node_is_looked_through_before_it_is_left() {
    let zones = || vec![marked(own(at(0, Normal)), 1, 2, 9), own(at(1, Normal))];
    let rules = Rules { near_reclaim: NearReclaimMode::On, ..Rules::default() };
    for (found, low, from) in [
        (NearReclaim::NoScan, 4, at(1, Normal)),
        (NearReclaim::Full, 4, at(1, Normal)),
        (NearReclaim::Some, 4, at(1, Normal)),
        (NearReclaim::NoScan, 3, at(0, Normal)),
    ] {
        let mut zones = zones();
        zones[0].marks.low = PageCount::new(low);
        let mut instance = machine_with(zones, rules, 0);
        instance.with_node(node(0), |state| state.near_reclaim = found);
        let taken = first(&mut instance, &request(0, KERNEL)).map(|block| block.zone);
        assert_eq!(taken, Some(from), "{found:?} below {low}");
    }
}

#[test]
fn where_blocks_come_from_is_counted() {
    let mut instance = machine(vec![full(at(0, Normal), 4), own(at(1, Normal))]);
    assert!(first(&mut instance, &request(0, KERNEL)).is_some());
    let (near, far) = (instance.counts(at(0, Normal)), instance.counts(at(1, Normal)));
    let (near, far) = (near.expect("a zone"), far.expect("a zone"));
    assert_eq!((near.foreign, near.allocated, near.hit), (1, 0, 0));
    assert_eq!((far.miss, far.hit, far.local, far.other, far.allocated), (1, 0, 0, 1, 1));
    let there = PageRequest { node: node(1), ..request(0, KERNEL) };
    instance.run_on(units::CpuId::new(1)).expect("a processor");
    assert!(first(&mut instance, &there).is_some());
    let far = instance.counts(at(1, Normal)).expect("a zone");
    assert_eq!((far.hit, far.local), (1, 1));
}

/// Blocks are mixed: whoever may, wakes background reclaim, for single pages of that zone.
#[test]
fn nasty_a_boost_wakes_background_reclaim() {
    let zone = at(0, Normal);
    let state = || marked(mixed(zone), 0, 0, 600);
    for (gfp, woken) in [(KERNEL, true), (KERNEL.difference(GfpFlags::KSWAPD_RECLAIM), false)] {
        let mut instance = machine(vec![state()]);
        assert!(first(&mut instance, &request(0, gfp)).is_some());
        let expected =
            PageEvent::WokeReclaim { node: node(0), highest: Normal, order: Order::ZERO, gfp: GfpFlags::empty() };
        assert_eq!(instance.take_events().contains(&expected), woken, "{gfp}");
    }
}

#[test]
fn nasty_lent_memory_must_be_asked_for() {
    let zone = at(0, Normal);
    let lent = || vec![singles(typed(full(zone, 4), 0, Cma), Cma, 4)];
    let cma = Access { cma: true, ..Access::NONE };
    let managed = Access { managed: true, ..Access::NONE };
    for (gfp, access, served) in [
        (KERNEL, Access::NONE, false),
        (USER, Access::NONE, true),
        (USER, cma, true),
        // Who says what he may touch says all of it.
        (USER | GfpFlags::COMP, managed, false),
    ] {
        let mut instance = machine(lent());
        let block = first(&mut instance, &PageRequest { access, ..request(0, gfp) });
        assert_eq!(block.is_some(), served, "{gfp} {access:?}");
    }
}

/// No wish and no mask leads to a private node, only the word.
#[test]
fn nasty_a_private_node_is_reached_by_the_word_alone() {
    let mut spec = NodeSpec::normal(PageCount::ZERO);
    let near = NodeSpec::normal(PageCount::new(4 * BLOCK));
    let mut topology = Topology::of([(node(0), near), (node(1), spec)].into(), |_, _| 10).expect("a machine");
    let driver = PrivateNode { owner: DriverId(1), caps: NodeCaps::NONE };
    topology.make_private(node(1), driver).expect("no memory yet");
    spec.present[Normal] = PageCount::new(4 * BLOCK);
    topology.set_node(node(1), spec).expect("memory comes");
    let zones = [full(at(0, Normal), 4), own(at(1, Normal))].map(|state| Zone::from_state(&state).expect("a zone"));
    let mut instance = PageAllocator::new(topology, Rules::default(), &[node(0)], zones).expect("an instance");
    let wishes = [KERNEL, KERNEL | GfpFlags::THISNODE, USER | GfpFlags::MEMALLOC, GfpFlags::ATOMIC | GfpFlags::COMP];
    for gfp in wishes {
        for nodemask in [None, Some(Nodemask::ALL), Some(Nodemask::of(node(1)))] {
            for from in [0, 1] {
                let ask = PageRequest { nodemask, node: node(from), ..request(0, gfp) };
                assert_eq!(first(&mut instance, &ask), None, "{gfp} {nodemask:?} from {from}");
            }
        }
    }
    let access = Access { managed: true, ..Access::NONE };
    let word = PageRequest { access, ..request(0, KERNEL | GfpFlags::COMP) };
    let block = first(&mut instance, &word);
    assert_eq!(place(block), Some((at(1, Normal), 0)));
    assert_eq!(block.map(|block| block.purpose), Some(Purpose::Any));
}

#[test]
fn marks_and_lists_follow_from_the_knobs() {
    use page_alloc::Knobs;
    use units::{Bytes, PageShift};
    let mut instance = machine(vec![full(at(0, Dma32), 8), full(at(0, Normal), 24), full(at(1, Normal), 32)]);
    instance.recompute(&Knobs {
        min_free: Bytes::kib(4096),
        scale: zone::watermark::ScaleFactor::default(),
        ratios: zone::watermark::ReserveRatios::default(),
        fraction: zone::tuning::HighFraction::default(),
        shift: PageShift::K4,
    });
    let marks = |zone| instance.zone(zone).map(|zone| (zone.marks().min.get(), zone.marks().low.get()));
    assert_eq!(marks(at(0, Dma32)), Some((128, 160)));
    assert_eq!(marks(at(0, Normal)), Some((384, 480)));
    assert_eq!(marks(at(1, Normal)), Some((512, 640)));
    let kept = instance.zone(at(0, Dma32)).map(|zone| zone.protection()[Normal].get());
    assert_eq!(kept, Some(24 * BLOCK / 256));
    assert_eq!(instance.lists(at(1, Normal)).map(|lists| lists.tuning().high_min.get()), Some(640));
}

#[test]
fn an_instance_is_made_of_parts_that_fit() {
    use page_alloc::AllocatorError;
    let topology = || Topology::new(Nodemask::first(1), |_, _| 10).expect("a machine");
    let zone = |n| Zone::from_state(&full(at(n, Normal), 4)).expect("a zone");
    let make = |cpus: &[NodeId], zones: Vec<Zone>| PageAllocator::new(topology(), Rules::default(), cpus, zones).err();
    assert_eq!(make(&[], vec![]), Some(AllocatorError::NoCpus));
    assert_eq!(make(&[node(1)], vec![]), Some(AllocatorError::NoSuchNode(node(1))));
    assert_eq!(make(&[node(0)], vec![zone(1)]), Some(AllocatorError::NoSuchNode(node(1))));
    assert_eq!(make(&[node(0)], vec![zone(0), zone(0)]), Some(AllocatorError::TwoZones(node(0), Normal)));
    let mut instance = machine(vec![own(at(0, Normal))]);
    assert_eq!(instance.run_on(units::CpuId::new(7)), Err(AllocatorError::NoSuchCpu(units::CpuId::new(7))));
    let block = first(&mut instance, &request(0, KERNEL)).expect("a page");
    assert_eq!(instance.free(block.zone, block.pfn, block.order), Ok(()));
    checked(&instance);
    assert_eq!(instance.to_string(), "node:0 Normal: 4 0 0 0 0 0 0 0 0 0 0\n");
}

/// What a driver does not permit is not done to its node: nothing is reclaimed or compacted there for a request, nothing is moved
/// away, and nothing is pinned for long.
#[test]
fn nasty_what_the_driver_of_a_node_permits() {
    use page_alloc::{
        Area, Attempted, CompactEnd, CompactQuestion, Contig, ContigError, ContigQuestion, ContigRequest,
    };
    use page_alloc::{ContextError, Pin, Priority};
    use policy::NodeCap;
    let near = NodeSpec::normal(PageCount::new(4 * BLOCK));
    let caps = |all: bool| {
        let all_caps = NodeCaps::NONE.with(NodeCap::Reclaim).with(NodeCap::HotUnplug).with(NodeCap::LongTermPin);
        if all { all_caps } else { NodeCaps::NONE }
    };
    for permits in [false, true] {
        let empty = NodeSpec::normal(PageCount::ZERO);
        let mut topology = Topology::of([(node(0), near), (node(1), empty)].into(), |_, _| 10).expect("a machine");
        let driver = PrivateNode { owner: DriverId(1), caps: caps(permits) };
        topology.make_private(node(1), driver).expect("no memory yet");
        topology.set_node(node(1), near).expect("memory comes");
        let zones = [full(at(0, Normal), 4), singles(full(at(1, Normal), 4), Migratetype::Movable, 200)];
        let zones = zones.map(|state| Zone::from_state(&state).expect("a zone"));
        let mut instance = PageAllocator::new(topology, Rules::default(), &[node(0)], zones).expect("an instance");
        let access = Access { managed: true, ..Access::NONE };
        let ask = PageRequest { access, node: node(1), ..request(3, KERNEL | GfpFlags::COMP) };
        let Ok(Attempted::Slow(path)) = instance.alloc(&ask) else { panic!("there is a block") };
        let zones: Vec<_> = path.zones_to_reclaim(&instance).collect();
        let both = [at(1, Normal), at(0, Normal)];
        assert_eq!(zones, if permits { &both[..] } else { &both[1..] });
        let mut compaction = path.compaction(&instance, Priority::SyncFull);
        let CompactQuestion::End(end, None) = compaction.begin(&mut instance) else { panic!("nothing can move") };
        assert_eq!(end, if permits { CompactEnd::Complete } else { CompactEnd::Skipped });
        let mut range = Contig::new(ContigRequest {
            zone: at(1, Normal),
            start: Pfn::new(crate::common::start_of(at(1, Normal))),
            pages: PageCount::new(1),
            area: Area::Ordinary,
            gfp: KERNEL,
        });
        let begun = range.begin(&mut instance);
        let refused = ContigQuestion::Failed(ContigError::NotPermitted(node(1)));
        assert_eq!(begun == refused, !permits, "{begun:?}");
        let pinned = PageRequest { task: Task { pin: Pin::Long, ..Task::default() }, ..ask };
        let error = instance.alloc(&pinned).err();
        assert_eq!(error, (!permits).then_some(ContextError::PinNotPermitted(node(1))));
    }
}

/// Failures on request come before anything is tried, and spare whoever must not fail.
#[test]
fn nasty_failures_on_request() {
    use page_alloc::{Attempted, FailPages};
    use units::{Blame, Ledger};
    let zone = at(0, Normal);
    let mut instance = machine(vec![singles(typed(full(zone, 4), 0, Unmovable), Unmovable, 9)]);
    let mut failed = |fail: FailPages, order: u8, gfp| {
        instance.fail(Some(fail));
        let mut failures = Vec::new();
        for n in 0..5 {
            match instance.alloc(&request(order, gfp)) {
                Ok(Attempted::Failed(none)) => {
                    assert_eq!(none.ledger(), Some(Ledger::Watermark));
                    failures.push(n);
                }
                Ok(Attempted::Done(block)) => assert_eq!(instance.free(zone, block.pfn, block.order), Ok(())),
                other => assert!(matches!(other, Ok(Attempted::Slow(_))), "{other:?}"),
            }
        }
        failures
    };
    let all = FailPages { least: Order::ZERO, spares: GfpFlags::empty(), nth: 2, times: 2 };
    assert_eq!(failed(all, 0, KERNEL), [1, 2], "two from the second on");
    assert_eq!(failed(all, 0, KERNEL | GfpFlags::NOFAIL), [0; 0]);
    let usual = FailPages { times: 9, ..FailPages::default() };
    assert_eq!(failed(usual, 0, GfpFlags::ATOMIC), [0; 0], "single pages never do");
    assert_eq!(failed(usual, 1, GfpFlags::ATOMIC), [0, 1, 2, 3, 4]);
    assert_eq!(failed(usual, 1, KERNEL), [0; 0], "who can wait is spared");
    assert_eq!(failed(usual, 1, GfpFlags::ATOMIC | GfpFlags::HIGHMEM), [0; 0]);
}
