//! Pageblocks in pieces: what is known of their single frames.

use alloc::vec::Vec;

use units::Migratetype;

use crate::list::{End, FreeList, Link, NIL, Nodes, TypeLists};
use crate::pageblock::Mark;
use crate::zone::bit;

/// Records of the frames of pageblocks that are neither free nor allocated as a whole. The records of one pageblock are a *page*, and
/// the place of a frame's record its *slot*: number of the page, then number of the frame in its pageblock.
///
/// Two free buddies never coexist below the order of a pageblock, so two frames share one link. A page that is given back is clean:
/// every free block of it was merged away.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    marks: Vec<Mark>,
    links: PairLinks,
    /// The pageblock of each page.
    owners: Vec<Owner>,
    /// The first slots of pages that no pageblock has.
    spare: Vec<u32>,
    /// The order of a pageblock.
    shift: u32,
    /// The bits of a frame inside its pageblock.
    mask: u32,
}

/// Whose page it is.
#[derive(Clone, Copy, Debug)]
struct Owner {
    block: u32,
    /// The type of the pageblock, which its record has too: frees at random places find it here.
    migratetype: Migratetype,
}

/// One link for each two slots.
#[derive(Clone, Debug)]
struct PairLinks(Vec<Link>);

impl Nodes for PairLinks {
    #[inline]
    fn link(&self, slot: u32) -> Link {
        self.0[(slot >> 1) as usize]
    }

    #[inline]
    fn link_mut(&mut self, slot: u32) -> &mut Link {
        &mut self.0[(slot >> 1) as usize]
    }
}

impl Frames {
    /// The free pieces of a list from head to tail.
    pub(crate) fn listed(&self, list: FreeList) -> impl Iterator<Item = u32> {
        list.nodes(&self.links)
    }

    /// Puts a piece on its list.
    #[inline]
    pub(crate) fn push(&mut self, lists: &mut TypeLists, slot: u32, order: usize, end: End) {
        self.marks[slot as usize] = Mark::free(order);
        lists.link(order, &mut self.links, slot, end);
    }

    /// Takes a piece off its list.
    #[inline]
    pub(crate) fn unlink(&mut self, lists: &mut TypeLists, slot: u32, order: usize) {
        self.marks[slot as usize] = Mark::NONE;
        lists.unlink(order, &mut self.links, slot);
    }

    /// Takes the piece at the head of a list.
    #[inline]
    pub(crate) fn pop(&mut self, lists: &mut TypeLists, order: usize) -> Option<u32> {
        let slot = lists.unlink_head(order, &mut self.links)?;
        self.marks[slot as usize] = Mark::NONE;
        Some(slot)
    }

    /// Merges a piece that is on no list with its buddies, as far as these are free, which takes them off their lists. Where the merged
    /// piece starts, whose mark is whatever it was, and its order.
    #[inline]
    pub(crate) fn merge(&mut self, lists: &mut TypeLists, piece: u32, order: usize) -> (u32, usize) {
        let (mut slot, mut at) = (piece, order);
        while bit(at) <= self.mask && self.marks[(slot ^ bit(at)) as usize].is_free(at) {
            lists.unlink(at, &mut self.links, slot ^ bit(at));
            self.marks[(slot | bit(at)) as usize] = Mark::NONE;
            slot &= !bit(at);
            at += 1;
        }
        (slot, at)
    }

    pub(crate) const fn new(shift: u32) -> Self {
        Self {
            marks: Vec::new(),
            links: PairLinks(Vec::new()),
            owners: Vec::new(),
            spare: Vec::new(),
            shift,
            mask: (1 << shift) - 1,
        }
    }

    /// A page for the frames of `block`, all of them allocated: its first slot.
    #[inline]
    pub(crate) fn refine(&mut self, block: u32, migratetype: Migratetype) -> u32 {
        let owner = Owner { block, migratetype };
        let Some(first) = self.spare.pop() else { return self.add(owner) };
        self.owners[first.wrapping_shr(self.shift) as usize] = owner;
        first
    }

    /// The pageblock whose first frame has this slot has another type now.
    pub(crate) fn retype(&mut self, first: u32, migratetype: Migratetype) {
        self.owners[first.wrapping_shr(self.shift) as usize].migratetype = migratetype;
    }

    /// Gives back a page without any free block.
    #[inline]
    pub(crate) fn coarsen(&mut self, first: u32) {
        self.spare.push(first);
    }

    /// Pages are few beside the frames they stand for, so they grow by an eighth and not to double the number.
    #[cold]
    fn add(&mut self, owner: Owner) -> u32 {
        let page = self.owners.len();
        if self.owners.capacity() == page {
            let more = (page / 8).max(8);
            self.owners.reserve_exact(more);
            self.marks.reserve_exact(more << self.shift);
            self.links.0.reserve_exact((more << self.shift).div_ceil(2));
        }
        self.owners.push(owner);
        self.marks.resize(self.owners.len() << self.shift, Mark::NONE);
        self.links.0.resize((self.owners.len() << self.shift).div_ceil(2), Link::NONE);
        u32::try_from(page << self.shift).unwrap_or(NIL)
    }

    #[inline]
    pub(crate) fn mark(&self, slot: u32) -> Mark {
        self.marks[slot as usize]
    }

    #[inline]
    pub(crate) fn set_mark(&mut self, slot: u32, mark: Mark) {
        self.marks[slot as usize] = mark;
    }

    /// Gives pieces of `order` that follow each other the same mark.
    #[inline]
    pub(crate) fn set_marks(&mut self, slot: u32, pieces: u32, order: usize, mark: Mark) {
        let first = slot as usize;
        let marks = &mut self.marks[first..first + ((pieces as usize) << order)];
        match order {
            0 => marks.fill(mark),
            order => marks.iter_mut().step_by(1 << order).for_each(|at| *at = mark),
        }
    }

    /// The mark of a slot that may not be.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Mark> {
        self.marks.get_mut(slot as usize)
    }

    #[inline]
    pub(crate) fn mark_mut(&mut self, slot: u32) -> &mut Mark {
        &mut self.marks[slot as usize]
    }

    /// The slot of a frame of the pageblock whose first frame has slot `first`. Where that has none, this is no slot either.
    #[inline]
    pub(crate) const fn slot(&self, first: u32, frame: u32) -> u32 {
        first | (frame & self.mask)
    }

    /// Is this the first frame of a pageblock?
    #[inline]
    pub(crate) const fn is_first(&self, frame: u64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "only the bits inside a pageblock count")]
        let inside = frame as u32 & self.mask;
        inside == 0
    }

    /// The pageblock of a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: u32) -> u32 {
        self.owners[slot.wrapping_shr(self.shift) as usize].block
    }

    /// The type of the pageblock of a slot.
    #[inline]
    pub(crate) fn migratetype(&self, slot: u32) -> Migratetype {
        self.owners[slot.wrapping_shr(self.shift) as usize].migratetype
    }

    /// The frame of a slot.
    #[inline]
    pub(crate) fn frame(&self, slot: u32) -> u64 {
        u64::from(self.owner(slot)).wrapping_shl(self.shift) | u64::from(slot & self.mask)
    }
}
