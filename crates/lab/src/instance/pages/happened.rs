//! Events in words: the kernel's name of a tracepoint without its prefix, and its fields.

use hugefolio::pages::{PageAllocator, PageEvent, Zones};
use hugefolio::{Ownership, Pfn, ZoneEvent, ZoneRef};

/// Everything that happened since the last call: first what zones did, then what was asked of them.
pub(super) fn taken(allocator: &mut PageAllocator) -> Option<String> {
    let topology = allocator.topology();
    let nodes: Vec<_> = topology.states().possible.iter().collect();
    let mut words = Vec::new();
    for node in nodes {
        for kind in hugefolio::ZoneKind::ALL {
            let events = allocator.parts(ZoneRef { node, kind }).map(|parts| parts.zone.take_events());
            words.extend(events.unwrap_or_default().iter().map(of_zone));
        }
    }
    words.extend(allocator.take_events().iter().map(of_request));
    (!words.is_empty()).then(|| words.join("; "))
}

fn frame(pfn: Pfn) -> u64 {
    pfn.get()
}

fn of_zone(event: &ZoneEvent) -> String {
    match event {
        ZoneEvent::Taken { pfn, order, migratetype } => {
            format!("zone_locked pfn={} order={} {migratetype}", frame(*pfn), order.get())
        }
        ZoneEvent::Fallback { pfn, order, fallback_order, migratetype, fallback, ownership } => {
            let ownership = if *ownership == Ownership::Changed { "claimed" } else { "kept" };
            let (pfn, order, found) = (frame(*pfn), order.get(), fallback_order.get());
            format!("extfrag pfn={pfn} order={order} {migratetype} from order={found} {fallback} {ownership}")
        }
        ZoneEvent::Drained { pfn, order, migratetype } => {
            format!("pcpu_drain pfn={} order={} {migratetype}", frame(*pfn), order.get())
        }
        other => format!("{other:?}"),
    }
}

fn of_request(event: &PageEvent) -> String {
    match event {
        PageEvent::Allocated { pfn: Some(pfn), order, .. } => {
            format!("alloc pfn={} order={}", frame(*pfn), order.get())
        }
        PageEvent::Allocated { pfn: None, order, .. } => format!("alloc none order={}", order.get()),
        PageEvent::Freed { pfn, order } => format!("free pfn={} order={}", frame(*pfn), order.get()),
        PageEvent::WokeReclaim { node, order, .. } => format!("kswapd node={} order={}", node.get(), order.get()),
        PageEvent::WokeCompaction { node, order, .. } => format!("kcompactd node={} order={}", node.get(), order.get()),
        PageEvent::Warned { order, .. } => format!("warn order={}", order.get()),
        PageEvent::Remapped { pfn, order, to } => {
            let mapped = if *to == hugefolio::pages::Mapping::Mapped { "mapped" } else { "unmapped" };
            format!("remap pfn={} order={} {mapped}", frame(*pfn), order.get())
        }
        PageEvent::LostBlock { pfn, order } => format!("lost pfn={} order={}", frame(*pfn), order.get()),
        PageEvent::Stripped { gfp } => format!("stripped {gfp}"),
        PageEvent::NofailTooLarge { order } => format!("nofail order={}", order.get()),
        other => format!("{other:?}"),
    }
}
