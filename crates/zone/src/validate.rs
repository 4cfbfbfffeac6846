//! The recount of a zone.

use alloc::vec::Vec;

use memmap::Broken;
use units::{Migratetype, Order, Pfn};

use crate::list::NIL;
use crate::pageblock::{Mark, Start};
use crate::zone::{Zone, order_of};

/// Free blocks that follow each other in memory and on their list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    /// The lowest frame.
    frame: u64,
    end: u64,
    order: usize,
    migratetype: Migratetype,
}

impl Zone {
    /// Recounts: every free block lies aligned inside a span, on the list of its pageblock's type and nowhere else, and is marked as
    /// what it is; nothing else is marked free; buddies are merged wherever their types let them; the counts are what the lists say.
    ///
    /// # Errors
    /// The first invariant found broken.
    pub fn validate(&self) -> Result<(), Broken> {
        let mut all = Vec::new();
        for order in 0..=self.top {
            for migratetype in Migratetype::ALL {
                let lists = &self.lists[migratetype.index()];
                let (list, occupied) = (*lists.of(order), lists.occupied >> order & 1 == 1);
                let extents = self.extents(order, migratetype);
                let counted = extents.iter().map(|e| (e.end - e.frame) >> order).sum::<u64>();
                all.extend(extents);
                if occupied != (counted > 0) || list.blocks != counted || list.is_empty() != (counted == 0) {
                    let name = order_of(order);
                    return Err(self.broken(format_args!(
                        "the list of {migratetype} {name} has {counted} blocks, not {}",
                        list.blocks
                    )));
                }
            }
        }
        all.iter().try_for_each(|extent| self.check_extent(extent))?;
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].end > pair[1].frame) {
            let (a, b) = (self.pfn(pair[0].frame), self.pfn(pair[1].frame));
            return Err(self.broken(format_args!("the free blocks at {a} and {b} overlap")));
        }
        self.check_owners()?;
        self.check_merged(&all)?;
        self.check_marks(&all)?;
        self.check_counts(&all)
    }

    fn extents(&self, order: usize, migratetype: Migratetype) -> Vec<Extent> {
        let list = *self.lists[migratetype.index()].of(order);
        let extent = |frame: u64, blocks: u64| Extent { frame, end: frame + (blocks << order), order, migratetype };
        if order == self.top {
            let run = |(a, b): (u32, u32)| extent(u64::from(a.min(b)) << order, u64::from(a.abs_diff(b)) + 1);
            self.runs.of(list).map(run).collect()
        } else if order < self.pageblock {
            self.frames.listed(list).map(|slot| extent(self.frames.frame(slot), 1)).collect()
        } else {
            list.nodes(&self.blocks).map(|block| extent(u64::from(block) << self.pageblock, 1)).collect()
        }
    }

    /// The blocks on one list, from head to tail.
    #[must_use]
    pub fn free_list(&self, order: Order, migratetype: Migratetype) -> Vec<Pfn> {
        let order = usize::from(order.get());
        if order != self.top {
            return self.extents(order, migratetype).iter().map(|e| self.pfn(e.frame)).collect();
        }
        let list = *self.lists[migratetype.index()].of(order);
        let blocks = self.runs.of(list).flat_map(|(first, last)| {
            let (low, high) = (first.min(last), first.max(last));
            (low..=high).map(move |n| if first <= last { n } else { high - (n - low) })
        });
        blocks.map(|block| self.pfn(u64::from(block) << order)).collect()
    }

    /// Is the frame free?
    #[must_use]
    pub fn is_free(&self, pfn: Pfn) -> bool {
        let Some(frame) = pfn.get().checked_sub(self.base) else { return false };
        let lists = (0..=self.top).flat_map(|order| Migratetype::ALL.map(|migratetype| (order, migratetype)));
        lists.into_iter().any(|(order, migratetype)| {
            self.extents(order, migratetype).iter().any(|extent| (extent.frame..extent.end).contains(&frame))
        })
    }

    fn check_extent(&self, extent: &Extent) -> Result<(), Broken> {
        let Extent { frame, end, order, migratetype } = *extent;
        let (pfn, past, name) = (self.pfn(frame), self.pfn(end), order_of(order));
        if !pfn.is_aligned(name) || !self.layout.spans.iter().any(|&(s, e)| s <= pfn && past <= e) {
            return Err(self.broken(format_args!("the free block of {name} at {pfn} lies wrong")));
        }
        if let Some(kept) = self.first_reserved(pfn, past) {
            return Err(self.broken(format_args!("{kept} is reserved and in the free block of {name} at {pfn}")));
        }
        if self.blocks.common_type(self.block(frame), self.block(end - 1)) != Some(migratetype) {
            let what = "is not of the type of its pageblocks";
            return Err(self.broken(format_args!("the free block of {migratetype} {name} at {pfn} {what}")));
        }
        let mark = if order == self.top { Some(Mark::free(order)) } else { self.mark_of(frame, order) };
        if !mark.is_some_and(|mark| mark.is_free(order)) {
            return Err(self.broken(format_args!("the free block of {name} at {pfn} is marked {mark:?}")));
        }
        Ok(())
    }

    fn mark_of(&self, frame: u64, order: usize) -> Option<Mark> {
        let record = self.blocks.get(self.block(frame))?;
        if order >= self.pageblock {
            return Some(record.mark);
        }
        let inside = u32::try_from(frame & ((1 << self.pageblock) - 1)).ok()?;
        (record.frames != NIL).then(|| self.frames.mark(self.frames.slot(record.frames, inside)))
    }

    /// The records of frames know whose they are.
    fn check_owners(&self) -> Result<(), Broken> {
        let refined = self.blocks.records().filter(|(_, record)| record.frames != NIL);
        for (block, record) in refined {
            let known = (self.frames.owner(record.frames), self.frames.migratetype(record.frames));
            if known != (block, record.migratetype()) {
                let start = self.pfn(u64::from(block) << self.pageblock);
                return Err(self.broken(format_args!("the frames of {start} are taken for others: {known:?}")));
            }
        }
        Ok(())
    }

    /// Below the order of a pageblock buddies never coexist. Above it they do where they may not merge, and where blocks were
    /// moved to their lists without merging.
    fn check_merged(&self, sorted: &[Extent]) -> Result<(), Broken> {
        let unmerged = sorted.windows(2).find(|pair| {
            let (a, b) = (pair[0], pair[1]);
            a.order == b.order && a.order < self.pageblock.min(self.top) && a.frame ^ b.frame == 1 << a.order
        });
        let Some(pair) = unmerged else { return Ok(()) };
        Err(self.broken(format_args!(
            "free buddies at {} of {} were not merged",
            self.pfn(pair[0].frame),
            order_of(pair[0].order)
        )))
    }

    /// Whatever is marked free is on a list, and whatever is marked as handed out is neither free nor handed out twice.
    fn check_marks(&self, sorted: &[Extent]) -> Result<(), Broken> {
        let listed = |frame: u64, order: usize| {
            sorted.binary_search_by_key(&frame, |extent| extent.frame).is_ok_and(|at| sorted[at].order == order)
        };
        let mut spans: Vec<(u64, u64)> = sorted.iter().map(|extent| (extent.frame, extent.end)).collect();
        for (frame, mark) in self.marked() {
            match (mark.start(), mark.order()) {
                (Start::Free(order), _) if !listed(frame, order) => {
                    return Err(self.broken(format_args!("{} is marked free and on no list", self.pfn(frame))));
                }
                (Start::Used(_) | Start::Movable(_) | Start::Cached(_), Some(order)) => {
                    spans.push((frame, frame + (1 << order)));
                }
                _ => (),
            }
        }
        spans.sort_unstable();
        match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => {
                let (a, b) = (self.pfn(pair[0].0), self.pfn(pair[1].0));
                Err(self.broken(format_args!("the blocks at {a} and {b} overlap, and one of them is allocated")))
            }
            None => Ok(()),
        }
    }

    /// Every frame at which something starts, as far as marks say.
    fn marked(&self) -> impl Iterator<Item = (u64, Mark)> {
        self.blocks.records().flat_map(move |(block, record)| {
            let whole = (u64::from(block) << self.pageblock, record.mark);
            let frames = if record.frames == NIL { 0 } else { 1 << self.pageblock };
            let piece = move |n: u32| (whole.0 + u64::from(n), self.frames.mark(self.frames.slot(record.frames, n)));
            core::iter::once(whole).chain((0..frames).map(piece)).filter(|&(_, mark)| mark != Mark::NONE)
        })
    }

    fn check_counts(&self, all: &[Extent]) -> Result<(), Broken> {
        let of = |f: &dyn Fn(Migratetype) -> bool| -> u64 {
            all.iter().filter(|extent| f(extent.migratetype)).map(|extent| extent.end - extent.frame).sum()
        };
        let counts = [
            ("free", self.free().get(), of(&|t| t != Migratetype::Isolate)),
            ("free and lent", self.free_cma, of(&|t| t == Migratetype::Cma)),
            ("free and kept for urgent requests", self.free_highatomic, of(&|t| t == Migratetype::HighAtomic)),
            ("isolated", self.isolated_blocks << self.pageblock, self.pages_of_type(Migratetype::Isolate)),
            ("kept for urgent requests", self.reserved_highatomic, self.pages_of_type(Migratetype::HighAtomic)),
        ];
        match counts.into_iter().find(|(_, count, found)| count != found) {
            Some((what, count, found)) => {
                Err(self.broken(format_args!("{count} pages {what} by count, {found} by the lists")))
            }
            None => Ok(()),
        }
    }

    /// Base pages in pageblocks of a type; an isolated one has, beside isolation, the type beneath.
    pub(crate) fn pages_of_type(&self, migratetype: Migratetype) -> u64 {
        let is = |&block: &u32| match migratetype {
            Migratetype::Isolate => self.blocks.migratetype(block) == Migratetype::Isolate,
            beneath => self.blocks.beneath(block) == beneath,
        };
        (self.blocks.deviating().map(|(block, _)| block).filter(is).count() as u64) << self.pageblock
    }
}
