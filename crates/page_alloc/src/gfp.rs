//! What the wishes of a request mean for the allocator.

use units::{GfpFlags, Migratetype, Order, ZoneKind};
use zone::{AllocFlags, Grouping};

use crate::task::{Standing, Task, TaskSite};

/// Blocks above this order are not worth everything.
#[doc(alias = "PAGE_ALLOC_COSTLY_ORDER")]
pub const COSTLY: Order = Order::new(3);

/// By the lowest four bits of the wishes: the highest zone, on a machine of 64 bits.
const ZONES: [Option<ZoneKind>; 16] = {
    let mut zones = [None; 16];
    zones[0x0] = Some(ZoneKind::Normal);
    zones[0x1] = Some(ZoneKind::Dma);
    zones[0x2] = Some(ZoneKind::Normal);
    zones[0x4] = Some(ZoneKind::Dma32);
    // Pages that can move, where the kernel maps them: only their type.
    zones[0x8] = Some(ZoneKind::Normal);
    zones[0x9] = Some(ZoneKind::Dma);
    zones[0xa] = Some(ZoneKind::Movable);
    zones[0xc] = Some(ZoneKind::Dma32);
    zones
};

/// The highest zone that the request may use; nothing where it asks for two at once.
#[doc(alias = "gfp_zone")]
#[must_use]
#[inline]
pub const fn highest_zone(gfp: GfpFlags) -> Option<ZoneKind> {
    ZONES[(gfp.bits() & 0xf) as usize]
}

/// What the pages will be; nothing where they are to be two things at once.
#[doc(alias = "gfp_migratetype")]
#[must_use]
#[inline]
pub const fn migratetype(gfp: GfpFlags) -> Option<Migratetype> {
    match (gfp.contains(GfpFlags::MOVABLE), gfp.contains(GfpFlags::RECLAIMABLE)) {
        (true, true) => None,
        (true, false) => Some(Migratetype::Movable),
        (false, true) => Some(Migratetype::Reclaimable),
        (false, false) => Some(Migratetype::Unmovable),
    }
}

/// Whether the request comes from memory that is lent to pages that can move.
#[inline]
pub(crate) fn cma(migratetype: Migratetype, grouping: Grouping) -> AllocFlags {
    if migratetype == Migratetype::Movable && grouping == Grouping::ByMobility {
        AllocFlags::CMA
    } else {
        AllocFlags::NONE
    }
}

/// What attempts of the slow path may do, before a task's right to reserves; whether lent memory will do is decided elsewhere.
#[doc(alias = "gfp_to_alloc_flags")]
#[must_use]
pub fn slow_flags(gfp: GfpFlags, order: Order, task: &Task) -> AllocFlags {
    let mut flags = AllocFlags::CPUSET;
    let mut give = |right: AllocFlags, wish: GfpFlags| {
        if gfp.contains(wish) {
            flags = flags.with(right);
        }
    };
    give(AllocFlags::MIN_RESERVE, GfpFlags::HIGH);
    give(AllocFlags::KSWAPD, GfpFlags::KSWAPD_RECLAIM);
    let urgent = flags.contains(AllocFlags::MIN_RESERVE);
    if gfp.contains(GfpFlags::DIRECT_RECLAIM) {
        return if task.site == TaskSite::RealTime { flags.with(AllocFlags::MIN_RESERVE) } else { flags };
    }
    if !gfp.contains(GfpFlags::NOMEMALLOC) {
        flags = flags.with(AllocFlags::NON_BLOCK);
        if order > Order::ZERO && urgent {
            flags = flags.with(AllocFlags::HIGHATOMIC);
        }
    }
    if urgent { flags.without(AllocFlags::CPUSET) } else { flags }
}

/// The right to reserves that a request or its task has. It takes the place of all others but two.
#[doc(alias = "__gfp_pfmemalloc_flags")]
#[must_use]
pub fn reserve_flags(gfp: GfpFlags, task: &Task) -> Option<AllocFlags> {
    if gfp.contains(GfpFlags::NOMEMALLOC) {
        return None;
    }
    if gfp.contains(GfpFlags::MEMALLOC) {
        return Some(AllocFlags::NO_WATERMARKS);
    }
    match (task.site, task.standing) {
        (TaskSite::Interrupt, _) | (_, Standing::Ordinary) | (TaskSite::SoftInterrupt, Standing::Victim) => None,
        (_, Standing::Reclaimer) => Some(AllocFlags::NO_WATERMARKS),
        (_, Standing::Victim) => Some(AllocFlags::OOM),
    }
}
