//! What can be asked of a zone.

use hugefolio::pages::PageAllocator;
use hugefolio::{Held, Level, Migratetype, Order, PageCount, Pfn, Zone};

use super::place;
use crate::scenario::{Known, ZoneField, ZoneQuery};

/// The answer; nothing of a zone or frame that is not there.
pub(super) fn ask(allocator: &PageAllocator, query: &ZoneQuery) -> Option<Known> {
    let zone = allocator.zone(place(query.at))?;
    let lists = allocator.lists(place(query.at))?;
    let count = |pages: PageCount| Known::Number(i64::try_from(pages.get()).unwrap_or(i64::MAX));
    let number = |n: u64| Known::Number(i64::try_from(n).unwrap_or(i64::MAX));
    let frames =
        |blocks: Vec<Pfn>| Known::Text(blocks.iter().map(|pfn| pfn.get().to_string()).collect::<Vec<_>>().join(","));
    Some(match query.field {
        ZoneField::Free => count(zone.free()),
        ZoneField::Managed => count(zone.managed()),
        ZoneField::Min => count(zone.mark(Level::Min)),
        ZoneField::Low => count(zone.mark(Level::Low)),
        ZoneField::High => count(zone.mark(Level::High)),
        ZoneField::Promo => count(zone.marks().promo),
        ZoneField::Boost => count(zone.boost()),
        ZoneField::Lent => count(zone.free_cma()),
        ZoneField::Highatomic => count(zone.reserved_highatomic()),
        ZoneField::FreeHighatomic => count(zone.free_highatomic()),
        ZoneField::Isolated => number(zone.isolated_blocks()),
        ZoneField::Cached => count(lists.count()),
        ZoneField::CachedHigh => count(lists.high()),
        ZoneField::Batch => count(lists.tuning().batch),
        ZoneField::Protection => {
            Known::Text(zone.protection().iter().map(|(_, p)| p.get().to_string()).collect::<Vec<_>>().join(","))
        }
        ZoneField::Buddyinfo => Known::Text(zone.free_blocks().map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
        ZoneField::Blocks(order) => number(zone.free_blocks().nth(order.into()).unwrap_or(0)),
        ZoneField::Pageblocks(migratetype) => number(pageblocks(zone, migratetype)),
        ZoneField::List(order, migratetype) => frames(zone.free_list(order_of(order), migratetype)),
        ZoneField::Kept(order, migratetype) => frames(zone.cached(lists, order_of(order), migratetype)),
        ZoneField::Type(pfn) => {
            zone.find(Pfn::new(pfn))?;
            Known::Text(zone.migratetype(Pfn::new(pfn)).name().to_owned())
        }
        ZoneField::Page(pfn) => {
            let found = zone.find(Pfn::new(pfn))?;
            let word = match found.held {
                Held::Free => "free",
                Held::Movable => "movable",
                Held::Used => "used",
                Held::Cached => "cached",
                Held::Reserved => "reserved",
            };
            Known::Text(format!("{word}:{}:{}", found.pfn.get(), found.order.get()))
        }
    })
}

fn order_of(order: u8) -> Order {
    Order::try_new(order).unwrap_or(Order::MAX)
}

/// How many pageblocks of a zone are of a type, parts of some at its ends among them.
fn pageblocks(zone: &Zone, migratetype: Migratetype) -> u64 {
    let size = zone.layout().pageblock.pages().get();
    let of_span = |&(start, end): &(Pfn, Pfn)| (start.get() / size..end.get().div_ceil(size)).map(move |b| (b, start));
    let blocks = zone.layout().spans.iter().flat_map(of_span);
    blocks.filter(|&(b, start)| zone.migratetype(Pfn::new((b * size).max(start.get()))) == migratetype).count() as u64
}
