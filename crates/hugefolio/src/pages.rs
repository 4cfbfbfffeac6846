//! The page allocator as an isolated instance.
//!
//! A [`PageAllocator`] is built from zones as they stand, without history. A request is served at once, or becomes an [`Allocation`]
//! that asks its caller what to do next; so every way through it can be scripted.
//!
//! ```
//! use hugefolio::pages::{Answer, Attempted, PageAllocator, PageRequest, Question, Rules};
//! use hugefolio::{GfpFlags, Migratetype, NodeId, Nodemask, Order, PageCount, Pfn, Topology, Zone, ZoneKind};
//! use hugefolio::{ZoneLayout, ZoneState};
//!
//! // Four pageblocks, all in use: nothing is free.
//! let node = NodeId::new(0);
//! let state = ZoneState::allocated(ZoneLayout {
//!     node,
//!     kind: ZoneKind::Normal,
//!     spans: vec![(Pfn::new(0), Pfn::new(2048))],
//!     largest: Order::new(10),
//!     pageblock: Order::new(9),
//! });
//! let zone = Zone::from_state(&state)?;
//! let topology = Topology::new(Nodemask::of(node), |_, _| 10)?;
//! let mut pages = PageAllocator::new(topology, Rules::default(), &[node], [zone])?;
//!
//! let request = PageRequest::new(Order::new(0), GfpFlags::KERNEL, node);
//! let Attempted::Slow(mut request) = pages.alloc(&request)? else { panic!("nothing is free") };
//! assert_eq!(request.begin(&mut pages), Question::Reclaim);
//! // Reclaim gives one page back, and the request gets it.
//! let zone = hugefolio::ZoneRef { node, kind: ZoneKind::Normal };
//! pages.free(zone, Pfn::new(7), Order::new(0))?;
//! let end = request.answer(&mut pages, Answer::Reclaimed(PageCount::new(1)));
//! assert!(matches!(end, Question::Done(block) if block.pfn == Pfn::new(7)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use page_alloc::gfp::{COSTLY, highest_zone, migratetype, reserve_flags, slow_flags};
pub use page_alloc::{
    Access, Allocation, AllocatorError, Answer, Area, Attempt, Attempted, BadPage, Bank, Block, Bulk, BulkMark,
    CmaAlloc, CmaArea, CmaCounts, CmaError, CmaQuestion, CompactEnd, CompactQuestion, CompactState, Compacted,
    Compaction, Compactor, Content, Context, ContextError, Contig, ContigError, ContigQuestion, ContigRange,
    ContigRequest, Cookie, Counters, Cpusets, Defrag, Direct, Dirty, Drift, ExactRange, Extent, FailPages, Fate, Flip,
    FreeMapping, Growth, Guards, HookStep, HotplugError, IoScope, Killer, Knobs, Kswapd, ListSize, Mapping, Move,
    MoveReason, Moved, NearReclaim, NearReclaimMode, NoBlock, NodeState, Nodes, Offline, OfflineQuestion, OwnLists,
    OwnedBlock, Owner, PageAllocator, PageEvent, PageHooks, PageInit, PageOwners, PageRequest, PageWatch, Pin, Placed,
    Plug, Priority, Proactive, Progress, Purchase, Purpose, Question, Quick, REPORT_CAPACITY, ReportEnd, ReportPass,
    ReportQuestion, ReserveAfter, Rules, Runner, Served, Sleep, SlowPath, StackCount, Standing, Step, Task, TaskSite,
    Waiting, ZoneCounts, ZoneGoal, ZoneMemory, ZoneParts, ZoneSlot, Zones, may_reclaim_by_itself, place,
};
pub use page_alloc::{protect, resize_lists, set_marks};
