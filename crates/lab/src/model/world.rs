//! What the model is made of: plain records and maps of single huge pages.

use std::collections::{BTreeMap, BTreeSet};

use super::cgroup::{GroupId, Payers};
use super::guest::{GuestId, GuestView};
use super::nodes::{Bits, Policy};
use super::pins::Kept;
use crate::op::{FileName, MapName, MountName, PinName, Protection, UffdName};

/// The size of a huge page in bytes; the model knows 2 MiB pages alone.
pub(super) const PAGE: u64 = 2 << 20;
/// The size of a base page in bytes.
pub(super) const SMALL: u64 = 4096;
/// The end of an address space.
pub(super) const TASK_END: u64 = (1 << 47) - SMALL;
/// Where the place of the first mapping's name begins, and how far the places lie apart.
pub(super) const FIRST_SLOT: u64 = 0x2000_0000_0000;
/// How far the places of two names lie apart.
pub(super) const SLOT: u64 = 8 << 30;
/// From here on the address space belongs to the process's own program.
pub(super) const PROGRAM: u64 = 0x5500_0000_0000;
/// Mappings without a wanted address lie below this, each below the one before.
pub(super) const CHOSEN_END: u64 = 0x5000_0000_0000;

/// A huge page that somebody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PageId(pub(super) u64);

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// The reservation of one private mmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnerId(pub(super) u64);

/// One mount of hugetlbfs; a later mount of the same name is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MountId(pub(super) u64);

/// A userfaultfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatcherId(pub(super) u64);

/// Who watches a VMA, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) by: WatcherId,
    /// Pages that nobody made yet.
    pub(super) missing: bool,
    /// Pages that only the file has.
    pub(super) minor: bool,
    /// Writes to protected places.
    pub(super) writes: bool,
}

/// A huge page in use: mapped, in a page cache, or both.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    /// It belongs to private mappings, not to a file.
    pub(super) anon: bool,
    /// It is in its file's page cache.
    pub(super) cached: bool,
    /// How many entries map it.
    pub(super) maps: u32,
    /// How often somebody keeps it, and how often as more than a reference.
    pub(super) held: u32,
    pub(super) firm: u32,
    /// The mount that it counts against.
    pub(super) mount: Option<MountId>,
    /// Freeing it gives a reservation back.
    pub(super) restore: bool,
    /// The owner that dropped it while others mapped it, and the file page: freeing it may give that reservation back.
    pub(super) promise: Option<(OwnerId, u64)>,
    pub(super) payers: Payers,
    /// An anonymous one that was written.
    pub(super) dirty: bool,
    /// Where it lies.
    pub(super) node: usize,
    /// It was made for a move on its own node: as long as it is used it is not moved again.
    pub(super) stuck: bool,
    /// The bytes that are not zero.
    pub(super) bytes: BTreeMap<u64, u8>,
}

/// A user and its group; the superuser is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A file: of a mount, a memfd, or the hidden one of an anonymous mapping.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// Whose it is, if it is a mount's.
    pub(super) owner: User,
    /// Its mount; the others belong to none.
    pub(super) mount: Option<MountId>,
    /// Its name in the mount, while it has one.
    pub(super) name: Option<String>,
    /// It is a System V segment.
    pub(super) segment: bool,
    /// Such a one was removed.
    pub(super) removed: bool,
    /// What may not be done to it, as bits.
    pub(super) seals: u32,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The pages that it holds.
    pub(super) cache: BTreeMap<u64, PageId>,
    /// The pages that somebody reserved or instantiated; those without a page in the cache are outstanding reservations.
    /// Each with the group that pays for it as reserved, if one does.
    pub(super) reserved: BTreeMap<u64, Option<GroupId>>,
}

impl File {
    /// Whether `index` lies below the file's end, where a page that the end cuts does not count.
    pub(super) fn holds(&self, index: u64) -> bool {
        index < self.size / PAGE
    }

    /// How many of its pages are reserved and not there.
    pub(super) fn outstanding(&self) -> i64 {
        count(self.reserved.len()) - count(self.cache.len())
    }
}

/// The reservation of a private mmap: every page of the mapping has one until it is consumed.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner {
    /// The file pages whose reservation was used, each with the anonymous page that the owner got last.
    pub(super) consumed: BTreeMap<u64, PageId>,
    /// The group that pays for the whole mapping.
    pub(super) payer: Option<GroupId>,
}

/// The flags of a VMA that nothing but a split shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hints {
    /// Fork leaves it out.
    pub(super) dontfork: bool,
    /// A core dump leaves it out.
    pub(super) dontdump: bool,
    /// Advised as normal (none), random or sequential.
    pub(super) order: Option<Order>,
    /// Advised for or against transparent huge pages.
    pub(super) thp: Option<bool>,
}

/// How a range will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Random,
    Sequential,
}

/// A mapped range of an address space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vma {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file: FileId,
    /// Which attach of a segment it came from; 0 for all other mappings.
    pub(super) attach: u64,
    /// The file page at `start`.
    pub(super) first: u64,
    pub(super) shared: bool,
    pub(super) prot: Protection,
    /// It may be made writable.
    pub(super) may_write: bool,
    /// The reservation, which only the process that mapped it has.
    pub(super) owner: Option<OwnerId>,
    /// A page was taken from it for the owner's copy: absent pages fail for ever.
    pub(super) stolen: bool,
    /// It is shared through a descriptor that cannot write.
    pub(super) reads_only: bool,
    /// It was prepared for anonymous pages at some time; fork copies the entries of such VMAs only.
    pub(super) had_anon: bool,
    pub(super) hints: Hints,
    /// Which userfaultfd watches it.
    pub(super) watch: Option<Watch>,
    /// Where its pages are to lie; else the process says so.
    pub(super) policy: Option<Policy>,
    /// Its place in the order of all VMAs; none since it was cut, until the operation is over.
    pub(super) place: Option<u64>,
}

impl Vma {
    /// The file page at `addr`.
    pub(super) fn index(&self, addr: u64) -> u64 {
        self.first + (addr - self.start) / PAGE
    }

    /// The address of a file page, if the VMA covers it.
    pub(super) fn address(&self, index: u64) -> Option<u64> {
        let end = self.index(self.end);
        (self.first..end).contains(&index).then(|| self.start + (index - self.first) * PAGE)
    }

    /// The part from `start` to `end`, both of which lie in it.
    pub(super) fn part(&self, start: u64, end: u64) -> Vma {
        Vma { start, end, first: self.index(start), ..*self }
    }
}

/// Where a name's mapping was put.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Named {
    /// Its address.
    pub(super) addr: u64,
    /// The length that was asked for.
    pub(super) len: u64,
}

/// What a descriptor is open on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opened {
    File(FileId),
    Directory(MountId),
}

/// An open descriptor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Descriptor {
    pub(super) on: Opened,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// A process.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    /// Who it is.
    pub(super) user: User,
    /// Its control group; none for the root.
    pub(super) group: Option<GroupId>,
    /// The node that it runs on.
    pub(super) local: usize,
    /// The nodes that it may use.
    pub(super) allowed: Bits,
    /// Where its pages are to lie.
    pub(super) policy: Policy,
    /// Its VMAs by address.
    pub(super) vmas: Vec<Vma>,
    /// The page of every mapped huge page address.
    pub(super) entries: BTreeMap<u64, PageId>,
    /// The places that a userfaultfd protects from writes, with a page or without.
    pub(super) protected: BTreeSet<u64>,
    /// The GiB of the address space that have a page table.
    pub(super) tables: BTreeSet<u64>,
    /// Its address space, which no other process ever has.
    pub(super) space: u64,
    /// The userfaultfds that it holds, and which of them have names.
    pub(super) watchers: Vec<WatcherId>,
    pub(super) watcher_names: BTreeMap<UffdName, WatcherId>,
    /// What it keeps pinned, and which of that has a name.
    pub(super) kept: BTreeMap<u64, Kept>,
    pub(super) pin_names: BTreeMap<PinName, u64>,
    /// The names mapped so far.
    pub(super) names: BTreeMap<MapName, Named>,
    /// All descriptors ever opened; `None` after close.
    pub(super) descriptors: Vec<Option<Descriptor>>,
    /// Which descriptor a name means. A name used again loses the old one, which stays open.
    pub(super) files: BTreeMap<FileName, usize>,
    /// The guest memory that it has open, and what of such it has mapped.
    pub(super) guests: BTreeMap<FileName, GuestId>,
    pub(super) guest_views: BTreeMap<MapName, GuestView>,
}

impl Process {
    /// The VMA that covers `addr`.
    pub(super) fn vma_at(&self, addr: u64) -> Option<Vma> {
        self.vmas.iter().find(|vma| (vma.start..vma.end).contains(&addr)).copied()
    }

    /// The VMAs that meet a range, by address.
    pub(super) fn vmas_in(&self, start: u64, end: u64) -> Vec<Vma> {
        self.vmas.iter().filter(|vma| vma.start < end && start < vma.end).copied().collect()
    }

    /// Whether every address of a range is mapped.
    pub(super) fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            match self.vma_at(at) {
                Some(vma) => at = vma.end,
                None => return false,
            }
        }
        true
    }

    /// Adds a VMA where none is.
    pub(super) fn insert(&mut self, vma: Vma) {
        self.vmas.push(vma);
        self.vmas.sort_by_key(|vma| vma.start);
    }

    /// Cuts the VMA that has `addr` inside it in two.
    pub(super) fn split(&mut self, addr: u64) {
        let inside = |vma: &Vma| vma.start < addr && addr < vma.end;
        if let Some(at) = self.vmas.iter().position(inside) {
            let whole = self.vmas[at];
            self.vmas[at] = Vma { place: None, ..whole.part(whole.start, addr) };
            self.vmas.insert(at + 1, Vma { place: None, ..whole.part(addr, whole.end) });
        }
    }

    /// Changes the VMAs of a range, cutting those that stand out of it.
    pub(super) fn change(&mut self, start: u64, end: u64, change: impl Fn(&mut Vma)) {
        self.split(start);
        self.split(end);
        for vma in &mut self.vmas {
            if start <= vma.start && vma.end <= end {
                change(vma);
            }
        }
    }

    /// The descriptor that a name means.
    pub(super) fn descriptor(&self, name: &FileName) -> Option<Descriptor> {
        self.descriptors.get(*self.files.get(name)?).copied()?
    }
}

/// The limits of a mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Whether there are any but for the inodes.
    pub(super) given: bool,
    /// The most pages that its files may hold or have reserved.
    pub(super) max: Option<i64>,
    /// The pages reserved for it.
    pub(super) min: i64,
    /// The pages that count against the maximum; without one nobody counts.
    pub(super) used: i64,
    /// What is left of the minimum.
    pub(super) lendable: i64,
    /// The most inodes, the root among them.
    pub(super) inodes: Option<i64>,
}

/// A System V segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) file: FileId,
    /// The length that was asked for.
    pub(super) len: u64,
}

/// A mount of hugetlbfs.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) id: MountId,
    pub(super) name: MountName,
    /// It is still in the tree; a lazily unmounted one is not and lives on until nobody uses it.
    pub(super) attached: bool,
    pub(super) limits: Option<Limits>,
    /// Whose its root is, and what that lets others do.
    pub(super) owner: User,
    pub(super) mode: u32,
}

/// The number of things as a signed count of huge pages.
pub(super) fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

/// The number of huge pages in so many bytes, rounded down.
pub(super) fn pages_in(bytes: u64) -> i64 {
    i64::try_from(bytes / PAGE).unwrap_or(i64::MAX)
}

/// Whether `bytes` is a whole number of huge pages.
pub(super) fn aligned(bytes: u64) -> bool {
    bytes.is_multiple_of(PAGE)
}

/// `bytes` without what stands over a whole huge page.
pub(super) fn floor(bytes: u64) -> u64 {
    bytes - bytes % PAGE
}

/// `bytes` filled up to a whole huge page; `None` beyond 64 bits.
pub(super) fn ceil(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(PAGE)
}

/// `bytes` filled up to a whole base page; `None` beyond 64 bits.
pub(super) fn ceil_small(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(SMALL)
}
