//! How much is in the way in each window, by block records alone.

use page_alloc::{PageAllocator, Source};
use policy::ZoneRef;
use units::{Order, PageCount, Pfn, ZoneKind};
use zone::{Held, Level, Zone};

use super::{Candidate, Holder, Mend, Obstacle, Verdict, Wanted, Why, Window};

/// What is in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tally {
    /// Blocks that stay.
    stays: u32,
    /// Pages that can be moved.
    pages: u64,
    /// Whether it lies in an area that is lent.
    lent: bool,
}

/// The windows of one zone.
struct ZoneWindows {
    zone: ZoneRef,
    /// The number of the first one, counted from frame 0.
    first: u64,
    tallies: Vec<Tally>,
}

/// All windows that could be had.
pub(super) struct Survey {
    order: Order,
    zones: Vec<ZoneWindows>,
}

pub(super) const fn place_of(zone: &Zone) -> ZoneRef {
    ZoneRef { node: zone.node(), kind: zone.layout().kind }
}

impl Survey {
    /// Every window of these zones, without what is in them. Gigantic pages are in the way of unplugging, and get no movable zone.
    pub(super) fn new<'a>(zones: impl Iterator<Item = &'a Zone>, wanted: &Wanted, largest: Order) -> Self {
        let order = wanted.order;
        let gigantic = order > largest;
        let asked =
            |zone: &&Zone| wanted.nodes.contains(zone.node()) && !(gigantic && zone.layout().kind == ZoneKind::Movable);
        let zones = zones.filter(asked).filter_map(|zone| ZoneWindows::new(zone, order)).collect();
        Self { order, zones }
    }

    /// Something is in the way.
    pub(super) fn add(&mut self, zone: ZoneRef, pfn: Pfn, order: Order, held: Held) {
        let Some(windows) = self.zones.iter_mut().find(|windows| windows.zone == zone) else { return };
        let last = (pfn.get() + order.pages().get() - 1) >> self.order.get();
        let pages = order.pages().get().min(self.order.pages().get());
        for window in pfn.get() >> self.order.get()..=last {
            let Some(tally) = windows.tally(window) else { continue };
            match held {
                Held::Free | Held::Cached => (),
                Held::Movable => tally.pages += pages,
                Held::Used | Held::Reserved => tally.stays += 1,
            }
        }
    }

    /// Some memory is lent: a window has all of it from there, or cannot be had.
    pub(super) fn lend(&mut self, zone: ZoneRef, start: Pfn, end: Pfn) {
        let order = self.order;
        let Some(windows) = self.zones.iter_mut().find(|windows| windows.zone == zone) else { return };
        for window in start.get() >> order.get()..=(end.get() - 1) >> order.get() {
            let Some(tally) = windows.tally(window) else { continue };
            let (first, past) = (window << order.get(), (window + 1) << order.get());
            tally.lent = start.get() <= first && past <= end.get();
            tally.stays += u32::from(!tally.lent);
        }
    }

    /// Only lent memory may be taken.
    pub(super) fn keep_lent_alone(&mut self) {
        for windows in &mut self.zones {
            let rest = windows.tallies.iter_mut().filter(|tally| !tally.lent);
            rest.for_each(|tally| tally.stays += 1);
        }
    }

    fn window(&self, zone: usize, at: usize) -> Window {
        let windows = &self.zones[zone];
        let start = Pfn::new((windows.first + at as u64) << self.order.get());
        let source = if windows.tallies[at].lent { Source::Cma } else { Source::Ordinary };
        Window { zone: windows.zone, start, order: self.order, source }
    }

    /// The best windows, told of by `tell`.
    pub(super) fn answer(self, wanted: &Wanted, mut tell: impl FnMut(Window) -> Option<Candidate>) -> Why {
        let all = || {
            let zones = self.zones.iter().enumerate();
            zones.flat_map(|(zone, of)| of.tallies.iter().enumerate().map(move |(at, tally)| (*tally, zone, at)))
        };
        let (mut windows, mut free, mut movable) = (0, 0, 0);
        let mut best: Vec<(Tally, usize, usize)> = Vec::new();
        for found in all() {
            windows += 1;
            free += u64::from((found.0.stays, found.0.pages) == (0, 0));
            movable += u64::from(found.0.stays == 0);
            let key = |(tally, zone, at): &(Tally, usize, usize)| (tally.stays, tally.pages, *zone, *at);
            if best.len() < wanted.candidates || best.last().is_some_and(|last| key(&found) < key(last)) {
                let at = best.partition_point(|other| key(other) < key(&found));
                best.insert(at, found);
                best.truncate(wanted.candidates);
            }
        }
        let told = best.into_iter().filter_map(|(_, zone, at)| tell(self.window(zone, at)));
        Why { wanted: *wanted, windows, free, movable, candidates: told.collect() }
    }

    /// The window that a frame is in.
    pub(super) fn window_at(&self, zone: ZoneRef, pfn: Pfn) -> Option<Window> {
        let place = self.zones.iter().position(|windows| windows.zone == zone)?;
        let at = (pfn.get() >> self.order.get()).checked_sub(self.zones[place].first)?;
        let at = usize::try_from(at).ok().filter(|&at| at < self.zones[place].tallies.len())?;
        Some(self.window(place, at))
    }
}

impl ZoneWindows {
    /// The windows that the zone has frames of. Those that it does not have all frames of cannot be had.
    fn new(zone: &Zone, order: Order) -> Option<Self> {
        let spans = &zone.layout().spans;
        let first = spans.first()?.0.get() >> order.get();
        let last = (spans.last()?.1.get() - 1) >> order.get();
        let incomplete = Tally { stays: 1, ..Tally::default() };
        let mut windows = Self {
            zone: place_of(zone),
            first,
            tallies: vec![incomplete; usize::try_from(last - first + 1).unwrap_or(0)],
        };
        for (start, end) in spans {
            let whole = start.get().div_ceil(order.pages().get())..end.get() >> order.get();
            for window in whole {
                if let Some(tally) = windows.tally(window) {
                    *tally = Tally::default();
                }
            }
        }
        Some(windows)
    }

    fn tally(&mut self, window: u64) -> Option<&mut Tally> {
        let at = window.checked_sub(self.first)?;
        self.tallies.get_mut(usize::try_from(at).ok()?)
    }
}

/// Frames of a window that the zone does not have, in the largest aligned blocks.
pub(super) fn holes(zone: &Zone, start: Pfn, end: Pfn) -> Vec<Obstacle> {
    let mut holes = Vec::new();
    let mut at = start;
    let inside = zone.layout().spans.iter().filter(|span| span.0 < end && start < span.1);
    let ends = inside.map(|&(first, past)| (first.max(start), past.min(end))).chain([(end, end)]);
    for (first, past) in ends {
        while at < first {
            let fits = (first.get() - at.get()).ilog2().min(at.get().trailing_zeros());
            let order = u8::try_from(fits).map_or(Order::ZERO, Order::new);
            holes.push(Obstacle { pfn: at, order, holder: Holder::Nowhere, mend: Mend::Online });
            at = at.offset(order.pages());
        }
        at = past;
    }
    holes
}

/// Free pages outside a window, above the lowest marks: where its contents could go.
pub(super) fn room(pages: &PageAllocator, window: &Window, obstacles: &[Obstacle]) -> PageCount {
    let above = |zone: &Zone| zone.free().saturating_sub(zone.mark(Level::Min));
    let all: PageCount = pages.zones().map(|(zone, _)| above(zone)).sum();
    let used: PageCount = obstacles.iter().map(|obstacle| obstacle.order.pages()).sum();
    all.saturating_sub(window.order.pages().saturating_sub(used))
}

impl Verdict {
    /// Is the window had by asking for it?
    #[must_use]
    pub const fn is_possible(self) -> bool {
        matches!(self, Self::Free | Self::ByMoving { .. })
    }
}
