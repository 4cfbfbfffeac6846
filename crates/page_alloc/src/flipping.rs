//! Changes of mappings under way.

use policy::ZoneRef;
use units::{Order, PageCount, Pfn};

use crate::allocation::{Allocation, Looked};
use crate::context::Attempt;
use crate::event::PageEvent;
use crate::fast_path::Block;
use crate::unmapped::Mapping;
use crate::zones::Zones;

/// A change of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The first frame.
    pub pfn: Pfn,
    /// How many pages.
    pub pages: PageCount,
    /// What their mappings are to be.
    pub to: Mapping,
}

/// A change of mappings under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flipping {
    zone: ZoneRef,
    pfn: Pfn,
    order: Order,
    to: Mapping,
    /// Whether this is the way back from a change that failed.
    way: Way,
    /// What is tried afterwards.
    attempt: Attempt,
    /// How many pages are to change.
    asked: PageCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Allocation {
    /// A whole block that is mapped loses its mappings, however small the request.
    pub(crate) fn unmap_some<P: Zones>(&mut self, p: &mut P, attempt: Attempt) -> Looked {
        let mut whole = self.context;
        whole.order = self.order_to_compact(p);
        whole.access.unmapped = false;
        let Some(Block { pfn, order, zone, .. }) = self.walk(p, &whole, attempt) else { return Looked::Nothing };
        self.flip(Flipping { zone, pfn, order, to: Mapping::Unmapped, way: Way::There, attempt, asked: order.pages() })
    }

    /// A pageblock without mappings that is free gets them back.
    pub(crate) fn map_some<P: Zones>(&mut self, p: &mut P, attempt: Attempt) -> Looked {
        let mut found = None;
        self.any_zone(p, |_, p, zone| {
            let block = p.with_zone(zone, |mut parts| parts.take_unmapped_block()).flatten();
            found = block.map(|block| (zone, block));
            found.is_some()
        });
        let Some((zone, (pfn, order))) = found else { return Looked::Nothing };
        self.flip(Flipping { zone, pfn, order, to: Mapping::Mapped, way: Way::There, attempt, asked: order.pages() })
    }

    fn flip(&mut self, flipping: Flipping) -> Looked {
        let Flipping { pfn, asked: pages, to, .. } = flipping;
        self.flipping = Some(flipping);
        Looked::Flip(Flip { pfn, pages, to })
    }

    /// Mappings were changed, or some of them, or none. Half of a block is never used: it is changed back.
    pub(crate) fn flipped<P: Zones>(&mut self, p: &mut P, flipping: Flipping, pages: PageCount) -> Looked {
        let Flipping { zone, pfn, order, to, way, attempt, asked } = flipping;
        let before = if to == Mapping::Mapped { Mapping::Unmapped } else { Mapping::Mapped };
        if pages >= asked {
            give(p, zone, pfn, order, to);
            p.emit_page(|| PageEvent::Remapped { pfn, order, to });
            return if way == Way::There { self.attempt(p, attempt) } else { Looked::Nothing };
        }
        match way {
            Way::There if pages.is_zero() => give(p, zone, pfn, order, before),
            Way::There => return self.flip(Flipping { to: before, way: Way::Back, asked: pages, ..flipping }),
            Way::Back => {
                let _ = p.with_zone(zone, |parts| parts.bank.lose(parts.zone, pfn));
                p.emit_page(|| PageEvent::LostBlock { pfn, order });
            }
        }
        Looked::Nothing
    }
}

/// Gives a block that nobody uses to the lists of its mapping.
fn give<P: Zones>(p: &mut P, zone: ZoneRef, pfn: Pfn, order: Order, mapping: Mapping) {
    let _ = p.with_zone(zone, |mut parts| match mapping {
        Mapping::Mapped => {
            let put = parts.zone.put(pfn, order);
            debug_assert_eq!(put, Ok(()), "the block was taken for this");
        }
        Mapping::Unmapped => parts.add_unmapped(pfn, order),
    });
}
