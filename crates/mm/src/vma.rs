//! Areas of an address space.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use filemap::MappedArea;
use policy::PolicyInForce;
use units::{HstateId, HugeIndex, HugeRange, HugeSize, InodeId, MmId, Name, ResvMapId, Vaddr, VaddrRange, VmaId};

use crate::{Registration, UffdModes};

bitflags::bitflags! {
    /// What may be done to an area's memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct Prot: u8 {
        /// Read it.
        const READ = 1 << 0;
        /// Write it.
        const WRITE = 1 << 1;
        /// Run it.
        const EXEC = 1 << 2;
    }
}

bitflags::bitflags! {
    /// What an area is.
    #[doc(alias = "vm_flags")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
    pub struct VmaFlags: u16 {
        /// Shared with the file: what is written is seen by everybody.
        const SHARED = 1 << 0;
        /// Writing may be permitted later.
        const MAY_WRITE = 1 << 1;
        /// Not copied by fork.
        const DONT_FORK = 1 << 2;
        /// Pages were taken from it so that their owner could write: it gets no further ones.
        const UNMAPPED = 1 << 3;
        /// It has had an anonymous page prepared: fork copies its page table.
        const ANON = 1 << 4;
        /// Expected to be read in no order.
        const RANDOM = 1 << 5;
        /// Expected to be read in order.
        const SEQUENTIAL = 1 << 6;
        /// Not in core dumps.
        const DONT_DUMP = 1 << 7;
        /// Huge pages wished for: already so.
        const HUGE = 1 << 8;
        /// Huge pages not wished for: cannot be helped.
        const NO_HUGE = 1 << 9;
        /// Shared through a descriptor that cannot write: nobody writes the file through it, now or later.
        const READ_ONLY_FILE = 1 << 10;
        /// Its huge pages may be mapped in pieces. It is so for good.
        #[doc(alias = "VM_HUGETLB_HGM")]
        const PIECES = 1 << 11;
    }
}

/// One area.
#[doc(alias = "vm_area_struct")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Vma {
    /// Unique for the life of the machine.
    pub id: VmaId,
    /// The area that a call mapped, of which this one is a part or a copy: the description of an open file.
    #[doc(alias = "vm_file")]
    pub mapped_as: VmaId,
    /// Its addresses.
    pub range: VaddrRange,
    /// What may be done now.
    pub prot: Prot,
    /// What it is.
    pub flags: VmaFlags,
    /// The size of its pages.
    pub hstate: HstateId,
    /// The same as a size.
    pub size: HugeSize,
    /// The file it maps.
    pub inode: InodeId,
    /// The file's page at its first address.
    pub first: HugeIndex,
    /// The map of a private owner: nobody else's area has reservations of its own.
    pub owner: Option<ResvMapId>,
    /// Who watches it, and for what.
    pub uffd: Option<Registration>,
    /// Where its pages are to lie; nothing where the task decides.
    pub policy: Option<PolicySlot>,
}

/// One of the policies that areas of an address space have: see [`VmaTree::policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct PolicySlot(u32);

impl Vma {
    /// Shared with the file?
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }

    /// Does a userfaultfd watch it for `modes`?
    #[must_use]
    pub fn is_watched(&self, modes: UffdModes) -> bool {
        self.uffd.is_some_and(|registration| registration.modes.contains(modes))
    }

    /// The file's page at `addr`, which lies inside.
    #[must_use]
    pub const fn index_of(&self, addr: Vaddr) -> HugeIndex {
        self.first.offset(self.size.count_floor(addr.since(self.range.start)))
    }

    /// The pages of the file that it maps.
    #[must_use]
    pub const fn pages(&self) -> HugeRange {
        HugeRange::new(self.first, self.index_of(self.range.end))
    }

    /// The pages of the file behind `range`, rounded outwards.
    #[must_use]
    pub fn pages_in(&self, range: VaddrRange) -> HugeRange {
        let part = self.range.intersect(range);
        let end = part.end.since(self.range.start);
        let end = self.first.offset(units::HugeCount::new(self.size.index_ceil(end).get()));
        HugeRange::new(self.index_of(part.start), end)
    }

    /// Itself as its file sees it.
    #[must_use]
    pub const fn as_mapped(&self, mm: MmId) -> MappedArea {
        MappedArea {
            mm,
            vma: self.id,
            inode: self.inode,
            range: self.pages(),
            start: self.range.start,
            hstate: self.hstate,
            shared: self.is_shared(),
            owner: self.owner,
        }
    }
}

/// All areas of one address space, by first address.
#[doc(alias("mm_mt", "mm_struct"))]
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct VmaTree {
    areas: BTreeMap<Vaddr, Vma>,
    /// Policies of areas, each once. Few are ever used, so none is taken out.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    policies: Vec<PolicyInForce>,
}

impl VmaTree {
    /// No area.
    #[must_use]
    pub const fn new() -> Self {
        Self { areas: BTreeMap::new(), policies: Vec::new() }
    }

    /// The area at `addr`.
    #[must_use]
    pub fn find(&self, addr: Vaddr) -> Option<&Vma> {
        self.areas.range(..=addr).next_back().map(|(_, vma)| vma).filter(|vma| vma.range.contains(addr))
    }

    /// The areas that share an address with `range`, in order.
    pub fn over(&self, range: VaddrRange) -> impl Iterator<Item = &Vma> {
        let first = self.find(range.start).map_or(range.start, |vma| vma.range.start);
        self.areas.range(first..range.end.max(first)).map(|(_, vma)| vma)
    }

    /// The areas that share an address with `range`, as they are now.
    #[must_use]
    pub fn copy_over(&self, range: VaddrRange) -> Vec<Vma> {
        self.over(range).copied().collect()
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.areas.values()
    }

    /// Adds an area; its addresses must be free.
    pub fn insert(&mut self, vma: Vma) {
        debug_assert!(self.over(vma.range).next().is_none(), "{} overlaps another area", vma.range);
        self.areas.insert(vma.range.start, vma);
    }

    /// Takes an area out.
    pub fn remove(&mut self, start: Vaddr) -> Option<Vma> {
        self.areas.remove(&start)
    }

    /// Changes an area in place; its addresses must stay.
    pub fn update(&mut self, start: Vaddr, f: impl FnOnce(&mut Vma)) {
        if let Some(vma) = self.areas.get_mut(&start) {
            f(vma);
            debug_assert_eq!(vma.range.start, start, "an area does not move by update");
        }
    }

    /// Changes the area with that id, wherever it is.
    pub fn update_by_id(&mut self, id: VmaId, f: impl FnOnce(&mut Vma)) {
        if let Some(vma) = self.areas.values_mut().find(|vma| vma.id == id) {
            f(vma);
        }
    }

    /// An address space whose areas can have the policies that those of this one have.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { areas: BTreeMap::new(), policies: self.policies.clone() }
    }

    /// A name for a policy of areas.
    pub fn add_policy(&mut self, policy: &PolicyInForce) -> PolicySlot {
        let known = self.policies.iter().position(|known| known == policy);
        let at = known.unwrap_or_else(|| {
            self.policies.push(*policy);
            self.policies.len() - 1
        });
        PolicySlot(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// The policy of that name.
    #[doc(alias("vma_policy", "vm_policy"))]
    #[must_use]
    pub fn policy(&self, slot: PolicySlot) -> Option<&PolicyInForce> {
        self.policies.get(slot.0 as usize)
    }

    /// Makes all policies again for a task that may use the nodes `allowed`.
    #[doc(alias = "mpol_rebind_mm")]
    pub fn rebind_policies(&mut self, allowed: units::Nodemask) {
        for policy in &mut self.policies {
            *policy = policy.rebound(allowed);
        }
    }

    /// Every place where an area names something.
    pub fn names(&mut self) -> Vec<Name<'_>> {
        let mut names = Vec::new();
        for vma in self.areas.values_mut() {
            names.push(Name::from(&mut vma.inode));
            names.extend(vma.owner.as_mut().map(Name::from));
            names.extend(vma.uffd.as_mut().map(|registration| Name::from(&mut registration.uffd)));
        }
        names
    }

    /// Recounts: areas are not empty, do not overlap, and are found where they begin.
    ///
    /// # Errors
    /// What is broken.
    pub fn validate(&self) -> Result<(), String> {
        let mut end = Vaddr::new(0);
        for (&start, vma) in &self.areas {
            if start != vma.range.start || start < end || vma.range.is_empty() {
                return Err(alloc::format!(
                    "{} at {} is empty, misplaced or overlaps the one before",
                    vma.id,
                    vma.range
                ));
            }
            if vma.policy.is_some_and(|slot| self.policy(slot).is_none()) {
                return Err(alloc::format!("{} has a policy that is none", vma.id));
            }
            end = vma.range.end;
        }
        Ok(())
    }

    /// The highest free range of `len` bytes below `ceiling` that starts at a multiple of `align`.
    #[doc(alias("hugetlb_get_unmapped_area", "vm_unmapped_area"))]
    #[must_use]
    pub fn highest_gap(&self, len: units::Bytes, align: units::Bytes, floor: Vaddr, ceiling: Vaddr) -> Option<Vaddr> {
        let mut top = ceiling;
        for vma in self.areas.values().rev().filter(|vma| vma.range.start < ceiling) {
            if let Some(start) = fits(len, align, vma.range.end, top) {
                return Some(start);
            }
            top = vma.range.start;
        }
        fits(len, align, floor, top)
    }
}

fn fits(len: units::Bytes, align: units::Bytes, floor: Vaddr, top: Vaddr) -> Option<Vaddr> {
    let start = Vaddr::new(top.get().checked_sub(len.get())?).align_down(align);
    (start >= floor).then_some(start)
}
