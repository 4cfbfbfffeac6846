//! One node's frames: who is free, in which blocks.

use alloc::vec::Vec;
use core::fmt;

use memmap::Broken;
use units::{NodeId, Order, PageCount, Pfn};

use crate::area::FreeArea;

/// The free memory of one node.
#[doc(alias = "free_area")]
#[derive(Clone, Debug)]
pub struct Zone {
    node: NodeId,
    /// Spans of frames that exist, ascending.
    spans: Vec<(Pfn, Pfn)>,
    areas: Vec<FreeArea>,
    largest: Order,
    /// Bit n: the area of order n has a block.
    occupied: u32,
    free: PageCount,
}

/// Why a zone cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZoneError {
    /// Two spans share a frame, or one is empty.
    BadSpan {
        /// Where it starts.
        start: Pfn,
    },
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::BadSpan { start } = self;
        write!(f, "the span of frames at {start} is empty or overlaps the one before it")
    }
}

impl core::error::Error for ZoneError {}

impl Zone {
    /// The zone of `node` over `spans` (first frame, first frame past the end; ascending), all of it free. `largest` is the
    /// largest order that the buddy allocator merges to.
    ///
    /// # Errors
    /// A span that is empty or overlaps the one before it.
    pub fn new(node: NodeId, spans: Vec<(Pfn, Pfn)>, largest: Order) -> Result<Self, ZoneError> {
        let areas = (0..=largest.get()).map(|n| FreeArea::new(Order::new(n))).collect();
        let mut zone = Self { node, spans: Vec::new(), areas, largest, occupied: 0, free: PageCount::ZERO };
        let mut past = Pfn::new(0);
        for &(start, end) in &spans {
            if end <= start || start < past {
                return Err(ZoneError::BadSpan { start });
            }
            zone.add_span(start, end);
            past = end;
        }
        zone.spans = spans;
        Ok(zone)
    }

    /// Its node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Free base pages.
    #[must_use]
    #[inline]
    pub const fn free(&self) -> PageCount {
        self.free
    }

    /// Base pages it manages, free or not.
    #[must_use]
    pub fn managed(&self) -> PageCount {
        self.spans.iter().map(|(start, end)| PageCount::new(end.get() - start.get())).sum()
    }

    /// The largest order that the buddy allocator merges to.
    #[must_use]
    pub const fn largest(&self) -> Order {
        self.largest
    }

    /// Free blocks of each order, as in `/proc/buddyinfo`.
    #[doc(alias("buddyinfo", "nr_free"))]
    pub fn free_blocks(&self) -> impl Iterator<Item = u64> {
        self.areas.iter().map(FreeArea::blocks)
    }

    /// Takes a block of `order`, splitting a larger one if need be. Above [`Zone::largest`] it takes an aligned range of
    /// largest blocks.
    #[doc(alias("__rmqueue", "rmqueue_buddy"))]
    pub fn take(&mut self, order: Order) -> Option<Pfn> {
        if order > self.largest {
            return self.take_range(order);
        }
        let fitting = self.occupied >> order.get();
        if fitting == 0 {
            return None;
        }
        let at = usize::from(order.get());
        let from = at + fitting.trailing_zeros() as usize;
        let block = self.areas[from].pop()?;
        if self.areas[from].is_empty() {
            self.occupied &= !bit(from);
        }
        // No area below the one that had a block has any: its upper halves are their first.
        for half in at..from {
            let area = &mut self.areas[half];
            area.fill(block.offset(area.size()));
            self.occupied |= bit(half);
        }
        self.free -= order.pages();
        Some(block)
    }

    /// Gives a block of `order` back, merging it with its buddy as far as that goes.
    #[doc(alias = "__free_one_page")]
    pub fn put(&mut self, pfn: Pfn, order: Order) {
        debug_assert!(pfn.is_aligned(order), "{pfn} is not the start of a block of {order}");
        debug_assert!(self.holds(pfn, order), "{pfn} is not a frame of {}", self.node);
        self.free += order.pages();
        if order > self.largest {
            self.add(usize::from(self.largest.get()), pfn, pfn.offset(order.pages()));
            return;
        }
        let (mut block, mut at) = (pfn, usize::from(order.get()));
        let top = usize::from(self.largest.get());
        while at < top && self.occupied & bit(at) != 0 {
            let area = &mut self.areas[at];
            let buddy = Pfn::new(block.get() ^ area.size().get());
            if !area.remove(buddy, buddy.offset(area.size())) {
                break;
            }
            if area.is_empty() {
                self.occupied &= !bit(at);
            }
            block = block.min(buddy);
            at += 1;
        }
        let end = block.offset(self.areas[at].size());
        self.add(at, block, end);
    }

    /// Recounts: blocks lie inside the spans, are aligned and do not overlap; no two free buddies coexist below the largest
    /// order; the free count and the occupancy mask are what the areas say.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        let mut ranges = Vec::new();
        let mut free = PageCount::ZERO;
        for (n, area) in self.areas.iter().enumerate() {
            let order = order_of(n);
            if (self.occupied >> n & 1 == 1) == area.is_empty() {
                return Err(self.broken(format_args!("the mask is wrong about {order}")));
            }
            for (start, end) in area.runs() {
                let blocks = (end.get() - start.get()) >> n;
                if !start.is_aligned(order) || !self.spans.iter().any(|&(s, e)| s <= start && end <= e) {
                    return Err(self.broken(format_args!("a free run at {start} of {order} lies wrong")));
                }
                if n + 1 < self.areas.len() && blocks > u64::from(!start.is_aligned(order_of(n + 1))) + 1 {
                    return Err(self.broken(format_args!("free buddies at {start} of {order} were not merged")));
                }
                if n + 1 < self.areas.len() && blocks == 2 && start.is_aligned(order_of(n + 1)) {
                    return Err(self.broken(format_args!("free buddies at {start} of {order} were not merged")));
                }
                free += PageCount::new(end.get() - start.get());
                ranges.push((start, end));
            }
        }
        ranges.sort_unstable();
        if ranges.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err(self.broken(format_args!("free blocks overlap")));
        }
        if free != self.free {
            return Err(self.broken(format_args!("{} free by count, {} by the lists", self.free, free)));
        }
        Ok(())
    }

    /// Is the frame free?
    #[must_use]
    pub fn is_free(&self, pfn: Pfn) -> bool {
        self.areas.iter().any(|area| area.runs().any(|(start, end)| start <= pfn && pfn < end))
    }

    #[cold]
    fn take_range(&mut self, order: Order) -> Option<Pfn> {
        let top = usize::from(self.largest.get());
        let align = order.pages().get();
        let start = self.areas[top].runs().rev().find_map(|(start, end)| {
            let base = end.get().checked_sub(align)? & !(align - 1);
            (base >= start.get()).then_some(Pfn::new(base))
        })?;
        let taken = self.areas[top].remove(start, start.offset(order.pages()));
        debug_assert!(taken, "the run was just seen");
        if self.areas[top].is_empty() {
            self.occupied &= !bit(top);
        }
        self.free -= order.pages();
        Some(start)
    }

    fn add_span(&mut self, start: Pfn, end: Pfn) {
        let top = usize::from(self.largest.get());
        let mut at = start;
        while at < end {
            let left = end.get() - at.get();
            let fits = left.ilog2().min(at.get().trailing_zeros()) as usize;
            let n = fits.min(top);
            let pages = PageCount::new(if n == top { left >> top << top } else { 1 << n });
            self.add(n, at, at.offset(pages));
            self.free += pages;
            at = at.offset(pages);
        }
    }

    fn holds(&self, pfn: Pfn, order: Order) -> bool {
        self.spans.iter().any(|&(start, end)| start <= pfn && pfn.offset(order.pages()) <= end)
    }

    #[inline]
    fn add(&mut self, n: usize, start: Pfn, end: Pfn) {
        self.areas[n].insert(start, end);
        self.occupied |= bit(n);
    }

    fn broken(&self, what: fmt::Arguments<'_>) -> Broken {
        Broken(alloc::format!("zone of {}: {what}", self.node))
    }
}

/// Area `n` in the occupancy mask; there are at most 31 areas.
#[inline]
const fn bit(n: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "below 32")]
    1u32.wrapping_shl(n as u32)
}

fn order_of(n: usize) -> Order {
    u8::try_from(n).ok().and_then(Order::try_new).expect("a zone has at most 31 areas")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(pages: u64) -> Zone {
        Zone::new(NodeId::new(0), alloc::vec![(Pfn::new(0), Pfn::new(pages))], Order::new(3)).unwrap()
    }

    #[test]
    fn taking_all_and_giving_back_leaves_what_was_there() {
        let mut zone = zone(21);
        assert_eq!(zone.free_blocks().collect::<Vec<_>>(), [1, 0, 1, 2]);
        let mut taken: Vec<Pfn> = core::iter::from_fn(|| zone.take(Order::ZERO)).collect();
        assert_eq!((taken.len(), zone.free()), (21, PageCount::ZERO));
        taken.sort_by_key(|pfn| pfn.get() * 7 % 21);
        for pfn in taken {
            zone.put(pfn, Order::ZERO);
            zone.validate().unwrap();
        }
        assert_eq!(zone.free_blocks().collect::<Vec<_>>(), [1, 0, 1, 2]);
    }

    #[test]
    fn a_range_above_the_largest_order_is_aligned() {
        let mut zone = zone(64);
        let hole = zone.take(Order::ZERO).unwrap();
        assert_eq!(hole, Pfn::new(56));
        assert_eq!(zone.take(Order::new(5)), Some(Pfn::new(0)));
        assert_eq!(zone.take(Order::new(5)), None);
        zone.put(Pfn::new(0), Order::new(5));
        zone.put(hole, Order::ZERO);
        zone.validate().unwrap();
        assert_eq!(zone.take(Order::new(5)), Some(Pfn::new(32)));
    }
}
