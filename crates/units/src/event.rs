//! The public event stream.

use crate::{
    CgroupId, GmemId, HstateId, HugeCount, HugeIndex, HugeRange, MmId, NodeId, Order, PageCount, PageIndex, Pfn,
    ResvMapId, SubpoolId, VmaId,
};

/// Something that a path did. One documented stream: traces, checkers and the defect triggers of conformance read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A persistent page joined the pool.
    PoolGrew {
        /// The pool.
        hstate: HstateId,
        /// Where the page lies.
        node: NodeId,
    },
    /// A page left the pool and its memory went back to the page allocator.
    PoolShrank {
        /// The pool.
        hstate: HstateId,
        /// Where the page lay.
        node: NodeId,
    },
    /// A free page was split into pages of a smaller pool.
    Demoted {
        /// The pool that it left.
        from: HstateId,
        /// The pool that its parts joined.
        to: HstateId,
        /// Where it lies.
        node: NodeId,
    },
    /// A folio became smaller ones.
    Split {
        /// The pool whose page it is, or is a piece of.
        hstate: HstateId,
        /// Its first frame.
        folio: Pfn,
        /// Its size.
        from: Order,
        /// The size of the pieces.
        to: Order,
    },
    /// Pieces of a page became one folio.
    Merged {
        /// The pool whose page they are of.
        hstate: HstateId,
        /// The first frame.
        folio: Pfn,
        /// The size of the folio.
        to: Order,
    },
    /// A free page left the pool and became ordinary memory.
    Dissolved {
        /// The pool.
        hstate: HstateId,
        /// The folio's first frame.
        folio: Pfn,
    },
    /// Another page of its node took the place of a free one, which became ordinary memory.
    Replaced {
        /// The pool.
        hstate: HstateId,
        /// The first frame of the one that left.
        from: Pfn,
        /// The first frame of the one in its place.
        to: Pfn,
    },
    /// The contents of a page, and all that stands for it, moved to another one.
    Migrated {
        /// The pool.
        hstate: HstateId,
        /// The first frame of the one that is given up.
        from: Pfn,
        /// The first frame of the new one.
        to: Pfn,
    },
    /// A base page of a huge page is broken.
    Poisoned {
        /// The page.
        pfn: Pfn,
    },
    /// It is not, after all.
    Unpoisoned {
        /// The page.
        pfn: Pfn,
    },
    /// A page was allocated from the pool or as surplus.
    Allocated {
        /// The pool.
        hstate: HstateId,
        /// The folio's first frame.
        folio: Pfn,
        /// Did it spend a reservation?
        reserved: bool,
    },
    /// The last reference to a page went away.
    Freed {
        /// The pool.
        hstate: HstateId,
        /// The folio's first frame.
        folio: Pfn,
        /// Did a reservation come back with it?
        restored: bool,
    },
    /// A freed page stayed although there are surplus pages: a reservation would have had no page without it.
    KeptForReservation {
        /// The pool.
        hstate: HstateId,
        /// The folio's first frame.
        folio: Pfn,
    },
    /// A page that was to leave its pool stays, as surplus: there was no memory for its descriptors.
    KeptForDescriptors {
        /// The pool.
        hstate: HstateId,
        /// Its first frame.
        folio: Pfn,
    },
    /// A page has left its pool where nobody may wait, and keeps its memory until somebody who may gives it back.
    PutOff {
        /// The pool.
        hstate: HstateId,
        /// Its first frame.
        folio: Pfn,
    },
    /// An owner of private reservations touched a place and spent the reservation of it.
    OwnerSpent(OwnerPage),
    /// An owner touched a place whose reservation was spent before, and got a page that nobody had reserved.
    OwnerWithoutReservation(OwnerPage),
    /// An owner touched a place whose reservation was spent before, and no page could be had.
    OwnerRefused(OwnerPage),
    /// An owner let a page go that nobody else maps: the reservation of its place returned.
    OwnerRestored(OwnerPage),
    /// An owner let an anonymous page go while somebody else still maps it.
    OwnerLetGo {
        /// The place.
        page: OwnerPage,
        /// The folio.
        folio: Pfn,
        /// Surplus pages of the pool at that moment; the reservation can only return if there were none.
        surplus: HugeCount,
        /// The area through which it was mapped.
        vma: VmaId,
    },
    /// An owner's area was closed: the reservations of its untouched pages returned.
    OwnerClosed {
        /// The pool.
        hstate: HstateId,
        /// The owner's map.
        map: ResvMapId,
        /// The area's pages.
        pages: HugeRange,
        /// How many reservations returned.
        unused: HugeCount,
        /// The control group that was charged for the area's pages.
        payer: Option<CgroupId>,
    },
    /// A part of an owner's area was moved elsewhere.
    OwnerMovedPart {
        /// The pool.
        hstate: HstateId,
        /// The owner's map.
        map: ResvMapId,
        /// The pages that moved.
        part: HugeRange,
        /// The pages of the whole area before the move.
        whole: HugeRange,
    },
    /// A page was taken from another address space so that its owner could write.
    Stolen {
        /// The owner's place.
        page: OwnerPage,
        /// The address space that lost it.
        from: MmId,
    },
    /// Pages went back to the limits of a mount.
    MountGotBack {
        /// The pool.
        hstate: HstateId,
        /// The limits, and what stood against them before.
        limits: MountLimits,
        /// How many pages.
        pages: HugeCount,
        /// How many of them own a global reservation.
        held: HugeCount,
        /// Why they went back.
        why: MountReturn,
    },
    /// Something happened to the pages of a guest.
    Guest {
        /// The file that they are of.
        file: GmemId,
        /// The first page.
        first: PageIndex,
        /// How many.
        pages: PageCount,
        /// What.
        step: GuestStep,
    },
    /// A mount with limits is no more: nobody used it any longer.
    MountEnded {
        /// The pool.
        hstate: HstateId,
        /// The limits.
        subpool: SubpoolId,
        /// The global reservations that the minimum gave back.
        rsv: HugeCount,
    },
}

/// The limits of a mount at one moment, and what stands against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountLimits {
    /// Whose limits.
    pub subpool: SubpoolId,
    /// The maximum.
    pub max: Option<HugeCount>,
    /// The minimum.
    pub min: HugeCount,
    /// Pages held or reserved; tracked only where there is a maximum.
    pub used: HugeCount,
    /// The part of the minimum that is not handed out.
    pub rsv: HugeCount,
}

/// Why pages go back to the limits of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountReturn {
    /// They are not needed any more.
    Done,
    /// The reservation that they were taken for was refused.
    ReservationRefused,
    /// The page that they were taken for was refused.
    PageRefused,
}

/// A place that a private reservation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerPage {
    /// The pool.
    pub hstate: HstateId,
    /// The owner's map.
    pub map: ResvMapId,
    /// Index within the file.
    pub index: HugeIndex,
}

/// What is done to the tables of a guest, or for the sake of them. Whoever keeps such tables does it then and there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestStep {
    /// Its leaves that reached into the pages were split into base pages. The folio behind them is about to be.
    LeavesSplit,
    /// No mapping of the host has any of them any more.
    HostUnmapped,
    /// Faults on them wait from now on.
    #[doc(alias = "kvm_gmem_invalidate_begin")]
    InvalidateBegin,
    /// The guest had some of them mapped, and has no longer.
    #[doc(alias = "kvm_mmu_unmap_gfn_range")]
    Unmapped,
    /// Who may touch them has changed.
    AttributesStored,
    /// Faults on them go on.
    #[doc(alias = "kvm_gmem_invalidate_end")]
    InvalidateEnd,
}
