//! Address spaces: areas, faults, copy on write, fork, and the calls that change them.
//!
//! [`fault`] is the way in for every access. [`mmap`] promises pages, [`munmap`] and [`exit_space`] take everything back;
//! [`fork_space`] copies what a child inherits, which is never a reservation. The room decides whether an access ends in a
//! signal from the refusal itself, never from an errno.
#![no_std]

extern crate alloc;

mod advise;
mod behaviour;
mod cow;
mod divided;
mod fault;
mod fork;
mod map;
mod mbind;
mod migrate;
mod pieces;
mod pin;
mod poison;
mod populate;
mod protect;
mod query;
mod remap;
mod rmap;
mod segment;
mod table;
mod uffd;
mod unmap;
mod vacate;
mod vma;

pub use advise::{Advice, AdviseError, madvise};
pub use behaviour::{Behaviour, CollapseRule};
pub use divided::TakenOut;
pub use fault::{FaultError, Hit, Touch, fault};
pub use fork::{ForkError, fork_space};
pub use map::{FileAccess, MapFlags, MapRequest, MmapError, Place, Share, Source, mmap};
pub use mbind::{Existing, HomeNodeError, MbindError, MoveScope, mbind, set_home_node, usable_policy};
pub use migrate::{MigrateError, Migrated, migrate, migrate_isolated};
pub use pieces::{Paging, Piece, PieceState, Pieces};
pub use pin::{Pin, PinError, PinKind, PinNote, pin, pin_file, unpin, unpin_in};
pub use poison::{
    Failed, MemoryFailure, SoftOfflineError, SoftOfflined, Victim, Warned, memory_failure, soft_offline, unpoison,
};
pub use populate::{MlockError, PopulateError, mlock, munlock};
pub use protect::{MprotectError, mprotect};
pub use query::{MincoreError, PageState, Smaps, mapcount_of, mincore, msync, page_state, smaps};
pub use remap::{MremapError, RemapFlags, RemapRequest, mremap};
pub use segment::{AttachError, DetachError, attach, detach};
pub use table::{Entry, PageTable};
pub use uffd::{
    Arrival, FillError, FillRefusal, Payload, ProtectError, RegisterError, Registration, UffdModes, UnregisterError,
    Userfault, WriteProtection, hold_uffd, open_uffd, release_uffd, uffd_continue, uffd_copy, uffd_register,
    uffd_unregister, uffd_write_protect, uffd_zero,
};
pub use unmap::{MunmapError, exit_space, munmap, unmap_area_range};
pub use vacate::vacate;
pub use vma::{PolicySlot, Prot, Vma, VmaFlags, VmaTree};

use units::{Bytes, MmId, PageShift, UffdId, Vaddr, VaddrRange, VmaId};

/// What this room needs: the files below and sections over its own parts.
pub trait Env: hugetlbfs::Env {
    /// A new, empty address space.
    fn new_space(&mut self) -> MmId;

    /// Ends an address space, which is empty.
    fn drop_space(&mut self, mm: MmId);

    /// A name for a new area.
    fn new_vma_id(&mut self) -> VmaId;

    /// The section of one address space's areas; nothing where it is gone.
    fn with_vmas<R>(&mut self, mm: MmId, f: impl FnOnce(&mut VmaTree) -> R) -> Option<R>;

    /// The section of one address space's page table; nothing where it is gone.
    fn with_table<R>(&mut self, mm: MmId, f: impl FnOnce(&mut PageTable) -> R) -> Option<R>;

    /// A name for a userfaultfd.
    fn new_uffd(&mut self, uffd: Userfault) -> UffdId;

    /// The section of one userfaultfd; nothing where it is closed.
    fn with_uffd<R>(&mut self, id: UffdId, f: impl FnOnce(&mut Userfault) -> R) -> Option<R>;

    /// Ends a userfaultfd.
    fn drop_uffd(&mut self, id: UffdId) -> Option<Userfault>;

    /// First address that no task may map.
    fn task_size(&mut self) -> Vaddr;

    /// The size of base pages.
    fn page_shift(&mut self) -> PageShift;

    /// How tables look.
    fn paging(&mut self) -> Paging;

    /// What kernels did differently.
    fn behaviour(&mut self) -> Behaviour;

    /// The range from `start`, rounded up to whole base pages, if it starts at one. What lies beyond the address space is a
    /// hole like any other.
    fn page_range(&mut self, start: Vaddr, len: Bytes) -> Option<VaddrRange> {
        let shift = self.page_shift();
        let end = start.checked_add(shift.round_up(len)?)?;
        start.is_aligned(shift.bytes()).then_some(VaddrRange::new(start, end))
    }

    /// As [`Env::page_range`], if it stays inside the address space.
    fn checked_range(&mut self, start: Vaddr, len: Bytes) -> Option<VaddrRange> {
        let range = self.page_range(start, len)?;
        (range.end <= self.task_size()).then_some(range)
    }
}
