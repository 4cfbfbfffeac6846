//! What a pool keeps of each of its folios.

use page_alloc::Source;
use policy::ZoneRef;
use units::{CgroupId, HstateId, HugeIndex, InodeId, NodeId, PageCount, Pfn, ResvMapId, SubpoolId, ZoneKind};

/// A huge folio: where it is and where its data are kept.
#[doc(alias = "folio")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HugeFolio {
    /// First frame.
    pub pfn: Pfn,
    /// Its pool.
    pub hstate: HstateId,
    /// The node it lies on.
    pub node: NodeId,
    /// The zone of that node.
    pub zone: ZoneKind,
    /// Where its memory goes back to.
    pub source: Source,
    pub(crate) slot: u32,
}

impl HugeFolio {
    /// Are its data kept there?
    #[must_use]
    pub fn in_slot(&self, hstate: HstateId, slot: u32) -> bool {
        (self.hstate, self.slot) == (hstate, slot)
    }
}

/// What the pool knows of one of its folios beyond the folio record.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Record {
    pub(crate) pfn: Pfn,
    pub(crate) node: NodeId,
    pub(crate) zone: ZoneKind,
    pub(crate) source: Source,
    /// Freeing it gives one global reservation back.
    pub(crate) restore_reserve: bool,
    /// Counted in `nr`, but destined to be destroyed on free.
    pub(crate) temporary: bool,
    /// Somebody is about to move it, or nobody can any more.
    pub(crate) isolated: bool,
    /// Where it was first mapped, or is cached; nothing while it is free or still being brought there. Only from there it can be moved.
    pub(crate) home: Option<(InodeId, HugeIndex)>,
    pub(crate) subpool: Option<SubpoolId>,
    pub(crate) usage_owner: Option<CgroupId>,
    pub(crate) rsvd_owner: Option<CgroupId>,
    /// Who pays for its memory.
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) memory_owner: Option<CgroupId>,
    /// Pages of it that wait, after it was split, until all others are let go too.
    #[doc(alias = "nr_waiting")]
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) waiting: PageCount,
    /// The owner's map entry that waits for the last mapping to go.
    pub(crate) owed_to: Option<(ResvMapId, HugeIndex)>,
}

impl HugeFolio {
    /// The zone it lies in.
    #[must_use]
    #[inline]
    pub const fn zone_ref(&self) -> ZoneRef {
        ZoneRef { node: self.node, kind: self.zone }
    }
}

impl Record {
    /// Where the folio is that a slot was about which means nothing any more.
    pub(crate) const NOWHERE: Pfn = Pfn::new(u64::MAX);

    /// What is known of a folio that nobody uses.
    #[inline]
    pub(crate) fn new(folio: HugeFolio) -> Self {
        let HugeFolio { pfn, node, zone, source, .. } = folio;
        Self { pfn, node, zone, source, ..Self::default() }
    }

    /// The folio whose record this is.
    #[inline]
    pub(crate) const fn folio(&self, hstate: HstateId, slot: u32) -> HugeFolio {
        let Self { pfn, node, zone, source, .. } = *self;
        HugeFolio { pfn, hstate, node, zone, source, slot }
    }

    /// Does it say no more than where the folio is?
    pub(crate) fn is_fresh(&self) -> bool {
        let owners = (self.usage_owner, self.rsvd_owner, self.memory_owner);
        let debts = (self.subpool, self.owed_to);
        let flags = (self.isolated, self.restore_reserve, self.temporary);
        let unused = owners == (None, None, None) && debts == (None, None) && self.waiting.is_zero();
        unused && flags == (false, false, false) && self.home.is_none()
    }
}

/// Who pays for one folio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payers {
    /// The node it lies on.
    pub node: NodeId,
    /// Who is charged for its use.
    pub usage: Option<CgroupId>,
    /// Who is charged for it as if it had been reserved, because it was not.
    pub rsvd: Option<CgroupId>,
    /// Who is charged for its memory.
    pub memory: Option<CgroupId>,
}
