//! What goes back from a processor's lists to the zone.

use units::{Order, Pfn, ZoneKind};

use crate::alloc_flags::AllocFlags;
use crate::buddy::Placement;
use crate::event::ZoneEvent;
use crate::marks::{Level, MarkCheck};
use crate::pageblock::Mark;
use crate::pcp::{BelowHigh, Early, LISTS, PerCpuPages, ZonePressure};
use crate::stack::Cached;
use crate::zone::{Zone, bit, order_of, size};

impl Zone {
    /// Gives back what may be too much after a block came on its list.
    #[inline(never)]
    pub(crate) fn give_back_after(&mut self, lists: &mut PerCpuPages, pfn: Pfn, order: Order) {
        if let Some(list) = lists.list_of(order, self.migratetype(pfn)) {
            self.give_back_too_much(lists, list, Early::No);
        }
    }

    #[inline(never)]
    pub(crate) fn give_back_too_much(&mut self, lists: &mut PerCpuPages, list: usize, early: Early) {
        let high = lists.may_stay(early, self.pressure);
        if lists.count < high {
            return;
        }
        let pages = lists.surplus(high, early);
        self.give_back(lists, list, pages);
        let check =
            MarkCheck { order: Order::ZERO, level: Level::High, highest: ZoneKind::Movable, flags: AllocFlags::NONE };
        if self.pressure.below_high == BelowHigh::Yes && self.is_above(check) {
            self.set_pressure(ZonePressure { below_high: BelowHigh::No, ..self.pressure });
        }
    }

    /// Gives at least `pages` back from list to list, beginning with `list`: of each the coldest, until it is empty. A block may be
    /// larger than what is left to give; and its pageblock may have another type than when it was freed.
    #[doc(alias = "free_pcppages_bulk")]
    fn give_back(&mut self, lists: &mut PerCpuPages, mut list: usize, pages: u64) {
        let mut left = pages.min(lists.count);
        while left > 0 {
            let order = lists.order_of_list(list);
            let stack = &mut lists.lists[list];
            let blocks = usize::try_from(left.div_ceil(size(order))).unwrap_or(usize::MAX).min(stack.len());
            self.give_back_from(&stack.coldest_first()[..blocks], order);
            stack.drop_coldest(blocks);
            let given = (blocks as u64) << order;
            lists.count -= given;
            left = left.saturating_sub(given);
            list = (list + 1) % LISTS;
        }
    }

    fn give_back_from(&mut self, blocks: &[Cached], order: usize) {
        if self.events.is_some() {
            self.give_back_one_by_one(blocks, order);
        } else if order == 0 {
            self.give_back_pieces(blocks, 0);
        } else if order < self.pageblock {
            self.give_back_pieces(blocks, order);
        } else {
            self.give_back_blocks(blocks, order);
        }
    }

    #[cold]
    fn give_back_one_by_one(&mut self, blocks: &[Cached], order: usize) {
        for block in blocks {
            let one = core::slice::from_ref(block);
            if order < self.pageblock {
                self.give_back_pieces(one, order);
            } else {
                self.give_back_blocks(one, order);
            }
            let (pfn, migratetype) = (block.pfn, self.migratetype(block.pfn));
            self.note(|| ZoneEvent::Drained { pfn, order: order_of(order), migratetype });
        }
    }

    /// Gives back pieces of pageblocks. Those that follow each other in memory are merged before they are put anywhere: that is where they
    /// would end.
    #[inline(always)]
    fn give_back_pieces(&mut self, blocks: &[Cached], order: usize) {
        let mut rest = blocks;
        while let Some((&Cached { place, .. }, behind)) = rest.split_first() {
            let migratetype = self.frames.migratetype(place);
            // Blocks at random places have no right neighbour behind them.
            if place & bit(order) != 0 || behind.first().is_none_or(|next| next.place != place + bit(order)) {
                self.free_piece(place, order, migratetype, Placement::Usual);
                rest = behind;
                continue;
            }
            let joined = joined(rest, order, self.pageblock);
            let pieces = bit(joined - order);
            self.frames.set_marks(place, pieces, order, Mark::NONE);
            self.free_piece(place, joined, migratetype, Placement::Usual);
            rest = &rest[pieces as usize..];
        }
    }

    /// Gives back blocks of at least a pageblock, the halves of a largest block as one.
    fn give_back_blocks(&mut self, blocks: &[Cached], order: usize) {
        let paired = order == self.pageblock && order + 1 == self.top;
        let mut rest = blocks;
        while let Some((&Cached { place, .. }, behind)) = rest.split_first() {
            let record = self.blocks.record(place);
            record.mark = Mark::NONE;
            let migratetype = record.migratetype();
            if paired
                && place & 1 == 0
                && let Some((next, behind)) = behind.split_first()
                && next.place == place + 1
                && let other = self.blocks.record(next.place)
                && other.migratetype() == migratetype
            {
                other.mark = Mark::NONE;
                self.free_top_block(place >> 1, migratetype);
                rest = behind;
                continue;
            }
            self.free_block(place, order, migratetype, Placement::Usual);
            rest = behind;
        }
    }

    /// Gives everything back.
    #[doc(alias = "drain_pages_zone")]
    pub fn drain(&mut self, lists: &mut PerCpuPages) {
        while lists.count > 0 {
            self.give_back(lists, 0, lists.most_at_once());
        }
    }

    /// Gives back a batch, or all if that is less: nobody uses these lists.
    #[doc(alias = "drain_zone_pages")]
    pub fn give_back_a_batch(&mut self, lists: &mut PerCpuPages) {
        let batch = lists.tuning().batch.get();
        self.give_back(lists, 0, batch);
    }

    /// Once a second: lists that grew beyond their least size shrink by an eighth, and give back, batch by batch, what does not
    /// fit any more.
    #[doc(alias = "decay_pcp_high")]
    pub fn decay(&mut self, lists: &mut PerCpuPages) {
        let (batch, least) = (lists.tuning().batch.get(), lists.tuning().high_min.get());
        if lists.high > least {
            let by_count = lists.count.saturating_sub(lists.most_at_once());
            lists.set_high(by_count.max(lists.high - (lists.high >> 3)).max(least));
        }
        let mut left = lists.count.saturating_sub(lists.high);
        while left > 0 {
            let some = left.min(batch);
            self.give_back(lists, 0, some);
            left -= some;
        }
    }
}

/// The order of the largest aligned block, within a pageblock, that the first blocks make, which follow each other upwards. There are two
/// at least.
#[inline]
fn joined(blocks: &[Cached], order: usize, pageblock: usize) -> usize {
    let first = blocks[0].place;
    let most = bit((first.trailing_zeros() as usize).min(pageblock) - order);
    let mut next = first;
    let follows = |block: &&Cached| {
        let follows = block.place == next;
        next = next.wrapping_add(bit(order));
        follows
    };
    order + blocks.iter().take(most as usize).take_while(follows).count().ilog2() as usize
}
