//! System V segments: files without a name that are held until they are removed.

use hugetlb::{ReserveRefusal, ReserveRequest};
use units::{Access, Blame, Bytes, HstateId, HugeIndex, HugeRange, InodeId, Ledger, Scope};

use crate::{Env, Hold, InodeKind, Origin, Seals, create_inode, release};

/// Are the pages of a segment promised when it is made?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// All of them.
    #[default]
    Now,
    /// None (`SHM_NORESERVE`).
    Never,
}

/// Why there is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// Nothing, or more than a file can hold.
    #[error("a segment of {0} cannot be: it has one byte at least, and no more than a file")]
    Length(Bytes),
    /// The pages cannot be promised.
    #[error(transparent)]
    Refused(#[from] ReserveRefusal),
}

impl Blame for SegmentError {
    fn ledger(&self) -> Option<Ledger> {
        match self {
            Self::Refused(refusal) => refusal.ledger(),
            Self::Length(_) => None,
        }
    }
}

/// A new segment of `len` bytes, rounded up to whole pages. What it promises now, attaching it promises no second time.
///
/// # Errors
/// A bad length, or the ledger that refused; nothing is left of it then.
#[doc(alias("newseg", "hugetlb_file_setup"))]
pub fn create_segment<P: Env>(
    p: &mut P,
    hstate: HstateId,
    len: Bytes,
    promise: Promise,
    origin: &Origin,
) -> Result<InodeId, SegmentError> {
    let page = p.hstate(hstate).size;
    let largest = Bytes::new(i64::MAX.unsigned_abs());
    let fits = |size: &Bytes| !size.is_zero() && *size <= largest;
    let size = len.round_up(page.bytes()).filter(fits).ok_or(SegmentError::Length(len))?;
    let id = create_inode(p, InodeKind::Segment, hstate, None, Seals::SEAL, Hold::Segment);
    let promised = p.scope(Scope::Inode(id, Access::Write), |p| {
        let map = p.with_inode(id, |inode| {
            inode.size = size;
            inode.map
        });
        if promise == Promise::Never {
            return Ok(None);
        }
        let request = ReserveRequest {
            hstate,
            range: HugeRange::new(HugeIndex::ZERO, page.index_floor(size)),
            shared: map,
            subpool: None,
            local: origin.local,
            allowed: origin.policy.reservation_nodes(origin.allowed),
            cgroup: origin.cgroup,
        };
        hugetlb::reserve_pages(p, &request)
    });
    match promised {
        Ok(_) => Ok(id),
        Err(refusal) => {
            release(p, id, Hold::Segment);
            Err(refusal.into())
        }
    }
}

/// Removes a segment; it goes when nobody has it attached any more. Says whether there is such a segment, removed or not.
#[doc(alias("do_shm_rmid", "shm_destroy"))]
pub fn remove_segment<P: Env>(p: &mut P, id: InodeId) -> bool {
    let held = p.with_inode(id, |inode| {
        // What held it until now becomes this call's, so that two removals cannot both end it.
        let held = core::mem::take(&mut inode.segments) > 0;
        inode.opens += u32::from(held);
        held
    });
    if held == Some(true) {
        release(p, id, Hold::Open);
    }
    held.is_some()
}
