//! What is done to pages where they lie.

use hugetlb::{Fallback, Target, UnpoisonError};
use hugetlbfs::Origin;
use memmap::FolioKind;
use mm::{
    Failed, FaultError, MemoryFailure, MigrateError, MoveScope, Piece, SoftOfflineError, SoftOfflined, Touch, Warned,
};
use policy::Placement;
use units::{Blame, Bytes, Ledger, MmId, NodeId, Nodemask, PageCount, Pfn, Pid, Vaddr};

use super::Env;
use crate::text::Switch;

/// Why a page is not on the node that it was to move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MovePageError {
    /// Nothing is mapped there.
    #[error("nothing is mapped at {0}")]
    NoArea(Vaddr),
    /// No page there.
    #[error("there is no page at {0}")]
    Absent(Vaddr),
    /// No such node, or one without memory.
    #[error("{0} has no memory")]
    NoSuchNode(NodeId),
    /// The task may not have pages there.
    #[error("{0} is not a node that this task may use")]
    NotAllowed(NodeId),
    /// Others map the page too, and only the caller's own are to move.
    #[error("the page at {0} is mapped by others as well")]
    Shared(Vaddr),
    /// It cannot be moved.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
}

impl Blame for MovePageError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoSuchNode(_) | Self::NotAllowed(_) => Some(Ledger::Node),
            Self::Migrate(error) => error.ledger(),
            Self::NoArea(_) | Self::Absent(_) | Self::Shared(_) => None,
        }
    }
}

/// How memory is to break.
#[doc(alias("MADV_HWPOISON", "MADV_SOFT_OFFLINE"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// It is broken.
    Hard,
    /// It works still, and is to be used no longer.
    Soft,
}

/// Who says that a page is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The machine.
    Hardware,
    /// A test.
    Test,
}

/// What a frame is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing that was handed out.
    Free,
    /// A huge page.
    Huge {
        /// Its first frame.
        start: Pfn,
        /// The node it lies on.
        node: NodeId,
        /// References; a free one has none.
        refs: u64,
        /// Entries that map it.
        mapcount: u32,
        /// Some of its memory is broken.
        poisoned: Poison,
    },
    /// A huge page that has left its pool, and whose memory was not given back yet.
    Leaving,
    /// Broken memory that belongs to nobody.
    Broken,
    /// An ordinary block that somebody has.
    Ordinary,
}

/// Is memory of a folio broken?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Some of it is.
    Some,
    /// None is known to be.
    None,
}

/// What a process has at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingAt {
    /// The entry there, or the hole.
    pub piece: Piece,
    /// How many entries map the page around it there; groups of joined ones count once.
    pub leaves: u32,
    /// Tables of the two lowest levels below the place of the page.
    #[doc(alias("nr_pmds", "nr_ptes"))]
    pub tables: (PageCount, PageCount),
    /// Base pages of it that were taken out because they broke.
    pub broken: u32,
    /// References of its folio, if it is mapped or in its file.
    pub refs: Option<u64>,
    /// Entries that map the base page at that address, in all address spaces.
    pub mapcount: u32,
}

pub(super) fn mapping_at<P: Env>(p: &mut P, pid: Pid, addr: Vaddr) -> Option<MappingAt> {
    let mm = p.with_process(pid, |process| process.mm)?;
    let vma = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten()?;
    let start = addr.align_down(vma.size.bytes());
    let offset = addr.since(start);
    let (piece, mapped, counts) = p.with_table(mm, |table| {
        let counts = table.pieces(start).map(|pieces| (pieces.leaves(), pieces.tables(), pieces.broken()));
        (table.piece_at(start, vma.size, offset), table.folio_at(start), counts)
    })?;
    let cached = p.with_cache(vma.inode, |cache| cache.get(vma.index_of(addr))).flatten();
    let folio = mapped.map(|(pfn, _)| pfn).or(cached);
    let base = folio.map(|pfn| pfn.offset(p.page_shift().pages_floor(offset)));
    let (leaves, tables, broken) = counts.unwrap_or((u32::from(mapped.is_some()), Default::default(), 0));
    Some(MappingAt {
        piece,
        leaves,
        tables,
        broken,
        refs: folio.and_then(|pfn| p.with_memmap(pfn, |map| map.get(pfn).map(memmap::Folio::refs))),
        mapcount: base.and_then(|base| mm::mapcount_of(p, base)).unwrap_or(0),
    })
}

/// Why memory was not made to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// A start between base pages, or an end beyond all numbers.
    #[error("the range at {0} starts between pages or ends beyond all numbers")]
    BadRange(Vaddr),
    /// The page cannot be had to begin with.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Its huge page had a broken page before.
    #[error("the page at {0} is known to be broken")]
    Known(Vaddr),
    /// It stays in use.
    #[error(transparent)]
    SoftOffline(#[from] SoftOfflineCallError),
}

impl Blame for InjectError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Fault(error) => error.ledger(),
            Self::BadRange(_) | Self::Known(_) => None,
            Self::SoftOffline(error) => error.ledger(),
        }
    }
}

/// Why a page that works is not taken out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SoftOfflineCallError {
    /// `enable_soft_offline` forbids it.
    #[error("soft offlining is switched off: write 1 to /proc/sys/vm/enable_soft_offline")]
    Disabled,
    /// It stays in use.
    #[error(transparent)]
    Stays(#[from] SoftOfflineError),
}

impl Blame for SoftOfflineCallError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Disabled => None,
            Self::Stays(error) => error.ledger(),
        }
    }
}

/// Why a page stays marked as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpoisonCallError {
    /// Memory of this machine has broken in earnest: what is marked is not used again.
    #[error("memory of this machine has really failed, so no page is trusted again")]
    RealFailure,
    /// Its huge page cannot be made sound.
    #[error(transparent)]
    Folio(#[from] UnpoisonError),
}

/// The huge folio mapped at an address.
pub(super) fn folio_at<P: Env>(p: &mut P, mm: MmId, addr: Vaddr) -> Result<hugetlb::HugeFolio, MovePageError> {
    let vma = p.with_vmas(mm, |vmas| vmas.find(addr).copied()).flatten().ok_or(MovePageError::NoArea(addr))?;
    let mapped = p.with_table(mm, |table| table.folio_at(addr.align_down(vma.size.bytes()))).flatten();
    let (pfn, _) = mapped.ok_or(MovePageError::Absent(addr))?;
    hugetlb::folio_at(p, pfn).ok_or(MovePageError::Absent(addr))
}

/// On that node, or nowhere.
pub(super) fn there(node: NodeId) -> Target {
    let placement = Placement { nodemask: Some(Nodemask::of(node)), ..Placement::local(node) };
    Target { placement, allowed: Nodemask::ALL, fallback: Fallback::Permitted, pin: page_alloc::Pin::Short }
}

pub(super) fn move_page<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    addr: Vaddr,
    node: NodeId,
    scope: MoveScope,
) -> Result<NodeId, MovePageError> {
    if !p.with_topology(|topology| topology.nodes().contains(node)) {
        return Err(MovePageError::NoSuchNode(node));
    }
    if !origin.allowed.contains(node) {
        return Err(MovePageError::NotAllowed(node));
    }
    let folio = folio_at(p, mm, addr)?;
    if folio.node == node {
        return Ok(node);
    }
    if scope == MoveScope::Own && p.with_memmap(folio.pfn, |map| map.get(folio.pfn).is_some_and(|r| r.mapcount() > 1)) {
        return Err(MovePageError::Shared(addr));
    }
    mm::migrate(p, folio.pfn, &there(node))?;
    Ok(folio_at(p, mm, addr)?.node)
}

pub(super) fn inject<P: Env>(
    p: &mut P,
    mm: MmId,
    origin: &Origin,
    start: Vaddr,
    len: Bytes,
    how: Injection,
) -> Result<Vec<MemoryFailure>, InjectError> {
    let base = p.page_shift().bytes();
    let bad = InjectError::BadRange(start);
    let end = start.get().checked_add(len.get()).map(Vaddr::new).filter(|_| start.is_aligned(base)).ok_or(bad)?;
    let mut failures = Vec::new();
    let mut at = start;
    while at < end {
        let hit = mm::fault(p, mm, origin, at, Touch::Read)?;
        let size = p.with_vmas(mm, |vmas| vmas.find(at).map(|vma| vma.size)).flatten();
        let page = hit.pfn.offset(p.page_shift().pages_floor(hit.offset));
        match how {
            Injection::Hard => {
                let early = p.with_sysctls(|sysctls| sysctls.early_kill);
                let failure = mm::memory_failure(p, page, |victim| told(victim, Some(mm), early));
                if failure.outcome == Failed::Known {
                    return Err(InjectError::Known(at));
                }
                failures.push(failure);
            }
            Injection::Soft => _ = soft_offline(p, page, origin.allowed)?,
        }
        // As on Linux: by huge pages, from wherever in the first one the range begins.
        at = at + size.map_or(p.page_shift().bytes(), |size| size.bytes());
    }
    Ok(failures)
}

/// Whose access it was hears at once; others if the machine tells everybody early.
#[doc(alias = "task_early_kill")]
pub(super) fn told(victim: MmId, accessor: Option<MmId>, early: Switch) -> Warned {
    if accessor == Some(victim) {
        return Warned::Required;
    }
    if early == Switch::On { Warned::Optional } else { Warned::ByAccess }
}

/// Whoever asks may use these nodes: a free page of another one is none for this.
pub(super) fn soft_offline<P: Env>(
    p: &mut P,
    pfn: Pfn,
    allowed: Nodemask,
) -> Result<SoftOfflined, SoftOfflineCallError> {
    if p.with_sysctls(|sysctls| sysctls.soft_offline) == Switch::Off {
        return Err(SoftOfflineCallError::Disabled);
    }
    let node = hugetlb::folio_of(p, pfn).map(|folio| folio.node);
    let placement = Placement::local(node.unwrap_or_default());
    let target = Target { placement, allowed, fallback: Fallback::Permitted, pin: page_alloc::Pin::Short };
    Ok(mm::soft_offline(p, pfn, &target)?)
}

pub(super) fn frame<P: Env>(p: &mut P, pfn: Pfn) -> Frame {
    let found = p.with_memmap(pfn, |map| {
        map.find(pfn).map(|(start, folio)| (start, folio.kind, folio.refs(), folio.mapcount()))
    });
    match found {
        None => Frame::Free,
        Some((_, FolioKind::Poisoned, ..)) => Frame::Broken,
        Some((_, FolioKind::Leaving(_), ..)) => Frame::Leaving,
        Some((start, FolioKind::Huge(slot), refs, mapcount)) => {
            let (folio, poisoned) = p.with_records(slot, |records| {
                let folio = records.folio(slot.hstate, slot.slot);
                (folio, records.is_poisoned(folio.at()))
            });
            let poisoned = if poisoned { Poison::Some } else { Poison::None };
            Frame::Huge { start, node: folio.node, refs, mapcount, poisoned }
        }
        Some(_) => Frame::Ordinary,
    }
}
