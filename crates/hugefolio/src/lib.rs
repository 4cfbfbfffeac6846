//! Linux's huge-page memory management as a value.
//!
//! A [`Machine`] holds everything: nodes and their free memory, pools of huge pages, reservations, files, address spaces and
//! processes. Nothing is global; a thousand machines run side by side, each deterministic and checkable.
//!
//! ```
//! use hugefolio::{Admin, Bytes, Calls, HugeSize, Machine, MapCall, NodeId, Share};
//!
//! let mut machine = Machine::builder().node(NodeId::new(0), Bytes::gib(1)).cmdline("hugepages=2").build()?;
//! let process = machine.spawn();
//! let page = HugeSize::M2.bytes();
//! let at = machine.mmap(process, &MapCall::anonymous(Bytes::new(2 * page.get()), Share::Private))?;
//! machine.write_byte(process, at, 7)?;
//! assert_eq!(machine.pool(HugeSize::M2)?.resv.get(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The system calls are the methods of [`Calls`], and what the administrator does those of [`Admin`]. A [`Machine`] and an
//! [`OnCpu`] have both: every path is written once, over the environment traits of the rooms. A refusal says which ledger refused,
//! with the numbers that decided ([`Blame::ledger`]); the errno is derived from it in [`errno`] alone.

mod builder;
mod calls;
mod descriptors;
pub mod errno;
pub mod explain;
mod fault_plan;
mod hotplug;
mod lent;
mod limits;
mod machine;
mod machine_env;
mod memory_map;
mod objects;
mod page_events;
pub mod pages;
mod process;
mod regions;
mod shared;
mod shared_env;
mod state;
pub mod text;
mod validate;
pub mod why;

pub use builder::{BuildError, MachineBuilder};
pub use calls::{
    Admin, BadFd, ByteRange, CallError, Calls, Cause, CgroupCounter, CgroupLimitError, ConvertCall, CopyCall,
    CpusetError, DemoteCallError, Env, FallocateCallError, FallocateMode, Frame, FtruncateError, GmemCallError,
    GmemConvertError, GmemResult, GuestAccess, GuestMemory, InjectError, Injection, KnobError, MapCall, MapCallError,
    MapSource, MappingAt, MemfdFlags, MigratePagesError, MountCallError, MovePageError, Moves, NamedSize, NoPin,
    NoPolicyNodes, NoSegment, NoSuchSize, OpenCall, OpenCallError, Pages, PinFileError, Poison, Policies, PoolView,
    ReadCallError, ResizeCallError, SegmentCall, SegmentCallError, SegmentId, SizeWithoutHuge, SoftOfflineCallError,
    Truncate, TruncateByNameError, UffdCallError, UffdResult, UnpoisonCallError, WriteCallError, Writer,
};
pub use fault_plan::{FaultPlan, RefusedAt};
pub use hotplug::OfflineError;
pub use limits::MachineLimits;
pub use machine::{Machine, Sysctls};
pub use page_events::PageEvents;
pub use process::{Fd, GmemView, OpenFile, PinId, Process};
pub use shared::{CpuBusy, CpuHandle, OnCpu, SharedMachine};
pub use state::{MachineState, MachineStateError, Renamed, ZoneOfMachine};

pub use charge::{
    Charges, ChargesState, Counter, CreateError, EnterError, GroupVersion, GroupView, HandOnError, History, Limit,
    LimitError, MemoryAccounting, MemoryEvents, MemoryView, NoGroup, OverLimit, OverMemory, Paid, PaidMemory, Receipt,
    RemoveError,
};
pub use filemap::NoCacheNode;
pub use gmem::{
    AllocateError, Asker, Attribute, Backing, ConvertError, ConvertRefusal, CreateError as GmemCreateError, Gmem,
    GmemFlags, GuestFault, GuestPage, HostFault, NoPage, Pin as GmemPin, PunchError, ResizeError as GmemResizeError,
    SplitByHandError, View, ViewError, ViewId,
};
pub use hugetlb::boot;
pub use hugetlb::restructure::{MergeError, SplitError};
pub use hugetlb::{
    AllocRefusal, AllotError, Allotment, Balance, Claim, Deferred, DeferredWork, DemoteError, DissolveError, Dissolved,
    Found as FoundBroken, Hstate, Hstates, HugeFolio, IsolateError, NoDescriptor, NoTarget, NodeCounts, Payers, Pool,
    Records, ReserveRefusal, ResizeError, ResizeNodes, Shelf, SubpoolFull, SurplusRefusal, Tries, UnpoisonError,
};
pub use hugetlbfs::{
    Capabilities, Create, Credentials, Denied, FallocateError, FileMode, FileOwner, Gid, MountError, MountOptions,
    OpenError, Origin, PageForPinError, Permissions, Promise, SealError, Seals, SegmentError, Stat, StatFs,
    TruncateError, Uid, UmountError, UmountMode, UnlinkError,
};
pub use memmap::{Broken, Folio, FolioKind, HugeSlot, Referenced, Split, TooManyRefs};
pub use mm::{
    Advice, AdviseError, Arrival, AttachError, Behaviour, CollapseRule, DetachError, Existing, Failed, FaultError,
    FileAccess, FillError, FillRefusal, ForkError, HomeNodeError, MapFlags, MbindError, MemoryFailure, MigrateError,
    MincoreError, MlockError, MmapError, MoveScope, MprotectError, MremapError, MunmapError, PageState, Paging,
    Payload, Piece, PieceState, Pin, PinError, PinKind, PinNote, Place, PopulateError, Prot, ProtectError,
    RegisterError, Registration, RemapFlags, RemapRequest, Share, Smaps, SoftOfflineError, SoftOfflined, Touch,
    UffdModes, UnregisterError, Userfault, Victim, VmaFlags, Warned, WriteProtection,
};
pub use page_alloc::{BlockError, Blocks, CmaAreas, CmaUse, HeldBlock, Mobility, NoPages, Source};
pub use policy::{
    CoreSize, DriverId, GateReason, MemoryRange, Mempolicy, Mode, MovableRequest, NodeCap, NodeCaps, NodeSpec,
    NodeStates, NodesMean, Placement, PolicyInForce, PrivateError, PrivateNode, Reach, Topology, TopologyError,
    Weights, Wish, ZoneRef, movable_starts,
};
pub use units::{
    Blame, BlockId, Bytes, CgroupId, Context, CpuId, Event, GfpFlags, GmemId, GuestStep, HstateId, HugeCount,
    HugeIndex, HugeRange, HugeSize, InodeId, Ledger, MmId, MountId, MountLimits, MountReturn, Name, NodeId, Nodemask,
    Order, OwnerPage, PageCount, PageIndex, PageShift, Pfn, Pid, RangeMap, ResvMapId, Site, SubpoolId, Ticks, UffdId,
    Vaddr, VaddrRange, VmaId,
};
pub use units::{Migratetype, PerZone, ZoneKind};
pub use vmemmap::{
    BadGeometry, Descriptor, FrameSource, Geometry, Left, MemmapPages, NoMetadata, Optimising, SharedTail, TailKey,
    TailLife, TailWord, Vmemmap, VmemmapState,
};
pub use zone::extfrag::Permille;
pub use zone::{
    AllocFlags, BadFree, BelowHigh, BootMemory, CacheSlice, Found, FreeBlocks, Grouping, Held, IsolateRefusal,
    LastFree, Level, MarkCheck, NotFree, Ownership, PerCpuPages, PerCpuState, Reclaim, StateError, Told, Unreserve,
    Want, Zone, ZoneError, ZoneEvent, ZoneLayout, ZonePressure, ZoneState, extfrag, tuning, watermark,
};

/// The example of the README, so that it stays true.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExample;
