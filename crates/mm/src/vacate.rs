//! Huge pages that leave for the sake of their place.

use hugetlb::{Fallback, ReplaceError, Target};
use page_alloc::{MoveReason, Moved, Pin};
use policy::Placement;
use units::{Nodemask, Pfn, Site};

use crate::{Env, MigrateError, migrate};

/// Makes the huge page that a frame is a part of leave. Where somebody needs a range, a free page is replaced on its node, and one in use is
/// moved there. One that waits for its descriptors is waited for. Where memory goes, a free page becomes ordinary memory unless a reservation needs it, and one in use is moved, to another node
/// if there is one.
#[doc(alias("isolate_or_dissolve_huge_folio", "do_migrate_range", "alloc_migration_target"))]
pub fn vacate<P: Env>(p: &mut P, pfn: Pfn, reason: MoveReason) -> Moved {
    if p.refused(Site::Move) {
        return Moved::Busy;
    }
    hugetlb::settle(p, pfn);
    if p.with_memmap(pfn, |map| map.split_around(pfn).is_some()) {
        // The pieces of a page lie beside each other for as long as it is in pieces.
        return Moved::Busy;
    }
    let Some(folio) = hugetlb::folio_of(p, pfn) else { return Moved::Moved };
    let memory_goes = reason == MoveReason::Hotplug;
    if memory_goes && hugetlb::dissolve(p, pfn).is_ok() {
        return Moved::Moved;
    }
    if !memory_goes {
        // Where a page was asked for of the pool meanwhile, it may be used by now.
        match hugetlb::replace(p, folio) {
            Ok(()) => return Moved::Moved,
            Err(ReplaceError::InUse(_)) => (),
            Err(ReplaceError::NoPages(_) | ReplaceError::NoMetadata(_) | ReplaceError::Gigantic(_)) => {
                return Moved::NoMemory;
            }
            Err(_) => return Moved::Busy,
        }
    }
    let others = p.with_topology(policy::Topology::nodes).without(folio.node);
    let nodemask = (memory_goes && !others.is_empty()).then_some(others);
    let placement = Placement { nodemask, ..Placement::local(folio.node) };
    let fallback = if memory_goes { Fallback::Permitted } else { Fallback::Refused };
    match migrate(p, pfn, &Target { placement, allowed: Nodemask::ALL, fallback, pin: Pin::Short }) {
        Ok(_) => leave_pool(p, pfn, reason),
        Err(MigrateError::NoTarget(_)) if !memory_goes => Moved::NoMemory,
        Err(_) => Moved::Busy,
    }
}

/// A page that was moved to a free one came back to its pool in that one's place, and lies where it lay.
#[doc(alias = "replace_free_hugepage_folios")]
fn leave_pool<P: Env>(p: &mut P, pfn: Pfn, reason: MoveReason) -> Moved {
    let Some(folio) = hugetlb::folio_of(p, pfn) else { return Moved::Moved };
    if reason == MoveReason::Hotplug {
        return if hugetlb::dissolve(p, pfn).is_ok() { Moved::Moved } else { Moved::Busy };
    }
    match hugetlb::replace(p, folio) {
        Ok(()) => Moved::Moved,
        Err(ReplaceError::NoPages(_) | ReplaceError::NoMetadata(_)) => Moved::NoMemory,
        Err(_) => Moved::Busy,
    }
}
