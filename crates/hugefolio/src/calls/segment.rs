//! System V segments.

use hugetlbfs::{Gid, Promise, SegmentError, Uid};
use mm::{AttachError, DetachError, FileAccess, Place};
use units::{Blame, Bytes, HugeSize, InodeId, Ledger, Name, Pid, Vaddr};

use super::pool::hstate;
use super::process::in_space;
use super::{CallError, Env, NoSuchSize};

/// A segment of huge pages. Never names another one after its own is gone.
#[doc(alias = "shmid")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct SegmentId(pub(crate) InodeId);

impl SegmentId {
    /// The place where the machine's object is named.
    pub fn name(&mut self) -> Name<'_> {
        Name::from(&mut self.0)
    }
}

/// A call of `shmget` with `SHM_HUGETLB` that makes a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCall {
    /// Its length; rounded up to whole pages.
    pub len: Bytes,
    /// Of pages of that size, or of the default size.
    pub size: Option<HugeSize>,
    /// Are its pages promised now?
    pub promise: Promise,
}

impl SegmentCall {
    /// `len` bytes of default huge pages, promised now.
    #[must_use]
    pub const fn new(len: Bytes) -> Self {
        Self { len, size: None, promise: Promise::Now }
    }
}

/// Why there is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentCallError {
    /// No pool of that size.
    #[error(transparent)]
    NoSuchSize(#[from] NoSuchSize),
    /// The process is not of the group that may make segments, and has no capability to.
    #[error("{uid} is not in the group of hugetlb_shm_group ({group})")]
    NotPermitted {
        /// Who asked.
        uid: Uid,
        /// The group.
        group: Gid,
    },
    /// The segment itself.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl Blame for SegmentCallError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::NoSuchSize(_) | Self::NotPermitted { .. } => None,
            Self::Segment(error) => error.ledger(),
        }
    }
}

/// There is no such segment any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such segment")]
pub struct NoSegment;

pub(super) fn shmget<P: Env>(
    p: &mut P,
    pid: Pid,
    call: &SegmentCall,
) -> Result<SegmentId, CallError<SegmentCallError>> {
    in_space(p, pid, |p, _, origin| {
        if call.len.is_zero() {
            return Err(SegmentError::Length(call.len).into());
        }
        let hstate = hstate(p, call.size)?;
        let group = Gid(p.with_sysctls(|sysctls| sysctls.shm_group).0.cast_unsigned());
        if !origin.credentials.may_make_segments(group) {
            return Err(SegmentCallError::NotPermitted { uid: origin.credentials.uid, group });
        }
        Ok(SegmentId(hugetlbfs::create_segment(p, hstate.id, call.len, call.promise, origin)?))
    })
}

pub(super) fn shmat<P: Env>(
    p: &mut P,
    pid: Pid,
    segment: SegmentId,
    place: Place,
    access: FileAccess,
) -> Result<Vaddr, CallError<AttachError>> {
    in_space(p, pid, |p, mm, origin| mm::attach(p, mm, origin, segment.0, place, access))
}

pub(super) fn shmdt<P: Env>(p: &mut P, pid: Pid, addr: Vaddr) -> Result<(), CallError<DetachError>> {
    in_space(p, pid, |p, mm, _| mm::detach(p, mm, addr))
}
