//! Reports of free memory to a host.

use alloc::vec::Vec;

use policy::ZoneRef;
use units::{Migratetype, Order, PageCount, ZoneKind};
use zone::{AllocFlags, Level, MarkCheck, Told, Zone};

use crate::compact_zone::may_take;
use crate::fast_path::{Block, Purpose};
use crate::zones::Zones;

/// Blocks in one report at most.
#[doc(alias = "PAGE_REPORTING_CAPACITY")]
pub const REPORT_CAPACITY: u64 = 32;
/// A pass reports one block in so many batches of each list, so that others get at the zone.
const SHARE: u64 = 16;

/// What a pass waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportQuestion {
    /// Tell the host of these blocks, which nobody uses meanwhile: [`Told::Yes`], or it would not have them.
    Report(Vec<Block>),
    /// It is over.
    End(ReportEnd),
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportEnd {
    /// Nothing is left to report, as far as marks permit.
    Done,
    /// There is more, for another pass.
    More,
    /// The host would not have it.
    Refused,
}

/// One pass over all zones, telling a host of free blocks of an order and above. Linux begins one two seconds after such a block came
/// free, and the next one two seconds after one that left something.
#[doc(alias("page_reporting_process", "page_reporting_dev_info"))]
#[derive(Clone, Debug)]
pub struct ReportPass {
    least: Order,
    /// Lists to look at: the last one is next.
    lists: Vec<(ZoneRef, Order, Migratetype)>,
    /// Batches that the list at hand may still have.
    budget: Option<u64>,
    batch: Vec<Block>,
    more: bool,
}

impl ReportPass {
    /// Over every zone, of blocks of `least` and above; usually of whole pageblocks.
    #[must_use]
    pub fn new<P: Zones>(p: &P, least: Order) -> Self {
        let largest = p.rules().largest;
        let orders = || (least.get()..=largest.get()).map(Order::new);
        let kinds = || Migratetype::ALL.into_iter().filter(|&kind| kind != Migratetype::Isolate);
        let nodes = p.topology().states().possible;
        let zones = nodes.iter().flat_map(|node| ZoneKind::ALL.map(|kind| ZoneRef { node, kind }));
        let populated = zones.filter(|&zone| p.topology().is_populated(zone));
        let mut lists: Vec<_> = populated
            .flat_map(|zone| orders().flat_map(move |order| kinds().map(move |kind| (zone, order, kind))))
            .collect();
        lists.reverse();
        Self { least, lists, budget: None, batch: Vec::new(), more: false }
    }

    /// Goes on to the first question.
    #[must_use]
    pub fn begin<P: Zones>(&mut self, p: &mut P) -> ReportQuestion {
        self.go_on(p)
    }

    /// The host answered.
    #[must_use]
    pub fn answer<P: Zones>(&mut self, p: &mut P, told: Told) -> ReportQuestion {
        for Block { pfn, order, zone, .. } in core::mem::take(&mut self.batch) {
            let put = p.with_zone(zone, |parts| parts.zone.put_told(pfn, order, told));
            debug_assert_eq!(put, Some(Ok(())), "the block at {pfn} was taken for this");
        }
        if told == Told::No {
            self.lists.clear();
            return ReportQuestion::End(ReportEnd::Refused);
        }
        self.go_on(p)
    }

    fn go_on<P: Zones>(&mut self, p: &mut P) -> ReportQuestion {
        while let Some(&(at, order, kind)) = self.lists.last() {
            let (least, budget) = (self.least, self.budget);
            let looked = p.with_zone(at, |parts| look(parts.zone, (order, kind), least, budget));
            match looked {
                Some(Look::Batch { pfns, left }) => {
                    self.budget = Some(left);
                    let purpose = Purpose::Any;
                    let block = |&pfn: &_| Block { pfn, order, zone: at, migratetype: kind, purpose };
                    self.batch = pfns.iter().map(block).collect();
                    return ReportQuestion::Report(self.batch.clone());
                }
                Some(Look::Enough) => self.more = true,
                Some(Look::Nothing) | None => (),
            }
            self.lists.pop();
            self.budget = None;
        }
        ReportQuestion::End(if self.more { ReportEnd::More } else { ReportEnd::Done })
    }
}

/// What a list has.
enum Look {
    Batch {
        pfns: Vec<units::Pfn>,
        left: u64,
    },
    /// It had its share.
    Enough,
    Nothing,
}

fn look(zone: &mut Zone, list: (Order, Migratetype), least: Order, budget: Option<u64>) -> Look {
    let (order, kind) = list;
    // Much must stay, lest the host and the guest play ball with the last pages.
    let room = zone.mark(Level::Low).saturating_add(PageCount::new(REPORT_CAPACITY << least.get()));
    let check = MarkCheck { order: Order::ZERO, level: Level::Low, highest: ZoneKind::Dma, flags: AllocFlags::CMA };
    if !zone.is_above_with(check, room, zone.free()) || zone.unreported(order, kind).next().is_none() {
        return Look::Nothing;
    }
    let blocks = zone.free_blocks().nth(order.get().into()).unwrap_or(0);
    let left = budget.unwrap_or(blocks.div_ceil(REPORT_CAPACITY * SHARE));
    let Some(left) = left.checked_sub(1) else { return Look::Enough };
    let mut pfns = Vec::new();
    while (pfns.len() as u64) < REPORT_CAPACITY && may_take(zone, order) {
        let one = zone.take_unreported(order, kind, 1);
        if one.is_empty() {
            break;
        }
        pfns.extend(one);
    }
    if pfns.is_empty() { Look::Nothing } else { Look::Batch { pfns, left } }
}
