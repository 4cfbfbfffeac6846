//! Blocks that users of a machine hold, each under a name that stays the same when the block is moved.

use alloc::collections::BTreeMap;
use alloc::string::String;

use policy::ZoneRef;
use slotmap::SlotMap;
use units::{BlockId, Order, Pfn};

use crate::contig::{Move, Moved};

/// A block that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HeldBlock {
    /// Its first frame, for now.
    pub pfn: Pfn,
    /// Its order.
    pub order: Order,
    /// Where it lies, for now.
    pub zone: ZoneRef,
    /// Whether it can be moved at all.
    pub mobility: Mobility,
    /// How many want it to stay where it is.
    pub pins: u32,
}

/// Whether whoever holds a block could do with another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mobility {
    /// Its contents can be moved while nobody pins it.
    Movable,
    /// It stays where it is.
    Fixed,
}

/// A block cannot be given back, pinned or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Nobody holds a block under that name.
    #[error("there is no such block: it was given back")]
    NoSuchBlock,
    /// Somebody wants it to stay.
    #[error("the block at {pfn} is pinned {pins} times")]
    Pinned {
        /// Its first frame.
        pfn: Pfn,
        /// How often.
        pins: u32,
    },
    /// Nobody does.
    #[error("the block at {0} is not pinned")]
    NotPinned(Pfn),
}

/// All blocks that somebody holds.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    blocks: SlotMap<BlockId, HeldBlock>,
    by_frame: BTreeMap<Pfn, BlockId>,
    movable: u64,
}

impl Blocks {
    /// Nobody holds any.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody holds a block from now on.
    pub fn take(&mut self, block: HeldBlock) -> BlockId {
        let id = self.blocks.insert(block);
        self.by_frame.insert(block.pfn, id);
        self.movable += u64::from(block.mobility == Mobility::Movable);
        id
    }

    /// Nobody holds it any more.
    ///
    /// # Errors
    /// There is no such block, or it is pinned.
    pub fn put(&mut self, id: BlockId) -> Result<HeldBlock, BlockError> {
        let block = self.get(id).ok_or(BlockError::NoSuchBlock)?;
        if block.pins > 0 {
            return Err(BlockError::Pinned { pfn: block.pfn, pins: block.pins });
        }
        self.blocks.remove(id);
        self.by_frame.remove(&block.pfn);
        self.movable -= u64::from(block.mobility == Mobility::Movable);
        Ok(block)
    }

    /// A block.
    #[must_use]
    pub fn get(&self, id: BlockId) -> Option<HeldBlock> {
        self.blocks.get(id).copied()
    }

    /// The block that starts at a frame.
    #[must_use]
    pub fn at(&self, pfn: Pfn) -> Option<(BlockId, HeldBlock)> {
        let id = *self.by_frame.get(&pfn)?;
        Some((id, self.get(id)?))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (BlockId, &HeldBlock)> {
        self.blocks.iter()
    }

    /// Is there any that could be moved?
    #[must_use]
    pub const fn any_movable(&self) -> bool {
        self.movable > 0
    }

    /// The block stays where it is from now on.
    ///
    /// # Errors
    /// There is no such block.
    pub fn pin(&mut self, id: BlockId) -> Result<(), BlockError> {
        let block = self.blocks.get_mut(id).ok_or(BlockError::NoSuchBlock)?;
        block.pins = block.pins.saturating_add(1);
        Ok(())
    }

    /// One reason less for it to stay.
    ///
    /// # Errors
    /// There is no such block, or nobody pins it.
    pub fn unpin(&mut self, id: BlockId) -> Result<(), BlockError> {
        let block = self.blocks.get_mut(id).ok_or(BlockError::NoSuchBlock)?;
        block.pins = block.pins.checked_sub(1).ok_or(BlockError::NotPinned(block.pfn))?;
        Ok(())
    }

    /// Moves a block to other frames, if whoever holds it lets it go.
    pub(crate) fn relocate(&mut self, to: &Move) -> Moved {
        let Some(&id) = self.by_frame.get(&to.from) else { return Moved::Busy };
        let Some(block) = self.blocks.get_mut(id) else { return Moved::Busy };
        if block.order != to.order || block.mobility == Mobility::Fixed || block.pins > 0 {
            return Moved::Busy;
        }
        (block.pfn, block.zone) = (to.to, to.zone);
        self.by_frame.remove(&to.from);
        self.by_frame.insert(to.to, id);
        Moved::Moved
    }

    /// Recounts.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        let movable = self.blocks.values().filter(|block| block.mobility == Mobility::Movable).count();
        if u64::try_from(movable) != Ok(self.movable) {
            return Err(alloc::format!("{} movable blocks are counted, there are {movable}", self.movable));
        }
        let known = |(id, block): (BlockId, &HeldBlock)| self.by_frame.get(&block.pfn) == Some(&id);
        if self.blocks.len() != self.by_frame.len() || !self.blocks.iter().all(known) {
            return Err(String::from("a held block is not found by its frame"));
        }
        Ok(())
    }
}
