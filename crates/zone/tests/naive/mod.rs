//! A zone as a list of single frames and plain lists of blocks, by the rules and without any cleverness.

use std::collections::BTreeMap;

use units::{Migratetype, NodeId, Order, Pfn, ZoneKind};
use zone::{AllocFlags, Grouping, Want, Zone, ZoneLayout};

/// A free block.
pub(crate) type Block = (u64, usize);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Naive {
    pub(crate) spans: Vec<(u64, u64)>,
    pub(crate) top: usize,
    pub(crate) pageblock: usize,
    /// By order and type: first frames from head to tail.
    pub(crate) lists: BTreeMap<(usize, Migratetype), Vec<u64>>,
    /// Pageblocks that are not movable.
    pub(crate) types: BTreeMap<u64, Migratetype>,
    /// Frames whose owner can move them.
    pub(crate) movable: BTreeMap<u64, usize>,
    pub(crate) ungrouped: bool,
}

impl Naive {
    pub(crate) fn new(spans: &[(u64, u64)], top: usize, pageblock: usize) -> Self {
        let mut naive = Self {
            spans: spans.to_vec(),
            top,
            pageblock,
            lists: BTreeMap::new(),
            types: BTreeMap::new(),
            movable: BTreeMap::new(),
            ungrouped: false,
        };
        for &(start, end) in spans {
            let mut at = start;
            while at < end {
                let order = (0..=top)
                    .rev()
                    .find(|&o| at.is_multiple_of(1 << o) && at + (1 << o) <= end)
                    .expect("order 0 always fits");
                naive.list(order, Migratetype::Movable).push(at);
                at += 1 << order;
            }
        }
        naive
    }

    pub(crate) fn zone(&self) -> Zone {
        let layout = ZoneLayout {
            node: NodeId::new(0),
            kind: ZoneKind::Normal,
            spans: self.spans.iter().map(|&(s, e)| (Pfn::new(s), Pfn::new(e))).collect(),
            largest: order(self.top),
            pageblock: order(self.pageblock),
        };
        let mut zone = Zone::new(layout).unwrap_or_else(|error| panic!("{error}"));
        if self.ungrouped {
            zone.set_grouping(Grouping::Off);
        }
        zone
    }

    pub(crate) fn list(&mut self, order: usize, migratetype: Migratetype) -> &mut Vec<u64> {
        self.lists.entry((order, migratetype)).or_default()
    }

    pub(crate) fn of(&self, order: usize, migratetype: Migratetype) -> &[u64] {
        self.lists.get(&(order, migratetype)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn type_of(&self, frame: u64) -> Migratetype {
        self.types.get(&(frame >> self.pageblock)).copied().unwrap_or(Migratetype::Movable)
    }

    pub(crate) fn set_type(&mut self, block: u64, migratetype: Migratetype) {
        let stored =
            if self.ungrouped && migratetype < Migratetype::HighAtomic { Migratetype::Unmovable } else { migratetype };
        if stored == Migratetype::Movable {
            self.types.remove(&block);
        } else {
            self.types.insert(block, stored);
        }
    }

    pub(crate) fn free_pages(&self, of: impl Fn(Migratetype) -> bool) -> u64 {
        self.lists.iter().filter(|((_, t), _)| of(*t)).map(|((o, _), list)| (list.len() as u64) << o).sum()
    }

    pub(crate) fn find(&self, block: Block) -> Option<Migratetype> {
        Migratetype::ALL.into_iter().find(|&t| self.of(block.1, t).contains(&block.0))
    }

    pub(crate) fn unlist(&mut self, block: Block, migratetype: Migratetype) {
        self.list(block.1, migratetype).retain(|&frame| frame != block.0);
    }

    fn expand(&mut self, frame: u64, low: usize, high: usize, migratetype: Migratetype) {
        for o in (low..high).rev() {
            self.list(o, migratetype).insert(0, frame + (1 << o));
        }
    }

    pub(crate) fn smallest(&mut self, want: usize, migratetype: Migratetype) -> Option<u64> {
        let found = (want..=self.top).find(|&o| !self.of(o, migratetype).is_empty())?;
        let frame = self.list(found, migratetype).remove(0);
        self.expand(frame, want, found, migratetype);
        Some(frame)
    }

    pub(crate) fn take(&mut self, want: Want) -> Option<u64> {
        let order = usize::from(want.order.get());
        let has = |flag| want.flags.contains(flag);
        let start = if self.ungrouped { Migratetype::Unmovable } else { want.migratetype };
        let mut taken = if has(AllocFlags::HIGHATOMIC) { self.smallest(order, Migratetype::HighAtomic) } else { None };
        let (lent, all) = (self.free_pages(|t| t == Migratetype::Cma), self.free_pages(|t| t != Migratetype::Isolate));
        if taken.is_none() && has(AllocFlags::CMA) && lent > all / 2 {
            taken = self.smallest(order, Migratetype::Cma);
        }
        taken = taken.or_else(|| self.smallest(order, start));
        if taken.is_none() && has(AllocFlags::CMA) {
            taken = self.smallest(order, Migratetype::Cma);
        }
        taken = taken.or_else(|| self.claim(order, start, has(AllocFlags::NOFRAGMENT)));
        if taken.is_none() && !has(AllocFlags::NOFRAGMENT) {
            taken = self.steal(order, start);
        }
        if taken.is_none() && (has(AllocFlags::OOM) || has(AllocFlags::NON_BLOCK)) {
            taken = self.smallest(order, Migratetype::HighAtomic);
        }
        taken
    }

    fn others(start: Migratetype) -> [Migratetype; 2] {
        match start {
            Migratetype::Unmovable => [Migratetype::Reclaimable, Migratetype::Movable],
            Migratetype::Movable => [Migratetype::Reclaimable, Migratetype::Unmovable],
            _ => [Migratetype::Unmovable, Migratetype::Movable],
        }
    }

    pub(crate) fn claim(&mut self, order: usize, start: Migratetype, whole: bool) -> Option<u64> {
        let size = 1u64 << self.pageblock;
        for found in (0..=self.top).rev() {
            if found < order || whole && order < self.pageblock && found < self.pageblock {
                break;
            }
            let Some(other) = Self::others(start).into_iter().find(|&t| !self.of(found, t).is_empty()) else {
                continue;
            };
            if found < self.pageblock / 2 && start == Migratetype::Movable && !self.ungrouped {
                break;
            }
            let frame = self.of(found, other)[0];
            if found >= self.pageblock {
                self.list(found, other).remove(0);
                for block in frame >> self.pageblock..(frame + (1 << found)) >> self.pageblock {
                    self.set_type(block, start);
                }
                self.expand(frame, order, found, start);
                return Some(frame);
            }
            let block = frame >> self.pageblock;
            let range = block * size..(block + 1) * size;
            let past = self.spans.iter().map(|s| s.1).max().unwrap_or(0);
            if range.start < self.spans[0].0 || range.end > past {
                continue;
            }
            let free: u64 = self.blocks().filter(|b| range.contains(&b.0)).map(|b| 1u64 << b.1).sum();
            let movable: u64 = self.movable.range(range.clone()).map(|(_, &o)| 1u64 << o).sum();
            let alike = match (start, other) {
                (Migratetype::Movable, _) => movable,
                (_, Migratetype::Movable) => size - free - movable,
                _ => 0,
            };
            if free + alike >= size / 2 || self.ungrouped {
                self.move_free(block, other, start);
                self.set_type(block, start);
                return self.smallest(order, start);
            }
        }
        None
    }

    pub(crate) fn steal(&mut self, order: usize, start: Migratetype) -> Option<u64> {
        for found in order..=self.top {
            if let Some(other) = Self::others(start).into_iter().find(|&t| !self.of(found, t).is_empty()) {
                let frame = self.list(found, other).remove(0);
                self.expand(frame, order, found, other);
                return Some(frame);
            }
        }
        None
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        self.lists.iter().flat_map(|(&(o, _), list)| list.iter().map(move |&frame| (frame, o)))
    }

    /// In ascending order of frame to the tail.
    pub(crate) fn move_free(&mut self, block: u64, from: Migratetype, to: Migratetype) {
        let mut inside: Vec<Block> = self.blocks().filter(|b| b.0 >> self.pageblock == block).collect();
        inside.sort_unstable();
        for piece in inside {
            self.unlist(piece, from);
            self.list(piece.1, to).push(piece.0);
        }
    }

    pub(crate) fn put(&mut self, frame: u64, order: usize) {
        for n in 0..1 << order {
            self.movable.remove(&(frame + n));
        }
        let step = order.min(self.pageblock);
        for piece in 0..1 << (order - step) {
            let at = frame + (piece << step);
            self.free_one(at, step, self.type_of(at));
        }
    }

    fn free_one(&mut self, frame: u64, order: usize, migratetype: Migratetype) {
        let (frame, order) = self.merge(frame, order, migratetype);
        let above = (frame & !(1 << order)) ^ (1 << (order + 1));
        let likely = order + 1 < self.top && self.find((above, order + 1)).is_some();
        let list = self.list(order, migratetype);
        let end = if likely { list.len() } else { 0 };
        list.insert(end, frame);
    }

    /// A free block with its buddies: where the whole begins, and its order. It is on no list.
    pub(crate) fn merge(&mut self, mut frame: u64, mut order: usize, migratetype: Migratetype) -> Block {
        while order < self.top {
            let buddy = (frame ^ (1 << order), order);
            let Some(other) = self.find(buddy) else { break };
            let mergeable = |t: Migratetype| t < Migratetype::HighAtomic;
            if other != migratetype && !(mergeable(other) && mergeable(migratetype)) {
                break;
            }
            self.unlist(buddy, other);
            if other != migratetype {
                for block in buddy.0 >> self.pageblock..(buddy.0 + (1 << order)) >> self.pageblock {
                    self.set_type(block, migratetype);
                }
            }
            frame = frame.min(buddy.0);
            order += 1;
        }
        (frame, order)
    }

    /// Everything that can be seen of a zone is here too.
    pub(crate) fn compare(&self, zone: &Zone) {
        zone.validate().unwrap_or_else(|broken| panic!("{broken}\n{self:?}"));
        for o in 0..=self.top {
            for t in Migratetype::ALL {
                let theirs: Vec<u64> = zone.free_list(order(o), t).into_iter().map(Pfn::get).collect();
                assert_eq!(theirs, self.of(o, t), "the list of {t} blocks of order {o}");
            }
        }
        for &(start, end) in &self.spans {
            for frame in (start..end).step_by(1 << self.pageblock) {
                assert_eq!(zone.migratetype(Pfn::new(frame)), self.type_of(frame), "the type at {frame}");
            }
        }
        assert_eq!(zone.free().get(), self.free_pages(|t| t != Migratetype::Isolate));
        assert_eq!(zone.free_cma().get(), self.free_pages(|t| t == Migratetype::Cma));
        assert_eq!(zone.free_highatomic().get(), self.free_pages(|t| t == Migratetype::HighAtomic));
        let counts: Vec<u64> = (0..=self.top).map(|o| self.blocks().filter(|b| b.1 == o).count() as u64).collect();
        assert_eq!(zone.free_blocks().collect::<Vec<_>>(), counts);
    }
}

pub(crate) fn order(n: usize) -> Order {
    Order::new(u8::try_from(n).expect("orders are small"))
}
