//! What is known of each pageblock.

use alloc::boxed::Box;
use alloc::vec::Vec;

use units::{Migratetype, Order};

use crate::list::{Link, NIL, Nodes};

/// The state byte of a frame or block: the order of the free block that starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u8);

impl Mark {
    /// No free block starts here.
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    pub(crate) const fn free(order: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "orders are below 16")]
        Self(0x80 | order as u8)
    }

    /// The block of `order` that starts here is allocated, and its owner can move it.
    pub(crate) const fn movable(order: Order) -> Self {
        Self(0x40 | order.get())
    }

    /// The order of the free block that starts here.
    pub(crate) const fn free_order(self) -> Option<usize> {
        if self.0 & 0x80 != 0 { Some((self.0 & 0x1f) as usize) } else { None }
    }

    /// The order of the allocated block that starts here and can be moved.
    pub(crate) const fn movable_order(self) -> Option<usize> {
        if self.0 & 0x40 != 0 { Some((self.0 & 0x1f) as usize) } else { None }
    }
}

/// One pageblock that is not as it was at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pageblock {
    /// On the list of a free block that starts here, unless that is of the largest order: those lists have runs.
    pub(crate) link: Link,
    /// The records of its frames; [`NIL`] while it is free or allocated as a whole.
    pub(crate) frames: u32,
    /// What starts at its first frame, if that is as large as the pageblock.
    pub(crate) mark: Mark,
    migratetype: Migratetype,
    isolated: bool,
}

impl Pageblock {
    const FRESH: Self =
        Self { link: Link::NONE, frames: NIL, mark: Mark::NONE, migratetype: Migratetype::Movable, isolated: false };

    #[inline]
    pub(crate) const fn migratetype(&self) -> Migratetype {
        if self.isolated { Migratetype::Isolate } else { self.migratetype }
    }
}

/// Pageblocks of one stretch of memory that came to be used.
#[derive(Clone, Debug, Default)]
struct Chunk {
    blocks: Box<[Pageblock]>,
    /// How many are not movable.
    deviating: u32,
}

impl Chunk {
    #[cold]
    #[inline(never)]
    fn make(&mut self, mask: u32) {
        self.blocks = alloc::vec![Pageblock::FRESH; mask as usize + 1].into_boxed_slice();
    }
}

/// All pageblocks of a zone. All are movable at the start, and a stretch that nobody used has no records.
#[derive(Clone, Debug)]
pub(crate) struct Pageblocks {
    /// One that has no records was never used.
    chunks: Vec<Chunk>,
    /// Records of one chunk, as a power of two.
    chunk_shift: u32,
    /// One less than these.
    mask: u32,
}

/// Records of one chunk in a large zone.
const CHUNK_SHIFT: u32 = 9;

impl Nodes for Pageblocks {
    #[inline]
    fn link(&self, block: u32) -> Link {
        self.get(block).map_or(Link::NONE, |b| b.link)
    }

    #[inline]
    fn link_mut(&mut self, block: u32) -> &mut Link {
        &mut self.record(block).link
    }
}

impl Pageblocks {
    pub(crate) fn new(blocks: u32) -> Self {
        let chunk_shift = blocks.next_power_of_two().trailing_zeros().min(CHUNK_SHIFT);
        let chunks = (blocks as usize).div_ceil(1 << chunk_shift);
        Self { chunks: alloc::vec![Chunk::default(); chunks], chunk_shift, mask: (1 << chunk_shift) - 1 }
    }

    /// The record of a block, if its stretch was ever used.
    #[inline]
    pub(crate) fn get(&self, block: u32) -> Option<&Pageblock> {
        let chunk = self.chunks.get(block.wrapping_shr(self.chunk_shift) as usize)?;
        chunk.blocks.get((block & self.mask) as usize)
    }

    /// The record of a block, which the zone must have.
    #[inline]
    pub(crate) fn record(&mut self, block: u32) -> &mut Pageblock {
        let chunk = &mut self.chunks[block.wrapping_shr(self.chunk_shift) as usize];
        if chunk.blocks.is_empty() {
            chunk.make(self.mask);
        }
        &mut chunk.blocks[(block & self.mask) as usize]
    }

    #[inline]
    pub(crate) fn mark(&self, block: u32) -> Mark {
        self.get(block).map_or(Mark::NONE, |b| b.mark)
    }

    #[inline]
    pub(crate) fn migratetype(&self, block: u32) -> Migratetype {
        self.get(block).map_or(Migratetype::Movable, Pageblock::migratetype)
    }

    /// The type that all blocks from `first` to `last` have, if they have the same.
    pub(crate) fn common_type(&self, first: u32, last: u32) -> Option<Migratetype> {
        let common = self.migratetype(first);
        let mut block = first;
        while block <= last {
            let at = block >> self.chunk_shift;
            let behind = ((at + 1) << self.chunk_shift).min(last + 1);
            let uniform = self.chunks.get(at as usize).is_none_or(|chunk| chunk.deviating == 0);
            if uniform && common != Migratetype::Movable {
                return None;
            }
            if !uniform && (block..behind).any(|b| self.migratetype(b) != common) {
                return None;
            }
            block = behind;
        }
        Some(common)
    }

    /// Gives a block a type. Isolation comes and goes with [`Pageblocks::isolate`], and the type stays beneath.
    pub(crate) fn set_migratetype(&mut self, block: u32, migratetype: Migratetype) {
        debug_assert!(migratetype != Migratetype::Isolate, "isolation is a state beside the type");
        if self.get(block).map_or(Migratetype::Movable, |b| b.migratetype) != migratetype {
            self.change(block, |b| b.migratetype = migratetype);
        }
    }

    pub(crate) fn isolate(&mut self, block: u32) {
        self.change(block, |b| b.isolated = true);
    }

    pub(crate) fn unisolate(&mut self, block: u32) {
        self.change(block, |b| b.isolated = false);
    }

    fn change(&mut self, block: u32, f: impl FnOnce(&mut Pageblock)) {
        let record = self.record(block);
        let before = record.migratetype() != Migratetype::Movable;
        f(record);
        let after = record.migratetype() != Migratetype::Movable;
        let chunk = &mut self.chunks[(block >> self.chunk_shift) as usize];
        chunk.deviating = chunk.deviating + u32::from(after) - u32::from(before);
    }

    /// Blocks that are not movable, and their types.
    pub(crate) fn deviating(&self) -> impl Iterator<Item = (u32, Migratetype)> {
        self.records().map(|(n, b)| (n, b.migratetype())).filter(|&(_, t)| t != Migratetype::Movable)
    }

    /// The type that an isolated block will have again.
    pub(crate) fn beneath(&self, block: u32) -> Migratetype {
        self.get(block).map_or(Migratetype::Movable, |b| b.migratetype)
    }

    /// Every block that has a record.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &Pageblock)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(move |(at, chunk)| {
            let first = u32::try_from(at).unwrap_or(NIL) << self.chunk_shift;
            (first..).zip(&*chunk.blocks)
        })
    }
}
