//! The public event stream.

use crate::{HstateId, HugeCount, HugeIndex, InodeId, MmId, NodeId, Pfn, ResvMapId, VmaId};

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
    /// The owner of private reservations let an anonymous page go while somebody else still maps it.
    OwnerLetGo {
        /// The owner's map.
        map: ResvMapId,
        /// Index within the file.
        index: HugeIndex,
        /// The folio.
        folio: Pfn,
        /// Surplus pages of the pool at that moment; a reservation can only return while there are none.
        surplus: HugeCount,
        /// The area through which it was mapped.
        vma: VmaId,
    },
    /// An owner's area was closed: the reservations of its untouched pages returned.
    OwnerClosed {
        /// The owner's map.
        map: ResvMapId,
        /// First index of the area.
        start: HugeIndex,
        /// First index past it.
        end: HugeIndex,
        /// How many reservations returned.
        unused: HugeCount,
    },
    /// A part of an owner's area was moved elsewhere.
    OwnerMovedPart {
        /// The owner's map.
        map: ResvMapId,
        /// First index moved.
        start: HugeIndex,
        /// First index past the moved part.
        end: HugeIndex,
        /// First index of the whole area before the move.
        whole_start: HugeIndex,
        /// First index past the whole area.
        whole_end: HugeIndex,
    },
    /// A page was taken from other address spaces so that an owner could write.
    Stolen {
        /// The file.
        inode: InodeId,
        /// Index within the file.
        index: HugeIndex,
        /// The address space that lost it.
        from: MmId,
    },
}
