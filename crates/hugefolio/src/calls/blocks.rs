//! Ordinary pages of a machine, taken and given back in blocks.

use page_alloc::{BlockError, ContigError, HeldBlock, NoPages, PageRequest};
use policy::Placement;
use units::{BlockId, GfpFlags, HugeIndex, NodeId, Order, Pfn, Pid};

use super::{CallError, Env};

/// What users of ordinary pages do. A block has a name that stays the same when it is moved to other frames.
///
/// ```
/// use hugefolio::pages::PageRequest;
/// use hugefolio::{Admin, Bytes, GfpFlags, Machine, NodeId, Order, Pages};
///
/// let node = NodeId::new(0);
/// let mut machine = Machine::builder().node(node, Bytes::mib(64)).build()?;
/// let request = PageRequest::new(Order::new(2), GfpFlags::HIGHUSER_MOVABLE, node);
/// let block = machine.alloc_pages(&request)?;
/// assert!(machine.read_file("/proc/buddyinfo")?.contains("zone    DMA32"));
/// machine.free_pages(block)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Pages: Env + Sized {
    /// Takes a block. One that is asked for as [`GfpFlags::MOVABLE`] can be moved by compaction, and to make room for a gigantic page.
    ///
    /// # Errors
    /// The request contradicts itself, or no zone that it may use has a block.
    #[doc(alias = "__alloc_pages")]
    fn alloc_pages(&mut self, request: &PageRequest) -> Result<BlockId, NoPages> {
        let placement = Placement { nodemask: request.nodemask, ..Placement::local(request.node) };
        page_alloc::take_block(self, request, &placement)
    }

    /// Takes a block for a process: where its policy and its cpuset want it.
    ///
    /// # Errors
    /// No such process, or as [`Pages::alloc_pages`].
    #[doc(alias("alloc_pages_mpol", "folio_alloc_mpol"))]
    fn alloc_pages_for(&mut self, pid: Pid, order: Order, gfp: GfpFlags) -> Result<BlockId, CallError<NoPages>> {
        let origin = self.with_process(pid, |process| process.origin.clone()).ok_or(CallError::NoProcess)?;
        let weights = self.weights();
        let placement = origin.policy.interpret(origin.local, origin.allowed, HugeIndex::ZERO, &weights);
        let mut request = PageRequest::new(order, gfp, placement.nid);
        (request.task.allowed, request.task.walled) = (origin.allowed, origin.allowed);
        Ok(page_alloc::take_block(self, &request, &placement)?)
    }

    /// Takes exactly the frames from `pfn` on, as one block, after what is in them was moved away: blocks that can be, and huge pages, of which free
    /// ones are replaced on their node and others moved. The counters of their pools stay.
    ///
    /// # Errors
    /// Something stays, or there is nowhere to move it to.
    #[doc(alias = "alloc_contig_range")]
    fn take_frames(&mut self, pfn: Pfn, order: Order, gfp: GfpFlags) -> Result<BlockId, ContigError> {
        page_alloc::take_frames(self, pfn, order, gfp)
    }

    /// Gives a block back.
    ///
    /// # Errors
    /// There is no such block, or it is pinned.
    #[doc(alias = "__free_pages")]
    fn free_pages(&mut self, block: BlockId) -> Result<(), BlockError> {
        page_alloc::put_block(self, block)
    }

    /// Where a block is now.
    fn block(&mut self, block: BlockId) -> Option<HeldBlock> {
        self.with_blocks(|blocks| blocks.get(block))
    }

    /// Keeps a block where it is.
    ///
    /// # Errors
    /// There is no such block.
    #[doc(alias = "pin_user_pages")]
    fn pin_pages(&mut self, block: BlockId) -> Result<(), BlockError> {
        self.with_blocks(|blocks| blocks.pin(block))
    }

    /// One reason less for a block to stay.
    ///
    /// # Errors
    /// There is no such block, or nobody pins it.
    #[doc(alias = "unpin_user_page")]
    fn unpin_pages(&mut self, block: BlockId) -> Result<(), BlockError> {
        self.with_blocks(|blocks| blocks.unpin(block))
    }

    /// Gives back what processors keep of all zones. On a shared machine others do so when they next have to do with a zone.
    #[doc(alias = "drain_all_pages")]
    fn drain_pages(&mut self) {
        for zone in super::pages::zones(self) {
            self.drain_all(zone);
        }
    }

    /// Compacts all zones of a node, as writing its file `compact` does.
    #[doc(alias = "compact_node")]
    fn compact_pages(&mut self, node: NodeId) {
        page_alloc::compact_node(self, node);
    }
}

impl<P: Env> Pages for P {}
