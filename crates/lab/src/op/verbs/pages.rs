//! Ordinary pages of the zones that a scenario describes.

use hugefolio::GfpFlags;

use crate::op::amount::{BlockOrder, Cpu, FrameTotal, Node};
use crate::op::flag::{AccessFlag, AreaFlag, Flags, TaskFlag};
use crate::op::frames::{FrameRange, Gfp, Replies, ZoneName};
use crate::op::name::BlockName;
use crate::op::placement::NodeList;
use crate::op::table::verbs;

verbs! {
    about Pages

    /// Takes a block of pages; answers where it lies (`pfn`, `zone`), the type of its pageblock (`mt`), what was asked on the way (`asked`)
    /// and what happened (`events`). What a request asks that finds nothing at once is answered by `answers`; what they do not answer comes
    /// to nothing.
    AllocPages = "alloc_pages" {
        /// The name that the block gets.
        block: BlockName ["b"];
        /// What the caller wishes and permits.
        gfp: Gfp ["gfp"] or Gfp(GfpFlags::KERNEL);
        /// Its order; 0 if left out.
        order: Option<BlockOrder> ["order"];
        /// The node where the search begins; that of the processor if left out.
        node: Option<Node> ["node"];
        /// The nodes that the request is restricted to.
        mask: Option<NodeList> ["mask"];
        /// Special memory that it may have.
        access: Option<Flags<AccessFlag>> ["access"];
        /// What the task is.
        task: Option<Flags<TaskFlag>> ["task"];
        /// Nodes that the task's cpuset allows.
        mems: Option<NodeList> ["mems"];
        /// What comes of its questions.
        answers: Option<Replies> ["answers"];
    }

    /// Takes single pages, as many as are at hand; answers how many (`done`).
    AllocBulk = "alloc_bulk" {
        /// The name that they get together.
        block: BlockName ["b"];
        /// How many.
        count: FrameTotal ["n"];
        /// What the caller wishes and permits.
        gfp: Gfp ["gfp"] or Gfp(GfpFlags::KERNEL);
        /// The node where the search begins.
        node: Option<Node> ["node"];
    }

    /// Takes exactly so many pages in a row, cut out of a block.
    AllocExact = "alloc_exact" {
        /// The name that they get together.
        block: BlockName ["b"];
        /// How many.
        count: FrameTotal ["n"];
        /// What the caller wishes and permits.
        gfp: Gfp ["gfp"] or Gfp(GfpFlags::KERNEL);
        /// The node where the search begins.
        node: Option<Node> ["node"];
        /// What comes of its questions.
        answers: Option<Replies> ["answers"];
    }

    /// Takes a range of frames, whatever is in it, if that can be moved away.
    AllocContig = "alloc_contig" {
        /// The name that the range gets.
        block: BlockName ["b"];
        /// Its zone.
        at: ZoneName ["z"];
        /// Its frames.
        frames: FrameRange ["pfn"];
        /// What the caller wishes and permits.
        gfp: Gfp ["gfp"] or Gfp(GfpFlags::KERNEL);
        /// Whether it lies in memory that is lent.
        area: Option<Flags<AreaFlag>> ["area"];
        /// What comes of moving each block; what is not answered is moved.
        answers: Option<Replies> ["answers"];
    }

    /// Gives back what has this name.
    FreePages = "free_pages" {
        /// The name.
        block: BlockName ["b"];
    }

    /// The owner of a block says that it can be moved.
    MarkMovable = "mark_movable" {
        /// The block.
        block: BlockName ["b"];
    }

    /// Every processor gives back what it keeps.
    DrainPages = "drain_pages" {}

    /// A second passes for the processor at hand.
    Tick = "tick" {}

    /// Another processor allocates from now on.
    OnCpu = "on_cpu" {
        /// The processor.
        cpu: Cpu ["cpu"];
    }

    /// Compacts a node: for blocks of an order, or as far as it goes.
    Compact = "compact" {
        /// The node.
        node: Node ["node"];
        /// The order of the blocks that are to become free.
        order: Option<BlockOrder> ["order"];
        /// What comes of moving each block; what is not answered is moved.
        answers: Option<Replies> ["answers"];
    }

    /// Takes a pageblock out of use.
    Isolate = "isolate" {
        /// Its zone.
        at: ZoneName ["z"];
        /// A frame of it.
        frames: FrameRange ["pfn"];
    }

    /// Puts a pageblock into use again.
    Unisolate = "unisolate" {
        /// Its zone.
        at: ZoneName ["z"];
        /// A frame of it.
        frames: FrameRange ["pfn"];
    }

    /// Memory comes.
    Online = "online" {
        /// The zone that it is to be in.
        at: ZoneName ["z"];
        /// Its frames.
        frames: FrameRange ["pfn"];
    }

    /// Memory goes.
    Offline = "offline" {
        /// The zone that it is in.
        at: ZoneName ["z"];
        /// Its frames.
        frames: FrameRange ["pfn"];
        /// What comes of moving each block; what is not answered is moved.
        answers: Option<Replies> ["answers"];
    }
}
