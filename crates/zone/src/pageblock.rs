//! What is known of each pageblock.

use alloc::boxed::Box;
use alloc::vec::Vec;

use units::Migratetype;

use crate::list::{Link, NIL, Nodes};

/// The state byte of a frame or pageblock: what starts here, and of which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u8);

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing starts here, or nobody knows of it: it was allocated before the zone was described.
    Nothing,
    /// A free block.
    Free(usize),
    /// An allocated block.
    Used(usize),
    /// An allocated block that its owner can move.
    Movable(usize),
    /// A block on a processor's list.
    Cached(usize),
}

impl Mark {
    pub(crate) const NONE: Self = Self(0);
    const USED: u8 = 0x40;
    const MOVABLE: u8 = Self::USED | Self::CAN_MOVE;
    const CAN_MOVE: u8 = 0x20;
    const CACHED: u8 = 0xa0;
    const FREE: u8 = 0x80;
    /// Beside free: the host knows.
    const REPORTED: u8 = 0x40;
    const FREE_AND_REPORTED: u8 = Self::FREE | Self::REPORTED;
    const ORDER: u8 = 0x1f;

    #[inline]
    const fn of(kind: u8, order: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "orders are below 32")]
        Self(kind | order as u8)
    }

    #[inline]
    pub(crate) const fn free(order: usize) -> Self {
        Self::of(Self::FREE, order)
    }

    #[inline]
    pub(crate) const fn used(order: usize) -> Self {
        Self::of(Self::USED, order)
    }

    #[inline]
    pub(crate) const fn movable(order: usize) -> Self {
        Self::of(Self::MOVABLE, order)
    }

    #[inline]
    pub(crate) const fn cached(order: usize) -> Self {
        Self::of(Self::CACHED, order)
    }

    /// Is this a free block of `order`, whether or not the host knows?
    #[inline]
    pub(crate) const fn is_free(self, order: usize) -> bool {
        self.0 & !Self::REPORTED == Self::free(order).0
    }

    /// The same free block once the host knows.
    pub(crate) const fn reported(order: usize) -> Self {
        Self::of(Self::FREE | Self::REPORTED, order)
    }

    /// Is this an allocated block of `order`?
    #[inline]
    pub(crate) const fn is_used(self, order: usize) -> bool {
        self.0 & !Self::CAN_MOVE == Self::used(order).0
    }

    pub(crate) const fn start(self) -> Start {
        let order = (self.0 & Self::ORDER) as usize;
        match self.0 & !Self::ORDER {
            Self::USED => Start::Used(order),
            Self::MOVABLE => Start::Movable(order),
            Self::CACHED => Start::Cached(order),
            Self::FREE | Self::FREE_AND_REPORTED => Start::Free(order),
            _ => Start::Nothing,
        }
    }

    /// The order of the free block that starts here.
    pub(crate) const fn free_order(self) -> Option<usize> {
        if let Start::Free(order) = self.start() { Some(order) } else { None }
    }

    /// The order of whatever starts here.
    pub(crate) const fn order(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some((self.0 & Self::ORDER) as usize) }
    }
}

/// One pageblock that is not as it was at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pageblock {
    /// On the list of a free block that starts here, unless that is of the largest order: those lists have runs.
    pub(crate) link: Link,
    /// The slot of its first frame; [`NIL`] while it is free or allocated as a whole.
    pub(crate) frames: u32,
    /// What starts at its first frame, if that is as large as the pageblock.
    pub(crate) mark: Mark,
    migratetype: Migratetype,
    /// The type that it will have again when it is not isolated any more; its type otherwise.
    beneath: Migratetype,
}

impl Pageblock {
    const FRESH: Self = Self {
        link: Link::NONE,
        frames: NIL,
        mark: Mark::NONE,
        migratetype: Migratetype::Movable,
        beneath: Migratetype::Movable,
    };

    #[inline]
    pub(crate) const fn migratetype(&self) -> Migratetype {
        self.migratetype
    }
}

/// How many pageblocks have their records together.
const CHUNK: usize = 512;
const CHUNK_SHIFT: u32 = CHUNK.trailing_zeros();

/// Pageblocks of one stretch of memory that came to be used.
#[derive(Clone, Debug)]
struct Chunk {
    blocks: [Pageblock; CHUNK],
    /// How many are not movable.
    deviating: u32,
}

impl Chunk {
    #[cold]
    #[inline(never)]
    fn fresh() -> Box<Self> {
        Box::new(Self { blocks: [Pageblock::FRESH; CHUNK], deviating: 0 })
    }
}

/// All pageblocks of a zone. All are movable at the start, and a stretch that nobody used has no records.
#[derive(Clone, Debug)]
pub(crate) struct Pageblocks {
    chunks: Vec<Option<Box<Chunk>>>,
}

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
        Self { chunks: alloc::vec![None; (blocks as usize).div_ceil(CHUNK)] }
    }

    /// The record of a block, if its stretch was ever used.
    #[inline]
    pub(crate) fn get(&self, block: u32) -> Option<&Pageblock> {
        self.find(block.into())
    }

    /// The record of a block that the zone may not have, if its stretch was ever used.
    #[inline]
    pub(crate) fn find(&self, block: u64) -> Option<&Pageblock> {
        let chunk = self.chunks.get(usize::try_from(block >> CHUNK_SHIFT).ok()?)?.as_ref()?;
        #[expect(clippy::cast_possible_truncation, reason = "below the number of records in a chunk")]
        let at = (block % CHUNK as u64) as usize;
        Some(&chunk.blocks[at])
    }

    /// The same, to change it.
    #[inline]
    pub(crate) fn find_mut(&mut self, block: u64) -> Option<&mut Pageblock> {
        let chunk = self.chunks.get_mut(usize::try_from(block >> CHUNK_SHIFT).ok()?)?.as_mut()?;
        #[expect(clippy::cast_possible_truncation, reason = "below the number of records in a chunk")]
        let at = (block % CHUNK as u64) as usize;
        Some(&mut chunk.blocks[at])
    }

    /// The record of a block, which the zone must have.
    #[inline]
    pub(crate) fn record(&mut self, block: u32) -> &mut Pageblock {
        let chunk = self.chunks[(block >> CHUNK_SHIFT) as usize].get_or_insert_with(Chunk::fresh);
        &mut chunk.blocks[block as usize % CHUNK]
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
    #[inline]
    pub(crate) fn common_type(&self, first: u32, last: u32) -> Option<Migratetype> {
        let chunks = &self.chunks[(first >> CHUNK_SHIFT) as usize..=(last >> CHUNK_SHIFT) as usize];
        let untouched = |chunk: &Option<Box<Chunk>>| chunk.as_ref().is_none_or(|chunk| chunk.deviating == 0);
        if chunks.iter().all(untouched) { Some(Migratetype::Movable) } else { self.common_type_of_each(first, last) }
    }

    fn common_type_of_each(&self, first: u32, last: u32) -> Option<Migratetype> {
        let common = self.migratetype(first);
        let mut block = first;
        while block <= last {
            let at = block >> CHUNK_SHIFT;
            let behind = ((at + 1) << CHUNK_SHIFT).min(last + 1);
            let uniform = self.chunks[at as usize].as_ref().is_none_or(|chunk| chunk.deviating == 0);
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
        if self.beneath(block) != migratetype {
            self.change(block, |b| {
                b.beneath = migratetype;
                if b.migratetype != Migratetype::Isolate {
                    b.migratetype = migratetype;
                }
            });
        }
    }

    pub(crate) fn isolate(&mut self, block: u32) {
        self.change(block, |b| b.migratetype = Migratetype::Isolate);
    }

    pub(crate) fn unisolate(&mut self, block: u32) {
        self.change(block, |b| b.migratetype = b.beneath);
    }

    fn change(&mut self, block: u32, f: impl FnOnce(&mut Pageblock)) {
        let record = self.record(block);
        let before = record.migratetype != Migratetype::Movable;
        f(record);
        let after = record.migratetype != Migratetype::Movable;
        if let Some(chunk) = &mut self.chunks[(block >> CHUNK_SHIFT) as usize] {
            chunk.deviating = chunk.deviating + u32::from(after) - u32::from(before);
        }
    }

    /// Blocks that are not movable, and their types.
    pub(crate) fn deviating(&self) -> impl Iterator<Item = (u32, Migratetype)> {
        self.records().map(|(n, b)| (n, b.migratetype())).filter(|&(_, t)| t != Migratetype::Movable)
    }

    /// The type that an isolated block will have again.
    pub(crate) fn beneath(&self, block: u32) -> Migratetype {
        self.get(block).map_or(Migratetype::Movable, |b| b.beneath)
    }

    /// Every block that has a record.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &Pageblock)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.filter_map(|(at, chunk)| Some((at, chunk.as_ref()?))).flat_map(|(at, chunk)| {
            let first = u32::try_from(at).unwrap_or(NIL) << CHUNK_SHIFT;
            (first..).zip(&chunk.blocks)
        })
    }
}
