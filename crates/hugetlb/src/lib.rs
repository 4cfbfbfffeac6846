//! Pools of huge pages and what is promised of them.
//!
//! A pool is a *ledger* ([`Pool`]: every counter of an hstate, it decides) and a *shelf* per node ([`Shelf`]: the free folios,
//! last in first out, it follows). A claim on the ledger makes the take from the shelf infallible; a folio is put on the shelf
//! before the ledger counts it free.
//!
//! The path of a huge page, top to bottom of this room:
//!
//! 1. [`alloc_for_mapping`] asks the reservation map ([`ResvMap`]) and the mount's [`Subpool`] whether the page was promised;
//! 2. [`hugetlb_alloc_folio`] charges, claims from the pool or allocates surplus, and knows neither areas nor maps;
//! 3. the map commits, or everything that was recorded runs backwards.
//!
//! [`put_folio`] is the way back, and [`quiesce`] does what it had to put off; [`set_max`] and [`demote()`] are the administrator's ways in, [`reserve_pages`] the promise at `mmap` time.
#![no_std]

extern crate alloc as alloc_crate;

mod account;
mod alloc;
mod allotment;
mod balance;
pub mod boot;
mod deferred;
mod demote;
mod dissolve;
mod free;
mod hstate;
mod isolate;
mod map_alloc;
mod migrate;
mod poison;
mod pool;
mod record;
mod records;
mod region;
mod replace;
mod reserve;
mod resize;
mod restore;
pub mod restructure;
mod resv_map;
mod shelf;
mod subpool;
mod surplus;

pub use account::{acct_release, acct_reserve};
pub use alloc::{AllocFlags, AllocRefusal, AllocRequest, alloc_reserved, hugetlb_alloc_folio, may_stay};
pub use allotment::{AllotError, Allotment, alloc_allotted, allot, end_allotment};
pub use balance::{Balance, Claim};
pub use deferred::{Deferred, DeferredWork, quiesce, settle};
pub use demote::{DemoteError, demote, set_demote_size};
pub use dissolve::{DissolveError, Dissolved, dissolve, dissolve_range};
pub use free::{folio_at, folio_of, put_folio, put_folio_in, slot_at};
pub use hstate::{Hstate, Hstates};
pub use isolate::{IsolateError, Isolated, isolate, put_back, take_reference};
pub use map_alloc::{MapAlloc, Purpose, alloc_for_mapping};
pub use migrate::{Fallback, NoTarget, Target, alloc_target, move_state};
pub use poison::{
    Found, UnpoisonError, mark_poison, record_poison, set_aside, spare, unpoison_folio, unpoison_ordinary,
};
pub use pool::{NodeCounts, Pool, Tries};
pub use record::{HugeFolio, Payers};
pub use records::Records;
pub use region::{Piece, RegionSet};
pub use replace::{ReplaceError, replace};
pub use reserve::{
    ReserveRefusal, ReserveRequest, close_private_map, may_unreserve, open_private_map, reserve_pages,
    unreserve_after_removal,
};
pub use resize::{ResizeError, ResizeNodes, fill_at_boot, set_max, set_max_within, set_overcommit};
pub use restore::{count_against, installed, last_unmap, owner_installed, restore_reserve_on_error, still_mapped};
pub use resv_map::{Commit, Holder, MapKind, NoDescriptor, ResvMap, Ticket};
pub use shelf::Shelf;
pub use subpool::{Subpool, SubpoolFull, end_subpool};
pub use surplus::SurplusRefusal;

use memmap::HugeSlot;
use units::{HstateId, HugeCount, NodeId, ResvMapId, SubpoolId};

/// What this room needs: everything the descriptors, the page allocator and the charges need, and sections over its own parts.
pub trait Env: vmemmap::Env + charge::Env {
    /// An hstate's fixed properties.
    fn hstate(&mut self, id: HstateId) -> Hstate;

    /// The section of one pool's ledger.
    fn with_pool<R>(&mut self, id: HstateId, f: impl FnOnce(&mut Pool) -> R) -> R;

    /// How many surplus pages a pool has. Read beside the ledger where threads share it, so it may be a moment old.
    #[doc(alias = "surplus_huge_pages")]
    fn surplus_pages(&mut self, id: HstateId) -> HugeCount {
        self.with_pool(id, |pool| pool.surplus())
    }

    /// The section of what a pool keeps of some of its folios, that in `at` among them: whoever enters it may ask inside for that folio alone.
    fn with_records<R>(&mut self, at: HugeSlot, f: impl FnOnce(&mut Records) -> R) -> R;

    /// The section of one node's shelf of one pool.
    fn with_shelf<R>(&mut self, id: HstateId, node: NodeId, f: impl FnOnce(&mut Shelf) -> R) -> R;

    /// A new reservation map.
    fn new_resv_map(&mut self, map: ResvMap) -> ResvMapId;

    /// The section of one reservation map; nothing where the map is gone.
    fn with_resv_map<R>(&mut self, id: ResvMapId, f: impl FnOnce(&mut ResvMap) -> R) -> Option<R>;

    /// Ends a reservation map.
    fn drop_resv_map(&mut self, id: ResvMapId) -> Option<ResvMap>;

    /// The section of one subpool; nothing where it is gone.
    fn with_subpool<R>(&mut self, id: SubpoolId, f: impl FnOnce(&mut Subpool) -> R) -> Option<R>;

    /// A new subpool.
    fn new_subpool(&mut self, subpool: Subpool) -> SubpoolId;

    /// Ends a subpool.
    fn drop_subpool(&mut self, id: SubpoolId) -> Option<Subpool>;

    /// The section of what was put off.
    fn with_deferred<R>(&mut self, f: impl FnOnce(&mut DeferredWork) -> R) -> R;
}
