//! Pageblocks in pieces: what is known of their single frames.

use alloc::vec::Vec;

use crate::list::{Link, NIL, Nodes};
use crate::pageblock::Mark;

/// Records of the frames of pageblocks that are neither free nor allocated as a whole. The records of one pageblock are a *page*, and
/// the place of a frame's record its *slot*: number of the page, then number of the frame in its pageblock.
///
/// Two free buddies never coexist below the order of a pageblock, so two frames share one link. A page that is given back is clean:
/// every free block of it was merged away.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    marks: Vec<Mark>,
    links: Vec<Link>,
    /// The pageblock of each page.
    owners: Vec<u32>,
    spare: Vec<u32>,
    /// The order of a pageblock.
    shift: u32,
    /// The bits of a frame inside its pageblock.
    mask: u32,
}

impl Nodes for Frames {
    #[inline]
    fn link(&self, slot: u32) -> Link {
        self.links[(slot >> 1) as usize]
    }

    #[inline]
    fn link_mut(&mut self, slot: u32) -> &mut Link {
        &mut self.links[(slot >> 1) as usize]
    }
}

impl Frames {
    pub(crate) const fn new(shift: u32) -> Self {
        Self {
            marks: Vec::new(),
            links: Vec::new(),
            owners: Vec::new(),
            spare: Vec::new(),
            shift,
            mask: (1 << shift) - 1,
        }
    }

    /// A page for the frames of `block`, all of them allocated.
    #[inline]
    pub(crate) fn refine(&mut self, block: u32) -> u32 {
        let Some(page) = self.spare.pop() else { return self.add(block) };
        self.owners[page as usize] = block;
        page
    }

    /// Gives back a page without any free block.
    #[inline]
    pub(crate) fn coarsen(&mut self, page: u32) {
        self.spare.push(page);
    }

    /// Pages are few beside the frames they stand for, so they grow by an eighth and not to double the number.
    #[cold]
    fn add(&mut self, block: u32) -> u32 {
        let page = self.owners.len();
        if self.owners.capacity() == page {
            let more = (page / 8).max(8);
            self.owners.reserve_exact(more);
            self.marks.reserve_exact(more << self.shift);
            self.links.reserve_exact((more << self.shift).div_ceil(2));
        }
        self.owners.push(block);
        self.marks.resize(self.owners.len() << self.shift, Mark::NONE);
        self.links.resize((self.owners.len() << self.shift).div_ceil(2), Link::NONE);
        u32::try_from(page).unwrap_or(NIL)
    }

    #[inline]
    pub(crate) fn mark(&self, slot: u32) -> Mark {
        self.marks[slot as usize]
    }

    #[inline]
    pub(crate) fn set_mark(&mut self, slot: u32, mark: Mark) {
        self.marks[slot as usize] = mark;
    }

    /// The same for a slot that may not be.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Mark> {
        self.marks.get_mut(slot as usize)
    }

    #[inline]
    pub(crate) fn mark_mut(&mut self, slot: u32) -> &mut Mark {
        &mut self.marks[slot as usize]
    }

    /// The slot of a frame of the pageblock that has `page`.
    #[inline]
    pub(crate) const fn slot(&self, page: u32, frame: u32) -> u32 {
        page.wrapping_shl(self.shift) | (frame & self.mask)
    }

    /// The pageblock of a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: u32) -> u32 {
        self.owners[slot.wrapping_shr(self.shift) as usize]
    }

    /// The frame of a slot.
    #[inline]
    pub(crate) fn frame(&self, slot: u32) -> u64 {
        u64::from(self.owner(slot)).wrapping_shl(self.shift) | u64::from(slot & self.mask)
    }
}
