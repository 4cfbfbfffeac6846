//! What the page allocator of a machine did.

use page_alloc::{PageEvent, Zones};
use policy::ZoneRef;
use units::ZoneKind;
use zone::ZoneEvent;

use crate::Machine;

/// What happened since one looked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageEvents {
    /// What each zone did, in the order of nodes and zones; those that did nothing are left out.
    pub zones: Vec<(ZoneRef, Vec<ZoneEvent>)>,
    /// What was asked of the allocator.
    pub requests: Vec<PageEvent>,
}

impl Machine {
    /// Starts (again) to keep what the page allocator does. From then on single pages are looked at, so that none move as blocks.
    pub fn record_page_events(&mut self) {
        self.pages.record_events();
    }

    /// What the page allocator did since the last call, if that is being kept.
    pub fn take_page_events(&mut self) -> PageEvents {
        let nodes = self.topology().states().possible;
        let places = nodes.iter().flat_map(|node| ZoneKind::ALL.map(|kind| ZoneRef { node, kind }));
        let mut zones = Vec::new();
        for place in places {
            let events = self.with_zone(place, |parts| parts.zone.take_events()).unwrap_or_default();
            if !events.is_empty() {
                zones.push((place, events));
            }
        }
        PageEvents { zones, requests: self.pages.take_events() }
    }
}
