//! What a request is entitled to, and what it may not ask for.

use page_alloc::gfp::{highest_zone, migratetype, reserve_flags, slow_flags};
use page_alloc::{
    Access, Compacted, Context, ContextError, IoScope, PageRequest, Pin, Progress, Rules, SlowPath, Standing, Step,
    Task, TaskSite,
};
use policy::{Reach, Topology};
use units::{GfpFlags, Migratetype, NodeId, Nodemask, Order, ZoneKind};
use zone::{AllocFlags, Level};

const KERNEL: GfpFlags = GfpFlags::KERNEL;
const ATOMIC: GfpFlags = GfpFlags::ATOMIC;

fn topology() -> Topology {
    Topology::new(Nodemask::first(2), |a, b| if a == b { 10 } else { 20 }).expect("two nodes")
}

fn ask(order: u8, gfp: GfpFlags, access: Access) -> Result<Context, ContextError> {
    let request = PageRequest { access, ..PageRequest::new(Order::new(order), gfp, NodeId::new(0)) };
    Context::new(&request, &Rules::default(), &topology())
}

#[test]
fn wishes_become_rights() {
    let (min, wait, high, keep) =
        (AllocFlags::MIN_RESERVE, AllocFlags::NON_BLOCK, AllocFlags::HIGHATOMIC, AllocFlags::KSWAPD);
    let cpuset = AllocFlags::CPUSET;
    for (gfp, flags) in [
        (KERNEL, cpuset.with(keep)),
        (ATOMIC, min.with(wait).with(high).with(keep)),
        (GfpFlags::NOWAIT, cpuset.with(wait).with(keep)),
        (ATOMIC | GfpFlags::NOMEMALLOC, min.with(keep)),
        (GfpFlags::HIGHUSER_MOVABLE, cpuset.with(keep)),
    ] {
        assert_eq!(slow_flags(gfp, Order::new(2), &Task::default()), flags, "{gfp}");
    }
    assert!(!slow_flags(ATOMIC, Order::ZERO, &Task::default()).contains(high), "single pages have no reserve");
    let real_time = Task { site: TaskSite::RealTime, ..Task::default() };
    assert_eq!(slow_flags(KERNEL, Order::ZERO, &real_time), cpuset.with(keep).with(min));
}

/// The rights of attempts for blocks of order 2, as the slow path makes them: the first one, and the one of the first round.
#[test]
fn nasty_the_rights_of_a_block_of_four_pages() {
    let (cpuset, keep) = (AllocFlags::CPUSET, AllocFlags::KSWAPD);
    let (min, wait, high) = (AllocFlags::MIN_RESERVE, AllocFlags::NON_BLOCK, AllocFlags::HIGHATOMIC);
    let ordinary = Task::default();
    let reclaimer = Task { standing: Standing::Reclaimer, ..ordinary };
    let all = AllocFlags::NO_WATERMARKS;
    for (gfp, task, first, round) in [
        (KERNEL, ordinary, cpuset.with(keep), cpuset.with(keep)),
        (ATOMIC, ordinary, min.with(wait).with(high).with(keep), min.with(wait).with(high).with(keep)),
        (GfpFlags::NOWAIT, ordinary, cpuset.with(wait).with(keep), cpuset.with(wait).with(keep)),
        (ATOMIC | GfpFlags::NOMEMALLOC, ordinary, min.with(keep), min.with(keep)),
        (
            GfpFlags::HIGHUSER_MOVABLE,
            ordinary,
            cpuset.with(keep).with(AllocFlags::CMA),
            cpuset.with(keep).with(AllocFlags::CMA),
        ),
        (KERNEL, reclaimer, cpuset.with(keep), all.with(keep)),
        (
            GfpFlags::HIGHUSER_MOVABLE,
            reclaimer,
            cpuset.with(keep).with(AllocFlags::CMA),
            all.with(keep).with(AllocFlags::CMA),
        ),
    ] {
        let request = PageRequest { task, ..PageRequest::new(Order::new(2), gfp, NodeId::new(0)) };
        let context = Context::new(&request, &Rules::default(), &topology()).expect("no contradiction");
        let mut path = SlowPath::new(context, Rules::default());
        let (mut tries, mut progress) = (Vec::new(), Progress::None);
        let mut rounds = 0;
        while rounds < 1 || tries.len() < 2 {
            let step = path.step(progress);
            progress = Progress::None;
            match step {
                Step::Begin => progress = Progress::Yes,
                Step::Compact(_) => progress = Progress::Compacted(Compacted::Skipped),
                Step::Recheck => rounds += 1,
                Step::Try(attempt) => tries.push((attempt.level(), attempt.flags())),
                _ => (),
            }
        }
        assert_eq!(tries, [(Level::Min, first), (Level::Min, round)], "{gfp} {task:?}");
    }
}

#[test]
fn who_may_have_reserves() {
    let at = |site, standing| Task { site, standing, ..Task::default() };
    let all = Some(AllocFlags::NO_WATERMARKS);
    for (gfp, task, flags) in [
        (KERNEL, at(TaskSite::Task, Standing::Ordinary), None),
        (KERNEL, at(TaskSite::Task, Standing::Reclaimer), all),
        (KERNEL, at(TaskSite::SoftInterrupt, Standing::Reclaimer), all),
        (KERNEL, at(TaskSite::Interrupt, Standing::Reclaimer), None),
        (KERNEL, at(TaskSite::Task, Standing::Victim), Some(AllocFlags::OOM)),
        (KERNEL, at(TaskSite::SoftInterrupt, Standing::Victim), None),
        (KERNEL | GfpFlags::MEMALLOC, at(TaskSite::Interrupt, Standing::Ordinary), all),
        (GfpFlags::MEMALLOC | GfpFlags::NOMEMALLOC, at(TaskSite::Task, Standing::Reclaimer), None),
    ] {
        assert_eq!(reserve_flags(gfp, &task), flags, "{gfp} {task:?}");
    }
}

#[test]
fn zones_and_types_of_wishes() {
    let (dma, dma32, high, movable) = (GfpFlags::DMA, GfpFlags::DMA32, GfpFlags::HIGHMEM, GfpFlags::MOVABLE);
    for (gfp, zone) in [
        (GfpFlags::empty(), Some(ZoneKind::Normal)),
        (movable, Some(ZoneKind::Normal)),
        (high, Some(ZoneKind::Normal)),
        (high | movable, Some(ZoneKind::Movable)),
        (dma, Some(ZoneKind::Dma)),
        (dma | movable, Some(ZoneKind::Dma)),
        (dma32, Some(ZoneKind::Dma32)),
        (dma32 | movable, Some(ZoneKind::Dma32)),
        (dma | high, None),
        (dma | dma32, None),
        (dma32 | high, None),
        (dma | dma32 | high, None),
        (dma | high | movable, None),
        (dma | dma32 | movable, None),
        (dma32 | high | movable, None),
    ] {
        assert_eq!(highest_zone(gfp), zone, "{gfp}");
    }
    let reclaimable = GfpFlags::RECLAIMABLE;
    let kinds = [GfpFlags::empty(), movable, reclaimable, movable | reclaimable].map(migratetype);
    let (u, m, r) = (Migratetype::Unmovable, Migratetype::Movable, Migratetype::Reclaimable);
    assert_eq!(kinds, [Some(u), Some(m), Some(r), None]);
}

#[test]
fn every_contradiction_has_a_name() {
    let (none, cma) = (Access::NONE, Access { cma: true, ..Access::NONE });
    let (unmapped, managed) = (Access { unmapped: true, ..Access::NONE }, Access { managed: true, ..Access::NONE });
    let movable = GfpFlags::HIGHUSER_MOVABLE;
    let zones = GfpFlags::DMA | GfpFlags::HIGHMEM;
    let effort = GfpFlags::NORETRY | GfpFlags::RETRY_MAYFAIL;
    let large = ContextError::OrderTooLarge { order: Order::new(11), largest: Order::new(10) };
    for (order, gfp, access, error) in [
        (11, KERNEL, none, large),
        (0, KERNEL | GfpFlags::from_bits_retain(1 << 30), none, ContextError::UnknownBits(1 << 30)),
        (0, zones | KERNEL, none, ContextError::BadZoneBits(zones)),
        (0, movable | GfpFlags::RECLAIMABLE, none, ContextError::BadMobilityBits),
        (0, KERNEL | effort, none, ContextError::BadEffortBits(effort)),
        (0, ATOMIC | GfpFlags::NOFAIL, none, ContextError::NofailWithoutReclaim),
        (0, KERNEL, cma, ContextError::CmaNeedsMovable),
        (0, movable, unmapped, ContextError::UnmappedNeedsUnmovable),
        (0, KERNEL | GfpFlags::RECLAIMABLE, unmapped, ContextError::UnmappedNeedsUnmovable),
        (0, KERNEL | GfpFlags::ZERO, unmapped, ContextError::UnmappedWithZero),
        (0, KERNEL, managed, ContextError::ManagedNeedsFolio),
    ] {
        assert_eq!(ask(order, gfp, access).err(), Some(error), "{gfp} of order {order}, {access:?}");
    }
    let nowhere = PageRequest { access: unmapped, ..PageRequest::new(Order::ZERO, KERNEL, NodeId::new(9)) };
    let error = Context::new(&nowhere, &Rules::default(), &topology()).err();
    assert_eq!(error, Some(ContextError::NoSuchNode(NodeId::new(9))));
}

#[test]
fn what_may_be_touched_must_be_said() {
    let reach = |gfp, access| ask(0, gfp, access).map(|context| context.reach());
    let managed = Access { managed: true, ..Access::NONE };
    let this = KERNEL | GfpFlags::THISNODE;
    assert_eq!(reach(KERNEL, Access::NONE), Ok(Reach::Everywhere));
    assert_eq!(reach(this, Access::NONE), Ok(Reach::ThisNode));
    assert_eq!(reach(KERNEL | GfpFlags::COMP, managed), Ok(Reach::Private));
    assert_eq!(reach(this | GfpFlags::COMP, managed), Ok(Reach::PrivateThisNode));
}

#[test]
fn the_task_takes_wishes_back() {
    let movable = GfpFlags::HIGHUSER_MOVABLE;
    let context = |task| {
        let request = PageRequest { task, ..PageRequest::new(Order::ZERO, movable, NodeId::new(0)) };
        Context::new(&request, &Rules::default(), &topology()).expect("no contradiction")
    };
    let of = |scope| context(Task { scope, ..Task::default() }).gfp();
    assert_eq!(of(IoScope::All), movable);
    assert_eq!(of(IoScope::NoFs), movable.difference(GfpFlags::FS));
    assert_eq!(of(IoScope::NoIo), movable.difference(GfpFlags::FS | GfpFlags::IO));
    let pinned = context(Task { pin: Pin::Long, ..Task::default() });
    assert_eq!((pinned.migratetype(), pinned.highest()), (Migratetype::Unmovable, ZoneKind::Normal));
    // At boot nobody can wait.
    let rules = Rules { granted: GfpFlags::all().difference(KERNEL), ..Rules::default() };
    let early = Context::new(&PageRequest::new(Order::ZERO, KERNEL, NodeId::new(0)), &rules, &topology());
    assert_eq!(early.map(|context| context.gfp()), Ok(GfpFlags::empty()));
}
